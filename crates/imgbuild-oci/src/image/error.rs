//! Errors of putting images together.

use crate::digest::Digest;
use crate::document::DocumentError;
use crate::platform::ImagePlatform;
use crate::selection::{IndexPart, SelectionError};
use crate::source::SourceError;

/// Documents that do not make an image or an index.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A document cannot be read or followed, or no image can be chosen.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// A document is neither a manifest nor an index.
    #[error("{digest} is of the type `{media_type}`, which is not an image")]
    Kind {
        /// The document.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// Only some of the images of an index are there.
    #[error("{0}")]
    Part(IndexPart),
    /// Neither an index nor the config of an image has its platform.
    #[error("the image {0} has no platform, neither in an index nor in its config")]
    NoPlatform(Digest),
    /// Two images are for the same platform.
    #[error("there are two images for {platform}: {first} and {second}")]
    TwoImages {
        /// The platform.
        platform: Box<ImagePlatform>,
        /// The image that was there first.
        first: Digest,
        /// The other one.
        second: Digest,
    },
}

impl ImageError {
    pub(super) fn missing(digest: Digest) -> Self {
        Self::Selection(SelectionError::Missing(digest))
    }
}

impl From<DocumentError> for ImageError {
    fn from(error: DocumentError) -> Self {
        Self::Selection(error.into())
    }
}

impl From<SourceError> for ImageError {
    fn from(error: SourceError) -> Self {
        Self::Selection(error.into())
    }
}
