//! Errors of reading a source.

use std::io;
use std::path::PathBuf;

use super::archive::MAX_MEMBERS;
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
    #[error("there is no file or directory `{path}`", path = .0.display())]
    NotFound(PathBuf),
    /// The file or directory cannot be used.
    #[error("cannot {action} `{path}`", path = path.display())]
    Path {
        /// The action that failed.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is neither a layout nor an archive with an image in it.
    #[error("`{path}` is neither an image layout nor an image archive", path = .0.display())]
    NotAnImage(PathBuf),
    /// It is an image, but not of the kind that was asked for.
    #[error("`{path}` is not {expected}", path = path.display())]
    Kind {
        /// The path that was opened.
        path: PathBuf,
        /// The expected kind of source.
        expected: &'static str,
    },
    /// A layout has something else where a file should be.
    #[error("`{path}` is not a file", path = .0.display())]
    NotAFile(PathBuf),
    /// The archive is not a tar.
    #[error("cannot read `{path}` as an archive", path = path.display())]
    Tar {
        /// The archive.
        path: PathBuf,
        /// The cause.
        source: ReadTarError,
    },
    /// The archive has more files than any image.
    #[error("`{path}` has more than {MAX_MEMBERS} files", path = .0.display())]
    TooManyMembers(PathBuf),
    /// Links in an archive form a loop.
    #[error("`{0}` is a link that leads nowhere")]
    TooManyLinks(String),
    /// A file that another file names does not exist.
    #[error("`{0}` is missing")]
    Missing(String),
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
    /// An image of `manifest.json` lacks its configuration.
    #[error("an image of `manifest.json` has no `Config`")]
    NoConfig,
    /// A document is malformed, or leads to too much.
    #[error(transparent)]
    Document(#[from] DocumentError),
}
