//! ObjectStore by their names: each in a file of its own, or in a pack.

use std::ffi::OsStr;
use std::io::{BufReader, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use flate2::bufread::ZlibDecoder;
use fs_err as fs;

use super::id::Hash;
use super::pack::{KINDS, MAX_OBJECT_BYTES, Pack};
use super::{GitError, GitResult, ObjectId, file};

/// The most repositories that borrow objects from each other, as in git itself.
const MAX_ALTERNATES: usize = 5;

/// The most bytes of a list of directories.
const MAX_LIST_BYTES: u64 = 1 << 20;

/// The longest start of an object: its kind and size.
const MAX_HEADER_BYTES: u64 = 32;

/// The objects of a repository, and of those that it borrows from.
#[derive(Debug)]
pub(super) struct ObjectStore {
    directories: Vec<PathBuf>,
    packs: Vec<Pack>,
    hash: Hash,
}

impl ObjectStore {
    /// Finds the packs of a directory of objects.
    pub(super) fn open(directory: &Path, hash: Hash) -> GitResult<Self> {
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

    /// Reads the content of a commit, and checks that its name is right.
    pub(super) fn commit(&self, id: ObjectId) -> GitResult<Vec<u8>> {
        let (kind, data) = self.find(id)?;
        if kind != "commit" {
            return Err(GitError::malformed(
                self.path(),
                "the object of a reference in it is not a commit",
            ));
        }
        if self.hash.of(kind, &data) != id {
            return Err(GitError::malformed(
                self.path(),
                "the content of an object in it does not have the object's name",
            ));
        }
        Ok(data)
    }

    fn find(&self, id: ObjectId) -> GitResult<(&'static str, Vec<u8>)> {
        let text = id.to_string();
        let (first, rest) = text.split_at(2);
        for directory in &self.directories {
            let path = directory.join(first).join(rest);
            if let Some(file) = file::open(&path)? {
                return read_loose(&file)
                    .ok_or_else(|| GitError::malformed(&path, "it is not an object"));
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
fn alternates(directory: &Path) -> GitResult<Vec<PathBuf>> {
    let path = directory.join("info/alternates");
    let text = file::read(&path, MAX_LIST_BYTES)?.unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    let paths = lines.map(|line| directory.join(OsStr::from_bytes(line)));
    Ok(paths.filter(|path| path.is_dir()).collect())
}

fn open_packs(directory: &Path, hash: Hash) -> GitResult<Vec<Pack>> {
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
fn read_loose(file: &fs::File) -> Option<(&'static str, Vec<u8>)> {
    let mut data = Vec::new();
    ZlibDecoder::new(BufReader::new(file))
        .take(MAX_HEADER_BYTES + MAX_OBJECT_BYTES)
        .read_to_end(&mut data)
        .ok()?;
    let end = data.iter().position(|byte| *byte == 0)?;
    let (kind, size) = str::from_utf8(&data[..end]).ok()?.split_once(' ')?;
    let kind = KINDS.into_iter().find(|known| *known == kind)?;
    let size: u64 = size.parse().ok()?;
    data.drain(..=end);
    (data.len() as u64 == size && size <= MAX_OBJECT_BYTES).then_some((kind, data))
}
