//! The compression of layers.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::media_type;
use imgbuild_deflate::Level;

/// The compression of an image's layers; all layers of an image share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Plain tar: the digest of a layer is its diff ID.
    None,
    /// One gzip member, whose bytes depend on the tar and the level only.
    Gzip(Level),
}

impl Compression {
    /// Returns the media type of a layer, from the [OCI image specification].
    ///
    /// [OCI image specification]: https://github.com/opencontainers/image-spec/blob/v1.1.0/media-types.md
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => media_type::LAYER,
            Self::Gzip(_) => media_type::LAYER_GZIP,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("none"),
            Self::Gzip(level) => write!(formatter, "gzip:{}", level.number()),
        }
    }
}

impl Serialize for Compression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that names no compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown compression `{0}` (known: `none`, `gzip`, and `gzip:1` to `gzip:9`)")]
pub struct ParseCompressionError(String);

impl FromStr for Compression {
    type Err = ParseCompressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseCompressionError(text.to_owned());
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "gzip" => Ok(Self::Gzip(Level::DEFAULT)),
            Some(("gzip", level)) => {
                let level = level.parse().map_err(|_| error())?;
                Level::new(level).map(Self::Gzip).ok_or_else(error)
            }
            _ => Err(error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compression_prints_what_it_parses() {
        for text in ["none", "gzip:1", "gzip:9"] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), text);
        }
        assert_eq!(
            "gzip".parse::<Compression>().unwrap(),
            Compression::Gzip(Level::DEFAULT)
        );
    }

    #[test]
    fn what_is_unknown_is_refused_with_what_is_known() {
        for text in ["", "zip", "gzip:", "gzip:0", "gzip:10", "none:1"] {
            let error = text.parse::<Compression>().unwrap_err().to_string();
            assert!(error.contains("known: `none`"), "{error}");
        }
    }
}
