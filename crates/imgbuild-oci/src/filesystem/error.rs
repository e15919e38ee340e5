//! Errors of reading the file system of an image.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::path::ParseImagePathError;
use crate::source::SourceError;
use crate::tar_reader::ReadTarError;
use crate::violation::ViolationKind;

/// A file system that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileSystemError {
    /// A layer cannot be read.
    #[error("cannot read the layer `{name}`")]
    Layer {
        /// The name of its blob in the source.
        name: String,
        /// The cause.
        source: Box<LayerError>,
    },
    /// Contents cannot be written to a scratch file.
    #[error("cannot keep contents in the scratch directory `{}`", directory.display())]
    Scratch {
        /// The directory.
        directory: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl FileSystemError {
    /// Returns true if the directory for contents failed, and not the image.
    pub(crate) fn is_of_scratch(&self) -> bool {
        match self {
            Self::Scratch { .. } => true,
            Self::Layer { source, .. } => matches!(**source, LayerError::Scratch { .. }),
        }
    }
}

/// A layer that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The blob cannot be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The blob cannot be read or decompressed.
    #[error("cannot read or decompress it")]
    Read(#[source] io::Error),
    /// Its decompressed bytes are not a tar.
    #[error(transparent)]
    Tar(#[from] ReadTarError),
    /// The blob does not have the size of its descriptor.
    #[error("expected {expected} bytes, found {found}")]
    Size {
        /// The size in the descriptor, in bytes.
        expected: u64,
        /// The size of the blob, in bytes.
        found: u64,
    },
    /// The blob does not have the digest of its descriptor.
    #[error("expected the digest {expected}, found {found}")]
    Digest {
        /// The digest in the descriptor.
        expected: Digest,
        /// The digest that was found.
        found: Digest,
    },
    /// The tar does not have its diff ID.
    #[error("expected the diff ID {expected}, found {found}")]
    DiffId {
        /// The diff ID in the configuration.
        expected: Digest,
        /// The digest that was found.
        found: Digest,
    },
    /// A path that no file system can hold.
    #[error(transparent)]
    Path(#[from] ParseImagePathError),
    /// An entry that has no place, which is a violation and does not leave the reader.
    #[error("an entry breaks the rule {0:?}")]
    Refused(ViolationKind),
    /// More or longer names than an image of this size has.
    #[error("the names in the image need more than {} MiB of memory, too much for its size", .0 >> 20)]
    TooManyNames(u64),
    /// Links and whiteouts that would keep the reader busy without end.
    #[error("its links and whiteouts take too long to follow")]
    TooMuchWork,
    /// Contents cannot be written to a scratch file.
    #[error("cannot keep contents in the scratch directory `{}`", directory.display())]
    Scratch {
        /// The directory.
        directory: PathBuf,
        /// The cause.
        source: io::Error,
    },
}
