//! Several platforms at once: paths for one of them, and indexes.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Subcommand};
use imgbuild_oci::platform::{ParsePlatformError, Platform};
use imgbuild_oci::reference::Reference;

use super::RegistryFlags;
use crate::commands::registry::Output;

/// `[PLATFORM=]PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlatformPath {
    pub(crate) platform: Option<Platform>,
    pub(crate) path: PathBuf,
}

impl PlatformPath {
    /// How clap reads it; a path need not be text.
    pub(super) fn parser() -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new().try_map(Self::parse)
    }

    /// Returns the platform before a path with the sign after it, or nothing.
    pub(crate) fn prefix_of(text: &str) -> &str {
        match text.split_once('=') {
            Some((start, path)) if is_meant_as_platform(start) => &text[..text.len() - path.len()],
            _ => "",
        }
    }

    fn parse(given: OsString) -> Result<Self, ParsePlatformError> {
        let bytes = given.as_bytes();
        let sign = bytes.iter().position(|byte| *byte == b'=');
        let start = sign.and_then(|sign| std::str::from_utf8(&bytes[..sign]).ok());
        let Some(start) = start.filter(|start| is_meant_as_platform(start)) else {
            return Ok(Self {
                platform: None,
                path: PathBuf::from(given),
            });
        };
        let path = bytes[start.len() + 1..].to_vec();
        Ok(Self {
            platform: Some(start.parse()?),
            path: PathBuf::from(OsString::from_vec(path)),
        })
    }
}

/// A directory whose name has a `=` is not often called `linux`, too; with
/// `./` before it, it is one.
fn is_meant_as_platform(text: &str) -> bool {
    text.to_ascii_lowercase().starts_with("linux/") || text.parse::<Platform>().is_ok()
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Make one index of images for several platforms
    ///
    /// The images keep their digests; indexes give all their images. The same
    /// images make the same index, in whatever order and from wherever they
    /// come.
    Create(IndexCreateArguments),
}

#[derive(Debug, Args)]
pub(crate) struct IndexCreateArguments {
    /// Where the index goes, with all its images: `docker://REFERENCE`, or as
    /// `--output` of a build takes it
    pub(crate) destination: Output,

    /// The images and indexes: `docker://REFERENCE`, `oci:DIR[:TAG]`,
    /// `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`, or a path whose
    /// kind is recognized
    #[arg(required = true, value_name = "SOURCE")]
    pub(crate) sources: Vec<String>,

    /// A further place for the index (can be repeated)
    #[arg(short, long, value_name = "DESTINATION")]
    pub(crate) output: Vec<Output>,

    /// The name of the index in layouts and archives (can be repeated);
    /// default: the names that all sources have
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub(crate) tag: Vec<Reference>,

    /// Set an annotation of the index (can be repeated)
    #[arg(long, value_name = "K=V")]
    pub(crate) annotation: Vec<String>,

    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the digest of the index to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) digest_file: Option<PathBuf>,

    /// Do not wait until everything is on the disk
    #[arg(long)]
    pub(crate) no_sync: bool,

    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_stands_before_the_path() {
        for (text, platform, path) in [
            ("dist", None, "dist"),
            ("linux/amd64=dist", Some("linux/amd64"), "dist"),
            ("linux/aarch64=a=b", Some("linux/arm64"), "a=b"),
            ("linux/arm/v6=/x", Some("linux/arm/v6"), "/x"),
            ("./linux/amd64=dist", None, "./linux/amd64=dist"),
            ("a=b", None, "a=b"),
            ("linux/amd64", None, "linux/amd64"),
            ("=a", None, "=a"),
        ] {
            let found = PlatformPath::parse(text.into()).unwrap();
            let expected = PlatformPath {
                platform: platform.map(|name| name.parse().unwrap()),
                path: PathBuf::from(path),
            };
            assert_eq!(found, expected, "{text}");
        }
        assert!(PlatformPath::parse("linux/x86=dist".into()).is_err());
    }

    #[test]
    fn a_path_need_not_be_text() {
        let given = OsString::from_vec(b"linux/amd64=\xff".to_vec());
        let found = PlatformPath::parse(given).unwrap();
        assert_eq!(found.path.as_os_str().as_bytes(), b"\xff");
        let given = OsString::from_vec(b"\xff=a".to_vec());
        assert_eq!(PlatformPath::parse(given).unwrap().platform, None);
    }
}
