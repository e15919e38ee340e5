//! Files that get their name when they are complete.
//!
//! Where the file system can, such a file has no name before (open(2),
//! `O_TMPFILE`): a program that is killed leaves nothing. Elsewhere it has a
//! temporary one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::process::geteuid;
use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, Result};
use crate::path::MAX_LINKS;
use crate::temporary;

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
        let named = temporary::new_file(directory, 0o666);
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
            sync_file(&file, path)?;
        }
        let (file, name) = match name {
            Some(name) => (file, name),
            None => give_name(file, parent_of(path), sync).map_err(error)?,
        };
        name.persist(path).map_err(|failed| error(failed.error))?;
        Ok(file)
    }
}

/// Makes a file in a directory that no other program can open.
pub(crate) fn nameless(directory: &Path) -> io::Result<std::fs::File> {
    // Where the file system cannot, its name is removed at once.
    open_nameless(directory).or_else(|_| Ok(temporary::new_file(directory, 0o600)?.into_file()))
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
fn give_name(
    file: std::fs::File,
    directory: &Path,
    sync: bool,
) -> io::Result<(std::fs::File, TempPath)> {
    // Without a lock, another run could remove the name as abandoned.
    drop(file.try_lock());
    let builder = temporary::builder(temporary::PREFIX);
    match builder.make_in(directory, |path| link(&file, path)) {
        Ok(linked) => Ok((file, linked.into_temp_path())),
        // A system that does not allow it costs a copy.
        Err(_) => Ok(copy(&file, directory, sync)?.into_parts()),
    }
}

fn copy(file: &std::fs::File, directory: &Path, sync: bool) -> io::Result<NamedTempFile> {
    use io::Seek as _;
    let mut named = temporary::new_file(directory, 0o666)?;
    let mut original = file;
    original.rewind()?;
    io::copy(&mut original, named.as_file_mut())?;
    let permissions = original.metadata()?.permissions();
    named.as_file().set_permissions(permissions)?;
    if sync {
        named.as_file().sync_all()?;
    }
    Ok(named)
}

/// Waits until a file or directory is on the disk, as the one called `path`.
pub(crate) fn sync_file(file: &std::fs::File, path: &Path) -> Result<()> {
    let synced = file.sync_all();
    synced.map_err(|source| Error::Sync(path.to_path_buf(), source))
}

/// Returns where a file called `path` is, or would be made: links are followed,
/// as by every program that writes a file, also a dangling one.
///
/// # Errors
///
/// When there are too many links, or when one of them is not to be trusted.
pub(crate) fn target_of(path: &Path) -> Result<PathBuf> {
    let names = |path: &Path| -> Vec<OsString> {
        let names = path.components().rev();
        names.map(|name| name.as_os_str().to_owned()).collect()
    };
    let mut at = PathBuf::new();
    let mut rest = names(path);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        let next = at.join(name);
        let target = fs::read_link(&next).ok().filter(|target| {
            // What `/dev/stderr` leads to may be no path: a pipe has none.
            fs::symlink_metadata(at.join(target)).is_ok() || fs::metadata(&next).is_err()
        });
        let Some(target) = target else {
            at = next;
            continue;
        };
        check_link(&next).map_err(|source| write_error(path, source))?;
        links += 1;
        if links > MAX_LINKS {
            return Err(write_error(path, rustix::io::Errno::LOOP.into()));
        }
        rest.extend(names(&target));
    }
    Ok(at)
}

/// Refuses a link as the kernel does, whether `fs.protected_symlinks` is set or
/// not: in a directory like `/tmp`, one of a user who is neither this one nor
/// the owner of the directory.
fn check_link(link: &Path) -> io::Result<()> {
    let owner = fs::symlink_metadata(link)?.uid();
    let directory = fs::metadata(parent_of(link))?;
    if owner == geteuid().as_raw()
        || owner == directory.uid()
        || directory.mode() & 0o1002 != 0o1002
    {
        return Ok(());
    }
    let link = link.display();
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "`{link}` is a link of user {owner} in a directory of all users: remove it, or name the file that it leads to"
        ),
    ))
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
    use std::os::unix::fs::{PermissionsExt, symlink};

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
        copy(&file, directory.path(), true)
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
        let real = fs::canonicalize(path("new")).unwrap();
        assert_eq!(fs::canonicalize(target).unwrap(), real);
        symlink("loop", path("loop")).unwrap();
        assert!(target_of(&path("loop")).is_err());
        assert_eq!(target_of(&path("plain")).unwrap(), path("plain"));
        let (pipe, _writer) = io::pipe().unwrap();
        let descriptor = pipe.as_raw_fd();
        let target = target_of(Path::new(&format!("/proc/self/fd/{descriptor}")));
        let own = format!("/proc/{}/fd/{descriptor}", std::process::id());
        assert_eq!(target.unwrap(), Path::new(&own));
    }
}
