//! The JSON documents of images, as anybody may have written them.
//!
//! Everything is optional, so that a document with one field missing can
//! still be looked at. Unknown fields are ignored, as the specification asks.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::platform::Purpose;

/// A descriptor: what a document says about a blob.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawDescriptor {
    pub(crate) media_type: Option<String>,
    pub(crate) digest: Option<String>,
    pub(crate) size: Option<i64>,
    pub(crate) urls: Option<Vec<String>>,
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    pub(crate) platform: Option<RawPlatform>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct RawPlatform {
    pub(crate) os: Option<String>,
    pub(crate) architecture: Option<String>,
    pub(crate) variant: Option<String>,
}

impl RawPlatform {
    /// Returns what it says, if it names a platform.
    pub(crate) fn purpose(&self) -> Option<Purpose> {
        Purpose::from_fields(
            self.os.as_deref(),
            self.architecture.as_deref(),
            self.variant.as_deref(),
        )
    }
}

/// `oci-layout`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayoutMark {
    pub(crate) image_layout_version: Option<String>,
}

/// An index or a manifest; which one is told by what refers to it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    pub(crate) schema_version: Option<i64>,
    pub(crate) media_type: Option<String>,
    pub(crate) manifests: Option<Vec<RawDescriptor>>,
    pub(crate) config: Option<RawDescriptor>,
    pub(crate) layers: Option<Vec<RawDescriptor>>,
}

/// An image configuration.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Config {
    pub(crate) os: Option<String>,
    pub(crate) architecture: Option<String>,
    pub(crate) variant: Option<String>,
    pub(crate) rootfs: Option<RootFs>,
    pub(crate) history: Option<Vec<History>>,
}

impl Config {
    /// Returns what the image is for, if it says a platform.
    pub(crate) fn purpose(&self) -> Option<Purpose> {
        Purpose::from_fields(
            self.os.as_deref(),
            self.architecture.as_deref(),
            self.variant.as_deref(),
        )
    }
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct RootFs {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) diff_ids: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct History {
    pub(crate) empty_layer: Option<bool>,
}

/// One image of a Docker archive's `manifest.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[non_exhaustive]
pub struct DockerManifest {
    /// The name of the configuration in the archive.
    pub config: Option<String>,
    /// The names of the image; there may be none.
    pub repo_tags: Option<Vec<String>>,
    /// The names of the layers in the archive, lowest first.
    pub layers: Option<Vec<String>>,
}
