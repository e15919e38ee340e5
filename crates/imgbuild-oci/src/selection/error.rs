//! Errors of choosing and reading one image.

use std::io;

use super::MAX_IMAGE_LAYERS;
use crate::digest::Digest;
use crate::document::DocumentError;
use crate::platform::Platform;
use crate::source::SourceError;

/// An image that cannot be chosen or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// A source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A document is malformed, or leads to too much.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A document that another one names does not exist.
    #[error("`{0}` is named by an index and missing")]
    Missing(Digest),
    /// A document could not be read.
    #[error("cannot read the document {digest}")]
    Read {
        /// The document.
        digest: Digest,
        /// The cause.
        source: io::Error,
    },
    /// Only an artifact is there.
    #[error("there is no image in it, only the artifact `{0}`")]
    Artifact(String),
    /// Nothing has the digest.
    #[error("there is no manifest with the digest {0} in it")]
    Digest(Digest),
    /// The configuration of the image lacks its platform.
    #[error("`{0}` does not contain the platform of the image")]
    NoPlatform(String),
    /// There is no image in the source.
    #[error("there is no image in it")]
    NoImage,
    /// No image has the tag.
    #[error("no image in it has the tag `{tag}` (it has: {})", list(known))]
    Tag {
        /// The tag or name that was looked for.
        tag: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// No image is for the platform.
    #[error("no image in it is for {wanted} (it has: {})", list(known))]
    Platform {
        /// The platform that was looked for.
        wanted: String,
        /// The platforms that there are.
        known: Vec<String>,
    },
    /// Several images fit.
    #[error("it has {} images: {}", images.len(), list(images))]
    Several {
        /// Each one by its names and platform.
        images: Vec<String>,
        /// True if a platform would tell them apart.
        differ_by_platform: bool,
    },
    /// A document does not have the size of its descriptor.
    #[error("`{name}` is damaged: expected {expected} bytes, found {found}")]
    Size {
        /// The name in the source.
        name: String,
        /// The size in the descriptor, in bytes.
        expected: u64,
        /// The size that it has, in bytes.
        found: u64,
    },
    /// The configuration lacks what every image has.
    #[error("`{name}` is not an image configuration: {reason}")]
    Config {
        /// The name in the source.
        name: String,
        /// The reason, as a clause.
        reason: &'static str,
    },
    /// A layer is not a tar.
    #[error("one of its layers has the media type `{0}`, which is not a tar that can be read")]
    LayerMediaType(String),
    /// The documents do not agree about the layers.
    #[error("layers of the manifest: {expected}, diff IDs of the configuration: {found}")]
    DiffIds {
        /// The layers of the manifest.
        expected: usize,
        /// The diff IDs of the configuration.
        found: usize,
    },
    /// No engine can run so many layers.
    #[error("it has {0} layers; no engine runs more than {MAX_IMAGE_LAYERS}")]
    TooManyLayers(usize),
}

impl SelectionError {
    /// Takes the failure of a function that reads documents.
    pub(crate) fn of_read(digest: Digest, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound && error.get_ref().is_none() {
            return Self::Missing(digest);
        }
        let unwrapped = error
            .downcast::<Self>()
            .or_else(|error| error.downcast::<SourceError>().map(Self::Source));
        unwrapped.unwrap_or_else(|source| Self::Read { digest, source })
    }

    /// Returns true if a document is not there.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::Missing(_) | Self::Source(SourceError::Missing(_))
        )
    }

    /// Returns true if a platform would select one of several images.
    #[must_use]
    pub fn asks_for_platform(&self) -> bool {
        matches!(
            self,
            Self::Several {
                differ_by_platform: true,
                ..
            }
        )
    }

    pub(crate) fn no_platform(wanted: &Platform, known: Vec<String>) -> Self {
        Self::Platform {
            wanted: wanted.to_string(),
            known,
        }
    }
}

pub(super) fn list(names: &[String]) -> String {
    const MAX_LISTED: usize = 20;
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown = names.iter().take(MAX_LISTED);
    let shown: Vec<String> = shown
        .map(|name| format!("`{}`", crate::path::escaped(name.as_bytes())))
        .collect();
    match names.len().saturating_sub(MAX_LISTED) {
        0 => shown.join(", "),
        rest => format!("{} and {rest} more", shown.join(", ")),
    }
}
