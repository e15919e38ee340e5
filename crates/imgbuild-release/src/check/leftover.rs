//! Files that make an image larger than it needs to be.

use std::collections::BTreeMap;

use imgbuild_oci::content::{Content, FileRange};
use imgbuild_oci::entry::{Entry, EntryKind, Member};
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::store::Store;

use super::content::{ReadableContent, are_same, recall};
use super::subject::Subject;
use crate::elf::debug_information;
use crate::finding::{Finding, Rule};

/// Smaller files are not worth a word.
const LARGE_BYTES: u64 = 1 << 20;

/// Directories that builds and tests leave behind.
const DIRECTORIES: [&[u8]; 6] = [
    BYTECODE,
    b".pytest_cache",
    b".mypy_cache",
    b".ruff_cache",
    b".gradle",
    b"CMakeFiles",
];

/// The compiled modules of Python.
const BYTECODE: &[u8] = b"__pycache__";

/// The cache of JavaScript bundlers.
const NODE_CACHE: &[u8] = b"/node_modules/.cache";

/// Ends of the names of files that only a linker or compiler reads.
const ENDINGS: [&[u8]; 4] = [b".o", b".rlib", b".rmeta", b".obj"];

/// The leftovers of one name, or of one file extension.
#[derive(Debug)]
struct Left<'a> {
    first: &'a ImagePath,
    count: usize,
    bytes: u64,
}

/// Adds up what builds left behind, while the members of a layer go by in
/// their order.
#[derive(Debug, Default)]
pub(super) struct Leftovers<'a> {
    left: BTreeMap<&'static [u8], Left<'a>>,
    within: Option<(&'static [u8], &'a ImagePath)>,
    large: BTreeMap<u64, Vec<(&'a ImagePath, &'a Content)>>,
}

impl<'a> Leftovers<'a> {
    pub(super) fn visit(&mut self, member: &'a Member, name: &[u8]) {
        let entry = &member.entry;
        let path = &entry.path;
        // Names that only begin like the directory's come in between.
        self.within = self
            .within
            .filter(|(_, within)| path.as_bytes().starts_with(within.as_bytes()));
        let within = self.within.filter(|(_, within)| path.starts_with(within));
        match (within, leftover(entry, name)) {
            (Some((kind, _)), _) => self.add(kind, entry, 0),
            (None, Some(kind)) => {
                if entry.kind == EntryKind::Directory {
                    self.within = Some((kind, path));
                }
                self.add(kind, entry, 1);
            }
            (None, None) => {}
        }
        if let (true, Some(content)) = (entry.content_size() >= LARGE_BYTES, &member.content) {
            let alike = self.large.entry(entry.content_size()).or_default();
            alike.push((path, content));
        }
    }

    fn add(&mut self, kind: &'static [u8], entry: &'a Entry, count: usize) {
        let left = self.left.entry(kind).or_insert(Left {
            first: &entry.path,
            count: 0,
            bytes: 0,
        });
        left.count += count;
        left.bytes = left.bytes.saturating_add(entry.content_size());
    }

    pub(super) fn finish(self, store: Option<&Store>) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.left.values().map(left_behind).collect();
        for (bytes, mut files) in self.large {
            files.sort_by_key(|(path, _)| *path);
            files.dedup_by_key(|(path, _)| *path);
            without_hard_links(&mut files);
            if files.len() > 1 {
                findings.extend(duplicates(bytes, &files, store));
            }
        }
        findings
    }
}

fn left_behind(left: &Left<'_>) -> Finding {
    let (path, bytes) = (left.first, left.bytes);
    let reason = match left.count {
        0 | 1 => format!("`{path}` was left behind by a build: {bytes} bytes"),
        count => {
            let more = count - 1;
            format!(
                "`{path}` and {more} more like it were left behind by a build: {bytes} bytes together"
            )
        }
    };
    Finding::warning(Rule::BuildLeftover, Some(path), reason)
}

/// Takes further names of one file away: they cost nothing.
fn without_hard_links<'a>(files: &mut Vec<(&ImagePath, &'a Content)>) {
    let mut known: Vec<&'a FileRange> = Vec::new();
    files.retain(|(_, content)| {
        let Content::Range(range) = *content else {
            return true;
        };
        let is_new = !known.iter().any(|known| range.is_same(known));
        known.push(range);
        is_new
    });
}

fn is_installed(path: &[u8]) -> bool {
    let place = b"/site-packages/";
    path.windows(place.len()).any(|part| part == place)
}

/// Returns the name or file extension by which an entry is a leftover.
fn leftover(entry: &Entry, name: &[u8]) -> Option<&'static [u8]> {
    let path = entry.path.as_bytes();
    let find = |known: &[&'static [u8]], is_it: &dyn Fn(&[u8]) -> bool| {
        known.iter().find(|known| is_it(known)).copied()
    };
    match entry.kind {
        EntryKind::Directory if path.ends_with(NODE_CACHE) => Some(NODE_CACHE),
        // What an installer compiled saves the time to do so at each start.
        EntryKind::Directory if name == BYTECODE && is_installed(path) => None,
        EntryKind::Directory => find(&DIRECTORIES, &|known| name == known),
        EntryKind::File { .. } => find(&ENDINGS, &|end| {
            name.ends_with(end) && name.len() > end.len()
        }),
        EntryKind::Symlink { .. } | EntryKind::Hardlink { .. } => None,
    }
}

/// Names each file whose content an earlier one has.
fn duplicates(bytes: u64, files: &[(&ImagePath, &Content)], store: Option<&Store>) -> Vec<Finding> {
    let contents: Vec<&Content> = files.iter().map(|(_, content)| *content).collect();
    let found = recall(store, "same content", true, &contents, &|| {
        firsts(&contents)
    });
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
            let opened = ReadableContent::open(member.content.as_ref()?)?;
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
