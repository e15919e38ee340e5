//! Uploading blobs while their image is still being built.
//!
//! A layer can be uploaded as soon as its digest is known: registries keep blobs
//! without a manifest for some time. So uploads and compression overlap.

use std::collections::BTreeSet;
use std::sync::Mutex;

use imgbuild_oci::digest::Digest;
use imgbuild_oci::image::Blob;
use imgbuild_oci::parallel::{self, Queue};

use super::blobs::{BlobCounts, BlobUploads};
use crate::error::Result;
use crate::monitor::{BlobOutcome, check};
use crate::repository::Repository;

/// A queue of blobs to upload.
#[derive(Debug)]
pub struct Ahead<'a> {
    queue: &'a Queue<Blob>,
}

impl Ahead<'_> {
    /// Adds a blob; returns at once.
    pub fn send(&self, blob: Blob) {
        self.queue.add(blob);
    }
}

/// The blobs that were uploaded before their manifest.
#[derive(Debug, Default)]
pub struct Sent {
    pub(super) digests: BTreeSet<Digest>,
    pub(super) counts: BlobCounts,
}

/// Runs `work`, and uploads the blobs that it adds to the queue meanwhile,
/// `parallel` at a time. Returns the result of `work` and the uploaded blobs.
///
/// A failed upload ends the uploads, but not `work`, which may have other outputs.
/// After a failure of `work`, queued blobs are not uploaded.
pub fn send_ahead<T, E>(
    repository: &Repository,
    parallel: usize,
    work: impl FnOnce(&Ahead<'_>) -> std::result::Result<T, E>,
) -> (std::result::Result<T, E>, Result<Sent>) {
    let blobs = BlobUploads::new(repository, &[]);
    // Without a failure, all of these are uploaded at the end.
    let taken = Mutex::new(BTreeSet::new());
    let send = |blob: Blob, _: &Queue<Blob>| {
        let mut taken = taken.lock().expect("no holder of the lock panics");
        let is_new = taken.insert(blob.digest);
        drop(taken);
        if is_new {
            upload(&blobs, repository, &blob)
        } else {
            Ok(())
        }
    };

    let (outcome, sent) = parallel::with_workers(parallel, send, |queue| {
        let outcome = work(&Ahead { queue });
        if outcome.is_err() {
            queue.stop();
        }
        outcome
    });
    let sent = sent.map(|()| Sent {
        digests: taken.into_inner().expect("no holder of the lock panics"),
        counts: blobs.counts(),
    });
    (outcome, sent)
}

fn upload(blobs: &BlobUploads<'_>, repository: &Repository, blob: &Blob) -> Result<()> {
    check(repository.client().monitor())?;
    if blobs.is_present(blob)? {
        blobs.report(blob, BlobOutcome::Present);
        Ok(())
    } else {
        blobs.upload(blob)
    }
}
