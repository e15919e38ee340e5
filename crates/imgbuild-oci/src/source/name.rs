//! Names of sources: a path, or a transport and a path.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Source, SourceError};

/// A source as it is named on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceName {
    /// A path alone; its content decides what it is.
    Path(PathBuf),
    /// `oci:DIRECTORY[:TAG]`: an image layout.
    Layout {
        /// The directory.
        path: PathBuf,
        /// The tag of one image in it.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`: an image layout in a tar file.
    OciArchive {
        /// The file.
        path: PathBuf,
        /// The tag of one image in it.
        tag: Option<String>,
    },
    /// `docker-archive:FILE[:NAME]`: what `docker save` writes.
    DockerArchive {
        /// The file, without a colon.
        path: PathBuf,
        /// The name of one image in it.
        name: Option<String>,
    },
}

/// Transports of other tools that would need an engine or a network.
const FOREIGN_TRANSPORTS: [&str; 8] = [
    "atomic",
    "containers-storage",
    "dir",
    "docker",
    "docker-daemon",
    "ostree",
    "podman",
    "registry",
];

/// A text that does not name a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseSourceNameError {
    /// The path is missing.
    #[error("`{0}` has no path")]
    NoPath(String),
    /// The transport needs an engine or a network.
    #[error("the transport `{0}` is not supported")]
    Transport(String),
}

impl FromStr for SourceName {
    type Err = ParseSourceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let no_path = || ParseSourceNameError::NoPath(text.to_owned());
        let name = match text.split_once(':') {
            Some(("oci", rest)) => {
                let (path, tag) = split_tag(rest).ok_or_else(no_path)?;
                let path = PathBuf::from(path);
                Self::Layout { path, tag }
            }
            Some(("oci-archive", rest)) => {
                let (path, tag) = split_tag(rest).ok_or_else(no_path)?;
                let path = PathBuf::from(path);
                Self::OciArchive { path, tag }
            }
            Some(("docker-archive", rest)) => {
                let (path, name) = split_name(rest).ok_or_else(no_path)?;
                let path = PathBuf::from(path);
                Self::DockerArchive { path, name }
            }
            Some((transport, _)) if FOREIGN_TRANSPORTS.contains(&transport) => {
                return Err(ParseSourceNameError::Transport(transport.to_owned()));
            }
            _ => Self::Path(text.into()),
        };
        if name.path().as_os_str().is_empty() {
            return Err(no_path());
        }
        Ok(name)
    }
}

/// Splits at the last colon, unless a slash follows: a tag has no slash.
fn split_tag(text: &str) -> Option<(&str, Option<String>)> {
    match text.rsplit_once(':') {
        Some((_, "")) => None,
        Some((path, tag)) if !tag.contains('/') => Some((path, Some(tag.to_owned()))),
        _ => Some((text, None)),
    }
}

/// Splits at the first colon, since a name can have colons, too.
fn split_name(text: &str) -> Option<(&str, Option<String>)> {
    match text.split_once(':') {
        Some((_, "")) => None,
        Some((path, name)) => Some((path, Some(name.to_owned()))),
        None => Some((text, None)),
    }
}

impl SourceName {
    /// Returns the path without transport and tag.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Path(path)
            | Self::Layout { path, .. }
            | Self::OciArchive { path, .. }
            | Self::DockerArchive { path, .. } => path,
        }
    }

    /// Returns the tag or name of one image in it.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Layout { tag, .. } | Self::OciArchive { tag, .. } => tag.as_deref(),
            Self::DockerArchive { name, .. } => name.as_deref(),
            Self::Path(_) => None,
        }
    }

    /// Opens the source, which must be of the kind of the transport.
    ///
    /// # Errors
    ///
    /// As [`Source::open`], and when it is something else.
    pub fn open(&self, scratch: &Path) -> Result<Source, SourceError> {
        let source = Source::open(self.path(), scratch)?;
        let (is_right, expected) = match self {
            Self::Path(_) => (true, ""),
            Self::Layout { .. } => (matches!(source, Source::Layout(_)), "an image layout"),
            Self::OciArchive { .. } => (
                matches!(source, Source::Archive(_)) && source.member("index.json")?.is_some(),
                "an OCI archive",
            ),
            Self::DockerArchive { .. } => (
                matches!(source, Source::Archive(_)) && source.member("manifest.json")?.is_some(),
                "a Docker archive",
            ),
        };
        if is_right {
            return Ok(source);
        }
        Err(SourceError::Kind {
            path: self.path().to_owned(),
            expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_told_apart() {
        let path = PathBuf::from("a/b");
        let tag = |tag: &str| Some(tag.to_owned());
        for (text, expected) in [
            ("a/b", SourceName::Path(path.clone())),
            (
                "oci:a/b",
                SourceName::Layout {
                    path: path.clone(),
                    tag: None,
                },
            ),
            (
                "oci:a/b:1",
                SourceName::Layout {
                    path: path.clone(),
                    tag: tag("1"),
                },
            ),
            (
                "oci:a:1/b",
                SourceName::Layout {
                    path: "a:1/b".into(),
                    tag: None,
                },
            ),
            (
                "oci-archive:a/b:1",
                SourceName::OciArchive {
                    path: path.clone(),
                    tag: tag("1"),
                },
            ),
            (
                "docker-archive:a/b",
                SourceName::DockerArchive {
                    path: path.clone(),
                    name: None,
                },
            ),
            (
                "docker-archive:a/b:localhost:5000/c/d:1",
                SourceName::DockerArchive {
                    path,
                    name: tag("localhost:5000/c/d:1"),
                },
            ),
            ("./docker:x", SourceName::Path("./docker:x".into())),
            ("C:x", SourceName::Path("C:x".into())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn names_without_a_path_are_refused() {
        for text in [
            "",
            "oci:",
            "oci::1",
            "oci:a:",
            "oci-archive:",
            "oci-archive:a:",
            "docker-archive:",
            "docker-archive::a",
            "docker-archive:a:",
        ] {
            let error = text.parse::<SourceName>().unwrap_err();
            assert_eq!(error, ParseSourceNameError::NoPath(text.to_owned()));
        }
    }

    #[test]
    fn transports_that_need_an_engine_are_refused() {
        let error = "docker://alpine"
            .parse::<SourceName>()
            .unwrap_err()
            .to_string();
        assert_eq!(error, "the transport `docker` is not supported");
    }
}
