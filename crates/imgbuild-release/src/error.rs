//! Why there is no plan, or no image.

use std::io;
use std::path::PathBuf;

use imgbuild_oci::path::{ImagePath, ParseImagePathError};

use crate::base::BaseError;
use crate::certificates::CertificateError;
use crate::locale::LocaleError;
use crate::pattern::PatternError;
use crate::programs::ProgramsError;
use crate::refusal::{Lines, Refusals, quoted};
use crate::runtime::RuntimeError;
use crate::skeleton::UnknownUser;

/// What can fail between a release and its image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call on a file failed; the cause names the call and the file.
    #[error(transparent)]
    File(#[from] io::Error),

    /// There is nothing at the release's path.
    #[error("there is no release at `{}`", path.display())]
    Missing {
        /// The path as given.
        path: PathBuf,
    },

    /// The release's path is not a directory.
    #[error("the release `{}` is not a directory", path.display())]
    NotADirectory {
        /// The path as given.
        path: PathBuf,
    },

    /// What was given holds releases and is none.
    #[error(
        "`{}` is not a release of the kind `{kind}`, but the directory of {}",
        path.display(),
        quoted(&shown(places))
    )]
    WrongLevel {
        /// The path as given.
        path: PathBuf,
        /// What made them.
        kind: &'static str,
        /// Where they lie.
        places: Vec<PathBuf>,
    },

    /// Nothing of the release is left to be packaged.
    #[error("the release `{}` has nothing to package", path.display())]
    Empty {
        /// The path as given.
        path: PathBuf,
        /// How many paths were left out.
        left_out: usize,
    },

    /// A directory of Cargo's without a program.
    #[error("the Cargo release `{}` has no executable", path.display())]
    NoExecutable {
        /// The path as given.
        path: PathBuf,
    },

    /// A directory of `mix release`'s that does not say what starts.
    #[error("the mix release `{}` has no `releases/start_erl.data` that names a version", path.display())]
    NoStartData {
        /// The path as given.
        path: PathBuf,
    },

    /// A release whose start needs a shell is to start without one.
    #[error("the release cannot start without a shell{}", Lines(problems))]
    NoDirectBoot {
        /// Everything that only a shell could do.
        problems: Vec<String>,
    },

    /// A program that was asked for is not in the release.
    #[error(
        "the release has no executable called `{name}` (it has: {})",
        quoted(known)
    )]
    UnknownBinary {
        /// The name asked for.
        name: String,
        /// The executables that are there.
        known: Vec<String>,
    },

    /// Paths that cannot go into an image, all of them.
    #[error(transparent)]
    Refused(#[from] Refusals),

    /// Nothing says what a container should run.
    #[error("cannot tell what the image should run{}", candidates_text(candidates))]
    NoCommand {
        /// The executables that could be meant.
        candidates: Vec<ImagePath>,
    },

    /// What was asked for as the command cannot be one.
    #[error("the command `{command}` cannot run: {reason}")]
    Command {
        /// The command as given.
        command: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A user name that the image does not have.
    #[error(transparent)]
    UnknownUser(#[from] UnknownUser),

    /// The base image names a user that it does not have.
    #[error(
        "the base image runs as `{user}`, and its passwd and group files have no `{}` (known: {})",
        unknown.name,
        quoted(&unknown.known)
    )]
    UnknownBaseUser {
        /// The user of the base image's configuration.
        user: String,
        /// The part of it that is unknown.
        unknown: UnknownUser,
    },

    /// Libraries that are asked for, and that are nowhere.
    #[error("libraries that the image needs were not found{}", Lines(missing))]
    MissingLibraries {
        /// Each library with where it was looked for.
        missing: Vec<String>,
    },

    /// Programs and files of the host cannot be included.
    #[error(transparent)]
    Programs(#[from] ProgramsError),

    /// A locale that is asked for cannot be brought.
    #[error(transparent)]
    Locale(#[from] LocaleError),

    /// The runtime closure could not be computed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),

    /// The base image leaves no room for a layer.
    #[error("the base image has {base} layers, and the image may have {limit}")]
    TooManyLayers {
        /// The layers of the base.
        base: usize,
        /// The most that the image may have.
        limit: usize,
    },

    /// The base image cannot be used.
    #[error("cannot use the base image `{}`", path.display())]
    Base {
        /// The layout or archive, as it was given.
        path: PathBuf,
        /// Why.
        source: Box<BaseError>,
    },

    /// A CA bundle cannot be used.
    #[error(transparent)]
    Certificates(#[from] CertificateError),

    /// A pattern cannot be used.
    #[error(transparent)]
    Pattern(#[from] PatternError),

    /// A path cannot be one in an image.
    #[error(transparent)]
    Path(#[from] ParseImagePathError),

    /// Layers could not be made.
    #[error(transparent)]
    Image(#[from] imgbuild_oci::error::Error),
}

/// The result of everything in this crate that can fail as [`Error`] says.
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn shown(paths: &[PathBuf]) -> Vec<String> {
    let paths = paths.iter().map(|path| path.display().to_string());
    paths.collect()
}

fn candidates_text(candidates: &[ImagePath]) -> String {
    if candidates.is_empty() {
        ": it has no executable at its top or in its `bin` directory".to_owned()
    } else {
        let count = candidates.len();
        format!(": it has {count} executables{}", Lines(candidates))
    }
}
