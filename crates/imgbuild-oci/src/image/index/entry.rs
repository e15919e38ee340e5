//! One entry of an index: an image for a platform, or an attached manifest.

use std::io;
use std::slice::from_ref;

use serde_json::{Map, Value, json};

use super::super::{Image, ImageError};
use super::find_document;
use crate::digest::Digest;
use crate::document::{Document, DocumentError, RawDescriptor, RawPlatform};
use crate::media_type::is_index;
use crate::platform::{ImagePlatform, Platform, level_of};
use crate::selection::platform_in_config;

/// The annotation by which [`BuildKit`] attaches manifests to an image.
///
/// [`BuildKit`]: https://github.com/moby/buildkit/blob/v0.12.0/docs/attestations/attestation-storage.md
const ATTACHED_TO: &str = "vnd.docker.reference.digest";

/// The place of an entry in an index; also the order in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// An image for a platform.
    Image(ImagePlatform),
    /// A manifest attached to an image of the index.
    Attached(Digest),
    /// Something without a platform.
    Other,
}

/// An image of an index, or a manifest attached to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformEntry {
    pub(super) rank: Rank,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The media type of the manifest.
    pub media_type: String,
    /// The descriptor in the index, with all that other tools wrote there.
    pub(super) descriptor: Map<String, Value>,
}

/// Returns a platform as an index contains it.
fn to_json(raw: &RawPlatform, platform: &Platform) -> Value {
    let mut value = json!({"os": platform.os(), "architecture": platform.architecture()});
    let level = level_of(platform, raw.variant.as_deref());
    if let Some(variant) = platform.variant().or(level) {
        value["variant"] = variant.into();
    }
    if let Some(version) = &raw.os_version {
        value["os.version"] = version.as_str().into();
    }
    if let Some(features) = &raw.os_features {
        value["os.features"] = features.as_slice().into();
    }
    value
}

impl PlatformEntry {
    /// Makes the entry of a manifest for a platform.
    #[must_use]
    pub fn new(manifest: &Document, platform: &Platform) -> Self {
        let raw = RawPlatform::default();
        Self::for_platform(manifest, Map::new(), &raw, platform.into())
    }

    fn for_platform(
        manifest: &Document,
        mut descriptor: Map<String, Value>,
        raw: &RawPlatform,
        platform: ImagePlatform,
    ) -> Self {
        descriptor.insert("mediaType".to_owned(), manifest.media_type.as_str().into());
        descriptor.insert("digest".to_owned(), json!(manifest.digest));
        descriptor.insert("size".to_owned(), manifest.bytes.len().into());
        descriptor.insert("platform".to_owned(), to_json(raw, platform.platform()));
        Self {
            rank: Rank::Image(platform),
            digest: manifest.digest,
            media_type: manifest.media_type.clone(),
            descriptor,
        }
    }

    /// Makes the entry of a manifest, for the platform in its config.
    pub(super) fn of_manifest(
        manifest: &Document,
        descriptor: Map<String, Value>,
        image: &Image,
    ) -> Result<Self, ImageError> {
        let raw = platform_in_config(manifest, &mut |config| {
            let blob = image.blob(config.digest);
            blob.ok_or(io::ErrorKind::NotFound)?.read_document()
        })?;
        let platform = raw.parse();
        let platform = platform.ok_or(ImageError::NoPlatform(manifest.digest))?;
        Ok(Self::for_platform(manifest, descriptor, &raw, platform))
    }

    /// Makes the entry of a descriptor in `index`; a platform that the descriptor
    /// lacks is read from `image`.
    pub(super) fn of_descriptor(
        index: &Document,
        descriptor: Map<String, Value>,
        image: Option<&Image>,
    ) -> Result<Self, ImageError> {
        let raw: Result<RawDescriptor, _> = serde_json::from_value(descriptor.clone().into());
        let raw = raw.map_err(|source| DocumentError::Json {
            digest: index.digest,
            source,
        })?;
        let own = index.complete(raw)?;
        let digest = own.digest;
        if let Some(image) = image
            && find_document(from_ref(image), digest)?.bytes.len() as u64 != own.size
        {
            return Err(index.incomplete_descriptor("size").into());
        }
        let attached_to = own.annotations.get(ATTACHED_TO);
        let attached_to = attached_to.and_then(|text| text.parse().ok());
        let rank = match (attached_to, own.platform) {
            (Some(image), _) => Rank::Attached(image),
            (None, Some(platform)) => Rank::Image(platform),
            (None, None) if own.artifact.is_some() || is_index(&own.media_type) => Rank::Other,
            (None, None) => {
                let image = image.ok_or(ImageError::missing(digest))?;
                let manifest = find_document(from_ref(image), digest)?;
                if manifest.parse()?.artifact().is_none() {
                    return Self::of_manifest(manifest, descriptor, image);
                }
                Rank::Other
            }
        };
        Ok(Self {
            rank,
            digest,
            media_type: own.media_type,
            descriptor,
        })
    }

    /// Returns the platform; `None` if the entry is not an image.
    #[must_use]
    pub fn platform(&self) -> Option<&ImagePlatform> {
        match &self.rank {
            Rank::Image(platform) => Some(platform),
            Rank::Attached(_) | Rank::Other => None,
        }
    }
}
