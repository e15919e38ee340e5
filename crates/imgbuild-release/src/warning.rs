//! What the user should know, although the image can be built.

use std::fmt;
use std::path::PathBuf;

use imgbuild_oci::path::{ImagePath, escaped};
use serde::{Serialize, Serializer};

/// Something that may surprise; it never stops a build.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A symbolic link to nothing.
    DanglingLink {
        /// The link in the image.
        path: ImagePath,
        /// What it says.
        target: Vec<u8>,
    },
    /// A symbolic link to something that is not part of the release.
    LinkLeavesRelease {
        /// The link in the image.
        path: ImagePath,
        /// What it says.
        target: Vec<u8>,
    },
    /// A module for which something is missing or does not fit.
    Module(String),
    /// A program or module that could not be understood.
    UnreadableElf {
        /// The file on the host.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What a CA bundle holds that is odd.
    Certificates(String),
    /// A JVM keeps its own list of roots.
    JavaReadsNoBundle,
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DanglingLink { path, target } => {
                write!(formatter, "`{path}` is a link to `{}`, where nothing is", escaped(target))
            }
            Self::LinkLeavesRelease { path, target } => write!(
                formatter,
                "`{path}` is a link to `{}`, which is not part of the release",
                escaped(target)
            ),
            Self::Module(text) | Self::Certificates(text) => formatter.write_str(text),
            Self::UnreadableElf { path, reason } => {
                write!(formatter, "`{}` is taken as data: {reason}", path.display())
            }
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
