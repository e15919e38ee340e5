//! What a run has made: an image, or images with their index.

use std::io::Write;

use imgbuild_oci::destination::{Destination, WriteOptions, Written, write_image, write_images};
use imgbuild_oci::digest::Digest;
use imgbuild_oci::image::Image;
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
