//! An image whose compressed layers may be used again.
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

use crate::blob::BlobContent;
use crate::digest::{DiffId, Digest};

/// The compressed layers of an image in a registry.
#[derive(Debug, Clone, Default)]
pub struct RemoteLayers {
    /// The layers.
    pub layers: Vec<LayerCandidate>,
    /// True if imgbuild wrote the image, all of it in one way; see
    /// [`is_all_ours`](crate::image::is_all_ours).
    pub are_alike: bool,
}

/// A compressed layer of an image, as the image describes it.
#[derive(Debug, Clone)]
pub struct LayerCandidate {
    /// The digest of the uncompressed tar, from the config.
    pub diff_id: DiffId,
    /// The digest of the blob, from the manifest.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The CRC-32 of the tar and its size modulo 2^32, from the end of the gzip
    /// member (RFC 1952, section 2.3.1); `None` if its bytes are not here.
    pub trailer: Option<[u8; 8]>,
    /// The bytes.
    pub content: Arc<dyn BlobContent>,
}

/// The number of bytes of a blob on this machine that are compared with what
/// this build would write.
const LOCAL_COMPARED_BYTES: u64 = 256 << 10;

/// The same for a blob of a registry.
const REMOTE_COMPARED_BYTES: u64 = 16 << 10;

/// The tar size of a layer that is made again to decide for all: enough bytes
/// to show a difference, and few enough to take no time.
const DECIDING_BYTES: RangeInclusive<u64> = 256 << 10..=16 << 20;

/// The compressed layers of one image, or of several in one source.
#[derive(Debug)]
pub(crate) struct CandidateLayers {
    layers: BTreeMap<DiffId, Vec<LayerCandidate>>,
    compared_bytes: u64,
    /// True if a layer is taken without its bytes.
    pub(crate) by_descriptor: bool,
    are_alike: bool,
    /// True if this build would compress the layers to the same bytes; empty
    /// until one of them was made again.
    same_encoder: OnceLock<bool>,
}

impl CandidateLayers {
    /// Takes the layers of images on this machine.
    pub(super) fn local(layers: impl IntoIterator<Item = LayerCandidate>) -> Self {
        let mut image = Self {
            layers: BTreeMap::new(),
            compared_bytes: LOCAL_COMPARED_BYTES,
            by_descriptor: false,
            are_alike: false,
            same_encoder: OnceLock::new(),
        };
        for candidate in layers {
            let candidates = image.layers.entry(candidate.diff_id).or_default();
            if candidates.iter().all(|one| one.digest != candidate.digest) {
                candidates.push(candidate);
            }
        }
        image
    }

    /// Takes the layers of an image in a registry.
    pub(super) fn remote(image: RemoteLayers, by_descriptor: bool) -> Self {
        Self {
            compared_bytes: REMOTE_COMPARED_BYTES,
            by_descriptor,
            are_alike: image.are_alike,
            ..Self::local(image.layers)
        }
    }

    pub(super) fn count(&self) -> usize {
        self.layers.len()
    }

    /// Returns whether any layer may be taken for a tar of this size.
    pub(super) fn may_have(&self, tar_size: u64) -> bool {
        let size = (tar_size as u32).to_le_bytes();
        let mut candidates = self.layers.values().flatten();
        self.same_encoder.get() != Some(&false)
            && candidates.any(|one| one.trailer.is_none_or(|trailer| trailer[4..] == size))
    }

    /// Returns the blobs for a tar with this diff ID, CRC and size.
    pub(crate) fn candidates(
        &self,
        diff_id: DiffId,
        trailer: [u8; 8],
    ) -> impl Iterator<Item = &LayerCandidate> {
        let all = self.layers.get(&diff_id).into_iter().flatten();
        all.filter(move |one| one.trailer.is_none_or(|its| its == trailer))
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

    /// Opens the start of a candidate, unchecked, and returns the number of
    /// bytes to compare.
    pub(crate) fn open_start<'a>(
        &self,
        candidate: &'a LayerCandidate,
    ) -> io::Result<(Box<dyn Read + Send + 'a>, u64)> {
        let start = candidate.content.open_start(self.compared_bytes)?;
        Ok((start, self.compared_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of a tar that may decide.
    const SMALL: u64 = 1 << 20;

    /// The size of a tar that is too large to decide.
    const LARGE: u64 = 20 << 20;

    fn image(are_alike: bool) -> CandidateLayers {
        let layers = RemoteLayers {
            layers: Vec::new(),
            are_alike,
        };
        CandidateLayers::remote(layers, true)
    }

    fn candidate(size: u64) -> LayerCandidate {
        LayerCandidate {
            diff_id: DiffId::from_tar_digest(Digest::of(b"a tar")),
            digest: Digest::of(b"a layer"),
            size,
            trailer: None,
            content: Arc::new(Vec::new()),
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
