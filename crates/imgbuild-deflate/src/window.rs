//! Words of the input, and the length of matches.

use crate::symbol::MAX_MATCH;

/// The longest distance that can be written.
pub(super) const MAX_DISTANCE: usize = 32 * 1024;

/// Returns the `N` bytes at `position`, unless fewer are left.
///
/// Positions are `u32` so that the end cannot overflow: one comparison remains.
#[inline(always)]
pub(super) fn bytes_at<const N: usize>(window: &[u8], position: u32) -> Option<[u8; N]> {
    let bytes = window.get(position as usize..position as usize + N)?;
    Some(bytes.try_into().expect("the range has N bytes"))
}

/// Returns the 8 bytes at `position`, or zero where fewer are left.
#[inline(always)]
pub(super) fn word(window: &[u8], position: u32) -> u64 {
    bytes_at(window, position).map_or(0, u64::from_le_bytes)
}

/// Returns the 4 bytes at `position`, or zero where fewer are left.
#[inline(always)]
pub(super) fn half_word(window: &[u8], position: u32) -> u32 {
    bytes_at(window, position).map_or(0, u32::from_le_bytes)
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
