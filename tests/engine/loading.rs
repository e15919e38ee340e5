//! `--load`: images that the program itself loads into the engine.

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, symlink};

use fs_err as fs;
use imgbuild_testing::{Outcome, Sandbox, sandbox::finish};

use crate::support::docker::{Engine, Loaded};
use crate::support::image::sandbox;
use crate::support::{has_programs, limited, program, unique, unique_time};

fn new_reference() -> String {
    format!("localhost/imgbuild-test/load:{}", unique())
}

fn load(sandbox: &Sandbox, reference: &str) -> Outcome {
    let release = program::c_release("hello", &["gcc"]);
    let time = unique_time();
    let words = ["--load", "--tag", reference, "--mtime", &time, "--release"].map(OsStr::new);
    sandbox.run(words.into_iter().chain([release.as_os_str()]))
}

/// Leaves one program on `PATH`: a script, or a link to an installed program.
fn only_program(sandbox: &mut Sandbox, name: &str, make: impl FnOnce(&std::path::Path)) {
    let directory = sandbox.path("only");
    fs::create_dir(&directory).expect("the sandbox is ours");
    make(&directory.join(name));
    sandbox.set("PATH", directory);
}

fn script(text: &str) -> impl FnOnce(&std::path::Path) {
    move |path| {
        fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("the sandbox is ours");
        let executable = std::fs::Permissions::from_mode(0o755);
        fs::set_permissions(path, executable).expect("the sandbox is ours");
    }
}

#[test]
fn docker_loads_the_image_and_the_result_is_its_id() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let reference = new_reference();
    let sandbox = sandbox();
    let image = Loaded::adopt(&engine, &reference);
    let outcome = load(&sandbox, &reference).success();
    let id = outcome.stdout_text().trim_end();
    assert_eq!(id, image.inspect("{{.Id}}"));
    drop(finish(&mut engine.docker(["run", "--rm", id]), b"").success());
    assert!(
        outcome.stderr_text().contains(&reference)
            && outcome.stderr_text().starts_with("`--load`: `docker`"),
        "{}",
        outcome.report()
    );
    assert_eq!(
        fs::read_dir(sandbox.root()).unwrap().count(),
        0,
        "no file beside the engine"
    );
    drop(image.run(&[]).success());
}

#[test]
fn without_docker_podman_loads_the_image() {
    if !has_programs(&["podman"]) {
        return;
    }
    let reference = new_reference();
    let mut sandbox = sandbox();
    let [root, run] = ["store/root", "store/run"].map(|name| sandbox.path(name));
    let configuration = sandbox.path("storage.conf");
    let text =
        format!("[storage]\ndriver = \"overlay\"\ngraphroot = {root:?}\nrunroot = {run:?}\n");
    fs::write(&configuration, text).unwrap();
    sandbox.set("CONTAINERS_STORAGE_CONF", &configuration);
    sandbox.set("DOCKER_HOST", "");
    only_program(&mut sandbox, "podman", |path| {
        let installed = finish(std::process::Command::new("which").arg("podman"), b"").success();
        symlink(installed.stdout_text().trim_end(), path).expect("the sandbox is ours");
    });
    let outcome = load(&sandbox, &reference).success();
    assert!(
        outcome.stderr_text().contains(&reference),
        "{}",
        outcome.report()
    );

    let podman = |words: &[&str]| {
        finish(
            limited("podman")
                .env("CONTAINERS_STORAGE_CONF", &configuration)
                .args(words),
            b"",
        )
    };
    let found = podman(&["image", "inspect", "--format", "{{.Id}}", &reference]).success();
    assert_eq!(found.stdout_text(), outcome.stdout_text());
    drop(podman(&["rmi", "--all", "--force"]));
    drop(podman(&["unmount", "--all"]));
}

#[test]
fn an_engine_that_could_not_unpack_is_a_failure() {
    let mut sandbox = sandbox();
    // Output of Docker with the containerd store for a broken image, with exit code 0.
    let text =
        "cat > /dev/null\necho 'Loaded image: a:1'\necho 'Error unpacking image a:1: no' >&2";
    only_program(
        &mut sandbox,
        "docker",
        script(&format!("PATH=/usr/bin:/bin\n{text}")),
    );
    let outcome = load(&sandbox, "a:1").exited(1);
    assert!(
        outcome
            .stderr_text()
            .contains("Error unpacking image a:1: no"),
        "{}",
        outcome.report()
    );
}

#[test]
fn an_engine_that_loads_nothing_is_a_failure() {
    let mut sandbox = sandbox();
    only_program(
        &mut sandbox,
        "docker",
        script("PATH=/usr/bin:/bin\ncat > /dev/null"),
    );
    drop(load(&sandbox, "a:1").exited(1));
}

#[test]
fn an_unreachable_engine_is_a_failure_with_its_message() {
    let mut sandbox = sandbox();
    let text = "echo 'Cannot connect to the Docker daemon' >&2\nexit 1";
    only_program(&mut sandbox, "docker", script(text));
    let podman = sandbox.path("only/podman");
    script("exit 0")(&podman);
    for address in ["", "unix:///nowhere"] {
        sandbox.set("DOCKER_HOST", address);
        let archive = ["--output", "image.tar", "--release", ".", "--load"];
        let outcome = sandbox.run(archive).exited(1);
        let said = outcome.stderr_text();
        assert!(
            said.contains("Cannot connect to the Docker daemon\n"),
            "{said}"
        );
        assert!(
            said.contains(address) && said.contains("`podman`"),
            "{said}"
        );
        assert!(!said.contains("layer"), "{said}");
        assert_eq!(outcome.stdout_text(), "");
        assert!(!sandbox.path("image.tar").exists());
    }
    fs::remove_file(sandbox.path("only/docker")).expect("it was made");
    let outcome = load(&sandbox, "a:1").exited(1);
    let said = outcome.stderr_text();
    let expected = "`DOCKER_HOST` names an engine of Docker, and `docker` is not installed";
    assert!(said.contains(expected), "{said}");
    sandbox.set("DOCKER_HOST", "");
    let outcome = load(&sandbox, "a:1").exited(1);
    let said = outcome.stderr_text();
    assert!(
        said.contains("`--load`: `podman` takes the image\n"),
        "{said}"
    );
}

#[test]
fn without_any_engine_the_message_names_both() {
    let mut sandbox = sandbox();
    sandbox.set("DOCKER_HOST", "");
    only_program(&mut sandbox, "nothing", |_| {});
    let outcome = load(&sandbox, "a:1").exited(1);
    for word in ["docker", "podman"] {
        assert!(outcome.stderr_text().contains(word), "{}", outcome.report());
    }
}
