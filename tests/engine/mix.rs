//! Releases of Elixir: built by mix, run without Elixir by their shell scripts.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::support::docker::{Container, Engine, Loaded};
use crate::support::image::{Built, build};
use crate::support::{has_programs, program};

/// The fewest privileges that a container can have.
const CONFINED: [&str; 6] = [
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--env=SECRET_KEY_BASE=something",
    "--publish=127.0.0.1::4000",
];

fn release() -> Option<PathBuf> {
    has_programs(&["mix", "erl"]).then(|| program::mix_release("mix_app", "mix_app", |_project| {}))
}

fn start<'a>(image: &'a Loaded<'_>, options: &[&str]) -> Container<'a> {
    let container = image.start(options);
    container.exec_until_success(&[
        "/app/bin/mix_app",
        "rpc",
        "Application.started_applications()",
    ]);
    container
}

fn layer_names(built: &Built) -> Vec<String> {
    let history = built.image.config["history"]
        .as_array()
        .expect("it is written");
    let names = history
        .iter()
        .filter_map(|entry| entry["comment"].as_str().or(entry["created_by"].as_str()));
    names.map(str::to_owned).collect()
}

#[test]
fn a_release_serves_confined_and_its_commands_work() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let Some(release) = release() else { return };
    let built = build(&release, "mix", &[]);
    let image = engine.load(&built.archive, &built.reference);
    let container = start(&image, &CONFINED);
    container.answers(&[
        ("/", "hello from another package"),
        ("/roots", &built.roots()),
        (
            "/crypto",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        ("/handshake", "aes_256_gcm"),
        ("/shell", "42"),
        ("/encoding", "utf8"),
        ("/file", "größe"),
        ("/disks", "true"),
        ("/pid", "1"),
    ]);
    for (words, expected) in [
        (&["version"][..], "mix_app 0.1.0\n"),
        (&["pid"], "1\n"),
        (&["rpc", "IO.puts(6 * 7)"], "42\n"),
        (&["eval", "IO.puts(\"größe\")"], "größe\n"),
    ] {
        let words = [&["/app/bin/mix_app"], words].concat();
        let outcome = container.exec(&words).success();
        assert_eq!(outcome.stdout_text(), expected, "{}", outcome.report());
    }
    let logs = container.logs();
    assert!(!logs.contains("latin1") && !logs.contains("rror"), "{logs}");
    container.stop();
}

#[test]
fn the_stop_command_ends_the_container() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let Some(release) = release() else { return };
    let built = build(&release, "mix-stop", &[]);
    let image = engine.load(&built.archive, &built.reference);
    let container = start(&image, &CONFINED);
    drop(container.exec(&["/app/bin/mix_app", "stop"]));
    assert_eq!(container.exit_code(), 0, "{}", container.logs());
}

#[test]
fn a_remote_shell_opens_on_a_terminal() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let Some(release) = release() else { return };
    let built = build(&release, "mix-remote", &[]);
    let image = engine.load(&built.archive, &built.reference);
    let container = start(&image, &CONFINED);
    let outcome = container.exec_on_terminal(
        "/app/bin/mix_app remote",
        &["IO.puts(6 * 7)\n", "\u{3}", "a\n"],
    );
    let text = String::from_utf8_lossy(&outcome.stdout);
    assert!(
        text.contains("iex(mix_app@") && text.contains("\r\n42\r\n"),
        "{text}"
    );
}

#[test]
fn without_its_secret_a_release_fails_with_its_error() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let Some(release) = release() else { return };
    let built = build(&release, "mix-secret", &[]);
    let image = engine.load(&built.archive, &built.reference);
    let outcome = image.run(&[]).exited(1);
    let text = [outcome.stdout.clone(), outcome.stderr.clone()].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(
        text.contains("environment variable SECRET_KEY_BASE is missing"),
        "{text}"
    );
}

#[test]
fn the_cookie_is_reported_and_can_be_left_out() {
    let Some(release) = release() else { return };
    let sandbox = crate::support::image::sandbox();
    let release_text = release.to_str().expect("it has a plain name");
    let words = ["--release", release_text, "--dry-run"];
    let outcome = sandbox.run(words).success();
    assert!(
        outcome
            .stderr_text()
            .contains("`/app/releases/COOKIE` is a secret"),
        "{}",
        outcome.report()
    );
    let outcome = sandbox
        .run([&words[..], &["--release-cookie=remove"]].concat())
        .success();
    assert!(
        outcome
            .stderr_text()
            .contains("the release cookie is not in the image"),
        "{}",
        outcome.report()
    );
    let cookie = fs::read_to_string(release.join("releases/COOKIE")).expect("mix wrote it");
    assert!(
        !outcome.stdout_text().contains(&cookie),
        "the secret is printed"
    );

    let Some(engine) = Engine::require() else {
        return;
    };
    let built = build(&release, "mix-cookie", &["--release-cookie=remove"]);
    assert!(!built.has("app/releases/COOKIE"));
    let image = engine.load(&built.archive, &built.reference);
    let secret = "--env=SECRET_KEY_BASE=something";
    let outcome = image.run_with(&[secret], &[], b"").exited(1);
    assert!(
        outcome.stderr_text().contains("COOKIE"),
        "{}",
        outcome.report()
    );
    let container = start(&image, &[secret, "--env=RELEASE_COOKIE=another"]);
    let outcome = container.exec(&["/app/bin/mix_app", "rpc", "IO.puts(Node.get_cookie())"]);
    assert_eq!(outcome.success().stdout_text(), "another\n");
}

#[test]
fn a_change_of_one_module_changes_one_layer() {
    if !has_programs(&["mix", "erl"]) {
        return;
    }
    let diff_ids = |release: &Path| {
        let sandbox = crate::support::image::sandbox();
        let archive = sandbox.path("image.tar");
        let release = release.to_str().expect("it has a plain name");
        let archive_text = archive.to_str().expect("it has a plain name");
        let outcome = sandbox.run(["--release", release, "--tag=mix", "--output", archive_text]);
        let digest = crate::support::image::result_digest(&outcome.success());
        let image = crate::support::image::confirmed(&archive, &digest);
        let ids = image.config["rootfs"]["diff_ids"]
            .as_array()
            .expect("it is written")
            .clone();
        (layer_count(&image), ids)
    };
    let before = program::mix_release("mix_app", "mix_app_changing", |project| {
        let answers = project.join("lib/mix_app/answers.ex");
        let text = fs::read_to_string(&answers).expect("it was copied");
        fs::write(answers, text).expect("the target directory is ours");
    });
    let (count, before_ids) = diff_ids(&before);
    let project = before.ancestors().nth(4).expect("it lies in the project");
    let answers = project.join("lib/mix_app/answers.ex");
    let text = fs::read_to_string(&answers).expect("it was copied");
    fs::write(
        &answers,
        text.replace("nothing at", "nothing to be found at"),
    )
    .expect("it is ours");
    program::run_mix(project);
    fs::write(&answers, text).expect("it is ours");
    let (_, after_ids) = diff_ids(&before);
    assert_eq!(before_ids.len(), count);
    assert_eq!(before_ids.len(), after_ids.len());
    let changed = before_ids
        .iter()
        .zip(&after_ids)
        .filter(|(before, after)| before != after);
    assert_eq!(changed.count(), 1, "{before_ids:?}\n{after_ids:?}");
}

fn layer_count(image: &imgbuild_testing::UnpackedImage) -> usize {
    image.layers.len()
}

#[test]
fn layers_are_cut_by_what_changes_together() {
    let Some(release) = release() else { return };
    let built = build(&release, "mix-layers", &[]);
    let first = |path: &str| {
        let layers = built.image.layers.iter();
        let has = |layer: &imgbuild_testing::UnpackedLayer| {
            layer.entries.iter().any(|(found, entry)| {
                found.to_string_lossy().starts_with(path)
                    && entry.kind != imgbuild_testing::UnpackedKind::Directory
            })
        };
        let mut found = layers
            .enumerate()
            .filter(|(_, layer)| has(layer))
            .map(|(index, _)| index);
        let index = found
            .next()
            .unwrap_or_else(|| panic!("nothing below {path}"));
        assert_eq!(found.next(), None, "{path} is in several layers");
        index
    };
    let order = [
        "etc/passwd",
        "usr/bin/",
        "var/lib/dpkg/status.d/",
        "etc/ssl/",
        "app/erts-",
        "app/lib/kernel-",
        "app/lib/elixir-",
        "app/lib/greeting-",
        "app/lib/mix_app-",
        "app/releases/",
    ];
    let found: Vec<usize> = order.iter().map(|path| first(path)).collect();
    assert_eq!(
        found,
        (0..order.len()).collect::<Vec<_>>(),
        "{:?}",
        layer_names(&built)
    );
}
