//! Making layers, or finding them in the cache.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

use super::blob_file::BlobFile;
use super::reuse::{CacheKey, ForeignBlob, LayerCache, TarSummary};
use super::{CHUNK_BYTES, Layer, LayerBlob, LayerOptions};
use crate::buffer::AlignedBuffer;
use crate::changeset::Changeset;
use crate::compression::Compression;
use crate::digest::{DiffId, Digest};
use crate::error::{Error, Result};
use crate::monitor::{Monitor, Progress};
use crate::parallel;
use crate::pipeline::{Compressor, SizedStream, with_compressor};
use crate::store::LayerRecord;
use crate::tar_writer::TarStream;
use crate::xattr::DroppedXattrs;

/// The number of layers that are made before the threads start, to compare
/// them with those of registries.
const MAX_ENCODER_CHECKS: usize = 2;

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
    let build = |compressor: Option<&Compressor>| {
        let builder = Builder {
            options,
            cache: LayerCache::new(&options.cache, options.compression),
            compressor,
            monitor,
        };
        builder.build_all(changesets, finished)
    };
    match options.compression {
        Compression::None => build(None),
        Compression::Gzip(level) => {
            with_compressor(options.threads, level, |compressor| build(Some(compressor)))
        }
    }
}

/// Makes one layer after the other.
struct Builder<'a> {
    options: &'a LayerOptions,
    cache: LayerCache<'a>,
    /// `None` for plain layers.
    compressor: Option<&'a Compressor>,
    monitor: Monitor<'a>,
}

impl Builder<'_> {
    /// Builds the largest layers first, so that none is left alone at the end;
    /// before them, alone, the smallest of those that show whether the layers of
    /// a registry were made by this encoder, since all others depend on it.
    fn build_all(
        &self,
        changesets: Vec<Changeset>,
        finished: &(dyn Fn(&Layer) + Sync),
    ) -> Result<Vec<Layer>> {
        let changesets: Vec<Arc<Changeset>> = changesets.into_iter().map(Arc::new).collect();
        let mut waiting: Vec<usize> = (0..changesets.len()).collect();
        waiting.sort_by_key(|index| std::cmp::Reverse(changesets[*index].tar_size()));
        let layers = Mutex::new(BTreeMap::new());
        let build = |index: usize| -> Result<()> {
            let layer = self.build(&changesets[index])?;
            finished(&layer);
            let mut layers = layers.lock().expect("no holder of the lock panics");
            layers.insert(index, layer);
            Ok(())
        };

        for _ in 0..MAX_ENCODER_CHECKS {
            let smallest = waiting
                .iter()
                .rposition(|index| self.checks_encoder(&changesets[*index]));
            if let Some(smallest) = smallest {
                build(waiting.remove(smallest))?;
            }
        }
        parallel::for_each(self.options.threads, waiting, |index, _| build(index))?;

        let layers = layers.into_inner().expect("no holder of the lock panics");
        Ok(layers.into_values().collect())
    }

    /// Returns whether making a layer may show which encoder made those of a
    /// registry. Only compressed layers can be made in more than one way.
    fn checks_encoder(&self, changeset: &Changeset) -> bool {
        self.compressor.is_some() && self.cache.checks_encoder(changeset.tar_size())
    }

    fn build(&self, changeset: &Arc<Changeset>) -> Result<Layer> {
        let key = self.cache.key_of(changeset);
        if let Some(layer) = self.cache.by_state(key.as_ref(), changeset) {
            self.report_read(changeset);
            return Ok(layer);
        }
        match self.compressor {
            None => self.plain(key.as_ref(), changeset),
            Some(compressor) => self.compressed(key.as_ref(), changeset, compressor),
        }
    }

    fn plain(&self, key: Option<&CacheKey<'_>>, changeset: &Arc<Changeset>) -> Result<Layer> {
        let tar = self.read_tar(changeset)?;
        self.cache.remember(key, &tar);
        self.report_read(changeset);
        Ok(Layer::plain(changeset, &tar.identity, None))
    }

    fn compressed(
        &self,
        key: Option<&CacheKey<'_>>,
        changeset: &Arc<Changeset>,
        compressor: &Compressor,
    ) -> Result<Layer> {
        if self.cache.may_have(key, changeset) {
            let tar = self.read_tar(changeset)?;
            if let Some(layer) = self.by_content(key, changeset, &tar, compressor)? {
                self.cache.remember(key, &tar);
                self.report_read(changeset);
                return Ok(layer);
            }
        }
        loop {
            let file = BlobFile::create(self.cache.store(), &self.options.scratch)?;
            let store = file.store();
            match (self.compress(key, changeset, compressor, file), store) {
                // A store that cannot take a layer is of no use: scratch it is.
                (Err(Error::Scratch { source, .. }), Some(store)) => store.give_up(&source),
                (result, _) => return result,
            }
        }
    }

    fn report_read(&self, changeset: &Changeset) {
        self.monitor.report(Progress::Read(changeset.tar_size()));
    }

    /// Reads all files of a layer and hashes its tar.
    fn read_tar(&self, changeset: &Changeset) -> Result<TarSummary> {
        let mut stream = TarStream::new(changeset.members(), true);
        stream.dropped_xattrs = Some(DroppedXattrs::new());
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
        Ok(summary(stream, sha, crc.finalize()))
    }

    /// Finds a layer whose tar was read.
    fn by_content(
        &self,
        key: Option<&CacheKey<'_>>,
        changeset: &Arc<Changeset>,
        tar: &TarSummary,
        compressor: &Compressor,
    ) -> Result<Option<Layer>> {
        let reused = |blob| Ok(Some(self.layer(changeset, tar, blob).reused()));
        if let Some(blob) = self.cache.own_blob(key, tar) {
            return reused(blob.into());
        }
        let Some(found) = self.cache.find(key, changeset, tar, compressor) else {
            return Ok(None);
        };
        if let ForeignBlob::Described(layer) = found {
            return reused(layer.into());
        }

        let mut file = BlobFile::create(self.cache.store(), &self.options.scratch)?;
        match found.copy_to(&mut file, self.monitor) {
            Ok(()) if file.digest() == found.digest() => {
                reused(file.finish(key.map(CacheKey::shape), tar.identity.diff_id))
            }
            Err(Error::Interrupted) => Err(Error::Interrupted),
            // A blob that cannot be copied, or has another digest, is made anew.
            Ok(()) | Err(_) => Ok(None),
        }
    }

    /// Compresses the tar of a layer into a file, hashing both.
    fn compress(
        &self,
        key: Option<&CacheKey<'_>>,
        changeset: &Arc<Changeset>,
        compressor: &Compressor,
        file: BlobFile<'_>,
    ) -> Result<Layer> {
        let mut stream = TarStream::new(changeset.members(), true);
        stream.dropped_xattrs = Some(DroppedXattrs::new());
        let mut sha = Sha256::new();
        let see = |block: &[u8]| {
            sha.update(block);
            self.monitor.report(Progress::Read(block.len() as u64));
            self.monitor.check()
        };
        let directory = file.directory.clone();
        let sink_error = |source| Error::Scratch {
            directory: directory.clone(),
            source,
        };
        let file = compressor.gzip(&mut stream, file, see, sink_error)?;

        let tar = summary(stream, sha, 0);
        let diff_id = tar.identity.diff_id;
        // A new link to a file changes its state and not its bytes. A write that
        // restores the old time does both, and is only seen in a second read.
        if !tar.is_steady && self.read_tar(changeset)?.identity.diff_id != diff_id {
            return Err(Error::LayerChanged(changeset.name().to_owned()));
        }
        let blob = file.finish(key.map(CacheKey::shape), diff_id);
        self.cache.remember(key, &tar);
        Ok(self.layer(changeset, &tar, blob))
    }

    fn layer(&self, changeset: &Changeset, tar: &TarSummary, blob: LayerBlob) -> Layer {
        Layer::of_changeset(changeset, self.options.compression, &tar.identity, blob)
    }
}

/// Describes a tar that was read to its end.
fn summary(stream: TarStream<'_>, sha: Sha256, tar_crc: u32) -> TarSummary {
    TarSummary {
        is_steady: stream.is_steady(),
        identity: LayerRecord {
            diff_id: DiffId::from_tar_digest(Digest::from_hasher(sha)),
            tar_size: stream.size(),
            tar_crc,
            dropped_xattrs: stream.dropped_xattrs.unwrap_or_default(),
        },
    }
}

#[cfg(test)]
mod tests;
