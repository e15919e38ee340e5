//! The bytes of a finished layer in order, for whoever wants to read instead
//! of being written to.

use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::{CHUNK_BYTES, Layer, LayerBytes, Piece, Place};
use crate::blob::{BlobContent, BlobOrigin};
use crate::buffer::AlignedBuffer;
use crate::monitor::Monitor;

/// Compressed layers are read from their file; plain ones are made again, some
/// mebibytes at a time. A reader that starts at the start notices when the
/// bytes are not those that were hashed.
impl BlobContent for Layer {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let crc = (offset == 0).then(crc32fast::Hasher::new);
        Ok(match &self.bytes {
            LayerBytes::Remote { content, .. } => content.open(offset)?,
            LayerBytes::Blob {
                file,
                offset: start,
                ..
            } => Box::new(FileReader {
                layer: self,
                file,
                start: *start,
                position: offset,
                crc,
            }),
            LayerBytes::Tar { .. } => Box::new(PieceReader {
                layer: self,
                pieces: self.pieces().into_iter(),
                made: Vec::new(),
                position: 0,
                start: offset,
                crc,
            }),
        })
    }

    fn origin(&self) -> Option<&BlobOrigin> {
        match &self.bytes {
            LayerBytes::Remote { content, .. } => content.origin(),
            LayerBytes::Blob {
                place: Place::Base(_, origin),
                ..
            } => origin.as_deref(),
            LayerBytes::Blob { .. } | LayerBytes::Tar { .. } => None,
        }
    }
}

struct FileReader<'a> {
    layer: &'a Layer,
    file: &'a std::fs::File,
    /// Where the blob starts in the file.
    start: u64,
    position: u64,
    crc: Option<crc32fast::Hasher>,
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.layer.size - self.position).unwrap_or(usize::MAX);
        let limit = left.min(buffer.len()).min(CHUNK_BYTES);
        let place = self.start + self.position;
        let count = self.file.read_at(&mut buffer[..limit], place)?;
        self.position += count as u64;
        if let Some(crc) = &mut self.crc {
            crc.update(&buffer[..count]);
        }
        // Before the last bytes are handed out: nobody reads on after them.
        if self.position == self.layer.size
            && let Some(crc) = self.crc.take()
        {
            self.layer.check_crc(&[crc]).map_err(io::Error::other)?;
        }
        Ok(count)
    }
}

struct PieceReader<'a> {
    layer: &'a Layer,
    pieces: std::vec::IntoIter<Piece<'a>>,
    /// The bytes of one piece, and how many of them have been read.
    made: Vec<u8>,
    position: usize,
    /// Where the reader starts.
    start: u64,
    crc: Option<crc32fast::Hasher>,
}

impl PieceReader<'_> {
    /// Makes the next piece that has something to read; false at the end.
    fn make(&mut self) -> io::Result<bool> {
        for piece in self.pieces.by_ref() {
            if piece.offset + piece.size <= self.start {
                continue;
            }
            self.made.clear();
            let mut buffer = AlignedBuffer::new(CHUNK_BYTES);
            let made = &mut self.made;
            let crc = piece.copy(&mut buffer, Monitor::silent(), &mut |bytes| {
                made.extend_from_slice(bytes);
                Ok(())
            });
            let crc = crc.map_err(io::Error::other)?;
            if let Some(whole) = &mut self.crc {
                whole.combine(&crc);
            }
            let skipped = self.start.saturating_sub(piece.offset);
            self.position = usize::try_from(skipped).unwrap_or(self.made.len());
            if self.position < self.made.len() {
                return self.check_end().map(|()| true);
            }
        }
        Ok(false)
    }

    /// Compares the whole before its last piece is handed out.
    fn check_end(&mut self) -> io::Result<()> {
        match self.crc.take() {
            Some(crc) if self.pieces.as_slice().is_empty() => {
                self.layer.check_crc(&[crc]).map_err(io::Error::other)
            }
            crc => {
                self.crc = crc;
                Ok(())
            }
        }
    }
}

impl Read for PieceReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.made.len() && !self.make()? {
            return Ok(0);
        }
        let rest = &self.made[self.position..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        Ok(count)
    }
}
