//! The file tree: links, rights, names.

use imgbuild_oci::entry::{Entry, EntryKind, Member};
use imgbuild_oci::path::{ImagePath, escaped};

use super::command::is_below;
use super::identity::{EXECUTE, READ};
use super::setting::is_of_engines;
use super::subject::Subject;
use crate::contents::End;
use crate::finding::{Finding, Rule};

/// The directories of documentation.
const DOCUMENTATION: [&str; 4] = [
    "/usr/share/man",
    "/usr/share/doc",
    "/usr/share/info",
    "/usr/share/locale",
];

/// The mode bit of a directory whose files only their owners may remove.
const STICKY: u32 = 0o1000;

/// Judges one member by itself and by where it leads.
pub(super) fn judge(subject: &Subject<'_>, member: &Member) -> Option<Finding> {
    let entry = &member.entry;
    let path = &entry.path;
    match &entry.kind {
        EntryKind::Symlink { target } => return dangling(subject, path, target),
        EntryKind::Directory => {
            let is_open = entry.mode & 0o002 != 0 && entry.mode & STICKY == 0;
            let text = "is a directory in which any user may replace files";
            return is_open.then(|| by_mode(Rule::WorldWritable, entry, text));
        }
        EntryKind::File { .. } | EntryKind::Hardlink { .. } => {}
    }
    if entry.mode & 0o6000 != 0 && entry.mode & 0o111 != 0 {
        let text = format!(
            "runs with the rights of {}:{}",
            entry.owner.uid, entry.owner.gid
        );
        return Some(by_mode(Rule::SetId, entry, &text));
    }
    let is_open = entry.mode & 0o002 != 0;
    is_open.then(|| by_mode(Rule::WorldWritable, entry, "is writable for any user"))
}

fn by_mode(rule: Rule, entry: &Entry, text: &str) -> Finding {
    let (path, mode) = (&entry.path, entry.mode);
    let reason = format!("`{path}` {text}: its mode is {mode:04o}");
    Finding::warning(rule, Some(path), reason)
}

fn dangling(subject: &Subject<'_>, path: &ImagePath, target: &[u8]) -> Option<Finding> {
    let nothing = match subject.contents.resolve(path) {
        End::There(_) => return None,
        End::Nothing(end) if is_of_engines(&end) || is_of_engines(path) => return None,
        // Small images leave the documentation of their packages out.
        End::Nothing(end) if DOCUMENTATION.iter().any(|place| is_below(&end, place)) => {
            return None;
        }
        End::Nothing(_) => "which does not exist in the image",
        End::Loop => "a symlink loop",
    };
    let reason = format!("`{path}` is a symlink to `{}`, {nothing}", escaped(target));
    Some(Finding::warning(Rule::LinkDangling, Some(path), reason))
}

/// Names what the image's user may not read of what lies beside its command
/// or in its working directory.
pub(super) struct Reach<'a> {
    subject: &'a Subject<'a>,
    places: Vec<ImagePath>,
}

impl<'a> Reach<'a> {
    pub(super) fn new(subject: &'a Subject<'a>, programs: &[ImagePath]) -> Self {
        // Others' programs lie there as well.
        const SHARED: [&str; 10] = [
            "/",
            "/bin",
            "/sbin",
            "/usr",
            "/usr/bin",
            "/usr/sbin",
            "/usr/local",
            "/usr/local/bin",
            "/usr/local/sbin",
            "/root",
        ];
        let mut places = vec![subject.working_directory()];
        places.extend(programs.iter().filter_map(ImagePath::parent));
        places.retain(|place| {
            !SHARED
                .iter()
                .any(|shared| place.as_bytes() == shared.as_bytes())
        });
        Self { subject, places }
    }

    pub(super) fn judge(&self, entry: &Entry) -> Option<Finding> {
        let bits = match entry.kind {
            EntryKind::Directory => READ | EXECUTE,
            EntryKind::File { .. } | EntryKind::Hardlink { .. } => READ,
            EntryKind::Symlink { .. } => return None,
        };
        let identity = self.subject.identity.as_ref()?;
        // Most may be read by everybody.
        if entry.mode & bits == bits || identity.may(entry, bits) {
            return None;
        }
        let mut places = self.places.iter();
        places.any(|place| entry.path.starts_with(place)).then(|| {
            let reason = identity.forbidden(entry, "read");
            Finding::warning(Rule::ReleaseForbidden, Some(&entry.path), reason)
        })
    }
}

/// FNV-1a, 64 bits: good enough to put equal names beside each other.
fn hash(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash: u64, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    })
}

const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Finds names in one directory that differ only in the case of letters.
///
/// One of two such names has a capital; most names have none, and are only
/// compared with those that do.
#[derive(Debug, Default)]
pub(super) struct Cases<'a> {
    capital: Vec<(u64, &'a ImagePath)>,
    small: Vec<(u64, &'a ImagePath)>,
    /// The last directory and its hash: mostly the next one's, too.
    directory: (&'a [u8], u64),
}

impl<'a> Cases<'a> {
    pub(super) fn see(&mut self, path: &'a ImagePath, name: &[u8]) {
        let parent = path.parent_bytes();
        if parent != self.directory.0 {
            self.directory = (parent, hash(HASH_START, parent));
        }
        let hashed = (hash(self.directory.1, name), path);
        if name.iter().any(u8::is_ascii_uppercase) {
            self.capital.push(hashed);
        } else {
            self.small.push(hashed);
        }
    }

    pub(super) fn finish(self) -> Vec<Finding> {
        let mut names = self.capital;
        names.sort_unstable();
        let known: Vec<u64> = names.iter().map(|(hash, _)| *hash).collect();
        let small = self.small.into_iter();
        names.extend(small.filter(|(hash, _)| known.binary_search(hash).is_ok()));
        names.sort_unstable();
        names.dedup();
        let collide = |first: &ImagePath, second: &ImagePath| {
            first.parent_bytes() == second.parent_bytes()
                && first.file_name().eq_ignore_ascii_case(second.file_name())
        };
        let pairs = names.windows(2);
        pairs
            .filter(|pair| pair[0].0 == pair[1].0 && collide(pair[0].1, pair[1].1))
            .map(|pair| {
                let (first, second) = (pair[0].1, pair[1].1);
                let reason = format!("`{first}` and `{second}` differ only in case");
                Finding::warning(Rule::CaseCollision, Some(second), reason)
            })
            .collect()
    }
}
