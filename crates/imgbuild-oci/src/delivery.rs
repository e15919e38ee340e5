//! What is written to a place, whatever it is made of.

use crate::digest::Digest;
use crate::image::Image;
use crate::parcel::{Document, Parcel, manifest_of};
use crate::platform::Platform;
use crate::platform_images::PlatformImages;

/// What is written to a destination: an image that was built here, whose
/// layers are written by all threads, or what came from elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Delivery<'a> {
    Image(&'a Image),
    Images(&'a PlatformImages),
    Parcel(&'a Parcel),
}

impl Delivery<'_> {
    /// Returns the document that leads to everything else.
    pub(crate) fn root(&self) -> Document {
        match self {
            Self::Image(image) => manifest_of(image),
            Self::Images(images) => images.document().clone(),
            Self::Parcel(parcel) => parcel.root().clone(),
        }
    }

    /// Returns config and layers of the image that an engine without indexes
    /// loads: the only one, or the one for `platform`.
    pub(crate) fn docker_image(
        &self,
        platform: Option<&Platform>,
    ) -> Option<(Digest, Vec<Digest>)> {
        match self {
            Self::Image(image) => Some(docker_image(image)),
            Self::Images(images) => Some(docker_image(images.image_for(platform))),
            Self::Parcel(parcel) => parcel.docker_image(platform),
        }
    }
}

fn docker_image(image: &Image) -> (Digest, Vec<Digest>) {
    let layers = image.layers().iter().map(crate::layer::Layer::digest);
    (image.config().digest(), layers.collect())
}
