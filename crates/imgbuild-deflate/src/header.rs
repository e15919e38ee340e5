//! The header of a block with dynamic codes ([RFC 1951, section 3.2.7]).
//!
//! [RFC 1951, section 3.2.7]: https://www.rfc-editor.org/rfc/rfc1951#section-3.2.7

use crate::bits::BitWriter;
use crate::huffman::{code_lengths, code_words};
use crate::symbol::{DISTANCE_SYMBOLS, FIRST_LENGTH, LITLEN_SYMBOLS};

const CODE_LENGTH_SYMBOLS: usize = 19;
const CODE_LENGTH_LIMIT: usize = 7;
/// The order in which the header lists the lengths of the code length code.
const ORDER: [usize; CODE_LENGTH_SYMBOLS] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
/// Repeats the previous length 3 to 6 times.
const REPEAT: u8 = 16;
/// Repeats zero 3 to 10 times.
const ZEROS: u8 = 17;
/// Repeats zero 11 to 138 times.
const MANY_ZEROS: u8 = 18;

/// Two arrays of code lengths, run-length coded.
#[derive(Debug)]
pub(super) struct Header {
    litlen_count: usize,
    distance_count: usize,
    items: [LengthItem; LITLEN_SYMBOLS + DISTANCE_SYMBOLS],
    item_count: usize,
    code: [u8; CODE_LENGTH_SYMBOLS],
    code_count: usize,
}

/// A symbol of the code length code and the value of its extra bits.
#[derive(Debug, Clone, Copy, Default)]
struct LengthItem {
    symbol: u8,
    extra: u8,
}

impl LengthItem {
    fn extra_bits(self) -> u32 {
        match self.symbol {
            REPEAT => 2,
            ZEROS => 3,
            MANY_ZEROS => 7,
            _ => 0,
        }
    }
}

impl Header {
    /// Describes codes of these lengths.
    pub(super) fn new(litlen: &[u8], distance: &[u8]) -> Self {
        let litlen_count = used(&litlen[..LITLEN_SYMBOLS]).max(FIRST_LENGTH);
        let distance_count = used(&distance[..DISTANCE_SYMBOLS]).max(1);
        let mut lengths = [0; LITLEN_SYMBOLS + DISTANCE_SYMBOLS];
        let count = litlen_count + distance_count;
        lengths[..litlen_count].copy_from_slice(&litlen[..litlen_count]);
        lengths[litlen_count..count].copy_from_slice(&distance[..distance_count]);
        let mut header = Self {
            litlen_count,
            distance_count,
            items: [LengthItem::default(); LITLEN_SYMBOLS + DISTANCE_SYMBOLS],
            item_count: 0,
            code: [0; CODE_LENGTH_SYMBOLS],
            code_count: 0,
        };
        for run in lengths[..count].chunk_by(|left, right| left == right) {
            header.add_run(run[0], run.len());
        }
        header.choose_code();
        header
    }

    /// Returns the size, without the three bits that start every block.
    pub(super) fn bits(&self) -> u64 {
        let items: u32 = self.items[..self.item_count]
            .iter()
            .map(|item| u32::from(self.code[usize::from(item.symbol)]) + item.extra_bits())
            .sum();
        5 + 5 + 4 + 3 * self.code_count as u64 + u64::from(items)
    }

    /// Writes everything after the three bits that start every block.
    pub(super) fn write(&self, output: &mut BitWriter<'_>) {
        output.put((self.litlen_count - FIRST_LENGTH) as u64, 5);
        output.put((self.distance_count - 1) as u64, 5);
        output.put((self.code_count - 4) as u64, 4);
        for &symbol in &ORDER[..self.code_count] {
            output.put(u64::from(self.code[symbol]), 3);
        }
        let words = code_words(&self.code);
        for item in &self.items[..self.item_count] {
            let symbol = usize::from(item.symbol);
            output.add(u64::from(words[symbol]), u32::from(self.code[symbol]));
            output.put(u64::from(item.extra), item.extra_bits());
        }
    }

    fn add_run(&mut self, length: u8, mut count: usize) {
        if length > 0 {
            self.add(length, 0);
            count -= 1;
        }
        while count >= 3 {
            let (symbol, first, most) = match (length, count) {
                (1.., _) => (REPEAT, 3, 6),
                (0, ..=10) => (ZEROS, 3, 10),
                (0, _) => (MANY_ZEROS, 11, 138),
            };
            let taken = count.min(most);
            self.add(symbol, (taken - first) as u8);
            count -= taken;
        }
        for _ in 0..count {
            self.add(length, 0);
        }
    }

    fn add(&mut self, symbol: u8, extra: u8) {
        self.items[self.item_count] = LengthItem { symbol, extra };
        self.item_count += 1;
    }

    fn choose_code(&mut self) {
        let mut counts = [0u32; CODE_LENGTH_SYMBOLS];
        for item in &self.items[..self.item_count] {
            counts[usize::from(item.symbol)] += 1;
        }
        // A code of one symbol would be incomplete, which decoders refuse.
        if counts.iter().filter(|&&count| count > 0).count() == 1 {
            let unused = usize::from(counts[0] > 0);
            counts[unused] = 1;
        }
        code_lengths(&counts, CODE_LENGTH_LIMIT, &mut self.code);
        self.code_count = ORDER
            .iter()
            .rposition(|&symbol| self.code[symbol] > 0)
            .map_or(4, |index| (index + 1).max(4));
    }
}

/// Returns the number of lengths without the zeros at the end.
fn used(lengths: &[u8]) -> usize {
    lengths
        .iter()
        .rposition(|&length| length > 0)
        .map_or(0, |index| index + 1)
}
