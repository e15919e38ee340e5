//! Likely mistakes that do not stop a build.

use std::fmt;
use std::path::PathBuf;

use imgbuild_oci::path::ImagePath;
use serde::{Serialize, Serializer};

/// A likely mistake, or something that may surprise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A pattern that matches no path of the release.
    PatternWithoutMatch {
        /// The pattern as it was given.
        pattern: String,
    },
    /// A project is packaged as a whole, although it has a release.
    ReleaseBelow {
        /// The kind of the release.
        kind: String,
        /// The directories of its releases.
        places: Vec<PathBuf>,
    },
    /// A damaged ELF file.
    UnreadableElf {
        /// The file on the host.
        path: PathBuf,
        /// The damage.
        reason: String,
    },
    /// An interpreter without its modules.
    InterpreterAlone {
        /// The script in the image.
        script: ImagePath,
        /// The interpreter's name.
        interpreter: String,
    },
    /// A program that scripts of the release call is missing.
    NoProgram {
        /// The program.
        name: String,
        /// The effect for the release.
        purpose: String,
    },
    /// The cookie is not in the image, and the release needs one.
    CookieLeftOut,
    /// The cookie is an argument of the virtual machine.
    CookieArgument {
        /// The file in the image that has it.
        path: ImagePath,
    },
    /// `os_mon` queries the system with a shell, and there is none.
    OsMonWithoutShell,
    /// The release names its node, which other nodes cannot reach.
    NoDistribution {
        /// The file of the release that names it; `None` for a variable of the
        /// user.
        path: Option<String>,
    },
    /// A variable that only the start script reads.
    VariableWithoutShell {
        /// Its name.
        name: &'static str,
    },
    /// An unknown mode of the virtual machine.
    UnknownMode {
        /// The value of `RELEASE_MODE`.
        mode: String,
    },
    /// Arguments of the virtual machine that need a shell.
    ArgumentsWithoutShell {
        /// The file of the release that has them.
        path: String,
        /// The flags, without their values.
        dropped: Vec<&'static str>,
    },
    /// An oddity of a CA bundle.
    Certificates(String),
    /// A Java virtual machine has a trust store of its own.
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
                    "the whole project is packaged, although it has a release of the kind `{kind}`: `{}`",
                    places.join("`, `")
                )
            }
            Self::Certificates(text) => formatter.write_str(text),
            Self::UnreadableElf { path, reason } => {
                write!(formatter, "`{}` is treated as data: {reason}", path.display())
            }
            Self::InterpreterAlone { script, interpreter } => write!(
                formatter,
                "the interpreter of `{script}`, `{interpreter}`, is included without the modules that it loads"
            ),
            Self::NoProgram { name, purpose } => write!(
                formatter,
                "`{name}` is neither on this machine nor in the image: {purpose}"
            ),
            Self::CookieLeftOut => formatter.write_str(
                "the release cookie is not in the image: containers need `RELEASE_COOKIE` in their environment to start",
            ),
            Self::CookieArgument { path } => write!(
                formatter,
                "`{path}` contains the node cookie (`-setcookie`): anyone with the image can read it and control reachable nodes"
            ),
            Self::OsMonWithoutShell => formatter.write_str(
                "`os_mon` of the release queries the system with a shell: without one, its `cpu_sup`, `disksup` and `memsup` are not started",
            ),
            Self::NoDistribution { path } => {
                match path {
                    Some(path) => write!(formatter, "`{path}` sets")?,
                    None => formatter.write_str("the environment of the image sets")?,
                }
                formatter.write_str(
                    " `RELEASE_DISTRIBUTION`, which has no effect without a shell: name the node with `ERL_FLAGS` in a container's environment",
                )
            }
            Self::VariableWithoutShell { name } => write!(
                formatter,
                "the environment of the image sets `{name}`, which only the start script reads: it has no effect without a shell"
            ),
            Self::UnknownMode { mode } => write!(
                formatter,
                "`RELEASE_MODE` is `{mode}`, neither `embedded` nor `interactive`: the virtual machine uses `interactive`"
            ),
            Self::ArgumentsWithoutShell { path, dropped } => write!(
                formatter,
                "`{path}` has arguments that need a shell and are left out: `{}`",
                dropped.join("`, `")
            ),
            Self::JavaReadsNoBundle => formatter.write_str(
                "a Java virtual machine uses its own trust store, neither `SSL_CERT_FILE` nor the CA bundle",
            ),
        }
    }
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
