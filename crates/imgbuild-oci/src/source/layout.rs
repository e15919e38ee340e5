//! An image layout in a directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err::File;

use super::{MemberReader, SourceError};
use crate::blob::BlobOrigin;
use crate::document::Descriptor;

/// A directory in the form of an OCI image layout.
///
/// See [image layout](https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md).
#[derive(Debug)]
pub struct LayoutSource {
    pub(super) root: PathBuf,
    pub(super) known: Option<KnownRoot>,
}

/// The root and the origin of blobs that have no index.
#[derive(Debug)]
pub(super) struct KnownRoot {
    pub(super) root: Descriptor,
    pub(super) origin: Option<BlobOrigin>,
}

impl LayoutSource {
    /// Takes a directory that has an `oci-layout` or an `index.json`.
    pub(super) fn open(root: &Path) -> Result<Self, SourceError> {
        let layout = Self {
            root: root.to_owned(),
            known: None,
        };
        for name in ["oci-layout", "index.json"] {
            if layout.member(name)?.is_some() {
                return Ok(layout);
            }
        }
        Err(SourceError::NotAnImage(root.to_owned()))
    }

    /// Takes a directory of blobs without an index, as caches keep them.
    pub(super) fn open_blobs(root: &Path) -> Option<Self> {
        let root = root.to_owned();
        let known = None;
        let layout = Self { root, known };
        layout.root.join("blobs/sha256").is_dir().then_some(layout)
    }

    /// Takes a directory of blobs, one of which is an image.
    pub(super) fn of_known(root: &Path, known: KnownRoot) -> Self {
        Self {
            root: root.to_owned(),
            known: Some(known),
        }
    }

    /// Opens a file below the root; names that could leave it are not there.
    pub(super) fn member(&self, name: &str) -> Result<Option<MemberReader>, SourceError> {
        if !name.split('/').all(is_plain_name) {
            return Ok(None);
        }
        let path = self.root.join(name);
        // Opening a named pipe would wait forever.
        let metadata = match fs_err::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(SourceError::File(error)),
        };
        if !metadata.is_file() {
            return Err(SourceError::NotAFile(path));
        }
        let file = File::open(path).map_err(SourceError::File)?;
        let size = file.metadata().map_err(SourceError::File)?.len();
        Ok(Some(MemberReader::new(Arc::new(file), 0, size)))
    }

    /// Returns the names of the files in `blobs/sha256`, sorted.
    pub(super) fn blob_names(&self) -> Result<Vec<String>, SourceError> {
        let directory = self.root.join("blobs/sha256");
        let entries = match fs_err::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(SourceError::File(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(SourceError::File)?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
}

fn is_plain_name(component: &str) -> bool {
    !matches!(component, "" | "." | "..") && !component.contains('\0')
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
    )
}
