//! Paths inside an image.

use std::fmt::{self, Write as _};

use serde::{Serialize, Serializer};

mod links;

pub use links::{MAX_LINKS, ResolveError, resolve_links};

/// The longest path that Linux takes in one call, without its final NUL
/// (`PATH_MAX`, linux/limits.h).
pub const MAX_PATH_BYTES: usize = 4095;

const TOO_LONG: &str = "it is longer than 4,095 bytes";

/// The longest name of one component (`NAME_MAX`, linux/limits.h).
pub const MAX_NAME_BYTES: usize = 255;

/// An absolute, normalized path inside an image: `/app/bin/server`.
///
/// It consists of bytes, since file names on Linux are bytes. It has no empty,
/// `.` or `..` components, no NUL and no trailing slash; the root is `/`.
/// Paths compare as their bytes do, so a parent sorts before what is below it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImagePath(Vec<u8>);

/// A text that cannot be a path inside an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` cannot be a path in an image: {reason}")]
pub struct ParseImagePathError {
    path: String,
    reason: &'static str,
}

impl ImagePath {
    /// Returns `/`.
    #[must_use]
    pub fn root() -> Self {
        Self(b"/".to_vec())
    }

    /// Parses an absolute path. Repeated slashes and `.` are dropped.
    ///
    /// # Errors
    ///
    /// When the path is relative or has a `..`, a NUL, a component over
    /// [`MAX_NAME_BYTES`] or more than [`MAX_PATH_BYTES`].
    pub fn parse(path: impl AsRef<[u8]>) -> Result<Self, ParseImagePathError> {
        let path = path.as_ref();
        if !path.starts_with(b"/") {
            return Err(error(path, "it does not start with `/`"));
        }
        Self::root().join(path)
    }

    /// Appends a relative path; slashes at its start are ignored.
    ///
    /// # Errors
    ///
    /// As [`ImagePath::parse`]: the result never leaves this path.
    pub fn join(&self, relative: impl AsRef<[u8]>) -> Result<Self, ParseImagePathError> {
        let relative = relative.as_ref();
        let mut bytes = Vec::with_capacity(self.0.len() + relative.len() + 1);
        if !self.is_root() {
            bytes.extend_from_slice(&self.0);
        }
        for component in relative.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(error(relative, "`..` could leave its directory")),
                name if name.contains(&0) => return Err(error(relative, "it contains a NUL byte")),
                name if name.len() > MAX_NAME_BYTES => {
                    return Err(error(relative, "one of its names is longer than 255 bytes"));
                }
                name => {
                    bytes.push(b'/');
                    bytes.extend_from_slice(name);
                }
            }
        }
        if bytes.is_empty() {
            bytes.push(b'/');
        }
        if bytes.len() > MAX_PATH_BYTES {
            return Err(error(relative, TOO_LONG));
        }
        Ok(Self(bytes))
    }

    /// Returns whether this is `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0 == b"/"
    }

    /// Returns the path with its leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path as it is in the tar of a layer: without the leading
    /// slash.
    #[must_use]
    pub fn relative(&self) -> &[u8] {
        &self.0[1..]
    }

    /// Returns the last component; empty for the root.
    #[must_use]
    pub fn file_name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0) + 1;
        &self.0[start..]
    }

    /// Returns the directory that holds this path; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(0) | None => Some(Self::root()),
            Some(end) => Some(Self(self.0[..end].to_vec())),
        }
    }

    /// Returns the bytes of the directory that holds this path; for one
    /// directly in the root, and for the root itself, those of the root.
    #[must_use]
    pub fn parent_bytes(&self) -> &[u8] {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(0) | None => b"/",
            Some(end) => &self.0[..end],
        }
    }

    /// Returns every directory above this path but the root, nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + use<> {
        std::iter::successors(self.parent(), Self::parent).filter(|path| !path.is_root())
    }

    /// Returns whether this path is `directory` or lies below it.
    #[must_use]
    pub fn starts_with(&self, directory: &Self) -> bool {
        directory.is_root()
            || self
                .0
                .strip_prefix(directory.0.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

fn error(path: &[u8], reason: &'static str) -> ParseImagePathError {
    let path = shortened(path);
    ParseImagePathError { path, reason }
}

/// Shows the start of a path as [`escaped`] does: that of a tar may have a
/// million bytes.
pub(crate) fn shortened(path: &[u8]) -> String {
    let start = escaped(&path[..path.len().min(1000)]);
    if start.chars().count() > 200 {
        start.chars().take(200).chain(['…']).collect()
    } else {
        start
    }
}

/// Shows bytes of a path on one line, in their order: control characters, those
/// that end a line or turn the direction of a text, and bytes that are not
/// UTF-8 appear as `\n`, `\u{202e}`, `\xff`, ….
#[must_use]
pub fn escaped(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || rearranges_text(character) {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("writing to a string cannot fail");
        }
    }
    text
}

/// Returns whether a character ends a line (`Zl` and `Zp` of Unicode) or
/// changes the direction of a text (`Bidi_Control`).
fn rearranges_text(character: char) -> bool {
    matches!(
        character,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

impl fmt::Display for ImagePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&escaped(&self.0))
    }
}

impl fmt::Debug for ImagePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for ImagePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalized() {
        for (text, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("/app", "/app"),
            ("/app/", "/app"),
            ("//app/./bin//server", "/app/bin/server"),
        ] {
            assert_eq!(ImagePath::parse(text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_could_leave_or_break_an_image_is_refused() {
        let long_name = format!("/{}", "a".repeat(256));
        let long_path = "/abc".repeat(1024);
        for text in ["", "app", "/a/../b", "/..", "/a\0b", &long_name, &long_path] {
            assert!(ImagePath::parse(text).is_err(), "{text}");
        }
        assert!(ImagePath::parse(&long_path[1..]).is_err());
        assert!(ImagePath::root().join(&long_path[1..4095]).is_ok());
    }

    #[test]
    fn ancestors_stop_below_the_root() {
        let path = ImagePath::parse("/a/b/c").unwrap();
        let ancestors: Vec<String> = path.ancestors().map(|path| path.to_string()).collect();
        assert_eq!(ancestors, ["/a/b", "/a"]);
    }

    #[test]
    fn a_directory_holds_itself_and_what_is_below() {
        let path = |text| ImagePath::parse(text).unwrap();
        assert!(path("/a/b").starts_with(&path("/a")));
        assert!(path("/a").starts_with(&path("/a")));
        assert!(path("/a").starts_with(&path("/")));
        assert!(!path("/ab").starts_with(&path("/a")));
    }

    #[test]
    fn bytes_that_are_not_text_are_shown_escaped() {
        let path = ImagePath::parse(b"/a\nb\xff".as_slice()).unwrap();
        assert_eq!(path.to_string(), "/a\\nb\\xff");
        assert_eq!(path.as_bytes(), b"/a\nb\xff");
    }

    #[test]
    fn what_would_rearrange_a_line_is_shown_escaped() {
        let direction = ['\u{061c}', '\u{200e}', '\u{200f}'].into_iter();
        let direction = direction.chain('\u{202a}'..='\u{202e}');
        let all = direction.chain('\u{2066}'..='\u{2069}');
        for character in all.chain(['\u{2028}', '\u{2029}']) {
            let expected = format!("a{}b", character.escape_default());
            assert_eq!(escaped(format!("a{character}b").as_bytes()), expected);
        }
        assert_eq!(escaped("größe ‑ שלום 日本".as_bytes()), "größe ‑ שלום 日本");
    }
}
