//! What a run has made: an image, or images with their index.

use std::collections::BTreeMap;
use std::io::Write;

use imgbuild_oci::destination::{Destination, WriteOptions, Written, write_image, write_images};
use imgbuild_oci::digest::Digest;
use imgbuild_oci::image::Image;
use imgbuild_oci::layer::Layer;
use imgbuild_oci::monitor::Monitor;
use imgbuild_oci::parcel::Parcel;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::platform_images::PlatformImages;

use crate::failure::{Failure, Result};

/// What is written, pushed and loaded.
#[derive(Debug)]
pub(crate) enum Made {
    Image(Image),
    Images(PlatformImages),
}

impl Made {
    /// Returns the digest of the manifest or of the index.
    pub(crate) fn digest(&self) -> Digest {
        match self {
            Self::Image(image) => image.manifest().digest(),
            Self::Images(images) => images.document().digest,
        }
    }

    /// Returns how many bytes of layers are written to a destination.
    pub(super) fn size_at(&self, destination: &Destination) -> u64 {
        let size = |image: &Image| image.layers().iter().map(Layer::size).sum::<u64>();
        match self {
            Self::Image(image) => size(image),
            Self::Images(images) => {
                let images = images.images().iter().map(|(_, image)| image);
                if matches!(destination, Destination::Layout(..)) {
                    // One image after the other; what they share is found.
                    return images.map(size).sum();
                }
                let layers = images.flat_map(Image::layers);
                let sizes = layers.map(|layer| (layer.digest(), layer.size()));
                sizes.collect::<BTreeMap<Digest, u64>>().values().sum()
            }
        }
    }

    /// Returns the one image, or that for a platform.
    pub(super) fn for_engine(&self, platform: &Platform) -> &Image {
        match self {
            Self::Image(image) => image,
            Self::Images(images) => images.image_for(Some(platform)),
        }
    }

    pub(super) fn to_parcel(&self) -> Result<Parcel> {
        match self {
            Self::Image(image) => Ok(Parcel::of_image(image)),
            Self::Images(images) => images.to_parcel().map_err(Failure::build),
        }
    }

    pub(super) fn write(
        &self,
        destination: &Destination,
        options: WriteOptions<'_>,
        output: &mut (dyn Write + Send),
        monitor: Monitor<'_>,
    ) -> Result<Written> {
        Ok(match self {
            Self::Image(image) => write_image(image, destination, options, output, monitor),
            Self::Images(images) => write_images(images, destination, options, output, monitor),
        }?)
    }
}
