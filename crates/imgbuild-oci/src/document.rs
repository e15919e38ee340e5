//! The JSON documents of images, as any tool may have written them.
//!
//! Every field of the `Raw` types is optional, so that a document that lacks
//! one can still be examined. Unknown fields are ignored, as the specification
//! asks.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use crate::digest::{DiffId, Digest};
use crate::json::from_json;
use crate::media_type::is_index;
use crate::platform::ImagePlatform;
mod any_case;
mod artifact;
mod config;

pub use any_case::field_in_any_case;
use any_case::{AnyCase, in_any_case};
pub(crate) use artifact::SUBJECT;

/// The largest JSON document that is read: indexes, manifests, configurations.
///
/// Other readers have the same limit, and registries refuse larger ones.
pub const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// The depth of nested indexes that is followed, the outermost one counted.
pub(crate) const MAX_INDEX_DEPTH: usize = 4;

/// The number of manifests that are followed, repeated ones counted.
pub(crate) const MAX_MANIFESTS: usize = 16_384;

/// The number of nested indexes that are read.
const MAX_INDEXES: usize = 1024;

/// The annotation of a descriptor with the tag of its image: the one that
/// `oci:DIR:TAG` selects.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation of a descriptor with the full name of its image, as
/// containerd and Docker write and read it.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The media type.
    pub media_type: String,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The exact bytes.
    pub bytes: Vec<u8>,
}

/// A document that cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// It is not JSON of the expected form.
    #[error("the document {digest} is malformed")]
    Json {
        /// The document.
        digest: Digest,
        /// The cause.
        source: serde_json::Error,
    },
    /// One of its descriptors lacks a field.
    #[error("the document {digest} has a descriptor without a valid {field}")]
    Descriptor {
        /// The document.
        digest: Digest,
        /// The field.
        field: &'static str,
    },
    /// Indexes are nested more than `MAX_INDEX_DEPTH` deep.
    #[error("indexes are nested more than {MAX_INDEX_DEPTH} deep")]
    TooDeep,
    /// There are more than `MAX_MANIFESTS` manifests.
    #[error("there are more than {MAX_MANIFESTS} manifests")]
    TooManyManifests,
}

/// A descriptor that has everything that a descriptor must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The media type of the blob.
    pub media_type: String,
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The annotations of the descriptor or, below an index that is listed in
    /// `index.json`, of that one: the names of an image are among them.
    pub annotations: Arc<BTreeMap<String, String>>,
    /// The platform of the image, if the descriptor has one.
    pub platform: Option<ImagePlatform>,
    /// The type of an artifact, if the descriptor marks it as one: it is not an
    /// image, and has no platform.
    pub artifact: Option<String>,
}

/// A [descriptor](https://github.com/opencontainers/image-spec/blob/v1.1.0/descriptor.md).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(remote = "RawDescriptor")]
#[serde(rename_all = "camelCase")]
pub struct RawDescriptor {
    pub(crate) media_type: Option<String>,
    pub(crate) digest: Option<String>,
    pub(crate) size: Option<i64>,
    pub(crate) urls: Option<Vec<String>>,
    /// The bytes of the blob in base64.
    pub(crate) data: Option<String>,
    #[serde(default, deserialize_with = "texts")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    pub(crate) platform: Option<RawPlatform>,
    pub(crate) artifact_type: Option<String>,
}

/// The platform of an image in a descriptor or in a configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(remote = "RawPlatform", expecting = "an object")]
pub(crate) struct RawPlatform {
    pub(crate) os: Option<String>,
    pub(crate) architecture: Option<String>,
    pub(crate) variant: Option<String>,
    #[serde(rename = "os.version")]
    pub(crate) os_version: Option<String>,
    #[serde(rename = "os.features")]
    pub(crate) os_features: Option<Vec<String>>,
}

/// An index or a manifest, depending on its media type or that of the
/// descriptor that names it. `D` is the type that descriptors of an index are
/// read as.
#[derive(Debug, Default, Deserialize)]
#[serde(remote = "RawDocument")]
#[serde(rename_all = "camelCase", expecting = "an object")]
#[serde(bound(deserialize = "D: Deserialize<'de>"))]
pub struct RawDocument<D = RawDescriptor> {
    pub(crate) schema_version: Option<i64>,
    /// The media type.
    pub media_type: Option<String>,
    /// The images and indexes of an index.
    #[serde(default, deserialize_with = "list")]
    pub manifests: Option<Vec<D>>,
    /// The configuration of an image.
    pub config: Option<RawDescriptor>,
    /// The layers of an image, lowest first.
    #[serde(default, deserialize_with = "list")]
    pub layers: Option<Vec<RawDescriptor>>,
    #[serde(default, deserialize_with = "texts")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    pub(crate) artifact_type: Option<String>,
    pub(crate) subject: Option<RawDescriptor>,
}

/// Reads texts by their names; null is an empty one, as in Go.
fn texts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    let texts: Option<BTreeMap<String, Option<String>>> = Option::deserialize(deserializer)?;
    let text = |(name, text): (String, Option<String>)| (name, text.unwrap_or_default());
    Ok(texts.map(|texts| texts.into_iter().map(text).collect()))
}

/// Reads a list of at most [`MAX_MANIFESTS`] items: a `{}` of a document becomes
/// hundreds of bytes.
fn list<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct ListVisitor<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
        type Value = Option<Vec<T>>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "a list of at most {MAX_MANIFESTS} items")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.len() == MAX_MANIFESTS {
                    return Err(de::Error::invalid_length(MAX_MANIFESTS + 1, &self));
                }
                list.push(item);
            }
            Ok(Some(list))
        }
    }

    deserializer.deserialize_any(ListVisitor(PhantomData))
}

/// An image configuration.
#[derive(Debug, Default)]
pub struct RawConfig {
    pub(crate) platform: RawPlatform,
    pub(crate) rootfs: Option<RawRootFs>,
    /// All its fields, each with one spelling and one value.
    pub(crate) document: Value,
}

/// The root file system of an image.
#[derive(Debug, Default, Deserialize)]
#[serde(remote = "RawRootFs", expecting = "an object")]
pub(crate) struct RawRootFs {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) diff_ids: Option<Vec<String>>,
}

/// The file `oci-layout`.
#[derive(Debug, Deserialize)]
#[serde(remote = "RawLayoutMark")]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawLayoutMark {
    pub(crate) image_layout_version: Option<String>,
}

/// One image of a Docker archive's `manifest.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(remote = "DockerManifest")]
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

in_any_case! {
    RawDescriptor
    RawDocument<D>
    RawPlatform
    RawRootFs
    RawLayoutMark
    DockerManifest
}

impl Document {
    /// Computes the digest of a document.
    #[must_use]
    pub fn new(media_type: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self {
            media_type: media_type.into(),
            digest: Digest::of(&bytes),
            bytes,
        }
    }

    /// Takes the bytes of a descriptor's document, which have its digest.
    pub(crate) fn of(descriptor: &Descriptor, bytes: Vec<u8>) -> Self {
        Self {
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest,
            bytes,
        }
    }

    /// Parses the document.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Json`].
    pub fn parse(&self) -> Result<RawDocument, DocumentError> {
        self.parse_as()
    }

    /// Parses the document, the descriptors of an index as `D`.
    pub(crate) fn parse_as<D: DeserializeOwned>(&self) -> Result<RawDocument<D>, DocumentError> {
        from_json(&self.bytes).map_err(|source| DocumentError::Json {
            digest: self.digest,
            source,
        })
    }

    /// Returns the descriptors of an index.
    ///
    /// # Errors
    ///
    /// When it is malformed.
    pub fn children(&self) -> Result<Vec<Descriptor>, DocumentError> {
        let manifests = self.parse()?.manifests.unwrap_or_default();
        let complete = |raw| self.complete(raw);
        manifests.into_iter().map(complete).collect()
    }

    /// Returns the layers, then the config of a manifest.
    pub(crate) fn blobs(&self) -> Result<Vec<RawDescriptor>, DocumentError> {
        let raw = self.parse()?;
        let layers = raw.layers.unwrap_or_default();
        Ok(layers.into_iter().chain(raw.config).collect())
    }

    /// Returns a descriptor of this document with all its fields.
    pub(crate) fn complete(&self, raw: RawDescriptor) -> Result<Descriptor, DocumentError> {
        raw.complete()
            .map_err(|field| self.incomplete_descriptor(field))
    }

    pub(crate) fn incomplete_descriptor(&self, field: &'static str) -> DocumentError {
        DocumentError::Descriptor {
            digest: self.digest,
            field,
        }
    }
}

impl RawDescriptor {
    /// Returns the digest.
    ///
    /// # Errors
    ///
    /// The name of the field, if it is missing or not valid.
    pub fn digest(&self) -> Result<Digest, &'static str> {
        let digest = self.digest.as_ref().and_then(|text| text.parse().ok());
        digest.ok_or("digest")
    }

    /// Returns the size in bytes.
    ///
    /// # Errors
    ///
    /// The name of the field, if it is missing or not valid.
    pub fn size(&self) -> Result<u64, &'static str> {
        let size = self.size.and_then(|size| u64::try_from(size).ok());
        size.ok_or("size")
    }

    /// Returns the descriptor with all its fields.
    ///
    /// # Errors
    ///
    /// The name of a field that is missing or not valid.
    pub fn complete(self) -> Result<Descriptor, &'static str> {
        let (digest, size, artifact) = (self.digest(), self.size(), self.artifact());
        let platform = self.platform.filter(|_| artifact.is_none());
        let platform = platform.and_then(|platform| platform.parse());
        Ok(Descriptor {
            media_type: self.media_type.ok_or("media type")?,
            digest: digest?,
            size: size?,
            annotations: Arc::new(self.annotations.unwrap_or_default()),
            platform,
            artifact,
        })
    }

    /// Returns true for a layer that must not be distributed, but downloaded
    /// from its `urls`.
    pub(crate) fn is_foreign(&self) -> bool {
        let media_type = self.media_type.as_deref().unwrap_or_default();
        let has_urls = self.urls.as_ref().is_some_and(|urls| !urls.is_empty());
        has_urls && (media_type.contains("nondistributable") || media_type.contains("foreign"))
    }
}

impl RawConfig {
    /// Returns the diff IDs of the layers, lowest first; `None` if one of them
    /// is not valid.
    #[must_use]
    pub fn diff_ids(&self) -> Option<Vec<DiffId>> {
        let texts = self.rootfs.iter().flat_map(|rootfs| &rootfs.diff_ids);
        let parse = |text: &String| text.parse().ok().map(DiffId::from_tar_digest);
        texts.flatten().map(parse).collect()
    }
}

impl RawPlatform {
    /// Reads the platform of a configuration; it has none if it is not JSON,
    /// such as the empty configuration of an artifact.
    pub(crate) fn of_config(config: &[u8]) -> Self {
        from_json(config).unwrap_or_default()
    }

    /// Returns the platform, if operating system and architecture are there.
    pub(crate) fn parse(&self) -> Option<ImagePlatform> {
        let os = self.os.as_deref().filter(|text| !text.is_empty())?;
        let architecture = self.architecture.as_deref();
        let architecture = architecture.filter(|text| !text.is_empty())?;
        let os_version = self.os_version.iter().filter(|text| !text.is_empty());
        let details = os_version.chain(self.os_features.iter().flatten());
        Some(ImagePlatform::new(
            os,
            architecture,
            self.variant.as_deref(),
            details,
        ))
    }
}

/// Returns the path of a blob in a layout: `blobs/sha256/HEX`.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Returns `roots` and everything that they lead to, every index before its
/// images. `roots` are the descriptors of an outermost index, which counts for
/// [`MAX_INDEX_DEPTH`].
///
/// An index that is absent is passed over beside images.
pub(crate) fn documents_below<E: From<DocumentError>>(
    roots: &[Descriptor],
    read: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, E>,
    is_missing: fn(&E) -> bool,
) -> Result<Vec<Descriptor>, E> {
    let mut walk = IndexWalk {
        read,
        is_missing,
        missing: None,
        indexes: 0,
        found: Vec::new(),
    };
    for root in roots {
        walk.visit(root, 1)?;
    }
    match walk.missing {
        Some(error) if walk.found.len() == walk.indexes => Err(error),
        _ => Ok(walk.found),
    }
}

struct IndexWalk<'a, E> {
    read: &'a mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, E>,
    is_missing: fn(&E) -> bool,
    missing: Option<E>,
    indexes: usize,
    found: Vec<Descriptor>,
}

impl<E: From<DocumentError>> IndexWalk<'_, E> {
    fn visit(&mut self, descriptor: &Descriptor, depth: usize) -> Result<(), E> {
        let is_index = is_index(&descriptor.media_type);
        self.found.push(descriptor.clone());
        self.indexes += usize::from(is_index);
        if self.indexes > MAX_INDEXES || self.found.len() - self.indexes > MAX_MANIFESTS {
            return Err(DocumentError::TooManyManifests.into());
        }
        if !is_index {
            return Ok(());
        }

        if depth >= MAX_INDEX_DEPTH {
            return Err(DocumentError::TooDeep.into());
        }
        let bytes = match (self.read)(descriptor) {
            Err(error) if (self.is_missing)(&error) => {
                self.missing.get_or_insert(error);
                return Ok(());
            }
            bytes => bytes?,
        };
        let index = Document::of(descriptor, bytes);
        for mut child in index.children()? {
            child.annotations = Arc::clone(&descriptor.annotations);
            self.visit(&child, depth + 1)?;
        }
        Ok(())
    }
}
