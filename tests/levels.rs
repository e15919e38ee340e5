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
fn a_kind_that_is_given_is_looked_for_below_and_is_the_reason() {
    let sandbox = mix_project();
    let words = ["--release=shop", "--kind=mix"];
    let outcome = sandbox.run([&words, &PLAN[..]].concat()).exited(1);
    let said = outcome.stderr_text();
    assert!(
        said.contains("hint: use `--release shop/_build/prod/rel/shop`"),
        "{said}"
    );
    let words = ["--release=shop/_build/prod/rel/shop", "--no-entrypoint"];
    for kind in ["tree", "mix"] {
        let flag = format!("--kind={kind}");
        let words = [&words, &PLAN[..], &[&flag]].concat();
        let outcome = sandbox.run(words).success();
        let expected = format!("\nkind {kind}, because `--kind` names it\n");
        assert!(
            outcome.stdout_text().contains(&expected),
            "{}",
            outcome.report()
        );
    }
}

#[test]
fn recognition_opens_a_file_by_its_path_once() {
    let sandbox = runs::sandbox();
    let tree = r#"
        0644 file node/package.json "{\"scripts\":{\"start\":\"vite\"}}"
        0644 file node/node_modules/vite/package.json "{\"bin\":\"vite.js\"}"
        0644 file python/.venv/pyvenv.cfg ""
        0644 file python/pyproject.toml ""
        0644 file python/app.py "app = Flask()"
        0644 file next/.next/standalone/server.js "process.chdir(__dirname)"
        0644 file next/.next/standalone/.next/BUILD_ID ""
        0644 file next/package.json "{}"
        0755 dir target/.fingerprint
        0644 file target/package.json "{}"
    "#;
    sandbox.tree("", tree).unwrap();
    let opened = |release: &str, kind: &[&str]| {
        let words = [&["--release", release, "--no-entrypoint"], &PLAN[..], kind].concat();
        let mut paths = opened_paths(&sandbox, &words)?;
        paths.retain(|path| path.starts_with(&format!("{release}/")));
        paths.sort();
        Some(paths.join(" "))
    };
    for (release, kind, expected) in [
        (
            "node",
            &[][..],
            "node/bin node/node_modules node/node_modules/vite/package.json node/package.json",
        ),
        (
            "python",
            &[],
            "python/.venv python/.venv/bin/ python/app.py python/bin python/manage.py python/package.json python/pyproject.toml",
        ),
        (
            "next",
            &[],
            "next/.next/standalone next/.next/standalone/server.js",
        ),
        ("node", &["--kind=tree"], "node/.dockerignore"),
        ("target", &["--kind=cargo"], ""),
    ] {
        let Some(found) = opened(release, kind) else {
            return;
        };
        assert_eq!(found, expected);
    }
}

/// Returns the paths that a run opens; `None` if this machine cannot trace.
fn opened_paths(sandbox: &Sandbox, words: &[&str]) -> Option<Vec<String>> {
    let words: Vec<_> = words.iter().map(Into::into).collect();
    let before = ["-o", "trace", "-e", "trace=/open"];
    let _outcome = runs::traced(sandbox, &before, &words)?;
    let trace = fs::read_to_string(sandbox.path("trace")).unwrap();
    let lines = trace.lines().filter(|line| !line.contains("O_PATH"));
    let paths = lines.filter_map(|line| line.split('"').nth(1));
    Some(paths.map(str::to_owned).collect())
}

#[test]
fn the_check_reads_once_what_starts_a_release_of_erlang() {
    let sandbox = mix_project();
    let words = [
        "--release=shop/_build/prod/rel/shop",
        "--dry-run",
        "--runtime=none",
    ];
    let Some(checked) = opened_paths(&sandbox, &[&words[..], &["--check=warn"]].concat()) else {
        return;
    };
    let planned = opened_paths(&sandbox, &[&words[..], &["--check=off"]].concat()).unwrap();
    let count = |paths: &[String]| {
        let starts = paths.iter().filter(|path| path.ends_with("start_erl.data"));
        starts.count()
    };
    assert_eq!(count(&checked) - count(&planned), 1);
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
    let cargo = [&whole[..], &["--kind=cargo"]].concat();
    let outcome = sandbox.run(cargo).exited(1);
    let said = outcome.stderr_text();
    assert!(
        said.contains("hint: use `--release app/target/release`,"),
        "{said}"
    );
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
