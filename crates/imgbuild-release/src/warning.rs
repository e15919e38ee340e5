//! What the user should know, although the image can be built.

use std::fmt;
use std::path::PathBuf;

use imgbuild_oci::path::ImagePath;
use serde::{Serialize, Serializer};

/// Something that may surprise; it never stops a build.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A pattern that decides about nothing.
    PatternWithoutMatch {
        /// The pattern as it was given.
        pattern: String,
    },
    /// A program or module that could not be understood.
    UnreadableElf {
        /// The file on the host.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An interpreter that needs more than itself.
    InterpreterAlone {
        /// The script in the image.
        script: ImagePath,
        /// The interpreter's name.
        interpreter: String,
    },
    /// A script that calls programs that the image does not have.
    Calls {
        /// The script in the image.
        script: ImagePath,
        /// The programs, all of which the host has.
        programs: Vec<String>,
    },
    /// A program that a release's own scripts call, and that is nowhere.
    NoProgram {
        /// The program.
        name: String,
        /// What does not work without it.
        purpose: String,
    },
    /// A release without the Erlang runtime.
    NoErts {
        /// The version that it wants.
        version: String,
    },
    /// The secret is not in the image, and nothing works without one.
    CookieLeftOut,
    /// What a CA bundle holds that is odd.
    Certificates(String),
    /// A JVM keeps its own list of roots.
    JavaReadsNoBundle,
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PatternWithoutMatch { pattern } => {
                write!(formatter, "the pattern `{pattern}` matches nothing of the release")
            }
            Self::Certificates(text) => formatter.write_str(text),
            Self::UnreadableElf { path, reason } => {
                write!(formatter, "`{}` is taken as data: {reason}", path.display())
            }
            Self::InterpreterAlone { script, interpreter } => write!(
                formatter,
                "`{script}` is run by `{interpreter}`, of which only the program comes along, not the files that it loads"
            ),
            Self::Calls { script, programs } => write!(
                formatter,
                "`{script}` seems to call programs that the image does not have: `{}`",
                programs.join("`, `")
            ),
            Self::NoProgram { name, purpose } => write!(
                formatter,
                "`{name}` was not found on this machine, and the image goes without: {purpose}"
            ),
            Self::NoErts { version } => write!(
                formatter,
                "the release has no Erlang runtime: the image cannot start it unless ERTS {version} is added"
            ),
            Self::CookieLeftOut => formatter.write_str(
                "the release's cookie is not in the image: containers start only with `RELEASE_COOKIE` in their environment",
            ),
            Self::JavaReadsNoBundle => formatter.write_str(
                "a Java virtual machine reads its own trust store and neither `SSL_CERT_FILE` nor the CA bundle",
            ),
        }
    }
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
