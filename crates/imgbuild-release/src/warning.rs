//! Likely mistakes that do not stop a build.

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::refusal::quoted;

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
        kind: &'static str,
        /// The directories of its releases.
        places: Vec<PathBuf>,
    },
    /// Any other warning, in a sentence.
    Other(String),
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PatternWithoutMatch { pattern } => {
                write!(
                    formatter,
                    "the pattern `{pattern}` matches nothing of the release"
                )
            }
            Self::ReleaseBelow { kind, places } => {
                let places = quoted(places.iter().map(|place| place.display()));
                write!(
                    formatter,
                    "the whole project is packaged, although it has a release of the kind `{kind}`: {places}"
                )
            }
            Self::Other(text) => formatter.write_str(text),
        }
    }
}

impl From<String> for Warning {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
