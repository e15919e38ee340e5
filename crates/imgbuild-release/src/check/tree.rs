//! The file tree: links, rights, names.

use std::collections::BTreeMap;

use imgbuild_oci::entry::{Entry, EntryKind, Member};
use imgbuild_oci::path::{ImagePath, escaped};

use super::command::is_below;
use super::identity::{EXECUTE, READ};
use super::setting::is_of_engines;
use super::subject::Subject;
use crate::contents::End;
use crate::finding::{Finding, Rule};
use crate::programs::fonts::is_font;

/// The directories of documentation.
const DOCUMENTATION: [&str; 4] = [
    "/usr/share/man",
    "/usr/share/doc",
    "/usr/share/info",
    "/usr/share/locale",
];

/// The mode bit of a directory whose files only their owners may remove.
const STICKY: u32 = 0o1000;

/// Checks one member by itself, and the target of a link.
pub(super) fn check_member(subject: &Subject<'_>, member: &Member) -> Option<Finding> {
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
        let owner = entry.owner;
        let text = format!("runs with the rights of {}:{}", owner.uid, owner.gid);
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
        End::Loop => "which is a symlink loop",
    };
    let reason = format!("`{path}` is a symlink to `{}`, {nothing}", escaped(target));
    Some(Finding::warning(Rule::LinkDangling, Some(path), reason))
}

/// Names a file that needs the library for fonts, if neither the image nor its base
/// has one. Tk is a part of every Python, and needs windows as well.
pub(super) fn fonts(subject: &Subject<'_>) -> Option<Finding> {
    let is_library = |name: &String| name.starts_with("libfontconfig.so");
    let bound = subject.bindings.into_iter().flatten();
    let bound = bound.filter(|(_, names)| names.keys().any(is_library));
    let objects = subject.objects();
    let objects = objects.filter(|object| object.elf.needed.iter().any(is_library));
    let mut users = objects
        .map(|it| &it.image)
        .chain(bound.map(|(path, _)| path));
    let path = users.find(|path| {
        let name = path.file_name();
        !name.starts_with(b"libtk") && !name.starts_with(b"libXft.")
    })?;
    let mut all = subject.members().chain(subject.contents.base);
    let has_font = all.any(|member| is_font(member.entry.path.file_name()));
    let reason = format!(
        "`{path}` needs libfontconfig, and the image has no font: pictures and documents have no text, without an error"
    );
    (!has_font).then(|| Finding::warning(Rule::FontsMissing, Some(path), reason))
}

/// Finds files beside the command or in the working directory that the user of
/// the image may not read.
pub(super) struct ReadableFiles<'a> {
    subject: &'a Subject<'a>,
    places: Vec<ImagePath>,
}

impl<'a> ReadableFiles<'a> {
    pub(super) fn new(subject: &'a Subject<'a>, programs: &[ImagePath]) -> Self {
        // These directories have unrelated programs as well.
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
        places.retain(|place| !SHARED.contains(&place.to_string().as_str()));
        Self { subject, places }
    }

    pub(super) fn check(&self, entry: &Entry) -> Option<Finding> {
        let bits = match entry.kind {
            EntryKind::Directory => READ | EXECUTE,
            EntryKind::File { .. } | EntryKind::Hardlink { .. } => READ,
            EntryKind::Symlink { .. } => return None,
        };
        let identity = self.subject.identity.as_ref()?;
        // Most are readable for all users.
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

/// Finds names in one directory that differ only in the case of letters: one of
/// two such names has a capital.
#[derive(Debug, Default)]
pub(super) struct CaseCollisions<'a> {
    capitals: Vec<&'a ImagePath>,
}

impl<'a> CaseCollisions<'a> {
    pub(super) fn visit(&mut self, path: &'a ImagePath, name: &[u8]) {
        if name.iter().any(u8::is_ascii_uppercase) {
            self.capitals.push(path);
        }
    }

    pub(super) fn finish(self, subject: &Subject<'a>) -> Vec<Finding> {
        let mut alike: BTreeMap<ImagePath, Vec<&ImagePath>> = BTreeMap::new();
        for path in self.capitals {
            let name = path.file_name().to_ascii_lowercase();
            if let Some(Ok(lower)) = path.parent().map(|parent| parent.join(name)) {
                alike.entry(lower).or_default().push(path);
            }
        }
        let mut findings = Vec::new();
        for (lower, mut paths) in alike {
            paths.extend(
                subject
                    .contents
                    .get(&lower)
                    .map(|member| &member.entry.path),
            );
            paths.sort_unstable();
            paths.dedup();
            findings.extend(paths.windows(2).map(|pair| {
                let (first, second) = (pair[0], pair[1]);
                let reason = format!("`{first}` and `{second}` differ only in case");
                Finding::warning(Rule::CaseCollision, Some(second), reason)
            }));
        }
        findings
    }
}
