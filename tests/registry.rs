//! Real registries on loopback: what is pushed there is what readers pull, and
//! what a command says holds no secret.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use fs_err as fs;
use imgbuild_testing::{FakeRegistry, Outcome, Sandbox};

use crate::runs::{listing, with_small_release, words};
use crate::support::docker::Engine;
use crate::support::image::result_digest;
use crate::support::{has_programs, image};

mod certificates;
mod copies;
mod indexes;
mod logins;
mod messages;
mod others;
mod processor;
mod proxy;
mod readers;
mod reuse;
pub(crate) mod server;

use readers::{Pushed, READERS};
use server::{PASSWORD, Registry, USER};

/// The files of Debian's registry that hold for every test.
const TOOLS: [&str; 1] = ["docker-registry"];

/// Builds the small release and pushes it under these names.
fn push(sandbox: &Sandbox, references: &[&str], more: &[&str]) -> Outcome {
    let mut all = more.to_vec();
    for reference in references {
        all.extend(["--tag", reference]);
    }
    all.push("--push");
    sandbox.run(words("release", &all))
}

/// Asserts that two layouts hold the same bytes under the same names.
#[track_caller]
fn assert_same_blobs(one: &Path, other: &Path) {
    let blobs = |layout: &Path| listing(&layout.join("blobs"));
    assert_eq!(blobs(one), blobs(other));
}

fn docker_config(sandbox: &mut Sandbox, text: &str) {
    let directory = sandbox.path("docker");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.json"), text).unwrap();
    sandbox.set("DOCKER_CONFIG", directory);
}

#[test]
fn what_is_pushed_is_what_every_reader_pulls_and_runs() {
    if !has_programs(&TOOLS) || !has_programs(&READERS) {
        return;
    }
    let Some(engine) = Engine::require() else {
        return;
    };
    let sandbox = image::sandbox();
    let registry = Registry::plain(&sandbox);
    let pushed = Pushed::new(&sandbox, &registry.name(), &[]);
    pushed.assert_read(&sandbox, &engine, None);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one registry for all sources")]
fn a_password_comes_from_everywhere_that_it_is_kept() {
    if !has_programs(&[TOOLS[0], "sh"]) {
        return;
    }
    let mut sandbox = with_small_release();
    let registry = Registry::with_password(&sandbox);
    let name = registry.name();
    let reference = format!("{name}/me/app:1");
    let refused = push(&sandbox, &[&reference], &[]).exited(1);
    let text = refused.stderr_text();
    assert!(
        text.contains("the registry answered 401 Unauthorized"),
        "{text}"
    );
    assert!(text.contains("hint: log in with `docker login"), "{text}");

    let mut command = sandbox.command(words(
        "release",
        &[
            "--tag",
            &reference,
            "--push",
            "--username",
            USER,
            "--password-stdin",
        ],
    ));
    drop(
        sandbox
            .finish(&mut command, format!("{PASSWORD}\n").as_bytes())
            .success(),
    );

    let auth = server::base64(format!("{USER}:{PASSWORD}").as_bytes());
    docker_config(
        &mut sandbox,
        &format!(r#"{{"auths":{{"{name}":{{"auth":"{auth}"}}}}}}"#),
    );
    drop(push(&sandbox, &[&format!("{name}/me/b:1")], &[]).success());

    docker_config(
        &mut sandbox,
        &format!(r#"{{"credHelpers":{{"{name}":"test"}}}}"#),
    );
    let missing = push(&sandbox, &[&format!("{name}/me/c:1")], &[]).exited(1);
    let text = missing.stderr_text();
    assert!(
        text.contains("`docker-credential-test` is not installed"),
        "{text}"
    );
    helper(
        &mut sandbox,
        &format!(r#"{{"Username":"{USER}","Secret":"{PASSWORD}"}}"#),
    );
    drop(push(&sandbox, &[&format!("{name}/me/c:1")], &[]).success());

    docker_config(&mut sandbox, "not json");
    let config = format!(r#"{{"auths":{{"{name}":{{"auth":"{auth}"}}}}}}"#);
    sandbox.set("DOCKER_AUTH_CONFIG", &config);
    drop(push(&sandbox, &[&format!("{name}/me/e:1")], &[]).success());
    sandbox.set("DOCKER_AUTH_CONFIG", "");
    let warned = push(&sandbox, &[&format!("{name}/me/f:1")], &[]).exited(1);
    let text = warned.stderr_text();
    assert!(
        text.contains("warning: cannot use the credentials in"),
        "{text}"
    );

    docker_config(&mut sandbox, "{}");
    sandbox.set("IMGBUILD_REGISTRY_USER", USER);
    sandbox.set("IMGBUILD_REGISTRY_PASSWORD", PASSWORD);
    drop(push(&sandbox, &[&format!("{name}/me/d:1")], &[]).success());
}

/// Installs `docker-credential-test`, which prints this for `get`.
fn helper(sandbox: &mut Sandbox, answer: &str) {
    use std::os::unix::fs::PermissionsExt;
    let directory = sandbox.path("helpers");
    fs::create_dir_all(&directory).unwrap();
    let program = directory.join("docker-credential-test");
    let script = format!("#!/bin/sh\nread server\n[ \"$1\" = get ] && echo '{answer}'\n");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", directory.display());
    sandbox.set("PATH", path);
}

#[test]
fn a_token_server_gives_leave_for_what_is_done() {
    if !has_programs(&[TOOLS[0], "openssl"]) {
        return;
    }
    let mut sandbox = with_small_release();
    let registry = Registry::with_tokens(&sandbox);
    let name = registry.name();
    let references = [format!("{name}/me/app:1"), format!("{name}/me/other:1")];
    let auth = server::base64(format!("{USER}:{PASSWORD}").as_bytes());
    docker_config(
        &mut sandbox,
        &format!(r#"{{"auths":{{"{name}":{{"auth":"{auth}"}}}}}}"#),
    );
    let outcome = push(&sandbox, &[&references[0], &references[1]], &["-v"]).success();
    let text = outcome.stderr_text();
    assert!(
        text.contains("from `me/app`"),
        "the second repository mounts from the first: {text}"
    );
    // Who may only read cannot write, and is told so.
    docker_config(&mut sandbox, "{}");
    let copied = sandbox.run(["copy", &format!("docker://{}", references[0]), "oci:pulled"]);
    drop(copied.success());
    let refused = push(&sandbox, &[&references[0]], &["--label", "a=b"]).exited(1);
    assert!(
        refused.stderr_text().contains("401 Unauthorized"),
        "{}",
        refused.report()
    );
}

#[test]
fn a_private_authority_is_trusted_only_when_it_is_named() {
    if !has_programs(&[TOOLS[0], "openssl"]) {
        return;
    }
    let sandbox = with_small_release();
    let registry = Registry::with_tls(&sandbox);
    let reference = format!("{}/me/app:1", registry.name());
    let refused = push(&sandbox, &[&reference], &[]).exited(1);
    let text = refused.stderr_text();
    assert!(
        text.contains("the certificate is signed by an unknown authority"),
        "{text}"
    );
    assert!(
        text.contains("hint: for a registry with its own authority or a self-signed certificate, use `--ca-file FILE`"),
        "{text}"
    );
    let authority = sandbox.path("tls/ca.pem").display().to_string();
    drop(push(&sandbox, &[&reference], &["--ca-file", &authority]).success());
    let wrong = push(
        &sandbox,
        &[&reference],
        &["--ca-file", "release/etc/app.toml"],
    )
    .exited(1);
    assert!(
        wrong
            .stderr_text()
            .contains("cannot use `--ca-file release/etc/app.toml`: no `CERTIFICATE`"),
        "{}",
        wrong.report()
    );
}

#[test]
fn an_index_goes_to_a_registry_and_back_whole_or_in_part() {
    if !has_programs(&TOOLS) {
        return;
    }
    let sandbox = with_small_release();
    let registry = Registry::plain(&sandbox);
    let layout = indexes::two_platforms(&sandbox);
    let target = format!("docker://{}/me/app:1", registry.name());
    let pushed = sandbox.run(["copy", &layout, &target]).success();
    let digest = result_digest(&pushed);
    let back = sandbox.run(["copy", &target, "oci:back:1"]).success();
    assert_eq!(result_digest(&back), digest);
    assert_same_blobs(&sandbox.path("index"), &sandbox.path("back"));
    drop(sandbox.run(["validate", "oci:back:1"]).success());
    let one = sandbox
        .run(["copy", "--platform", "linux/arm64", &target, "oci:arm"])
        .success();
    assert_ne!(result_digest(&one), digest);
    let none = sandbox
        .run(["copy", "--platform", "linux/riscv64", &target, "oci:none"])
        .exited(1);
    let text = none.stderr_text();
    assert!(
        text.contains(
            "the index has no image for linux/riscv64 (it has: linux/amd64, linux/arm64)"
        ),
        "{text}"
    );
    let archive = sandbox
        .run(["copy", &target, "docker-archive:both.tar"])
        .success();
    assert_eq!(result_digest(&archive), digest);
    drop(sandbox.run(["validate", "both.tar"]).success());
}

#[test]
fn layers_of_a_base_are_pushed_from_where_they_lie() {
    let sandbox = with_small_release();
    let other = sandbox.tree("other", "0644 file a \"below\"").unwrap();
    for (output, base) in [("base.tar", "base.tar"), ("oci:base", "oci:base")] {
        let outcome = sandbox.run(words(&other, &["--output", output, "--tag", "x/base:1"]));
        drop(outcome.success());
        let registry = FakeRegistry::start(Default::default()).unwrap();
        let reference = format!("{}/me/app:1", registry.name());
        let pushed = push(&sandbox, &[&reference], &["--base", base]).success();
        drop(
            sandbox
                .run(["copy", &format!("docker://{reference}"), "oci:back"])
                .success(),
        );
        drop(sandbox.run(["validate", "oci:back"]).success());
        let again = push(&sandbox, &[&reference], &["--base", base, "--json"]).success();
        let result: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!(result["digest"], result_digest(&pushed));
        assert_eq!(result["sentBytes"], 0, "{}", again.report());
    }
}

#[test]
fn a_push_that_is_killed_is_finished_by_the_next() {
    if !has_programs(&TOOLS) {
        return;
    }
    let sandbox = with_small_release();
    fs::write(
        sandbox.path("release/noise"),
        crate::runs::noise(30_000_000),
    )
    .unwrap();
    let registry = Registry::plain(&sandbox);
    let reference = format!("{}/me/app:1", registry.name());
    let all = ["--tag", &reference, "--push"];
    for milliseconds in [100, 300, 600] {
        let mut child = sandbox.command(words("release", &all));
        child.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = child.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    drop(push(&sandbox, &[&reference], &[]).success());
    let again = push(&sandbox, &[&reference], &["--json"]).success();
    let result: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(result["pushed"][0]["unchanged"], true, "{}", again.report());
    assert_eq!(result["sentBytes"], 0, "{}", again.report());
    drop(
        sandbox
            .run(["copy", &format!("docker://{reference}"), "oci:back"])
            .success(),
    );
    drop(sandbox.run(["validate", "oci:back"]).success());
}

#[test]
fn a_signal_ends_a_push_that_waits_for_the_registry() {
    let sandbox = with_small_release();
    let registry = FakeRegistry::start(Default::default()).unwrap();
    let (told, is_waiting) = std::sync::mpsc::channel();
    registry.when(move |request| {
        if request.method == "PUT" {
            if told.send(()).is_err() {
                return None;
            }
            std::thread::sleep(std::time::Duration::from_secs(20));
        }
        None
    });
    let reference = format!("{}/me/app:1", registry.name());
    let mut command = sandbox.command(words("release", &["--tag", &reference, "--push"]));
    let child = crate::runs::start(&mut command);
    is_waiting.recv().unwrap();
    let start = std::time::Instant::now();
    crate::runs::signal(&child, "INT");
    let (status, text) = crate::runs::end(child);
    assert_eq!(status.code(), Some(130), "{text}");
    assert!(text.ends_with("error: interrupted\n"), "{text}");
    assert!(start.elapsed().as_secs() < 10, "{text}");
    assert!(registry.contents().manifests.is_empty());
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let sandbox = with_small_release();
    let registry = FakeRegistry::start(imgbuild_testing::registry::Behavior {
        auth: imgbuild_testing::registry::Auth::Basic(USER.to_owned(), "another one".to_owned()),
        ..Default::default()
    })
    .unwrap();
    let reference = format!("{}/me/app:1", registry.name());
    let all = [
        "--tag",
        &reference,
        "--push",
        "-v",
        "--username",
        USER,
        "--password-stdin",
    ];
    let mut command = sandbox.command(words("release", &all));
    let outcome = sandbox.finish(&mut command, PASSWORD.as_bytes()).exited(1);
    let basic = server::base64(format!("{USER}:{PASSWORD}").as_bytes());
    for secret in [PASSWORD, &basic] {
        assert!(!outcome.report().contains(secret), "{}", outcome.report());
    }
}

#[test]
fn a_command_line_that_cannot_be_meant_is_refused() {
    let sandbox = with_small_release();
    let digest = format!("sha256:{}", "a".repeat(64));
    for (all, expected) in [
        (vec!["--push"], "--tag"),
        (
            vec!["-o", &format!("docker://r.example/a@{digest}")],
            "a push creates a tag, not a digest",
        ),
        (
            vec!["-o", "docker://UPPER/case"],
            "repositories are lower case",
        ),
        (
            vec![
                "-t",
                "a.example/a",
                "-t",
                "b.example/a",
                "--push",
                "--username",
                "me",
                "--password-stdin",
            ],
            "the user and password are for one registry",
        ),
        (
            vec!["-t", "a.example/a", "--push", "--username", "me"],
            "there is no password for `me`",
        ),
        (
            vec!["-t", "a.example/a", "--push", "--username", "me:hunter2"],
            "the user of a registry cannot contain a colon",
        ),
    ] {
        let outcome = sandbox.run(words("release", &all)).exited(2);
        assert!(
            outcome.stderr_text().contains(expected),
            "{}",
            outcome.report()
        );
    }
    let nowhere = sandbox.run(["copy", "release", "oci:x"]).exited(1);
    assert!(
        nowhere
            .stderr_text()
            .contains("is neither an image layout nor an image archive"),
        "{}",
        nowhere.report()
    );
}

/// `program` with these words and this input, to its end.
fn piped(command: &mut Command, input: &[u8]) -> Vec<u8> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn an_image_is_called_what_it_was_pushed_as() {
    if !has_programs(&TOOLS) {
        return;
    }
    let sandbox = with_small_release();
    let registry = Registry::plain(&sandbox);
    let name = format!("{}/me/other:1", registry.name());
    let output = format!("--output=docker://{name}");
    let outcome = sandbox.run(words("release", &[&output])).success();
    let text = outcome.stderr_text();
    assert!(text.contains(&format!("image `{name}` for ")), "{text}");
    // What is written here, too, has the name that it got from the release.
    let here = ["--output=image.tar", &output];
    let outcome = sandbox.run(words("release", &here)).success();
    let text = outcome.stderr_text();
    assert!(text.contains("image `release:latest` for "), "{text}");
}

#[test]
fn a_failure_at_docker_hub_says_that_the_name_meant_it() {
    let mut sandbox = with_small_release();
    // Nobody listens there: nothing leaves this machine.
    sandbox.set("https_proxy", "http://127.0.0.1:1");
    let outcome = push(&sandbox, &["app:1"], &[]).exited(1);
    let text = outcome.stderr_text();
    let expected = "hint: `app:1` means `docker.io/library/app:1`: names without a registry";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn what_is_fetched_is_said_before_it_comes() {
    if !has_programs(&TOOLS) {
        return;
    }
    let sandbox = with_small_release();
    let registry = Registry::plain(&sandbox);
    let name = format!("{}/me/app:1", registry.name());
    drop(push(&sandbox, &[&name], &[]).success());
    let source = format!("docker://{name}");
    let outcome = sandbox.run(["copy", &source, "oci:here"]).success();
    let text = outcome.stderr_text();
    assert!(
        text.starts_with("fetching ") && text.contains(" blobs, "),
        "{text}"
    );
    assert!(text.contains("wrote `here`"), "{text}");
}
