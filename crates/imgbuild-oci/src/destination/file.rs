//! Files that appear under their name when they are complete, and pipes and
//! devices, which are written to as they are.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::thread;

use fs_err as fs;
use rustix::fs::{FallocateFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::{PatientWriter, WriteOptions, Written};
use crate::bounded;
use crate::content::{FileState, Timestamp};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layout;
use crate::monitor::Monitor;
use crate::new_file::{NewFile, parent_of, target_of, write_error};
use crate::store;

/// Calls `write` to fill a new file, which then replaces the one at `path`,
/// unless that is known to have this identity. A device or pipe is written to
/// directly; `write` gets `false` then.
pub(super) fn write_file(
    path: &Path,
    options: WriteOptions<'_>,
    identity: Digest,
    monitor: Monitor<'_>,
    write: impl FnOnce(&mut std::fs::File, bool) -> Result<()>,
) -> Result<Written> {
    let target = target_of(path)?;
    if let Ok(metadata) = fs::metadata(&target) {
        let kind = metadata.file_type();
        if kind.is_char_device() || kind.is_fifo() || kind.is_socket() || kind.is_block_device() {
            let mut file = if kind.is_fifo() {
                open_pipe(&target, monitor)?
            } else {
                let opened = fs::OpenOptions::new().write(true).open(&target);
                opened.map_err(Error::File)?.into_parts().0
            };
            write(&mut file, false)?;
            return Ok(Written::New);
        }
    }
    let identities = written_identities(identity, options.sync);
    if let Some(store) = options.store
        && identities
            .iter()
            .any(|identity| store.has_output(&target, *identity))
    {
        return Ok(Written::Unchanged);
    }
    let mut file = NewFile::beside(&target)?;
    write(file.file(), true)?;
    let mark = options.store.and_then(|_| Mark::put(file.file()));
    let file = file.persist(&target, options.sync)?;
    layout::sync_directory(parent_of(&target), options.sync)?;
    if let (Some(store), Some(mark)) = (options.store, mark)
        && let Some(identity) = identities.last()
        && let Some(state) = mark.state(&file)
    {
        store.remember_output(&target, *identity, state);
    }
    Ok(Written::New)
}

/// Waits for a reader of a named pipe. A blocking call cannot be interrupted:
/// signals only set the flag that `monitor` checks.
fn open_pipe(path: &Path, monitor: Monitor<'_>) -> Result<std::fs::File> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let failed = |error: Errno| write_error(path, error.into());
    let opened = monitor.wait_for(&reader_of(path), |interval| {
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(opened) => Ok(Some(opened)),
            Err(Errno::NXIO) => {
                thread::sleep(interval);
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    })?;
    rustix::fs::fcntl_setfl(&opened, OFlags::WRONLY).map_err(failed)?;
    Ok(opened.into())
}

/// Names whoever reads a pipe or device, for the wait until it does.
pub(super) fn reader_of(path: &Path) -> String {
    format!("a program that reads `{}`", path.display())
}

/// Writes a short text to a file, which appears when it is complete; a device
/// or pipe is written to directly.
///
/// # Errors
///
/// When it cannot be written. Then the old file is still there.
pub fn write_text(path: &Path, text: &str, sync: bool, monitor: Monitor<'_>) -> Result<()> {
    write_text_with(path, text, None, sync, monitor)
}

/// Writes a short text to an existing file, as [`write_text`]. The file keeps
/// its permissions, and the new text never has others.
///
/// # Errors
///
/// As [`write_text`], and when there is no such file.
pub fn rewrite_text(path: &Path, text: &str, sync: bool, monitor: Monitor<'_>) -> Result<()> {
    let metadata = fs::metadata(path).map_err(Error::File)?;
    write_text_with(path, text, Some(metadata.permissions()), sync, monitor)
}

fn write_text_with(
    path: &Path,
    text: &str,
    permissions: Option<Permissions>,
    sync: bool,
    monitor: Monitor<'_>,
) -> Result<()> {
    let options = WriteOptions {
        references: &[],
        threads: 1,
        sync,
        store: None,
    };
    let identity = Digest::of(text.as_bytes());
    let written = write_file(path, options, identity, monitor, |file, is_plain| {
        let allowed = match permissions.filter(|_| is_plain) {
            Some(permissions) => file.set_permissions(permissions),
            None => Ok(()),
        };
        let reader = reader_of(path);
        let written = allowed
            .and_then(|()| PatientWriter::new(file, &reader, monitor).write_all(text.as_bytes()));
        written.map_err(|error| write_error(path, error))
    });
    written.map(drop)
}

/// Returns the canonical path of a file that exists or would be made: two names
/// of one file have the same.
#[must_use]
pub fn place_of(path: &Path) -> PathBuf {
    let target = target_of(path).unwrap_or_else(|_| path.to_path_buf());
    let parent = fs::canonicalize(parent_of(&target));
    match (parent, target.file_name()) {
        (Ok(parent), Some(name)) => parent.join(name),
        _ => target,
    }
}

/// The most bytes of the identifier of a boot.
const MAX_ID_BYTES: u64 = 1 << 10;

/// Returns the identities by which a written file counts as unchanged; a file
/// that is written now gets the last one.
///
/// A file that was not synced may lose its content, and not its state, when the
/// machine is restarted.
fn written_identities(identity: Digest, sync: bool) -> Vec<Digest> {
    let mut identities = vec![identity];
    if !sync {
        match bounded::read_file(Path::new("/proc/sys/kernel/random/boot_id"), MAX_ID_BYTES) {
            Ok(boot) => identities.push(store::identity_of_boot(identity, &boot)),
            Err(_) => identities.clear(),
        }
    }
    identities
}

/// A modification time that no write gives a file: one nanosecond after that
/// of the last write.
///
/// A file can be written twice within the resolution of the clock, and then has
/// the same state. The next write to a marked file removes the mark.
struct Mark(Timestamp);

impl Mark {
    /// Marks a file that is complete; `None` if its file system keeps no
    /// nanoseconds.
    fn put(file: &std::fs::File) -> Option<Self> {
        let written = FileState::of(&file.metadata().ok()?).mtime;
        let marked = Timestamp {
            nanoseconds: (written.nanoseconds + 1) % 1_000_000_000,
            ..written
        };
        let time = Timespec {
            tv_sec: marked.seconds,
            tv_nsec: marked.nanoseconds,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::futimens(file, &times).ok()?;
        Some(Self(marked))
    }

    /// Returns the state of a file that still has the mark.
    fn state(&self, file: &std::fs::File) -> Option<FileState> {
        let state = FileState::of(&file.metadata().ok()?);
        (state.mtime == self.0).then_some(state)
    }
}

/// Reserves the whole size: a full disk is detected at once, and reserved blocks
/// are written faster. Has no effect where the file system cannot do it.
pub(super) fn reserve(file: &std::fs::File, size: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Err(rustix::io::Errno::NOSPC) => Err(rustix::io::Errno::NOSPC.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_text_that_is_written_anew_never_has_other_permissions() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let is_done = AtomicBool::new(false);
        let watch = || {
            let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            while !is_done.load(Ordering::Relaxed) {
                assert_eq!(mode(), 0o600);
            }
        };
        thread::scope(|scope| {
            let watcher = scope.spawn(watch);
            for text in ["one", "two"].iter().cycle().take(200) {
                rewrite_text(&path, text, false, Monitor::silent()).unwrap();
            }
            is_done.store(true, Ordering::Relaxed);
            watcher.join().unwrap();
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        let missing = directory.path().join("missing");
        assert!(rewrite_text(&missing, "", false, Monitor::silent()).is_err());
    }

    #[test]
    fn two_names_of_one_file_have_one_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::os::unix::fs::symlink("new", path("link")).unwrap();
        fs::create_dir(path("deep")).unwrap();
        let place = place_of(&path("new"));
        assert_eq!(place_of(&path("link")), place);
        assert_eq!(place_of(&path("deep/../new")), place);
        assert_ne!(place_of(&path("deep/new")), place);
    }
}
