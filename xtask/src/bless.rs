//! Accepts new snapshots and digests, and prints the changed digests.

use crate::Result;
use crate::process::{self, command, output, succeeds};

const TESTS: [&str; 5] = ["cargo", "test", "--workspace", "--all-targets", "--locked"];

pub(crate) fn run() -> Result {
    // Only `cargo insta` writes snapshots within source files.
    let mut writing = if succeeds(&["cargo", "insta", "--version"]) {
        command(&["cargo", "insta", "test", "--workspace", "--accept"])
    } else {
        command(&[&TESTS[..], &["--no-fail-fast"]].concat())
    };
    writing
        .env("INSTA_UPDATE", "always")
        .env("INSTA_FORCE_PASS", "1");
    writing.env("IMGBUILD_BLESS", "1");
    process::run(&mut writing)?;
    // The first run writes, the second checks that nothing is left to write.
    process::run(&mut command(&TESTS)).map_err(|error| {
        format!("{error}; snapshots within source files need `cargo install cargo-insta`")
    })?;
    let words = [
        "git",
        "diff",
        "--unified=0",
        "--dst-prefix=b/",
        "HEAD",
        "--",
        "tests",
        "crates",
        "fixtures",
        "docs",
    ];
    let difference = output(&mut command(&words))?;
    let changes = digest_changes(&difference);
    if changes.is_empty() {
        println!("no digest changed");
        return Ok(());
    }
    println!("digests changed; say so in CHANGELOG.md under Digests:");
    for change in changes {
        println!("{change}");
    }
    Ok(())
}

/// Returns the changed lines with a digest, below the name of their file.
fn digest_changes(difference: &str) -> Vec<String> {
    let mut changes = Vec::new();
    let mut file = None;
    for line in difference.lines() {
        if let Some(name) = line.strip_prefix("+++ b/") {
            file = Some(name);
            continue;
        }
        let is_change = line.starts_with(['+', '-']) && !line.starts_with("---");
        if is_change && has_digest(line) {
            changes.extend(file.take().map(str::to_owned));
            changes.push(format!("  {line}"));
        }
    }
    changes
}

fn has_digest(line: &str) -> bool {
    let words = line.split(|character: char| !character.is_ascii_hexdigit());
    words.into_iter().any(|word| word.len() == 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_with_digests_are_shown() {
        let (old, new) = ("a".repeat(64), "b".repeat(64));
        let difference = format!(
            "--- a/tests/goldens.rs\n+++ b/tests/goldens.rs\n@@ -1 +1 @@\n-sha256:{old}\n+sha256:{new}\n\
             --- a/tests/build.rs\n+++ b/tests/build.rs\n@@ -1 +1 @@\n-a\n+b\n"
        );
        assert_eq!(
            digest_changes(&difference),
            [
                "tests/goldens.rs".to_owned(),
                format!("  -sha256:{old}"),
                format!("  +sha256:{new}"),
            ]
        );
        assert!(digest_changes("+++ b/tests/build.rs\n+x\n").is_empty());
    }
}
