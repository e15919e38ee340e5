//! Whatever is compressed comes back from independent decoders.

use std::io::Read as _;

use imgbuild_oci::deflate::{Encoder, Level};

fn levels() -> impl Iterator<Item = Level> {
    (1..=9).filter_map(Level::new)
}

fn inflate(compressed: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    flate2::read::DeflateDecoder::new(compressed)
        .read_to_end(&mut decoded)
        .expect("the encoder writes valid DEFLATE");
    decoded
}

#[test]
fn small_inputs_come_back() {
    for level in levels() {
        let mut encoder = Encoder::new(level);
        for size in 0..600 {
            let input: Vec<u8> = (0..size)
                .map(|index| (index % 7 * index % 11) as u8)
                .collect();
            let mut output = Vec::new();
            encoder.compress_block(&input, 0, true, &mut output);
            assert_eq!(inflate(&output), input);
        }
    }
}
