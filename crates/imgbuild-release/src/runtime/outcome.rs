//! The findings of a resolution, and the directories that were searched.

use imgbuild_oci::path::ImagePath;
use serde::Serialize;

use super::host::HostPath;
use super::{Flavor, Role};
use crate::elf::Architecture;

/// A library, or the loader of a program, that was not found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
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

/// A directory to search: as the image will know it, as the host does, or
/// both. `$ORIGIN` makes them differ for files of the release.
#[derive(Debug, Clone)]
pub(super) struct SearchPlace {
    pub(super) image: Vec<u8>,
    pub(super) host: Option<HostPath>,
    pub(super) reason: String,
    /// Set if the loader in the image will look there as well.
    pub(super) is_in_image: bool,
}

impl SearchPlace {
    /// Returns a directory that the loader in the image searches as well.
    pub(super) fn in_image(image: Vec<u8>, host: Option<HostPath>, reason: &str) -> Self {
        Self {
            image,
            host,
            reason: reason.to_owned(),
            is_in_image: true,
        }
    }

    /// Returns a directory that only this search looks into.
    pub(super) fn on_host(image: Vec<u8>, host: HostPath, reason: &str) -> Self {
        Self {
            is_in_image: false,
            ..Self::in_image(image, Some(host), reason)
        }
    }
}
