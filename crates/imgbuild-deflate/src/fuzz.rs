//! The fuzz target: it takes any bytes, and panics if a promise is broken.
//!
//! `fuzz/` runs it under libFuzzer, the test below over seeds and changes of
//! them.

use std::io::Read as _;

use crate::{Encoder, Level};

/// Compresses bytes in blocks at any level, and has three decoders give them
/// back.
///
/// The first two bytes decide the level and the size of the blocks, the third
/// how often the rest is repeated: the parsers find copies then.
pub fn deflate_roundtrip(data: &[u8]) {
    let [level, block, repeat, rest @ ..] = data else {
        return;
    };
    let level = Level::new(level % 9 + 1).expect("1 to 9 are levels");
    let block_bytes = 1 + usize::from(*block).pow(2) * 8;
    let input = rest.repeat(1 + usize::from(repeat % 64));
    // A few hundred blocks show as much as a million would.
    let input = &input[..input.len().min(block_bytes * 300)];
    let mut encoder = Encoder::new(level);
    let mut compressed = Vec::new();
    let mut start = 0;
    loop {
        let end = input.len().min(start + block_bytes);
        encoder.compress_block(&input[..end], start, end == input.len(), &mut compressed);
        start = end;
        if start == input.len() {
            break;
        }
    }
    let mut decoded = Vec::new();
    flate2::read::DeflateDecoder::new(&compressed[..])
        .read_to_end(&mut decoded)
        .expect("the encoder writes valid DEFLATE");
    assert_eq!(decoded, input);
    let decoded = miniz_oxide::inflate::decompress_to_vec(&compressed);
    assert_eq!(decoded.expect("the encoder writes valid DEFLATE"), input);
    let decoded = zune_inflate::DeflateDecoder::new(&compressed).decode_deflate();
    assert_eq!(decoded.expect("the encoder writes valid DEFLATE"), input);
}

#[cfg(test)]
mod tests {
    use imgbuild_testing::fuzz::check;

    use super::*;

    #[test]
    fn any_bytes_come_back_from_three_decoders() {
        check("deflate_roundtrip", deflate_roundtrip, 1000, || {
            let text = include_bytes!("lib.rs");
            let levels = 0..9_u8;
            levels
                .map(|level| [&[level, 31 * level, level], &text[..3000]].concat())
                .collect()
        });
    }
}
