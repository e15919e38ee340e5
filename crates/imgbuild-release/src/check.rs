//! The check before the write: problems that keep an image from starting, and
//! likely mistakes.
//!
//! All rules examine a [`Subject`]: a configuration, and the entry at each
//! path. It is made from a plan, or from an existing image. An error means
//! that the image does not start as it is; nothing that runs may have one.
//! What only might be loaded is at most a warning.
//!
//! Contents are read only if a name or a path suggests it: the first bytes of
//! the command, texts with names like keys. ELF files
//! were read when the plan was made. Longer looks are remembered in a store.

mod archive;
mod certificates;
mod command;
mod content;
mod erlang;
mod file;
mod identity;
mod image;
mod leftover;
mod program;
mod python;
mod secret;
mod setting;
mod subject;
mod tree;

#[cfg(test)]
mod tests;

use imgbuild_oci::store::Store;

use crate::finding::{self, Finding, Rule};
use crate::plan::Plan;

pub use image::ReadImage;
pub use subject::Subject;

/// Checks what a plan would make.
#[must_use]
pub fn check_plan(plan: &Plan, store: Option<&Store>) -> Vec<Finding> {
    let mut findings = check(&Subject::of_plan(plan), store);
    // The finding about its other path is more specific.
    let is_moved = |missing: &Finding| {
        let mut known = plan.findings.iter();
        known.any(|known| known.rule == Rule::InterpreterMoved && known.path == missing.path)
    };
    findings.retain(|found| found.rule != Rule::InterpreterMissing || !is_moved(found));
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
    findings.extend(program::check(subject, &started.programs));
    findings.extend(erlang::check(subject));
    findings.extend(python::check(subject));
    findings.extend(setting::check(subject));
    findings.extend(file::check(subject, &started.programs, store));
    finding::sort(&mut findings);
    findings
}
