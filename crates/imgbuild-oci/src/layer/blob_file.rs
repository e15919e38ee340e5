//! The file that takes a compressed layer.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use super::Place;
use super::reuse::Known;
use crate::digest::{DiffId, Digest, DigestWriter};
use crate::error::{Error, Result};
use crate::new_file;
use crate::store::{NewBlob, Store, StoredBlob};

/// Takes the bytes of a blob, in the store or in a scratch file.
#[derive(Debug)]
pub(super) struct BlobFile<'a> {
    writer: DigestWriter<Target<'a>>,
    crc: crc32fast::Hasher,
    directory: PathBuf,
}

#[derive(Debug)]
enum Target<'a> {
    Store(&'a Store, NamedTempFile),
    Scratch(std::fs::File),
}

/// The bytes of a blob that is complete.
#[derive(Debug)]
pub(super) struct BlobBytes {
    pub(super) file: Arc<std::fs::File>,
    pub(super) place: Place,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) crc: u32,
}

impl<'a> BlobFile<'a> {
    /// Makes a file in the store, or without one in `scratch`.
    pub(super) fn create(store: Option<&'a Store>, scratch: &Path) -> Result<Self> {
        let stored = store.and_then(|store| Some((store, store.new_blob()?)));
        let (target, directory) = match stored {
            Some((store, file)) => {
                let directory = file.path().parent().unwrap_or(scratch).to_path_buf();
                (Target::Store(store, file), directory)
            }
            None => {
                let file = new_file::nameless(scratch).map_err(|source| Error::Scratch {
                    directory: scratch.to_path_buf(),
                    source,
                })?;
                (Target::Scratch(file), scratch.to_path_buf())
            }
        };
        Ok(Self {
            writer: DigestWriter::new(target),
            crc: crc32fast::Hasher::new(),
            directory,
        })
    }

    /// Returns the store that the file is in.
    pub(super) fn store(&self) -> Option<&'a Store> {
        match self.writer.inner() {
            Target::Store(store, _) => Some(store),
            Target::Scratch(_) => None,
        }
    }

    /// Returns the directory that the file is in.
    pub(super) fn directory(&self) -> PathBuf {
        self.directory.clone()
    }

    /// Returns the digest of the bytes so far.
    pub(super) fn digest(&self) -> Digest {
        self.writer.digest()
    }

    /// Ends the blob, and gives it its name if it is in the store.
    pub(super) fn finish(self, known: Option<&Known<'_>>, diff_id: DiffId) -> BlobBytes {
        let (target, digest, size) = self.writer.finish();
        let crc = self.crc.finalize();
        let file = match (target, known) {
            (Target::Store(store, file), Some(known)) => {
                let made = NewBlob { digest, size, crc };
                return store.insert(file, made, known.shape(), diff_id).into();
            }
            (Target::Store(_, file), None) => file.into_file(),
            (Target::Scratch(file), _) => file,
        };
        BlobBytes {
            file: Arc::new(file),
            place: Place::Scratch(self.directory.into()),
            digest,
            size,
            crc,
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

impl Write for Target<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Store(_, file) => file.write(buffer),
            Self::Scratch(file) => file.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<StoredBlob> for BlobBytes {
    fn from(blob: StoredBlob) -> Self {
        Self {
            file: Arc::new(blob.file),
            place: Place::Store(blob.path.into()),
            digest: blob.digest,
            size: blob.size,
            crc: blob.crc,
        }
    }
}
