//! In which way a blob is sent, by what has failed so far.
//!
//! No way is the right one everywhere: GHCR takes any size in one request and
//! no chunk above 4 MiB, ECR keeps the first chunk only, others know no
//! request with all of it. So ways are left and come back to, and only what a
//! registry has clearly refused is not tried again.

use std::cell::Cell;

use crate::retry::Attempts;

/// How often the size of chunks is halved.
const MAX_HALVINGS: u32 = 5;

/// How often a way is tried that the registry fails with.
const TRIES_OF_A_WAY: u32 = 2;

/// How an upload has gone so far, over all its sessions.
pub(super) struct Effort {
    pub(super) way: Way,
    pub(super) attempts: Attempts,
    pub(super) requests: u32,
    /// How many bytes the last request has sent.
    pub(super) sent: Cell<u64>,
    /// Whether the line has been cut with all that was sent.
    pub(super) is_bad_line: bool,
    /// How often the content was damaged where it came from.
    pub(super) damages: u32,
    /// The size of chunks where nothing speaks against it.
    chunk_bytes: u64,
    /// The most bytes that a session had: what is sent once more achieves
    /// nothing.
    reached: u64,
    /// How often the registry has failed with this way.
    errors: u32,
    /// How often it has failed with all in one request.
    whole_errors: u32,
    /// Whether it has clearly refused all in one request.
    has_no_whole: bool,
    /// Whether it takes no blob in one request, however small.
    is_never_whole: bool,
    /// Whether chunks do not get this blob there.
    has_no_chunks: bool,
    /// The most that a chunk may have.
    most: u64,
}

/// How the rest of a blob is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In the request that ends the upload.
    Whole,
    /// In one chunk, as Docker sends it.
    Stream,
    /// In requests of so many bytes.
    Chunks(u64),
}

impl Effort {
    /// Begins with what has worked before, if that is known.
    pub(super) fn new(known: Option<Way>, chunk_bytes: u64, attempts: Attempts) -> Self {
        Self {
            way: known.unwrap_or(Way::Whole),
            attempts,
            requests: 0,
            sent: Cell::new(0),
            is_bad_line: false,
            damages: 0,
            chunk_bytes,
            reached: 0,
            errors: 0,
            whole_errors: 0,
            has_no_whole: false,
            is_never_whole: known.is_some(),
            has_no_chunks: false,
            most: u64::MAX,
        }
    }

    /// Notes how far it has come.
    pub(super) fn note(&mut self, offset: u64) {
        if offset > self.reached {
            self.reached = offset;
            self.attempts.progress();
        }
    }

    /// How much the next chunk may have.
    pub(super) fn most(&self) -> u64 {
        match self.way {
            Way::Chunks(size) => size,
            Way::Whole | Way::Stream => self.most,
        }
    }

    /// Whether an upload that has a part is of any use.
    pub(super) fn can_go_on(&self) -> bool {
        !self.has_no_chunks
    }

    /// Whether all in one request may do, a moment later.
    pub(super) fn can_be_whole(&self) -> bool {
        !self.has_no_whole
    }

    /// What spares the next blobs what has failed with this one. A line that
    /// was cut, or a failure that passed, says nothing about them.
    pub(super) fn lesson(&self) -> Option<Way> {
        let is_known = match self.way {
            Way::Whole => false,
            Way::Stream => self.is_never_whole || self.whole_errors >= TRIES_OF_A_WAY,
            Way::Chunks(_) => self.is_never_whole && !self.is_bad_line,
        };
        is_known.then_some(self.way)
    }

    /// Goes on in chunks after all in one request was refused; false if those
    /// do not do either.
    pub(super) fn leave_whole(&mut self, status: u16, size: u64, min_chunk: u64) -> bool {
        // What else is said here may have another reason.
        self.has_no_whole |= matches!(status, 405 | 411 | 413 | 415 | 501);
        if self.has_no_chunks {
            return false;
        }
        let is_too_much = matches!(status, 413 | 416);
        self.is_never_whole |= !is_too_much;
        if !is_too_much || !self.halve(size, min_chunk) {
            let size = self.chunk_bytes.min(self.most).max(min_chunk);
            self.set(Way::Chunks(size));
        }
        true
    }

    /// Goes on with all in one request after chunks have failed for good;
    /// false if that does not do either.
    pub(super) fn leave_chunks(&mut self) -> bool {
        if self.has_no_whole {
            return false;
        }
        self.has_no_chunks = true;
        self.set(Way::Whole);
        true
    }

    /// Notes that the registry itself has failed; false if it was with chunks.
    ///
    /// A moment later the same may do. If it does not, then some say this of
    /// what they do not know, and all in one chunk, as Docker sends it, is
    /// known everywhere.
    pub(super) fn note_error(&mut self) -> bool {
        self.errors += 1;
        self.whole_errors += u32::from(self.way == Way::Whole);
        let next = match self.way {
            Way::Whole if self.has_no_chunks => Way::Whole,
            Way::Whole => Way::Stream,
            Way::Stream if self.has_no_whole => Way::Stream,
            Way::Stream => Way::Whole,
            Way::Chunks(_) => return false,
        };
        if self.errors >= TRIES_OF_A_WAY {
            self.set(next);
        }
        true
    }

    /// Sends less at a time, after a cut that all has been lost with: chunks
    /// of half of what could be sent at most. So at least what cuts every
    /// request of a size, or of a time, is got by.
    pub(super) fn send_less(&mut self, min_chunk: u64) {
        let half = self.sent.get() / 2;
        let least = self.least(min_chunk);
        if half < least || self.has_no_chunks {
            return;
        }
        let now = match self.way {
            Way::Whole | Way::Stream => self.chunk_bytes.min(self.most),
            Way::Chunks(now) => now,
        };
        self.set(Way::Chunks(power_of_two(half).min(now).max(least)));
        self.is_bad_line = true;
    }

    /// Sends half as much at a time as the `count` bytes that were too many;
    /// false if that is too little.
    pub(super) fn halve(&mut self, count: u64, min_chunk: u64) -> bool {
        let least = self.least(min_chunk);
        let now = match self.way {
            Way::Chunks(size) => size.min(count),
            Way::Whole | Way::Stream => count,
        };
        if now <= least || self.has_no_chunks {
            return false;
        }
        let half = power_of_two(now / 2).min(self.chunk_bytes).max(least);
        self.set(Way::Chunks(half));
        true
    }

    /// Notes that a chunk was too large for the registry.
    pub(super) fn refuse_chunk(&mut self, count: u64, min_chunk: u64) -> bool {
        let can = self.halve(count, min_chunk);
        if let (true, Way::Chunks(size)) = (can, self.way) {
            self.most = size;
        }
        can
    }

    fn set(&mut self, way: Way) {
        if way != self.way {
            self.errors = 0;
        }
        self.way = way;
    }

    /// The smallest chunk that is tried.
    fn least(&self, min_chunk: u64) -> u64 {
        (self.chunk_bytes >> MAX_HALVINGS).max(min_chunk).max(1)
    }
}

/// The largest power of two that is not larger.
fn power_of_two(size: u64) -> u64 {
    1 << size.max(1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::RetryPolicy;

    fn effort() -> Effort {
        Effort::new(None, 32 << 20, Attempts::new(RetryPolicy::default()))
    }

    #[test]
    fn chunks_are_halved_down_to_what_the_registry_takes() {
        let mut effort = effort();
        let mut sizes = Vec::new();
        while effort.halve(100 << 20, 3 << 20) {
            let Way::Chunks(size) = effort.way else {
                panic!("{:?}", effort.way);
            };
            sizes.push(size >> 20);
        }
        assert_eq!(sizes, [32, 16, 8, 4, 3]);
    }

    #[test]
    fn what_is_small_is_not_cut_up() {
        let mut effort = effort();
        assert!(!effort.halve(1000, 0));
        assert_eq!(effort.way, Way::Whole);
        assert!(effort.halve(5 << 20, 0));
        assert_eq!(effort.way, Way::Chunks(2 << 20));
    }

    #[test]
    fn each_way_that_the_registry_fails_with_is_tried_twice() {
        let mut effort = effort();
        let ways = [0; 6].map(|_| {
            effort.note_error();
            effort.way
        });
        let (whole, stream) = (Way::Whole, Way::Stream);
        assert_eq!(ways, [whole, stream, stream, whole, whole, stream]);
    }

    #[test]
    fn only_what_a_registry_has_said_is_a_lesson() {
        let mut cut = effort();
        cut.sent.set(20 << 20);
        cut.send_less(0);
        assert_eq!((cut.way, cut.lesson()), (Way::Chunks(8 << 20), None));
        let mut passing = effort();
        passing.note_error();
        assert_eq!(passing.lesson(), None);
        let mut failing = effort();
        failing.note_error();
        failing.note_error();
        assert_eq!(failing.lesson(), Some(Way::Stream));
        for (status, is_lesson) in [(405, true), (413, false), (416, false)] {
            let mut refused = effort();
            assert!(refused.leave_whole(status, 100 << 20, 0));
            assert_eq!(refused.lesson().is_some(), is_lesson, "{status}");
        }
    }

    #[test]
    fn what_was_refused_for_good_is_not_come_back_to() {
        let mut effort = effort();
        assert!(effort.leave_whole(405, 100 << 20, 0));
        assert!(!effort.leave_chunks());
        let mut effort = self::effort();
        assert!(effort.leave_whole(404, 100 << 20, 0));
        assert!(effort.leave_chunks());
        assert_eq!(effort.way, Way::Whole);
        assert!(!effort.leave_whole(404, 100 << 20, 0) && effort.can_be_whole());
        assert!(!effort.leave_whole(405, 100 << 20, 0) && !effort.can_be_whole());
    }
}
