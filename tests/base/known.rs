//! A base that lies here is read once, or never; what is damaged gets into no
//! image all the same.

use std::path::PathBuf;

use fs_err as fs;
use imgbuild_testing::registry::Behavior;
use imgbuild_testing::{FakeRegistry, Outcome, Sandbox};
use serde_json::{Value, json};

use super::{system, with_base};
use crate::runs::{listing, names, noise, sandbox};
use crate::support::base::{BaseImage, Layer, Packing};

const LOOKING: [&str; 8] = [
    "--release",
    "release",
    "--base=base",
    "--runtime=none",
    "--skeleton=none",
    "--no-entrypoint",
    "--no-sync",
    "--tag=x/y:1",
];

fn run(sandbox: &Sandbox, more: &[&str]) -> Outcome {
    sandbox.run(LOOKING.iter().chain(more))
}

/// A sandbox with a base that has one large layer, and the path of its blob.
fn with_large_base(packing: Packing) -> (Sandbox, PathBuf) {
    let mut base = system();
    let large = Layer::default()
        .directory("data", 0o755)
        .file("data/noise", 0o644, noise(200_000));
    base.layers.push(large.finish());
    base.packing = packing;
    let sandbox = with_base(&base);
    let blobs = sandbox.path("base/blobs/sha256");
    let paths = names(&blobs).into_iter().map(|name| blobs.join(name));
    let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let large = paths.max_by_key(size).unwrap();
    (sandbox, large)
}

fn damage(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    bytes[100_000] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Builds, which must fail without a trace.
fn refused(sandbox: &Sandbox, more: &[&str]) -> String {
    let before = listing(sandbox.root());
    let outcome = run(sandbox, more).exited(1);
    assert_eq!(listing(sandbox.root()), before, "{}", outcome.report());
    outcome.stderr_text().to_owned()
}

#[test]
fn a_base_is_read_once_and_its_damage_is_noticed_when_it_is_written() {
    for packing in [Packing::Plain, Packing::Gzip] {
        let (sandbox, large) = with_large_base(packing);
        drop(run(&sandbox, &["--output=first.tar"]).success());
        damage(&large);
        // Nobody reads it: the build knows what is in it.
        drop(run(&sandbox, &["--dry-run"]).success());
        for output in ["--output=second.tar", "--output=oci:second", "--output=-"] {
            let text = refused(&sandbox, &[output]);
            assert!(
                text.contains("the base image `base` is damaged, or changed"),
                "{text}"
            );
            assert!(text.contains("`imgbuild validate` lists"), "{text}");
        }
        let text = refused(&sandbox, &["--no-cache", "--output=second.tar"]);
        assert!(text.contains("the base image is damaged"), "{text}");
        fs::remove_file(&large).unwrap();
        let text = refused(&sandbox, &["--output=second.tar"]);
        assert!(text.contains("is missing"), "{text}");
        assert!(text.contains("hint: the base image is damaged"), "{text}");
    }
}

#[test]
fn what_is_known_makes_the_same_image() {
    let (sandbox, _) = with_large_base(Packing::Gzip);
    let digest = |more: &[&str]| {
        let outcome = run(&sandbox, more).success();
        outcome.stdout_text().trim_end().to_owned()
    };
    let alone = digest(&["--no-cache", "--output=oci:alone"]);
    let first = digest(&["--output=oci:first"]);
    let again = digest(&["--output=oci:again"]);
    let by_content = digest(&["--output=oci:content", "--cache=content"]);
    assert_eq!([&first, &again, &by_content], [&alone; 3]);
    assert_eq!(
        listing(&sandbox.path("again")),
        listing(&sandbox.path("alone"))
    );
}

#[test]
fn a_layer_that_nobody_looked_into_is_compared_when_it_is_written() {
    let (sandbox, large) = with_large_base(Packing::Gzip);
    drop(run(&sandbox, &["--check=off", "--output=oci:good"]).success());
    damage(&large);
    drop(run(&sandbox, &["--check=off", "--output=oci:good"]).success());
    for output in [
        "--output=oci:bad",
        "--output=bad.tar",
        "--output=bad.tar.gz",
    ] {
        let text = refused(&sandbox, &["--check=off", output]);
        assert!(
            text.contains("error: the base image `base` is damaged"),
            "{text}"
        );
    }
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let output = format!("--output=docker://{}/team/app:1", registry.name());
    let text = refused(&sandbox, &["--check=off", &output]);
    assert!(
        text.contains("error: the base image `base` is damaged"),
        "{text}"
    );
    let contents = registry.contents();
    assert!(contents.manifests.is_empty());
    let name = large.file_name().unwrap().to_str().unwrap();
    assert!(
        contents
            .blobs
            .keys()
            .all(|(_, digest)| !digest.ends_with(name))
    );
}

/// A base with everything that is inherited.
fn server() -> BaseImage {
    let layer = Layer::default()
        .directory("srv", 0o755)
        .directory("srv/www", 0o700)
        .directory("etc", 0o755)
        .file("etc/passwd", 0o644, "web:x:33:34::/srv:/bin/sh\n");
    BaseImage::new(vec![layer]).with_config(json!({
        "Cmd": ["/bin/serve", "."],
        "Env": ["PATH=/bin", "A=b"],
        "ExposedPorts": { "80/tcp": {} },
        "Labels": { "a": "b" },
        "User": "33:34",
        "Volumes": { "/data": {} },
        "WorkingDir": "/srv/www",
    }))
}

#[test]
fn what_is_not_looked_into_is_inherited_from_all_the_same() {
    let sandbox = sandbox();
    server().write_layout(&sandbox.path("base"), "1");
    sandbox.tree("pages", "0644 file index.html \"x\"").unwrap();
    let build = |check: &str| {
        let words = [
            "--release=pages",
            "--base=base",
            "--runtime=none",
            "--skeleton=none",
            "--prefix=/opt/pages",
            "--no-sync",
            "--tag=x/y:1",
            "--json",
            "--output=oci:image",
            check,
        ];
        let outcome = sandbox.run(words).success();
        serde_json::from_slice::<Value>(&outcome.stdout).unwrap()
    };
    let looked = build("--check=warn");
    let unlooked = build("--check=off");
    assert_eq!(looked["images"][0]["layers"][0]["entryCount"], 4);
    assert!(unlooked["images"][0]["layers"][0]["entryCount"].is_null());
    // Nothing of it lies where the release does.
    assert_eq!(unlooked["digest"], looked["digest"]);
    let config = unlooked["images"][0]["configDigest"].as_str().unwrap();
    let path = sandbox
        .path("image/blobs")
        .join(config.replacen(':', "/", 1));
    let config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let config = &config["config"];
    assert_eq!(config["WorkingDir"], "/srv/www");
    assert_eq!(config["User"], "33:34");
    assert_eq!(config["Cmd"], json!(["/bin/serve", "."]));
    assert_eq!(config["Env"], json!(["PATH=/bin", "A=b"]));
}

#[test]
fn directories_above_the_release_are_its_own_if_nobody_looks() {
    let sandbox = sandbox();
    let layer = Layer::default()
        .directory("usr", 0o755)
        .directory("usr/local", 0o2775)
        .directory("usr/local/bin", 0o2775);
    BaseImage::new(vec![layer]).write_layout(&sandbox.path("base"), "1");
    sandbox.tree("release", "0755 file tool \"x\"").unwrap();
    let modes = |check: &str| {
        let more = ["--prefix=/usr/local/bin", "--output=image.tar", check];
        drop(run(&sandbox, &more).success());
        let image = imgbuild_testing::unpack(&sandbox.path("image.tar")).unwrap();
        let entries = image.layers.iter().skip(1).flat_map(|layer| &layer.entries);
        let modes = entries.map(|(path, what)| (path.display().to_string(), what.mode));
        modes.collect::<std::collections::BTreeMap<String, u32>>()
    };
    let expected = |mode: u32| {
        let all = [
            ("usr/", 0o755),
            ("usr/local/", mode),
            ("usr/local/bin/", mode),
            ("usr/local/bin/tool", 0o755),
        ];
        all.map(|(path, mode)| (path.to_owned(), mode)).into()
    };
    assert_eq!(modes("--check=warn"), expected(0o2775));
    assert_eq!(modes("--check=off"), expected(0o755));
}

#[test]
fn a_user_with_a_name_has_the_base_looked_into() {
    let mut base = server();
    base.config["User"] = json!("web");
    let sandbox = sandbox();
    base.write_layout(&sandbox.path("base"), "1");
    sandbox.tree("release", "0755 file tool \"x\"").unwrap();
    let entries = |more: &[&str]| {
        let all = [&["--check=off", "--json", "--output=image.tar"], more].concat();
        let outcome = run(&sandbox, &all).success();
        let result: Value = serde_json::from_slice(&outcome.stdout).unwrap();
        result["images"][0]["layers"][0]["entryCount"].clone()
    };
    assert_eq!(entries(&[]), 4);
    assert!(entries(&["--no-user"]).is_null());
    assert!(entries(&["--user=5:6"]).is_null());
    assert_eq!(entries(&["--user=web"]), 4);
}
