//! The delivery of an image: written, loaded, pushed and reported. Every command
//! that makes or copies one ends here.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use imgbuild_oci::destination::{
    self, Destination, PatientWriter, WriteOptions, Written, write_text,
};
use imgbuild_oci::digest::Digest;
use imgbuild_oci::image::Image;
use imgbuild_oci::media_type::layer_suffix;
use imgbuild_oci::monitor::{Monitor, Progress};
use imgbuild_oci::store::Store;
use imgbuild_oci::validate::validate_copied;
use imgbuild_registry::push::Sent;
use serde_json::{Value, json};

use super::load::{Engine, LoadedImage};
use super::outputs::Outputs;
use super::registry::{Push, Registries, Sending, failed_at};
use crate::failure::{Failure, Result};
use crate::json;
use crate::progress::Work;
use crate::ui::{Ui, bytes_text, count_text, raw_standard_output};

/// The result of sending blobs while others were still made; `None` if nothing
/// was sent before the delivery.
pub(crate) type SentAhead = Option<std::result::Result<Sent, imgbuild_registry::error::Error>>;

pub(crate) struct Deliverer<'a> {
    pub(crate) outputs: &'a Outputs,
    pub(crate) registries: Registries,
    /// The number of threads that write; no byte depends on it.
    pub(crate) threads: usize,
    /// The store that recognizes archives that nothing has changed.
    pub(crate) store: Option<Arc<Store>>,
    /// The engine of `--load`.
    pub(crate) engine: Option<Engine>,
    /// The destinations that have the image.
    complete: Vec<Destination>,
}

/// The engine's and the registries' part of a delivery.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// The image by each name that the engine reported.
    pub(crate) loaded: Vec<LoadedImage>,
    pub(crate) pushes: Vec<Push>,
}

impl<'a> Deliverer<'a> {
    /// Prepares a delivery, and warns of addresses that engines do not take.
    pub(crate) fn new(
        outputs: &'a Outputs,
        registries: Registries,
        threads: usize,
        ui: &Ui,
    ) -> Self {
        outputs.warn_of_addresses(ui);
        Self {
            outputs,
            registries,
            threads,
            store: None,
            engine: None,
            complete: Vec::new(),
        }
    }

    /// Delivers an image from elsewhere, and warns if it is not valid.
    pub(crate) fn copy(&mut self, image: &Image, ui: &Ui) -> Result<Delivered> {
        let delivered = self.copy_unchecked(image, ui);
        let mut blobs = image.blobs().iter();
        let is_pushed = delivered.as_ref().is_ok_and(|one| !one.pushes.is_empty());
        if is_pushed && blobs.any(|blob| layer_suffix(&blob.media_type) == Some("")) {
            ui.warning("the registry has layers that are not compressed, as the source has them: build with `--compression gzip` or `-o oci-archive:FILE`");
        }
        // A registry that has just failed is not asked again.
        let violations = if delivered.is_ok() || !is_remote(image) {
            validate_copied(image)
        } else {
            Vec::new()
        };
        if let Some(first) = violations.first() {
            let count = count_text(violations.len(), "violation");
            ui.warning(&format!(
                "the image is not valid, and is copied byte for byte: {count}, the first: {first}"
            ));
        }
        delivered
    }

    /// Checks all registries first, and shows what has to be fetched.
    fn copy_unchecked(&mut self, image: &Image, ui: &Ui) -> Result<Delivered> {
        self.registries.reach(&self.outputs.targets())?;
        let is_remote = is_remote(image);
        if is_remote && !self.outputs.local().is_empty() {
            let count = count_text(image.blobs().len(), "blob");
            ui.status(&format!("fetching {count}, {}", bytes_text(image.size())));
        }
        for blob in image.blobs() {
            ui.expect_received(blob.digest, blob.size);
        }
        let work = if is_remote {
            Work::Copying
        } else {
            Work::Writing
        };
        self.write_all(image, work, ui)?;
        self.push(image, None, Vec::new(), ui)
    }

    /// Delivers an image that was built here; the engine loads `for_engine`,
    /// which is a part of it.
    ///
    /// Registries come last, after everything that can be undone.
    pub(crate) fn deliver(
        &mut self,
        image: &Image,
        for_engine: &Image,
        sent: SentAhead,
        ui: &Ui,
    ) -> Result<Delivered> {
        self.write_all(image, Work::Writing, ui)?;
        let follow = |progress: Progress<'_>| ui.follow(progress);
        let monitor = Monitor::new(&follow, &ui.interrupted);
        let mut loaded = Vec::new();
        if let Some(engine) = self.engine.take() {
            let loading = engine.load(monitor, |mut input| {
                let archive = Destination::StandardOutput;
                ui.start_progress(Work::Writing, for_engine.size());
                self.write(for_engine, &archive, &mut input, monitor)?;
                Ok(())
            });
            loaded = loading.map_err(|failure| self.explain(failure))?;
            self.complete.push(Destination::Engine);
        }
        self.push(image, sent, loaded, ui)
    }

    /// Adds to a failure which of several outputs are complete.
    fn explain(&self, mut failure: Failure) -> Failure {
        let all = self.outputs.destinations.iter();
        let (complete, missing): (Vec<_>, Vec<_>) =
            all.partition(|one| self.complete.contains(one));
        if complete.is_empty() && missing.len() < 2 {
            return failure;
        }
        for (state, outputs) in [("complete", complete), ("not complete", missing)] {
            let names: Vec<String> = outputs.iter().map(|one| format!("`{one}`")).collect();
            if !names.is_empty() {
                failure = failure.hint(format!("outputs that are {state}: {}", names.join(", ")));
            }
        }
        failure
    }

    fn write_all(&mut self, image: &Image, work: Work, ui: &Ui) -> Result<()> {
        let follow = |progress: Progress<'_>| ui.follow(progress);
        let monitor = Monitor::new(&follow, &ui.interrupted);
        for destination in self.outputs.local() {
            ui.start_progress(work, image.size());
            let mut output = raw_standard_output()?;
            let reader = "a program that reads standard output";
            let mut output = PatientWriter::new(&mut output, reader, monitor);
            let written = self.write(image, destination, &mut output, monitor);
            let written = written.map_err(|failure| self.explain(failure))?;
            self.complete.push(destination.clone());
            ui.status(&match (written, destination) {
                (Written::Unchanged, _) => format!("unchanged `{destination}`"),
                (Written::New, Destination::StandardOutput) => {
                    "wrote the archive to standard output".to_owned()
                }
                (Written::New, _) => format!("wrote `{destination}`"),
            });
        }
        Ok(())
    }

    fn write(
        &self,
        image: &Image,
        destination: &Destination,
        output: &mut (dyn Write + Send),
        monitor: Monitor<'_>,
    ) -> Result<Written> {
        let options = WriteOptions {
            references: &self.outputs.references,
            threads: self.threads,
            sync: self.outputs.sync,
            store: self.store.as_deref(),
        };
        Ok(destination::write(
            image,
            destination,
            options,
            output,
            monitor,
        )?)
    }

    /// Sends the image to all registries, as far as it is not there yet, and
    /// reports every name.
    fn push(
        &mut self,
        image: &Image,
        sent: SentAhead,
        loaded: Vec<LoadedImage>,
        ui: &Ui,
    ) -> Result<Delivered> {
        let targets = self.outputs.targets();
        let mut pushes = Vec::new();
        let result = match (targets.first(), sent.transpose()) {
            (None, _) => Ok(()),
            (Some(first), Err(error)) => Err(failed_at(first, error)),
            (Some(_), Ok(sent)) => {
                let sending = Sending {
                    image,
                    sent: sent.as_ref(),
                    update_index: self.outputs.update_index,
                };
                self.registries.push(sending, &targets, &mut pushes)
            }
        };
        ui.finish_progress();
        // Completed pushes are not undone.
        for push in &pushes {
            push.report(ui);
            let names = push.references().iter().cloned();
            self.complete.extend(names.map(Destination::Registry));
        }
        result.map_err(|failure| self.explain(failure))?;
        for LoadedImage { name, .. } in &loaded {
            ui.status(&format!("loaded `{name}`"));
        }
        Ok(Delivered { loaded, pushes })
    }

    /// Writes the small files, then prints the result, or one JSON object with
    /// `fields` and those of every delivery.
    pub(crate) fn report(
        &self,
        image: &Image,
        delivered: &Delivered,
        fields: impl FnOnce() -> Value,
        ui: &Ui,
    ) -> Result<()> {
        let outputs = self.outputs;
        let digest = image.root().digest;
        let config = image.config().map(|config| config.digest);
        let index = self.index_digest(&delivered.pushes);
        let is_wanted = outputs.is_json || outputs.metadata_file.is_some();
        let json = is_wanted.then(|| json::text(self.json(image, delivered, fields())));
        let json = json.unwrap_or_default();
        let name = self.name(delivered, digest);
        for (file, text) in [
            (&outputs.digest_file, Some(digest.to_string())),
            (&outputs.index_digest_file, index.map(|one| one.to_string())),
            (&outputs.image_id_file, config.map(|one| one.to_string())),
            (&outputs.metadata_file, Some(format!("{json}\n"))),
        ] {
            let written = self.write_text(file.as_ref(), text, ui);
            written.map_err(|failure| {
                self.explain(failure)
                    .hint(format!("the image is delivered: `{name}`"))
            })?;
        }

        if outputs.destinations.contains(&Destination::StandardOutput) {
            // The archive is on standard output.
            ui.status(&name);
            return Ok(());
        }
        ui.result(if outputs.is_json { &json } else { &name })
    }

    /// Returns the name of the image for the next program: in the registry of the
    /// first tag, else in the engine, else the digest.
    fn name(&self, delivered: &Delivered, digest: Digest) -> String {
        let mut pushed = delivered.pushes.iter().flat_map(Push::references);
        let first = self.outputs.first_name.as_ref();
        let given = first.filter(|first| pushed.clone().any(|one| one == *first));
        if let Some(name) = given.or_else(|| pushed.next()) {
            return format!("{}/{}@{digest}", name.registry(), name.repository());
        }
        match delivered.loaded.first() {
            Some(loaded) => loaded.image_id.clone(),
            None => digest.to_string(),
        }
    }

    fn json(&self, image: &Image, delivered: &Delivered, fields: Value) -> Value {
        let traffic = self.registries.traffic();
        let mut value = fields;
        value["mediaType"] = json!(image.root().media_type);
        value["digest"] = json!(image.root().digest);
        value["size"] = json!(image.root().bytes.len());
        value["references"] = json!(self.outputs.references);
        value["destinations"] = json!(self.outputs.local());
        value["loaded"] = json!(delivered.loaded);
        value["pushed"] = delivered.pushes.iter().flat_map(Push::json).collect();
        value["requests"] = json!(traffic.requests);
        value["sentBytes"] = json!(traffic.sent);
        value
    }

    fn write_text(&self, file: Option<&PathBuf>, text: Option<String>, ui: &Ui) -> Result<()> {
        if let Some((file, text)) = file.zip(text) {
            ui.while_waiting(|monitor| write_text(file, &text, self.outputs.sync, monitor))?;
        }
        Ok(())
    }

    /// Returns the digest of the index that the first name has now.
    fn index_digest(&self, pushes: &[Push]) -> Option<Digest> {
        let targets = self.outputs.targets();
        let mut names = self.outputs.first_name.iter().chain(&targets);
        names.find_map(|name| pushes.iter().find_map(|push| push.index_of(name)))
    }
}

/// Returns whether blobs of an image are in a registry.
fn is_remote(image: &Image) -> bool {
    let mut blobs = image.blobs().iter();
    blobs.any(|blob| blob.content().origin().is_some())
}
