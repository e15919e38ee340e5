//! `imgbuild.toml`: every flag of a build as a key.
//!
//! The file is turned into the arguments that would have been typed, and these
//! go before those of the command line: one set of parsers and messages serves
//! both, and a new flag is a new key automatically.

mod file;
mod lock;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, io};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};
use fs_err as fs;

use crate::args::{self, Arguments};
use crate::failure::Failure;
use crate::usage::{UsageError, with_release};
use file::FlagEntry;

/// The file that is read if no other is named.
const DEFAULT_NAME: &str = "imgbuild.toml";

/// Flags that decide which file is read, or end the program before.
const NOT_IN_A_FILE: [&str; 4] = ["config", "no_config", "help", "version"];

/// The parsed command line and configuration file.
#[derive(Debug)]
pub(crate) struct ParsedFlags {
    pub(crate) matches: ArgMatches,
    file: Option<PathBuf>,
    /// The lines that the first values of each flag come from.
    lines: BTreeMap<String, Vec<usize>>,
}

/// Parses a command line, with what the configuration file adds.
pub(crate) fn parse(
    words: Vec<OsString>,
) -> std::result::Result<(Arguments, ParsedFlags), UsageError> {
    let words = args::normalize(words);
    let parsed = merge(words.clone()).or_else(|error| match with_release(&words, &error) {
        Some(words) => merge(words),
        None => Err(error),
    })?;
    match Arguments::from_arg_matches(&parsed.matches) {
        Ok(arguments) => Ok((arguments, parsed)),
        Err(error) => Err(UsageError::Clap(error, Vec::new())),
    }
}

fn merge(mut words: Vec<OsString>) -> std::result::Result<ParsedFlags, UsageError> {
    let mut flags = ParsedFlags {
        matches: ArgMatches::default(),
        file: None,
        lines: BTreeMap::new(),
    };
    if let Some((typed, path)) = find_file(&words)? {
        let mut command = Arguments::command();
        command.build();
        let mut of_file: Vec<OsString> = Vec::new();
        for entry in file::entries(&path, &command)? {
            if is_overruled(&entry, &typed, &command) {
                continue;
            }
            let lines = flags.lines.entry(entry.id).or_default();
            for word in entry.words {
                lines.push(entry.line);
                of_file.push(word.into());
            }
        }
        flags.file = Some(path);
        let start = words.len().min(1);
        words.splice(start..start, of_file);
    }
    flags.matches = Arguments::command()
        .try_get_matches_from(words)
        .map_err(|error| {
            let lines = flags.hints(&error.render().to_string());
            UsageError::Clap(error, lines)
        })?;
    Ok(flags)
}

/// Returns the parsed command line and the file to read, if one is read.
fn find_file(words: &[OsString]) -> std::result::Result<Option<(ArgMatches, PathBuf)>, UsageError> {
    let typed = match args::command(words).try_get_matches_from(words) {
        Ok(typed) => typed,
        // One flag needs another one, which the file may have.
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
            let lenient = Arguments::command().ignore_errors(true);
            let typed = lenient.try_get_matches_from(words);
            typed.map_err(|_| UsageError::Clap(error, Vec::new()))?
        }
        Err(error) => return Err(UsageError::new(error, words)),
    };
    let is_set = |id: &str| typed.get_one(id) == Some(&true);
    if typed.subcommand().is_some() || is_set("version") || is_set("no_config") {
        return Ok(None);
    }
    if let Some(path) = typed.get_one::<PathBuf>("config") {
        let path = path.clone();
        return Ok(Some((typed, path)));
    }
    match default_file() {
        Ok(path) => Ok(path.map(|path| (typed, path))),
        Err(error) => {
            let failure = Failure::command_line(error);
            Err(failure
                .hint("`--no-config` ignores configuration files")
                .into())
        }
    }
}

/// Returns the file in the current directory, else in the nearest one above it in
/// the same git repository: a file elsewhere may be another user's.
fn default_file() -> io::Result<Option<PathBuf>> {
    let exists = |path: &Path| match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    let mut directory = PathBuf::new();
    let depth = env::current_dir().map_or(1, |path| path.ancestors().count());
    let mut nearest = None;
    for _ in 0..depth {
        let path = directory.join(DEFAULT_NAME);
        let is_current = directory.as_os_str().is_empty();
        // What cannot be read above is not this user's.
        let found =
            exists(&path).or_else(|error| if is_current { Err(error) } else { Ok(false) })?;
        if found && is_current {
            return Ok(Some(path));
        }
        if found && nearest.is_none() {
            nearest = Some(path);
        }
        if exists(&directory.join(".git")).unwrap_or(false) {
            return Ok(nearest);
        }
        directory.push("..");
    }
    Ok(None)
}

/// Returns true if the command line overrides an entry of the file: by the same
/// flag, unless its values have names, or by one that conflicts with it.
fn is_overruled(entry: &FlagEntry, typed: &ArgMatches, command: &Command) -> bool {
    let is_typed = |flag: &Arg| {
        let id = flag.get_id().as_str();
        typed.value_source(id) == Some(ValueSource::CommandLine)
    };
    let mut flags = command.get_arguments();
    let Some(own) = flags.find(|flag| flag.get_id() == entry.id.as_str()) else {
        return false;
    };
    let excludes = |one: &Arg, other: &Arg| {
        let conflicts = command.get_arg_conflicts_with(one);
        conflicts.iter().any(|it| it.get_id() == other.get_id())
    };
    is_typed(own) && !value::has_names(own)
        || command
            .get_arguments()
            .filter(|other| is_typed(other))
            .any(|other| excludes(own, other) || excludes(other, own))
}

/// The flags that can be keys.
fn keys(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|flag| {
        let id = flag.get_id().as_str();
        flag.get_long().is_some() && !NOT_IN_A_FILE.contains(&id)
    })
}

impl ParsedFlags {
    /// Returns true if the command prints JSON.
    pub(crate) fn is_json(&self) -> bool {
        fn is_set(matches: &ArgMatches) -> bool {
            let own = matches.try_get_one("json").ok().flatten();
            own == Some(&true) || matches.subcommand().is_some_and(|(_, of)| is_set(of))
        }
        is_set(&self.matches)
    }

    /// Returns the file and the line that a value of a flag comes from, if it
    /// was not typed.
    pub(crate) fn line(&self, id: &str, number: usize) -> Option<(String, usize)> {
        let line = self.lines.get(id)?.get(number)?;
        Some((self.file_text(), *line))
    }

    fn file_text(&self) -> String {
        let file = self.file.as_deref().unwrap_or(Path::new(""));
        file.display().to_string()
    }

    /// Adds to a failure which of the flags that it names come from the file.
    pub(crate) fn explain(&self, mut failure: Failure) -> Failure {
        let hints = self.hints(&failure.error.to_string());
        failure.hints.extend(hints);
        failure
    }

    /// Returns hints to the lines of the file with flags that a message names.
    fn hints(&self, message: &str) -> Vec<String> {
        let named = |id: &str| {
            let flag = format!("--{}", id.replace('_', "-"));
            let mut places = message.match_indices(&flag);
            let is_whole = |rest: &str| {
                !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '-')
            };
            places.any(|(start, _)| is_whole(&message[start + flag.len()..]))
        };
        self.lines
            .iter()
            .filter(|(id, lines)| !lines.is_empty() && named(id))
            .map(|(id, lines)| {
                let lines: BTreeSet<usize> = lines.iter().copied().collect();
                let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
                format!(
                    "`{}` is set in `{}`, line {}",
                    id.replace('_', "-"),
                    self.file_text(),
                    lines.join(", ")
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
