//! The files of one layer alone, as engines unpack it: into a directory of its own, in
//! which links lead to paths of the same layer only.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::path::{ResolveError, resolve_links};
use crate::tar_reader::clean_path;

/// The number of paths of one layer that are remembered; a layer of a whole
/// distribution with all its packages has a tenth of that.
const MAX_PATHS: usize = 4_000_000;

/// The memory for the targets of symbolic links, in bytes.
const MAX_TARGET_BYTES: usize = 64 << 20;

/// The cost of all lookups, in bytes of paths. The directory of a path costs nothing if
/// the layer lists it before.
const MAX_LOOKED_UP: usize = 1 << 26;

/// The cost of looking up a short path, in bytes.
const LOOKUP_BYTES: usize = 64;

/// A path, so that memory does not grow with its length.
type Fingerprint = [u8; 16];

/// The kind of what is at a path, as far as it matters for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathKind {
    Directory,
    Symlink,
    Whiteout,
    Other,
}

#[derive(Debug, Clone, Copy, Default)]
struct PathFacts {
    /// True if an entry has this path as its name.
    is_named: bool,
    /// The kind of what is there, also through a link.
    kind: Option<PathKind>,
}

/// The directory of a path after its links are followed.
#[derive(Debug)]
pub(super) struct ParentDirectory {
    /// Its path, empty for the root.
    path: Vec<u8>,
    /// True if a link leads to a path that the layer does not have.
    pub(super) is_dangling: bool,
}

impl ParentDirectory {
    /// Returns the place of an entry with this path.
    pub(super) fn join(&self, path: &[u8]) -> Vec<u8> {
        let (_, name) = split(path);
        [&self.path, &b"/"[..], name].concat()
    }
}

/// The reason why the directory of a path is not known.
#[derive(Debug)]
pub(super) enum ParentFault {
    /// Something above is not a directory, or links form a loop.
    NotADirectory,
    /// There are too many paths, links or lookups.
    Unknown,
}

/// The files of a layer.
#[derive(Debug, Default)]
pub(super) struct LayerTree {
    paths: BTreeMap<Fingerprint, PathFacts>,
    targets: BTreeMap<Fingerprint, Vec<u8>>,
    target_bytes: usize,
    looked_up: usize,
}

impl LayerTree {
    /// Returns true if there are too many paths to know all.
    pub(super) fn is_full(&self) -> bool {
        self.paths.len() >= MAX_PATHS
    }

    pub(super) fn kind(&self, place: &[u8]) -> Option<PathKind> {
        self.paths.get(&fingerprint(place))?.kind
    }

    /// Remembers the name of an entry; returns true if an earlier one has it.
    pub(super) fn name(&mut self, path: &[u8]) -> bool {
        let facts = self.facts(path);
        facts.is_some_and(|facts| std::mem::replace(&mut facts.is_named, true))
    }

    pub(super) fn put(&mut self, place: &[u8], kind: PathKind) {
        if let Some(facts) = self.facts(place) {
            facts.kind = Some(kind);
        }
    }

    pub(super) fn put_symlink(&mut self, place: &[u8], target: &[u8]) {
        self.put(place, PathKind::Symlink);
        self.target_bytes += target.len() + LOOKUP_BYTES;
        if self.target_bytes <= MAX_TARGET_BYTES {
            self.targets.insert(fingerprint(place), target.to_vec());
        } else {
            self.targets.remove(&fingerprint(place));
        }
    }

    /// Gives what is at `target` another name; returns false if it is no file.
    pub(super) fn put_hardlink(
        &mut self,
        place: &[u8],
        target: &[u8],
    ) -> Result<bool, ParentFault> {
        let target = clean_path(target);
        let target = match self.parent_of(&target, false) {
            Ok(parent) => parent.join(&target),
            Err(ParentFault::NotADirectory) => return Ok(false),
            Err(fault) => {
                self.put(place, PathKind::Other);
                return Err(fault);
            }
        };
        let kind = self.kind(&target);
        match kind {
            Some(PathKind::Symlink) => {
                let leads_to = self.targets.get(&fingerprint(&target)).cloned();
                self.put_symlink(place, &leads_to.unwrap_or_default());
            }
            // To engines it is a device, and so is the link.
            Some(PathKind::Whiteout) => self.put(place, PathKind::Whiteout),
            _ => self.put(place, PathKind::Other),
        }
        Ok(kind.map_or(self.is_full(), |kind| kind != PathKind::Directory))
    }

    /// Follows the links in the directory of a cleaned path, and makes directories that
    /// are missing, if `makes`.
    pub(super) fn parent_of(
        &mut self,
        path: &[u8],
        makes: bool,
    ) -> Result<ParentDirectory, ParentFault> {
        let (parent, _) = split(path);
        let mut found = ParentDirectory {
            path: parent.to_vec(),
            is_dangling: false,
        };
        if parent.is_empty() || self.kind(parent) == Some(PathKind::Directory) {
            return Ok(found);
        }
        found.path.clear();
        for name in parent.split(|byte| *byte == b'/').skip(1) {
            found.path.push(b'/');
            found.path.extend_from_slice(name);
            self.spend(found.path.len())?;
            match self.kind(&found.path) {
                Some(PathKind::Directory) => {}
                Some(PathKind::Whiteout | PathKind::Other) => {
                    return Err(ParentFault::NotADirectory);
                }
                Some(PathKind::Symlink) => self.follow(&mut found, makes)?,
                None if makes => self.put(&found.path, PathKind::Directory),
                None => {}
            }
        }
        Ok(found)
    }

    fn follow(&mut self, found: &mut ParentDirectory, makes: bool) -> Result<(), ParentFault> {
        let mut cost = 0;
        let mut missing = Vec::new();
        let resolved = resolve_links(&found.path, |next, _| {
            let path = next.as_bytes();
            cost += path.len() + LOOKUP_BYTES;
            match self.kind(path) {
                _ if self.looked_up + cost > MAX_LOOKED_UP => Err(ParentFault::Unknown),
                Some(PathKind::Directory) => Ok(None),
                Some(PathKind::Whiteout | PathKind::Other) => Err(ParentFault::NotADirectory),
                Some(PathKind::Symlink) => {
                    let target = self.targets.get(&fingerprint(path));
                    // Each of its names, also `..`, is a step.
                    cost += LOOKUP_BYTES / 2 * target.map_or(0, Vec::len);
                    target.map(Some).ok_or(ParentFault::Unknown)
                }
                None => {
                    missing.push(next.clone());
                    Ok(None)
                }
            }
        });
        self.spend(cost)?;
        let resolved = resolved.map_err(|error| match error {
            ResolveError::LookUp(fault) => fault,
            ResolveError::Loop(_) | ResolveError::Name { .. } => ParentFault::NotADirectory,
        })?;
        // A full tree does not have all directories.
        found.is_dangling |= !missing.is_empty() && !self.is_full();
        found.path.clear();
        if !resolved.is_root() {
            found.path.extend_from_slice(resolved.as_bytes());
        }
        // containerd makes those that the path goes through in the end.
        missing.retain(|path| makes && resolved.starts_with(path));
        for path in missing {
            self.put(path.as_bytes(), PathKind::Directory);
        }
        Ok(())
    }

    /// Remembers paths until there is room for `rest` more.
    #[cfg(test)]
    pub(super) fn fill(&mut self, rest: usize) {
        let numbers = 0..(MAX_PATHS - rest - self.paths.len()) as u128;
        let mut filled = numbers.map(|number| (number.to_be_bytes(), PathFacts::default()));
        self.paths.append(&mut filled.by_ref().collect());
    }

    fn spend(&mut self, bytes: usize) -> Result<(), ParentFault> {
        self.looked_up += bytes + LOOKUP_BYTES;
        if self.looked_up <= MAX_LOOKED_UP {
            Ok(())
        } else {
            Err(ParentFault::Unknown)
        }
    }

    fn facts(&mut self, path: &[u8]) -> Option<&mut PathFacts> {
        let fingerprint = fingerprint(path);
        if self.is_full() {
            self.paths.get_mut(&fingerprint)
        } else {
            Some(self.paths.entry(fingerprint).or_default())
        }
    }
}

/// Splits a cleaned path into its directory, empty for the root, and its name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    (&path[..slash], path.get(slash + 1..).unwrap_or_default())
}

fn fingerprint(path: &[u8]) -> Fingerprint {
    let digest = Digest::of(path);
    let (start, _) = digest.as_bytes().split_at(16);
    start.try_into().expect("a digest has 32 bytes")
}
