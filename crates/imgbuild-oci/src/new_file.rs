//! Files that get their name when they are complete.
//!
//! Where the file system can, such a file has no name before (open(2),
//! `O_TMPFILE`): a program that is killed leaves nothing. Elsewhere it has one
//! that begins with `.imgbuild-`.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, Result};
use crate::path::MAX_LINKS;

const PREFIX: &str = ".imgbuild-";

/// A file on its way to the directory where it will be.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: std::fs::File,
    /// Its name so far, if it has one.
    name: Option<TempPath>,
}

impl NewFile {
    /// Makes a file without content in the directory of `path`, with the mode
    /// that the umask allows.
    pub(crate) fn beside(path: &Path) -> Result<Self> {
        let directory = parent_of(path);
        if let Ok(file) = open_nameless(directory)
            && can_be_named(&file)
        {
            return Ok(Self { file, name: None });
        }
        let named = builder().tempfile_in(directory);
        let (file, name) = named
            .map_err(|source| write_error(path, source))?
            .into_parts();
        let name = Some(name);
        Ok(Self { file, name })
    }

    /// Returns the file, to be written.
    pub(crate) fn file(&mut self) -> &mut std::fs::File {
        &mut self.file
    }

    /// Gives the complete file its final name.
    pub(crate) fn persist(self, path: &Path, sync: bool) -> Result<std::fs::File> {
        let Self { file, name } = self;
        let error = |source| write_error(path, source);
        if sync {
            file.sync_all().map_err(error)?;
        }
        let name = match name {
            Some(name) => name,
            None => give_name(&file, parent_of(path)).map_err(error)?,
        };
        name.persist(path).map_err(|failed| error(failed.error))?;
        Ok(file)
    }
}

/// Makes a file in a directory that no other program can open.
pub(crate) fn nameless(directory: &Path) -> io::Result<std::fs::File> {
    // Where the file system cannot, its name is removed at once.
    open_nameless(directory).or_else(|_| tempfile::tempfile_in(directory))
}

/// Gives a file without a name the name `path`, which must not exist.
pub(crate) fn link(file: &std::fs::File, path: &Path) -> io::Result<()> {
    let linked = rustix::fs::linkat(CWD, place(file), CWD, path, AtFlags::SYMLINK_FOLLOW);
    Ok(linked?)
}

fn open_nameless(directory: &Path) -> io::Result<std::fs::File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::from_raw_mode(0o666));
    Ok(opened?.into())
}

/// The one way to name such a file without privileges.
fn place(file: &std::fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Returns true if the system has the path of [`place`].
fn can_be_named(file: &std::fs::File) -> bool {
    fs::symlink_metadata(place(file)).is_ok()
}

/// Gives a complete file a name in a directory: only a file with one can
/// replace another.
fn give_name(file: &std::fs::File, directory: &Path) -> io::Result<TempPath> {
    let linked = builder().make_in(directory, |path| link(file, path));
    match linked {
        Ok(linked) => Ok(linked.into_temp_path()),
        // A system that does not allow it costs a copy.
        Err(_) => copy(file, directory),
    }
}

fn copy(file: &std::fs::File, directory: &Path) -> io::Result<TempPath> {
    use io::Seek as _;
    let mut named: NamedTempFile = builder().tempfile_in(directory)?;
    let mut original = file;
    original.rewind()?;
    io::copy(&mut original, named.as_file_mut())?;
    let permissions = original.metadata()?.permissions();
    named.as_file().set_permissions(permissions)?;
    named.as_file().sync_all()?;
    Ok(named.into_temp_path())
}

fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder
        .prefix(PREFIX)
        .permissions(std::fs::Permissions::from_mode(0o666));
    builder
}

/// Returns where a file called `path` is, or would be made: a link is followed,
/// as by every program that writes a file, also a dangling one.
pub(crate) fn target_of(path: &Path) -> Result<PathBuf> {
    let mut target = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        if let Ok(real) = fs::canonicalize(&target) {
            return Ok(real);
        }
        // What `/dev/stderr` leads to may be no path: a pipe has none.
        let exists = fs::metadata(&target).is_ok();
        let (false, Ok(link)) = (exists, fs::read_link(&target)) else {
            return Ok(target);
        };
        target = parent_of(&target).join(link);
    }
    Err(write_error(path, rustix::io::Errno::LOOP.into()))
}

/// Returns the directory that holds `path`.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str() != OsStr::new("") => parent,
        _ => Path::new("."),
    }
}

pub(crate) fn write_error(path: &Path, source: io::Error) -> Error {
    Error::Write {
        what: format!("`{}`", path.display()),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_file_replaces_another_when_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        fs::write(&path, "old").unwrap();
        let mut new = NewFile::beside(&path).unwrap();
        new.file().write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(new.persist(&path, true).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["out"]);
    }

    #[test]
    fn a_file_that_is_given_up_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let mut new = NewFile::beside(&path).unwrap();
        new.file().write_all(b"new").unwrap();
        drop(new);
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn what_cannot_be_linked_is_copied() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let mut file = nameless(directory.path()).unwrap();
        file.write_all(b"content").unwrap();
        let mode = std::fs::Permissions::from_mode(0o640);
        file.set_permissions(mode).unwrap();
        copy(&file, directory.path())
            .unwrap()
            .persist(&path)
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"content");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert_eq!(names(directory.path()), ["out"]);
    }

    #[test]
    fn links_are_followed_to_where_nothing_is_yet() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("there")).unwrap();
        symlink("second", path("first")).unwrap();
        symlink("there/third", path("second")).unwrap();
        symlink("../new", path("there/third")).unwrap();
        let target = target_of(&path("first")).unwrap();
        assert_eq!(target, path("there/../new"));
        fs::write(path("new"), "").unwrap();
        let target = target_of(&path("first")).unwrap();
        assert_eq!(target, fs::canonicalize(path("new")).unwrap());
        symlink("loop", path("loop")).unwrap();
        assert!(target_of(&path("loop")).is_err());
        assert_eq!(target_of(&path("plain")).unwrap(), path("plain"));
        let (pipe, _writer) = io::pipe().unwrap();
        let pipe = PathBuf::from(format!("/proc/self/fd/{}", pipe.as_raw_fd()));
        assert_eq!(target_of(&pipe).unwrap(), pipe);
    }
}
