//! Everything that a change must pass, the quick checks first.

use std::process::Command;

use crate::process::{self, command, succeeds};
use crate::{Result, tidy};

/// The commands, in order; `tidy` and `deny` come after them.
const STEPS: [(&str, &[&str]); 5] = [
    ("format", &["cargo", "fmt", "--all", "--check"]),
    (
        "lints",
        &[
            "cargo",
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    ),
    (
        "tests",
        &["cargo", "test", "--workspace", "--all-targets", "--locked"],
    ),
    (
        "documentation",
        &["cargo", "doc", "--workspace", "--no-deps", "--locked"],
    ),
    (
        "documentation tests",
        &["cargo", "test", "--workspace", "--doc", "--locked"],
    ),
];

fn run_steps(steps: &[(&str, &[&str])]) -> Result {
    for (name, words) in steps {
        println!("== {name}");
        process::run(&mut step(words))?;
    }
    Ok(())
}

/// A broken link or a missing document is an error of the documentation.
fn step(words: &[&str]) -> Command {
    let mut command = command(words);
    command.env("RUSTDOCFLAGS", "-D warnings");
    command
}

pub(crate) fn run() -> Result {
    run_steps(&STEPS)?;
    println!("== tidy");
    tidy::run()?;
    println!("== deny");
    match succeeds(&["cargo", "deny", "--version"]) {
        true => process::run(&mut command(&["cargo", "deny", "--workspace", "check"])),
        false => {
            println!("skipped: cargo-deny is not installed (`cargo install cargo-deny`)");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_ends_the_run() {
        let mark = tempfile::tempdir().unwrap();
        let file = mark.path().join("reached");
        let touch = ["touch", file.to_str().unwrap()];
        let error = run_steps(&[("no", &["false"]), ("yes", &touch)]).unwrap_err();
        assert!(error.to_string().contains("`false`"));
        assert!(!file.exists());
        run_steps(&[("yes", &touch)]).unwrap();
        assert!(file.exists());
    }
}
