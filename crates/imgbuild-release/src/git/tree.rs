//! Trees: what a directory of a commit holds.

use super::ObjectId;
use super::file::Bytes;
use super::id::Hash;

/// The mode of a directory.
pub(super) const DIRECTORY: u32 = 0o040_000;

/// One line of a tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TreeEntry<'a> {
    pub(super) mode: u32,
    pub(super) name: &'a [u8],
    pub(super) id: ObjectId,
}

/// Reads `MODE NAME`, a zero byte and the name of an object, again and again.
pub(super) fn parse(data: &[u8], hash: Hash) -> Option<Vec<TreeEntry<'_>>> {
    let mut bytes = Bytes(data);
    let mut entries = Vec::new();
    while !bytes.0.is_empty() {
        let mode = str::from_utf8(bytes.take_until(b' ')?).ok()?;
        let mode = u32::from_str_radix(mode, 8).ok()?;
        let name = bytes.take_until(0)?;
        let id = hash.id(bytes.take(hash.size())?)?;
        entries.push(TreeEntry { mode, name, id });
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_one_after_the_other() {
        let id = [7; 20];
        let data = [&b"100644 a b\0"[..], &id, b"40000 c\0", &id].concat();
        let entries = parse(&data, Hash::Sha1).unwrap();
        assert_eq!((entries[0].mode, entries[0].name), (0o100_644, &b"a b"[..]));
        assert_eq!((entries[1].mode, entries[1].name), (DIRECTORY, &b"c"[..]));
        for end in [1, 7, 10, data.len() - 1] {
            assert_eq!(parse(&data[..end], Hash::Sha1), None, "{end}");
        }
        assert_eq!(parse(b"", Hash::Sha1), Some(Vec::new()));
    }
}
