//! An image in a registry, whose layers may be used again.
//!
//! Which program has compressed a blob, in which version and at which level,
//! is not known, and decides its digest. Where the documents show that this
//! program has written the whole image, all its layers were compressed in the
//! same way: one that is made again tells of all, without a request. Layers
//! that may tell it are probes; all others wait for them.
//! Elsewhere the start of every blob is asked for and compared.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::{CacheSource, Candidate};
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
    probing: Mutex<Probing>,
    /// Told when `probing` has changed.
    told: Condvar,
}

/// What layers that are made again have shown.
#[derive(Debug, Default)]
struct Probing {
    /// Whether the layers are as we would make them, once that is known.
    are_as_ours: Option<bool>,
    /// How many probes may still show it.
    expected: usize,
}

/// A layer on its way that may tell how those of registries were made. It is
/// waited for until it is dropped.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The images that wait for it.
    waiting: RefCell<Vec<Arc<CacheSource>>>,
}

impl Probe {
    /// Returns a probe if a layer of this tar size could tell of any image,
    /// and nothing has told of it yet.
    pub(crate) fn new(sources: &[Arc<CacheSource>], tar_size: u64) -> Option<Self> {
        let all = sources.iter().cloned();
        let asking: Vec<_> = all
            .filter(|source| source.remote().is_some_and(|one| one.expect(tar_size)))
            .collect();
        (!asking.is_empty()).then(|| Self {
            waiting: RefCell::new(asking),
        })
    }

    /// Lets nobody wait any longer for what it tells of an image.
    ///
    /// Images are asked in one order, and each is left before the probe waits
    /// for others or goes on to the next: so probes never wait in a circle.
    pub(crate) fn leave(&self, remote: &Remote) {
        self.leave_locked(remote, &mut remote.probing());
    }

    fn leave_locked(&self, remote: &Remote, probing: &mut Probing) {
        self.waiting.borrow_mut().retain(|source| {
            let is_meant = source.remote().is_some_and(|one| std::ptr::eq(one, remote));
            if is_meant {
                remote.forget_one(probing);
            }
            !is_meant
        });
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let sources = self.waiting.take();
        for remote in sources.iter().filter_map(|source| source.remote()) {
            remote.forget_one(&mut remote.probing());
        }
    }
}

impl Remote {
    pub(super) fn new(image: RemoteLayers, by_descriptor: bool) -> Self {
        let layers = image.layers.into_iter();
        Self {
            layers: layers.map(|layer| (layer.diff_id, layer)).collect(),
            by_descriptor,
            are_alike: image.are_alike,
            probing: Mutex::default(),
            told: Condvar::new(),
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

    /// Waits for one probe more, if a layer of this tar size could tell how all
    /// were made and nothing has told it yet.
    fn expect(&self, tar_size: u64) -> bool {
        let mut probing = self.probing();
        let is_of_use =
            self.are_alike && PROBE_BYTES.contains(&tar_size) && probing.are_as_ours.is_none();
        probing.expected += usize::from(is_of_use);
        is_of_use
    }

    /// Waits for one probe less.
    fn forget_one(&self, probing: &mut Probing) {
        probing.expected -= 1;
        self.told.notify_all();
    }

    /// Returns whether the layers are as we would make them, if that can be
    /// told of all, by this one or a probe that is on its way. `make_again`
    /// makes the blob of a candidate, for which others wait: what it shows is
    /// worth it.
    pub(crate) fn are_as_ours(
        &self,
        candidate: &Candidate,
        tar_size: u64,
        probe: Option<&Probe>,
        make_again: impl FnOnce() -> Option<Digest>,
    ) -> Option<bool> {
        let mut probing = self.probing();
        // What hardly compresses is the same at several levels.
        let tells =
            self.are_alike && PROBE_BYTES.contains(&tar_size) && candidate.size < tar_size / 10 * 9;
        if probing.are_as_ours.is_none() && tells {
            probing.are_as_ours = make_again().map(|made| made == candidate.digest);
            self.told.notify_all();
        }
        if let Some(probe) = probe {
            probe.leave_locked(self, &mut probing);
        }
        let is_open = |probing: &mut Probing| probing.are_as_ours.is_none() && probing.expected > 0;
        let probing = self.told.wait_while(probing, is_open);
        probing.expect("no holder panics").are_as_ours
    }

    fn known(&self) -> Option<bool> {
        self.probing().are_as_ours
    }

    fn probing(&self) -> MutexGuard<'_, Probing> {
        self.probing.lock().expect("no holder panics")
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

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// The size of a tar that may tell.
    const SMALL: u64 = 1 << 20;

    fn image() -> Arc<CacheSource> {
        let image = RemoteLayers {
            layers: Vec::new(),
            are_alike: true,
        };
        Arc::new(CacheSource::of_layers("an image".to_owned(), image, true))
    }

    fn probe(image: &Arc<CacheSource>) -> Probe {
        Probe::new(std::slice::from_ref(image), SMALL).unwrap()
    }

    fn candidate(size: u64) -> Candidate {
        Candidate {
            digest: Digest::of(b"a layer"),
            size,
            trailer: [0; 8],
        }
    }

    /// What a layer learns that cannot tell anything itself.
    fn ask(image: &CacheSource) -> Option<bool> {
        let size = 20 << 20;
        let remote = image.remote().unwrap();
        remote.are_as_ours(&candidate(size), size, None, || unreachable!())
    }

    #[test]
    fn a_layer_that_is_hashed_first_waits_for_the_probe() {
        let image = image();
        let probe = probe(&image);
        thread::scope(|scope| {
            let remote = image.remote().unwrap();
            let other = scope.spawn(|| ask(&image));
            let slow = scope.spawn(move || {
                thread::sleep(Duration::from_millis(100));
                let make_again = || Some(Digest::of(b"a layer"));
                remote.are_as_ours(&candidate(1000), SMALL, Some(&probe), make_again)
            });
            assert_eq!(slow.join().unwrap(), Some(true));
            assert_eq!(other.join().unwrap(), Some(true));
        });
    }

    #[test]
    fn nobody_waits_for_a_probe_that_is_gone_or_cannot_tell() {
        let image = image();
        assert_eq!(ask(&image), None);
        let [gone, without, incompressible] = [(); 3].map(|()| probe(&image));
        let remote = image.remote().unwrap();
        thread::scope(|scope| {
            let other = scope.spawn(|| ask(&image));
            scope.spawn(move || {
                let candidate = candidate(SMALL);
                remote.are_as_ours(&candidate, SMALL, Some(&incompressible), || None)
            });
            drop(gone);
            without.leave(remote);
            assert_eq!(other.join().unwrap(), None);
        });
        drop(without);
        assert_eq!(remote.probing().expected, 0);
    }

    #[test]
    fn there_is_no_probe_where_everything_is_known_or_nothing_can_be() {
        let image = image();
        let sources = std::slice::from_ref(&image);
        assert!(Probe::new(sources, 1000).is_none());
        image.remote().unwrap().probing().are_as_ours = Some(false);
        assert!(Probe::new(sources, SMALL).is_none());
    }
}
