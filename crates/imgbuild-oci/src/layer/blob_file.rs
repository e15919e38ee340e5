//! The file that a compressed layer is written to.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::{NamedTempFile, TempPath};

use super::{BlobLocation, LayerBlob, LayerBytes};
use crate::cache::LayerCandidate;
use crate::content::FileRange;
use crate::digest::{DiffId, Digest, DigestWriter};
use crate::error::{Error, Result};
use crate::new_file;
use crate::store::{NewBlob, Store, StoredBlob};

/// An incomplete blob, in the store or in a scratch file.
#[derive(Debug)]
pub(super) struct BlobFile<'a> {
    writer: DigestWriter<File>,
    crc: crc32fast::Hasher,
    /// The directory that the file is in.
    pub(super) directory: PathBuf,
    /// The store that the file is in, with its temporary name there.
    stored: Option<(&'a Store, TempPath)>,
}

impl<'a> BlobFile<'a> {
    /// Makes a file in the store, or without one in `scratch`.
    pub(super) fn create(store: Option<&'a Store>, scratch: &Path) -> Result<Self> {
        let stored = store.and_then(|store| Some((store, store.new_blob()?)));
        let (file, directory, stored) = if let Some((store, file)) = stored {
            let (file, name) = file.into_parts();
            let directory = name.parent().unwrap_or(scratch).to_path_buf();
            (file, directory, Some((store, name)))
        } else {
            let file = new_file::nameless(scratch).map_err(|source| Error::Scratch {
                directory: scratch.to_path_buf(),
                source,
            })?;
            (file, scratch.to_path_buf(), None)
        };
        Ok(Self {
            writer: DigestWriter::new(file),
            crc: crc32fast::Hasher::new(),
            directory,
            stored,
        })
    }

    /// Returns the store that the file is in.
    pub(super) fn store(&self) -> Option<&'a Store> {
        self.stored.as_ref().map(|(store, _)| *store)
    }

    /// Returns the digest of the bytes so far.
    pub(super) fn digest(&self) -> Digest {
        self.writer.digest()
    }

    /// Ends the blob of a tar with this diff ID. In a store it gets its name if
    /// the `shape` of the layer is known.
    pub(super) fn finish(self, shape: Option<Digest>, diff_id: DiffId) -> LayerBlob {
        let (file, digest, size) = self.writer.finish();
        let crc = self.crc.finalize();
        if let (Some((store, name)), Some(shape)) = (self.stored, shape) {
            let made = NewBlob { digest, size, crc };
            let file = NamedTempFile::from_parts(file, name);
            return store.insert(file, made, shape, diff_id).into();
        }
        LayerBlob {
            digest,
            size,
            bytes: LayerBytes::Blob {
                range: FileRange::new(Arc::new(file), 0, size),
                crc,
                location: BlobLocation::Scratch(self.directory.into()),
            },
        }
    }
}

impl Write for BlobFile<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(buffer)?;
        self.crc.update(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl From<StoredBlob> for LayerBlob {
    fn from(blob: StoredBlob) -> Self {
        Self {
            digest: blob.digest,
            size: blob.size,
            bytes: LayerBytes::Blob {
                range: FileRange::new(Arc::new(blob.file), 0, blob.size),
                crc: blob.crc,
                location: BlobLocation::Store(blob.path.into()),
            },
        }
    }
}

impl From<&LayerCandidate> for LayerBlob {
    fn from(layer: &LayerCandidate) -> Self {
        Self {
            digest: layer.digest,
            size: layer.size,
            bytes: LayerBytes::Remote(Arc::clone(&layer.content)),
        }
    }
}
