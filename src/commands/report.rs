//! What a build says: its plan, its summary, its result.

use std::io;
use std::os::unix::ffi::OsStrExt;

use imgbuild_oci::content::Content;
use imgbuild_oci::destination::Destination;
use imgbuild_oci::entry::EntryKind;
use imgbuild_oci::image::Image;
use imgbuild_oci::media_type;
use imgbuild_oci::path::escaped;
use imgbuild_oci::reference::Reference;
use imgbuild_registry::client::Traffic;
use imgbuild_release::build::BuiltImage;
use imgbuild_release::finding::Finding;
use imgbuild_release::plan::{Plan, kind_name};
use imgbuild_release::warning::Warning;
use serde::Serialize;
use serde_json::{Value, json};

use super::build::Planned;
use super::origin::Origins;
use super::registry::Push;
use super::time::CreatedBy;
use crate::configuration_file::Given;
use crate::ui::{Ui, bytes_text, count_text};

/// What is counted before a plan is gone.
#[derive(Debug)]
pub(crate) struct Summary {
    platform: String,
    created: String,
    created_by: CreatedBy,
    files: usize,
    /// The bytes of all layers' tars.
    pub(crate) tar_bytes: u64,
    left_out: Vec<String>,
    warnings: Vec<String>,
    findings: Vec<Finding>,
}

impl Summary {
    pub(crate) fn of(planned: &Planned) -> Self {
        let Planned {
            plan,
            found,
            findings,
        } = planned;
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
            created_by: found.created_by,
            files: entries().filter(|entry| is_file(&entry.kind)).count(),
            tar_bytes: layers()
                .map(imgbuild_oci::changeset::Changeset::tar_size)
                .sum(),
            left_out: left_out
                .map(|left| {
                    let path = escaped(left.path.as_os_str().as_bytes());
                    format!("left out `{path}`: {}", left.reason)
                })
                .collect(),
            warnings: plan.warnings().iter().map(ToString::to_string).collect(),
            findings: findings.clone(),
        }
    }
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Result<'a> {
    /// The only image, or the index of all.
    pub(crate) root: &'a Image,
    /// By platform.
    pub(crate) images: &'a [BuiltImage],
    pub(crate) references: &'a [Reference],
    pub(crate) destinations: &'a [Destination],
    pub(crate) loaded: &'a [String],
    pub(crate) pushes: &'a [Push],
    pub(crate) traffic: Traffic,
    /// One for each image, in the order in which they were planned.
    pub(crate) summaries: &'a [Summary],
}

impl Result<'_> {
    /// Returns what the image is called where it is: a name that was made from
    /// the release's own is none in a registry that was given another.
    fn names(&self) -> Vec<String> {
        let is_only_pushed = self.destinations.is_empty() && self.loaded.is_empty();
        let pushed = self.pushes.iter().flat_map(Push::references);
        let pushed: Vec<String> = pushed.map(Reference::familiar).collect();
        match is_only_pushed && !pushed.is_empty() {
            true => pushed,
            false => self.references.iter().map(Reference::familiar).collect(),
        }
    }

    /// Returns every image with its summary.
    fn images(&self) -> impl Iterator<Item = (&BuiltImage, &Summary)> {
        self.images.iter().filter_map(|image| {
            let platform = image.platform.to_string();
            let mut summaries = self.summaries.iter();
            Some((image, summaries.find(|one| one.platform == platform)?))
        })
    }

    fn is_index(&self) -> bool {
        self.images.len() > 1
    }
}

/// Says what may surprise, each thing once.
pub(crate) fn warnings<'a>(plans: impl Iterator<Item = &'a Plan> + Clone, ui: &Ui) {
    let references = plans.clone().take(1).flat_map(Plan::references);
    for warning in references.filter_map(Reference::tag_warning) {
        ui.warning(&warning.to_string());
    }
    let mut said = Vec::new();
    for warning in plans.flat_map(Plan::warnings) {
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
        Warning::PatternWithoutMatch { .. } => {
            Some("`--exclude` and `--include` take patterns of paths relative to the release")
        }
        Warning::ReleaseBelow { .. } => Some(
            "give it with `--release` for an image of that alone; `--kind tree` says that the whole is meant",
        ),
        _ => None,
    }
}

/// Says what was made, in a line for each image, and what was left out.
pub(crate) fn summary(result: &Result<'_>, ui: &Ui) {
    let names = result.names().join("`, `");
    for (image, summary) in result.images() {
        for line in &summary.left_out {
            ui.detail(line);
        }
        let layers = image.layers.iter();
        let size: u64 = layers.map(imgbuild_oci::layer::Layer::size).sum();
        ui.status(&format!(
            "image `{names}` for {}, created {} ({}): {} with {}, {}{}",
            summary.platform,
            summary.created,
            summary.created_by,
            count_text(image.layers.len(), "layer"),
            count_text(summary.files, "file"),
            bytes_text(size),
            left_out_text(summary.left_out.len(), ui),
        ));
    }
    if result.is_index() {
        let count = count_text(result.images.len(), "image");
        // What the names have then is an index of more.
        let is_added_to = result.pushes.iter().any(Push::is_added_to_indexes);
        ui.status(&match is_added_to {
            true => format!("{count}, added to the indexes of `{names}`"),
            false => format!("index `{names}` of {count}"),
        });
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
    let images = result.images();
    let mut images = images.map(|(image, summary)| image_json(image, summary));
    let mut value = if result.is_index() {
        let root = result.root.root();
        json!({
            "mediaType": root.media_type,
            "digest": root.digest,
            "size": root.bytes.len(),
            "manifests": images.collect::<Vec<_>>(),
        })
    } else {
        images.next().unwrap_or_default()
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
fn image_json(built: &BuiltImage, summary: &Summary) -> Value {
    let manifest = built.image.root();
    let config = built.image.config();
    let layers: Vec<_> = built
        .layers
        .iter()
        .map(|layer| {
            json!({
                "mediaType": layer.media_type(),
                "digest": layer.digest(),
                "size": layer.size(),
                "diffId": layer.diff_id(),
                "name": layer.name(),
                "entries": layer.entries(),
            })
        })
        .collect();
    json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.bytes.len(),
        "config": {
            "digest": config.map(|config| config.digest),
            "size": config.map(|config| config.size),
        },
        "layers": layers,
        "platform": summary.platform,
        "created": summary.created,
        "createdBy": summary.created_by,
        "leftOut": summary.left_out.len(),
        "warnings": summary.warnings,
        "findings": summary.findings,
    })
}

/// Prints plans, as JSON or for people.
///
/// # Errors
///
/// As [`plan`].
pub(crate) fn plans(plans: &[Planned], given: &Given, is_json: bool, ui: &Ui) -> io::Result<()> {
    let origins = plans.iter().map(|one| Origins::new(given, &one.found));
    let origins: Vec<Origins> = origins.collect();
    let shown = plans.iter().zip(&origins);
    let shown = shown.map(|(planned, origins)| ShownPlan {
        plan: &planned.plan,
        origins,
        findings: &planned.findings,
    });
    let all: Vec<ShownPlan<'_>> = shown.collect();
    if let [only] = &all[..] {
        return plan(only, is_json, ui);
    }
    if is_json {
        let manifests = serde_json::to_value(all).map_err(io::Error::other)?;
        let index = json!({"mediaType": media_type::INDEX, "manifests": manifests});
        return ui.result(&index.to_string());
    }
    all.iter().try_for_each(|one| plan(one, false, ui))
}

/// A plan, where what was asked for comes from, and what the check found.
#[derive(Debug, Serialize)]
pub(crate) struct ShownPlan<'a> {
    #[serde(flatten)]
    pub(crate) plan: &'a Plan,
    #[serde(flatten)]
    pub(crate) origins: &'a Origins,
    pub(crate) findings: &'a [Finding],
}

/// Prints the plan, as JSON or for people.
///
/// # Errors
///
/// When standard output is closed or full.
fn plan(shown: &ShownPlan<'_>, is_json: bool, ui: &Ui) -> io::Result<()> {
    let ShownPlan { plan, origins, .. } = shown;
    if is_json {
        let text = serde_json::to_string(shown).map_err(io::Error::other)?;
        return ui.result(&text);
    }
    let mut text = String::new();
    let names: Vec<String> = plan.references().iter().map(Reference::familiar).collect();
    let image = plan.image();
    text.push_str(&format!("image `{}`\n", names.join("`, `")));
    text.push_str(&format!("platform {}\n", image.platform));
    text.push_str(&format!(
        "created {} ({})\n",
        image.created, origins.created_by
    ));
    text.push_str(&format!("compression {}\n", plan.compression()));
    if let Some(base) = plan.base() {
        let count = count_text(base.layers().len(), "layer");
        text.push_str(&format!("base `{}`, {count}\n", base.name()));
    }
    let config = serde_json::to_string_pretty(&image.config).map_err(io::Error::other)?;
    text.push_str(&format!("config {config}\n"));
    for (key, value) in &image.annotations {
        text.push_str(&format!("annotation {key}={value}\n"));
    }
    text.push_str(&origins.to_string());
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
            escaped(left.path.as_os_str().as_bytes()),
            left.reason
        ));
    }
    ui.result(text.trim_end())
}

fn member_line(member: &imgbuild_oci::entry::Member) -> String {
    let entry = &member.entry;
    let (uid, gid) = (entry.owner.uid, entry.owner.gid);
    let rest = match (&entry.kind, &member.content) {
        (EntryKind::File { size }, Some(Content::File(file))) => {
            format!("{size} <- {}", escaped(file.path.as_os_str().as_bytes()))
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
