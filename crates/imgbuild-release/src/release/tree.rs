//! A directory tree, read by several threads and told in one order.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use imgbuild_oci::parallel::{self, Queue};

use super::listing::{Child, list, threads};
use super::walk::Found;

/// The directories of a tree, each by its path relative to the root.
#[derive(Debug)]
pub(super) struct Tree {
    listings: BTreeMap<PathBuf, io::Result<Vec<Child>>>,
}

impl Tree {
    /// Reads everything below `root`.
    ///
    /// # Errors
    ///
    /// When `root` itself cannot be listed.
    pub(super) fn read(root: &Path) -> io::Result<Self> {
        let listings = Mutex::new(BTreeMap::new());
        let add = |directory: PathBuf, listing: io::Result<Vec<Child>>| {
            let below = subdirectories(&directory, &listing);
            let mut listings = listings.lock().expect("no holder of the lock panics");
            listings.insert(directory, listing);
            below
        };
        let read = |directory: PathBuf, queue: &Queue<PathBuf>| {
            // A link that took its place since is not followed.
            let listing = list(&root.join(&directory), false);
            for below in add(directory, listing) {
                queue.add(below);
            }
            Ok::<(), Infallible>(())
        };

        let below = add(PathBuf::new(), Ok(list(root, true)?));
        if !below.is_empty() {
            let add_all =
                |queue: &Queue<PathBuf>| below.into_iter().for_each(|path| queue.add(path));
            let ((), Ok(())) = parallel::with_workers(threads(), read, add_all);
        }
        let listings = listings.into_inner();
        Ok(Self {
            listings: listings.expect("no holder of the lock panics"),
        })
    }

    /// Tells everything, parents first, siblings by the bytes of their names.
    pub(super) fn tell(mut self, see: &mut dyn FnMut(&Path, io::Result<Found>)) {
        let mut path = PathBuf::new();
        let mut open = vec![self.take(&path)];
        while let Some(children) = open.last_mut() {
            let Some(child) = children.next() else {
                open.pop();
                path.pop();
                continue;
            };
            path.push(&child.name);
            let is_directory = matches!(child.found, Ok(Found::Directory { .. }));
            see(&path, child.found);
            if !is_directory {
                path.pop();
                continue;
            }
            if let Some(Err(error)) = self.listings.get_mut(&path) {
                let error = std::mem::replace(error, io::ErrorKind::Other.into());
                see(&path, Err(error));
            }
            open.push(self.take(&path));
        }
    }

    /// Takes the children of a directory; none if it cannot be listed.
    fn take(&mut self, directory: &Path) -> std::vec::IntoIter<Child> {
        let listing = self.listings.remove(directory);
        let children = listing.and_then(Result::ok).unwrap_or_default();
        children.into_iter()
    }
}

fn subdirectories(directory: &Path, listing: &io::Result<Vec<Child>>) -> Vec<PathBuf> {
    listing
        .iter()
        .flatten()
        .filter(|child| matches!(child.found, Ok(Found::Directory { .. })))
        .map(|child| directory.join(&child.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use fs_err as fs;
    use walkdir::WalkDir;

    use super::*;

    /// What a walk by one thread tells.
    fn reference(root: &Path) -> Vec<PathBuf> {
        let walk = WalkDir::new(root).min_depth(1).sort_by_file_name();
        let paths = walk.into_iter().map(|entry| entry.unwrap().into_path());
        paths
            .map(|path| path.strip_prefix(root).unwrap().to_path_buf())
            .collect()
    }

    fn told(root: &Path) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        Tree::read(root).unwrap().tell(&mut |path, found| {
            found.unwrap();
            paths.push(path.to_path_buf());
        });
        paths
    }

    #[test]
    fn a_tree_is_told_as_one_thread_would() {
        let root = tempfile::tempdir().unwrap();
        let path = |text: &str| root.path().join(text);
        for directory in ["a", "a/b/c", "a-b", "a.b/c", "empty", "z/y/x/w/v/u"] {
            fs::create_dir_all(path(directory)).unwrap();
            for name in ["f", "a", "b-", "link"] {
                let path = path(directory).join(name);
                if !path.exists() {
                    match name {
                        "link" => fs::os::unix::fs::symlink("..", path).unwrap(),
                        _ => fs::write(path, name).unwrap(),
                    }
                }
            }
        }
        for number in 0..5000 {
            fs::write(path(&format!("a/b/{number}")), b"").unwrap();
        }
        let expected = reference(root.path());
        for _ in 0..5 {
            assert_eq!(told(root.path()), expected);
        }
    }

    #[test]
    fn an_empty_directory_has_nothing_to_tell() {
        let root = tempfile::tempdir().unwrap();
        assert!(told(root.path()).is_empty());
    }

    #[test]
    fn states_are_those_of_the_standard_library() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        fs::write(&path, b"some bytes").unwrap();
        let mut states = Vec::new();
        Tree::read(root.path()).unwrap().tell(&mut |_, found| {
            let Ok(Found::File { state, .. }) = found else {
                panic!("{found:?} is no file");
            };
            states.push(state);
        });
        let expected = imgbuild_oci::content::FileState::of(&fs::metadata(&path).unwrap());
        assert_eq!(states, [expected]);
    }

    #[test]
    fn what_cannot_be_listed_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let error = Tree::read(&root.path().join("nothing")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
