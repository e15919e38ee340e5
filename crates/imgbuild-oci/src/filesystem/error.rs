//! Why the file system of an image cannot be read.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::path::{ImagePath, ParseImagePathError};
use crate::source::SourceError;
use crate::tar_reader::ReadTarError;

/// A file system that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileSystemError {
    /// A layer cannot be read.
    #[error("cannot read the layer `{name}`")]
    Layer {
        /// The name of its blob in the source.
        name: String,
        /// Why.
        source: Box<LayerError>,
    },
    /// Contents cannot be set aside.
    #[error("cannot keep contents in the scratch directory `{}`", directory.display())]
    Scratch {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl FileSystemError {
    /// Whether it is the place for contents that failed, and not the image.
    pub(crate) fn is_of_scratch(&self) -> bool {
        match self {
            Self::Scratch { .. } => true,
            Self::Layer { source, .. } => matches!(**source, LayerError::Scratch { .. }),
        }
    }
}

/// What is wrong with a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The blob cannot be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The blob cannot be read or decompressed.
    #[error("cannot read or decompress it")]
    Read(#[source] io::Error),
    /// What it decompresses to is no tar.
    #[error(transparent)]
    Tar(#[from] ReadTarError),
    /// The blob has another size than its descriptor says.
    #[error("expected {expected} bytes, found {found}")]
    Size {
        /// What the descriptor says.
        expected: u64,
        /// What was found.
        found: u64,
    },
    /// The blob is not the one that its descriptor names.
    #[error("expected the digest {expected}, found {found}")]
    Digest {
        /// What the descriptor says.
        expected: Digest,
        /// What was found.
        found: Digest,
    },
    /// The tar is not the one that the configuration names.
    #[error("expected the diff ID {expected}, found {found}")]
    DiffId {
        /// What the configuration says.
        expected: Digest,
        /// What was found.
        found: Digest,
    },
    /// A path that no file system can hold.
    #[error(transparent)]
    Path(#[from] ParseImagePathError),
    /// A path whose directory is something else.
    #[error("`{path}` lies below `{parent}`, which is not a directory")]
    BelowAFile {
        /// The path.
        path: String,
        /// What is no directory.
        parent: ImagePath,
    },
    /// A hard link to nothing, or to a directory.
    #[error("`{path}` is a hard link to `{target}`, which is no file")]
    Hardlink {
        /// The link.
        path: ImagePath,
        /// What it says.
        target: String,
    },
    /// A symbolic link that says nothing.
    #[error("`{0}` is a symbolic link to nothing")]
    EmptyLink(ImagePath),
    /// More entries than any image has.
    #[error("the image has more than {0} entries")]
    TooManyEntries(u64),
    /// Longer names than any image has.
    #[error("the names in the image are longer than {0} bytes together")]
    TooManyNames(u64),
    /// Links and whiteouts that would keep the reader busy without end.
    #[error("its links and whiteouts take too long to follow")]
    TooMuchWork,
    /// It expands to more than an honest layer does.
    #[error("the layers of the image expand to more than {0} bytes")]
    TooLarge(u64),
    /// Contents cannot be set aside.
    #[error("cannot keep contents in the scratch directory `{}`", directory.display())]
    Scratch {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
}
