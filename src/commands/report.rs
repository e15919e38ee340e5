//! Reports of a build: plans, warnings, summaries and JSON.

use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use imgbuild_oci::changeset::Changeset;
use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{EntryKind, Member};
use imgbuild_oci::layer::Layer;
use imgbuild_oci::path::escaped;
use imgbuild_oci::reference::Reference;
use imgbuild_release::build::BuiltImage;
use imgbuild_release::finding::Finding;
use imgbuild_release::plan::{Plan, kind_name};
use imgbuild_release::release::LeftOut;
use imgbuild_release::warning::Warning;
use serde::Serialize;
use serde_json::{Value, json};

use super::deliver::Delivered;
use super::origin::OptionOrigins;
use super::outputs::Outputs;
use super::registry::Push;
use super::time::CreatedBy;
use crate::failure::{Failure, Result};
use crate::json;
use crate::ui::{Ui, bytes_text, count_text};

/// The numbers of a plan that remain for the report of its image.
#[derive(Debug)]
pub(crate) struct BuildSummary {
    platform: String,
    kind: String,
    created: String,
    created_by: CreatedBy,
    files: usize,
    /// The bytes of the tars of all layers.
    pub(crate) tar_bytes: u64,
    left_out: Vec<LeftOut>,
    warnings: Vec<String>,
    findings: Vec<Finding>,
}

impl BuildSummary {
    pub(crate) fn new(plan: &Plan, created_by: CreatedBy, findings: &[Finding]) -> Self {
        let layers = || plan.layers.iter().map(|layer| &layer.changeset);
        let members = layers().flat_map(Changeset::members);
        let files = members.filter(|member| member.entry.kind != EntryKind::Directory);
        Self {
            platform: plan.image.platform.to_string(),
            kind: plan.kind.clone(),
            created: plan.image.created.clone(),
            created_by,
            files: files.count(),
            tar_bytes: layers().map(Changeset::tar_size).sum(),
            left_out: plan.left_out.clone(),
            warnings: plan.warnings.iter().map(ToString::to_string).collect(),
            findings: findings.to_vec(),
        }
    }
}

fn left_out_line(left: &LeftOut) -> String {
    let path = escaped(left.path.as_os_str().as_bytes());
    format!("left out `{path}`: {}", left.reason)
}

/// A build that is done.
#[derive(Debug)]
pub(crate) struct BuildReport<'a> {
    /// Sorted by platform.
    pub(crate) images: &'a [BuiltImage],
    /// One for each image, in any order.
    pub(crate) summaries: &'a [BuildSummary],
    pub(crate) outputs: &'a Outputs,
    pub(crate) delivered: &'a Delivered,
}

impl BuildReport<'_> {
    /// Returns the names of the image at its destinations. A name that was made
    /// from the release is not the name in a registry if another was given.
    fn names(&self) -> Vec<String> {
        let pushed = self.delivered.pushes.iter().flat_map(Push::references);
        let names: Vec<&Reference> = if self.outputs.are_registries() {
            pushed.collect()
        } else {
            self.outputs.references.iter().collect()
        };
        names.into_iter().map(Reference::familiar).collect()
    }

    /// Returns every image with its summary.
    fn images(&self) -> impl Iterator<Item = (&BuiltImage, &BuildSummary)> {
        self.images.iter().filter_map(|image| {
            let platform = image.platform.to_string();
            let mut summaries = self.summaries.iter();
            Some((image, summaries.find(|one| one.platform == platform)?))
        })
    }

    /// Prints one line for each image, and the paths that were left out.
    pub(crate) fn summarize(&self, ui: &Ui) {
        let names = self.names().join("`, `");
        for (image, summary) in self.images() {
            for line in &summary.left_out {
                ui.detail(&left_out_line(line));
            }
            let size = image.layers.iter().map(Layer::size).sum();
            ui.status(&format!("kind {}", summary.kind));
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
        if self.images.len() > 1 {
            let count = count_text(self.images.len(), "image");
            // The index of a name may list more images than these.
            ui.status(&if self.outputs.update_index {
                format!("{count}, added to the indexes of `{names}`")
            } else {
                format!("index `{names}` of {count}")
            });
        }
    }

    /// Returns the fields of a build, with the specification's names.
    pub(crate) fn json(&self) -> Value {
        let images = self.images();
        let images = images.map(|(image, summary)| image_json(image, summary));
        json!({ "images": images.collect::<Vec<_>>() })
    }
}

fn left_out_text(count: usize, ui: &Ui) -> String {
    let more = if ui.verbosity == 0 {
        " (`-v` lists them)"
    } else {
        ""
    };
    match count {
        0 => String::new(),
        count => format!("; {} left out{more}", count_text(count, "path")),
    }
}

/// Prints the warnings of all plans, each once.
pub(crate) fn warnings<'a>(plans: impl Iterator<Item = &'a Plan> + Clone, ui: &Ui) {
    let references = plans.clone().take(1).flat_map(|plan| &plan.references);
    for warning in references.filter_map(Reference::tag_warning) {
        ui.warning(&warning.to_string());
    }
    let mut said = Vec::new();
    for warning in plans.flat_map(|plan| &plan.warnings) {
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

/// Returns the warning about extended attributes, which are known when the files
/// were read.
pub(crate) fn xattr_warning(built: &BuiltImage) -> Option<String> {
    let dropped = built.dropped_xattrs.iter();
    let names = dropped.map(|(name, paths)| {
        let name = escaped(name.as_bytes());
        format!("`{name}` of {}", count_text(*paths, "path"))
    });
    let names = names.collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| format!("the image lacks extended attributes: {names} (`--xattrs keep` keeps `user.*`, and `--add` the capabilities of a program of this machine)"))
}

/// Returns the flags that help with a warning.
fn advice(warning: &Warning) -> Option<&'static str> {
    match warning {
        Warning::PatternWithoutMatch { .. } => {
            Some("`--exclude` and `--include` take patterns of paths relative to the release")
        }
        Warning::ReleaseBelow { .. } => Some(
            "give it with `--release` to build only that; `--kind tree` takes the whole directory without this warning",
        ),
        _ => None,
    }
}

fn image_json(built: &BuiltImage, summary: &BuildSummary) -> Value {
    let manifest = built.image.root();
    let warnings = summary.warnings.iter().cloned();
    let warnings = warnings.chain(xattr_warning(built));
    let layers = built.layers.iter().map(|layer| {
        json!({
            "mediaType": layer.media_type,
            "digest": layer.digest(),
            "size": layer.size(),
            "diffId": layer.diff_id,
            "name": layer.name,
            "entryCount": layer.entries,
        })
    });
    json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.bytes.len(),
        "configDigest": built.image.config().map(|config| config.digest),
        "layers": layers.collect::<Vec<_>>(),
        "platform": summary.platform,
        "kind": summary.kind,
        "created": summary.created,
        "createdBy": summary.created_by,
        "leftOut": summary.left_out,
        "warnings": warnings.collect::<Vec<_>>(),
        "findings": summary.findings,
    })
}

/// A plan, the origin of its options, and the findings of the check.
#[derive(Debug, Serialize)]
pub(crate) struct ShownPlan<'a> {
    #[serde(flatten)]
    pub(crate) plan: &'a Plan,
    #[serde(flatten)]
    pub(crate) origins: OptionOrigins,
    pub(crate) findings: &'a [Finding],
}

/// Prints plans, as JSON or as text, and returns the failure of the check.
pub(crate) fn plans(
    plans: &[ShownPlan<'_>],
    refusal: Option<Failure>,
    is_json: bool,
    ui: &Ui,
) -> Result<ExitCode> {
    if is_json {
        let images = serde_json::to_value(plans).map_err(Failure::build)?;
        let references = plans.first().map(|plan| &plan.plan.references);
        let mut facts = json!({ "references": references, "images": images });
        if let Some(failure) = refusal {
            facts["findings"] = failure.facts["findings"].clone();
            return Err(Failure { facts, ..failure });
        }
        ui.result(&json::text(facts))?;
        return Ok(ExitCode::SUCCESS);
    }
    for plan in plans {
        ui.result(plan_text(plan)?.trim_end())?;
    }
    refusal.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn plan_text(shown: &ShownPlan<'_>) -> Result<String> {
    let ShownPlan { plan, origins, .. } = shown;
    let mut text = String::new();
    let names: Vec<String> = plan.references.iter().map(Reference::familiar).collect();
    let image = &plan.image;
    text.push_str(&format!("image `{}`\n", names.join("`, `")));
    text.push_str(&format!("platform {}\n", image.platform));
    text.push_str(&format!("kind {}\n", plan.kind));
    text.push_str(&format!(
        "created {} ({})\n",
        image.created, origins.created_by
    ));
    text.push_str(&format!("compression {}\n", plan.compression));
    if let Some(base) = &plan.base {
        let count = count_text(base.layers().len(), "layer");
        text.push_str(&format!("base `{}`, {count}\n", base.name));
    }
    let config = serde_json::to_string_pretty(&image.config).map_err(Failure::build)?;
    text.push_str(&format!("config {config}\n"));
    for (key, value) in &image.annotations {
        text.push_str(&format!("annotation {key}={value}\n"));
    }
    text.push_str(&origins.to_string());
    for layer in &plan.layers {
        let size = bytes_text(layer.changeset.tar_size());
        text.push_str(&format!("layer `{}` {size}\n", layer.name));
        for member in layer.changeset.members() {
            text.push_str(&member_line(member));
        }
    }
    for left in &plan.left_out {
        text.push_str(&format!("{}\n", left_out_line(left)));
    }
    Ok(text)
}

fn member_line(member: &Member) -> String {
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
    let xattrs: Vec<&str> = entry.xattrs.keys().map(String::as_str).collect();
    let xattrs = escaped(xattrs.join(" ").as_bytes());
    let line = format!(
        "  {:04o} {uid}:{gid} {} {} {rest} {xattrs}",
        entry.mode,
        kind_name(&entry.kind),
        entry.path
    );
    format!("{}\n", line.trim_end())
}
