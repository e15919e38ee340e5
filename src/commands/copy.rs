//! `imgbuild copy`: an image or index from one place to others, as it is.

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use imgbuild_oci::destination::{self, Destination, WriteOptions, Written, write_text};
use imgbuild_oci::image::{Image, ImageError, PlatformIndex, Platforms};
use imgbuild_oci::monitor::{Monitor, Progress};
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;
use imgbuild_oci::selection::runs_on;
use imgbuild_registry::client::Traffic;
use imgbuild_registry::pull;
use serde_json::json;

use super::outputs::{Outputs, raw_standard_output};
use super::registry::{self, Access, PARALLEL_BLOBS, Push, Registries};
use crate::args::{CopyArguments, reference};
use crate::failure::{Failure, Result};
use crate::interrupt;
use crate::printed;
use crate::progress::{Moved, Work};
use crate::ui::{Ui, bytes_text, count_text};

mod source;

pub(super) use source::from_source;

/// What is copied, and what it is called.
pub(super) struct Found {
    pub(super) image: Image,
    pub(super) names: Vec<Reference>,
}

impl Found {
    /// Returns how many bytes all blobs have.
    pub(super) fn size(&self) -> u64 {
        self.image.size()
    }

    /// Whether bytes of it have to be fetched.
    fn is_remote(&self) -> bool {
        let mut blobs = self.image.blobs().iter();
        blobs.any(|blob| blob.content().origin().is_some())
    }
}

pub(crate) fn run(arguments: &CopyArguments, ui: &mut Ui) -> Result<ExitCode> {
    let source = reference(&arguments.source)?;
    let mut outputs = Outputs {
        digest_file: arguments.digest_file.clone(),
        is_json: arguments.json,
        sync: !arguments.no_sync,
        ..Outputs::default()
    };
    outputs.add(&arguments.destinations)?;
    outputs.check(false)?;
    let interrupted = interrupt::watch()?;
    // A credential of the command line is for where it writes to, if that is
    // a registry: leave to read is given more freely.
    let readers: Vec<&Reference> = match outputs.targets.is_empty() {
        true => source.iter().collect(),
        false => outputs.targets.iter().collect(),
    };
    let primary = registry::primary(&arguments.registry, readers)?;
    let flags = &arguments.registry;
    let mut registries = Registries::new(flags, primary.as_deref(), ui, &interrupted)?;
    let platforms = match &arguments.platform {
        Some(platform) => Platforms::One(platform.clone()),
        None => Platforms::All,
    };
    let found = match &source {
        Some(reference) => from_registry(&mut registries, reference, &platforms)?,
        None => from_source(&arguments.source, &platforms)?,
    };
    if let Some(platform) = &arguments.platform {
        check_platform(&found, platform)?;
    }
    let pushes = deliver(&found, &outputs, &mut registries, &interrupted, ui)?;
    let result = Copied {
        found: &found,
        here: &outputs.destinations,
        pushes: &pushes,
        traffic: registries.traffic(),
    };
    let monitor = Monitor::new(&|_| {}, &interrupted);
    result.report(arguments, monitor, ui)?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses an image that stands alone and is for another platform; of an index
/// only the right one was taken.
fn check_platform(found: &Found, wanted: &Platform) -> Result<()> {
    let index = match PlatformIndex::of_image(&found.image) {
        Ok(index) => index,
        // What says none of itself, as an artifact, is left alone.
        Err(ImageError::NoPlatform(_)) => return Ok(()),
        Err(error) => return Err(Failure::build(error)),
    };
    let platforms = index.platforms();
    match platforms[..] {
        [one] if !runs_on(one.platform(), wanted) => {
            let found = one.platform();
            let failure = Failure::build(format!("the image is for {found}, not for {wanted}"));
            Err(failure.hint("leave out `--platform` to take it"))
        }
        _ => Ok(()),
    }
}

/// Writes what was found to all places here, then sends it to all registries,
/// which have all been spoken to before.
pub(super) fn deliver(
    found: &Found,
    outputs: &Outputs,
    registries: &mut Registries,
    interrupted: &AtomicBool,
    ui: &mut Ui,
) -> Result<Vec<Push>> {
    registries.reach(&outputs.targets)?;
    let (is_remote, size) = (found.is_remote(), found.size());
    let work = if is_remote {
        Work::Copying
    } else {
        Work::Writing
    };
    if is_remote && !outputs.destinations.is_empty() {
        let count = count_text(found.image.blobs().len(), "blob");
        ui.status(&format!("fetching {count}, {}", bytes_text(size)));
    }
    for blob in found.image.blobs() {
        ui.expect_received(blob.digest, blob.size);
    }
    let follow = |progress: Progress| {
        if let Progress::Written { bytes } = progress {
            ui.advance(Moved::Written, bytes);
        }
    };
    let monitor = Monitor::new(&follow, interrupted);
    for destination in &outputs.destinations {
        ui.start_progress(work, size);
        write(found, destination, outputs.sync, monitor, ui)?;
    }
    let pushes = registries.push(&found.image, &outputs.targets, None)?;
    ui.finish_progress();
    for push in &pushes {
        push.report(ui);
    }
    Ok(pushes)
}

pub(super) fn from_registry(
    registries: &mut Registries,
    reference: &Reference,
    platforms: &Platforms,
) -> Result<Found> {
    let repository = registries.repository(reference, Access::Pull)?;
    let digest = reference.digest().map(ToString::to_string);
    let wanted = digest.as_deref().or(reference.tag()).unwrap_or_default();
    let image = pull::image(&repository, wanted, platforms)
        .map_err(|error| registry::failed_at(reference, error))?;
    let name = reference.tag().and_then(|tag| reference.with_tag(tag));
    Ok(Found {
        image,
        names: name.into_iter().collect(),
    })
}

fn write(
    found: &Found,
    destination: &Destination,
    sync: bool,
    monitor: Monitor<'_>,
    ui: &Ui,
) -> Result<()> {
    let options = WriteOptions {
        references: &found.names,
        threads: PARALLEL_BLOBS,
        sync,
        store: None,
    };
    let mut output = raw_standard_output()?;
    let written = destination::write(&found.image, destination, options, &mut output, monitor)?;
    match (written, destination) {
        (Written::Unchanged, _) => ui.status(&format!("unchanged `{destination}`")),
        (_, Destination::StandardOutput) => ui.status("wrote the archive to standard output"),
        _ => ui.status(&format!("wrote `{destination}`")),
    }
    Ok(())
}

/// What was copied, and where to.
struct Copied<'a> {
    found: &'a Found,
    here: &'a [Destination],
    pushes: &'a [Push],
    traffic: Traffic,
}

impl Copied<'_> {
    fn report(&self, arguments: &CopyArguments, monitor: Monitor<'_>, ui: &Ui) -> Result<()> {
        let root = self.found.image.root();
        if let Some(path) = &arguments.digest_file {
            write_text(path, &root.digest.to_string(), !arguments.no_sync, monitor)?;
        }
        if self.here.contains(&Destination::StandardOutput) {
            // Standard output holds the archive.
            ui.status(&root.digest.to_string());
            return Ok(());
        }
        printed(match arguments.json {
            true => ui.result(&self.json(arguments).to_string()),
            false => ui.result(&root.digest.to_string()),
        })
    }

    fn json(&self, arguments: &CopyArguments) -> serde_json::Value {
        let image = &self.found.image;
        json!({
            "mediaType": image.root().media_type,
            "digest": image.root().digest,
            "size": image.root().bytes.len(),
            "manifests": image.documents().len(),
            "blobs": image.blobs().len(),
            "source": arguments.source,
            "destinations": self.here,
            "pushed": self.pushes.iter().flat_map(Push::json).collect::<Vec<_>>(),
            "requests": self.traffic.requests,
            "sentBytes": self.traffic.sent,
        })
    }
}
