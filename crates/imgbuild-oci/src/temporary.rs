//! Temporary names, by which a run removes what a killed one left.
//!
//! A run holds a lock (flock(2)) on everything that has such a name; what has
//! none is abandoned. Where the file system has no locks, or another machine may
//! hold one unseen, nothing is removed.

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::{Mode, open};
use rustix::process::geteuid;
use tempfile::{Builder, NamedTempFile, TempDir};

use crate::root_directory;
use crate::statfs::is_local;

/// The start of every temporary name.
pub(crate) const PREFIX: &str = ".imgbuild-";

/// The start of the name of a directory for layers of a base image.
pub(crate) const BASE_PREFIX: &str = ".imgbuild-base-";

/// Returns true for the path of a file or directory that imgbuild named: its
/// name ends with six letters and digits, among them a small letter, a capital
/// and a digit, as no word does that a user may choose.
#[must_use]
pub fn is_temporary_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let random = name.strip_prefix(PREFIX.as_bytes()).unwrap_or_default();
    let random = random.strip_prefix(b"base-").unwrap_or(random);
    let has = |is_kind: fn(&u8) -> bool| random.iter().any(is_kind);
    let is_mixed =
        has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_digit);
    random.len() == 6 && random.iter().all(u8::is_ascii_alphanumeric) && is_mixed
}

pub(crate) fn builder(prefix: &str) -> Builder<'_, 'static> {
    let mut builder = Builder::new();
    builder.prefix(prefix).rand_bytes(3).suffix("Aa0");
    builder
}

/// Removes what killed runs of this user left in a directory, and returns its
/// paths.
#[must_use]
pub fn remove_abandoned(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| remove_unlocked(path).is_ok()).collect()
}

/// Removes a file or directory with a temporary name that no run uses.
pub(crate) fn remove_unlocked(path: &Path) -> io::Result<()> {
    let is_own = |found: Metadata| found.uid() == geteuid().as_raw();
    if !is_temporary_name(path) || !is_local(path) || !is_own(fs::symlink_metadata(path)?) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let file = File::from(open(path, root_directory::FILE, Mode::empty())?);
    claim(&file, path)?;
    if file.metadata()?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

/// Makes a file that is removed on drop.
pub(crate) fn new_file(directory: &Path, mode: u32) -> io::Result<NamedTempFile> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(mode);
    builder(PREFIX).make_in(directory, |path| {
        let file = options.open(path)?;
        hold(&file, path).map(|()| file)
    })
}

/// Makes a directory that is removed on drop, and returns it with its lock.
pub(crate) fn new_directory(parent: &Path, prefix: &str, mode: u32) -> io::Result<(TempDir, File)> {
    let mut builder = builder(prefix);
    builder.permissions(PermissionsExt::from_mode(mode));
    loop {
        let made = builder.tempdir_in(parent)?;
        let opened = fs::File::open(made.path()).map(|file| file.into_parts().0);
        let error = match opened.and_then(|file| hold(&file, made.path()).map(|()| file)) {
            Ok(lock) => return Ok((made, lock)),
            Err(error) => error.kind(),
        };
        if !matches!(
            error,
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
        ) {
            return Err(error.into());
        }
    }
}

/// Locks what was just made at `path`, unless another run took it for abandoned.
/// Without locks, no run does.
fn hold(file: &File, path: &Path) -> io::Result<()> {
    match claim(file, path) {
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Locks a file or directory, if it is still at `path`.
fn claim(file: &File, path: &Path) -> Result<(), TryLockError> {
    file.try_lock()?;
    let identity = |found: &Metadata| (found.dev(), found.ino());
    match (fs::symlink_metadata(path), file.metadata()) {
        (Ok(there), Ok(locked)) if identity(&there) == identity(&locked) => Ok(()),
        _ => Err(TryLockError::WouldBlock),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn words_are_no_temporary_names() {
        for name in [".imgbuild-Ab12Cd", ".imgbuild-base-zzzZ09"] {
            assert!(is_temporary_name(Path::new(name)), "{name}");
        }
        for name in [
            ".imgbuild",
            ".imgbuild-",
            ".imgbuild-base-",
            ".imgbuild-config",
            ".imgbuild-Config",
            ".imgbuild-cache1",
            ".imgbuild-202401",
            ".imgbuild-Ab12C",
            ".imgbuild-Ab12Cde",
            ".imgbuild-Ab12C.",
            ".imgbuild-other-Ab12Cd",
            "imgbuild-Ab12Cd",
            "x.imgbuild-Ab12Cd",
        ] {
            assert!(!is_temporary_name(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn what_is_made_has_a_name_and_a_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for _ in 0..20 {
            let file = new_file(path, 0o600).unwrap();
            let (made, _lock) = new_directory(path, PREFIX, 0o700).unwrap();
            let (base, _base_lock) = new_directory(path, BASE_PREFIX, 0o700).unwrap();
            fs::write(made.path().join("blob"), "x").unwrap();
            for made in [file.path(), made.path(), base.path()] {
                assert!(is_temporary_name(made), "{}", made.display());
            }
            assert!(remove_abandoned(path).is_empty());
            assert_eq!(names(path).len(), 3);
        }
        assert!(names(path).is_empty());
    }

    #[test]
    fn only_what_has_no_lock_and_is_of_the_form_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path(".imgbuild-Ab12Cd/blobs")).unwrap();
        fs::write(path(".imgbuild-Ab12Cd/blobs/y"), "x").unwrap();
        fs::write(path(".imgbuild-Ef34Gh"), "x").unwrap();
        let kept = [".imgbuild-notes1", ".imgbuild-Link12", ".imgbuild", "y"];
        fs::create_dir(path("y")).unwrap();
        fs::write(path("y/z"), "x").unwrap();
        std::os::unix::fs::symlink("y", path(".imgbuild-Link12")).unwrap();
        for name in [".imgbuild-notes1", ".imgbuild"] {
            fs::write(path(name), "x").unwrap();
        }
        let mut removed = remove_abandoned(directory.path());
        removed.sort();
        let expected = [".imgbuild-Ab12Cd", ".imgbuild-Ef34Gh"].map(path);
        assert_eq!(removed, expected);
        let mut left = names(directory.path());
        left.sort();
        let mut kept = kept.map(str::to_owned);
        kept.sort();
        assert_eq!(left, kept);
        assert!(path("y/z").exists());
        assert!(remove_abandoned(&path("missing")).is_empty());
    }

    #[test]
    fn what_another_run_removes_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let is_done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let remover = || {
                while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                    drop(remove_abandoned(directory.path()));
                }
            };
            scope.spawn(remover);
            for _ in 0..500 {
                let (made, _lock) = new_directory(directory.path(), PREFIX, 0o700).unwrap();
                let file = new_file(directory.path(), 0o600).unwrap();
                fs::write(made.path().join("blob"), "x").unwrap();
                assert!(file.path().exists());
                assert!(made.path().join("blob").exists());
            }
            is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
