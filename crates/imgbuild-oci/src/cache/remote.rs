//! An image in a registry, whose layers may be used again.
//!
//! Which program compressed a blob, in which version and at which level, is
//! not recorded, and decides its digest. Where the documents show that this
//! program wrote the whole image, all its layers were compressed in the same
//! way: one that is made again decides for all, without a request. Elsewhere
//! the start of every blob is read and compared.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use super::LayerCandidate;
use crate::blob::BlobContent;
use crate::digest::{DiffId, Digest};

/// The compressed layers of an image in a registry.
#[derive(Debug, Clone, Default)]
pub struct RemoteLayers {
    /// The layers.
    pub layers: Vec<RemoteLayer>,
    /// True if imgbuild wrote the image, all of it in one way; see
    /// [`is_all_ours`](crate::image::is_all_ours).
    pub are_alike: bool,
}

/// A compressed layer of a registry, as its manifest and config describe it.
#[derive(Debug, Clone)]
pub struct RemoteLayer {
    /// The digest of the uncompressed tar, from the config.
    pub diff_id: DiffId,
    /// The digest of the blob, from the manifest.
    pub digest: Digest,
    /// The size of the blob in bytes, from the manifest.
    pub size: u64,
    /// The bytes.
    pub content: Arc<dyn BlobContent>,
}

/// The number of bytes of a blob that are compared with what this build would
/// write.
const COMPARED_BYTES: u64 = 16 << 10;

/// The tar size of a layer that is made again to decide for all: enough bytes
/// to show a difference, and few enough to take no time.
const DECIDING_BYTES: RangeInclusive<u64> = 256 << 10..=16 << 20;

/// The layers of one image in a registry.
#[derive(Debug)]
pub(crate) struct RemoteImage {
    layers: BTreeMap<DiffId, RemoteLayer>,
    /// True if a layer is taken without its bytes.
    by_descriptor: bool,
    are_alike: bool,
    /// True if this build would compress the layers to the same bytes; empty
    /// until one of them was made again.
    same_encoder: OnceLock<bool>,
}

impl RemoteImage {
    pub(super) fn new(image: RemoteLayers, by_descriptor: bool) -> Self {
        let layers = image.layers.into_iter();
        Self {
            layers: layers.map(|layer| (layer.diff_id, layer)).collect(),
            by_descriptor,
            are_alike: image.are_alike,
            same_encoder: OnceLock::new(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.layers.len()
    }

    /// Returns whether any layer may be taken.
    pub(super) fn may_have_layers(&self) -> bool {
        !self.layers.is_empty() && self.same_encoder.get() != Some(&false)
    }

    pub(super) fn layer(&self, diff_id: DiffId) -> Option<&RemoteLayer> {
        self.layers.get(&diff_id)
    }

    /// Returns the layer that is taken by its descriptor, its bytes left where
    /// they are.
    pub(super) fn described(&self, diff_id: DiffId) -> Option<&RemoteLayer> {
        self.layer(diff_id).filter(|_| self.by_descriptor)
    }

    /// Returns whether a layer of this tar size, made again, may decide for
    /// all, and none has done so yet.
    pub(crate) fn is_decided_by(&self, tar_size: u64) -> bool {
        self.are_alike && self.same_encoder.get().is_none() && DECIDING_BYTES.contains(&tar_size)
    }

    /// Returns whether this build would compress the layers to the same bytes,
    /// if that can be decided for all. `compress` makes the blob of `candidate`
    /// again and returns its digest.
    pub(crate) fn has_same_encoder(
        &self,
        candidate: &LayerCandidate,
        tar_size: u64,
        compress: impl FnOnce() -> Option<Digest>,
    ) -> Option<bool> {
        // A tar that hardly compresses gives the same bytes at several levels.
        if self.is_decided_by(tar_size) && candidate.size < tar_size / 10 * 9 {
            let is_same = compress()? == candidate.digest;
            return Some(*self.same_encoder.get_or_init(|| is_same));
        }
        self.same_encoder.get().copied()
    }

    pub(super) fn open_start(
        &self,
        candidate: &LayerCandidate,
    ) -> io::Result<(Box<dyn Read + Send + '_>, u64)> {
        let start = self.content(candidate)?.open_start(COMPARED_BYTES)?;
        Ok((start, COMPARED_BYTES))
    }

    pub(super) fn open(&self, candidate: &LayerCandidate) -> io::Result<Box<dyn Read + Send + '_>> {
        self.content(candidate)?.open(0)
    }

    fn content(&self, candidate: &LayerCandidate) -> io::Result<&dyn BlobContent> {
        let mut layers = self.layers.values();
        let found = layers.find(|layer| layer.digest == candidate.digest);
        let layer = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(&*layer.content)
    }
}

impl RemoteLayer {
    /// Returns the candidate, with the trailer that its bytes must have.
    pub(super) fn candidate(&self, trailer: [u8; 8]) -> LayerCandidate {
        LayerCandidate {
            digest: self.digest,
            size: self.size,
            trailer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of a tar that may decide.
    const SMALL: u64 = 1 << 20;

    /// The size of a tar that is too large to decide.
    const LARGE: u64 = 20 << 20;

    fn image(are_alike: bool) -> RemoteImage {
        let layers = RemoteLayers {
            layers: Vec::new(),
            are_alike,
        };
        RemoteImage::new(layers, true)
    }

    fn candidate(size: u64) -> LayerCandidate {
        LayerCandidate {
            digest: Digest::of(b"a layer"),
            size,
            trailer: [0; 8],
        }
    }

    #[test]
    fn one_layer_that_is_made_again_decides_for_all() {
        for (made, is_same) in [(b"a layer", true), (b"another", false)] {
            let image = image(true);
            let ask = |size| image.has_same_encoder(&candidate(1000), size, || unreachable!());
            assert_eq!(ask(LARGE), None);
            assert!(image.is_decided_by(SMALL));
            let decided =
                image.has_same_encoder(&candidate(1000), SMALL, || Some(Digest::of(made)));
            assert_eq!(decided, Some(is_same));
            assert!(!image.is_decided_by(SMALL));
            assert_eq!(ask(LARGE), Some(is_same));
            assert_eq!(ask(SMALL), Some(is_same));
        }
    }

    #[test]
    fn a_layer_that_shows_nothing_does_not_decide() {
        let image = image(true);
        for (size, tar_size) in [(SMALL, SMALL), (1000, 1000), (1000, LARGE)] {
            let decided = image.has_same_encoder(&candidate(size), tar_size, || unreachable!());
            assert_eq!(decided, None);
        }
        let failed = image.has_same_encoder(&candidate(1000), SMALL, || None);
        assert_eq!(failed, None);
        assert!(image.is_decided_by(SMALL));
    }

    #[test]
    fn an_image_of_another_program_is_not_decided_by_one_layer() {
        let image = image(false);
        assert!(!image.is_decided_by(SMALL));
        let decided = image.has_same_encoder(&candidate(1000), SMALL, || unreachable!());
        assert_eq!(decided, None);
    }
}
