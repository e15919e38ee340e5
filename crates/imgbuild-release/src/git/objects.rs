//! Objects by their names: each in a file of its own, or in a pack.

use std::ffi::OsStr;
use std::io::BufReader;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::file::{Bytes, From};
use super::id::Hash;
use super::pack::Pack;
use super::{GitError, ObjectId, Result, file};

/// The most bytes of an object: a tree of some million files.
pub(super) const MAX_OBJECT_BYTES: u64 = 64 << 20;

/// The most repositories that borrow objects from each other, as in git itself.
const MAX_ALTERNATES: usize = 5;

/// The most bytes of a list of directories.
const MAX_LIST_BYTES: u64 = 1 << 20;

/// The longest start of an object: its kind and size.
const MAX_HEADER_BYTES: usize = 32;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Commit,
    Tree,
    Blob,
    Tag,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }
}

/// The objects of a repository, and of those that it borrows from.
#[derive(Debug)]
pub(super) struct Objects {
    directories: Vec<PathBuf>,
    packs: Vec<Pack>,
    hash: Hash,
}

impl Objects {
    /// Finds the packs of a directory of objects.
    pub(super) fn open(directory: &Path, hash: Hash) -> Result<Self> {
        let mut directories = vec![directory.to_path_buf()];
        let mut next = 0;
        while let Some(directory) = directories.get(next) {
            let found = alternates(directory)?;
            next += 1;
            if next <= MAX_ALTERNATES {
                directories.extend(found);
            }
        }
        let mut packs = Vec::new();
        for directory in &directories {
            packs.extend(open_packs(&directory.join("pack"), hash)?);
        }
        Ok(Self {
            directories,
            packs,
            hash,
        })
    }

    pub(super) fn hash(&self) -> Hash {
        self.hash
    }

    /// Returns the directory of the repository's own objects.
    pub(super) fn path(&self) -> &Path {
        &self.directories[0]
    }

    /// Reads an object, which must be of this kind and have this name.
    pub(super) fn read(&self, id: ObjectId, kind: Kind) -> Result<Vec<u8>> {
        let (found, data) = self.find(id)?;
        if found != kind {
            let reason = "an object in it is of another kind than what refers to it says";
            return Err(GitError::malformed(self.path(), reason));
        }
        if self.hash.of(kind.name(), &data) != id {
            let reason = "an object in it has another content than its name says";
            return Err(GitError::malformed(self.path(), reason));
        }
        Ok(data)
    }

    fn find(&self, id: ObjectId) -> Result<(Kind, Vec<u8>)> {
        let text = id.to_string();
        let (first, rest) = text.split_at(2);
        for directory in &self.directories {
            let path = directory.join(first).join(rest);
            if let Some(file) = file::open(&path)? {
                let object = read_loose(file.file());
                let reason = "it holds no object";
                return object.ok_or_else(|| GitError::malformed(&path, reason));
            }
        }
        for pack in &self.packs {
            if let Some(offset) = pack.find(id)? {
                return pack.object(offset);
            }
        }
        let path = self.path().to_path_buf();
        Err(GitError::Missing { id, path })
    }
}

/// The directories that a directory of objects borrows from.
fn alternates(directory: &Path) -> Result<Vec<PathBuf>> {
    let path = directory.join("info/alternates");
    let text = file::read(&path, MAX_LIST_BYTES)?.unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    let paths = lines.map(|line| directory.join(OsStr::from_bytes(line)));
    Ok(paths.filter(|path| path.is_dir()).collect())
}

fn open_packs(directory: &Path, hash: Hash) -> Result<Vec<Pack>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if file::is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(GitError::File(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(GitError::File)?.path();
        // An index that is still being written has no pack yet.
        if path.extension() == Some(OsStr::new("idx")) && path.with_extension("pack").exists() {
            paths.push(path);
        }
    }
    paths.sort();
    let packs = paths.into_iter().map(|path| Pack::open(path, hash));
    packs.collect()
}

/// Reads a file with one object: `KIND SIZE`, a zero byte, and the content, all
/// deflated.
fn read_loose(file: &std::fs::File) -> Option<(Kind, Vec<u8>)> {
    let header = loose_header(file)?;
    let mut bytes = Bytes(&header);
    let start = bytes.take_until(0)?;
    let start_size = start.len() as u64 + 1;
    let mut words = str::from_utf8(start).ok()?.split(' ');
    let kind = match words.next()? {
        "commit" => Kind::Commit,
        "tree" => Kind::Tree,
        "blob" => Kind::Blob,
        "tag" => Kind::Tag,
        _ => return None,
    };
    let size: u64 = words.next()?.parse().ok()?;
    if size > MAX_OBJECT_BYTES {
        return None;
    }
    let from = BufReader::new(From::new(file, 0));
    let mut data = file::inflate(from, start_size + size)?;
    data.drain(..start.len() + 1);
    Some((kind, data))
}

/// Inflates the start of an object.
fn loose_header(file: &std::fs::File) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let from = BufReader::new(From::new(file, 0));
    let inflated = flate2::bufread::ZlibDecoder::new(from);
    let mut header = Vec::new();
    let mut inflated = inflated.take(MAX_HEADER_BYTES as u64);
    inflated.read_to_end(&mut header).ok()?;
    Some(header)
}
