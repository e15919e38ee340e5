//! Releases of Elixir without a shell: `--boot direct`.

use std::path::PathBuf;

use fs_err as fs;
use imgbuild_testing::UnpackedKind;

use crate::support::docker::Engine;
use crate::support::image::{Built, build, sandbox};
use crate::support::{has_programs, program};

/// The fewest privileges that a container can have, without a writable directory.
const CONFINED: [&str; 4] = [
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--publish=127.0.0.1::4000",
];

/// Builds a release; tests change copies of it.
fn release() -> Option<PathBuf> {
    has_programs(&["mix", "erl"]).then(|| program::mix_release("mix_app", "mix_app", |_project| {}))
}

/// Returns the programs and scripts of an image without their versions.
fn executables(built: &Built) -> Vec<String> {
    let files = built.image.files().into_iter();
    let programs = files.filter(|(path, entry)| {
        let is_library = path.to_string_lossy().contains(".so");
        matches!(entry.kind, UnpackedKind::File { .. }) && entry.mode & 0o111 != 0 && !is_library
    });
    let shown = programs.map(|(path, _)| {
        let names = path.iter().map(|name| name.to_string_lossy());
        let names = names.map(|name| name.split('-').next().unwrap_or_default().to_owned());
        names.collect::<Vec<_>>().join("/")
    });
    shown.collect()
}

/// Returns the directory of programs of the release's ERTS.
fn erlexec(built: &Built) -> String {
    let entrypoint = built.config("Entrypoint")[0].as_str();
    entrypoint.expect("it is a text").to_owned()
}

#[test]
fn a_release_serves_without_a_shell() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let Some(release) = release() else { return };
    let built = build(&release, "direct", &["--boot=direct"]);
    assert_eq!(
        executables(&built),
        [
            "app/erts/bin/beam.smp",
            "app/erts/bin/erl_child_setup",
            "app/erts/bin/erlexec",
            "app/erts/bin/inet_gethost",
            "app/lib/inets/priv/bin/runcgi.sh",
            "app/lib/os_mon/priv/bin/cpu_sup",
            "app/lib/os_mon/priv/bin/memsup",
        ]
    );
    assert!(!built.has("bin/sh") && !built.has("app/releases/COOKIE"));
    let image = engine.load(&built.archive, &built.reference);
    // `runtime.exs` reads the environment of the container.
    let options = ["--env=SECRET_KEY_BASE=something", "--env=PORT=4000"];
    for tmpfs in [&[][..], &["--tmpfs=/tmp"]] {
        let container = image.start(&[&CONFINED, &options[..], tmpfs].concat());
        container.answers(&[
            ("/", "hello from another package"),
            ("/roots", &built.roots()),
            (
                "/crypto",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            ("/handshake", "aes_256_gcm"),
            ("/encoding", "utf8"),
            ("/pid", "1"),
            ("/secret", "something"),
            ("/resolve", "127.0.0.1"),
        ]);
        if !tmpfs.is_empty() {
            container.answers(&[("/file", "größe")]);
        }
        let logs = container.logs();
        assert!(!logs.contains("latin1") && !logs.contains("rror"), "{logs}");
        container.stop();
    }
}

#[test]
fn without_its_secret_a_release_fails_with_its_error() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let Some(release) = release() else { return };
    let built = build(&release, "direct-secret", &["--boot=direct"]);
    let image = engine.load(&built.archive, &built.reference);
    let outcome = image.run_with(&CONFINED[..3], &[], b"").exited(1);
    let text = [outcome.stdout.clone(), outcome.stderr.clone()].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(
        text.contains("environment variable SECRET_KEY_BASE is missing"),
        "{text}"
    );
}

/// The command of the documentation for migrations.
#[test]
fn an_expression_is_evaluated_without_a_start_of_the_application() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let Some(release) = release() else { return };
    let built = build(&release, "direct-eval", &["--boot=direct"]);
    let image = engine.load(&built.archive, &built.reference);
    let entrypoint = format!("--entrypoint={}", erlexec(&built));
    let options = [entrypoint.as_str(), "--env=SECRET_KEY_BASE=something"];
    let outcome = image.run_with(
        &[&options[..], &CONFINED[..3]].concat(),
        &[
            "-noshell",
            "-s",
            "elixir",
            "start_cli",
            "-mode",
            "embedded",
            "-config",
            "/app/releases/0.1.0/sys",
            "-boot",
            "/app/releases/0.1.0/start_clean",
            "-boot_var",
            "RELEASE_LIB",
            "/app/lib",
            "-extra",
            "--eval",
            "IO.inspect(Application.get_env(:mix_app, :secret))",
        ],
        b"",
    );
    assert_eq!(outcome.success().stdout_text(), "\"something\"\n");
}

/// Both without `epmd`, as documented.
#[test]
fn a_node_with_a_name_evaluates_what_a_second_one_sends() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let Some(release) = release() else { return };
    let built = build(&release, "direct-node", &["--boot=direct"]);
    let image = engine.load(&built.archive, &built.reference);
    let flags = "-name app@127.0.0.1 -setcookie other -start_epmd false -erl_epmd_port 4370";
    let flags = format!("--env=ERL_FLAGS={flags}");
    let options = [flags.as_str(), "--env=SECRET_KEY_BASE=something"];
    let container = image.start(&[&options[..], &CONFINED].concat());
    container.answers(&[("/pid", "1")]);
    let erlexec = erlexec(&built);
    let words = "-noshell -s elixir start_cli -mode embedded -boot /app/releases/0.1.0/start_clean \
        -boot_var RELEASE_LIB /app/lib -name rpc@127.0.0.1 -hidden -dist_listen false -extra \
        --rpc-eval app@127.0.0.1 IO.puts(node())";
    let words: Vec<&str> = [erlexec.as_str()]
        .into_iter()
        .chain(words.split_whitespace())
        .collect();
    let outcome = container.exec(&words).success();
    assert!(
        outcome.stdout_text().ends_with("app@127.0.0.1\n"),
        "{}",
        outcome.report()
    );
}

/// With `reboot_system_after_config`, the start script copies the configuration
/// to a writable directory.
#[test]
fn a_release_that_restarts_after_its_configuration_serves() {
    let Some(engine) = Engine::require() else {
        return;
    };
    if !has_programs(&["mix", "erl"]) {
        return;
    }
    let release = program::mix_release("mix_app", "mix_app_restarting", |project| {
        let change = |path: &str, from: &str, to: &str| {
            let path = project.join(path);
            let text = fs::read_to_string(&path).expect("it was copied");
            if !text.contains(to) {
                assert!(text.contains(from), "{text}");
                fs::write(path, text.replacen(from, to, 1)).expect("it is ours");
            }
        };
        let options = "reboot_system_after_config: true, prune_runtime_sys_config_after_boot: true";
        let options = format!("start_permanent: true, releases: [mix_app: [{options}]]");
        change("mix.exs", "start_permanent: true", &options);
        let settings = "import Config\nconfig :kernel, :from, \"kernel\"";
        change("config/runtime.exs", "import Config", settings);
        let answer = "Application.get_env(:kernel, :from)";
        change("lib/mix_app/answers.ex", "System.pid()", answer);
    });
    let built = build(&release, "direct-restart", &["--boot=direct"]);
    assert!(built.has("app/releases/0.1.0/direct.boot"));
    let image = engine.load(&built.archive, &built.reference);
    let secret = "--env=SECRET_KEY_BASE=something";
    // With a file system in memory, and with one that remains for a second start.
    for options in [&["--read-only", "--tmpfs=/tmp"][..], &[]] {
        let container = image.start(&[options, &CONFINED[1..], &[secret]].concat());
        for _ in 0..2 {
            container.answers(&[("/pid", "kernel"), ("/secret", "something")]);
            container.restart();
        }
        container.answers(&[("/pid", "kernel")]);
        container.stop();
    }
}

/// Runs imgbuild on a copy of the release with some files replaced.
fn refused(key: &str, files: &[(&str, &str)], arguments: &[&str]) -> Option<String> {
    if !has_programs(&["mix", "erl"]) {
        return None;
    }
    let release = program::mix_release("mix_app", key, |_project| {});
    for (path, text) in files {
        fs::write(release.join(path), text).expect("the target directory is ours");
    }
    let release = release.to_str().expect("it has a plain name");
    let words = ["--release", release, "--dry-run", "--boot=direct"];
    let outcome = sandbox().run([&words[..], arguments].concat()).exited(1);
    Some(outcome.stderr_text().to_owned())
}

#[test]
fn commands_that_need_a_shell_are_refused() {
    let files = [
        (
            "releases/0.1.0/env.sh",
            "#!/bin/sh\nexport RELEASE_NODE=\"app@$(hostname -f)\"\n",
        ),
        (
            "bin/server",
            "#!/bin/sh\n./mix_app eval migrate && exec ./mix_app start\n",
        ),
    ];
    let Some(text) = refused("mix_app_shell", &files, &[]) else {
        return;
    };
    for expected in [
        "error: the release cannot start without a shell\n",
        "line 2 of `releases/0.1.0/env.sh` does more than set a variable to a plain value",
        "line 2 of `bin/server` does more than set a variable to a plain value",
        "hint: start the release by its script with `--boot script`",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    let excluded = ["--exclude=releases/*/env.sh"];
    let text = refused("mix_app_shell", &files, &excluded).expect("the tools are there");
    assert!(
        !text.contains("env.sh") && text.contains("bin/server"),
        "{text}"
    );
}

#[test]
fn a_command_of_another_kind_is_refused() {
    let Some(text) = refused("mix_app_command", &[], &["--cmd=bin/migrate"]) else {
        return;
    };
    let expected =
        "the command `bin/migrate` cannot run: without a shell the command must be a binary";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn only_a_release_of_mix_starts_directly() {
    let sandbox = sandbox();
    let release = sandbox
        .tree("service", "0755 file bin/service \"#!/bin/sh\\n\"")
        .expect("there is room for it");
    let release = release.to_str().expect("it has a plain name");
    let words = ["--release", release, "--dry-run", "--boot=direct"];
    let outcome = sandbox.run(words).exited(2);
    let text = outcome.stderr_text();
    assert!(
        text.contains("`--boot direct` starts a mix release"),
        "{text}"
    );
}

/// Variables name the boot script, the configuration and the arguments.
#[test]
fn files_named_by_variables_start_the_release_or_are_refused() {
    let Some(engine) = Engine::require() else {
        return;
    };
    if !has_programs(&["mix", "erl"]) {
        return;
    }
    let release = program::mix_release("mix_app", "mix_app_named", |_project| {});
    let version = release.join("releases/0.1.0");
    for (from, to) in [("start.boot", "other.boot"), ("sys.config", "other.config")] {
        fs::copy(version.join(from), version.join(to)).expect("it is ours");
    }
    fs::write(version.join("other.args"), "-sname other\n+K true\n").expect("it is ours");
    let named = [
        "--boot=direct",
        "--env=RELEASE_BOOT_SCRIPT=other",
        "--env=RELEASE_SYS_CONFIG=/app/releases/0.1.0/other",
        "--env=RELEASE_VM_ARGS=/app/releases/0.1.0/other.args",
    ];
    let built = build(&release, "direct-named", &named);
    let image = engine.load(&built.archive, &built.reference);
    let container = image.start(&[&CONFINED[..], &["--env=SECRET_KEY_BASE=something"]].concat());
    container.answers(&[("/pid", "1")]);
    container.stop();

    let gone = ["--boot=direct", "--env=RELEASE_BOOT_SCRIPT=gone"];
    let words = ["--release", release.to_str().expect("it has a plain name")];
    let outcome = sandbox().run([&words[..], &gone].concat()).exited(1);
    let said = outcome.stderr_text();
    assert!(
        said.contains("/gone.boot`, which does not exist [release-incomplete]"),
        "{said}"
    );
    let built = build(
        &release,
        "direct-gone",
        &[&gone[..], &["--check=off"]].concat(),
    );
    let image = engine.load(&built.archive, &built.reference);
    let outcome = image.run(&[]).exited(1);
    let said = [outcome.stdout.clone(), outcome.stderr.clone()].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("gone.boot"), "{said}");
}
