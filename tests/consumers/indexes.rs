//! Archives and layouts with images for two platforms.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use fs_err as fs;
use imgbuild_testing::Sandbox;

use super::{GREETING, json, run};
use crate::runs::{digest_of, listing};
use crate::support::docker::{Engine, Loaded};
use crate::support::image::sandbox;
use crate::support::{has_programs, program, unique, unique_time};

/// The machine in an ELF header: 64-bit ARM.
const ARM64: [u8; 2] = [183, 0];

/// An index of an image that runs here and an image for another machine.
pub(super) struct Indexed {
    pub(super) sandbox: Sandbox,
    pub(super) archive: PathBuf,
    layout: PathBuf,
    pub(super) reference: String,
    pub(super) digest: String,
    pub(super) here: String,
}

/// Copies a release, with its program for another machine.
fn foreign_release(sandbox: &Sandbox, release: &std::path::Path) -> PathBuf {
    let foreign = sandbox.path("foreign");
    fs::create_dir_all(foreign.join("bin")).expect("the sandbox is ours");
    for entry in fs::read_dir(release.join("bin")).expect("it was built") {
        let entry = entry.expect("it was built");
        let mut bytes = fs::read(entry.path()).expect("it was built");
        bytes[18..20].copy_from_slice(&ARM64);
        let path = foreign.join("bin").join(entry.file_name());
        fs::write(&path, bytes).expect("the sandbox is ours");
        let mode = std::fs::Permissions::from_mode(0o755);
        fs::set_permissions(path, mode).expect("the sandbox is ours");
    }
    foreign
}

pub(super) fn indexed(name: &str, more: &[&str]) -> Indexed {
    let sandbox = sandbox();
    let release = program::c_release("hello-static", &["musl-gcc", "-static"]);
    let foreign = foreign_release(&sandbox, &release);
    let reference = format!("localhost/imgbuild-test/{name}:{}", unique());
    let (archive, layout) = (sandbox.path("index.tar"), sandbox.path("index"));
    let releases = [("amd64", &release), ("arm64", &foreign)]
        .map(|(name, path)| format!("--release=linux/{name}={}", path.display()));
    let mtime = unique_time();
    let (to_archive, to_layout) = (archive.display().to_string(), layout.display().to_string());
    let digest_file = sandbox.path("digest");
    let digest_flag = format!("--digest-file={}", digest_file.display());
    let fixed = [
        &releases[0],
        &releases[1],
        "--tag",
        &reference,
        "--mtime",
        &mtime,
        "--no-cache",
        "--output",
        &to_archive,
        "--output",
        &to_layout,
        &digest_flag,
    ];
    drop(sandbox.run(fixed.iter().chain(more)).success());
    let digest = fs::read_to_string(digest_file).unwrap();
    let index = fs::read(layout.join("blobs").join(digest.replacen(':', "/", 1)));
    let index: serde_json::Value = serde_json::from_slice(&index.unwrap()).unwrap();
    let here = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    Indexed {
        sandbox,
        archive,
        layout,
        reference,
        digest,
        here,
    }
}

/// Returns `true` if the images run on this machine.
pub(super) fn is_for_this_machine() -> bool {
    cfg!(target_arch = "x86_64") && has_programs(&["musl-gcc"])
}

#[test]
fn every_engine_loads_the_image_for_its_machine() {
    let engines = Engine::each();
    if engines.is_empty() || !is_for_this_machine() {
        return;
    }
    let images = indexed("several", &[]);
    for engine in &engines {
        let loaded = engine.load(&images.archive, &images.reference);
        assert_eq!(loaded.run(&[]).success().stdout_text(), GREETING);
        assert_eq!(loaded.inspect("{{.Architecture}}"), "amd64");
    }
}

#[test]
fn load_takes_the_image_for_this_machine() {
    let Some(engine) = Engine::require().filter(|_| is_for_this_machine()) else {
        return;
    };
    let images = indexed("loaded-of-several", &["--load"]);
    let loaded = Loaded::adopt(&engine, &images.reference);
    assert_eq!(loaded.run(&[]).success().stdout_text(), GREETING);
    assert_eq!(loaded.inspect("{{.Architecture}}"), "amd64");
}

#[test]
fn skopeo_copies_the_index_whole_and_takes_one_image() {
    if !has_programs(&["skopeo"]) {
        return;
    }
    let images = indexed("skopeo-several", &[]);
    let archive = format!("oci-archive:{}", images.archive.display());
    let raw = run("skopeo", &["inspect", "--raw", &archive]).success();
    fs::write(images.sandbox.path("raw"), &raw.stdout).unwrap();
    assert_eq!(digest_of(&images.sandbox.path("raw")), images.digest);
    let copied = images.sandbox.path("copied");
    let target = format!("oci:{}:1", copied.display());
    drop(run("skopeo", &["copy", "--quiet", "--all", &archive, &target]).success());
    assert_eq!(
        listing(&copied.join("blobs")),
        listing(&images.layout.join("blobs"))
    );
    let archive = format!("docker-archive:{}", images.archive.display());
    let found = json(&run("skopeo", &["inspect", "--config", &archive]).success());
    assert_eq!(found["architecture"], "amd64");
}
