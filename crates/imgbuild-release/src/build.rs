//! Building the image of a plan.

use imgbuild_oci::cache::Cache;
use imgbuild_oci::image::Image;
use imgbuild_oci::layer::{Layer, LayerOptions, build_layers};
use imgbuild_oci::monitor::Monitor;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::xattr::{self, DroppedXattrs};

use crate::error::Result;
use crate::plan::Plan;

/// The resources of a build. They do not change a byte of the image.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// The number of threads.
    pub threads: usize,
    /// The directory of temporary files, for compressed layers until they are
    /// written.
    pub scratch: std::path::PathBuf,
    /// The layers of earlier builds.
    pub cache: Cache,
}

/// An image that was built.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// The image.
    pub image: Image,
    /// The platform that it is for.
    pub platform: Platform,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// The extended attributes that the image lacks although its files have
    /// them.
    pub dropped_xattrs: DroppedXattrs,
}

/// Makes the layers and assembles the image. Hands each layer that is made to
/// `finished` as soon as its digest is known, from several threads.
///
/// # Errors
///
/// When a file cannot be read or is not as planned, or when interrupted.
pub fn build(
    plan: Plan,
    options: &BuildOptions,
    finished: &(dyn Fn(&Layer) + Sync),
    monitor: Monitor<'_>,
) -> Result<BuiltImage> {
    let layer_options = LayerOptions {
        compression: plan.compression,
        threads: options.threads,
        scratch: options.scratch.clone(),
        cache: options.cache.clone(),
    };
    let image_options = plan.image.clone();
    let mut layers = match &plan.base {
        Some(base) => base.open_layers()?,
        None => Vec::new(),
    };
    let mut dropped_xattrs = plan.dropped_xattrs.clone();
    let changesets = plan.into_changesets();
    let built = build_layers(changesets, &layer_options, finished, monitor)?;
    layers.extend(built);
    for (name, paths) in layers.iter().flat_map(|layer| &layer.dropped_xattrs) {
        xattr::count(&mut dropped_xattrs, name, *paths);
    }
    Ok(BuiltImage {
        image: Image::assemble(&image_options, &layers),
        platform: image_options.platform,
        layers,
        dropped_xattrs,
    })
}
