//! Opening files in a directory that other programs may write to: no link leads
//! out of it, and no FIFO is waited for.

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use fs_err::File;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, open, openat, openat2, readlinkat};
use rustix::io::{Errno, retry_on_intr};

use crate::path::{ImagePath, resolve_links};

/// The message about a file or directory that is not the one that was seen.
pub(crate) const REPLACED: &str =
    "another file took its place, or that of a directory above it, in the meantime";

/// The flags for files. A FIFO is not waited for, and a terminal stays without
/// effect.
pub(crate) const FILE: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

const DIRECTORY: OFlags = OFlags::NOFOLLOW
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// A directory that stays open, so that all paths below it lead to what is in it,
/// whatever takes its place.
#[derive(Debug)]
pub struct RootDirectory {
    path: PathBuf,
    descriptor: OwnedFd,
}

impl RootDirectory {
    /// Opens the directory that `path` leads to.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Arc<Self>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| open(path, flags, Mode::empty()));
        Ok(Arc::new(Self {
            path: path.to_path_buf(),
            descriptor: opened.map_err(|error| open_error(path, error.into()))?,
        }))
    }

    /// Returns the path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the directory at a relative path, for listing; no part of the path
    /// may be a link.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn open_directory(&self, relative: &Path) -> io::Result<OwnedFd> {
        match open_exact(Some(self), relative, DIRECTORY) {
            Err(error) if is_replaced(error) => Err(io::Error::other(REPLACED)),
            opened => Ok(opened?),
        }
    }

    /// Opens the regular file that a relative path leads to. Links are followed as
    /// if this directory was the root of the file system.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or is not a regular file.
    pub fn open_file(&self, relative: &Path) -> io::Result<File> {
        // Most paths have no links.
        let mut opened = open_exact(Some(self), relative, FILE);
        if opened.as_ref().is_err_and(|error| is_replaced(*error)) {
            let target = |next: &ImagePath, _| {
                let target = readlinkat(&self.descriptor, next.relative(), Vec::new());
                Ok::<_, Infallible>(target.ok().map(CString::into_bytes))
            };
            let real = resolve_links(relative.as_os_str().as_bytes(), target);
            let real = real.map_err(|_| Errno::LOOP);
            opened = real.and_then(|real| {
                let real = Path::new(OsStr::from_bytes(real.relative()));
                open_exact(Some(self), real, FILE)
            });
        }
        let path = self.path.join(relative);
        let opened = opened.map_err(|error| open_error(&path, error.into()))?;
        regular_file(File::from_parts(opened.into(), path))
    }
}

/// Refuses everything but regular files.
pub(crate) fn regular_file(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    let cause = io::Error::other("it is not a regular file");
    Err(open_error(file.path(), cause))
}

/// Returns whether any part of a path is a link.
#[must_use]
pub fn leads_through_link(path: &Path) -> bool {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // A link at the end is opened itself.
    match open_exact(None, path, flags) {
        Ok(opened) => readlinkat(opened, "", Vec::new()).is_ok(),
        Err(error) => is_replaced(error),
    }
}

/// Opens a path below `root`, or a path as it is; no part of it may be a link.
pub(crate) fn open_exact(
    root: Option<&RootDirectory>,
    path: &Path,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let leads_up = |name| matches!(name, Component::ParentDir | Component::RootDir);
    // Cheaper than `RESOLVE_BENEATH`: without links, nothing else leads out.
    if root.is_some() && path.components().any(leads_up) {
        return Err(Errno::XDEV);
    }
    let base = root.map_or(CWD, |root| root.descriptor.as_fd());
    let path = if path == Path::new("") {
        Path::new(".")
    } else {
        path
    };
    let resolve = ResolveFlags::NO_SYMLINKS;
    match retry_on_intr(|| openat2(base, path, flags, Mode::empty(), resolve)) {
        // Linux before 5.6, and sandboxes that do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => open_stepwise(base, path, flags),
        opened => opened,
    }
}

/// Opens as `openat2` would, one name after the other.
fn open_stepwise(base: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut directory = None;
    let mut names = path.components().peekable();
    while let Some(name) = names.next() {
        let flags = match names.peek() {
            Some(_) => DIRECTORY | OFlags::PATH,
            None => flags,
        };
        let from = directory.as_ref().map_or(base, AsFd::as_fd);
        let opened = retry_on_intr(|| openat(from, name.as_os_str(), flags, Mode::empty()))?;
        directory = Some(opened);
    }
    directory.ok_or(Errno::NOENT)
}

/// Returns whether an error of [`open_exact`] is about what is at the path, not
/// about the right to open it.
pub(crate) fn is_replaced(error: Errno) -> bool {
    // Of links, a place outside, a file above, and a socket.
    matches!(
        error,
        Errno::LOOP | Errno::XDEV | Errno::NOTDIR | Errno::NXIO
    )
}

/// A failure to open a file, with its path.
#[derive(Debug, thiserror::Error)]
#[error("failed to open file `{}`", path.display())]
struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// Names the file that a call could not open.
pub(crate) fn open_error(path: &Path, source: io::Error) -> io::Error {
    let path = path.to_path_buf();
    io::Error::new(source.kind(), OpenError { path, source })
}

#[cfg(test)]
mod tests;
