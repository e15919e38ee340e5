//! One layer, from its blob into the tree. Whiteouts are applied here.

use std::io::{self, Read};

use super::keep::Keeper;
use super::tree::Tree;
use super::{BlobFacts, LayerError};
use crate::digest::DigestReader;
use crate::entry::{Entry, EntryKind, Member, Owner};
use crate::path::{ImagePath, MAX_PATH_BYTES};
use crate::selection::SelectedLayer;
use crate::source::{Decompressor, Source};
use crate::tar_reader::{TarEntry, TarKind, TarReader, Whiteout, clean_path};

/// Reads a layer to its end and checks its size, digest and diff ID. `budget` is
/// the number of bytes that the tars of all further layers may have.
pub(super) fn read(
    source: &Source,
    layer: &SelectedLayer,
    tree: &mut Tree,
    keeper: &mut Keeper<'_>,
    budget: &mut u64,
) -> Result<BlobFacts, LayerError> {
    let blob = source.existing(&layer.name)?;
    if blob.size() != layer.size {
        return Err(LayerError::Size {
            expected: layer.size,
            found: blob.size(),
        });
    }
    let blob = DigestReader::new(CrcReader {
        inner: blob,
        crc: crc32fast::Hasher::new(),
    });
    let stream = Decompressor::new(blob, layer.size).map_err(LayerError::Read)?;
    let limited = LimitedReader {
        inner: stream,
        left: *budget,
    };
    let mut tar = TarReader::new(DigestReader::new(limited));
    let limit = *budget;
    let entries = read_entries(&mut tar, tree, keeper).map_err(|error| too_large(error, limit))?;
    let mut tar = tar.into_inner();
    // What follows the end mark belongs to the diff ID, too.
    io::copy(&mut tar, &mut io::sink())
        .map_err(|error| too_large(LayerError::Read(error), limit))?;
    let (limited, diff_id, tar_size) = tar.finish();
    *budget = limited.left;
    let mut blob = limited.inner.into_inner();
    io::copy(&mut blob, &mut io::sink()).map_err(LayerError::Read)?;
    let (blob, digest, _) = blob.finish();
    if digest != layer.digest {
        return Err(LayerError::Digest {
            expected: layer.digest,
            found: digest,
        });
    }
    if diff_id != *layer.diff_id.as_digest() {
        return Err(LayerError::DiffId {
            expected: *layer.diff_id.as_digest(),
            found: diff_id,
        });
    }
    Ok(BlobFacts {
        crc: blob.crc.finalize(),
        tar_size,
        entries,
    })
}

pub(super) fn read_entries<R: Read>(
    tar: &mut TarReader<R>,
    tree: &mut Tree,
    keeper: &mut Keeper<'_>,
) -> Result<usize, LayerError> {
    let mut entries = 0;
    while let Some(found) = tar.next_entry()? {
        entries += 1;
        match found.whiteout() {
            Some(Whiteout::Path(path)) => tree.hide(&path)?,
            Some(Whiteout::Directory(path)) => tree.hide_contents(&path)?,
            None => place(tar, &found, tree, keeper)?,
        }
    }
    Ok(entries)
}

fn place<R: Read>(
    tar: &mut TarReader<R>,
    found: &TarEntry,
    tree: &mut Tree,
    keeper: &mut Keeper<'_>,
) -> Result<(), LayerError> {
    let path = clean_path(&found.path);
    if path == b"/" {
        // No engine honors it.
        return Ok(());
    }
    let path = tree.place_of(&path)?;
    let is_whole = matches!(found.kind, TarKind::File);
    let kind = match &found.kind {
        TarKind::Directory => EntryKind::Directory,
        TarKind::File | TarKind::SparseFile => EntryKind::File { size: found.size },
        TarKind::Symlink { target } if target.is_empty() => {
            return Err(LayerError::EmptyLink(path));
        }
        TarKind::Symlink { target } if target.len() > MAX_PATH_BYTES => {
            return Err(LayerError::LongLink(path));
        }
        TarKind::Symlink { target } => EntryKind::Symlink {
            target: target.clone(),
        },
        TarKind::Hardlink { target } => return tree.link(path, target),
        TarKind::Device | TarKind::Fifo => return tree.insert(&path, None),
        // Engines unpack nothing here.
        TarKind::Unknown { .. } => return Ok(()),
    };
    let entry = entry(path.clone(), kind, found);
    let content = if is_whole {
        keeper.take(&entry, tar.contents())?
    } else {
        None
    };
    tree.insert(&path, Some(Member { entry, content }))
}

fn entry(path: ImagePath, kind: EntryKind, found: &TarEntry) -> Entry {
    // Engines keep 32 bits of an owner.
    let id = |id: u64| u32::try_from(id & u64::from(u32::MAX)).expect("it has 32 bits");
    let mode = u32::try_from(found.mode & 0o7777).expect("it has 12 bits");
    Entry {
        mode: match kind {
            EntryKind::Symlink { .. } => 0o777,
            _ => mode,
        },
        path,
        kind,
        owner: Owner {
            uid: id(found.uid),
            gid: id(found.gid),
        },
        mtime: u64::try_from(found.mtime).unwrap_or(0),
        xattrs: found.xattrs.clone(),
    }
}

/// Tells the limit from a damaged tar or stream.
fn too_large(error: LayerError, limit: u64) -> LayerError {
    let is_limit = |error: &io::Error| {
        let inner = error.get_ref();
        inner.is_some_and(|inner| inner.is::<LimitReached>())
    };
    match &error {
        LayerError::Read(source)
        | LayerError::Tar(crate::tar_reader::ReadTarError::Read { source, .. })
            if is_limit(source) =>
        {
            LayerError::TooLarge(limit)
        }
        _ => error,
    }
}

/// More came out than may.
#[derive(Debug, thiserror::Error)]
#[error("too many bytes")]
struct LimitReached;

struct LimitedReader<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for LimitedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(LimitReached)),
        }
        Ok(count)
    }
}

struct CrcReader<R> {
    inner: R,
    crc: crc32fast::Hasher,
}

impl<R: Read> Read for CrcReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.crc.update(&buffer[..count]);
        Ok(count)
    }
}
