//! The check before the write: what would keep an image from starting, or
//! would surprise whoever runs it.
//!
//! All rules look at a [`Subject`]: a configuration, and what lies at each
//! path. It is made of a plan, or of an image that is there. An error means
//! that the image does not start as it is; nothing that runs may have one.
//! What only might be loaded is at most a warning.
//!
//! Contents are looked at where a name or a place says that it is worth it:
//! the first bytes of the command, texts that are named as keys are. ELF files
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
    // That it lies elsewhere says more than that it is not there.
    let is_moved = |missing: &Finding| {
        let mut known = plan.findings().iter();
        known.any(|known| known.rule == Rule::InterpreterMoved && known.path == missing.path)
    };
    findings.retain(|found| found.rule != Rule::InterpreterMissing || !is_moved(found));
    findings.extend_from_slice(plan.findings());
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
