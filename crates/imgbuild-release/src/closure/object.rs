//! The ELF files of a release.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use imgbuild_oci::content::{Content, FileState, HostFile};
use imgbuild_oci::entry::{Entry, Member};
use imgbuild_oci::parallel;
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::store::{NoteKey, Store};

use crate::contents::is_executable;
use crate::elf::Elf;
use crate::runtime::{Object, Role};
use crate::warning::Warning;

/// Directories with prebuilt modules and programs for many platforms; they are
/// not programs of the release.
const FOREIGN_DIRECTORIES: [&[u8]; 3] = [b"node_modules", b"site-packages", b"dist-packages"];

/// The number of files from which on it is worth to start a thread, or to
/// remember which of them are ELF files.
const MANY: usize = 64;

/// The name of the note in the store: a byte for each candidate, 0 unless it is
/// an ELF file.
const NOTE: &str = "elf";

/// A file that could be an ELF file.
struct ElfCandidate<'a> {
    entry: &'a Entry,
    file: &'a HostFile,
}

/// The content of a candidate.
enum Outcome {
    /// Not an ELF file.
    Other,
    Elf(Box<Object>),
    Broken(Warning),
}

/// Reads files that could be ELF files: executables, and files named like a
/// library or a module.
///
/// Most candidates of a large release are scripts and data with an arbitrary
/// mode. The store remembers them, so that they are not opened again.
pub(super) fn find<'a>(
    members: impl Iterator<Item = &'a Member>,
    store: Option<&Store>,
    warnings: &mut Vec<Warning>,
) -> Vec<Object> {
    let mut candidates: Vec<ElfCandidate<'_>> = members.filter_map(candidate).collect();
    let store = store.filter(|_| candidates.len() >= MANY);
    let files = || candidates.iter().map(|candidate| candidate.file);
    let (key, note) = store.and_then(|store| store.note(NOTE, files())).unzip();
    let note: Option<Vec<u8>> = note.flatten().filter(|note| note.len() == candidates.len());
    if let Some(note) = &note {
        let mut is_elf = note.iter().map(|byte| *byte != 0);
        candidates.retain(|_| is_elf.next().unwrap_or(true));
    }
    let (outcomes, is_steady) = read_all(&candidates);
    if let (Some(store), Some(key), None, true) = (store, key, &note, is_steady) {
        remember(store, key, &outcomes);
    }
    let mut objects = Vec::new();
    for outcome in outcomes {
        match outcome {
            Outcome::Other => {}
            Outcome::Elf(object) => objects.push(*object),
            Outcome::Broken(warning) => warnings.push(warning),
        }
    }
    objects
}

fn remember(store: &Store, key: NoteKey, outcomes: &[Outcome]) {
    let of_interest = |outcome| u8::from(!matches!(outcome, &Outcome::Other));
    let note: Vec<u8> = outcomes.iter().map(of_interest).collect();
    store.remember_note(key, &note);
}

fn candidate(member: &Member) -> Option<ElfCandidate<'_>> {
    let Some(Content::File(file)) = &member.content else {
        return None;
    };
    let entry = &member.entry;
    let may_be = is_executable(entry) || is_named_like_a_module(entry.path.file_name());
    may_be.then_some(ElfCandidate { entry, file })
}

/// Reads all candidates in their order, and returns whether each was in the
/// state in which it was found.
fn read_all(candidates: &[ElfCandidate<'_>]) -> (Vec<Outcome>, bool) {
    let is_steady = AtomicBool::new(true);
    let read = |part: Vec<&ElfCandidate<'_>>| -> Vec<Outcome> {
        let all = part.into_iter();
        all.map(|candidate| candidate.read(&is_steady)).collect()
    };
    let threads = if candidates.len() <= MANY {
        1
    } else {
        parallel::processors().min(candidates.len().div_ceil(MANY))
    };
    let outcomes = parallel::map_parts(threads, candidates.iter().collect(), read);
    (outcomes, is_steady.into_inner())
}

impl ElfCandidate<'_> {
    fn read(&self, is_steady: &AtomicBool) -> Outcome {
        let Ok(opened) = self.file.open() else {
            is_steady.store(false, Ordering::Relaxed);
            return Outcome::Other;
        };
        let elf = Elf::read(&opened);
        let state = FileState::of_open(&opened);
        if !state.is_ok_and(|state| state == self.file.state) {
            is_steady.store(false, Ordering::Relaxed);
        }
        match elf {
            Ok(None) => Outcome::Other,
            Ok(Some(elf)) => Outcome::Elf(Box::new(self.object(elf))),
            Err(error) => {
                let path = self.file.path.display();
                Outcome::Broken(format!("`{path}` is treated as data: {error}").into())
            }
        }
    }

    fn object(&self, elf: Elf) -> Object {
        let path = &self.entry.path;
        let role = if elf.is_program() && is_executable(self.entry) && !is_foreign(path) {
            Role::Program
        } else {
            Role::Module
        };
        Object {
            image: path.clone(),
            host: self.file.path.clone(),
            role,
            elf: Arc::new(elf),
        }
    }
}

pub(super) fn is_named_like_a_module(name: &[u8]) -> bool {
    let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
    name.ends_with(b".so") || name.ends_with(b".node") || has(b".so.")
}

pub(crate) fn is_foreign(path: &ImagePath) -> bool {
    let mut names = path.as_bytes().split(|byte| *byte == b'/');
    names.any(|name| FOREIGN_DIRECTORIES.contains(&name))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use fs_err as fs;

    use super::*;

    /// 200 scripts, and a program among them.
    fn release(root: &Path) -> Vec<Member> {
        let program = std::env::current_exe().unwrap();
        for number in 0..200 {
            fs::write(root.join(format!("{number:03}")), b"#!/bin/sh\n").unwrap();
        }
        fs::copy(program, root.join("100")).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        members(root)
    }

    fn members(root: &Path) -> Vec<Member> {
        let member = |number: u32| {
            let name = format!("{number:03}");
            let content = Content::File(HostFile::find(&root.join(&name)).unwrap());
            let path = ImagePath::parse(format!("/{name}")).unwrap();
            Member::file(path, 0o755, content)
        };
        (0..200).map(member).collect()
    }

    fn names(members: &[Member], store: Option<&Store>) -> Vec<String> {
        let mut warnings = Vec::new();
        let objects = find(members.iter(), store, &mut warnings);
        assert!(warnings.is_empty());
        objects
            .iter()
            .map(|object| object.image.to_string())
            .collect()
    }

    #[test]
    fn elf_files_are_found_in_the_order_of_the_members() {
        let root = tempfile::tempdir().unwrap();
        let mut members = release(root.path());
        assert_eq!(names(&members, None), ["/100"]);
        fs::copy(root.path().join("100"), root.path().join("007")).unwrap();
        assert_eq!(names(&members, None), ["/007", "/100"]);
        members.reverse();
        assert_eq!(names(&members, None), ["/100", "/007"]);
    }

    #[test]
    fn what_took_the_place_of_a_file_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let members = release(root.path());
        let path = root.path().join("100");
        fs::rename(&path, root.path().join("moved")).unwrap();
        fs::os::unix::fs::symlink("moved", &path).unwrap();
        assert!(names(&members, None).is_empty());
        fs::copy(root.path().join("moved"), root.path().join("copy")).unwrap();
        fs::rename(root.path().join("copy"), &path).unwrap();
        assert!(names(&members, None).is_empty());
        fs::rename(root.path().join("moved"), &path).unwrap();
        assert_eq!(names(&members, None), ["/100"]);
    }

    #[test]
    fn other_files_are_opened_once() {
        let root = tempfile::tempdir().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let members = release(root.path());
        assert_eq!(names(&members, Some(&store)), ["/100"]);
        let before = fs::read_dir(directory.path().join("v2/notes")).unwrap();
        assert_eq!(before.count(), 1);
        // The scripts are not opened any more: these would be found.
        for name in ["000", "199"] {
            fs::copy(root.path().join("100"), root.path().join(name)).unwrap();
        }
        assert_eq!(names(&members, Some(&store)), ["/100"]);
        assert_eq!(
            names(&self::members(root.path()), Some(&store)),
            ["/000", "/100", "/199"]
        );
    }

    #[test]
    fn modules_are_told_by_their_names() {
        for (name, expected) in [
            ("libssl.so", true),
            ("libssl.so.3", true),
            ("binding.node", true),
            ("server", false),
            ("also", false),
            ("node", false),
            ("notes.sorted", false),
        ] {
            assert_eq!(is_named_like_a_module(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn prebuilt_modules_of_package_managers_are_foreign() {
        for (text, expected) in [
            ("/app/node_modules/x/build/y", true),
            ("/app/venv/lib/python3.11/site-packages/x", true),
            ("/app/my_node_modules/x", false),
            ("/app/bin/x", false),
        ] {
            assert_eq!(
                is_foreign(&ImagePath::parse(text).unwrap()),
                expected,
                "{text}"
            );
        }
    }
}
