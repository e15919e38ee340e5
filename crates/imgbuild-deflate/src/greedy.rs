//! The fast parser: the best match that starts at one of four positions.
//!
//! On real input a branch on "is there a match here?" is mispredicted every
//! other time, and that, not arithmetic, limits a greedy parser. So four
//! neighbouring positions are searched without a branch, and the best match is
//! chosen without one; that choice is also most of the gain of a lazy parser.

use crate::Parser;
use crate::sequence::Sequence;
use crate::window::{MAX_DISTANCE, bytes_at, match_length, word};

/// The number of positions that are searched together.
const LANES: usize = 4;
/// The cost of one position of delay, in bits (of 8 a byte) of the match.
const DELAY_BITS: u32 = 6;
/// Added to every score, so that none becomes negative.
const ALL_DELAY_BITS: u32 = DELAY_BITS * LANES as u32;
/// Matched bits are multiples of 8, so a score modulo 8 gives its lane: it is
/// -6 times the lane, which is twice the lane.
const LANE_UNIT: u32 = 2;
/// Match lengths are compared up to here; all that is longer is equal.
const COMPARED_BYTES: usize = 7;
/// The step grows by one position for so many bytes without a match.
const PATIENCE_BYTES: u32 = 128;
/// The step does not grow further than this.
const MAX_STEP: u32 = 64;
/// The number of bytes that must follow a position that is searched.
const LOOKAHEAD_BYTES: usize = 16;

/// The last position of every hash: of five bytes in `LONG` entries and of
/// three in `SHORT` entries, or of four bytes only when `SHORT` is zero.
#[derive(Debug)]
pub(super) struct Greedy<const LONG: usize, const SHORT: usize> {
    long: Box<[u16; LONG]>,
    short: Box<[u16; SHORT]>,
    matched_until: u32,
}

impl<const LONG: usize, const SHORT: usize> Parser for Greedy<LONG, SHORT> {
    fn reset(&mut self, window: &[u8], start: usize) {
        self.long.fill(0);
        self.short.fill(0);
        for position in 0..start as u32 {
            self.exchange(position, word(window, position));
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
        let limit = end.min(window.len().saturating_sub(LOOKAHEAD_BYTES)) as u32;
        let mut position = start as u32;
        let mut literals_from = position;
        while position < limit {
            let Some((lane, distance, agreeing)) = self.look(window, position) else {
                let missed = position - self.matched_until;
                position += LANES as u32 + (missed / PATIENCE_BYTES).min(MAX_STEP);
                continue;
            };
            let found = position + lane;
            let mut length = agreeing;
            if agreeing == COMPARED_BYTES {
                length = match_length(window, found - distance, found, agreeing);
            }
            let literals = found - literals_from;
            sequences.push(Sequence::new(literals as usize, length, distance as usize));
            position = found + length as u32;
            literals_from = position;
            self.matched_until = position;
            // The positions at the end of a match are worth remembering; the
            // others are mostly found through the place it was copied from.
            let tail = word(window, position - 2);
            self.exchange(position - 2, tail);
            self.exchange(position - 1, tail >> 8);
        }
        literals_from as usize
    }
}

impl<const LONG: usize, const SHORT: usize> Greedy<LONG, SHORT> {
    /// The shortest match that the tables can find.
    const MIN_LENGTH: u32 = if SHORT > 0 { 3 } else { 4 };

    pub(super) fn new() -> Self {
        let table = |size: usize| vec![0; size].into_boxed_slice();
        Self {
            long: table(LONG).try_into().expect("the sizes are equal"),
            short: table(SHORT).try_into().expect("the sizes are equal"),
            matched_until: 0,
        }
    }

    /// Remembers a position; returns the distances to the earlier ones that
    /// the long and the short table held, modulo 2^16.
    #[inline(always)]
    fn exchange(&mut self, position: u32, bytes: u64) -> [u32; 2] {
        const MULTIPLIER: u64 = 0x9E37_79B1_7F4A_7C15;
        let ignored_bits = if SHORT > 0 { 24 } else { 32 };
        let hash = (bytes << ignored_bits).wrapping_mul(MULTIPLIER) >> (64 - LONG.ilog2());
        let long = std::mem::replace(&mut self.long[hash as usize % LONG], position as u16);
        let mut short = position as u16;
        if SHORT > 0 {
            let hash = (bytes as u32) << 8;
            let hash = hash.wrapping_mul(0x9E37_79B1) >> (32 - SHORT.max(1).ilog2());
            let slot = &mut self.short[hash as usize % SHORT.max(1)];
            short = std::mem::replace(slot, position as u16);
        }
        [long, short].map(|stored| position.wrapping_sub(u32::from(stored)) & 0xffff)
    }

    /// Finds the best match at `position` or up to three bytes later: the number
    /// of bytes, its distance, and its length up to [`COMPARED_BYTES`].
    #[inline(always)]
    fn look(&mut self, window: &[u8], position: u32) -> Option<(u32, u32, usize)> {
        let bytes = u128::from_le_bytes(bytes_at(window, position)?);
        let [first, second, third, fourth] =
            std::array::from_fn(|lane| self.candidate(window, position, lane as u32, bytes));
        let best = first.max(second).max(third.max(fourth));
        if best == 0 {
            return None;
        }
        let score = best >> 16;
        let lane = score / LANE_UNIT % LANES as u32;
        let length = (score + lane * DELAY_BITS - ALL_DELAY_BITS) / 8;
        Some((lane, !best & 0xffff, length as usize))
    }

    /// Returns the score of the best match at `position + lane`, and below it
    /// the complement of its distance, so that the nearer of two equals wins;
    /// 0 without a match.
    #[inline(always)]
    fn candidate(&mut self, window: &[u8], position: u32, lane: u32, bytes: u128) -> u32 {
        let here = (bytes >> (8 * lane)) as u64;
        let position = position + lane;
        let [long, short] = self.exchange(position, here);
        let mut best = agreeing_bits(window, position, here, long);
        if SHORT > 0 {
            best = best.max(agreeing_bits(window, position, here, short));
        }
        let delay = ALL_DELAY_BITS - lane * DELAY_BITS;
        if best >= (8 * Self::MIN_LENGTH) << 16 {
            best + (delay << 16)
        } else {
            0
        }
    }
}

/// Returns 8 times the number of equal bytes at `position`, where `here` is, and
/// at `distance` before, up to 7; 0 when that distance cannot be written. Below
/// it is the complement of the distance.
#[inline(always)]
fn agreeing_bits(window: &[u8], position: u32, here: u64, distance: u32) -> u32 {
    let there = word(window, position.wrapping_sub(distance));
    // Zero when the distance is from 1 to 32768.
    let invalid = distance.wrapping_sub(1) / MAX_DISTANCE as u32;
    let difference = (here ^ there) | u64::from(invalid) | 1 << 63;
    (difference.trailing_zeros() & 0x38) << 16 | (distance ^ 0xffff)
}
