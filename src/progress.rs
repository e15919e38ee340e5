//! The progress of long work: one bar, which counts one kind of bytes at a
//! time, and lines for slow blobs if no bar is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use imgbuild_oci::digest::Digest;

/// The time after which a slow blob is reported, and again.
const LONG: Duration = Duration::from_secs(10);

/// A kind of work, each with bytes of its own kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Layers are built: bytes of their tars that were read.
    Layers,
    /// A destination is written: bytes that were written.
    Writing,
    /// The same, if the bytes come from a registry.
    Copying,
    /// Blobs are fetched and stored: bytes that were received.
    Fetching,
    /// Blobs are sent to one repository.
    Sending,
}

impl Work {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Layers => "layers",
            Self::Writing => "writing",
            Self::Copying | Self::Fetching => "fetching",
            Self::Sending => "sending",
        }
    }
}

/// The direction of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    Download,
    Upload,
}

/// The bytes of a blob that are to be sent, and those that were.
#[derive(Debug)]
struct BlobProgress {
    size: u64,
    sent: u64,
}

/// A transfer of one blob.
#[derive(Debug, Clone, Copy)]
struct Transfer {
    /// The time of the start, or of the last report.
    reported: Duration,
    bytes: u64,
}

/// The blobs that are sent to one repository, and the transfers that are slow.
#[derive(Debug, Default)]
pub(crate) struct TransferProgress {
    blobs: BTreeMap<Digest, BlobProgress>,
    sizes: BTreeMap<Digest, u64>,
    transfers: BTreeMap<(Direction, Digest), Transfer>,
}

impl TransferProgress {
    /// Registers a blob to be sent; a known blob keeps its state.
    pub(crate) fn expect_blob(&mut self, digest: Digest, size: u64) {
        self.set_size(digest, size);
        self.blobs
            .entry(digest)
            .or_insert(BlobProgress { size, sent: 0 });
    }

    /// Registers the size of a blob, for messages.
    pub(crate) fn set_size(&mut self, digest: Digest, size: u64) {
        self.sizes.insert(digest, size);
    }

    pub(crate) fn begin_repository(&mut self) {
        self.blobs.clear();
    }

    /// Counts bytes of a blob that were sent, perhaps not for the first time.
    pub(crate) fn send(&mut self, digest: Digest, bytes: u64) {
        if let Some(blob) = self.blobs.get_mut(&digest) {
            blob.sent += bytes;
        }
    }

    /// Records a blob that arrived. One that the repository had or mounted is not
    /// part of the total, since no byte is sent.
    pub(crate) fn finish(&mut self, digest: Digest, size: u64, is_sent: bool) {
        self.transfers.remove(&(Direction::Upload, digest));
        self.set_size(digest, size);
        let size = if is_sent { size } else { 0 };
        self.blobs.insert(digest, BlobProgress { size, sent: size });
    }

    /// Returns the number of bytes that arrived, and of those to be sent in
    /// all.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let sent = self.blobs.values().map(|blob| blob.sent.min(blob.size));
        let total = self.blobs.values().map(|blob| blob.size);
        (sent.sum(), total.sum())
    }

    /// Counts bytes of a transfer at the time `now`; if it is slow, returns
    /// their number and the size of the blob, if it is known.
    pub(crate) fn track(
        &mut self,
        direction: Direction,
        digest: Digest,
        bytes: u64,
        now: Duration,
    ) -> Option<(u64, Option<u64>)> {
        let begun = Transfer {
            reported: now,
            bytes: 0,
        };
        let size = self.sizes.get(&digest).copied();
        let transfers = self.transfers.entry((direction, digest));
        let transfer = transfers.or_insert(begun);
        if size.is_some_and(|size| transfer.bytes >= size) {
            // Again, to another place or because it did not arrive.
            *transfer = begun;
        }
        transfer.bytes += bytes;
        if now.saturating_sub(transfer.reported) < LONG {
            return None;
        }
        transfer.reported = now;
        Some((transfer.bytes, size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(seed: u8) -> Digest {
        Digest::of(&[seed])
    }

    fn planned(sizes: &[u64]) -> TransferProgress {
        let mut progress = TransferProgress::default();
        for (seed, size) in sizes.iter().enumerate() {
            progress.expect_blob(digest(u8::try_from(seed).unwrap()), *size);
        }
        progress
    }

    #[test]
    fn what_need_not_be_sent_is_no_part_of_the_total() {
        let mut progress = planned(&[100, 10, 1]);
        assert_eq!(progress.totals(), (0, 111));
        progress.finish(digest(0), 100, false);
        assert_eq!(progress.totals(), (0, 11));
        progress.send(digest(1), 4);
        assert_eq!(progress.totals(), (4, 11));
        progress.send(digest(1), 6);
        progress.finish(digest(1), 10, true);
        progress.finish(digest(2), 1, true);
        assert_eq!(progress.totals(), (11, 11));
    }

    #[test]
    fn nothing_to_send_is_a_total_of_nothing() {
        let mut progress = planned(&[100, 10]);
        progress.finish(digest(0), 100, false);
        progress.finish(digest(1), 10, false);
        assert_eq!(progress.totals(), (0, 0));
    }

    #[test]
    fn what_is_sent_twice_counts_once() {
        let mut progress = planned(&[100]);
        progress.send(digest(0), 80);
        progress.send(digest(0), 100);
        assert_eq!(progress.totals(), (100, 100));
        progress.finish(digest(0), 100, true);
        assert_eq!(progress.totals(), (100, 100));
    }

    #[test]
    fn what_was_sent_ahead_counts_when_all_is_known() {
        let mut progress = planned(&[100]);
        progress.send(digest(0), 100);
        progress.finish(digest(0), 100, true);
        progress.expect_blob(digest(0), 100);
        progress.expect_blob(digest(7), 50);
        assert_eq!(progress.totals(), (100, 150));
    }

    #[test]
    fn every_repository_begins_anew() {
        let mut progress = planned(&[100]);
        progress.finish(digest(0), 100, true);
        progress.begin_repository();
        progress.expect_blob(digest(0), 100);
        assert_eq!(progress.totals(), (0, 100));
    }

    #[test]
    fn a_blob_that_takes_long_is_told_now_and_then() {
        let mut progress = planned(&[100]);
        let mut at = |seconds, bytes| {
            let now = Duration::from_secs(seconds);
            progress.track(Direction::Upload, digest(0), bytes, now)
        };
        assert_eq!(at(5, 10), None);
        assert_eq!(at(14, 10), None);
        assert_eq!(at(15, 10), Some((30, Some(100))));
        assert_eq!(at(16, 10), None);
        assert_eq!(at(25, 10), Some((50, Some(100))));
        // All of it, then once more to another repository.
        assert_eq!(at(26, 50), None);
        assert_eq!(at(60, 10), None);
        assert_eq!(at(70, 10), Some((20, Some(100))));
    }

    #[test]
    fn each_direction_is_followed_by_itself() {
        let mut progress = TransferProgress::default();
        let start = Duration::ZERO;
        let later = Duration::from_secs(10);
        assert_eq!(
            progress.track(Direction::Download, digest(0), 1, start),
            None
        );
        assert_eq!(progress.track(Direction::Upload, digest(0), 1, later), None);
        let told = progress.track(Direction::Download, digest(0), 1, later);
        assert_eq!(told, Some((2, None)));
    }
}
