//! Archives without a manifest: what `docker save` wrote before Docker 25, and
//! what skopeo and podman call `docker-archive`.

use std::os::unix::fs::FileExt;
use std::path::Path;

use fs_err as fs;
use imgbuild_testing::registry::Behavior;
use imgbuild_testing::{FakeRegistry, Sandbox, sandbox::finish};
use serde_json::Value;

use crate::support::docker::Engine;
use crate::support::image::result_digest;
use crate::support::{has_programs, image, limited, program, unique, unique_time};

/// What the program inside prints.
const GREETING: &str = "hello, user 65532\n";

/// Two images that differ in a label, in `old.tar` as the engine saves them: the
/// last layer of one of them is a link. `first.tar` is one of ours.
struct Saved {
    sandbox: Sandbox,
    names: [String; 2],
    /// The digest of the first one's config, which is its ID.
    id: String,
}

fn saved(engine: &Engine) -> Saved {
    let sandbox = image::sandbox();
    let release = program::c_release("hello", &["gcc"]);
    let release = release.display().to_string();
    let mtime = unique_time();
    let names =
        ["first", "second"].map(|name| format!("localhost/imgbuild-test/{name}:{}", unique()));
    let archives = ["first.tar", "second.tar"].map(|name| sandbox.path(name));
    let mut loaded = Vec::new();
    for (name, archive) in names.iter().zip(&archives) {
        let output = archive.display().to_string();
        let label = format!("name={name}");
        let words = ["--release", &release, "--mtime", &mtime, "--label", &label];
        let words = [&words[..], &["--tag", name, "--output", &output]].concat();
        drop(sandbox.run(words).success());
        loaded.push(engine.load(archive, name));
    }
    let old = sandbox.path("old.tar").display().to_string();
    let words = ["save", "--output", &old, &names[0], &names[1]];
    drop(finish(&mut engine.docker(words), b"").success());
    let id = loaded[0].inspect("{{.Id}}");
    drop(loaded);
    Saved { sandbox, names, id }
}

fn copy(sandbox: &Sandbox, source: &str, target: &str) -> String {
    let outcome = sandbox.run(["copy", source, target]).success();
    result_digest(&outcome)
}

fn blob(layout: &Path, digest: &str) -> Value {
    let name = digest.trim_start_matches("sha256:");
    let bytes = fs::read(layout.join("blobs/sha256").join(name)).expect("it is there");
    serde_json::from_slice(&bytes).expect("it is JSON")
}

/// What is in the archive of the engine; a newer one writes a manifest, too.
fn listing(sandbox: &Sandbox) -> String {
    let mut tar = limited("tar");
    tar.arg("-tvf").arg(sandbox.path("old.tar"));
    finish(&mut tar, b"").success().stdout_text().to_owned()
}

fn is_old(sandbox: &Sandbox) -> bool {
    !listing(sandbox).contains(" index.json")
}

#[test]
fn what_docker_saved_is_copied_with_its_id_and_runs() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let saved = saved(&engine);
    let Saved { sandbox, names, .. } = &saved;
    let source = format!("docker-archive:old.tar:{}", names[0]);
    let digest = copy(sandbox, &source, "oci:layout");
    assert_eq!(copy(sandbox, &source, "oci:again"), digest);
    drop(sandbox.run(["validate", "oci:layout"]).success());
    if is_old(sandbox) {
        let manifest = blob(&sandbox.path("layout"), &digest);
        assert_eq!(manifest["config"]["digest"], saved.id.as_str());
        assert!(listing(sandbox).contains("/layer.tar -> ../"));
    }
    let other = format!("docker-archive:old.tar:{}", names[1]);
    assert_ne!(copy(sandbox, &other, "oci:other"), digest);
    drop(sandbox.run(["validate", "oci:other"]).success());
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let target = format!("docker://{}/me/old:1", registry.name());
    assert_eq!(copy(sandbox, &source, &target), digest);
    assert_eq!(copy(sandbox, &target, "oci:back"), digest);
    drop(sandbox.run(["validate", "oci:back"]).success());
    // The name comes along, and what is written has a manifest.
    assert_eq!(copy(sandbox, &source, "new.tar"), digest);
    let loaded = engine.load(&sandbox.path("new.tar"), &names[0]);
    assert_eq!(loaded.run(&[]).success().stdout_text(), GREETING);
    assert_eq!(copy(sandbox, "new.tar", "oci:third"), digest);
}

#[test]
fn one_of_several_images_is_named() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let Saved { sandbox, names, .. } = &saved(&engine);
    for (source, expected) in [
        ("old.tar".to_owned(), "2 images: "),
        ("docker-archive:old.tar".to_owned(), "2 images: "),
        (
            "docker-archive:old.tar:no/such:1".to_owned(),
            "the tag `no/such:1`",
        ),
    ] {
        let outcome = sandbox.run(["copy", &source, "oci:none"]).exited(1);
        let text = outcome.stderr_text();
        if is_old(sandbox) {
            assert!(text.contains(expected), "{text}");
            assert!(names.iter().all(|name| text.contains(name)), "{text}");
        }
        let hint = "hint: name one with `";
        assert!(
            text.contains(hint) || text.contains("hint: it has `"),
            "{text}"
        );
        assert!(!sandbox.path("none").exists());
    }
    let second = format!("docker-archive:old.tar:{}", names[1]);
    let digest = copy(sandbox, &second, "oci:layout");
    let config = blob(&sandbox.path("layout"), &digest)["config"]["digest"].clone();
    let config = blob(
        &sandbox.path("layout"),
        config.as_str().expect("it is a digest"),
    );
    assert_eq!(config["config"]["Labels"]["name"], names[1].as_str());
    for command in ["check", "validate"] {
        drop(sandbox.run([command, &second]).success());
        let unknown = sandbox.run([command, "docker-archive:old.tar:no/such:1"]);
        let unknown = unknown.exited(1);
        let text = unknown.stderr_text();
        assert!(text.contains("`no/such:1`"), "{text}");
    }
    sandbox.tree("release", "0644 file data \"x\"").unwrap();
    let words = [
        "--release",
        "release",
        "--base",
        &second,
        "--output",
        "oci:on",
        "--no-cache",
    ];
    drop(sandbox.run(words).success());
    let check = sandbox.run(["validate", "oci:on"]);
    drop(check.success());
}

#[test]
fn archives_of_skopeo_and_podman_are_copied() {
    if !has_programs(&["skopeo", "podman"]) {
        return;
    }
    let Some(engine) = Engine::require() else {
        return;
    };
    let saved = saved(&engine);
    let Saved { sandbox, names, .. } = &saved;
    let ours = format!("oci-archive:{}", sandbox.path("first.tar").display());
    let skopeo = format!("docker-archive:{}", sandbox.path("skopeo.tar").display());
    let named = format!("{skopeo}:{}", names[0]);
    let mut command = limited("skopeo");
    command.args(["copy", "--quiet", &ours, &named]);
    drop(finish(&mut command, b"").success());
    podman_saves(sandbox, &ours, &names[0]);
    for archive in ["skopeo.tar", "podman.tar"] {
        for source in [
            archive.to_owned(),
            format!("docker-archive:{archive}:{}", names[0]),
        ] {
            drop(fs::remove_dir_all(sandbox.path("layout")));
            let digest = copy(sandbox, &source, "oci:layout");
            drop(sandbox.run(["validate", "oci:layout"]).success());
            let manifest = blob(&sandbox.path("layout"), &digest);
            assert_eq!(manifest["config"]["digest"], saved.id.as_str(), "{source}");
        }
    }
}

/// Has podman take an image in, and save it as `podman.tar`.
fn podman_saves(sandbox: &Sandbox, source: &str, name: &str) {
    let store = sandbox.path("store");
    let podman = |words: &[&str]| {
        let mut command = limited("podman");
        command.arg("--root").arg(store.join("root"));
        command.arg("--runroot").arg(store.join("run"));
        command.args(words).current_dir(sandbox.root());
        finish(&mut command, b"")
    };
    let pulled = podman(&["pull", "--quiet", source]).success();
    let id = pulled.stdout_text().trim_end().to_owned();
    drop(podman(&["tag", &id, name]).success());
    let save = [
        "save",
        "--quiet",
        "--format=docker-archive",
        "--output=podman.tar",
        name,
    ];
    let saved = podman(&save);
    drop(podman(&["rmi", "--all", "--force"]));
    drop(podman(&["unmount", "--all"]));
    drop(saved.success());
}

#[test]
fn damage_is_told_and_nothing_is_left_of_it() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let Saved { sandbox, names, .. } = &saved(&engine);
    let source = format!("docker-archive:old.tar:{}", names[0]);
    let path = sandbox.path("old.tar");
    let bytes = fs::read(&path).unwrap();
    // A byte of the program, which lies in the middle of a layer.
    let at = bytes
        .windows(4)
        .position(|four| four == b"\x7fELF")
        .unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.file().write_all_at(b"?", at as u64).unwrap();
    let outcome = sandbox.run(["copy", &source, "oci:layout"]).exited(1);
    let text = outcome.stderr_text();
    assert!(text.contains("is damaged: expected sha256:"), "{text}");
    assert!(!sandbox.path("layout/index.json").exists());
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let target = format!("docker://{}/me/old:1", registry.name());
    let outcome = sandbox.run(["copy", &source, &target]).exited(1);
    let text = outcome.stderr_text();
    assert!(
        text.contains("cannot read the content to upload to"),
        "{text}"
    );
    assert!(text.contains("is damaged: expected sha256:"), "{text}");
    assert!(!text.contains("trying again"), "{text}");
    assert!(registry.contents().manifests.is_empty());
}
