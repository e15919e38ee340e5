//! A small image whose every part a test can break.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression as Level, GzBuilder};
use serde_json::{Value, json};
use tar::{EntryType, Header};
use tempfile::TempDir;

use super::Source;
use crate::digest::Digest;
use crate::json::to_canonical;

type Edit = Box<dyn Fn(&mut Value)>;
type EditFiles = Box<dyn Fn(&mut Files)>;

/// The image, before its documents are put together.
pub(crate) struct Fixture {
    pub(crate) layers: Vec<Layer>,
    config: Vec<Edit>,
    manifest: Vec<Edit>,
    index: Vec<Edit>,
    docker: Vec<Edit>,
    files: Vec<EditFiles>,
}

/// The files of a layout or an archive by their names.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

pub(crate) struct Layer {
    pub(crate) tar: Vec<u8>,
    pub(crate) media_type: &'static str,
    pub(crate) compress: fn(&[u8]) -> Vec<u8>,
}

pub(crate) use crate::media_type::{LAYER as TAR, LAYER_GZIP as TAR_GZIP, LAYER_ZSTD as TAR_ZSTD};

pub(crate) fn plain(tar: &[u8]) -> Vec<u8> {
    tar.to_vec()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Level::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    ruzstd::encoding::compress_to_vec(bytes, level)
}

/// Writes one tar entry; `link` only matters for links.
pub(crate) fn entry(tar: &mut Vec<u8>, kind: EntryType, path: &str, link: &str, contents: &[u8]) {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(contents.len() as u64);
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(contents);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// A layer's tar of directories (`a/`) and files (`a/b`) that hold their name.
pub(crate) fn layer_tar(paths: &[&str]) -> Vec<u8> {
    let mut tar = Vec::new();
    for path in paths {
        match path.strip_suffix('/') {
            Some(_) => entry(&mut tar, EntryType::Directory, path, "", b""),
            None => entry(&mut tar, EntryType::Regular, path, "", path.as_bytes()),
        }
    }
    end(tar)
}

pub(crate) fn end(mut tar: Vec<u8>) -> Vec<u8> {
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// Puts files into a tar, in the order of their names.
pub(crate) fn archive(files: &Files) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, contents) in files {
        entry(&mut tar, EntryType::Regular, name, "", contents);
    }
    end(tar)
}

impl Fixture {
    /// An image that nothing is wrong with, of two layers.
    pub(crate) fn good() -> Self {
        let layer = |paths: &[&str]| Layer {
            tar: layer_tar(paths),
            media_type: TAR_GZIP,
            compress: gzip,
        };
        Self {
            layers: vec![layer(&["etc/", "etc/a"]), layer(&["app/", "app/b"])],
            config: Vec::new(),
            manifest: Vec::new(),
            index: Vec::new(),
            docker: Vec::new(),
            files: Vec::new(),
        }
    }

    pub(crate) fn edit_config(&mut self, edit: impl Fn(&mut Value) + 'static) {
        self.config.push(Box::new(edit));
    }

    pub(crate) fn edit_manifest(&mut self, edit: impl Fn(&mut Value) + 'static) {
        self.manifest.push(Box::new(edit));
    }

    pub(crate) fn edit_index(&mut self, edit: impl Fn(&mut Value) + 'static) {
        self.index.push(Box::new(edit));
    }

    pub(crate) fn edit_docker(&mut self, edit: impl Fn(&mut Value) + 'static) {
        self.docker.push(Box::new(edit));
    }

    pub(crate) fn edit_files(&mut self, edit: impl Fn(&mut Files) + 'static) {
        self.files.push(Box::new(edit));
    }

    /// Puts the documents together, from the layers up.
    #[expect(clippy::too_many_lines, reason = "the documents of one image")]
    pub(crate) fn files(&self) -> Files {
        let mut files = Files::new();
        let blobs: Vec<Vec<u8>> = self
            .layers
            .iter()
            .map(|layer| (layer.compress)(&layer.tar))
            .collect();
        let names: Vec<String> = blobs
            .iter()
            .map(|blob| add_blob(&mut files, blob))
            .collect();
        let diff_ids: Vec<Digest> = self
            .layers
            .iter()
            .map(|layer| Digest::of(&layer.tar))
            .collect();
        let config = edited(
            &self.config,
            json!({
                "os": "linux",
                "architecture": "amd64",
                "rootfs": { "type": "layers", "diff_ids": diff_ids },
                "history": [{ "created_by": "a" }, { "created_by": "b" }],
            }),
        );
        let config_name = add_blob(&mut files, &config);
        let descriptors: Vec<Value> = self
            .layers
            .iter()
            .zip(&blobs)
            .map(|(layer, blob)| descriptor(layer.media_type, blob))
            .collect();
        let manifest = edited(
            &self.manifest,
            json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
                "layers": descriptors,
            }),
        );
        add_blob(&mut files, &manifest);
        let mut root = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        root["annotations"] = json!({
            "io.containerd.image.name": "docker.io/library/app:1",
            "org.opencontainers.image.ref.name": "1",
        });
        let index = edited(
            &self.index,
            json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [root],
            }),
        );
        let docker = edited(
            &self.docker,
            json!([{
                "Config": config_name,
                "RepoTags": ["app:1"],
                "Layers": names,
            }]),
        );
        files.insert("index.json".to_owned(), index);
        files.insert("manifest.json".to_owned(), docker);
        files.insert(
            "oci-layout".to_owned(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        );
        self.files.iter().for_each(|edit| edit(&mut files));
        files
    }

    pub(crate) fn archive(&self) -> Opened {
        Opened::archive(&archive(&self.files()))
    }

    pub(crate) fn layout(&self) -> Opened {
        Opened::layout(&self.files())
    }
}

pub(crate) fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::of(blob), "size": blob.len() })
}

pub(crate) fn add_blob(files: &mut Files, blob: &[u8]) -> String {
    let name = super::blob_name(&Digest::of(blob));
    files.insert(name.clone(), blob.to_vec());
    name
}

fn edited(edits: &[Edit], mut document: Value) -> Vec<u8> {
    edits.iter().for_each(|edit| edit(&mut document));
    to_canonical(&document)
}

/// A source in a directory that goes away with it.
pub(crate) struct Opened {
    pub(crate) directory: TempDir,
    pub(crate) path: PathBuf,
}

impl Opened {
    pub(crate) fn archive(bytes: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.tar");
        fs_err::write(&path, bytes).unwrap();
        Self { directory, path }
    }

    pub(crate) fn layout(files: &Files) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("layout");
        for (name, contents) in files {
            let file = path.join(name);
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            fs_err::write(file, contents).unwrap();
        }
        Self { directory, path }
    }

    pub(crate) fn open(&self) -> Result<Source, super::SourceError> {
        Source::open(&self.path, self.directory.path())
    }

    pub(crate) fn source(&self) -> Source {
        self.open().unwrap()
    }

    pub(crate) fn scratch(&self) -> &Path {
        self.directory.path()
    }
}

/// Reads everything.
pub(crate) fn all(mut reader: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}
