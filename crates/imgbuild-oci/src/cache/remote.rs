//! An image in a registry, whose layers may be used again.
//!
//! Which program has compressed a blob, in which version and at which level,
//! is not known, and decides its digest. Where the documents show that this
//! program has written the whole image, all its layers were compressed in the
//! same way: one that is made again tells of all, without a request.
//! Elsewhere the start of every blob is asked for and compared.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use super::Candidate;
use crate::blob::BlobContent;
use crate::digest::{DiffId, Digest};

/// The compressed layers of an image in a registry.
#[derive(Debug, Clone, Default)]
pub struct RemoteLayers {
    /// The layers.
    pub layers: Vec<RemoteLayer>,
    /// Whether imgbuild has written the image, all of it in one way; see
    /// [`is_all_ours`](crate::image::is_all_ours).
    pub are_alike: bool,
}

/// A compressed layer of a registry, of which nothing is known but what the
/// registry says.
#[derive(Debug, Clone)]
pub struct RemoteLayer {
    /// The digest of the uncompressed tar, by the config.
    pub diff_id: DiffId,
    /// The digest of the blob, by the manifest.
    pub digest: Digest,
    /// The size of the blob, by the manifest.
    pub size: u64,
    /// The bytes.
    pub content: Arc<dyn BlobContent>,
}

/// How much of a blob is compared with what we would write.
const COMPARED_BYTES: u64 = 16 << 10;

/// How many bytes the tar of a layer has that is made again to see whether
/// the layers are as we would make them: enough to tell, and done in no time.
const PROBE_BYTES: RangeInclusive<u64> = 256 << 10..=16 << 20;

/// What the layers of one image are known by.
#[derive(Debug)]
pub(crate) struct Remote {
    layers: BTreeMap<DiffId, RemoteLayer>,
    /// Whether a layer is taken without its bytes.
    by_descriptor: bool,
    are_alike: bool,
    /// Whether they are as we would make them, once that is known.
    are_as_ours: Mutex<Option<bool>>,
}

impl Remote {
    pub(super) fn new(image: RemoteLayers, by_descriptor: bool) -> Self {
        let layers = image.layers.into_iter();
        Self {
            layers: layers.map(|layer| (layer.diff_id, layer)).collect(),
            by_descriptor,
            are_alike: image.are_alike,
            are_as_ours: Mutex::new(None),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.layers.len()
    }

    /// Returns whether any layer may be taken.
    pub(super) fn may_have_ours(&self) -> bool {
        !self.layers.is_empty() && self.known() != Some(false)
    }

    pub(super) fn layer(&self, diff_id: DiffId) -> Option<&RemoteLayer> {
        self.layers.get(&diff_id)
    }

    /// Returns the layer that is taken as the registry describes it, its
    /// bytes left where they are.
    pub(crate) fn descriptor(&self, diff_id: DiffId) -> Option<&RemoteLayer> {
        self.layer(diff_id).filter(|_| self.by_descriptor)
    }

    /// Returns whether a layer of this tar size could tell how all were made,
    /// and nothing has told it yet.
    pub(crate) fn asks_for(&self, tar_size: u64) -> bool {
        self.are_alike && PROBE_BYTES.contains(&tar_size) && self.known().is_none()
    }

    /// Returns whether the layers are as we would make them, if that can be
    /// told of all. `make_again` makes the blob of a candidate, for which
    /// others wait: what it shows is worth it.
    pub(crate) fn are_as_ours(
        &self,
        candidate: &Candidate,
        tar_size: u64,
        make_again: impl FnOnce() -> Option<Digest>,
    ) -> Option<bool> {
        let mut known = self.are_as_ours.lock().expect("no holder panics");
        // What hardly compresses is the same at several levels.
        let tells =
            self.are_alike && PROBE_BYTES.contains(&tar_size) && candidate.size < tar_size / 10 * 9;
        if known.is_none() && tells {
            *known = make_again().map(|made| made == candidate.digest);
        }
        *known
    }

    fn known(&self) -> Option<bool> {
        *self.are_as_ours.lock().expect("no holder panics")
    }

    pub(super) fn open_start(
        &self,
        candidate: &Candidate,
    ) -> io::Result<(Box<dyn Read + Send + '_>, u64)> {
        let start = self.content(candidate)?.open_start(COMPARED_BYTES)?;
        Ok((start, COMPARED_BYTES))
    }

    pub(super) fn open(&self, candidate: &Candidate) -> io::Result<Box<dyn Read + Send + '_>> {
        self.content(candidate)?.open(0)
    }

    fn content(&self, candidate: &Candidate) -> io::Result<&dyn BlobContent> {
        let mut layers = self.layers.values();
        let found = layers.find(|layer| layer.digest == candidate.digest);
        let layer = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(&*layer.content)
    }
}

impl RemoteLayer {
    /// What is known of it, with the trailer that it must have.
    pub(super) fn candidate(&self, trailer: [u8; 8]) -> Candidate {
        Candidate {
            digest: self.digest,
            size: self.size,
            trailer,
        }
    }
}
