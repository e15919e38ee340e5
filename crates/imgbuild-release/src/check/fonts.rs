//! The library that finds fonts, in an image without fonts.

use imgbuild_oci::path::ImagePath;

use super::subject::Subject;
use crate::finding::{Finding, Rule};
use crate::programs::fonts::is_font;

/// The library, and whether the image has fonts.
#[derive(Debug, Default)]
pub(super) struct FontEvidence<'a> {
    library: Option<&'a ImagePath>,
    has_font: bool,
}

impl<'a> FontEvidence<'a> {
    pub(super) fn visit(&mut self, path: &'a ImagePath, name: &[u8]) {
        if name.starts_with(b"libfontconfig.so") {
            self.library.get_or_insert(path);
        }
        self.has_font |= is_font(name);
    }

    pub(super) fn finish(self, subject: &Subject<'_>) -> Option<Finding> {
        let mut base = subject.contents.base.iter();
        let has_font = self.has_font || base.any(|it| is_font(it.entry.path.file_name()));
        let path = self.library.filter(|_| !has_font)?;
        let reason = format!(
            "`{path}` finds fonts for programs, and the image has no font: pictures and documents have no text, without an error"
        );
        Some(Finding::warning(Rule::FontsMissing, Some(path), reason))
    }
}
