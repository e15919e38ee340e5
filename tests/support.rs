//! Support that the tests share.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) mod base;
pub(crate) mod docker;
pub(crate) mod image;
pub(crate) mod program;

pub(crate) use imgbuild_testing::skip::{has_programs, note, skip, skip_always};

/// Returns the processor architecture of this machine by its name in images.
pub(crate) fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The command that starts a program on a processor with neither vectors beyond SSE4.2
/// nor instructions for SHA-256, AES and carry-less multiplication.
pub(crate) const OLD_PROCESSOR: [&str; 3] = ["qemu-x86_64-static", "-cpu", "Nehalem"];

/// Returns a number that no earlier image of this machine has.
///
/// An engine does not read a layer that it already has, so every image that is
/// loaded must differ in its lowest layer.
pub(crate) fn unique() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("this is after 1970");
    let micros = u64::try_from(now.as_micros()).expect("this is before the year 586524");
    micros + COUNT.fetch_add(1, Ordering::Relaxed)
}

/// Returns a value of `--mtime` that no other image has: it makes every layer
/// new without changing a path.
pub(crate) fn unique_time() -> String {
    // Between 2001 and 2023, since tar warns of times in the future.
    (1_000_000_000 + unique() % 700_000_000).to_string()
}

/// The value of a variable where a machine cannot have its program.
const NONE: &str = "none";

/// Returns the program that a variable names, else `usual`, if it runs with the
/// arguments `check`; otherwise skips the test.
pub(crate) fn program_of_variable(
    name: &str,
    variable: &str,
    usual: &str,
    check: &[&str],
) -> Option<OsString> {
    let program = std::env::var_os(variable).unwrap_or_else(|| usual.into());
    if program == NONE {
        skip_always(&format!("{variable} is `{NONE}`"));
        return None;
    }
    let mut command = Command::new(&program);
    command.args(check).stdin(Stdio::null());
    if command.output().is_ok_and(|output| output.status.success()) {
        return Some(program);
    }
    skip(&format!("`{name}` ({variable} names it)"));
    None
}

/// Returns a command that is stopped after two minutes.
pub(crate) fn limited(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", "120"])
        .arg(program.as_ref());
    command
}
