//! What a command says when a registry, or something on the way to it, says
//! no: one line with all of it, and one with what to do.

use fs_err as fs;
use imgbuild_testing::registry::{Answer, Auth, Behavior, Fault};
use imgbuild_testing::{FakeRegistry, Outcome, Sandbox};

use super::server::{self, PASSWORD, Registry, USER, free_port};
use super::{TOOLS, docker_config, helper, push};
use crate::runs::{with_small_release, words};
use crate::support::has_programs;

/// Copies from a registry to a layout.
fn pull(sandbox: &Sandbox, registry: &str) -> Outcome {
    sandbox.run([
        "copy",
        &format!("docker://{registry}/me/app:1"),
        "oci:copied",
    ])
}

/// Asserts that a run failed with these parts in its error line, and in its
/// hint, and with no other line but warnings.
#[track_caller]
fn assert_told(outcome: Outcome, error: &str, hint: &str) {
    let outcome = outcome.exited(1);
    let text = outcome.stderr_text();
    let line = |start: &str| {
        let mut lines = text.lines().filter(|line| line.starts_with(start));
        let found = lines.next().unwrap_or_default().to_owned();
        assert!(lines.next().is_none(), "{text}");
        found
    };
    assert!(line("error: ").contains(error), "{text}");
    assert!(line("hint: ").contains(hint), "{text}");
    assert!(!text.contains("caused by"), "{text}");
}

fn locked() -> FakeRegistry {
    FakeRegistry::start(Behavior {
        auth: Auth::Basic(USER.to_owned(), PASSWORD.to_owned()),
        ..Behavior::default()
    })
    .unwrap()
}

fn config_of(registry: &str, user: &str, password: &str) -> String {
    let auth = server::base64(format!("{user}:{password}").as_bytes());
    format!(r#"{{"auths":{{"{registry}":{{"auth":"{auth}"}}}}}}"#)
}

#[test]
fn a_wrong_password_is_told_with_its_user_and_where_it_comes_from() {
    let mut sandbox = with_small_release();
    let registry = locked();
    let name = registry.name();
    docker_config(&mut sandbox, &config_of(&name, "reader", "wrong-word"));
    let file = sandbox.path("docker/config.json");
    let refused = "401 Unauthorized to `reader`";
    let from = format!(
        "the registry rejects this user and password from `{}`",
        file.display()
    );
    assert_told(pull(&sandbox, &name), refused, &from);
    sandbox.set("IMGBUILD_REGISTRY_USER", "reader");
    sandbox.set("IMGBUILD_REGISTRY_PASSWORD", "wrong-word");
    sandbox.set("IMGBUILD_REGISTRY", &name);
    let from = "rejects this user and password from `IMGBUILD_REGISTRY_PASSWORD`";
    let outcome = pull(&sandbox, &name);
    assert!(!outcome.report().contains("wrong-word"));
    assert_told(outcome, refused, from);
}

#[test]
fn credentials_that_cannot_be_read_are_warned_of() {
    let mut sandbox = with_small_release();
    let registry = locked();
    let name = registry.name();
    let file = format!(r#"{{"auths":{{"{name}":{{"auth":"!!"}}}}}}"#);
    docker_config(&mut sandbox, &file);
    sandbox.set("REGISTRY_AUTH_FILE", "nowhere.json");
    let outcome = pull(&sandbox, &name);
    let text = outcome.stderr_text();
    for expected in [
        format!("the `auth` of `{name}` is not the base64 of a user, a colon and a password"),
        "warning: `REGISTRY_AUTH_FILE` names `nowhere.json` for credentials, which does not exist"
            .to_owned(),
    ] {
        assert!(text.contains(&expected), "{text}");
    }
    assert_told(outcome, "401 Unauthorized: ", "log in with `docker login");
}

#[test]
fn who_may_only_read_is_told_so_and_not_to_log_in() {
    if !has_programs(&[TOOLS[0], "openssl"]) {
        return;
    }
    let mut sandbox = with_small_release();
    let registry = Registry::with_tokens(&sandbox);
    let name = registry.name();
    docker_config(&mut sandbox, &config_of(&name, server::READER, PASSWORD));
    let reference = format!("{name}/me/app:1");
    assert_told(
        push(&sandbox, &[&reference], &[]),
        "401 Unauthorized to `reader`: UNAUTHORIZED",
        "may not push there: check that the token has permission to write packages",
    );
}

#[test]
fn a_password_for_another_registry_is_told_to_stay_there() {
    let sandbox = with_small_release();
    let (source, target) = (locked(), locked());
    let from = format!("docker://{}/me/app:1", source.name());
    let to = format!("docker://{}/me/app:1", target.name());
    let words = ["copy", &from, &to, "--username", USER, "--password-stdin"];
    let mut command = sandbox.command(words);
    let outcome = sandbox.finish(&mut command, format!("{PASSWORD}\n").as_bytes());
    let hint = format!(
        "the user and password of this command are sent to `{}` only: also run `docker login {}`",
        target.name(),
        source.name()
    );
    assert_told(outcome, "401 Unauthorized: ", &hint);
}

#[test]
fn a_helper_that_takes_its_time_is_named() {
    if !has_programs(&["sh", "sleep"]) {
        return;
    }
    let mut sandbox = with_small_release();
    let registry = locked();
    let name = registry.name();
    docker_config(
        &mut sandbox,
        &format!(r#"{{"credHelpers":{{"{name}":"test"}}}}"#),
    );
    let answer = format!(r#"{{"Username":"{USER}","Secret":"{PASSWORD}"}}"#);
    helper(&mut sandbox, &format!("{answer}'; sleep 4; echo '"));
    let outcome = push(&sandbox, &[&format!("{name}/me/app:1")], &[]).success();
    let text = outcome.stderr_text();
    assert!(
        text.contains("waiting for the credential helper `docker-credential-test`, at most 60 s"),
        "{text}"
    );
}

#[test]
fn a_proxy_that_does_not_do_is_named_without_its_password() {
    let mut sandbox = with_small_release();
    let port = free_port();
    for (address, error, hint) in [
        (
            format!("http://me:proxy-word@127.0.0.1:{port}"),
            format!(
                "cannot connect to `registry.test`: the proxy `127.0.0.1:{port}` of `https_proxy`: connection refused"
            ),
            "check that the proxy runs",
        ),
        (
            format!("socks5://me:proxy-word@127.0.0.1:{port}"),
            format!(
                "cannot connect to `registry.test`: the proxy `127.0.0.1:{port}` of `https_proxy`: SOCKS proxies are not supported"
            ),
            "set an http proxy",
        ),
        (
            "me:proxy-word@::".to_owned(),
            "cannot connect to `registry.test`: the URL in `https_proxy` is invalid".to_owned(),
            "set an http proxy",
        ),
    ] {
        sandbox.set("https_proxy", &address);
        let outcome = pull(&sandbox, "registry.test");
        assert!(
            !outcome.report().contains("proxy-word"),
            "{}",
            outcome.report()
        );
        assert_told(outcome, &error, hint);
    }
    // This machine is reached without it.
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    sandbox.set("https_proxy", "socks5://127.0.0.1:1");
    drop(push(&sandbox, &[&format!("{}/me/app:1", registry.name())], &[]).success());
}

#[test]
fn a_port_that_is_none_is_a_wrong_name() {
    let sandbox = with_small_release();
    let all = words("release", &["-t", "localhost:99999/me/app", "--push"]);
    let outcome = sandbox.run(all).exited(2);
    let text = outcome.stderr_text();
    assert!(text.contains("ports are numbers from 1 to 65535"), "{text}");
    assert!(!text.contains("would do"), "{text}");
}

#[test]
fn refusals_of_all_kinds_have_hints_that_fit() {
    let sandbox = with_small_release();
    let said = |status: u16, code: &str, message: &str| {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
        Fault::Answer(Answer::new(status).saying(body))
    };
    let stays = "this tag is immutable: use a new one";
    for (method, part, fault, error, hint) in [
        (
            "PUT",
            "/manifests/1",
            said(400, "TAG_INVALID", "no"),
            "cannot write the manifest `1` at",
            stays,
        ),
        (
            "PUT",
            "/manifests/1",
            said(409, "CONFLICT", "tag 1 is immutable"),
            "409 Conflict: CONFLICT: tag 1 is immutable",
            stays,
        ),
        (
            "POST",
            "/uploads/",
            said(507, "DENIED", "quota exceeded"),
            "507 Insufficient Storage: DENIED: quota exceeded",
            "the registry is full",
        ),
        (
            "PUT",
            "/uploads/",
            said(413, "SIZE", "no"),
            "413 Payload Too Large",
            "raise its limit to at least 1 MiB",
        ),
        (
            "GET",
            "/v2/",
            Fault::Answer(Answer::new(429).with("retry-after", "3600")),
            "cannot connect to `",
            "the registry limits the number of requests",
        ),
    ] {
        let registry = FakeRegistry::start(Behavior::default()).unwrap();
        registry.fail(usize::MAX, method, part, fault.clone());
        if part == "/uploads/" {
            registry.fail(usize::MAX, "PATCH", part, fault);
        }
        let reference = format!("{}/me/app:1", registry.name());
        assert_told(push(&sandbox, &[&reference], &[]), error, hint);
    }
}

#[test]
fn a_damaged_blob_is_copied_anew_and_one_that_cannot_be_had_is_told_once() {
    let sandbox = with_small_release();
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let reference = format!("{}/me/app:1", registry.name());
    drop(push(&sandbox, &[&reference], &[]).success());
    registry.fail(1, "GET", "/blobs/", Fault::Corrupt);
    let copied = pull(&sandbox, &registry.name()).success();
    assert!(
        copied
            .stderr_text()
            .contains("received bytes with the digest"),
        "{}",
        copied.report()
    );
    fs::remove_dir_all(sandbox.path("copied")).unwrap();
    let limit = Answer::new(429).with("retry-after", "3600");
    registry.fail(usize::MAX, "GET", "/blobs/", Fault::Answer(limit));
    assert_told(
        pull(&sandbox, &registry.name()),
        "cannot read the blob sha256:",
        "the registry limits the number of requests",
    );
}
