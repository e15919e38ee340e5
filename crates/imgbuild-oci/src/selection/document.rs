//! The documents of one image, and its layers as they list them.

use std::collections::BTreeMap;
use std::io;

use oci_spec::image::MediaType;

use super::{SelectedLayer, SelectionError};
use crate::digest::{DiffId, Digest, DigestReader};
use crate::platform::Purpose;
use crate::source::document::{Config, RawDescriptor};
use crate::source::{Compression, Source, SourceError, blob_name};

/// The layers of an image as its documents list them.
pub(super) enum Layers {
    Descriptors(String, Vec<RawDescriptor>),
    Names(Vec<String>),
}

impl Layers {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Descriptors(_, layers) => layers.len(),
            Self::Names(layers) => layers.len(),
        }
    }

    pub(super) fn read(
        self,
        source: &Source,
        diff_ids: Vec<DiffId>,
    ) -> Result<Vec<SelectedLayer>, SelectionError> {
        match self {
            Self::Descriptors(manifest, layers) => layers
                .into_iter()
                .zip(diff_ids)
                .map(|(layer, diff_id)| described_layer(&manifest, layer, diff_id))
                .collect(),
            Self::Names(layers) => layers
                .into_iter()
                .zip(diff_ids)
                .map(|(name, diff_id)| named_layer(source, name, diff_id))
                .collect(),
        }
    }
}

fn described_layer(
    manifest: &str,
    layer: RawDescriptor,
    diff_id: DiffId,
) -> Result<SelectedLayer, SelectionError> {
    let (digest, size) = descriptor(manifest, &layer)?;
    let media_type = layer.media_type.unwrap_or_default();
    let Some(compression) = Compression::of_layer(&media_type) else {
        return Err(SelectionError::LayerMediaType { media_type });
    };
    let is_docker = media_type.starts_with("application/vnd.docker.");
    Ok(SelectedLayer {
        name: blob_name(&digest),
        media_type: match is_docker {
            true => layer_media_type(compression),
            false => MediaType::from(media_type.as_str()),
        },
        digest,
        size,
        diff_id,
        annotations: layer.annotations.unwrap_or_default(),
    })
}

/// A layer of a Docker archive, which says nothing of its blob.
fn named_layer(
    source: &Source,
    name: String,
    diff_id: DiffId,
) -> Result<SelectedLayer, SelectionError> {
    let missing = || SourceError::Missing { name: name.clone() };
    let read_error = |source| SourceError::Read {
        name: name.clone(),
        source,
    };
    let blob = source.member(&name)?.ok_or_else(missing)?;
    let size = blob.size();
    let mut start = Vec::new();
    let head = io::Read::take(blob.clone(), 8);
    io::Read::read_to_end(&mut { head }, &mut start).map_err(read_error)?;
    let compression = Compression::detect(&start);
    let digest = match compression {
        // Whether it is, shows when the layer is read.
        Compression::None => *diff_id.as_digest(),
        _ => {
            let mut hashed = DigestReader::new(blob);
            io::copy(&mut hashed, &mut io::sink()).map_err(read_error)?;
            hashed.finish().1
        }
    };
    Ok(SelectedLayer {
        media_type: layer_media_type(compression),
        name,
        digest,
        size,
        diff_id,
        annotations: BTreeMap::new(),
    })
}

fn layer_media_type(compression: Compression) -> MediaType {
    match compression {
        Compression::Gzip => MediaType::ImageLayerGzip,
        Compression::Zstd => MediaType::ImageLayerZstd,
        Compression::None | Compression::Xz | Compression::Bzip2 => MediaType::ImageLayer,
    }
}

pub(super) fn descriptor(
    document: &str,
    raw: &RawDescriptor,
) -> Result<(Digest, u64), SelectionError> {
    let error = |field| SourceError::Descriptor {
        name: document.to_owned(),
        field,
    };
    let digest = raw.digest.as_ref().and_then(|text| text.parse().ok());
    let size = raw.size.and_then(|size| u64::try_from(size).ok());
    Ok((
        digest.ok_or_else(|| error("digest"))?,
        size.ok_or_else(|| error("size"))?,
    ))
}

/// Reads a document that must have the size that a descriptor says.
pub(super) fn read_sized(
    source: &Source,
    digest: &Digest,
    size: u64,
) -> Result<Vec<u8>, SelectionError> {
    let bytes = source.read_blob(digest)?;
    let found = bytes.len() as u64;
    match found == size {
        true => Ok(bytes),
        false => Err(SelectionError::Size {
            name: blob_name(digest),
            expected: size,
            found,
        }),
    }
}

/// Compares a configuration with the digest that its name says: `HEX.json`,
/// or `blobs/sha256/HEX`.
pub(super) fn check_name(name: &str, bytes: &[u8]) -> Result<Digest, SelectionError> {
    let found = Digest::of(bytes);
    let file = name.rsplit('/').next().unwrap_or(name);
    let hex = file.strip_suffix(".json").unwrap_or(file);
    match format!("sha256:{hex}").parse::<Digest>() {
        Ok(expected) if expected != found => Err(SelectionError::Source(SourceError::Digest {
            name: name.to_owned(),
            expected,
            found,
        })),
        Ok(_) | Err(_) => Ok(found),
    }
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(
    name: &str,
    bytes: &[u8],
) -> Result<T, SelectionError> {
    serde_json::from_slice(bytes).map_err(|source| {
        SelectionError::Source(SourceError::Json {
            name: name.to_owned(),
            source,
        })
    })
}

pub(super) fn purpose_of(config: &[u8]) -> Result<Purpose, SelectionError> {
    let name = || blob_name(&Digest::of(config));
    let document: Config = parse(&name(), config)?;
    document.purpose().ok_or_else(|| SelectionError::Config {
        name: name(),
        reason: "it does not say for which platform it is",
    })
}

pub(super) fn diff_ids(name: &str, config: &[u8]) -> Result<Vec<DiffId>, SelectionError> {
    let document: Config = parse(name, config)?;
    let texts = document.rootfs.unwrap_or_default().diff_ids;
    let parse = |text: &String| text.parse().ok().map(DiffId::from_tar_digest);
    let parsed: Option<Vec<DiffId>> = texts.unwrap_or_default().iter().map(parse).collect();
    parsed.ok_or_else(|| SelectionError::Config {
        name: name.to_owned(),
        reason: "one of its diff IDs is no `sha256:` digest",
    })
}
