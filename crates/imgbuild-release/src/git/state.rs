//! Differences between a work tree and its commit.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err as fs;
use imgbuild_oci::root_directory::RootDirectory;

use super::id::Hasher;
use super::index::{self, MODE_SUBMODULE, TrackedFile};
use super::{Commit, GitResult, ObjectId, WorkTree, file, place};

/// Seconds since 1970, and nanoseconds.
type Timestamp = (i64, i64);

/// The most submodules in each other.
const MAX_SUBMODULES: usize = 16;

/// The work of a repository beside that of its index, in bytes.
const REPOSITORY_BYTES: u64 = 64 << 10;

/// The bytes of content that are hashed in the time in which one byte of an index is parsed.
const HASHED_BYTES: u64 = 64;

const MODE_FILE_TYPE: u32 = 0o170_000;
const MODE_LINK: u32 = 0o120_000;
const MODE_FILE: u32 = 0o100_000;
const MODE_EXECUTABLE: u32 = 0o100;

impl WorkTree {
    pub(super) fn is_dirty_below(&self, head: &Commit, depth: usize) -> GitResult<bool> {
        let path = self.place.git.join("index");
        // Without an index, git knows no file.
        let written = file::existing(fs::metadata(&path))?
            .map_or((0, 0), |found| (found.mtime(), found.mtime_nsec()));
        let hash = self.objects.hash;
        let entries = match file::read(&path, index::MAX_BYTES)? {
            Some(data) => {
                let work = REPOSITORY_BYTES + data.len() as u64;
                self.budget.spend(work, &path)?;
                index::parse(&data, hash, &path, index::path_limit(&data))?
            }
            None => Vec::new(),
        };
        if entries.iter().any(|entry| entry.is_unmerged)
            || index::tree(&entries, 0, hash) != head.tree
        {
            return Ok(true);
        }
        for entry in entries.iter().filter(|entry| !entry.is_skipped) {
            if self.is_changed(entry, written, depth)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_changed(&self, entry: &TrackedFile, written: Timestamp, depth: usize) -> GitResult<bool> {
        let relative = Path::new(OsStr::from_bytes(&entry.path));
        let path = self.root().join(relative);
        let Some(found) = file::existing(fs::symlink_metadata(&path))? else {
            return Ok(true);
        };
        if entry.mode == MODE_SUBMODULE {
            return self.is_submodule_changed(&path, entry.id, depth);
        }
        if self.has_other_mode(entry.mode, found.mode()) {
            return Ok(true);
        }
        if is_unchanged(entry, &found, written) {
            return Ok(false);
        }
        self.budget.spend(found.len() / HASHED_BYTES, &path)?;
        let id = self.content_id(relative, found.len(), entry.mode);
        Ok(id? != Some(entry.id))
    }

    /// Computes the object name of a file, or of the target of a link; `None` if
    /// the size changes meanwhile, or if the file is behind a link.
    fn content_id(&self, path: &Path, size: u64, mode: u32) -> GitResult<Option<ObjectId>> {
        let hash = self.objects.hash;
        if mode & MODE_FILE_TYPE == MODE_LINK {
            let target = fs::read_link(self.root().join(path))?;
            return Ok(Some(hash.of("blob", target.as_os_str().as_bytes())));
        }
        let mut hasher = Hasher::new(hash, "blob", size);
        let root = RootDirectory::open(self.root())?;
        let Some(file) = file::existing(root.open_file(path))? else {
            return Ok(None);
        };
        let copied = io::copy(&mut file.take(size.saturating_add(1)), &mut hasher)?;
        Ok((copied == size).then(|| hasher.finish()))
    }

    /// Returns whether a file became a link, or executable, or the reverse.
    fn has_other_mode(&self, expected: u32, found: u32) -> bool {
        let kind = |mode: u32| mode & MODE_FILE_TYPE;
        if kind(expected) != kind(found) {
            return true;
        }
        let is_executable = |mode: u32| mode & MODE_EXECUTABLE != 0;
        kind(expected) == MODE_FILE
            && self.has_modes
            && is_executable(expected) != is_executable(found)
    }

    /// Returns whether a submodule is at another commit, or is changed itself. One
    /// that is not checked out is as it should be.
    fn is_submodule_changed(
        &self,
        path: &Path,
        expected: ObjectId,
        depth: usize,
    ) -> GitResult<bool> {
        let open = |place| Self::open(place, self.budget.clone());
        let Some(tree) = place::at(path)?.map_or(Ok(None), open)? else {
            return Ok(false);
        };
        match tree.head_id()? {
            Some(id) if id == expected && depth < MAX_SUBMODULES => {
                let head = tree.objects.commit(id, &tree.budget)?;
                tree.is_dirty_below(&head, depth + 1)
            }
            Some(id) => Ok(id != expected),
            None => Ok(true),
        }
    }
}

/// Returns whether the state of a file is that of git's last look.
///
/// A file that changed as late as the index was written may have changed again
/// in the same instant: its content must be compared.
fn is_unchanged(entry: &TrackedFile, found: &std::fs::Metadata, written: Timestamp) -> bool {
    // Git keeps 32 bits; where it was built without nanoseconds, it keeps none.
    let seconds = |known: u32, found: i64| i64::from(known) == found & 0xffff_ffff;
    let nanoseconds = |known: u32, found: i64| known == 0 || i64::from(known) == found;
    let is_racy = match entry.modified {
        (modified, 0) => i64::from(modified) >= written.0,
        (modified, part) => (i64::from(modified), i64::from(part)) >= written,
    };
    !is_racy
        && u64::from(entry.size) == found.len() & 0xffff_ffff
        && seconds(entry.modified.0, found.mtime())
        && nanoseconds(entry.modified.1, found.mtime_nsec())
        && seconds(entry.changed.0, found.ctime())
        && nanoseconds(entry.changed.1, found.ctime_nsec())
}
