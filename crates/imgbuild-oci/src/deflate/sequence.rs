//! What a parser makes of the input: literal runs and matches, and how often
//! each symbol occurs in them.

use super::symbol::{
    DISTANCE_SYMBOLS, END_OF_BLOCK, FIRST_LENGTH, LENGTH_SLOT, MIN_MATCH, distance_slot,
};

/// A run of literals, then a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sequence {
    /// How many bytes of the input stand for themselves.
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

/// How often each symbol occurs.
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
        let mut counts = Self::EMPTY;
        // Equal neighbours would wait for each other's store in one table.
        let mut odd = [0u32; 256];
        let mut rest = data;
        for sequence in sequences {
            let (literals, after) = rest.split_at(sequence.literals as usize);
            rest = &after[sequence.covered() - literals.len()..];
            let mut pairs = literals.chunks_exact(2);
            for pair in &mut pairs {
                counts.litlen[usize::from(pair[0])] += 1;
                odd[usize::from(pair[1])] += 1;
            }
            for &literal in pairs.remainder() {
                counts.litlen[usize::from(literal)] += 1;
            }
            if sequence.length_less_3 != NO_MATCH {
                let slot = LENGTH_SLOT[usize::from(sequence.length_less_3 & 255)];
                counts.litlen[FIRST_LENGTH + usize::from(slot & 31) % 31] += 1;
                counts.distance[usize::from(distance_slot(sequence.distance_less_1) & 31)] += 1;
            }
        }
        for (count, more) in counts.litlen.iter_mut().zip(odd) {
            *count += more;
        }
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
