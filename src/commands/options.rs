//! Everything that was asked for, parsed once.

mod releases;
mod values;

use std::collections::BTreeMap;

use clap::ArgMatches;
use imgbuild_oci::entry::DEFAULT_MTIME;
use imgbuild_oci::parallel;
use imgbuild_release::addition::Addition;
use imgbuild_release::error::Error;
use imgbuild_release::pattern::{Pattern, Patterns};
use imgbuild_release::plan::ConfigurationOptions;
use imgbuild_release::release::CommandOptions;
use imgbuild_release::skeleton::UserName;

use super::time::{self, CreatedBy};
use crate::args::{BuildArguments, RuntimeChoice, must_exist};
use crate::failure::{Failure, FailureKind, Result};
use crate::ui::Ui;

pub(crate) use releases::{ReleaseRequest, host_platform};
pub(crate) use values::pairs;

/// A build as it was asked for: the flags, and the texts among them parsed.
#[derive(Debug)]
pub(crate) struct BuildRequest<'a> {
    pub(crate) flags: &'a BuildArguments,
    /// At least one release, sorted by platform.
    pub(crate) releases: Vec<ReleaseRequest>,
    pub(crate) patterns: Patterns,
    /// The patterns of files that are not secrets, each by itself.
    pub(crate) allowed_secrets: Vec<Patterns>,
    /// The modification time of every file, in Unix seconds.
    pub(crate) mtime: u64,
    /// The creation time in Unix seconds, unless it follows from the release.
    pub(crate) created: Option<(u64, CreatedBy)>,
    pub(crate) additions: Vec<Addition>,
    pub(crate) command: CommandOptions,
    pub(crate) configuration: ConfigurationOptions,
    pub(crate) user: Option<UserName>,
    pub(crate) annotations: BTreeMap<String, String>,
}

impl<'a> BuildRequest<'a> {
    /// Parses the flags. `matches` has the order of those that were repeated.
    ///
    /// # Errors
    ///
    /// If a text is invalid, or a file or directory that it names is missing.
    pub(crate) fn parse(flags: &'a BuildArguments, matches: &ArgMatches, ui: &Ui) -> Result<Self> {
        let releases = releases::parse(flags)?;
        check_libraries(flags, &releases)?;
        let mtime = match &flags.mtime {
            Some(text) => time::time("--mtime", text)?,
            None => DEFAULT_MTIME,
        };
        let user = flags.configuration.user.as_deref();
        flags.program.iter().try_for_each(values::check_program)?;
        flags.locale.iter().try_for_each(values::check_locale)?;

        let allowed = flags.output.allow_secret.iter();
        let allowed = allowed.map(|text| compile(&[Pattern::Exclude(text.clone())]));

        Ok(Self {
            flags,
            releases,
            patterns: patterns(matches)?,
            allowed_secrets: allowed.collect::<Result<_>>()?,
            mtime,
            created: time::created(flags.created.as_deref())?,
            additions: additions(&flags.add)?,
            command: values::command(flags)?,
            configuration: values::configuration(flags, ui)?,
            user: user.map(values::user).transpose()?,
            annotations: pairs("--annotation", &flags.configuration.annotation)?,
        })
    }
}

/// Returns the patterns in the order of the command line: clap keeps the values
/// of each flag by themselves.
fn patterns(matches: &ArgMatches) -> Result<Patterns> {
    let of_flag = |flag, pattern: fn(String) -> Pattern| {
        let indices = matches.indices_of(flag).into_iter().flatten();
        let texts = matches.get_many::<String>(flag).into_iter().flatten();
        indices.zip(texts.cloned().map(pattern)).collect()
    };
    let mut patterns: Vec<(usize, Pattern)> = of_flag("exclude", Pattern::Exclude);
    patterns.extend(of_flag("include", Pattern::Include));
    patterns.sort_by_key(|(index, _)| *index);

    let patterns: Vec<Pattern> = patterns.into_iter().map(|(_, pattern)| pattern).collect();
    compile(&patterns)
}

fn compile(patterns: &[Pattern]) -> Result<Patterns> {
    Patterns::new(patterns).map_err(|error| Failure {
        kind: FailureKind::CommandLine,
        ..Failure::from(Error::Pattern(error))
    })
}

fn additions(texts: &[String]) -> Result<Vec<Addition>> {
    let mut additions = Vec::new();
    for text in texts {
        let addition = values::addition(text)?;
        must_exist(&format!("--add {text}"), &addition.source)?;
        additions.push(addition);
    }
    Ok(additions)
}

/// Refuses directories of libraries that do not exist, and flags for libraries
/// that `--runtime none` leaves out.
fn check_libraries(flags: &BuildArguments, releases: &[ReleaseRequest]) -> Result<()> {
    let sysroots = releases.iter().filter_map(|one| one.sysroot.as_ref());
    let sysroots = sysroots.map(|path| ("--sysroot", path));
    let libraries = flags
        .library_path
        .iter()
        .map(|path| ("--library-path", path));
    if let Some((flag, path)) = sysroots.chain(libraries).find(|(_, path)| !path.is_dir()) {
        let path = path.display().to_string();
        return Err(Failure::of_flag(flag, &path, "there is no such directory"));
    }

    let given = if !flags.add_library.is_empty() {
        "--add-library"
    } else if !flags.library_path.is_empty() {
        "--library-path"
    } else {
        return Ok(());
    };
    if flags.runtime == RuntimeChoice::None {
        let message = format!("`{given}` has no effect with `--runtime none`");
        return Err(Failure::command_line(message));
    }
    Ok(())
}

/// Returns the number of threads: the one that was asked for, else one for each
/// core.
pub(crate) fn threads(given: Option<u16>) -> usize {
    given.map_or_else(parallel::processors, usize::from).max(1)
}
