//! Walking a directory, reading metadata only.

use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use fs_err as fs;
use imgbuild_oci::content::FileState;

use super::listing::list;
use super::tree::Tree;

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
/// first, siblings by the bytes of their names.
///
/// # Errors
///
/// When `root` itself cannot be listed; what cannot be read below it is told
/// to `see`.
pub(crate) fn walk(root: &Path, see: &mut dyn FnMut(&Path, io::Result<Found>)) -> io::Result<()> {
    // Its error names the directory.
    fs::read_dir(root)?;
    let tree = Tree::read(root)?;
    tree.tell(see);
    Ok(())
}

/// As [`walk`], for what lies directly in `root`.
pub(super) fn walk_flat(
    root: &Path,
    see: &mut dyn FnMut(&Path, io::Result<Found>),
) -> io::Result<()> {
    fs::read_dir(root)?;
    for child in list(root, true)? {
        see(Path::new(&child.name), child.found);
    }
    Ok(())
}

/// Looks at one path without following a link.
pub(super) fn look_at(path: &Path) -> io::Result<Found> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        let target = fs::read_link(path)?.into_os_string().into_vec();
        return Ok(Found::Symlink { target });
    }
    Ok(of_metadata(&metadata))
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
