//! Sending blobs while their image is still being made.
//!
//! A layer whose digest is known can go, whatever else the image will have: a
//! registry keeps blobs for some time that no manifest names. So the network
//! works while other layers are compressed, and what ends last decides the
//! time, not the sum.

use std::collections::BTreeSet;
use std::sync::Mutex;

use imgbuild_oci::digest::Digest;
use imgbuild_oci::image::Blob;
use imgbuild_oci::parallel::{self, Queue};

use super::blobs::{Blobs, Counts};
use crate::error::Result;
use crate::monitor::{BlobOutcome, check};
use crate::repository::Repository;

/// Takes blobs that are ready.
#[derive(Debug)]
pub struct Ahead<'a> {
    queue: &'a Queue<Blob>,
}

impl Ahead<'_> {
    /// Has a blob sent; returns at once.
    pub fn send(&self, blob: Blob) {
        self.queue.add(blob);
    }
}

/// The blobs that a repository has got ahead of their manifest.
#[derive(Debug, Default)]
pub struct Sent {
    pub(super) digests: BTreeSet<Digest>,
    pub(super) counts: Counts,
}

/// Runs `work` and sends meanwhile what it hands out, `parallel` blobs at a
/// time. Returns when both are done: what `work` returns, and what was sent.
///
/// The first failure ends the sending, not the work, whose result may be of
/// use elsewhere. When the work fails, blobs that wait are not sent.
pub fn send_ahead<T, E>(
    repository: &Repository,
    parallel: usize,
    work: impl FnOnce(&Ahead<'_>) -> std::result::Result<T, E>,
) -> (std::result::Result<T, E>, Result<Sent>) {
    let blobs = Blobs::new(repository, &[]);
    // Without a failure each of them has been sent at the end.
    let taken = Mutex::new(BTreeSet::new());
    let send = |blob: Blob, _: &Queue<Blob>| {
        let mut taken = taken.lock().expect("no holder of the lock panics");
        let is_new = taken.insert(blob.digest);
        drop(taken);
        if is_new {
            send(&blobs, repository, &blob)
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

fn send(blobs: &Blobs<'_>, repository: &Repository, blob: &Blob) -> Result<()> {
    check(repository.client().monitor())?;
    if blobs.is_there(blob)? {
        blobs.report(blob, BlobOutcome::Present);
        Ok(())
    } else {
        blobs.upload(blob)
    }
}
