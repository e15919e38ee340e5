//! Tests that need what this machine lacks: each is skipped with a line on
//! standard error, and the last test program of a run counts them.
//!
//! libtest has no outcome "skipped", and captures what a passing test prints.
//! So the line is written past the capture, and a record is kept beside the
//! test programs, in a file named by the process that started all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fs_err as fs;

/// Set by CI: a missing program or engine fails the test that needs it.
const REQUIRE: &str = "IMGBUILD_REQUIRE_ENGINE";

/// Skips the current test because `missing`, for example "`skopeo`", is not on
/// this machine.
///
/// # Panics
///
/// If the environment variable `IMGBUILD_REQUIRE_ENGINE` is set.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment decides if a test may be skipped"
)]
pub fn skip(missing: &str) {
    let test = current_test();
    assert!(
        std::env::var_os(REQUIRE).is_none(),
        "{test} needs {missing}, and {REQUIRE} is set"
    );
    record(&test, &format!("no {missing}"));
}

/// Skips the current test even where everything is required: `reason` is
/// nothing that could be installed, for example "not root".
pub fn skip_always(reason: &str) {
    record(&current_test(), reason);
}

/// Returns `true` if all programs are on `PATH`; otherwise skips the test.
///
/// # Panics
///
/// As [`skip`] does.
#[must_use]
pub fn has_programs(names: &[&str]) -> bool {
    let missing = names.iter().find(|name| find_program(name).is_none());
    if let Some(name) = missing {
        skip(&format!("`{name}`"));
    }
    missing.is_none()
}

/// Returns the path of a program that is on `PATH`.
#[expect(
    clippy::disallowed_methods,
    reason = "the programs of this machine are found as a shell finds them"
)]
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut programs = std::env::split_paths(&path).map(|directory| directory.join(name));
    programs.find(|program| program.is_file())
}

/// Writes a line to standard error that is seen even if the test passes.
pub fn note(line: &str) {
    // With standard error closed, the line has no reader.
    drop(writeln!(io::stderr(), "{line}"));
}

/// Returns the line that counts the tests which the programs of this run
/// skipped, and forgets them.
///
/// # Errors
///
/// When the records cannot be read or removed.
pub fn summary() -> io::Result<String> {
    let file = records()?;
    let mut reasons: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    if file.exists() {
        for line in fs::read_to_string(&file)?.lines() {
            let (test, reason) = line.split_once('\t').unwrap_or((line, ""));
            let tests = reasons.entry(reason.to_owned()).or_default();
            tests.insert(test.to_owned());
        }
        fs::remove_file(&file)?;
    }
    Ok(summarize(&reasons))
}

fn summarize(reasons: &BTreeMap<String, BTreeSet<String>>) -> String {
    let tests: BTreeSet<&String> = reasons.values().flatten().collect();
    let mut line = match tests.len() {
        0 => return "no test was skipped".to_owned(),
        1 => "1 test was skipped".to_owned(),
        count => format!("{count} tests were skipped"),
    };

    let mut counts: Vec<_> = reasons.iter().collect();
    counts.sort_by_key(|(_, tests)| std::cmp::Reverse(tests.len()));
    for (index, (reason, tests)) in counts.iter().enumerate() {
        let separator = if index == 0 { ": " } else { ", " };
        write!(line, "{separator}{reason} ({})", tests.len()).expect("a string takes everything");
    }
    line
}

fn current_test() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}

/// Writes the line and the record once, even if a test asks for each of its
/// random inputs.
fn record(test: &str, reason: &str) {
    static RECORDED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let line = format!("{test}\t{reason}\n");
    if !RECORDED
        .lock()
        .expect("no holder of the lock panics")
        .insert(line.clone())
    {
        return;
    }
    note(&format!("{test} skipped: {reason}"));
    let written = records().and_then(|file| append(&file, &line));
    written.expect("the directory of the test programs is writable");
}

fn append(file: &Path, line: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)?;
    // One write: lines of other test threads stay whole.
    file.write_all(line.as_bytes())
}

/// Returns the file of the tests that this run skipped: its programs lie in
/// one directory and have one parent process, which is cargo.
fn records() -> io::Result<PathBuf> {
    let run = std::os::unix::process::parent_id();
    let program = std::env::current_exe()?;
    Ok(program.with_file_name(format!("skipped-tests-{run}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_once_and_reasons_by_frequency() {
        let mut reasons: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        assert_eq!(summarize(&reasons), "no test was skipped");
        for (reason, test) in [("no `a`", "one"), ("no `b`", "one"), ("no `b`", "two")] {
            let tests = reasons.entry(reason.to_owned()).or_default();
            tests.insert(test.to_owned());
        }
        assert_eq!(
            summarize(&reasons),
            "2 tests were skipped: no `b` (2), no `a` (1)"
        );
    }

    #[test]
    fn programs_are_found_on_the_search_path() {
        assert!(find_program("cargo").is_some());
        assert!(find_program("no-such-program").is_none());
    }
}
