//! What the tests share.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) mod base;
pub(crate) mod docker;
pub(crate) mod image;
pub(crate) mod program;

/// Set by CI: a tool or engine that is missing fails the test that needs it.
const REQUIRE: &str = "IMGBUILD_REQUIRE_ENGINE";

/// Words that start a program on a processor with neither vectors beyond SSE4.2
/// nor instructions for SHA-256, AES and carry-less multiplication.
pub(crate) const OLD_PROCESSOR: [&str; 3] = ["qemu-x86_64-static", "-cpu", "Nehalem"];

/// Says on standard error, past the test harness's capture, that a test did
/// not do its work; fails it where the environment forbids that.
pub(crate) fn skip(missing: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(
        std::env::var_os(REQUIRE).is_none(),
        "{test} needs {missing}, and {REQUIRE} is set"
    );
    note(&format!(
        "{test} skipped: no {missing} (set {REQUIRE}=1 to require)"
    ));
}

/// A line on standard error that is seen even if the test passes.
pub(crate) fn note(line: &str) {
    // If standard error is closed, there is nobody to tell.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Whether all programs are installed; says which one is not.
pub(crate) fn has_tools(names: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing = names.iter().find(|name| {
        let found = |directory: std::path::PathBuf| directory.join(name).is_file();
        !std::env::split_paths(&path).any(found)
    });
    if let Some(name) = missing {
        skip(&format!("`{name}`"));
    }
    missing.is_none()
}

/// A number that no earlier image of this machine has seen.
///
/// An engine takes a layer that it already has without a look at the new one,
/// so every image that is loaded must differ in its lowest layer.
pub(crate) fn unique() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("this is after 1970");
    let micros = u64::try_from(now.as_micros()).expect("this is before the year 586524");
    micros + COUNT.fetch_add(1, Ordering::Relaxed)
}

/// The `--mtime` of an image: one that no other image has makes every layer of
/// it new, while the paths in it stay those that a user gets.
pub(crate) fn unique_time() -> String {
    // Between 2001 and 2023: tar warns of times to come.
    (1_000_000_000 + unique() % 700_000_000).to_string()
}

/// A command that is ended after two minutes.
pub(crate) fn limited(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", "120"])
        .arg(program.as_ref());
    command
}
