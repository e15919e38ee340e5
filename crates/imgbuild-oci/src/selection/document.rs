//! The documents of one image, and its layers as they list them.

use std::collections::BTreeMap;
use std::io;

use super::{SelectedLayer, SelectionError};
use crate::bounded;
use crate::digest::{DiffId, Digest, DigestReader};
use crate::document::{Descriptor, Document, RawDescriptor, blob_name};
use crate::media_type::{self, is_index, is_of_docker};
use crate::source::{Source, SourceError, StreamFormat, UnsupportedCompressionError};

/// Describes a layer of a manifest.
pub(super) fn described_layer(
    manifest: &Document,
    layer: &RawDescriptor,
    diff_id: DiffId,
) -> Result<SelectedLayer, SelectionError> {
    let incomplete = |field| manifest.incomplete_descriptor(field);
    let (digest, size) = (
        layer.digest().map_err(incomplete)?,
        layer.size().map_err(incomplete)?,
    );
    let media_type = layer.media_type.clone().unwrap_or_default();
    let Some(format) = StreamFormat::of_media_type(&media_type) else {
        return Err(SelectionError::LayerMediaType(media_type));
    };
    Ok(SelectedLayer {
        name: blob_name(&digest),
        media_type: if is_of_docker(&media_type) {
            oci_media_type(format)
        } else {
            media_type
        },
        digest,
        size,
        diff_id,
        annotations: layer.annotations.clone().unwrap_or_default(),
    })
}

/// Describes a layer of a Docker archive, which has no descriptor of its blob.
pub(super) fn named_layer(
    source: &Source,
    name: &str,
    diff_id: DiffId,
) -> Result<SelectedLayer, SelectionError> {
    let read_error = |source| SourceError::Read {
        name: name.to_owned(),
        source,
    };
    let blob = source.existing(name)?;
    let size = blob.size();
    let start = bounded::read_start(blob.clone(), 8).map_err(read_error)?;
    let format = StreamFormat::detect(&start);
    UnsupportedCompressionError::check(format).map_err(|error| read_error(error.into()))?;
    let digest = match format {
        // The digest is compared when the layer is read.
        StreamFormat::Plain => *diff_id.as_digest(),
        _ => {
            let mut hashed = DigestReader::new(blob);
            io::copy(&mut hashed, &mut io::sink()).map_err(read_error)?;
            hashed.finish().1
        }
    };
    Ok(SelectedLayer {
        media_type: oci_media_type(format),
        name: name.to_owned(),
        digest,
        size,
        diff_id,
        annotations: BTreeMap::new(),
    })
}

fn oci_media_type(format: StreamFormat) -> String {
    let name = match format {
        StreamFormat::Gzip => media_type::LAYER_GZIP,
        StreamFormat::Zstd => media_type::LAYER_ZSTD,
        _ => media_type::LAYER,
    };
    name.to_owned()
}

/// Reads a document, which must have the size of its descriptor; that of an
/// index is left to its reader.
pub(super) fn read_sized(
    source: &Source,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, SelectionError> {
    let bytes = source.read_blob(&descriptor.digest)?;
    let found = bytes.len() as u64;
    if found == descriptor.size || is_index(&descriptor.media_type) {
        return Ok(bytes);
    }
    Err(SelectionError::Size {
        name: blob_name(&descriptor.digest),
        expected: descriptor.size,
        found,
    })
}

/// Compares a configuration with the digest in its name: `HEX.json`,
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
