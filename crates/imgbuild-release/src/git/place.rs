//! The directories of a repository: `.git`, or one that a file `.git` names, as
//! in linked work trees and submodules; and references in them, from `HEAD` to
//! the name of a commit.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::budget::WorkBudget;
use super::id::{Hash, ObjectId};
use super::{GitError, GitResult, file};

/// The most bytes of a file that names a directory.
const MAX_NAME_BYTES: u64 = 64 * 1024;

/// The directories of a repository.
#[derive(Debug)]
pub(super) struct RepositoryPaths {
    /// The work tree.
    pub(super) root: PathBuf,
    /// The directory of this work tree: `HEAD` and `index`.
    pub(super) git: PathBuf,
    /// The directory that all work trees share: objects, references, the
    /// configuration.
    pub(super) common: PathBuf,
}

/// Finds the nearest repository at or above `path`.
pub(super) fn find(path: &Path) -> GitResult<Option<RepositoryPaths>> {
    let path = fs::canonicalize(path)?;
    for root in path.ancestors() {
        if let Some(place) = at(root)? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// Looks for a repository whose work tree is `root`.
pub(super) fn at(root: &Path) -> GitResult<Option<RepositoryPaths>> {
    let dot = root.join(".git");
    let git = match fs::metadata(&dot) {
        Ok(metadata) if metadata.is_dir() => dot,
        Ok(metadata) if metadata.is_file() => named(&dot, root)?,
        // A dangling link, or an unreadable directory: git continues, too.
        Ok(_) | Err(_) => return Ok(None),
    };
    let common = common(&git)?;
    // An empty directory of that name is not a repository.
    let is_repository = common.join("objects").is_dir() && git.join("HEAD").exists();
    Ok(is_repository.then(|| RepositoryPaths {
        root: root.to_path_buf(),
        git,
        common,
    }))
}

/// The directory that a file `.git` names.
fn named(dot: &Path, root: &Path) -> GitResult<PathBuf> {
    let malformed = |reason| Err(GitError::malformed(dot, reason));
    let text = file::read(dot, MAX_NAME_BYTES)?.unwrap_or_default();
    let name = text.strip_prefix(b"gitdir: ");
    let Some(name) = name.map(<[u8]>::trim_ascii_end).filter(|it| is_name(it)) else {
        return malformed("it does not begin with `gitdir: `");
    };
    let git = root.join(OsStr::from_bytes(name));
    if git.is_dir() {
        Ok(git)
    } else {
        malformed("the directory that it names does not exist")
    }
}

/// The directory that linked work trees share, or `git` itself.
fn common(git: &Path) -> GitResult<PathBuf> {
    let path = git.join("commondir");
    let Some(text) = file::read(&path, MAX_NAME_BYTES)? else {
        return Ok(git.to_path_buf());
    };
    let name = text.trim_ascii_end();
    if is_name(name) {
        Ok(git.join(OsStr::from_bytes(name)))
    } else {
        Err(GitError::malformed(&path, "it names no directory"))
    }
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && !name.contains(&0)
}

/// The most references that name each other, as in git itself.
const MAX_DEPTH: usize = 5;

/// The most bytes of a file that holds one reference.
const MAX_REFERENCE_BYTES: u64 = 64 * 1024;

/// The most bytes of `packed-refs`: some two million references.
const MAX_PACKED_BYTES: u64 = 128 << 20;

/// The target of a reference.
enum ReferenceTarget {
    Object(ObjectId),
    Reference(Vec<u8>),
}

/// Follows `HEAD` to a commit; `None` if its branch has no commit yet.
pub(super) fn head(
    place: &RepositoryPaths,
    hash: Hash,
    budget: &WorkBudget,
) -> GitResult<Option<ObjectId>> {
    let mut name = b"HEAD".to_vec();
    for _ in 0..=MAX_DEPTH {
        match target(place, hash, &name)? {
            Some(ReferenceTarget::Object(id)) => return Ok(Some(id)),
            Some(ReferenceTarget::Reference(next)) => name = next,
            None => return packed(place, hash, &name, budget),
        }
    }
    let path = place.git.join("HEAD");
    let reason = "it is a chain of too many references";
    Err(GitError::malformed(&path, reason))
}

/// Reads a reference that has a file of its own: one of the work tree, or one
/// that all work trees share.
fn target(place: &RepositoryPaths, hash: Hash, name: &[u8]) -> GitResult<Option<ReferenceTarget>> {
    for directory in [&place.git, &place.common] {
        let path = directory.join(OsStr::from_bytes(name));
        if path.is_dir() {
            continue;
        }
        if let Some(text) = file::read(&path, MAX_REFERENCE_BYTES)? {
            return parse(&path, hash, &text).map(Some);
        }
    }
    Ok(None)
}

fn parse(path: &Path, hash: Hash, text: &[u8]) -> GitResult<ReferenceTarget> {
    let malformed = |reason| GitError::malformed(path, reason);
    let text = text.trim_ascii_end();
    if let Some(name) = text.strip_prefix(b"ref:") {
        let name = name.trim_ascii();
        return if is_reference_name(name) {
            Ok(ReferenceTarget::Reference(name.to_vec()))
        } else {
            Err(malformed("it names no reference"))
        };
    }
    let id = hash.parse(text).map(ReferenceTarget::Object);
    id.ok_or_else(|| malformed("it names neither a commit nor a reference"))
}

/// A name that stays in the directory of references ([git-check-ref-format]).
///
/// [git-check-ref-format]: https://git-scm.com/docs/git-check-ref-format
fn is_reference_name(name: &[u8]) -> bool {
    let is_part = |part: &[u8]| !part.is_empty() && !part.starts_with(b".");
    name.starts_with(b"refs/")
        && !name.contains(&0)
        && name.split(|byte| *byte == b'/').all(is_part)
}

/// Looks a reference up in `packed-refs`: lines of a name of an object and a
/// name of a reference.
fn packed(
    place: &RepositoryPaths,
    hash: Hash,
    name: &[u8],
    budget: &WorkBudget,
) -> GitResult<Option<ObjectId>> {
    let path = place.common.join("packed-refs");
    let Some(file) = file::open(&path)? else {
        return Ok(None);
    };
    let mut lines = BufReader::new(file.take(MAX_PACKED_BYTES));
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = lines.by_ref().take(MAX_REFERENCE_BYTES);
        let count = bounded.read_until(b'\n', &mut line)?;
        if count == 0 {
            return Ok(None);
        }
        budget.spend(count as u64, &path)?;
        let digits = 2 * hash.size();
        let line = line.trim_ascii_end();
        if line.get(digits) == Some(&b' ') && line.get(digits + 1..) == Some(name) {
            let id = hash.parse(&line[..digits]);
            return id.map(Some).ok_or_else(|| {
                GitError::malformed(&path, "a line does not begin with the name of an object")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_directory_of_references() {
        for (name, is_so) in [
            ("refs/heads/main", true),
            ("refs/heads/feature/x.y", true),
            ("refs/heads/../../../etc/passwd", false),
            ("refs/heads/.invalid", false),
            ("refs//heads", false),
            ("/etc/passwd", false),
            ("HEAD", false),
            ("refs/heads/a\0b", false),
        ] {
            assert_eq!(is_reference_name(name.as_bytes()), is_so, "{name}");
        }
    }
}
