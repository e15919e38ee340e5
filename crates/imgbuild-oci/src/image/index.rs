//! Indexes of images, one for each platform: read in any form, written in one
//! order, so that the same images always make the same index.

mod entry;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Image, ImageError};
use crate::digest::Digest;
use crate::document::{Document, RawDocument};
use crate::media_type::is_index;
use crate::platform::{ImagePlatform, Platform};
use crate::{json, media_type};
pub use entry::PlatformEntry;
use entry::Rank;

/// An [image index] in the making: images, each for another platform, and the
/// manifests attached to them, such as the attestations of `BuildKit`.
///
/// [image index]: https://github.com/opencontainers/image-spec/blob/v1.1.0/image-index.md
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlatformIndex {
    entries: Vec<PlatformEntry>,
    /// The annotations of the index itself.
    pub annotations: BTreeMap<String, String>,
}

impl PlatformIndex {
    /// Lists the images that `image` consists of: the only one, or all of an
    /// index and of the indexes in it. The annotations are those of its root.
    ///
    /// # Errors
    ///
    /// When a document is malformed, when an image has no platform, or when two
    /// have the same.
    pub fn of_image(image: &Image) -> Result<Self, ImageError> {
        let mut index = Self::default();
        index.collect(image.root(), Some(image))?;
        Ok(index)
    }

    /// Lists the images of an index without reading them.
    ///
    /// # Errors
    ///
    /// As [`PlatformIndex::of_image`], and [`SelectionError::Missing`](crate::selection::SelectionError::Missing) if the index
    /// lacks something that is in an image.
    pub fn of_document(document: &Document) -> Result<Self, ImageError> {
        let mut index = Self::default();
        index.collect(document, None)?;
        Ok(index)
    }

    fn collect(&mut self, document: &Document, image: Option<&Image>) -> Result<(), ImageError> {
        let raw: RawDocument<Map<String, Value>> = document.parse_as()?;
        if self.entries.is_empty() && self.annotations.is_empty() {
            self.annotations = raw.annotations.unwrap_or_default();
        }
        if !is_index(&document.media_type) {
            let image = image.ok_or(ImageError::missing(document.digest))?;
            return self.add(PlatformEntry::of_manifest(document, Map::new(), image)?);
        }
        for descriptor in raw.manifests.unwrap_or_default() {
            let entry = match PlatformEntry::of_descriptor(document, descriptor, image) {
                // Only a part of the index is there.
                Err(ImageError::Selection(error)) if image.is_some() && error.is_missing() => {
                    continue;
                }
                entry => entry?,
            };
            if !is_index(&entry.media_type) {
                self.add(entry)?;
                continue;
            }
            match image.and_then(|image| image.document(entry.digest)) {
                Some(inner) => self.collect(inner, image)?,
                None if image.is_some() => {}
                None => return Err(ImageError::missing(entry.digest)),
            }
        }
        Ok(())
    }

    /// Adds an entry; the same one again changes nothing.
    ///
    /// # Errors
    ///
    /// When there is another image for its platform.
    pub fn add(&mut self, entry: PlatformEntry) -> Result<(), ImageError> {
        if let Some(platform) = entry.platform()
            && let Some(other) = self.entries.iter().find(|one| one.rank == entry.rank)
            && other.digest != entry.digest
        {
            return Err(ImageError::TwoImages {
                platform: Box::new(platform.clone()),
                first: other.digest,
                second: entry.digest,
            });
        }
        if !self.has(&entry) {
            self.entries.push(entry);
        }
        Ok(())
    }

    /// Adds everything of another index, but not its annotations.
    ///
    /// # Errors
    ///
    /// When both have different images for one platform.
    pub fn merge(&mut self, other: Self) -> Result<(), ImageError> {
        other
            .entries
            .into_iter()
            .try_for_each(|entry| self.add(entry))
    }

    /// Adds everything of another index; its images replace those for the same
    /// platforms, its annotations those of the same name.
    pub fn replace(&mut self, other: Self) {
        for entry in other.entries {
            if entry.platform().is_some() {
                self.entries.retain(|one| one.rank != entry.rank);
            }
            if !self.has(&entry) {
                self.entries.push(entry);
            }
        }
        self.annotations.extend(other.annotations);
    }

    /// Returns true if all entries of another index are in this one.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.entries.iter().all(|entry| self.has(entry))
    }

    /// Gives the index the annotations that all its images have in common,
    /// whose manifests are in `parts`: the same images make the same index.
    ///
    /// # Errors
    ///
    /// When a manifest is missing or malformed.
    pub fn annotate_as_images(&mut self, parts: &[Image]) -> Result<(), ImageError> {
        let mut common: Option<BTreeMap<String, String>> = None;
        for entry in self.entries.iter().filter(|one| one.platform().is_some()) {
            let manifest = find_document(parts, entry.digest)?.parse()?;
            let own = manifest.annotations.unwrap_or_default();
            match &mut common {
                None => common = Some(own),
                Some(common) => common.retain(|name, value| own.get(name) == Some(value)),
            }
        }
        self.annotations = common.unwrap_or_default();
        Ok(())
    }

    fn has(&self, entry: &PlatformEntry) -> bool {
        let is_same = |one: &PlatformEntry| one.digest == entry.digest && one.rank == entry.rank;
        self.entries.iter().any(is_same)
    }

    /// Returns the entries in the order of the index: images by their platform,
    /// then manifests that are attached to them, then the rest. Manifests that
    /// are attached to an image that is not listed are left out.
    #[must_use]
    pub fn entries(&self) -> Vec<&PlatformEntry> {
        let images = self.entries.iter().filter(|one| one.platform().is_some());
        let images: BTreeSet<Digest> = images.map(|one| one.digest).collect();
        let is_kept = |one: &&PlatformEntry| match &one.rank {
            Rank::Attached(image) => images.contains(image),
            Rank::Image(_) | Rank::Other => true,
        };
        let mut entries: Vec<&PlatformEntry> = self.entries.iter().filter(is_kept).collect();
        entries.sort_by(|one, other| (&one.rank, one.digest).cmp(&(&other.rank, other.digest)));
        entries
    }

    /// Returns the platforms of the images.
    #[must_use]
    pub fn platforms(&self) -> Vec<&ImagePlatform> {
        let entries = self.entries().into_iter();
        entries.filter_map(PlatformEntry::platform).collect()
    }

    /// Returns the index as canonical JSON.
    #[must_use]
    pub fn to_document(&self) -> Document {
        let entries = self.entries().into_iter();
        let manifests: Vec<_> = entries.map(|one| &one.descriptor).collect();
        let mut index = json!({
            "schemaVersion": 2,
            "mediaType": media_type::INDEX,
            "manifests": manifests,
        });
        if !self.annotations.is_empty() {
            index["annotations"] = json!(self.annotations);
        }
        Document::new(media_type::INDEX, json::to_canonical(&index))
    }

    /// Takes the listed manifests with their blobs out of `parts`, in order, and
    /// adds the index itself.
    ///
    /// # Errors
    ///
    /// When a manifest of the index is in none of the parts, or is malformed.
    pub fn to_image(&self, parts: &[Image]) -> Result<Image, ImageError> {
        let mut image = Image::empty();
        for entry in self.entries() {
            if image.document(entry.digest).is_some() {
                continue;
            }
            let manifest = find_document(parts, entry.digest)?;
            for descriptor in manifest.blobs()? {
                if descriptor.is_foreign() {
                    continue;
                }
                let digest = manifest.complete(descriptor)?.digest;
                let blob = parts.iter().find_map(|part| part.blob(digest));
                image.push_blob(blob.ok_or(ImageError::missing(digest))?.clone());
            }
            image.documents.push(manifest.clone());
        }
        image.documents.push(self.to_document());
        Ok(image)
    }
}

impl Image {
    /// Makes the index of images that were built for a platform each.
    ///
    /// # Errors
    ///
    /// When two images are for one platform.
    pub fn index_of<'a>(
        images: impl IntoIterator<Item = (&'a Platform, &'a Self)>,
    ) -> Result<Self, ImageError> {
        let mut index = PlatformIndex::default();
        let mut parts = Vec::new();
        for (platform, image) in images {
            index.add(PlatformEntry::new(image.root(), platform))?;
            parts.push(image.clone());
        }
        index.annotate_as_images(&parts)?;
        index.to_image(&parts)
    }
}

fn find_document(parts: &[Image], digest: Digest) -> Result<&Document, ImageError> {
    let mut found = parts.iter().filter_map(|part| part.document(digest));
    found.next().ok_or(ImageError::missing(digest))
}

#[cfg(test)]
mod tests;
