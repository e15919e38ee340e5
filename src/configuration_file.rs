//! `imgbuild.toml`: every flag of a build as a key.
//!
//! The file is turned into the arguments that would have been typed, and these
//! go before those of the command line: one set of parsers and messages serves
//! both, and a new flag is a new key automatically.

mod file;
mod lock;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};
use fs_err as fs;

use crate::args::{Arguments, LOGIN};
use crate::failure::Failure;
use crate::ui::Ui;
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

/// An invalid command line or configuration file.
#[derive(Debug)]
pub(crate) enum UsageError {
    /// An error of clap, and hints for it.
    Clap(clap::Error, Vec<String>),
    /// An error of the file.
    File(Failure),
}

impl UsageError {
    pub(crate) fn report(self) -> ExitCode {
        let is_json = env::args_os().any(|word| word == "--json");
        let ui = Ui::new(false, 0, is_json);
        match self {
            Self::Clap(error, _) if !error.use_stderr() => error.exit(),
            Self::Clap(error, mut hints) => {
                for (_, value) in error.context() {
                    if let ContextValue::String(text) = value
                        && ui.secrets.add_userinfo(text)
                    {
                        hints.push(LOGIN.to_owned());
                    }
                }
                ui.say(error.render().ansi().to_string().trim_end());
                for hint in &hints {
                    ui.say(&format!("hint: {hint}"));
                }
                let text = error.render().to_string();
                // What follows is for readers of the help.
                let message = text.split("\n\n").next().unwrap_or_default();
                let message = message.trim_start_matches("error: ").to_owned();
                let failure = Failure {
                    hints,
                    ..Failure::command_line(message)
                };
                ui.fail_as_json(&failure);
                ExitCode::from(failure.exit_code())
            }
            Self::File(failure) => ui.fail(&failure),
        }
    }
}

impl From<Failure> for UsageError {
    fn from(failure: Failure) -> Self {
        Self::File(failure)
    }
}

/// Parses a command line, with what the configuration file adds.
pub(crate) fn parse(
    words: Vec<OsString>,
) -> std::result::Result<(Arguments, ParsedFlags), UsageError> {
    let parsed = merge(words)?;
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
            let hints = usage_hints(&error, &[]).into_iter().chain(lines);
            UsageError::Clap(error, hints.collect())
        })?;
    Ok(flags)
}

/// Returns the parsed command line and the file to read, if one is read.
fn find_file(words: &[OsString]) -> std::result::Result<Option<(ArgMatches, PathBuf)>, UsageError> {
    let typed = match Arguments::command().try_get_matches_from(words) {
        Ok(typed) => typed,
        // One flag needs another one, which the file may have.
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
            let lenient = Arguments::command().ignore_errors(true);
            let typed = lenient.try_get_matches_from(words);
            typed.map_err(|_| UsageError::Clap(error, Vec::new()))?
        }
        Err(error) => {
            let hints = usage_hints(&error, words);
            return Err(UsageError::Clap(error, hints));
        }
    };
    let is_set = |id: &str| typed.get_one(id) == Some(&true);
    if typed.subcommand().is_some() || is_set("version") || is_set("no_config") {
        return Ok(None);
    }
    if let Some(path) = typed.get_one::<PathBuf>("config") {
        let path = path.clone();
        return Ok(Some((typed, path)));
    }
    let path = PathBuf::from(DEFAULT_NAME);
    match fs::symlink_metadata(&path) {
        Ok(_) => Ok(Some((typed, path))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let failure = Failure::command_line(error);
            Err(failure
                .hint("`--no-config` ignores configuration files")
                .into())
        }
    }
}

fn usage_hints(error: &clap::Error, words: &[OsString]) -> Vec<String> {
    let invalid = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg];
    let word = invalid.into_iter().find_map(|kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word),
        _ => None,
    });
    let Some(word) = word else {
        return Vec::new();
    };
    let mut hints = Vec::new();
    let typed = Arguments::command().ignore_errors(true);
    let typed = typed.try_get_matches_from(words).unwrap_or_default();
    let cache = typed.subcommand_matches("cache");
    let is_prune = cache.and_then(ArgMatches::subcommand_name) == Some("prune");
    if is_prune && !word.starts_with('-') {
        hints.push(format!(
            "the blobs of a layout are pruned with `--layout {word}`"
        ));
    } else if !word.starts_with('-') && Path::new(word).is_dir() {
        hints.push(format!(
            "name the directory of a finished build with its flag: `--release {word}`"
        ));
    }
    hints.extend(advice(word).map(str::to_owned));
    hints
}

/// Returns a hint for commands and flags of other tools.
fn advice(word: &str) -> Option<&'static str> {
    Some(match word {
        "build" => "a build has no command: `imgbuild --release DIR`",
        "push" => {
            "a build is pushed with `--push`; `imgbuild copy SOURCE docker://REFERENCE` pushes an existing image"
        }
        "pull" | "save" => {
            "`imgbuild copy docker://REFERENCE oci:DIR`, or `FILE.tar`, pulls an image"
        }
        "load" => "a build is loaded with `--load`; an archive with `docker load`",
        "login" | "logout" => {
            "imgbuild uses the credentials of `docker login` or `podman login`, else `--username` and `--password-stdin`, or `IMGBUILD_REGISTRY_USER` and `IMGBUILD_REGISTRY_PASSWORD`"
        }
        "inspect" | "digest" | "manifest" => {
            "`imgbuild copy --json docker://REFERENCE oci:DIR` fetches the image and prints its digest; `imgbuild check` inspects it"
        }
        "tag" => {
            "a build is named with `--tag`; `imgbuild copy` copies an existing image to another name"
        }
        "--tls-verify"
        | "--insecure"
        | "--src-tls-verify"
        | "--dest-tls-verify"
        | "--insecure-registry" => {
            "for a registry with a private certificate authority use `--ca-file FILE`, for one without TLS `--plain-http`"
        }
        "--authfile" => "set the environment variable `REGISTRY_AUTH_FILE` instead",
        "--creds" | "--src-creds" | "--dest-creds" => {
            "`--username USER --password-stdin`, or `IMGBUILD_REGISTRY_USER` and `IMGBUILD_REGISTRY_PASSWORD`"
        }
        _ => return None,
    })
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
