//! What a build says: its plan, its summary, its result.

use std::io;
use std::os::unix::ffi::OsStrExt;

use imgbuild_oci::content::Content;
use imgbuild_oci::destination::Destination;
use imgbuild_oci::entry::EntryKind;
use imgbuild_oci::image::Image;
use imgbuild_oci::path::escaped;
use imgbuild_oci::reference::Reference;
use imgbuild_registry::client::Traffic;
use imgbuild_release::finding::Finding;
use imgbuild_release::plan::{Plan, kind_name};
use imgbuild_release::warning::Warning;
use serde::Serialize;
use serde_json::json;

use super::origin::Origins;
use super::provenance::CreatedBy;
use super::registry::Push;
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
    /// The bytes of the base image's layers.
    pub(crate) base_bytes: u64,
    left_out: Vec<String>,
    warnings: Vec<String>,
}

impl Summary {
    pub(crate) fn of(plan: &Plan, created_by: CreatedBy) -> Self {
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
            created_by,
            files: entries().filter(|entry| is_file(&entry.kind)).count(),
            tar_bytes: layers()
                .map(imgbuild_oci::changeset::Changeset::tar_size)
                .sum(),
            base_bytes: plan
                .base()
                .map(|base| base.layers().iter().map(|layer| layer.size).sum())
                .unwrap_or_default(),
            left_out: left_out
                .map(|left| {
                    let path = escaped(left.path.as_os_str().as_bytes());
                    format!("left out `{path}`: {}", left.reason)
                })
                .collect(),
            warnings: plan.warnings().iter().map(ToString::to_string).collect(),
        }
    }
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Result<'a> {
    pub(crate) image: &'a Image,
    pub(crate) references: &'a [Reference],
    pub(crate) destinations: &'a [Destination],
    pub(crate) loaded: &'a [String],
    pub(crate) pushes: &'a [Push],
    pub(crate) traffic: Traffic,
    pub(crate) summary: &'a Summary,
    pub(crate) findings: &'a [Finding],
}

/// Says which names a destination with a tag of its own does not list.
pub(crate) fn names_left_out(destinations: &[Destination], references: &[Reference], ui: &Ui) {
    for destination in destinations {
        let (Some(tag), Some(first)) = (destination.tag(), references.first()) else {
            continue;
        };
        let kept = first.with_tag(tag);
        let others = references.iter().filter(|it| Some(*it) != kept.as_ref());
        let others: Vec<String> = others.map(Reference::familiar).collect();
        if let (Some(kept), 2..) = (kept, references.len()) {
            ui.warning(&format!(
                "`{destination}` lists the image as `{}` only, without `{}` (leave out its tag to list all)",
                kept.familiar(),
                others.join("`, `")
            ));
        }
    }
}

/// Says what may surprise.
pub(crate) fn warnings(plan: &Plan, ui: &Ui) {
    for reference in plan.references() {
        if let Some(warning) = reference.tag_warning() {
            ui.warning(&warning.to_string());
        }
    }
    for warning in plan.warnings() {
        ui.warning(&match advice(warning) {
            Some(advice) => format!("{warning} ({advice})"),
            None => warning.to_string(),
        });
    }
}

/// What to do about a warning, in terms of the command line.
fn advice(warning: &Warning) -> Option<&'static str> {
    match warning {
        Warning::PatternWithoutMatch { .. } => {
            Some("`--exclude` and `--include` take patterns of paths relative to the release")
        }
        Warning::NoErts { .. } => {
            Some("`--base` can bring it; `mix release` includes it by default")
        }
        _ => None,
    }
}

/// Says what was made, in a line, and what was left out.
pub(crate) fn summary(result: &Result<'_>, ui: &Ui) {
    let summary = result.summary;
    for line in &summary.left_out {
        ui.detail(line);
    }
    let names: Vec<String> = result.references.iter().map(Reference::familiar).collect();
    let size: u64 = result
        .image
        .layers()
        .iter()
        .map(imgbuild_oci::layer::Layer::size)
        .sum();
    ui.status(&format!(
        "image `{}` for {}, created {} ({}): {} with {}, {}{}",
        names.join("`, `"),
        summary.platform,
        summary.created,
        summary.created_by,
        count_text(result.image.layers().len(), "layer"),
        count_text(summary.files, "file"),
        bytes_text(size),
        left_out_text(summary.left_out.len(), ui),
    ));
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
    let image = result.image;
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
    let summary = result.summary;
    json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": image.manifest().digest(),
        "size": image.manifest().bytes().len(),
        "config": {
            "digest": image.config().digest(),
            "size": image.config().bytes().len(),
        },
        "layers": layers,
        "references": result.references,
        "platform": summary.platform,
        "created": summary.created,
        "createdBy": summary.created_by,
        "destinations": result.destinations,
        "loaded": result.loaded,
        "pushed": result.pushes.iter().flat_map(Push::json).collect::<Vec<_>>(),
        "requests": result.traffic.requests,
        "sentBytes": result.traffic.sent,
        "leftOut": summary.left_out.len(),
        "warnings": summary.warnings,
        "findings": result.findings,
    })
    .to_string()
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
pub(crate) fn plan(shown: &ShownPlan<'_>, is_json: bool, ui: &Ui) -> io::Result<()> {
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

fn member_line(member: &imgbuild_oci::changeset::Member) -> String {
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
