//! Registries of other makers, each with its own idea of the protocol.
//!
//! [django-oci] passes the conformance tests of the specification of 2020: it
//! mounts, has indexes and takes blobs in one request, but never says what it
//! has, and a tag that is there stays. [container-registry] knows what Docker
//! and podman send: chunks only, no mounts, no indexes, manifests by tag.
//!
//! [django-oci]: https://pypi.org/project/django-oci/
//! [container-registry]: https://crates.io/crates/container-registry

use std::ffi::OsString;
use std::process::Command;

use fs_err as fs;
use imgbuild_testing::Sandbox;
use serde_json::Value;

use super::readers::{Pushed, READERS};
use super::server::{PASSWORD, Server, USER, free_port};
use super::{assert_same_blobs, indexes, push};
use crate::runs::{with_small_release, words};
use crate::support::docker::Engine;
use crate::support::image::result_digest;
use crate::support::{has_programs, image, program_of_variable};

/// Names the program `container-registry` where it is not on `PATH`.
const CONTAINER_REGISTRY: &str = "IMGBUILD_CONTAINER_REGISTRY";

/// Names a Python that has `django_oci`, where `python3` has not.
const DJANGO_PYTHON: &str = "IMGBUILD_DJANGO_OCI_PYTHON";

/// A registry that can be started.
#[derive(Debug, Clone)]
struct Maker {
    name: &'static str,
    program: OsString,
}

impl Maker {
    fn find(name: &'static str, variable: &str, usual: &str, check: &[&str]) -> Option<Self> {
        let program = program_of_variable(name, variable, usual, check)?;
        Some(Self { name, program })
    }

    fn container_registry() -> Option<Self> {
        let name = "container-registry";
        Self::find(name, CONTAINER_REGISTRY, name, &["--version"])
    }

    fn django() -> Option<Self> {
        let check = ["-c", "import django_oci"];
        Self::find("django-oci", DJANGO_PYTHON, "python3", &check)
    }

    fn all() -> Vec<Self> {
        let all = [Self::container_registry(), Self::django()];
        all.into_iter().flatten().collect()
    }

    fn is_django(&self) -> bool {
        self.name == "django-oci"
    }

    /// The password that the container-registry shall want; django-oci's way
    /// to ask for one is none that clients know.
    fn start(&self, sandbox: &Sandbox, password: Option<&str>) -> Server {
        let port = free_port();
        let data = sandbox.path("registry");
        fs::create_dir_all(&data).expect("the sandbox is ours");
        let mut command = Command::new(&self.program);
        if self.is_django() {
            let script = sandbox.path("serve.py");
            fs::write(&script, include_str!("others/serve.py")).expect("the sandbox is ours");
            command.arg(&script).arg(port.to_string()).arg(&data);
        } else {
            command.arg("--storage").arg(&data);
            command.args(["--bind", &format!("127.0.0.1:{port}")]);
            command.args(password.map(|password| format!("--password={password}")));
        }
        Server::start(&mut command, port)
    }
}

/// A sandbox that knows a user and password; an open container-registry wants
/// some, too.
fn with_password(mut sandbox: Sandbox) -> Sandbox {
    sandbox.set("IMGBUILD_REGISTRY_USER", USER);
    sandbox.set("IMGBUILD_REGISTRY_PASSWORD", PASSWORD);
    sandbox
}

fn json(sandbox: &Sandbox, reference: &str, more: &[&str]) -> Value {
    let outcome = push(sandbox, &[reference], &[&["--json"], more].concat()).success();
    serde_json::from_slice(&outcome.stdout).expect("it is JSON")
}

fn copied(sandbox: &Sandbox, source: &str, target: &str) -> String {
    let outcome = sandbox
        .run(["copy", source, target, "--username", USER])
        .success();
    result_digest(&outcome)
}

#[test]
fn every_reader_pulls_from_registries_of_other_makers() {
    if !has_programs(&READERS) {
        return;
    }
    let Some(engine) = Engine::require() else {
        return;
    };
    for maker in Maker::all() {
        let password = (!maker.is_django()).then_some(PASSWORD);
        let mut sandbox = with_password(image::sandbox());
        let server = maker.start(&sandbox, password);
        sandbox.set("IMGBUILD_REGISTRY", server.name());
        let pushed = Pushed::new(&sandbox, &server.name(), &[]);
        let login = password.map(|password| format!("{USER}:{password}"));
        pushed.assert_read(&sandbox, &engine, login.as_deref());
    }
}

#[test]
fn other_makers_get_nothing_twice() {
    for maker in Maker::all() {
        let sandbox = with_password(with_small_release());
        let server = maker.start(&sandbox, None);
        let name = |tag: &str| format!("{}/me/app:{tag}", server.name());
        let first = json(&sandbox, &name("1"), &["--tag", &name("latest")]);
        assert_eq!(first["pushed"].as_array().map(Vec::len), Some(2));
        let layers = first["images"][0]["layers"]
            .as_array()
            .expect("it is a list")
            .len();
        assert_eq!(first["pushed"][0]["uploaded"], layers + 1, "{}", maker.name);
        let again = json(&sandbox, &name("1"), &["--tag", &name("latest")]);
        for pushed in again["pushed"].as_array().expect("it is a list") {
            assert_eq!(pushed["unchanged"], true, "{}", maker.name);
            assert_eq!(pushed["digest"], first["digest"]);
        }
        assert_eq!(again["sentBytes"], 0, "{}", maker.name);
        fs::write(sandbox.path("release/bin/server"), "#!/bin/sh\nexit 1\n").unwrap();
        let origin = format!("docker://{}", name("1"));
        let changed = json(&sandbox, &name("2"), &["--cache-from", &origin]);
        assert_ne!(changed["digest"], first["digest"]);
        let pushed = &changed["pushed"][0];
        // The layer, and the config that names it.
        assert_eq!(pushed["uploaded"], 2, "{}", maker.name);
        assert_eq!(pushed["present"], layers - 1, "{}", maker.name);
    }
}

#[test]
fn copies_through_other_makers_keep_the_digest() {
    for maker in Maker::all() {
        let sandbox = with_password(with_small_release());
        let server = maker.start(&sandbox, None);
        let output = ["--output", "oci:built", "--tag", "x/y:1"];
        let built = sandbox.run(words("release", &output)).success();
        let digest = result_digest(&built);
        let there = format!("docker://{}/me/app:1", server.name());
        assert_eq!(copied(&sandbox, "oci:built", &there), digest);
        let elsewhere = format!("docker://{}/me/other:1", server.name());
        let outcome = sandbox
            .run(["copy", "-v", &there, &elsewhere, "oci:back"])
            .success();
        assert_eq!(result_digest(&outcome), digest);
        assert_same_blobs(&sandbox.path("built"), &sandbox.path("back"));
        let text = outcome.stderr_text();
        assert_eq!(text.contains("from `me/app`"), maker.is_django(), "{text}");
        drop(sandbox.run(["validate", "oci:back"]).success());
    }
}

#[test]
fn an_image_of_another_maker_is_a_base() {
    for maker in Maker::all() {
        let sandbox = with_password(with_small_release());
        let server = maker.start(&sandbox, None);
        let base = sandbox.tree("base", "0644 file below \"below\"").unwrap();
        let name = format!("{}/me/base:1", server.name());
        drop(
            sandbox
                .run(words(&base, &["--tag", &name, "--push"]))
                .success(),
        );
        let source = format!("docker://{name}");
        let target = format!("{}/me/app:1", server.name());
        let pushed = json(&sandbox, &target, &["--base", &source]);
        let back = copied(&sandbox, &format!("docker://{target}"), "oci:back");
        assert_eq!(pushed["digest"], back.as_str());
        drop(sandbox.run(["validate", "oci:back"]).success());
    }
}

#[test]
fn an_index_is_kept_where_there_are_indexes_and_refused_in_words_elsewhere() {
    for maker in Maker::all() {
        let sandbox = with_password(with_small_release());
        let server = maker.start(&sandbox, None);
        let layout = indexes::two_platforms(&sandbox);
        let target = format!("docker://{}/me/app:1", server.name());
        if maker.is_django() {
            let digest = copied(&sandbox, &layout, &target);
            assert_eq!(copied(&sandbox, &target, "oci:back:1"), digest);
            assert_same_blobs(&sandbox.path("index"), &sandbox.path("back"));
            continue;
        }
        let refused = sandbox.run(["copy", &layout, &target]).exited(1);
        let text = refused.stderr_text();
        assert!(text.contains("error: cannot write the manifest"), "{text}");
        assert!(text.contains("400 Bad Request"), "{text}");
    }
}

#[test]
fn a_password_of_another_maker_is_asked_for_and_taken() {
    let Some(maker) = Maker::container_registry() else {
        return;
    };
    let sandbox = with_small_release();
    let server = maker.start(&sandbox, Some(PASSWORD));
    let reference = format!("{}/me/app:1", server.name());
    let refused = push(&sandbox, &[&reference], &[]).exited(1);
    let text = refused.stderr_text();
    assert!(
        text.contains("the registry answered 401 Unauthorized"),
        "{text}"
    );
    assert!(text.contains("hint: log in with `docker login"), "{text}");
    drop(push(&with_password(sandbox), &[&reference], &[]).success());
}

#[test]
fn a_tag_that_does_not_move_is_noticed() {
    let Some(maker) = Maker::django() else {
        return;
    };
    let sandbox = with_small_release();
    let server = maker.start(&sandbox, None);
    let reference = format!("{}/me/app:1", server.name());
    drop(push(&sandbox, &[&reference], &[]).success());
    let moved = push(&sandbox, &[&reference], &["--label", "a=b"]).exited(1);
    let text = moved.stderr_text();
    assert!(text.contains("but the registry reports"), "{text}");
}
