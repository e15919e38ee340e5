//! The merged tree of layers, one entry after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::LayerError;
use crate::entry::{Entry, EntryKind, Member};
use crate::path::{ImagePath, ResolveError, resolve_links};
use crate::tar_reader::clean_path;
use crate::violation::ViolationKind;

/// The memory of an entry in bytes, without its names.
const ENTRY_BYTES: u64 = 512;

/// The number of lookups in the tree that links and whiteouts may cost beyond one for
/// each entry.
const MAX_WORK: u64 = 20_000_000;

/// The length of a path that is looked up at the cost of a short one, in bytes.
const LOOKUP_BYTES: u64 = 64;

/// The tree so far. The parent directory of an entry is always in it, too.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<ImagePath, TreeNode>,
    /// The layer of the entries that follow.
    pub(super) layer: usize,
    /// The memory of all nodes in bytes, and the most that they may take.
    kept: u64,
    limit: u64,
    work: u64,
    /// The places of the whiteouts of this layer. Each is a device, as engines have it,
    /// which hides all below until another entry replaces it.
    whiteouts: BTreeSet<ImagePath>,
}

#[derive(Debug, Clone)]
struct TreeNode {
    /// The entry; `None` if it is neither a file, a directory nor a link.
    member: Option<Member>,
    layer: usize,
}

impl TreeNode {
    fn is_directory(&self) -> bool {
        let kind = self.member.as_ref().map(|member| &member.entry.kind);
        kind == Some(&EntryKind::Directory)
    }

    fn link_target(&self) -> Option<&[u8]> {
        match &self.member.as_ref()?.entry.kind {
            EntryKind::Symlink { target } => Some(target),
            _ => None,
        }
    }

    /// Returns the memory that it takes at a path: its names are in the key, in the
    /// entry, and in the list of what a whiteout hides.
    fn bytes(&self, path: &ImagePath) -> u64 {
        let target = self.link_target().map_or(0, <[u8]>::len);
        let xattrs = self.member.iter().flat_map(|member| &member.entry.xattrs);
        // The map takes about as much for each.
        let xattrs = xattrs.map(|(name, value)| 128 + name.len() + value.len());
        let texts = target + xattrs.sum::<usize>();
        ENTRY_BYTES + 3 * path.as_bytes().len() as u64 + texts as u64
    }
}

impl Tree {
    /// Makes a tree that may take `limit` bytes of memory.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            nodes: BTreeMap::new(),
            layer: 0,
            kept: 0,
            limit,
            work: 0,
            whiteouts: BTreeSet::new(),
        }
    }

    /// Puts a node at a path; returns what it replaces.
    fn put(&mut self, path: ImagePath, node: TreeNode) -> Result<Option<TreeNode>, LayerError> {
        self.kept += node.bytes(&path);
        if let Some(old) = self.nodes.get(&path) {
            self.kept -= old.bytes(&path);
        }
        if self.kept > self.limit {
            return Err(LayerError::TooManyNames(self.limit));
        }
        Ok(self.nodes.insert(path, node))
    }

    fn remove(&mut self, path: &ImagePath) {
        if let Some(old) = self.nodes.remove(path) {
            self.kept -= old.bytes(path);
        }
    }

    /// Returns the place of a cleaned path once the links of its directories are
    /// followed, which stay inside. Engines unpack a layer by itself, so these are the
    /// links of the same layer only: a directory replaces one of a layer below.
    pub(super) fn place_of(&mut self, path: &[u8]) -> Result<ImagePath, LayerError> {
        let path = ImagePath::parse(path)?;
        let parent = path.parent().unwrap_or_else(ImagePath::root);
        // The directories of an existing entry are not links.
        let is_known = |node: &TreeNode| node.is_directory();
        if parent.is_root() || self.nodes.get(&parent).is_some_and(is_known) {
            return Ok(path);
        }
        let parent = self.resolve(parent.as_bytes())?;
        Ok(parent.join(path.file_name())?)
    }

    /// Follows all links of a directory; directories that are not there are
    /// taken as such.
    fn resolve(&mut self, directory: &[u8]) -> Result<ImagePath, LayerError> {
        let resolved = resolve_links(directory, |next, _| {
            self.spend(lookups(next))?;
            let Some(node) = self.nodes.get(next) else {
                return Ok(None);
            };
            // What a layer below has there is replaced by a directory.
            if node.layer < self.layer {
                return Ok(None);
            }
            if let Some(target) = node.link_target() {
                let target = target.to_vec();
                let names = target.split(|byte| *byte == b'/');
                self.spend(names.filter(|name| *name == b"..").count() as u64)?;
                return Ok(Some(target));
            }
            if node.is_directory() {
                Ok(None)
            } else {
                Err(LayerError::Refused(ViolationKind::LayerParent))
            }
        });
        resolved.map_err(|error| match error {
            ResolveError::Loop(_) => LayerError::Refused(ViolationKind::LayerParent),
            ResolveError::Name { source, .. } => source.into(),
            ResolveError::LookUp(error) => error,
        })
    }

    /// Gives a file another name. Its mode and owner become those of the link, as engines
    /// change them after linking; a symbolic link keeps its mode.
    pub(super) fn link(&mut self, link: &Entry, target: &[u8]) -> Result<(), LayerError> {
        let path = &link.path;
        let place = self.existing_place(&clean_path(target))?;
        if place
            .as_ref()
            .is_some_and(|one| self.whiteouts.contains(one))
        {
            return self.put_whiteout(path.clone());
        }
        let node = place.and_then(|place| self.nodes.get_mut(&place));
        let node = node.filter(|node| !node.is_directory());
        let node = node.ok_or(LayerError::Refused(ViolationKind::LayerHardlink))?;
        let is_symlink = node.link_target().is_some();
        if let Some(Member { entry, .. }) = &mut node.member {
            entry.owner = link.owner;
            if !is_symlink {
                entry.mode = link.mode;
            }
        }
        let mut member = node.member.clone();
        if let Some(member) = &mut member {
            member.entry.path = path.clone();
        }
        self.insert(path, member)
    }

    /// Puts an entry at a path that [`Tree::place_of`] returned; `None` is one
    /// that cannot be a member.
    pub(super) fn insert(
        &mut self,
        path: &ImagePath,
        member: Option<Member>,
    ) -> Result<(), LayerError> {
        self.make_parents(path)?;
        let node = TreeNode {
            member,
            layer: self.layer,
        };
        let is_directory = node.is_directory();
        let old = self.put(path.clone(), node)?;
        let has_below = self.whiteouts.remove(path) || old.is_some_and(|old| old.is_directory());
        if has_below && !is_directory {
            for below in self.below(path)? {
                self.remove(&below);
            }
        }
        Ok(())
    }

    /// Makes the directories that a layer lacks, as engines do. One of a layer below keeps
    /// its owner and mode in containerd; in Docker it becomes one of root with 0755.
    fn make_parents(&mut self, path: &ImagePath) -> Result<(), LayerError> {
        let is_there = |node: &TreeNode| node.layer == self.layer && node.is_directory();
        let is_there = |parent: &ImagePath| self.nodes.get(parent).is_some_and(is_there);
        let missing: Vec<ImagePath> = path.ancestors().take_while(|one| !is_there(one)).collect();
        self.spend(missing.iter().map(lookups).sum())?;
        let layer = self.layer;
        for path in missing {
            let node = self.nodes.get_mut(&path);
            if let Some(node) = node.filter(|node| node.is_directory()) {
                node.layer = layer;
                let member = node.member.iter_mut();
                member.for_each(|member| member.entry.mode |= 0o755);
            } else {
                let member = Some(Entry::directory(path.clone()).into());
                self.put(path, TreeNode { member, layer })?;
            }
        }
        Ok(())
    }

    /// Hides a path of the layers below, unless a directory of this layer takes its
    /// place.
    pub(super) fn hide(&mut self, path: &[u8]) -> Result<(), LayerError> {
        let path = self.existing_place(path)?;
        path.map_or(Ok(()), |path| self.put_whiteout(path))
    }

    fn put_whiteout(&mut self, path: ImagePath) -> Result<(), LayerError> {
        self.make_parents(&path)?;
        let layer = self.layer;
        if self.nodes.get(&path).is_none_or(|node| node.layer < layer) {
            let member = None;
            self.put(path.clone(), TreeNode { member, layer })?;
            self.whiteouts.insert(path);
        }
        Ok(())
    }

    /// Removes the whiteouts of this layer, and what they hide.
    pub(super) fn apply_whiteouts(&mut self) -> Result<(), LayerError> {
        for path in std::mem::take(&mut self.whiteouts) {
            self.hide_below(&path)?;
            if !self.has_below(&path) {
                self.remove(&path);
            }
        }
        Ok(())
    }

    /// Hides the entries of the layers below in the directory of an opaque whiteout.
    pub(super) fn hide_contents(&mut self, mark: &[u8]) -> Result<(), LayerError> {
        let Some(mark) = self.existing_place(mark)? else {
            return Ok(());
        };
        self.make_parents(&mark)?;
        // No engine hides what is in the root: overlayfs has no such mark for it.
        match mark.parent().filter(|path| !path.is_root()) {
            Some(path) => self.hide_below(&path),
            None => Ok(()),
        }
    }

    /// Returns the place of a path, or `None` if nothing can be there.
    fn existing_place(&mut self, path: &[u8]) -> Result<Option<ImagePath>, LayerError> {
        match self.place_of(path) {
            Ok(path) => Ok(Some(path)),
            Err(LayerError::Path(_) | LayerError::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Goes from the deepest path up, so that a directory is empty before it
    /// is looked at.
    fn hide_below(&mut self, path: &ImagePath) -> Result<(), LayerError> {
        for below in self.below(path)?.into_iter().rev() {
            let is_older = |node: &TreeNode| node.layer < self.layer;
            if self.nodes.get(&below).is_some_and(is_older) && !self.has_below(&below) {
                self.remove(&below);
            }
        }
        Ok(())
    }

    fn has_below(&self, path: &ImagePath) -> bool {
        self.paths_below(path).next().is_some()
    }

    /// Lists the paths below another one, in order.
    fn below(&mut self, path: &ImagePath) -> Result<Vec<ImagePath>, LayerError> {
        let all: Vec<ImagePath> = self.paths_below(path).cloned().collect();
        self.spend(all.iter().map(lookups).sum::<u64>() + 1)?;
        Ok(all)
    }

    fn paths_below(&self, path: &ImagePath) -> impl Iterator<Item = &ImagePath> {
        // The smallest path below: no name holds a byte smaller than 1.
        let first = path.join(b"\x01").ok().map(Bound::Included);
        let following = first.map(|first| self.nodes.range((first, Bound::Unbounded)));
        let paths = following.into_iter().flatten().map(|(found, _)| found);
        paths.take_while(move |found| found.starts_with(path))
    }

    fn spend(&mut self, work: u64) -> Result<(), LayerError> {
        self.work = self.work.saturating_add(work);
        if self.work <= MAX_WORK {
            Ok(())
        } else {
            Err(LayerError::TooMuchWork)
        }
    }

    /// Returns the members, sorted, and the paths of entries that cannot be
    /// members.
    pub(super) fn finish(self) -> (Vec<Member>, BTreeSet<ImagePath>) {
        let mut members = Vec::with_capacity(self.nodes.len());
        let mut specials = BTreeSet::new();
        for (path, node) in self.nodes {
            match node.member {
                Some(member) => members.push(member),
                None => drop(specials.insert(path)),
            }
        }
        (members, specials)
    }
}

/// Returns the work of looking a path up, in lookups of a short one.
fn lookups(path: &ImagePath) -> u64 {
    1 + path.as_bytes().len() as u64 / LOOKUP_BYTES
}
