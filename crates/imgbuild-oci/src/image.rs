//! Images: a manifest or an index with everything below it, whether it was
//! built here, read from a file or read from a registry.
//!
//! Documents are the bytes that they are, so that every digest stays the same
//! wherever an image is written to.

mod assemble;
mod blob;
mod docker_archive;
mod error;
mod index;
mod read;

pub use assemble::{ImageOptions, is_all_ours};
pub use blob::Blob;
pub use error::ImageError;
pub use index::{PlatformEntry, PlatformIndex};
pub use read::Platforms;

pub use crate::configuration::{Configuration, Healthcheck, path_from_root, volume_fault};
use crate::digest::Digest;
use crate::document::{Document, RawDescriptor};
use crate::media_type::{is_index, is_manifest};
use crate::platform::Platform;
use crate::selection::IndexPart;

/// An image or an index, with everything below it.
#[derive(Debug, Clone)]
pub struct Image {
    /// In an order in which each one follows those that it names; the root is
    /// the last.
    documents: Vec<Document>,
    blobs: Vec<Blob>,
    /// The images of its index that are there.
    pub part: IndexPart,
    /// The types of the artifacts beside it that are attached to it.
    pub artifacts: Vec<String>,
}

/// Returns the platform of the image that engines without indexes load from an
/// archive with several.
fn main_platform() -> Platform {
    Platform::from_parts("linux", "amd64", None)
}

impl Image {
    /// Begins an image; the root follows as its last document.
    fn empty() -> Self {
        Self {
            documents: Vec::new(),
            blobs: Vec::new(),
            part: IndexPart::default(),
            artifacts: Vec::new(),
        }
    }

    /// Returns the manifest or index that leads to everything else.
    ///
    /// # Panics
    ///
    /// Never: every image has one.
    #[must_use]
    pub fn root(&self) -> &Document {
        self.documents.last().expect("an image has a document")
    }

    /// Returns manifests and indexes; each one follows those that it names.
    #[must_use]
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// Returns configs and layers, each once.
    #[must_use]
    pub fn blobs(&self) -> &[Blob] {
        &self.blobs
    }

    /// Returns the size of all configs and layers in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }

    /// Returns the config of a single image. Its digest is what Docker's graph
    /// drivers and Podman call the image ID.
    #[must_use]
    pub fn config(&self) -> Option<&Blob> {
        self.blobs.iter().find(|blob| blob.is_config)
    }

    pub(crate) fn document(&self, digest: Digest) -> Option<&Document> {
        self.documents.iter().find(|one| one.digest == digest)
    }

    pub(crate) fn blob(&self, digest: Digest) -> Option<&Blob> {
        self.blobs.iter().find(|one| one.digest == digest)
    }

    fn push_blob(&mut self, blob: Blob) {
        if self.blob(blob.digest).is_none() {
            self.blobs.push(blob);
        }
    }

    /// Returns config and layers of the image that an engine without indexes
    /// loads: the only one, or that for linux/amd64, or the first. The host has
    /// no influence: the bytes of an archive depend on no machine.
    pub(crate) fn docker_image(&self) -> Option<(Digest, Vec<Digest>)> {
        let mut manifests = self.documents.iter();
        let manifest = self
            .manifest_for(&main_platform())
            .or_else(|| manifests.find(|one| is_manifest(&one.media_type)))?;
        let raw = manifest.parse().ok()?;
        let layers = raw.layers.unwrap_or_default();
        let layers = layers.iter().map(RawDescriptor::digest);
        let config = raw.config?.digest().ok()?;
        Some((config, layers.collect::<Result<_, _>>().ok()?))
    }

    fn manifest_for(&self, wanted: &Platform) -> Option<&Document> {
        let indexes = self.documents.iter();
        let indexes = indexes.filter(|one| is_index(&one.media_type));
        let mut children = indexes.filter_map(|index| index.children().ok()).flatten();
        let child = children.find(|child| {
            let platform = child.platform.as_ref();
            platform.is_some_and(|one| one.platform() == wanted)
        })?;
        self.document(child.digest)
    }
}

#[cfg(test)]
mod tests;
