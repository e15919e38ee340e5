//! An image, or an index with all its images, on its way from one place to
//! another: documents as the bytes that they are, and where the blobs are.
//!
//! Nothing is made anew, so every digest stays what it is.

mod builder;
mod source_blob;
mod together;
mod without_manifest;

use std::io::{self, Read, Write};
use std::sync::Arc;

pub use crate::blob::{BlobContent, BlobOrigin};
use crate::digest::{Digest, DigestWriter};
use crate::error::Error;
use crate::image::Image;
use crate::layer::{CHUNK_BYTES, Layer};
use crate::monitor::{Monitor, Progress};
use crate::platform::{Platform, Purpose};
use crate::source::document::{Document as RawDocument, RawDescriptor};
use crate::source::{MAX_DOCUMENT_BYTES, ManifestDescriptor, Source, SourceError, is_index};
pub use builder::ParcelBuilder;
use source_blob::SourceBlob;
pub(crate) use together::copy_together;

const MANIFEST_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_MEDIA_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_MANIFEST_MEDIA_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// An image or an index, with everything below it.
#[derive(Debug, Clone, Default)]
pub struct Parcel {
    documents: Vec<Document>,
    blobs: Vec<ParcelBlob>,
}

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What kind of document it is.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A config or a layer.
#[derive(Debug, Clone)]
pub struct ParcelBlob {
    /// What kind of blob it is.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// The number of its bytes.
    pub size: u64,
    /// Whether it is the config of a manifest.
    pub is_config: bool,
    /// The bytes.
    pub content: Arc<dyn BlobContent>,
}

/// Which images of an index are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platforms {
    /// All, and the index itself.
    All,
    /// The one for a platform, without the index.
    One(Platform),
}

/// Why documents do not make a parcel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParcelError {
    /// A document that another one names is not there.
    #[error("`{0}` is named by an index and missing")]
    Missing(Digest),
    /// A document is no JSON.
    #[error("the document {digest} is malformed")]
    Json {
        /// The document.
        digest: Digest,
        /// Why.
        source: serde_json::Error,
    },
    /// A descriptor lacks something.
    #[error("the document {digest} has a descriptor without a valid {field}")]
    Descriptor {
        /// The document.
        digest: Digest,
        /// What is missing.
        field: &'static str,
    },
    /// An index names something that is no image.
    #[error("the index {digest} names something of the type `{media_type}`, which is no image")]
    Kind {
        /// The index.
        digest: Digest,
        /// What it names.
        media_type: String,
    },
    /// Indexes lie too deep in each other, or lead to too much.
    #[error("indexes lead to too many manifests, or to themselves")]
    TooMany,
    /// There is no image for the platform.
    #[error("there is no image for {wanted} (there is: {found})")]
    Platform {
        /// The platform that was asked for.
        wanted: String,
        /// Those that there are.
        found: String,
    },
    /// Several images are for the platform.
    #[error("there are several images for {wanted}: {}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Several {
        /// The platform that was asked for.
        wanted: String,
        /// The images.
        found: Vec<Digest>,
    },
    /// A config that would say the platform of an image cannot be read.
    #[error("cannot read the config {digest}")]
    Config {
        /// The config.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// No manifest can name a layer.
    #[error("the layer `{name}` is neither a plain tar nor compressed with gzip or zstd")]
    Compression {
        /// Its name in the source.
        name: String,
    },
    /// The source cannot be read.
    #[error(transparent)]
    Source(SourceError),
}

impl ParcelBlob {
    /// Takes a finished layer.
    #[must_use]
    pub fn of_layer(layer: &Layer) -> Self {
        Self {
            media_type: layer.media_type().to_string(),
            digest: layer.digest(),
            size: layer.size(),
            is_config: false,
            content: Arc::new(layer.clone()),
        }
    }
}

impl Parcel {
    /// Takes an image that was built here.
    #[must_use]
    pub fn of_image(image: &Image) -> Self {
        let mut parcel = Self {
            documents: vec![manifest_of(image)],
            blobs: Vec::new(),
        };
        for layer in image.layers() {
            parcel.push_blob(ParcelBlob::of_layer(layer));
        }
        parcel.push_blob(ParcelBlob {
            media_type: CONFIG_MEDIA_TYPE.to_owned(),
            digest: image.config().digest(),
            size: image.config().bytes().len() as u64,
            is_config: true,
            content: Arc::new(image.config().bytes().to_vec()),
        });
        parcel
    }

    /// Takes what a descriptor in a layout or archive leads to.
    ///
    /// # Errors
    ///
    /// When a document is missing, damaged or malformed, or there is no image
    /// for the platform.
    pub fn of_source(
        source: &Arc<Source>,
        root: &ManifestDescriptor,
        platforms: &Platforms,
    ) -> Result<Self, ParcelError> {
        let bytes = source
            .read_blob(&root.digest)
            .map_err(ParcelError::Source)?;
        let mut failure = None;
        let read_document = |digest: &Digest| match source.read_blob(digest) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                failure.get_or_insert(error);
                None
            }
        };
        let read_blob = |digest: Digest, _| {
            let content: Arc<dyn BlobContent> = Arc::new(SourceBlob::new(source, digest));
            Some(content)
        };
        let root = Document {
            media_type: root.media_type.clone(),
            digest: root.digest,
            bytes,
        };
        let built = ParcelBuilder::new(read_document, read_blob).build(root, platforms);
        match failure {
            Some(error) => Err(ParcelError::Source(error)),
            None => built,
        }
    }

    /// Returns the document that leads to everything else.
    ///
    /// # Panics
    ///
    /// Never: every parcel has one.
    #[must_use]
    pub fn root(&self) -> &Document {
        self.documents
            .last()
            .expect("a parcel is made of a document")
    }

    /// Returns manifests and indexes; what a document names comes before it.
    #[must_use]
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// Returns configs and layers, each once.
    #[must_use]
    pub fn blobs(&self) -> &[ParcelBlob] {
        &self.blobs
    }

    pub(crate) fn docker_image(
        &self,
        platform: Option<&Platform>,
    ) -> Option<(Digest, Vec<Digest>)> {
        let manifest = match platform {
            Some(platform) if is_index(&self.root().media_type) => self.manifest_for(platform)?,
            // Never the host's: the bytes of an archive depend on no machine.
            _ => self.manifest_for(&main_platform()).or_else(|| {
                let mut documents = self.documents.iter();
                documents.find(|document| is_manifest(&document.media_type))
            })?,
        };
        let raw = parse(manifest).ok()?;
        let digest = |descriptor: RawDescriptor| descriptor.digest?.parse().ok();
        let layers = raw.layers.unwrap_or_default().into_iter().map(digest);
        Some((digest(raw.config?)?, layers.collect::<Option<_>>()?))
    }

    fn manifest_for(&self, platform: &Platform) -> Option<&Document> {
        let indexes = self
            .documents
            .iter()
            .filter(|one| is_index(&one.media_type));
        let mut children = indexes.filter_map(|index| children(index).ok()).flatten();
        let fits = |one: &Purpose| one.platform == *platform;
        let child = children.find(|child| child.purpose.as_ref().is_some_and(fits))?;
        self.documents.iter().find(|one| one.digest == child.digest)
    }

    pub(crate) fn push_document(&mut self, document: Document) {
        self.documents.push(document);
    }

    pub(crate) fn push_blob(&mut self, blob: ParcelBlob) {
        if self.blobs.iter().all(|one| one.digest != blob.digest) {
            self.blobs.push(blob);
        }
    }
}

/// The platform that engines without indexes load of an archive with several.
pub(crate) fn main_platform() -> Platform {
    Platform::from_parts("linux", "amd64", None)
}

pub(crate) fn manifest_of(image: &Image) -> Document {
    Document {
        media_type: MANIFEST_MEDIA_TYPE.to_owned(),
        digest: image.manifest().digest(),
        bytes: image.manifest().bytes().to_vec(),
    }
}

/// A descriptor that is complete.
struct Child {
    media_type: String,
    digest: Digest,
    size: u64,
    purpose: Option<Purpose>,
}

fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, MANIFEST_MEDIA_TYPE | DOCKER_MANIFEST_MEDIA_TYPE)
}

/// Whether a layer is not to be distributed: it lies where its `urls` say.
fn is_foreign(descriptor: &RawDescriptor) -> bool {
    let media_type = descriptor.media_type.as_deref().unwrap_or_default();
    let has_urls = descriptor
        .urls
        .as_ref()
        .is_some_and(|urls| !urls.is_empty());
    has_urls && (media_type.contains("nondistributable") || media_type.contains("foreign"))
}

fn parse(document: &Document) -> Result<RawDocument, ParcelError> {
    serde_json::from_slice(&document.bytes).map_err(|source| ParcelError::Json {
        digest: document.digest,
        source,
    })
}

/// Returns the layers and the config of a manifest that are distributed.
pub(crate) fn blobs_of(manifest: &Document) -> Result<Vec<Digest>, ParcelError> {
    let raw = parse(manifest)?;
    let layers = raw.layers.unwrap_or_default();
    let all = layers.into_iter().chain(raw.config);
    let own = all.filter(|descriptor| !is_foreign(descriptor));
    own.map(|descriptor| Ok(child(manifest, descriptor)?.digest))
        .collect()
}

fn children(index: &Document) -> Result<Vec<Child>, ParcelError> {
    let manifests = parse(index)?.manifests.unwrap_or_default();
    manifests.into_iter().map(|raw| child(index, raw)).collect()
}

fn child(parent: &Document, raw: RawDescriptor) -> Result<Child, ParcelError> {
    let error = |field| ParcelError::Descriptor {
        digest: parent.digest,
        field,
    };
    let digest = raw.digest.and_then(|text| text.parse().ok());
    let size = raw.size.and_then(|size| u64::try_from(size).ok());
    let purpose = raw.platform.and_then(|platform| platform.purpose());
    Ok(Child {
        media_type: raw.media_type.ok_or_else(|| error("media type"))?,
        digest: digest.ok_or_else(|| error("digest"))?,
        size: size.ok_or_else(|| error("size"))?,
        purpose,
    })
}

impl ParcelBlob {
    /// Reads a document whole, and checks it.
    pub(crate) fn read_document(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let reader = self.content.open(0)?;
        reader.take(MAX_DOCUMENT_BYTES).read_to_end(&mut bytes)?;
        match Digest::of(&bytes) == self.digest {
            true => Ok(bytes),
            false => {
                let kind = io::ErrorKind::InvalidData;
                Err(io::Error::new(kind, "its bytes have another digest"))
            }
        }
    }

    /// Does `copy`, which writes to what can be written anew, until it has
    /// succeeded or failed for good.
    pub(crate) fn until_whole(&self, copy: &dyn Fn() -> Result<(), Error>) -> Result<(), Error> {
        let mut failures = 0;
        loop {
            failures += 1;
            match copy() {
                Err(Error::Blob { source, .. }) if self.content.try_again(failures, &source) => {}
                result => return result,
            }
        }
    }

    /// Copies the bytes to `sink`, and checks them.
    pub(crate) fn copy_to(
        &self,
        sink: &mut dyn Write,
        sink_error: &dyn Fn(io::Error) -> Error,
        monitor: Monitor<'_>,
    ) -> Result<(), Error> {
        let read_error = |source| Error::Blob {
            digest: self.digest,
            source,
        };
        let mut reader = self.content.open_unchecked().map_err(read_error)?;
        let mut writer = DigestWriter::new(sink);
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            monitor.check()?;
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A reader that stops because it was told to.
                Err(error) => return monitor.check().and(Err(read_error(error))),
            };
            writer.write_all(&buffer[..count]).map_err(sink_error)?;
            monitor.report(Progress::Written {
                bytes: count as u64,
            });
        }
        let (_, found, size) = writer.finish();
        match found == self.digest && size == self.size {
            true => Ok(()),
            false => Err(Error::BlobDigest {
                expected: self.digest,
                found,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
