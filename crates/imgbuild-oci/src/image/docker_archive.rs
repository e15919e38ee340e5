//! Images of archives without a manifest, as `docker save` wrote them before
//! Docker 25, and as other tools write `docker-archive`.
//!
//! Such an archive names a config and layers, and no digests but the config's.
//! The manifest is made here, always the same for the same archive: the config
//! and every layer stay as they are, byte for byte.

use std::sync::Arc;

use serde_json::json;

use super::assemble::descriptor;
use super::{Blob, Image, ImageError, Platforms};
use crate::document::Document;
use crate::json::to_canonical;
use crate::media_type;
use crate::reference::Reference;
use crate::selection::SelectedImage;
use crate::source::{Source, SourceBlob};

impl Image {
    /// Reads the image of an archive that only `manifest.json` describes, and
    /// its names there.
    pub(super) fn of_docker_archive(
        source: &Arc<Source>,
        tag: Option<&str>,
        platforms: &Platforms,
    ) -> Result<(Self, Vec<Reference>), ImageError> {
        let platform = match platforms {
            Platforms::All | Platforms::Here => None,
            Platforms::One(platform) => Some(platform),
        };
        let selected = SelectedImage::select_any(source, tag, platform)?;
        let config = Some(&selected.config_name);
        let mut names = Vec::new();
        for listed in source.docker_manifests()? {
            if listed.config.as_ref() == config {
                let tags = listed.repo_tags.iter().flatten();
                names.extend(tags.filter_map(|name| name.parse::<Reference>().ok()));
            }
        }
        Ok((Self::without_manifest(source, &selected)?, names))
    }

    /// Takes an image that has no manifest in `source`.
    fn without_manifest(
        source: &Arc<Source>,
        selected: &SelectedImage,
    ) -> Result<Self, ImageError> {
        let content = |name: &str, digest| {
            let name = name.to_owned();
            Arc::new(SourceBlob::named(source, name, digest))
        };
        let mut image = Self::empty();
        let mut layers = Vec::new();
        for layer in &selected.layers {
            let media_type = layer.media_type.as_str();
            layers.push(descriptor(media_type, layer.digest, layer.size));
            let content = content(&layer.name, layer.digest);
            image.push_blob(Blob::new(media_type, layer.digest, layer.size, content));
        }

        let name = &selected.config_name;
        let digest = selected.config_digest;
        let size = source.document(name)?.len() as u64;
        let config = Blob::new(media_type::CONFIG, digest, size, content(name, digest));
        image.push_blob(config.into_config());

        let manifest = to_canonical(&json!({
            "schemaVersion": 2,
            "mediaType": media_type::MANIFEST,
            "config": descriptor(media_type::CONFIG, digest, size),
            "layers": layers,
        }));
        let manifest = Document::new(media_type::MANIFEST, manifest);
        image.documents.push(manifest);
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use serde_json::Value;

    use super::*;
    use crate::digest::Digest;
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

    fn read_archive(fixture: &Fixture) -> Result<(Image, Vec<Vec<u8>>), ImageError> {
        let opened = fixture.archive();
        let source = Arc::new(opened.source());
        let selected = SelectedImage::select(&source, None, None)?;
        let image = Image::without_manifest(&source, &selected)?;
        let read = |blob: &Blob| fixture::all(blob.content().open(0).unwrap());
        let bytes = image.blobs().iter().map(read).collect();
        Ok((image, bytes))
    }

    #[test]
    fn layers_stay_as_they_are_and_the_manifest_says_what_they_are() {
        let fixture = archive(&[plain, gzip, zstd, plain]);
        let (image, bytes) = read_archive(&fixture).unwrap();
        let tar = layer_tar(&["a/", "a/b"]);
        // The tar that is there twice is one blob; the config comes last.
        assert_eq!(bytes[..3], [tar.clone(), gzip(&tar), zstd(&tar)]);
        assert_eq!(bytes.len(), 4);
        for (blob, bytes) in image.blobs().iter().zip(&bytes) {
            assert_eq!(
                (blob.digest, blob.size),
                (Digest::of(bytes), bytes.len() as u64)
            );
        }
        let manifest: Value = serde_json::from_slice(&image.root().bytes).unwrap();
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
        assert_eq!(image.root().bytes, to_canonical(&manifest));
        assert_eq!(image.root().digest, Digest::of(&image.root().bytes));
    }

    #[test]
    fn what_no_media_type_names_is_refused() {
        let xz = |_: &[u8]| b"\xfd7zXZ\0and so on".to_vec();
        let error = read_archive(&archive(&[plain, xz])).unwrap_err();
        let error = crate::error::with_causes(&error, ": ");
        assert!(
            error.ends_with("`xz` compression cannot be read (known: none, gzip, zstd)"),
            "{error}"
        );
    }

    #[test]
    fn a_layer_that_is_not_what_the_config_says_is_never_read_to_its_end() {
        let mut fixture = archive(&[plain]);
        let tar = layer_tar(&["a/", "a/b"]);
        let name = crate::document::blob_name(&Digest::of(&tar));
        fixture.edit_files(move |files| {
            if let Some(byte) = files.get_mut(&name).and_then(|tar| tar.first_mut()) {
                *byte ^= 1;
            }
        });
        let opened = fixture.archive();
        let source = Arc::new(opened.source());
        let selected = SelectedImage::select(&source, None, None).unwrap();
        let image = Image::without_manifest(&source, &selected).unwrap();
        let mut reader = image.blobs()[0].content().open(0).unwrap();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("is damaged: expected sha256:"), "{error}");
    }
}
