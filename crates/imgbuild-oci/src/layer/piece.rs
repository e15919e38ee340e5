//! Parts of a blob that several threads read and write at a time.

use super::{CHUNK_BYTES, LayerBytes, Place};
use crate::blob::BlobContent;
use crate::buffer::AlignedBuffer;
use crate::changeset::Changeset;
use crate::content::{Content, ContentReader};
use crate::digest::{Digest, DigestWriter};
use crate::entry::Member;
use crate::error::{Error, Result};
use crate::monitor::{Monitor, Progress};
use crate::tar_writer::{self, TarStream};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// The bytes of a layer that one thread writes before it takes the next.
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
    /// Whole members, and the end of the tar.
    Members(&'a [Member], bool),
    /// A range of one large file, and zeros after it.
    Content(&'a Content, u64, u64),
    /// A layer that a registry has.
    Remote(&'a dyn BlobContent, Digest),
    /// A range of a finished blob, which starts here in the file.
    Blob(&'a std::fs::File, u64, &'a Place),
    /// Bytes at hand.
    Bytes(Vec<u8>),
}

/// Cuts the blob of a layer into pieces of about [`PIECE_BYTES`], in order.
pub(super) fn cut(bytes: &LayerBytes, size: u64) -> Vec<Piece<'_>> {
    match bytes {
        LayerBytes::Tar { changeset, .. } => tar_pieces(changeset),
        LayerBytes::Remote { content, digest } => vec![Piece {
            offset: 0,
            size,
            source: PieceSource::Remote(&**content, *digest),
        }],
        LayerBytes::Blob {
            file,
            offset: start,
            place,
            ..
        } => (0..size)
            .step_by(usize::try_from(PIECE_BYTES).expect("a few mebibytes"))
            .map(|offset| Piece {
                offset,
                size: PIECE_BYTES.min(size - offset),
                source: PieceSource::Blob(file, *start, place),
            })
            .collect(),
    }
}

/// Groups small members, and cuts large files into ranges.
fn tar_pieces(changeset: &Changeset) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let members = changeset.members();
    let (mut first, mut start, mut offset) = (0, 0, 0);
    let group = |pieces: &mut Vec<_>, from: usize, to: usize, start, end| {
        if start < end {
            pieces.push(Piece {
                offset: start,
                size: end - start,
                source: PieceSource::Members(&members[from..to], false),
            });
        }
    };
    for (index, member) in members.iter().enumerate() {
        let size = tar_writer::member_size(&member.entry);
        match &member.content {
            Some(content) if content.size() >= 2 * PIECE_BYTES => {
                group(&mut pieces, first, index, start, offset);
                push_large_file(&mut pieces, member, content, offset);
                (first, start) = (index + 1, offset + size);
            }
            _ if offset + size - start >= PIECE_BYTES => {
                group(&mut pieces, first, index + 1, start, offset + size);
                (first, start) = (index + 1, offset + size);
            }
            _ => {}
        }
        offset += size;
    }
    pieces.push(Piece {
        offset: start,
        size: changeset.tar_size() - start,
        source: PieceSource::Members(&members[first..], true),
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
    let content_offset = offset + header.len() as u64;
    pieces.push(Piece {
        offset,
        size: header.len() as u64,
        source: PieceSource::Bytes(header),
    });
    let padded = content
        .size()
        .next_multiple_of(tar_writer::BLOCK_BYTES as u64);
    let mut from = 0;
    while from < padded {
        let to = padded.min(from + PIECE_BYTES);
        pieces.push(Piece {
            offset: content_offset + from,
            size: to - from,
            source: PieceSource::Content(content, from, to.min(content.size())),
        });
        from = to;
    }
}

/// Copies a blob from afar, and compares its digest.
fn copy_remote(
    content: &dyn BlobContent,
    expected: Digest,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let read_error = |source| Error::Blob {
        digest: expected,
        source,
    };
    let mut reader = content.open(0).map_err(read_error)?;
    let mut hasher = DigestWriter::new(io::sink());
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = reader.read(&mut chunk).map_err(read_error)?;
        if count == 0 {
            break;
        }
        hasher.write_all(&chunk[..count]).map_err(read_error)?;
        write(&chunk[..count])?;
    }
    let (_, found, _) = hasher.finish();
    match found == expected {
        true => Ok(()),
        false => Err(Error::BlobDigest { expected, found }),
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
            monitor.report(Progress::Written {
                bytes: bytes.len() as u64,
            });
            Ok(())
        };
        match &self.source {
            PieceSource::Bytes(bytes) => write(bytes)?,
            PieceSource::Members(members, has_end) => {
                let mut stream = TarStream::new(members, *has_end);
                loop {
                    let count = stream.fill(buffer.as_mut_slice())?;
                    write(&buffer.as_slice()[..count])?;
                    if count < CHUNK_BYTES {
                        break;
                    }
                }
            }
            PieceSource::Content(content, from, to) => {
                let mut reader = ContentReader::open_at(content, *from)?;
                for offset in (*from..*to).step_by(CHUNK_BYTES) {
                    let count = usize::try_from(to - offset)
                        .map_or(CHUNK_BYTES, |rest| rest.min(CHUNK_BYTES));
                    let chunk = &mut buffer.as_mut_slice()[..count];
                    reader.read_exact(chunk)?;
                    write(chunk)?;
                }
                reader.finish()?;
                let padding = usize::try_from(self.size - (to - from)).expect("less than a block");
                write(&[0; tar_writer::BLOCK_BYTES][..padding])?;
            }
            PieceSource::Remote(content, digest) => copy_remote(*content, *digest, &mut write)?,
            PieceSource::Blob(file, start, place) => {
                for done in (0..self.size).step_by(CHUNK_BYTES) {
                    let count = usize::try_from(self.size - done)
                        .map_or(CHUNK_BYTES, |rest| rest.min(CHUNK_BYTES));
                    let chunk = &mut buffer.as_mut_slice()[..count];
                    file.read_exact_at(chunk, start + self.offset + done)
                        .map_err(|source| place.read_error(source))?;
                    write(chunk)?;
                }
            }
        }
        Ok(crc)
    }
}
