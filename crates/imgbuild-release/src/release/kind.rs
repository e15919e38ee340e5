//! What made a release.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// What made a release, which decides what of it goes in and where it lands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A profile directory of Cargo's: `target/release`.
    Cargo,
    /// What `mix release` or relx make of Elixir and Erlang.
    Mix,
    /// A directory that goes in as it is.
    Tree,
}

impl Kind {
    /// Returns the name, as users write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Mix => "mix",
            Self::Tree => "tree",
        }
    }

    /// Returns where a release of this kind lands.
    #[must_use]
    pub fn default_prefix(self) -> &'static str {
        match self {
            Self::Cargo => "/usr/local/bin",
            Self::Mix | Self::Tree => "/app",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A text that names no kind of release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind `{0}` (known: `cargo`, `mix`, `tree`)")]
pub struct ParseKindError(String);

impl FromStr for Kind {
    type Err = ParseKindError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        match text {
            "cargo" => Ok(Self::Cargo),
            "mix" => Ok(Self::Mix),
            "tree" => Ok(Self::Tree),
            _ => Err(ParseKindError(text.to_owned())),
        }
    }
}
