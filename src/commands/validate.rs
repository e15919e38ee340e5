//! `imgbuild validate`: every size, digest and diff ID of an image, recomputed.

use std::collections::BTreeSet;
use std::env;
use std::process::ExitCode;

use imgbuild_oci::document::{CONTAINERD_NAME, REF_NAME};
use imgbuild_oci::selection::is_called;
use imgbuild_oci::source::{Source, SourceName};
use imgbuild_oci::validate::validate;

use super::options;
use super::source::open_source;
use crate::args::{ValidateArguments, source_name};
use crate::failure::{Failure, Result};
use crate::ui::{Ui, count_text};

const KINDS: &str = "`validate` takes a directory with an OCI image layout, or an archive of `docker save` or of an OCI image layout";

pub(crate) fn run(arguments: &ValidateArguments, ui: &Ui) -> Result<ExitCode> {
    let text = &arguments.source;
    let name = source_name(text)?;
    let source = open_source(&name, text, &env::temp_dir(), KINDS)?;
    check_tag(&name, &source)?;
    let violations = validate(&source, options::threads(arguments.threads));
    if arguments.json {
        let text = serde_json::to_string(&violations).map_err(Failure::build)?;
        ui.result(&text)?;
    } else {
        for violation in &violations {
            ui.result(&violation.to_string())?;
        }
    }
    if violations.is_empty() {
        ui.status(&format!("`{}` is valid", arguments.source));
        return Ok(ExitCode::SUCCESS);
    }
    let count = count_text(violations.len(), "violation");
    ui.say(&format!("error: `{}` has {count}", arguments.source));
    Ok(ExitCode::FAILURE)
}

/// A tag that no image of the source has selects nothing to validate.
fn check_tag(name: &SourceName, source: &Source) -> Result<()> {
    let Some(tag) = name.tag() else {
        return Ok(());
    };
    let manifests = source.manifests().map_err(Failure::build)?;
    let keys = [REF_NAME, CONTAINERD_NAME];
    let annotated = manifests
        .iter()
        .flat_map(|one| keys.iter().filter_map(|key| one.annotations.get(*key)));
    let listed = source.docker_manifests().map_err(Failure::build)?;
    let listed = listed.iter().flat_map(|one| one.repo_tags.iter().flatten());
    let names: BTreeSet<&str> = annotated.chain(listed).map(String::as_str).collect();
    if names.iter().any(|name| is_called(name, tag)) {
        return Ok(());
    }
    let known: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    Err(Failure::build(format!(
        "`{}` has no image with the tag `{tag}` (it has: {})",
        name.path().display(),
        known.join(", ")
    )))
}
