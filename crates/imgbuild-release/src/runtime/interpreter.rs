//! Finds the loaders that programs name.

use super::host::HostPath;
use super::loader::{Defaults, Flavor, ProcessTarget};
use super::process::{LoadedFile, Loader};
use super::resolver::LibraryResolver;
use super::view::PresentFile;
use super::{MissingLibrary, Object, SearchedDirectory};

/// The largest loader that is searched for its directories; they have 1 MiB
/// at most, with all their symbols.
const MAX_LOADER_BYTES: u64 = 16 << 20;

const MAX_PATH_FILE_BYTES: u64 = 1 << 20;

impl LibraryResolver<'_> {
    /// Finds the loader of a program and puts it into the image.
    pub(super) fn loader(&mut self, program: &Object, path: &str) -> Loader {
        let target = ProcessTarget::new(Flavor::of_interpreter(path), &program.elf);
        let (file, found) = match self.find_loader(program, path, target) {
            Ok((file, found)) => (Some(file), Some(found)),
            Err(missing) => {
                self.report_missing(program.role, &program.image, *missing);
                (None, None)
            }
        };
        let bytes = match found {
            Some(PresentFile::Host(host)) if self.options.image_only.is_none() => {
                self.host.read(&HostPath::Plain(host), MAX_LOADER_BYTES)
            }
            Some(PresentFile::Base(Some(range))) => range.first_bytes(MAX_LOADER_BYTES).ok(),
            Some(_) | None => None,
        };
        let (path_file, has_own_path_file) = self.musl_path_file(path, target);
        Loader {
            path: path.to_owned(),
            target,
            defaults: Defaults::new(target, &program.elf, bytes.as_deref()),
            path_file,
            has_own_path_file,
            file,
        }
    }

    fn find_loader(
        &mut self,
        program: &Object,
        path: &str,
        target: ProcessTarget,
    ) -> Result<(LoadedFile, PresentFile), Box<MissingLibrary>> {
        let mut missing = self.missing(path, Some(&program.image));
        missing.is_interpreter = true;
        let wanted = self.view.resolve(path.as_bytes());
        let Some(wanted) = wanted.filter(|_| path.starts_with('/')) else {
            return Err(missing);
        };
        if let Some(found) = self.present(&wanted, target, &mut missing) {
            return Ok(found);
        }
        if self.options.image_only.is_some() {
            return Err(missing);
        }
        let host = self.host.rooted(path.as_bytes());
        missing.searched.push(SearchedDirectory {
            directory: self.host.display(&host.directory()),
            reason: "the program names it".to_owned(),
        });
        let Some(found) = self.usable(&host, target, &mut missing) else {
            return Err(missing);
        };
        match self.placement.put(&self.view, &wanted, &found, &missing) {
            Ok(file) => {
                let file = LoadedFile::new(found.elf, wanted, file, host.directory());
                Ok((file, PresentFile::Host(found.path)))
            }
            Err(taken) => {
                missing.unusable.push(self.taken(&host, &taken));
                Err(missing)
            }
        }
    }

    /// Reads the directories of the path file of musl's loader on the host
    /// (`/etc/ld-musl-ARCH.path`), separated by lines or colons.
    ///
    /// A base image that has one of its own decides.
    fn musl_path_file(&mut self, path: &str, target: ProcessTarget) -> (Vec<Vec<u8>>, bool) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let parts = name.split_once(".so");
        let Some((name, _)) = parts.filter(|_| target.flavor == Flavor::Musl) else {
            return (Vec::new(), false);
        };
        let path = format!("/etc/{name}.path");
        let file = self.host.rooted(path.as_bytes());
        let own = match &self.options.image_only {
            Some(image) => Some(image.musl_path.clone()),
            None => self.base_text(&path),
        };
        let is_own = own.is_some();
        let content = own.or_else(|| self.host.read(&file, MAX_PATH_FILE_BYTES));
        let directories = content
            .unwrap_or_default()
            .split(|byte| matches!(byte, b'\n' | b':'))
            .filter(|directory| directory.starts_with(b"/"))
            .map(<[u8]>::to_vec)
            .collect();
        (directories, is_own)
    }
}
