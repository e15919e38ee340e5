//! Whose password goes where: what the command line, the environment, files and
//! helpers say.

use std::ffi::OsString;

use fs_err as fs;
use imgbuild_testing::registry::{Answer, Auth, Behavior, Fault};
use imgbuild_testing::{FakeRegistry, Sandbox};

use super::server::{PASSWORD, USER, base64};
use super::{docker_config, helper, push};
use crate::runs::{with_small_release, words};

fn locked() -> FakeRegistry {
    FakeRegistry::start(Behavior {
        auth: Auth::Basic(USER.to_owned(), PASSWORD.to_owned()),
        ..Behavior::default()
    })
    .unwrap()
}

fn name_of(registry: &FakeRegistry, repository: &str) -> String {
    format!("{}/{repository}:1", registry.name())
}

fn auths(registry: &str) -> String {
    let auth = base64(format!("{USER}:{PASSWORD}").as_bytes());
    format!(r#"{{"auths":{{"{registry}":{{"auth":"{auth}"}}}}}}"#)
}

fn secret_of(sandbox: &mut Sandbox) {
    sandbox.set("IMGBUILD_REGISTRY_USER", USER);
    sandbox.set("IMGBUILD_REGISTRY_PASSWORD", PASSWORD);
}

/// Whether any request to a registry had a password or token.
fn has_seen_secrets(registry: &FakeRegistry) -> bool {
    let requests = registry.requests();
    let mut secrets = requests.iter().map(|one| one.header("authorization"));
    assert!(!requests.is_empty(), "it was asked");
    secrets.any(|secret| secret.is_some())
}

#[test]
fn the_registry_of_a_password_can_be_named() {
    let mut sandbox = with_small_release();
    let (own, other) = (locked(), FakeRegistry::start(Behavior::default()).unwrap());
    let base = name_of(&other, "library/base");
    drop(push(&sandbox, &[&base], &[]).success());
    secret_of(&mut sandbox);
    sandbox.set("IMGBUILD_REGISTRY", own.name());
    drop(other.requests());
    // Nothing is pushed, so the registry of the base is the only one.
    let from = format!("docker://{base}");
    let target = name_of(&own, "me/app");
    let build = ["--base", &from, "-t", &target, "-o", "oci:out"];
    drop(sandbox.run(words("release", &build)).success());
    assert!(!has_seen_secrets(&other));
    // Several are pushed to, and one gets the password.
    let targets = [target.as_str(), &name_of(&other, "me/app")];
    drop(push(&sandbox, &targets, &[]).success());
    assert!(has_seen_secrets(&own) && !has_seen_secrets(&other));

    sandbox.set("IMGBUILD_REGISTRY", "https://ghcr.io/");
    let refused = push(&sandbox, &[&target], &[]).exited(2);
    assert!(
        refused
            .stderr_text()
            .contains("`IMGBUILD_REGISTRY` is `https://ghcr.io/`, which is not a registry"),
        "{}",
        refused.report()
    );
}

#[test]
fn blanks_are_part_of_a_password_and_the_end_of_a_line_is_not() {
    let mut sandbox = with_small_release();
    let registry = FakeRegistry::start(Behavior {
        auth: Auth::Basic(USER.to_owned(), " blank word ".to_owned()),
        ..Behavior::default()
    })
    .unwrap();
    sandbox.set("IMGBUILD_REGISTRY_USER", USER);
    sandbox.set("IMGBUILD_REGISTRY_PASSWORD", " blank word \n");
    drop(push(&sandbox, &[&name_of(&registry, "me/app")], &[]).success());
}

#[test]
fn the_files_of_podman_are_found() {
    let registry = locked();
    for (variable, directory, file) in [
        ("XDG_RUNTIME_DIR", "run", "run/containers/auth.json"),
        ("XDG_CONFIG_HOME", "config", "config/containers/auth.json"),
        ("REGISTRY_AUTH_FILE", "own.json", "own.json"),
    ] {
        let mut sandbox = with_small_release();
        let path = sandbox.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, auths(&registry.name())).unwrap();
        sandbox.set(variable, sandbox.path(directory));
        let outcome = push(&sandbox, &[&name_of(&registry, "me/app")], &["-v"]).success();
        let said = format!("from `{}`", path.display());
        assert!(
            outcome.stderr_text().contains(&said),
            "{}",
            outcome.report()
        );
    }
}

#[test]
fn who_knows_nothing_ends_no_search() {
    let mut sandbox = with_small_release();
    let registry = locked();
    // The words of all helpers that have nothing.
    helper(
        &mut sandbox,
        "credentials not found in native keychain'; exit 1; echo '",
    );
    sandbox.set("DOCKER_AUTH_CONFIG", r#"{"credsStore":"test"}"#);
    docker_config(&mut sandbox, &auths(&registry.name()));
    drop(push(&sandbox, &[&name_of(&registry, "me/app")], &[]).success());
}

#[test]
fn a_helper_is_asked_once() {
    let mut sandbox = with_small_release();
    let registry = locked();
    let name = registry.name();
    docker_config(&mut sandbox, r#"{"credsStore":"test"}"#);
    let log = sandbox.path("asked");
    let answer = format!(r#"{{"Username":"{USER}","Secret":"{PASSWORD}"}}"#);
    let script = format!("'; echo x >>'{}'; echo '{answer}", log.display());
    helper(&mut sandbox, &script);
    let names = [format!("{name}/me/a:1"), format!("{name}/me/b:1")];
    let cache = format!("docker://{name}/me/c:1");
    drop(push(&sandbox, &[&names[0], &names[1]], &["--cache-from", &cache]).success());
    assert_eq!(fs::read_to_string(log).unwrap(), "x\n");
}

#[test]
fn a_helper_that_is_absent_is_only_a_warning() {
    let mut sandbox = with_small_release();
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let name = name_of(&registry, "me/app");
    drop(push(&sandbox, &[&name], &[]).success());
    docker_config(&mut sandbox, r#"{"credsStore":"nowhere"}"#);
    let copied = sandbox
        .run(["copy", &format!("docker://{name}"), "oci:copied"])
        .success();
    let text = copied.stderr_text();
    assert!(
        text.contains("cannot use the helper in")
            && text.contains("`docker-credential-nowhere` is not installed"),
        "{text}"
    );
    drop(push(&sandbox, &[&name], &[]).success());
    // The entry of the file is used, or the registry asks for a login.
    let registry = locked();
    let name = name_of(&registry, "me/app");
    let refused = push(&sandbox, &[&name], &[]).exited(1);
    let text = refused.stderr_text();
    assert!(text.contains("401 Unauthorized"), "{text}");
    assert_eq!(text.matches("is not installed").count(), 1, "{text}");
    let file = auths(&registry.name()).replacen('{', r#"{"credsStore":"nowhere","#, 1);
    docker_config(&mut sandbox, &file);
    drop(push(&sandbox, &[&name], &[]).success());
}

#[test]
fn a_missing_login_costs_no_build_whatever_the_compression() {
    let sandbox = with_small_release();
    let registry = locked();
    for compression in ["none", "gzip"] {
        let more = ["--compression", compression];
        let refused = push(&sandbox, &[&name_of(&registry, "me/app")], &more).exited(1);
        let text = refused.stderr_text();
        assert!(text.contains("401 Unauthorized"), "{text}");
        assert!(!text.contains("layer 1/"), "{text}");
    }
}

#[test]
fn a_password_of_the_environment_is_not_for_what_a_run_only_reads() {
    let mut sandbox = with_small_release();
    let registry = locked();
    let source = format!("docker://{}", name_of(&registry, "me/app"));
    secret_of(&mut sandbox);
    drop(push(&sandbox, &[&name_of(&registry, "me/app")], &[]).success());
    drop(registry.requests());
    let copy = ["copy", &source, "oci:copied"].map(OsString::from).to_vec();
    let build = words("release", &["--base", &source, "-o", "oci:out"]);
    for words in [&copy, &build] {
        let outcome = sandbox.run(words).exited(1);
        assert!(!has_seen_secrets(&registry));
        let hint = format!(
            "`IMGBUILD_REGISTRY_PASSWORD` are sent only to the registry in `IMGBUILD_REGISTRY`: set it to `{}`",
            registry.name()
        );
        let count = outcome.stderr_text().matches(&hint).count();
        assert_eq!(count, 1, "{}", outcome.report());
    }

    // An open registry does not ask.
    let open = FakeRegistry::start(Behavior::default()).unwrap();
    drop(push(&sandbox, &[&name_of(&open, "me/app")], &[]).success());
    let from = format!("docker://{}", name_of(&open, "me/app"));
    let outcome = sandbox.run(["copy", &from, "oci:open"]).success();
    assert!(!outcome.stderr_text().contains("IMGBUILD_REGISTRY"));

    // Who names the user on the command line means this command.
    let with_user = ["copy", &source, "oci:first", "--username", USER];
    drop(sandbox.run(with_user).success());
    sandbox.set("IMGBUILD_REGISTRY", registry.name());
    drop(sandbox.run(&copy).success());
    assert!(has_seen_secrets(&registry));
}

#[test]
fn a_password_in_a_name_is_not_repeated() {
    let sandbox = with_small_release();
    let name = "me:hunter2@registry.test/me/app:1";
    let (full, token) = (
        format!("docker://{name}"),
        "docker://hunter2@registry.test/a",
    );
    fs::write(sandbox.path("own.toml"), format!("tag = [\"{name}\"]\n")).unwrap();
    fs::create_dir(sandbox.path("sub")).unwrap();
    fs::write(sandbox.path("sub/own.toml"), format!("base = \"{name}\"\n")).unwrap();
    let archive = format!("docker-archive:x.tar:{name}");
    let mut all: Vec<Vec<OsString>> = Vec::new();
    for more in [
        ["-t", name],
        ["-t", "hunter2@registry.test/a"],
        ["-t", "me:hun/ter2@registry.test/a"],
        ["-o", &full],
        ["-o", name],
        ["-o", token],
        ["-o", &archive],
        ["-o", &format!("oci:{name}")],
        ["-o", ":hunter2@registry.test/a"],
        ["--base", &full],
        ["--base", name],
        ["--base", &format!("https://{name}")],
        ["--cache-from", &full],
        ["--config", "own.toml"],
        ["--config", "sub/own.toml"],
    ] {
        all.push(words("release", &more));
    }
    for line in [
        format!("copy {full} oci:x"),
        format!("copy {name} oci:x"),
        format!("copy {token} oci:x"),
        format!("copy release {full}"),
        format!("copy release docker:{name}"),
        format!("validate {full}"),
        format!("validate {name}"),
        format!("check {full}"),
        format!("index create {full} -o oci:x"),
        format!("index create {name} -o oci:x"),
        full.clone(),
        name.to_owned(),
    ] {
        all.push(line.split(' ').map(OsString::from).collect());
    }
    for words in all {
        let outcome = sandbox.run(&words).exited(2);
        let text = outcome.stderr_text();
        let is_told = text.contains("`docker login`") && text.contains("`--password-stdin`");
        assert!(is_told && !text.contains("ter2"), "{}", outcome.report());
    }
    assert!(!sandbox.path("me:hunter2@registry.test").exists());
}

#[test]
fn a_password_in_the_name_of_the_registry_is_not_repeated() {
    let mut sandbox = with_small_release();
    for registry in [
        "me:hunter2@registry.test",
        "https://me:hun/ter2@registry.test/",
    ] {
        sandbox.set("IMGBUILD_REGISTRY", registry);
        let outcome = push(&sandbox, &["registry.test/a"], &[]).exited(2);
        let text = outcome.stderr_text();
        let is_told = text.contains("USER:PASSWORD@registry.test");
        assert!(is_told && !text.contains("ter2"), "{}", outcome.report());
    }
}

#[test]
fn what_docker_takes_for_no_helper_is_none() {
    let mut sandbox = with_small_release();
    let registry = locked();
    let name = registry.name();
    let own = auths(&name);
    for more in [
        r#""credHelpers":null,"#.to_owned(),
        format!(r#""CREDSSTORE":"nowhere","credHelpers":{{"{name}":""}},"#),
    ] {
        docker_config(&mut sandbox, &own.replacen('{', &format!("{{{more}"), 1));
        let pushed = push(&sandbox, &[&name_of(&registry, "me/app")], &[]).success();
        let text = pushed.stderr_text();
        assert!(!text.contains("warning"), "{text}");
    }
    // A helper with keys in any case.
    docker_config(&mut sandbox, r#"{"credsstore":"test"}"#);
    let answer = format!(r#"{{"username":"{USER}","secret":"{PASSWORD}"}}"#);
    helper(&mut sandbox, &answer);
    drop(push(&sandbox, &[&name_of(&registry, "me/app")], &[]).success());
}

#[test]
fn a_hint_names_what_is_set_and_not_used() {
    let mut sandbox = with_small_release();
    let registry = locked();
    let name = name_of(&registry, "me/app");
    sandbox.set("CI_REGISTRY_PASSWORD", "hunter2");
    let outcome = push(&sandbox, &[&name], &[]).exited(1);
    let text = outcome.stderr_text();
    assert!(
        text.contains("(`CI_REGISTRY_PASSWORD` is set, but not read)"),
        "{text}"
    );
    // A file has another password, and the one of this command is for elsewhere.
    let wrong =
        auths(&registry.name()).replace(&base64(format!("{USER}:{PASSWORD}").as_bytes()), "YTpi");
    docker_config(&mut sandbox, &wrong);
    secret_of(&mut sandbox);
    sandbox.set("IMGBUILD_REGISTRY", "registry.test");
    let outcome = push(&sandbox, &[&name], &[]).exited(1);
    let text = outcome.stderr_text();
    assert!(
        text.contains(
            "since the user and password of this command are sent only to `registry.test`"
        ),
        "{text}"
    );
    sandbox.set("IMGBUILD_REGISTRY", "");
    let source = format!("docker://{name}");
    let outcome = sandbox.run(["copy", &source, "oci:x"]).exited(1);
    let text = outcome.stderr_text();
    assert!(
        text.contains("or to the registry in `IMGBUILD_REGISTRY`, which is not set"),
        "{text}"
    );
}

/// A registry that refuses all requests to read.
fn unreadable() -> FakeRegistry {
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    registry.when(|request| {
        let is_read = request.method == "GET" || request.method == "HEAD";
        let denied = Fault::Answer(Answer::new(403));
        (is_read && request.target != "/v2/").then_some(denied)
    });
    registry
}

#[test]
fn a_login_that_may_only_push_pushes_with_one_warning() {
    let sandbox = with_small_release();
    let registry = unreadable();
    let names = ["1", "2"].map(|tag| format!("{}/me/app:{tag}", registry.name()));
    for _ in 0..2 {
        let pushed = push(&sandbox, &[&names[0], &names[1]], &["--json"]).success();
        let text = pushed.stderr_text();
        assert_eq!(text.matches("warning: ").count(), 1, "{text}");
        assert!(text.contains("403 Forbidden; all blobs are sent"), "{text}");
        let result: serde_json::Value = serde_json::from_slice(&pushed.stdout).unwrap();
        assert_eq!(result["pushed"][0]["present"], 0, "{}", pushed.report());
        assert_eq!(result["pushed"][0]["unchanged"], false);
    }
    assert_eq!(registry.contents().manifests.len(), 3);
}

#[test]
fn a_login_that_may_neither_read_nor_push_costs_no_build() {
    let sandbox = with_small_release();
    let registry = unreadable();
    let denied = Fault::Answer(Answer::new(403));
    registry.fail(9, "POST", "/uploads/", denied);
    let refused = push(&sandbox, &[&name_of(&registry, "me/app")], &[]).exited(1);
    let text = refused.stderr_text();
    assert!(text.contains("error: cannot start to upload"), "{text}");
    assert!(!text.contains("layer 1/"), "{text}");
}
