//! Documents and layers of base images from registries, by their digests,
//! shared by all images that have them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;
use tempfile::{NamedTempFile, TempDir};

use super::verify::hash;
use super::{BASES, Store, TEMPORARY, at_path, make_directory, mark_used};
use crate::blob::BlobOrigin;
use crate::bounded;
use crate::digest::Digest;
use crate::document::{Descriptor, MAX_DOCUMENT_BYTES, blob_name};
use crate::source::Source;
use crate::temporary;

/// The part of [`BASES`] that is a directory of blobs.
const ROOT: &str = "bases";

/// Documents and layers of base images, by digest.
#[derive(Debug)]
pub struct Bases {
    root: PathBuf,
    temporary: PathBuf,
    _unless_kept: Option<(TempDir, std::fs::File)>,
}

/// An incomplete blob, which is removed unless it is kept.
#[derive(Debug)]
pub struct NewBlobFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl Store {
    /// Returns the base images of the store.
    ///
    /// # Errors
    ///
    /// When their directory cannot be made.
    pub fn bases(&self) -> io::Result<Bases> {
        Bases::at(&self.root, None)
    }
}

impl Bases {
    /// Makes a directory below `directory` that is removed in the end.
    ///
    /// # Errors
    ///
    /// When `directory` cannot be written.
    pub fn new_temporary(directory: &Path) -> io::Result<Self> {
        let made = temporary::new_directory(directory, temporary::BASE_PREFIX, 0o700)?;
        let path = made.0.path().to_path_buf();
        Self::at(&path, Some(made))
    }

    fn at(directory: &Path, made: Option<(TempDir, std::fs::File)>) -> io::Result<Self> {
        let temporary = directory.join(TEMPORARY);
        make_directory(&temporary)?;
        make_directory(&directory.join(BASES))?;
        Ok(Self {
            root: directory.join(ROOT),
            temporary,
            _unless_kept: made,
        })
    }

    /// Returns whether a blob exists with this size, and marks it as used.
    #[must_use]
    pub fn has(&self, digest: &Digest, size: u64) -> bool {
        let path = self.path(digest);
        let found = fs::symlink_metadata(&path);
        let is_there = found.is_ok_and(|found| found.is_file() && found.len() == size);
        if is_there {
            mark_used(&path);
        }
        is_there
    }

    /// Opens a blob, if it exists and has this digest; a damaged one is removed.
    #[must_use]
    pub fn open(&self, digest: &Digest, size: u64) -> Option<std::fs::File> {
        if !self.has(digest, size) {
            return None;
        }
        let (file, _) = fs::File::open(self.path(digest)).ok()?.into_parts();
        let is_right = hash(&file).is_ok_and(|found| found == *digest);
        if !is_right {
            self.forget(digest);
        }
        is_right.then_some(file)
    }

    /// Returns a document, if it exists and has this digest.
    #[must_use]
    pub fn document(&self, digest: &Digest) -> Option<Vec<u8>> {
        let path = self.path(digest);
        let bytes = bounded::read_file(&path, MAX_DOCUMENT_BYTES).ok()?;
        let is_right = Digest::of(&bytes) == *digest;
        if is_right {
            mark_used(&path);
        }
        is_right.then_some(bytes)
    }

    /// Makes a file for a blob.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn new_file(&self, digest: &Digest) -> io::Result<NewBlobFile> {
        let file = temporary::new_file(&self.temporary, 0o600);
        Ok(NewBlobFile {
            file: file.map_err(|error| at_path(&self.temporary, &error))?,
            path: self.path(digest),
        })
    }

    /// Removes a damaged blob, which another program may have removed already.
    pub fn forget(&self, digest: &Digest) {
        drop(fs::remove_file(self.path(digest)));
    }

    /// Returns a source of the images below `root`, which came from `origin`; it
    /// may be incomplete.
    #[must_use]
    pub fn source(&self, root: Descriptor, origin: BlobOrigin) -> Source {
        Source::of_blobs(&self.root, root, Some(origin))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join(blob_name(digest))
    }
}

impl NewBlobFile {
    /// Gives the blob its name: it is complete, and was checked. Returns the open
    /// file, which stays readable when the name is removed.
    ///
    /// # Errors
    ///
    /// When the file cannot be renamed.
    pub fn keep(self) -> io::Result<std::fs::File> {
        let Self { file, path } = self;
        let kept = file.persist(&path);
        kept.map_err(|error| at_path(&path, &error.error))
    }
}

impl Write for NewBlobFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (TempDir, Bases) {
        let directory = tempfile::tempdir().unwrap();
        let bases = Bases::new_temporary(directory.path()).unwrap();
        (directory, bases)
    }

    #[test]
    fn what_is_kept_is_found_again_and_can_be_forgotten() {
        let (_directory, bases) = place();
        let digest = Digest::of(b"{}");
        assert!(bases.document(&digest).is_none());
        let mut file = bases.new_file(&digest).unwrap();
        file.write_all(b"{}").unwrap();
        drop(file.keep().unwrap());
        assert_eq!(bases.document(&digest).unwrap(), b"{}");
        assert!(bases.has(&digest, 2));
        assert!(!bases.has(&digest, 3));
        bases.forget(&digest);
        assert!(!bases.has(&digest, 2));
    }

    #[test]
    fn a_blob_is_opened_only_if_it_is_right() {
        let (_directory, bases) = place();
        let digest = Digest::of(b"layer");
        assert!(bases.open(&digest, 5).is_none());
        for (bytes, is_right) in [(b"layer", true), (b"lager", false)] {
            let mut file = bases.new_file(&digest).unwrap();
            file.write_all(bytes).unwrap();
            drop(file.keep().unwrap());
            assert!(bases.has(&digest, 5));
            assert_eq!(bases.open(&digest, 5).is_some(), is_right);
        }
        assert!(!bases.has(&digest, 5), "it was forgotten");
    }

    #[test]
    fn a_damaged_document_and_an_unfinished_one_are_not_there() {
        let (_directory, bases) = place();
        let digest = Digest::of(b"{}");
        let mut file = bases.new_file(&digest).unwrap();
        file.write_all(b"[]").unwrap();
        drop(file.keep().unwrap());
        assert!(bases.document(&digest).is_none());
        let other = Digest::of(b"[]");
        let mut file = bases.new_file(&other).unwrap();
        file.write_all(b"[]").unwrap();
        drop(file);
        assert!(bases.document(&other).is_none());
        assert_eq!(fs::read_dir(&bases.temporary).unwrap().count(), 0);
    }

    #[test]
    fn a_temporary_place_leaves_nothing() {
        let (directory, bases) = place();
        let root = bases.root.clone();
        assert!(temporary::remove_abandoned(directory.path()).is_empty());
        assert!(root.exists());
        drop(bases);
        assert!(!root.exists());
    }
}
