//! Any bytes, compressed in blocks at any level, come back from three decoders.
//!
//! The first two bytes choose the level and the size of the blocks, the third
//! how often the rest is repeated: copies give the parsers something to find.

#![no_main]

use std::io::Read as _;

use imgbuild_deflate::{Encoder, Level};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [level, block, repeat, rest @ ..] = data else {
        return;
    };
    let level = Level::new(level % 9 + 1).expect("1 to 9 are levels");
    let block_bytes = 1 + usize::from(*block).pow(2) * 8;
    let input = rest.repeat(1 + usize::from(repeat % 64));
    let mut encoder = Encoder::new(level);
    let mut compressed = Vec::new();
    let mut start = 0;
    // A few hundred blocks show as much as a million would.
    let input = &input[..input.len().min(block_bytes * 300)];
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
});
