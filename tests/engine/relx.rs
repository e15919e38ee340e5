//! Releases of Erlang: built by rebar3 with relx, run without Erlang.

use std::path::PathBuf;

use crate::support::docker::Engine;
use crate::support::image::{build, sandbox};
use crate::support::{has_programs, program};

/// The fewest privileges that a container can have.
const CONFINED: [&str; 5] = [
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--publish=127.0.0.1::4000",
];

fn release() -> Option<PathBuf> {
    has_programs(&["rebar3", "erl"]).then(|| program::relx_release("relx_app"))
}

const CRYPTO: (&str, &str) = (
    "/crypto",
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
);

#[test]
fn a_release_serves_confined_and_its_commands_work() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let Some(release) = release() else { return };
    let built = build(&release, "relx", &[]);
    let image = engine.load(&built.archive, &built.reference);
    let container = image.start(&CONFINED);
    container.answers(&[CRYPTO, ("/pid", "1"), ("/node", "relx_app")]);
    for (words, expected) in [
        (&["ping"][..], "pong\n"),
        (&["pid"], "1\n"),
        (&["eval", "6 * 7."], "42\n"),
    ] {
        let words = [&["/app/bin/relx_app"], words].concat();
        let outcome = container.exec(&words).success();
        assert_eq!(outcome.stdout_text(), expected, "{}", outcome.report());
    }
    container.stop();
}

#[test]
fn a_release_serves_without_a_shell() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let Some(release) = release() else { return };
    let built = build(&release, "relx-direct", &["--boot=direct"]);
    assert!(!built.has("bin/sh") && !built.has("app/bin/relx_app"));
    let image = engine.load(&built.archive, &built.reference);
    let container = image.start(&CONFINED);
    container.answers(&[CRYPTO, ("/pid", "1"), ("/node", "nonode")]);
    container.stop();
}

#[test]
fn the_cookie_among_the_arguments_is_reported_without_its_value() {
    let Some(release) = release() else { return };
    let release = release.to_str().expect("it has a plain name");
    for (arguments, expected) in [
        (
            &[][..],
            "`/app/releases/0.2.0/vm.args` contains the node cookie (`-setcookie`)",
        ),
        (
            &["--boot=direct"],
            "that need a shell and are left out: `-sname`, `-setcookie`",
        ),
    ] {
        let words = ["--release", release, "--dry-run"];
        let outcome = sandbox().run([&words[..], arguments].concat()).success();
        let (text, plan) = (outcome.stderr_text(), outcome.stdout_text());
        assert!(text.contains(expected), "{text}");
        let shown = format!("{text}{plan}");
        assert!(!shown.contains("cookie-of-the-fixture"), "{shown}");
    }
}
