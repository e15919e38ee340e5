//! Reads images with a standard tar reader and recomputes all digests.
//!
//! Sources are OCI layouts, and archives that contain one, plain or compressed
//! with gzip as a whole. It shares no code with the crates that it checks.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

mod blobs;
mod layer;

use blobs::Blobs;

/// An image that was read.
#[derive(Debug, Clone)]
pub struct UnpackedImage {
    /// `sha256:…` of the manifest's bytes, as the index names it.
    pub manifest_digest: String,
    /// The manifest.
    pub manifest: Value,
    /// The configuration.
    pub config: Value,
    /// The layout's index.
    pub index: Value,
    /// `manifest.json` of an archive, which classic Docker reads instead.
    pub docker_manifest: Option<Value>,
    /// The layers, lowest first.
    pub layers: Vec<UnpackedLayer>,
}

/// A layer that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackedLayer {
    /// `sha256:…` of the blob.
    pub digest: String,
    /// `sha256:…` of the tar in it.
    pub diff_id: String,
    /// The paths in the order of the tar, with duplicates.
    pub entries: Vec<(PathBuf, UnpackedPath)>,
}

/// A path of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackedPath {
    /// The kind, with the content.
    pub kind: UnpackedKind,
    /// The permission bits, set-id and sticky included.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// The modification time, in seconds since 1970.
    pub mtime: u64,
}

/// The kinds of path that a layer can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnpackedKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// The size in bytes.
        size: u64,
        /// `sha256:…` of its content.
        digest: String,
    },
    /// A symbolic link.
    Symlink {
        /// The target as written.
        target: PathBuf,
    },
    /// A second name of a file in the same layer.
    Hardlink {
        /// The path inside the image, without a leading `/`.
        target: PathBuf,
    },
}

/// The reason that an image could not be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// A file of the layout or archive cannot be read.
    #[error("cannot read `{name}` of `{}`", source_path.display())]
    Read {
        /// The layout or archive.
        source_path: PathBuf,
        /// The name inside it.
        name: String,
        /// The error of the system or of the tar reader.
        source: io::Error,
    },
    /// A document is not JSON.
    #[error("`{name}` is not JSON")]
    Json {
        /// The name inside the layout.
        name: String,
        /// The error of the parser.
        source: serde_json::Error,
    },
    /// A document lacks a field that the format requires.
    #[error("`{name}` has no `{field}`")]
    Missing {
        /// The name inside the layout.
        name: String,
        /// The field, as a JSON pointer.
        field: String,
    },
    /// Bytes do not match their digest or size.
    #[error("{what}: expected {expected}, found {found}")]
    Mismatch {
        /// The document or layer, and its property.
        what: String,
        /// The value that a document states.
        expected: String,
        /// The value that was computed.
        found: String,
    },
    /// A layer has an entry that imgbuild never writes.
    #[error("`{}` of layer {layer} is of tar type `{kind}`", path.display())]
    Kind {
        /// The number of the layer, counted from 0.
        layer: usize,
        /// The path of the entry.
        path: PathBuf,
        /// Its type flag.
        kind: char,
    },
}

/// Reads the image in `source`, a layout or an archive.
///
/// # Errors
///
/// The first disagreement or unreadable part.
pub fn unpack(source: &Path) -> Result<UnpackedImage, UnpackError> {
    let blobs = Blobs::open(source)?;
    let index = blobs.json("index.json")?;
    let (manifest_digest, manifest) = descriptor_target(&blobs, &index, "index.json", 0)?;
    let config_name = "config";
    let config_descriptor = field(&manifest, "manifest", "/config")?;
    let config = document(&blobs, config_descriptor, config_name)?.1;
    let descriptors = array(&manifest, "manifest", "/layers")?;
    let diff_ids = array(&config, config_name, "/rootfs/diff_ids")?;
    same(
        "number of diff IDs",
        &descriptors.len().to_string(),
        &diff_ids.len().to_string(),
    )?;
    let mut layers = Vec::new();
    for (number, (descriptor, diff_id)) in descriptors.iter().zip(diff_ids).enumerate() {
        let layer = layer::read(&blobs, number, descriptor)?;
        same(
            &format!("diff ID of layer {number}"),
            text(diff_id),
            &layer.diff_id,
        )?;
        layers.push(layer);
    }
    let docker_manifest = if blobs.has("manifest.json") {
        Some(blobs.json("manifest.json")?)
    } else {
        None
    };
    Ok(UnpackedImage {
        manifest_digest,
        manifest,
        config,
        index,
        docker_manifest,
        layers,
    })
}

/// Returns the content of one file of the image in `source`.
///
/// # Errors
///
/// Those of [`unpack`], and an error if no layer has a regular file of that
/// name (without a leading `/`).
pub fn read_file(source: &Path, path: &Path) -> Result<Vec<u8>, UnpackError> {
    let blobs = Blobs::open(source)?;
    let manifest = descriptor_target(&blobs, &blobs.json("index.json")?, "index.json", 0)?.1;
    for descriptor in array(&manifest, "manifest", "/layers")?.iter().rev() {
        if let Some(content) = layer::content_of(&blobs, descriptor, path)? {
            return Ok(content);
        }
    }
    Err(blobs.unreadable(&path.to_string_lossy(), io::ErrorKind::NotFound.into()))
}

impl UnpackedImage {
    /// Returns the merged layers, with whiteouts applied.
    #[must_use]
    pub fn files(&self) -> BTreeMap<PathBuf, UnpackedPath> {
        let mut files = BTreeMap::new();
        for layer in &self.layers {
            for (path, _) in &layer.entries {
                hide(&mut files, path);
            }
            for (path, found) in &layer.entries {
                if whiteout(path).is_some() {
                    continue;
                }
                let replaces_directory = found.kind != UnpackedKind::Directory;
                if replaces_directory {
                    remove_below(&mut files, path);
                }
                files.insert(path.clone(), found.clone());
            }
        }
        files
    }

    /// Returns the names of the image in the index, fully normalized.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let descriptors = self.index["manifests"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        descriptors
            .iter()
            .filter_map(|one| one["annotations"]["io.containerd.image.name"].as_str())
            .collect()
    }
}

/// Returns the name that a whiteout hides; `None` for an opaque directory.
fn whiteout(path: &Path) -> Option<Option<&str>> {
    let hidden = path.file_name()?.to_str()?.strip_prefix(".wh.")?;
    Some((hidden != ".wh..opq").then_some(hidden))
}

fn hide(files: &mut BTreeMap<PathBuf, UnpackedPath>, path: &Path) {
    match whiteout(path) {
        None => {}
        Some(None) => remove_below(files, path.parent().unwrap_or(Path::new(""))),
        Some(Some(name)) => {
            let hidden = path.with_file_name(name);
            remove_below(files, &hidden);
            files.remove(&hidden);
        }
    }
}

fn remove_below(files: &mut BTreeMap<PathBuf, UnpackedPath>, directory: &Path) {
    files.retain(|path, _| path == directory || !path.starts_with(directory));
}

fn descriptor_target(
    blobs: &Blobs,
    index: &Value,
    name: &str,
    number: usize,
) -> Result<(String, Value), UnpackError> {
    let descriptor = field(index, name, &format!("/manifests/{number}"))?;
    document(blobs, descriptor, "manifest")
}

/// Returns the JSON document of a descriptor, with checked size and digest.
fn document(blobs: &Blobs, descriptor: &Value, name: &str) -> Result<(String, Value), UnpackError> {
    let digest = text(field(descriptor, name, "/digest")?).to_owned();
    let size = field(descriptor, name, "/size")?;
    let mut bytes = Vec::new();
    let blob = digest.replacen(':', "/", 1);
    let path = format!("blobs/{blob}");
    blobs
        .open_file(&path)?
        .read_to_end(&mut bytes)
        .map_err(|error| blobs.unreadable(&path, error))?;
    same(
        &format!("size of the {name}"),
        &size.to_string(),
        &bytes.len().to_string(),
    )?;
    same(
        &format!("digest of the {name}"),
        &digest,
        &layer::digest_of(&bytes),
    )?;
    let value = serde_json::from_slice(&bytes).map_err(|source| UnpackError::Json {
        name: name.to_owned(),
        source,
    })?;
    Ok((digest, value))
}

fn field<'a>(value: &'a Value, name: &str, pointer: &str) -> Result<&'a Value, UnpackError> {
    value.pointer(pointer).ok_or_else(|| UnpackError::Missing {
        name: name.to_owned(),
        field: pointer.to_owned(),
    })
}

fn array<'a>(value: &'a Value, name: &str, pointer: &str) -> Result<&'a [Value], UnpackError> {
    let found = field(value, name, pointer)?;
    found
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| UnpackError::Missing {
            name: name.to_owned(),
            field: pointer.to_owned(),
        })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn same(what: &str, expected: &str, found: &str) -> Result<(), UnpackError> {
    if expected == found {
        return Ok(());
    }
    Err(UnpackError::Mismatch {
        what: what.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    })
}

#[cfg(test)]
mod tests;
