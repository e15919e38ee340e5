//! From plans to images, and to where they go.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use imgbuild_oci::cache::Cache;
use imgbuild_oci::compression::Compression;
use imgbuild_oci::destination::{self, Destination, WriteOptions, Written, write_text};
use imgbuild_oci::digest::Digest;
use imgbuild_oci::image::{Blob, Image};
use imgbuild_oci::layer::Layer;
use imgbuild_oci::monitor::{Monitor, Progress};
use imgbuild_oci::platform::Platform;
use imgbuild_oci::store::Store;
use imgbuild_registry::push::{self, Sent};
use imgbuild_release::build::{BuildOptions, BuiltImage, build};
use imgbuild_release::plan::Plan;

use super::Planned;
use crate::args::BuildArguments;
use crate::commands::load::Engine;
use crate::commands::options::{host_platform, threads};
use crate::commands::outputs::{Outputs, raw_standard_output};
use crate::commands::registry::{Access, PARALLEL_BLOBS, Push, Registries};
use crate::commands::{registry, report};
use crate::failure::{Failure, Result};
use crate::printed;
use crate::progress::Work;
use crate::ui::Ui;

/// Plans on their way to their destinations.
pub(super) struct Job<'a> {
    pub(super) flags: &'a BuildArguments,
    pub(super) cache: Cache,
    pub(super) outputs: &'a Outputs,
    pub(super) registries: Registries,
    pub(super) interrupted: Arc<AtomicBool>,
}

/// The images of a run, and the one of them or their index.
struct Built {
    root: Image,
    /// By platform, as the index lists them.
    images: Vec<BuiltImage>,
}

impl Built {
    /// Returns the image that an engine on `host` loads.
    fn for_engine(&self, host: &Platform) -> &Image {
        let mut images = self.images.iter();
        let own = images.find(|one| one.platform == *host);
        own.map_or(&self.root, |one| &one.image)
    }
}

/// What was sent before the push, or why that failed; `None` if nothing is
/// pushed.
type Ahead = Option<std::result::Result<Sent, imgbuild_registry::error::Error>>;

/// Takes the layers that are finished, from several threads.
type Take<'a> = &'a (dyn Fn(&Layer) + Sync);

impl Job<'_> {
    pub(super) fn run(&mut self, plans: Vec<Planned>, ui: &mut Ui) -> Result<()> {
        let engine = match self.flags.output.load {
            true => Some(Engine::start()?),
            false => None,
        };
        let summaries: Vec<_> = plans.iter().map(report::Summary::of).collect();
        let bytes = summaries.iter().map(|summary| summary.tar_bytes).sum();
        ui.start_progress(Work::Layers, bytes);
        self.look_into_registries(&plans)?;
        let (made, sent) = self.make_and_send(plans, ui)?;
        for destination in &self.outputs.destinations {
            self.write(&made.root, destination, ui)?;
        }
        let mut loaded = Vec::new();
        if let Some(engine) = engine {
            let image = made.for_engine(&host_platform());
            loaded = engine.load(|input| {
                let standard_output = Destination::StandardOutput;
                self.write_to(image, &standard_output, input, ui)?;
                Ok(())
            })?;
        }
        let pushes = self.push(&made, sent)?;
        ui.finish_progress();
        for push in &pushes {
            push.report(ui);
        }
        for name in &loaded {
            ui.status(&format!("loaded `{name}`"));
        }
        self.write_digests(&made, &pushes)?;
        let result = report::Result {
            root: &made.root,
            images: &made.images,
            references: &self.outputs.references,
            destinations: &self.outputs.destinations,
            loaded: &loaded,
            pushes: &pushes,
            traffic: self.registries.traffic(),
            summaries: &summaries,
        };
        self.print(&result, ui)
    }

    /// Adds what registries have to what may be used again. One that does not
    /// let us in fails here, before anything is made.
    fn look_into_registries(&mut self, plans: &[Planned]) -> Result<()> {
        let is_plain = |one: &Planned| one.plan.compression() == Compression::None;
        if plans.iter().all(is_plain) {
            // Plain layers are known by their diff IDs alone.
            return self.registries.reach(&self.outputs.targets);
        }
        let by_descriptor = self.outputs.destinations.is_empty() && !self.flags.output.load;
        for Planned { plan, .. } in plans {
            let platform = &plan.image().platform;
            let given = &self.flags.cache.cache_from;
            let registries = &mut self.registries;
            let sources =
                registries.layers(&self.outputs.targets, given, platform, by_descriptor)?;
            self.cache.add_sources(sources);
        }
        Ok(())
    }

    /// Builds everything, and sends each layer to the first repository as
    /// soon as it is finished. Whether that failed is told when it is pushed.
    fn make_and_send(&mut self, plans: Vec<Planned>, ui: &Ui) -> Result<(Built, Ahead)> {
        let Some(first) = self.outputs.targets.first() else {
            return Ok((self.make(plans, &|_| {}, ui)?, None));
        };
        let repository = self.registries.repository(first, Access::Push)?;
        let (made, sent) = push::send_ahead(&repository, PARALLEL_BLOBS, |ahead| {
            let send = |layer: &Layer| {
                ui.expect_sent(layer.digest(), layer.size());
                ahead.send(Blob::of_layer(layer));
            };
            let made = self.make(plans, &send, ui)?;
            // What has not gone by now is what is waited for.
            ui.start_sending(&made.root, false);
            Ok::<Built, Failure>(made)
        });
        Ok((made?, Some(sent)))
    }

    /// Sends what was made, as far as it is not there, to where it is pushed,
    /// last of all: what is written here can be removed again.
    fn push(&mut self, made: &Built, sent: Ahead) -> Result<Vec<Push>> {
        let Some(first) = self.outputs.targets.first() else {
            return Ok(Vec::new());
        };
        let sent = sent.transpose();
        let sent = sent.map_err(|error| registry::failed_at(first, error))?;
        let (targets, sent) = (&self.outputs.targets, sent.as_ref());
        match self.flags.output.update_index {
            true => self.registries.add_to_indexes(&made.root, targets, sent),
            false => self.registries.push(&made.root, targets, sent),
        }
    }

    /// Builds every image, and the index if there are several; `take` gets
    /// every layer that is finished.
    fn make(&self, plans: Vec<Planned>, take: Take<'_>, ui: &Ui) -> Result<Built> {
        let are_several = plans.len() > 1;
        let mut images = Vec::new();
        for Planned { plan, .. } in plans {
            if are_several {
                ui.status(&format!("image for {}", plan.image().platform));
            }
            images.push(self.build(plan, take, ui)?);
        }
        images.sort_by(|first, second| first.platform.cmp(&second.platform));
        let root = match &images[..] {
            [only] => only.image.clone(),
            several => {
                let images = several.iter().map(|one| (&one.platform, &one.image));
                Image::index_of(images).map_err(Failure::build)?
            }
        };
        Ok(Built { root, images })
    }

    fn build(&self, plan: Plan, take: Take<'_>, ui: &Ui) -> Result<BuiltImage> {
        let total = plan.layers().len();
        let done = AtomicUsize::new(0);
        let follow = |progress: Progress| ui.follow(progress);
        let finished = |layer: &Layer| {
            ui.show_layer(layer, total, &done);
            take(layer);
        };
        let options = BuildOptions {
            threads: threads(self.flags.output.threads),
            scratch: self.outputs.scratch(),
            cache: self.cache.clone(),
        };
        Ok(build(
            plan,
            &options,
            &finished,
            Monitor::new(&follow, &self.interrupted),
        )?)
    }

    fn write(&self, image: &Image, destination: &Destination, ui: &Ui) -> Result<()> {
        let mut output = raw_standard_output()?;
        let written = self.write_to(image, destination, &mut output, ui)?;
        match destination {
            _ if written == Written::Unchanged => ui.status(&format!("unchanged `{destination}`")),
            Destination::StandardOutput => ui.status("wrote the archive to standard output"),
            _ => ui.status(&format!("wrote `{destination}`")),
        }
        Ok(())
    }

    fn write_to(
        &self,
        image: &Image,
        destination: &Destination,
        output: &mut (dyn Write + Send),
        ui: &Ui,
    ) -> Result<Written> {
        ui.start_progress(Work::Writing, image.size());
        let follow = |progress: Progress| ui.follow(progress);
        let options = WriteOptions {
            references: &self.outputs.references,
            threads: threads(self.flags.output.threads),
            sync: !self.flags.output.no_sync,
            store: self.store_of_outputs(),
        };
        let monitor = Monitor::new(&follow, &self.interrupted);
        Ok(destination::write(
            image,
            destination,
            options,
            output,
            monitor,
        )?)
    }

    /// An archive is recognized by what the system says of it, or not at all.
    fn store_of_outputs(&self) -> Option<&Store> {
        let store = self.cache.store.as_deref();
        store.filter(|_| !self.cache.reads_contents)
    }

    /// The digest of the index that the name given first has now.
    fn index_digest(&self, pushes: &[Push]) -> Option<Digest> {
        let first = self.flags.tag.first().into_iter();
        let mut names = first.chain(&self.outputs.targets);
        names.find_map(|name| pushes.iter().find_map(|push| push.index_of(name)))
    }

    fn write_digests(&self, made: &Built, pushes: &[Push]) -> Result<()> {
        let output = &self.flags.output;
        let monitor = Monitor::new(&|_| {}, &self.interrupted);
        let mut files = vec![(&output.digest_file, made.root.root().digest)];
        if let Some(digest) = self.index_digest(pushes) {
            files.push((&output.index_digest_file, digest));
        }
        // It is refused for several images.
        if let Some(config) = made.root.config() {
            files.push((&output.iidfile, config.digest));
        }
        for (file, digest) in files {
            if let Some(path) = file {
                write_text(path, &digest.to_string(), !output.no_sync, monitor)?;
            }
        }
        Ok(())
    }

    fn print(&self, result: &report::Result<'_>, ui: &Ui) -> Result<()> {
        report::summary(result, ui);
        if self
            .outputs
            .destinations
            .contains(&Destination::StandardOutput)
        {
            // Standard output holds the archive.
            ui.status(&result.root.root().digest.to_string());
            return Ok(());
        }
        printed(match self.flags.output.json {
            true => ui.result(&report::json(result)),
            false => ui.result(&result.root.root().digest.to_string()),
        })
    }
}
