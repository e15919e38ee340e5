//! The decision what containers of an image run.

use imgbuild_oci::path::ImagePath;

use crate::contents::{Contents, End, can_run, is_executable};
use crate::error::{Error, Result};
use crate::release::Release;
use crate::release::command::{Command, CommandRequest, Inherited, SYSTEM_PATH};

/// Decides the command: that of the user, else the one that is meant. Its
/// program may still be a name to be searched for: see [`Command::resolved`].
///
/// Of a base image's command, an entrypoint of the user replaces everything, a
/// command of the user only the command, like after [`FROM`]. A program of the
/// release replaces everything; a release without one leaves it as it is.
///
/// [`FROM`]: https://docs.docker.com/reference/dockerfile/#understand-how-cmd-and-entrypoint-interact
///
/// # Errors
///
/// When there is no command, or when the kind of the release cannot start it.
pub(crate) fn decide(release: &Release, request: &CommandRequest<'_>) -> Result<Command> {
    if let Some(command) = release.behavior.decide(release, request)? {
        return Ok(command);
    }
    let options = request.options;
    let base = request.base.map(|base| &base.configuration);
    let base_entrypoint = base
        .and_then(|base| base.entrypoint.as_ref())
        .filter(|_| !options.no_entrypoint);
    match (&options.entrypoint, &options.cmd) {
        (Some(entrypoint), cmd) => Ok(Command::own(Some(entrypoint.clone()), cmd.clone())),
        (None, Some(cmd)) if base_entrypoint.is_some() => Ok(Command {
            inherited: Inherited::Program,
            ..Command::own(base_entrypoint.cloned(), Some(cmd.clone()))
        }),
        (None, Some(cmd)) => Ok(Command::own(None, Some(cmd.clone()))),
        (None, None) if options.no_entrypoint => Ok(Command::default()),
        (None, None) if options.no_cmd && base_entrypoint.is_some() => {
            Ok(Command::of_base(base_entrypoint, None))
        }
        (None, None) => match (default_command(release, request.contents), base) {
            (Err(error), Some(base))
                if error.is_of_no_executable()
                    && (base.entrypoint.is_some() || base.cmd.is_some()) =>
            {
                let cmd = base.cmd.as_ref().filter(|_| !options.no_cmd);
                Ok(Command::of_base(base.entrypoint.as_ref(), cmd))
            }
            (command, _) => command,
        },
    }
}

/// Finds the program of the release that is meant.
fn default_command(release: &Release, contents: &Contents<'_>) -> Result<Command> {
    if let Some(cmd) = release.behavior.default_command(release, contents)? {
        return Ok(Command::own(None, Some(cmd)));
    }
    let entrypoint = vec![guess(release)?.to_string()];
    Ok(Command::own(Some(entrypoint), None))
}

/// Returns the `PATH` of containers, unless the user gives one.
pub(crate) fn default_path(release: &Release, contents: &Contents<'_>) -> Result<String> {
    let bin = release.prefix.join("bin")?;
    let path = contents.base_path.unwrap_or(SYSTEM_PATH);
    let has_bin = path
        .split(':')
        .any(|known| known.as_bytes() == bin.as_bytes());
    if release.kind.has_own_directory && contents.own(&bin).is_some() && !has_bin {
        Ok(format!("{bin}:{path}"))
    } else {
        Ok(path.to_owned())
    }
}

/// Finds the one executable, or of several the one named like the release.
fn guess(release: &Release) -> Result<ImagePath> {
    let contents = Contents::new(&release.members);
    let programs = |has_bit: bool| -> Vec<(&ImagePath, u32)> {
        let paths = release.members.iter().map(|member| &member.entry.path);
        let paths = paths.filter(|path| is_at_top_or_bin(path, release));
        let files = paths.filter_map(|path| Some((path, contents.file(path)?)));
        files
            .filter(|(_, file)| is_executable(&file.entry) == has_bit && can_run(file))
            .map(|(path, file)| (path, file.entry.mode))
            .collect()
    };
    let candidates: Vec<&ImagePath> = programs(true).into_iter().map(|(path, _)| path).collect();
    if candidates.is_empty()
        && let Some(error) = Error::of_modes(programs(false))
    {
        return Err(error);
    }
    let named = |name: &str| {
        let mut found = candidates
            .iter()
            .filter(|path| path.file_name() == name.as_bytes());
        found.next().map(|path| (*path).clone())
    };
    // A link to a program is not a second program.
    let mut ends: Vec<End> = candidates
        .iter()
        .map(|path| contents.resolve(path))
        .collect();
    ends.dedup();
    match (candidates.as_slice(), ends.as_slice()) {
        ([only], _) => Ok((*only).clone()),
        (several, ends) => match (named(&release.name), ends) {
            (Some(path), _) => Ok(path),
            (None, [End::There(end)]) if several.contains(&end) => Ok(end.clone()),
            (None, _) => Err(Error::NoCommand(several.iter().copied().cloned().collect())),
        },
    }
}

fn is_at_top_or_bin(path: &ImagePath, release: &Release) -> bool {
    let parent = path.parent().unwrap_or_else(ImagePath::root);
    let bin = release.prefix.join("bin");
    parent == release.prefix
        || (release.kind.has_own_directory && bin.is_ok_and(|bin| parent == bin))
}

#[cfg(test)]
mod tests {
    use imgbuild_testing::Tree;

    use super::*;
    use crate::release::{CommandOptions, ReleaseOptions};

    /// Decides the command of a release in a directory called `app`.
    fn decided(tree: &str, options: &CommandOptions) -> Result<Command> {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("app");
        Tree::parse(tree).unwrap().write_to(&root).unwrap();
        let release = Release::open(&root, &ReleaseOptions::default()).unwrap();
        let contents = Contents::new(&release.members);
        let request = CommandRequest {
            options,
            variables: &[],
            contents: &contents,
            base: None,
        };
        let command = decide(&release, &request)?;
        Ok(command.resolved(&release.prefix, &contents)?)
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
            ("0644 file bin/two \"#!x\"".to_owned(), None),
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
