//! What makes an image larger than it needs to be.

use std::collections::BTreeMap;

use imgbuild_oci::changeset::Member;
use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{Entry, EntryKind};
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::store::Store;

use super::content::{Memory, Opened, are_same};
use super::subject::Subject;
use crate::elf::debug_information;
use crate::finding::{Finding, Rule};

/// Smaller files are not worth a word.
const LARGE_BYTES: u64 = 1 << 20;

/// Directories that builds and tests leave behind.
const DIRECTORIES: [&[u8]; 6] = [
    b"__pycache__",
    b".pytest_cache",
    b".mypy_cache",
    b".ruff_cache",
    b".gradle",
    b"CMakeFiles",
];

/// Ends of the names of files that only a linker or compiler reads.
const ENDINGS: [&[u8]; 4] = [b".o", b".rlib", b".rmeta", b".obj"];

/// Adds up what builds left behind, while the members of a layer go by in
/// their order.
#[derive(Debug, Default)]
pub(super) struct Leftovers<'a> {
    bytes: BTreeMap<&'a ImagePath, u64>,
    within: Option<&'a ImagePath>,
    large: BTreeMap<u64, Vec<(&'a ImagePath, &'a Content)>>,
}

impl<'a> Leftovers<'a> {
    pub(super) fn see(&mut self, member: &'a Member) {
        let entry = &member.entry;
        let path = &entry.path;
        // Names that only begin like the directory's come in between.
        self.within = self
            .within
            .filter(|within| path.as_bytes().starts_with(within.as_bytes()));
        if let Some(within) = self.within.filter(|within| path.starts_with(within)) {
            let sum = self.bytes.entry(within).or_default();
            *sum = sum.saturating_add(entry.content_size());
        } else if is_leftover(entry) {
            if entry.kind == EntryKind::Directory {
                self.within = Some(path);
            }
            *self.bytes.entry(path).or_default() += entry.content_size();
        }
        if let (true, Some(content)) = (entry.content_size() >= LARGE_BYTES, &member.content) {
            let alike = self.large.entry(entry.content_size()).or_default();
            alike.push((path, content));
        }
    }

    pub(super) fn finish(self, store: Option<&Store>) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self
            .bytes
            .iter()
            .map(|(path, bytes)| {
                let reason = format!("`{path}` was left behind by a build: {bytes} bytes");
                Finding::warning(Rule::BuildLeftover, Some(path), reason)
            })
            .collect();
        for (bytes, mut files) in self.large {
            files.sort_by_key(|(path, _)| *path);
            files.dedup_by_key(|(path, _)| *path);
            if files.len() > 1 {
                findings.extend(duplicates(bytes, &files, store));
            }
        }
        findings
    }
}

fn is_leftover(entry: &Entry) -> bool {
    let path = entry.path.as_bytes();
    let name = entry.path.file_name();
    match entry.kind {
        EntryKind::Directory => {
            DIRECTORIES.contains(&name) || path.ends_with(b"/node_modules/.cache")
        }
        EntryKind::File { .. } => ENDINGS
            .iter()
            .any(|end| name.ends_with(end) && name != *end),
        EntryKind::Symlink { .. } | EntryKind::Hardlink { .. } => false,
    }
}

/// Names each file whose content an earlier one has.
fn duplicates(bytes: u64, files: &[(&ImagePath, &Content)], store: Option<&Store>) -> Vec<Finding> {
    let contents: Vec<&Content> = files.iter().map(|(_, content)| *content).collect();
    let memory = Memory {
        store,
        question: "same content",
        is_long: true,
    };
    let found = memory.recall(&contents, &|| firsts(&contents));
    let pairs = files.iter().zip(found).enumerate();
    pairs
        .filter_map(|(index, ((path, _), first))| {
            let (first, _) = files
                .get(usize::from(first))
                .filter(|_| usize::from(first) < index)?;
            let reason = format!("`{path}` has the same {bytes} bytes as `{first}`");
            Some(Finding::warning(Rule::DuplicateContent, Some(path), reason))
        })
        .collect()
}

/// Returns the index of the first content that is the same, of each; those
/// past the 255th count as different.
fn firsts(contents: &[&Content]) -> Vec<u8> {
    let mut distinct: Vec<usize> = Vec::new();
    let mut firsts = Vec::with_capacity(contents.len());
    for (index, content) in contents.iter().enumerate() {
        let same = distinct
            .iter()
            .find(|other| are_same(contents[**other], content));
        let first = same.copied().unwrap_or(index);
        if first == index && distinct.len() < 255 {
            distinct.push(index);
        }
        firsts.push(u8::try_from(first).unwrap_or(u8::MAX));
    }
    firsts
}

/// Names the programs and libraries that have more debug information than
/// code.
pub(super) fn debug(subject: &Subject<'_>) -> Vec<Finding> {
    subject
        .objects()
        .filter_map(|object| {
            let member = subject.contents.get(&object.image)?;
            if member.entry.content_size() < LARGE_BYTES {
                return None;
            }
            let opened = Opened::open(member.content.as_ref()?)?;
            let sizes = debug_information(&opened)?;
            let is_worth_it = sizes.debug >= LARGE_BYTES && sizes.debug > sizes.code;
            is_worth_it.then(|| {
                let (path, debug, code) = (&object.image, sizes.debug, sizes.code);
                let reason = format!(
                    "`{path}` has {debug} bytes of debug information beside {code} bytes of code"
                );
                Finding::warning(Rule::DebugInformation, Some(path), reason)
            })
        })
        .collect()
}
