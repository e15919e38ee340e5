//! Names of sources: a path, or a transport and a path.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Source, SourceError};
use crate::digest::Digest;

/// A source as it is named on a command line: a path alone, whose content
/// decides what it is, or one of
///
/// - `oci:DIRECTORY[:TAG|@DIGEST]`: an image layout;
/// - `oci-archive:FILE[:TAG|@DIGEST]`: an image layout in a tar file;
/// - `docker-archive:FILE[:NAME]`: what `docker save` writes, in a file without
///   a colon in its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceName {
    pub(crate) transport: Option<SourceTransport>,
    path: PathBuf,
    tag: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceTransport {
    Layout,
    OciArchive,
    DockerArchive,
}

/// Transports of other tools, which are hardly meant as file names.
pub(crate) const FOREIGN_TRANSPORTS: [&str; 12] = [
    "atomic",
    "containers-storage",
    "dir",
    "docker",
    "docker-daemon",
    "oci-layout",
    "ocidir",
    "ostree",
    "podman",
    "registry",
    "sif",
    "tarball",
];

/// A text that does not name a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseSourceNameError {
    /// The path is missing.
    #[error("`{0}` has no path")]
    NoPath(String),
    /// A transport of another tool.
    #[error("the transport `{0}` is not supported")]
    Transport(String),
}

impl FromStr for SourceName {
    type Err = ParseSourceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (transport, (path, tag)) = match text.split_once(':') {
            Some(("oci", rest)) => (Some(SourceTransport::Layout), split_name(rest)),
            Some(("oci-archive", rest)) => (Some(SourceTransport::OciArchive), split_name(rest)),
            Some(("docker-archive", rest)) => {
                // At the first colon, since a name can have colons, too.
                let split = rest.split_once(':');
                let split = split.map_or((rest, None), |(path, name)| (path, Some(name)));
                (Some(SourceTransport::DockerArchive), split)
            }
            Some((transport, _)) if FOREIGN_TRANSPORTS.contains(&transport) => {
                return Err(ParseSourceNameError::Transport(transport.to_owned()));
            }
            _ => (None, (text, None)),
        };
        if path.is_empty() || tag == Some("") {
            return Err(ParseSourceNameError::NoPath(text.to_owned()));
        }
        Ok(Self {
            transport,
            path: path.into(),
            tag: tag.map(str::to_owned),
        })
    }
}

/// Splits `PATH[:TAG]` or `PATH@DIGEST`.
fn split_name(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once('@') {
        Some((path, digest)) if digest.parse::<Digest>().is_ok() => (path, Some(digest)),
        _ => split_tag(text),
    }
}

/// Splits `PATH[:TAG]` at the last colon, unless a slash follows: a tag has no
/// slash.
pub(crate) fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (text, None),
    }
}

impl SourceName {
    /// Returns the path without transport and tag.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the tag, name or digest of one image in it.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Opens the source, which must be of the kind of the transport.
    ///
    /// # Errors
    ///
    /// As [`Source::open`], and when it is something else.
    pub fn open(&self, scratch: &Path) -> Result<Source, SourceError> {
        let source = Source::open(&self.path, scratch)?;
        let is_archive_with = |name| {
            let is_archive = matches!(source, Source::Archive(_));
            Ok::<_, SourceError>(is_archive && source.member(name)?.is_some())
        };
        let (is_right, expected) = match self.transport {
            None => return Ok(source),
            Some(SourceTransport::Layout) => {
                (matches!(source, Source::Layout(_)), "an image layout")
            }
            Some(SourceTransport::OciArchive) => (is_archive_with("index.json")?, "an OCI archive"),
            Some(SourceTransport::DockerArchive) => {
                (is_archive_with("manifest.json")?, "a Docker archive")
            }
        };
        if is_right {
            return Ok(source);
        }
        Err(SourceError::Kind {
            path: self.path.clone(),
            expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_told_apart() {
        use SourceTransport::{DockerArchive, Layout, OciArchive};
        for (text, transport, path, tag) in [
            ("a/b", None, "a/b", None),
            ("oci:a/b", Some(Layout), "a/b", None),
            ("oci:a/b:1", Some(Layout), "a/b", Some("1")),
            ("oci:a:1/b", Some(Layout), "a:1/b", None),
            ("oci-archive:a/b:1", Some(OciArchive), "a/b", Some("1")),
            ("docker-archive:a/b", Some(DockerArchive), "a/b", None),
            (
                "docker-archive:a/b:localhost:5000/c/d:1",
                Some(DockerArchive),
                "a/b",
                Some("localhost:5000/c/d:1"),
            ),
            ("./docker:x", None, "./docker:x", None),
            ("C:x", None, "C:x", None),
        ] {
            let expected = SourceName {
                transport,
                path: path.into(),
                tag: tag.map(str::to_owned),
            };
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
