//! Walking a directory tree, by several threads and reading metadata only.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fs_err as fs;
use imgbuild_oci::content::FileState;
use imgbuild_oci::entry::Owner;
use imgbuild_oci::parallel::{self, Queue};
use imgbuild_oci::root_directory::RootDirectory;
use imgbuild_oci::xattr::{self, Xattrs};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Stat};
use rustix::fs::{fgetxattr, flistxattr, fstat, readlinkat, statat};

/// A directory with at least twice as many names is examined by several
/// threads.
const NAMES_PER_THREAD: usize = 2048;

/// More threads than this wait for each other in the kernel.
const MAX_THREADS: usize = 8;

/// A device and an inode on it.
type Identity = (u64, u64);

/// A directory that a walk has seen.
struct SeenDirectory {
    /// The path relative to the root.
    path: PathBuf,
    identity: Identity,
}

/// A file, directory, link or special file, as `lstat` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Directory {
        mode: u32,
        identity: Identity,
        /// None in [`look_at`].
        xattrs: Xattrs,
    },
    File {
        state: FileState,
        owner: Owner,
        /// The file has further names.
        is_linked: bool,
    },
    Symlink {
        target: Vec<u8>,
    },
    /// Something that no image can hold; with its article.
    Special(&'static str),
}

/// One name of a directory.
#[derive(Debug)]
struct Child {
    name: OsString,
    found: io::Result<Found>,
}

/// The content of a directory.
#[derive(Debug, Default)]
struct Listing {
    children: Vec<Child>,
    xattrs: Xattrs,
}

type DirectoryListing = io::Result<Listing>;

/// A directory whose children are being reported.
struct OpenDirectory {
    /// The length of its path in bytes.
    length: usize,
    children: std::vec::IntoIter<Child>,
}

/// Calls `see` for everything below `root` with its relative path, parents
/// first, siblings by the bytes of their names.
///
/// # Errors
///
/// When `root` itself cannot be listed; `see` gets the errors of everything
/// below it.
pub(crate) fn walk(
    root: &RootDirectory,
    see: &mut dyn FnMut(&Path, io::Result<Found>),
) -> io::Result<()> {
    // Its error names the directory.
    fs::read_dir(root.path())?;
    let mut listings = read_tree(root)?;
    let mut path = Vec::new();
    let children = take(&mut listings, Path::new(""));
    let mut open = vec![OpenDirectory {
        length: 0,
        children,
    }];
    while let Some(directory) = open.last_mut() {
        path.truncate(directory.length);
        let Some(mut child) = directory.children.next() else {
            open.pop();
            continue;
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(child.name.as_bytes());
        let below = Path::new(OsStr::from_bytes(&path));
        let Ok(Found::Directory { xattrs, .. }) = &mut child.found else {
            see(below, child.found);
            continue;
        };
        if let Some(Ok(listing)) = listings.get_mut(below) {
            *xattrs = std::mem::take(&mut listing.xattrs);
        }
        see(below, child.found);
        if let Some(Err(error)) = listings.get_mut(below) {
            let error = std::mem::replace(error, io::ErrorKind::Other.into());
            see(below, Err(error));
        }
        let children = take(&mut listings, below);
        let length = path.len();
        open.push(OpenDirectory { length, children });
    }
    Ok(())
}

/// Calls `see` as [`walk`] does, for the names directly in `root`.
pub(crate) fn walk_flat(
    root: &RootDirectory,
    see: &mut dyn FnMut(&Path, io::Result<Found>),
) -> io::Result<()> {
    fs::read_dir(root.path())?;
    for child in list(root, Path::new(""), None)?.children {
        see(Path::new(&child.name), child.found);
    }
    Ok(())
}

/// Examines what is at one path, without following a link there.
pub(crate) fn look_at(path: &Path) -> io::Result<Found> {
    let name = CString::new(path.as_os_str().to_owned().into_vec())?;
    examine(CWD, &name)
}

/// Lists all directories of a tree, by their paths relative to the root.
fn read_tree(root: &RootDirectory) -> io::Result<BTreeMap<PathBuf, DirectoryListing>> {
    let listings = Mutex::new(BTreeMap::new());
    let insert = |directory: PathBuf, listing: DirectoryListing| {
        let children = listing.iter().flat_map(|listing| &listing.children);
        let below: Vec<SeenDirectory> = children
            .filter_map(|child| match child.found {
                Ok(Found::Directory { identity, .. }) => Some(SeenDirectory {
                    path: directory.join(&child.name),
                    identity,
                }),
                _ => None,
            })
            .collect();
        let mut listings = listings.lock().expect("no holder of the lock panics");
        listings.insert(directory, listing);
        below
    };
    let read = |directory: SeenDirectory, queue: &Queue<SeenDirectory>| {
        let listing = list(root, &directory.path, Some(directory.identity));
        for below in insert(directory.path, listing) {
            queue.add(below);
        }
        Ok::<(), Infallible>(())
    };

    let below = insert(PathBuf::new(), Ok(list(root, Path::new(""), None)?));
    if !below.is_empty() {
        // This thread works, too: one that only waits would cost memory.
        let Ok(()) = parallel::for_each_added(threads(), below, read);
    }
    let listings = listings.into_inner();
    Ok(listings.expect("no holder of the lock panics"))
}

/// Takes the children of a directory; none if it cannot be listed.
fn take(
    listings: &mut BTreeMap<PathBuf, DirectoryListing>,
    directory: &Path,
) -> std::vec::IntoIter<Child> {
    let listing = listings.remove(directory).and_then(Result::ok);
    listing.unwrap_or_default().children.into_iter()
}

/// Returns the number of threads that examine a directory tree.
pub(crate) fn threads() -> usize {
    parallel::processors().min(MAX_THREADS)
}

/// Lists the directory at `path` below `root`, by the bytes of the names.
///
/// # Errors
///
/// When the directory cannot be read or is not the one that was seen; each child
/// has the error of its own.
fn list(root: &RootDirectory, path: &Path, seen: Option<Identity>) -> DirectoryListing {
    let directory = root.open_directory(path)?;
    if let Some(seen) = seen
        && identity(&fstat(&directory)?) != seen
    {
        let message = "another directory took its place in the meantime";
        return Err(io::Error::other(message));
    }
    let get = |name: &str, buffer: &mut [u8]| fgetxattr(&directory, name, buffer);
    let xattrs = xattr::read(|buffer| flistxattr(&directory, buffer), get);
    let mut directory = Dir::new(directory)?;
    let mut names = Vec::new();
    while let Some(entry) = directory.read() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort_unstable();
    let children = examine_all(directory.fd()?, names);
    Ok(Listing { children, xattrs })
}

fn examine_all(directory: BorrowedFd<'_>, names: Vec<CString>) -> Vec<Child> {
    let examine = |names: Vec<CString>| -> Vec<Child> {
        let children = names.into_iter().map(|name| Child {
            found: examine(directory, &name),
            name: OsString::from_vec(name.into_bytes()),
        });
        children.collect()
    };
    if names.len() < 2 * NAMES_PER_THREAD {
        return examine(names);
    }
    let count = threads().min(names.len() / NAMES_PER_THREAD);
    parallel::map_parts(count, names, examine)
}

fn examine(directory: BorrowedFd<'_>, name: &CString) -> io::Result<Found> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = stat.st_mode;
    Ok(match FileType::from_raw_mode(mode) {
        FileType::Symlink => Found::Symlink {
            target: readlinkat(directory, name, Vec::new())?.into_bytes(),
        },
        FileType::Directory => Found::Directory {
            mode,
            identity: identity(&stat),
            xattrs: Xattrs::new(),
        },
        FileType::Socket => Found::Special("a socket"),
        FileType::Fifo => Found::Special("a FIFO"),
        FileType::CharacterDevice => Found::Special("a character device"),
        FileType::BlockDevice => Found::Special("a block device"),
        _ => Found::File {
            state: FileState::from(&stat),
            owner: Owner {
                uid: stat.st_uid,
                gid: stat.st_gid,
            },
            is_linked: stat.st_nlink > 1,
        },
    })
}

fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests {
    use walkdir::WalkDir;

    use super::*;

    /// The paths that a walk by one thread finds.
    fn reference(root: &Path) -> Vec<PathBuf> {
        let walk = WalkDir::new(root).min_depth(1).sort_by_file_name();
        let paths = walk.into_iter().map(|entry| entry.unwrap().into_path());
        paths
            .map(|path| path.strip_prefix(root).unwrap().to_path_buf())
            .collect()
    }

    fn walked(root: &Path) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        walk(&RootDirectory::open(root).unwrap(), &mut |path, found| {
            found.unwrap();
            paths.push(path.to_path_buf());
        })
        .unwrap();
        paths
    }

    #[test]
    fn a_tree_is_walked_in_the_order_of_one_thread() {
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
        for number in 0..100 {
            fs::create_dir_all(path(&format!("z/{number}/empty"))).unwrap();
        }
        let expected = reference(root.path());
        for _ in 0..5 {
            assert_eq!(walked(root.path()), expected);
        }
    }

    #[test]
    fn an_empty_directory_has_no_paths() {
        let root = tempfile::tempdir().unwrap();
        assert!(walked(root.path()).is_empty());
    }

    #[test]
    fn states_are_those_of_the_standard_library() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        fs::write(&path, b"some bytes").unwrap();
        let mut states = Vec::new();
        walk(
            &RootDirectory::open(root.path()).unwrap(),
            &mut |_, found| {
                let Ok(Found::File { state, .. }) = found else {
                    panic!("{found:?} is not a file");
                };
                states.push(state);
            },
        )
        .unwrap();
        let expected = FileState::of(&fs::metadata(&path).unwrap());
        assert_eq!(states, [expected]);
    }

    #[test]
    fn a_directory_that_was_exchanged_is_not_listed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("root/d/e")).unwrap();
        fs::create_dir_all(at("home/e")).unwrap();
        fs::write(at("home/e/secret"), "").unwrap();
        let root = RootDirectory::open(&at("root")).unwrap();
        let seen = |path: &str| {
            let children = list(&root, Path::new(path), None).unwrap().children;
            match children[0].found {
                Ok(Found::Directory { identity, .. }) => identity,
                ref other => panic!("{other:?}"),
            }
        };
        let (d, e) = (seen(""), seen("d"));
        let names = |path: &str, seen| {
            let listed = list(&root, Path::new(path), Some(seen));
            listed
                .map(|listing| listing.children.len())
                .map_err(|error| error.to_string())
        };
        assert_eq!((names("d", d), names("d/e", e)), (Ok(1), Ok(0)));

        fs::rename(at("root/d"), at("moved")).unwrap();
        fs::os::unix::fs::symlink(at("home"), at("root/d")).unwrap();
        for (path, seen) in [("d", d), ("d/e", e)] {
            let error = names(path, seen).unwrap_err();
            assert!(error.contains("took its place"), "{error}");
        }

        fs::remove_file(at("root/d")).unwrap();
        fs::rename(at("home"), at("root/d")).unwrap();
        for (path, seen) in [("d", d), ("d/e", e)] {
            let error = names(path, seen).unwrap_err();
            assert!(
                error.starts_with("another directory took its place"),
                "{error}"
            );
        }
    }
}
