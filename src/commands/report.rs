//! What a build says: its plan, its summary, its result.

use std::io;

use imgbuild_oci::content::Content;
use imgbuild_oci::destination::Destination;
use imgbuild_oci::entry::EntryKind;
use imgbuild_oci::image::Image;
use imgbuild_oci::path::escaped;
use imgbuild_oci::platform_index::INDEX_MEDIA_TYPE;
use imgbuild_oci::reference::Reference;
use imgbuild_registry::client::Traffic;
use imgbuild_release::plan::{Plan, kind_name};
use imgbuild_release::warning::Warning;
use serde_json::{Value, json};

use super::build::Made;
use super::registry::Push;
use crate::ui::{Ui, bytes_text, count_text};

/// What is counted before a plan is gone.
#[derive(Debug)]
pub(crate) struct Summary {
    platform: String,
    created: String,
    files: usize,
    /// The bytes of all layers' tars.
    pub(crate) tar_bytes: u64,
    left_out: Vec<String>,
    warnings: Vec<String>,
}

impl Summary {
    pub(crate) fn of(plan: &Plan) -> Self {
        let layers = || plan.layers().iter().map(|layer| &layer.changeset);
        let entries = || {
            layers()
                .flat_map(|layer| layer.members())
                .map(|member| &member.entry)
        };
        let is_file = |kind: &EntryKind| !matches!(kind, EntryKind::Directory);
        let left_out = plan.left_out().iter();
        Self {
            platform: plan.image().platform.to_string(),
            created: plan.image().created.clone(),
            files: entries().filter(|entry| is_file(&entry.kind)).count(),
            tar_bytes: layers()
                .map(imgbuild_oci::changeset::Changeset::tar_size)
                .sum(),
            left_out: left_out
                .map(|left| format!("left out `{}`: {}", left.path.display(), left.reason))
                .collect(),
            warnings: plan.warnings().iter().map(ToString::to_string).collect(),
        }
    }
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Result<'a> {
    pub(crate) made: &'a Made,
    pub(crate) references: &'a [Reference],
    pub(crate) destinations: &'a [Destination],
    pub(crate) loaded: &'a [String],
    pub(crate) pushes: &'a [Push],
    pub(crate) traffic: Traffic,
    /// One for each image, in the order in which they were planned.
    pub(crate) summaries: &'a [Summary],
}

impl Result<'_> {
    /// Returns every image with its summary.
    fn images(&self) -> Vec<(&Image, &Summary)> {
        match self.made {
            Made::Image(image) => self.summaries.iter().map(|one| (image, one)).collect(),
            Made::Images(images) => {
                let of = |platform: &str| {
                    let mut summaries = self.summaries.iter();
                    summaries.find(|summary| summary.platform == platform)
                };
                let images = images.images().iter();
                images
                    .filter_map(|(platform, image)| Some((image, of(&platform.to_string())?)))
                    .collect()
            }
        }
    }
}

/// Says what may surprise, each thing once.
pub(crate) fn warnings(plans: &[Plan], ui: &Ui) {
    let references = plans.iter().take(1).flat_map(Plan::references);
    for warning in references.filter_map(Reference::tag_warning) {
        ui.warning(&warning.to_string());
    }
    let mut said = Vec::new();
    for warning in plans.iter().flat_map(Plan::warnings) {
        let text = match advice(warning) {
            Some(advice) => format!("{warning} ({advice})"),
            None => warning.to_string(),
        };
        if !said.contains(&text) {
            ui.warning(&text);
            said.push(text);
        }
    }
}

/// What to do about a warning, in terms of the command line.
fn advice(warning: &Warning) -> Option<&'static str> {
    match warning {
        Warning::Calls { .. } => Some("`--program` brings them"),
        Warning::NoErts { .. } => Some("`--add` can add it; `mix release` includes it by default"),
        Warning::Cookie { .. } => Some("`--release-cookie remove` leaves it out"),
        _ => None,
    }
}

/// Says what was made, in a line for each image, and what was left out.
pub(crate) fn summary(result: &Result<'_>, ui: &Ui) {
    let names: Vec<String> = result.references.iter().map(Reference::familiar).collect();
    let names = names.join("`, `");
    for (image, summary) in result.images() {
        for line in &summary.left_out {
            ui.detail(line);
        }
        let layers = image.layers().iter();
        let size: u64 = layers.map(imgbuild_oci::layer::Layer::size).sum();
        ui.status(&format!(
            "image `{names}` for {}, created {}: {} with {}, {}{}",
            summary.platform,
            summary.created,
            count_text(image.layers().len(), "layer"),
            count_text(summary.files, "file"),
            bytes_text(size),
            left_out_text(summary.left_out.len(), ui),
        ));
    }
    if let Made::Images(images) = result.made {
        let count = count_text(images.images().len(), "image");
        ui.status(&format!("index `{names}` of {count}"));
    }
}

fn left_out_text(count: usize, ui: &Ui) -> String {
    let more = match ui.verbosity {
        0 => " (`-v` lists them)",
        _ => "",
    };
    match count {
        0 => String::new(),
        count => format!("; {} left out{more}", count_text(count, "path")),
    }
}

/// The result as one JSON object, with the specification's field names.
pub(crate) fn json(result: &Result<'_>) -> String {
    let mut value = match result.made {
        Made::Image(_) => {
            let images = result.images().into_iter();
            let mut images = images.map(|(image, summary)| image_json(image, summary));
            images.next().unwrap_or_default()
        }
        Made::Images(images) => {
            let children = result.images().into_iter();
            let children = children.map(|(image, summary)| image_json(image, summary));
            json!({
                "mediaType": INDEX_MEDIA_TYPE,
                "digest": images.document().digest,
                "size": images.document().bytes.len(),
                "manifests": children.collect::<Vec<_>>(),
            })
        }
    };
    value["references"] = json!(result.references);
    value["destinations"] = json!(result.destinations);
    value["loaded"] = json!(result.loaded);
    value["pushed"] = result.pushes.iter().flat_map(Push::json).collect();
    value["requests"] = json!(result.traffic.requests);
    value["sentBytes"] = json!(result.traffic.sent);
    value.to_string()
}

/// What is to be said of one image.
fn image_json(image: &Image, summary: &Summary) -> Value {
    let layers: Vec<_> = image
        .layers()
        .iter()
        .map(|layer| {
            json!({
                "mediaType": layer.media_type().to_string(),
                "digest": layer.digest(),
                "size": layer.size(),
                "diffId": layer.diff_id(),
                "name": layer.name(),
                "entries": layer.entries(),
            })
        })
        .collect();
    json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": image.manifest().digest(),
        "size": image.manifest().bytes().len(),
        "config": {
            "digest": image.config().digest(),
            "size": image.config().bytes().len(),
        },
        "layers": layers,
        "platform": summary.platform,
        "created": summary.created,
        "leftOut": summary.left_out.len(),
        "warnings": summary.warnings,
    })
}

/// Prints plans, as JSON or for people.
///
/// # Errors
///
/// As [`plan`].
pub(crate) fn plans(plans: &[Plan], is_json: bool, ui: &Ui) -> io::Result<()> {
    if let [one] = plans {
        return plan(one, is_json, ui);
    }
    if is_json {
        let plans = serde_json::to_value(plans).map_err(io::Error::other)?;
        let index = json!({"mediaType": INDEX_MEDIA_TYPE, "manifests": plans});
        return ui.result(&index.to_string());
    }
    plans.iter().try_for_each(|one| plan(one, false, ui))
}

/// Prints the plan, as JSON or for people.
///
/// # Errors
///
/// When standard output is closed or full.
fn plan(plan: &Plan, is_json: bool, ui: &Ui) -> io::Result<()> {
    if is_json {
        let text = serde_json::to_string(plan).map_err(io::Error::other)?;
        return ui.result(&text);
    }
    let mut text = String::new();
    let names: Vec<String> = plan.references().iter().map(Reference::familiar).collect();
    let image = plan.image();
    text.push_str(&format!("image `{}`\n", names.join("`, `")));
    text.push_str(&format!("platform {}\n", image.platform));
    text.push_str(&format!("created {}\n", image.created));
    text.push_str(&format!("compression {}\n", plan.compression()));
    let config = serde_json::to_string_pretty(&image.config).map_err(io::Error::other)?;
    text.push_str(&format!("config {config}\n"));
    for (key, value) in &image.annotations {
        text.push_str(&format!("annotation {key}={value}\n"));
    }
    for layer in plan.layers() {
        let size = bytes_text(layer.changeset.tar_size());
        text.push_str(&format!("layer `{}` {size}\n", layer.name));
        for member in layer.changeset.members() {
            text.push_str(&member_line(member));
        }
    }
    for left in plan.left_out() {
        text.push_str(&format!(
            "left out `{}`: {}\n",
            left.path.display(),
            left.reason
        ));
    }
    ui.result(text.trim_end())
}

fn member_line(member: &imgbuild_oci::changeset::Member) -> String {
    let entry = &member.entry;
    let (uid, gid) = (entry.owner.uid, entry.owner.gid);
    let rest = match (&entry.kind, &member.content) {
        (EntryKind::File { size }, Some(Content::File(file))) => {
            format!("{size} <- {}", file.path.display())
        }
        (EntryKind::File { size }, _) => format!("{size} <- imgbuild"),
        (EntryKind::Symlink { target }, _) => format!("-> {}", escaped(target)),
        (EntryKind::Hardlink { target }, _) => format!("= {target}"),
        (EntryKind::Directory, _) => String::new(),
    };
    let line = format!(
        "  {:04o} {uid}:{gid} {} {} {rest}",
        entry.mode,
        kind_name(&entry.kind),
        entry.path
    );
    format!("{}\n", line.trim_end())
}
