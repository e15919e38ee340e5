//! The documents at the root of a layout and of an archive.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::digest::Digest;
use crate::document::{CONTAINERD_NAME, Document, REF_NAME, RawDescriptor, RawDocument, blob_name};
use crate::media_type;
use crate::reference::Reference;

/// The content of `oci-layout`. Every reader wants exactly this version, also
/// those of newer specifications.
pub(crate) const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The [`index.json`] of a layout or an archive, with its keys in Docker's
/// order. What other tools put into it stays as it is.
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
struct RootDescriptor<'a> {
    media_type: &'a str,
    digest: String,
    size: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

impl RootDescriptor<'_> {
    /// Returns true if this descriptor takes the tag or the full name of an
    /// older one, or lists the same image without a name.
    fn replaces(&self, old: &RawDescriptor) -> bool {
        let no_annotations = BTreeMap::new();
        let old_annotations = old.annotations.as_ref().unwrap_or(&no_annotations);
        match self.annotations.get(REF_NAME) {
            Some(tag) => {
                let name = self.annotations.get(CONTAINERD_NAME);
                old_annotations.get(REF_NAME) == Some(tag)
                    || (name.is_some() && full_name(old) == name)
            }
            None => old_annotations.is_empty() && old.digest.as_ref() == Some(&self.digest),
        }
    }
}

impl RootIndex {
    pub(crate) fn new() -> Self {
        Self {
            schema_version: 2,
            media_type: media_type::INDEX,
            manifests: Vec::new(),
            rest: BTreeMap::new(),
        }
    }

    /// Parses an existing index.
    ///
    /// # Errors
    ///
    /// The reason why it is not an index of schema version 2.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let reason =
            |error: serde_json::Error| format!("its `index.json` is not an image index: {error}");
        let index: RawDocument<Box<RawValue>> = serde_json::from_slice(bytes).map_err(reason)?;
        match index.schema_version {
            Some(2) => {}
            Some(other) => {
                return Err(format!(
                    "its `index.json` has schema version {other}, not 2"
                ));
            }
            None => return Err("its `index.json` has no schema version".to_owned()),
        }
        let mut rest: BTreeMap<String, Value> = serde_json::from_slice(bytes).map_err(reason)?;
        let own = ["schemaVersion", "mediaType", "manifests"];
        rest.retain(|key, _| !own.iter().any(|own| own.eq_ignore_ascii_case(key)));
        Ok(Self {
            manifests: index
                .manifests
                .ok_or("its `index.json` has no `manifests`")?,
            rest,
            ..Self::new()
        })
    }

    /// Lists an image or index under every reference; without any, once under
    /// a tag alone or without a name. What had one of the tags before loses it,
    /// and goes if it has no other name; so does the same image without a name.
    pub(crate) fn insert(&mut self, root: &Document, references: &[Reference], tag: Option<&str>) {
        let names: Vec<BTreeMap<&'static str, String>> = match references {
            [] => {
                let tag = tag.map(|tag| (REF_NAME, tag.to_owned()));
                vec![tag.into_iter().collect()]
            }
            references => references.iter().map(annotations).collect(),
        };
        let added = names.into_iter().map(|annotations| RootDescriptor {
            media_type: &root.media_type,
            digest: root.digest.to_string(),
            size: root.bytes.len(),
            annotations,
        });
        let added: Vec<RootDescriptor<'_>> = added.collect();
        // All old ones first: two new names may well have the same tag.
        self.manifests.retain_mut(|raw| {
            let old: RawDescriptor = serde_json::from_str(raw.get()).unwrap_or_default();
            if !added.iter().any(|new| new.replaces(&old)) {
                return true;
            }
            let name = full_name(&old);
            let mut news = added.iter().map(|new| new.annotations.get(CONTAINERD_NAME));
            if name.is_none() || news.any(|new| new.is_none() || new == name) {
                return false;
            }
            let mut old: Value = serde_json::from_str(raw.get()).unwrap_or_default();
            if let Some(annotations) = old["annotations"].as_object_mut() {
                annotations.remove(REF_NAME);
            }
            *raw = to_raw_value(&old).expect("every map key is a string");
            true
        });
        self.manifests.extend(
            added
                .iter()
                .map(|descriptor| to_raw_value(descriptor).expect("every map key is a string")),
        );
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("every map key is a string")
    }
}

fn full_name(descriptor: &RawDescriptor) -> Option<&String> {
    descriptor.annotations.as_ref()?.get(CONTAINERD_NAME)
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
    struct DockerManifestItem {
        config: String,
        repo_tags: Option<Vec<String>>,
        layers: Vec<String>,
    }
    let tags: Vec<String> = references.iter().map(Reference::familiar).collect();
    let items = image.map(|(config, layers)| DockerManifestItem {
        config: blob_name(&config),
        repo_tags: (!tags.is_empty()).then_some(tags),
        layers: layers.iter().map(blob_name).collect(),
    });
    serde_json::to_vec(items.as_slice()).expect("every map key is a string")
}
