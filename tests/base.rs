//! Base images: what is inherited, what is refused, and where things land.

use std::path::Path;

use fs_err as fs;
use imgbuild_testing::sandbox::finish;
use imgbuild_testing::{Outcome, Sandbox, UnpackedImage, UnpackedKind, unpack};
use serde_json::{Value, json};

use crate::runs;
use crate::support::base::{BaseImage, Layer, Packing, digest, write_layout};
use crate::support::image::member;
use crate::support::{has_programs, own_architecture, program};

mod certificates;
mod known;

/// A base of two layers that could be a system.
fn system() -> BaseImage {
    let lower = Layer::default()
        .directory("etc", 0o750)
        .directory("tmp", 0o1777)
        .directory("usr", 0o755)
        .directory("usr/lib", 0o2775)
        .link("lib", "usr/lib")
        .file(
            "etc/passwd",
            0o644,
            "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n",
        )
        .file("etc/group", 0o644, "root:x:0:\nweb:x:34:\n")
        .file("usr/lib/old", 0o644, "old");
    let upper = Layer::default()
        .directory("usr", 0o755)
        .directory("usr/lib", 0o2775)
        .file("usr/lib/.wh.old", 0o644, "");
    BaseImage::new(vec![lower, upper])
}

/// A sandbox with a release and the base in a layout with the tag `1`.
fn with_base(base: &BaseImage) -> Sandbox {
    let sandbox = runs::with_small_release();
    base.write_layout(&sandbox.path("base"), "1");
    sandbox
}

/// Builds with the closure and the skeleton, without a command of its own.
fn build(sandbox: &Sandbox, more: &[&str]) -> Outcome {
    let words = [
        "--release",
        "release",
        "--no-cache",
        "--no-sync",
        "--output=image.tar",
    ];
    sandbox.run(words.iter().chain(more))
}

fn built(sandbox: &Sandbox, more: &[&str]) -> UnpackedImage {
    drop(build(sandbox, more).success());
    unpack(&sandbox.path("image.tar")).unwrap()
}

/// Builds `release`, which must fail with exit code 1 and change nothing.
fn refused(sandbox: &Sandbox, more: &[&str]) -> String {
    let before = runs::listing(sandbox.root());
    let outcome = build(sandbox, more).exited(1);
    let after = runs::listing(sandbox.root());
    assert_eq!(after, before, "{}", outcome.report());
    outcome.stderr_redacted()
}

#[test]
fn the_layers_of_the_base_come_first_byte_for_byte() {
    for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
        let mut base = system();
        base.packing = packing;
        let sandbox = with_base(&base);
        base.write_docker_archive(&sandbox.path("docker.tar"), "localhost/base:1");
        base.write_oci_archive(&sandbox.path("oci.tar"), "1");
        let expected: Vec<String> = base
            .layers
            .iter()
            .map(|tar| digest(&packing.pack(tar)))
            .collect();
        let mut images = Vec::new();
        for source in [
            "oci:base:1",
            "oci-archive:oci.tar",
            "docker-archive:docker.tar",
            "base",
        ] {
            let base = format!("--base={source}");
            let words = [base.as_str(), "--output=oci:layout", "--compression=none"];
            drop(build(&sandbox, &words).success());
            let manifest = manifest(&sandbox.path("layout"));
            let layers = manifest["layers"].as_array().unwrap();
            for (layer, expected) in layers.iter().zip(&expected) {
                assert_eq!(layer["digest"], *expected, "{source}");
                assert_eq!(layer["mediaType"], packing.media_type(), "{source}");
            }
            images.push((config(&sandbox.path("layout")), layers.clone()));
            drop(sandbox.run(["validate", "image.tar"]).success());
            drop(sandbox.run(["validate", "layout"]).success());
            fs::remove_dir_all(sandbox.path("layout")).unwrap();
        }
        assert!(
            images.iter().all(|image| *image == images[0]),
            "{packing:?}"
        );
    }
}

#[test]
fn an_archive_on_a_base_has_the_compression_of_the_base() {
    for (packing, flag, expected) in [
        (Packing::Plain, None, Packing::Plain),
        (Packing::Gzip, None, Packing::Gzip),
        // zstd is not written.
        (Packing::Zstd, None, Packing::Gzip),
        (Packing::Gzip, Some("--compression=none"), Packing::Plain),
    ] {
        let mut base = system();
        base.packing = packing;
        let sandbox = with_base(&base);
        let words = ["--base=base"].into_iter().chain(flag).collect::<Vec<_>>();
        let digest = build(&sandbox, &words).success().stdout_text().to_owned();
        let archive = fs::read(sandbox.path("image.tar")).unwrap();
        let blob = |digest: &str| {
            let name = digest.trim_end().replacen(':', "/", 1);
            member(&archive, &format!("blobs/{name}"))
        };
        let manifest: Value = serde_json::from_slice(&blob(&digest)).unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        let (lower, own) = layers.split_at(base.layers.len());
        assert!(!own.is_empty());
        for (layers, packing) in [(lower, packing), (own, expected)] {
            for layer in layers {
                assert_eq!(layer["mediaType"], packing.media_type());
                let blob = blob(layer["digest"].as_str().unwrap());
                let is = |start: &[u8]| blob.starts_with(start);
                let found = (is(b"\x1f\x8b"), is(b"\x28\xb5\x2f\xfd"));
                let expected = (packing == Packing::Gzip, packing == Packing::Zstd);
                assert_eq!(found, expected, "{packing:?}");
            }
        }
    }
}

#[test]
fn a_base_with_zstd_is_warned_of_where_an_engine_loads_it() {
    let mut base = system();
    base.packing = Packing::Zstd;
    let sandbox = with_base(&base);
    let warning = "compressed with zstd, and Docker before 23 and `crane` cannot read";
    let said = |words: &[&str]| {
        let words = [&["--release=release", "--base=base", "--no-sync"], words].concat();
        let text = sandbox.run(words).success().stderr_text().to_owned();
        text.matches(warning).count()
    };
    assert_eq!(said(&["-o=a.tar"]), 1);
    assert_eq!(said(&["-o=docker-archive:a.tar", "-o=oci:a"]), 1);
    assert_eq!(said(&["--load", "--dry-run"]), 1);
    assert_eq!(said(&["-o=oci:a"]), 0);
    base.packing = Packing::Gzip;
    base.write_layout(&sandbox.path("base"), "1");
    assert_eq!(said(&["-o=a.tar"]), 0);
}

#[test]
fn a_compression_that_is_not_read_is_named_in_the_first_line() {
    for (name, start) in [("xz", &b"\xfd7zXZ\0"[..]), ("bzip2", b"BZh61AY&SY")] {
        let mut base = system();
        base.packing = Packing::Unread(start);
        let sandbox = with_base(&base);
        base.write_docker_archive(&sandbox.path("docker.tar"), "localhost/base:1");
        for source in ["base", "docker.tar"] {
            let text = refused(&sandbox, &["--base", source]);
            let first = format!(
                "error: cannot use the base image `{source}`: `{name}` compression cannot be read"
            );
            assert!(text.starts_with(&first), "{text}");
            assert!(text.contains("hint: `skopeo copy` converts"), "{text}");
        }
    }
}

#[test]
fn a_base_that_is_an_image_gets_no_hint_to_take_one() {
    let sandbox = with_base(&system());
    let mut manifest = manifest(&sandbox.path("base"));
    manifest["annotations"] = json!({ "a": 1 });
    let manifest = manifest.to_string().into_bytes();
    let name = digest(&manifest).replacen(':', "/", 1);
    fs::write(sandbox.path("base/blobs").join(name), &manifest).unwrap();
    let path = sandbox.path("base/index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    index["manifests"][0]["digest"] = json!(digest(&manifest));
    index["manifests"][0]["size"] = json!(manifest.len());
    fs::write(&path, index.to_string()).unwrap();
    let text = refused(&sandbox, &["--base=base"]);
    assert!(text.contains("is malformed"), "{text}");
    assert!(
        text.contains("hint: the base image is damaged: save it again"),
        "{text}"
    );
}

/// The configuration of the only image of a layout.
fn config(layout: &Path) -> Value {
    let digest = manifest(layout)["config"]["digest"].clone();
    let name = digest.as_str().unwrap().replacen(':', "/", 1);
    serde_json::from_slice(&fs::read(layout.join("blobs").join(name)).unwrap()).unwrap()
}

/// The manifest of the only image of a layout.
fn manifest(layout: &Path) -> Value {
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(layout.join(name)).unwrap()).unwrap()
    };
    let index = read("index.json");
    let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    read(&format!("blobs/{}", digest.replacen(':', "/", 1)))
}

#[test]
fn the_same_base_gives_the_same_bytes_wherever_it_lies() {
    let sandbox = with_base(&system());
    drop(build(&sandbox, &["--base=oci:base"]).success());
    let first = runs::digest_of(&sandbox.path("image.tar"));
    fs::create_dir(sandbox.path("deep")).unwrap();
    fs::rename(sandbox.path("base"), sandbox.path("deep/base")).unwrap();
    let words = ["--base=oci:deep/base", "--threads=1"];
    drop(build(&sandbox, &words).success());
    assert_eq!(runs::digest_of(&sandbox.path("image.tar")), first);
}

#[test]
fn history_and_annotations_say_what_the_base_is() {
    let mut base = system();
    base.history = json!([
        { "created_by": "one", "created": "2020-01-01T00:00:00Z" },
        { "created_by": "env", "empty_layer": true },
        { "created_by": "two" },
    ]);
    let sandbox = with_base(&base);
    drop(
        build(
            &sandbox,
            &[
                "--base=oci:base:1",
                "--output=oci:layout",
                "--runtime=none",
                "--check=off",
            ],
        )
        .success(),
    );
    let manifest = manifest(&sandbox.path("layout"));
    let theirs = self::manifest_digest(&sandbox.path("base"));
    assert_eq!(
        manifest["annotations"],
        json!({
            "org.opencontainers.image.base.name": "base:1",
            "org.opencontainers.image.base.digest": theirs,
        })
    );
    let image = unpack(&sandbox.path("image.tar")).unwrap();
    let history = image.config["history"].as_array().unwrap();
    let steps: Vec<&str> = history
        .iter()
        .map(|step| step["created_by"].as_str().unwrap())
        .collect();
    assert_eq!(
        steps,
        [
            "one",
            "env",
            "two",
            "imgbuild: skeleton",
            "imgbuild: release"
        ]
    );
    assert_eq!(history[1]["empty_layer"], true);
    assert_eq!(
        image.config["rootfs"]["diff_ids"].as_array().unwrap().len(),
        4
    );
}

fn manifest_digest(layout: &Path) -> String {
    let index: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn directories_of_the_base_stay_as_they_are_and_links_are_followed() {
    let sandbox = with_base(&system());
    fs::write(sandbox.path("extra"), "extra").unwrap();
    let image = built(
        &sandbox,
        &[
            "--base=oci:base",
            "--add=extra:/lib/extra",
            "--add=extra:/etc/extra",
            "--add=extra:/tmp/extra",
        ],
    );
    let files = image.files();
    let found = |path: &str| files.get(Path::new(path)).unwrap();
    for (path, mode, gid) in [
        ("etc", 0o750, 0),
        ("tmp", 0o1777, 0),
        ("usr/lib", 0o2775, 12),
    ] {
        let entry = found(path);
        assert_eq!(entry.kind, UnpackedKind::Directory, "{path}");
        assert_eq!((entry.mode, entry.gid), (mode, gid), "{path}");
    }
    assert!(matches!(found("lib").kind, UnpackedKind::Symlink { .. }));
    assert!(matches!(
        found("usr/lib/extra").kind,
        UnpackedKind::File { .. }
    ));
    assert!(!files.contains_key(Path::new("usr/lib/old")));
    // Users are the base's.
    assert_eq!(image.config["config"]["User"], "65532:65532");
    let passwd = image.layers.iter().rev().find(|layer| {
        layer
            .entries
            .iter()
            .any(|(path, _)| path == Path::new("etc/passwd"))
    });
    assert_eq!(
        passwd.map(|layer| &layer.digest),
        Some(&image.layers[0].digest)
    );
}

#[test]
fn users_are_those_of_the_base() {
    let sandbox = with_base(&system().with_config(json!({ "User": "web" })));
    let words = ["--base=oci:base", "--writable=/data"];
    let image = built(&sandbox, &words);
    assert_eq!(image.config["config"]["User"], "web");
    let files = image.files();
    let data = files.get(Path::new("data")).unwrap();
    assert_eq!((data.uid, data.gid), (33, 34));
    let image = built(&sandbox, &["--base=oci:base", "--user=web:root"]);
    assert_eq!(image.config["config"]["User"], "33:0");
    let image = built(&sandbox, &["--base=oci:base", "--no-user"]);
    assert_eq!(image.config["config"].get("User"), None);
    insta::assert_snapshot!(refused(&sandbox, &["--base=oci:base", "--user=app"]), @r"
    error: the image has no user or group called `app` (known: `root`, `web`)
    hint: use numbers, for example `--user 1000:1000`, or add a passwd file with `--add`
    ");
}

#[test]
fn a_user_that_only_the_base_names_is_the_bases() {
    for (user, unknown) in [("app", "app"), ("web:staff", "staff")] {
        let sandbox = with_base(&system().with_config(json!({ "User": user })));
        let said = refused(&sandbox, &["--base=oci:base:1"]);
        let expected = format!(
            "error: the base image runs as `{user}`, but `{unknown}` is not in its passwd and group files (known: `root`, `web`)\n\
             hint: run as another user, for example `--user 1000:1000`,"
        );
        assert!(said.contains(&expected), "{said}");
        for flag in ["--user=web", "--no-user"] {
            drop(build(&sandbox, &["--base=oci:base:1", flag, "--check=off"]).success());
        }
    }
}

#[test]
fn the_users_of_a_base_are_behind_links() {
    let (name, text) = ("nix/store/pw", "root:x:0:0::/root:\napp:x:1000:1001::/:\n");
    let etc = || Layer::default().directory("etc", 0o755);
    let linked = |target: &str| etc().link("etc/passwd", target);
    for layer in [
        linked("/nix/store/pw").file(name, 0o644, text),
        linked("../usr/lib/passwd").file("usr/lib/passwd", 0o644, format!("# users\n{text}")),
        Layer::default()
            .link("etc", "usr/etc")
            .file("usr/etc/passwd", 0o644, text),
        etc()
            .file(name, 0o644, text)
            .special(b'1', "etc/passwd", name),
    ] {
        let sandbox = with_base(&BaseImage::new(vec![layer]).with_config(json!({ "User": "app" })));
        let image = built(&sandbox, &["--base=oci:base", "--writable=/data"]);
        assert_eq!(image.config["config"]["User"], "app");
        let files = image.files();
        let data = files.get(Path::new("data")).unwrap();
        assert_eq!((data.uid, data.gid), (1000, 1001));
    }
}

#[test]
fn a_program_of_the_base_starts_where_the_base_says() {
    let programs = Layer::default()
        .directory("usr", 0o755)
        .directory("usr/bin", 0o755)
        .file("usr/bin/run", 0o755, "#!/usr/bin/sh\n");
    let with = |config: Value| {
        let mut base = system().with_config(config);
        base.layers.push(programs.clone().finish());
        with_base(&base)
    };
    let srv = || json!({ "WorkingDir": "/srv" });
    let entrypoint = || json!({ "WorkingDir": "/srv", "Entrypoint": ["/usr/bin/run"] });
    for (config, words, expected) in [
        (srv(), &["--cmd=run"][..], "/srv"),
        (srv(), &["--cmd=/usr/bin/run", "--cmd=-x"], "/srv"),
        (srv(), &["--entrypoint=/usr/bin/run"], "/srv"),
        (
            srv(),
            &["--cmd=run", "--runtime=none", "--skeleton=none"],
            "/srv",
        ),
        (
            srv(),
            &["--cmd=/usr/bin/run", "--runtime=none", "--skeleton=none"],
            "/srv",
        ),
        (entrypoint(), &["--cmd=x"], "/srv"),
        (entrypoint(), &["--cmd=x", "--workdir=/else"], "/else"),
        // A file of the release is looked for where that lies.
        (srv(), &["--cmd=run", "--cmd=etc/app.toml"], "/app"),
        (entrypoint(), &["--cmd=etc/app.toml"], "/app"),
        (srv(), &["--cmd=bin/server"], "/app"),
        (srv(), &["--cmd=/app/bin/server"], "/app"),
        (srv(), &["--no-entrypoint"], "/app"),
        (json!({}), &["--cmd=run"], "/app"),
    ] {
        let sandbox = with(config);
        let more = [&["--base=oci:base:1", "--check=off"], words].concat();
        let image = built(&sandbox, &more);
        assert_eq!(image.config["config"]["WorkingDir"], expected, "{words:?}");
    }
}

#[test]
fn odd_working_directories_of_a_base_are_left_to_the_engine() {
    let layer = Layer::default()
        .directory("bin", 0o755)
        .file("bin/run", 0o755, "\x7fELF")
        .link("w", "/data/app");
    for (config, expected) in [
        (json!({ "Entrypoint": ["bin/run"] }), Value::Null),
        (
            json!({ "Entrypoint": ["./run"], "WorkingDir": "/opt/../bin" }),
            "/bin".into(),
        ),
        (
            json!({ "Entrypoint": ["/bin/run"], "WorkingDir": "/w" }),
            "/w".into(),
        ),
    ] {
        let base = BaseImage::new(vec![layer.clone()]).with_config(config);
        let words = [
            "--base=oci:base",
            "--runtime=none",
            "--check=off",
            "--cmd=x",
        ];
        let image = built(&with_base(&base), &words);
        assert_eq!(image.config["config"]["WorkingDir"], expected);
    }
}

#[test]
fn what_does_not_fit_onto_the_base_is_refused() {
    let sandbox = with_base(&system());
    fs::write(sandbox.path("extra"), "extra").unwrap();
    let words = [
        "--base=oci:base",
        "--add=extra:/etc",
        "--add=extra:/etc/passwd/x",
    ];
    insta::assert_snapshot!(refused(&sandbox, &words), @r"
    error: cannot package the release
      `/etc` has two sources: a directory of the base image and `extra`
      `/etc/passwd/x` lies below `/etc/passwd`, which is not a directory
    hint: keep one source: change `--prefix`, `--add` or `--exclude`
    ");
    let words = ["--base=oci:base", "--writable=/etc/passwd"];
    insta::assert_snapshot!(refused(&sandbox, &words), @r"
    error: cannot package the release
      `/etc/passwd` is a file of the base image, whose owner cannot be changed without a copy of it
    hint: make the directory of the file writable, or add a copy of the file with `--add FILE:PATH`
    ");
    let words = ["--base=oci:base", "--max-layers=2"];
    insta::assert_snapshot!(refused(&sandbox, &words), @r"
    error: the base image has 2 layers; the limit is 2
    hint: allow more with `--max-layers`, or use a base image with fewer layers
    ");
    let words = ["--base=oci:base", "--platform=linux/arm64"];
    insta::assert_snapshot!(refused(&sandbox, &words), @r"
    error: cannot use the base image `base`
      caused by: no image in it is for linux/arm64 (it has: `linux/amd64`)
    hint: use a base image for the platform of the release; `--platform` selects one of several
    ");
    let words = ["--base=oci:base:2"];
    insta::assert_snapshot!(refused(&sandbox, &words), @r"
    error: cannot use the base image `base`
      caused by: no image in it has the tag `2` (it has: `1`)
    hint: name one with `oci:base:TAG` or `oci:base@DIGEST`
    ");
    let words = ["--base=oci:release"];
    insta::assert_snapshot!(refused(&sandbox, &words), @r"
    error: cannot use the base image `release`
      caused by: `release` is neither an image layout nor an image archive
    hint: `--base` takes an image layout or an archive, for example of `skopeo copy` or `docker save`
    ");
}

/// A C library that defines symbol versions up to 2.30 and nothing else.
fn old_library(directory: &Path) -> Vec<u8> {
    let script = "GLIBC_2.2.5 { global: old; };\nGLIBC_2.30 { global: new; };\n";
    fs::write(directory.join("versions"), script).unwrap();
    fs::write(directory.join("libc.c"), "int old, new;\n").unwrap();
    let mut gcc = std::process::Command::new("gcc");
    gcc.current_dir(directory).args([
        "-shared",
        "-nostdlib",
        "-Wl,-soname,libc.so.6",
        "-Wl,--version-script=versions",
        "-o",
        "libc.so.6",
        "libc.c",
    ]);
    drop(finish(&mut gcc, b"").success());
    fs::read(directory.join("libc.so.6")).unwrap()
}

#[test]
fn a_base_that_is_too_old_for_the_release_is_refused() {
    if !has_programs(&["gcc"]) || !cfg!(target_arch = "x86_64") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let libraries = "lib/x86_64-linux-gnu";
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    let layer = Layer::default()
        .directory("lib", 0o755)
        .directory(libraries, 0o755)
        .directory("lib64", 0o755)
        .host_file("lib64/ld-linux-x86-64.so.2", loader)
        .file(
            &format!("{libraries}/libc.so.6"),
            0o755,
            old_library(scratch.path()),
        );
    let sandbox = runs::sandbox();
    BaseImage::new(vec![layer]).write_layout(&sandbox.path("base"), "1");
    let hello = program::c_release("hello", &["gcc"]);
    fs::create_dir(sandbox.path("release")).unwrap();
    fs::copy(hello.join("bin/hello"), sandbox.path("release/hello")).unwrap();
    let found = refused(&sandbox, &["--base=oci:base"]);
    let line = found.lines().next().unwrap_or_default();
    assert!(
        line.starts_with("error: `/app/hello` needs GLIBC_2.")
            && line.ends_with(" of `/lib/x86_64-linux-gnu/libc.so.6`, which has up to GLIBC_2.30 [symbol-version-missing]"),
        "{found}"
    );
    assert!(
        found.contains("hint: use a base image at least as new"),
        "{found}"
    );
    drop(build(&sandbox, &["--base=oci:base", "--check=off"]).success());
}

#[test]
fn of_several_platforms_the_programs_pick_one() {
    let mut other = system();
    other.architecture = "arm64";
    other.layers.pop();
    let sandbox = runs::sandbox();
    write_layout(&sandbox.path("base"), &[("1", &system()), ("1", &other)]);
    sandbox
        .tree("release", "0755 file bin/server \"#!/bin/true\"")
        .unwrap();
    let words = ["--base=oci:base", "--runtime=none"];
    insta::assert_snapshot!(refused(&sandbox, &words), @r"
    error: cannot use the base image `base`
      caused by: it has 2 images: `1 for linux/amd64`, `1 for linux/arm64`
    hint: select one with `--platform`
    ");
    for (platform, layers) in [("linux/amd64", 2), ("linux/arm64", 1)] {
        let platform = format!("--platform={platform}");
        let image = built(
            &sandbox,
            &[
                "--base=oci:base",
                &platform,
                "--runtime=none",
                "--skeleton=none",
                "--check=off",
            ],
        );
        assert_eq!(image.layers.len(), layers + 2, "{platform}");
    }
    fs::copy("/bin/true", sandbox.path("release/bin/server")).unwrap();
    let image = built(
        &sandbox,
        &[
            "--base=oci:base",
            "--runtime=none",
            "--skeleton=none",
            "--check=off",
        ],
    );
    assert_eq!(image.config["architecture"], own_architecture());
}

#[test]
fn hostile_bases_are_refused_and_nothing_is_written() {
    let deep = Layer::default().file("a", 0o644, "").file("a/b", 0o644, "");
    let circle = Layer::default()
        .link("a", "b")
        .link("b", "a")
        .file("a/x", 0o644, "");
    for (layer, expected) in [
        (
            deep,
            "has a path below one that is not a directory: `a/b`; refused by every engine",
        ),
        (
            circle,
            "has a path below one that is not a directory: `a/x`; refused by every engine",
        ),
    ] {
        let sandbox = with_base(&BaseImage::new(vec![layer]));
        let found = refused(&sandbox, &["--base=oci:base"]);
        assert!(found.contains(expected), "{found}");
    }
    let sandbox = with_base(&system());
    let layers = manifest(&sandbox.path("base"))["layers"].clone();
    let blob = layers[0]["digest"].as_str().unwrap().replacen(':', "/", 1);
    let blob = sandbox.path("base/blobs").join(blob);
    let whole = fs::read(&blob).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (bytes, expected) in [
        (flipped, "cannot read the layer"),
        (whole[..whole.len() - 1].to_vec(), "bytes, found"),
    ] {
        fs::write(&blob, bytes).unwrap();
        let found = refused(&sandbox, &["--base=oci:base"]);
        assert!(found.contains(expected), "{found}");
        assert!(found.contains("imgbuild validate"), "{found}");
    }
}

#[test]
fn a_bomb_is_given_up() {
    let mut base = system();
    base.packing = Packing::Bomb;
    let sandbox = with_base(&base);
    let found = refused(&sandbox, &["--base=oci:base"]);
    let expected = "it decompresses to more than 4294967296 bytes";
    assert!(found.contains(expected), "{found}");
}

#[test]
fn what_is_asked_for_comes_over_what_the_base_has() {
    let layer = Layer::default()
        .directory("etc", 0o755)
        .directory("etc/ssl", 0o755)
        .link("etc/ssl/certs", "../pki/certs")
        .directory("etc/pki", 0o755)
        .directory("etc/pki/certs", 0o711)
        .file("etc/pki/certs/ca-certificates.crt", 0o644, "old")
        .directory("usr", 0o755)
        .directory("usr/bin", 0o755)
        .file("usr/bin/sort", 0o755, "#!/bin/other\n")
        .directory("usr/share", 0o755)
        .directory("usr/share/zoneinfo", 0o755)
        .file("usr/share/zoneinfo/UTC", 0o644, "theirs");
    let sandbox = with_base(&BaseImage::new(vec![layer]));
    let words = [
        "--base=oci:base",
        "--cacert",
        "--program=sort",
        "--tzdata",
        "--writable=/usr/share",
    ];
    let image = built(&sandbox, &words);
    let files = image.files();
    let found = |path: &str| files.get(Path::new(path)).unwrap();
    let size = |path: &str| match &found(path).kind {
        UnpackedKind::File { size, .. } => *size,
        other => panic!("{other:?}"),
    };
    assert!(size("etc/pki/certs/ca-certificates.crt") > 10_000);
    assert_eq!(found("etc/pki/certs").mode, 0o711);
    assert!(matches!(
        found("etc/ssl/certs").kind,
        UnpackedKind::Symlink { .. }
    ));
    assert_eq!(size("usr/bin/sort"), 13);
    assert_eq!(size("usr/share/zoneinfo/UTC"), 6);
    assert!(size("usr/share/zoneinfo/Asia/Kathmandu") > 100);
    assert_eq!(found("usr/share").uid, 65532);
    assert_eq!(found("usr/share/zoneinfo").uid, 0);
}

#[test]
fn links_of_the_release_into_the_base_are_no_surprise() {
    let sandbox = runs::sandbox();
    system().write_layout(&sandbox.path("base"), "1");
    sandbox
        .tree("release", "0755 file run \"#!/x\"\nlink users -> /usr/lib")
        .unwrap();
    let words = ["--base=oci:base", "--runtime=none", "--no-entrypoint"];
    let outcome = build(&sandbox, &words).success();
    assert!(
        !outcome.stderr_text().contains("warning"),
        "{}",
        outcome.report()
    );
    let outcome = build(&sandbox, &words[1..]).success();
    assert!(
        outcome.stderr_text().contains("`/app/users`"),
        "{}",
        outcome.report()
    );
}

#[test]
fn an_escaping_path_lands_inside() {
    let layer = Layer::default().file("../../outside", 0o644, "#!/x\n");
    let sandbox = with_base(&BaseImage::new(vec![layer]));
    let before = runs::listing(sandbox.root().parent().unwrap());
    drop(build(&sandbox, &["--base=oci:base"]).success());
    let mut after = runs::listing(sandbox.root().parent().unwrap());
    after.retain(|path, _| !path.ends_with("image.tar"));
    assert_eq!(after, before);
}

/// The mode and the owner of each path.
fn modes(image: &UnpackedImage, paths: &[&str]) -> Vec<String> {
    let files = image.files();
    let shown = paths.iter().map(|path| {
        let file = &files[Path::new(path)];
        format!("{path} {:o} {}:{}", file.mode, file.uid, file.gid)
    });
    shown.collect()
}

#[test]
fn volumes_and_writable_paths_keep_their_modes() {
    let layer = Layer::default()
        .directory("tmp", 0o1777)
        .directory("data", 0o700);
    let sandbox = with_base(&BaseImage::new(vec![layer]));
    let tree = "0755 file bin/p \"x\"\n0640 file priv/deep/poll \"1\"\n0644 file other \"1\"";
    sandbox.tree("release", tree).unwrap();
    let paths = ["tmp", "data", "new"];

    let volumes = ["--volume=/tmp", "--volume=/data", "--volume=/new"];
    let image = built(&sandbox, &[&["--base=oci:base"], &volumes[..]].concat());
    let kept = ["tmp 1777 0:0", "data 700 0:0", "new 755 65532:65532"];
    assert_eq!(modes(&image, &paths), kept);

    let writable = [
        "--writable=/tmp",
        "--writable=/data",
        "--writable=/new:2750",
    ];
    let below = ["--prefix=/app", "--writable=/app/priv", "--check=off"];
    let words = [&["--base=oci:base"], &writable[..], &below].concat();
    let image = built(&sandbox, &words);
    let owned = [
        "tmp 1777 65532:65532",
        "data 700 65532:65532",
        "new 2750 65532:65532",
    ];
    assert_eq!(modes(&image, &paths), owned);
    let release = ["app/priv", "app/priv/deep/poll", "app/other"];
    let given = [
        "app/priv 755 65532:65532",
        "app/priv/deep/poll 644 65532:65532",
        "app/other 644 0:0",
    ];
    assert_eq!(modes(&image, &release), given);

    let image = built(&sandbox, &[&words[..], &["--user=1000:0"]].concat());
    let group = [
        "data 770 1000:0",
        "app/priv 775 1000:0",
        "app/priv/deep/poll 664 1000:0",
    ];
    assert_eq!(modes(&image, &["data", release[0], release[1]]), group);
}
