//! One process as its loader builds it: which file answers to which name.

use std::collections::BTreeMap;
use std::sync::Arc;

use imgbuild_oci::path::ImagePath;

use super::Role;
use super::host::HostPath;
use super::loader::{Defaults, ProcessTarget};
use crate::elf::Elf;

/// A dynamic loader, as one program names it.
#[derive(Debug)]
pub(super) struct Loader {
    /// The path that programs have for it.
    pub(super) path: String,
    pub(super) target: ProcessTarget,
    pub(super) defaults: Defaults,
    /// The directories of musl's path file, on the host or in a base image.
    pub(super) path_file: Vec<Vec<u8>>,
    /// Set if the path file is one of the base image, so that the loader reads
    /// it there.
    pub(super) has_own_path_file: bool,
    pub(super) file: Option<LoadedFile>,
}

#[derive(Debug, Clone)]
pub(super) struct LoadedFile {
    pub(super) elf: Arc<Elf>,
    /// The path by which the loader in the image opens it: its `$ORIGIN`.
    pub(super) image: ImagePath,
    /// The file behind, once links are followed.
    pub(super) file: ImagePath,
    /// The same directory on the host.
    pub(super) directory: HostPath,
    /// The file that needed it first.
    pub(super) parent: Option<usize>,
    /// Set if its own needs were resolved elsewhere.
    pub(super) is_settled: bool,
}

impl LoadedFile {
    /// A file that nothing needed yet.
    pub(super) fn new(
        elf: Arc<Elf>,
        image: ImagePath,
        file: ImagePath,
        directory: HostPath,
    ) -> Self {
        Self {
            elf,
            image,
            file,
            directory,
            parent: None,
            is_settled: false,
        }
    }
}

/// The programs of one loader, as the modules see them that they may load.
#[derive(Debug, Default)]
pub(super) struct LoadedPrograms {
    pub(super) mains: Vec<LoadedFile>,
    /// The libraries that they loaded, by name.
    pub(super) libraries: BTreeMap<String, LoadedFile>,
}

impl LoadedPrograms {
    pub(super) fn record(&mut self, process: &Process<'_>) {
        self.mains.push(process.loaded[0].clone());
        for (name, index) in &process.names {
            let file = LoadedFile {
                parent: None,
                is_settled: true,
                ..process.loaded[*index].clone()
            };
            self.libraries.entry(name.clone()).or_insert(file);
        }
    }
}

#[derive(Debug)]
pub(super) struct Process<'a> {
    pub(super) loader: &'a Loader,
    pub(super) role: Role,
    pub(super) loaded: Vec<LoadedFile>,
    /// Those that may have loaded the module that this process is for.
    pub(super) programs: &'a LoadedPrograms,
    pub(super) names: BTreeMap<String, usize>,
    /// The first of `loaded` whose needs were not looked at yet.
    pub(super) next: usize,
}

impl<'a> Process<'a> {
    pub(super) fn new(
        loader: &'a Loader,
        role: Role,
        first: LoadedFile,
        programs: &'a LoadedPrograms,
    ) -> Self {
        let mut process = Self {
            loader,
            role,
            loaded: Vec::new(),
            programs,
            names: BTreeMap::new(),
            next: 0,
        };
        process.push(first);
        if let Some(file) = &loader.file {
            let index = process.push(file.clone());
            let name = loader.path.rsplit('/').next().unwrap_or_default();
            process.names.insert(loader.path.clone(), index);
            process.names.insert(name.to_owned(), index);
        }
        process
    }

    /// Adds a file; it answers to its own name from now on.
    pub(super) fn push(&mut self, file: LoadedFile) -> usize {
        let index = self.loaded.len();
        if let Some(soname) = &file.elf.soname {
            self.names.entry(soname.clone()).or_insert(index);
        }
        self.loaded.push(file);
        index
    }

    /// Returns the file, the one that needed it, and so on up to the program;
    /// for a module then those that may have loaded it.
    pub(super) fn chain(&self, index: usize) -> impl Iterator<Item = &LoadedFile> {
        std::iter::successors(Some(&self.loaded[index]), |file| {
            Some(&self.loaded[file.parent?])
        })
        .chain(&self.programs.mains)
    }

    /// Adds a file unless it is loaded already under another name.
    pub(super) fn admit(&mut self, file: LoadedFile) -> usize {
        let known = self
            .loaded
            .iter()
            .position(|loaded| loaded.file == file.file);
        known.unwrap_or_else(|| self.push(file))
    }
}

/// musl's loader is its C library, under each of these names (`reserved` of
/// `load_library`, ldso/dynlink.c).
pub(super) fn is_part_of_musl(name: &str) -> bool {
    const NAMES: [&str; 7] = ["c", "pthread", "rt", "m", "dl", "util", "xnet"];
    name.strip_prefix("lib")
        .and_then(|name| name.split_once('.'))
        .is_some_and(|(name, _)| NAMES.contains(&name))
}
