//! References: from `HEAD` to the name of a commit.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::id::{Hash, ObjectId};
use super::place::RepositoryPaths;
use super::{GitError, GitResult, file};

/// The most references that name each other, as in git itself.
const MAX_DEPTH: usize = 5;

/// The most bytes of a file that holds one reference.
const MAX_REFERENCE_BYTES: u64 = 64 * 1024;

/// The most bytes of `packed-refs`: some ten million references.
const MAX_PACKED_BYTES: u64 = 1 << 30;

/// The target of a reference.
enum ReferenceTarget {
    Object(ObjectId),
    Reference(Vec<u8>),
}

/// Follows `HEAD` to a commit; `None` if its branch has no commit yet.
pub(super) fn head(place: &RepositoryPaths, hash: Hash) -> GitResult<Option<ObjectId>> {
    let mut name = b"HEAD".to_vec();
    for _ in 0..=MAX_DEPTH {
        match target(place, hash, &name)? {
            Some(ReferenceTarget::Object(id)) => return Ok(Some(id)),
            Some(ReferenceTarget::Reference(next)) => name = next,
            None => return packed(place, hash, &name),
        }
    }
    let path = place.git.join("HEAD");
    Err(GitError::malformed(
        &path,
        "it is a chain of too many references",
    ))
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
    let text = text.trim_ascii_end();
    if let Some(name) = text.strip_prefix(b"ref:") {
        let name = name.trim_ascii();
        return if is_name(name) {
            Ok(ReferenceTarget::Reference(name.to_vec()))
        } else {
            Err(GitError::malformed(path, "it names no reference"))
        };
    }
    match hash.parse(text) {
        Some(id) => Ok(ReferenceTarget::Object(id)),
        None => Err(GitError::malformed(
            path,
            "it names neither a commit nor a reference",
        )),
    }
}

/// A name that stays in the directory of references ([git-check-ref-format]).
///
/// [git-check-ref-format]: https://git-scm.com/docs/git-check-ref-format
fn is_name(name: &[u8]) -> bool {
    let is_part = |part: &[u8]| !part.is_empty() && !part.starts_with(b".");
    name.starts_with(b"refs/")
        && !name.contains(&0)
        && name.split(|byte| *byte == b'/').all(is_part)
}

/// Looks a reference up in `packed-refs`: lines of a name of an object and a
/// name of a reference.
fn packed(place: &RepositoryPaths, hash: Hash, name: &[u8]) -> GitResult<Option<ObjectId>> {
    let path = place.common.join("packed-refs");
    let Some(file) = file::open(&path)? else {
        return Ok(None);
    };
    let mut lines = BufReader::new(file.take(MAX_PACKED_BYTES));
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = lines.by_ref().take(MAX_REFERENCE_BYTES);
        let count = bounded
            .read_until(b'\n', &mut line)
            .map_err(GitError::File)?;
        if count == 0 {
            return Ok(None);
        }
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
            assert_eq!(is_name(name.as_bytes()), is_so, "{name}");
        }
    }
}
