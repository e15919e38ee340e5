//! Programs and scripts without an execute bit, which some transports lose.

use std::collections::BTreeSet;

use imgbuild_oci::entry::{EntryKind, Member};
use imgbuild_oci::path::ImagePath;

use super::subject::Subject;
use crate::closure::is_foreign;
use crate::contents::can_run;
use crate::finding::{Finding, Rule};

/// Names the first of the programs that cannot start, and counts the others:
/// those that a release of Erlang starts (`needed`), those that the command, a script,
/// starts by a path (`called`), and those in directories for programs. `known` has the findings
/// about the command.
pub(super) fn check(
    subject: &Subject<'_>,
    known: &[Finding],
    needed: &[ImagePath],
    called: &BTreeSet<ImagePath>,
) -> Option<Finding> {
    let known = known.iter().filter_map(|known| known.path.as_ref());
    let mut known: BTreeSet<&ImagePath> = known.collect();
    let needed = needed.iter().filter_map(|path| subject.contents.file(path));
    let mut found: Vec<&Member> = needed
        .filter(|member| lacks_bit(member) && known.insert(&member.entry.path))
        .collect();
    let is_error = !found.is_empty();
    let candidates = subject.members().filter(|member| {
        let path = &member.entry.path;
        let is_place = called.contains(path) || is_for_programs(subject, path);
        lacks_bit(member) && is_place && can_run(member)
    });
    found.extend(candidates.filter(|member| !known.contains(&member.entry.path)));
    let (first, others) = found.split_first()?;
    let (path, mode) = (&first.entry.path, first.entry.mode);
    let more = match others.len() {
        0 => String::new(),
        count => format!("; {count} more programs of the image lack the bit"),
    };
    let reason = format!("`{path}` is a program, but not executable: its mode is {mode:04o}{more}");
    let make = if is_error {
        Finding::error
    } else {
        Finding::warning
    };
    Some(make(Rule::ProgramNotExecutable, Some(path), reason))
}

fn lacks_bit(member: &Member) -> bool {
    matches!(member.entry.kind, EntryKind::File { .. }) && member.entry.mode & 0o111 == 0
}

/// Returns whether a directory is one of programs, or containers start in it. An
/// interpreter runs scripts there whose names have an ending.
fn is_for_programs(subject: &Subject<'_>, path: &ImagePath) -> bool {
    let parent = path.parent().unwrap_or_else(ImagePath::root);
    let is_place = parent.file_name() == b"bin" || parent.file_name() == b"sbin";
    let is_start = subject.config.working_dir.is_some() && parent == subject.working_directory();
    (is_place || is_start) && !path.file_name().contains(&b'.') && !is_foreign(path)
}
