//! One layer, from its blob into the tree. Whiteouts are applied here.

use std::io::{self, Read};

use super::keep::Keeper;
use super::tree::Tree;
use super::{BlobFacts, LayerError};
use crate::digest::DigestReader;
use crate::entry::{Entry, EntryKind, Member, Owner};
use crate::path::ImagePath;
use crate::rules::{LayerRules, check_compression, trailing_bytes};
use crate::selection::SelectedLayer;
use crate::source::{Decompressor, Source, StreamFormat};
use crate::tar_reader::{TarEntry, TarKind, TarReader, Whiteout, clean_path};
use crate::violation::Violation;

/// Reads a layer to its end and checks its size, digest and diff ID; returns with
/// its facts the violations that engines refuse. `budget` is the number of bytes that
/// the tars of all further layers may have.
pub(super) fn read(
    source: &Source,
    layer: &SelectedLayer,
    tree: &mut Tree,
    keeper: &mut Keeper<'_>,
    budget: &mut u64,
) -> Result<(BlobFacts, Vec<Violation>), LayerError> {
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
    let stream = Decompressor::limited(blob, *budget).map_err(LayerError::Read)?;
    let expected = StreamFormat::of_media_type(&layer.media_type);
    let label = expected.and_then(|one| check_compression(&layer.name, one, stream.compression()));
    let mut tar = TarReader::new(DigestReader::new(stream));
    let mut rules = LayerRules::new(&layer.name);
    let entries = read_entries(&mut tar, tree, keeper, &mut rules)?;
    let mut tar = tar.into_inner();
    // What follows the end mark belongs to the diff ID, too.
    io::copy(&mut tar, &mut io::sink()).map_err(LayerError::Read)?;
    let (stream, diff_id, tar_size) = tar.finish();
    *budget = budget.saturating_sub(tar_size);
    let trailing = stream
        .has_trailing_bytes()
        .then(|| trailing_bytes(&layer.name));
    let mut blob = stream.into_inner();
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
    let mut violations = rules.finish();
    violations.extend(label.into_iter().chain(trailing));
    violations.retain(|one| one.refused_by.is_some());
    let facts = BlobFacts {
        crc: blob.crc.finalize(),
        tar_size,
        entries,
    };
    Ok((facts, violations))
}

pub(super) fn read_entries<R: Read>(
    tar: &mut TarReader<R>,
    tree: &mut Tree,
    keeper: &mut Keeper<'_>,
    rules: &mut LayerRules<'_>,
) -> Result<usize, LayerError> {
    let mut entries = 0;
    while let Some(found) = tar.next_entry()? {
        entries += 1;
        let whiteout = found.whiteout();
        let placed = match &whiteout {
            _ if !rules.check(&found, whiteout.as_ref()) => Ok(()),
            Some(Whiteout::Path(path)) => tree.hide(path),
            Some(Whiteout::Directory(mark)) => tree.hide_contents(mark),
            None => place(tar, &found, tree, keeper),
        };
        match placed {
            // The rules do not know what replaced a directory, nor what is unchecked.
            Err(LayerError::Refused(kind)) => rules.add(kind, &found, None),
            placed => placed?,
        }
    }
    tree.apply_whiteouts()?;
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
        TarKind::Symlink { target } => EntryKind::Symlink {
            target: target.clone(),
        },
        TarKind::Hardlink { target } => {
            let link = entry(path, EntryKind::File { size: 0 }, found);
            return tree.link(&link, target);
        }
        TarKind::Device | TarKind::Fifo => return tree.insert(&path, None),
        // The rules refuse it.
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
    // Engines keep 32 bits of an owner, and `chown` with -1 lets root be the owner.
    let id = |id: i64| {
        let id = u32::try_from(id & i64::from(u32::MAX)).expect("it has 32 bits");
        Some(id).filter(|id| *id != u32::MAX).unwrap_or_default()
    };
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
