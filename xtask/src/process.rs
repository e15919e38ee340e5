//! Runs other programs in the workspace.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;

/// Returns the root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Returns a command in the root of the workspace; `words` are the program
/// and its arguments.
pub(crate) fn command(words: &[&str]) -> Command {
    let (program, arguments) = words.split_first().unwrap_or((&"true", &[]));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace());
    command
}

/// Runs a program that prints its own errors.
pub(crate) fn run(command: &mut Command) -> Result {
    let status = start(command, Command::status)?;
    if !status.success() {
        return Err(format!("{} failed: {status}", shown(command)).into());
    }
    Ok(())
}

/// Runs a program and returns what it printed on standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = start(command.stderr(Stdio::inherit()), Command::output)?;
    if !output.status.success() {
        return Err(format!("{} failed: {}", shown(command), output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn start<T>(
    command: &mut Command,
    how: impl FnOnce(&mut Command) -> std::io::Result<T>,
) -> Result<T> {
    how(command).map_err(|error| format!("cannot start {}: {error}", shown(command)).into())
}

/// Returns the command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    format!("`{}`", words.join(" "))
}

/// Returns `true` if a program of this name is on `PATH`.
pub(crate) fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|directory| directory.join(program).is_file())
}

/// Returns `true` if a program succeeds; its output is dropped.
pub(crate) fn succeeds(words: &[&str]) -> bool {
    let mut command = command(words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Returns `true` if programs can be compiled for a target.
pub(crate) fn has_standard_library(target: &str) -> bool {
    let library = format!("${{RUSTC:-rustc}} --print target-libdir --target {target}");
    let script = format!("ls \"$({library})\" | grep -q libstd-");
    succeeds(&["/bin/sh", "-c", &script])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_where_the_root_manifest_is() {
        assert!(workspace().join("xtask/Cargo.toml").is_file());
    }

    #[test]
    fn a_failure_names_the_command() {
        let error = run(&mut command(&["/bin/sh", "-c", "exit 3"]));
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("`/bin/sh -c exit 3` failed"), "{error}");
        let error = run(&mut command(&["no-such-program"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot start `no-such-program`"),
            "{error}"
        );
        let mut echo = command(&["/bin/sh", "-c", "echo hello"]);
        assert_eq!(output(&mut echo).unwrap(), "hello\n");
    }

    #[test]
    fn programs_are_found_on_path() {
        assert!(is_installed("cargo"));
        assert!(!is_installed("no-such-program"));
    }
}
