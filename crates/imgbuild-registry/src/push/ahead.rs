//! Sending blobs while their image is still being made.
//!
//! A layer whose digest is known can go, whatever else the image will have: a
//! registry keeps blobs for some time that no manifest names. So the network
//! works while other layers are compressed, and what ends last decides the
//! time, not the sum.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use imgbuild_oci::digest::Digest;
use imgbuild_oci::parcel::ParcelBlob;

use super::blobs::{Blobs, Counts};
use crate::error::{Error, Result};
use crate::monitor::{Fate, check};
use crate::repository::Repository;

/// Takes blobs that are ready.
#[derive(Debug)]
pub struct Ahead {
    queue: Sender<ParcelBlob>,
}

impl Ahead {
    /// Has a blob sent; returns at once.
    pub fn send(&self, blob: ParcelBlob) {
        // The threads that take them outlive this queue.
        drop(self.queue.send(blob));
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
    work: impl FnOnce(&Ahead) -> std::result::Result<T, E>,
) -> (std::result::Result<T, E>, Result<Sent>) {
    let (queue, blobs) = mpsc::channel();
    let job = Job {
        queue: Mutex::new(blobs),
        blobs: Blobs::new(repository, &[]),
        repository,
        taken: Mutex::default(),
        failure: Mutex::new(None),
        is_over: AtomicBool::new(false),
    };
    let outcome = thread::scope(|scope| {
        for _ in 0..parallel.max(1) {
            scope.spawn(|| job.run());
        }
        // The queue ends with the work, also if that panics.
        let ahead = Ahead { queue };
        let outcome = work(&ahead);
        job.is_over.store(outcome.is_err(), Ordering::Relaxed);
        outcome
    });
    let failure = job.failure.into_inner();
    let sent = match failure.expect("no holder of the lock panics") {
        Some(error) => Err(error),
        None => Ok(Sent {
            digests: job.taken.into_inner().expect("no holder panics"),
            counts: job.blobs.counts(),
        }),
    };
    (outcome, sent)
}

struct Job<'a> {
    queue: Mutex<Receiver<ParcelBlob>>,
    blobs: Blobs<'a>,
    repository: &'a Repository,
    /// Those that one of the threads has taken; without a failure all are
    /// there at the end.
    taken: Mutex<BTreeSet<Digest>>,
    failure: Mutex<Option<Error>>,
    /// Whether nobody needs what still waits.
    is_over: AtomicBool,
}

impl Job<'_> {
    fn run(&self) {
        loop {
            let next = self.queue.lock().expect("no holder panics").recv();
            let Ok(blob) = next else {
                return;
            };
            let is_new = self
                .taken
                .lock()
                .expect("no holder panics")
                .insert(blob.digest);
            if !is_new || self.has_ended() {
                continue;
            }
            if let Err(error) = self.send(&blob) {
                let mut failure = self.failure.lock().expect("no holder panics");
                failure.get_or_insert(error);
            }
        }
    }

    fn has_ended(&self) -> bool {
        let failure = self.failure.lock().expect("no holder panics");
        failure.is_some() || self.is_over.load(Ordering::Relaxed)
    }

    fn send(&self, blob: &ParcelBlob) -> Result<()> {
        check(self.repository.client().monitor())?;
        match self.blobs.is_there(blob)? {
            true => {
                self.blobs.report(blob, Fate::Present);
                Ok(())
            }
            false => self.blobs.upload(blob),
        }
    }
}
