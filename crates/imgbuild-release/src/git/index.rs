//! The index: the tracked files, with the state of each when git last looked ([gitformat-index(5)], versions 2 to 4).
//!
//! [gitformat-index(5)]: https://git-scm.com/docs/gitformat-index

use std::path::Path;

use super::file::ByteReader;
use super::id::Hash;
use super::{GitError, GitResult, ObjectId};

/// The most bytes of an index: some million files.
pub(super) const MAX_BYTES: u64 = 128 << 20;

/// The bytes that its paths may always have.
const MIN_PATH_BYTES: u64 = 16 << 20;

/// The bytes of its paths in relation to its own: version 4 repeats the start of the
/// previous path in a few bytes.
const MAX_EXPANSION: u64 = 2;

/// The longest path that the system takes.
const MAX_PATH_BYTES: usize = 4096;

pub(super) const MODE_SUBMODULE: u32 = 0o160_000;
const MODE_DIRECTORY: u32 = 0o040_000;

/// A tracked file, with its state when git last looked. Times are seconds and
/// nanoseconds; of these and of the size git keeps 32 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TrackedFile {
    pub(super) path: Vec<u8>,
    pub(super) mode: u32,
    pub(super) id: ObjectId,
    pub(super) changed: (u32, u32),
    pub(super) modified: (u32, u32),
    pub(super) size: u32,
    /// Set for one side of a conflict.
    pub(super) is_unmerged: bool,
    /// Set for a file that git does not compare, or that is not checked out.
    pub(super) is_skipped: bool,
}

/// Returns the most bytes that the paths of an index may have.
pub(super) fn path_limit(data: &[u8]) -> u64 {
    MIN_PATH_BYTES.max(data.len() as u64 * MAX_EXPANSION)
}

/// Reads an index into its files, sorted by path, of at most `limit` bytes of
/// paths; `path` is for messages.
pub(super) fn parse(
    data: &[u8],
    hash: Hash,
    path: &Path,
    limit: u64,
) -> GitResult<Vec<TrackedFile>> {
    let malformed = |reason| GitError::malformed(path, reason);
    let short = || malformed("it is truncated");
    // The checksum at the end is not checked: git may leave it out.
    let end = data.len().checked_sub(hash.size()).ok_or_else(short)?;
    let mut bytes = ByteReader(&data[..end]);
    if bytes.take(4) != Some(b"DIRC") {
        return Err(malformed("it does not begin like an index"));
    }
    let version = bytes.u32().ok_or_else(short)?;
    if !(2..=4).contains(&version) {
        return Err(GitError::unsupported(path, "an index of another version"));
    }
    let count = bytes.u32().ok_or_else(short)?;
    let mut entries: Vec<TrackedFile> = Vec::new();
    let mut path_bytes = 0;
    for _ in 0..count {
        let previous = entries.last().map_or(&[][..], |entry| &entry.path);
        let entry = entry(&mut bytes, version, hash, previous)
            .ok_or_else(|| malformed("an entry is truncated"))?;
        if entry.path.len() > MAX_PATH_BYTES {
            return Err(malformed("a path is too long"));
        }
        path_bytes += entry.path.len() as u64;
        if path_bytes > limit {
            return Err(malformed("its paths are too long"));
        }
        entries.push(entry);
    }
    check_extensions(&mut bytes, path)?;
    if !entries.iter().all(|entry| is_path(&entry.path)) {
        return Err(malformed("a path leaves the work tree"));
    }
    if !entries.is_sorted_by(|a, b| a.path <= b.path) {
        return Err(malformed("its entries are not in order"));
    }
    Ok(entries)
}

/// Returns the name of the tree that a commit of this index would have, or that
/// entries of it make below a directory whose path, with its slash, has
/// `prefix` bytes.
///
/// A tree is `MODE NAME`, a zero byte and the name of an object, again and
/// again. Its order is that of the index: directories sort as if their names
/// ended in a slash.
pub(super) fn tree(entries: &[TrackedFile], prefix: usize, hash: Hash) -> ObjectId {
    let mut data = Vec::new();
    let mut rest = entries;
    while let [first, ..] = rest {
        let path = &first.path[prefix..];
        let (name, below) = match path.iter().position(|byte| *byte == b'/') {
            None => (path, &rest[..1]),
            Some(end) => {
                let is_below =
                    |entry: &TrackedFile| entry.path[prefix..].starts_with(&path[..=end]);
                (&path[..end], &rest[..rest.partition_point(is_below)])
            }
        };
        // A directory of a sparse index is an entry itself.
        let is_whole = name.len() == path.len() || first.mode == MODE_DIRECTORY;
        let (mode, id) = if is_whole {
            (first.mode, first.id)
        } else {
            let id = tree(below, prefix + name.len() + 1, hash);
            (MODE_DIRECTORY, id)
        };
        data.extend(format!("{mode:o} ").bytes());
        data.extend(name);
        data.push(0);
        data.extend(id.as_bytes());
        rest = &rest[below.len()..];
    }
    hash.of("tree", &data)
}

fn entry(
    bytes: &mut ByteReader<'_>,
    version: u32,
    hash: Hash,
    previous: &[u8],
) -> Option<TrackedFile> {
    const IS_EXTENDED: u16 = 0x4000;
    const IS_ASSUMED: u16 = 0x8000;
    const STAGE: u16 = 0x3000;
    const IS_SKIPPED: u16 = 0x4000;
    let start = bytes.0.len();
    let changed = (bytes.u32()?, bytes.u32()?);
    let modified = (bytes.u32()?, bytes.u32()?);
    // The device and the inode.
    bytes.take(8)?;
    let mode = bytes.u32()?;
    // The owner.
    bytes.take(8)?;
    let size = bytes.u32()?;
    let id = hash.id(bytes.take(hash.size())?)?;
    let flags = bytes.u16()?;
    let more = match flags & IS_EXTENDED {
        0 => 0,
        _ => bytes.u16()?,
    };
    let path = match version {
        4 => {
            let dropped = usize::try_from(bytes.offset()?).ok()?;
            let kept = previous.get(..previous.len().checked_sub(dropped)?)?;
            [kept, bytes.take_until(0)?].concat()
        }
        _ => {
            let path = bytes.take_until(0)?.to_vec();
            // One zero byte ends the path, as many fill up eight bytes.
            let read = start - bytes.0.len();
            bytes.take(read.next_multiple_of(8) - read)?;
            path
        }
    };
    Some(TrackedFile {
        path,
        mode,
        id,
        changed,
        modified,
        size,
        is_unmerged: flags & STAGE != 0,
        is_skipped: flags & IS_ASSUMED != 0 || more & IS_SKIPPED != 0,
    })
}

/// A path that stays in the work tree. A directory of a sparse index ends in a
/// slash.
fn is_path(path: &[u8]) -> bool {
    let named = path.strip_suffix(b"/").unwrap_or(path);
    let is_name = |name: &[u8]| !matches!(name, b"" | b"." | b".." | b".git");
    named.split(|byte| *byte == b'/').all(is_name)
}

/// Refuses extensions that change the meaning of the entries.
fn check_extensions(bytes: &mut ByteReader<'_>, path: &Path) -> GitResult<()> {
    let malformed = || GitError::malformed(path, "an extension is truncated");
    while !bytes.0.is_empty() {
        let name = bytes.take(4).ok_or_else(malformed)?;
        let size = bytes.u32().ok_or_else(malformed)?;
        let size = usize::try_from(size).map_err(|_| malformed())?;
        bytes.take(size).ok_or_else(malformed)?;
        match name {
            b"link" => return Err(GitError::unsupported(path, "a split index")),
            // A sparse index; and a capital letter marks what may be ignored.
            b"sdir" | [b'A'..=b'Z', ..] => {}
            _ => return Err(GitError::unsupported(path, "an unknown extension")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_work_tree() {
        for (path, is_so) in [
            ("a", true),
            ("a/b.c", true),
            ("sparse/", true),
            ("", false),
            ("/etc/passwd", false),
            ("a//b", false),
            ("../a", false),
            ("a/../../b", false),
            (".git/config", false),
        ] {
            assert_eq!(is_path(path.as_bytes()), is_so, "{path}");
        }
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let parse = |data| parse(data, Hash::Sha1, Path::new("index"), MAX_BYTES);
        for data in [
            &b""[..],
            b"DIRC",
            b"DIRX\0\0\0\x02\0\0\0\0aaaaaaaaaaaaaaaaaaaa",
            b"DIRC\0\0\0\x05\0\0\0\0aaaaaaaaaaaaaaaaaaaa",
            b"DIRC\0\0\0\x02\0\0\0\x01aaaaaaaaaaaaaaaaaaaa",
            b"DIRC\0\0\0\x02\0\0\0\0link\0\0\0\0aaaaaaaaaaaaaaaaaaaa",
            b"DIRC\0\0\0\x02\0\0\0\0TREE\0\0\0\x05aaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(parse(data).is_err());
        }
        let empty = b"DIRC\0\0\0\x02\0\0\0\0aaaaaaaaaaaaaaaaaaaa";
        let index = parse(empty).unwrap();
        assert!(index.is_empty());
        let empty_tree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        assert_eq!(tree(&index, 0, Hash::Sha1).to_string(), empty_tree);
    }

    #[test]
    fn the_paths_are_bounded_in_total() {
        // Version 4: the second path is the first, of which 0 bytes are
        // dropped, and one byte more.
        let entry = |suffix: &[u8]| [&[0; 62], suffix, b"\0"].concat();
        let mut data = b"DIRC\0\0\0\x04\0\0\0\x02".to_vec();
        data.extend(entry(b"\0aaaa"));
        data.extend(entry(b"\0b"));
        data.extend([0; 20]);
        let parse = |limit| parse(&data, Hash::Sha1, Path::new("index"), limit);
        let entries = parse(9).unwrap();
        let paths: Vec<&[u8]> = entries.iter().map(|entry| &entry.path[..]).collect();
        assert_eq!(paths, [b"aaaa".as_slice(), b"aaaab"]);
        let error = parse(8).unwrap_err().to_string();
        assert!(error.ends_with("its paths are too long"), "{error}");
    }
}
