//! Finished layers: their digests are known, their bytes can be written.

use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use oci_spec::image::MediaType;
use sha2::{Digest as _, Sha256};

use crate::buffer::AlignedBuffer;
use crate::changeset::{Changeset, Member};
use crate::compression::Compression;
use crate::content::{Content, ContentReader};
use crate::deflate::Level;
use crate::digest::{DiffId, Digest, DigestWriter};
use crate::error::{Error, Result};
use crate::monitor::{Monitor, Progress};
use crate::pipeline::{Compressor, Stream, with_compressor};
use crate::tar_writer::{self, TarStream};

/// The bytes that are read, hashed or written at a time.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// The bytes of a layer that one thread writes before it takes the next.
const PIECE_BYTES: u64 = 8 << 20;

/// One finished layer.
///
/// The bytes of a plain layer stay in the files of the host and are read
/// again when it is written; those of a compressed one lie in a scratch file
/// that has no name.
#[derive(Debug, Clone)]
pub struct Layer {
    name: String,
    compression: Compression,
    digest: Digest,
    size: u64,
    diff_id: DiffId,
    tar_size: u64,
    entries: usize,
    bytes: LayerBytes,
}

#[derive(Debug, Clone)]
enum LayerBytes {
    Tar {
        changeset: Arc<Changeset>,
        /// Of the whole tar, to notice files that change between two reads.
        crc: u32,
    },
    Scratch {
        file: Arc<std::fs::File>,
        directory: Arc<Path>,
    },
}

/// How layers are made.
#[derive(Debug, Clone)]
pub struct LayerOptions {
    /// The compression of every layer.
    pub compression: Compression,
    /// How many threads work at a time; at least 1. Never changes a byte.
    pub threads: usize,
    /// The directory for compressed bytes until they are written.
    pub scratch: PathBuf,
}

impl Layer {
    /// Returns the name, for messages and the history.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the media type of the blob.
    #[must_use]
    pub fn media_type(&self) -> MediaType {
        self.compression.media_type()
    }

    /// Returns the digest of the blob.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the size of the blob in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the digest of the uncompressed tar.
    #[must_use]
    pub fn diff_id(&self) -> DiffId {
        self.diff_id
    }

    /// Returns the size of the uncompressed tar in bytes.
    #[must_use]
    pub fn tar_size(&self) -> u64 {
        self.tar_size
    }

    /// Returns how many entries the tar has.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries
    }
}

/// Reads, hashes and compresses `changesets`, several at a time, and returns
/// their layers in the same order.
///
/// # Errors
///
/// When a file cannot be read or is not as planned, when the scratch
/// directory cannot take the compressed bytes, or when interrupted.
pub fn build_layers(
    changesets: Vec<Changeset>,
    options: &LayerOptions,
    monitor: Monitor<'_>,
) -> Result<Vec<Layer>> {
    let threads = options.threads.max(1);
    let build = |read: &(dyn Fn(Arc<Changeset>) -> Result<Layer> + Sync)| {
        build_all(changesets, threads, monitor, read)
    };
    match options.compression {
        Compression::None => build(&|changeset| identify(changeset, monitor)),
        Compression::Gzip(level) => with_compressor(threads, level, |compressor| {
            build(&|changeset| compress(&changeset, compressor, level, &options.scratch, monitor))
        }),
    }
}

/// Builds the largest layers first, so that none is left alone at the end.
fn build_all(
    changesets: Vec<Changeset>,
    threads: usize,
    monitor: Monitor<'_>,
    build: &(dyn Fn(Arc<Changeset>) -> Result<Layer> + Sync),
) -> Result<Vec<Layer>> {
    let changesets: Vec<Arc<Changeset>> = changesets.into_iter().map(Arc::new).collect();
    let mut order: Vec<usize> = (0..changesets.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(changesets[*index].tar_size()));
    let results: Mutex<Vec<Option<Layer>>> = Mutex::new(vec![None; changesets.len()]);
    run_in_turn(threads.min(changesets.len()), order.len(), |turn| {
        let index = order[turn];
        let layer = build(Arc::clone(&changesets[index]))?;
        monitor.report(Progress::Layer(&layer));
        results.lock().expect("no holder of the lock panics")[index] = Some(layer);
        Ok(())
    })?;
    let layers = results.into_inner().expect("no holder of the lock panics");
    Ok(layers.into_iter().flatten().collect())
}

/// Runs `work(0)` … `work(count - 1)` on `threads` threads and returns the
/// first error; what has not begun by then is left.
pub(crate) fn run_in_turn(
    threads: usize,
    count: usize,
    work: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let run = || loop {
        let turn = next.fetch_add(1, Ordering::Relaxed);
        if turn >= count {
            return;
        }
        if let Err(error) = work(turn) {
            next.store(count, Ordering::Relaxed);
            let mut failure = failure.lock().expect("no holder of the lock panics");
            failure.get_or_insert(error);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
    match failure.into_inner().expect("no holder of the lock panics") {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Hashes the tar of a layer that stays plain.
fn identify(changeset: Arc<Changeset>, monitor: Monitor<'_>) -> Result<Layer> {
    let mut stream = TarStream::new(changeset.members(), true);
    let mut buffer = AlignedBuffer::new(CHUNK_BYTES);
    let mut sha = Sha256::new();
    let mut crc = crc32fast::Hasher::new();
    loop {
        monitor.check()?;
        let count = stream.fill(buffer.as_mut_slice())?;
        let chunk = &buffer.as_slice()[..count];
        sha.update(chunk);
        crc.update(chunk);
        monitor.report(Progress::Read {
            bytes: count as u64,
        });
        if count < CHUNK_BYTES {
            break;
        }
    }
    let digest = Digest::from_hasher(sha);
    Ok(Layer {
        name: changeset.name().to_owned(),
        compression: Compression::None,
        digest,
        size: changeset.tar_size(),
        diff_id: DiffId::from_tar_digest(digest),
        tar_size: changeset.tar_size(),
        entries: changeset.members().len(),
        bytes: LayerBytes::Tar {
            crc: crc.finalize(),
            changeset,
        },
    })
}

/// The tar of a changeset, to be compressed.
struct LayerStream<'a> {
    changeset: &'a Changeset,
    tar: TarStream<'a>,
}

impl Stream for LayerStream<'_> {
    fn size(&self) -> u64 {
        self.changeset.tar_size()
    }

    fn segment_starts(&self) -> Vec<u64> {
        tar_writer::segment_starts(self.changeset.members())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        let count = self.tar.fill(buffer)?;
        debug_assert_eq!(count, buffer.len(), "the size of the tar is known");
        Ok(())
    }
}

/// Compresses the tar of a layer into a scratch file, hashing both.
fn compress(
    changeset: &Changeset,
    compressor: &Compressor,
    level: Level,
    scratch: &Path,
    monitor: Monitor<'_>,
) -> Result<Layer> {
    let scratch_error = |source| Error::Scratch {
        directory: scratch.to_path_buf(),
        source,
    };
    let file = tempfile::tempfile_in(scratch).map_err(scratch_error)?;
    let mut stream = LayerStream {
        changeset,
        tar: TarStream::new(changeset.members(), true),
    };
    let mut sha = Sha256::new();
    let see = |block: &[u8]| {
        sha.update(block);
        monitor.report(Progress::Read {
            bytes: block.len() as u64,
        });
        monitor.check()
    };
    let sink = DigestWriter::new(file);
    let sink = compressor.gzip(&mut stream, sink, see, scratch_error)?;
    let (file, digest, size) = sink.finish();
    Ok(Layer {
        name: changeset.name().to_owned(),
        compression: Compression::Gzip(level),
        digest,
        size,
        diff_id: DiffId::from_tar_digest(Digest::from_hasher(sha)),
        tar_size: changeset.tar_size(),
        entries: changeset.members().len(),
        bytes: LayerBytes::Scratch {
            file: Arc::new(file),
            directory: scratch.into(),
        },
    })
}

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
    /// A range of a scratch file.
    Scratch(&'a std::fs::File, &'a Path),
    /// Bytes at hand.
    Bytes(Vec<u8>),
}

impl Layer {
    /// Cuts the blob into pieces of about [`PIECE_BYTES`], in order.
    pub(crate) fn pieces(&self) -> Vec<Piece<'_>> {
        match &self.bytes {
            LayerBytes::Tar { changeset, .. } => tar_pieces(changeset),
            LayerBytes::Scratch { file, directory } => (0..self.size)
                .step_by(usize::try_from(PIECE_BYTES).expect("a few mebibytes"))
                .map(|offset| Piece {
                    offset,
                    size: PIECE_BYTES.min(self.size - offset),
                    source: PieceSource::Scratch(file, directory),
                })
                .collect(),
        }
    }

    /// Checks the CRC of all pieces together against the first read.
    pub(crate) fn check_crc(&self, pieces: &[crc32fast::Hasher]) -> Result<()> {
        let LayerBytes::Tar { crc, .. } = &self.bytes else {
            return Ok(());
        };
        let mut whole = crc32fast::Hasher::new();
        for piece in pieces {
            whole.combine(piece);
        }
        if whole.finalize() != *crc {
            return Err(Error::LayerChanged {
                layer: self.name.clone(),
            });
        }
        Ok(())
    }

    /// Writes the blob in order to `sink`.
    ///
    /// # Errors
    ///
    /// When the bytes cannot be read, are no longer those that were hashed,
    /// or when the sink fails, as `sink_error` wraps it.
    pub(crate) fn write_to(
        &self,
        sink: &mut dyn Write,
        sink_error: &dyn Fn(io::Error) -> Error,
        monitor: Monitor<'_>,
    ) -> Result<()> {
        let mut crcs = Vec::new();
        let mut buffer = AlignedBuffer::new(CHUNK_BYTES);
        for piece in self.pieces() {
            let crc = piece.copy(&mut buffer, monitor, &mut |bytes| {
                sink.write_all(bytes).map_err(sink_error)
            })?;
            crcs.push(crc);
        }
        self.check_crc(&crcs)
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
            PieceSource::Scratch(file, directory) => {
                for done in (0..self.size).step_by(CHUNK_BYTES) {
                    let count = usize::try_from(self.size - done)
                        .map_or(CHUNK_BYTES, |rest| rest.min(CHUNK_BYTES));
                    let chunk = &mut buffer.as_mut_slice()[..count];
                    file.read_exact_at(chunk, self.offset + done)
                        .map_err(|source| Error::Scratch {
                            directory: directory.to_path_buf(),
                            source,
                        })?;
                    write(chunk)?;
                }
            }
        }
        Ok(crc)
    }
}
