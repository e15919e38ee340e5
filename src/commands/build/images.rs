//! From plans to delivered images.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;

use imgbuild_oci::cache::Cache;
use imgbuild_oci::compression::Compression;
use imgbuild_oci::image::{Blob, Image};
use imgbuild_oci::layer::Layer;
use imgbuild_oci::monitor::{Monitor, Progress};
use imgbuild_registry::push;
use imgbuild_release::build::{BuildOptions, BuiltImage, build};
use imgbuild_release::plan::Plan;

use super::plan::Planned;
use crate::args::BuildArguments;
use crate::commands::deliver::{Deliverer, SentAhead};
use crate::commands::options::host_platform;
use crate::commands::registry::{Access, PARALLEL_BLOBS};
use crate::commands::report::{BuildReport, xattr_warning};
use crate::failure::{Failure, Result};
use crate::progress::Work;
use crate::ui::Ui;

/// A consumer of finished layers, called from several threads.
type OnLayer<'a> = &'a (dyn Fn(&Layer) + Sync);

/// The images of a run, and the one image or index of them all.
struct Built {
    root: Image,
    /// Sorted by platform, as in the index.
    images: Vec<BuiltImage>,
}

/// The build of all plans of a run.
pub(super) struct ImageBuild<'a> {
    pub(super) flags: &'a BuildArguments,
    pub(super) cache: Cache,
    pub(super) deliverer: Deliverer<'a>,
}

impl ImageBuild<'_> {
    pub(super) fn run(&mut self, plans: Vec<Planned>, ui: &Ui) -> Result<()> {
        let summaries: Vec<_> = plans.iter().map(Planned::summary).collect();
        let bytes = summaries.iter().map(|summary| summary.tar_bytes).sum();
        ui.start_progress(Work::Layers, bytes);
        self.add_registry_layers(&plans)?;
        let (built, sent) = self.build_and_send(plans, ui)?;

        let warnings: BTreeSet<_> = built.images.iter().filter_map(xattr_warning).collect();
        warnings.iter().for_each(|text| ui.warning(text));
        let host = host_platform();
        let own = built.images.iter().find(|one| one.platform == host);
        let for_engine = own.map_or(&built.root, |one| &one.image);
        let delivered = self.deliverer.deliver(&built.root, for_engine, sent, ui)?;
        let report = BuildReport {
            images: &built.images,
            summaries: &summaries,
            outputs: self.deliverer.outputs,
            delivered: &delivered,
        };
        report.summarize(ui);
        self.deliverer
            .report(&built.root, &delivered, || report.json(), ui)
    }

    /// Adds the layers that registries have to the cache. A registry that denies
    /// access fails here, before anything is built.
    fn add_registry_layers(&mut self, plans: &[Planned]) -> Result<()> {
        let outputs = self.deliverer.outputs;
        let targets = outputs.targets();
        let registries = &mut self.deliverer.registries;
        let is_plain = |one: &Planned| one.plan.compression == Compression::None;
        if plans.iter().all(is_plain) {
            // Plain layers are recognized by their diff IDs alone.
            return registries.reach(&targets);
        }
        let by_descriptor = outputs.are_registries();
        for Planned { plan, .. } in plans {
            let platform = &plan.image.platform;
            let given = &self.flags.cache.cache_from;
            let sources = registries.layers(&targets, given, platform, by_descriptor)?;
            self.cache.add_sources(sources);
        }
        Ok(())
    }

    /// Builds everything, and sends each layer to the first repository as soon as
    /// it is finished. A failure to send is reported when the image is pushed.
    fn build_and_send(&mut self, plans: Vec<Planned>, ui: &Ui) -> Result<(Built, SentAhead)> {
        let targets = self.deliverer.outputs.targets();
        let Some(first) = targets.first() else {
            return Ok((self.build_all(plans, &|_| {}, ui)?, None));
        };
        let registries = &mut self.deliverer.registries;
        let repository = registries.repository(first, Access::Push)?;
        let (built, sent) = push::send_ahead(&repository, PARALLEL_BLOBS, |ahead| {
            let send = |layer: &Layer| {
                ui.expect_sent(layer.digest(), layer.size());
                ahead.add(Blob::of_layer(layer));
            };
            let built = self.build_all(plans, &send, ui)?;
            // From now on, the rest of the blobs is waited for.
            ui.start_sending(&built.root, false);
            Ok::<Built, Failure>(built)
        });
        Ok((built?, Some(sent)))
    }

    /// Builds every image, and the index of several; `on_layer` gets every
    /// finished layer.
    fn build_all(&self, plans: Vec<Planned>, on_layer: OnLayer<'_>, ui: &Ui) -> Result<Built> {
        let are_several = plans.len() > 1;
        let mut images = Vec::new();
        for Planned { plan, .. } in plans {
            if are_several {
                ui.status(&format!("image for {}", plan.image.platform));
            }
            images.push(self.build(plan, on_layer, ui)?);
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

    fn build(&self, plan: Plan, on_layer: OnLayer<'_>, ui: &Ui) -> Result<BuiltImage> {
        let total = plan.layers.len();
        let done = AtomicUsize::new(0);
        let finished = |layer: &Layer| {
            ui.show_layer(layer, total, &done);
            on_layer(layer);
        };
        let follow = |progress: Progress<'_>| ui.follow(progress);
        let options = BuildOptions {
            threads: self.deliverer.threads,
            scratch: self.deliverer.outputs.scratch(),
            cache: self.cache.clone(),
        };
        let monitor = Monitor::new(&follow, &ui.interrupted);
        Ok(build(plan, &options, &finished, monitor)?)
    }
}
