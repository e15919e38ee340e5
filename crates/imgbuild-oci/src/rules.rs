//! The rules for a layer that engines insist on, for `validate`, `check` and base
//! images alike.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::path::{MAX_NAME_BYTES, MAX_PATH_BYTES, escaped, shortened};
use crate::source::StreamFormat;
use crate::tar_reader::{TarEntry, TarKind, Whiteout, clean_path};
use crate::violation::{Refuser, Violation, ViolationKind};
use crate::xattr::{CAPABILITY, capabilities};

/// The number of violations of one kind that are listed for one layer.
const MAX_LISTED: usize = 100;

/// The number of directories above a path that are looked up.
const MAX_PARENTS: usize = 64;

/// The number of paths of one layer that are remembered; a layer of a whole
/// distribution with all its packages has a tenth of that.
const MAX_PATHS: usize = 4_000_000;

/// Compares the compression of a layer with that of its media type.
pub(crate) fn check_compression(
    layer: &str,
    expected: StreamFormat,
    found: StreamFormat,
) -> Option<Violation> {
    let violation = Violation::new(ViolationKind::LayerCompression, layer);
    let violation = violation.expected(expected).found(found);
    // For other media types, it looks at the first bytes, as the others always do.
    let refuser = (expected == StreamFormat::Plain).then_some(Refuser::Containerd);
    (expected != found).then(|| violation.refused_by(refuser))
}

/// The kind of an entry, as far as it matters for those below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathKind {
    Directory,
    Symlink,
    Other,
}

/// Checks the entries of one layer in their order.
#[derive(Debug, Default)]
pub(crate) struct LayerRules<'a> {
    layer: &'a str,
    /// Hashes, so that memory does not grow with the length of paths.
    paths: BTreeMap<[u8; 16], PathKind>,
    violations: Vec<Violation>,
    listed: BTreeMap<ViolationKind, usize>,
    /// The number of violations that every engine refuses.
    refused: u64,
    unlisted: u64,
    unchecked: u64,
}

impl<'a> LayerRules<'a> {
    pub(crate) fn new(layer: &'a str) -> Self {
        Self {
            layer,
            ..Self::default()
        }
    }

    /// Checks an entry; returns true if an engine may unpack it.
    pub(crate) fn check(&mut self, entry: &TarEntry) -> bool {
        let refused = self.refused;
        let path = clean_path(&entry.path);
        if leads_out(&entry.path) {
            self.add(ViolationKind::LayerPathOutside, entry, None);
        }
        if path.len() > MAX_PATH_BYTES || has_long_name(&path) {
            self.add(ViolationKind::LayerPathLength, entry, None);
        }
        if entry.uid.max(entry.gid) > u64::from(u32::MAX) {
            let found = format!("{}:{}", entry.uid, entry.gid);
            self.add(ViolationKind::LayerOwner, entry, Some(found));
        }
        let value = entry.xattrs.get(CAPABILITY);
        // A PAX record without a value removes the attribute.
        let is_wrong = |value: &&Vec<u8>| !value.is_empty() && capabilities(value).is_none();
        if let Some(value) = value.filter(is_wrong) {
            let found = format!("{} bytes", value.len());
            self.add(ViolationKind::LayerCapabilities, entry, Some(found));
        }
        self.check_kind(entry);
        self.check_whiteout(entry);
        if self.above(&path) == Some(PathKind::Other) {
            self.add(ViolationKind::LayerParent, entry, None);
        }
        self.check_path(entry, &path);
        self.refused == refused
    }

    pub(crate) fn finish(mut self) -> Vec<Violation> {
        let more = Violation::new(ViolationKind::LayerMore, self.layer);
        if self.unlisted > 0 {
            self.violations
                .push(more.clone().found(format_args!("{} more", self.unlisted)));
        }
        if self.unchecked > 0 {
            let found = format_args!("{} entries were not checked", self.unchecked);
            self.violations.push(more.found(found));
        }
        self.violations
    }

    fn check_kind(&mut self, entry: &TarEntry) {
        match &entry.kind {
            TarKind::Hardlink { target } if !self.may_be_linked(&clean_path(target)) => {
                let found = Some(format!("target `{}`", shortened(target)));
                self.add(ViolationKind::LayerHardlink, entry, found);
            }
            TarKind::Symlink { target } if target.is_empty() => {
                self.add(ViolationKind::LayerSymlink, entry, None);
            }
            TarKind::Symlink { target } if target.len() > MAX_PATH_BYTES => {
                self.add(ViolationKind::LayerPathLength, entry, None);
            }
            TarKind::Unknown { type_flag } => {
                let found = Some(format!("type `{}`", escaped(&[*type_flag])));
                self.add(ViolationKind::LayerEntryType, entry, found);
            }
            _ => {}
        }
    }

    fn check_whiteout(&mut self, entry: &TarEntry) {
        if let Some(Whiteout::Path(hidden)) = entry.whiteout()
            && (matches!(
                hidden.rsplit(|byte| *byte == b'/').next(),
                Some(b"" | b"." | b"..")
            ) || self.unchecked == 0 && self.kind(&hidden).is_some())
        {
            self.add(ViolationKind::LayerWhiteout, entry, None);
        }
    }

    fn check_path(&mut self, entry: &TarEntry, path: &[u8]) {
        let kind = match entry.kind {
            TarKind::Directory => PathKind::Directory,
            TarKind::Symlink { .. } => PathKind::Symlink,
            _ => PathKind::Other,
        };
        if self.paths.len() >= MAX_PATHS {
            self.unchecked += 1;
        } else if self.paths.insert(fingerprint(path), kind).is_some() {
            self.add(ViolationKind::LayerDuplicatePath, entry, None);
        }
    }

    /// Returns the kind of the last entry with this path.
    fn kind(&self, path: &[u8]) -> Option<PathKind> {
        self.paths.get(&fingerprint(path)).copied()
    }

    /// Returns true for a file, also through a link to its directory, or if there were
    /// too many paths to know.
    fn may_be_linked(&self, path: &[u8]) -> bool {
        let kind = self.kind(path).or_else(|| self.above(path));
        self.unchecked > 0 || kind.is_some_and(|kind| kind != PathKind::Directory)
    }

    /// Returns the kind of the nearest entry above a path.
    fn above(&self, path: &[u8]) -> Option<PathKind> {
        let ends = (1..path.len()).rev().filter(|end| path[*end] == b'/');
        let mut parents = ends.take(MAX_PARENTS).map(|end| &path[..end]);
        parents.find_map(|parent| self.kind(parent))
    }

    fn add(&mut self, kind: ViolationKind, entry: &TarEntry, found: Option<String>) {
        let path = format!("`{}`", shortened(&entry.path));
        let found = found.map_or_else(|| path.clone(), |found| format!("{path}, {found}"));
        let refuser = match kind {
            ViolationKind::LayerOwner => None,
            ViolationKind::LayerPathOutside => Some(Refuser::Docker),
            ViolationKind::LayerDuplicatePath => Some(Refuser::DockerAndPodman),
            _ => Some(Refuser::Engines),
        };
        self.refused += u64::from(refuser == Some(Refuser::Engines));
        let listed = self.listed.entry(kind).or_default();
        *listed += 1;
        if *listed > MAX_LISTED {
            self.unlisted += 1;
        } else {
            let violation = Violation::new(kind, self.layer).found(found);
            self.violations.push(violation.refused_by(refuser));
        }
    }
}

fn has_long_name(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/')
        .any(|name| name.len() > MAX_NAME_BYTES)
}

/// Returns true for a relative path that `..` leads above its start.
fn leads_out(path: &[u8]) -> bool {
    let below = clean_path(&[b"\0/", path].concat());
    !path.starts_with(b"/") && !below.starts_with(b"/\0")
}

fn fingerprint(path: &[u8]) -> [u8; 16] {
    let digest = Digest::of(path);
    let (start, _) = digest.as_bytes().split_at(16);
    start.try_into().expect("a digest has 32 bytes")
}
