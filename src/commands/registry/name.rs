//! Names on the command line that may be those of registries.

use std::fmt;
use std::str::FromStr;

use imgbuild_oci::destination::{Destination, ParseDestinationError};
use imgbuild_oci::reference::{ParseReferenceError, Reference};
use imgbuild_oci::source::{ParseSourceNameError, SourceName};

use crate::failure::{Failure, Result};

/// The transport of references, by its usual name.
pub(crate) const TRANSPORT: &str = "docker://";

/// What `--output` takes: a place on this machine, or a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    Here(Destination),
    Registry(Reference),
}

/// A text that names no output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ParseOutputError {
    Destination(ParseDestinationError),
    Reference(ParseReferenceError),
}

impl fmt::Display for ParseOutputError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Destination(error) => error.fmt(formatter),
            Self::Reference(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for ParseOutputError {}

impl FromStr for Output {
    type Err = ParseOutputError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        match text.strip_prefix(TRANSPORT) {
            Some(name) => name
                .parse()
                .map(Self::Registry)
                .map_err(ParseOutputError::Reference),
            None => text
                .parse()
                .map(Self::Here)
                .map_err(ParseOutputError::Destination),
        }
    }
}

/// What `--base` and `--cache-from` take: a place on this machine, or an image of a
/// registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageSource {
    Here(SourceName),
    Registry(Reference),
}

impl ImageSource {
    pub(crate) fn here(&self) -> Option<&SourceName> {
        match self {
            Self::Here(name) => Some(name),
            Self::Registry(_) => None,
        }
    }

    pub(crate) fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Here(_) => None,
            Self::Registry(reference) => Some(reference),
        }
    }
}

impl FromStr for ImageSource {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        match text.strip_prefix(TRANSPORT) {
            Some(name) => {
                let reference = name.parse().map(Self::Registry);
                reference.map_err(|error: ParseReferenceError| error.to_string())
            }
            None => {
                let name = text.parse().map(Self::Here);
                name.map_err(|error: ParseSourceNameError| error.to_string())
            }
        }
    }
}

/// Returns the reference that a text with the transport `docker://` names.
///
/// # Errors
///
/// When what follows the transport is no name.
pub(crate) fn reference(text: &str) -> Result<Option<Reference>> {
    let name = text.strip_prefix(TRANSPORT).map(str::parse).transpose();
    name.map_err(|error: ParseReferenceError| Failure::command_line(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_places_or_references() {
        let output = "docker://ghcr.io/me/app:1".parse::<Output>().unwrap();
        assert_eq!(
            output,
            Output::Registry("ghcr.io/me/app:1".parse().unwrap())
        );
        assert!(matches!(
            "a.tar".parse::<Output>().unwrap(),
            Output::Here(_)
        ));
        assert!("docker://A".parse::<Output>().is_err());
        assert!("docker:a".parse::<Output>().is_err());
    }
}
