//! Releases of Erlang and Elixir without the Erlang runtime: they start the
//! `erl` that `PATH` has.
//!
//! `mix release` with `include_erts: false` leaves out ERTS and the
//! applications of Erlang/OTP, and its script runs `erl`. So does relx with
//! `{include_erts, false}`, whose script asks `erl` where its `erlexec` is.
//! What `erl` starts is `$ROOTDIR/erts-VSN/bin/erlexec`, whatever else lies
//! beside it.

use imgbuild_oci::changeset::Member;
use imgbuild_oci::path::ImagePath;

use super::subject::Subject;
use crate::contents::is_executable;
use crate::finding::{Finding, Rule, Severity};
use crate::programs::script_text;

/// The file that says which ERTS and which version of a release start.
pub(super) const START: &[u8] = b"start_erl.data";

/// The program that starts a release without a runtime of its own.
const ERL: &str = "erl";

/// What `erl` and relx's scripts start.
const ERLEXEC: &str = "erlexec";

/// How many scripts that start others are followed: `bin/server` starts
/// `bin/NAME`.
const MAX_DEPTH: usize = 2;

/// Names the releases that nothing can start.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let members = subject.members();
    let starts = members.filter(|member| member.entry.path.file_name() == START);
    starts
        .filter_map(|start| judge(subject, &start.entry.path))
        .collect()
}

fn judge(subject: &Subject<'_>, start: &ImagePath) -> Option<Finding> {
    let root = root(start)?;
    let content = subject.contents.file(start)?.content.as_ref()?;
    let text = content.first_bytes(MAX_START_BYTES).ok()?;
    let text = String::from_utf8(text).ok()?;
    let version = text.split_whitespace().next()?;
    let own = format!("erts-{version}/bin/{ERLEXEC}");
    let is_own = root.join(own);
    if is_own.is_ok_and(|path| subject.contents.file(&path).is_some()) {
        return None;
    }
    let reason = match in_path(subject) {
        None => "no directory of `PATH` has `erl`".to_owned(),
        Some((erl, member)) => {
            let missing = missing_machine(subject, member)?;
            format!("`{erl}` starts `{missing}`, where nothing is")
        }
    };
    let severity = match starts_it(subject, &root) && !is_elsewhere(subject) {
        true => Severity::Error,
        false => Severity::Warning,
    };
    let reason =
        format!("the release at `{root}` has no Erlang runtime (ERTS {version}), and {reason}");
    Some(Finding::new(
        Rule::ErlangMissing,
        severity,
        Some(&root),
        reason,
    ))
}

/// The file has two words.
pub(super) const MAX_START_BYTES: u64 = 4096;

/// Returns the directory of the release that has `releases/start_erl.data`.
fn root(start: &ImagePath) -> Option<ImagePath> {
    let releases = start.parent()?;
    (releases.file_name() == b"releases").then_some(())?;
    releases.parent()
}

/// Returns the `erl` that `PATH` has.
fn in_path<'a>(subject: &Subject<'a>) -> Option<(ImagePath, &'a Member)> {
    let directories = subject.search_path().into_iter();
    let mut found = directories.filter_map(|directory| {
        let path = directory.join(ERL).ok()?;
        let member = subject.contents.file(&path)?;
        is_executable(&member.entry).then_some((path, member))
    });
    found.next()
}

/// Returns whether directories that are not in `PATH` have an `erl`, as one
/// that the release's `env.sh` may add to it.
fn is_elsewhere(subject: &Subject<'_>) -> bool {
    let known = subject.search_path();
    let mut members = subject
        .members()
        .chain(subject.contents.base_members())
        .filter(|member| member.entry.path.file_name() == ERL.as_bytes());
    members.any(|member| {
        let parent = member.entry.path.parent();
        is_executable(&member.entry) && !parent.is_some_and(|parent| known.contains(&parent))
    })
}

/// Returns the virtual machine that an installed `erl` starts, when it is not
/// there. One that says it otherwise than installations do says nothing.
fn missing_machine(subject: &Subject<'_>, erl: &Member) -> Option<ImagePath> {
    let text = script_text(erl.content.as_ref()?)?;
    let machine = ImagePath::parse(machine(&text)?).ok()?;
    let is_there = subject.contents.file(&machine).is_some();
    (!is_there).then_some(machine)
}

/// Reads `ROOTDIR=/…` and `BINDIR="$ROOTDIR/erts-VSN/bin"` of the script that
/// an installation has as `erl`.
fn machine(text: &str) -> Option<String> {
    let value = |name: &str| {
        let mut values = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix(name))
            .map(|value| value.trim_matches('"'));
        values.next_back()
    };
    let root = value("ROOTDIR=").filter(|root| root.starts_with('/'))?;
    let directory = value("BINDIR=")?.strip_prefix("$ROOTDIR/")?;
    let is_plain = !root.contains(['$', '`']) && !directory.contains(['$', '`']);
    is_plain.then(|| format!("{root}/{directory}/{ERLEXEC}"))
}

/// Returns whether containers start the release at `root` by its script.
fn starts_it(subject: &Subject<'_>, root: &ImagePath) -> bool {
    let config = subject.config;
    let lists = [config.entrypoint.as_deref(), config.cmd.as_deref()];
    let words = lists.map(Option::unwrap_or_default).concat();
    let Some((command, arguments)) = words.split_first() else {
        return false;
    };
    // It is the one that needs no virtual machine.
    if arguments.first().is_some_and(|word| word == "version") {
        return false;
    }
    let path = match command.starts_with('/') {
        true => ImagePath::parse(command),
        false => subject.working_directory().join(command),
    };
    path.is_ok_and(|path| is_start(subject, root, &path, 0))
}

/// Returns whether a file is a script in `bin` that starts the virtual
/// machine, or another one that does.
fn is_start(subject: &Subject<'_>, root: &ImagePath, path: &ImagePath, depth: usize) -> bool {
    let Some(member) = subject.contents.file(path) else {
        return false;
    };
    let Ok(bin) = root.join("bin") else {
        return false;
    };
    if member.entry.path.parent().as_ref() != Some(&bin) {
        return false;
    }
    let Some(text) = member.content.as_ref().and_then(script_text) else {
        return false;
    };
    if text.contains("start_erl.data") || text.contains(ERLEXEC) {
        return true;
    }
    let others = text.split_whitespace();
    let mut others = others.filter_map(|word| bin.join(word.strip_prefix("./")?).ok());
    depth < MAX_DEPTH && others.any(|other| is_start(subject, root, &other, depth + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_installed_erl_starts_is_read_off_its_script() {
        let old = "#!/bin/sh\nROOTDIR=\"/opt/erlang\"\nBINDIR=$ROOTDIR/erts-9.3/bin\n";
        let new = "#!/bin/sh\nif true\nthen\n    ROOTDIR=/usr/lib/erlang\nfi\nBINDIR=\"$ROOTDIR/erts-13.1.5/bin\"\n";
        for (text, expected) in [
            (old, Some("/opt/erlang/erts-9.3/bin/erlexec")),
            (new, Some("/usr/lib/erlang/erts-13.1.5/bin/erlexec")),
            ("#!/bin/sh\nROOTDIR=$(pwd)\nBINDIR=$ROOTDIR/bin\n", None),
            ("#!/bin/sh\nexec /opt/real/erl \"$@\"\n", None),
        ] {
            assert_eq!(machine(text).as_deref(), expected, "{text}");
        }
    }
}
