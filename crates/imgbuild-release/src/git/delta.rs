//! Deltas: an object as pieces of another one and bytes between them.

use super::file::ByteReader;

/// Makes an object of at most `limit` bytes from its base; none if the delta is
/// malformed.
pub(super) fn apply(base: &[u8], delta: &[u8], limit: u64) -> Option<Vec<u8>> {
    let mut delta = ByteReader(delta);
    let base_size = delta.size()?;
    let size = delta.size().filter(|size| *size <= limit)?;
    if base_size != base.len() as u64 {
        return None;
    }
    let mut made = Vec::new();
    while let Some(instruction) = delta.byte() {
        let piece = match instruction {
            0 => return None,
            1..=0x7f => delta.take(usize::from(instruction))?,
            0x80.. => copied(base, instruction, &mut delta)?,
        };
        if (made.len() + piece.len()) as u64 > size {
            return None;
        }
        made.extend_from_slice(piece);
    }
    (made.len() as u64 == size).then_some(made)
}

/// Returns the piece of the base that an instruction copies: its bits select
/// the bytes of offset and length that follow.
fn copied<'a>(base: &'a [u8], instruction: u8, delta: &mut ByteReader<'_>) -> Option<&'a [u8]> {
    let mut number = |bits: std::ops::Range<u8>| {
        let mut number = 0_usize;
        for (place, bit) in bits.enumerate() {
            if instruction & (1 << bit) != 0 {
                number |= usize::from(delta.byte()?) << (8 * place);
            }
        }
        Some(number)
    };
    let offset = number(0..4)?;
    let length = match number(4..7)? {
        0 => 0x10000,
        length => length,
    };
    base.get(offset..offset.checked_add(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &[u8] = b"hello world";

    #[test]
    fn pieces_are_copied_and_inserted() {
        // 6 bytes from 0, then `there`.
        let delta = [11, 11, 0x90, 6, 5, b't', b'h', b'e', b'r', b'e'];
        assert_eq!(apply(BASE, &delta, 100).unwrap(), b"hello there");
        assert_eq!(apply(BASE, &[11, 5, 0x91, 6, 5], 100).unwrap(), b"world");
    }

    #[test]
    fn malformed_deltas_make_nothing() {
        for delta in [
            &[][..],
            &[10, 5, 0x91, 6, 5],
            &[11, 4, 0x91, 6, 5],
            &[11, 6, 0x91, 6, 5],
            &[11, 6, 0x91, 6, 6],
            &[11, 5, 0x91, 6],
            &[11, 5, 0],
            &[11, 5, 5, b'a'],
            &[11, 101, 0x91, 6, 5],
            &[11, 5, 0xff, 255, 255, 255, 255, 255, 255, 255],
        ] {
            assert_eq!(apply(BASE, delta, 100), None, "{delta:?}");
        }
    }
}
