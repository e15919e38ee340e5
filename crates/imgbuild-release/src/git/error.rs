//! Errors in reading a repository.

use std::io;
use std::path::{Path, PathBuf};

use super::ObjectId;

/// A failure to read a repository.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// A file cannot be read.
    #[error(transparent)]
    File(io::Error),
    /// A file of the repository is not what git writes.
    #[error("`{path}` is not a valid file of git: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: &'static str,
    },
    /// An object that something refers to is not there.
    #[error("the object `{id}` is not in `{path}`")]
    Missing {
        /// The object.
        id: ObjectId,
        /// The directory of objects.
        path: PathBuf,
    },
    /// The repository uses what is not known here.
    #[error("`{path}` uses {feature}, which is not supported")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The feature.
        feature: &'static str,
    },
}

/// The result of reading a repository.
pub type GitResult<T> = Result<T, GitError>;

impl GitError {
    pub(super) fn malformed(path: &Path, reason: &'static str) -> Self {
        Self::Malformed {
            path: path.to_path_buf(),
            reason,
        }
    }

    pub(super) fn unsupported(path: &Path, feature: &'static str) -> Self {
        Self::Unsupported {
            path: path.to_path_buf(),
            feature,
        }
    }
}
