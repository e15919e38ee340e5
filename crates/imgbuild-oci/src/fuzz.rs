//! Fuzz targets: each takes any bytes, and panics if a promise is broken.
//!
//! `fuzz/` runs them under libFuzzer, the tests below over seeds and changes of
//! them.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use flate2::bufread::DeflateDecoder;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cache::CacheSource;
use crate::digest::Digest;
use crate::document::blob_name;
use crate::entry::EntryKind;
use crate::filesystem::{FileSystem, ReadOptions};
use crate::image::{Image, Platforms};
use crate::media_type::{LAYER, LAYER_GZIP, LAYER_ZSTD};
use crate::platform::Platform;
use crate::record::{self, RecordKind};
use crate::selection::SelectedImage;
use crate::source::{Decompressor, Source, SourceName};
use crate::store::record::{
    ContentRecord, LayerRecord, NoteRecord, OutputRecord, Record, SystemRecord,
};
use crate::validate::validate;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The largest tar whose digest is computed; larger ones take too long.
const MAX_TAR_BYTES: u64 = 4 << 20;

/// Reads a file as an image in every way that there is.
pub fn image_archive(data: &[u8]) {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let file = directory.path().join("image.tar");
    fs_err::write(&file, data).expect("there is room for a file");
    read_everything(directory.path(), &file);
}

/// Merges two tars as layers under their right digests; the first two bytes are
/// the size of the first one in units of 64 bytes.
pub fn image_layer(data: &[u8]) {
    let [high, low, rest @ ..] = data else {
        return;
    };
    let edge = usize::from(u16::from_be_bytes([*high, *low])) * 64;
    let (lower, upper) = rest.split_at(edge.min(rest.len()));
    let layout = Layout::new();
    let layers = [lower, upper].map(|tar| (layout.blob(LAYER, tar), Digest::of(tar)));
    layout.write_image(&layers);
    if let Some(files) = layout.read_files() {
        assert_is_tree(&files);
    }
}

/// Reads a compressed layer under its right digests. The first byte decides
/// if the rest is a tar to be compressed, a compressed stream, or the content
/// of a gzip member.
pub fn compressed_layer(data: &[u8]) {
    let [form, rest @ ..] = data else {
        return;
    };
    let (media_type, blob) = match form % 5 {
        0 => (LAYER_GZIP, gzip(rest)),
        1 => (LAYER_ZSTD, zstd(rest)),
        2 => (LAYER_GZIP, rest.to_vec()),
        3 => (LAYER_ZSTD, rest.to_vec()),
        _ => (LAYER_GZIP, gzip_member(rest)),
    };
    let (tar, has_trailing_bytes) = decompressed(&blob).unzip();
    if tar
        .as_ref()
        .is_some_and(|tar| tar.len() as u64 == MAX_TAR_BYTES)
    {
        return;
    }
    if let (Some(tar), [0x1f, 0x8b, ..]) = (&tar, &blob[..]) {
        let mut expected = Vec::new();
        let decoded = MultiGzDecoder::new(&blob[..]).read_to_end(&mut expected);
        let is_read = decoded.is_ok() || has_trailing_bytes == Some(true);
        assert!(is_read && *tar == expected, "two decoders differ");
    }
    if form % 5 < 2 {
        assert_eq!(tar.as_deref(), Some(rest), "it does not come back");
    }
    let layout = Layout::new();
    let diff_id = Digest::of(&tar.unwrap_or_default());
    layout.write_image(&[(layout.blob(media_type, &blob), diff_id)]);
    if let Some(files) = layout.read_files() {
        assert_is_tree(&files);
    }
}

/// Reads the JSON documents of an image, under right digests. The first byte
/// decides which of them the rest is; the others are in order.
pub fn image_documents(data: &[u8]) {
    let [which, rest @ ..] = data else {
        return;
    };
    let layout = Layout::new();
    let tar = [0; 1024];
    let layer = layout.blob(LAYER, &tar);
    layout.write_image(&[(layer.clone(), Digest::of(&tar))]);
    match which % 6 {
        0 => layout.write_index(&layout.manifest(&[layer], &layout.blob(CONFIG, rest))),
        1 => layout.write_index(&layout.blob(MANIFEST, rest)),
        2 => layout.write_index(&layout.blob(INDEX, rest)),
        3 => layout.write("index.json", rest),
        4 => layout.write("oci-layout", rest),
        _ => return docker_archive(rest),
    }
    read_everything(layout.0.path(), layout.0.path());
}

/// Reads records of a cache that have a right checksum. The first byte is the
/// kind of the record.
pub fn cache_records(data: &[u8]) {
    let [kind, payload @ ..] = data else {
        return;
    };
    match kind % 6 {
        0 => check_record::<LayerRecord>(payload),
        1 => check_record::<ContentRecord>(payload),
        2 => check_record::<OutputRecord>(payload),
        3 => check_record::<NoteRecord>(payload),
        4 => check_record::<SystemRecord>(payload),
        _ => file_system_record(payload),
    }
}

fn check_record<R: Record + std::fmt::Debug>(payload: &[u8]) {
    let Some(value) = record::decode::<R>(R::KIND, &sealed(R::KIND, payload)) else {
        return;
    };
    let again = record::encode(R::KIND, &value);
    let found: Option<R> = record::decode(R::KIND, &again);
    assert_eq!(format!("{found:?}"), format!("{:?}", Some(value)));
}

/// Reads a file with as many bytes of contents as the first byte says, and then
/// a record.
fn file_system_record(data: &[u8]) {
    let [kept, data @ ..] = data else {
        return;
    };
    let (contents, payload) = data.split_at(usize::from(*kept).min(data.len()));
    let mut file = tempfile::tempfile().expect("there is room for a file");
    let parts = [
        contents,
        &sealed(RecordKind::FileSystem, payload),
        &(contents.len() as u64).to_le_bytes(),
    ];
    file.write_all(&parts.concat())
        .expect("there is room for a file");
    for layers in 1..3 {
        let file = file.try_clone().expect("a file can be opened twice");
        if let Some(files) = FileSystem::of_record(file, layers) {
            assert_is_tree(&files);
        }
    }
}

/// Puts magic, kind and checksum around the value of a record.
fn sealed(kind: RecordKind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [b"imgbuild", &[kind as u8][..], payload].concat();
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads an archive of one empty layer that has these bytes as `manifest.json`.
fn docker_archive(manifest: &[u8]) {
    let tar = [0; 1024];
    let config = config(&[Digest::of(&tar)]);
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let mut archive = tar::Builder::new(Vec::new());
    let files = [
        ("manifest.json", manifest),
        ("layer.tar", &tar),
        (&config_name, &config),
    ];
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        let added = archive.append_data(&mut header, name, bytes);
        added.expect("memory takes it");
    }
    image_archive(&archive.into_inner().expect("memory takes it"));
}

fn read_everything(scratch: &Path, path: &Path) {
    let name: SourceName = path.display().to_string().parse().expect("it is a path");
    drop(CacheSource::open(&name, scratch));
    let Ok(source) = Source::open(path, scratch) else {
        return;
    };
    drop(validate(&source, 1));
    let source = Arc::new(source);
    let platform: Platform = "linux/amd64".parse().expect("it is a platform");
    drop(Image::of_source(&source, None, &Platforms::All));
    let one = Platforms::One(platform.clone());
    drop(Image::of_source(&source, Some("1"), &one));
    if let Some(files) = read_files(scratch, &source, Some(&platform)) {
        assert_is_tree(&files);
    }
}

fn read_files(scratch: &Path, source: &Source, wanted: Option<&Platform>) -> Option<FileSystem> {
    let image = SelectedImage::select(source, None, wanted).ok()?;
    let options = ReadOptions {
        scratch,
        keeps: &|_| true,
    };
    FileSystem::read(source, &image, options).ok()
}

/// Asserts that members are sorted, each path once, every parent a directory,
/// nothing outside of the root.
fn assert_is_tree(files: &FileSystem) {
    let members = files.members();
    let pairs = members.windows(2);
    assert!(
        pairs
            .into_iter()
            .all(|pair| pair[0].entry.path < pair[1].entry.path)
    );
    for member in members {
        let path = &member.entry.path;
        let mut names = path.as_bytes().split(|byte| *byte == b'/');
        assert!(!names.any(|name| name == b".."), "{path}");
        // The root itself is not a member.
        if let Some(parent) = path.parent().filter(|parent| !parent.is_root()) {
            let parent = files.get(&parent).expect("every parent is a member");
            assert_eq!(parent.entry.kind, EntryKind::Directory);
        }
        if let Some(content) = &member.content {
            drop(content.first_bytes(64));
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    ruzstd::encoding::compress_to_vec(bytes, level)
}

/// Puts the header of gzip before a DEFLATE stream, and the right checksum and
/// size after it.
fn gzip_member(deflate: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut decoder = DeflateDecoder::new(deflate).take(MAX_TAR_BYTES);
    // What cannot be decoded is an input, too.
    drop(decoder.read_to_end(&mut plain));
    let read = usize::try_from(decoder.into_inner().total_in()).unwrap_or(usize::MAX);
    [
        &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff][..],
        &deflate[..read.min(deflate.len())],
        &crc32fast::hash(&plain).to_le_bytes(),
        &(plain.len() as u32).to_le_bytes(),
    ]
    .concat()
}

/// Decompresses a blob; true if other bytes follow the stream.
fn decompressed(blob: &[u8]) -> Option<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let stream = Decompressor::new(blob, blob.len() as u64).ok()?;
    let mut stream = stream.take(MAX_TAR_BYTES);
    stream.read_to_end(&mut bytes).ok()?;
    Some((bytes, stream.into_inner().has_trailing_bytes()))
}

fn config(diff_ids: &[Digest]) -> Vec<u8> {
    let config = json!({
        "os": "linux",
        "architecture": "amd64",
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    config.to_string().into_bytes()
}

/// A layout in a temporary directory.
struct Layout(TempDir);

impl Layout {
    fn new() -> Self {
        let layout = Self(tempfile::tempdir().expect("there is room for a directory"));
        let blobs = layout.0.path().join("blobs/sha256");
        fs_err::create_dir_all(blobs).expect("there is room for a directory");
        layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        layout
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs_err::write(self.0.path().join(name), bytes).expect("there is room for a file");
    }

    /// Writes a blob and returns its descriptor.
    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.write(&blob_name(&digest), bytes);
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    fn manifest(&self, layers: &[Value], config: &Value) -> Value {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": layers,
        });
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    fn write_index(&self, root: &Value) {
        let index = json!({ "schemaVersion": 2, "manifests": [root] });
        self.write("index.json", index.to_string().as_bytes());
    }

    /// Writes an image of layers, each with its diff ID; returns the descriptor
    /// of its manifest.
    fn write_image(&self, layers: &[(Value, Digest)]) -> Value {
        let (layers, diff_ids): (Vec<Value>, Vec<Digest>) = layers.iter().cloned().unzip();
        let config = self.blob(CONFIG, &config(&diff_ids));
        let manifest = self.manifest(&layers, &config);
        self.write_index(&manifest);
        manifest
    }

    fn read_files(&self) -> Option<FileSystem> {
        let directory = self.0.path();
        let source = Source::open(directory, directory).expect("the layout is valid");
        read_files(directory, &source, None)
    }
}

#[cfg(test)]
mod tests;
