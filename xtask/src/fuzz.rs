//! Fuzzing: the targets of `fuzz/`, each for a while.
//!
//! What cargo-fuzz does, but for all targets in turn, with the seeds that the
//! tests have, and on the compiler that `rust-toolchain.toml` names.

use std::path::Path;

use crate::Result;
use crate::process::{self, command, output, workspace};

/// The options of a fuzz run.
#[derive(Debug, clap::Args)]
pub(crate) struct FuzzArguments {
    /// The targets, files of `fuzz/fuzz_targets` without `.rs` [default: all]
    targets: Vec<String>,
    /// Time limit of the whole run in minutes, of which each target gets an equal part
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Memory limit of a target in MiB, including that of the sanitizer
    #[arg(long, default_value_t = 400)]
    memory: u64,
}

/// The packages with targets, whose tests have the seeds.
const PACKAGES: [&str; 4] = [
    "imgbuild-deflate",
    "imgbuild-oci",
    "imgbuild-registry",
    "imgbuild-release",
];

/// The instrumentation that libFuzzer needs, AddressSanitizer, and checks of
/// overflows.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1";

pub(crate) fn run(arguments: &FuzzArguments) -> Result {
    let known = targets()?;
    let is_unknown = |target: &&String| !known.contains(target);
    if let Some(target) = arguments.targets.iter().find(is_unknown) {
        return Err(format!("unknown target `{target}` (known: {})", known.join(", ")).into());
    }
    let chosen = match &arguments.targets[..] {
        [] => known,
        targets => targets.to_vec(),
    };
    let fuzz = workspace().join("fuzz");
    write_seeds(&fuzz)?;
    let programs = build()?;
    let seconds = arguments.minutes * 60 / chosen.len() as u64;
    let mut failed = Vec::new();
    for target in chosen {
        println!("== {target}");
        let program = format!("{programs}/{target}");
        let limits = [
            format!("-max_total_time={}", seconds.max(1)),
            format!("-rss_limit_mb={}", arguments.memory),
        ];
        if let Err(error) = run_target(&fuzz, &target, &program, &limits) {
            eprintln!("{error}");
            failed.push(target);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let failed = failed.join("`, `");
    Err(format!("`{failed}` failed; the inputs are in `fuzz/artifacts`").into())
}

/// Has the tests write their seeds to `fuzz/corpus`.
fn write_seeds(fuzz: &Path) -> Result {
    let mut tests = command(&["cargo", "test", "--quiet", "--locked", "--lib", "fuzz::"]);
    tests.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    process::run(tests.env("IMGBUILD_FUZZ_CORPUS", fuzz.join("corpus")))
}

/// Builds all targets, and returns the directory of their programs.
fn build() -> Result<String> {
    let version = output(&mut command(&["rustc", "--version", "--verbose"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or("`rustc --version --verbose` names no host")?;
    let words = "cargo build --release --manifest-path fuzz/Cargo.toml \
        --target-dir fuzz/target --target";
    let words: Vec<&str> = words.split_whitespace().chain([host]).collect();
    let mut build = command(&words);
    // The flags are unstable; a nightly compiler has no other effect.
    process::run(build.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS))?;
    Ok(format!("fuzz/target/{host}/release"))
}

fn run_target(fuzz: &Path, target: &str, program: &str, limits: &[String]) -> Result {
    let artifacts = fuzz.join("artifacts").join(target);
    let corpus = fuzz.join("corpus").join(target);
    for directory in [&artifacts, &corpus] {
        fs_err::create_dir_all(directory)?;
    }
    let mut run = command(&[program, "-timeout=20", "-max_len=1048576"]);
    run.arg("-print_final_stats=1").args(limits);
    run.arg(format!("-artifact_prefix={}/", artifacts.display()));
    let dictionary = fuzz.join(format!("dictionaries/{target}"));
    if dictionary.is_file() {
        run.arg(format!("-dict={}", dictionary.display()));
    }
    // New inputs are written to the first directory.
    let regressions = fuzz.join("regressions").join(target);
    run.arg(corpus)
        .args(Some(regressions).filter(|directory| directory.is_dir()));
    // Freed memory that is kept to find late uses counts for the limit.
    run.env("ASAN_OPTIONS", "quarantine_size_mb=16");
    if Path::new("/dev/shm").is_dir() {
        run.env("TMPDIR", "/dev/shm");
    }
    process::run(&mut run)
}

fn targets() -> Result<Vec<String>> {
    let mut targets = Vec::new();
    for entry in fs_err::read_dir(workspace().join("fuzz/fuzz_targets"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        targets.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    targets.sort();
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_built_and_runs_as_a_test() {
        let manifest = fs_err::read_to_string(workspace().join("fuzz/Cargo.toml")).unwrap();
        let crates = PACKAGES.map(|package| workspace().join("crates").join(package).join("src"));
        let parts = crates
            .iter()
            .flat_map(|src| [src.join("fuzz.rs"), src.join("fuzz/tests.rs")]);
        let tests: String = parts
            .filter_map(|path| fs_err::read_to_string(path).ok())
            .collect();
        for target in targets().unwrap() {
            assert!(
                manifest.contains(&format!("name = \"{target}\"")),
                "{target}"
            );
            assert!(
                tests.contains(&format!("check(\"{target}\", {target},")),
                "{target}"
            );
        }
    }
}
