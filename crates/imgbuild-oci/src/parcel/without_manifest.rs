//! Images of archives that have no manifest: what `docker save` wrote before
//! Docker 25, and what the `docker-archive` of other tools is.
//!
//! Such an archive names a config and layers, and no digests but the config's.
//! The manifest is made here, always the same for the same archive: the config
//! and every layer stay as they are, byte for byte.

use std::sync::Arc;

use serde_json::{Value, json};

use super::source_blob::SourceBlob;
use super::{CONFIG_MEDIA_TYPE, Document, MANIFEST_MEDIA_TYPE, Parcel, ParcelBlob, ParcelError};
use crate::digest::Digest;
use crate::json::to_canonical;
use crate::selection::{SelectedImage, SelectedLayer};
use crate::source::Source;
use oci_spec::image::MediaType;

impl Parcel {
    /// Takes an image that was selected in `source` and has no manifest there.
    ///
    /// # Errors
    ///
    /// When its config cannot be read, or a layer is compressed in a way that
    /// no media type names.
    pub fn of_image_without_manifest(
        source: &Arc<Source>,
        image: &SelectedImage,
    ) -> Result<Self, ParcelError> {
        let blob = |name: &str, digest, size, media_type: &str, is_config| ParcelBlob {
            media_type: media_type.to_owned(),
            digest,
            size,
            is_config,
            content: Arc::new(SourceBlob::named(source, name.to_owned(), digest)),
        };
        let mut parcel = Self::default();
        let mut layers = Vec::new();
        for layer in &image.layers {
            let media_type = media_type_of(layer)?.to_string();
            layers.push(descriptor(&media_type, &layer.digest, layer.size));
            parcel.push_blob(blob(
                &layer.name,
                layer.digest,
                layer.size,
                &media_type,
                false,
            ));
        }
        let name = &image.config_name;
        let config = source.document(name).map_err(ParcelError::Source)?;
        let size = config.len() as u64;
        let digest = image.config_digest;
        parcel.push_blob(blob(name, digest, size, CONFIG_MEDIA_TYPE, true));
        let bytes = to_canonical(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_MEDIA_TYPE,
            "config": descriptor(CONFIG_MEDIA_TYPE, &digest, size),
            "layers": layers,
        }));
        parcel.push_document(Document {
            media_type: MANIFEST_MEDIA_TYPE.to_owned(),
            digest: Digest::of(&bytes),
            bytes,
        });
        Ok(parcel)
    }
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

/// What is no plain tar has another digest than its tar.
fn media_type_of(layer: &SelectedLayer) -> Result<&MediaType, ParcelError> {
    let is_plain = layer.digest == *layer.diff_id.as_digest();
    match layer.media_type == MediaType::ImageLayer && !is_plain {
        true => Err(ParcelError::Compression {
            name: layer.name.clone(),
        }),
        false => Ok(&layer.media_type),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::source::fixture::{self, Fixture, Layer, TAR, gzip, layer_tar, plain, zstd};

    type Compress = fn(&[u8]) -> Vec<u8>;

    /// A `docker save` tree of layers that are compressed in these ways.
    fn archive(compressions: &[Compress]) -> Fixture {
        let mut fixture = Fixture::good();
        let layer = |compress: &Compress| Layer {
            tar: layer_tar(&["a/", "a/b"]),
            media_type: TAR,
            compress: *compress,
        };
        fixture.layers = compressions.iter().map(layer).collect();
        fixture.edit_files(|files| drop(files.remove("index.json")));
        fixture
    }

    fn parcel(fixture: &Fixture) -> Result<(Parcel, Vec<Vec<u8>>), ParcelError> {
        let opened = fixture.archive();
        let source = Arc::new(opened.source());
        let image = SelectedImage::select(&source, None, None).unwrap();
        let parcel = Parcel::of_image_without_manifest(&source, &image)?;
        let read = |blob: &ParcelBlob| fixture::all(blob.content.open(0).unwrap());
        let bytes = parcel.blobs().iter().map(read).collect();
        Ok((parcel, bytes))
    }

    #[test]
    fn layers_stay_as_they_are_and_the_manifest_says_what_they_are() {
        let fixture = archive(&[plain, gzip, zstd, plain]);
        let (parcel, bytes) = parcel(&fixture).unwrap();
        let tar = layer_tar(&["a/", "a/b"]);
        // The tar that is there twice is one blob; the config comes last.
        assert_eq!(bytes[..3], [tar.clone(), gzip(&tar), zstd(&tar)]);
        assert_eq!(bytes.len(), 4);
        for (blob, bytes) in parcel.blobs().iter().zip(&bytes) {
            assert_eq!(
                (blob.digest, blob.size),
                (Digest::of(bytes), bytes.len() as u64)
            );
        }
        let manifest: Value = serde_json::from_slice(&parcel.root().bytes).unwrap();
        let types: Vec<&str> = manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| layer["mediaType"].as_str().unwrap())
            .map(|name| {
                name.strip_prefix("application/vnd.oci.image.layer.v1.")
                    .unwrap()
            })
            .collect();
        assert_eq!(types, ["tar", "tar+gzip", "tar+zstd", "tar"]);
        assert_eq!(
            manifest["config"]["digest"],
            Digest::of(&bytes[3]).to_string()
        );
        assert_eq!(parcel.root().bytes, to_canonical(&manifest));
        assert_eq!(parcel.root().digest, Digest::of(&parcel.root().bytes));
    }

    #[test]
    fn what_no_media_type_names_is_refused() {
        let xz = |_: &[u8]| b"\xfd7zXZ\0and so on".to_vec();
        let error = parcel(&archive(&[plain, xz])).unwrap_err().to_string();
        assert!(
            error.ends_with("is neither a plain tar nor compressed with gzip or zstd"),
            "{error}"
        );
    }

    #[test]
    fn a_layer_that_is_not_what_the_config_says_is_never_read_to_its_end() {
        let mut fixture = archive(&[plain]);
        let tar = layer_tar(&["a/", "a/b"]);
        let name = crate::source::blob_name(&Digest::of(&tar));
        fixture.edit_files(move |files| {
            if let Some(byte) = files.get_mut(&name).and_then(|tar| tar.first_mut()) {
                *byte ^= 1;
            }
        });
        let opened = fixture.archive();
        let source = Arc::new(opened.source());
        let image = SelectedImage::select(&source, None, None).unwrap();
        let parcel = Parcel::of_image_without_manifest(&source, &image).unwrap();
        let mut reader = parcel.blobs()[0].content.open(0).unwrap();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("is damaged: expected sha256:"), "{error}");
    }
}
