//! One directory and the metadata of what lies in it.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::thread;

use imgbuild_oci::content::{FileState, Timestamp};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, open, readlinkat, statat};

use super::walk::Found;

/// A directory with at least twice as many names is looked at by several
/// threads.
const NAMES_PER_THREAD: usize = 2048;

/// More threads than this wait for each other in the kernel.
const MAX_THREADS: usize = 8;

/// One name of a directory.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: OsString,
    pub(super) found: io::Result<Found>,
}

/// A name as the directory gives it, with its type if the file system says it.
struct Name {
    name: CString,
    kind: FileType,
}

/// Returns how many threads look at a directory tree.
pub(super) fn threads() -> usize {
    let available = thread::available_parallelism();
    available.map_or(1, |count| count.get().min(MAX_THREADS))
}

/// Lists the directory at `path`, by the bytes of the names.
///
/// # Errors
///
/// When the directory cannot be read; what is wrong with one of its files is
/// told with the file.
pub(super) fn list(path: &Path, follows_link: bool) -> io::Result<Vec<Child>> {
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if !follows_link {
        flags |= OFlags::NOFOLLOW;
    }
    let directory = open(path, flags, Mode::empty())?;
    let mut entries = Dir::new(directory)?;
    let mut names = Vec::new();
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(Name {
                name: name.to_owned(),
                kind: entry.file_type(),
            });
        }
    }
    names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(look_at_all(entries.fd()?, names))
}

fn look_at_all(directory: BorrowedFd<'_>, mut names: Vec<Name>) -> Vec<Child> {
    let is_large = names.len() >= 2 * NAMES_PER_THREAD;
    // The number of cores is asked for only here: it takes some calls.
    let count = match is_large {
        true => threads().min(names.len() / NAMES_PER_THREAD),
        false => 1,
    };
    let look = |names: Vec<Name>| -> Vec<Child> {
        names
            .into_iter()
            .map(|name| look_at(directory, name))
            .collect()
    };
    if count == 1 {
        return look(names);
    }
    let share = names.len().div_ceil(count);
    thread::scope(|scope| {
        let mut running = Vec::new();
        while names.len() > share {
            let last = names.split_off(names.len() - share);
            running.push(scope.spawn(move || look(last)));
        }
        let mut children = look(names);
        for part in running.into_iter().rev() {
            children.extend(part.join().expect("looking at a file does not panic"));
        }
        children
    })
}

fn look_at(directory: BorrowedFd<'_>, name: Name) -> Child {
    let found = match name.kind {
        FileType::Symlink => look_at_link(directory, &name),
        _ => match statat(directory, &name.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                look_at_link(directory, &name)
            }
            Ok(stat) => Ok(of_stat(&stat)),
            Err(error) => Err(error.into()),
        },
    };
    let name = OsString::from_vec(name.name.into_bytes());
    Child { name, found }
}

fn look_at_link(directory: BorrowedFd<'_>, name: &Name) -> io::Result<Found> {
    let target = readlinkat(directory, &name.name, Vec::new())?.into_bytes();
    Ok(Found::Symlink { target })
}

fn of_stat(stat: &Stat) -> Found {
    let mode = stat.st_mode;
    match FileType::from_raw_mode(mode) {
        FileType::Directory => Found::Directory { mode },
        FileType::Socket => Found::Special("a socket"),
        FileType::Fifo => Found::Special("a FIFO"),
        FileType::CharacterDevice => Found::Special("a character device"),
        FileType::BlockDevice => Found::Special("a block device"),
        _ => Found::File {
            state: state_of(stat),
            owner: (stat.st_uid, stat.st_gid),
            is_linked: stat.st_nlink > 1,
        },
    }
}

/// As [`FileState::of`] takes it from the metadata of an open file.
fn state_of(stat: &Stat) -> FileState {
    // Their types differ between architectures.
    let number = |nanoseconds| i64::try_from(nanoseconds).unwrap_or_default();
    FileState {
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mtime: Timestamp {
            seconds: stat.st_mtime,
            nanoseconds: number(stat.st_mtime_nsec),
        },
        ctime: Timestamp {
            seconds: stat.st_ctime,
            nanoseconds: number(stat.st_ctime_nsec),
        },
        inode: stat.st_ino,
        device: stat.st_dev,
        mode: stat.st_mode,
    }
}
