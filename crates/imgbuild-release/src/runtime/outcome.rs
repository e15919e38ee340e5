//! The findings of a resolution, and the directories that were searched.

use std::fmt;

use imgbuild_oci::path::ImagePath;
use serde::Serialize;

use super::host::HostPath;
use super::{Flavor, Role};
use crate::elf::Architecture;

/// A library, or the loader of a program, that was not found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingLibrary {
    /// The name by which it is needed; the path of a loader.
    pub name: String,
    /// Set for the loader of a program.
    pub is_interpreter: bool,
    /// The file that needs it; `None` when it was asked for.
    pub needed_by: Option<ImagePath>,
    /// Every directory that was searched, in order.
    pub searched: Vec<SearchedDirectory>,
    /// Files of that name that cannot be loaded.
    pub unusable: Vec<UnusableFile>,
    /// Files of the release with that name, which no loader searches.
    pub elsewhere: Vec<ImagePath>,
}

impl MissingLibrary {
    /// Returns the last part of its name.
    pub(super) fn file_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }
}

/// A directory that was searched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SearchedDirectory {
    /// The directory, as this machine names it.
    pub directory: String,
    /// The reason to search it: ``RUNPATH of `/app/bin/server` ``.
    pub reason: String,
}

/// A file that has the name but cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnusableFile {
    /// The file, as this machine names it.
    pub path: String,
    /// The reason: `it is for arm64`.
    pub reason: String,
}

/// A module that may not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleWarning {
    /// The module.
    pub module: ImagePath,
    /// The problem.
    pub problem: ModuleProblem,
}

/// A reason why a module may not work.
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
    /// It, or a library that it needs, needs one that was not found.
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
    /// The role of the file that needs it.
    pub role: Role,
}

/// The reason to search a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SearchOrigin {
    Rpath(ImagePath),
    Runpath(ImagePath),
    /// An extra directory of the options.
    LibraryPath,
    /// The image's `LD_LIBRARY_PATH`.
    Environment,
    Cache,
    /// A cache or path file of a base image, which the image's loader reads.
    Base,
    Configuration,
    MuslPath,
    Default,
    /// The needed name is a path.
    Name,
    /// The name was given as a path in the options.
    Added,
}

impl SearchOrigin {
    /// Returns whether the loader in the image will look there as well.
    pub(super) fn is_in_image(&self) -> bool {
        match self {
            Self::Rpath(_)
            | Self::Runpath(_)
            | Self::Environment
            | Self::Base
            | Self::Default
            | Self::Name => true,
            Self::LibraryPath
            | Self::Cache
            | Self::Configuration
            | Self::MuslPath
            | Self::Added => false,
        }
    }
}

impl fmt::Display for SearchOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rpath(object) => write!(formatter, "RPATH of `{object}`"),
            Self::Runpath(object) => write!(formatter, "RUNPATH of `{object}`"),
            Self::LibraryPath => formatter.write_str("extra library path"),
            Self::Environment => formatter.write_str("LD_LIBRARY_PATH of the image"),
            Self::Cache => formatter.write_str("ld.so.cache"),
            Self::Base => formatter.write_str("search path of the base image's loader"),
            Self::Configuration => formatter.write_str("ld.so.conf"),
            Self::MuslPath => formatter.write_str("path file of the musl loader"),
            Self::Default => formatter.write_str("default directory of the loader"),
            Self::Name => formatter.write_str("named by the file that needs it"),
            Self::Added => formatter.write_str("requested"),
        }
    }
}

/// A directory to search: as the image will know it, as the host does, or
/// both. `$ORIGIN` makes them differ for files of the release.
#[derive(Debug, Clone)]
pub(super) struct SearchPlace {
    pub(super) image: Vec<u8>,
    pub(super) host: Option<HostPath>,
    pub(super) origin: SearchOrigin,
}
