//! Programs and files that scripts start.

use std::collections::{BTreeMap, BTreeSet};

use imgbuild_oci::content::Content;
use imgbuild_oci::entry::Member;
use imgbuild_oci::path::ImagePath;

use super::Programs;
use crate::contents::{Contents, first_bytes, is_executable};
use crate::finding::{Finding, Rule, Severity};
use crate::refusal::quoted;
use crate::script::{COMPUTED, Calls, MAX_CALLS, MAX_LINE, Shebang, calls};

/// Shell words that are programs as well, and work without them.
const BUILTINS: [&str; 28] = [
    "[", "alias", "bg", "cd", "command", "echo", "eval", "exec", "exit", "export", "false", "fc",
    "fg", "getopts", "hash", "jobs", "kill", "printf", "pwd", "read", "set", "test", "true",
    "type", "ulimit", "umask", "unalias", "wait",
];

/// The bytes of a script that are read; generated ones have less than 30 KiB.
const MAX_SCRIPT_BYTES: u64 = 1 << 20;

/// The most scripts that are followed from a command, and the bytes after which no
/// other is, as after [`MAX_CALLS`] paths: large releases have ten with 30 KiB.
const MAX_SCRIPTS: usize = 256;
const MAX_BYTES: u64 = 4 << 20;

/// Returns the programs that a script calls, if it is one that can run.
pub(crate) fn calls_of(member: &Member) -> Option<BTreeSet<String>> {
    if !is_executable(&member.entry) && !member.entry.path.file_name().ends_with(b".sh") {
        return None;
    }
    Some(shell_calls(member, false)?.programs)
}

/// Reads a file as a shell script, if it is one; one that another script starts
/// may lack the line with its interpreter.
fn shell_calls(member: &Member, is_started: bool) -> Option<Calls> {
    let content = member.content.as_ref()?;
    let head = first_bytes(content, MAX_LINE);
    let is_shell = match Shebang::parse(&head) {
        Some(shebang) => shebang.is_shell(),
        None => is_started && !head.contains(&0),
    };
    let mut calls = is_shell.then(|| calls(&text(content)))?;
    (calls.programs).retain(|name| !BUILTINS.contains(&name.as_str()));
    Some(calls)
}

/// Returns the shell scripts that a command starts in a container: itself, and
/// those that one of them starts by a path, up to a limit. `start` is the directory
/// in which containers start.
pub(crate) fn scripts_of(
    contents: &Contents<'_>,
    command: &ImagePath,
    start: &ImagePath,
) -> BTreeMap<ImagePath, Calls> {
    let mut scripts = BTreeMap::new();
    let mut queue = vec![command.clone()];
    let mut seen = BTreeSet::new();
    let (mut paths, mut bytes) = (0, 0);
    while let Some(path) = queue.pop() {
        let is_next = scripts.len() < MAX_SCRIPTS && paths < MAX_CALLS && bytes < MAX_BYTES;
        if is_next
            && seen.insert(path.clone())
            && let Some(file) = contents.file(&path)
            && let Some(calls) = shell_calls(file, path != *command)
        {
            bytes += file.entry.content_size().min(MAX_SCRIPT_BYTES);
            paths += calls.paths.len();
            let called = calls.paths.keys();
            queue.extend(called.filter_map(|called| called_file(contents, &path, start, called)));
            scripts.insert(path, calls);
        }
    }
    scripts
}

/// Returns the file that a script starts by a path, from the directory of the
/// script, from that in which containers start, or from the one above the script's.
pub(crate) fn called_file(
    contents: &Contents<'_>,
    script: &ImagePath,
    start: &ImagePath,
    called: &str,
) -> Option<ImagePath> {
    let directory = script.parent();
    let above = directory.as_ref().and_then(ImagePath::parent);
    let relative = called.strip_prefix(COMPUTED).unwrap_or(called);
    let directories = if called.starts_with('/') {
        [Some(ImagePath::root()), None, None]
    } else {
        [directory, Some(start.clone()), above]
    };
    let mut paths = directories.into_iter().flatten().filter_map(|directory| {
        let mut parts = relative.split('/');
        parts.try_fold(directory, |at, part| match part {
            "" | "." => Some(at),
            ".." => at.parent(),
            part => at.join(part).ok(),
        })
    });
    paths.find_map(|path| Some(contents.file(&path)?.entry.path.clone()))
}

/// Reads a script as text.
pub(crate) fn script_text(content: &Content) -> Option<String> {
    let text = text(content);
    Shebang::parse(text.as_bytes()).map(|_| text)
}

/// Reads a text. Bytes that are not UTF-8 are never part of a command.
fn text(content: &Content) -> String {
    String::from_utf8_lossy(&first_bytes(content, MAX_SCRIPT_BYTES)).into_owned()
}

impl Programs<'_> {
    /// Adds the programs of the host that a command, if it is a shell script, and
    /// the scripts that it starts call, and interpreters of files that they start.
    /// Warns of those that the command calls and the image then lacks.
    pub(crate) fn add_calls(&mut self, command: &ImagePath, start: &ImagePath) {
        let (contents, mut added) = (self.contents, BTreeSet::new());
        let scripts = scripts_of(contents, command, start);
        let brings_calls = self.brings_calls;
        for (script, calls) in scripts.iter().filter(|_| brings_calls) {
            calls
                .programs
                .iter()
                .for_each(|name| self.add_call(name, &mut added));
            for called in calls.paths.keys() {
                if let Some(file) = called_file(contents, script, start, called) {
                    let known = self.findings.len();
                    self.add_interpreter_of(&file);
                    for finding in &mut self.findings[known..] {
                        finding.severity = Severity::Warning;
                    }
                } else if called.starts_with('/') {
                    self.add_call(called, &mut added);
                }
            }
        }
        self.note_calls(&format!("`{command}` and its scripts"), &added);
        if let Some(calls) = scripts.get(command) {
            self.warn_of_missing(command, calls.programs.iter().map(String::as_str));
        }
    }

    /// Adds the programs that a script of the host calls, or remembers them for a
    /// finding.
    pub(super) fn bring_calls(
        &mut self,
        script: &ImagePath,
        calls: BTreeSet<String>,
        added: &mut BTreeSet<String>,
    ) {
        if self.brings_calls {
            calls.iter().for_each(|name| self.add_call(name, added));
        } else {
            self.calls_of_packages.insert(script.clone(), calls);
        }
    }

    pub(super) fn note_calls(&mut self, scripts: &str, added: &BTreeSet<String>) {
        if !added.is_empty() {
            let added = quoted(added);
            self.notes.push(format!(
                "programs that {scripts} call are included: {added}"
            ));
        }
    }

    /// Adds a program that a script calls, and those that it calls as a script.
    pub(super) fn add_call(&mut self, name: &str, names: &mut BTreeSet<String>) {
        let known = self.placed.len();
        if !self.add_if_present(name) || self.placed.len() == known {
            return;
        }
        if self.takes_package_files && !self.has_modules(name) {
            self.add_files_of(name);
        }
        names.insert(name.to_owned());
        if name == "xargs" {
            // The command that it runs by default.
            self.add_call("echo", names);
        }
        let mut paths = self.paths_of(name);
        let added = paths.find_map(|path| self.placed.get(&ImagePath::parse(path).ok()?));
        let called = added.and_then(calls_of).unwrap_or_default();
        drop(paths);
        called.iter().for_each(|name| self.add_call(name, names));
    }

    /// Warns of the programs that a script seems to call, that the host has
    /// and the image does not.
    pub(crate) fn warn_of_missing<'c>(
        &mut self,
        script: &ImagePath,
        calls: impl Iterator<Item = &'c str>,
    ) {
        let missing: Vec<&str> = calls
            .filter(|name| !self.is_in_image(name) && self.is_on_host(name))
            .collect();
        if !missing.is_empty() {
            let reason = format!(
                "`{script}` seems to call programs that the image does not have: `{}`",
                missing.join("`, `")
            );
            let rule = Rule::ProgramMissing;
            self.findings
                .push(Finding::warning(rule, Some(script), reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(BUILTINS.is_sorted());
    }
}
