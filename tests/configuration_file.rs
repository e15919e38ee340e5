//! `imgbuild.toml`: read, merged with the command line, and refused.

use std::path::Path;

use fs_err as fs;
use imgbuild_testing::{Outcome, Sandbox, UnpackedImage};

use crate::runs;
use crate::support::image::{confirmed, result_digest};

/// What [`runs::BARE`] says, as a file.
const BARE: &str = "
    release = 'release'
    no-cache = true
    runtime = 'none'
    skeleton = 'none'
    no-sync = true
    platform = 'linux/amd64'
";

/// A sandbox with a release and this file.
fn with_file(text: &str) -> Sandbox {
    let sandbox = runs::with_small_release();
    fs::write(sandbox.path("imgbuild.toml"), format!("{BARE}{text}")).unwrap();
    sandbox
}

fn image(sandbox: &Sandbox, outcome: &Outcome) -> UnpackedImage {
    confirmed(&sandbox.path("image.tar"), &result_digest(outcome))
}

/// What the words of a refused command line are answered with.
fn refused(sandbox: &Sandbox, words: &[&str]) -> String {
    let outcome = sandbox.run(words).exited(2);
    let is_failure = outcome.stdout_text().starts_with(r#"{"error":"#);
    assert!(
        outcome.stdout.is_empty() || is_failure,
        "{}",
        outcome.report()
    );
    outcome.stderr_redacted()
}

#[test]
fn a_file_above_is_read_in_a_repository_only() {
    let sandbox = with_file("no-entrypoint = true\noutput = 'image.tar'\n");
    fs::create_dir_all(sandbox.path("a/b")).unwrap();
    let run = || {
        let mut command = sandbox.command::<&str>([]);
        command.current_dir(sandbox.path("a/b"));
        sandbox.finish(&mut command, b"")
    };
    assert!(
        run()
            .exited(2)
            .stderr_text()
            .contains("`--release DIR` is missing")
    );
    fs::create_dir(sandbox.path(".git")).unwrap();
    result_digest(&run().success());
    // The directory of the nearest repository is the last one.
    fs::create_dir(sandbox.path("a/.git")).unwrap();
    drop(run().exited(2));
    fs::rename(sandbox.path("a/.git"), sandbox.path("a/git")).unwrap();
    fs::write(sandbox.path("a/imgbuild.toml"), "[").unwrap();
    let nearest = run().exited(2);
    assert!(
        nearest.stderr_text().contains("../imgbuild.toml"),
        "{}",
        nearest.report()
    );
}

#[test]
fn a_file_alone_makes_the_image_that_flags_make() {
    let sandbox =
        with_file("no-entrypoint = true\noutput = 'image.tar'\nexpose = [80]\nenv.A = 1\n");
    let first = result_digest(&sandbox.run::<&str>([]).success());
    image(&sandbox, &sandbox.run::<&str>([]).success());
    let more = [
        "--no-config",
        "--output=image.tar",
        "--expose=80",
        "--env=A=1",
    ];
    let second = result_digest(&runs::build(&sandbox, &more).success());
    assert_eq!(first, second);
}

#[test]
fn flags_win_and_names_are_merged() {
    let sandbox = with_file(
        "cmd = ['bin/server', 'x']\ntag = ['one', 'two']\noutput = 'other.tar'\ncheck = 'off'\n[env]\nA = 1\nB = 2\n[label]\nc = 'd'\n",
    );
    let more = [
        "--output=image.tar",
        "--tag=three",
        "--env=B=3",
        "--label=e=f",
        "--cmd=bin/server",
    ];
    let outcome = sandbox.run(more).success();
    assert!(!sandbox.path("other.tar").exists());
    let said = outcome.stderr_text();
    assert!(said.contains("image `three:latest`"), "{said}");
    let image = image(&sandbox, &outcome);
    let config = &image.config["config"];
    assert_eq!(config["Cmd"], serde_json::json!(["/app/bin/server"]));
    assert_eq!(config["Labels"], serde_json::json!({"c": "d", "e": "f"}));
    let env = config["Env"].as_array().unwrap();
    let own: Vec<_> = env.iter().skip(1).collect();
    assert_eq!(own, ["A=1", "B=3"]);
}

#[test]
fn a_flag_puts_aside_what_cannot_go_with_it() {
    let sandbox = with_file("entrypoint = ['bin/server']\noutput = 'image.tar'\n");
    let outcome = sandbox.run(["--no-entrypoint"]).success();
    assert!(image(&sandbox, &outcome).config["config"]["Entrypoint"].is_null());
    // `no-cache` is in the file.
    drop(
        sandbox
            .run(["--no-entrypoint", "--cache-dir=cache"])
            .success(),
    );
    assert!(sandbox.path("cache").is_dir());
}

#[test]
fn a_flag_may_need_what_the_file_has() {
    let sandbox = with_file("healthcheck = ['bin/server']\noutput = 'image.tar'\ncheck = 'off'\n");
    let outcome = sandbox.run(["--health-interval=30s"]).success();
    let check = &image(&sandbox, &outcome).config["config"]["Healthcheck"];
    assert_eq!(check["Interval"], 30_000_000_000_u64);
}

#[test]
fn patterns_apply_in_the_order_of_the_file() {
    for (text, has_config) in [
        ("exclude = 'etc'\ninclude = 'etc'\n", true),
        ("include = 'etc'\nexclude = 'etc'\n", false),
    ] {
        let sandbox = with_file(&format!(
            "{text}no-entrypoint = true\noutput = 'image.tar'\n"
        ));
        let outcome = sandbox.run::<&str>([]).success();
        let files = image(&sandbox, &outcome).files();
        let found = files.contains_key(Path::new("app/etc/app.toml"));
        assert_eq!(found, has_config, "{text}");
    }
}

#[test]
fn another_file_is_read_with_its_own_directory() {
    let sandbox = runs::sandbox();
    drop(
        sandbox
            .tree("project/release", "0755 file bin/a \"#!/bin/sh\"")
            .unwrap(),
    );
    let text = format!(
        "{BARE}output = 'oci:layout:1'\ncheck = 'off'\ncmd = 'bin/a'\nadd = 'extra:/etc/'\n"
    );
    fs::write(sandbox.path("project/build.toml"), text).unwrap();
    fs::write(sandbox.path("project/extra"), "x").unwrap();
    drop(sandbox.run(["--config=project/build.toml"]).success());
    assert!(sandbox.path("project/layout/index.json").is_file());
    assert!(!sandbox.path("layout").exists());
}

#[test]
fn no_file_is_read_where_none_is_wanted() {
    let sandbox = runs::with_small_release();
    fs::write(sandbox.path("imgbuild.toml"), "this is no configuration").unwrap();
    let words = ["--no-config", "--output=image.tar"];
    drop(runs::build(&sandbox, &words).success());
    for words in [
        &["--version"][..],
        &["--help"],
        &["validate", "image.tar"],
        &["cache", "info"],
    ] {
        drop(sandbox.run(words).success());
    }
    let text = refused(&sandbox, &["--release=release"]);
    assert!(
        text.contains("cannot use `imgbuild.toml`:\n  line 1: "),
        "{text}"
    );
    let text = refused(&sandbox, &["--config=x", "--no-config"]);
    assert!(text.contains("cannot be used with"), "{text}");
}

#[test]
fn mistakes_are_said_with_their_lines_and_nothing_is_built() {
    let sandbox = runs::with_small_release();
    let text = "release = 'release'\nrelese = 'x'\nload = 'yes'\n";
    fs::write(sandbox.path("imgbuild.toml"), text).unwrap();
    insta::assert_snapshot!(refused(&sandbox, &["--output=image.tar"]), @r#"
    error: cannot use `imgbuild.toml`:
      line 2: unknown key `relese` (did you mean `release`?)
      line 3: `load` takes `true` or `false`, not a string
    hint: `imgbuild --help` lists the flags, each of which is a key; `--no-config` ignores the file
    "#);
    assert_eq!(runs::names(sandbox.root()), ["imgbuild.toml", "release"]);
}

#[test]
fn values_that_a_flag_does_not_take_are_said_with_their_line() {
    for (text, words, expected) in [
        (
            "max-layers = 999",
            &[][..],
            "hint: `max-layers` is set in `imgbuild.toml`, line 8\n",
        ),
        (
            "expose = ['x']",
            &[],
            "hint: `expose` is set in `imgbuild.toml`, line 8\n",
        ),
        (
            "health-retries = 3",
            &[],
            "hint: `health-retries` is set in `imgbuild.toml`, line 8\n",
        ),
        (
            "output = '-'\njson = true",
            &[],
            "hint: `json` is set in `imgbuild.toml`, line 9\n",
        ),
    ] {
        let sandbox = with_file(&format!("{text}\n"));
        let said = refused(&sandbox, &[words, &["--no-entrypoint"]].concat());
        assert!(said.contains(expected), "{said}");
    }
    // What was typed is no fault of the file.
    let sandbox = with_file("max-layers = 3\n");
    let said = refused(&sandbox, &["--max-layers=999"]);
    assert!(!said.contains("imgbuild.toml"), "{said}");
}

#[test]
fn a_file_that_cannot_be_read_is_refused() {
    let sandbox = runs::with_small_release();
    let said = refused(&sandbox, &["--release=release", "--config=nowhere.toml"]);
    assert!(
        said.contains("nowhere.toml") && said.contains("--no-config"),
        "{said}"
    );
    fs::create_dir(sandbox.path("imgbuild.toml")).unwrap();
    let said = refused(&sandbox, &["--release=release"]);
    assert!(
        said.contains("`imgbuild.toml`\n  caused by: it is not a regular file"),
        "{said}"
    );
}

#[test]
fn a_dry_run_says_which_line_a_value_comes_from() {
    let sandbox =
        with_file("tag = [\n  'one',\n  'two',\n]\nno-entrypoint = true\n[env]\nA = 'x'\n");
    let outcome = sandbox.run(["--dry-run", "--env=B=y"]).success();
    let text = outcome.stdout_text();
    for line in [
        "option --release release (line 2 of `imgbuild.toml`)\n",
        "option --tag one (line 9 of `imgbuild.toml`)\n",
        "option --tag two (line 10 of `imgbuild.toml`)\n",
        "option --env A=x (line 14 of `imgbuild.toml`)\n",
        "option --env B=y (flag)\n",
        "option --no-cache (line 3 of `imgbuild.toml`)\n",
        "option --cache stat (default)\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let outcome = sandbox.run(["--dry-run", "--json"]).success();
    let plan: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let options = plan["images"][0]["options"].as_array().unwrap();
    let expected = serde_json::json!({
        "name": "tag", "value": "two", "origin": "file", "file": "imgbuild.toml", "line": 10,
    });
    assert!(options.contains(&expected), "{options:?}");
}
