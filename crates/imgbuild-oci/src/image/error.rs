//! Errors of putting images together.

use std::io;

use crate::digest::Digest;
use crate::document::DocumentError;
use crate::platform::ImagePlatform;
use crate::selection::SelectionError;
use crate::source::SourceError;

/// Documents that do not make an image or an index.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A document or blob that another document names does not exist.
    #[error("`{0}` is named by an index and missing")]
    Missing(Digest),
    /// A document is malformed.
    #[error(transparent)]
    Document(DocumentError),
    /// An index names something that is not an image.
    #[error("the index {digest} names something of the type `{media_type}`, which is not an image")]
    Kind {
        /// The index.
        digest: Digest,
        /// The media type that it names.
        media_type: String,
    },
    /// Indexes are nested too deep, or lead to too much.
    #[error("indexes lead to too many manifests, or to themselves")]
    TooMany,
    /// No image can be chosen.
    #[error(transparent)]
    Selection(SelectionError),
    /// A document could not be read.
    #[error("cannot read the document {digest}")]
    Read {
        /// The document.
        digest: Digest,
        /// The cause.
        source: io::Error,
    },
    /// No media type names the compression of a layer.
    #[error("the layer `{name}` is neither a plain tar nor compressed with gzip or zstd")]
    Compression {
        /// The name of the layer in the source.
        name: String,
    },
    /// The source cannot be read.
    #[error(transparent)]
    Source(SourceError),
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

impl From<DocumentError> for ImageError {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::TooDeep | DocumentError::TooManyManifests => Self::TooMany,
            error => Self::Document(error),
        }
    }
}

impl From<SelectionError> for ImageError {
    fn from(error: SelectionError) -> Self {
        match error {
            SelectionError::Source(error) => Self::Source(error),
            SelectionError::Document(error) => error.into(),
            SelectionError::Missing(digest) => Self::Missing(digest),
            SelectionError::Read { digest, source } => Self::Read { digest, source },
            error => Self::Selection(error),
        }
    }
}

impl From<SourceError> for ImageError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}
