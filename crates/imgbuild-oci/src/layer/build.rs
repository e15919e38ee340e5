//! Making layers, or finding them where an earlier build has left them.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::blob_file::BlobFile;
use super::reuse::{Foreign, Known, Reuse};
use super::schedule::build_all;
use super::{CHUNK_BYTES, Layer, LayerOptions};
use crate::buffer::AlignedBuffer;
use crate::cache::Probe;
use crate::changeset::Changeset;
use crate::compression::Compression;
use crate::digest::{DiffId, Digest};
use crate::error::{Error, Result};
use crate::monitor::{Monitor, Progress};
use crate::pipeline::{Compressor, Stream, with_compressor};
use crate::tar_writer::{self, TarStream};

/// Finds, or reads, hashes and compresses `changesets`, several at a time, and
/// returns their layers in the same order. Hands each to `finished` as soon as
/// its digest is known, from several threads.
///
/// # Errors
///
/// When a file cannot be read or is not as planned, when the scratch
/// directory cannot take the compressed bytes, or when interrupted.
pub fn build_layers(
    changesets: Vec<Changeset>,
    options: &LayerOptions,
    finished: &(dyn Fn(&Layer) + Sync),
    monitor: Monitor<'_>,
) -> Result<Vec<Layer>> {
    let threads = options.threads.max(1);
    let reuse = Reuse::new(&options.cache, options.compression);
    let run = |compressor: Option<&Compressor>| {
        let builder = Builder {
            options,
            reuse: &reuse,
            monitor,
        };
        let build = |changeset: Arc<Changeset>, probe| match compressor {
            None => builder.plain(&changeset),
            Some(compressor) => builder.compressed(&changeset, compressor, probe),
        };
        // Only compressed layers are made in more than one way.
        let probe = |changeset: &Changeset| compressor.and_then(|_| reuse.probe(changeset));
        build_all(changesets, threads, finished, &probe, &build)
    };
    match options.compression {
        Compression::None => run(None),
        Compression::Gzip(level) => {
            with_compressor(threads, level, |compressor| run(Some(compressor)))
        }
    }
}

/// What is known of a tar that has been read.
#[derive(Debug, Clone, Copy)]
pub(super) struct TarSummary {
    pub(super) diff_id: DiffId,
    pub(super) size: u64,
    pub(super) crc: u32,
    /// Whether the files had their planned state when they had been read.
    pub(super) is_steady: bool,
}

/// Makes one layer after the other.
struct Builder<'a> {
    options: &'a LayerOptions,
    reuse: &'a Reuse<'a>,
    monitor: Monitor<'a>,
}

impl Builder<'_> {
    fn plain(&self, changeset: &Arc<Changeset>) -> Result<Layer> {
        let known = self.reuse.look_at(changeset, None);
        let layer = match self.reuse.by_state(known.as_ref(), changeset) {
            Some(layer) => layer,
            None => {
                let tar = self.read_tar(changeset)?;
                self.reuse.remember(known.as_ref(), &tar);
                Layer::plain(changeset, tar.diff_id, tar.crc, None)
            }
        };
        self.report_read(changeset);
        Ok(layer)
    }

    fn compressed(
        &self,
        changeset: &Arc<Changeset>,
        compressor: &Compressor,
        probe: Option<Probe>,
    ) -> Result<Layer> {
        let mut known = self.reuse.look_at(changeset, probe);
        if let Some(layer) = self.reuse.by_state(known.as_ref(), changeset) {
            self.report_read(changeset);
            return Ok(layer);
        }
        if self.reuse.may_have(known.as_ref(), changeset) {
            let known = known.as_ref();
            let tar = self.read_tar(changeset)?;
            if let Some(layer) = self.by_content(known, changeset, &tar, compressor)? {
                self.reuse.remember(known, &tar);
                self.report_read(changeset);
                return Ok(layer);
            }
        }
        if let Some(known) = &mut known {
            known.end_probe();
        }
        let known = known.as_ref();
        loop {
            let file = BlobFile::create(self.reuse.store(), &self.options.scratch)?;
            let store = file.store();
            match (self.compress(known, changeset, compressor, file), store) {
                // A store that cannot take a layer is of no use: scratch it is.
                (Err(Error::Scratch { source, .. }), Some(store)) => store.give_up(&source),
                (result, _) => return result,
            }
        }
    }

    fn report_read(&self, changeset: &Changeset) {
        let bytes = changeset.tar_size();
        self.monitor.report(Progress::Read { bytes });
    }

    /// Hashes the tar of a layer.
    fn read_tar(&self, changeset: &Changeset) -> Result<TarSummary> {
        let mut stream = TarStream::new(changeset.members(), true);
        let mut buffer = AlignedBuffer::new(CHUNK_BYTES);
        let mut sha = Sha256::new();
        let mut crc = crc32fast::Hasher::new();
        loop {
            self.monitor.check()?;
            let count = stream.fill(buffer.as_mut_slice())?;
            let chunk = &buffer.as_slice()[..count];
            sha.update(chunk);
            crc.update(chunk);
            if count < CHUNK_BYTES {
                break;
            }
        }
        Ok(TarSummary {
            diff_id: DiffId::from_tar_digest(Digest::from_hasher(sha)),
            size: changeset.tar_size(),
            crc: crc.finalize(),
            is_steady: stream.is_steady(),
        })
    }

    /// Finds a layer whose tar has been read.
    fn by_content(
        &self,
        known: Option<&Known<'_>>,
        changeset: &Arc<Changeset>,
        tar: &TarSummary,
        compressor: &Compressor,
    ) -> Result<Option<Layer>> {
        if let Some(blob) = self.reuse.own_blob(known, tar) {
            let layer = Layer::stored(changeset, self.options.compression, tar.diff_id, blob);
            return Ok(Some(layer));
        }
        let Some(found) = self.reuse.find(known, changeset, tar, compressor) else {
            return Ok(None);
        };
        if let Foreign::Described(layer) = found {
            let compression = self.options.compression;
            let layer = Layer::remote(changeset, compression, tar.diff_id, layer);
            return Ok(Some(layer));
        }
        let mut file = BlobFile::create(self.reuse.store(), &self.options.scratch)?;
        match found.copy_to(&mut file, self.monitor) {
            Ok(()) if file.digest() == found.digest() => {}
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            // What cannot be copied, or is not what it should be, is compressed.
            Ok(()) | Err(_) => return Ok(None),
        }
        let bytes = file.finish(known, tar.diff_id);
        let compression = self.options.compression;
        let layer = Layer::compressed(changeset, compression, tar.diff_id, bytes);
        Ok(Some(layer.reused()))
    }

    /// Compresses the tar of a layer into a file, hashing both.
    fn compress(
        &self,
        known: Option<&Known<'_>>,
        changeset: &Arc<Changeset>,
        compressor: &Compressor,
        file: BlobFile<'_>,
    ) -> Result<Layer> {
        let mut stream = LayerStream::new(changeset);
        let mut sha = Sha256::new();
        let see = |block: &[u8]| {
            sha.update(block);
            self.monitor.report(Progress::Read {
                bytes: block.len() as u64,
            });
            self.monitor.check()
        };
        let directory = file.directory();
        let sink_error = |source| Error::Scratch {
            directory: directory.clone(),
            source,
        };
        let file = compressor.gzip(&mut stream, file, see, sink_error)?;
        let tar = TarSummary {
            diff_id: DiffId::from_tar_digest(Digest::from_hasher(sha)),
            size: changeset.tar_size(),
            crc: 0,
            is_steady: stream.tar.is_steady(),
        };
        let bytes = file.finish(known, tar.diff_id);
        self.reuse.remember(known, &tar);
        let compression = self.options.compression;
        Ok(Layer::compressed(
            changeset,
            compression,
            tar.diff_id,
            bytes,
        ))
    }
}

/// The tar of a changeset, to be compressed.
pub(super) struct LayerStream<'a> {
    changeset: &'a Changeset,
    tar: TarStream<'a>,
}

impl<'a> LayerStream<'a> {
    pub(super) fn new(changeset: &'a Changeset) -> Self {
        Self {
            changeset,
            tar: TarStream::new(changeset.members(), true),
        }
    }
}

impl Stream for LayerStream<'_> {
    fn size(&self) -> u64 {
        self.changeset.tar_size()
    }

    fn segment_starts(&self) -> Vec<u64> {
        tar_writer::segment_starts(self.changeset.members())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        let count = self.tar.fill(buffer)?;
        debug_assert_eq!(count, buffer.len(), "the size of the tar is known");
        Ok(())
    }
}
