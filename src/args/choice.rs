//! Values of flags that are one of a few words.

use clap::ValueEnum;

/// An automatic part of the image, included or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// Include it where it is needed
    Auto,
    /// Leave it out
    None,
}

/// The reaction to an image that cannot start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckChoice {
    /// Stop the build
    Error,
    /// Warn only
    Warn,
    /// Skip the check
    Off,
}

/// The treatment of the cookie of a mix release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CookieChoice {
    /// Keep the cookie
    Keep,
    /// Leave the cookie out
    Remove,
}

/// The program that starts a mix release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BootChoice {
    /// The virtual machine
    Direct,
    /// The script of the release
    Script,
}
