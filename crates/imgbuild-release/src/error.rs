//! Failures of a plan or a build.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use imgbuild_oci::path::{ImagePath, ParseImagePathError};

use crate::base::BaseError;
use crate::certificates::CertificateError;
use crate::locale::LocaleError;
use crate::pattern::PatternError;
use crate::programs::ProgramsError;
use crate::refusal::{ItemLines, Refusals, quoted};
use crate::runtime::RuntimeError;
use crate::skeleton::UnknownUser;

/// The reason why the command of a release is not known.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot determine the command of the image: {reason}")]
pub struct NoStart {
    /// The reason.
    pub reason: String,
    /// The words of a command that would do, if one is known.
    pub words: Vec<String>,
}

/// A failure between a release and its image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call on a file failed; the cause names the call and the file.
    #[error(transparent)]
    File(#[from] io::Error),

    /// There is nothing at the release's path, which is as given.
    #[error("there is no release at `{}`", .0.display())]
    Missing(PathBuf),

    /// The release's path, as given, is not a directory.
    #[error("the release `{}` is not a directory", .0.display())]
    NotADirectory(PathBuf),

    /// The directory contains releases and is not one itself.
    #[error(
        "`{}` is not a release of the kind `{kind}`, but the directory of {}",
        path.display(),
        quoted(places.iter().map(|place| place.display()))
    )]
    WrongLevel {
        /// The path as given.
        path: PathBuf,
        /// The kind of these releases.
        kind: &'static str,
        /// The directories of these releases.
        places: Vec<PathBuf>,
    },

    /// No file of the release is included.
    #[error("the release `{}` has nothing to package", path.display())]
    Empty {
        /// The path as given.
        path: PathBuf,
        /// The number of paths that are left out.
        left_out: usize,
    },

    /// A profile directory of Cargo without a program.
    #[error("the Cargo release `{}` has no executable", .0.display())]
    NoExecutable(PathBuf),

    /// A mix release whose files name no version to start.
    #[error("the mix release `{}` has no version: `releases/start_erl.data` is missing or incomplete", .0.display())]
    NoStartData(PathBuf),

    /// A release is to start without a shell, and steps of its start need one.
    #[error("the release cannot start without a shell{}", ItemLines(.0))]
    NoDirectBoot(Vec<String>),

    /// A program that was asked for is not in the release.
    #[error(
        "the release has no executable called `{name}` (it has: {})",
        quoted(known)
    )]
    UnknownBinary {
        /// The name asked for.
        name: String,
        /// The executables of the release.
        known: Vec<String>,
    },

    /// Paths that cannot go into an image, all of them.
    #[error(transparent)]
    Refused(#[from] Refusals),

    /// The release has no program, or several, and the user names none; the
    /// field has its executables.
    #[error(
        "cannot determine the command of the image{}",
        candidates_text(.0)
    )]
    NoCommand(Vec<ImagePath>),

    /// The programs of the release, of which none has an execute bit; each with
    /// its mode.
    #[error("no program of the release is executable{}", ItemLines(.0))]
    NotExecutable(Vec<String>),

    /// The release names a start that is not possible in an image.
    #[error(transparent)]
    NoStart(#[from] NoStart),

    /// The command of the user cannot run.
    #[error("the command `{command}` cannot run: {reason}")]
    Command {
        /// The command as given.
        command: String,
        /// The reason.
        reason: String,
    },

    /// A user name that the image does not have.
    #[error(transparent)]
    UnknownUser(#[from] UnknownUser),

    /// The base image names a user that it does not have.
    #[error(
        "the base image runs as `{user}`, but `{}` is not in its passwd and group files (known: {})",
        unknown.name,
        quoted(&unknown.known)
    )]
    UnknownBaseUser {
        /// The user of the base image's configuration.
        user: String,
        /// The part of it that is unknown.
        unknown: UnknownUser,
    },

    /// Libraries that the user asked for do not exist; each is named with the
    /// directories that were searched.
    #[error("libraries that the image needs were not found{}", ItemLines(.0))]
    MissingLibraries(Vec<String>),

    /// Programs and files of the host cannot be included.
    #[error(transparent)]
    Programs(#[from] ProgramsError),

    /// A locale cannot be included.
    #[error(transparent)]
    Locale(#[from] LocaleError),

    /// The runtime closure could not be computed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),

    /// The base image leaves no room for another layer.
    #[error("the base image has {base} layers; the limit is {limit}")]
    TooManyLayers {
        /// The layers of the base.
        base: usize,
        /// The maximum for an image.
        limit: usize,
    },

    /// The base image cannot be used.
    #[error("cannot use the base image `{}`{}", path.display(), source.compression())]
    Base {
        /// The layout or archive as given.
        path: PathBuf,
        /// The reason.
        source: Box<BaseError>,
    },

    /// A CA bundle cannot be used.
    #[error(transparent)]
    Certificates(#[from] CertificateError),

    /// A pattern cannot be used.
    #[error(transparent)]
    Pattern(#[from] PatternError),

    /// A path cannot be used in an image.
    #[error(transparent)]
    Path(#[from] ParseImagePathError),

    /// A layer cannot be made.
    #[error(transparent)]
    Image(#[from] imgbuild_oci::error::Error),
}

impl Error {
    /// Returns the failure of programs without an execute bit, with their modes;
    /// `None` without any.
    pub(crate) fn of_modes<P: Display>(
        programs: impl IntoIterator<Item = (P, u32)>,
    ) -> Option<Self> {
        let programs = programs.into_iter();
        let lines = programs.map(|(path, mode)| format!("`{path}`: its mode is {mode:04o}"));
        let lines: Vec<String> = lines.collect();
        (!lines.is_empty()).then_some(Self::NotExecutable(lines))
    }

    /// Returns whether the release has no program that can run.
    pub(crate) fn is_of_no_executable(&self) -> bool {
        let is_empty = matches!(self, Self::NoCommand(candidates) if candidates.is_empty());
        is_empty || matches!(self, Self::NotExecutable(_))
    }
}

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn candidates_text(candidates: &[ImagePath]) -> String {
    if candidates.is_empty() {
        ": it has no executable at its top or in its `bin` directory".to_owned()
    } else {
        let count = candidates.len();
        format!(": it has {count} executables{}", ItemLines(candidates))
    }
}
