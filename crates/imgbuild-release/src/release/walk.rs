//! Walking a directory, reading metadata only.

use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use fs_err as fs;
use imgbuild_oci::content::FileState;
use walkdir::{DirEntry, WalkDir};

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Directory {
        mode: u32,
    },
    File {
        state: FileState,
        owner: (u32, u32),
        /// Whether the file has further names.
        is_linked: bool,
    },
    Symlink {
        target: Vec<u8>,
    },
    /// Something that no image can hold; with its article.
    Special(&'static str),
}

/// Calls `see` for everything below `root` with its relative path, parents
/// first, in an order that does not depend on the file system.
///
/// # Errors
///
/// When `root` itself cannot be listed; what cannot be read below it is told
/// to `see`.
pub(crate) fn walk(root: &Path, see: &mut dyn FnMut(&Path, io::Result<Found>)) -> io::Result<()> {
    walk_to_depth(root, usize::MAX, see)
}

/// As [`walk`], for what lies directly in `root`.
pub(super) fn walk_flat(
    root: &Path,
    see: &mut dyn FnMut(&Path, io::Result<Found>),
) -> io::Result<()> {
    walk_to_depth(root, 1, see)
}

fn walk_to_depth(
    root: &Path,
    depth: usize,
    see: &mut dyn FnMut(&Path, io::Result<Found>),
) -> io::Result<()> {
    fs::read_dir(root)?;
    let walk = WalkDir::new(root).min_depth(1).max_depth(depth);
    for entry in walk.sort_by_file_name() {
        match entry {
            Ok(entry) => {
                let relative = entry.path().strip_prefix(root);
                let relative = relative.expect("the walk stays below its root");
                see(relative, look(&entry));
            }
            Err(error) => {
                let path = error.path().unwrap_or(root).to_path_buf();
                let relative = path.strip_prefix(root).unwrap_or(&path);
                // Its path is said where the message is made.
                let cause = error
                    .into_io_error()
                    .expect("links are not followed, so there is no loop");
                see(relative, Err(cause));
            }
        }
    }
    Ok(())
}

fn look(entry: &DirEntry) -> io::Result<Found> {
    if entry.file_type().is_symlink() {
        return look_at_link(entry.path());
    }
    let metadata = entry.metadata().map_err(io::Error::from)?;
    Ok(of_metadata(&metadata))
}

/// Looks at one path without following a link.
pub(super) fn look_at(path: &Path) -> io::Result<Found> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return look_at_link(path);
    }
    Ok(of_metadata(&metadata))
}

fn look_at_link(path: &Path) -> io::Result<Found> {
    let target = fs::read_link(path)?.into_os_string().into_vec();
    Ok(Found::Symlink { target })
}

fn of_metadata(metadata: &Metadata) -> Found {
    let kind = metadata.file_type();
    let special = [
        (kind.is_socket(), "a socket"),
        (kind.is_fifo(), "a FIFO"),
        (kind.is_char_device(), "a character device"),
        (kind.is_block_device(), "a block device"),
    ];
    if let Some((_, what)) = special.into_iter().find(|(is_it, _)| *is_it) {
        return Found::Special(what);
    }
    if metadata.is_dir() {
        let mode = metadata.mode();
        return Found::Directory { mode };
    }
    Found::File {
        state: FileState::of(metadata),
        owner: (metadata.uid(), metadata.gid()),
        is_linked: metadata.nlink() > 1,
    }
}
