//! Objects by their names, each in a file of its own or in a pack; commits.

use std::ffi::OsStr;
use std::io::BufReader;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use flate2::bufread::ZlibDecoder;
use fs_err as fs;
use imgbuild_oci::bounded;

use super::budget::WorkBudget;
use super::id::Hash;
use super::pack::{KINDS, MAX_OBJECT_BYTES, Pack};
use super::{GitError, GitResult, ObjectId, file};

/// The most repositories that borrow objects from each other, as in git itself.
const MAX_ALTERNATES: usize = 5;

/// The most bytes of a list of directories.
const MAX_LIST_BYTES: u64 = 1 << 20;

/// The most directories that one such list names.
const MAX_LISTED: usize = 64;

/// The most packs of all directories.
const MAX_PACKS: usize = 10_000;

/// The longest start of an object: its kind and size.
const MAX_HEADER_BYTES: u64 = 32;

/// The latest date that is accepted: the end of the year 9999.
const MAX_TIME: u64 = 253_402_300_799;

/// A commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Its name.
    pub id: ObjectId,
    /// The commit date in Unix seconds; 0 for a date before 1970.
    pub time: u64,
    pub(super) tree: ObjectId,
}

/// The objects of a repository, and of those that it borrows from.
#[derive(Debug)]
pub(super) struct ObjectStore {
    directories: Vec<PathBuf>,
    packs: Vec<Pack>,
    pub(super) hash: Hash,
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
            packs.truncate(MAX_PACKS);
        }
        Ok(Self {
            directories,
            packs,
            hash,
        })
    }

    /// Reads a commit, and checks that its name is right.
    pub(super) fn commit(&self, id: ObjectId, budget: &WorkBudget) -> GitResult<Commit> {
        // That of the repository's own objects.
        let malformed = |reason| GitError::malformed(&self.directories[0], reason);
        let (kind, data) = self.find(id, budget)?;
        if kind != "commit" {
            return Err(malformed("the object of a reference in it is not a commit"));
        }
        if self.hash.of(kind, &data) != id {
            return Err(malformed(
                "the content of an object in it does not have the object's name",
            ));
        }
        match parse_commit(&data, self.hash) {
            Some((tree, time)) => Ok(Commit { id, time, tree }),
            None => Err(malformed("a commit in it has no tree or no date")),
        }
    }

    fn find(&self, id: ObjectId, budget: &WorkBudget) -> GitResult<(&'static str, Vec<u8>)> {
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
                return pack.object(offset, budget);
            }
        }
        let path = self.directories[0].display();
        Err(GitError::Repository(format!(
            "the object `{id}` is not in `{path}`"
        )))
    }
}

/// The directories that a directory of objects borrows from.
fn alternates(directory: &Path) -> GitResult<Vec<PathBuf>> {
    let path = directory.join("info/alternates");
    let text = file::read(&path, MAX_LIST_BYTES)?.unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    let paths = lines.take(MAX_LISTED);
    let paths = paths.map(|line| directory.join(OsStr::from_bytes(line)));
    Ok(paths.filter(|path| path.is_dir()).collect())
}

fn open_packs(directory: &Path, hash: Hash) -> GitResult<Vec<Pack>> {
    let mut paths = Vec::new();
    let entries = file::existing(fs::read_dir(directory))?;
    for entry in entries.into_iter().flatten() {
        let path = entry?.path();
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
    let inflated = ZlibDecoder::new(BufReader::new(file));
    let mut data = bounded::read_all(inflated, MAX_HEADER_BYTES + MAX_OBJECT_BYTES).ok()?;
    let end = data.iter().position(|byte| *byte == 0)?;
    let (kind, size) = str::from_utf8(&data[..end]).ok()?.split_once(' ')?;
    let kind = KINDS.into_iter().find(|known| *known == kind)?;
    let size: u64 = size.parse().ok()?;
    data.drain(..=end);
    (data.len() as u64 == size && size <= MAX_OBJECT_BYTES).then_some((kind, data))
}

/// Reads `tree NAME` and `committer WHO <MAIL> SECONDS ZONE`.
fn parse_commit(data: &[u8], hash: Hash) -> Option<(ObjectId, u64)> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut lines = lines.by_ref().take_while(|line| !line.is_empty());
    let tree = hash.parse(lines.next()?.strip_prefix(b"tree ")?)?;
    let committer = lines.find_map(|line| line.strip_prefix(b"committer "))?;
    let end = committer.iter().rposition(|byte| *byte == b'>')?;
    let date = str::from_utf8(&committer[end + 1..]).ok()?;
    let seconds: i64 = date.split_whitespace().next()?.parse().ok()?;
    let time = u64::try_from(seconds).unwrap_or(0);
    (time <= MAX_TIME).then_some((tree, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "tree e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\n";

    #[test]
    fn the_date_is_the_committer_s() {
        for (rest, time) in [
            (
                "author A <a@b> 5 +0000\ncommitter C <c@d> 1700000000 +0130\n\nx",
                Some(1_700_000_000),
            ),
            ("committer C > D <c@d> 7 -0800\n", Some(7)),
            ("committer C <c@d> -5 +0000\n", Some(0)),
            ("committer C <c@d> 99999999999999 +0000\n", None),
            ("committer C <c@d>\n", None),
            ("committer C\n", None),
            ("author A <a@b> 5 +0000\n\ncommitter C <c@d> 7 +0000", None),
            ("", None),
        ] {
            let text = format!("{TREE}{rest}");
            let parsed = parse_commit(text.as_bytes(), Hash::Sha1);
            assert_eq!(parsed.map(|(_, time)| time), time, "{rest}");
        }
        let parsed = parse_commit(b"committer C <c@d> 7 +0000\n", Hash::Sha1);
        assert_eq!(parsed, None);
    }
}
