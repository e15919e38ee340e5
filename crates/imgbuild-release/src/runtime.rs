//! The runtime closure: the loader and the libraries that a release needs
//! beside its own files, found as the dynamic loader finds them.
//!
//! # Searching
//!
//! Every program is followed as its own process, breadth first, so that a
//! name is answered by the file that answers it at run time. For each needed
//! library, what the image has already comes first, in the order in which the
//! image's loader looks: the RPATH chain, RUNPATH, the default directories.
//! Then the host is searched in the host's order:
//!
//! - glibc: RPATH of the file and of those that led to it (only where there is
//!   no RUNPATH), the extra library paths, RUNPATH, `ld.so.cache`, the
//!   directories of `ld.so.conf`, the loader's default directories. The
//!   latter are read from the loader itself, since every distribution has its
//!   own.
//! - musl: the extra library paths, RUNPATH or RPATH of the file and of those
//!   that led to it, `/etc/ld-musl-ARCH.path`, `/lib`, `/usr/local/lib`,
//!   `/usr/lib`. The C library is the loader.
//!
//! `$ORIGIN` of a release's file is its directory in the image and, for what
//! the image does not have, its directory on the host. Files for another
//! processor, system or C library are passed over. With another root
//! ([`RuntimeOptions::sysroot`]) every absolute path and link is taken inside.
//!
//! # Installing
//!
//! - The loader is a regular file at exactly the path that programs name.
//! - A library is a regular file under the directory and name by which it was
//!   looked up. No chain of links is copied.
//! - A second name of one file (the same device and inode) is a link to the
//!   first, so that the loader sees one file and loads it once.
//! - There is no `ld.so.cache` in an image. A library that was only found
//!   through the cache, through `ld.so.conf` or musl's path file gets a link
//!   in the last of the loader's default directories.
//! - What an extra library path or a path given by the user leads to is in
//!   the last default directory itself, or is a link there when it is a file
//!   of the release: directories of the build machine are not part of the
//!   image, or its bytes would depend on where it was built.
//!
//! # Beyond what files name
//!
//! glibc loads `libgcc_s.so.1` when a thread is canceled or exits, or a
//! backtrace is taken; before 2.34 it also loads the name services. They come
//! along where they are to be had, and so do the other libraries of glibc
//! ([`RuntimeOptions::completes_c_library`]): they only work with the C library
//! of their version. Everything else that is loaded by name at run time has to be
//! asked for ([`RuntimeOptions::add_libraries`]).

pub(crate) mod cache;
mod closure;
mod configuration;
pub(crate) mod host;
mod interpreter;
mod loader;
mod outcome;
mod placement;
mod process;
mod resolver;
mod search;
mod view;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use imgbuild_oci::path::ImagePath;
use serde::Serialize;

use crate::elf::{Architecture, Elf, ElfKind, Imports};
pub use loader::Flavor;
pub use outcome::{
    MissingLibrary, ModuleProblem, ModuleWarning, SearchedDirectory, UnsatisfiedVersion,
    UnusableFile,
};
use resolver::LibraryResolver;
pub use view::{ImageNode, Lookup};

/// The expectation of an ELF file in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It must start.
    Program,
    /// Something else may load or start it, or not.
    Module,
}

/// An ELF file of the release.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its path in the image; no part of it is a link.
    pub image: ImagePath,
    /// The file of the host.
    pub host: PathBuf,
    /// The expectation.
    pub role: Role,
    /// Its properties.
    pub elf: Arc<Elf>,
}

/// The sources of libraries.
#[derive(Debug, Clone, Default)]
pub struct RuntimeOptions {
    /// Another root to take everything from; this machine's when `None`.
    pub sysroot: Option<PathBuf>,
    /// Further directories, as this machine names them.
    pub library_paths: Vec<PathBuf>,
    /// Further libraries, by the names by which they are loaded or as paths.
    pub add_libraries: Vec<String>,
    /// The other libraries of glibc are included with its C library.
    pub completes_c_library: bool,
    /// The directories of the image's `LD_LIBRARY_PATH`.
    pub image_paths: Vec<ImagePath>,
    /// The working directory of programs, for needed libraries with a relative
    /// path.
    pub working_directory: Option<ImagePath>,
    /// Set when no file is added, and only files of the image count. Then no file
    /// is read: a file that is not an object of the image is not an ELF file.
    pub image_only: Option<ImageOnly>,
}

/// The files of an image that configure its loaders.
#[derive(Debug, Clone, Default)]
pub struct ImageOnly {
    /// Its `/etc/ld.so.cache`.
    pub cache: Vec<u8>,
    /// Its `/etc/ld-musl-ARCH.path`.
    pub musl_path: Vec<u8>,
}

/// The file of the image that the loader takes, by file and needed name.
pub type Bindings = BTreeMap<ImagePath, BTreeMap<String, ImagePath>>;

/// The closure of a release, sorted by paths.
#[derive(Debug, Clone, Default)]
pub struct Runtime {
    /// The files to add.
    pub files: Vec<RuntimeFile>,
    /// Links to make: the path, and the absolute path that it leads to.
    pub links: Vec<(ImagePath, ImagePath)>,
    /// Libraries that programs need and that were not found: the programs
    /// cannot start.
    pub missing: Vec<MissingLibrary>,
    /// Libraries that modules need and that were not found, and modules that
    /// nothing can load.
    pub warnings: Vec<ModuleWarning>,
    /// Symbol versions that are needed and not defined.
    pub unsatisfied: Vec<UnsatisfiedVersion>,
    /// The file of the image that the loader takes, by file and needed name.
    pub bindings: Bindings,
    /// The imports of every file that a process may load, by its path.
    pub imports: BTreeMap<ImagePath, Imports>,
    /// The C libraries of the dynamic programs, with these programs. Two of
    /// them in one image are a risk: musl's loader takes the first file of a
    /// name in its directories, even one for glibc.
    pub flavors: BTreeMap<Flavor, Vec<ImagePath>>,
    /// Every architecture by role, with the release's files that have it.
    pub architectures: BTreeMap<Role, BTreeMap<Architecture, Vec<ImagePath>>>,
}

/// A file to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeFile {
    /// Its path in the image.
    pub path: ImagePath,
    /// The regular file of the host that it comes from.
    pub host: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// Its kind.
    pub kind: RuntimeFileKind,
    /// The first file that needs it; `None` when it was asked for.
    pub needed_by: Option<ImagePath>,
}

/// The kind of a file of the closure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeFileKind {
    /// A program's loader.
    Interpreter,
    /// A library.
    Library,
}

/// Options that cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The other root is not a directory.
    #[error("cannot take libraries from the root `{}`: it is not a directory", .0.display())]
    Sysroot(PathBuf),
    /// A library path is not a directory.
    #[error("cannot search `{}` for libraries: it is not a directory", .0.display())]
    LibraryPath(PathBuf),
}

impl Runtime {
    /// Finds everything that `objects` need. `present` looks up the entries of the
    /// image: the release with its links, or a base image.
    ///
    /// What is missing is part of the result, all of it.
    ///
    /// # Errors
    ///
    /// Fails when a directory of the options is not a directory.
    pub fn resolve(
        objects: &[Object],
        present: &Lookup<'_>,
        options: &RuntimeOptions,
    ) -> Result<Self, RuntimeError> {
        if let Some(root) = options.sysroot.iter().find(|root| !root.is_dir()) {
            return Err(RuntimeError::Sysroot(root.clone()));
        }
        if let Some(path) = options.library_paths.iter().find(|path| !path.is_dir()) {
            return Err(RuntimeError::LibraryPath(path.clone()));
        }
        let mut sorted: Vec<&Object> = objects
            .iter()
            .filter(|object| object.elf.kind != ElfKind::Other)
            .collect();
        sorted.sort_by(|a, b| a.image.cmp(&b.image));
        let mut resolver = LibraryResolver::new(objects, present, options);
        closure::follow(&mut resolver, &sorted, &options.add_libraries);
        let (mut flavors, mut architectures) = (BTreeMap::new(), BTreeMap::new());
        for Object {
            image, role, elf, ..
        } in sorted
        {
            if let Some(architecture) = elf.architecture() {
                let of_role: &mut BTreeMap<_, Vec<_>> = architectures.entry(*role).or_default();
                of_role.entry(architecture).or_default().push(image.clone());
            }
            if let (Role::Program, Some(interpreter)) = (role, &elf.interpreter) {
                let paths: &mut Vec<_> = flavors
                    .entry(Flavor::of_interpreter(interpreter))
                    .or_default();
                paths.push(image.clone());
            }
        }
        let (files, links) = resolver.placement.finish();
        let mut missing = resolver.missing;
        missing.sort_by(|a, b| (&a.needed_by, &a.name).cmp(&(&b.needed_by, &b.name)));
        let mut warnings = resolver.warnings;
        warnings.sort_by(|a, b| a.module.cmp(&b.module));
        Ok(Self {
            files,
            links,
            missing,
            warnings,
            unsatisfied: resolver.unsatisfied.into_iter().collect(),
            bindings: resolver.bindings,
            imports: resolver.imports,
            flavors,
            architectures,
        })
    }
}
