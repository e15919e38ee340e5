//! Files that the image has before the closure comes: the release's own, and
//! those of a base image.

use std::sync::Arc;

use imgbuild_oci::content::FileRange;
use imgbuild_oci::path::ImagePath;

use super::host::{HostPath, Probe};
use super::loader::ProcessTarget;
use super::outcome::{SearchOrigin, SearchPlace};
use super::resolver::LibraryResolver;
use super::view::PresentFile;
use super::{MissingLibrary, UnusableFile, cache};
use crate::elf::Elf;

/// The largest file of a base image that is searched as a whole.
const MAX_BYTES: u64 = 64 << 20;

const NO_ELF: &str = "it is not an ELF file";

/// A file that the image has, for a process that can load it.
pub(super) struct Present {
    pub(super) elf: Arc<Elf>,
    /// The file, once all links are followed.
    pub(super) file: ImagePath,
    /// The directory on the host that corresponds to the file's.
    pub(super) directory: HostPath,
    /// The place of its content.
    pub(super) bytes: PresentBytes,
}

/// The place of the content of a file.
pub(super) enum PresentBytes {
    Host(HostPath),
    Base(Option<FileRange>),
}

impl LibraryResolver<'_> {
    /// Returns the file that a path of the image leads to if a process can
    /// load it.
    pub(super) fn present(
        &mut self,
        path: &ImagePath,
        target: ProcessTarget,
        missing: &mut MissingLibrary,
    ) -> Option<Present> {
        let found = self.view.file(path.as_bytes())?;
        let file = self.view.resolve(path.as_bytes())?;
        let (elf, shown, directory, bytes) = match found {
            PresentFile::Host(host) => {
                let directory = self.directory_of(&host);
                let host = HostPath::Plain(host);
                let elf = match self.objects.get(&file) {
                    Some(object) => Ok(Arc::clone(&object.elf)),
                    None if self.image_only.is_some() => Err(NO_ELF.to_owned()),
                    None => match self.host.probe(&host) {
                        Probe::Absent => return None,
                        Probe::Unusable(reason) => Err(reason),
                        Probe::Elf(found) => Ok(found.elf),
                    },
                };
                let shown = self.host.display(&host);
                (elf, shown, directory, PresentBytes::Host(host))
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
                let shown = format!("{file} of the base image");
                (elf, shown, directory, PresentBytes::Base(content))
            }
        };

        let reason = match elf.map(|elf| (target.objection(&elf), elf)) {
            Ok((None, elf)) => {
                return Some(Present {
                    elf,
                    file,
                    directory,
                    bytes,
                });
            }
            Ok((Some(reason), _)) | Err(reason) => reason,
        };
        let path = if self.image_only.is_some() {
            file.to_string()
        } else {
            shown
        };
        missing.unusable.push(UnusableFile { path, reason });
        None
    }

    /// Reads a file that was found, for what else it holds.
    pub(super) fn bytes_of(&self, bytes: &PresentBytes, limit: u64) -> Option<Vec<u8>> {
        match bytes {
            PresentBytes::Host(host) => self.host.read(host, limit),
            PresentBytes::Base(range) => range.as_ref()?.first_bytes(limit).ok(),
        }
    }

    /// Lists the directories that the loader in the image takes from its own
    /// `ld.so.cache`, which only a base image has.
    pub(super) fn cached_places(&mut self, name: &str) -> Vec<SearchPlace> {
        let cache = self.base_cache();
        let paths = cache.get(name.as_bytes()).into_iter().flatten();
        let places = paths.map(|path| SearchPlace {
            image: super::search::directory_of(path).to_vec(),
            host: None,
            origin: SearchOrigin::Base,
        });
        places.collect()
    }

    fn base_cache(&mut self) -> Arc<cache::LoaderCache> {
        if let Some(cache) = &self.base_cache {
            return Arc::clone(cache);
        }
        let bytes = self.base_text("/etc/ld.so.cache");
        let cache = Arc::new(bytes.map(|bytes| cache::parse(&bytes)).unwrap_or_default());
        self.base_cache = Some(Arc::clone(&cache));
        cache
    }

    /// Reads a small file of the base image.
    pub(super) fn base_text(&mut self, path: &str) -> Option<Vec<u8>> {
        match self.view.file(path.as_bytes())? {
            PresentFile::Base(Some(range)) => range.first_bytes(MAX_BYTES).ok(),
            PresentFile::Base(None) | PresentFile::Host(_) => None,
        }
    }
}
