use super::*;
use crate::source::fixture::{all, gzip, zstd};

fn decompress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    Decompressor::new(bytes, bytes.len() as u64)?.read_to_end(&mut output)?;
    Ok(output)
}

fn sample() -> Vec<u8> {
    (0..300_000_u32)
        .flat_map(|number| (number / 7).to_le_bytes())
        .collect()
}

#[test]
fn the_first_bytes_tell_the_compression() {
    for (start, expected) in [
        (&b""[..], StreamFormat::Plain),
        (b"\x1f", StreamFormat::Plain),
        (b"\x1f\x8b\x08", StreamFormat::Gzip),
        (b"\x28\xb5\x2f\xfd", StreamFormat::Zstd),
        (b"\x50\x2a\x4d\x18", StreamFormat::Zstd),
        (b"\xfd7zXZ\0", StreamFormat::Xz),
        (b"BZh51AY&", StreamFormat::Bzip2),
        (b"BZh9.txt", StreamFormat::Plain),
        (b"blobs/", StreamFormat::Plain),
    ] {
        assert_eq!(StreamFormat::detect(start), expected, "{start:?}");
    }
}

#[test]
fn each_compression_gives_the_bytes_back() {
    let sample = sample();
    for bytes in [sample.clone(), gzip(&sample), zstd(&sample)] {
        assert!(decompress(&bytes).unwrap() == sample);
    }
    assert_eq!(decompress(b"").unwrap(), b"");
    assert_eq!(decompress(&gzip(b"")).unwrap(), b"");
}

#[test]
fn members_and_frames_in_a_row_are_one_stream() {
    let skippable = b"\x53\x2a\x4d\x18\x03\0\0\0abc";
    for bytes in [
        [gzip(b"ab"), gzip(b""), gzip(b"c")].concat(),
        [zstd(b"ab"), skippable.to_vec(), zstd(b"c")].concat(),
        [skippable.to_vec(), zstd(b"abc"), skippable.to_vec()].concat(),
    ] {
        assert_eq!(decompress(&bytes).unwrap(), b"abc");
    }
}

#[test]
fn bytes_after_the_end_are_told_from_damage() {
    let trailing = |bytes: &[u8]| {
        let error = decompress(bytes).unwrap_err();
        error
            .get_ref()
            .is_some_and(|inner| inner.is::<TrailingBytesError>())
    };
    for after in [&b"x"[..], &[0; 100], &[gzip(b"d"), vec![0; 512]].concat()] {
        let bytes = [&gzip(b"abc"), after].concat();
        let mut stream = Decompressor::new(&*bytes, bytes.len() as u64).unwrap();
        let mut read = String::new();
        stream.read_to_string(&mut read).unwrap();
        assert!(read.starts_with("abc") && stream.has_trailing_bytes());
    }
    assert!(trailing(&[zstd(b"abc"), b"garbage".to_vec()].concat()));
    assert!(trailing(&[zstd(b"abc"), b"x".to_vec()].concat()));
    let mut damaged = gzip(&sample());
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    assert!(!trailing(&damaged));
    for compress in [gzip, zstd] {
        let whole = compress(&sample());
        assert!(!trailing(&whole[..whole.len() - 20]));
    }
}

#[test]
fn what_follows_the_end_is_left_to_the_reader_below() {
    let bytes = gzip(b"abc");
    let mut stream = Decompressor::new(&*bytes, bytes.len() as u64).unwrap();
    assert_eq!(all(&mut stream), b"abc");
    assert_eq!(all(stream.into_inner()), b"");
}

#[test]
fn other_compressions_are_refused_by_name() {
    let error = decompress(b"\xfd7zXZ\0\0\0").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`xz` compression cannot be read (known: none, gzip, zstd)"
    );
}

/// A zstd frame of run-length blocks: four bytes for each 128 KiB of zeros.
fn zstd_bomb(blocks: usize) -> Vec<u8> {
    // A window of 128 KiB, no content size, no checksum.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
    for block in 1..=blocks {
        let header = ((128_u32 << 10) << 3) | (1 << 1) | u32::from(block == blocks);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let honest = zstd_bomb(16);
    assert_eq!(decompress(&honest).unwrap().len(), 16 * (128 << 10));
    let bomb = zstd_bomb(9000);
    let mut stream = Decompressor::new(&*bomb, bomb.len() as u64).unwrap();
    let error = io::copy(&mut stream, &mut io::sink()).unwrap_err();
    assert!(error.get_ref().unwrap().is::<ExpansionError>(), "{error}");
}
