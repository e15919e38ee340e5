//! A directory that remembers layers from one build to the next.
//!
//! ```text
//! v2/layers/KEY           the states of all files of a layer -> its diff ID
//! v2/contents/SHAPE-DIFF  a tar to be compressed -> its blob's digest
//! v2/blobs/sha256/HEX     compressed layers
//! v2/bases/blobs/sha256/HEX  documents and layers of base images of registries
//! v2/bases/systems/KEY    file systems of base images, so that layers are read once
//! v2/systems/KEY          the state and the digest of the file above
//! v2/outputs/KEY          a file that was written -> the digest of its contents
//! v2/notes/KEY            other facts about files in a known state
//! v2/tmp/                 incomplete files
//! ```
//!
//! Every file appears under its name by a rename, complete. Any of them may be
//! gone at any time: then the layer is made again. Nothing is locked, so
//! builds share a store, and a build may be killed at any time. A damaged blob
//! is removed by `Store::blob`, or by `Layer::check_crc` when it is copied.
//! What may be trusted, and why, is in `docs/decisions/0009-cache.md`.

mod bases;
mod key;
mod open;
mod prune;
pub(crate) mod record;
mod systems;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use fs_err as fs;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW};
use tempfile::NamedTempFile;

use crate::bounded;
use crate::content::{FileState, HostFile, Timestamp};
use crate::digest::{DiffId, Digest};
use crate::statfs;
use crate::temporary;

pub use bases::{Bases, NewBlobFile};
pub(crate) use key::LayerKey;
pub(crate) use prune::remove_below;
pub use prune::{Pruned, Usage};
pub(crate) use record::LayerRecord;
use record::{ContentRecord, NoteRecord, OutputRecord, Record};
use verify::open_recorded;

/// The size in bytes to which a store is pruned by default.
pub const DEFAULT_MAX_BYTES: u64 = 2 << 30;

/// The version of the layout and of the records. Another version is another
/// directory.
const VERSION: &str = "v2";

const LAYERS: &str = "layers";
const CONTENTS: &str = "contents";
const BLOBS: &str = "blobs/sha256";
const BASES: &str = "bases/blobs/sha256";
const BASE_SYSTEMS: &str = "bases/systems";
const SYSTEMS: &str = "systems";
const OUTPUTS: &str = "outputs";
const NOTES: &str = "notes";
const TEMPORARY: &str = "tmp";

const DIRECTORIES: [&str; 9] = [
    LAYERS,
    CONTENTS,
    BLOBS,
    BASES,
    BASE_SYSTEMS,
    SYSTEMS,
    OUTPUTS,
    NOTES,
    TEMPORARY,
];

/// The largest record in bytes; nearly all have about a hundred.
const MAX_RECORD_BYTES: u64 = 16 << 20;

/// A directory of layers and of records about them.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    is_writable: bool,
    /// The names in `contents`, when they were first needed.
    contents: OnceLock<BTreeSet<String>>,
    /// The devices of files, with true for those that can be trusted.
    devices: Mutex<BTreeMap<u64, bool>>,
    /// The time of the file system's clock when it was last asked for by a note.
    clock: Mutex<Option<Timestamp>>,
    problem: Mutex<Option<String>>,
    has_grown: AtomicBool,
    is_disabled: AtomicBool,
}

/// A compressed layer of a store, held open so that pruning does not remove it.
#[derive(Debug)]
pub(crate) struct StoredBlob {
    pub(crate) file: std::fs::File,
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) crc: u32,
}

/// The identity of a blob that was just made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewBlob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) crc: u32,
}

impl Store {
    fn at(directory: &Path, is_writable: bool) -> Self {
        Self {
            root: directory.join(VERSION),
            is_writable,
            contents: OnceLock::new(),
            devices: Mutex::default(),
            clock: Mutex::default(),
            problem: Mutex::default(),
            has_grown: AtomicBool::new(false),
            is_disabled: AtomicBool::new(false),
        }
    }

    /// Returns the time of the file system's clock.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        let file = self.new_temporary();
        match file.and_then(|file| file.as_file().metadata()) {
            Ok(metadata) => Some(FileState::of(&metadata).mtime),
            Err(error) => {
                self.note_problem(&error);
                None
            }
        }
    }

    /// Returns an earlier time of this clock if it is after `moment`, else the
    /// present one: to read the clock makes a file.
    fn time_after(&self, moment: Timestamp) -> Option<Timestamp> {
        let mut clock = self.clock.lock().expect("no holder of the lock panics");
        if clock.is_none_or(|earlier| earlier <= moment) {
            *clock = self.now();
        }
        *clock
    }

    /// Returns whether any later change of the files would show in their states:
    /// at the time `now` none is younger than the grain of the clock, and all are
    /// on `devices` whose times are reliable.
    pub(crate) fn trusts(
        &self,
        settled: Timestamp,
        devices: &BTreeMap<u64, &Path>,
        now: Timestamp,
    ) -> bool {
        settled < now
            && devices
                .iter()
                .all(|(device, path)| self.is_local(*device, path))
    }

    fn is_local(&self, device: u64, path: &Path) -> bool {
        let mut devices = self.devices.lock().expect("no holder of the lock panics");
        let find = || statfs::is_local(path);
        *devices.entry(device).or_insert_with(find)
    }

    /// Returns the record of a layer, and its path.
    pub(crate) fn layer(&self, state: Digest) -> Option<(LayerRecord, PathBuf)> {
        self.recall(&state.hex())
    }

    pub(crate) fn remember_layer(&self, state: Digest, record: &LayerRecord) {
        self.save(&state.hex(), record);
    }

    /// Returns whether a layer of this shape has been compressed before.
    pub(crate) fn knows(&self, shape: Digest) -> bool {
        let names = self.contents.get_or_init(|| self.names(CONTENTS));
        let start = format!("{}-", shape.hex());
        let mut following = names.range(start.clone()..);
        following
            .next()
            .is_some_and(|name| name.starts_with(&start))
    }

    fn names(&self, directory: &str) -> BTreeSet<String> {
        let Ok(entries) = fs::read_dir(self.root.join(directory)) else {
            return BTreeSet::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect()
    }

    /// Returns the blob of a layer whose tar is known.
    ///
    /// If the state of its file changed, for example in a store that was copied
    /// to another machine, it is hashed first.
    pub(crate) fn blob(&self, shape: Digest, diff_id: DiffId) -> Option<StoredBlob> {
        let name = content_name(shape, diff_id);
        let mut record: ContentRecord = self.load(&name)?;
        let place = self.path(CONTENTS, &name);
        let path = self.path(BLOBS, &record.digest.hex());
        let Some((file, state)) = open_recorded(&path, &record.state, record.digest) else {
            self.forget(&place);
            self.forget(&path);
            return None;
        };
        if state != record.state {
            record.state = state;
            self.save(&name, &record);
        }
        self.touch(&place);
        Some(StoredBlob {
            file,
            path,
            digest: record.digest,
            size: state.size,
            crc: record.crc,
        })
    }

    /// Makes a file for a blob; `None` if the store cannot be written.
    pub(crate) fn new_blob(&self) -> Option<NamedTempFile> {
        if self.is_disabled.load(Ordering::Relaxed) {
            return None;
        }
        match self.new_temporary() {
            Ok(file) => Some(file),
            Err(error) => {
                self.give_up(&error);
                None
            }
        }
    }

    /// Takes no more blobs in this run, because of `error`.
    pub(crate) fn give_up(&self, error: &io::Error) {
        self.is_disabled.store(true, Ordering::Relaxed);
        self.note_problem(error);
    }

    fn new_temporary(&self) -> io::Result<NamedTempFile> {
        temporary::new_file(&self.root.join(TEMPORARY), 0o600)
    }

    /// Gives a complete blob its name. The file can be read in any case.
    pub(crate) fn insert(
        &self,
        blob: NamedTempFile,
        made: NewBlob,
        shape: Digest,
        diff_id: DiffId,
    ) -> StoredBlob {
        let path = self.path(BLOBS, &made.digest.hex());
        let stored = |file| StoredBlob {
            file,
            path: path.clone(),
            digest: made.digest,
            size: made.size,
            crc: made.crc,
        };
        let read_only = std::fs::Permissions::from_mode(0o444);
        // Only a hint to people.
        drop(blob.as_file().set_permissions(read_only));
        let file = match blob.persist(&path) {
            Ok(file) => file,
            Err(error) => {
                self.note_problem(&error.error);
                return stored(error.file.into_file());
            }
        };
        self.has_grown.store(true, Ordering::Relaxed);
        if let Ok(metadata) = file.metadata() {
            let record = ContentRecord {
                digest: made.digest,
                crc: made.crc,
                state: FileState::of(&metadata),
            };
            self.save(&content_name(shape, diff_id), &record);
        }
        stored(file)
    }

    /// Returns whether the file at `path` is unchanged since `identity` was
    /// written to it.
    pub(crate) fn has_output(&self, path: &Path, identity: Digest) -> bool {
        let Some(key) = output_key(path) else {
            return false;
        };
        let record: Option<OutputRecord> = self.load(&key.hex());
        let Some(record) = record.filter(|record| record.identity == identity) else {
            return false;
        };
        let is_same =
            fs::symlink_metadata(path).is_ok_and(|found| FileState::of(&found) == record.state);
        if is_same {
            self.touch(&self.path(OUTPUTS, &key.hex()));
        }
        is_same
    }

    pub(crate) fn remember_output(&self, path: &Path, identity: Digest, state: FileState) {
        let key = output_key(path).filter(|_| self.is_local(state.device, path));
        if let Some(key) = key {
            let record = OutputRecord { identity, state };
            self.save(&key.hex(), &record);
        }
    }

    /// Returns the note of this `kind` about files that are in the same state
    /// now, and the key for a new one. Without reliable states there is no key.
    pub fn note<'a>(
        &self,
        kind: &str,
        files: impl Iterator<Item = &'a HostFile>,
    ) -> Option<(NoteKey, Option<Vec<u8>>)> {
        let (key, settled, devices) = key::key_of_files(kind, files);
        let now = self.time_after(settled)?;
        if !self.trusts(settled, &devices, now) {
            return None;
        }
        let note = self.recall(&key.hex());
        Some((NoteKey(key), note.map(|(NoteRecord(note), _)| note)))
    }

    /// Keeps a note about files that were read after [`Store::note`].
    pub fn remember_note(&self, key: NoteKey, note: &[u8]) {
        self.save(&key.0.hex(), &NoteRecord(note.to_vec()));
    }

    /// Returns the first failure to write to the store.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem
            .lock()
            .expect("no holder of the lock panics")
            .clone()
    }

    /// Returns whether anything was added, so that pruning may be due.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.has_grown.load(Ordering::Relaxed)
    }

    /// Records that something was added by other means.
    pub fn note_growth(&self) {
        self.has_grown.store(true, Ordering::Relaxed);
    }

    /// Records a failure to write; the build goes on without.
    pub(crate) fn note_problem(&self, error: &io::Error) {
        let mut problem = self.problem.lock().expect("no holder of the lock panics");
        problem.get_or_insert_with(|| error.to_string());
    }

    fn path(&self, directory: &str, name: &str) -> PathBuf {
        let mut path = self.root.join(directory);
        path.push(name);
        path
    }

    /// Returns the record of this name, if it is there and whole.
    fn load<R: Record>(&self, name: &str) -> Option<R> {
        let path = self.path(R::DIRECTORY, name);
        let bytes = bounded::read_file(&path, MAX_RECORD_BYTES).ok()?;
        crate::record::decode(R::KIND, &bytes)
    }

    /// As [`Store::load`], marks the record as used, and returns its path.
    fn recall<R: Record>(&self, name: &str) -> Option<(R, PathBuf)> {
        let record = self.load(name)?;
        let path = self.path(R::DIRECTORY, name);
        self.touch(&path);
        Some((record, path))
    }

    fn save<R: Record>(&self, name: &str, record: &R) {
        if !self.is_writable {
            return;
        }
        let written = self.new_temporary().and_then(|mut file| {
            file.write_all(&crate::record::encode(R::KIND, record))?;
            file.persist(self.path(R::DIRECTORY, name))
                .map_err(io::Error::from)
        });
        match written {
            Ok(_) => self.has_grown.store(true, Ordering::Relaxed),
            Err(error) => self.note_problem(&error),
        }
    }

    /// Marks a record as used now, for the order of eviction.
    fn touch(&self, path: &Path) {
        if self.is_writable {
            mark_used(path);
        }
    }

    /// Removes a file, which another program may have removed already.
    fn forget(&self, path: &Path) {
        if self.is_writable {
            drop(remove_below(&self.root, path));
        }
    }
}

/// Makes a directory that only this user can read, and those above it.
fn make_directory(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(|error| at_path(path, &error))
}

/// Adds the path to an error.
fn at_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

/// The key of a note.
#[derive(Debug, Clone, Copy)]
pub struct NoteKey(Digest);

fn mark_used(path: &Path) {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let times = Timestamps {
        last_access: now,
        last_modification: now,
    };
    let _is_marked = rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()).is_ok();
}

fn content_name(shape: Digest, diff_id: DiffId) -> String {
    format!("{}-{}", shape.hex(), diff_id.as_digest().hex())
}

/// Returns the key of an output: its path without links.
fn output_key(path: &Path) -> Option<Digest> {
    use std::os::unix::ffi::OsStrExt;
    let place = fs::canonicalize(path).ok()?;
    Some(key::digest_of(&[place.as_os_str().as_bytes()]))
}

/// Returns the identity of an archive that is compressed as a whole.
pub(crate) fn compressed_identity(archive: Digest) -> Digest {
    let format = key::LAYER_FORMAT.as_bytes();
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    key::digest_of(&[b"compressed archive", format, version, archive.as_bytes()])
}

/// Returns the identity of an output that may be lost when the machine stops.
pub(crate) fn identity_of_boot(identity: Digest, boot: &[u8]) -> Digest {
    key::digest_of(&[b"not synced", boot, identity.as_bytes()])
}

#[cfg(test)]
mod tests;
