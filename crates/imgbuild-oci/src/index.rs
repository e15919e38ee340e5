//! The documents at the root of a layout and of an archive.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::digest::Digest;
use crate::json;
use crate::parcel::Document;
use crate::reference::Reference;

/// The content of `oci-layout`. Every reader wants exactly this version, also
/// those of newer specifications.
pub(crate) const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The tag, in an index: what `oci:DIR:TAG` selects.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The full name, in an index: what containerd calls the image.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

const INDEX_MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// The [`index.json`] of a layout or an archive, with its keys in Docker's
/// order. What others put into it is kept as it is.
///
/// [`index.json`]: https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md#indexjson-file
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RootIndex {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Box<RawValue>>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// A descriptor of a manifest or index, with its keys in Docker's order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ManifestDescriptor<'a> {
    media_type: &'a str,
    digest: String,
    size: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

/// What a descriptor in an index is told apart by.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct Identity {
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Identity {
    fn is_replaced_by(&self, new: &ManifestDescriptor<'_>) -> bool {
        match new.annotations.get(REF_NAME) {
            Some(tag) => self.annotations.get(REF_NAME) == Some(tag),
            None => self.annotations.is_empty() && self.digest == new.digest,
        }
    }
}

impl RootIndex {
    pub(crate) fn new() -> Self {
        Self {
            schema_version: 2,
            media_type: INDEX_MEDIA_TYPE,
            manifests: Vec::new(),
            rest: BTreeMap::new(),
        }
    }

    /// Parses an existing index.
    ///
    /// # Errors
    ///
    /// A reason, when it is no index of schema version 2.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Known {
            schema_version: u32,
            #[serde(default)]
            manifests: Vec<Box<RawValue>>,
        }
        let reason =
            |error: serde_json::Error| format!("its `index.json` is no image index: {error}");
        let known: Known = serde_json::from_slice(bytes).map_err(reason)?;
        if known.schema_version != 2 {
            let version = known.schema_version;
            return Err(format!(
                "its `index.json` has schema version {version}, not 2"
            ));
        }
        let mut rest: BTreeMap<String, Value> = serde_json::from_slice(bytes).map_err(reason)?;
        rest.retain(|key, _| !["schemaVersion", "mediaType", "manifests"].contains(&key.as_str()));
        Ok(Self {
            manifests: known.manifests,
            rest,
            ..Self::new()
        })
    }

    /// Lists an image or index under every reference; without any, once under
    /// a tag alone or without a name. What had one of the tags before, or is
    /// the same image without a name, goes.
    pub(crate) fn insert(&mut self, root: &Document, references: &[Reference], tag: Option<&str>) {
        let names: Vec<BTreeMap<&'static str, String>> = match references {
            [] => {
                let tag = tag.map(|tag| (REF_NAME, tag.to_owned()));
                vec![tag.into_iter().collect()]
            }
            references => references.iter().map(annotations).collect(),
        };
        let added: Vec<ManifestDescriptor<'_>> = names
            .into_iter()
            .map(|annotations| ManifestDescriptor {
                media_type: &root.media_type,
                digest: root.digest.to_string(),
                size: root.bytes.len(),
                annotations,
            })
            .collect();
        // All old ones first: two new names may well have the same tag.
        self.manifests.retain(|raw| {
            let old: Identity = serde_json::from_str(raw.get()).unwrap_or_default();
            !added.iter().any(|new| old.is_replaced_by(new))
        });
        self.manifests.extend(
            added
                .iter()
                .map(|descriptor| to_raw_value(descriptor).expect("every map key is a string")),
        );
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        json::to_field_order(self)
    }
}

fn annotations(reference: &Reference) -> BTreeMap<&'static str, String> {
    let mut annotations = BTreeMap::from([(CONTAINERD_NAME, reference.to_string())]);
    if let Some(tag) = reference.tag() {
        annotations.insert(REF_NAME, tag.to_owned());
    }
    annotations
}

/// The `manifest.json` of an archive, which Docker's graph drivers read: the
/// one image that they shall have, if there is one.
pub(crate) fn docker_manifest(
    image: Option<(Digest, Vec<Digest>)>,
    references: &[Reference],
) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Item {
        config: String,
        repo_tags: Option<Vec<String>>,
        layers: Vec<String>,
    }
    let tags: Vec<String> = references.iter().map(Reference::familiar).collect();
    let items = image.map(|(config, layers)| Item {
        config: blob_name(config),
        repo_tags: (!tags.is_empty()).then_some(tags),
        layers: layers.into_iter().map(blob_name).collect(),
    });
    json::to_field_order(&items.as_slice())
}

/// The name of a blob in a layout: `blobs/sha256/<hex>`.
pub(crate) fn blob_name(digest: crate::digest::Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
