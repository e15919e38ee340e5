//! Finished layers: their digests are known, their bytes can be written.

mod base;
mod blob_file;
mod build;
mod content;
mod piece;
mod reuse;
mod schedule;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::image::MediaType;

use crate::blob::{BlobContent, BlobOrigin};
use crate::buffer::AlignedBuffer;
use crate::cache::{Cache, RemoteLayer};
use crate::changeset::Changeset;
use crate::compression::Compression;
use crate::digest::{DiffId, Digest};
use crate::error::{Error, Result};
use crate::monitor::{Monitor, Progress};
use crate::new_file;
use crate::store::StoredBlob;

pub(crate) use base::bring;
use blob_file::BlobBytes;
pub use build::build_layers;
pub(crate) use piece::Piece;

/// The bytes that are read, hashed or written at a time.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// One finished layer.
///
/// The bytes of a plain layer stay in the files of the host and are read
/// again when it is written; those of a compressed one lie in the store, or in
/// a scratch file that has no name.
#[derive(Debug, Clone)]
pub struct Layer {
    name: String,
    media_type: MediaType,
    annotations: BTreeMap<String, String>,
    digest: Digest,
    size: u64,
    diff_id: DiffId,
    tar_size: Option<u64>,
    entries: Option<usize>,
    is_reused: bool,
    bytes: LayerBytes,
}

#[derive(Debug, Clone)]
enum LayerBytes {
    Tar {
        changeset: Arc<Changeset>,
        /// Of the whole tar, to notice files that change between two reads.
        crc: u32,
        /// What has said so, if the files have not been read in this run.
        record: Option<Arc<Path>>,
    },
    Blob {
        file: Arc<std::fs::File>,
        /// Where the blob starts in the file.
        offset: u64,
        /// Of the whole blob, to notice a damaged disk.
        crc: u32,
        place: Place,
    },
    /// Elsewhere, by its digest; nothing has been read.
    Remote {
        content: Arc<dyn BlobContent>,
        digest: Digest,
    },
}

/// Where a finished blob lies.
#[derive(Debug, Clone)]
enum Place {
    /// In a scratch file of this directory.
    Scratch(Arc<Path>),
    /// In this file of the store.
    Store(Arc<Path>),
    /// In an image that others have made: this layout or archive.
    Base(Arc<Path>, Option<Arc<BlobOrigin>>),
}

impl Place {
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

/// How layers are made.
#[derive(Debug, Clone)]
pub struct LayerOptions {
    /// The compression of every layer.
    pub compression: Compression,
    /// How many threads work at a time; at least 1. Never changes a byte.
    pub threads: usize,
    /// The directory for compressed bytes until they are written.
    pub scratch: PathBuf,
    /// What may be used again. Never changes a byte, unless its sources hold
    /// layers that another program has compressed.
    pub cache: Cache,
}

impl Layer {
    /// Returns the name, for messages and the history.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the media type of the blob.
    #[must_use]
    pub fn media_type(&self) -> MediaType {
        self.media_type.clone()
    }

    /// Returns the annotations of its descriptor; layers made here have none.
    #[must_use]
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// Returns the digest of the blob.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the size of the blob in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the digest of the uncompressed tar.
    #[must_use]
    pub fn diff_id(&self) -> DiffId {
        self.diff_id
    }

    /// Returns the size of the uncompressed tar in bytes; that of a layer that
    /// nobody has looked into is not known.
    #[must_use]
    pub fn tar_size(&self) -> Option<u64> {
        self.tar_size
    }

    /// Returns how many entries the tar has, as far as it is known.
    #[must_use]
    pub fn entries(&self) -> Option<usize> {
        self.entries
    }
}

impl Layer {
    /// Returns whether an earlier build has made it.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Returns whether it is only known by what a registry says of it, which
    /// has its bytes.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self.bytes, LayerBytes::Remote { .. })
    }

    /// A plain layer; `record` has said what it is, unless it has been read.
    fn plain(
        changeset: &Arc<Changeset>,
        diff_id: DiffId,
        crc: u32,
        record: Option<Arc<Path>>,
    ) -> Self {
        Self {
            name: changeset.name().to_owned(),
            media_type: Compression::None.media_type(),
            annotations: BTreeMap::new(),
            digest: *diff_id.as_digest(),
            size: changeset.tar_size(),
            diff_id,
            tar_size: Some(changeset.tar_size()),
            entries: Some(changeset.members().len()),
            is_reused: record.is_some(),
            bytes: LayerBytes::Tar {
                changeset: Arc::clone(changeset),
                crc,
                record,
            },
        }
    }

    fn stored(
        changeset: &Changeset,
        compression: Compression,
        diff_id: DiffId,
        blob: StoredBlob,
    ) -> Self {
        Self::compressed(changeset, compression, diff_id, blob.into()).reused()
    }

    fn reused(mut self) -> Self {
        self.is_reused = true;
        self
    }

    /// A layer that a registry has, by what it says of it.
    fn remote(
        changeset: &Changeset,
        compression: Compression,
        diff_id: DiffId,
        found: &RemoteLayer,
    ) -> Self {
        Self {
            name: changeset.name().to_owned(),
            media_type: compression.media_type(),
            annotations: BTreeMap::new(),
            digest: found.digest,
            size: found.size,
            diff_id,
            tar_size: Some(changeset.tar_size()),
            entries: Some(changeset.members().len()),
            is_reused: true,
            bytes: LayerBytes::Remote {
                content: Arc::clone(&found.content),
                digest: found.digest,
            },
        }
    }

    fn compressed(
        changeset: &Changeset,
        compression: Compression,
        diff_id: DiffId,
        bytes: BlobBytes,
    ) -> Self {
        Self {
            name: changeset.name().to_owned(),
            media_type: compression.media_type(),
            annotations: BTreeMap::new(),
            digest: bytes.digest,
            size: bytes.size,
            diff_id,
            tar_size: Some(changeset.tar_size()),
            entries: Some(changeset.members().len()),
            is_reused: false,
            bytes: LayerBytes::Blob {
                file: bytes.file,
                offset: 0,
                crc: bytes.crc,
                place: bytes.place,
            },
        }
    }

    /// Cuts the blob into pieces, in order.
    pub(crate) fn pieces(&self) -> Vec<Piece<'_>> {
        piece::cut(&self.bytes, self.size)
    }

    /// Checks the CRC of all pieces together against the first read.
    ///
    /// What was remembered of a layer that fails is forgotten, so that the
    /// next run makes it anew.
    pub(crate) fn check_crc(&self, pieces: &[crc32fast::Hasher]) -> Result<()> {
        let mut whole = crc32fast::Hasher::new();
        for piece in pieces {
            whole.combine(piece);
        }
        let (LayerBytes::Tar { crc, .. } | LayerBytes::Blob { crc, .. }) = &self.bytes else {
            // Its digest was compared when it was read.
            return Ok(());
        };
        if whole.finalize() == *crc {
            return Ok(());
        }
        let forget = |path: &Path| drop(fs_err::remove_file(path));
        match &self.bytes {
            LayerBytes::Tar { record, .. } => {
                if let Some(path) = record {
                    forget(path);
                }
                Err(Error::LayerChanged {
                    layer: self.name.clone(),
                })
            }
            LayerBytes::Blob { place, .. } => {
                let (Place::Store(path) | Place::Scratch(path) | Place::Base(path, _)) = place;
                match place {
                    Place::Store(path) => forget(path),
                    Place::Base(path, _) => {
                        return Err(Error::BaseChanged {
                            path: path.to_path_buf(),
                        });
                    }
                    Place::Scratch(_) => {}
                }
                Err(Error::Damaged {
                    layer: self.name.clone(),
                    path: path.to_path_buf(),
                })
            }
            LayerBytes::Remote { .. } => Ok(()),
        }
    }

    /// Gives the file that the blob lies in the name `path`, and returns
    /// whether it has: only a scratch file of the same file system that has no
    /// name yet can get one, and nothing must be at `path`.
    ///
    /// Its bytes were hashed when they were written, and nobody else could
    /// reach them since: they need no second look.
    ///
    /// # Errors
    ///
    /// When interrupted, or when the file cannot be synced.
    pub(crate) fn link_at(&self, path: &Path, sync: bool, monitor: Monitor<'_>) -> Result<bool> {
        let LayerBytes::Blob { file, place, .. } = &self.bytes else {
            return Ok(false);
        };
        let Place::Scratch(_) = place else {
            return Ok(false);
        };
        monitor.check()?;
        if !file.metadata().is_ok_and(|found| found.nlink() == 0) {
            return Ok(false);
        }
        if sync {
            file.sync_all().map_err(|source| place.read_error(source))?;
        }
        let is_linked = new_file::link(file, path).is_ok();
        if is_linked {
            monitor.report(Progress::Written { bytes: self.size });
        }
        Ok(is_linked)
    }

    /// Writes the blob in order to `sink`.
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
