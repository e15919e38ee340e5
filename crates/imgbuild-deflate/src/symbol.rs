//! The alphabets of [RFC 1951, section 3.2.5]: the symbol of each length and
//! distance, and the number of its extra bits.
//!
//! [RFC 1951, section 3.2.5]: https://www.rfc-editor.org/rfc/rfc1951#section-3.2.5

/// Literals, the end of the block and the lengths.
pub(super) const LITLEN_SYMBOLS: usize = 286;
/// Distances.
pub(super) const DISTANCE_SYMBOLS: usize = 30;
/// The symbol that ends a block.
pub(super) const END_OF_BLOCK: usize = 256;
/// The first symbol that stands for a length.
pub(super) const FIRST_LENGTH: usize = 257;
/// The number of symbols that stand for lengths.
pub(super) const LENGTH_SYMBOLS: usize = 29;
/// The shortest match that can be written.
pub(super) const MIN_MATCH: usize = 3;
/// The longest match that can be written.
pub(super) const MAX_MATCH: usize = 258;

/// Extra bits after each length symbol.
pub(super) const LENGTH_EXTRA_BITS: [u8; LENGTH_SYMBOLS] = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
];

/// Extra bits after each distance symbol.
pub(super) const DISTANCE_EXTRA_BITS: [u8; DISTANCE_SYMBOLS] = [
    0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13,
    13,
];

/// For every length less 3: its symbol less 257.
pub(super) const LENGTH_SLOT: [u8; 256] = length_slots();

const DISTANCE_SLOT: [u8; 512] = distance_slots();

/// Returns the distance symbol of a distance less 1 (at most 32767).
#[inline(always)]
pub(super) fn distance_slot(distance_less_1: u16) -> u8 {
    let value = usize::from(distance_less_1);
    let index = if value < 256 {
        value
    } else {
        256 + (value >> 7)
    };
    DISTANCE_SLOT[index & 511]
}

/// Returns the extra bits of a length less 3: what it exceeds the first length
/// of its symbol by.
pub(super) const fn length_extra(length_less_3: usize) -> u32 {
    let slot = LENGTH_SLOT[length_less_3] as usize;
    let mut first = length_less_3;
    while first > 0 && LENGTH_SLOT[first - 1] as usize == slot {
        first -= 1;
    }
    (length_less_3 - first) as u32
}

const fn length_slots() -> [u8; 256] {
    let mut slots = [0; 256];
    let mut next = 0;
    let mut slot = 0;
    while slot < LENGTH_SYMBOLS - 1 {
        let end = next + (1 << LENGTH_EXTRA_BITS[slot]);
        while next < end && next < 255 {
            slots[next] = slot as u8;
            next += 1;
        }
        slot += 1;
    }
    // 258 has a symbol of its own although the one before could reach it.
    slots[255] = slot as u8;
    slots
}

const fn distance_slots() -> [u8; 512] {
    let mut slots = [0; 512];
    let mut next = 0;
    let mut slot = 0;
    while slot < DISTANCE_SYMBOLS {
        let end = next + (1 << DISTANCE_EXTRA_BITS[slot]);
        while next < end {
            // Beyond 256 all distances that share their upper bits share the symbol.
            let index = if next < 256 { next } else { 256 + (next >> 7) };
            slots[index] = slot as u8;
            next += 1;
        }
        slot += 1;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_the_symbols_of_the_rfc() {
        for (length, symbol, extra) in [
            (3, 257, 0),
            (10, 264, 0),
            (11, 265, 0),
            (12, 265, 1),
            (130, 280, 15),
            (131, 281, 0),
            (257, 284, 30),
            (258, 285, 0),
        ] {
            let less_3 = length - MIN_MATCH;
            assert_eq!(FIRST_LENGTH + usize::from(LENGTH_SLOT[less_3]), symbol);
            assert_eq!(length_extra(less_3), extra, "length {length}");
        }
    }

    #[test]
    fn distances_have_the_symbols_of_the_rfc() {
        for (distance, symbol) in [
            (1, 0),
            (4, 3),
            (5, 4),
            (6, 4),
            (7, 5),
            (256, 15),
            (257, 16),
            (384, 16),
            (385, 17),
            (24_576, 28),
            (24_577, 29),
            (32_768, 29),
        ] {
            let less_1 = (distance - 1) as u16;
            assert_eq!(distance_slot(less_1), symbol, "distance {distance}");
        }
    }
}
