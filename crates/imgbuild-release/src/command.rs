//! What a container of the image runs.

use imgbuild_oci::content::Content;
use imgbuild_oci::image::Healthcheck;
use imgbuild_oci::path::ImagePath;

use crate::base::Base;
use crate::contents::{Contents, End, first_bytes, is_executable};
use crate::elf::{Elf, ElfKind};
use crate::error::{Error, Result};
use crate::release::{Direct, Kind, MixRelease, Release};

/// Docker's default, said out loud: not every engine adds it.
pub(crate) const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The command as the user gave it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandOptions {
    /// The entrypoint; a relative first argument lies in the release.
    pub entrypoint: Option<Vec<String>>,
    /// The command; its first argument as above, without an entrypoint.
    pub cmd: Option<Vec<String>>,
    /// Whether the image has no entrypoint unless one is given.
    pub no_entrypoint: bool,
    /// Whether the image does not get its base's command.
    pub no_cmd: bool,
}

/// The command as the configuration says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
    /// What the command itself wants in the environment.
    pub(crate) environment: Vec<(String, String)>,
    /// What it wants there whatever the user says, whose choice is a part of
    /// it already.
    pub(crate) decided: Vec<(String, String)>,
    /// Whether it is the base image's program that runs.
    pub(crate) is_inherited: bool,
}

impl Command {
    fn own(entrypoint: Option<Vec<String>>, cmd: Option<Vec<String>>) -> Self {
        Self {
            entrypoint,
            cmd,
            ..Self::default()
        }
    }

    fn inherited(entrypoint: Option<&Vec<String>>, cmd: Option<&Vec<String>>) -> Self {
        Self {
            entrypoint: entrypoint.cloned(),
            cmd: cmd.cloned(),
            is_inherited: true,
            ..Self::default()
        }
    }
}

/// Resolves the command that was given, or finds the one that is meant.
///
/// Of a base image's command, an entrypoint that is given replaces all, a
/// command that is given the command only, as [`FROM`] does. A program of the
/// release replaces all; a release without one leaves all as it is.
///
/// [`FROM`]: https://docs.docker.com/reference/dockerfile/#understand-how-cmd-and-entrypoint-interact
pub(crate) fn decide(
    release: &Release,
    contents: &Contents<'_>,
    options: &CommandOptions,
    (given, base): (&[(String, String)], Option<&Base>),
) -> Result<Command> {
    if let (Some(direct), Some(mix)) = (release.direct(), release.mix()) {
        return decide_direct(release, (direct, mix), contents, options, given);
    }
    let resolve = |arguments: &Vec<String>| resolve(release.prefix(), contents, arguments);
    let base = base.map(Base::configuration);
    let base_entrypoint = base.and_then(|base| base.entrypoint.as_ref());
    let base_entrypoint = base_entrypoint.filter(|_| !options.no_entrypoint);
    match (&options.entrypoint, &options.cmd) {
        (Some(entrypoint), cmd) => {
            let entrypoint = resolve(entrypoint)?;
            Ok(Command::own(Some(entrypoint), cmd.clone()))
        }
        (None, Some(cmd)) if base_entrypoint.is_some() => {
            Ok(Command::inherited(base_entrypoint, Some(cmd)))
        }
        (None, Some(cmd)) => Ok(Command::own(None, Some(resolve(cmd)?))),
        (None, None) if options.no_entrypoint => Ok(Command::default()),
        (None, None) if options.no_cmd && base_entrypoint.is_some() => {
            Ok(Command::inherited(base_entrypoint, None))
        }
        (None, None) => match (default_command(release, contents), base) {
            (Err(Error::NoCommand { candidates }), Some(base))
                if candidates.is_empty() && (base.entrypoint.is_some() || base.cmd.is_some()) =>
            {
                let cmd = base.cmd.as_ref().filter(|_| !options.no_cmd);
                Ok(Command::inherited(base.entrypoint.as_ref(), cmd))
            }
            (command, _) => command,
        },
    }
}

/// Finds the program of the release that is meant.
fn default_command(release: &Release, contents: &Contents<'_>) -> Result<Command> {
    if release.kind() == Kind::Mix {
        return Ok(Command::own(None, Some(mix_command(release, contents)?)));
    }
    let entrypoint = vec![guess(release)?.to_string()];
    Ok(Command::own(Some(entrypoint), None))
}

/// Starts the virtual machine itself, as the release's scripts would, or
/// another program that needs no shell.
fn decide_direct(
    release: &Release,
    (direct, mix): (&Direct, &MixRelease),
    contents: &Contents<'_>,
    options: &CommandOptions,
    given: &[(String, String)],
) -> Result<Command> {
    let words = [&options.entrypoint, &options.cmd].map(Option::as_deref);
    let words = words.map(Option::unwrap_or_default).concat();
    if words.is_empty() && options.no_entrypoint {
        return Ok(Command::default());
    }
    let verb = match mix.is_relx {
        true => "foreground",
        false => "start",
    };
    let prefix = release.prefix();
    let is = |word: &str, name: &str| {
        let path = prefix.join(format!("bin/{name}"));
        let path = path.is_ok_and(|path| path.to_string() == word);
        path || word == name || word.strip_prefix("bin/") == Some(name)
    };
    let as_server = match words.as_slice() {
        [] => Some(direct.has_server()),
        [word] if direct.has_server() && is(word, "server") => Some(true),
        [word, command] if command == verb && is(word, release.name()) => Some(false),
        _ => None,
    };
    let start = direct.start(prefix, mix, as_server == Some(true), given);
    if as_server.is_some() {
        return Ok(Command {
            entrypoint: Some(start.arguments),
            environment: start.environment,
            decided: start.decided,
            ..Command::default()
        });
    }
    let other = binary_command(prefix, contents, options);
    let other = other.ok_or_else(|| Error::Command {
        command: words.first().cloned().unwrap_or_default(),
        reason: format!(
            "without a shell, only programs can, and the release by `bin/server` or `bin/{} {verb}`",
            release.name()
        ),
    })?;
    Ok(Command {
        environment: start.environment,
        decided: start.decided,
        ..other
    })
}

/// Returns the command that was given when it is machine code.
fn binary_command(
    prefix: &ImagePath,
    contents: &Contents<'_>,
    options: &CommandOptions,
) -> Option<Command> {
    let given = options.entrypoint.as_ref().or(options.cmd.as_ref())?;
    let words = resolve(prefix, contents, given).ok()?;
    let path = ImagePath::parse(words.first()?).ok()?;
    let content = contents.file(&path)?.content.as_ref()?;
    if first_bytes(content, 4) != b"\x7fELF" {
        return None;
    }
    Some(match options.entrypoint.is_some() {
        true => Command {
            entrypoint: Some(words),
            cmd: options.cmd.clone(),
            ..Command::default()
        },
        false => Command {
            cmd: Some(words),
            ..Command::default()
        },
    })
}

/// Makes the first argument an absolute path. Whether something that can run
/// is there is seen when the image is complete: that is the check's work.
pub(crate) fn resolve(
    prefix: &ImagePath,
    contents: &Contents<'_>,
    arguments: &[String],
) -> Result<Vec<String>> {
    let Some((command, rest)) = arguments.split_first() else {
        return Ok(Vec::new());
    };
    let path = match command.starts_with('/') {
        true => ImagePath::parse(command)?,
        false => {
            let direct = prefix.join(command)?;
            let in_bin = prefix.join(format!("bin/{command}"))?;
            let system = contents.base_path().unwrap_or(SYSTEM_PATH).split(':');
            let system = system.filter_map(|at| ImagePath::parse(format!("{at}/{command}")).ok());
            let mut others = [in_bin].into_iter().chain(system);
            let is_bare = !command.contains('/');
            match contents.get(&direct) {
                None if is_bare => others
                    .find(|path| contents.get(path).is_some())
                    .unwrap_or(direct),
                _ => direct,
            }
        }
    };
    let first = [path.to_string()].into_iter();
    Ok(first.chain(rest.iter().cloned()).collect())
}

/// `bin/server` as Phoenix makes it, else the release's own script. It is no
/// entrypoint, so that a container can be told to run another of its scripts.
fn mix_command(release: &Release, contents: &Contents<'_>) -> Result<Vec<String>> {
    let server = release.prefix().join("bin/server")?;
    let can_run = |path: &ImagePath| {
        let file = contents.file(path);
        file.is_some_and(|file| is_executable(&file.entry))
    };
    if can_run(&server) {
        return Ok(vec![server.to_string()]);
    }
    let own = format!("bin/{}", release.name());
    let own = release.prefix().join(own)?;
    if !can_run(&own) {
        let candidates = Vec::new();
        return Err(Error::NoCommand { candidates });
    }
    let verb = match release.mix().is_some_and(|mix| mix.is_relx) {
        true => "foreground",
        false => "start",
    };
    Ok(vec![own.to_string(), verb.to_owned()])
}

/// Returns the `PATH` that containers start with, unless the user gives one.
pub(crate) fn default_path(release: &Release, contents: &Contents<'_>) -> Result<String> {
    let bin = release.prefix().join("bin")?;
    let path = contents.base_path().unwrap_or(SYSTEM_PATH);
    let has_bin = || {
        path.split(':')
            .any(|known| known.as_bytes() == bin.as_bytes())
    };
    Ok(match release.kind() {
        Kind::Mix | Kind::Tree if contents.own(&bin).is_some() && !has_bin() => {
            format!("{bin}:{path}")
        }
        Kind::Mix | Kind::Tree | Kind::Cargo => path.to_owned(),
    })
}

/// Returns the files that containers start, of those that can be told before
/// everything is there.
pub(crate) fn files(
    release: &Release,
    contents: &Contents<'_>,
    options: &CommandOptions,
    (healthcheck, base): (Option<&Healthcheck>, Option<&Base>),
) -> Vec<ImagePath> {
    let command = decide(release, contents, options, (&[], base)).unwrap_or_default();
    let command = command.entrypoint.or(command.cmd);
    let check = healthcheck.and_then(|check| match check.test.as_slice() {
        [kind, command @ ..] if kind == "CMD" => resolve(release.prefix(), contents, command).ok(),
        _ => None,
    });
    [command, check]
        .into_iter()
        .flatten()
        .filter_map(|arguments| ImagePath::parse(arguments.first()?).ok())
        .filter_map(|path| match contents.resolve(&path) {
            End::There(end) => Some(end),
            End::Nothing(_) | End::Loop => None,
        })
        .collect()
}

/// Finds the one executable, or of several the one named like the release.
fn guess(release: &Release) -> Result<ImagePath> {
    let contents = Contents::new(release.members());
    let candidates: Vec<&ImagePath> = release
        .members()
        .iter()
        .map(|member| &member.entry.path)
        .filter(|path| is_at_top_or_bin(path, release))
        .filter(|path| {
            let file = contents.file(path);
            file.is_some_and(|file| {
                is_executable(&file.entry) && file.content.as_ref().is_some_and(can_run)
            })
        })
        .collect();
    let named = |name: &str| {
        let mut found = candidates
            .iter()
            .filter(|path| path.file_name() == name.as_bytes());
        found.next().map(|path| (*path).clone())
    };
    // A link to a program is no second program.
    let mut ends: Vec<End> = candidates
        .iter()
        .map(|path| contents.resolve(path))
        .collect();
    ends.dedup();
    match (candidates.as_slice(), ends.as_slice()) {
        ([only], _) => Ok((*only).clone()),
        (several, ends) => match (named(release.name()), ends) {
            (Some(path), _) => Ok(path),
            (None, [End::There(end)]) if several.contains(&end) => Ok(end.clone()),
            (None, _) => Err(Error::NoCommand {
                candidates: several.iter().map(|path| (*path).clone()).collect(),
            }),
        },
    }
}

fn is_at_top_or_bin(path: &ImagePath, release: &Release) -> bool {
    let parent = path.parent().unwrap_or_else(ImagePath::root);
    let bin = release.prefix().join("bin");
    parent == *release.prefix()
        || (release.kind() == Kind::Tree && bin.is_ok_and(|bin| parent == bin))
}

/// Returns whether the kernel takes it for a program: a script, or an ELF
/// file that is one.
fn can_run(content: &Content) -> bool {
    match first_bytes(content, 4).as_slice() {
        [b'#', b'!', ..] => true,
        [0x7f, b'E', b'L', b'F'] => {
            let Content::File(file) = content else {
                return false;
            };
            let elf = fs_err::File::open(&file.path)
                .ok()
                .and_then(|file| Elf::read(&file).ok().flatten());
            elf.is_some_and(|elf| matches!(elf.kind, ElfKind::Program | ElfKind::StaticProgram))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use imgbuild_testing::Tree;

    use super::*;
    use crate::pattern::Patterns;
    use crate::release::ReleaseOptions;

    /// What is decided for a release in a directory called `app`.
    fn decided(tree: &str, options: &CommandOptions) -> Result<Command> {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("app");
        Tree::parse(tree).unwrap().write_to(&root).unwrap();
        let release = open(&root);
        decide(
            &release,
            &Contents::new(release.members()),
            options,
            (&[], None),
        )
    }

    fn open(root: &Path) -> Release {
        let options = ReleaseOptions {
            kind: None,
            prefix: None,
            binaries: Vec::new(),
            patterns: Patterns::new(&[]).unwrap(),
            allow_set_id: false,
            cookie: crate::release::Cookie::Keep,
            boot: crate::release::Boot::Script,
            variables: Vec::new(),
            mtime: 1,
        };
        Release::open(root, &options).unwrap()
    }

    fn guessed(tree: &str) -> Option<String> {
        let command = decided(tree, &CommandOptions::default()).ok()?;
        assert_eq!(command.cmd, None);
        command.entrypoint.map(|words| words.join(" "))
    }

    const ONE: &str = "0755 file bin/one \"#!/bin/sh\"\n";
    const TWO: &str = "0755 file bin/two \"#!/bin/sh\"\n";

    #[test]
    fn the_program_that_is_meant_is_guessed() {
        for (tree, expected) in [
            (ONE.to_owned(), Some("/app/bin/one")),
            (format!("{ONE}{TWO}"), None),
            (format!("{ONE}{TWO}0755 file app \"#!x\""), Some("/app/app")),
            (
                format!("{ONE}{TWO}link bin/app -> two"),
                Some("/app/bin/app"),
            ),
            (
                format!("{ONE}link current -> bin/one"),
                Some("/app/bin/one"),
            ),
            (
                format!("{ONE}0755 file notes \"text\""),
                Some("/app/bin/one"),
            ),
            (
                format!("{ONE}0644 file bin/two \"#!x\""),
                Some("/app/bin/one"),
            ),
            (
                format!("{ONE}0755 file lib/two \"#!x\""),
                Some("/app/bin/one"),
            ),
            ("0755 file lib/two \"#!x\"".to_owned(), None),
        ] {
            assert_eq!(guessed(&tree).as_deref(), expected, "{tree}");
        }
    }

    #[test]
    fn a_command_that_is_given_lies_in_the_release_or_is_absolute() {
        let cmd = |words: &[&str]| CommandOptions {
            cmd: Some(words.iter().map(ToString::to_string).collect()),
            ..CommandOptions::default()
        };
        let tree = format!("{ONE}0644 file data \"\"\n0755 dir lib\nlink out -> /usr/bin/env");
        for (words, expected) in [
            (&["bin/one", "-x"][..], Some("/app/bin/one -x")),
            (&["one"], Some("/app/bin/one")),
            (&["/app/bin/one"], Some("/app/bin/one")),
            (&["data"], Some("/app/data")),
            (&["gone"], Some("/app/gone")),
            (&["/bin/gone", "x"], Some("/bin/gone x")),
            (&["../bin/one"], None),
        ] {
            let found = decided(&tree, &cmd(words))
                .ok()
                .and_then(|command| command.cmd);
            let found = found.map(|words| words.join(" "));
            assert_eq!(found.as_deref(), expected, "{words:?}");
        }
    }

    #[test]
    fn nothing_is_guessed_when_nothing_is_wanted() {
        let options = CommandOptions {
            no_entrypoint: true,
            ..CommandOptions::default()
        };
        assert_eq!(decided(ONE, &options).unwrap(), Command::default());
    }
}
