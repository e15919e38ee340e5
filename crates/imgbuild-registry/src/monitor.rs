//! What the library asks of its caller: time, chance, whether to go on; and
//! what it tells.

use std::time::Duration;

use imgbuild_oci::digest::Digest;

use crate::error::{Error, Result};

/// The caller of a long run. Called from several threads at once.
pub trait Monitor: Send + Sync {
    /// The time since some fixed moment; never runs backwards.
    fn now(&self) -> Duration;

    /// Waits; returns early when the run should stop.
    fn wait(&self, time: Duration);

    /// A random number, so that many clients do not come back at once.
    fn random(&self) -> u64;

    /// Whether the run should stop.
    fn is_interrupted(&self) -> bool;

    /// Takes note of one step.
    fn report(&self, event: Event<'_>);
}

/// One step of a run.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Bytes of a blob were sent.
    Sent {
        /// The blob.
        digest: Digest,
        /// How many.
        bytes: u64,
    },
    /// Bytes of a blob were received.
    Received {
        /// The blob.
        digest: Digest,
        /// How many.
        bytes: u64,
    },
    /// A blob is where it should be.
    Blob {
        /// The blob.
        digest: Digest,
        /// Its size.
        size: u64,
        /// How it got there.
        outcome: BlobOutcome<'a>,
    },
    /// Another run is adding to the same index, and has to end before this one.
    Waiting {
        /// The tag under which it has announced itself.
        place: &'a str,
        /// How long it is waited for at most.
        most: Duration,
    },
    /// Something failed that may succeed later.
    Retry {
        /// What failed.
        error: &'a Error,
        /// How long it waits until it tries again.
        after: Duration,
    },
}

/// How a blob got into a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobOutcome<'a> {
    /// It was there.
    Present,
    /// It was in another repository of the same registry.
    Mounted {
        /// That repository.
        from: &'a str,
    },
    /// It was sent.
    Uploaded,
}

/// Fails when the run should stop.
pub(crate) fn check(monitor: &dyn Monitor) -> Result<()> {
    match monitor.is_interrupted() {
        true => Err(Error::Interrupted),
        false => Ok(()),
    }
}
