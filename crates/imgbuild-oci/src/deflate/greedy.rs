//! The fast parsers: take the best of a few recent matches at once.

use super::sequence::Sequence;
use super::window::{MAX_DISTANCE, half_word, match_length, word};

/// Recent positions of every hash of four bytes.
#[derive(Debug)]
pub(super) struct Greedy<const WAYS: usize, const BUCKETS: usize> {
    table: Box<[[u16; WAYS]; BUCKETS]>,
}

impl<const WAYS: usize, const BUCKETS: usize> Greedy<WAYS, BUCKETS> {
    pub(super) fn new() -> Self {
        let table = vec![[0; WAYS]; BUCKETS].into_boxed_slice();
        Self {
            table: table.try_into().expect("the slice has as many buckets"),
        }
    }

    /// Forgets everything and remembers the positions before `start`.
    pub(super) fn reset(&mut self, window: &[u8], start: usize) {
        self.table.fill([0; WAYS]);
        for position in 0..start as u32 {
            self.insert(position, word(window, position));
        }
    }

    #[inline(always)]
    fn hash(bytes: u64) -> usize {
        let product = (bytes << 32).wrapping_mul(0x9E37_79B1_0000_0000u64 | 0x7F4A_7C15);
        (product >> (64 - BUCKETS.ilog2())) as usize & (BUCKETS - 1)
    }

    #[inline(always)]
    fn insert(&mut self, position: u32, bytes: u64) -> [u16; WAYS] {
        let bucket = &mut self.table[Self::hash(bytes)];
        let before = *bucket;
        for way in (1..WAYS).rev() {
            bucket[way] = bucket[way - 1];
        }
        bucket[0] = position as u16;
        before
    }

    /// Appends sequences for the window from `start` up to `end`, or a little
    /// further when a match reaches across, and returns where they end.
    pub(super) fn parse(
        &mut self,
        window: &[u8],
        start: usize,
        end: usize,
        sequences: &mut Vec<Sequence>,
    ) -> usize {
        let limit = end.min(window.len().saturating_sub(8)) as u32;
        let mut position = start as u32;
        let mut literals_from = position;
        while position < limit {
            let bytes = word(window, position);
            let candidates = self.insert(position, bytes);
            let mut best_length = 3;
            let mut best_distance = 0;
            for stored in candidates {
                let distance = u32::from((position as u16).wrapping_sub(stored));
                if distance.wrapping_sub(1) < MAX_DISTANCE as u32 {
                    let candidate = position.wrapping_sub(distance);
                    if half_word(window, candidate) == bytes as u32 {
                        let length = match_length(window, candidate, position, 4);
                        if length > best_length {
                            best_length = length;
                            best_distance = distance;
                        }
                    }
                }
            }
            if best_distance == 0 {
                position += 1 + ((position - literals_from) >> 6);
                continue;
            }
            sequences.push(Sequence::new(
                (position - literals_from) as usize,
                best_length,
                best_distance as usize,
            ));
            let next = position + best_length as u32;
            for inside in position + 1..next.min(limit) {
                self.insert(inside, word(window, inside));
            }
            position = next;
            literals_from = position;
        }
        let end = end.max(literals_from as usize);
        if end > literals_from as usize {
            sequences.push(Sequence::literals_only(end - literals_from as usize));
        }
        end
    }
}
