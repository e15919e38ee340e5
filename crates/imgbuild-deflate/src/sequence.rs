//! The output of a parser: literal runs and matches, and the frequency with which
//! each symbol occurs in them.

use crate::symbol::{
    DISTANCE_SYMBOLS, END_OF_BLOCK, FIRST_LENGTH, LENGTH_SLOT, MIN_MATCH, distance_slot,
};
use crate::window::bytes_at;

/// A run of literals, then a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sequence {
    /// The number of literal bytes.
    pub(super) literals: u32,
    /// The length of the match less 3, or [`NO_MATCH`].
    pub(super) length_less_3: u16,
    /// The distance of the match less 1.
    pub(super) distance_less_1: u16,
}

/// Marks a run of literals that no match follows.
pub(super) const NO_MATCH: u16 = u16::MAX;

impl Sequence {
    /// Puts a match of `length` bytes at `distance` after `literals` literals.
    #[inline(always)]
    pub(super) fn new(literals: usize, length: usize, distance: usize) -> Self {
        Self {
            literals: literals as u32,
            length_less_3: (length - MIN_MATCH) as u16,
            distance_less_1: (distance - 1) as u16,
        }
    }

    /// Makes a run that no match follows.
    pub(super) fn literals_only(literals: usize) -> Self {
        Self {
            literals: literals as u32,
            length_less_3: NO_MATCH,
            distance_less_1: 0,
        }
    }

    /// Returns how many bytes of the input this covers.
    #[inline(always)]
    pub(super) fn covered(self) -> usize {
        let matched = match self.length_less_3 {
            NO_MATCH => 0,
            length_less_3 => usize::from(length_less_3) + MIN_MATCH,
        };
        self.literals as usize + matched
    }
}

/// The frequency of each symbol.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    /// Literals, the end of the block and lengths.
    pub(super) litlen: [u32; 288],
    /// Distances.
    pub(super) distance: [u32; 32],
}

impl Histogram {
    /// Nothing has occurred.
    pub(super) const EMPTY: Self = Self {
        litlen: [0; 288],
        distance: [0; 32],
    };

    /// Counts the symbols of `sequences`, which cover `data`.
    pub(super) fn of(data: &[u8], sequences: &[Sequence]) -> Self {
        // Equal neighbours would wait for each other's store in one table.
        let mut lanes = [[0u32; 512]; 4];
        let mut lengths = [0u32; 32];
        let mut counts = Self::EMPTY;
        let mut position = 0;
        for sequence in sequences {
            let literals = sequence.literals as usize;
            match bytes_at(data, position as u32) {
                Some(bytes) if literals < 4 => count_few(&mut lanes, bytes, literals),
                _ => count_literals(&mut lanes, &data[position..position + literals]),
            }
            position += sequence.covered();
            if sequence.length_less_3 != NO_MATCH {
                let slot = LENGTH_SLOT[usize::from(sequence.length_less_3 & 255)];
                lengths[usize::from(slot & 31)] += 1;
                counts.distance[usize::from(distance_slot(sequence.distance_less_1) & 31)] += 1;
            }
        }
        for lane in lanes {
            for (count, more) in counts.litlen.iter_mut().zip(&lane[..256]) {
                *count += more;
            }
        }
        counts.litlen[FIRST_LENGTH..].copy_from_slice(&lengths[..288 - FIRST_LENGTH]);
        counts
    }

    /// Adds the counts of `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.litlen.iter_mut().zip(other.litlen) {
            *count += more;
        }
        for (count, more) in self.distance.iter_mut().zip(other.distance) {
            *count += more;
        }
    }

    /// Counts the one end of the block.
    pub(super) fn end_block(&mut self) {
        self.litlen[END_OF_BLOCK] = 1;
    }

    /// Makes sure that two distances are used: not every decoder accepts a
    /// code that is incomplete.
    pub(super) fn complete_distances(&mut self) {
        let used = self.distance.iter().filter(|&&count| count > 0).count();
        for count in self.distance[..DISTANCE_SYMBOLS]
            .iter_mut()
            .filter(|count| **count == 0)
            .take(2usize.saturating_sub(used))
        {
            *count = 1;
        }
    }
}

#[inline(always)]
fn count_literals(lanes: &mut [[u32; 512]; 4], literals: &[u8]) {
    let [first, second, third, fourth] = lanes;
    let mut fours = literals.chunks_exact(4);
    for four in &mut fours {
        first[usize::from(four[0])] += 1;
        second[usize::from(four[1])] += 1;
        third[usize::from(four[2])] += 1;
        fourth[usize::from(four[3])] += 1;
    }
    for &literal in fours.remainder() {
        first[usize::from(literal)] += 1;
    }
}

#[inline(always)]
fn count_few(lanes: &mut [[u32; 512]; 4], bytes: [u8; 4], literals: usize) {
    // A branch on each literal would be mispredicted too often: what is none is
    // counted in a place of its own.
    for (lane, (counts, literal)) in lanes.iter_mut().zip(&bytes[..3]).enumerate() {
        let none = usize::from(lane >= literals) << 8;
        counts[usize::from(*literal) | none] += 1;
    }
}
