//! One path of a layer, as it is in the tar of the layer.

use serde::Serialize;

use crate::content::Content;
use crate::path::ImagePath;
use crate::xattr::Xattrs;

/// The modification time of every entry unless asked otherwise:
/// 1970-01-01T00:00:01Z, in Unix seconds.
///
/// Not 0, which some tools read as "no time".
pub const DEFAULT_MTIME: u64 = 1;

/// The largest user or group id that every engine takes.
pub const MAX_ID: u32 = i32::MAX as u32;

/// One file, directory or link of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The path in the image. Never the root.
    pub path: ImagePath,
    /// The type, with what depends on it.
    pub kind: EntryKind,
    /// The permission bits, with set-user-ID, set-group-ID and sticky: at
    /// most `0o7777`. Links always have `0o777`.
    pub mode: u32,
    /// The owner, by numbers.
    pub owner: Owner,
    /// The modification time in Unix seconds.
    pub mtime: u64,
    /// The extended attributes. Those of a hard link are those of its file.
    pub xattrs: Xattrs,
}

/// The type of an [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "type")]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file of `size` bytes.
    File {
        /// The exact number of bytes.
        size: u64,
    },
    /// A symbolic link; its target is kept byte for byte.
    Symlink {
        /// The target, never empty.
        #[serde(serialize_with = "serialize_escaped")]
        target: Vec<u8>,
    },
    /// Another name of a file that comes earlier in the same layer.
    Hardlink {
        /// The path of that file.
        target: ImagePath,
    },
}

fn serialize_escaped<S: serde::Serializer>(target: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&crate::path::escaped(target))
}

/// The owner of an entry. Names are never written: an image has its own users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Owner {
    /// The user id, at most [`MAX_ID`].
    pub uid: u32,
    /// The group id, at most [`MAX_ID`].
    pub gid: u32,
}

impl Owner {
    /// User 0 and group 0.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

impl Entry {
    /// Makes a directory of root with mode 0755.
    #[must_use]
    pub fn directory(path: ImagePath) -> Self {
        Self::new(path, EntryKind::Directory, 0o755)
    }

    /// Makes a file of root.
    #[must_use]
    pub fn file(path: ImagePath, size: u64, mode: u32) -> Self {
        Self::new(path, EntryKind::File { size }, mode)
    }

    /// Makes a symbolic link of root.
    #[must_use]
    pub fn symlink(path: ImagePath, target: impl Into<Vec<u8>>) -> Self {
        let target = target.into();
        Self::new(path, EntryKind::Symlink { target }, 0o777)
    }

    fn new(path: ImagePath, kind: EntryKind, mode: u32) -> Self {
        Self {
            path,
            kind,
            mode,
            owner: Owner::ROOT,
            mtime: DEFAULT_MTIME,
            xattrs: Xattrs::new(),
        }
    }

    /// Returns the number of content bytes that follow the header: 0 for
    /// everything but files.
    #[must_use]
    pub fn content_size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size } => size,
            EntryKind::Directory | EntryKind::Symlink { .. } | EntryKind::Hardlink { .. } => 0,
        }
    }
}

/// One entry, with its bytes when it is a file.
#[derive(Debug, Clone)]
pub struct Member {
    /// The metadata.
    pub entry: Entry,
    /// The bytes of a file; `None` for everything else.
    pub content: Option<Content>,
}

impl Member {
    /// Makes a file with its content, which has the size of the content.
    #[must_use]
    pub fn file(path: ImagePath, mode: u32, content: impl Into<Content>) -> Self {
        let content = content.into();
        Self {
            entry: Entry::file(path, content.size(), mode),
            content: Some(content),
        }
    }
}

impl From<Entry> for Member {
    /// Makes a directory or a link.
    fn from(entry: Entry) -> Self {
        Self {
            entry,
            content: None,
        }
    }
}
