//! How large a store is, and how it becomes smaller.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use fs_err as fs;

use super::record::ContentRecord;
use super::{
    BASE_SYSTEMS, BASES, BLOBS, CONTENTS, DIRECTORIES, LAYERS, NOTES, OUTPUTS, SYSTEMS, Store,
    TEMPORARY,
};
use crate::content::{FileState, Timestamp};

/// What a small file takes on a disk, in bytes.
const RECORD_BYTES: u64 = 4096;

/// More records than this only make it slow to look through them.
const MAX_RECORDS: usize = 20_000;

/// A file that no build has completed in a day never will be.
const STALE_SECONDS: i64 = 24 * 60 * 60;

/// What a store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many compressed layers there are.
    pub blobs: usize,
    /// Their bytes.
    pub blob_bytes: u64,
    /// The bytes of documents and layers of base images, and of what is known
    /// of their files.
    pub base_bytes: u64,
    /// How many of these files there are.
    pub bases: usize,
    /// How many records there are.
    pub records: usize,
    /// The bytes of everything, small files as the disk counts them.
    pub bytes: u64,
}

/// What was removed from a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Files that go together, with the time when they were last of use.
#[derive(Debug)]
struct Unit {
    used: Timestamp,
    bytes: u64,
    paths: Vec<PathBuf>,
}

/// One file of a store.
#[derive(Debug)]
struct Found {
    name: String,
    path: PathBuf,
    state: FileState,
}

impl Store {
    /// Counts what is there.
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

    /// Removes what was not used for the longest time, until everything takes
    /// at most `limit` bytes; and what killed builds have left.
    ///
    /// Safe beside running builds: they hold open what they have found.
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
                pruned.files += usize::from(fs::remove_file(path).is_ok());
            }
            pruned.bytes += unit.bytes;
        }
        Ok(pruned)
    }

    /// Removes everything, also what running builds are about to complete:
    /// they go on without.
    ///
    /// # Errors
    ///
    /// When something cannot be removed.
    pub fn clear(&self) -> io::Result<Pruned> {
        let usage = self.usage()?;
        for directory in DIRECTORIES {
            for found in self.files(directory)? {
                match fs::remove_file(&found.path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
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
            if found.state.mtime.seconds.saturating_add(STALE_SECONDS) < now.seconds
                && fs::remove_file(&found.path).is_ok()
            {
                pruned.files += 1;
                pruned.bytes += found.state.size;
            }
        }
        Ok(())
    }

    /// A blob goes with the records that lead to it, and so does what is
    /// known of a base image's files; every other record by itself.
    fn units(&self) -> io::Result<Vec<Unit>> {
        let mut blobs = self.units_by_name(BLOBS)?;
        let mut systems = self.units_by_name(BASE_SYSTEMS)?;
        let mut units = Vec::new();
        for found in self.files(SYSTEMS)? {
            match systems.get_mut(&found.name) {
                Some(unit) => unit.add_record(found),
                None => units.push(Unit::of_record(found)),
            }
        }
        for found in self.files(CONTENTS)? {
            let record: Option<ContentRecord> = self.load(&found.name);
            match record.and_then(|record| blobs.get_mut(&record.digest.hex())) {
                Some(unit) => unit.add_record(found),
                None => units.push(Unit::of_record(found)),
            }
        }
        for directory in [LAYERS, OUTPUTS, NOTES] {
            units.extend(self.files(directory)?.into_iter().map(Unit::of_record));
        }
        units.extend(blobs.into_values());
        units.extend(systems.into_values());
        units.extend(self.units_by_name(BASES)?.into_values());
        Ok(units)
    }

    fn units_by_name(&self, directory: &str) -> io::Result<BTreeMap<String, Unit>> {
        let units = self.files(directory)?.into_iter().map(|found| {
            let unit = Unit {
                used: found.state.mtime,
                bytes: found.state.size,
                paths: vec![found.path],
            };
            (found.name, unit)
        });
        Ok(units.collect())
    }

    fn files(&self, directory: &str) -> io::Result<Vec<Found>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.root.join(directory))? {
            let entry = entry?;
            // It may be gone by now.
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else {
                continue;
            };
            if metadata.is_file() {
                files.push(Found {
                    name: entry.file_name().to_string_lossy().into_owned(),
                    path: entry.path(),
                    state: FileState::of(&metadata),
                });
            }
        }
        Ok(files)
    }
}

impl Unit {
    fn of_record(found: Found) -> Self {
        Self {
            used: found.state.mtime,
            bytes: RECORD_BYTES,
            paths: vec![found.path],
        }
    }

    fn add_record(&mut self, found: Found) {
        self.used = self.used.max(found.state.mtime);
        self.bytes += RECORD_BYTES;
        // The record first: it must not lead to nothing.
        self.paths.insert(0, found.path);
    }
}
