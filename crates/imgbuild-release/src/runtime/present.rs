//! Files that the image has before the closure comes: the release's own, and
//! those of a base image.

use std::sync::Arc;

use imgbuild_oci::content::FileRange;
use imgbuild_oci::path::ImagePath;

use super::host::HostPath;
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
    Base(FileRange),
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
        match found {
            PresentFile::Host(host) => {
                let directory = self.directory_of(&host);
                let host = HostPath::Plain(host);
                let shown = match self.image_only {
                    Some(_) => file.to_string(),
                    None => self.host.display(&host),
                };
                let elf = match self.objects.get(&file) {
                    Some(object) => fitting(Arc::clone(&object.elf), target, shown, missing)?,
                    None if self.image_only.is_none() => self.usable(&host, target, missing)?.elf,
                    None => {
                        let (path, reason) = (shown, NO_ELF.to_owned());
                        missing.unusable.push(UnusableFile { path, reason });
                        return None;
                    }
                };
                Some(Present {
                    elf,
                    file,
                    directory,
                    bytes: PresentBytes::Host(host),
                })
            }
            PresentFile::Base(content) => self.present_in_base(file, content, target, missing),
        }
    }

    fn present_in_base(
        &mut self,
        file: ImagePath,
        content: Option<FileRange>,
        target: ProcessTarget,
        missing: &mut MissingLibrary,
    ) -> Option<Present> {
        let shown = match self.image_only {
            Some(_) => file.to_string(),
            None => format!("{file} of the base image"),
        };
        let read = || match content.as_ref().map(Elf::read) {
            Some(Ok(Some(elf))) => Ok(Arc::new(elf)),
            Some(Ok(None)) | None => Err(NO_ELF.to_owned()),
            Some(Err(error)) => Err(error.to_string()),
        };
        let known = self.base_files.entry(file.clone()).or_insert_with(read);
        let elf = match known.clone() {
            Ok(elf) => fitting(elf, target, shown, missing)?,
            Err(reason) => {
                let path = shown;
                missing.unusable.push(UnusableFile { path, reason });
                return None;
            }
        };
        let parent = file.parent().unwrap_or_else(ImagePath::root);
        Some(Present {
            elf,
            directory: self.host.rooted(parent.as_bytes()),
            bytes: PresentBytes::Base(content?),
            file,
        })
    }

    /// Reads a file that was found, for what else it holds.
    pub(super) fn bytes_of(&self, bytes: &PresentBytes, limit: u64) -> Option<Vec<u8>> {
        match bytes {
            PresentBytes::Host(host) => self.host.read(host, limit),
            PresentBytes::Base(range) => range.first_bytes(limit).ok(),
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

fn fitting(
    elf: Arc<Elf>,
    target: ProcessTarget,
    path: String,
    missing: &mut MissingLibrary,
) -> Option<Arc<Elf>> {
    match target.objection(&elf) {
        None => Some(elf),
        Some(reason) => {
            missing.unusable.push(UnusableFile { path, reason });
            None
        }
    }
}
