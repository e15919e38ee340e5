//! Releases of Erlang: built by rebar3 with relx, run without Erlang.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::docker::{Container, Engine, http_get};
use crate::support::image::{build, sandbox};
use crate::support::{has_tools, program};

/// As little as a container can have.
const CONFINED: [&str; 5] = [
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--publish=127.0.0.1::4000",
];

fn release() -> Option<PathBuf> {
    has_tools(&["rebar3", "erl"]).then(|| program::relx_release("relx_app"))
}

/// Asks the server for everything that it answers, and ends it.
fn check(container: &Container<'_>, node: &str) {
    let address = container.published("4000/tcp");
    for (path, expected) in [
        (
            "/crypto",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n",
        ),
        ("/pid", "1\n"),
        ("/node", node),
    ] {
        assert_eq!(http_get(&address, path), expected, "{path}");
    }
}

fn stop(container: &Container<'_>) {
    let clock = Instant::now();
    container.stop();
    let stopped = clock.elapsed();
    assert!(stopped < Duration::from_secs(5), "{stopped:?}");
    assert_eq!(container.exit_code(), 0, "{}", container.logs());
}

#[test]
fn a_release_serves_confined_and_its_commands_work() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let Some(release) = release() else { return };
    let built = build(&release, "relx", &[]);
    let image = engine.load(&built.archive, &built.reference);
    let container = image.start(&CONFINED);
    check(&container, "relx_app\n");
    for (words, expected) in [
        (&["ping"][..], "pong\n"),
        (&["pid"], "1\n"),
        (&["eval", "6 * 7."], "42\n"),
    ] {
        let words = [&["/app/bin/relx_app"], words].concat();
        let outcome = container.exec(&words).success();
        assert_eq!(outcome.stdout_text(), expected, "{}", outcome.report());
    }
    stop(&container);
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
    check(&container, "nonode\n");
    stop(&container);
}

#[test]
fn the_cookie_among_the_arguments_is_named_and_never_shown() {
    let Some(release) = release() else { return };
    let release = release.to_str().expect("it has a plain name");
    for (arguments, expected) in [
        (
            &[][..],
            "`/app/releases/0.2.0/vm.args` says the cookie of the node (`-setcookie`)",
        ),
        (
            &["--boot=direct"],
            "the image goes without them: `-sname`, `-setcookie`",
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
