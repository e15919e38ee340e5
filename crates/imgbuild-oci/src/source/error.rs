//! Why a source cannot be read.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::document::{DocumentError, MAX_DOCUMENT_BYTES};
use crate::tar_reader::ReadTarError;

/// A source that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A file could not be opened or read.
    #[error(transparent)]
    File(io::Error),
    /// There is nothing.
    #[error("there is no file or directory `{path}`", path = path.display())]
    NotFound {
        /// What was to be opened.
        path: PathBuf,
    },
    /// Nobody can tell what it is.
    #[error("cannot look at `{path}`", path = path.display())]
    Inaccessible {
        /// What was to be opened.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no layout, and no archive with an image in it.
    #[error("`{path}` is neither an image layout nor an image archive", path = path.display())]
    NotAnImage {
        /// What was opened.
        path: PathBuf,
    },
    /// It is an image, but not of the kind that was asked for.
    #[error("`{path}` is not {expected}", path = path.display())]
    Kind {
        /// What was opened.
        path: PathBuf,
        /// What was asked for.
        expected: &'static str,
    },
    /// A layout has something else where a file should be.
    #[error("`{path}` is not a file", path = path.display())]
    NotAFile {
        /// What is not a file.
        path: PathBuf,
    },
    /// The archive is not a tar.
    #[error("cannot read `{path}` as an archive", path = path.display())]
    Tar {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: ReadTarError,
    },
    /// The archive as a whole cannot be decompressed.
    #[error("cannot decompress `{path}`", path = path.display())]
    Decompress {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No scratch file could be made.
    #[error("cannot make a scratch file in `{path}`", path = path.display())]
    Scratch {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive has more files than any image.
    #[error("`{path}` has more than {limit} files", path = path.display())]
    TooManyMembers {
        /// The archive.
        path: PathBuf,
        /// The most that are read.
        limit: usize,
    },
    /// Links in an archive lead to each other.
    #[error("`{name}` is a link that leads nowhere")]
    TooManyLinks {
        /// The name in the archive.
        name: String,
    },
    /// A file that another one refers to is not there.
    #[error("`{name}` is missing")]
    Missing {
        /// The name in the source.
        name: String,
    },
    /// A file in the source could not be read.
    #[error("cannot read `{name}`")]
    Read {
        /// The name in the source.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A document is larger than [`MAX_DOCUMENT_BYTES`].
    #[error("`{name}` is too large: {size} bytes, at most {MAX_DOCUMENT_BYTES}")]
    TooLarge {
        /// The name in the source.
        name: String,
        /// Its size.
        size: u64,
    },
    /// A blob is not what its name says.
    #[error("`{name}` is damaged: expected {expected}, found {found}")]
    Digest {
        /// The name in the source.
        name: String,
        /// The digest that it should have.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// A document is not what it should be.
    #[error("`{name}` is malformed")]
    Json {
        /// The name in the source.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A descriptor lacks its media type, digest or size.
    #[error("`{name}` has a descriptor without a valid {field}")]
    Descriptor {
        /// The document.
        name: String,
        /// What is missing.
        field: &'static str,
    },
    /// A document is malformed, or leads to too much.
    #[error(transparent)]
    Document(#[from] DocumentError),
}
