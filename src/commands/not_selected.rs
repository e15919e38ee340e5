//! A source in which the image that is meant was not found.

use std::error::Error;
use std::fmt;

use imgbuild_oci::selection::SelectionError;

/// Which image was looked for, where, and why it was not found.
#[derive(Debug)]
pub(crate) struct NotSelected {
    /// What was to be done with it.
    verb: &'static str,
    source: String,
    error: SelectionError,
}

impl NotSelected {
    pub(crate) fn new(verb: &'static str, source: &str, error: SelectionError) -> Self {
        Self {
            verb,
            source: source.to_owned(),
            error,
        }
    }
}

impl fmt::Display for NotSelected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, source, .. } = self;
        write!(formatter, "cannot find the image to {verb} in `{source}`")
    }
}

impl Error for NotSelected {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}
