//! The paths in the image of the files of the closure.

use std::collections::BTreeMap;

use imgbuild_oci::path::ImagePath;

use super::host::{FileId, HostElf};
use super::view::View;
use super::{RuntimeFile, RuntimeFileKind};

/// The closure so far. Every file of the host has one path in the image; each
/// further one is a link, so that the loader sees one file and loads it once.
#[derive(Debug, Default)]
pub(super) struct Placement {
    by_id: BTreeMap<FileId, ImagePath>,
    files: BTreeMap<ImagePath, RuntimeFile>,
    links: BTreeMap<ImagePath, ImagePath>,
}

/// The kind of a requested file, and the file that needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileRequest<'a> {
    pub(super) kind: RuntimeFileKind,
    pub(super) needed_by: Option<&'a ImagePath>,
}

impl Placement {
    /// Records a file that the release has already.
    pub(super) fn record_present(&mut self, id: FileId, path: &ImagePath) {
        self.by_id.entry(id).or_insert_with(|| path.clone());
    }

    /// Makes `file` available at `path`; returns the path of the file itself.
    /// Fails with a path that has another file.
    pub(super) fn put(
        &mut self,
        view: &View<'_>,
        path: &ImagePath,
        file: &HostElf,
        request: FileRequest<'_>,
    ) -> Result<ImagePath, ImagePath> {
        let known = self.by_id.get(&file.id);
        if known == Some(path) {
            return Ok(path.clone());
        }
        match (known, self.links.get(path)) {
            (Some(known), Some(target)) if known == target => return Ok(known.clone()),
            (_, Some(_)) => return Err(path.clone()),
            (_, None) => {}
        }
        if self.files.contains_key(path) || view.has(path) {
            return Err(path.clone());
        }
        if let Some(known) = known {
            self.links.insert(path.clone(), known.clone());
            return Ok(known.clone());
        }
        self.by_id.insert(file.id, path.clone());
        self.files
            .insert(path.clone(), runtime_file(path, file, request));
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

    /// Returns whether `file` can be found at `path` as things are.
    pub(super) fn is_at(&self, path: &ImagePath, id: FileId) -> bool {
        let known = self.by_id.get(&id);
        known == Some(path) || (known.is_some() && known == self.links.get(path))
    }

    /// Returns all files and links, sorted by path.
    pub(super) fn finish(self) -> (Vec<RuntimeFile>, Vec<(ImagePath, ImagePath)>) {
        (
            self.files.into_values().collect(),
            self.links.into_iter().collect(),
        )
    }
}

fn runtime_file(path: &ImagePath, file: &HostElf, request: FileRequest<'_>) -> RuntimeFile {
    let is_executable = file.is_executable || request.kind == RuntimeFileKind::Interpreter;
    RuntimeFile {
        path: path.clone(),
        host: file.path.clone(),
        mode: if is_executable { 0o755 } else { 0o644 },
        kind: request.kind,
        needed_by: request.needed_by.cloned(),
    }
}
