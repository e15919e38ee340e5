//! A file system in one file, so that its layers need not be read again: the
//! contents that were kept, an index of everything, and where the index is.
//!
//! Whoever can write the file can write anything into it. What is no sorted
//! tree, or leads out of the file, is no record; nothing is taken into memory
//! before as much of the file has been read.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::{BlobFacts, FileSystem};
use crate::content::{Content, FileRange};
use crate::entry::{Entry, EntryKind, Member, Owner};
use crate::path::{ImagePath, MAX_PATH_BYTES};

/// The last bytes of every record.
const MAGIC: &[u8; 8] = b"imgbuild";

/// Where the index starts, its CRC, and the magic.
const TRAILER_BYTES: usize = 8 + 4 + MAGIC.len();

/// The longest target of a symbolic link; Linux has none that is longer than
/// a path.
const MAX_TARGET_BYTES: usize = 64 << 10;

/// The most layers; an image has far fewer.
const MAX_LAYERS: u64 = 1024;

const DIRECTORY: u8 = 0;
const SYMLINK: u8 = 1;
/// A file whose content was not kept.
const FILE: u8 = 2;
const EMPTY_FILE: u8 = 3;
/// A file whose content is in the record.
const KEPT_FILE: u8 = 4;

impl FileSystem {
    /// Ends the file that has the `kept` bytes of its contents with an index;
    /// `file` stands after them.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or something cannot be said in a record.
    pub(crate) fn write_record(&self, file: &File, kept: u64) -> io::Result<()> {
        let mut index = Index {
            sink: BufWriter::new(file),
            crc: crc32fast::Hasher::new(),
        };
        self.write_index(&mut index)?;
        let Index { mut sink, crc } = index;
        sink.write_all(&kept.to_le_bytes())?;
        sink.write_all(&crc.finalize().to_le_bytes())?;
        sink.write_all(MAGIC)?;
        sink.flush()
    }

    fn write_index(&self, index: &mut Index<impl Write>) -> io::Result<()> {
        index.number(self.blobs.len() as u64)?;
        for facts in &self.blobs {
            index.number(u64::from(facts.crc))?;
            index.number(facts.tar_size)?;
            index.number(facts.entries as u64)?;
        }
        index.number(self.members.len() as u64)?;
        for (member, layer) in self.members.iter().zip(&self.layers) {
            index.member(member, *layer)?;
        }
        index.number(self.specials.len() as u64)?;
        for path in &self.specials {
            index.text(path.as_bytes())?;
        }
        Ok(())
    }

    /// Reads what [`FileSystem::write_record`] has written of an image with
    /// so many layers; `None` of anything else.
    pub(crate) fn of_record(file: File, layers: usize) -> Option<Self> {
        let size = file.metadata().ok()?.len();
        let mut trailer = [0; TRAILER_BYTES];
        let end = size.checked_sub(TRAILER_BYTES as u64)?;
        file.read_exact_at(&mut trailer, end).ok()?;
        let (kept, rest) = trailer.split_first_chunk()?;
        let (crc, magic) = rest.split_first_chunk()?;
        let kept = u64::from_le_bytes(*kept);
        let file = Arc::new(file);
        let index = FileRange::new(Arc::clone(&file), kept, end.checked_sub(kept)?);
        let mut index = Fields {
            source: BufReader::new(CrcReader {
                inner: index.reader_from(0),
                crc: crc32fast::Hasher::new(),
            }),
            kept: (file, kept),
        };
        let found = index.file_system()?;
        let is_at_end = index.source.read(&mut [0]).ok()? == 0;
        let is_right = index.source.into_inner().crc.finalize() == u32::from_le_bytes(*crc);
        let fits = magic == MAGIC && found.blobs.len() == layers;
        (is_at_end && is_right && fits).then_some(found)
    }
}

fn unsayable() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

/// Writes an index.
struct Index<W> {
    sink: W,
    crc: crc32fast::Hasher,
}

impl<W: Write> Index<W> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.sink.write_all(bytes)
    }

    fn number(&mut self, number: u64) -> io::Result<()> {
        self.bytes(&number.to_le_bytes())
    }

    fn small(&mut self, number: u32) -> io::Result<()> {
        self.bytes(&number.to_le_bytes())
    }

    fn text(&mut self, text: &[u8]) -> io::Result<()> {
        self.small(u32::try_from(text.len()).map_err(|_| unsayable())?)?;
        self.bytes(text)
    }

    fn member(&mut self, member: &Member, layer: usize) -> io::Result<()> {
        let entry = &member.entry;
        self.text(entry.path.as_bytes())?;
        self.small(u32::try_from(layer).map_err(|_| unsayable())?)?;
        self.small(entry.mode)?;
        self.small(entry.owner.uid)?;
        self.small(entry.owner.gid)?;
        self.number(entry.mtime)?;
        match (&entry.kind, &member.content) {
            (EntryKind::Directory, None) => self.bytes(&[DIRECTORY]),
            (EntryKind::Symlink { target }, None) if target.len() <= MAX_TARGET_BYTES => {
                self.bytes(&[SYMLINK])?;
                self.text(target)
            }
            (EntryKind::File { size }, None) => {
                self.bytes(&[FILE])?;
                self.number(*size)
            }
            (EntryKind::File { size: 0 }, Some(Content::Bytes(_))) => self.bytes(&[EMPTY_FILE]),
            (EntryKind::File { size }, Some(Content::Range(range))) => {
                let (start, its_size) = range.place();
                if its_size != *size {
                    return Err(unsayable());
                }
                self.bytes(&[KEPT_FILE])?;
                self.number(*size)?;
                self.number(start)
            }
            _ => Err(unsayable()),
        }
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

/// Reads an index.
struct Fields<R> {
    source: R,
    /// Where contents are, and how many bytes of them.
    kept: (Arc<File>, u64),
}

impl<R: Read> Fields<R> {
    fn take<const COUNT: usize>(&mut self) -> Option<[u8; COUNT]> {
        let mut bytes = [0; COUNT];
        self.source.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn small(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn text(&mut self, limit: usize) -> Option<Vec<u8>> {
        let length = usize::try_from(self.small()?).ok()?;
        if length > limit {
            return None;
        }
        let mut text = vec![0; length];
        self.source.read_exact(&mut text).ok()?;
        Some(text)
    }

    /// A path as it is written, never the root.
    fn path(&mut self) -> Option<ImagePath> {
        let text = self.text(MAX_PATH_BYTES)?;
        let path = ImagePath::parse(&text).ok()?;
        (path.as_bytes() == text && !path.is_root()).then_some(path)
    }

    fn file_system(&mut self) -> Option<FileSystem> {
        let count = self.number().filter(|count| *count <= MAX_LAYERS)?;
        let mut blobs = Vec::new();
        for _ in 0..count {
            blobs.push(BlobFacts {
                crc: u32::try_from(self.number()?).ok()?,
                tar_size: self.number()?,
                entries: usize::try_from(self.number()?).ok()?,
            });
        }
        let mut members: Vec<Member> = Vec::new();
        let mut layers = Vec::new();
        for _ in 0..self.number()? {
            let (member, layer) = self.member()?;
            if !follows(&members, &member.entry.path) || layer >= blobs.len() {
                return None;
            }
            members.push(member);
            layers.push(layer);
        }
        let mut specials = BTreeSet::new();
        for _ in 0..self.number()? {
            specials.insert(self.path()?);
        }
        Some(FileSystem {
            members,
            layers,
            specials,
            blobs,
        })
    }

    fn member(&mut self) -> Option<(Member, usize)> {
        let path = self.path()?;
        let layer = usize::try_from(self.small()?).ok()?;
        let mode = self.small().filter(|mode| *mode <= 0o7777)?;
        let owner = Owner {
            uid: self.small()?,
            gid: self.small()?,
        };
        let mtime = self.number()?;
        let [tag] = self.take()?;
        let (kind, content) = self.kind(tag)?;
        let entry = Entry {
            path,
            kind,
            mode,
            owner,
            mtime,
        };
        Some((Member { entry, content }, layer))
    }

    fn kind(&mut self, tag: u8) -> Option<(EntryKind, Option<Content>)> {
        Some(match tag {
            DIRECTORY => (EntryKind::Directory, None),
            SYMLINK => {
                let target = self.text(MAX_TARGET_BYTES)?;
                let target = Some(target).filter(|target| !target.is_empty())?;
                (EntryKind::Symlink { target }, None)
            }
            FILE => (
                EntryKind::File {
                    size: self.number()?,
                },
                None,
            ),
            EMPTY_FILE => {
                let content = Content::Bytes(Arc::default());
                (EntryKind::File { size: 0 }, Some(content))
            }
            KEPT_FILE => {
                let (size, start) = (self.number()?, self.number()?);
                let (file, kept) = &self.kept;
                let is_inside = start.checked_add(size).is_some_and(|end| end <= *kept);
                let range = FileRange::new(Arc::clone(file), start, size);
                let content = is_inside.then_some(Content::Range(range))?;
                (EntryKind::File { size }, Some(content))
            }
            _ => return None,
        })
    }
}

/// Whether a path comes after those that are there, in a directory of them.
fn follows(members: &[Member], path: &ImagePath) -> bool {
    let Some(last) = members.last() else {
        return path.parent().is_some_and(|parent| parent.is_root());
    };
    if last.entry.path >= *path {
        return false;
    }
    let parent = path.parent_bytes();
    if parent == b"/" || parent == last.entry.path.parent_bytes() {
        return true;
    }
    let found = members.binary_search_by(|member| member.entry.path.as_bytes().cmp(parent));
    found.is_ok_and(|index| members[index].entry.kind == EntryKind::Directory)
}

#[cfg(test)]
mod tests;
