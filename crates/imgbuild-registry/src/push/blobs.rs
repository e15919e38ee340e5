//! One blob on its way to a repository.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use imgbuild_oci::image::Blob;

use crate::error::Result;
use crate::monitor::{BlobOutcome, Event};
use crate::repository::{OutgoingBlob, Repository};

/// What became of blobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) uploaded: usize,
    pub(super) uploaded_bytes: u64,
    pub(super) mounted: usize,
    pub(super) present: usize,
}

impl Counts {
    /// Adds both up.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            uploaded: self.uploaded + other.uploaded,
            uploaded_bytes: self.uploaded_bytes + other.uploaded_bytes,
            mounted: self.mounted + other.mounted,
            present: self.present + other.present,
        }
    }
}

/// Sends blobs to one repository, and counts them.
pub(super) struct Blobs<'a> {
    repository: &'a Repository,
    mount_from: &'a [String],
    counts: Mutex<Counts>,
    /// Whether the repository has lost something that it had.
    is_forgetful: AtomicBool,
}

impl<'a> Blobs<'a> {
    pub(super) fn new(repository: &'a Repository, mount_from: &'a [String]) -> Self {
        Self {
            repository,
            mount_from,
            counts: Mutex::new(Counts::default()),
            is_forgetful: AtomicBool::new(false),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        *self.counts.lock().expect("no holder of the lock panics")
    }

    /// From now on, asks for what should be there, and sends what is not: what
    /// a registry has lost it may have said to mount.
    pub(super) fn trust_no_more(&self) {
        self.is_forgetful.store(true, Ordering::Relaxed);
    }

    /// Returns whether the repository has a blob.
    pub(super) fn is_there(&self, blob: &Blob) -> Result<bool> {
        let is_trusted = !self.is_forgetful.load(Ordering::Relaxed);
        Ok(is_trusted && self.is_from_here(blob)
            || self.repository.has_blob(&blob.digest, blob.size)?)
    }

    /// Whether a blob was named by a manifest of this very repository, which
    /// took it only with its blobs.
    fn is_from_here(&self, blob: &Blob) -> bool {
        let origin = blob.content().origin();
        origin.is_some_and(|origin| {
            origin.registry == self.repository.client().registry()
                && origin.repository == self.repository.name()
        })
    }

    /// Mounts or sends a blob that is not there.
    pub(super) fn upload(&self, blob: &Blob) -> Result<()> {
        let mounts = self.mounts(blob);
        let outgoing = OutgoingBlob {
            digest: blob.digest,
            size: blob.size,
            content: blob.content(),
        };
        let outcome = self.repository.upload(outgoing, &mounts)?;
        self.report(blob, outcome);
        Ok(())
    }

    /// Repositories that may have a blob: where it comes from, if that is the
    /// same registry, and those that the caller names.
    fn mounts(&self, blob: &Blob) -> Vec<String> {
        if self.is_forgetful.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let registry = self.repository.client().registry();
        let origin = blob
            .content()
            .origin()
            .filter(|origin| origin.registry == registry);
        let origin = origin.map(|origin| origin.repository.clone());
        let mut mounts: Vec<String> = origin.into_iter().collect();
        mounts.extend(self.mount_from.iter().cloned());
        mounts.retain(|name| name != self.repository.name());
        mounts.dedup();
        mounts
    }

    /// Counts a blob that is where it should be, and tells of it.
    pub(super) fn report(&self, blob: &Blob, outcome: BlobOutcome<'_>) {
        let mut counts = self.counts.lock().expect("no holder of the lock panics");
        match outcome {
            BlobOutcome::Present => counts.present += 1,
            BlobOutcome::Mounted { .. } => counts.mounted += 1,
            BlobOutcome::Uploaded => {
                counts.uploaded += 1;
                counts.uploaded_bytes += blob.size;
            }
        }
        drop(counts);
        let (digest, size) = (blob.digest, blob.size);
        let event = Event::Blob {
            digest,
            size,
            outcome,
        };
        self.repository.client().monitor().report(event);
    }
}
