//! Images to read: opened as the user named them, or refused with the hint that
//! helps.

use std::error::Error;
use std::fmt;
use std::path::Path;

use imgbuild_oci::selection::SelectionError;
use imgbuild_oci::source::{Source, SourceName};

use crate::args::{missing_hint, must_exist};
use crate::failure::{Failure, Result};

/// Opens a place that the user calls `text`; what is no image is told `kinds`.
///
/// # Errors
///
/// As [`SourceName::open`].
pub(crate) fn open_source(
    name: &SourceName,
    text: &str,
    scratch: &Path,
    kinds: &str,
) -> Result<Source> {
    source_must_exist(text, name, kinds)?;
    let opened = name.open(scratch);
    opened.map_err(|error| Failure::build(error).hint(kinds))
}

/// Refuses a place where nothing is; `given` is what was typed.
///
/// # Errors
///
/// With a hint: a name in a registry may be meant, or one of `kinds`.
pub(crate) fn source_must_exist(given: &str, name: &SourceName, kinds: &str) -> Result<()> {
    must_exist(given, name.path()).map_err(|failure| {
        let text = given.strip_prefix("--base ").unwrap_or(given);
        failure.hint(missing_hint(text).unwrap_or_else(|| kinds.to_owned()))
    })
}

/// An image that was not found in its source, and the reason.
#[derive(Debug)]
pub(crate) struct NotSelected {
    /// What was to be done with the image.
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
