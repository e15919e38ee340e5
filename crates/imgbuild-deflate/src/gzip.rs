//! The gzip format ([RFC 1952]) around DEFLATE blocks.
//!
//! [RFC 1952]: https://www.rfc-editor.org/rfc/rfc1952

use crate::{BLOCK_BYTES, Encoder, HISTORY_BYTES, Level};

/// The only header ever written: DEFLATE, no flags, no time, no extra flags, and
/// 255 for an unknown operating system ([RFC 1952, section 2.3.1]).
///
/// [RFC 1952, section 2.3.1]: https://www.rfc-editor.org/rfc/rfc1952#section-2.3.1
pub const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Returns the bytes after the compressed data: the CRC-32 of the uncompressed
/// bytes and their number modulo 2^32.
#[must_use]
pub fn trailer(crc: u32, size: u64) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes[4..].copy_from_slice(&(size as u32).to_le_bytes());
    bytes
}

/// Compresses `bytes` into one gzip member, block by block on this thread.
#[must_use]
pub fn compress(bytes: &[u8], level: Level) -> Vec<u8> {
    let mut encoder = Encoder::new(level);
    let mut output = HEADER.to_vec();
    let mut start = 0;
    loop {
        let from = start - start.min(HISTORY_BYTES);
        let end = bytes.len().min(start + BLOCK_BYTES);
        let last = end == bytes.len();
        encoder.compress_block(&bytes[from..end], start - from, last, &mut output);
        start = end;
        if last {
            break;
        }
    }
    output.extend_from_slice(&trailer(crc32fast::hash(bytes), bytes.len() as u64));
    output
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_member_decodes_to_its_input() {
        let block = b"a rose is a rose is a rose. ";
        for size in [
            0,
            1,
            1000,
            BLOCK_BYTES,
            BLOCK_BYTES + 1,
            3 * BLOCK_BYTES + 7,
        ] {
            let input: Vec<u8> = block.iter().copied().cycle().take(size).collect();
            let member = compress(&input, Level::DEFAULT);
            assert_eq!(member[..10], HEADER);
            let mut decoded = Vec::new();
            flate2::read::GzDecoder::new(&member[..])
                .read_to_end(&mut decoded)
                .unwrap();
            assert_eq!(decoded, input);
        }
    }

    #[test]
    fn the_size_in_a_trailer_wraps() {
        assert_eq!(
            trailer(0x0102_0304, 0x5_0000_0006),
            [4, 3, 2, 1, 6, 0, 0, 0]
        );
    }
}
