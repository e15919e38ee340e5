//! One line of an index: an image for a platform, or what belongs to one.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{PlatformIndexError, document_of, parse};
use crate::digest::Digest;
use crate::parcel::{Document, Parcel};
use crate::path::escaped;
use crate::platform::{Platform, level_of};

/// What [`BuildKit`] says of the manifests that it puts beside images.
///
/// [`BuildKit`]: https://github.com/moby/buildkit/blob/v0.12.0/docs/attestations/attestation-storage.md
const COMPANION_OF: &str = "vnd.docker.reference.digest";

/// How an operating system or architecture is called that means none.
const UNKNOWN: &str = "unknown";

/// What images of one index are told apart by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlatformName {
    platform: Platform,
    /// What else tells images apart: the version of Windows, levels of amd64.
    detail: String,
}

impl PlatformName {
    /// Returns the platform.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.platform
    }
}

impl fmt::Display for PlatformName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.platform.fmt(formatter)?;
        match self.detail.is_empty() {
            true => Ok(()),
            false => write!(formatter, " ({})", escaped(self.detail.as_bytes())),
        }
    }
}

/// Where something stands in an index; also the order in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// An image for a platform.
    Image(PlatformName),
    /// Something about an image of the index.
    Companion(Digest),
    /// Something for no platform.
    Other,
}

/// An image of an index, or something that belongs to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    rank: Rank,
    digest: Digest,
    media_type: String,
    /// As it is in the index, with all that others have written there.
    descriptor: Map<String, Value>,
}

/// The fields of a platform in a descriptor, and in a config.
#[derive(Debug, Clone, Default, Deserialize)]
struct RawPlatform {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
    #[serde(rename = "os.features")]
    os_features: Option<Vec<String>>,
}

impl RawPlatform {
    /// Returns what it names; none if it names nothing.
    fn name(&self) -> Option<PlatformName> {
        let filled = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        let (os, architecture) = (filled(&self.os)?, filled(&self.architecture)?);
        let platform = Platform::from_parts(&os, &architecture, self.variant.as_deref());
        let level = level_of(&platform, self.variant.as_deref());
        let features = self.os_features.clone().unwrap_or_default();
        let details = [level.map(str::to_owned), filled(&self.os_version)];
        let details = details.into_iter().flatten();
        let details: Vec<String> = details.chain(features).collect();
        Some(PlatformName {
            platform,
            detail: details.join(", "),
        })
    }

    /// Returns the platform as an index says it.
    fn to_json(&self, name: &PlatformName) -> Value {
        let platform = &name.platform;
        let mut value = json!({"os": platform.os(), "architecture": platform.architecture()});
        let level = level_of(platform, self.variant.as_deref());
        if let Some(variant) = platform.variant().or(level) {
            value["variant"] = variant.into();
        }
        if let Some(version) = &self.os_version {
            value["os.version"] = version.as_str().into();
        }
        if let Some(features) = &self.os_features {
            value["os.features"] = features.as_slice().into();
        }
        value
    }
}

impl Listed {
    /// Lists a manifest for a platform.
    #[must_use]
    pub fn new(manifest: &Document, platform: &Platform) -> Self {
        let raw = RawPlatform::default();
        let name = PlatformName {
            platform: platform.clone(),
            detail: String::new(),
        };
        Self::for_platform(manifest, Map::new(), &raw, name)
    }

    fn for_platform(
        manifest: &Document,
        mut descriptor: Map<String, Value>,
        raw: &RawPlatform,
        name: PlatformName,
    ) -> Self {
        descriptor.insert("mediaType".to_owned(), manifest.media_type.as_str().into());
        descriptor.insert("digest".to_owned(), json!(manifest.digest));
        descriptor.insert("size".to_owned(), manifest.bytes.len().into());
        descriptor.insert("platform".to_owned(), raw.to_json(&name));
        Self {
            rank: Rank::Image(name),
            digest: manifest.digest,
            media_type: manifest.media_type.clone(),
            descriptor,
        }
    }

    /// Lists a manifest for the platform that its config says.
    pub(super) fn of_manifest(
        manifest: &Document,
        descriptor: Map<String, Value>,
        parcel: &Parcel,
    ) -> Result<Self, PlatformIndexError> {
        let raw = platform_in_config(manifest, parcel)?;
        let name = raw.name();
        let name = name.ok_or(PlatformIndexError::NoPlatform(manifest.digest))?;
        Ok(Self::for_platform(manifest, descriptor, &raw, name))
    }

    /// Lists what a descriptor in `index` names; what the descriptor does not
    /// say is looked for in `parcel`.
    pub(super) fn of_descriptor(
        index: &Document,
        descriptor: Map<String, Value>,
        parcel: Option<&Parcel>,
    ) -> Result<Self, PlatformIndexError> {
        let error = |field| PlatformIndexError::Descriptor {
            digest: index.digest,
            field,
        };
        let text = |name: &str| descriptor.get(name).and_then(Value::as_str);
        let digest = text("digest").and_then(|text| text.parse().ok());
        let digest: Digest = digest.ok_or_else(|| error("digest"))?;
        let media_type = text("mediaType").ok_or_else(|| error("media type"))?;
        let media_type = media_type.to_owned();
        let size = descriptor.get("size").and_then(Value::as_u64);
        let size = size.ok_or_else(|| error("size"))?;
        if let Some(parcel) = parcel
            && document_of(parcel, digest)?.bytes.len() as u64 != size
        {
            return Err(error("size"));
        }
        let platform = descriptor.get("platform").filter(|one| !one.is_null());
        let raw: Option<RawPlatform> = platform
            .map(|platform| serde_json::from_value(platform.clone()))
            .transpose()
            .map_err(|_| error("platform"))?;
        let companion_of = descriptor
            .get("annotations")
            .and_then(|annotations| annotations.get(COMPANION_OF)?.as_str()?.parse().ok());
        let is_inner = crate::source::is_index(&media_type);
        let name = raw.as_ref().and_then(RawPlatform::name);
        let rank = match (companion_of, name) {
            (Some(image), _) => Rank::Companion(image),
            (None, Some(name)) if name.platform.os() != UNKNOWN => Rank::Image(name),
            (None, Some(_)) => Rank::Other,
            (None, None) if is_inner => Rank::Other,
            (None, None) => {
                let parcel = parcel.ok_or(PlatformIndexError::Missing(digest))?;
                return Self::of_manifest(document_of(parcel, digest)?, descriptor, parcel);
            }
        };
        Ok(Self {
            rank,
            digest,
            media_type,
            descriptor,
        })
    }

    pub(super) fn rank(&self) -> &Rank {
        &self.rank
    }

    /// Returns the platform that it is for; none if it belongs to an image.
    #[must_use]
    pub fn platform(&self) -> Option<&PlatformName> {
        match &self.rank {
            Rank::Image(name) => Some(name),
            _ => None,
        }
    }

    /// Returns the digest of the manifest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the media type of the manifest.
    #[must_use]
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// Returns the descriptor, as the index has it.
    #[must_use]
    pub fn descriptor(&self) -> &Map<String, Value> {
        &self.descriptor
    }
}

/// Reads the platform that the config of a manifest says.
fn platform_in_config(
    manifest: &Document,
    parcel: &Parcel,
) -> Result<RawPlatform, PlatformIndexError> {
    #[derive(Deserialize)]
    struct Config {
        digest: String,
    }
    #[derive(Deserialize)]
    struct Manifest {
        config: Option<Config>,
    }
    let found: Manifest = parse(manifest)?;
    let digest = found.config.and_then(|config| config.digest.parse().ok());
    let digest: Digest = digest.ok_or(PlatformIndexError::NoPlatform(manifest.digest))?;
    let mut blobs = parcel.blobs().iter();
    let blob = blobs.find(|blob| blob.digest == digest);
    let blob = blob.ok_or(PlatformIndexError::Missing(digest))?;
    let read_error = |source| PlatformIndexError::Config { digest, source };
    let bytes = blob.read_document().map_err(read_error)?;
    // What is no JSON, as the empty config of an artifact, says no platform.
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}
