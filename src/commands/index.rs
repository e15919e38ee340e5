//! `imgbuild index`: multi-platform images of images that exist.

use std::process::ExitCode;

use imgbuild_oci::image::{Image, ImageError, PlatformIndex, Platforms};
use imgbuild_oci::media_type::is_index;
use imgbuild_oci::reference::Reference;
use imgbuild_oci::selection::SelectionError;

use super::copy::copied_json;
use super::deliver::Deliverer;
use super::options;
use super::outputs::{Outputs, check_tags};
use super::registry::{self, PARALLEL_BLOBS};
use super::source::NamedImage;
use crate::args::{IndexCommand, IndexCreateArguments, reference};
use crate::failure::{Failure, Result};
use crate::ui::Ui;

pub(crate) fn run(command: &IndexCommand, ui: &mut Ui) -> Result<ExitCode> {
    match command {
        IndexCommand::Create(arguments) => create(arguments, ui),
    }
}

fn create(arguments: &IndexCreateArguments, ui: &mut Ui) -> Result<ExitCode> {
    let mut outputs = Outputs::new(&arguments.result);
    outputs.add([&arguments.destination])?;
    outputs.add(&arguments.output)?;
    outputs.check(false, ui)?;
    let annotations = options::pairs("--annotation", &arguments.annotation)?;
    check_names(&arguments.tag, &outputs)?;

    let sources = arguments.sources.iter();
    let references: Vec<_> = sources.map(|text| reference(text)).collect::<Result<_>>()?;
    let mut registries = registry::connect(
        &arguments.registry,
        &outputs.targets(),
        references.iter().flatten().collect(),
        ui,
    )?;
    let mut found = Vec::new();
    for (text, reference) in arguments.sources.iter().zip(&references) {
        let reference = reference.as_ref();
        let image = NamedImage::read(text, reference, &mut registries, &Platforms::Here)?;
        image.report_rest(text, ui);
        found.push(image);
    }

    outputs.references = if arguments.tag.is_empty() {
        common_names(&found)
    } else {
        arguments.tag.clone()
    };
    let mut index = merge(&arguments.sources, &found)?;
    let parts: Vec<Image> = found.into_iter().map(|one| one.image).collect();
    index.annotate_as_images(&parts).map_err(Failure::build)?;
    index.annotations.extend(annotations);
    warn_of_annotations(&arguments.sources, &parts, &index, ui)?;
    let image = index.to_image(&parts).map_err(Failure::build)?;

    let mut deliverer = Deliverer::new(&outputs, registries, PARALLEL_BLOBS, ui);
    let delivered = deliverer.copy(&image, ui)?;
    let platforms: Vec<String> = index.platforms().iter().map(ToString::to_string).collect();
    ui.status(&format!("index for {}", platforms.join(", ")));
    let fields = || copied_json(&image, &arguments.sources);
    deliverer.report(&image, &delivered, fields, ui)?;
    Ok(ExitCode::SUCCESS)
}

/// Warns of annotations of indexes that the new index lacks.
fn warn_of_annotations(
    sources: &[String],
    parts: &[Image],
    index: &PlatformIndex,
    ui: &Ui,
) -> Result<()> {
    let parts = sources.iter().zip(parts);
    for (source, part) in parts.filter(|(_, part)| is_index(&part.root().media_type)) {
        let own = PlatformIndex::of_image(part).map_err(Failure::build)?;
        let mut names: Vec<String> = own.annotations.into_keys().collect();
        names.retain(|name| !index.annotations.contains_key(name));
        if !names.is_empty() {
            let names = names.join("`, `");
            ui.warning(&format!(
                "the new index lacks the annotations `{names}` of `{source}`: set them with `--annotation`"
            ));
        }
    }
    Ok(())
}

/// Refuses names for an index that only goes to registries, where its
/// destinations name it.
fn check_names(tags: &[Reference], outputs: &Outputs) -> Result<()> {
    check_tags(tags)?;
    if tags.is_empty() || !outputs.are_registries() {
        return Ok(());
    }
    let failure = Failure::command_line("`--tag` names an index in a layout or archive");
    Err(failure.hint("give every name in a registry as a destination: `-o docker://NAME:TAG`"))
}

/// Returns the names that all sources have.
fn common_names(found: &[NamedImage]) -> Vec<Reference> {
    let Some((first, others)) = found.split_first() else {
        return Vec::new();
    };
    let is_common = |name: &&Reference| others.iter().all(|one| one.names.contains(name));
    let mut names: Vec<Reference> = first.names.iter().filter(is_common).cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// Merges the images of all sources into one index.
fn merge(sources: &[String], found: &[NamedImage]) -> Result<PlatformIndex> {
    let mut index = PlatformIndex::default();
    for (source, one) in sources.iter().zip(found) {
        let part = PlatformIndex::of_image(&one.image);
        let merged = part.and_then(|part| index.merge(part));
        merged.map_err(|error| {
            let hint = match error {
                ImageError::TwoImages { .. } => {
                    Some("an index has one image for each platform: leave one of the sources out")
                }
                ImageError::NoPlatform(_) | ImageError::Selection(SelectionError::Artifact(_)) => {
                    Some("only images can be part of an index, not other artifacts of a registry")
                }
                _ => None,
            };
            let message = format!("cannot add `{source}` to the index");
            let failure = Failure::caused_by(error, message);
            hint.into_iter().fold(failure, Failure::hint)
        })?;
    }
    Ok(index)
}
