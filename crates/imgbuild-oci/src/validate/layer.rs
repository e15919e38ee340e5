//! Rules for the entries of a layer: only those that engines insist on.

use std::collections::BTreeSet;

use super::{Violation, ViolationKind};
use crate::digest::Digest;
use crate::path::{MAX_NAME_BYTES, MAX_PATH_BYTES, escaped, shortened};
use crate::tar_reader::{TarEntry, TarKind, Whiteout, clean_path};
use crate::xattr::{CAPABILITY, capabilities};

/// The number of violations that are listed for one layer.
const MAX_LISTED: usize = 100;

/// The number of paths of one layer that are remembered; a layer of a whole
/// distribution with all its packages has a tenth of that.
const MAX_PATHS: usize = 4_000_000;

/// Checks the entries of one layer in their order.
#[derive(Debug)]
pub(super) struct LayerRules<'a> {
    layer: &'a str,
    /// Hashes, so that memory does not grow with the length of paths.
    paths: BTreeSet<[u8; 16]>,
    violations: Vec<Violation>,
    unlisted: u64,
    unchecked: u64,
}

impl<'a> LayerRules<'a> {
    pub(super) fn new(layer: &'a str) -> Self {
        Self {
            layer,
            paths: BTreeSet::new(),
            violations: Vec::new(),
            unlisted: 0,
            unchecked: 0,
        }
    }

    pub(super) fn check(&mut self, entry: &TarEntry) {
        let path = clean_path(&entry.path);
        if path.len() > MAX_PATH_BYTES || has_long_name(&path) {
            self.add(ViolationKind::LayerPathLength, entry, None);
        }
        if entry.uid.max(entry.gid) > u64::from(u32::MAX) {
            let found = format!("{}:{}", entry.uid, entry.gid);
            self.add(ViolationKind::LayerOwner, entry, Some(found));
        }
        let value = entry.xattrs.get(CAPABILITY);
        if let Some(value) = value.filter(|value| capabilities(value).is_none()) {
            let found = format!("{} bytes", value.len());
            self.add(ViolationKind::LayerCapabilities, entry, Some(found));
        }
        self.check_kind(entry);
        self.check_whiteout(entry);
        self.check_path(entry, &path);
    }

    pub(super) fn finish(mut self) -> Vec<Violation> {
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
            TarKind::Hardlink { target } if !self.has(&clean_path(target)) => {
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
            && (hidden.ends_with(b"/") || self.has(&hidden))
        {
            self.add(ViolationKind::LayerWhiteout, entry, None);
        }
    }

    fn check_path(&mut self, entry: &TarEntry, path: &[u8]) {
        if self.paths.len() >= MAX_PATHS {
            self.unchecked += 1;
        } else if !self.paths.insert(fingerprint(path)) {
            self.add(ViolationKind::LayerDuplicatePath, entry, None);
        }
    }

    /// Returns true if a path was seen, or if there were too many to know.
    fn has(&self, path: &[u8]) -> bool {
        self.unchecked > 0 || self.paths.contains(&fingerprint(path))
    }

    fn add(&mut self, kind: ViolationKind, entry: &TarEntry, found: Option<String>) {
        if self.violations.len() >= MAX_LISTED {
            self.unlisted += 1;
            return;
        }
        let path = format!("`{}`", shortened(&entry.path));
        let found = found.map_or_else(|| path.clone(), |found| format!("{path}, {found}"));
        self.violations
            .push(Violation::new(kind, self.layer).found(found));
    }
}

fn has_long_name(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/')
        .any(|name| name.len() > MAX_NAME_BYTES)
}

fn fingerprint(path: &[u8]) -> [u8; 16] {
    let digest = Digest::of(path);
    let (start, _) = digest.as_bytes().split_at(16);
    start.try_into().expect("a digest has 32 bytes")
}
