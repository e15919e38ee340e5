//! Finds the loaders that programs name.

use super::host::HostPath;
use super::loader::{Defaults, Flavor, Target};
use super::placement::Request;
use super::process::{Loaded, Loader};
use super::resolver::Resolver;
use super::{MissingLibrary, Object, RuntimeFileKind, SearchedDirectory};

/// The largest loader that is searched for its directories; they have 1 MiB
/// at most, with all their symbols.
const MAX_LOADER_BYTES: u64 = 16 << 20;

/// The largest path file of musl.
const MAX_PATH_FILE_BYTES: u64 = 1 << 20;

impl Resolver<'_> {
    /// Finds the loader of a program and puts it into the image.
    pub(super) fn loader(&mut self, program: &Object, path: &str) -> Loader {
        let target = Target::new(Flavor::of_interpreter(path), &program.elf);
        let found = self.find_loader(program, path, target);
        let (file, host) = match found {
            Ok((file, host)) => (Some(file), Some(host)),
            Err(missing) => {
                self.report_missing(program.role, &program.image, *missing);
                (None, None)
            }
        };
        let host = host.filter(|_| self.image_only.is_none());
        let bytes = host.and_then(|host| self.host.read(&host, MAX_LOADER_BYTES));
        Loader {
            path: path.to_owned(),
            target,
            defaults: Defaults::new(target, &program.elf, bytes.as_deref()),
            path_file: self.musl_path_file(path, target),
            file,
        }
    }

    fn find_loader(
        &mut self,
        program: &Object,
        path: &str,
        target: Target,
    ) -> Result<(Loaded, HostPath), Box<MissingLibrary>> {
        let mut missing = self.missing(path, Some(&program.image));
        missing.is_interpreter = true;
        let Some(wanted) = self
            .view
            .resolve(path.as_bytes())
            .filter(|_| path.starts_with('/'))
        else {
            return Err(missing);
        };
        if let Some(file) = self.view.file(path.as_bytes()) {
            let host = HostPath::Plain(file);
            if let Some(elf) = self.present(&host, &wanted, target, &mut missing) {
                let file = Loaded::new(elf, wanted.clone(), wanted, host.directory());
                return Ok((file, host));
            }
        }
        if self.image_only.is_some() {
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
        let request = Request {
            kind: RuntimeFileKind::Interpreter,
            needed_by: Some(&program.image),
        };
        match self.placement.put(&self.view, &wanted, &found, request) {
            Ok(file) => Ok((Loaded::new(found.elf, wanted, file, host.directory()), host)),
            Err(_) => Err(self.taken(missing, &host, &wanted)),
        }
    }

    /// Reads the directories that musl's loader is told on the host
    /// (`/etc/ld-musl-ARCH.path`), separated by lines or colons.
    fn musl_path_file(&self, path: &str, target: Target) -> Vec<Vec<u8>> {
        let name = path.rsplit('/').next().unwrap_or_default();
        let Some((name, _)) = name
            .split_once(".so")
            .filter(|_| target.flavor == Flavor::Musl)
        else {
            return Vec::new();
        };
        let content = match &self.image_only {
            Some(image) => Some(image.musl_path.clone()),
            None => {
                let file = self.host.rooted(format!("/etc/{name}.path").as_bytes());
                self.host.read(&file, MAX_PATH_FILE_BYTES)
            }
        };
        let content = content.unwrap_or_default();
        content
            .split(|byte| matches!(byte, b'\n' | b':'))
            .filter(|directory| directory.starts_with(b"/"))
            .map(<[u8]>::to_vec)
            .collect()
    }
}
