//! The paths in the image of the files of the closure.

use std::collections::BTreeMap;

use imgbuild_oci::path::ImagePath;

use super::host::{FileId, HostElf};
use super::view::View;
use super::{MissingLibrary, RuntimeFile, RuntimeFileKind};

/// The closure so far. Every file of the host has one path in the image; each
/// further one is a link, so that the loader sees one file and loads it once.
#[derive(Debug, Default)]
pub(super) struct Placement {
    by_id: BTreeMap<FileId, ImagePath>,
    files: BTreeMap<ImagePath, RuntimeFile>,
    links: BTreeMap<ImagePath, ImagePath>,
}

impl Placement {
    /// Records a file that the release has already.
    pub(super) fn record_present(&mut self, id: FileId, path: &ImagePath) {
        self.by_id.entry(id).or_insert_with(|| path.clone());
    }

    /// Makes `file` available at `path` for what lacks it; returns the path of
    /// the file itself. Fails with a path that has another file.
    pub(super) fn put(
        &mut self,
        view: &View<'_>,
        path: &ImagePath,
        file: &HostElf,
        missing: &MissingLibrary,
    ) -> Result<ImagePath, ImagePath> {
        if !self.accepts(view, path, file.id) {
            return Err(path.clone());
        }
        if let Some(known) = self.by_id.get(&file.id) {
            if known != path {
                self.links.insert(path.clone(), known.clone());
            }
            return Ok(known.clone());
        }
        let is_executable = file.is_executable || missing.is_interpreter;
        let placed = RuntimeFile {
            path: path.clone(),
            host: file.path.clone(),
            mode: if is_executable { 0o755 } else { 0o644 },
            kind: if missing.is_interpreter {
                RuntimeFileKind::Interpreter
            } else {
                RuntimeFileKind::Library
            },
            needed_by: missing.needed_by.clone(),
        };
        self.by_id.insert(file.id, path.clone());
        self.files.insert(path.clone(), placed);
        Ok(path.clone())
    }

    /// Returns whether `put` would find `file` at `path`, or a free path.
    pub(super) fn accepts(&self, view: &View<'_>, path: &ImagePath, id: FileId) -> bool {
        let known = self.by_id.get(&id);
        known == Some(path)
            || match self.links.get(path) {
                Some(target) => known == Some(target),
                None => !self.files.contains_key(path) && !view.has(path),
            }
    }

    /// Returns whether a file of the host is placed at exactly `path`.
    pub(super) fn has_file(&self, path: &ImagePath) -> bool {
        self.files.contains_key(path)
    }

    /// Returns whether `file` can be found at `path` as things are.
    pub(super) fn is_at(&self, path: &ImagePath, id: FileId) -> bool {
        let known = self.by_id.get(&id);
        known == Some(path) || (known.is_some() && known == self.links.get(path))
    }

    /// Returns all files and links, sorted by path.
    pub(super) fn finish(self) -> (Vec<RuntimeFile>, Vec<(ImagePath, ImagePath)>) {
        let files = self.files.into_values().collect();
        (files, self.links.into_iter().collect())
    }
}
