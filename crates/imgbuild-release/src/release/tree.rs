//! A directory tree, read by several threads and told in one order.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};
use std::thread;

use super::listing::{Child, list, threads};
use super::walk::Found;

/// The directories of a tree, each by its path relative to the root.
#[derive(Debug)]
pub(super) struct Tree {
    listings: BTreeMap<PathBuf, io::Result<Vec<Child>>>,
}

/// What the threads share.
#[derive(Debug, Default)]
struct Work {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Directories that nobody has taken yet.
    waiting: Vec<PathBuf>,
    /// How many directories are waiting or being read.
    unfinished: usize,
    listings: BTreeMap<PathBuf, io::Result<Vec<Child>>>,
}

impl Tree {
    /// Reads everything below `root`.
    ///
    /// # Errors
    ///
    /// When `root` itself cannot be listed.
    pub(super) fn read(root: &Path) -> io::Result<Self> {
        let work = Work::default();
        work.add(PathBuf::new(), Ok(list(root, true)?));
        let has_more = !work.lock().waiting.is_empty();
        thread::scope(|scope| {
            for _ in 1..if has_more { threads() } else { 1 } {
                scope.spawn(|| work.run(root));
            }
            work.run(root);
        });
        let state = work
            .state
            .into_inner()
            .expect("no holder of the lock panics");
        Ok(Self {
            listings: state.listings,
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

impl Work {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    /// Reads directories until there are none.
    fn run(&self, root: &Path) {
        while let Some(directory) = self.next() {
            // What has become a link since is not followed.
            let listing = list(&root.join(&directory), false);
            self.add(directory, listing);
            self.end_one();
        }
    }

    /// Takes a directory; waits while others may still find some.
    fn next(&self) -> Option<PathBuf> {
        let mut state = self.lock();
        loop {
            if let Some(directory) = state.waiting.pop() {
                return Some(directory);
            }
            if state.unfinished == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .expect("no holder of the lock panics");
        }
    }

    fn add(&self, directory: PathBuf, listing: io::Result<Vec<Child>>) {
        let below = listing.iter().flatten();
        let below = below.filter(|child| matches!(child.found, Ok(Found::Directory { .. })));
        let below: Vec<PathBuf> = below.map(|child| directory.join(&child.name)).collect();
        let mut state = self.lock();
        state.unfinished += below.len();
        state.waiting.extend(below);
        state.listings.insert(directory, listing);
        self.changed.notify_all();
    }

    fn end_one(&self) {
        let mut state = self.lock();
        state.unfinished -= 1;
        if state.unfinished == 0 {
            self.changed.notify_all();
        }
    }
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
