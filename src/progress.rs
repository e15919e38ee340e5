//! How far long work is: one bar, which counts one thing at a time, and lines
//! for blobs that take long where nobody sees a bar.

use std::collections::BTreeMap;
use std::time::Duration;

use imgbuild_oci::digest::Digest;

/// How long a blob is on its way before a line says so, and again.
const LONG: Duration = Duration::from_secs(10);

/// What is done, each with bytes of its own kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Layers are made: bytes of their tars that were read.
    Layers,
    /// A destination is written: bytes that are there.
    Writing,
    /// The same, when all of it comes from a registry.
    Copying,
    /// Blobs are fetched and kept: bytes that were received.
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

    /// Whether bytes of this kind are what is counted.
    pub(crate) fn counts(self, moved: Moved) -> bool {
        match moved {
            Moved::Read => self == Self::Layers,
            Moved::Written => matches!(self, Self::Writing | Self::Copying),
            Moved::Received => self == Self::Fetching,
        }
    }
}

/// Bytes that are counted as they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    Read,
    Written,
    Received,
}

/// Where a blob goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    In,
    Out,
}

/// What became of a blob that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Sent,
    /// It was there, or was mounted: no byte of it goes.
    Spared,
}

#[derive(Debug)]
struct Blob {
    size: u64,
    sent: u64,
    fate: Fate,
}

/// A blob on its way.
#[derive(Debug)]
struct Journey {
    begun: Duration,
    said: Duration,
    bytes: u64,
}

/// What has to be sent to one repository and what of it is there, and which
/// blobs take long.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    blobs: BTreeMap<Digest, Blob>,
    sizes: BTreeMap<Digest, u64>,
    journeys: BTreeMap<(Way, Digest), Journey>,
}

impl Ledger {
    /// Takes note of a blob that has to be sent; one that is known stays as
    /// far as it is.
    pub(crate) fn plan(&mut self, digest: Digest, size: u64) {
        self.know(digest, size);
        self.blobs.entry(digest).or_insert(Blob {
            size,
            sent: 0,
            fate: Fate::Open,
        });
    }

    /// Takes note of the size of a blob, for lines.
    pub(crate) fn know(&mut self, digest: Digest, size: u64) {
        self.sizes.insert(digest, size);
    }

    /// The next repository has nothing yet.
    pub(crate) fn begin_repository(&mut self) {
        self.blobs.clear();
    }

    /// Counts bytes of a blob that were sent, maybe not for the first time.
    pub(crate) fn send(&mut self, digest: Digest, bytes: u64) {
        if let Some(blob) = self.blobs.get_mut(&digest) {
            blob.sent += bytes;
        }
    }

    /// Takes note of a blob that is where it should be.
    pub(crate) fn settle(&mut self, digest: Digest, size: u64, is_sent: bool) {
        self.journeys.remove(&(Way::Out, digest));
        self.plan(digest, size);
        if let Some(blob) = self.blobs.get_mut(&digest) {
            blob.fate = match is_sent {
                true => Fate::Sent,
                false => Fate::Spared,
            };
        }
    }

    /// Returns how many bytes of the planned ones are there, and how many have
    /// to go at all.
    pub(crate) fn sums(&self) -> (u64, u64) {
        let one = |blob: &Blob| match blob.fate {
            Fate::Open => (blob.sent.min(blob.size), blob.size),
            Fate::Sent => (blob.size, blob.size),
            Fate::Spared => (0, 0),
        };
        let all = self.blobs.values().map(one);
        all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Counts bytes of a blob that is on its way at the time `now`; when it
    /// takes long, returns how many they are and, if it is known, of how many.
    pub(crate) fn travel(
        &mut self,
        way: Way,
        digest: Digest,
        bytes: u64,
        now: Duration,
    ) -> Option<(u64, Option<u64>)> {
        let journey = self.journeys.entry((way, digest)).or_insert(Journey {
            begun: now,
            said: now,
            bytes: 0,
        });
        let size = self.sizes.get(&digest).copied();
        if size.is_some_and(|size| journey.bytes >= size) {
            // Again, to another place or because it did not arrive.
            *journey = Journey {
                begun: now,
                said: now,
                bytes: 0,
            };
        }
        journey.bytes += bytes;
        let last = journey.said.max(journey.begun);
        if now.saturating_sub(last) < LONG {
            return None;
        }
        journey.said = now;
        Some((journey.bytes, size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(seed: u8) -> Digest {
        Digest::of(&[seed])
    }

    fn planned(sizes: &[u64]) -> Ledger {
        let mut ledger = Ledger::default();
        for (seed, size) in sizes.iter().enumerate() {
            ledger.plan(digest(u8::try_from(seed).unwrap()), *size);
        }
        ledger
    }

    #[test]
    fn what_need_not_be_sent_is_no_part_of_the_total() {
        let mut ledger = planned(&[100, 10, 1]);
        assert_eq!(ledger.sums(), (0, 111));
        ledger.settle(digest(0), 100, false);
        assert_eq!(ledger.sums(), (0, 11));
        ledger.send(digest(1), 4);
        assert_eq!(ledger.sums(), (4, 11));
        ledger.send(digest(1), 6);
        ledger.settle(digest(1), 10, true);
        ledger.settle(digest(2), 1, true);
        assert_eq!(ledger.sums(), (11, 11));
    }

    #[test]
    fn nothing_to_send_is_a_total_of_nothing() {
        let mut ledger = planned(&[100, 10]);
        ledger.settle(digest(0), 100, false);
        ledger.settle(digest(1), 10, false);
        assert_eq!(ledger.sums(), (0, 0));
    }

    #[test]
    fn what_is_sent_twice_counts_once() {
        let mut ledger = planned(&[100]);
        ledger.send(digest(0), 80);
        ledger.send(digest(0), 100);
        assert_eq!(ledger.sums(), (100, 100));
        ledger.settle(digest(0), 100, true);
        assert_eq!(ledger.sums(), (100, 100));
    }

    #[test]
    fn what_was_sent_ahead_counts_when_all_is_known() {
        let mut ledger = planned(&[100]);
        ledger.send(digest(0), 100);
        ledger.settle(digest(0), 100, true);
        ledger.plan(digest(0), 100);
        ledger.plan(digest(7), 50);
        assert_eq!(ledger.sums(), (100, 150));
    }

    #[test]
    fn every_repository_begins_anew() {
        let mut ledger = planned(&[100]);
        ledger.settle(digest(0), 100, true);
        ledger.begin_repository();
        ledger.plan(digest(0), 100);
        assert_eq!(ledger.sums(), (0, 100));
    }

    #[test]
    fn a_blob_that_takes_long_is_told_now_and_then() {
        let mut ledger = planned(&[100]);
        let mut at = |seconds, bytes| {
            let now = Duration::from_secs(seconds);
            ledger.travel(Way::Out, digest(0), bytes, now)
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
    fn each_way_is_followed_by_itself() {
        let mut ledger = Ledger::default();
        let start = Duration::ZERO;
        let later = Duration::from_secs(10);
        assert_eq!(ledger.travel(Way::In, digest(0), 1, start), None);
        assert_eq!(ledger.travel(Way::Out, digest(0), 1, later), None);
        let told = ledger.travel(Way::In, digest(0), 1, later);
        assert_eq!(told, Some((2, None)));
    }

    #[test]
    fn each_work_counts_its_own_bytes() {
        for (work, moved) in [
            (Work::Layers, Moved::Read),
            (Work::Writing, Moved::Written),
            (Work::Copying, Moved::Written),
            (Work::Fetching, Moved::Received),
        ] {
            let all = [Moved::Read, Moved::Written, Moved::Received];
            let counted: Vec<Moved> = all.into_iter().filter(|one| work.counts(*one)).collect();
            assert_eq!(counted, [moved], "{work:?}");
        }
    }
}
