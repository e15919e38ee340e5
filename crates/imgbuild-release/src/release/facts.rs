//! The directories of the host in which kinds look for releases.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use fs_err as fs;
use imgbuild_oci::bounded;

/// The largest text that is read, in bytes, and the number of texts that are kept.
const MAX_BYTES: u64 = 4 << 20;
const MAX_TEXTS: usize = 32;

/// Texts, of which up to 32 are kept, and lists of directories: read once for all kinds.
#[derive(Debug, Default)]
pub(crate) struct DirectoryFacts {
    lists: RefCell<BTreeMap<PathBuf, Rc<[ListedName]>>>,
    texts: RefCell<BTreeMap<PathBuf, Option<Rc<str>>>>,
}

/// A name in a directory.
#[derive(Debug)]
pub(crate) struct ListedName {
    pub(crate) name: OsString,
    /// It is a directory, or a link to one.
    pub(crate) is_directory: bool,
}

impl DirectoryFacts {
    /// Returns the names in a directory, sorted. A directory that cannot be listed
    /// has no names.
    pub(crate) fn list(&self, directory: &Path) -> Rc<[ListedName]> {
        let mut lists = self.lists.borrow_mut();
        let list = lists.entry(directory.to_owned()).or_insert_with(|| {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            let mut names: Vec<ListedName> = entries
                .map(|entry| ListedName {
                    is_directory: match entry.file_type() {
                        Ok(kind) if !kind.is_symlink() => kind.is_dir(),
                        _ => entry.path().is_dir(),
                    },
                    name: entry.file_name(),
                })
                .collect();
            names.sort_by(|one, other| one.name.cmp(&other.name));
            names.into()
        });
        Rc::clone(list)
    }

    /// Returns the text of a file, if it can be read.
    pub(crate) fn text(&self, path: &Path) -> Option<Rc<str>> {
        let mut texts = self.texts.borrow_mut();
        if texts.len() >= MAX_TEXTS && !texts.contains_key(path) {
            texts.clear();
        }
        let read = || bounded::read_text(path, MAX_BYTES).ok().map(Rc::from);
        texts.entry(path.to_owned()).or_insert_with(read).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_texts_are_read_and_kept_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |number: usize| directory.path().join(number.to_string());
        let facts = DirectoryFacts::default();
        for number in 0..=MAX_TEXTS {
            fs::write(path(number), "x".repeat(2 << 20)).unwrap();
            assert_eq!(facts.text(&path(number)).unwrap().len(), 2 << 20);
            assert!(facts.texts.borrow().len() <= MAX_TEXTS);
        }
        fs::remove_file(path(MAX_TEXTS)).unwrap();
        assert!(facts.text(&path(MAX_TEXTS)).is_some());
    }
}
