//! How much of a blob is sent at a time, by what has failed so far.

use std::cell::Cell;

use crate::retry::Attempts;

/// How often the size of chunks is halved.
const MAX_HALVINGS: u32 = 5;

/// How an upload has gone so far, over all its sessions.
pub(super) struct Effort {
    pub(super) way: Way,
    /// Whether the registry takes no blob in one request, however small.
    pub(super) is_never_whole: bool,
    pub(super) attempts: Attempts,
    pub(super) requests: u32,
    /// The most bytes that a session had: what is sent once more achieves
    /// nothing.
    pub(super) reached: u64,
    /// How many bytes the last request has sent.
    pub(super) sent: Cell<u64>,
    /// Whether the line has been cut with all that was sent.
    pub(super) is_bad_line: bool,
    /// How often the content was damaged where it came from.
    pub(super) damages: u32,
}

/// How the rest of a blob is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In the request that ends the upload.
    Whole,
    /// In requests of so many bytes.
    Chunks(u64),
}

impl Effort {
    pub(super) fn new(way: Way, attempts: Attempts) -> Self {
        Self {
            way,
            is_never_whole: false,
            attempts,
            requests: 0,
            reached: 0,
            sent: Cell::new(0),
            is_bad_line: false,
            damages: 0,
        }
    }

    /// Notes how far it has come.
    pub(super) fn note(&mut self, offset: u64) {
        if offset > self.reached {
            self.reached = offset;
            self.attempts.progress();
        }
    }

    /// Sends less at a time, after a cut that all has been lost with: chunks
    /// of half of what could be sent at most. So at least what cuts every
    /// request of a size, or of a time, is got by.
    pub(super) fn send_less(&mut self, first: u64, min_chunk: u64) {
        let half = self.sent.get() / 2;
        let least = least_chunk(first, min_chunk);
        if half < least {
            return;
        }
        let size = 1 << half.ilog2();
        let now = match self.way {
            Way::Whole => first,
            Way::Chunks(now) => now,
        };
        self.way = Way::Chunks(size.min(now).max(least));
        self.is_never_whole = true;
        self.is_bad_line = true;
    }
}

/// The smallest chunk that is tried.
fn least_chunk(first: u64, min_chunk: u64) -> u64 {
    (first >> MAX_HALVINGS).max(min_chunk).max(1)
}

/// Half the chunks, as long as that may be.
pub(super) fn smaller(way: Way, first: u64, min_chunk: u64) -> Option<Way> {
    let size = match way {
        Way::Whole => first,
        Way::Chunks(size) => (size / 2).min(first),
    };
    (size >= least_chunk(first, min_chunk)).then_some(Way::Chunks(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_halved_down_to_what_the_registry_takes() {
        let mut way = Way::Whole;
        let mut sizes = Vec::new();
        while let Some(Way::Chunks(size)) = smaller(way, 32 << 20, 3 << 20) {
            sizes.push(size >> 20);
            way = Way::Chunks(size);
        }
        assert_eq!(sizes, [32, 16, 8, 4]);
    }
}
