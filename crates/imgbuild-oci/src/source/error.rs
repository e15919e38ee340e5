//! Errors of reading a source.

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
    /// The path does not exist.
    #[error("there is no file or directory `{path}`", path = path.display())]
    NotFound {
        /// The path that was to be opened.
        path: PathBuf,
    },
    /// Its metadata cannot be read.
    #[error("cannot access `{path}`", path = path.display())]
    Inaccessible {
        /// The path that was to be opened.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is neither a layout nor an archive with an image in it.
    #[error("`{path}` is neither an image layout nor an image archive", path = path.display())]
    NotAnImage {
        /// The path that was opened.
        path: PathBuf,
    },
    /// It is an image, but not of the kind that was asked for.
    #[error("`{path}` is not {expected}", path = path.display())]
    Kind {
        /// The path that was opened.
        path: PathBuf,
        /// The expected kind of source.
        expected: &'static str,
    },
    /// A layout has something else where a file should be.
    #[error("`{path}` is not a file", path = path.display())]
    NotAFile {
        /// The path that is not a file.
        path: PathBuf,
    },
    /// The archive is not a tar.
    #[error("cannot read `{path}` as an archive", path = path.display())]
    Tar {
        /// The archive.
        path: PathBuf,
        /// The cause.
        source: ReadTarError,
    },
    /// The archive as a whole cannot be decompressed.
    #[error("cannot decompress `{path}`", path = path.display())]
    Decompress {
        /// The archive.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No scratch file could be made.
    #[error("cannot make a scratch file in `{path}`", path = path.display())]
    Scratch {
        /// The directory.
        path: PathBuf,
        /// The cause.
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
    /// Links in an archive form a loop.
    #[error("`{name}` is a link that leads nowhere")]
    TooManyLinks {
        /// The name in the archive.
        name: String,
    },
    /// A file that another file names does not exist.
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
        /// The cause.
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
    /// A blob does not have the digest of its name.
    #[error("`{name}` is damaged: expected {expected}, found {found}")]
    Digest {
        /// The name in the source.
        name: String,
        /// The digest that it should have.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// A document is not JSON of the expected form.
    #[error("`{name}` is malformed")]
    Json {
        /// The name in the source.
        name: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// A descriptor lacks its media type, digest or size.
    #[error("`{name}` has a descriptor without a valid {field}")]
    Descriptor {
        /// The document.
        name: String,
        /// The field.
        field: &'static str,
    },
    /// A document is malformed, or leads to too much.
    #[error(transparent)]
    Document(#[from] DocumentError),
}
