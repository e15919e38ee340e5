//! Indexes of images, one for each platform: read as anybody writes them,
//! written in one order, so that the same images always make the same index.

mod listed;
mod merge;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::digest::Digest;
use crate::json;
use crate::parcel::{Document, Parcel};
use crate::source::is_index;
use listed::Rank;

pub use listed::{Listed, PlatformName};

/// The media type of an index.
pub const INDEX_MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// An [image index] in the making: images, each for another platform, and what
/// others have put beside them, such as the attestations of `BuildKit`.
///
/// [image index]: https://github.com/opencontainers/image-spec/blob/v1.1.0/image-index.md
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlatformIndex {
    listed: Vec<Listed>,
    /// The annotations of the index itself.
    pub annotations: BTreeMap<String, String>,
}

/// Why something is no index of images for platforms.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformIndexError {
    /// A document is no JSON of the expected form.
    #[error("the document {digest} is malformed")]
    Json {
        /// The document.
        digest: Digest,
        /// Why.
        source: serde_json::Error,
    },
    /// A descriptor lacks something.
    #[error("the index {digest} has a descriptor without a valid {field}")]
    Descriptor {
        /// The index.
        digest: Digest,
        /// What is missing.
        field: &'static str,
    },
    /// A document that is needed is not there.
    #[error("`{0}` is named by an index and missing")]
    Missing(Digest),
    /// A config cannot be read.
    #[error("cannot read the config {digest}")]
    Config {
        /// The config.
        digest: Digest,
        /// Why.
        source: std::io::Error,
    },
    /// An image says nowhere what it is for.
    #[error("the image {0} says no platform, neither in an index nor in its config")]
    NoPlatform(Digest),
    /// Two images are for the same platform.
    #[error("there are two images for {platform}: {first} and {second}")]
    TwoImages {
        /// The platform.
        platform: Box<PlatformName>,
        /// The image that was there first.
        first: Digest,
        /// The other one.
        second: Digest,
    },
}

impl PlatformIndex {
    /// Lists the images of a parcel: its only one, or all of an index, those
    /// of the indexes in it included. The annotations are those of its root.
    ///
    /// # Errors
    ///
    /// When a document is malformed, an image says no platform, or two say the
    /// same.
    pub fn of_parcel(parcel: &Parcel) -> Result<Self, PlatformIndexError> {
        let mut index = Self::default();
        index.collect(parcel.root(), Some(parcel))?;
        Ok(index)
    }

    /// Lists the images of an index without a look at them.
    ///
    /// # Errors
    ///
    /// As [`PlatformIndex::of_parcel`]; and [`PlatformIndexError::Missing`]
    /// when the index does not say everything itself.
    pub fn of_document(document: &Document) -> Result<Self, PlatformIndexError> {
        let mut index = Self::default();
        index.collect(document, None)?;
        Ok(index)
    }

    fn collect(
        &mut self,
        document: &Document,
        parcel: Option<&Parcel>,
    ) -> Result<(), PlatformIndexError> {
        let digest = document.digest;
        if !is_index(&document.media_type) {
            let parcel = parcel.ok_or(PlatformIndexError::Missing(digest))?;
            if self.listed.is_empty() {
                let raw: RawIndex = parse(document)?;
                self.annotations = raw.annotations.unwrap_or_default();
            }
            return self.add(Listed::of_manifest(document, Map::new(), parcel)?);
        }
        let raw: RawIndex = parse(document)?;
        if self.listed.is_empty() && self.annotations.is_empty() {
            self.annotations = raw.annotations.unwrap_or_default();
        }
        for descriptor in raw.manifests.unwrap_or_default() {
            let listed = Listed::of_descriptor(document, descriptor, parcel)?;
            match parcel.filter(|_| is_index(listed.media_type())) {
                None if !is_index(listed.media_type()) => self.add(listed)?,
                None => return Err(PlatformIndexError::Missing(listed.digest())),
                Some(parcel) => {
                    let inner = document_of(parcel, listed.digest())?;
                    self.collect(inner, Some(parcel))?;
                }
            }
        }
        Ok(())
    }

    /// Adds an image; the same one again changes nothing.
    ///
    /// # Errors
    ///
    /// When there is another one for its platform.
    pub fn add(&mut self, listed: Listed) -> Result<(), PlatformIndexError> {
        if let Rank::Image(platform) = listed.rank()
            && let Some(other) = self.listed.iter().find(|one| one.rank() == listed.rank())
            && other.digest() != listed.digest()
        {
            return Err(PlatformIndexError::TwoImages {
                platform: Box::new(platform.clone()),
                first: other.digest(),
                second: listed.digest(),
            });
        }
        if !self.has(&listed) {
            self.listed.push(listed);
        }
        Ok(())
    }

    /// Adds everything of another index, but not its annotations.
    ///
    /// # Errors
    ///
    /// When both have an image for one platform, and it is not the same.
    pub fn merge(&mut self, other: Self) -> Result<(), PlatformIndexError> {
        other
            .listed
            .into_iter()
            .try_for_each(|listed| self.add(listed))
    }

    /// Adds everything of another index; its images replace those for the same
    /// platforms, its annotations those of the same name.
    pub fn replace(&mut self, other: Self) {
        for listed in other.listed {
            if matches!(listed.rank(), Rank::Image(_)) {
                self.listed.retain(|one| one.rank() != listed.rank());
            }
            if !self.has(&listed) {
                self.listed.push(listed);
            }
        }
        self.annotations.extend(other.annotations);
    }

    /// Whether all images of another index are in this one.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.listed.iter().all(|listed| self.has(listed))
    }

    /// Gives the index the annotations that all its images have, whose
    /// manifests are in `parts`: the same images make the same index.
    ///
    /// # Errors
    ///
    /// When a manifest is missing or malformed.
    pub fn annotate_as_images(&mut self, parts: &[Parcel]) -> Result<(), PlatformIndexError> {
        let mut common: Option<BTreeMap<String, String>> = None;
        for listed in &self.listed {
            if !matches!(listed.rank(), Rank::Image(_)) {
                continue;
            }
            let digest = listed.digest();
            let mut found = parts.iter().map(|part| document_of(part, digest));
            let document = found.find_map(Result::ok);
            let document = document.ok_or(PlatformIndexError::Missing(digest))?;
            let raw: RawIndex = parse(document)?;
            let own = raw.annotations.unwrap_or_default();
            common = Some(match common {
                None => own,
                Some(mut common) => {
                    common.retain(|name, value| own.get(name) == Some(value));
                    common
                }
            });
        }
        self.annotations = common.unwrap_or_default();
        Ok(())
    }

    fn has(&self, listed: &Listed) -> bool {
        let is_same = |one: &Listed| one.digest() == listed.digest() && one.rank() == listed.rank();
        self.listed.iter().any(is_same)
    }

    /// Returns the images and what goes with them, in the order of the index:
    /// images by their platform, then what belongs to them, then the rest.
    /// What belongs to an image that is not listed is left out.
    #[must_use]
    pub fn listed(&self) -> Vec<&Listed> {
        let is_image = |one: &&Listed| matches!(one.rank(), Rank::Image(_));
        let images: Vec<&Listed> = self.listed.iter().filter(is_image).collect();
        let is_listed = |digest: &Digest| images.iter().any(|one| one.digest() == *digest);
        let is_kept = |one: &&Listed| match one.rank() {
            Rank::Companion(of) => is_listed(of),
            _ => true,
        };
        let mut listed: Vec<&Listed> = self.listed.iter().filter(is_kept).collect();
        listed.sort_by_key(|one| (one.rank(), one.digest()));
        listed
    }

    /// Returns the platforms that there are images for.
    #[must_use]
    pub fn platforms(&self) -> Vec<&PlatformName> {
        let listed = self.listed().into_iter();
        let platforms = listed.filter_map(|one| match one.rank() {
            Rank::Image(platform) => Some(platform),
            _ => None,
        });
        platforms.collect()
    }

    /// Returns the index: canonical JSON.
    #[must_use]
    pub fn to_document(&self) -> Document {
        let manifests: Vec<&Map<String, Value>> =
            self.listed().into_iter().map(Listed::descriptor).collect();
        let mut index = json!({
            "schemaVersion": 2,
            "mediaType": INDEX_MEDIA_TYPE,
            "manifests": manifests,
        });
        if !self.annotations.is_empty() {
            index["annotations"] = json!(self.annotations);
        }
        let bytes = json::to_canonical(&index);
        Document {
            media_type: INDEX_MEDIA_TYPE.to_owned(),
            digest: Digest::of(&bytes),
            bytes,
        }
    }
}

/// An index, or of a manifest its annotations, as anybody may have written it.
#[derive(Debug, Deserialize)]
struct RawIndex {
    manifests: Option<Vec<Map<String, Value>>>,
    annotations: Option<BTreeMap<String, String>>,
}

fn parse<T: serde::de::DeserializeOwned>(document: &Document) -> Result<T, PlatformIndexError> {
    serde_json::from_slice(&document.bytes).map_err(|source| PlatformIndexError::Json {
        digest: document.digest,
        source,
    })
}

fn document_of(parcel: &Parcel, digest: Digest) -> Result<&Document, PlatformIndexError> {
    let mut documents = parcel.documents().iter();
    documents
        .find(|one| one.digest == digest)
        .ok_or(PlatformIndexError::Missing(digest))
}

#[cfg(test)]
mod tests;
