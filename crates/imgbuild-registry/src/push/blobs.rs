//! Uploading blobs to a repository, and counting them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use imgbuild_oci::image::Blob;

use crate::error::Result;
use crate::monitor::{BlobOutcome, Event};
use crate::repository::{OutgoingBlob, Repository};

/// The numbers of blobs by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct BlobCounts {
    pub(super) uploaded: usize,
    pub(super) uploaded_bytes: u64,
    pub(super) mounted: usize,
    pub(super) present: usize,
}

impl BlobCounts {
    /// Returns the sums.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            uploaded: self.uploaded + other.uploaded,
            uploaded_bytes: self.uploaded_bytes + other.uploaded_bytes,
            mounted: self.mounted + other.mounted,
            present: self.present + other.present,
        }
    }
}

/// The blobs of a push to one repository.
pub(super) struct BlobUploads<'a> {
    repository: &'a Repository,
    mount_from: &'a [String],
    counts: Mutex<BlobCounts>,
    /// Set after the repository lost a blob.
    has_lost_blobs: AtomicBool,
}

impl<'a> BlobUploads<'a> {
    pub(super) fn new(repository: &'a Repository, mount_from: &'a [String]) -> Self {
        Self {
            repository,
            mount_from,
            counts: Mutex::new(BlobCounts::default()),
            has_lost_blobs: AtomicBool::new(false),
        }
    }

    pub(super) fn counts(&self) -> BlobCounts {
        *self.counts.lock().expect("no holder of the lock panics")
    }

    /// Checks and uploads all blobs from now on: a registry that lost a blob may
    /// have reported to mount it.
    pub(super) fn set_has_lost_blobs(&self) {
        self.has_lost_blobs.store(true, Ordering::Relaxed);
    }

    /// Returns whether the repository has a blob. A manifest of the repository
    /// implies its blobs, without a request.
    pub(super) fn is_present(&self, blob: &Blob) -> Result<bool> {
        let is_from_here = blob.content().origin().is_some_and(|origin| {
            origin.registry == self.repository.client().registry()
                && origin.repository == self.repository.name()
        });
        let is_implied = is_from_here && !self.has_lost_blobs.load(Ordering::Relaxed);
        Ok(is_implied || self.repository.has_blob(&blob.digest, blob.size)?)
    }

    /// Mounts or uploads a blob.
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

    /// Returns the repositories that may have a blob: its origin, if that is in the
    /// same registry, and those of the caller.
    fn mounts(&self, blob: &Blob) -> Vec<String> {
        if self.has_lost_blobs.load(Ordering::Relaxed) {
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

    /// BlobCounts a blob that is where it should be, and tells of it.
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
