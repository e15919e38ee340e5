//! One DEFLATE block: sequences into bits, in whichever of the three block
//! types is smallest.

use crate::bits::BitWriter;
use crate::header::Header;
use crate::huffman::{code_lengths, code_words};
use crate::sequence::{Histogram, NO_MATCH, Sequence};
use crate::symbol::{
    DISTANCE_EXTRA_BITS, END_OF_BLOCK, FIRST_LENGTH, LENGTH_EXTRA_BITS, LENGTH_SLOT, distance_slot,
    length_extra,
};
use crate::window::bytes_at;

/// Four literals of this length and the 7 bits that may wait fit in 63 bits.
const LITLEN_LIMIT: usize = 14;
const DISTANCE_LIMIT: usize = 15;
/// The largest size of a stored block in bytes.
const MAX_STORED_BYTES: usize = 65_535;
/// A stored block's length and its complement.
const STORED_HEADER_BYTES: usize = 4;

/// Returns the largest size in bytes of the output for `data_bytes` of input,
/// with slack.
pub(super) fn bound(data_bytes: usize, blocks: usize) -> usize {
    let stored = data_bytes / MAX_STORED_BYTES + 1 + blocks;
    data_bytes + stored * (STORED_HEADER_BYTES + 1) + 2 * super::bits::SLACK_BYTES
}

/// A part of the input, and the sequences of its parser.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockContent<'a> {
    pub(super) data: &'a [u8],
    pub(super) sequences: &'a [Sequence],
}

/// Writes `content`, whose symbols are `counts`, as one block, or its data as
/// stored blocks.
pub(super) fn write(
    output: &mut BitWriter<'_>,
    content: BlockContent<'_>,
    counts: &mut Histogram,
    last: bool,
) {
    counts.end_block();
    let fixed = Code::fixed();
    let fixed_bits = fixed.body_bits(counts);
    let stored_bits = stored_bits(content.data.len(), output.pending());
    counts.complete_distances();
    let dynamic = Code::optimal(counts);
    let header = Header::new(&dynamic.litlen, &dynamic.distance);
    let dynamic_bits = header.bits() + dynamic.body_bits(counts);
    if stored_bits <= dynamic_bits.min(fixed_bits) + 3 {
        write_stored(output, content.data, last);
        return;
    }
    output.put(u64::from(last), 1);
    if fixed_bits <= dynamic_bits {
        output.put(1, 2);
        fixed.write_body(output, content);
    } else {
        output.put(2, 2);
        header.write(output);
        dynamic.write_body(output, content);
    }
}

/// Writes an empty stored block, after which the output is at a byte boundary.
pub(super) fn write_sync(output: &mut BitWriter<'_>) {
    write_stored_block(output, &[], false);
}

/// Writes an empty final block.
pub(super) fn write_empty_final(output: &mut BitWriter<'_>) {
    // Final, fixed codes, and the end of the block, which has seven zero bits.
    output.put(0b011, 10);
}

fn write_stored(output: &mut BitWriter<'_>, data: &[u8], last: bool) {
    let mut chunks = data.chunks(MAX_STORED_BYTES).peekable();
    while let Some(chunk) = chunks.next() {
        write_stored_block(output, chunk, last && chunks.peek().is_none());
    }
}

fn write_stored_block(output: &mut BitWriter<'_>, data: &[u8], last: bool) {
    let length = data.len() as u16;
    output.put(u64::from(last), 3);
    output.put_aligned(&length.to_le_bytes());
    output.put_aligned(&(!length).to_le_bytes());
    output.put_aligned(data);
}

fn stored_bits(bytes: usize, pending: u32) -> u64 {
    let blocks = bytes.div_ceil(MAX_STORED_BYTES) as u64;
    // The first block is padded from the end of the output, the others from
    // their own three bits.
    let first = u64::from((pending + 3).next_multiple_of(8) - pending);
    let others = blocks.saturating_sub(1) * 8;
    first + others + 8 * (blocks * STORED_HEADER_BYTES as u64 + bytes as u64)
}

/// Code lengths of both alphabets.
struct Code {
    litlen: [u8; 288],
    distance: [u8; 32],
}

impl Code {
    /// The code of [RFC 1951, section 3.2.6].
    ///
    /// [RFC 1951, section 3.2.6]: https://www.rfc-editor.org/rfc/rfc1951#section-3.2.6
    fn fixed() -> Self {
        let mut litlen = [8; 288];
        litlen[144..256].fill(9);
        litlen[256..280].fill(7);
        Self {
            litlen,
            distance: [5; 32],
        }
    }

    fn optimal(counts: &Histogram) -> Self {
        let mut litlen = [0; 288];
        let mut distance = [0; 32];
        code_lengths(&counts.litlen, LITLEN_LIMIT, &mut litlen);
        code_lengths(&counts.distance, DISTANCE_LIMIT, &mut distance);
        Self { litlen, distance }
    }

    /// Returns the size of everything after the header.
    fn body_bits(&self, counts: &Histogram) -> u64 {
        let product = |counts: &[u32], lengths: &[u8]| -> u64 {
            counts
                .iter()
                .zip(lengths)
                .map(|(&count, &length)| u64::from(count) * u64::from(length))
                .sum()
        };
        product(&counts.litlen, &self.litlen)
            + product(&counts.litlen[FIRST_LENGTH..], &LENGTH_EXTRA_BITS)
            + product(&counts.distance, &self.distance)
            + product(&counts.distance, &DISTANCE_EXTRA_BITS)
    }

    fn write_body(&self, output: &mut BitWriter<'_>, content: BlockContent<'_>) {
        // By value, so that the loop keeps the writer in registers.
        let taken = std::mem::replace(output, BitWriter::new(&mut []));
        *output = CodeWords::new(self).write(taken, content);
    }
}

/// Ready-made bits of every literal, length and distance.
struct CodeWords {
    /// The code in the low 24 bits, its length above.
    literal: [u32; 512],
    /// Code and extra bits in the low 24 bits, their number above.
    length: [u32; 256],
    /// The code in the low 16 bits, its length above, then the number of extra
    /// bits.
    distance: [u32; 32],
    end_of_block: u32,
}

impl CodeWords {
    fn new(code: &Code) -> Self {
        let litlen = code_words(&code.litlen);
        let word = |symbol: usize| u32::from(litlen[symbol]) | u32::from(code.litlen[symbol]) << 24;
        let length = |less_3: usize| {
            let slot = usize::from(LENGTH_SLOT[less_3]);
            let symbol = FIRST_LENGTH + slot;
            let code_bits = u32::from(code.litlen[symbol]);
            let bits = u32::from(litlen[symbol]) | LENGTH_EXTRA[less_3] << code_bits;
            bits | (code_bits + u32::from(LENGTH_EXTRA_BITS[slot])) << 24
        };
        let distance_words = code_words(&code.distance);
        let distance = |slot: usize| {
            let extra = u32::from(DISTANCE_EXTRA_BITS.get(slot).copied().unwrap_or(0));
            u32::from(distance_words[slot]) | u32::from(code.distance[slot]) << 16 | extra << 24
        };
        Self {
            literal: std::array::from_fn(|index| if index < 256 { word(index) } else { 0 }),
            length: std::array::from_fn(length),
            distance: std::array::from_fn(distance),
            end_of_block: word(END_OF_BLOCK),
        }
    }

    fn write<'a>(&self, mut output: BitWriter<'a>, content: BlockContent<'_>) -> BitWriter<'a> {
        let BlockContent { data, sequences } = content;
        let mut position = 0;
        for sequence in sequences {
            let literals = sequence.literals as usize;
            let (few, few_count) = match bytes_at(data, position as u32) {
                Some(bytes) if literals < 4 => self.few_literals(bytes, literals),
                _ => {
                    self.write_literals(&mut output, &data[position..position + literals]);
                    (0, 0)
                }
            };
            position += sequence.covered();
            if sequence.length_less_3 != NO_MATCH {
                let (bits, count) = self.match_bits(*sequence);
                output.add(few, few_count);
                if few_count + count > 56 {
                    output.flush();
                }
                output.add(bits, count);
                output.flush();
            } else {
                output.put(few, few_count);
            }
        }
        output.put(
            u64::from(self.end_of_block & 0xff_ffff),
            self.end_of_block >> 24,
        );
        output
    }

    /// Returns the bits of the first `count` of `bytes`, at most 3, and their number.
    #[inline(always)]
    fn few_literals(&self, bytes: [u8; 4], count: usize) -> (u64, u32) {
        let (mut bits, mut length) = (0, 0);
        for (lane, &literal) in bytes[..3].iter().enumerate() {
            let none = usize::from(lane >= count) << 8;
            let word = self.literal[usize::from(literal) | none];
            bits |= u64::from(word & 0xff_ffff) << (length & 63);
            length += word >> 24;
        }
        (bits, length)
    }

    #[inline(always)]
    fn write_literals(&self, output: &mut BitWriter<'_>, literals: &[u8]) {
        let mut fours = literals.chunks_exact(4);
        for four in &mut fours {
            for &literal in four {
                self.write_literal(output, literal);
            }
            output.flush();
        }
        let rest = fours.remainder();
        if !rest.is_empty() {
            for &literal in rest {
                self.write_literal(output, literal);
            }
            output.flush();
        }
    }

    #[inline(always)]
    fn write_literal(&self, output: &mut BitWriter<'_>, literal: u8) {
        let word = self.literal[usize::from(literal)];
        output.add(u64::from(word & 0xff_ffff), word >> 24);
    }

    /// Returns the bits of a match, at most 14 + 5 + 15 + 13, and their number.
    #[inline(always)]
    fn match_bits(&self, sequence: Sequence) -> (u64, u32) {
        let length = self.length[usize::from(sequence.length_less_3 & 255)];
        let slot = distance_slot(sequence.distance_less_1);
        let word = self.distance[usize::from(slot & 31)];
        let (code_bits, extra_bits) = (word >> 16 & 15, word >> 24 & 15);
        // The first distance of every symbol, less 1, is a multiple of the
        // range that the extra bits span.
        let extra = u64::from(sequence.distance_less_1) & ((1 << extra_bits) - 1);
        let distance = u64::from(word & 0xffff) | extra << code_bits;
        let length_bits = length >> 24;
        let bits = u64::from(length & 0xff_ffff) | distance << (length_bits & 63);
        (bits, length_bits + code_bits + extra_bits)
    }
}

/// The extra bits' value of every length less 3.
const LENGTH_EXTRA: [u32; 256] = {
    let mut values = [0; 256];
    let mut length = 0;
    while length < 256 {
        values[length] = length_extra(length);
        length += 1;
    }
    values
};
