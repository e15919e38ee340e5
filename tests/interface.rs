//! The interface for scripts: flags, exit codes and JSON keys, compared with a
//! list of those that exist.
//!
//! A flag or key that disappears from a snapshot breaks a user's script.

use std::collections::BTreeSet;
use std::process::Command;

use fs_err as fs;
use imgbuild_testing::registry::Behavior;
use imgbuild_testing::{FakeRegistry, Outcome, Sandbox};
use serde_json::Value;

use crate::runs;
use crate::support::has_programs;

const COMMANDS: [&[&str]; 12] = [
    &[],
    &["check"],
    &["validate"],
    &["copy"],
    &["index"],
    &["index", "create"],
    &["certificates"],
    &["cache"],
    &["cache", "info"],
    &["cache", "prune"],
    &["cache", "clear"],
    &["completions"],
];

/// Objects whose keys are data, not part of the interface.
const MAPS: [&str; 8] = [
    "ExposedPorts",
    "Labels",
    "Volumes",
    "annotations",
    "labels",
    "autoLabels",
    "exposedPorts",
    "volumes",
];

/// Returns the flags and arguments of a help text, each with its value names.
fn flags(help: &str) -> String {
    let usage = help.lines().filter(|line| line.starts_with("Usage: "));
    let flags = help.lines().filter(|line| {
        let start = line.trim_start();
        let is_flag = start.starts_with('-') && line.len() - start.len() <= 6;
        is_flag || line.starts_with("  <") || line.starts_with("  [")
    });
    // A short help has the description in the same line.
    let names = usage.chain(flags).map(|line| {
        let line = line.trim();
        line.split("  ").next().unwrap_or(line)
    });
    names.map(|name| format!("  {name}\n")).collect()
}

/// Adds the path of every key below `value` with the type of its value.
fn collect_keys(path: &str, value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) if fields.is_empty() => drop(keys.insert(format!("{path}: object"))),
        Value::Array(values) if values.is_empty() => drop(keys.insert(format!("{path}: array"))),
        Value::Object(fields) => {
            let name = path.rsplit('.').next().unwrap_or_default();
            for (key, value) in fields {
                let key = if MAPS.contains(&name) { "*" } else { key };
                collect_keys(&format!("{path}.{key}"), value, keys);
            }
        }
        Value::Array(values) => {
            for value in values {
                collect_keys(&format!("{path}[]"), value, keys);
            }
        }
        Value::Null => drop(keys.insert(format!("{path}: null"))),
        Value::Bool(_) => drop(keys.insert(format!("{path}: boolean"))),
        Value::Number(_) => drop(keys.insert(format!("{path}: number"))),
        Value::String(_) => drop(keys.insert(format!("{path}: string"))),
    }
}

fn keys(name: &str, stdout: &str) -> String {
    let mut keys = BTreeSet::new();
    let value = serde_json::from_str(stdout).unwrap();
    collect_keys("", &value, &mut keys);
    let lines: String = keys.iter().map(|key| format!("  {key}\n")).collect();
    format!("{name}\n{lines}")
}

/// Checks a result with the documented schema, which has every key, where the
/// program for that is there.
fn assert_documented(sandbox: &Sandbox, what: &str, outcome: &Outcome) {
    if !has_programs(&["jsonschema"]) {
        return;
    }
    let schema = include_str!("../docs/imgbuild.schema.json");
    let strict = schema.replace(
        r#""additionalProperties": true"#,
        r#""additionalProperties": false"#,
    );
    fs::write(sandbox.path("schema.json"), strict).unwrap();
    fs::write(sandbox.path("result.json"), &outcome.stdout).unwrap();
    let mut command = Command::new("jsonschema");
    let checked = command
        .args(["--instance", "result.json", "schema.json"])
        .current_dir(sandbox.root())
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{what}: {}{}",
        String::from_utf8_lossy(&checked.stderr),
        outcome.report()
    );
}

#[test]
fn every_flag_is_still_there() {
    let sandbox = runs::sandbox();
    let mut all = String::new();
    for words in COMMANDS {
        let outcome = sandbox.run(words.iter().chain(&["--help"])).success();
        all.push_str(&format!("imgbuild {}\n", words.join(" ")));
        all.push_str(&flags(outcome.stdout_text()));
    }
    let help = sandbox.run(["--help"]).success();
    let (_, codes) = help.stdout_text().split_once("Exit codes:\n").unwrap();
    let codes = codes.lines().filter_map(|line| {
        let code = line.strip_prefix("  ")?.split(' ').next()?;
        code.parse::<u8>().ok()
    });
    all.push_str(&format!("exit codes {:?}\n", codes.collect::<Vec<_>>()));
    insta::assert_snapshot!("flags", all);
}

/// What shows every key of a build at least once.
const BUILD: [&str; 13] = [
    "--json",
    "--no-sync",
    "--runtime=none",
    "--skeleton=none",
    "--check=warn",
    "--cmd=gone",
    "--exclude=etc",
    "--exclude=nothing",
    "--label=a=b",
    "--annotation=c=d",
    "--expose=80",
    "--volume=/data",
    "--healthcheck=/app/bin/server",
];

#[test]
fn every_json_key_is_still_there() {
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let name = format!("{}/app:1", registry.name());
    let sandbox = runs::with_small_release();
    let mut all = String::new();
    let mut run = |what: &str, words: &[&str], code| {
        let outcome = sandbox.run(words).exited(code);
        all += &keys(what, outcome.stdout_text());
        assert_documented(&sandbox, what, &outcome);
    };
    let one = ["--release=release", "--platform=linux/amd64"];
    let both = [
        "--release=linux/amd64=release",
        "--release=linux/arm64=release",
    ];
    let tag = format!("--tag={name}");
    let push = ["--push", &tag, "--output=oci:one", "--update-index"];
    let there = format!("docker://{name}");

    let words = [&one[..], &BUILD, &["--dry-run"]].concat();
    run("imgbuild --dry-run --json", &words, 0);
    let words = [&one[..], &BUILD, &push].concat();
    run("imgbuild --json", &words, 0);
    let words = [&both[..], &BUILD, &["--dry-run"]].concat();
    run("imgbuild --dry-run --json, two platforms", &words, 0);
    let words = [&both[..], &BUILD, &["--push", &tag, "--output=oci:both"]].concat();
    run("imgbuild --json, two platforms", &words, 0);
    let words = [&one[..], &["--runtime=none", "--cmd=gone", "--json"]].concat();
    run("imgbuild --json, refused by the check", &words, 1);
    let words = [&words[..], &["--dry-run"]].concat();
    run("imgbuild --dry-run --json, with an error", &words, 1);
    run(
        "imgbuild --json, a wrong command line",
        &["--json", "-X"],
        2,
    );

    let words = ["copy", "oci:both", "oci:copy", &there, "--json"];
    run("imgbuild copy --json", &words, 0);
    let words = [
        "index",
        "create",
        "oci:index",
        "oci:both",
        "-o",
        &there,
        "--json",
    ];
    run("imgbuild index create --json", &words, 0);
    let words = ["check", "oci:both", "--platform=linux/amd64", "--json"];
    run("imgbuild check --json", &words, 1);
    let words = ["check", "oci:copy", "--platform=linux/s390x", "--json"];
    run("imgbuild check --json, no such image", &words, 1);
    let blob = runs::names(&sandbox.path("both/blobs/sha256")).remove(0);
    fs::remove_file(sandbox.path("both/blobs/sha256").join(blob)).unwrap();
    let words = ["validate", "oci:both", "--json"];
    run("imgbuild validate --json", &words, 1);
    let words = ["cache", "info", "--json"];
    run("imgbuild cache info --json", &words, 0);
    let words = ["cache", "prune", "--json"];
    run("imgbuild cache prune --json", &words, 0);
    insta::assert_snapshot!("json_keys", all);
}
