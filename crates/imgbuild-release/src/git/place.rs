//! The directories of a repository: `.git`, or one that a file `.git` names, as
//! in linked work trees and submodules.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fs_err as fs;

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
    let path = fs::canonicalize(path).map_err(GitError::File)?;
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
    let text = file::read(dot, MAX_NAME_BYTES)?.unwrap_or_default();
    let name = text.strip_prefix(b"gitdir: ");
    let Some(name) = name.map(<[u8]>::trim_ascii_end).filter(|it| is_name(it)) else {
        return Err(GitError::malformed(
            dot,
            "it does not begin with `gitdir: `",
        ));
    };
    let git = root.join(OsStr::from_bytes(name));
    if git.is_dir() {
        Ok(git)
    } else {
        Err(GitError::malformed(
            dot,
            "the directory that it names does not exist",
        ))
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
