//! Opening a store. What another user can write is not trusted.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::process::{getegid, geteuid};

use super::{CONTENTS, DIRECTORIES, Store, make_directory};
use crate::error::with_causes;
use crate::new_file::target_of;

/// The file by which backup programs leave the directory out
/// (<https://bford.info/cachedir/>).
const TAG: &str = "CACHEDIR.TAG";

/// The content of [`TAG`].
const TAG_TEXT: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This directory is the cache of imgbuild; it can be removed at any time.\n";

impl Store {
    /// Opens the store in `directory`, or makes one there.
    ///
    /// # Errors
    ///
    /// When the directory cannot be written, and as [`Store::check_owner`].
    pub fn open(directory: &Path) -> io::Result<Self> {
        let directory = trusted_target(directory)?;
        let store = Self::at(&directory, true);
        make_directory(&directory)?;
        store.check_owner()?;
        if store.new_temporary().is_err() {
            // Unlike `create`, this does not follow a link.
            let tag = fs::File::create_new(directory.join(TAG));
            tag.map_or(Ok(()), |mut tag| tag.write_all(TAG_TEXT.as_bytes()))?;
            let mut parts = DIRECTORIES.iter().map(|name| store.root.join(name));
            parts.try_for_each(|part| make_directory(&part))?;
            store.new_temporary()?;
        }
        Ok(store)
    }

    /// Opens the store in `directory` as [`Store::open`]; `None` if it is missing.
    ///
    /// # Errors
    ///
    /// As [`Store::open`], also when a store made there could not be used.
    pub fn open_existing(directory: &Path) -> io::Result<Option<Self>> {
        let target = trusted_target(directory)?;
        Self::at(&target, false).check_owner()?;
        let found = Self::open_read_only(&target);
        found.map(|_| Self::open(directory)).transpose()
    }

    /// Opens the store in `directory` for reading only; `None` if it is missing.
    #[must_use]
    pub fn open_read_only(directory: &Path) -> Option<Self> {
        let store = Self::at(directory, false);
        store.root.join(CONTENTS).is_dir().then_some(store)
    }

    /// Checks that no other user can write to the store, and that no part of it
    /// is a link.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] with the part that is not trusted.
    pub fn check_owner(&self) -> io::Result<()> {
        let directory = self.root.parent().unwrap_or(&self.root);
        let parts = DIRECTORIES.iter().map(|name| self.root.join(name));
        for part in parts.chain([directory.join(TAG)]) {
            let mut parts = part
                .ancestors()
                .take_while(|part| part.starts_with(directory));
            parts.try_for_each(check_part)?;
        }
        Ok(())
    }
}

fn trusted_target(directory: &Path) -> io::Result<PathBuf> {
    target_of(directory).map_err(|error| untrusted(with_causes(&error, ": ")))
}

fn untrusted(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn check_part(part: &Path) -> io::Result<()> {
    // What is missing will be made, and belong to this user.
    let Ok(found) = fs::symlink_metadata(part) else {
        return Ok(());
    };
    let mode = found.mode();
    // Where the umask is 002, the user's own group has no other members.
    let is_of_group = mode & 0o020 != 0 && found.gid() != getegid().as_raw();
    let problem = if found.is_symlink() {
        "is a link".to_owned()
    } else if found.uid() != geteuid().as_raw() {
        format!("belongs to user {}", found.uid())
    } else if found.is_dir() && (mode & 0o002 != 0 || is_of_group) {
        "can be written by other users".to_owned()
    } else {
        return Ok(());
    };
    Err(untrusted(format!("`{}` {problem}", part.display())))
}
