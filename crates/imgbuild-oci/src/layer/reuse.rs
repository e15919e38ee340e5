//! Finding a layer instead of making it: by the states of its files
//! ([`LayerCache::by_state`]), or by its diff ID.

use std::io::{self, Read, Write};
use std::sync::Arc;

use super::blob_file::BlobFile;
use super::{CHUNK_BYTES, Layer};
use crate::buffer::AlignedBuffer;
use crate::cache::{Cache, CacheKind, CandidateLayers, LayerCandidate};
use crate::changeset::Changeset;
use crate::compression::Compression;
use crate::content::Timestamp;
use crate::digest::{Digest, DigestWriter};
use crate::error::{Error, Result};
use crate::monitor::Monitor;
use crate::pipeline::Compressor;
use crate::store::{LayerKey, LayerRecord, Store, StoredBlob};
use crate::tar_writer::TarStream;
use imgbuild_deflate::gzip;

/// The cache of a build, as it looks for one layer after the other.
pub(super) struct LayerCache<'a> {
    cache: &'a Cache,
    compression: Compression,
    /// The time before any content is read.
    now: Option<Timestamp>,
}

/// The key of a layer, from its entries and from what `stat` returned for its
/// files.
pub(super) struct CacheKey<'a> {
    key: LayerKey<'a>,
    /// True if no file can change without a change of its state.
    is_settled: bool,
}

impl CacheKey<'_> {
    /// Returns the digest of everything but the contents of files.
    pub(super) fn shape(&self) -> Digest {
        self.key.shape
    }
}

/// A tar whose files were read to their ends.
#[derive(Debug)]
pub(super) struct TarSummary {
    pub(super) identity: LayerRecord,
    /// True if all files had their planned state when they had been read.
    pub(super) is_steady: bool,
}

/// A blob that another store or an image has.
pub(super) enum ForeignBlob<'a> {
    Stored(StoredBlob),
    Listed(&'a LayerCandidate),
    /// A blob of a registry whose bytes are not needed.
    Described(&'a LayerCandidate),
}

impl<'a> LayerCache<'a> {
    pub(super) fn new(cache: &'a Cache, compression: Compression) -> Self {
        let store = cache.store.as_deref();
        Self {
            cache,
            compression,
            now: store.and_then(Store::now),
        }
    }

    /// Returns the store that new layers go to.
    pub(super) fn store(&self) -> Option<&'a Store> {
        self.cache.store.as_deref()
    }

    /// Returns the key of a layer, without reading its files; `None` if there
    /// is nothing to look it up in.
    pub(super) fn key_of<'b>(&self, changeset: &'b Changeset) -> Option<CacheKey<'b>> {
        if self.store().is_none() && self.cache.sources.is_empty() {
            return None;
        }
        let key = LayerKey::of(changeset, self.compression);
        let is_settled = match (self.store(), self.now) {
            (Some(store), Some(now)) if !self.cache.reads_contents => {
                store.trusts(key.settled, &key.devices, now)
            }
            _ => false,
        };
        Some(CacheKey { key, is_settled })
    }

    /// Finds a layer whose files are in a known state.
    pub(super) fn by_state(
        &self,
        key: Option<&CacheKey<'_>>,
        changeset: &Arc<Changeset>,
    ) -> Option<Layer> {
        let store = self.store()?;
        let key = key.filter(|key| key.is_settled)?;
        let (record, path) = store.layer(key.key.state)?;
        if record.tar_size != changeset.tar_size() {
            return None;
        }
        Some(match self.compression {
            Compression::None => Layer::plain(changeset, &record, Some(path.into())),
            Compression::Gzip(_) => {
                let blob = store.blob(key.shape(), record.diff_id)?.into();
                Layer::of_changeset(changeset, self.compression, &record, blob).reused()
            }
        })
    }

    /// Remembers the tar of a layer, if any change of its files would show in
    /// their states.
    pub(super) fn remember(&self, key: Option<&CacheKey<'_>>, tar: &TarSummary) {
        let key = key.filter(|key| key.is_settled && tar.is_steady);
        if let (Some(store), Some(key)) = (self.store(), key) {
            store.remember_layer(key.key.state, &tar.identity);
        }
    }

    /// Returns whether a layer like this one may be found when its tar has
    /// been read.
    pub(super) fn may_have(&self, key: Option<&CacheKey<'_>>, changeset: &Changeset) -> bool {
        key.is_some_and(|key| {
            let shape = key.shape();
            let mut sources = self.cache.sources.iter();
            self.store().is_some_and(|store| store.knows(shape))
                || sources.any(|source| source.may_have(shape, changeset.tar_size()))
        })
    }

    /// Finds a blob that an earlier build made of the same tar.
    pub(super) fn own_blob(
        &self,
        key: Option<&CacheKey<'_>>,
        tar: &TarSummary,
    ) -> Option<StoredBlob> {
        self.store()?.blob(key?.shape(), tar.identity.diff_id)
    }

    /// Finds a blob of the tar in the sources of the cache.
    pub(super) fn find(
        &self,
        key: Option<&CacheKey<'_>>,
        changeset: &Changeset,
        tar: &TarSummary,
        compressor: &Compressor,
    ) -> Option<ForeignBlob<'a>> {
        let shape = key?.shape();
        let tar = &tar.identity;
        let trailer = gzip::trailer(tar.tar_crc, tar.tar_size);
        self.cache.sources.iter().find_map(|source| {
            let image = match &source.kind {
                CacheKind::Store(store) => {
                    return store.blob(shape, tar.diff_id).map(ForeignBlob::Stored);
                }
                CacheKind::Image(image) => image,
            };
            let mut candidates = image.candidates(tar.diff_id, trailer);
            let candidate =
                candidates.find(|one| has_same_encoder(image, one, changeset, compressor))?;
            Some(if image.by_descriptor {
                ForeignBlob::Described(candidate)
            } else {
                ForeignBlob::Listed(candidate)
            })
        })
    }

    /// Returns whether a layer of this tar size may show if the layers of some
    /// registry's image were made by this encoder.
    pub(super) fn checks_encoder(&self, tar_size: u64) -> bool {
        let is_decided = |kind: &CacheKind| matches!(kind, CacheKind::Image(image) if image.is_decided_by(tar_size));
        self.cache.sources.iter().any(|one| is_decided(&one.kind))
    }
}

impl ForeignBlob<'_> {
    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Stored(blob) => blob.digest,
            Self::Listed(candidate) | Self::Described(candidate) => candidate.digest,
        }
    }

    /// Writes the bytes, as far as they can be read, to `file`.
    pub(super) fn copy_to(&self, file: &mut BlobFile<'_>, monitor: Monitor<'_>) -> Result<()> {
        let directory = file.directory.clone();
        let error = |source| Error::Scratch {
            directory: directory.clone(),
            source,
        };
        let mut reader: Box<dyn Read + '_> = match self {
            Self::Stored(blob) => Box::new(&blob.file),
            Self::Listed(candidate) | Self::Described(candidate) => {
                candidate.content.open_unchecked().map_err(error)?
            }
        };
        let mut buffer = AlignedBuffer::new(CHUNK_BYTES);
        loop {
            monitor.check()?;
            match reader.read(buffer.as_mut_slice()) {
                Ok(0) => return Ok(()),
                Ok(count) => file.write_all(&buffer.as_slice()[..count]).map_err(error)?,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(error(source)),
            }
        }
    }
}

/// Returns whether a blob of the same tar has the bytes that this build would
/// make.
fn has_same_encoder(
    image: &CandidateLayers,
    candidate: &LayerCandidate,
    changeset: &Changeset,
    compressor: &Compressor,
) -> bool {
    let compress = || compressed_digest(changeset, compressor);
    let decided = image.has_same_encoder(candidate, changeset.tar_size(), compress);
    if let Some(is_same) = decided {
        return is_same;
    }
    let start = image.open_start(candidate);
    start.is_ok_and(|(start, most)| {
        let is_whole = candidate.size <= most;
        starts_the_same(start, most, is_whole, changeset, compressor)
    })
}

/// Returns the digest of the blob that this build would make.
fn compressed_digest(changeset: &Changeset, compressor: &Compressor) -> Option<Digest> {
    let mut stream = TarStream::new(changeset.members(), true);
    let sink = DigestWriter::new(io::sink());
    let made = compressor.gzip(&mut stream, sink, |_| Ok(()), comparison_error);
    Some(made.ok()?.finish().1)
}

/// An error that is never shown: a blob that cannot be compared is not taken.
fn comparison_error(source: io::Error) -> Error {
    Error::Scratch {
        directory: std::path::PathBuf::new(),
        source,
    }
}

/// Returns whether a blob starts with the bytes that this build would make:
/// compresses the first blocks of the tar and compares.
///
/// The same tar compressed by another program, at another level or by another
/// version has another digest. Its content would be right, but the image would
/// not be the one that a build without it makes.
fn starts_the_same(
    blob: impl Read + Send,
    most: u64,
    is_whole: bool,
    changeset: &Changeset,
    compressor: &Compressor,
) -> bool {
    let mut stream = TarStream::new(changeset.members(), true);
    let mut comparison = Comparison {
        blob,
        rest: most,
        outcome: None,
    };
    let compared = compressor.gzip(&mut stream, &mut comparison, |_| Ok(()), comparison_error);
    let has_ended = compared.is_ok();
    let is_equal = comparison.outcome.unwrap_or(has_ended);
    // Without more to come on either side the whole blob was compared.
    let mut more = [0];
    is_equal && (!is_whole || matches!(comparison.blob.read(&mut more), Ok(0)))
}

/// A sink that takes bytes as long as they are those of a blob.
struct Comparison<R> {
    blob: R,
    rest: u64,
    outcome: Option<bool>,
}

impl<R: Read> Write for Comparison<R> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = usize::try_from(self.rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        let mut theirs = vec![0; count];
        if self.blob.read_exact(&mut theirs).is_err() || theirs != buffer[..count] {
            self.outcome = Some(false);
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.rest -= count as u64;
        if self.rest == 0 {
            self.outcome = Some(true);
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
