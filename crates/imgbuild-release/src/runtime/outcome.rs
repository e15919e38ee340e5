//! What a resolution found to be wrong.

use imgbuild_oci::path::ImagePath;
use serde::Serialize;

use super::{Flavor, Role};
use crate::elf::Architecture;

/// A library, or a program's loader, that is nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingLibrary {
    /// The name by which it is needed; the path of a loader.
    pub name: String,
    /// Whether it is a program's loader.
    pub is_interpreter: bool,
    /// The file that needs it; `None` when it was asked for.
    pub needed_by: Option<ImagePath>,
    /// Every directory that was looked in, in order.
    pub searched: Vec<SearchedDirectory>,
    /// Files of that name that cannot be loaded.
    pub unusable: Vec<UnusableFile>,
    /// Files of the release with that name, where no loader looks.
    pub elsewhere: Vec<ImagePath>,
}

/// A directory that was looked in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SearchedDirectory {
    /// The directory, as this machine names it.
    pub directory: String,
    /// Why it was looked in: ``RUNPATH of `/app/bin/server` ``.
    pub reason: String,
}

/// A file that has the name but cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnusableFile {
    /// The file, as this machine names it.
    pub path: String,
    /// What is wrong: `it is for arm64`.
    pub reason: String,
}

/// A module that may not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleWarning {
    /// The module.
    pub module: ImagePath,
    /// What is wrong.
    pub problem: ModuleProblem,
}

/// Why a module may not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleProblem {
    /// It is for another architecture than all programs; `None` when that
    /// has no name.
    OtherArchitecture(Option<Architecture>),
    /// It is for another system than Linux.
    OtherSystem,
    /// It is for another C library than all programs.
    OtherFlavor(Flavor),
    /// No program of the release has a dynamic loader, so none can load it.
    NoProgram,
    /// It, or a library that it needs, needs one that is nowhere.
    Missing(MissingLibrary),
}

/// A symbol version that a file needs and the library in the image lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UnsatisfiedVersion {
    /// The file that needs it.
    pub object: ImagePath,
    /// The library that should define it.
    pub library: ImagePath,
    /// The version: `GLIBC_2.38`.
    pub version: String,
    /// The newest of the kind that the library defines: `GLIBC_2.36`.
    pub available: Option<String>,
    /// Whether a program needs it, or only a module.
    pub role: Role,
}
