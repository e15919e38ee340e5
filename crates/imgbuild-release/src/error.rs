//! Why there is no plan, or no image.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use imgbuild_oci::path::{ImagePath, ParseImagePathError, escaped};

use crate::base::BaseError;
use crate::certificates::CertificateError;
use crate::locale::LocaleError;
use crate::pattern::PatternError;
use crate::release::{BootProblem, Kind};
use crate::runtime::RuntimeError;

/// How many problems a message shows; the rest is counted.
const MAX_SHOWN: usize = 20;

/// What can fail between a release and its image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call on a file failed; the cause names the call and the file.
    #[error(transparent)]
    File(io::Error),

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
        paths(places)
    )]
    WrongLevel {
        /// The path as given.
        path: PathBuf,
        /// What made them.
        kind: Kind,
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
    #[error("the release cannot start without a shell{}", Shown(problems))]
    NoDirectBoot {
        /// Everything that only a shell could do.
        problems: Vec<BootProblem>,
    },

    /// A program that was asked for is not in the release.
    #[error(
        "the release has no executable called `{name}` (it has: {})",
        list(known)
    )]
    UnknownBinary {
        /// The name asked for.
        name: String,
        /// The executables that are there.
        known: Vec<String>,
    },

    /// Paths that cannot go into an image, all of them.
    #[error("cannot package the release{}", Shown(refusals))]
    Refused {
        /// Each path with its reason.
        refusals: Vec<Refusal>,
    },

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

    /// A user name that the image does not know.
    #[error(
        "the image has no user or group called `{name}` (known: {})",
        list(known)
    )]
    UnknownUser {
        /// The name as given.
        name: String,
        /// The names in the image's passwd or group file.
        known: Vec<String>,
    },

    /// The base image names a user that it does not have.
    #[error(
        "the base image runs as `{user}`, and its passwd and group files have no `{name}` (known: {})",
        list(known)
    )]
    UnknownBaseUser {
        /// What the base image says.
        user: String,
        /// The name of it that is unknown.
        name: String,
        /// The names in its passwd or group file.
        known: Vec<String>,
    },

    /// Libraries that are asked for, and that are nowhere.
    #[error("libraries that the image needs were not found{}", Shown(missing))]
    MissingLibraries {
        /// Each library with where it was looked for.
        missing: Vec<String>,
    },

    /// Programs that are asked for, and that are nowhere.
    #[error("programs that the image needs were not found{}", Shown(problems))]
    MissingPrograms {
        /// Each program with who needs it.
        problems: Vec<ProgramProblem>,
    },

    /// A locale that is asked for cannot be brought.
    #[error(transparent)]
    Locale(LocaleError),

    /// The runtime closure could not be computed.
    #[error(transparent)]
    Runtime(RuntimeError),

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
    Certificates(CertificateError),

    /// A pattern cannot be used.
    #[error(transparent)]
    Pattern(PatternError),

    /// A path cannot be one in an image.
    #[error(transparent)]
    Path(ParseImagePathError),

    /// Layers could not be made.
    #[error(transparent)]
    Image(imgbuild_oci::error::Error),
}

/// The result of everything in this crate that can fail as [`Error`] says.
pub type Result<T> = std::result::Result<T, Error>;

/// A path that cannot go into an image, and why.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// A socket, FIFO or device.
    Special {
        /// The path on the host.
        path: PathBuf,
        /// What it is, with its article.
        what: &'static str,
    },
    /// It cannot be read.
    Unreadable {
        /// The path on the host.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// Its name or path cannot be in an image.
    Name {
        /// The path on the host.
        path: PathBuf,
        /// The rule that it breaks.
        reason: String,
    },
    /// A set-id file that would become root's.
    SetId {
        /// The path on the host.
        path: PathBuf,
        /// The user and group that own it.
        owner: (u32, u32),
    },
    /// Two sources for one path of the image.
    TwoSources {
        /// The path in the image.
        path: ImagePath,
        /// Where its content would come from.
        sources: [String; 2],
    },
    /// A path below something that is not a directory.
    BelowAFile {
        /// The path in the image.
        path: ImagePath,
        /// What is no directory.
        parent: ImagePath,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Special { path, what } => write!(
                formatter,
                "`{}` is {what}; images can hold files, directories and symbolic links",
                shown(path)
            ),
            Self::Unreadable { path, cause } => {
                write!(formatter, "`{}` cannot be read: {cause}", shown(path))
            }
            Self::Name { path, reason } => write!(formatter, "`{}`: {reason}", shown(path)),
            Self::SetId {
                path,
                owner: (uid, gid),
            } => write!(
                formatter,
                "`{}` is a set-id file of {uid}:{gid}; in the image it would run as root",
                shown(path)
            ),
            Self::TwoSources {
                path,
                sources: [first, second],
            } => write!(formatter, "`{path}` has two sources: {first} and {second}"),
            Self::BelowAFile { path, parent } => {
                write!(
                    formatter,
                    "`{path}` lies below `{parent}`, which is not a directory"
                )
            }
        }
    }
}

/// A program that was asked for, and that is nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgramProblem {
    /// The user asked for it.
    Asked {
        /// The name or path.
        name: String,
        /// The directories that a name was looked for in.
        searched: Vec<String>,
    },
    /// The user asked for files that are no program.
    Data {
        /// Where they should be.
        path: &'static str,
    },
}

impl fmt::Display for ProgramProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked { name, .. } if name.contains('/') => {
                write!(formatter, "`{name}`, asked for, is no executable file")
            }
            Self::Asked { name, searched } => {
                write!(
                    formatter,
                    "`{name}`, asked for; looked in {}",
                    list(searched)
                )
            }
            Self::Data { path } => write!(formatter, "`{path}`, asked for, is not there"),
        }
    }
}

/// Shows a path of the host on one line, whatever bytes its name has.
fn shown(path: &Path) -> String {
    escaped(path.as_os_str().as_bytes())
}

/// Shows a list below its headline, [`MAX_SHOWN`] lines at most.
struct Shown<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Shown<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in self.0.iter().take(MAX_SHOWN) {
            write!(formatter, "\n  {item}")?;
        }
        match self.0.len().saturating_sub(MAX_SHOWN) {
            0 => Ok(()),
            rest => write!(formatter, "\n  … and {rest} more"),
        }
    }
}

fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

fn paths(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    list(&paths)
}

fn candidates_text(candidates: &[ImagePath]) -> String {
    match candidates.is_empty() {
        true => ": it has no executable at its top or in its `bin` directory".to_owned(),
        false => format!(
            ": it has {} executables{}",
            candidates.len(),
            Shown(candidates)
        ),
    }
}
