//! The loop of a dynamic loader: what is needed is found, loaded and searched
//! for its own needs.

use std::sync::Arc;

use super::loader::Flavor;
use super::process::{KnownName, NeededLibrary, Process};
use super::resolver::LibraryResolver;
use super::{MissingLibrary, version};

impl Process<'_> {
    /// Loads all that is needed by what was loaded and not looked at yet:
    /// breadth first, as the loaders do.
    pub(super) fn run(&mut self, resolver: &mut LibraryResolver<'_>) {
        while self.next < self.loaded.len() {
            let index = self.next;
            self.next += 1;
            if self.loaded[index].is_settled {
                continue;
            }
            let elf = Arc::clone(&self.loaded[index].elf);
            for name in &elf.needed {
                if let Err(missing) = self.need(resolver, NeededLibrary::new(index, name)) {
                    resolver.report_missing(self.role, &self.loaded[0].file, *missing);
                }
            }
        }
    }

    /// Finds the file that answers to `name`, loading it if need be.
    pub(super) fn need(
        &mut self,
        resolver: &mut LibraryResolver<'_>,
        need: NeededLibrary<'_>,
    ) -> Result<(), Box<MissingLibrary>> {
        let NeededLibrary { requirer, name, .. } = need;
        let index = match self.known(name) {
            KnownName::File(index) => index,
            // The loader itself is missing, which was reported.
            KnownName::PartOfLoader => return Ok(()),
            KnownName::Nothing => {
                let loaded = match resolver.search(self, need) {
                    Ok(loaded) => loaded,
                    Err(missing) => self.programs.libraries.get(name).cloned().ok_or(missing)?,
                };
                self.admit(loaded)
            }
        };
        self.names.insert(name.to_owned(), index);
        resolver.bind(&self.loaded[requirer].file, name, &self.loaded[index].file);
        Ok(())
    }

    /// Adds libraries that the user named, as if the program needed them.
    pub(super) fn add(&mut self, resolver: &mut LibraryResolver<'_>, names: &[String]) {
        for name in names {
            let added = if name.contains('/') {
                resolver.search_added(self, name).map(|file| {
                    self.admit(file);
                })
            } else {
                let mut need = NeededLibrary::new(0, name);
                need.is_asked = true;
                self.need(resolver, need)
            };
            if let Err(missing) = added {
                resolver.report_missing(self.role, &self.loaded[0].file, *missing);
            }
        }
        self.run(resolver);
    }

    /// Adds the libraries that glibc loads although no file needs them.
    pub(super) fn run_hidden(&mut self, resolver: &mut LibraryResolver<'_>) {
        if self.loader.target.flavor != Flavor::Glibc {
            return;
        }
        let Some(libc) = self.names.get("libc.so.6").copied() else {
            return;
        };
        let unwinds = self.loaded.iter().any(|file| file.elf.imports.unwinding);
        let unwinding: &[&str] = if unwinds { &["libgcc_s.so.1"] } else { &[] };
        let names: &[&str] = if version::has_name_services(&self.loaded[libc].elf) {
            &[]
        } else {
            &["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"]
        };
        for name in unwinding.iter().chain(names) {
            // glibc works without them.
            drop(self.need(resolver, NeededLibrary::new(libc, name)));
        }
        self.run(resolver);
    }
}
