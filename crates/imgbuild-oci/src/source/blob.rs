//! The bytes of one blob or document of a source, checked while they are read.

use std::io::{self, Read};
use std::sync::Arc;

use fs_err::File;
use fs_err::os::unix::fs::FileExt;

use super::{Source, SourceError};
use crate::blob::BlobContent;
use crate::digest::{CheckedReader, Digest};
use crate::document::blob_name;

/// Reads one blob, from a file of its own or from the middle of an archive.
///
/// Several readers of one archive do not disturb each other.
#[derive(Debug, Clone)]
pub struct MemberReader {
    file: Arc<File>,
    start: u64,
    position: u64,
    end: u64,
}

impl MemberReader {
    /// Reads `size` bytes of `file` from `start` on.
    pub(super) fn new(file: Arc<File>, start: u64, size: u64) -> Self {
        Self {
            file,
            start,
            position: start,
            end: start.saturating_add(size),
        }
    }

    /// Passes over the first `count` bytes that are left.
    pub(crate) fn skip(mut self, count: u64) -> Self {
        self.position = self.position.saturating_add(count).min(self.end);
        self
    }

    /// Returns the last bytes; `None` if there are fewer or they cannot be
    /// read.
    pub(crate) fn last_bytes<const COUNT: usize>(&self) -> Option<[u8; COUNT]> {
        let mut bytes = [0; COUNT];
        let offset = self.end.checked_sub(COUNT as u64)?;
        if offset < self.start {
            return None;
        }
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }

    /// Returns the file that contains the bytes, and the offset of the first.
    pub(crate) fn place(&self) -> io::Result<(std::fs::File, u64)> {
        Ok((self.file.file().try_clone()?, self.start))
    }

    /// Returns the number of bytes, read or not.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.end - self.start
    }
}

impl Read for MemberReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let limit = left.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..limit], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// A blob of a layout or archive.
#[derive(Debug)]
pub(crate) struct SourceBlob {
    source: Arc<Source>,
    name: String,
    digest: Digest,
}

impl SourceBlob {
    /// Takes the blob at the path of its digest.
    pub(crate) fn new(source: &Arc<Source>, digest: Digest) -> Self {
        Self::named(source, blob_name(&digest), digest)
    }

    /// Takes a blob by its name in the source.
    pub(crate) fn named(source: &Arc<Source>, name: String, digest: Digest) -> Self {
        Self {
            source: Arc::clone(source),
            name,
            digest,
        }
    }

    fn reader(&self) -> io::Result<MemberReader> {
        self.source.existing(&self.name).map_err(io::Error::other)
    }
}

impl BlobContent for SourceBlob {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let reader = self.reader()?;
        if offset > 0 {
            return Ok(Box::new(reader.skip(offset)));
        }
        let size = reader.size();
        let error = |found| {
            io::Error::other(SourceError::Digest {
                name: self.name.clone(),
                expected: self.digest,
                found,
            })
        };
        let checked = CheckedReader::new(reader, size, self.digest, error);
        Ok(Box::new(checked))
    }

    fn open_unchecked(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.reader()?))
    }
}
