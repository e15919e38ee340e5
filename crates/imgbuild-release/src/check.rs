//! The check before the write: problems that keep an image from starting, and
//! likely mistakes.
//!
//! All rules examine a [`Subject`]: a configuration, and the entry at each
//! path. It is made from a plan, or from an existing image. An error means
//! that the image does not start as it is; nothing that runs may have one.
//! What only might be loaded is at most a warning.
//!
//! ELF files were read when the plan was made. Of other files, the rules read the
//! command, archives, and texts, which may have secrets. Longer looks are
//! remembered in a store.

mod archive;
mod certificates;
mod command;
pub(crate) mod content;
mod erlang;
mod executable;
mod identity;
mod image;
mod leftover;
mod program;
mod python;
mod script;
mod secret;
mod setting;
mod subject;
mod tree;
mod variable;

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use imgbuild_oci::path::ImagePath;
use imgbuild_oci::store::Store;
use imgbuild_oci::violation::{Refuser, Violation};

use crate::finding::{self, Finding, Rule, Severity};
use crate::pattern::{Patterns, Verdict};
use crate::plan::{Plan, RUNTIME};

pub use image::ReadImage;
pub use subject::Subject;

use archive::ImageArchives;
use certificates::TlsEvidence;
use leftover::Leftovers;
use secret::SecretFiles;
use tree::{CaseCollisions, ReadableFiles, check_member};

/// The rules about what a user may have made by mistake: the files of the host
/// that go in are as its distribution made them.
const ABOUT_RELEASES: [Rule; 5] = [
    Rule::CaseCollision,
    Rule::DebugInformation,
    Rule::DuplicateContent,
    Rule::LinkDangling,
    Rule::ProgramNotExecutable,
];

/// Checks what a plan would make.
#[must_use]
pub fn check_plan(plan: &Plan, store: Option<&Store>) -> Vec<Finding> {
    let mut findings = check(&Subject::of_plan(plan), store);
    let is_known = |found: &Finding| {
        let mut known = plan
            .findings
            .iter()
            .filter(|known| known.path == found.path);
        known.any(|known| match found.severity {
            Severity::Warning if known.rule == found.rule => true,
            // The finding about its other path is more specific.
            _ => (known.rule, found.rule) == (Rule::InterpreterMoved, Rule::InterpreterMissing),
        })
    };
    findings.retain(|found| !is_known(found));
    let runtime = plan.layers.iter().find(|layer| layer.name == RUNTIME);
    let members = runtime.map_or(&[][..], |layer| layer.changeset.members());
    let is_of_host = |path: &ImagePath| {
        let found = members.binary_search_by(|member| member.entry.path.cmp(path));
        found.is_ok()
    };
    findings.retain(|found| {
        let is_about_release = ABOUT_RELEASES.contains(&found.rule);
        !(is_about_release && found.path.as_ref().is_some_and(is_of_host))
            || found.severity == Severity::Error
    });
    findings.extend_from_slice(&plan.findings);
    finding::sort(&mut findings);
    findings
}

/// Checks an image by all rules; errors come first.
#[must_use]
pub fn check(subject: &Subject<'_>, store: Option<&Store>) -> Vec<Finding> {
    if subject.platform.os() != "linux" {
        // Other systems have other programs, paths and rights.
        return Vec::new();
    }
    let started = command::check(subject);
    let mut findings = started.findings;
    findings.extend(subject.violations.iter().filter_map(|one| refused(one)));
    findings.extend(program::check(subject, &started.programs));
    let (needed, of_erlang) = erlang::check(subject);
    findings.extend(of_erlang);
    findings.extend(python::check(subject));
    let (called, of_scripts) = script::check(subject);
    findings.extend(of_scripts);
    findings.extend(executable::check(subject, &findings, &needed, &called));
    findings.extend(setting::check(subject, &started.programs));
    findings.extend(variable::check(subject));
    findings.extend(check_members(subject, &started.programs, store));
    finding::sort(&mut findings);
    findings
}

/// Returns the finding about a violation that engines refuse.
fn refused(violation: &Violation) -> Option<Finding> {
    let severity = match violation.refused_by? {
        Refuser::Engines => Severity::Error,
        _ => Severity::Warning,
    };
    let reason = violation.to_string();
    Some(Finding::new(Rule::ImageRefused, severity, None, reason))
}

/// Removes the findings about files with secrets that a pattern matches. Returns
/// whether there were any.
pub fn allow_secrets(findings: &mut Vec<Finding>, pattern: &Patterns) -> bool {
    let count = findings.len();
    findings.retain(|finding| {
        let path = finding.path.as_ref();
        let is_allowed = |path: &ImagePath| {
            let relative = Path::new(OsStr::from_bytes(&path.as_bytes()[1..]));
            pattern.decide(relative, true) == Verdict::Excluded
        };
        finding.rule != Rule::SecretFile || !path.is_some_and(is_allowed)
    });
    findings.len() < count
}

/// Checks every path, in one pass; `programs` are those that start with a container.
fn check_members(
    subject: &Subject<'_>,
    programs: &[ImagePath],
    store: Option<&Store>,
) -> Vec<Finding> {
    let mut findings = leftover::debug(subject);
    let readable = ReadableFiles::new(subject, programs);
    let mut secrets = SecretFiles::default();
    let mut cases = CaseCollisions::default();
    let mut leftovers = Leftovers::default();
    let mut roots = TlsEvidence::default();
    let mut archives = ImageArchives::default();
    for member in subject.members() {
        let path = &member.entry.path;
        let name = path.file_name();
        findings.extend(check_member(subject, member));
        findings.extend(readable.check(&member.entry));
        secrets.visit(member, name);
        cases.visit(path, name);
        leftovers.visit(member, name);
        roots.visit(path, name);
        archives.visit(member, name);
    }
    findings.extend(roots.finish(subject, store));
    findings.extend(tree::fonts(subject));
    findings.extend(secrets.finish(subject, store));
    findings.extend(cases.finish(subject));
    findings.extend(leftovers.finish(store));
    findings.extend(archives.finish(store));
    findings
}
