//! Whatever is compressed comes back from independent decoders.

#![expect(clippy::disallowed_methods, reason = "tests read whole what they made")]

use std::io::Read as _;

use imgbuild_deflate::{BLOCK_BYTES, Encoder, HISTORY_BYTES, Level};
use proptest::prelude::*;

fn levels() -> impl Iterator<Item = Level> {
    (1..=9).filter_map(Level::new)
}

/// Compresses `input` in blocks of `block_bytes`, each with the bytes before it.
fn compress(input: &[u8], level: Level, block_bytes: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(level);
    let mut output = Vec::new();
    let mut start = 0;
    loop {
        let end = input.len().min(start + block_bytes);
        encoder.compress_block(&input[..end], start, end == input.len(), &mut output);
        start = end;
        if start == input.len() {
            return output;
        }
    }
}

/// Compresses the bytes after `history` as the last block, alone.
fn compress_last(input: &[u8], history: usize, level: Level) -> Vec<u8> {
    let mut output = Vec::new();
    Encoder::new(level).compress_block(input, history, true, &mut output);
    output
}

#[track_caller]
fn assert_comes_back(input: &[u8], compressed: &[u8]) {
    let mut decoder = flate2::read::DeflateDecoder::new(compressed);
    let mut decoded = Vec::new();
    decoder.read_to_end(&mut decoded).expect("valid DEFLATE");
    assert!(decoded == input, "zlib-rs decodes something else");
    assert_eq!(decoder.total_in(), compressed.len() as u64);
    let decoded = miniz_oxide::inflate::decompress_to_vec(compressed).expect("valid DEFLATE");
    assert!(decoded == input, "miniz_oxide decodes something else");
    let decoded = zune_inflate::DeflateDecoder::new(compressed).decode_deflate();
    let decoded = decoded.expect("valid DEFLATE");
    assert!(decoded == input, "zune-inflate decodes something else");
}

fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..size).map(|_| next()).collect()
}

fn text(size: usize) -> Vec<u8> {
    let words = [
        "layer ",
        "image ",
        "the ",
        "of ",
        "digest\n",
        "manifest ",
        "a ",
        "is ",
    ];
    noise(size)
        .iter()
        .flat_map(|&byte| words[usize::from(byte & 7)].bytes())
        .take(size)
        .collect()
}

fn executable() -> Vec<u8> {
    let path = std::env::current_exe().expect("a test is a file");
    let mut bytes = fs_err::read(path).expect("a test can be read");
    bytes.truncate(3 * BLOCK_BYTES + 12_345);
    bytes
}

#[test]
fn every_kind_of_input_comes_back_at_every_level() {
    let mut mixed = text(70_000);
    mixed.extend(noise(70_000));
    mixed.extend(vec![0; 70_000]);
    mixed.extend(text(300_000));
    let inputs = [
        Vec::new(),
        vec![7],
        vec![0; BLOCK_BYTES + 100_000],
        noise(BLOCK_BYTES + 100_000),
        text(BLOCK_BYTES + 100_000),
        executable(),
        mixed,
    ];
    for input in &inputs {
        for level in levels() {
            assert_comes_back(input, &compress(input, level, BLOCK_BYTES));
        }
    }
}

#[test]
fn small_inputs_come_back() {
    for level in levels() {
        for size in 0..300 {
            assert_comes_back(&text(size), &compress(&text(size), level, BLOCK_BYTES));
            assert_comes_back(&noise(size), &compress(&noise(size), level, BLOCK_BYTES));
            let run = vec![b'x'; size];
            assert_comes_back(&run, &compress(&run, level, BLOCK_BYTES));
        }
    }
}

#[test]
fn inputs_around_the_limits_come_back() {
    let limits = [8 * 1024, HISTORY_BYTES, 65_535, 2 * 65_535, BLOCK_BYTES];
    for level in [1, 2, 4, 9].into_iter().filter_map(Level::new) {
        for size in limits.into_iter().flat_map(|limit| limit - 1..=limit + 1) {
            for input in [text(size), noise(size), vec![0; size]] {
                assert_comes_back(&input, &compress(&input, level, BLOCK_BYTES));
            }
        }
    }
}

#[test]
fn blocks_of_any_size_join_into_one_stream() {
    let input = executable();
    for level in levels() {
        for block_bytes in [997, 32 * 1024, 100_000, 2 * BLOCK_BYTES] {
            let input = &input[..input.len().min(block_bytes * 12)];
            assert_comes_back(input, &compress(input, level, block_bytes));
        }
    }
}

#[test]
fn a_block_that_is_not_the_last_ends_in_a_sync_flush() {
    for level in levels() {
        for input in [&b""[..], b"a", &noise(1000), &text(100_000)] {
            let mut output = b"before".to_vec();
            Encoder::new(level).compress_block(input, 0, false, &mut output);
            assert!(output.starts_with(b"before"));
            assert!(output.ends_with(&[0, 0, 0xff, 0xff]));
        }
    }
}

#[test]
fn history_counts_up_to_exactly_32_kib() {
    let secret = noise(200);
    for level in levels() {
        for (gap, is_found) in [(0, true), (1, false)] {
            let mut input = secret.clone();
            input.resize(HISTORY_BYTES + gap, b'-');
            let history = input.len();
            input.extend(&secret);
            input.extend(b"-------------------------");
            let size = compress_last(&input, history, level).len();
            assert_eq!(size < 100, is_found, "{level:?} {gap}: {size} bytes");
            assert_comes_back(&input, &compress(&input, level, history));
        }
    }
}

#[test]
fn history_beyond_32_kib_changes_nothing() {
    let input = executable();
    for level in levels() {
        let start = 2 * BLOCK_BYTES;
        let end = start + 100_000;
        let all = compress_last(&input[..end], start, level);
        let from = start - HISTORY_BYTES;
        assert_eq!(all, compress_last(&input[from..end], start - from, level));
    }
}

#[test]
fn bytes_do_not_depend_on_what_the_encoder_did_before() {
    let input = executable();
    for level in levels() {
        let fresh = compress_last(&input, BLOCK_BYTES, level);
        let mut encoder = Encoder::new(level);
        for other in [
            noise(BLOCK_BYTES),
            text(BLOCK_BYTES),
            vec![0; 500],
            Vec::new(),
        ] {
            encoder.compress_block(&other, other.len() / 3, false, &mut Vec::new());
            let mut output = Vec::new();
            encoder.compress_block(&input, BLOCK_BYTES, true, &mut output);
            assert!(output == fresh, "{level:?}");
        }
    }
}

#[test]
fn a_run_becomes_matches_of_258() {
    for level in levels() {
        let size = compress_last(&vec![b'x'; 258 * 1000 + 1], 0, level).len();
        // With one bit each for length and distance.
        assert!((250..350).contains(&size), "{level:?}: {size} bytes");
    }
}

#[test]
fn noise_grows_by_less_than_a_thousandth() {
    let input = noise(BLOCK_BYTES);
    for level in levels() {
        let size = compress_last(&input, 0, level).len();
        assert!(size < input.len() + input.len() / 1000, "{level:?}: {size}");
    }
}

/// Something for a compressor to find.
#[derive(Debug, Clone)]
enum Piece {
    Bytes(Vec<u8>),
    Run(u8, usize),
    Copy { distance: usize, length: usize },
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Piece::Bytes),
        prop::collection::vec(b'a'..b'e', 0..300).prop_map(Piece::Bytes),
        (any::<u8>(), 0..2000usize).prop_map(|(byte, count)| Piece::Run(byte, count)),
        (1..40_000usize, 0..600usize)
            .prop_map(|(distance, length)| Piece::Copy { distance, length }),
        (1..70usize, 0..70usize).prop_map(|(distance, length)| Piece::Copy { distance, length }),
    ]
}

fn assemble(pieces: Vec<Piece>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Bytes(own) => bytes.extend(own),
            Piece::Run(byte, count) => bytes.resize(bytes.len() + count, byte),
            Piece::Copy { distance, length } => {
                for _ in 0..length.min(length * bytes.len()) {
                    bytes.push(bytes[bytes.len() - distance.min(bytes.len())]);
                }
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn structured_inputs_come_back(
        pieces in prop::collection::vec(piece(), 0..400),
        level in 1..=9u8,
        block_bytes in prop_oneof![1..50usize, 50..5000usize, 5000..200_000usize],
    ) {
        let mut input = assemble(pieces);
        input.truncate(block_bytes * 200);
        let level = Level::new(level).expect("1 to 9 are levels");
        assert_comes_back(&input, &compress(&input, level, block_bytes));
    }
}
