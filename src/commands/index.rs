//! `imgbuild index`: indexes of images that exist.

use std::fmt;
use std::process::ExitCode;

use imgbuild_oci::destination::{Destination, write_text};
use imgbuild_oci::image::{Image, ImageError, PlatformIndex, Platforms};
use imgbuild_oci::monitor::Monitor;
use imgbuild_oci::reference::Reference;
use imgbuild_registry::client::Traffic;
use serde_json::{Value, json};

use super::copy::{self, Found};
use super::options;
use super::outputs::{Outputs, check_tags};
use super::registry::{self, Push, Registries};
use crate::args::{IndexCommand, IndexCreateArguments, reference};
use crate::failure::{Failure, Result};
use crate::interrupt;
use crate::printed;
use crate::ui::Ui;

pub(crate) fn run(command: &IndexCommand, ui: &mut Ui) -> Result<ExitCode> {
    match command {
        IndexCommand::Create(arguments) => create(arguments, ui),
    }
}

fn create(arguments: &IndexCreateArguments, ui: &mut Ui) -> Result<ExitCode> {
    let mut outputs = Outputs {
        digest_file: arguments.digest_file.clone(),
        is_json: arguments.json,
        sync: !arguments.no_sync,
        ..Outputs::default()
    };
    outputs.add(
        [&arguments.destination]
            .into_iter()
            .chain(&arguments.output),
    )?;
    outputs.check(false)?;
    let annotations = options::pairs("--annotation", &arguments.annotation)?;
    check_names(&arguments.tag, &outputs)?;
    let interrupted = interrupt::watch()?;
    let mut from = Vec::new();
    for source in &arguments.sources {
        from.push(reference(source)?);
    }
    let readers: Vec<&Reference> = match outputs.targets.is_empty() {
        true => from.iter().flatten().collect(),
        false => outputs.targets.iter().collect(),
    };
    let primary = registry::primary(&arguments.registry, readers)?;
    let flags = &arguments.registry;
    let mut registries = Registries::new(flags, primary.as_deref(), ui, &interrupted)?;
    let mut found = Vec::new();
    for (source, reference) in arguments.sources.iter().zip(&from) {
        found.push(match reference {
            Some(reference) => copy::from_registry(&mut registries, reference, &Platforms::All)?,
            None => copy::from_source(source, &Platforms::All)?,
        });
    }
    let names = match arguments.tag.is_empty() {
        true => common_names(&found),
        false => arguments.tag.clone(),
    };
    let mut index = merge(&arguments.sources, &found)?;
    let parts: Vec<Image> = found.into_iter().map(|one| one.image).collect();
    index.annotate_as_images(&parts).map_err(Failure::build)?;
    index.annotations.extend(annotations);
    let found = Found {
        image: index.to_image(&parts).map_err(Failure::build)?,
        names,
    };
    let pushes = copy::deliver(&found, &outputs, &mut registries, &interrupted, ui)?;
    let created = Created {
        index: &index,
        found: &found,
        here: &outputs.destinations,
        pushes: &pushes,
        traffic: registries.traffic(),
    };
    let monitor = Monitor::new(&|_| {}, &interrupted);
    created.report(arguments, monitor, ui)?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses names for an index that only goes to registries, where its
/// destinations name it.
fn check_names(tags: &[Reference], outputs: &Outputs) -> Result<()> {
    check_tags(tags)?;
    if tags.is_empty() || !outputs.destinations.is_empty() {
        return Ok(());
    }
    let failure = Failure::command_line("`--tag` names an index in a layout or archive");
    Err(failure.hint("give every name in a registry as a destination, as `-o docker://NAME:TAG`"))
}

/// Returns the names that all sources have.
fn common_names(found: &[Found]) -> Vec<Reference> {
    let Some((first, others)) = found.split_first() else {
        return Vec::new();
    };
    let is_common = |name: &&Reference| others.iter().all(|one| one.names.contains(name));
    let mut names: Vec<Reference> = first.names.iter().filter(is_common).cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// Puts the images of all sources into one index.
fn merge(sources: &[String], found: &[Found]) -> Result<PlatformIndex> {
    let mut index = PlatformIndex::default();
    for (source, one) in sources.iter().zip(found) {
        let listed = PlatformIndex::of_image(&one.image);
        let merged = listed.and_then(|listed| index.merge(listed));
        merged.map_err(|error| {
            let hint = match error {
                ImageError::TwoImages { .. } => {
                    Some("an index has one image for each platform: leave one of the sources out")
                }
                ImageError::NoPlatform(_) => {
                    Some("only images can be part of an index, not what else a registry holds")
                }
                _ => None,
            };
            let failure = Failure::build(SourceError {
                name: source.clone(),
                error,
            });
            hint.into_iter().fold(failure, Failure::hint)
        })?;
    }
    Ok(index)
}

/// A source that cannot become part of the index.
#[derive(Debug)]
struct SourceError {
    name: String,
    error: ImageError,
}

impl fmt::Display for SourceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot add `{}` to the index", self.name)
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// An index that was made, and where it went.
struct Created<'a> {
    index: &'a PlatformIndex,
    found: &'a Found,
    here: &'a [Destination],
    pushes: &'a [Push],
    traffic: Traffic,
}

impl Created<'_> {
    fn report(
        &self,
        arguments: &IndexCreateArguments,
        monitor: Monitor<'_>,
        ui: &Ui,
    ) -> Result<()> {
        let platforms = self.index.platforms().into_iter();
        let platforms: Vec<String> = platforms.map(ToString::to_string).collect();
        ui.status(&format!("index for {}", platforms.join(", ")));
        let digest = self.found.image.root().digest.to_string();
        if let Some(path) = &arguments.digest_file {
            write_text(path, &digest, !arguments.no_sync, monitor)?;
        }
        if self.here.contains(&Destination::StandardOutput) {
            // Standard output holds the archive.
            ui.status(&digest);
            return Ok(());
        }
        printed(match arguments.json {
            true => ui.result(&self.json(arguments).to_string()),
            false => ui.result(&digest),
        })
    }

    fn json(&self, arguments: &IndexCreateArguments) -> Value {
        let root = self.found.image.root();
        let manifests = self.index.entries().into_iter().map(|listed| {
            json!({
                "mediaType": listed.media_type(),
                "digest": listed.digest(),
                "platform": listed.platform().map(ToString::to_string),
            })
        });
        json!({
            "mediaType": root.media_type,
            "digest": root.digest,
            "size": root.bytes.len(),
            "manifests": manifests.collect::<Vec<_>>(),
            "blobs": self.found.image.blobs().len(),
            "sources": arguments.sources,
            "references": self.found.names,
            "destinations": self.here,
            "pushed": self.pushes.iter().flat_map(Push::json).collect::<Vec<_>>(),
            "requests": self.traffic.requests,
            "sentBytes": self.traffic.sent,
        })
    }
}
