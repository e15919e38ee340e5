//! Whether the index differs from a commit.

use super::id::Hash;
use super::index::{CachedTree, Index, IndexEntry};
use super::objects::{Kind, Objects};
use super::tree::{self, DIRECTORY};
use super::{GitError, ObjectId, Result};

/// The most directories below each other: paths are no longer.
const MAX_DEPTH: usize = 2048;

/// Returns whether the index holds something else than a tree.
pub(super) fn differs(objects: &Objects, index: &Index, tree: ObjectId) -> Result<bool> {
    let directory = Directory {
        entries: &index.entries,
        prefix: 0,
        cached: index.tree.as_ref(),
        depth: 0,
    };
    directory.differs(objects, tree)
}

/// The entries of the index below one directory.
struct Directory<'a> {
    entries: &'a [IndexEntry],
    /// How much of each path is the directory's.
    prefix: usize,
    cached: Option<&'a CachedTree>,
    depth: usize,
}

impl Directory<'_> {
    fn differs(&self, objects: &Objects, tree: ObjectId) -> Result<bool> {
        if let Some(id) = self.cached.and_then(|cached| cached.id) {
            return Ok(id != tree);
        }
        if self.depth > MAX_DEPTH {
            let reason = "a tree in it has too many directories below each other";
            return Err(GitError::malformed(objects.path(), reason));
        }
        let data = objects.read(tree, Kind::Tree)?;
        let entries = parse(objects, &data, objects.hash())?;
        let mut seen = 0;
        for entry in entries {
            let below = self.below(entry.name);
            seen += below.len();
            let is_different = match below {
                [] => true,
                [only] if only.path.len() == self.prefix + entry.name.len() => {
                    (only.mode, only.id) != (entry.mode, entry.id)
                }
                // A directory of a sparse index, whose path ends in a slash.
                [only] if only.path.len() == self.prefix + entry.name.len() + 1 => {
                    (only.mode, only.id) != (entry.mode, entry.id)
                }
                _ if entry.mode != DIRECTORY => true,
                _ => self.child(below, entry.name).differs(objects, entry.id)?,
            };
            if is_different {
                return Ok(true);
            }
        }
        Ok(seen != self.entries.len())
    }

    /// The entries that are called so, or lie in the directory that is.
    fn below(&self, name: &[u8]) -> &[IndexEntry] {
        let rest = |entry: &'_ IndexEntry, text: &[u8]| entry.path[self.prefix..].cmp(text);
        let start = |text: &[u8]| {
            let is_before = |entry: &IndexEntry| rest(entry, text).is_lt();
            self.entries.partition_point(is_before)
        };
        // `name` itself and `name/…` need not be neighbors (`name.x` sorts
        // between them), but git has only one of them.
        let first = start(name);
        if self
            .entries
            .get(first)
            .is_some_and(|it| rest(it, name).is_eq())
        {
            return &self.entries[first..=first];
        }
        let directory = [name, b"/"].concat();
        let found = &self.entries[start(&directory)..];
        let is_below = |entry: &IndexEntry| entry.path[self.prefix..].starts_with(&directory);
        &found[..found.partition_point(is_below)]
    }

    fn child<'a>(&'a self, entries: &'a [IndexEntry], name: &[u8]) -> Directory<'a> {
        Directory {
            entries,
            prefix: self.prefix + name.len() + 1,
            cached: self.cached.and_then(|cached| cached.child(name)),
            depth: self.depth + 1,
        }
    }
}

fn parse<'a>(objects: &Objects, data: &'a [u8], hash: Hash) -> Result<Vec<tree::TreeEntry<'a>>> {
    let reason = "a tree in it is not complete";
    tree::parse(data, hash).ok_or_else(|| GitError::malformed(objects.path(), reason))
}
