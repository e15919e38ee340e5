//! The keys by which layers are recognized before any of their bytes is read.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::changeset::Changeset;
use crate::compression::Compression;
use crate::content::{Content, FileState, HostFile, Timestamp};
use crate::digest::Digest;
use crate::entry::{EntryKind, Member};

/// The digest of layers that a test makes at every compression: it stands for
/// the bytes that this program makes of a changeset.
///
/// It is a part of every key, so that layers of a version with other tar or
/// compressed bytes are never used. The test fails, and prints the new value,
/// when any of these bytes change.
pub(crate) const LAYER_FORMAT: &str =
    "sha256:ac7279e50362fc335962f7603ef5821ad49bae6ce4ac436f694b3454ccd05797";

/// The grain of a clock that gives nanoseconds: twice the longest tick of a
/// kernel (100 Hz).
const FINE_GRAIN_NANOSECONDS: i64 = 20_000_000;

/// The grain of a file system that keeps whole seconds; FAT keeps every
/// second one.
const COARSE_GRAIN_SECONDS: i64 = 2;

/// Bytes are hashed in runs of this length.
const BUFFER_BYTES: usize = 8 * 1024;

/// The key of a layer that is to be made, in two steps.
#[derive(Debug, Clone)]
pub(crate) struct LayerKey<'a> {
    /// The digest of everything but the contents of files: layers of another
    /// shape have another diff ID.
    pub(crate) shape: Digest,
    /// The digest of the shape and of the state of every file.
    pub(crate) state: Digest,
    /// The first moment at which no file can change any more without a
    /// change of its state.
    pub(crate) settled: Timestamp,
    /// The devices that the files are on, each with one of its files.
    pub(crate) devices: BTreeMap<u64, &'a Path>,
}

impl<'a> LayerKey<'a> {
    pub(crate) fn of(changeset: &'a Changeset, compression: Compression) -> Self {
        let mut shape = Feed::new();
        shape.text(b"imgbuild layer 3");
        shape.text(LAYER_FORMAT.as_bytes());
        shape.text(env!("CARGO_PKG_VERSION").as_bytes());
        shape.text(compression.to_string().as_bytes());
        let mut states = States::new();
        for member in changeset.members() {
            add_entry(&mut shape, member);
            states.add(member.content.as_ref());
        }
        let shape = shape.finish();
        states.feed.bytes(shape.as_bytes());
        Self {
            shape,
            state: states.feed.finish(),
            settled: states.settled,
            devices: states.devices,
        }
    }
}

/// A hash over values, each of which shows where it ends.
struct Feed {
    hasher: Sha256,
    buffer: Vec<u8>,
    /// The directory of the path that was added last.
    directory: Vec<u8>,
}

impl Feed {
    fn new() -> Self {
        Self {
            hasher: Sha256::new(),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            directory: Vec::new(),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Adds a number, in groups of seven bits (LEB128): most are small, and the
    /// hash over all numbers of many files takes time.
    fn number(&mut self, number: u64) {
        let mut bytes = [0; 10];
        let mut length = 0;
        let mut rest = number;
        while rest >= 0x80 {
            bytes[length] = rest as u8 | 0x80;
            rest >>= 7;
            length += 1;
        }
        bytes[length] = rest as u8;
        self.bytes(&bytes[..=length]);
    }

    /// Adds bytes of any length, after their length.
    fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.bytes(text);
    }

    /// Adds a path, without its directory if that is the one of the path before.
    fn path(&mut self, path: &[u8]) {
        let name = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let (directory, name) = path.split_at(name);
        if self.directory == directory {
            self.number(0);
        } else {
            self.number(1);
            self.text(directory);
            self.directory.clear();
            self.directory.extend_from_slice(directory);
        }
        self.text(name);
    }

    fn finish(mut self) -> Digest {
        self.hasher.update(&self.buffer);
        Digest::from_hasher(self.hasher)
    }
}

/// Adds everything in the headers of the tar.
fn add_entry(feed: &mut Feed, member: &Member) {
    let entry = &member.entry;
    let (kind, text, size) = match &entry.kind {
        EntryKind::Directory => (0, [].as_slice(), 0),
        EntryKind::File { size } => (1, [].as_slice(), *size),
        EntryKind::Symlink { target } => (2, target.as_slice(), 0),
        EntryKind::Hardlink { target } => (3, target.as_bytes(), 0),
    };
    let owner = entry.owner;
    feed.number(kind | u64::from(entry.mode) << 8);
    feed.number(u64::from(owner.uid) << 32 | u64::from(owner.gid));
    feed.number(entry.mtime);
    feed.number(size);
    feed.path(entry.path.as_bytes());
    feed.text(text);
    feed.number(entry.xattrs.len() as u64);
    for (name, value) in &entry.xattrs {
        feed.text(name.as_bytes());
        feed.text(value);
    }
}

struct States<'a> {
    feed: Feed,
    settled: Timestamp,
    devices: BTreeMap<u64, &'a Path>,
    last_device: Option<u64>,
}

impl<'a> States<'a> {
    fn new() -> Self {
        Self {
            feed: Feed::new(),
            settled: Timestamp {
                seconds: i64::MIN,
                nanoseconds: 0,
            },
            devices: BTreeMap::new(),
            last_device: None,
        }
    }

    fn add(&mut self, content: Option<&'a Content>) {
        match content {
            None => self.feed.number(0),
            Some(Content::Bytes(bytes)) => {
                self.feed.number(1);
                self.feed.bytes(Digest::of(bytes).as_bytes());
            }
            Some(Content::File(file)) => self.add_file(file),
            // The layer that it was taken from has no state: such a layer is
            // never recognized without being read.
            Some(Content::Range(_)) => {
                self.feed.number(3);
                self.settled.seconds = i64::MAX;
            }
        }
    }

    fn add_file(&mut self, file: &'a HostFile) {
        let state = &file.state;
        self.feed.number(2);
        self.feed.path(file.path.as_os_str().as_bytes());
        add_state(&mut self.feed, state);
        self.settled = self.settled.max(settled(state));
        if self.last_device != Some(state.device) {
            self.devices.entry(state.device).or_insert(&file.path);
            self.last_device = Some(state.device);
        }
    }
}

fn add_state(feed: &mut Feed, state: &FileState) {
    feed.number(state.size);
    for time in [state.mtime, state.ctime] {
        feed.number(time.seconds.cast_unsigned());
        feed.number(time.nanoseconds.cast_unsigned());
    }
    feed.number(state.inode);
    feed.number(state.device);
    feed.number(u64::from(state.mode));
}

/// Returns the moment from which on a change of the file shows in its state:
/// its youngest time and the grain of the clock.
fn settled(state: &FileState) -> Timestamp {
    let youngest = state.mtime.max(state.ctime);
    if state.mtime.nanoseconds == 0 || state.ctime.nanoseconds == 0 {
        return Timestamp {
            seconds: youngest.seconds.saturating_add(COARSE_GRAIN_SECONDS),
            ..youngest
        };
    }
    let nanoseconds = youngest.nanoseconds + FINE_GRAIN_NANOSECONDS;
    Timestamp {
        seconds: youngest.seconds.saturating_add(nanoseconds / 1_000_000_000),
        nanoseconds: nanoseconds % 1_000_000_000,
    }
}

/// Returns the digest of some texts.
pub(super) fn digest_of(texts: &[&[u8]]) -> Digest {
    let mut feed = Feed::new();
    for text in texts {
        feed.text(text);
    }
    feed.finish()
}

/// Returns the key of a set of host files, the moment from which on it can be
/// trusted, and the devices of the files.
pub(super) fn key_of_files<'a>(
    kind: &str,
    files: impl Iterator<Item = &'a HostFile>,
) -> (Digest, Timestamp, BTreeMap<u64, &'a Path>) {
    let mut states = States::new();
    states.feed.text(kind.as_bytes());
    states.feed.text(env!("CARGO_PKG_VERSION").as_bytes());
    for file in files {
        states.add_file(file);
    }
    (states.feed.finish(), states.settled, states.devices)
}

#[cfg(test)]
mod tests;
