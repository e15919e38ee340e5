//! Finding a layer instead of making it.

use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use super::blob_file::BlobFile;
use super::build::{LayerStream, TarSummary};
use super::{CHUNK_BYTES, Layer};
use crate::buffer::AlignedBuffer;
use crate::cache::{Cache, CacheSource, Candidate, Probe, RemoteLayer};
use crate::changeset::Changeset;
use crate::compression::Compression;
use crate::content::Timestamp;
use crate::digest::{Digest, DigestWriter};
use crate::error::{Error, Result};
use crate::monitor::Monitor;
use crate::pipeline::Compressor;
use crate::store::{LayerKey, LayerRecord, Store, StoredBlob};
use imgbuild_deflate::gzip;

/// Looks for layers in a cache.
pub(super) struct Reuse<'a> {
    cache: &'a Cache,
    compression: Compression,
    /// The time before any content is read.
    now: Option<Timestamp>,
}

/// What a layer is known by.
pub(super) struct Known<'a> {
    key: LayerKey<'a>,
    /// Whether the states of the files tell their contents.
    is_settled: bool,
    /// If others wait for what it shows.
    probe: Option<Probe>,
}

impl Known<'_> {
    pub(super) fn shape(&self) -> Digest {
        self.key.shape
    }

    /// Lets no other layer wait for what this one shows.
    pub(super) fn end_probe(&mut self) {
        self.probe = None;
    }
}

/// A blob that another store or an image has.
pub(super) enum Foreign<'a> {
    Stored(StoredBlob),
    Listed(&'a CacheSource, Candidate),
    /// Its bytes are not needed.
    Described(&'a RemoteLayer),
}

impl<'a> Reuse<'a> {
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

    /// Looks at what is known of a layer without reading its files.
    pub(super) fn look_at<'b>(
        &self,
        changeset: &'b Changeset,
        probe: Option<Probe>,
    ) -> Option<Known<'b>> {
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
        Some(Known {
            key,
            is_settled,
            probe,
        })
    }

    /// Finds a layer whose files are in a known state.
    pub(super) fn by_state(
        &self,
        known: Option<&Known<'_>>,
        changeset: &Arc<Changeset>,
    ) -> Option<Layer> {
        let (store, known) = (self.store()?, known.filter(|known| known.is_settled)?);
        let (record, path) = store.layer(known.key.state)?;
        if record.tar_size != changeset.tar_size() {
            return None;
        }
        let diff_id = record.diff_id;
        Some(match self.compression {
            Compression::None => {
                Layer::plain(changeset, diff_id, record.tar_crc, Some(path.into()))
            }
            Compression::Gzip(_) => {
                let blob = store.blob(known.key.shape, diff_id)?;
                Layer::stored(changeset, self.compression, diff_id, blob)
            }
        })
    }

    /// Remembers what the files of a layer have given, if their states tell
    /// when that changes.
    pub(super) fn remember(&self, known: Option<&Known<'_>>, tar: &TarSummary) {
        let known = known.filter(|known| known.is_settled && tar.is_steady);
        if let (Some(store), Some(known)) = (self.store(), known) {
            let record = LayerRecord {
                diff_id: tar.diff_id,
                tar_size: tar.size,
                tar_crc: tar.crc,
            };
            store.remember_layer(known.key.state, record);
        }
    }

    /// Returns whether a layer like this one may be found when its tar has
    /// been read.
    pub(super) fn may_have(&self, known: Option<&Known<'_>>, changeset: &Changeset) -> bool {
        known.is_some_and(|known| {
            let shape = known.key.shape;
            let mut sources = self.cache.sources.iter();
            self.store().is_some_and(|store| store.knows(shape))
                || sources.any(|source| source.may_have(shape, changeset.tar_size()))
        })
    }

    /// Finds a blob that we have made of the same tar.
    pub(super) fn own_blob(
        &self,
        known: Option<&Known<'_>>,
        tar: &TarSummary,
    ) -> Option<StoredBlob> {
        self.store()?.blob(known?.key.shape, tar.diff_id)
    }

    /// Finds a blob for the tar in what was carried over.
    pub(super) fn find(
        &self,
        known: Option<&Known<'_>>,
        changeset: &Changeset,
        tar: &TarSummary,
        compressor: &Compressor,
    ) -> Option<Foreign<'a>> {
        let known = known?;
        let (shape, probe) = (known.key.shape, known.probe.as_ref());
        let trailer = gzip::trailer(tar.crc, tar.size);
        self.cache.sources.iter().find_map(|source| {
            if let Some(store) = source.store() {
                return store.blob(shape, tar.diff_id).map(Foreign::Stored);
            }
            let candidates = source.candidates(tar.diff_id, trailer).into_iter();
            let mut ours = candidates
                .filter(|candidate| is_ours(source, candidate, changeset, compressor, probe));
            let found = ours.next();
            let remote = source.remote();
            if let (Some(probe), Some(remote)) = (probe, remote) {
                probe.leave(remote);
            }
            let candidate = found?;
            Some(
                match remote.and_then(|remote| remote.descriptor(tar.diff_id)) {
                    Some(layer) => Foreign::Described(layer),
                    None => Foreign::Listed(source, candidate),
                },
            )
        })
    }

    /// Returns a probe if a layer may tell how others were made, so that it is
    /// better looked for before them.
    pub(super) fn probe(&self, changeset: &Changeset) -> Option<Probe> {
        Probe::new(&self.cache.sources, changeset.tar_size())
    }
}

impl Foreign<'_> {
    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Stored(blob) => blob.digest,
            Self::Listed(_, candidate) => candidate.digest,
            Self::Described(layer) => layer.digest,
        }
    }

    /// Writes the bytes, as far as they can be read, to `file`.
    pub(super) fn copy_to(&self, file: &mut BlobFile<'_>, monitor: Monitor<'_>) -> Result<()> {
        let directory = file.directory();
        let error = |source| Error::Scratch {
            directory: directory.clone(),
            source,
        };
        let mut reader: Box<dyn Read + '_> = match self {
            Self::Stored(blob) => {
                // It may have been read to its end, to be checked.
                (&blob.file).rewind().map_err(error)?;
                Box::new(&blob.file)
            }
            Self::Listed(source, candidate) => source.open_candidate(candidate).map_err(error)?,
            Self::Described(layer) => layer.content.open(0).map_err(error)?,
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

/// Returns whether a blob, whose tar is the one that we have, is as we would
/// make it.
fn is_ours(
    source: &CacheSource,
    candidate: &Candidate,
    changeset: &Changeset,
    compressor: &Compressor,
    probe: Option<&Probe>,
) -> bool {
    if let Some(remote) = source.remote() {
        let make_again = || made_by_us(changeset, compressor);
        let known = remote.are_as_ours(candidate, changeset.tar_size(), probe, make_again);
        if let Some(are_as_ours) = known {
            return are_as_ours;
        }
    }
    let start = source.open_start(candidate);
    start.is_ok_and(|(start, most)| {
        let is_whole = candidate.size <= most;
        is_begun_by_us(start, most, is_whole, changeset, compressor)
    })
}

/// Returns the digest of the blob that we would make.
fn made_by_us(changeset: &Changeset, compressor: &Compressor) -> Option<Digest> {
    let mut stream = LayerStream::new(changeset);
    let sink = DigestWriter::new(io::sink());
    let made = compressor.gzip(&mut stream, sink, |_| Ok(()), comparison_error);
    Some(made.ok()?.finish().1)
}

/// What nobody sees: a blob that cannot be compared is not taken.
fn comparison_error(source: io::Error) -> Error {
    Error::Scratch {
        directory: std::path::PathBuf::new(),
        source,
    }
}

/// Returns whether a blob begins as ours would: compresses the first blocks of
/// the tar and compares.
///
/// The same tar compressed by another program, at another level or by another
/// version has another digest. Its content would be right, but the image would
/// not be the one that a build without it makes.
fn is_begun_by_us(
    blob: impl Read + Send,
    most: u64,
    is_whole: bool,
    changeset: &Changeset,
    compressor: &Compressor,
) -> bool {
    let mut stream = LayerStream::new(changeset);
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

/// Takes bytes as long as they are those of a blob.
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
