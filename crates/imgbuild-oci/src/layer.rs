//! Finished layers: their digests are known, and their bytes can be written.

mod base;
mod blob_file;
mod build;
mod read;
mod reuse;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blob::{BlobContent, BlobOrigin};
use crate::buffer::AlignedBuffer;
use crate::cache::Cache;
use crate::changeset::Changeset;
use crate::compression::Compression;
use crate::content::FileRange;
use crate::digest::{DiffId, Digest};
use crate::error::{Error, Result};
use crate::monitor::{Monitor, Progress};
use crate::new_file;
use crate::store::LayerRecord;
use crate::xattr::DroppedXattrs;

pub(crate) use base::fetch_all;
pub use build::build_layers;
pub(crate) use read::Piece;

/// The bytes that are read, hashed or written at a time.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// One finished layer.
///
/// The bytes of a plain layer stay in the files of the host and are read
/// again when it is written; those of a compressed one are in the store, or in
/// a scratch file without a name.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The name, for messages and the history.
    pub name: String,
    /// The media type of the blob.
    pub media_type: String,
    /// The annotations of its descriptor; layers made here have none.
    pub annotations: BTreeMap<String, String>,
    /// The digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// The size of the uncompressed tar in bytes; `None` for a layer of a base
    /// image that was not read.
    pub tar_size: Option<u64>,
    /// The number of entries of the tar, if it is known.
    pub entries: Option<usize>,
    /// The extended attributes that its files have and its tar lacks.
    pub dropped_xattrs: DroppedXattrs,
    /// True if an earlier build made it.
    pub is_reused: bool,
    blob: LayerBlob,
}

/// The blob of a layer.
#[derive(Debug, Clone)]
struct LayerBlob {
    digest: Digest,
    /// The size in bytes.
    size: u64,
    bytes: LayerBytes,
}

#[derive(Debug, Clone)]
enum LayerBytes {
    Tar {
        changeset: Arc<Changeset>,
        /// The CRC of the whole tar, to notice files that change between two
        /// reads.
        crc: u32,
        /// The record of the store that the CRC is from, if the files have not
        /// been read in this run.
        record: Option<Arc<Path>>,
    },
    Blob {
        range: FileRange,
        /// The CRC of the whole blob, to notice a damaged disk.
        crc: u32,
        location: BlobLocation,
    },
    /// Bytes that are elsewhere and have not been read.
    Remote(Arc<dyn BlobContent>),
}

/// The file that a finished blob is in.
#[derive(Debug, Clone)]
enum BlobLocation {
    /// A scratch file of this directory.
    Scratch(Arc<Path>),
    /// This file of the store.
    Store(Arc<Path>),
    /// An image that another program made: this layout or archive.
    Base(Arc<Path>, Option<Arc<BlobOrigin>>),
}

impl BlobLocation {
    fn read_error(&self, source: io::Error) -> Error {
        match self {
            Self::Scratch(directory) => Error::Scratch {
                directory: directory.to_path_buf(),
                source,
            },
            Self::Store(path) => Error::Stored {
                path: path.to_path_buf(),
                source,
            },
            Self::Base(path, _) => Error::Base {
                path: path.to_path_buf(),
                source,
            },
        }
    }
}

/// The options of [`build_layers`].
#[derive(Debug, Clone)]
pub struct LayerOptions {
    /// The compression of every layer.
    pub compression: Compression,
    /// The number of threads that work at a time; at least 1. It changes no
    /// byte.
    pub threads: usize,
    /// The directory for compressed bytes until they are written.
    pub scratch: PathBuf,
    /// The layers that may be used again. They change no byte, unless a source
    /// was forged.
    pub cache: Cache,
}

impl Layer {
    /// Returns the digest of the blob.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.blob.digest
    }

    /// Returns the size of the blob in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.blob.size
    }

    /// Returns whether only its descriptor is here, and a registry has its
    /// bytes.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self.blob.bytes, LayerBytes::Remote(_))
    }

    /// Makes a layer of a changeset and its blob.
    fn of_changeset(
        changeset: &Changeset,
        compression: Compression,
        tar: &LayerRecord,
        blob: LayerBlob,
    ) -> Self {
        Self {
            name: changeset.name().to_owned(),
            media_type: compression.media_type().to_owned(),
            annotations: BTreeMap::new(),
            diff_id: tar.diff_id,
            tar_size: Some(changeset.tar_size()),
            entries: Some(changeset.members().len()),
            dropped_xattrs: tar.dropped_xattrs.clone(),
            is_reused: false,
            blob,
        }
    }

    /// Makes a plain layer, whose identity is from `record` if it has not been
    /// read.
    fn plain(changeset: &Arc<Changeset>, tar: &LayerRecord, record: Option<Arc<Path>>) -> Self {
        let is_reused = record.is_some();
        let blob = LayerBlob {
            digest: *tar.diff_id.as_digest(),
            size: changeset.tar_size(),
            bytes: LayerBytes::Tar {
                changeset: Arc::clone(changeset),
                crc: tar.tar_crc,
                record,
            },
        };
        Self {
            is_reused,
            ..Self::of_changeset(changeset, Compression::None, tar, blob)
        }
    }

    fn reused(mut self) -> Self {
        self.is_reused = true;
        self
    }

    /// Checks the CRC of all pieces together against the first read.
    ///
    /// The cache forgets a layer that fails, so that the next run makes it anew.
    pub(crate) fn check_crc(&self, pieces: &[crc32fast::Hasher]) -> Result<()> {
        let mut whole = crc32fast::Hasher::new();
        for piece in pieces {
            whole.combine(piece);
        }
        let found = whole.finalize();
        let layer = self.name.clone();
        let forget = |path: &Path| drop(fs_err::remove_file(path));

        match &self.blob.bytes {
            LayerBytes::Tar { crc, record, .. } if found != *crc => {
                if let Some(path) = record {
                    forget(path);
                }
                Err(Error::LayerChanged(layer))
            }
            LayerBytes::Blob { crc, location, .. } if found != *crc => match location {
                BlobLocation::Base(path, _) => Err(Error::BaseChanged(path.to_path_buf())),
                BlobLocation::Store(path) | BlobLocation::Scratch(path) => {
                    if let BlobLocation::Store(path) = location {
                        forget(path);
                    }
                    Err(Error::Damaged {
                        layer,
                        path: path.to_path_buf(),
                    })
                }
            },
            // The digest of a remote blob was compared when it was read.
            LayerBytes::Tar { .. } | LayerBytes::Blob { .. } | LayerBytes::Remote(_) => Ok(()),
        }
    }

    /// Gives the file of the blob the name `path`, and returns whether that was
    /// possible: only a scratch file of the same file system that has no name
    /// yet can get one, and nothing must be at `path`.
    ///
    /// Its bytes were hashed when they were written, and no other program could
    /// reach them since: they are not read again.
    pub(crate) fn link_at(&self, path: &Path, sync: bool, monitor: Monitor<'_>) -> Result<bool> {
        let LayerBytes::Blob {
            range,
            location: BlobLocation::Scratch(_),
            ..
        } = &self.blob.bytes
        else {
            return Ok(false);
        };
        let file = range.file();
        monitor.check()?;
        if !file.metadata().is_ok_and(|found| found.nlink() == 0) {
            return Ok(false);
        }
        if sync {
            new_file::sync_file(file, path)?;
        }
        let is_linked = new_file::link(file, path).is_ok();
        if is_linked {
            monitor.report(Progress::Written(self.size()));
        }
        Ok(is_linked)
    }

    /// Writes the blob to `sink`, in order.
    ///
    /// # Errors
    ///
    /// When the bytes cannot be read, are no longer those that were hashed,
    /// or when the sink fails, as `sink_error` wraps it.
    pub(crate) fn write_to(
        &self,
        sink: &mut dyn Write,
        sink_error: &dyn Fn(io::Error) -> Error,
        monitor: Monitor<'_>,
    ) -> Result<()> {
        let mut crcs = Vec::new();
        let mut buffer = AlignedBuffer::new(CHUNK_BYTES);
        for piece in self.pieces() {
            let crc = piece.copy(&mut buffer, monitor, &mut |bytes| {
                sink.write_all(bytes).map_err(sink_error)
            })?;
            crcs.push(crc);
        }
        self.check_crc(&crcs)
    }
}
