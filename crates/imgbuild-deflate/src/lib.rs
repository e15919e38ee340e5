#![doc = include_str!("../README.md")]
//!
//! # Modules
//!
//! - [`gzip`]: header and trailer of gzip members.
//! - `greedy`, `lazy`: searches for matches, for levels 1 to 3 and 4 to 9.
//! - `split`: where a block with new statistics starts.
//! - `huffman`, `header`, `block`, `bits`: codes, and how they are written.
//! - `sequence`, `symbol`, `window`: literals and matches, their symbols, and
//!   comparison of bytes.

#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "tests read whole what they made; without them, the product is checked"
    )
)]
#![deny(missing_docs)]

mod bits;
mod block;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod greedy;
pub mod gzip;
mod header;
mod huffman;
mod lazy;
mod sequence;
mod split;
mod symbol;
mod window;

use std::fmt;

use bits::BitWriter;
use block::BlockContent;
use greedy::Greedy;
use lazy::Lazy;
use sequence::{Histogram, Sequence};
use split::Segment;

/// Input bytes that a caller should pass at once.
pub const BLOCK_BYTES: usize = 256 * 1024;

/// Largest distance of a match: the bytes before a block that can be of use.
pub const HISTORY_BYTES: usize = window::MAX_DISTANCE;

/// A compression level, from 1 (fastest) to 9 (smallest).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// The level used unless another is chosen.
    pub const DEFAULT: Self = Self(2);

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

/// Parses are interrupted this often to look at how the statistics change.
const SEGMENT_BYTES: usize = 8 * 1024;

/// An encoder of one level, with tables that are used again for every block.
///
/// Nothing of a block remains: the tables only save allocations.
#[derive(Debug)]
pub struct Encoder {
    parser: Box<dyn Parser>,
    sequences: Vec<Sequence>,
    segments: Vec<Segment>,
    scratch: Vec<u8>,
}

/// Turns bytes into literals and matches.
trait Parser: fmt::Debug + Send {
    /// Forgets everything and remembers the positions before `start`.
    fn reset(&mut self, window: &[u8], start: usize);

    /// Appends the matches in the window from `start` up to `end`, or a little
    /// further when one reaches across, with the literals before them, and
    /// returns the end of the last one, or `start`.
    fn parse(
        &mut self,
        window: &[u8],
        start: usize,
        end: usize,
        sequences: &mut Vec<Sequence>,
    ) -> usize;
}

impl Encoder {
    /// Makes an encoder of this level.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self {
            parser: parser(level),
            sequences: Vec::new(),
            segments: Vec::new(),
            scratch: Vec::new(),
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
        split::join(&mut self.segments);
        let bound = block::bound(window.len() - start, self.segments.len() + 1);
        if self.scratch.len() < bound {
            self.scratch.resize(bound, 0);
        }
        let mut writer = BitWriter::new(&mut self.scratch);
        let mut data = &window[start..];
        let mut sequences = &self.sequences[..];
        let count = self.segments.len();
        for (segment, number) in self.segments.iter_mut().zip(1..) {
            let (own_data, other_data) = data.split_at(segment.bytes);
            let (own_sequences, other_sequences) = sequences.split_at(segment.sequences);
            let content = BlockContent {
                data: own_data,
                sequences: own_sequences,
            };
            block::write(
                &mut writer,
                content,
                &mut segment.counts,
                last && number == count,
            );
            (data, sequences) = (other_data, other_sequences);
        }
        if !last {
            block::write_sync(&mut writer);
        } else if count == 0 {
            block::write_empty_final(&mut writer);
        }
        let written = writer.finish();
        output.extend_from_slice(&self.scratch[..written]);
    }

    fn parse(&mut self, window: &[u8], start: usize) {
        self.sequences.clear();
        self.segments.clear();
        self.parser.reset(window, start);
        let mut position = start;
        while position < window.len() {
            let target = window.len().min(position + SEGMENT_BYTES);
            let before = self.sequences.len();
            let matched = self
                .parser
                .parse(window, position, target, &mut self.sequences);
            let end = target.max(matched);
            if end > matched {
                self.sequences.push(Sequence::literals_only(end - matched));
            }
            let parsed = &self.sequences[before..];
            self.segments.push(Segment {
                sequences: parsed.len(),
                bytes: end - position,
                counts: Box::new(Histogram::of(&window[position..end], parsed)),
            });
            position = end;
        }
    }
}

/// Returns what does the work at `level`.
///
/// The table sizes of the fast levels fit the caches next to the processor.
fn parser(level: Level) -> Box<dyn Parser> {
    match level.0 {
        1 => Box::new(Greedy::<8192, 0>::new()),
        2 => Box::new(Greedy::<16384, 8192>::new()),
        3 => Box::new(Greedy::<32768, 16384>::new()),
        4 => Box::new(Lazy::new(3, 24)),
        5 => Box::new(Lazy::new(6, 32)),
        6 => Box::new(Lazy::new(10, 40)),
        7 => Box::new(Lazy::new(16, 48)),
        8 => Box::new(Lazy::new(22, 56)),
        _ => Box::new(Lazy::new(44, 128)),
    }
}
