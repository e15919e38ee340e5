//! The rules for a layer that engines insist on, for `validate`, `check` and base
//! images alike.

use std::collections::BTreeMap;

use crate::path::{MAX_NAME_BYTES, MAX_PATH_BYTES, escaped, shortened};
use crate::source::StreamFormat;
use crate::tar_reader::{TarEntry, TarKind, Whiteout, clean_path};
use crate::violation::{Refuser, Violation, ViolationKind};
use crate::xattr::{CAPABILITY, capabilities};

mod tree;

use tree::{LayerTree, ParentDirectory, ParentFault, PathKind};

/// The number of violations of one kind that are listed for one layer.
const MAX_LISTED: usize = 100;

/// The longest name of an extended attribute (`XATTR_NAME_MAX`), and its largest value
/// (`XATTR_SIZE_MAX`), in bytes ([xattr(7)]).
///
/// [xattr(7)]: https://man7.org/linux/man-pages/man7/xattr.7.html
const MAX_XATTR_NAME_BYTES: usize = 255;
const MAX_XATTR_BYTES: usize = 64 << 10;

/// Beginnings of the names of extended attributes that are not names by themselves.
const XATTR_PREFIXES: [&str; 4] = ["", "security.", "trusted.", "user."];

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

/// Makes the violation of a layer with bytes after its compressed stream. `pigz`, which
/// Docker and containerd use where it is installed, passes over them; Go does not.
pub(crate) fn trailing_bytes(layer: &str) -> Violation {
    let violation = Violation::new(ViolationKind::LayerTrailingBytes, layer);
    violation.refused_by(Some(Refuser::WithoutPigz))
}

/// Checks the entries of one layer in their order.
#[derive(Debug, Default)]
pub(crate) struct LayerRules<'a> {
    layer: &'a str,
    tree: LayerTree,
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
    pub(crate) fn check(&mut self, entry: &TarEntry, whiteout: Option<&Whiteout>) -> bool {
        let refused = self.refused;
        let path = clean_path(&entry.path);
        if leads_out(&entry.path) {
            self.add(ViolationKind::LayerPathOutside, entry, None);
        }
        if path.len() > MAX_PATH_BYTES || has_long_name(&path) {
            self.add(ViolationKind::LayerPathLength, entry, None);
        }
        if [entry.uid, entry.gid].iter().any(|id| !is_owner(*id)) {
            let found = format!("{}:{}", entry.uid, entry.gid);
            self.add(ViolationKind::LayerOwner, entry, Some(found));
        }
        // Engines make no file of a whiteout.
        if whiteout.is_none() {
            self.check_xattrs(entry);
        }
        // Docker and Podman would remove the root first; as `./`, they pass over it.
        let is_root = path == b"/" && entry.path.starts_with(b"/");
        if is_root && entry.kind != TarKind::Directory {
            self.add(ViolationKind::LayerRoot, entry, None);
        }
        let mut is_unchecked = self.tree.is_full();
        match self.check_place(entry, whiteout, &path) {
            Ok(()) => {}
            Err(ParentFault::NotADirectory) => self.add(ViolationKind::LayerParent, entry, None),
            Err(ParentFault::Unknown) => is_unchecked = true,
        }
        if self.tree.name(&path) {
            self.add(ViolationKind::LayerDuplicatePath, entry, None);
        }
        self.unchecked += u64::from(is_unchecked);
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

    fn check_xattrs(&mut self, entry: &TarEntry) {
        for (name, value) in &entry.xattrs {
            if name.starts_with("trusted.overlay.") {
                let found = Some(format!("`{}`", shortened(name.as_bytes())));
                self.add(ViolationKind::LayerOverlay, entry, found);
            }
            let fault = if XATTR_PREFIXES.contains(&name.as_str()) {
                "without a name".to_owned()
            } else if name.len() > MAX_XATTR_NAME_BYTES {
                format!("with a name of {} bytes", name.len())
            } else if value.len() > MAX_XATTR_BYTES {
                format!("with a value of {} bytes", value.len())
            } else if !is_acl(name, value, &entry.kind) {
                "with a value that is not an access control list of its file".to_owned()
            } else {
                continue;
            };
            let found = Some(format!("`{}` {fault}", shortened(name.as_bytes())));
            // containerd does not set attributes of this class.
            if name.starts_with("trusted.") {
                let refuser = Some(Refuser::DockerAndPodman);
                self.add_refused(ViolationKind::LayerXattr, refuser, entry, found);
            } else {
                self.add(ViolationKind::LayerXattr, entry, found);
            }
        }
        let value = entry.xattrs.get(CAPABILITY);
        // A PAX record without a value removes the attribute.
        let is_wrong = |value: &&Vec<u8>| !value.is_empty() && capabilities(value).is_none();
        if let Some(value) = value.filter(is_wrong) {
            let found = format!("{} bytes", value.len());
            self.add(ViolationKind::LayerCapabilities, entry, Some(found));
        }
    }

    fn check_place(
        &mut self,
        entry: &TarEntry,
        whiteout: Option<&Whiteout>,
        path: &[u8],
    ) -> Result<(), ParentFault> {
        let parent = self.tree.parent_of(path, true)?;
        if parent.is_dangling {
            self.add(ViolationKind::LayerParentLink, entry, None);
        }
        match whiteout {
            None => self.check_kind(entry, &parent.join(path))?,
            Some(Whiteout::Path(hidden)) => self.check_whiteout(entry, &parent, hidden),
            Some(Whiteout::Directory(_)) => {}
        }
        Ok(())
    }

    /// Checks the kind of an entry, and puts it at its place.
    fn check_kind(&mut self, entry: &TarEntry, place: &[u8]) -> Result<(), ParentFault> {
        match &entry.kind {
            TarKind::Directory => self.tree.put(place, PathKind::Directory),
            TarKind::Hardlink { target } => {
                if !self.tree.put_hardlink(place, target)? {
                    self.add(ViolationKind::LayerHardlink, entry, None);
                }
            }
            TarKind::Symlink { target } => {
                self.tree.put_symlink(place, target);
                if target.is_empty() {
                    self.add(ViolationKind::LayerSymlink, entry, None);
                } else if target.len() > MAX_PATH_BYTES {
                    self.add(ViolationKind::LayerPathLength, entry, None);
                }
            }
            TarKind::Unknown { type_flag } => {
                let found = Some(format!("type `{}`", escaped(&[*type_flag])));
                self.add(ViolationKind::LayerEntryType, entry, found);
            }
            _ => self.tree.put(place, PathKind::Other),
        }
        Ok(())
    }

    /// Checks a whiteout, which is a device to engines, at the place of what it hides.
    fn check_whiteout(&mut self, entry: &TarEntry, parent: &ParentDirectory, hidden: &[u8]) {
        let place = parent.join(hidden);
        let name = hidden.rsplit(|byte| *byte == b'/').next();
        if matches!(name, Some(b"" | b"." | b"..")) || self.tree.kind(&place).is_some() {
            self.add(ViolationKind::LayerWhiteout, entry, None);
        } else {
            self.tree.put(&place, PathKind::Whiteout);
        }
    }

    pub(crate) fn add(&mut self, kind: ViolationKind, entry: &TarEntry, found: Option<String>) {
        let refuser = match kind {
            ViolationKind::LayerOwner | ViolationKind::LayerOverlay => None,
            ViolationKind::LayerPathOutside => Some(Refuser::Docker),
            ViolationKind::LayerDuplicatePath
            | ViolationKind::LayerParentLink
            | ViolationKind::LayerRoot => Some(Refuser::DockerAndPodman),
            _ => Some(Refuser::Engines),
        };
        let found = match &entry.kind {
            TarKind::Hardlink { target } if kind == ViolationKind::LayerHardlink => {
                Some(format!("target `{}`", shortened(target)))
            }
            _ => found,
        };
        self.add_refused(kind, refuser, entry, found);
    }

    fn add_refused(
        &mut self,
        kind: ViolationKind,
        refuser: Option<Refuser>,
        entry: &TarEntry,
        found: Option<String>,
    ) {
        let path = format!("`{}`", shortened(&entry.path));
        let found = found.map_or_else(|| path.clone(), |found| format!("{path}, {found}"));
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

/// Returns true for an owner that stays as it is: engines keep 32 bits of it, and -1
/// changes nothing.
fn is_owner(id: i64) -> bool {
    (0..i64::from(u32::MAX)).contains(&id)
}

fn has_long_name(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/')
        .any(|name| name.len() > MAX_NAME_BYTES)
}

/// Returns false for the value of an access control list that Linux does not take
/// (`posix_acl_valid`). An empty list removes that of a file, and engines pass over that
/// of a link.
fn is_acl(name: &str, value: &[u8], kind: &TarKind) -> bool {
    let is_default = name == "system.posix_acl_default";
    if value.is_empty() || !is_default && name != "system.posix_acl_access" {
        return true;
    }
    let Some((version, entries)) = value.split_first_chunk::<4>() else {
        return false;
    };
    // Engines pass over a version that Linux does not have.
    if entries.is_empty() || *version != [2, 0, 0, 0] {
        return true;
    }
    let (entries, rest) = entries.as_chunks::<8>();
    let number = |at: &[u8]| u16::from(at[0]) | u16::from(at[1]) << 8;
    let tags: Vec<u16> = entries.iter().map(|entry| number(entry)).collect();
    let count = |tag| tags.iter().filter(|one| **one == tag).count();
    // Owner, named users, group, named groups, mask, others.
    let [owner, users, group, groups, mask, others] = [1, 2, 4, 8, 16, 32].map(count);
    let has_named = users + groups > 0;
    let is_complete = [owner, group, others] == [1; 3]
        && mask <= 1
        && mask >= usize::from(has_named)
        && owner + users + group + groups + mask + others == tags.len();
    let are_modes = entries.iter().all(|entry| number(&entry[2..]) <= 7);
    let has_defaults = !is_default || matches!(kind, TarKind::Directory | TarKind::Symlink { .. });
    rest.is_empty() && tags.is_sorted() && is_complete && are_modes && has_defaults
}

/// Returns true for a relative path that `..` leads above its start.
fn leads_out(path: &[u8]) -> bool {
    if path.starts_with(b"/") {
        return false;
    }
    let below = clean_path(&[b"\0/", path].concat());
    !below.starts_with(b"/\0")
}

#[cfg(test)]
mod tests;
