//! The findings of the check, printed with the flags that help.

use std::collections::BTreeMap;
use std::env;
use std::process::ExitCode;

use imgbuild_oci::path::ImagePath;
use imgbuild_oci::selection::SelectedImage;
use imgbuild_oci::source::{Source, SourceName};
use imgbuild_oci::store::Store;
use imgbuild_release::check::{ReadImage, check, check_plan};
use imgbuild_release::finding::{Finding, Rule, Severity};
use imgbuild_release::plan::Plan;
use serde_json::json;

use super::options::host_platform;
use super::source::{not_selected, open_source};
use crate::args::{CheckArguments, CheckChoice, source_name};
use crate::failure::{Failure, Result};
use crate::json;
use crate::ui::{Ui, count_text};

/// The number of findings of one rule that are printed.
const MAX_SHOWN: usize = 10;

const KINDS: &str =
    "`check` takes an OCI image layout: a directory or an archive, or an archive of `docker save`";

const COOKIE: &str = "exclude it with `--release-cookie remove`";

const BASE_TOO_OLD: &str = "use a base image at least as new as the system where the release was built, or build the release on the system of the base image";

const BASE_FOR_OTHERS: &str = "use a base image for the platform of the release, or build the release for the platform of the base image";

const ENVIRONMENT_AGAIN: &str = "create the virtual environment again with a Python of this machine, or take Python from another root with `--sysroot`";

const HEALTH_STRING: &str = "give the health check as a JSON array: `--healthcheck '[\"CMD\", \"/app/probe\", \"-q\"]'`, or `--healthcheck '[\"CMD-SHELL\", \"COMMAND\"]'` for a shell of the image";

const ONE_STRING: &str = "give each argument separately, for example `--cmd python3 --cmd app.py`, or all of them as a JSON array: `--cmd '[\"python3\", \"app.py\"]'`";

/// Checks an existing image.
pub(crate) fn run(arguments: &CheckArguments, ui: &Ui) -> Result<ExitCode> {
    let name = source_name(&arguments.source)?;
    let scratch = env::temp_dir();
    let source = open_source(&name, &arguments.source, &scratch, KINDS)?;
    let image = select(&source, arguments, &name, ui)?;
    let image = ReadImage::read(&source, &image, &scratch).map_err(Failure::build)?;
    let findings = check(&image.subject(), None);
    if !arguments.json {
        print_findings(&findings, CheckChoice::Error, ui);
    }
    let errors = errors(&findings);
    let facts = json!({ "findings": findings });
    if errors > 0 {
        let count = count_text(errors, "error");
        let failure = Failure::build(format!("`{}` has {count}", arguments.source));
        return Err(Failure { facts, ..failure });
    }
    if arguments.json {
        ui.result(&json::text(facts))?;
    }
    ui.status(&format!("`{}` has no errors", arguments.source));
    Ok(ExitCode::SUCCESS)
}

/// Selects the image, of a multi-platform image the one for this machine, as
/// engines do.
fn select(
    source: &Source,
    arguments: &CheckArguments,
    name: &SourceName,
    ui: &Ui,
) -> Result<SelectedImage> {
    let tag = arguments.tag.as_deref().or(name.tag());
    let platform = arguments.platform.as_ref();
    let mut selected = SelectedImage::select(source, tag, platform);
    if let Err(several) = &selected
        && several.asks_for_platform()
        && platform.is_none()
    {
        let own = host_platform();
        let note =
            format!("note: {several}; checking the one for {own}, the platform of this machine");
        selected = SelectedImage::select(source, tag, Some(&own));
        if selected.is_ok() {
            ui.status(&note);
        }
    }
    selected.map_err(|error| not_selected("check", &arguments.source, source, error))
}

/// Checks a plan; remedies are flags of the command line.
pub(crate) fn of_plan(plan: &Plan, choice: CheckChoice, store: Option<&Store>) -> Vec<Finding> {
    if choice == CheckChoice::Off {
        return Vec::new();
    }
    let mut findings = check_plan(plan, store);
    for finding in &mut findings {
        finding.remedy = build_remedy(finding, plan);
    }
    findings
}

/// Returns the remedy for an image that is being built.
fn build_remedy(finding: &Finding, plan: &Plan) -> String {
    let is_cookie = |path: &ImagePath| path.as_bytes().ends_with(b"/releases/COOKIE");
    let has_space = |command: &String| command.contains(' ');
    let remedy = match finding.rule {
        Rule::SecretFile if finding.path.as_ref().is_some_and(is_cookie) => COOKIE,
        Rule::SymbolVersionMissing if plan.base.is_some() => BASE_TOO_OLD,
        // Its own remedy names the file and the version.
        Rule::SymbolVersionMissing => return finding.remedy.clone(),
        Rule::WrongArchitecture if plan.base.is_some() => BASE_FOR_OTHERS,
        Rule::EnvironmentUnused => return environment_first(finding, plan),
        Rule::CommandDangling if is_in_environment(finding, plan) => ENVIRONMENT_AGAIN,
        Rule::HealthcheckBroken if finding.command.as_ref().is_some_and(has_space) => HEALTH_STRING,
        Rule::CommandMissing | Rule::CommandNotInPath
            if finding.command.as_ref().is_some_and(has_space) =>
        {
            ONE_STRING
        }
        rule => rule.info().build_remedy,
    };
    remedy.to_owned()
}

/// Returns whether the command is the Python of a virtual environment.
fn is_in_environment(finding: &Finding, plan: &Plan) -> bool {
    let mark = |command: &ImagePath| command.parent()?.parent()?.join("pyvenv.cfg").ok();
    let mark = finding.path.as_ref().and_then(mark);
    let layers = plan.layers.iter().map(|layer| layer.changeset.members());
    mark.is_some_and(|mark| layers.flatten().any(|member| member.entry.path == mark))
}

/// Returns the remedy that puts a virtual environment first.
fn environment_first(finding: &Finding, plan: &Plan) -> String {
    let environment = finding.path.as_ref().map(ImagePath::to_string);
    let variables = plan.image.config.env.iter();
    let mut paths = variables.filter_map(|variable| variable.strip_prefix("PATH="));
    format!(
        "put it first in `PATH` with `--env PATH={}/bin:{}`",
        environment.unwrap_or_default(),
        paths.next().unwrap_or_default()
    )
}

/// Returns the failure of a build with errors, if they stop it.
pub(crate) fn refusal(findings: &[Finding], choice: CheckChoice) -> Option<Failure> {
    let errors = errors(findings);
    (errors > 0 && choice == CheckChoice::Error).then(|| {
        let count = count_text(errors, "error");
        let failure = Failure::build(format!("the check found {count}, and nothing was written"));
        Failure {
            facts: json!({ "findings": findings }),
            ..failure.hint("`--check=warn` writes the image anyway")
        }
    })
}

pub(crate) fn errors(findings: &[Finding]) -> usize {
    let is_error = |finding: &&Finding| finding.severity == Severity::Error;
    findings.iter().filter(is_error).count()
}

/// Prints findings, those of one rule together.
pub(crate) fn print_findings(findings: &[Finding], choice: CheckChoice, ui: &Ui) {
    let of_one_rule = |a: &Finding, b: &Finding| (a.severity, a.rule) == (b.severity, b.rule);
    for group in findings.chunk_by(of_one_rule) {
        print_group(group, choice, ui);
    }
}

/// Returns the fault of a file, which others may have as well: an interpreter or a
/// library that they lack.
fn fault(finding: &Finding) -> String {
    use Rule::{InterpreterMissing, InterpreterMoved, LibraryMissing, ModuleUnusable};
    match (finding.rule, &finding.path) {
        (InterpreterMissing | InterpreterMoved | LibraryMissing | ModuleUnusable, Some(path)) => {
            finding.reason.replace(&format!("`{path}`"), "")
        }
        _ => finding.reason.clone(),
    }
}

fn print_group(group: &[Finding], choice: CheckChoice, ui: &Ui) {
    let Some(first) = group.first() else {
        return;
    };
    let is_error = first.severity == Severity::Error && choice == CheckChoice::Error;
    let say = |text: &str| {
        if is_error {
            ui.say(text);
        } else {
            ui.status(text);
        }
    };
    let label = if is_error { "error" } else { "warning" };
    let mut files = BTreeMap::new();
    let faults = group.iter().filter(|finding| {
        let count = files.entry(fault(finding)).or_insert(0);
        *count += 1;
        *count == 1
    });
    let faults: Vec<&Finding> = faults.collect();
    let (shown, rest) = faults.split_at(faults.len().min(MAX_SHOWN));
    for (index, finding) in shown.iter().enumerate() {
        let more = match files[&fault(finding)] - 1 {
            0 => String::new(),
            others => format!("; the same with {}", count_text(others, "other file")),
        };
        say(&format!(
            "{label}: {}{more} [{}]",
            finding.reason, finding.rule
        ));
        let next = shown.get(index + 1).map(|next| &next.remedy);
        if next.is_none() && !rest.is_empty() {
            say(&format!(
                "{label}: … and {} more [{}]",
                rest.len(),
                finding.rule
            ));
        }
        if next != Some(&finding.remedy) {
            say(&format!("hint: {}", finding.remedy));
        }
    }
}
