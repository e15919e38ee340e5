//! `imgbuild validate`: every size, digest and diff ID of an image, recomputed.

use std::env;
use std::process::ExitCode;

use imgbuild_oci::selection::{SelectedImage, SelectionError};
use imgbuild_oci::source::{Source, SourceName};
use imgbuild_oci::validate::validate;
use serde_json::json;

use super::options;
use super::source::{not_selected, open_source};
use crate::args::{ValidateArguments, source_name};
use crate::failure::{Failure, Result};
use crate::json;
use crate::ui::{Ui, count_text};

const KINDS: &str = "`validate` takes a directory with an OCI image layout, or an archive of `docker save` or of an OCI image layout";

pub(crate) fn run(arguments: &ValidateArguments, ui: &Ui) -> Result<ExitCode> {
    let text = &arguments.source;
    let name = source_name(text)?;
    let source = open_source(&name, text, &env::temp_dir(), KINDS)?;
    check_tag(&name, text, &source)?;
    let report = validate(&source, options::threads(arguments.threads));
    let violations = report.violations;
    if !arguments.json {
        for violation in &violations {
            ui.result(&violation.to_string())?;
        }
    }
    for part in &report.parts {
        ui.status(&format!("note: {part}"));
    }
    for (kind, count) in &report.artifacts {
        let count = count_text(*count, "artifact");
        ui.status(&format!("note: it has {count} of the type `{kind}`"));
    }
    let facts = json!({ "violations": violations });
    if !violations.is_empty() {
        let count = count_text(violations.len(), "violation");
        let failure = Failure::build(format!("`{text}` has {count}"));
        return Err(Failure { facts, ..failure });
    }
    if arguments.json {
        ui.result(&json::text(facts))?;
    }
    ui.status(&format!("`{text}` is valid"));
    Ok(ExitCode::SUCCESS)
}

/// Refuses a tag or digest that selects nothing to validate.
fn check_tag(name: &SourceName, text: &str, source: &Source) -> Result<()> {
    if name.tag().is_some()
        && let Err(error) = SelectedImage::select(source, name.tag(), None)
        && let SelectionError::Tag { .. } | SelectionError::Digest(_) = error
    {
        return Err(not_selected("validate", text, source, error));
    }
    Ok(())
}
