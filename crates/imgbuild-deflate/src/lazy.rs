//! The thorough parser: hash chains, and a search at the next positions before
//! a match is taken.

use crate::Parser;
use crate::sequence::Sequence;
use crate::symbol::MIN_MATCH;
use crate::window::{MAX_DISTANCE, half_word, match_length, word};

const HEADS_3: usize = 1 << 16;
const HEADS_4: usize = 1 << 16;
const HASH_MULTIPLIER: u32 = 0x9E37_79B1;
/// The step grows by one position for so many bytes without a match.
const PATIENCE_BYTES: u32 = 256;
/// The step does not grow further than this.
const MAX_STEP: u32 = 64;
/// A match of this length makes the search for a better one a short one.
const GOOD_LENGTH: usize = 6;
/// The number of bytes that must follow a position that is searched.
const LOOKAHEAD_BYTES: usize = 8;

/// Recent positions: the last of every hash of three bytes, and all of every
/// hash of four, linked from the latest to the first.
#[derive(Debug)]
pub(super) struct Lazy {
    /// The largest number of candidates of a search.
    depth: u32,
    /// The length of a match that is taken without a further search.
    enough: usize,
    heads_3: Box<[u16; HEADS_3]>,
    heads_4: Box<[u16; HEADS_4]>,
    previous: Box<[u16; MAX_DISTANCE]>,
    matched_until: u32,
}

#[derive(Debug, Clone, Copy)]
struct Match {
    length: usize,
    distance: u32,
}

impl Parser for Lazy {
    fn reset(&mut self, window: &[u8], start: usize) {
        self.heads_3.fill(0);
        self.heads_4.fill(0);
        self.previous.fill(0);
        for position in 0..start as u32 {
            self.insert(position, word(window, position));
        }
        self.matched_until = start as u32;
    }

    fn parse(
        &mut self,
        window: &[u8],
        start: usize,
        end: usize,
        sequences: &mut Vec<Sequence>,
    ) -> usize {
        let searchable = window.len().saturating_sub(LOOKAHEAD_BYTES) as u32;
        let limit = searchable.min(end as u32);
        let mut position = start as u32;
        let mut literals_from = position;
        while position < limit {
            let found = self.find(window, position, 0, self.depth);
            if found.distance == 0 {
                let missed = position - self.matched_until;
                position += 1 + (missed / PATIENCE_BYTES).min(MAX_STEP);
                continue;
            }
            let (at, taken, seen) = self.improve(window, position, found, searchable);
            sequences.push(Sequence::new(
                (at - literals_from) as usize,
                taken.length,
                taken.distance as usize,
            ));
            position = at + taken.length as u32;
            for inside in seen..position.min(searchable) {
                self.insert(inside, word(window, inside));
            }
            literals_from = position;
            self.matched_until = position;
        }
        literals_from as usize
    }
}

impl Lazy {
    pub(super) fn new(depth: u32, enough: usize) -> Self {
        let table = |size: usize| vec![0; size].into_boxed_slice();
        Self {
            depth,
            enough,
            heads_3: table(HEADS_3).try_into().expect("the sizes are equal"),
            heads_4: table(HEADS_4).try_into().expect("the sizes are equal"),
            previous: table(MAX_DISTANCE).try_into().expect("the sizes are equal"),
            matched_until: 0,
        }
    }

    /// Remembers a position; returns the distances that come first for its
    /// three and for its four bytes.
    #[inline(always)]
    fn insert(&mut self, position: u32, bytes: u64) -> (u32, u32) {
        let four = bytes as u32;
        let hash_3 = (four << 8).wrapping_mul(HASH_MULTIPLIER) >> (32 - HEADS_3.ilog2());
        let hash_4 = four.wrapping_mul(HASH_MULTIPLIER) >> (32 - HEADS_4.ilog2());
        let stored = position as u16;
        let head_3 = std::mem::replace(&mut self.heads_3[hash_3 as usize], stored);
        let head_4 = std::mem::replace(&mut self.heads_4[hash_4 as usize], stored);
        self.previous[position as usize % MAX_DISTANCE] = head_4;
        (
            u32::from(stored.wrapping_sub(head_3)),
            u32::from(stored.wrapping_sub(head_4)),
        )
    }

    /// Remembers `position` and finds the longest match there that is longer
    /// than `known` bytes.
    #[inline(always)]
    fn find(&mut self, window: &[u8], position: u32, known: usize, depth: u32) -> Match {
        let here = word(window, position);
        let (distance_3, mut distance) = self.insert(position, here);
        let mut best = Match {
            length: known.max(MIN_MATCH),
            distance: 0,
        };
        if known < MIN_MATCH && distance_3.wrapping_sub(1) < MAX_DISTANCE as u32 {
            let candidate = position.wrapping_sub(distance_3);
            if (half_word(window, candidate) ^ here as u32) << 8 == 0 {
                best.distance = distance_3;
            }
        }
        // A longer match covers these four bytes; most candidates fail here.
        let mut tail_offset = (best.length - MIN_MATCH) as u32;
        let mut tail = half_word(window, position + tail_offset);
        let mut nearest = 1;
        for _ in 0..depth {
            // Distances grow along a chain; where they do not, it has ended.
            if distance < nearest || distance > MAX_DISTANCE as u32 {
                break;
            }
            nearest = distance + 1;
            let candidate = position.wrapping_sub(distance);
            if half_word(window, candidate + tail_offset) == tail
                && half_word(window, candidate) == here as u32
            {
                let length = match_length(window, candidate, position, 4);
                if length > best.length {
                    best = Match { length, distance };
                    if length >= self.enough {
                        break;
                    }
                    tail_offset = (length - MIN_MATCH) as u32;
                    tail = half_word(window, position + tail_offset);
                }
            }
            let next = self.previous[candidate as usize % MAX_DISTANCE];
            distance = u32::from((position as u16).wrapping_sub(next));
        }
        best
    }

    /// Moves on for as long as the match at the next position is better; returns
    /// the position, its match, and the first position not yet remembered.
    #[inline(always)]
    fn improve(
        &mut self,
        window: &[u8],
        mut position: u32,
        mut found: Match,
        searchable: u32,
    ) -> (u32, Match, u32) {
        while found.length < self.enough && position + 2 < searchable {
            let depth = match found.length {
                ..GOOD_LENGTH => self.depth,
                GOOD_LENGTH.. => self.depth / 4,
            };
            let next = self.find(window, position + 1, found.length - 1, depth);
            if !is_better(next, found) {
                return (position, found, position + 2);
            }
            position += 1;
            found = next;
        }
        (position, found, position + 1)
    }
}

/// Returns whether a match is worth the literal before it: a longer one is, or
/// one of the same length from a much smaller distance.
#[inline(always)]
fn is_better(next: Match, found: Match) -> bool {
    let score =
        |candidate: Match| 4 * candidate.length as i32 - candidate.distance.max(1).ilog2() as i32;
    next.distance > 0 && next.length >= found.length && score(next) > score(found) + 2
}
