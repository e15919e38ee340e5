//! Archives: a layout in one tar, with the manifest of `docker load` beside it.
//!
//! The form is that of `docker save` of Docker 29, byte for byte, see
//! `docs/decisions/0002-archive.md`. Every loader takes it, the
//! `docker-archive` and `oci-archive` readers of containers/image included.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use sha2::{Digest as _, Sha256};

use crate::buffer::AlignedBuffer;
use crate::digest::Digest;
use crate::document::{Document, blob_name};
use crate::error::{Error, Result};
use crate::image::{Blob, Image};
use crate::layer::{self, CHUNK_BYTES, Piece};
use crate::layout::{OCI_LAYOUT, RootIndex, docker_manifest};
use crate::monitor::Monitor;
use crate::parallel;
use crate::reference::Reference;
use crate::tar_writer::{BLOCK_BYTES, Ustar, ustar_header};

/// The largest size in a `ustar` header; Go's writer puts a larger one into a
/// PAX record.
const MAX_USTAR_SIZE: u64 = 0o777_7777_7777;

/// An archive that can be written, whose size is known.
#[derive(Debug)]
pub(crate) struct Archive<'a> {
    parts: Vec<Part<'a>>,
    /// The size of the whole archive in bytes.
    pub(crate) size: u64,
}

#[derive(Debug)]
enum Part<'a> {
    Bytes(Vec<u8>),
    Blob(&'a Blob),
}

impl Part<'_> {
    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Blob(blob) => blob.size,
        }
    }
}

/// A part of an archive that one thread writes by itself.
struct WriteJob<'a> {
    blob: &'a Blob,
    /// The place of the blob in the archive.
    offset: u64,
    /// A piece of the blob, or the whole.
    piece: Option<Piece<'a>>,
}

impl<'a> Archive<'a> {
    /// Lays out an archive of an image.
    pub(crate) fn new(image: &'a Image, references: &[Reference]) -> Self {
        let mut index = RootIndex::new();
        index.insert(image.root(), references, None);
        let mut archive = Self {
            parts: Vec::new(),
            size: 0,
        };
        archive.push_directory("blobs/");
        archive.push_directory("blobs/sha256/");
        let blobs = image.blobs().iter().map(|blob| (blob.digest, blob));
        let blobs: BTreeMap<Digest, &Blob> = blobs.collect();
        let documents = image.documents().iter().map(|one| (one.digest, one));
        let documents: BTreeMap<Digest, &Document> = documents.collect();
        let digests: BTreeSet<&Digest> = blobs.keys().chain(documents.keys()).collect();
        for digest in digests {
            if let Some(blob) = blobs.get(digest) {
                archive.push_blob(blob);
            } else if let Some(document) = documents.get(digest) {
                archive.push_file(&blob_name(digest), 0o444, &document.bytes);
            }
        }
        archive.push_file("index.json", 0o644, &index.to_bytes());
        let manifest = docker_manifest(image.docker_image(), references);
        archive.push_file("manifest.json", 0o644, &manifest);
        archive.push_file("oci-layout", 0o444, OCI_LAYOUT);
        archive.push(Part::Bytes(vec![0; 2 * BLOCK_BYTES]));
        archive
    }

    /// Returns the identity of the archive: the digest of all its bytes, with
    /// the digest of a blob in place of the blob.
    pub(crate) fn identity(&self) -> Digest {
        let mut sha = Sha256::new();
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => sha.update(bytes),
                Part::Blob(blob) => sha.update(blob.digest.as_bytes()),
            }
        }
        Digest::from_hasher(sha)
    }

    fn push(&mut self, part: Part<'a>) {
        self.size += part.size();
        self.parts.push(part);
    }

    fn push_directory(&mut self, name: &str) {
        let header = ustar_header(&Ustar {
            name: name.as_bytes(),
            mode: 0o755,
            kind: b'5',
            ..Ustar::default()
        });
        self.push(Part::Bytes(header.to_vec()));
    }

    fn push_file(&mut self, name: &str, mode: u32, bytes: &[u8]) {
        let mut part = file_header(name, mode, bytes.len() as u64);
        part.extend_from_slice(bytes);
        part.resize(part.len().next_multiple_of(BLOCK_BYTES), 0);
        self.push(Part::Bytes(part));
    }

    fn push_blob(&mut self, blob: &'a Blob) {
        let header = file_header(&blob_name(&blob.digest), 0o444, blob.size);
        self.push(Part::Bytes(header));
        self.push(Part::Blob(blob));
        let padded = blob.size.next_multiple_of(BLOCK_BYTES as u64);
        let padding = usize::try_from(padded - blob.size).expect("less than a block");
        self.push(Part::Bytes(vec![0; padding]));
    }

    /// Fetches the layers that are elsewhere, several at a time.
    fn fetch_layers(&self) -> Result<()> {
        let layers = self.parts.iter().filter_map(|part| match part {
            Part::Blob(blob) => blob.layer(),
            Part::Bytes(_) => None,
        });
        layer::fetch_all(layers)
    }

    /// Writes the archive in order.
    ///
    /// # Errors
    ///
    /// When a layer cannot be read again as it was, or writing fails, as
    /// `sink_error` wraps it.
    pub(crate) fn write_to(
        &self,
        sink: &mut dyn Write,
        sink_error: &dyn Fn(io::Error) -> Error,
        monitor: Monitor<'_>,
    ) -> Result<()> {
        self.fetch_layers()?;
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => sink.write_all(bytes).map_err(sink_error)?,
                Part::Blob(blob) => blob.copy_to(sink, sink_error, monitor)?,
            }
        }
        sink.flush().map_err(sink_error)
    }

    /// Writes the archive with `threads` threads into an empty file.
    pub(crate) fn write_at(
        &self,
        file: &std::fs::File,
        threads: usize,
        sink_error: &(dyn Fn(io::Error) -> Error + Sync),
        monitor: Monitor<'_>,
    ) -> Result<()> {
        self.fetch_layers()?;
        let mut jobs = Vec::new();
        let mut offset = 0;
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => file.write_all_at(bytes, offset).map_err(sink_error)?,
                Part::Blob(blob) => jobs.extend(jobs_of(blob, offset)),
            }
            offset += part.size();
        }

        let crcs = Mutex::new(vec![None; jobs.len()]);
        parallel::for_each(threads, jobs.iter().enumerate(), |(number, job), queue| {
            let monitor = monitor.unless(queue.stopped());
            monitor.check()?;
            let sink = |offset| At { file, offset };
            let Some(piece) = &job.piece else {
                return job.blob.until_whole(&|| {
                    let mut sink = sink(job.offset);
                    job.blob.copy_to(&mut sink, sink_error, monitor)
                });
            };
            let mut sink = sink(job.offset + piece.offset);
            let mut buffer = AlignedBuffer::new(CHUNK_BYTES);
            let crc = piece.copy(&mut buffer, monitor, &mut |bytes| {
                sink.write_all(bytes).map_err(sink_error)
            })?;
            crcs.lock().expect("no holder of the lock panics")[number] = Some(crc);
            Ok(())
        })?;

        let crcs = crcs.into_inner().expect("no holder of the lock panics");
        let done: Vec<_> = jobs.iter().zip(crcs).collect();
        for parts in done.chunk_by(|(first, _), (second, _)| first.offset == second.offset) {
            if let Some(layer) = parts[0].0.blob.layer() {
                let crcs = parts.iter().filter_map(|(_, crc)| crc.clone());
                layer.check_crc(&crcs.collect::<Vec<_>>())?;
            }
        }
        Ok(())
    }
}

/// Splits a blob at `offset` of the archive into jobs for single threads.
fn jobs_of(blob: &Blob, offset: u64) -> Vec<WriteJob<'_>> {
    let job = |piece| WriteJob {
        blob,
        offset,
        piece,
    };
    match blob.layer() {
        Some(layer) => layer.pieces().into_iter().map(Some).map(job).collect(),
        None => vec![job(None)],
    }
}

/// A place in a file, from which it is written on.
struct At<'a> {
    file: &'a std::fs::File,
    offset: u64,
}

impl Write for At<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.file.write_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the header of a file of the archive, as Go's `archive/tar` writes it.
fn file_header(name: &str, mode: u32, size: u64) -> Vec<u8> {
    let mut header = Vec::new();
    if size > MAX_USTAR_SIZE {
        let digits = size.to_string();
        // The length counts itself: two digits for every size.
        let length = " size=\n".len() + digits.len() + 2;
        let record = format!("{length} size={digits}\n");
        let (directory, file) = name.rsplit_once('/').unwrap_or(("", name));
        let record_name = format!("{directory}/PaxHeaders.0/{file}");
        header.extend_from_slice(&ustar_header(&Ustar {
            name: record_name.as_bytes(),
            size: record.len() as u64,
            kind: b'x',
            ..Ustar::default()
        }));
        header.extend_from_slice(record.as_bytes());
        header.resize(header.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    header.extend_from_slice(&ustar_header(&Ustar {
        name: name.as_bytes(),
        mode,
        size,
        kind: b'0',
        ..Ustar::default()
    }));
    header
}
