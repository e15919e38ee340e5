//! Words of the input, and the length of matches.

use crate::symbol::MAX_MATCH;

/// The longest distance that can be written.
pub(super) const MAX_DISTANCE: usize = 32 * 1024;

/// Returns the 8 bytes at `position`, or zero where fewer are left.
///
/// Positions are `u32` so that the end cannot overflow: one comparison remains.
#[inline(always)]
pub(super) fn word(window: &[u8], position: u32) -> u64 {
    match window.get(position as usize..position as usize + 8) {
        Some(bytes) => u64::from_le_bytes(bytes.try_into().expect("the range has 8 bytes")),
        None => 0,
    }
}

/// Returns the 16 bytes at `position`, unless fewer are left.
#[inline(always)]
pub(super) fn sixteen(window: &[u8], position: u32) -> Option<u128> {
    let bytes = window.get(position as usize..position as usize + 16)?;
    let bytes = bytes.try_into().expect("the range has 16 bytes");
    Some(u128::from_le_bytes(bytes))
}

/// Returns the 4 bytes at `position`, or zero where fewer are left.
#[inline(always)]
pub(super) fn half_word(window: &[u8], position: u32) -> u32 {
    match window.get(position as usize..position as usize + 4) {
        Some(bytes) => u32::from_le_bytes(bytes.try_into().expect("the range has 4 bytes")),
        None => 0,
    }
}

/// Returns the 4 bytes at `position`, unless fewer are left.
#[inline(always)]
pub(super) fn first_four(data: &[u8], position: u32) -> Option<[u8; 4]> {
    let bytes = data.get(position as usize..position as usize + 4)?;
    Some(bytes.try_into().expect("the range has 4 bytes"))
}

/// Returns the number of bytes at `position` that equal those at `candidate`, which is
/// earlier; at most [`MAX_MATCH`]. The first `known` are known to be equal.
#[inline(always)]
pub(super) fn match_length(window: &[u8], candidate: u32, position: u32, known: usize) -> usize {
    let longest = (window.len() - position as usize).min(MAX_MATCH);
    let mut length = known;
    while length + 8 <= longest {
        let offset = length as u32;
        let difference = word(window, candidate + offset) ^ word(window, position + offset);
        if difference != 0 {
            return length + (difference.trailing_zeros() >> 3) as usize;
        }
        length += 8;
    }
    while length < longest
        && window[candidate as usize + length] == window[position as usize + length]
    {
        length += 1;
    }
    length
}
