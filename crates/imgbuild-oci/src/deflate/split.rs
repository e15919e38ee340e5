//! Where to end one block and start the next.
//!
//! New codes cost a header and pay when the statistics change. The input is
//! parsed in segments; the cheapest way to join neighbours into blocks is found
//! exactly, over estimated sizes.

use super::sequence::Histogram;
use super::symbol::{DISTANCE_EXTRA_BITS, FIRST_LENGTH, LENGTH_EXTRA_BITS};

/// One parsed segment.
#[derive(Debug)]
pub(super) struct Segment {
    /// How many sequences it has.
    pub(super) sequences: usize,
    /// How many bytes of the input it covers.
    pub(super) bytes: usize,
    /// Its symbols, without the end of a block.
    pub(super) counts: Histogram,
}

/// Sizes are estimated in 1/256 of a bit.
const BIT: u64 = 256;
/// What a block costs beyond its body and its code lengths.
const BLOCK_BITS: u64 = 60;
/// About what the header spends on each symbol in use.
const SYMBOL_BITS: u64 = 2;

/// Returns how many segments each block joins.
pub(super) fn block_lengths(segments: &[Segment]) -> Vec<usize> {
    // `best[end]` is the size of the segments before `end`, and where the last
    // of their blocks starts.
    let mut best = vec![(u64::MAX, 0); segments.len() + 1];
    best[0] = (0, 0);
    for start in 0..segments.len() {
        let mut counts = Histogram::EMPTY;
        let mut bytes = 0;
        for end in start..segments.len() {
            counts.merge(&segments[end].counts);
            bytes += segments[end].bytes;
            let size = best[start].0 + block_size(&counts, bytes);
            if size < best[end + 1].0 {
                best[end + 1] = (size, start);
            }
        }
    }
    let mut lengths = Vec::new();
    let mut end = segments.len();
    while end > 0 {
        let start = best[end].1;
        lengths.push(end - start);
        end = start;
    }
    lengths.reverse();
    lengths
}

fn block_size(counts: &Histogram, bytes: usize) -> u64 {
    let mut size = entropy(&counts.litlen) + entropy(&counts.distance);
    let extra = |counts: &[u32], bits: &[u8]| -> u64 {
        let bits = counts.iter().zip(bits);
        bits.map(|(&count, &bits)| u64::from(count) * u64::from(bits))
            .sum()
    };
    size += BIT * extra(&counts.litlen[FIRST_LENGTH..], &LENGTH_EXTRA_BITS);
    size += BIT * extra(&counts.distance, &DISTANCE_EXTRA_BITS);
    size.min(BIT * 8 * bytes as u64) + BIT * BLOCK_BITS
}

/// Returns the size of ideal codes for these counts, and of their lengths.
fn entropy(counts: &[u32]) -> u64 {
    let (mut total, mut sum, mut used) = (0, 0, 0);
    for &count in counts {
        if count > 0 {
            total += count;
            used += 1;
            sum += u64::from(count) * logarithm(count);
        }
    }
    u64::from(total) * logarithm(total.max(1)) - sum + BIT * SYMBOL_BITS * used
}

/// Returns 256 times the binary logarithm.
#[inline(always)]
fn logarithm(value: u32) -> u64 {
    let magnitude = value.ilog2();
    let mantissa = if magnitude <= 8 {
        value << (8 - magnitude)
    } else {
        value >> (magnitude - 8)
    };
    u64::from(magnitude) * BIT + u64::from(MANTISSA_LOGARITHM[(mantissa & 255) as usize])
}

/// 256 times the binary logarithm of 1 + index / 256, rounded down.
const MANTISSA_LOGARITHM: [u8; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        // Each squaring yields one more bit of the logarithm.
        let mut value = (256 + index as u64) << 22;
        let mut bits = 0u8;
        let mut step = 0;
        while step < 8 {
            value = (value * value) >> 30;
            bits <<= 1;
            if value >= 2 << 30 {
                value >>= 1;
                bits |= 1;
            }
            step += 1;
        }
        table[index] = bits;
        index += 1;
    }
    table
};
