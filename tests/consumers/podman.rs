//! podman and buildah, with a store in the sandbox.

use std::path::PathBuf;

use imgbuild_testing::{Outcome, Sandbox, sandbox::finish};

use super::indexes::{indexed, is_for_this_machine};
use super::{GREETING, assert_is_the_program, command_in, everywhere, json};
use crate::support::has_programs;

/// A private store; its options precede every command.
struct Store<'a> {
    sandbox: &'a Sandbox,
    options: Vec<String>,
}

impl<'a> Store<'a> {
    fn new(sandbox: &'a Sandbox) -> Self {
        let place = |name| sandbox.path("store").join(name).display().to_string();
        let options = ["--root", &place("root"), "--runroot", &place("run")];
        Self {
            sandbox,
            options: options.map(str::to_owned).into(),
        }
    }

    fn podman(&self, words: &[&str]) -> Outcome {
        // crun refuses machines that mount both versions of control groups.
        self.run(
            "podman",
            &["--runtime=runc", "--cgroup-manager=cgroupfs"],
            words,
        )
    }

    fn buildah(&self, words: &[&str]) -> Outcome {
        self.run("buildah", &[], words)
    }

    fn run(&self, program: &str, options: &[&str], words: &[&str]) -> Outcome {
        let store = self.options.iter().map(String::as_str);
        let words: Vec<&str> = options
            .iter()
            .copied()
            .chain(store)
            .chain(words.iter().copied())
            .collect();
        finish(&mut command_in(self.sandbox, program, &words), b"")
    }
}

impl Drop for Store<'_> {
    fn drop(&mut self) {
        // The storage driver keeps mounts that would keep the sandbox from being removed.
        drop(self.podman(&["rm", "--all", "--force"]));
        drop(self.podman(&["rmi", "--all", "--force"]));
        drop(self.podman(&["unmount", "--all"]));
    }
}

#[test]
fn podman_loads_and_runs_every_archive() {
    if !has_programs(&["podman", "runc"]) {
        return;
    }
    let images = everywhere("podman");
    let reference = images.built.reference.as_str();
    for (archive, keeps_digest) in [
        (&images.hybrid, true),
        (&images.oci_archive, true),
        (&images.docker_archive, false),
    ] {
        let store = Store::new(&images.built.sandbox);
        let archive = archive.display().to_string();
        let loaded = store.podman(&["load", "--input", &archive]).success();
        let expected = format!("Loaded image: {reference}");
        assert_eq!(loaded.stdout_text().trim_end(), expected, "{archive}");
        let found = json(&store.podman(&["image", "inspect", reference]).success());
        let config = images.built.image.manifest["config"]["digest"].as_str();
        let id = found[0]["Id"].as_str().map(|id| format!("sha256:{id}"));
        assert_eq!(id.as_deref(), config, "{archive}");
        if keeps_digest {
            assert_eq!(
                found[0]["Digest"],
                images.built.digest.as_str(),
                "{archive}"
            );
        }
        // The default limits of podman 4.3 are higher than some machines allow.
        let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
        let run = [
            "run",
            "--rm",
            "--network=none",
            limits[0],
            limits[1],
            reference,
        ];
        assert_eq!(
            store.podman(&run).success().stdout_text(),
            GREETING,
            "{archive}"
        );
    }
}

#[test]
fn podman_loads_the_image_of_an_index_for_its_machine() {
    if !has_programs(&["podman", "runc"]) || !is_for_this_machine() {
        return;
    }
    let images = indexed("podman-several", &[]);
    let store = Store::new(&images.sandbox);
    let archive = images.archive.display().to_string();
    drop(store.podman(&["load", "--input", &archive]).success());
    let found = json(
        &store
            .podman(&["image", "inspect", &images.reference])
            .success(),
    );
    assert_eq!(found[0]["Architecture"], "amd64");
    // It lists both: the loaded index, and the chosen image.
    assert_eq!(found[0]["Digest"], images.digest.as_str());
    let digests = found[0]["RepoDigests"].to_string();
    assert!(digests.contains(&images.here), "{digests}");
    let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
    let run = [
        "run",
        "--rm",
        "--network=none",
        limits[0],
        limits[1],
        &images.reference,
    ];
    assert_eq!(store.podman(&run).success().stdout_text(), GREETING);
}

#[test]
fn buildah_starts_from_every_transport() {
    if !has_programs(&["buildah", "podman", "runc"]) {
        return;
    }
    let images = everywhere("buildah");
    let sources = [
        format!("oci-archive:{}", images.oci_archive.display()),
        format!("oci-archive:{}", images.hybrid.display()),
        format!("docker-archive:{}", images.docker_archive.display()),
        // buildah makes a name of the path, so the path must be in lower case.
        format!("oci:layout:{}", images.tag),
    ];
    for source in &sources {
        let store = Store::new(&images.built.sandbox);
        let from = store.buildah(&["from", "--name=working", source]).success();
        assert_eq!(from.stdout_text(), "working\n", "{source}");
        let mounted = store.buildah(&["mount", "working"]).success();
        assert_is_the_program(&PathBuf::from(mounted.stdout_text().trim_end()));
        let found = json(
            &store
                .buildah(&["inspect", "--type=container", "working"])
                .success(),
        );
        assert_eq!(found["OCIv1"]["config"]["User"], "65532:65532", "{source}");
        drop(store.buildah(&["unmount", "working"]).success());
        drop(store.buildah(&["rm", "working"]).success());
    }
}
