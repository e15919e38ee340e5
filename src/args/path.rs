//! Paths on the command line: of this machine, for one platform, in the image.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use fs_err as fs;
use imgbuild_oci::image::volume_fault;
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::platform::{ParsePlatformError, Platform};

use crate::failure::{Failure, Result};

const OF_ENGINE: &str = "engines mount their own file system there";

pub(super) fn image_path(text: &str) -> std::result::Result<ImagePath, String> {
    ImagePath::parse(text).map_err(|error| error.to_string())
}

/// Parses a path for a volume.
///
/// # Errors
///
/// If an engine mounts a file system of its own there, or if an option of
/// `docker run --volume` follows the path.
pub(super) fn volume(text: &str) -> std::result::Result<ImagePath, String> {
    if let Some((path, "ro" | "rw" | "z" | "Z" | "nocopy")) = text.rsplit_once(':') {
        return Err(format!(
            "an image declares the path only: `{path}`; options are for `docker run --volume`"
        ));
    }
    if let Some((path, _)) = text.split_once(':') {
        return Err(format!(
            "an image declares the path only, for example `{path}`; the mode of a directory is for `--writable`"
        ));
    }
    let path = image_path(text)?;
    match volume_fault(&path) {
        Some(fault) => Err(format!("it is {fault}")),
        None if path.as_bytes() == b"/sys" => Err(OF_ENGINE.to_owned()),
        None => Ok(path),
    }
}

/// `PATH[:MODE]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WritablePath {
    pub(crate) path: ImagePath,
    pub(crate) mode: Option<u32>,
}

impl WritablePath {
    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        let given = text.rsplit_once(':');
        let given = given.filter(|(_, mode)| !mode.contains('/'));
        if let Some((_, mode)) = given.filter(|(_, mode)| octal_mode(mode).is_none()) {
            return Err(format!("`{mode}` is not an octal mode such as `0770`"));
        }
        let given = given.and_then(|(path, mode)| Some((path, octal_mode(mode)?)));
        let (path, mode) = given.map_or((text, None), |(path, mode)| (path, Some(mode)));
        if mode.is_some_and(|mode| mode > 0o7777) {
            return Err("the mode is larger than 7777".to_owned());
        }
        let path = image_path(path)?;
        let is_below = |place: &&str| path.starts_with(&ImagePath::parse(place).expect("a path"));
        if ["/proc", "/dev", "/sys"].iter().any(is_below) {
            return Err(OF_ENGINE.to_owned());
        }
        Ok(Self { path, mode })
    }
}

/// Returns the number of a text that is meant as a mode, with three to five octal
/// digits. It may be too large.
pub(crate) fn octal_mode(text: &str) -> Option<u32> {
    let is_octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok();
    mode.filter(|_| is_octal && (3..=5).contains(&text.len()))
}

/// Refuses a path that does not exist, with the flag or argument `given` that
/// names it.
///
/// # Errors
///
/// If there is no file or directory at `path`. Other problems are reported when
/// it is read.
pub(crate) fn must_exist(given: &str, path: &Path) -> Result<()> {
    let kind = fs::metadata(path).err().map(|error| error.kind());
    if !matches!(kind, Some(ErrorKind::NotFound | ErrorKind::NotADirectory)) {
        return Ok(());
    }
    let path = path.display().to_string();
    if path == "-" {
        let message = format!("cannot use `{given}`: standard input is not read here");
        return Err(Failure::build(message).hint("name a file; `./-` is one of this name"));
    }
    let which = if given.ends_with(&path) {
        String::new()
    } else {
        format!(": `{path}`")
    };
    Err(Failure::build(format!(
        "cannot use `{given}`: there is no such file or directory{which}"
    )))
}

/// `[PLATFORM=]PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlatformPath {
    pub(crate) platform: Option<Platform>,
    pub(crate) path: PathBuf,
}

impl PlatformPath {
    /// Returns the parser for clap; a path need not be UTF-8.
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

    fn parse(given: OsString) -> std::result::Result<Self, ParsePlatformError> {
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

/// Returns true if a text is a platform: a directory with `=` in its name is
/// rarely called `linux`, and with `./` before it, it is a path.
fn is_meant_as_platform(text: &str) -> bool {
    text.to_ascii_lowercase().starts_with("linux/") || text.parse::<Platform>().is_ok()
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
    fn a_mode_and_a_volume_are_not_guessed() {
        let mode = |text: &str| WritablePath::parse(text).map(|given| given.mode);
        assert_eq!(mode("/a:0770"), Ok(Some(0o770)));
        assert_eq!(mode("/a:b/c"), Ok(None));
        for text in [
            "/a:0888",
            "/a:",
            "/a:u+w",
            "/a:77777",
            "a:0755",
            "/proc/x",
            "/dev/shm/x:0700",
            "/sys",
        ] {
            assert!(mode(text).is_err(), "{text}");
        }
        assert!(volume("/data").is_ok());
        for text in [
            "/data:0700",
            "/a:/b",
            "/a:ro",
            "/proc",
            "/proc/x",
            "/dev",
            "/sys/x",
            "/",
            "a",
        ] {
            assert!(volume(text).is_err(), "{text}");
        }
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
