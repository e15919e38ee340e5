//! One entry of a tar, as in its headers.

use crate::xattr::Xattrs;

/// One entry of a tar.
///
/// Nothing is normalized or checked beyond what reading needs: the path may
/// be absolute, empty or full of `..`, see [`clean_path`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TarEntry {
    /// The path, to the byte.
    pub(crate) path: Vec<u8>,
    /// The kind of the entry.
    pub(crate) kind: TarKind,
    /// The mode; usually at most `0o7777`, but file type bits may be there.
    pub(crate) mode: i64,
    /// The owner. Engines keep 32 bits of it, and take -1 for root.
    pub(crate) uid: i64,
    /// The group, as the owner.
    pub(crate) gid: i64,
    /// The modification time in whole Unix seconds, rounded down.
    pub(crate) mtime: i64,
    /// The number of bytes of the unpacked entry.
    pub(crate) size: u64,
    /// The extended attributes with names in UTF-8.
    pub(crate) xattrs: Xattrs,
}

/// The kind of a [`TarEntry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TarKind {
    /// A regular file; whiteouts are regular files too, see
    /// [`TarEntry::whiteout`].
    File,
    /// A file whose holes are left out, in the PAX format. What follows its header is not its
    /// contents, but the map of holes and the parts between them.
    SparseFile,
    /// A directory.
    Directory,
    /// A symbolic link to `target`.
    Symlink { target: Vec<u8> },
    /// Another name of the entry with the path `target`.
    Hardlink { target: Vec<u8> },
    /// A character or block device.
    Device,
    /// A named pipe.
    Fifo,
    /// Something that engines do not unpack, such as a socket, or a sparse file of the GNU format.
    Unknown { type_flag: u8 },
}

/// An entry that hides something of the layers below.
///
/// See [whiteouts](https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md#whiteouts).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whiteout {
    /// The path that is hidden, cleaned.
    Path(Vec<u8>),
    /// The opaque mark in a directory whose earlier contents are hidden, cleaned.
    Directory(Vec<u8>),
}

impl TarEntry {
    /// Returns the paths that the entry hides, if its name begins with `.wh.`.
    pub(crate) fn whiteout(&self) -> Option<Whiteout> {
        let mut path = clean_path(&self.path);
        let start = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0) + 1;
        let hidden = path.get(start..)?.strip_prefix(b".wh.")?.to_vec();
        if hidden == b".wh..opq" {
            return Some(Whiteout::Directory(path));
        }
        path.truncate(start);
        path.extend_from_slice(&hidden);
        Some(Whiteout::Path(path))
    }
}

/// Resolves `.`, `..`, repeated and missing slashes as engines do, so that two
/// paths that mean the same place are equal: `./a//b/../c` is `/a/c`. Nothing
/// leads above the root.
///
/// Unlike [`ImagePath::parse`](crate::path::ImagePath::parse) it takes
/// everything.
pub(crate) fn clean_path(path: &[u8]) -> Vec<u8> {
    let mut cleaned = Vec::with_capacity(path.len() + 1);
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                let parent = cleaned.iter().rposition(|byte| *byte == b'/');
                cleaned.truncate(parent.unwrap_or(0));
            }
            name => {
                cleaned.push(b'/');
                cleaned.extend_from_slice(name);
            }
        }
    }
    if cleaned.is_empty() {
        cleaned.push(b'/');
    }
    cleaned
}
