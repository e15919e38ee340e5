//! `imgbuild copy`: an image or index to other destinations, its digests kept.

use std::process::ExitCode;
use std::slice;

use imgbuild_oci::image::{Image, ImageError, PlatformIndex, Platforms};
use imgbuild_oci::media_type::is_index;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::selection::{SelectionError, runs_on};
use serde_json::{Value, json};

use super::deliver::Deliverer;
use super::outputs::Outputs;
use super::registry::{self, PARALLEL_BLOBS};
use super::source::NamedImage;
use crate::args::{CopyArguments, reference};
use crate::failure::{Failure, Result};
use crate::ui::Ui;

pub(crate) fn run(arguments: &CopyArguments, ui: &mut Ui) -> Result<ExitCode> {
    let source = reference(&arguments.source)?;
    let mut outputs = Outputs::new(&arguments.result);
    outputs.add(&arguments.destinations)?;
    outputs.check(false, ui)?;

    let sources = source.iter().collect();
    let mut registries = registry::connect(&arguments.registry, &outputs.targets(), sources, ui)?;
    let platforms = match &arguments.platform {
        Some(platform) => Platforms::One(platform.clone()),
        None => Platforms::All,
    };
    let found = NamedImage::read(
        &arguments.source,
        source.as_ref(),
        &mut registries,
        &platforms,
    )?;
    found.report_rest(&arguments.source, ui);
    let NamedImage { image, names } = found;
    if let Some(platform) = &arguments.platform {
        check_platform(&image, platform)?;
    }

    outputs.references = names;
    let mut deliverer = Deliverer::new(&outputs, registries, PARALLEL_BLOBS, ui);
    let delivered = deliverer.copy(&image, ui)?;
    let fields = || copied_json(&image, slice::from_ref(&arguments.source));
    deliverer.report(&image, &delivered, fields, ui)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns what an image or index from elsewhere consists of: the manifests with their
/// platforms, and the number of blobs.
pub(super) fn copied_json(image: &Image, sources: &[String]) -> Value {
    let manifests = image.documents().iter();
    let manifests = manifests.filter(|document| !is_index(&document.media_type));
    let index = PlatformIndex::of_image(image);
    let entries = index.iter().flat_map(PlatformIndex::entries);
    let platform = |digest| {
        let entry = entries.clone().find(|entry| entry.digest == digest)?;
        entry.platform().map(ToString::to_string)
    };
    let images = manifests.map(|manifest| {
        json!({
            "mediaType": manifest.media_type,
            "digest": manifest.digest,
            "size": manifest.bytes.len(),
            "platform": platform(manifest.digest),
        })
    });
    json!({
        "images": images.collect::<Vec<_>>(),
        "blobs": image.blobs().len(),
        "sources": sources,
    })
}

/// Refuses a single image for another platform; of an index, only the image for
/// the right one was taken.
fn check_platform(image: &Image, wanted: &Platform) -> Result<()> {
    let index = match PlatformIndex::of_image(image) {
        Ok(index) => index,
        // An artifact without a platform is copied as it is.
        Err(ImageError::NoPlatform(_) | ImageError::Selection(SelectionError::Artifact(_))) => {
            return Ok(());
        }
        Err(error) => return Err(Failure::build(error)),
    };
    match index.platforms()[..] {
        [one] if !runs_on(one.platform(), wanted) => {
            let found = one.platform();
            let failure = Failure::build(format!("the image is for {found}, not for {wanted}"));
            Err(failure.hint("leave out `--platform` to copy it"))
        }
        _ => Ok(()),
    }
}
