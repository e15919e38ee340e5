//! Values of flags that are one of a few words.

use clap::ValueEnum;

/// Whether something comes along by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// What is needed
    Auto,
    /// Nothing
    None,
}

/// What becomes of an image that would not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckChoice {
    /// It is not made
    Error,
    /// It is made, and what is wrong is said
    Warn,
    /// Nobody looks
    Off,
}

/// Whether a secret of the release goes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CookieChoice {
    /// It does
    Keep,
    /// It does not
    Remove,
}

/// What starts a mix release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BootChoice {
    /// The virtual machine itself
    Direct,
    /// Its script
    Script,
}
