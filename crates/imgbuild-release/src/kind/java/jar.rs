//! Manifests of jars, which are ZIP archives ([APPNOTE]): the list of entries at the
//! end is searched for one, and only that is read.
//!
//! [APPNOTE]: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT

use std::io::{Seek as _, SeekFrom};
use std::path::Path;

use flate2::read::DeflateDecoder;
use imgbuild_oci::bounded;

/// The most bytes of the list that are read: that of 80,000 entries.
const MAX_LIST_BYTES: u64 = 8 << 20;

/// The most bytes of a manifest; that with signatures of 1,000 classes has 100 KiB.
const MAX_BYTES: u64 = 1 << 20;

/// The end of the list: its own size, and that of the longest comment behind it.
const END_BYTES: usize = 22;
const MAX_COMMENT_BYTES: u64 = 0xFFFF;

/// The sizes of an entry in the list and at its file, without names.
const ENTRY_BYTES: usize = 46;
const LOCAL_BYTES: u64 = 30;

const MANIFEST: &[u8] = b"META-INF/MANIFEST.MF";

/// Reads the manifest of a jar; `None` if it has none that can be read.
pub(super) fn manifest(path: &Path) -> Option<String> {
    let mut file = bounded::open_file(path).ok()?;
    let size = file.metadata().ok()?.len();
    let mut at = |start: u64, limit: u64| -> Option<Vec<u8>> {
        file.seek(SeekFrom::Start(start)).ok()?;
        bounded::read_start(&mut file, limit).ok()
    };
    let start = size.saturating_sub(END_BYTES as u64 + MAX_COMMENT_BYTES);
    let tail = at(start, END_BYTES as u64 + MAX_COMMENT_BYTES)?;
    let last = tail.len().checked_sub(END_BYTES)?;
    let end = (0..=last)
        .rev()
        .find(|at| tail[*at..].starts_with(b"PK\x05\x06"))?;
    let [length, offset] = [12, 16].map(|field| number(&tail, end + field, 4));
    let [length, offset] = [length?, offset?];
    // A program may stand before the archive, which its offsets do not count.
    let moved = (start + end as u64).saturating_sub(length + offset);
    let (list, before) = [0, moved].into_iter().find_map(|before| {
        let list = at(offset.checked_add(before)?, length.min(MAX_LIST_BYTES))?;
        list.starts_with(b"PK\x01\x02").then_some((list, before))
    })?;
    let entry = find(&list)?;
    let [method, bytes, place] =
        [(10, 2), (20, 4), (42, 4)].map(|(field, size)| number(entry, field, size));
    let place = place? + before;
    let local = at(place, LOCAL_BYTES)?;
    let names = number(&local, 26, 2)? + number(&local, 28, 2)?;
    let packed = at(place + LOCAL_BYTES + names, bytes?.min(MAX_BYTES))?;
    let text = match method? {
        0 => packed,
        8 => bounded::read_available(DeflateDecoder::new(packed.as_slice()), MAX_BYTES),
        _ => return None,
    };
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Returns the entry of the manifest in the list of all.
fn find(mut list: &[u8]) -> Option<&[u8]> {
    loop {
        let lengths = [28, 30, 32].map(|field| number(list, field, 2));
        let [name, extra, comment] = lengths;
        let name_end = ENTRY_BYTES + usize::try_from(name?).ok()?;
        let end = name_end + usize::try_from(extra? + comment?).ok()?;
        if list
            .get(ENTRY_BYTES..name_end)?
            .eq_ignore_ascii_case(MANIFEST)
        {
            return Some(list);
        }
        list = list.get(end..)?;
    }
}

/// Reads a number of `size` bytes, the lowest first.
pub(super) fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + size)?.iter().rev();
    Some(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Returns the value of a name in the main section of a manifest, whose lines
/// continue after a space.
pub(super) fn attribute(manifest: &str, name: &str) -> Option<String> {
    let lines = manifest.lines().take_while(|line| !line.is_empty());
    let mut found: Option<String> = None;
    for line in lines {
        if let (Some(value), Some(rest)) = (&mut found, line.strip_prefix(' ')) {
            value.push_str(rest);
        } else if found.is_some() {
            break;
        } else if let Some((known, value)) = line.split_once(": ")
            && known.eq_ignore_ascii_case(name)
        {
            found = Some(value.to_owned());
        }
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use fs_err as fs;

    use super::*;

    /// Makes a jar whose entries are compressed.
    pub(in crate::kind) fn jar(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut bytes, mut list) = (Vec::new(), Vec::new());
        let short = |number: usize| u16::try_from(number).unwrap().to_le_bytes();
        let long = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
        for (name, content) in entries {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(content).unwrap();
            let packed = encoder.finish().unwrap();
            let sizes = [
                &[0; 4][..],
                &long(packed.len()),
                &long(content.len()),
                &short(name.len()),
                &[0; 2],
            ]
            .concat();
            let method = [20, 0, 0, 8, 8, 0, 0, 0, 0, 0];
            list.extend(
                [
                    b"PK\x01\x02\x14\x00",
                    &method[..],
                    &sizes,
                    &[0; 10],
                    &long(bytes.len()),
                    name.as_bytes(),
                ]
                .concat(),
            );
            bytes.extend([b"PK\x03\x04", &method[..], &sizes, name.as_bytes(), &packed].concat());
        }
        let end = [
            b"PK\x05\x06",
            &[0; 4][..],
            &short(entries.len()),
            &short(entries.len()),
            &long(list.len()),
            &long(bytes.len()),
            &[0; 2],
        ]
        .concat();
        [bytes, list, end].concat()
    }

    fn read(bytes: &[u8]) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.jar");
        fs::write(&path, bytes).unwrap();
        manifest(&path)
    }

    const TEXT: &str =
        "Manifest-Version: 1.0\r\nMain-Class: org.example.sho\r\n p.Main\r\n\r\nName: x\r\n";

    #[test]
    fn a_manifest_is_found_behind_other_entries_and_a_program() {
        let jar = jar(&[("a.class", b"a"), ("META-INF/MANIFEST.MF", TEXT.as_bytes())]);
        let found = read(&jar).unwrap();
        assert_eq!(
            attribute(&found, "main-class").unwrap(),
            "org.example.shop.Main"
        );
        assert_eq!(attribute(&found, "Name"), None);
        let behind = [b"#!/bin/sh\n".as_slice(), &jar].concat();
        assert_eq!(read(&behind).unwrap(), TEXT);
    }

    #[test]
    fn damaged_and_hostile_archives_are_not_read_without_end() {
        let bomb = vec![b'x'; 4 << 20];
        let jar = jar(&[("META-INF/MANIFEST.MF", &bomb)]);
        assert_eq!(read(&jar).unwrap().len() as u64, MAX_BYTES);
        for end in (0..jar.len()).step_by(97) {
            assert_eq!(read(&jar[..end]), None);
        }
        for at in 0..200 {
            let mut damaged = jar.clone();
            let at = jar.len() - 1 - at % jar.len();
            damaged[at] = 0xFF;
            drop(read(&damaged));
        }
    }
}
