//! Archives: a layout in one tar, with the manifest of `docker load` beside it.
//!
//! The form is that of `docker save` of Docker 29, byte for byte, see
//! `docs/decisions/0002-archive.md`. Every loader takes it, the
//! `docker-archive` and `oci-archive` readers of containers/image included.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use sha2::{Digest as _, Sha256};

use crate::buffer::AlignedBuffer;
use crate::delivery::Delivery;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::index::{OCI_LAYOUT, RootIndex, blob_name, docker_manifest};
use crate::layer::{self, CHUNK_BYTES, Layer, Piece};
use crate::monitor::Monitor;
use crate::parallel;
use crate::parcel::{ParcelBlob, copy_together};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::tar_writer::{BLOCK_BYTES, Ustar, ustar_header};

/// The largest size in a `ustar` header; Go's writer puts a larger one into a
/// PAX record.
const MAX_USTAR_SIZE: u64 = 0o777_7777_7777;

/// An archive that can be written, whose size is known.
#[derive(Debug)]
pub(crate) struct Archive<'a> {
    parts: Vec<Part<'a>>,
    size: u64,
}

#[derive(Debug)]
enum Part<'a> {
    Bytes(Vec<u8>),
    Layer(&'a Layer),
    Blob(&'a ParcelBlob),
}

impl Part<'_> {
    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Layer(layer) => layer.size(),
            Self::Blob(blob) => blob.size,
        }
    }
}

#[derive(Clone, Copy)]
enum Blob<'a> {
    Bytes(&'a [u8]),
    Layer(&'a Layer),
    Other(&'a ParcelBlob),
}

/// Everything of an image or index by its digest.
fn blobs(delivery: Delivery<'_>) -> BTreeMap<Digest, Blob<'_>> {
    let mut blobs = BTreeMap::new();
    match delivery {
        Delivery::Image(image) => add_image(image, &mut blobs),
        Delivery::Images(images) => {
            for (_, image) in images.images() {
                add_image(image, &mut blobs);
            }
            let index = images.document();
            blobs.insert(index.digest, Blob::Bytes(&index.bytes));
        }
        Delivery::Parcel(parcel) => {
            let documents = parcel.documents().iter();
            blobs.extend(documents.map(|one| (one.digest, Blob::Bytes(&one.bytes))));
            let others = parcel.blobs().iter();
            blobs.extend(others.map(|blob| (blob.digest, Blob::Other(blob))));
        }
    }
    blobs
}

fn add_image<'a>(image: &'a Image, blobs: &mut BTreeMap<Digest, Blob<'a>>) {
    for document in [image.config(), image.manifest()] {
        blobs.insert(document.digest(), Blob::Bytes(document.bytes()));
    }
    let layers = image.layers().iter();
    blobs.extend(layers.map(|layer| (layer.digest(), Blob::Layer(layer))));
}

impl<'a> Archive<'a> {
    /// Lays out an archive; of an index, an engine that knows none loads the
    /// image for `platform`.
    pub(crate) fn new(
        delivery: Delivery<'a>,
        references: &[Reference],
        platform: Option<&Platform>,
    ) -> Self {
        let mut index = RootIndex::new();
        index.insert(&delivery.root(), references, None);
        let mut archive = Self {
            parts: Vec::new(),
            size: 0,
        };
        archive.push_directory("blobs/");
        archive.push_directory("blobs/sha256/");
        for (digest, blob) in blobs(delivery) {
            match blob {
                Blob::Bytes(bytes) => archive.push_file(&blob_name(digest), 0o444, bytes),
                Blob::Layer(layer) => archive.push_blob(digest, Part::Layer(layer)),
                Blob::Other(blob) => archive.push_blob(digest, Part::Blob(blob)),
            }
        }
        archive.push_file("index.json", 0o644, &index.to_bytes());
        let manifest = docker_manifest(delivery.docker_image(platform), references);
        archive.push_file("manifest.json", 0o644, &manifest);
        archive.push_file("oci-layout", 0o444, OCI_LAYOUT);
        archive.push(Part::Bytes(vec![0; 2 * BLOCK_BYTES]));
        archive
    }

    /// Returns what tells this archive from every other one: the digest of all
    /// its bytes, with a layer's digest in place of the layer.
    pub(crate) fn identity(&self) -> Digest {
        let mut sha = Sha256::new();
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => sha.update(bytes),
                Part::Layer(layer) => sha.update(layer.digest().as_bytes()),
                Part::Blob(blob) => sha.update(blob.digest.as_bytes()),
            }
        }
        Digest::from_hasher(sha)
    }

    /// Returns the size of the whole archive in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
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

    fn push_blob(&mut self, digest: Digest, part: Part<'a>) {
        let size = part.size();
        self.push(Part::Bytes(file_header(&blob_name(digest), 0o444, size)));
        self.push(part);
        let padded = size.next_multiple_of(BLOCK_BYTES as u64);
        let padding = usize::try_from(padded - size).expect("less than a block");
        self.push(Part::Bytes(vec![0; padding]));
    }

    /// Gets what is elsewhere near, all at once rather than where it stands.
    fn bring(&self) -> Result<()> {
        let layers = self.parts.iter().filter_map(|part| match part {
            Part::Layer(layer) => Some(*layer),
            Part::Bytes(_) | Part::Blob(_) => None,
        });
        layer::bring(layers)
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
        self.bring()?;
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => sink.write_all(bytes).map_err(sink_error)?,
                Part::Layer(layer) => layer.write_to(sink, sink_error, monitor)?,
                Part::Blob(blob) => blob.copy_to(sink, sink_error, monitor)?,
            }
        }
        sink.flush().map_err(sink_error)
    }

    /// Writes the archive with `threads` threads into an empty file.
    ///
    /// # Errors
    ///
    /// As [`Archive::write_to`].
    pub(crate) fn write_at(
        &self,
        file: &std::fs::File,
        threads: usize,
        sink_error: &(dyn Fn(io::Error) -> Error + Sync),
        monitor: Monitor<'_>,
    ) -> Result<()> {
        self.bring()?;
        let mut pieces: Vec<(u64, usize, Piece<'_>)> = Vec::new();
        let mut layers: Vec<&Layer> = Vec::new();
        let (mut blobs, mut places) = (Vec::new(), Vec::new());
        let mut offset = 0;
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => file.write_all_at(bytes, offset).map_err(sink_error)?,
                Part::Layer(layer) => {
                    let all = layer.pieces().into_iter();
                    pieces.extend(all.map(|piece| (offset, layers.len(), piece)));
                    layers.push(layer);
                }
                Part::Blob(blob) => {
                    blobs.push(*blob);
                    places.push(offset);
                }
            }
            offset += part.size();
        }
        copy_together(&blobs, threads, monitor, &|turn, blob, monitor| {
            let offset = places[turn];
            blob.until_whole(&|| blob.copy_to(&mut At { file, offset }, sink_error, monitor))
        })?;
        let crcs = Mutex::new(vec![None; pieces.len()]);
        parallel::for_each(threads, 0..pieces.len(), |turn, _| {
            let (start, _, piece) = &pieces[turn];
            let mut buffer = AlignedBuffer::new(CHUNK_BYTES);
            let mut position = start + piece.offset;
            let crc = piece.copy(&mut buffer, monitor, &mut |bytes| {
                file.write_all_at(bytes, position).map_err(sink_error)?;
                position += bytes.len() as u64;
                Ok(())
            })?;
            crcs.lock().expect("no holder of the lock panics")[turn] = Some(crc);
            Ok(())
        })?;
        let crcs = crcs.into_inner().expect("no holder of the lock panics");
        for (index, layer) in layers.iter().enumerate() {
            let of_layer = pieces
                .iter()
                .zip(&crcs)
                .filter(|((_, of, _), _)| *of == index);
            let of_layer: Vec<_> = of_layer.filter_map(|(_, crc)| crc.clone()).collect();
            layer.check_crc(&of_layer)?;
        }
        Ok(())
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

/// The header of a file of the archive, as Go's `archive/tar` writes it.
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
