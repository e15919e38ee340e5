//! The bytes of a finished layer: in pieces, which several threads write at a
//! time, or in order, for a reader.

use std::io::{self, Read, Write};

use super::{BlobLocation, CHUNK_BYTES, Layer, LayerBytes};
use crate::blob::{BlobContent, BlobOrigin};
use crate::buffer::AlignedBuffer;
use crate::changeset::Changeset;
use crate::content::{Content, ContentReader, FileRange};
use crate::digest::{Digest, DigestWriter};
use crate::entry::Member;
use crate::error::{Error, Result};
use crate::monitor::{Monitor, Progress};
use crate::tar_writer::{self, TarStream};

/// The size of a piece in bytes: what one thread writes before it takes the
/// next.
const PIECE_BYTES: u64 = 8 << 20;

/// A part of a layer's blob that can be written by itself.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) offset: u64,
    pub(crate) size: u64,
    source: PieceSource<'a>,
}

#[derive(Debug)]
enum PieceSource<'a> {
    /// Whole members, and the end of the tar if this is the last piece.
    Members {
        members: &'a [Member],
        has_end: bool,
    },
    /// The header of a large file.
    Header(Vec<u8>),
    /// A part of a large file, and zeros up to the next block of the tar.
    Content {
        content: &'a Content,
        from: u64,
        to: u64,
    },
    /// A part of a finished blob.
    Blob(&'a FileRange, &'a BlobLocation),
    /// All of a blob that is elsewhere, whose digest is checked.
    Remote(&'a dyn BlobContent, Digest),
}

impl Layer {
    /// Cuts the blob into pieces of about [`PIECE_BYTES`], in order.
    pub(crate) fn pieces(&self) -> Vec<Piece<'_>> {
        let size = self.size();
        match &self.blob.bytes {
            LayerBytes::Tar { changeset, .. } => tar_pieces(changeset),
            LayerBytes::Remote(content) => vec![Piece {
                offset: 0,
                size,
                source: PieceSource::Remote(&**content, self.digest()),
            }],
            LayerBytes::Blob {
                range, location, ..
            } => (0..size)
                .step_by(usize::try_from(PIECE_BYTES).expect("a few mebibytes"))
                .map(|offset| Piece {
                    offset,
                    size: PIECE_BYTES.min(size - offset),
                    source: PieceSource::Blob(range, location),
                })
                .collect(),
        }
    }
}

/// Groups small members, and cuts large files into parts.
fn tar_pieces(changeset: &Changeset) -> Vec<Piece<'_>> {
    let members = changeset.members();
    let mut pieces = Vec::new();
    let (mut first, mut start, mut offset) = (0, 0, 0);
    let group = |from: usize, to: usize, start: u64, end: u64| Piece {
        offset: start,
        size: end - start,
        source: PieceSource::Members {
            members: &members[from..to],
            has_end: false,
        },
    };

    for (index, member) in members.iter().enumerate() {
        let end = offset + tar_writer::member_size(&member.entry);
        match &member.content {
            Some(content) if content.size() >= 2 * PIECE_BYTES => {
                if start < offset {
                    pieces.push(group(first, index, start, offset));
                }
                push_large_file(&mut pieces, member, content, offset);
                (first, start) = (index + 1, end);
            }
            _ if end - start >= PIECE_BYTES => {
                pieces.push(group(first, index + 1, start, end));
                (first, start) = (index + 1, end);
            }
            _ => {}
        }
        offset = end;
    }
    pieces.push(Piece {
        offset: start,
        size: changeset.tar_size() - start,
        source: PieceSource::Members {
            members: &members[first..],
            has_end: true,
        },
    });
    pieces
}

fn push_large_file<'a>(
    pieces: &mut Vec<Piece<'a>>,
    member: &Member,
    content: &'a Content,
    offset: u64,
) {
    let mut header = Vec::new();
    tar_writer::append_header(&member.entry, &mut header);
    let header_size = header.len() as u64;
    pieces.push(Piece {
        offset,
        size: header_size,
        source: PieceSource::Header(header),
    });

    let padded = content
        .size()
        .next_multiple_of(tar_writer::BLOCK_BYTES as u64);
    let mut from = 0;
    while from < padded {
        let to = padded.min(from + PIECE_BYTES);
        pieces.push(Piece {
            offset: offset + header_size + from,
            size: to - from,
            source: PieceSource::Content {
                content,
                from,
                to: to.min(content.size()),
            },
        });
        from = to;
    }
}

impl Piece<'_> {
    /// Hands the bytes of the piece to `write`, chunk by chunk, and returns
    /// their CRC.
    pub(crate) fn copy(
        &self,
        buffer: &mut AlignedBuffer,
        monitor: Monitor<'_>,
        write: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<crc32fast::Hasher> {
        let mut crc = crc32fast::Hasher::new();
        let mut write = |bytes: &[u8]| {
            monitor.check()?;
            crc.update(bytes);
            write(bytes)?;
            monitor.report(Progress::Written(bytes.len() as u64));
            Ok(())
        };

        match &self.source {
            PieceSource::Header(bytes) => write(bytes)?,
            PieceSource::Members { members, has_end } => {
                let mut stream = TarStream::new(members, *has_end);
                loop {
                    let count = stream.fill(buffer.as_mut_slice())?;
                    write(&buffer.as_slice()[..count])?;
                    if count < CHUNK_BYTES {
                        break;
                    }
                }
            }
            PieceSource::Content { content, from, to } => {
                let mut reader = ContentReader::open_at(content, *from)?;
                let read = |chunk: &mut [u8]| reader.read_exact(chunk);
                copy_chunks(to - from, buffer, read, &mut write)?;
                reader.finish()?;
                let padding = usize::try_from(self.size - (to - from)).expect("less than a block");
                write(&[0; tar_writer::BLOCK_BYTES][..padding])?;
            }
            PieceSource::Blob(range, location) => {
                let mut reader = range.reader_from(self.offset);
                let read = |chunk: &mut [u8]| {
                    let filled = reader.read_exact(chunk);
                    filled.map_err(|source| location.read_error(source))
                };
                copy_chunks(self.size, buffer, read, &mut write)?;
            }
            PieceSource::Remote(content, digest) => {
                copy_remote(*content, *digest, buffer, &mut write)?;
            }
        }
        Ok(crc)
    }
}

fn copy_chunks(
    size: u64,
    buffer: &mut AlignedBuffer,
    mut read: impl FnMut(&mut [u8]) -> Result<()>,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut left = size;
    while left > 0 {
        let count = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let chunk = &mut buffer.as_mut_slice()[..count];
        read(chunk)?;
        write(chunk)?;
        left -= count as u64;
    }
    Ok(())
}

/// Copies a blob from elsewhere, and compares its digest.
fn copy_remote(
    content: &dyn BlobContent,
    expected: Digest,
    buffer: &mut AlignedBuffer,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let read_error = |source| Error::Blob {
        digest: expected,
        source,
    };
    let mut reader = content.open(0).map_err(read_error)?;
    let mut hasher = DigestWriter::new(io::sink());
    loop {
        let count = reader.read(buffer.as_mut_slice()).map_err(read_error)?;
        if count == 0 {
            break;
        }
        let chunk = &buffer.as_slice()[..count];
        hasher.write_all(chunk).map_err(read_error)?;
        write(chunk)?;
    }
    let (_, found, _) = hasher.finish();
    if found == expected {
        Ok(())
    } else {
        Err(Error::BlobDigest { expected, found })
    }
}

/// Compressed layers are read from their file; plain ones are made again, some
/// mebibytes at a time. A reader that starts at the start notices when the
/// bytes are not those that were hashed.
impl BlobContent for Layer {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let crc = (offset == 0).then(crc32fast::Hasher::new);
        Ok(match &self.blob.bytes {
            LayerBytes::Remote(content) => content.open(offset)?,
            LayerBytes::Blob { range, .. } => Box::new(FileReader {
                layer: self,
                range,
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
        match &self.blob.bytes {
            LayerBytes::Remote(content) => content.origin(),
            LayerBytes::Blob {
                location: BlobLocation::Base(_, origin),
                ..
            } => origin.as_deref(),
            LayerBytes::Blob { .. } | LayerBytes::Tar { .. } => None,
        }
    }
}

/// Reads a finished blob.
struct FileReader<'a> {
    layer: &'a Layer,
    range: &'a FileRange,
    position: u64,
    /// The CRC so far, if all bytes are read.
    crc: Option<crc32fast::Hasher>,
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = buffer.len().min(CHUNK_BYTES);
        let count = self.range.read_at(&mut buffer[..limit], self.position)?;
        self.position += count as u64;
        if let Some(crc) = &mut self.crc {
            crc.update(&buffer[..count]);
        }
        // Before the last bytes are handed out: callers do not read on after
        // them.
        if self.position == self.layer.size()
            && let Some(crc) = self.crc.take()
        {
            self.layer.check_crc(&[crc]).map_err(io::Error::other)?;
        }
        Ok(count)
    }
}

/// Reads a plain layer, which is made piece by piece.
struct PieceReader<'a> {
    layer: &'a Layer,
    pieces: std::vec::IntoIter<Piece<'a>>,
    /// The bytes of one piece.
    made: Vec<u8>,
    /// The number of its bytes that have been read.
    position: usize,
    /// The offset at which the reader starts.
    start: u64,
    /// The CRC so far, if all bytes are read.
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
            let copied = piece.copy(&mut buffer, Monitor::silent(), &mut |bytes| {
                made.extend_from_slice(bytes);
                Ok(())
            });
            let crc = copied.map_err(io::Error::other)?;
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
        if self.pieces.as_slice().is_empty()
            && let Some(crc) = self.crc.take()
        {
            self.layer.check_crc(&[crc]).map_err(io::Error::other)?;
        }
        Ok(())
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
