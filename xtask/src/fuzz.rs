//! Running a fuzz target for a while.

use crate::Result;
use crate::process::{self, command, succeeds, workspace};

/// The options of a fuzz run.
#[derive(Debug, clap::Args)]
pub(crate) struct FuzzArguments {
    /// The target, a file of `fuzz/fuzz_targets` without `.rs`
    target: String,
    /// Time limit in seconds
    #[arg(default_value_t = 60)]
    seconds: u64,
}

pub(crate) fn run(arguments: &FuzzArguments) -> Result {
    let targets = targets()?;
    let target = arguments.target.as_str();
    if !targets.iter().any(|known| known == target) {
        return Err(format!("unknown target `{target}` (known: {})", targets.join(", ")).into());
    }
    if !succeeds(&["cargo", "fuzz", "--version"]) {
        return Err("cargo-fuzz is not installed (`cargo install cargo-fuzz`)".into());
    }
    let limit = format!("-max_total_time={}", arguments.seconds);
    let words = ["cargo", "+nightly", "fuzz", "run", target, "--", &limit];
    process::run(&mut command(&words))
}

fn targets() -> Result<Vec<String>> {
    let directory = workspace().join("fuzz/fuzz_targets");
    if !directory.is_dir() {
        return Err("the workspace has no `fuzz/fuzz_targets`".into());
    }
    let mut targets = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        targets.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    targets.sort();
    Ok(targets)
}
