//! Releases of Elixir and Erlang without the Erlang runtime.

use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_testing::Sandbox;

use crate::support::docker::Engine;
use crate::support::image::{Built, build_in, sandbox};
use crate::support::{has_programs, program};

/// A release of mix or rebar3, with its error in an image without Erlang.
struct Release {
    name: &'static str,
    path: PathBuf,
    /// The error without the Erlang runtime.
    engine: &'static str,
}

/// Writes a project's file with one text replaced.
fn change(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).expect("it was copied");
    if !text.contains(to) {
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replacen(from, to, 1)).expect("it is ours");
    }
}

/// Builds both releases without the Erlang runtime.
fn releases() -> Vec<Release> {
    if !has_programs(&["mix", "rebar3", "erl"]) {
        return Vec::new();
    }
    let mix = program::mix_release("mix_app", "mix_app_without_runtime", |project| {
        let options = "start_permanent: true, releases: [mix_app: [include_erts: false]]";
        change(&project.join("mix.exs"), "start_permanent: true", options);
    });
    let relx = program::relx_variant("relx_app", "relx_app_without_runtime", |project| {
        let options = "{mode, prod}, {include_erts, false}";
        change(&project.join("rebar.config"), "{mode, prod}", options);
    });
    vec![
        Release {
            name: "mix",
            path: mix,
            engine: "exec: erl: not found",
        },
        // The script of relx prints no error.
        Release {
            name: "relx",
            path: relx,
            engine: "",
        },
    ]
}

/// Returns the directory of the host's Erlang.
fn installed() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut programs = std::env::split_paths(&path).map(|directory| directory.join("erl"));
    let erl = programs.find(|path| path.is_file());
    let erl = fs::canonicalize(erl.expect("the tool is there")).expect("it is a file");
    let root = erl.ancestors().nth(2).expect("it lies in `bin`");
    root.to_path_buf()
}

/// Makes a base image with the host's Erlang.
fn erlang_base(sandbox: &Sandbox) -> String {
    let root = installed();
    let root = root.to_str().expect("a system has plain names");
    let words = [
        "--release",
        root,
        "--prefix",
        root,
        "--kind=tree",
        "--exclude=lib/wx-*",
        "--program=basename",
        "--program=dirname",
        "--cmd=bin/erl",
        "--output=oci:base:erlang",
    ];
    drop(sandbox.run(words).success());
    "--base=oci:base:erlang".to_owned()
}

#[test]
fn a_release_without_a_runtime_is_refused_and_cannot_start() {
    let engine = Engine::require();
    for release in releases() {
        let sandbox = sandbox();
        let path = release.path.to_str().expect("it has a plain name");
        let words = ["--release", path, "--output=image.tar"];
        let outcome = sandbox.run(words).exited(1);
        let said = outcome.stderr_text();
        let expected = "error: the release at `/app` has no Erlang runtime (ERTS ";
        assert!(said.contains(expected), "{said}");
        assert!(said.contains("[erlang-missing]"), "{said}");
        assert!(said.contains("with `--base`"), "{said}");
        assert!(!sandbox.path("image.tar").exists());
        let key = format!("{}-without-runtime", release.name);
        let built = build_in(sandbox, &release.path, &key, &["--check=off"]);
        let Some(engine) = &engine else { continue };
        let image = engine.load(&built.archive, &built.reference);
        let secret = "--env=SECRET_KEY_BASE=something";
        let outcome = image.run_with(&[secret], &[], b"").exited(127);
        let said = outcome.stderr_text();
        assert!(said.contains(release.engine), "{}", outcome.report());
    }
}

#[test]
fn on_a_base_with_erlang_a_release_without_a_runtime_serves() {
    let Some(engine) = Engine::require() else {
        return;
    };
    for release in releases() {
        let sandbox = sandbox();
        let base = erlang_base(&sandbox);
        let key = format!("{}-on-erlang", release.name);
        let built = build_in(sandbox, &release.path, &key, &[&base, "--user=65532:65532"]);
        serves(&engine, &built);
    }
}

#[test]
fn with_the_erlang_of_the_host_a_release_without_a_runtime_serves() {
    let Some(engine) = Engine::require() else {
        return;
    };
    for release in releases() {
        let key = format!("{}-with-erlang", release.name);
        let built = build_in(sandbox(), &release.path, &key, &["--program=erl"]);
        let files = built.image.files();
        let mut files = files.keys().map(|path| path.to_string_lossy());
        assert!(!files.any(|path| path.contains("/lib/wx-")));
        serves(&engine, &built);
    }
}

fn serves(engine: &Engine, built: &Built) {
    let image = engine.load(&built.archive, &built.reference);
    let container = image.start(&[
        "--read-only",
        "--tmpfs=/tmp",
        "--cap-drop=ALL",
        "--env=SECRET_KEY_BASE=something",
        "--publish=127.0.0.1::4000",
    ]);
    container.answers(&[("/pid", "1")]);
    container.stop();
}
