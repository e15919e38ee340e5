//! What starts a mix release without a shell: `--boot direct`, as planned.

use std::path::Path;

use fs_err as fs;
use imgbuild_testing::{Outcome, Sandbox};
use serde_json::Value;

use crate::runs;

/// The release of the goldens, with other files.
fn sandbox_with(files: &[(&str, &str)]) -> Sandbox {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/releases/mix.tree");
    let text = fs::read_to_string(fixture).unwrap();
    let sandbox = runs::sandbox();
    let release = sandbox.tree("shop", &text).unwrap();
    for (path, text) in files {
        fs::write(release.join(path), text).unwrap();
    }
    sandbox
}

fn run(sandbox: &Sandbox, more: &[&str]) -> Outcome {
    let words = [
        "--release",
        "shop",
        "--boot",
        "direct",
        "--runtime",
        "none",
        "--dry-run",
        "--json",
        "--platform",
        "linux/amd64",
    ];
    sandbox.run(words.iter().chain(more))
}

fn config(outcome: &Outcome) -> Value {
    let plan: Value = serde_json::from_str(outcome.stdout_text()).unwrap();
    plan["images"][0]["config"].clone()
}

fn words(value: &Value) -> String {
    let words = value.as_array().into_iter().flatten();
    let words: Vec<&str> = words.filter_map(Value::as_str).collect();
    words.join(" ")
}

#[test]
fn a_command_says_how_the_release_starts() {
    let sandbox = sandbox_with(&[]);
    for (more, as_server) in [
        (&[][..], true),
        (&["--cmd=bin/server"], true),
        (&["--cmd=/app/bin/server"], true),
        (&["--entrypoint=server"], true),
        (&["--cmd=bin/shop", "--cmd=start"], false),
        (&["--entrypoint=/app/bin/shop", "--cmd=start"], false),
    ] {
        let config = config(&run(&sandbox, more).success());
        let command = words(&config["Entrypoint"]);
        let expected = "/app/erts-13.1.5/bin/erlexec -noshell -s elixir start_cli -mode embedded ";
        assert!(command.starts_with(expected), "{command}");
        assert!(config["Cmd"].is_null(), "{more:?}");
        let environment = words(&config["Env"]);
        let is_server = environment.contains("PHX_SERVER=true");
        assert_eq!(is_server, as_server, "{more:?}: {environment}");
    }
}

#[test]
fn another_command_is_machine_code() {
    let sandbox = sandbox_with(&[]);
    let more = ["--cmd=erts-13.1.5/bin/erlexec", "--cmd=-version"];
    let config = config(&run(&sandbox, &more).success());
    let command = words(&config["Cmd"]);
    assert_eq!(command, "/app/erts-13.1.5/bin/erlexec -version");
    assert!(words(&config["Env"]).contains("BINDIR=/app/erts-13.1.5/bin"));
    for more in ["--cmd=bin/migrate", "--cmd=bin/shop", "--cmd=runtime.exs"] {
        let outcome = run(&sandbox, &[more]).exited(1);
        let text = outcome.stderr_text();
        assert!(
            text.contains("cannot run: without a shell the command must be a binary"),
            "{text}"
        );
    }
}

#[test]
fn what_the_user_sets_wins_and_changes_the_flags() {
    let environment = "#!/bin/sh\nexport RELEASE_MODE=interactive\nexport A=1\nexport B=1\n";
    let sandbox = sandbox_with(&[
        ("releases/1.2.0/env.sh", environment),
        ("releases/1.2.0/other.boot", "boot"),
    ]);
    let more = ["--env=RELEASE_BOOT_SCRIPT=other", "--env=B=2", "--env=C=3"];
    let config = config(&run(&sandbox, &more).success());
    let command = words(&config["Entrypoint"]);
    assert!(command.contains(" -mode interactive "), "{command}");
    assert!(
        command.contains(" -boot /app/releases/1.2.0/other "),
        "{command}"
    );
    let environment = words(&config["Env"]);
    for expected in ["A=1", "B=2", "C=3", "RELEASE_BOOT_SCRIPT=other"] {
        let count = environment
            .split(' ')
            .filter(|word| *word == expected)
            .count();
        assert_eq!(count, 1, "{expected}: {environment}");
    }
    assert!(!environment.contains("B=1"), "{environment}");
}

#[test]
fn what_the_user_names_must_be_there() {
    let sandbox = sandbox_with(&[]);
    for (variable, path) in [
        (
            "RELEASE_BOOT_SCRIPT=other",
            "/app/releases/1.2.0/other.boot",
        ),
        ("RELEASE_SYS_CONFIG=/app/other", "/app/other.config"),
        ("RELEASE_VM_ARGS=/app/other.args", "/app/other.args"),
    ] {
        let outcome = run(&sandbox, &["--env", variable]).exited(1);
        let said = outcome.stderr_text();
        let expected = format!(
            "error: the release at `/app` starts with `{path}`, which does not exist [release-incomplete]"
        );
        assert!(said.contains(&expected), "{said}");
    }
    fs::write(sandbox.path("own.args"), "+K true\n").unwrap();
    let more = [
        "--env=RELEASE_VM_ARGS=/app/own.args",
        "--add=own.args:/app/own.args",
        "--env=RELEASE_SYS_CONFIG=/run/sys",
        "--env=RELEASE_VSN=2",
    ];
    let outcome = run(&sandbox, &more).success();
    let command = words(&config(&outcome)["Entrypoint"]);
    assert!(command.contains(" -config /run/sys "), "{command}");
    assert!(command.contains(" -args_file /app/own.args "), "{command}");
    let said = outcome.stderr_text();
    for expected in [
        "warning: the release at `/app` starts with `/run/sys.config`, which does not exist",
        "sets `RELEASE_VSN`, which only the start script reads",
    ] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn what_the_user_names_takes_the_place_of_the_usual() {
    let sandbox = sandbox_with(&[
        ("releases/1.2.0/vm.args", "-sname usual\n"),
        ("releases/1.2.0/own.args", "-sname own\n+K true\n"),
    ]);
    let more = ["--env=RELEASE_VM_ARGS=/app/releases/1.2.0/own.args"];
    let outcome = run(&sandbox, &more).success();
    let said = outcome.stderr_text();
    assert!(
        said.contains("`releases/1.2.0/own.args` has arguments"),
        "{said}"
    );
    let config = config(&outcome);
    let replaced = "/app/releases/1.2.0/direct.vm.args";
    let command = words(&config["Entrypoint"]);
    assert!(
        command.contains(&format!(" -args_file {replaced} ")),
        "{command}"
    );
    let environment = words(&config["Env"]);
    assert!(
        environment.contains(&format!("RELEASE_VM_ARGS={replaced}")),
        "{environment}"
    );
}

#[test]
fn what_a_release_starts_with_cannot_be_left_out() {
    let sandbox = sandbox_with(&[]);
    for name in ["vm.args", "start.boot", "sys.config"] {
        let exclude = format!("--exclude=releases/*/{name}");
        let outcome = run(&sandbox, &[&exclude]).exited(1);
        let said = outcome.stderr_text();
        let expected = format!("`releases/1.2.0/{name}` is left out");
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn what_no_shell_will_do_is_said() {
    let sandbox = sandbox_with(&[
        (
            "releases/1.2.0/env.sh",
            "export RELEASE_DISTRIBUTION=name\n",
        ),
        (
            "releases/1.2.0/vm.args",
            "-name a@b\n-setcookie secret-of-the-node\n",
        ),
    ]);
    let outcome = run(&sandbox, &[]).success();
    let text = outcome.stderr_text();
    for expected in [
        "`releases/1.2.0/env.sh` sets `RELEASE_DISTRIBUTION`, which has no effect without a shell",
        "`releases/1.2.0/vm.args` has arguments that need a shell and are left out: `-name`, `-setcookie`",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    let plan = outcome.stdout_text();
    assert!(!plan.contains("secret-of-the-node") && !text.contains("secret-of-the-node"));
    assert!(plan.contains("/app/releases/1.2.0/direct.vm.args"));
    assert!(!plan.contains("\"/app/releases/1.2.0/vm.args\""), "{plan}");
}

#[test]
fn the_cookie_goes_in_only_when_asked_for() {
    let sandbox = sandbox_with(&[]);
    let cookie = "\"/app/releases/COOKIE\"";
    let outcome = run(&sandbox, &[]).success();
    assert!(!outcome.stdout_text().contains(cookie));
    assert!(!outcome.stderr_text().contains("cookie"));
    let outcome = run(&sandbox, &["--release-cookie=keep"]).success();
    assert!(outcome.stdout_text().contains(cookie));
    assert!(outcome.stderr_text().contains("is a secret"));
}

#[test]
fn what_is_left_out_can_be_taken() {
    let sandbox = sandbox_with(&[]);
    let more = ["--include=erts-*/bin/epmd", "--include=bin/shop"];
    let outcome = run(&sandbox, &more).success();
    let plan = outcome.stdout_text();
    for path in ["/app/erts-13.1.5/bin/epmd", "/app/bin/shop"] {
        assert!(plan.contains(&format!("\"{path}\"")), "{path}");
    }
    assert!(!plan.contains("\"/app/erts-13.1.5/bin/heart\""));
}
