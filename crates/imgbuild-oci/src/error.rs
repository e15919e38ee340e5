//! The errors of making and writing images.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::path::ImagePath;
use crate::source::SourceError;

/// A failure while layers are built or images are written.
///
/// A message names its subject and never repeats its cause, which is the
/// error's source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call on a file failed; the cause names the call and the file.
    #[error(transparent)]
    File(io::Error),

    /// A file changed after the plan was made.
    #[error("`{}` changed while it was being packaged", path.display())]
    Changed {
        /// The file on the host.
        path: PathBuf,
        /// The difference.
        source: Change,
    },

    /// A layer had other bytes when it was read a second time.
    #[error("the files of layer `{0}` changed while the image was being written")]
    LayerChanged(String),

    /// The entries cannot be one layer.
    #[error("cannot make a layer with `{path}`: {reason}")]
    Entry {
        /// The offending path.
        path: ImagePath,
        /// The rule that it breaks.
        reason: &'static str,
    },

    /// Bytes could not be written.
    #[error("cannot write {what}")]
    Write {
        /// The destination: a path in backticks, or a stream.
        what: String,
        /// The cause.
        source: io::Error,
    },

    /// A file or directory could not be written through to the disk.
    #[error("cannot sync `{}` to the disk", .0.display())]
    Sync(PathBuf, #[source] io::Error),

    /// A file has no directory to be written in.
    #[error("cannot write `{}`: its directory `{}` {problem}", path.display(), parent.display())]
    Parent {
        /// The file.
        path: PathBuf,
        /// The path that is not its directory.
        parent: PathBuf,
        /// The reason.
        problem: &'static str,
    },

    /// A scratch file could not be read or written.
    #[error("cannot keep a layer's bytes in the scratch directory `{}`", directory.display())]
    Scratch {
        /// The scratch directory.
        directory: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// A layer of the store could not be read.
    #[error("cannot read the cached layer `{}`", path.display())]
    Stored {
        /// The blob in the store.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// The bytes of a compressed layer changed after it was made.
    #[error("the bytes of layer `{layer}` in `{}` are damaged", path.display())]
    Damaged {
        /// The layer's name.
        layer: String,
        /// The blob in the store, which has been removed, or the scratch
        /// directory.
        path: PathBuf,
    },

    /// A blob that is copied could not be read.
    #[error("cannot read the blob {digest}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// The cause.
        source: io::Error,
    },

    /// A layer of the base image could not be opened.
    #[error(transparent)]
    Source(SourceError),

    /// A layer of the base image could not be read.
    #[error("cannot read the base image `{}`", path.display())]
    Base {
        /// The layout or archive.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// A blob that is copied has another digest.
    #[error("a blob is damaged: expected {expected}, found {found}")]
    BlobDigest {
        /// The digest that it should have.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },

    /// A blob that is copied has its digest, and not the size in its descriptor.
    #[error("the blob {digest} is damaged: expected {expected} bytes, found {found} bytes")]
    BlobSize {
        /// The blob.
        digest: Digest,
        /// The size in the descriptor.
        expected: u64,
        /// The size that it has.
        found: u64,
    },

    /// A layer of the base image changed since it was first read, or has another
    /// digest.
    #[error("the base image `{}` is damaged, or changed while it was being used", .0.display())]
    BaseChanged(PathBuf),

    /// A directory that is not an image layout.
    #[error("`{}` is not an image layout: {reason}", path.display())]
    NotALayout {
        /// The directory.
        path: PathBuf,
        /// The reason.
        reason: String,
    },

    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// The difference between a file and the plan, with both values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Change(pub(crate) String);

/// Returns the message of an error and those of its causes, with `separator`
/// between them.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error, separator: &str) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(separator);
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The result of a function that fails with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
