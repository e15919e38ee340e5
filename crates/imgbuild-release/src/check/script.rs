//! Files that the command, if it is a shell script, starts by their paths.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use imgbuild_oci::entry::EntryKind;
use imgbuild_oci::path::ImagePath;

use super::command::follow;
use super::subject::Subject;
use crate::finding::{Finding, Rule, Severity};
use crate::programs::calls::{called_file, scripts_of};
use crate::script::COMPUTED;

/// The most files that a relative path may mean.
const MAX_FILES: usize = 64;

/// Follows the files that scripts start. Returns those that exist, and warnings:
/// the script may never start the file.
pub(super) fn check(subject: &Subject<'_>) -> (BTreeSet<ImagePath>, Vec<Finding>) {
    let (mut files, mut findings) = (BTreeSet::new(), Vec::new());
    let (contents, start) = (&subject.contents, subject.working_directory());
    let command = subject.words().first().and_then(|word| subject.path(word));
    let command = command.and_then(|command| contents.end_of(&command));
    let scripts = command.map(|command| scripts_of(contents, &command, &start));
    let ends = LazyCell::new(|| files_by_end(subject));
    for (script, calls) in scripts.unwrap_or_default() {
        // Those that a shell reads, or that the script looks for, may lack much.
        let needed = calls.paths.iter().filter(|(_, may_lack)| !**may_lack);
        for called in needed.map(|(called, _)| called) {
            let mut found = BTreeSet::from_iter(called_file(contents, &script, &start, called));
            if found.is_empty() && !called.starts_with('/') {
                found = elsewhere(&ends, called);
            }
            if found.is_empty() && is_of_release(&start, called) {
                let reason =
                    format!("`{script}` starts `{called}`, which does not exist in the image");
                findings.push(Finding::warning(
                    Rule::CommandMissing,
                    Some(&script),
                    reason,
                ));
            }
            let new = found.iter().filter(|file| !files.contains(*file));
            let followed = new.map(|file| follow(subject, &file.to_string()));
            let faults = followed.flat_map(|followed| followed.findings);
            // The shell runs a text without a line for the kernel itself.
            findings.extend(faults.filter(|fault| {
                use Rule::{InterpreterMissing, ScriptCarriageReturn, WrongArchitecture};
                matches!(
                    fault.rule,
                    InterpreterMissing | ScriptCarriageReturn | WrongArchitecture
                )
            }));
            files.extend(found);
        }
    }
    for finding in &mut findings {
        finding.severity = Severity::Warning;
    }
    (files, findings)
}

/// Returns the paths of all files by their bytes in reverse order: those with the same
/// end are side by side.
fn files_by_end<'a>(subject: &Subject<'a>) -> BTreeMap<Vec<u8>, &'a ImagePath> {
    let entries = subject.members().map(|member| &member.entry);
    let files = entries.filter(|entry| entry.kind != EntryKind::Directory);
    let paths = files.map(|entry| (reversed(entry.path.as_bytes()), &entry.path));
    paths.collect()
}

fn reversed(path: &[u8]) -> Vec<u8> {
    path.iter().rev().copied().collect()
}

/// Returns the files that a relative path has in other directories: the script
/// computes or changes its own.
fn elsewhere(ends: &BTreeMap<Vec<u8>, &ImagePath>, called: &str) -> BTreeSet<ImagePath> {
    let below = called.strip_prefix(COMPUTED).unwrap_or(called);
    let below = below.rsplit("../").next().unwrap_or_default();
    let end = format!("/{}", below.trim_start_matches("./"));
    let end = reversed(end.as_bytes());
    let found = ends.range(end.clone()..);
    let found = found.take_while(|(path, _)| path.starts_with(&end));
    let paths = found.take(MAX_FILES).map(|(_, path)| (*path).clone());
    paths.collect()
}

/// Returns whether a path is one of the release: others may be mounted.
fn is_of_release(start: &ImagePath, called: &str) -> bool {
    let path = ImagePath::parse(called);
    let is_below = path.is_ok_and(|path| path.starts_with(start) && !start.is_root());
    is_below || !called.starts_with(['/', '$'])
}
