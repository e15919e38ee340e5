//! Files that the image has before the closure comes: the release's own, and
//! those of a base image.

use std::sync::Arc;

use imgbuild_oci::path::ImagePath;

use super::host::{HostPath, Probe};
use super::loader::ProcessTarget;
use super::process::LoadedFile;
use super::resolver::LibraryResolver;
use super::view::PresentFile;
use super::{MissingLibrary, UnusableFile};
use crate::elf::Elf;

/// The largest file of a base image that is searched as a whole.
const MAX_BYTES: u64 = 64 << 20;

const NO_ELF: &str = "it is not an ELF file";

impl LibraryResolver<'_> {
    /// Returns the file that a path of the image leads to if a process can
    /// load it, and the place of its content.
    pub(super) fn present(
        &mut self,
        path: &ImagePath,
        target: ProcessTarget,
        missing: &mut MissingLibrary,
    ) -> Option<(LoadedFile, PresentFile)> {
        let (file, found) = self.view.file(path.as_bytes())?;
        let (elf, shown, directory) = match &found {
            PresentFile::Host(host) => {
                let directory = self.directory_of(host);
                let host = HostPath::Plain(host.clone());
                let elf = match self.objects.get(&file) {
                    Some(object) => Ok(Arc::clone(&object.elf)),
                    None if self.options.image_only.is_some() => Err(NO_ELF.to_owned()),
                    None => match self.host.probe(&host) {
                        Probe::Absent => return None,
                        Probe::Unusable(reason) => Err(reason),
                        Probe::Elf(found) => Ok(found.elf),
                    },
                };
                (elf, self.host.display(&host), directory)
            }
            PresentFile::Base(content) => {
                let read = || match content.as_ref().map(Elf::read) {
                    Some(Ok(Some(elf))) => Ok(Arc::new(elf)),
                    Some(Ok(None)) | None => Err(NO_ELF.to_owned()),
                    Some(Err(error)) => Err(error.to_string()),
                };
                let known = self.base_files.entry(file.clone());
                let elf = known.or_insert_with(read).clone();
                let parent = file.parent().unwrap_or_else(ImagePath::root);
                let directory = self.host.rooted(parent.as_bytes());
                (elf, format!("{file} of the base image"), directory)
            }
        };

        let reason = match elf.map(|elf| (target.objection(&elf), elf)) {
            Ok((None, elf)) => {
                let loaded = LoadedFile::new(elf, path.clone(), file, directory);
                return Some((loaded, found));
            }
            Ok((Some(reason), _)) | Err(reason) => reason,
        };
        let path = if self.options.image_only.is_some() {
            file.to_string()
        } else {
            shown
        };
        missing.unusable.push(UnusableFile { path, reason });
        None
    }

    /// Reads a file that was found, for what else it holds.
    pub(super) fn bytes_of(&self, file: &PresentFile, limit: u64) -> Option<Vec<u8>> {
        match file {
            PresentFile::Host(host) => self.host.read(&HostPath::Plain(host.clone()), limit),
            PresentFile::Base(range) => range.as_ref()?.first_bytes(limit).ok(),
        }
    }

    /// Reads a small file of the base image.
    pub(super) fn base_text(&mut self, path: &str) -> Option<Vec<u8>> {
        match self.view.file(path.as_bytes())?.1 {
            PresentFile::Base(Some(range)) => range.first_bytes(MAX_BYTES).ok(),
            PresentFile::Base(None) | PresentFile::Host(_) => None,
        }
    }
}
