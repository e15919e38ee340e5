//! Reads layers and archives of any tool.
//!
//! The dialects are those that Go's `archive/tar` reads, since engines are
//! written in Go: POSIX ustar, PAX and GNU. Input is never trusted: memory is
//! bounded by [`MAX_EXTENSION_BYTES`], and nothing here panics.

use std::io::{self, Read, Seek, SeekFrom};

mod entry;
mod error;
mod header;
mod pax;

pub(crate) use entry::{TarEntry, TarKind, Whiteout, clean_path};
pub(crate) use error::ReadTarError;

use crate::bounded;
use header::{BLOCK_BYTES, RawHeader, TarBlock};
use pax::PaxRecords;

/// The largest PAX or GNU extension header that is read, the limit that Go's
/// `archive/tar` also has.
pub(crate) const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// Reads a tar entry by entry.
///
/// Does not read the bytes after the end mark; [`TarReader::into_inner`] gives a
/// reader that continues there.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    inner: R,
    skip: fn(&mut R, u64) -> io::Result<u64>,
    offset: u64,
    remaining: u64,
    padding: u64,
    ended: bool,
}

impl<R: Read> TarReader<R> {
    /// Starts at the beginning of a tar; contents that are not asked for are
    /// read and dropped.
    pub(crate) fn new(inner: R) -> Self {
        Self::with_skip(inner, skip_by_reading)
    }

    fn with_skip(inner: R, skip: fn(&mut R, u64) -> io::Result<u64>) -> Self {
        Self {
            inner,
            skip,
            offset: 0,
            remaining: 0,
            padding: 0,
            ended: false,
        }
    }

    /// Returns the reader below, at its current position.
    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    /// Returns how many bytes of the tar were read or skipped. Right after an
    /// entry was returned, that is where its contents start.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Skips what is left of the current entry and returns the next one, or
    /// `None` at the end mark or the end of the input.
    ///
    /// # Errors
    ///
    /// See [`ReadTarError`]. After an error, the tar counts as ended.
    pub(crate) fn next_entry(&mut self) -> Result<Option<TarEntry>, ReadTarError> {
        if self.ended {
            return Ok(None);
        }
        let result = self.advance();
        self.ended = !matches!(result, Ok(Some(_)));
        result
    }

    /// Returns a reader of the current entry's contents.
    pub(crate) fn contents(&mut self) -> TarContents<'_, R> {
        TarContents { tar: self }
    }

    fn advance(&mut self) -> Result<Option<TarEntry>, ReadTarError> {
        self.skip_contents()?;
        let mut extensions = Extensions::default();
        loop {
            let offset = self.offset;
            let Some(block) = self.header_block()? else {
                return match extensions.last_offset {
                    Some(offset) => Err(ReadTarError::LoneExtension { offset }),
                    None => Ok(None),
                };
            };
            let header = RawHeader::parse(block, offset)?;
            match header.type_flag() {
                b'x' => extensions.pax = PaxRecords::parse(&self.extension(&header)?, offset)?,
                // Engines ignore global headers; they need only be well formed.
                b'g' => {
                    PaxRecords::parse(&self.extension(&header)?, offset)?;
                    continue;
                }
                b'L' => extensions.long_path = Some(until_nul(self.extension(&header)?)),
                b'K' => extensions.long_target = Some(until_nul(self.extension(&header)?)),
                _ => return self.entry(&header, &extensions).map(Some),
            }
            extensions.last_offset = Some(offset);
        }
    }

    fn entry(
        &mut self,
        header: &RawHeader,
        extensions: &Extensions,
    ) -> Result<TarEntry, ReadTarError> {
        let (entry, stored) = header.entry(extensions)?;
        let mut more = header.has_sparse_extension();
        while more {
            let Some(block) = self.block()? else {
                return Err(ReadTarError::Truncated(self.offset));
            };
            more = header::sparse_extension_continues(&block);
        }
        self.start_contents(stored);
        Ok(entry)
    }

    fn start_contents(&mut self, stored: u64) {
        let block = BLOCK_BYTES as u64;
        self.remaining = stored;
        self.padding = (block - stored % block) % block;
    }

    /// Reads the contents of a PAX or GNU extension header.
    fn extension(&mut self, header: &RawHeader) -> Result<Vec<u8>, ReadTarError> {
        let size = header.size()?;
        if size > MAX_EXTENSION_BYTES {
            let offset = header.offset();
            return Err(ReadTarError::ExtensionTooLarge { offset, size });
        }
        self.start_contents(size);
        let offset = self.offset;
        let bytes = bounded::read_all(self.contents(), size)
            .map_err(|source| self.read_error(offset, source))?;
        self.skip_contents()?;
        Ok(bytes)
    }

    /// Reads the next header block; `None` at the end.
    ///
    /// An archive without an end mark, or with half of one, is accepted: every
    /// engine does.
    fn header_block(&mut self) -> Result<Option<TarBlock>, ReadTarError> {
        let offset = self.offset;
        let is_zero = |block: &TarBlock| block.iter().all(|byte| *byte == 0);
        match self.block()? {
            Some(block) if is_zero(&block) => match self.block()? {
                Some(second) if !is_zero(&second) => Err(ReadTarError::EndMark { offset }),
                _ => Ok(None),
            },
            block => Ok(block),
        }
    }

    fn block(&mut self) -> Result<Option<TarBlock>, ReadTarError> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => {
                    return Err(ReadTarError::Truncated(self.offset));
                }
                Ok(count) => {
                    filled += count;
                    self.offset = self.offset.saturating_add(count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.read_error(self.offset, source)),
            }
        }
        Ok(Some(block))
    }

    fn skip_contents(&mut self) -> Result<(), ReadTarError> {
        let skipped = self.skip(self.remaining)?;
        self.remaining -= skipped;
        if self.remaining > 0 {
            return Err(ReadTarError::Truncated(self.offset));
        }
        // The padding of the last file may be missing.
        let padding = std::mem::take(&mut self.padding);
        self.skip(padding)?;
        Ok(())
    }

    fn skip(&mut self, count: u64) -> Result<u64, ReadTarError> {
        if count == 0 {
            return Ok(0);
        }
        let skipped = (self.skip)(&mut self.inner, count)
            .map_err(|source| self.read_error(self.offset, source))?;
        self.offset = self.offset.saturating_add(skipped);
        Ok(skipped)
    }

    fn read_error(&self, offset: u64, source: io::Error) -> ReadTarError {
        if self.remaining > 0
            && source
                .get_ref()
                .is_some_and(|inner| inner.is::<EndsEarly>())
        {
            return ReadTarError::Truncated(self.offset);
        }
        ReadTarError::Read { offset, source }
    }
}

impl<R: Read + Seek> TarReader<R> {
    /// As [`TarReader::new`], but contents that are not asked for are not
    /// even read.
    pub(crate) fn seekable(inner: R) -> Self {
        Self::with_skip(inner, skip_by_seeking)
    }
}

fn skip_by_reading<R: Read>(reader: &mut R, count: u64) -> io::Result<u64> {
    io::copy(&mut reader.take(count), &mut io::sink())
}

/// Seeks to the last byte and reads it, so that the end is not overrun.
fn skip_by_seeking<R: Read + Seek>(reader: &mut R, count: u64) -> io::Result<u64> {
    let Ok(distance) = i64::try_from(count - 1) else {
        return Ok(0);
    };
    let start = reader.stream_position()?;
    if start
        .checked_add(count)
        .is_none_or(|end| i64::try_from(end).is_err())
    {
        return Ok(0);
    }
    reader.seek(SeekFrom::Current(distance))?;
    let mut last = [0];
    if reader.read(&mut last)? == 1 {
        return Ok(count);
    }
    let end = reader.seek(SeekFrom::End(0))?;
    Ok(end.saturating_sub(start).min(count))
}

/// The rest of the contents of a [`TarReader`]'s current entry.
///
/// Fails with [`io::ErrorKind::UnexpectedEof`] when the tar ends within them.
#[derive(Debug)]
pub(crate) struct TarContents<'a, R> {
    tar: &'a mut TarReader<R>,
}

/// The tar ended within an entry.
#[derive(Debug, thiserror::Error)]
#[error("the tar ends within a file")]
struct EndsEarly;

impl<R: Read> Read for TarContents<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let tar = &mut *self.tar;
        let limit = usize::try_from(tar.remaining).unwrap_or(usize::MAX);
        let limit = limit.min(buffer.len());
        if limit == 0 {
            return Ok(0);
        }
        let count = tar.inner.read(&mut buffer[..limit])?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, EndsEarly));
        }
        tar.remaining -= count as u64;
        tar.offset = tar.offset.saturating_add(count as u64);
        Ok(count)
    }
}

/// The fields of extension headers, for the entry that follows them.
#[derive(Debug, Default)]
struct Extensions {
    pax: PaxRecords,
    long_path: Option<Vec<u8>>,
    long_target: Option<Vec<u8>>,
    last_offset: Option<u64>,
}

/// GNU's long names end in a NUL.
fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.truncate(end.unwrap_or(bytes.len()));
    bytes
}

#[cfg(test)]
mod tests;
