//! Config and manifest of an image that is built here.

use std::collections::BTreeMap;

use oci_spec::image::{
    Descriptor, HistoryBuilder, ImageConfigurationBuilder, ImageManifestBuilder, MediaType,
    RootFsBuilder,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Blob, Image, main_platform};
use crate::configuration::Configuration;
use crate::digest::Digest;
use crate::document::Document;
use crate::json::to_canonical;
use crate::layer::Layer;
use crate::media_type;
use crate::platform::Platform;

/// Everything of an image but its layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageOptions {
    /// The platform that the image is for.
    pub platform: Platform,
    /// The creation time in RFC 3339.
    pub created: String,
    /// The author of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The settings of containers.
    pub config: Configuration,
    /// The annotations of the manifest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The history in the configuration of a base image, for the lowest
    /// layers. The steps for the layers above follow.
    #[serde(rename = "baseHistory", skip_serializing_if = "Vec::is_empty")]
    pub base_history: Vec<Value>,
    /// The number of layers that are the base image's.
    #[serde(skip)]
    pub base_layers: usize,
}

impl Default for ImageOptions {
    /// An image for linux/amd64, created one second after the epoch.
    fn default() -> Self {
        Self {
            platform: main_platform(),
            created: "1970-01-01T00:00:01Z".to_owned(),
            author: None,
            config: Configuration::default(),
            annotations: BTreeMap::new(),
            base_history: Vec::new(),
            base_layers: 0,
        }
    }
}

impl Image {
    /// Assembles an image from finished layers, lowest first; its digests are
    /// final.
    #[must_use]
    pub fn assemble(options: &ImageOptions, layers: &[Layer]) -> Self {
        let config = Blob::of_config(config_bytes(options, layers));
        let manifest = manifest_bytes(options, &config, layers);
        let mut image = Self::empty();
        for layer in layers {
            image.push_blob(Blob::of_layer(layer));
        }
        image.push_blob(config);
        let manifest = Document::new(media_type::MANIFEST, manifest);
        image.documents.push(manifest);
        image
    }
}

/// The beginning of the history entries of our own layers.
const CREATED_BY: &str = "imgbuild: ";

/// The annotation of an image with a base image.
const BASE_NAME: &str = "org.opencontainers.image.base.name";

/// Returns true if a manifest and its config show that imgbuild made the whole
/// image: they are byte for byte in our form, every layer has a history entry
/// of ours, and no base image is named. Since layers are only used again if the
/// same run would make the same ones, one encoder at one level compressed all
/// of them.
#[must_use]
pub fn is_all_ours(manifest: &[u8], config: &[u8]) -> bool {
    let canonical = |bytes: &[u8]| {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        (to_canonical(&value) == bytes).then_some(value)
    };
    let (Some(manifest), Some(config)) = (canonical(manifest), canonical(config)) else {
        return false;
    };
    let steps = config["history"].as_array().map_or(&[][..], Vec::as_slice);
    let is_ours = |step: &Value| {
        let by = step["created_by"].as_str();
        by.is_some_and(|by| by.starts_with(CREATED_BY))
    };
    let layers = manifest["layers"].as_array().map(Vec::len);
    layers == Some(steps.len())
        && steps.iter().all(is_ours)
        && manifest["annotations"].get(BASE_NAME).is_none()
}

fn config_bytes(options: &ImageOptions, layers: &[Layer]) -> Vec<u8> {
    let own = layers.iter().skip(options.base_layers).map(|layer| {
        HistoryBuilder::default()
            .created(options.created.clone())
            .created_by(format!("{CREATED_BY}{}", layer.name))
            .build()
            .expect("every field has a default")
    });
    let diff_ids = layers.iter().map(|layer| layer.diff_id.to_string());
    let root = RootFsBuilder::default()
        .typ("layers")
        .diff_ids(diff_ids.collect::<Vec<_>>())
        .build()
        .expect("all fields are set");
    let config = ImageConfigurationBuilder::default()
        .architecture(options.platform.architecture())
        .os(options.platform.os())
        .created(options.created.clone())
        .rootfs(root)
        .history(own.collect::<Vec<_>>())
        .build()
        .expect("all fields are set");
    let mut config = json!(config);

    // The fields whose form oci-spec would change or does not have.
    config["config"] = json!(options.config);
    if let Some(author) = &options.author {
        config["author"] = author.as_str().into();
    }
    if let Some(variant) = options.platform.variant() {
        config["variant"] = variant.into();
    }
    if let Some(Value::Array(history)) = config.get_mut("history") {
        history.splice(0..0, options.base_history.iter().cloned());
    }
    to_canonical(&config)
}

fn manifest_bytes(options: &ImageOptions, config: &Blob, layers: &[Layer]) -> Vec<u8> {
    let layers = layers.iter().map(|layer| {
        let mut descriptor = descriptor(&layer.media_type, layer.digest(), layer.size());
        if !layer.annotations.is_empty() {
            descriptor.set_annotations(Some(layer.annotations.clone().into_iter().collect()));
        }
        descriptor
    });
    let mut manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(media_type::CONFIG, config.digest, config.size))
        .layers(layers.collect::<Vec<_>>())
        .build()
        .expect("all fields are set");
    if !options.annotations.is_empty() {
        manifest.set_annotations(Some(options.annotations.clone().into_iter().collect()));
    }
    to_canonical(&manifest)
}

/// Returns the descriptor of a blob.
pub(super) fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    let digest: oci_spec::image::Digest = digest
        .to_string()
        .parse()
        .expect("a digest prints what the specification allows");
    Descriptor::new(MediaType::from(media_type), size, digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(steps: &[&str], annotations: &Value) -> (Vec<u8>, Vec<u8>) {
        let step = |by: &&str| json!({ "created_by": by });
        let history: Vec<Value> = steps.iter().map(step).collect();
        let layers = json!([{ "digest": "sha256:1" }, { "digest": "sha256:2" }]);
        let manifest = json!({ "layers": layers, "annotations": annotations });
        let config = json!({ "history": history, "os": "linux" });
        (to_canonical(&manifest), to_canonical(&config))
    }

    #[test]
    fn only_an_image_that_is_ours_in_form_and_steps_is_ours() {
        let ours = ["imgbuild: skeleton", "imgbuild: release"];
        let (manifest, config) = documents(&ours, &json!({}));
        assert!(is_all_ours(&manifest, &config));
        let pretty = |bytes: &[u8]| {
            let value: Value = serde_json::from_slice(bytes).unwrap();
            serde_json::to_vec_pretty(&value).unwrap()
        };
        assert!(!is_all_ours(&pretty(&manifest), &config));
        assert!(!is_all_ours(&manifest, &pretty(&config)));
        assert!(!is_all_ours(b"{", &config));
        let others: [&[&str]; 3] = [
            &["COPY . /app", "imgbuild: release"],
            &["imgbuild: release"],
            &[],
        ];
        for steps in others {
            let (manifest, config) = documents(steps, &json!({}));
            assert!(!is_all_ours(&manifest, &config), "{steps:?}");
        }
        let (on_a_base, config) = documents(&ours, &json!({ BASE_NAME: "debian:13" }));
        assert!(!is_all_ours(&on_a_base, &config));
    }
}
