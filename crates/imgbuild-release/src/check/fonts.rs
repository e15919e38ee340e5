//! The library that finds fonts, in an image without fonts.

use std::collections::BTreeSet;

use imgbuild_oci::path::ImagePath;

use super::subject::Subject;
use crate::finding::{Finding, Rule};
use crate::programs::fonts::is_font;
use crate::runtime::Object;

/// The name by which programs need the library.
const LIBRARY: &str = "libfontconfig.so.1";

/// The library, and whether the image has fonts.
#[derive(Debug, Default)]
pub(super) struct FontEvidence<'a> {
    library: Option<&'a ImagePath>,
    has_font: bool,
}

impl<'a> FontEvidence<'a> {
    pub(super) fn visit(&mut self, path: &'a ImagePath, name: &[u8]) {
        if name.starts_with(LIBRARY.as_bytes()) {
            self.library.get_or_insert(path);
        }
        self.has_font |= is_font(name);
    }

    pub(super) fn finish(self, subject: &Subject<'_>) -> Option<Finding> {
        let mut base = subject.contents.base.iter();
        let has_font = self.has_font || base.any(|it| is_font(it.entry.path.file_name()));
        let path = self.library.filter(|_| !has_font && is_needed(subject))?;
        let reason = format!(
            "`{path}` finds fonts for programs, and the image has no font: pictures and documents have no text, without an error"
        );
        Some(Finding::warning(Rule::FontsMissing, Some(path), reason))
    }
}

/// Returns whether a file needs the library, directly or not, that no other needs:
/// but for the module of Python for windows, which every installation has.
fn is_needed(subject: &Subject<'_>) -> bool {
    let name = |object: &Object| String::from_utf8_lossy(object.image.file_name()).into_owned();
    let mut found = BTreeSet::from([LIBRARY.to_owned()]);
    let mut needed = BTreeSet::new();
    let mut count = 0;
    while count < found.len() {
        count = found.len();
        for object in subject.objects() {
            let needs = || object.elf.needed.iter();
            if needs().any(|library| found.contains(library)) {
                found.insert(name(object));
                found.extend(object.elf.soname.clone());
                needed.extend(needs().cloned());
            }
        }
    }
    let mut first = subject.objects().filter(|object| {
        let names = [Some(name(object)), object.elf.soname.clone()];
        let names = || names.iter().flatten();
        names().any(|name| found.contains(name)) && !names().any(|name| needed.contains(name))
    });
    first.any(|object| !name(object).starts_with("_tkinter."))
}
