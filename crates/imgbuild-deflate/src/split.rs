//! The division of the input into blocks.
//!
//! New codes cost a header and pay when the statistics change. The input is
//! parsed in short segments, which are then joined over estimated sizes: the
//! two neighbours that gain most first. (All ways to cut the input into blocks,
//! tried exhaustively, were not even 0.01 % better and took far longer.)

use crate::sequence::Histogram;
use crate::symbol::{DISTANCE_EXTRA_BITS, FIRST_LENGTH, LENGTH_EXTRA_BITS};

/// One parsed segment.
#[derive(Debug)]
pub(super) struct Segment {
    /// The number of its sequences.
    pub(super) sequences: usize,
    /// The number of its bytes of the input.
    pub(super) bytes: usize,
    /// Its symbols, without the end of a block.
    pub(super) counts: Box<Histogram>,
}

/// Sizes are estimated in 1/256 of a bit.
const BIT: u64 = 256;
/// The cost of a block beyond its body and its code lengths.
const BLOCK_BITS: u64 = 60;
/// The approximate cost of each used symbol in the header.
const SYMBOL_BITS: u64 = 3;

/// Joins neighbours for as long as that makes the whole smaller, best first.
pub(super) fn join(segments: &mut Vec<Segment>) {
    let mut sizes: Vec<u64> = segments
        .iter()
        .map(|segment| size(&segment.counts, segment.bytes))
        .collect();
    let mut joined_sizes: Vec<u64> = segments
        .windows(2)
        .map(|pair| joined_size(&pair[0], &pair[1]))
        .collect();
    loop {
        let gains = joined_sizes
            .iter()
            .zip(sizes.windows(2))
            .map(|(joined, pair)| (pair[0] + pair[1]) as i64 - *joined as i64);
        let Some((gain, index)) = gains
            .zip(0..)
            .max_by_key(|&(gain, index)| (gain, std::cmp::Reverse(index)))
        else {
            break;
        };
        if gain < 0 {
            break;
        }
        let right = segments.remove(index + 1);
        segments[index].join(&right);
        sizes[index] = joined_sizes.remove(index);
        sizes.remove(index + 1);
        if index > 0 {
            joined_sizes[index - 1] = joined_size(&segments[index - 1], &segments[index]);
        }
        if index + 1 < segments.len() {
            joined_sizes[index] = joined_size(&segments[index], &segments[index + 1]);
        }
    }
}

impl Segment {
    fn join(&mut self, right: &Self) {
        self.sequences += right.sequences;
        self.bytes += right.bytes;
        self.counts.merge(&right.counts);
    }
}

fn joined_size(left: &Segment, right: &Segment) -> u64 {
    size_of(&left.counts, &right.counts, left.bytes + right.bytes)
}

fn size(counts: &Histogram, bytes: usize) -> u64 {
    size_of(counts, &Histogram::EMPTY, bytes)
}

fn size_of(left: &Histogram, right: &Histogram, bytes: usize) -> u64 {
    let litlen = entropy(&left.litlen, &right.litlen);
    let size = litlen + entropy(&left.distance, &right.distance);
    let mut extra = 0;
    for (symbol, &bits) in LENGTH_EXTRA_BITS.iter().enumerate() {
        extra += (left.litlen[FIRST_LENGTH + symbol] + right.litlen[FIRST_LENGTH + symbol])
            * u32::from(bits);
    }
    for (symbol, &bits) in DISTANCE_EXTRA_BITS.iter().enumerate() {
        extra += (left.distance[symbol] + right.distance[symbol]) * u32::from(bits);
    }
    let size = size + BIT * u64::from(extra);
    size.min(BIT * 8 * bytes as u64) + BIT * BLOCK_BITS
}

/// Returns the size of ideal codes for these counts, and of their lengths.
fn entropy<const N: usize>(left: &[u32; N], right: &[u32; N]) -> u64 {
    let (mut total, mut sum, mut used) = (0u32, 0u64, 0u32);
    for symbol in 0..N {
        let count = left[symbol] + right[symbol];
        total += count;
        used += u32::from(count > 0);
        sum += u64::from(weighted(count));
    }
    u64::from(weighted(total)) - sum + BIT * SYMBOL_BITS * u64::from(used)
}

/// Returns 256 times `count` times its binary logarithm.
#[inline(always)]
fn weighted(count: u32) -> u32 {
    match WEIGHTED.get(count as usize) {
        Some(weighted) => *weighted,
        None => count * logarithm(count),
    }
}

const WEIGHTED: [u32; 1024] = {
    let mut table = [0; 1024];
    let mut count = 1;
    while count < 1024 {
        table[count as usize] = count * logarithm(count);
        count += 1;
    }
    table
};

/// Returns 256 times the binary logarithm.
const fn logarithm(value: u32) -> u32 {
    let magnitude = value.ilog2();
    let mantissa = if magnitude <= 8 {
        value << (8 - magnitude)
    } else {
        value >> (magnitude - 8)
    };
    magnitude * 256 + MANTISSA_LOGARITHM[(mantissa & 255) as usize] as u32
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
