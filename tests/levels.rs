//! Directories one level off: a project, or what its tool builds in.

use fs_err as fs;
use imgbuild_testing::Sandbox;

use crate::runs;

/// A sandbox with a mix project that has been released.
fn mix_project() -> Sandbox {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/releases/mix.tree");
    let text = fs::read_to_string(fixture).unwrap();
    let sandbox = runs::sandbox();
    sandbox.tree("shop/_build/prod/rel/shop", &text).unwrap();
    let project = "0644 file mix.exs \"\"\n0755 file bin/tool \"#!/bin/sh\\n\"\n0644 file _build/prod/lib/x \"\"";
    sandbox.tree("shop", project).unwrap();
    sandbox
}

const PLAN: [&str; 4] = [
    "--dry-run",
    "--runtime=none",
    "--platform=linux/amd64",
    "--check=off",
];

#[test]
fn the_release_of_a_mix_project_is_named() {
    let sandbox = mix_project();
    for level in [
        "shop",
        "shop/_build",
        "shop/_build/prod",
        "shop/_build/prod/rel",
    ] {
        let words = [&["--release", level], &PLAN[..]].concat();
        let outcome = sandbox.run(words).exited(1);
        let said = outcome.stderr_text();
        let expected = format!(
            "error: `{level}` is not a release of the kind `mix`, but the directory of `shop/_build/prod/rel/shop`\n\
             hint: use `--release shop/_build/prod/rel/shop`, or include the whole directory with `--kind tree`\n"
        );
        assert_eq!(said, expected);
    }
    let release = ["--release", "shop/_build/prod/rel/shop"];
    drop(sandbox.run([&release, &PLAN[..]].concat()).success());
    let tree = ["--release=shop", "--kind=tree"];
    let outcome = sandbox.run([&tree, &PLAN[..]].concat()).success();
    assert!(outcome.stdout_text().contains("mix.exs"));
    assert!(
        !outcome.stderr_text().contains("`mix`"),
        "{}",
        outcome.report()
    );
}

#[test]
fn the_project_in_the_current_directory_has_a_short_name_for_its_release() {
    let sandbox = mix_project();
    let words = [&["--release", "."], &PLAN[..]].concat();
    let mut command = sandbox.command(words);
    command.current_dir(sandbox.path("shop"));
    let outcome = sandbox.finish(&mut command, b"").exited(1);
    let said = outcome.stderr_text();
    assert!(
        said.contains("hint: use `--release _build/prod/rel/shop`"),
        "{said}"
    );
}

#[test]
fn the_release_of_a_cargo_project_is_named() {
    let sandbox = runs::sandbox();
    let project = "0644 file Cargo.toml \"[package]\\nname = \\\"app\\\"\"\n0644 file target/.rustc_info.json \"\"\n\
         0755 dir target/release/.fingerprint\n0755 file run \"#!/bin/sh\\n\"";
    let project = sandbox.tree("app", project).unwrap();
    let program = project.join("target/release/app");
    fs::copy(env!("CARGO_BIN_EXE_imgbuild"), &program).unwrap();
    let target = [&["--release", "app/target"], &PLAN[..]].concat();
    let outcome = sandbox.run(target).exited(1);
    let said = outcome.stderr_text();
    assert!(
        said.contains("hint: use `--release app/target/release`,"),
        "{said}"
    );
    // A project may well be meant as a whole.
    let whole = [&["--release", "app"], &PLAN[..]].concat();
    let outcome = sandbox.run(whole.clone()).success();
    let said = outcome.stderr_text();
    let expected = "the whole project is packaged, although it has a release of the kind `cargo`: `app/target/release`";
    assert!(said.contains(expected), "{said}");
    let outcome = sandbox
        .run([&whole[..], &["--kind=tree"]].concat())
        .success();
    assert!(
        !outcome.stderr_text().contains("`cargo`"),
        "{}",
        outcome.report()
    );
    fs::remove_file(project.join("run")).unwrap();
    let outcome = sandbox.run(whole).exited(1);
    let said = outcome.stderr_text();
    assert!(
        said.contains("hint: the project has a release: use `--release app/target/release`"),
        "{said}"
    );
}
