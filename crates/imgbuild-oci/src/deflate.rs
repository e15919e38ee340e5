//! Our own DEFLATE encoder ([RFC 1951]): whole blocks in, bytes out.
//!
//! Compressed bytes decide a layer's digest, so they must never depend on
//! anything but the input: each block is a pure function of its history, its
//! bytes, the level and whether it is the last. All tables are cleared between
//! blocks, all arithmetic is on integers, and nothing asks what the processor
//! can do. A change of any output byte is a change of every image's digest; the
//! golden test is there to notice it.
//!
//! [RFC 1951]: https://www.rfc-editor.org/rfc/rfc1951

mod bits;
mod block;
mod greedy;
mod header;
mod huffman;
mod sequence;
mod split;
mod symbol;
mod window;

use bits::BitWriter;
use sequence::{Histogram, Sequence};
use split::Segment;

/// How much input a caller should pass at once.
pub const BLOCK_BYTES: usize = 256 * 1024;

/// How far back matches reach: the bytes before a block that are of use.
pub const HISTORY_BYTES: usize = window::MAX_DISTANCE;

/// How hard to search, from 1 (fastest) to 9 (smallest).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// What to use when nothing is said.
    pub const DEFAULT: Self = Self(3);

    /// Returns the level with this number, if it is one of 1 to 9.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (1..=9).contains(&number).then_some(Self(number))
    }

    /// Returns the number, 1 to 9.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

impl Default for Level {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// An encoder of one level, with tables that are used again for every block.
///
/// Nothing of a block remains: the tables only save allocations.
#[derive(Debug)]
pub struct Encoder {
    matcher: Matcher,
    sequences: Vec<Sequence>,
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Matcher {
    One(greedy::Greedy<1, 8192>),
    Two(greedy::Greedy<2, 32768>),
}

const SEGMENT_BYTES: usize = 32 * 1024;

impl Encoder {
    /// Makes an encoder of this level.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self {
            matcher: if level.0 == 1 {
                Matcher::One(greedy::Greedy::new())
            } else {
                Matcher::Two(greedy::Greedy::new())
            },
            sequences: Vec::new(),
            segments: Vec::new(),
        }
    }

    /// Appends the compressed form of `input[history..]` to `output`.
    ///
    /// Matches may reach back into `input[..history]`, of which only the last
    /// [`HISTORY_BYTES`] matter. The result ends at a byte boundary: with an
    /// empty stored block, or with the final block of the stream when `last`.
    ///
    /// # Panics
    ///
    /// When `history` exceeds the length of `input`.
    pub fn compress_block(
        &mut self,
        input: &[u8],
        history: usize,
        last: bool,
        output: &mut Vec<u8>,
    ) {
        assert!(history <= input.len(), "history is a part of the input");
        let mut start = history;
        loop {
            let end = input.len().min(start + BLOCK_BYTES);
            let from = start.saturating_sub(HISTORY_BYTES);
            let is_last = last && end == input.len();
            self.compress_window(&input[from..end], start - from, is_last, output);
            start = end;
            if start == input.len() {
                break;
            }
        }
    }

    fn compress_window(&mut self, window: &[u8], start: usize, last: bool, output: &mut Vec<u8>) {
        self.parse(window, start);
        let blocks = split::block_lengths(&self.segments);
        let written_before = output.len();
        let bound = block::bound(window.len() - start, blocks.len() + 1);
        output.resize(written_before + bound, 0);
        let mut writer = BitWriter::new(&mut output[written_before..]);
        let mut data = &window[start..];
        let mut sequences = &self.sequences[..];
        let mut segments = &self.segments[..];
        for length in blocks {
            let (joined, after) = segments.split_at(length);
            let mut counts = Histogram::EMPTY;
            let (mut bytes, mut count) = (0, 0);
            for segment in joined {
                counts.merge(&segment.counts);
                bytes += segment.bytes;
                count += segment.sequences;
            }
            let is_final = last && after.is_empty();
            block::write(
                &mut writer,
                &data[..bytes],
                &sequences[..count],
                counts,
                is_final,
            );
            data = &data[bytes..];
            sequences = &sequences[count..];
            segments = after;
        }
        if !last {
            block::write_sync(&mut writer);
        } else if self.segments.is_empty() {
            block::write_empty_final(&mut writer);
        }
        let written = writer.finish();
        output.truncate(written_before + written);
    }

    fn parse(&mut self, window: &[u8], start: usize) {
        self.sequences.clear();
        self.segments.clear();
        match &mut self.matcher {
            Matcher::One(greedy) => greedy.reset(window, start),
            Matcher::Two(greedy) => greedy.reset(window, start),
        }
        let mut position = start;
        while position < window.len() {
            let target = window.len().min(position + SEGMENT_BYTES);
            let before = self.sequences.len();
            let end = match &mut self.matcher {
                Matcher::One(greedy) => greedy.parse(window, position, target, &mut self.sequences),
                Matcher::Two(greedy) => greedy.parse(window, position, target, &mut self.sequences),
            };
            let parsed = &self.sequences[before..];
            self.segments.push(Segment {
                sequences: parsed.len(),
                bytes: end - position,
                counts: Histogram::of(&window[position..end], parsed),
            });
            position = end;
        }
    }
}
