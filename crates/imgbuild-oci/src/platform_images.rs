//! Images that were built for several platforms, and the index of them.

use crate::image::Image;
use crate::parcel::{Document, Parcel, ParcelError, main_platform, manifest_of};
use crate::platform::Platform;
use crate::platform_index::{Listed, PlatformIndex, PlatformIndexError};

/// Images, each for another platform, with their index.
#[derive(Debug, Clone)]
pub struct PlatformImages {
    /// By platform, as the index lists them; never empty.
    images: Vec<(Platform, Image)>,
    index: PlatformIndex,
    document: Document,
}

impl PlatformImages {
    /// Makes the index of images that were built for `platform` each.
    ///
    /// # Errors
    ///
    /// When two images are for one platform.
    ///
    /// # Panics
    ///
    /// When there is no image.
    pub fn new(mut images: Vec<(Platform, Image)>) -> Result<Self, PlatformIndexError> {
        assert!(!images.is_empty(), "an index is made of images");
        images.sort_by(|(first, _), (second, _)| first.cmp(second));
        let mut index = PlatformIndex::default();
        for (platform, image) in &images {
            index.add(Listed::new(&manifest_of(image), platform))?;
        }
        let parts: Vec<Parcel> = images
            .iter()
            .map(|(_, image)| Parcel::of_image(image))
            .collect();
        index.annotate_as_images(&parts)?;
        let document = index.to_document();
        Ok(Self {
            images,
            index,
            document,
        })
    }

    /// Returns the images, in the order of the index.
    #[must_use]
    pub fn images(&self) -> &[(Platform, Image)] {
        &self.images
    }

    /// Returns the index.
    #[must_use]
    pub fn index(&self) -> &PlatformIndex {
        &self.index
    }

    /// Returns the index as it is written; its digest is that of the whole.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Returns the image for a platform; else that for linux/amd64, else the
    /// first.
    #[must_use]
    pub fn image_for(&self, platform: Option<&Platform>) -> &Image {
        let find = |wanted: &Platform| self.images.iter().find(|(of, _)| of == wanted);
        let found = platform.and_then(find).or_else(|| find(&main_platform()));
        &found.unwrap_or(&self.images[0]).1
    }

    /// Returns everything, to be sent somewhere.
    ///
    /// # Errors
    ///
    /// Never for images that were built.
    pub fn to_parcel(&self) -> Result<Parcel, ParcelError> {
        let parts = self.images.iter().map(|(_, image)| Parcel::of_image(image));
        self.index.to_parcel(&parts.collect::<Vec<_>>())
    }
}
