//! Config and manifest of an image that is built here.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::image::{
    Descriptor, History, HistoryBuilder, ImageConfigurationBuilder, ImageManifestBuilder,
    MediaType, RootFsBuilder,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Blob, Image};
use crate::digest::Digest;
use crate::document::Document;
use crate::layer::Layer;
use crate::platform::Platform;
use crate::{json, media_type};

/// What a container of the image runs, and how: the `config` object of the
/// [image configuration], with Docker's health check.
///
/// [image configuration]: https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Configuration {
    /// The arguments of the command after the entrypoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// The first arguments of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// `PORT/PROTOCOL`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", serialize_with = "as_map")]
    pub exposed_ports: BTreeSet<String>,
    /// Docker's health check, which the OCI specification does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that stops a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// `UID:GID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Paths of volumes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", serialize_with = "as_map")]
    pub volumes: BTreeSet<String>,
    /// The directory that the command starts in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Further fields that Docker's base images have, by their names.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// Writes a set as Go writes one: an object with empty objects for values.
fn as_map<S: serde::Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(set.iter().map(|key| (key, serde_json::json!({}))))
}

/// [Docker's health check]; an engine that follows the OCI specification to
/// the letter ignores it.
///
/// [Docker's health check]: https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", text]` or `["NONE"]`.
    pub test: Vec<String>,
    /// The time between two checks, in nanoseconds; 0 is the engine's default.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// The time that a check may take, in nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// The time after the start in which failures do not count, in nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// The time between two checks within that time, in nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// The failures in a row that make a container unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Everything of an image but its layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageOptions {
    /// What the image runs on.
    pub platform: Platform,
    /// The creation time in RFC 3339.
    pub created: String,
    /// Who made the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What a container runs.
    pub config: Configuration,
    /// The annotations of the manifest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// How the lowest layers, those of a base image, came to be: as its
    /// configuration says it. The steps for the layers above follow.
    #[serde(rename = "baseHistory", skip_serializing_if = "Vec::is_empty")]
    pub base_history: Vec<Value>,
    /// How many of the layers are the base image's.
    #[serde(skip)]
    pub base_layers: usize,
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

/// What the steps of our own layers begin with.
const CREATED_BY: &str = "imgbuild: ";

/// The annotation that an image on a base has.
const BASE_NAME: &str = "org.opencontainers.image.base.name";

/// Returns whether a manifest and its config show that imgbuild has made the
/// whole image: they are byte for byte in our form, every layer is a step of
/// ours, and no base is named. Since layers are only used again when they are
/// as the same run would make them, all of them were compressed by the same
/// encoder at the same level.
#[must_use]
pub fn is_all_ours(manifest: &[u8], config: &[u8]) -> bool {
    let canonical = |bytes: &[u8]| {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        (json::to_canonical(&value) == bytes).then_some(value)
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
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|layer| layer.diff_id().to_string())
        .collect();
    let root = RootFsBuilder::default()
        .typ("layers")
        .diff_ids(diff_ids)
        .build()
        .expect("all fields are set");
    let history: Vec<History> = layers
        .iter()
        .skip(options.base_layers)
        .map(|layer| {
            HistoryBuilder::default()
                .created(options.created.clone())
                .created_by(format!("{CREATED_BY}{}", layer.name()))
                .build()
                .expect("all fields are optional")
        })
        .collect();
    let mut builder = ImageConfigurationBuilder::default()
        .architecture(options.platform.architecture())
        .os(options.platform.os())
        .created(options.created.clone())
        .rootfs(root)
        .history(history);
    if let Some(author) = &options.author {
        builder = builder.author(author.clone());
    }
    let configuration = builder.build().expect("all fields are set");
    let mut value = serde_json::to_value(&configuration).expect("every map key is a string");
    if let Some(variant) = options.platform.variant() {
        value["variant"] = variant.into();
    }
    if let Some(Value::Array(history)) = value.get_mut("history") {
        history.splice(0..0, options.base_history.iter().cloned());
    }
    // oci-spec knows no health check, so the object is ours.
    value["config"] = serde_json::to_value(&options.config).expect("every map key is a string");
    json::to_canonical(&value)
}

fn manifest_bytes(options: &ImageOptions, config: &Blob, layers: &[Layer]) -> Vec<u8> {
    let layers: Vec<Descriptor> = layers
        .iter()
        .map(|layer| {
            let mut one = descriptor(layer.media_type(), layer.size(), layer.digest());
            if !layer.annotations().is_empty() {
                let annotations = layer.annotations().clone();
                one.set_annotations(Some(annotations.into_iter().collect()));
            }
            one
        })
        .collect();
    let mut manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(
            MediaType::ImageConfig,
            config.size,
            config.digest,
        ))
        .layers(layers)
        .build()
        .expect("all fields are set");
    if !options.annotations.is_empty() {
        let annotations = options.annotations.clone();
        manifest.set_annotations(Some(annotations.into_iter().collect()));
    }
    json::to_canonical(&manifest)
}

fn descriptor(media_type: MediaType, size: u64, digest: Digest) -> Descriptor {
    let digest: oci_spec::image::Digest = digest
        .to_string()
        .parse()
        .expect("a digest prints what the specification allows");
    Descriptor::new(media_type, size, digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn documents(steps: &[&str], annotations: &Value) -> (Vec<u8>, Vec<u8>) {
        let step = |by: &&str| json!({ "created_by": by });
        let history: Vec<Value> = steps.iter().map(step).collect();
        let layers = json!([{ "digest": "sha256:1" }, { "digest": "sha256:2" }]);
        let manifest = json!({ "layers": layers, "annotations": annotations });
        let config = json!({ "history": history, "os": "linux" });
        (json::to_canonical(&manifest), json::to_canonical(&config))
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
