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
    /// A project is packed as it is, and has a release of its own.
    ReleaseBelow {
        /// The kind of it.
        kind: String,
        /// Where releases lie.
        places: Vec<PathBuf>,
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
    /// A program that a release's own scripts call, and that is nowhere.
    NoProgram {
        /// The program.
        name: String,
        /// What does not work without it.
        purpose: String,
    },
    /// The secret is not in the image, and nothing works without one.
    CookieLeftOut,
    /// The secret is an argument of the virtual machine.
    CookieArgument {
        /// The file in the image that has it.
        path: ImagePath,
    },
    /// Without a shell, `os_mon` cannot ask the system.
    OsMonWithoutShell,
    /// A release names its node, which no other will reach.
    NoDistribution {
        /// The file of the release that says it; none when the user does.
        path: Option<String>,
    },
    /// A variable that only a shell would have read.
    VariableWithoutShell {
        /// Its name.
        name: &'static str,
    },
    /// A mode that the virtual machine does not know.
    UnknownMode {
        /// What `RELEASE_MODE` says.
        mode: String,
    },
    /// Arguments of the virtual machine that need a shell.
    ArgumentsWithoutShell {
        /// The file of the release that has them.
        path: String,
        /// The flags, without their values.
        dropped: Vec<&'static str>,
    },
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
            Self::ReleaseBelow { kind, places } => {
                let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
                write!(
                    formatter,
                    "the whole project goes into the image, and it has a release of the kind `{kind}`: `{}`",
                    places.join("`, `")
                )
            }
            Self::Certificates(text) => formatter.write_str(text),
            Self::UnreadableElf { path, reason } => {
                write!(formatter, "`{}` is taken as data: {reason}", path.display())
            }
            Self::InterpreterAlone { script, interpreter } => write!(
                formatter,
                "`{script}` is run by `{interpreter}`, of which only the program comes along, not the files that it loads"
            ),
            Self::NoProgram { name, purpose } => write!(
                formatter,
                "`{name}` was not found on this machine, and the image goes without: {purpose}"
            ),
            Self::CookieLeftOut => formatter.write_str(
                "the release's cookie is not in the image: containers start only with `RELEASE_COOKIE` in their environment",
            ),
            Self::CookieArgument { path } => write!(
                formatter,
                "`{path}` says the cookie of the node (`-setcookie`), a secret that everybody who has the image can read: with it, whoever reaches a node's ports controls the node"
            ),
            Self::OsMonWithoutShell => formatter.write_str(
                "the release has `os_mon`, which asks the system by a shell: without one, its `cpu_sup`, `disksup` and `memsup` are not started",
            ),
            Self::NoDistribution { path } => {
                match path {
                    Some(path) => write!(formatter, "`{path}` sets")?,
                    None => formatter.write_str("the environment of the image sets")?,
                }
                formatter.write_str(
                    " `RELEASE_DISTRIBUTION`, which starts nothing without a shell: `ERL_FLAGS` in a container's environment can name the node",
                )
            }
            Self::VariableWithoutShell { name } => write!(
                formatter,
                "the environment of the image sets `{name}`, which only the start script reads: without a shell it changes nothing"
            ),
            Self::UnknownMode { mode } => write!(
                formatter,
                "`RELEASE_MODE` is `{mode}`, which the virtual machine takes for `interactive`: it knows `embedded` and `interactive`"
            ),
            Self::ArgumentsWithoutShell { path, dropped } => write!(
                formatter,
                "`{path}` has arguments that work with a shell only, and the image goes without them: `{}`",
                dropped.join("`, `")
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
