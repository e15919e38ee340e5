//! `ld.so.cache`: which file has which name, as `ldconfig` found it.
//!
//! Both formats are read (sysdeps/generic/dl-cache.h of glibc): the old one,
//! the new one, and the new one behind an old one. Entries that only some
//! processors may use (`glibc-hwcaps` and its predecessors) are left out: an
//! image runs on machines that are not known here.

use std::collections::BTreeMap;

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const NEW_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";

const OLD_HEADER_BYTES: usize = 16;
const OLD_ENTRY_BYTES: usize = 12;
const NEW_HEADER_BYTES: usize = 48;
const NEW_ENTRY_BYTES: usize = 24;

/// The largest number of bytes of all names and paths that are kept. Entries may
/// share them in the file; a large system has some 100 KiB.
const MAX_KEPT_BYTES: usize = 16 << 20;

/// Every name with the files that have it, in the loader's order.
pub(crate) type LoaderCache = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// Reads a cache; invalid parts are left out.
pub(crate) fn parse(bytes: &[u8]) -> LoaderCache {
    if bytes.starts_with(NEW_MAGIC) {
        return parse_new(bytes).unwrap_or_default();
    }
    if !bytes.starts_with(OLD_MAGIC) {
        return LoaderCache::new();
    }
    [u32::from_le_bytes, u32::from_be_bytes]
        .iter()
        .find_map(|decode| parse_old(bytes, *decode))
        .unwrap_or_default()
}

type Decode = fn([u8; 4]) -> u32;

fn parse_old(bytes: &[u8], decode: Decode) -> Option<LoaderCache> {
    let count = number(bytes, 12, decode)?;
    let strings_at = count
        .checked_mul(OLD_ENTRY_BYTES)?
        .checked_add(OLD_HEADER_BYTES)?;
    let strings = bytes.get(strings_at..)?;
    // A new cache behind has the same and more. It is aligned to 8 bytes.
    let new = bytes
        .get(strings_at.next_multiple_of(8)..)
        .unwrap_or_default();
    if new.starts_with(NEW_MAGIC) {
        return parse_new(new);
    }
    let mut cache = LoaderCache::new();
    let mut left = MAX_KEPT_BYTES;
    for entry in bytes[OLD_HEADER_BYTES..strings_at].chunks_exact(OLD_ENTRY_BYTES) {
        insert(&mut cache, strings, entry, decode, &mut left);
    }
    Some(cache)
}

fn parse_new(bytes: &[u8]) -> Option<LoaderCache> {
    // Bits 0 and 1 of the flags tell the byte order since glibc 2.33:
    // 2 is little, 3 is big. Before, only a count that fits does.
    let decodes: &[Decode] = match bytes.get(28)? & 3 {
        2 => &[u32::from_le_bytes],
        3 => &[u32::from_be_bytes],
        _ => &[u32::from_le_bytes, u32::from_be_bytes],
    };
    decodes.iter().find_map(|decode| {
        let count = number(bytes, 20, *decode)?;
        let end = count
            .checked_mul(NEW_ENTRY_BYTES)?
            .checked_add(NEW_HEADER_BYTES)?;
        let mut cache = LoaderCache::new();
        let mut left = MAX_KEPT_BYTES;
        for entry in bytes
            .get(NEW_HEADER_BYTES..end)?
            .chunks_exact(NEW_ENTRY_BYTES)
            .filter(|entry| entry[16..24] == [0; 8])
        {
            insert(&mut cache, bytes, entry, *decode, &mut left);
        }
        Some(cache)
    })
}

/// Adds an entry of flags, name and path, if `left` bytes are enough for it;
/// offsets count from `strings`.
fn insert(cache: &mut LoaderCache, strings: &[u8], entry: &[u8], decode: Decode, left: &mut usize) {
    let text = |at| string(strings, number(entry, at, decode)?);
    let (Some(name), Some(path)) = (text(4), text(8)) else {
        return;
    };
    let still_left = left.checked_sub(name.len() + path.len());
    if let Some(still_left) = still_left.filter(|_| path.starts_with(b"/")) {
        *left = still_left;
        cache.entry(name.to_vec()).or_default().push(path.to_vec());
    }
}

fn number(bytes: &[u8], at: usize, decode: Decode) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(decode(bytes.try_into().expect("it is 4 bytes"))).ok()
}

fn string(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    // Names are at most a path, so that a hostile cache costs no more.
    let limit = rest.len().min(imgbuild_oci::path::MAX_PATH_BYTES + 1);
    let end = rest[..limit].iter().position(|byte| *byte == 0)?;
    Some(&rest[..end])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const ENTRIES: [(&str, &str, u64); 4] = [
        ("libz.so.1", "/opt/v3/libz.so.1", 1 << 62),
        ("libz.so.1", "/usr/lib/libz.so.1", 0),
        ("libz.so.1", "/usr/lib32/libz.so.1", 0),
        ("liba.so", "/a/liba.so", 0),
    ];

    pub(crate) fn new_cache(encode: fn(u32) -> [u8; 4], flags: u8) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut entries = Vec::new();
        let base = NEW_HEADER_BYTES + ENTRIES.len() * NEW_ENTRY_BYTES;
        for (name, path, hwcap) in ENTRIES {
            entries.extend(encode(0x303));
            for text in [name, path] {
                entries.extend(encode(u32::try_from(base + strings.len()).unwrap()));
                strings.extend_from_slice(text.as_bytes());
                strings.push(0);
            }
            entries.extend([0; 4]);
            entries.extend(hwcap.to_le_bytes());
        }
        let mut bytes = NEW_MAGIC.to_vec();
        bytes.extend(encode(u32::try_from(ENTRIES.len()).unwrap()));
        bytes.extend(encode(u32::try_from(strings.len()).unwrap()));
        bytes.push(flags);
        bytes.resize(NEW_HEADER_BYTES, 0);
        bytes.extend(entries);
        bytes.extend(strings);
        bytes
    }

    pub(crate) fn old_cache(encode: fn(u32) -> [u8; 4]) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut bytes = OLD_MAGIC.to_vec();
        bytes.extend(encode(u32::try_from(ENTRIES.len() - 1).unwrap()));
        for (name, path, _) in &ENTRIES[1..] {
            bytes.extend(encode(1));
            for text in [name, path] {
                bytes.extend(encode(u32::try_from(strings.len()).unwrap()));
                strings.extend_from_slice(text.as_bytes());
                strings.push(0);
            }
        }
        bytes.extend(strings);
        bytes
    }

    fn assert_is_expected(cache: &LoaderCache) {
        assert_eq!(
            cache[b"libz.so.1".as_slice()],
            [
                b"/usr/lib/libz.so.1".to_vec(),
                b"/usr/lib32/libz.so.1".to_vec()
            ]
        );
        assert_eq!(cache[b"liba.so".as_slice()], [b"/a/liba.so".to_vec()]);
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn the_new_format_is_read_in_both_byte_orders_without_hwcaps() {
        assert_is_expected(&parse(&new_cache(u32::to_le_bytes, 2)));
        assert_is_expected(&parse(&new_cache(u32::to_be_bytes, 3)));
        assert_is_expected(&parse(&new_cache(u32::to_le_bytes, 0)));
        assert_is_expected(&parse(&new_cache(u32::to_be_bytes, 0)));
    }

    #[test]
    fn the_old_format_is_read_in_both_byte_orders() {
        assert_is_expected(&parse(&old_cache(u32::to_le_bytes)));
        assert_is_expected(&parse(&old_cache(u32::to_be_bytes)));
    }

    #[test]
    fn a_new_cache_behind_an_old_one_counts() {
        let mut bytes = OLD_MAGIC.to_vec();
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(new_cache(u32::to_le_bytes, 2));
        assert_is_expected(&parse(&bytes));
    }

    #[test]
    fn what_is_cut_short_or_foreign_is_read_as_far_as_it_makes_sense() {
        let bytes = new_cache(u32::to_le_bytes, 2);
        for end in 0..bytes.len() {
            let cache = parse(&bytes[..end]);
            assert!(cache.len() <= 2, "{end}");
        }
        assert!(parse(b"something else").is_empty());
        assert!(parse(&[OLD_MAGIC, &[0xff; 4]].concat()).is_empty());
    }
}
