//! The check before the write: what it found, said to people, with the flags
//! that help.

use std::env;
use std::process::ExitCode;

use imgbuild_oci::path::ImagePath;
use imgbuild_oci::selection::{SelectedImage, SelectionError};
use imgbuild_oci::store::Store;
use imgbuild_release::check::{ReadImage, check, check_plan};
use imgbuild_release::finding::{Finding, Rule, Severity};
use imgbuild_release::plan::Plan;

use super::source::{NotSelected, open_source};
use crate::args::{CheckArguments, CheckChoice, source_name};
use crate::failure::{Failure, Result};
use crate::printed;
use crate::ui::{Ui, count_text};

/// How many findings of one rule are said.
const MAX_SHOWN: usize = 10;

/// What can be checked.
const KINDS: &str = "`check` takes a directory with an OCI image layout, or an archive of `docker save` or of an OCI image layout";

const BASE_TOO_OLD: &str = "take a base image at least as new as the system that the release was built on, or build the release on the system of the base image";

const BASE_FOR_OTHERS: &str =
    "take a base image for the platform of the release, or build the release for that of the base";

const ONE_STRING: &str = "give each argument by itself, as `--cmd python3 --cmd app.py`, or all as a JSON array, as `--cmd '[\"python3\", \"app.py\"]'`";

/// Checks an image that is there.
pub(crate) fn run(arguments: &CheckArguments, ui: &Ui) -> Result<ExitCode> {
    let name = source_name(&arguments.source)?;
    let scratch = env::temp_dir();
    let source = open_source(&name, &arguments.source, &scratch, KINDS)?;
    let tag = arguments.tag.as_deref().or(name.tag());
    let image = SelectedImage::select(&source, tag, arguments.platform.as_ref())
        .map_err(|error| selection_failure(error, &arguments.source))?;
    let image = ReadImage::read(&source, &image, &scratch).map_err(Failure::build)?;
    let findings = check(&image.subject(), None);
    if arguments.json {
        let text = serde_json::to_string(&findings).map_err(Failure::build)?;
        printed(ui.result(&text))?;
    } else {
        tell(&findings, CheckChoice::Error, ui);
    }
    let errors = errors(&findings);
    if errors == 0 {
        ui.status(&format!("`{}` has no errors", arguments.source));
        return Ok(ExitCode::SUCCESS);
    }
    let count = count_text(errors, "error");
    ui.say(&format!("error: `{}` has {count}", arguments.source));
    Ok(ExitCode::FAILURE)
}

fn selection_failure(error: SelectionError, source: &str) -> Failure {
    let hint = match &error {
        SelectionError::Several {
            differ_by_platform: true,
            ..
        } => Some("say which one with `--platform`"),
        SelectionError::Several { .. } | SelectionError::Tag { .. } => {
            Some("say which one with `--tag`")
        }
        _ => None,
    };
    let failure = Failure::build(NotSelected::new("check", source, error));
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Checks a plan; what helps is said in flags.
pub(crate) fn of_plan(plan: &Plan, choice: CheckChoice, store: Option<&Store>) -> Vec<Finding> {
    if choice == CheckChoice::Off {
        return Vec::new();
    }
    let mut findings = check_plan(plan, store);
    for finding in &mut findings {
        let is_cookie = |path: &ImagePath| path.as_bytes().ends_with(b"/releases/COOKIE");
        if finding.path.as_ref().is_some_and(is_cookie) {
            "leave it out with `--release-cookie remove`".clone_into(&mut finding.remedy);
        } else if finding.rule == Rule::SymbolVersionMissing && plan.base().is_some() {
            BASE_TOO_OLD.clone_into(&mut finding.remedy);
        } else if finding.rule == Rule::WrongArchitecture && plan.base().is_some() {
            BASE_FOR_OTHERS.clone_into(&mut finding.remedy);
        } else if finding.rule == Rule::EnvironmentUnused {
            finding.remedy = environment_first(finding, plan);
        } else if is_command(finding.rule) && has_space(finding) {
            ONE_STRING.clone_into(&mut finding.remedy);
        } else if let Some(flags) = flags(finding.rule) {
            flags.clone_into(&mut finding.remedy);
        }
    }
    findings
}

/// How to have a virtual environment found first.
fn environment_first(finding: &Finding, plan: &Plan) -> String {
    let environment = finding.path.as_ref().map(ImagePath::to_string);
    let variables = plan.image().config.env.iter();
    let mut paths = variables.filter_map(|variable| variable.strip_prefix("PATH="));
    format!(
        "put it first in `PATH` with `--env PATH={}/bin:{}`",
        environment.unwrap_or_default(),
        paths.next().unwrap_or_default()
    )
}

/// Returns why the image is not made, if it is not.
pub(crate) fn refusal(findings: &[Finding], choice: CheckChoice) -> Option<Failure> {
    let errors = errors(findings);
    (errors > 0 && choice == CheckChoice::Error).then(|| {
        let count = count_text(errors, "error");
        Failure::build(format!("the check found {count}, and nothing was written"))
            .hint("`--check=warn` makes the image all the same")
    })
}

/// Whether a command was looked for and is not there.
fn is_command(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::CommandMissing | Rule::CommandNotInPath | Rule::HealthcheckBroken
    )
}

/// Whether the name of what is not there has a space, as a whole command line
/// in one argument has.
fn has_space(finding: &Finding) -> bool {
    let path = finding.path.as_ref();
    let quoted = finding.reason.split('`').nth(1);
    path.is_some_and(|path| path.as_bytes().contains(&b' '))
        || quoted.is_some_and(|name| name.contains(' '))
}

pub(crate) fn errors(findings: &[Finding]) -> usize {
    let is_error = |finding: &&Finding| finding.severity == Severity::Error;
    findings.iter().filter(is_error).count()
}

/// Says the findings, those of one rule together.
pub(crate) fn tell(findings: &[Finding], choice: CheckChoice, ui: &Ui) {
    let of_one_rule = |a: &Finding, b: &Finding| (a.severity, a.rule) == (b.severity, b.rule);
    for group in findings.chunk_by(of_one_rule) {
        tell_group(group, choice, ui);
    }
}

fn tell_group(group: &[Finding], choice: CheckChoice, ui: &Ui) {
    let Some(first) = group.first() else {
        return;
    };
    let is_error = first.severity == Severity::Error && choice == CheckChoice::Error;
    let say = |text: &str| match is_error {
        true => ui.say(text),
        false => ui.status(text),
    };
    let label = if is_error { "error" } else { "warning" };
    let (shown, rest) = group.split_at(group.len().min(MAX_SHOWN));
    for (index, finding) in shown.iter().enumerate() {
        say(&format!("{label}: {} [{}]", finding.reason, finding.rule));
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

/// What to do about a finding in an image that is being built, in terms of
/// the command line; what the rule itself says where no flag helps.
fn flags(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::CommandMissing | Rule::CommandDangling | Rule::CommandNotInPath => {
            "bring a program of this machine with `--program`; a relative command lies in the release; `--dry-run` lists what the image has"
        }
        Rule::CommandDirectory | Rule::CommandFormat => {
            "name a program with `--entrypoint` or `--cmd`, or build without one with `--no-entrypoint`"
        }
        Rule::InterpreterMissing => {
            "install the program on this machine, take it from another root with `--sysroot`, or put it in with `--add`; `--runtime none` brings no interpreter"
        }
        Rule::InterpreterMoved => {
            "let the release land where it was made with `--prefix`, or name the interpreter in the command, as `--cmd bin/python --cmd bin/NAME`"
        }
        Rule::LibraryMissing | Rule::LibraryUnusable => {
            "install the package that has the library, name its directory with `--library-path`, or take libraries from another root with `--sysroot`; `--runtime none` brings none"
        }
        Rule::WrongArchitecture => {
            "say what the image is for with `--platform`, and leave the other programs out with `--exclude` or `--bin`"
        }
        Rule::ErlangMissing => {
            "include the runtime in the release, as `mix release` does by default and relx with `{include_erts, true}`, or bring an Erlang of that version: this machine's with `--program erl`, or that of a base image with `--base`"
        }
        Rule::ReleaseIncomplete => {
            "take it out of `--exclude`, put it in with `--add`, or name another one with `--env`, as `RELEASE_VM_ARGS=/app/other.args`; what lies outside of the release can be mounted"
        }
        Rule::ProgramMissing => "bring them with `--program`, if the script gets there",
        Rule::ModuleUnusable => "leave it out with `--exclude` if nothing loads it",
        Rule::CommandForbidden | Rule::ReleaseForbidden => {
            "give others the right to read and execute it (`--add SRC:DST:MODE`), or run as another user with `--user`"
        }
        Rule::WorkdirInvalid | Rule::WorkdirForbidden => {
            "name a directory that the user may enter with `--workdir`"
        }
        Rule::PortPrivileged => {
            "listen on a port from 1024 on, `--expose` it, and publish it as the lower one"
        }
        Rule::HealthcheckBroken => {
            "name a program that is in the image with `--healthcheck`, or bring it with `--program`"
        }
        Rule::CertificatesMissing => "bring CA certificates with `--cacert`",
        Rule::SecretFile => {
            "leave it out with `--exclude`, and mount it into containers when they run"
        }
        Rule::SecretVariable => "leave it out of `--env`, and set it when containers run",
        Rule::LinkDangling => {
            "put its target into the image with `--add`, or leave the link out with `--exclude`"
        }
        Rule::BuildLeftover => "leave it out with `--exclude`",
        _ => return None,
    })
}
