//! The trees that an index makes, which git remembers in it: a directory whose
//! tree is known need not be compared entry by entry.

use crate::git::ObjectId;
use crate::git::file::Bytes;
use crate::git::id::Hash;

/// The most directories below each other.
const MAX_DEPTH: usize = 1024;

/// What is remembered of one directory.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::git) struct CachedTree {
    name: Vec<u8>,
    /// None when an entry below it changed since.
    pub(in crate::git) id: Option<ObjectId>,
    children: Vec<CachedTree>,
}

impl CachedTree {
    /// Reads the extension `TREE`; none if it is malformed, as nothing depends
    /// on it.
    pub(super) fn parse(content: &[u8], hash: Hash) -> Option<Self> {
        read(&mut Bytes(content), hash, 0)
    }

    pub(in crate::git) fn child(&self, name: &[u8]) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }
}

/// Reads a name, a zero byte, the number of entries, that of directories, and
/// the name of a tree unless the number of entries is negative.
fn read(bytes: &mut Bytes<'_>, hash: Hash, depth: usize) -> Option<CachedTree> {
    if depth > MAX_DEPTH {
        return None;
    }
    let name = bytes.take_until(0)?.to_vec();
    let entries = bytes.take_until(b' ')?;
    let directories = str::from_utf8(bytes.take_until(b'\n')?).ok()?;
    let directories: u32 = directories.parse().ok()?;
    let id = match entries.starts_with(b"-") {
        true => None,
        false => Some(hash.id(bytes.take(hash.size())?)?),
    };
    let mut children = Vec::new();
    for _ in 0..directories {
        children.push(read(bytes, hash, depth + 1)?);
    }
    Some(CachedTree { name, id, children })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_read_with_what_is_below() {
        let id = [7; 20];
        let content = [&b"\0-1 1\n"[..], b"src\x003 0\n", &id].concat();
        let tree = CachedTree::parse(&content, Hash::Sha1).unwrap();
        assert_eq!(tree.id, None);
        assert_eq!(tree.child(b"src").unwrap().id, Hash::Sha1.id(&id));
        assert_eq!(tree.child(b"lib"), None);
        for end in 0..content.len() {
            assert_eq!(CachedTree::parse(&content[..end], Hash::Sha1), None);
        }
    }
}
