//! The bytes of a layer's files. A file that another one replaced is detected by
//! `HostFile::open`, one that changes while it is read by `ContentReader::finish`.

use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err::File;
use rustix::fs::{FileType, Stat, fgetxattr, flistxattr, fstat};
use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::error::{Change, Error, Result};
use crate::root_directory::{FILE, REPLACED, RootDirectory, is_replaced, open_error, open_exact};
use crate::xattr::{self, DroppedXattrs, Xattrs};

/// The bytes of one regular file of a layer.
#[derive(Debug, Clone)]
pub enum Content {
    /// Bytes that imgbuild made.
    Bytes(Arc<[u8]>),
    /// A file of the host.
    File(HostFile),
    /// A run of bytes that was taken out of a layer.
    Range(FileRange),
}

impl Content {
    /// Returns the number of bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.state.size,
            Self::Range(range) => range.size,
        }
    }

    /// Returns the first bytes, at most `limit`.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or when another file is at the path.
    pub fn first_bytes(&self, limit: u64) -> io::Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => {
                let end = usize::try_from(limit).unwrap_or(usize::MAX);
                Ok(bytes[..end.min(bytes.len())].to_vec())
            }
            Self::File(file) => bounded::read_start(file.open().map_err(io::Error::other)?, limit),
            Self::Range(range) => range.first_bytes(limit),
        }
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// A run of bytes within an open file that no other program changes.
#[derive(Debug, Clone)]
pub struct FileRange {
    file: Arc<std::fs::File>,
    start: u64,
    size: u64,
}

impl FileRange {
    /// Makes a range of `size` bytes of `file`, from `start` on.
    #[must_use]
    pub fn new(file: Arc<std::fs::File>, start: u64, size: u64) -> Self {
        Self { file, start, size }
    }

    /// Returns the first bytes, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn first_bytes(&self, limit: u64) -> io::Result<Vec<u8>> {
        bounded::read_start(self.reader_from(0), limit)
    }

    /// Returns a reader of the bytes from `offset` on.
    pub(crate) fn reader_from(&self, offset: u64) -> impl Read + Send + '_ {
        FileRangeReader {
            range: self,
            position: offset,
        }
    }

    /// Returns the open file.
    pub(crate) fn file(&self) -> &std::fs::File {
        &self.file
    }

    /// Returns the offset at which it starts in its file, and its size.
    pub(crate) fn place(&self) -> (u64, u64) {
        (self.start, self.size)
    }

    /// Returns whether both are the same bytes of the same open file, as those
    /// of hard links are.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file) && (self.start, self.size) == (other.start, other.size)
    }

    /// Reads into the buffer from `offset` on; 0 only at the end.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.size.saturating_sub(offset);
        let count = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let start = self.start.saturating_add(offset);
        self.file.read_at(&mut buffer[..count], start)
    }
}

/// A reader of a range.
#[derive(Debug)]
pub(crate) struct FileRangeReader<'a> {
    range: &'a FileRange,
    position: u64,
}

impl Read for FileRangeReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.range.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// A regular file of the host, with the state in which it was planned.
#[derive(Debug, Clone)]
pub struct HostFile {
    /// The path to open, as the user gave its start. None of its parts may be a
    /// link, except in the path of `root`.
    pub path: PathBuf,
    /// The state when the plan was made.
    pub state: FileState,
    /// The open directory that it is in, if other programs may write to that.
    pub root: Option<Arc<RootDirectory>>,
}

/// The metadata of a file that changes with any change of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileState {
    /// The size in bytes.
    pub size: u64,
    /// The time of the last change of the content.
    pub mtime: Timestamp,
    /// The time of the last change of content or metadata.
    pub ctime: Timestamp,
    /// The inode number.
    pub inode: u64,
    /// The device that the inode is on.
    pub device: u64,
    /// The type and permission bits.
    pub mode: u32,
}

/// A point in time, as file systems record it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp {
    /// Unix seconds.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: i64,
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{:09}", self.seconds, self.nanoseconds)
    }
}

impl From<&Stat> for FileState {
    fn from(stat: &Stat) -> Self {
        // Their types differ between architectures.
        let number = |nanoseconds| i64::try_from(nanoseconds).unwrap_or_default();
        Self {
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            mtime: Timestamp {
                seconds: stat.st_mtime,
                nanoseconds: number(stat.st_mtime_nsec),
            },
            ctime: Timestamp {
                seconds: stat.st_ctime,
                nanoseconds: number(stat.st_ctime_nsec),
            },
            inode: stat.st_ino,
            device: stat.st_dev,
            mode: stat.st_mode,
        }
    }
}

impl FileState {
    /// Takes the state of an open file: a cheaper call than that for metadata.
    ///
    /// # Errors
    ///
    /// When `fstat` fails.
    pub fn of_open(file: &File) -> io::Result<Self> {
        Ok(Self::from(&fstat(file)?))
    }

    /// Takes the state from a file's metadata.
    #[must_use]
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            size: metadata.size(),
            mtime: Timestamp {
                seconds: metadata.mtime(),
                nanoseconds: metadata.mtime_nsec(),
            },
            ctime: Timestamp {
                seconds: metadata.ctime(),
                nanoseconds: metadata.ctime_nsec(),
            },
            inode: metadata.ino(),
            device: metadata.dev(),
            mode: metadata.mode(),
        }
    }

    /// Returns device and inode: those of a file under all of its names.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Returns whether it is that of a regular file.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::RegularFile
    }
}

impl HostFile {
    /// Returns the file at `path`, of which no part is a link.
    ///
    /// # Errors
    ///
    /// When `stat` fails.
    pub fn find(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_path_buf(),
            state: FileState::of(&fs_err::metadata(path)?),
            root: None,
        })
    }

    /// Opens the file, and no other that took its place: all its readers start
    /// here.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or when another file is at the path.
    pub fn open(&self) -> Result<File> {
        let root = self.root.as_deref();
        let below = root.and_then(|root| self.path.strip_prefix(root.path()).ok());
        let file = match open_exact(root, below.unwrap_or(&self.path), FILE) {
            Ok(descriptor) => File::from_parts(descriptor.into(), &self.path),
            Err(error) if is_replaced(error) => return Err(self.changed(REPLACED)),
            Err(error) => return Err(Error::File(open_error(&self.path, error.into()))),
        };
        let found = FileState::of_open(&file).map_err(Error::File)?;
        if !found.is_regular() {
            Err(self.changed("it is no longer a regular file"))
        } else if found.identity() != self.state.identity() {
            Err(self.changed(REPLACED))
        } else {
            Ok(file)
        }
    }

    fn changed(&self, difference: impl Into<String>) -> Error {
        Error::Changed {
            path: self.path.clone(),
            source: Change(difference.into()),
        }
    }

    /// Returns the error for a file that ended, or went on, after `found` bytes.
    fn wrong_size(&self, found: u64) -> Error {
        self.changed(format!("planned {} bytes, found {found}", self.state.size))
    }
}

/// A reader of a [`Content`] that makes sure that it is the planned one.
#[derive(Debug)]
pub(crate) enum ContentReader<'a> {
    Bytes(&'a [u8]),
    File {
        planned: &'a HostFile,
        file: File,
        read: u64,
    },
    Range(FileRangeReader<'a>),
}

impl<'a> ContentReader<'a> {
    /// Starts `offset` bytes into the content.
    pub(crate) fn open_at(content: &'a Content, offset: u64) -> Result<Self> {
        Ok(match content {
            Content::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                Self::Bytes(bytes.get(start..).unwrap_or_default())
            }
            Content::File(planned) => {
                let mut file = planned.open()?;
                if offset > 0 {
                    file.seek(SeekFrom::Start(offset)).map_err(Error::File)?;
                }
                Self::File {
                    planned,
                    file,
                    read: offset,
                }
            }
            Content::Range(range) => Self::Range(FileRangeReader {
                range,
                position: offset,
            }),
        })
    }

    /// Checks that the file has the planned extended attributes, and counts its
    /// others.
    pub(crate) fn check_xattrs(&self, has: &Xattrs, dropped: &mut DroppedXattrs) -> Result<()> {
        let Self::File { planned, file, .. } = self else {
            return Ok(());
        };
        let list = |buffer: &mut [u8]| flistxattr(file, buffer);
        let get = |name: &str, buffer: &mut [u8]| fgetxattr(file, name, buffer);
        let found = xattr::read(list, get);
        if let Some((name, _)) = has
            .iter()
            .find(|(name, value)| found.get(*name) != Some(value))
        {
            return Err(planned.changed(format!("its extended attribute `{name}` is another one")));
        }
        for name in found.keys().filter(|name| !has.contains_key(*name)) {
            xattr::count(dropped, name, 1);
        }
        Ok(())
    }

    /// Fills `buffer`, which ends at or before the planned end.
    pub(crate) fn read_exact(&mut self, buffer: &mut [u8]) -> Result<()> {
        match self {
            Self::Bytes(bytes) => bytes.read_exact(buffer).map_err(Error::File),
            Self::Range(reader) => reader.read_exact(buffer).map_err(Error::File),
            Self::File {
                planned,
                file,
                read,
            } => {
                let mut filled = 0;
                while filled < buffer.len() {
                    match file.read(&mut buffer[filled..]) {
                        Ok(0) => return Err(planned.wrong_size(*read + filled as u64)),
                        Ok(count) => filled += count,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(Error::File(error)),
                    }
                }
                *read += filled as u64;
                Ok(())
            }
        }
    }

    /// Checks, when all planned bytes have been read, that the file still has
    /// the planned size and modification time.
    ///
    /// Returns whether nothing else of its state has changed either: then the
    /// bytes that were read are those of the planned state. A new link to a
    /// file, or another mode, changes its state and not its bytes, and is no
    /// reason to fail.
    pub(crate) fn finish(self) -> Result<bool> {
        let Self::File { planned, file, .. } = self else {
            return Ok(true);
        };
        let state = FileState::of_open(&file).map_err(Error::File)?;
        if state.size != planned.state.size {
            return Err(planned.wrong_size(state.size));
        }
        if state.mtime != planned.state.mtime {
            return Err(planned.changed(format!(
                "planned modification time {}, found {}",
                planned.state.mtime, state.mtime
            )));
        }
        Ok(state == planned.state)
    }
}

#[cfg(test)]
mod tests;
