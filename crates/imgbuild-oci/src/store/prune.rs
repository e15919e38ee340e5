//! The size of a store, and its pruning.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::AtFlags;

use super::record::ContentRecord;
use super::{
    BASE_SYSTEMS, BASES, BLOBS, CONTENTS, DIRECTORIES, LAYERS, NOTES, OUTPUTS, SYSTEMS, Store,
    TEMPORARY, at_path,
};
use crate::content::{FileState, Timestamp};
use crate::new_file::parent_of;
use crate::root_directory::RootDirectory;
use crate::temporary::remove_unlocked;

/// The size of a small file on a disk, in bytes.
const RECORD_BYTES: u64 = 4096;

/// More records than this only make it slow to look through them.
const MAX_RECORDS: usize = 20_000;

/// The age in seconds after which an incomplete file was left by a killed
/// build, also where the file system has no locks: a day.
const STALE_SECONDS: i64 = 24 * 60 * 60;

/// The contents of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The number of compressed layers.
    pub blobs: usize,
    /// The size of the compressed layers in bytes.
    pub blob_bytes: u64,
    /// The size in bytes of documents, layers and file systems of base images.
    pub base_bytes: u64,
    /// The number of files of base images.
    pub bases: usize,
    /// The number of records.
    pub records: usize,
    /// The size of everything in bytes, of small files as on a disk.
    pub bytes: u64,
}

/// The files that were removed from a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The number of files.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Files that are removed together, with the time of their last use.
#[derive(Debug)]
struct PruneUnit {
    used: Timestamp,
    bytes: u64,
    paths: Vec<PathBuf>,
}

/// One file of a store.
#[derive(Debug)]
struct StoreFile {
    name: String,
    path: PathBuf,
    state: FileState,
}

impl Store {
    /// Returns the contents of the store.
    ///
    /// # Errors
    ///
    /// When a directory of the store cannot be read.
    pub fn usage(&self) -> io::Result<Usage> {
        let mut usage = Usage::default();
        for blob in self.files(BLOBS)? {
            usage.blobs += 1;
            usage.blob_bytes += blob.state.size;
        }
        for directory in [BASES, BASE_SYSTEMS] {
            for found in self.files(directory)? {
                usage.bases += 1;
                usage.base_bytes += found.state.size;
            }
        }
        for directory in [LAYERS, CONTENTS, SYSTEMS, OUTPUTS, NOTES] {
            usage.records += self.files(directory)?.len();
        }
        usage.bytes = usage.blob_bytes + usage.base_bytes;
        usage.bytes += usage.records as u64 * RECORD_BYTES;
        Ok(usage)
    }

    /// Removes the least recently used files until all take at most `limit`
    /// bytes, and the files of killed builds.
    ///
    /// Safe while builds run: they hold open what they use.
    ///
    /// # Errors
    ///
    /// When a directory of the store cannot be read.
    pub fn prune(&self, limit: u64) -> io::Result<Pruned> {
        let mut pruned = Pruned::default();
        self.remove_stale(&mut pruned)?;
        let mut units = self.units()?;
        units.sort_by_key(|unit| unit.used);
        let mut bytes: u64 = units.iter().map(|unit| unit.bytes).sum();
        let mut count = units.len();
        for unit in units {
            if bytes <= limit && count <= MAX_RECORDS {
                break;
            }
            bytes -= unit.bytes;
            count -= 1;
            for path in &unit.paths {
                pruned.files += usize::from(remove_below(&self.root, path).is_ok());
            }
            pruned.bytes += unit.bytes;
        }
        Ok(pruned)
    }

    /// Removes everything, also the incomplete files of running builds, which go
    /// on without.
    ///
    /// # Errors
    ///
    /// When a file cannot be removed.
    pub fn clear(&self) -> io::Result<Pruned> {
        let usage = self.usage()?;
        for directory in DIRECTORIES {
            for found in self.files(directory)? {
                match remove_below(&self.root, &found.path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(at_path(&found.path, &error));
                    }
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(Pruned {
            files: usage.blobs + usage.bases + usage.records,
            bytes: usage.bytes,
        })
    }

    fn remove_stale(&self, pruned: &mut Pruned) -> io::Result<()> {
        let Some(now) = self.now() else {
            return Ok(());
        };
        for found in self.files(TEMPORARY)? {
            let is_stale = found.state.mtime.seconds.saturating_add(STALE_SECONDS) < now.seconds;
            if remove_unlocked(&found.path).is_ok()
                || is_stale && remove_below(&self.root, &found.path).is_ok()
            {
                pruned.files += 1;
                pruned.bytes += found.state.size;
            }
        }
        Ok(())
    }

    /// Returns the units: a blob with the records that lead to it, a file system
    /// of a base image with its record, and every other record by itself.
    fn units(&self) -> io::Result<Vec<PruneUnit>> {
        let mut blobs = self.units_by_name(BLOBS)?;
        let mut systems = self.units_by_name(BASE_SYSTEMS)?;
        let mut units = Vec::new();
        for found in self.files(SYSTEMS)? {
            match systems.get_mut(&found.name) {
                Some(unit) => unit.add_record(found),
                None => units.push(PruneUnit::of_record(found)),
            }
        }
        for found in self.files(CONTENTS)? {
            let record: Option<ContentRecord> = self.load(&found.name);
            match record.and_then(|record| blobs.get_mut(&record.digest.hex())) {
                Some(unit) => unit.add_record(found),
                None => units.push(PruneUnit::of_record(found)),
            }
        }
        for directory in [LAYERS, OUTPUTS, NOTES] {
            units.extend(self.files(directory)?.into_iter().map(PruneUnit::of_record));
        }
        units.extend(blobs.into_values());
        units.extend(systems.into_values());
        units.extend(self.units_by_name(BASES)?.into_values());
        Ok(units)
    }

    fn units_by_name(&self, directory: &str) -> io::Result<BTreeMap<String, PruneUnit>> {
        let units = self.files(directory)?.into_iter().map(|found| {
            let unit = PruneUnit {
                used: found.state.mtime,
                bytes: found.state.size,
                paths: vec![found.path],
            };
            (found.name, unit)
        });
        Ok(units.collect())
    }

    fn files(&self, directory: &str) -> io::Result<Vec<StoreFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.root.join(directory))? {
            let entry = entry?;
            // It may be gone by now.
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else {
                continue;
            };
            if metadata.is_file() {
                files.push(StoreFile {
                    name: entry.file_name().to_string_lossy().into_owned(),
                    path: entry.path(),
                    state: FileState::of(&metadata),
                });
            }
        }
        Ok(files)
    }
}

impl PruneUnit {
    fn of_record(found: StoreFile) -> Self {
        Self {
            used: found.state.mtime,
            bytes: RECORD_BYTES,
            paths: vec![found.path],
        }
    }

    fn add_record(&mut self, found: StoreFile) {
        self.used = self.used.max(found.state.mtime);
        self.bytes += RECORD_BYTES;
        // The record first: it must not lead to a missing file.
        self.paths.insert(0, found.path);
    }
}

/// Removes the file at `path`, which is below `root` and behind no link.
pub(crate) fn remove_below(root: &Path, path: &Path) -> io::Result<()> {
    let parent = parent_of(path).strip_prefix(root);
    let parent = parent.map_err(io::Error::other)?;
    let directory = RootDirectory::open(root)?.open_directory(parent)?;
    let name = path.file_name().unwrap_or_default();
    Ok(rustix::fs::unlinkat(&directory, name, AtFlags::empty())?)
}
