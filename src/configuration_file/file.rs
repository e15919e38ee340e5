//! Reading the file: keys, values, and what is wrong with them.

use std::ops::Range;
use std::path::Path;

use clap::error::{ContextKind, ContextValue};
use clap::{Command, CommandFactory};
use imgbuild_oci::bounded;
use toml::de::DeTable;

use super::{NOT_IN_A_FILE, keys, value};
use crate::args::{Arguments, must_exist};
use crate::failure::{Failure, FailureKind, Result};

/// The maximum size of a file in bytes: it is written by hand.
const MAX_BYTES: u64 = 1 << 20;

const OTHER_FILE: &str = "name another file with `--config`, or ignore it with `--no-config`";

/// One value as arguments of a command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FlagEntry {
    /// The flag, as the program names it.
    pub(super) id: String,
    pub(super) line: usize,
    pub(super) words: Vec<String>,
}

/// Returns the entries of a file, in its order; all its problems are reported at
/// once. Relative paths start at the directory of the file.
pub(super) fn entries(path: &Path, command: &Command) -> Result<Vec<FlagEntry>> {
    let text = read(path)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    parse(&text, directory, command).map_err(|problems| {
        let lines = problems
            .iter()
            .map(|(line, problem)| format!("\n  line {line}: {problem}"));
        Failure::command_line(format!(
            "cannot use `{}`:{}",
            path.display(),
            lines.collect::<String>()
        ))
        .hint("`imgbuild --help` lists the flags, each of which is a key; `--no-config` ignores the file")
    })
}

pub(super) fn read(path: &Path) -> Result<String> {
    let failure = |error| Failure::command_line(error).hint(OTHER_FILE);
    must_exist(&format!("--config {}", path.display()), path).map_err(|error| Failure {
        kind: FailureKind::CommandLine,
        ..error.hint(OTHER_FILE)
    })?;
    bounded::read_text(path, MAX_BYTES).map_err(failure)
}

/// Turns keys into flags; what is wrong comes with its line.
pub(super) fn parse(
    text: &str,
    directory: &Path,
    command: &Command,
) -> std::result::Result<Vec<FlagEntry>, Vec<(usize, String)>> {
    let line =
        |span: Range<usize>| 1 + text.get(..span.start).unwrap_or(text).matches('\n').count();
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, line);
        vec![(line, error.message().to_owned())]
    })?;
    let mut entries = Vec::new();
    let mut problems = Vec::new();
    let mut values: Vec<_> = table.get_ref().iter().collect();
    // In the order of the file: of patterns, the last one decides.
    values.sort_by_key(|(key, _)| key.span().start);
    for (key, found) in values {
        let name = key.get_ref().as_ref();
        let Some(flag) = keys(command).find(|flag| flag.get_long() == Some(name)) else {
            problems.push((line(key.span()), unknown(name)));
            continue;
        };
        match value::words(flag, found, directory) {
            Ok(words) => entries.extend(words.into_iter().map(|(span, words)| FlagEntry {
                id: flag.get_id().to_string(),
                line: line(span),
                words,
            })),
            Err((span, problem)) => problems.push((line(span), problem)),
        }
    }
    if problems.is_empty() {
        Ok(entries)
    } else {
        Err(problems)
    }
}

/// Returns the problem of a key that is not a flag. A similar key is found in
/// the same way as for a mistyped flag.
fn unknown(name: &str) -> String {
    let id = name.replace('-', "_");
    if NOT_IN_A_FILE.contains(&id.as_str()) {
        return format!("`{name}` is allowed on the command line only");
    }
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    let near = name.chars().all(is_plain).then(|| near(name)).flatten();
    let near = near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
    format!("unknown key `{name}`{near}")
}

fn near(name: &str) -> Option<String> {
    let typed = name.replace('_', "-");
    let command = Arguments::command();
    if command
        .get_arguments()
        .any(|flag| flag.get_long() == Some(&typed))
    {
        return Some(typed);
    }
    let words = ["imgbuild".to_owned(), format!("--{typed}")];
    let error = command.try_get_matches_from(words).err()?;
    match error.get(ContextKind::SuggestedArg)? {
        ContextValue::String(flag) => Some(flag.trim_start_matches('-').to_owned()),
        _ => None,
    }
}
