//! The interface to the caller: the clock, random numbers and interruption, and
//! the events that are reported.

use std::time::Duration;

use imgbuild_oci::digest::Digest;

use crate::error::{Error, Result};

/// The caller of a long operation. Several threads call it at once.
pub trait ClientMonitor: Send + Sync {
    /// Returns the time since a fixed moment; it never decreases.
    fn now(&self) -> Duration;

    /// Waits; returns early on an interruption.
    fn wait(&self, time: Duration);

    /// Returns a random number, so that many clients do not retry at once.
    fn random(&self) -> u64;

    /// Returns whether the operation should stop.
    fn is_interrupted(&self) -> bool;

    /// Receives an event.
    fn report(&self, event: Event<'_>);
}

/// An event of an operation.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Bytes of a blob were sent.
    Sent {
        /// The blob.
        digest: Digest,
        /// The number of bytes.
        bytes: u64,
    },
    /// Bytes of a blob were received.
    Received {
        /// The blob.
        digest: Digest,
        /// The number of bytes.
        bytes: u64,
    },
    /// Blobs of a cached image will be downloaded.
    Fetching {
        /// Digests and sizes in bytes.
        blobs: &'a [(Digest, u64)],
    },
    /// A repository has a blob now.
    Blob {
        /// The blob.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The way in which it got there.
        outcome: BlobOutcome<'a>,
    },
    /// This run waits for another one that adds to the same index.
    Waiting {
        /// The tag of the announcement of the other run.
        tag: &'a str,
        /// The maximum time that this run waits.
        timeout: Duration,
    },
    /// A server has not answered for some seconds.
    NoAnswer {
        /// The server.
        server: &'a str,
    },
    /// The registry refuses to be read, which only saves work.
    Unreadable {
        /// The refusal.
        error: &'a Error,
    },
    /// An attempt failed.
    Retry {
        /// The failure.
        error: &'a Error,
        /// The wait until the next attempt.
        after: Duration,
    },
}

/// The way in which a blob got into a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobOutcome<'a> {
    /// The repository had it.
    Present,
    /// It was mounted from another repository of the same registry.
    Mounted {
        /// The other repository.
        from: &'a str,
    },
    /// It was uploaded.
    Uploaded,
}

/// Returns an error if the operation should stop.
pub(crate) fn check(monitor: &dyn ClientMonitor) -> Result<()> {
    if monitor.is_interrupted() {
        return Err(Error::Interrupted);
    }
    Ok(())
}
