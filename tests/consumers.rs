//! Readers of images that Debian packages. Each must return content of the image,
//! so that a reader that ignores an error is noticed.
//!
//! Each test has its own stores in its sandbox.

use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;
use imgbuild_testing::{Outcome, sandbox::finish};
use serde_json::Value;

use crate::support::image::{Built, build_in, confirmed, sandbox};
use crate::support::{has_programs, limited, program};

mod containerd;
mod indexes;
mod podman;
mod scanners;

/// One image, written to every transport by one build.
struct Everywhere {
    built: Built,
    hybrid: PathBuf,
    docker_archive: PathBuf,
    oci_archive: PathBuf,
    layout: PathBuf,
    tag: String,
}

fn everywhere(name: &str) -> Everywhere {
    let sandbox = sandbox();
    let release = program::c_release("hello", &["gcc"]);
    let [docker_archive, oci_archive, layout] =
        ["docker.tar", "oci.tar", "layout"].map(|name| sandbox.path(name));
    let outputs = [
        ("docker-archive", &docker_archive),
        ("oci-archive", &oci_archive),
        ("oci", &layout),
    ]
    .map(|(transport, path)| format!("--output={transport}:{}", path.display()));
    let built = build_in(
        sandbox,
        &release,
        name,
        &outputs.each_ref().map(String::as_str),
    );
    let tag = built
        .reference
        .rsplit(':')
        .next()
        .expect("the tag is unique")
        .to_owned();
    Everywhere {
        hybrid: built.archive.clone(),
        docker_archive,
        oci_archive,
        layout,
        tag,
        built,
    }
}

/// Runs a program to its end, for at most two minutes.
fn run(program: &str, words: &[&str]) -> Outcome {
    finish(limited(program).args(words), b"")
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.stdout).unwrap_or_else(|_| panic!("{}", outcome.report()))
}

/// The output of the program with the configuration of the image.
const GREETING: &str = "hello, user 65532\n";

/// Returns the program of the image in an unpacked root directory.
fn assert_is_the_program(unpacked: &Path) {
    let release = program::c_release("hello", &["gcc"]);
    let expected = fs::read(release.join("bin/hello")).expect("the program was built");
    assert_eq!(
        fs::read(unpacked.join("app/bin/hello")).expect("it was unpacked"),
        expected
    );
}

#[test]
fn every_destination_holds_the_same_image() {
    let images = everywhere("same");
    for path in [&images.oci_archive, &images.layout] {
        let image = confirmed(path, &images.built.digest);
        assert_eq!(image.layers, images.built.image.layers);
        assert_eq!(image.config, images.built.image.config);
    }
}

#[test]
fn our_own_validation_accepts_every_destination() {
    let images = everywhere("validate");
    for path in [
        &images.hybrid,
        &images.docker_archive,
        &images.oci_archive,
        &images.layout,
    ] {
        let words = ["validate".as_ref(), path.as_os_str()];
        drop(images.built.sandbox.run(words).success());
    }
    let layer = images.built.image.layers[0].digest.replacen(':', "/", 1);
    let blob = images.layout.join("blobs").join(layer);
    let mut content = fs::read(&blob).unwrap();
    content[0] ^= 1;
    // A blob may be read-only; the directory is not.
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, content).unwrap();
    let refused = images
        .built
        .sandbox
        .run(["validate".as_ref(), images.layout.as_os_str()]);
    let refused = refused.exited(1);
    let report = [refused.stdout_text(), refused.stderr_text()].concat();
    assert!(
        report.contains(&images.built.image.layers[0].digest),
        "{}",
        refused.report()
    );
}

#[test]
fn tar_lists_the_archive_in_the_order_of_docker_save() {
    if !has_programs(&["tar"]) {
        return;
    }
    let images = everywhere("tar");
    let outcome = run("tar", &["-tf", &images.hybrid.display().to_string()]).success();
    let names: Vec<&str> = outcome.stdout_text().lines().collect();
    let image = &images.built.image;
    let mut blobs: Vec<String> = image
        .layers
        .iter()
        .map(|layer| layer.digest.clone())
        .collect();
    blobs.push(images.built.digest.clone());
    blobs.push(
        image.manifest["config"]["digest"]
            .as_str()
            .expect("a digest is text")
            .to_owned(),
    );
    blobs.sort();
    blobs.dedup();
    let blobs = blobs
        .iter()
        .map(|digest| format!("blobs/{}", digest.replacen(':', "/", 1)));
    let expected: Vec<String> = ["blobs/", "blobs/sha256/"]
        .map(str::to_owned)
        .into_iter()
        .chain(blobs)
        .chain(["index.json", "manifest.json", "oci-layout"].map(str::to_owned))
        .collect();
    assert_eq!(names, expected);
    assert_eq!(outcome.stderr_text(), "");
}

#[test]
fn tar_unpacks_the_layers() {
    if !has_programs(&["tar"]) {
        return;
    }
    let images = everywhere("untar");
    let blobs = images.layout.join("blobs");
    let root = images.built.sandbox.path("root");
    fs::create_dir(&root).unwrap();
    for layer in &images.built.image.layers {
        let blob = blobs.join(layer.digest.replacen(':', "/", 1));
        let words = [
            "-xpf",
            &blob.display().to_string(),
            "-C",
            &root.display().to_string(),
        ];
        assert_eq!(run("tar", &words).success().stderr_text(), "");
    }
    assert_is_the_program(&root);
}

#[test]
fn skopeo_inspects_every_transport() {
    if !has_programs(&["skopeo"]) {
        return;
    }
    let images = everywhere("skopeo-inspect");
    let oci_sources = [
        format!("oci:{}:{}", images.layout.display(), images.tag),
        format!(
            "oci-archive:{}:{}",
            images.oci_archive.display(),
            images.tag
        ),
        format!("oci-archive:{}", images.oci_archive.display()),
        format!("oci-archive:{}:{}", images.hybrid.display(), images.tag),
    ];
    for source in &oci_sources {
        let found = json(&run("skopeo", &["inspect", source]).success());
        assert_eq!(
            found["Digest"],
            Value::from(images.built.digest.as_str()),
            "{source}"
        );
        let config = json(&run("skopeo", &["inspect", "--config", "--raw", source]).success());
        assert_eq!(config, images.built.image.config, "{source}");
    }
    // A docker-archive has no OCI manifest: its reader generates one.
    for archive in [&images.docker_archive, &images.hybrid] {
        let source = format!("docker-archive:{}", archive.display());
        let found = json(&run("skopeo", &["inspect", &source]).success());
        let layers = found["Layers"].as_array().map_or(0, Vec::len);
        assert_eq!(layers, images.built.image.layers.len(), "{source}");
        let config = json(&run("skopeo", &["inspect", "--config", "--raw", &source]).success());
        assert_eq!(config, images.built.image.config, "{source}");
    }
}

#[test]
fn skopeo_copies_every_transport() {
    if !has_programs(&["skopeo"]) {
        return;
    }
    let images = everywhere("skopeo-copy");
    let sources = [
        format!("oci:{}:{}", images.layout.display(), images.tag),
        format!("oci-archive:{}", images.oci_archive.display()),
    ];
    for (number, source) in sources.iter().enumerate() {
        let copy = images.built.sandbox.path(format!("copy-{number}"));
        let destination = format!("oci:{}:{}", copy.display(), images.tag);
        drop(
            run(
                "skopeo",
                &["--insecure-policy", "copy", source, &destination],
            )
            .success(),
        );
        // Uncompressed layers are compressed on the way to a layout; the content stays.
        let image = imgbuild_testing::unpack(&copy).unwrap();
        assert_eq!(image.files(), images.built.image.files(), "{source}");
    }
    for archive in [&images.docker_archive, &images.hybrid] {
        let source = format!(
            "docker-archive:{}:{}",
            archive.display(),
            images.built.reference
        );
        let copy = images
            .built
            .sandbox
            .path(format!("{}-copy", archive.file_name().unwrap().display()));
        let destination = format!("oci:{}:copy", copy.display());
        drop(
            run(
                "skopeo",
                &["--insecure-policy", "copy", &source, &destination],
            )
            .success(),
        );
        let image = imgbuild_testing::unpack(&copy).unwrap();
        assert_eq!(image.files(), images.built.image.files(), "{source}");
    }
}

#[test]
fn umoci_unpacks_the_layout() {
    if !has_programs(&["umoci"]) {
        return;
    }
    let images = everywhere("umoci");
    let bundle = images.built.sandbox.path("bundle");
    let source = format!("{}:{}", images.layout.display(), images.tag);
    let words = [
        "unpack",
        "--rootless",
        "--image",
        &source,
        &bundle.display().to_string(),
    ];
    drop(run("umoci", &words).success());
    assert_is_the_program(&bundle.join("rootfs"));
    let config: Value =
        serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["process"]["args"][0], "/app/bin/hello");
}

#[test]
fn a_layout_keeps_its_images_and_replaces_the_same_tag() {
    if !has_programs(&["umoci"]) {
        return;
    }
    let images = everywhere("umoci-list");
    let sandbox = &images.built.sandbox;
    let release = program::c_release("hello", &["gcc"]);
    let release = release
        .to_str()
        .expect("the target directory has a plain name");
    for (tag, label) in [("other", "a=1"), ("other", "a=2")] {
        let output = format!("--output=oci:{}:{tag}", images.layout.display());
        drop(
            sandbox
                .run(["--release", release, "--label", label, &output])
                .success(),
        );
    }
    let listed = run(
        "umoci",
        &["list", "--layout", &images.layout.display().to_string()],
    );
    let listed = listed.success();
    let mut tags: Vec<&str> = listed.stdout_text().lines().collect();
    tags.sort_unstable();
    let mut expected = [images.tag.as_str(), "other"];
    expected.sort_unstable();
    assert_eq!(tags, expected);
    confirmed(&images.layout, &images.built.digest);
}

fn command_in(sandbox: &imgbuild_testing::Sandbox, program: &str, words: &[&str]) -> Command {
    let mut command = limited(program);
    command.args(words).current_dir(sandbox.root());
    command
}
