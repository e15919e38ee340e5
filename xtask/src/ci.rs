//! Everything that a change must pass beside the tests.

use crate::process::{self, command, succeeds};
use crate::{Result, dist, tidy};

/// The options of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct CiArguments {
    /// Make the release as well, in two checkouts, and install it on a fresh system
    #[arg(long)]
    full: bool,
}

/// The checks by other programs, the quick ones first.
const STEPS: [(&str, &[&str]); 3] = [
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
        "documentation",
        &["cargo", "doc", "--workspace", "--no-deps", "--locked"],
    ),
];

pub(crate) fn run(arguments: &CiArguments) -> Result {
    println!("== tidy");
    tidy::run(&tidy::TidyArguments::default())?;
    run_steps(&STEPS)?;
    if succeeds(&["cargo", "deny", "--version"]) {
        run_steps(&[("deny", &["cargo", "deny", "--workspace", "check"])])?;
    }
    if arguments.full {
        let words = [
            "cargo",
            "package",
            "--workspace",
            "--exclude=xtask",
            "--exclude=imgbuild-testing",
            "--locked",
        ];
        run_steps(&[("packages", &words)])?;
        println!("== release");
        dist::run(&dist::DistArguments::full())?;
    }
    Ok(())
}

fn run_steps(steps: &[(&str, &[&str])]) -> Result {
    for (name, words) in steps {
        println!("== {name}");
        // A broken link is an error of the documentation.
        process::run(command(words).env("RUSTDOCFLAGS", "-D warnings"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_ends_the_run() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("reached");
        let script = format!(": >'{}'", file.display());
        let write = ["/bin/sh", "-c", &script];
        let fail = ["/bin/sh", "-c", "exit 1"];
        let error = run_steps(&[("no", &fail), ("yes", &write)]).unwrap_err();
        assert!(error.to_string().contains("exit 1"));
        assert!(!file.exists());
        run_steps(&[("yes", &write)]).unwrap();
        assert!(file.exists());
    }
}
