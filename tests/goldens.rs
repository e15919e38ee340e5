//! The digests of images, which must not change without an entry in CHANGELOG.md.
//!
//! `fixtures/releases/*.tree` are built and compared with the digests beside
//! them. Plain and compressed images have separate lists, since the bytes of
//! compressed layers also depend on our encoder. With `IMGBUILD_BLESS=1`, which
//! `cargo xtask bless` sets, the lists are written.

use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_testing::{Sandbox, Tree, UnpackedImage, UnpackedKind};

use crate::runs;
use crate::support::image::{confirmed, result_digest};
use crate::support::{OLD_PROCESSOR, has_programs};

/// The releases, with further arguments. All have a platform: without a program,
/// it would be that of this machine.
const IMAGES: [(&str, &[&str]); 14] = [
    ("cargo", &["--entrypoint", "helper"]),
    ("cargo", &["--bin", "helper", "--skeleton", "none"]),
    ("java", &["--entrypoint", "jre/bin/java"]),
    ("large", &["--cmd", "bin/app", "--cmd", "--verbose"]),
    ("mix", &[]),
    ("mix", &["--boot", "direct"]),
    ("names", &["--no-entrypoint", "--allow-set-id"]),
    (
        "names",
        &["--no-entrypoint", "--allow-set-id", "--prefix", "/"],
    ),
    ("next", &[]),
    ("node", &[]),
    ("python", &[]),
    (
        "script",
        &["--mtime", "1700000000", "--created", "1700000001"],
    ),
    ("script", CONFIGURED),
    (
        "site",
        &[
            "--no-entrypoint",
            "--exclude",
            "*.css",
            "--skeleton",
            "none",
        ],
    ),
];

/// Every field of the configuration.
const CONFIGURED: &[&str] = &[
    "--env=A=1",
    "--env=PATH=/bin",
    "--expose=80",
    "--expose=53/udp",
    "--user=1000:1001",
    "--workdir=/srv",
    "--volume=/srv/data",
    "--label=b=2",
    "--label=a=1",
    "--annotation=org.opencontainers.image.title=Golden",
    "--stop-signal=INT",
    "--healthcheck=/app/bin/server",
    "--health-interval=30s",
    "--health-retries=3",
    "--author=somebody",
    "--created=2026-01-31T12:00:00Z",
];

#[test]
fn plain_images_have_the_digests_of_the_list() {
    check_list("none", "plain.digests");
}

#[test]
fn compressed_images_have_the_digests_of_the_list() {
    check_list("gzip", "gzip.digests");
}

/// The command that starts the program on another processor; `cargo xtask emulate`
/// sets it.
const EMULATOR: &str = "IMGBUILD_EMULATOR";

#[test]
fn an_old_processor_makes_the_images_of_the_list() {
    if !cfg!(target_arch = "x86_64") || !has_programs(&OLD_PROCESSOR[..1]) {
        return;
    }
    let list = list_of("gzip", || runs::sandbox().under(OLD_PROCESSOR));
    assert_eq!(
        list,
        fs::read_to_string(releases().join("gzip.digests")).unwrap()
    );
}

/// The image with every field of the configuration.
fn configured() -> UnpackedImage {
    let sandbox = with_release(emulated(), "script");
    let (digest, archive) = build(&sandbox, "script", CONFIGURED, "none");
    confirmed(&archive, &digest)
}

#[test]
fn the_layers_of_an_image_have_these_diff_ids() {
    let image = configured();
    let diff_ids: Vec<&str> = image
        .layers
        .iter()
        .map(|layer| layer.diff_id.as_str())
        .collect();
    insta::assert_snapshot!(diff_ids.join("\n"), @r#"
    sha256:7ab7ae874a1ab03673f6b693cda7f3d7a1b560fb346c648bf2da1ac73f6d4a1f
    sha256:a06cec6d48b4ffd3bd309dea46fb6afdd5b5c337c1f7f54d0169ba149d78f2c5
    "#);
}

#[test]
fn the_configuration_of_an_image_is_spelled_like_this() {
    let image = configured();
    let config = serde_json::to_string_pretty(&image.config).unwrap();
    insta::assert_snapshot!(config, @r#"
    {
      "architecture": "amd64",
      "author": "somebody",
      "config": {
        "Entrypoint": [
          "/app/bin/server"
        ],
        "Env": [
          "PATH=/bin",
          "A=1"
        ],
        "ExposedPorts": {
          "53/udp": {},
          "80/tcp": {}
        },
        "Healthcheck": {
          "Interval": 30000000000,
          "Retries": 3,
          "Test": [
            "CMD",
            "/app/bin/server"
          ]
        },
        "Labels": {
          "a": "1",
          "b": "2"
        },
        "StopSignal": "SIGINT",
        "User": "1000:1001",
        "Volumes": {
          "/srv/data": {}
        },
        "WorkingDir": "/srv"
      },
      "created": "2026-01-31T12:00:00Z",
      "history": [
        {
          "created": "2026-01-31T12:00:00Z",
          "created_by": "imgbuild: skeleton"
        },
        {
          "created": "2026-01-31T12:00:00Z",
          "created_by": "imgbuild: release"
        }
      ],
      "os": "linux",
      "rootfs": {
        "diff_ids": [
          "sha256:7ab7ae874a1ab03673f6b693cda7f3d7a1b560fb346c648bf2da1ac73f6d4a1f",
          "sha256:a06cec6d48b4ffd3bd309dea46fb6afdd5b5c337c1f7f54d0169ba149d78f2c5"
        ],
        "type": "layers"
      }
    }
    "#);
}

#[test]
fn the_manifest_of_an_image_is_spelled_like_this() {
    let image = configured();
    let manifest = serde_json::to_string_pretty(&image.manifest).unwrap();
    insta::assert_snapshot!(manifest, @r#"
    {
      "annotations": {
        "org.opencontainers.image.title": "Golden"
      },
      "config": {
        "digest": "sha256:46d82d3cc2defad86bd7044c21eadc0b197834103ce70d7f9f50a9949d139857",
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "size": 737
      },
      "layers": [
        {
          "digest": "sha256:7ab7ae874a1ab03673f6b693cda7f3d7a1b560fb346c648bf2da1ac73f6d4a1f",
          "mediaType": "application/vnd.oci.image.layer.v1.tar",
          "size": 7168
        },
        {
          "digest": "sha256:a06cec6d48b4ffd3bd309dea46fb6afdd5b5c337c1f7f54d0169ba149d78f2c5",
          "mediaType": "application/vnd.oci.image.layer.v1.tar",
          "size": 4608
        }
      ],
      "mediaType": "application/vnd.oci.image.manifest.v1+json",
      "schemaVersion": 2
    }
    "#);
}

/// Builds the program of `fixtures/closure` with the libraries and a shell of the root
/// beside it.
fn closure(more: &[&str]) -> (String, UnpackedImage) {
    let sandbox = emulated();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/closure/host.tree");
    let tree = Tree::parse(&fs::read_to_string(path).unwrap()).unwrap();
    tree.write_to(&sandbox.path("closure")).unwrap();
    let words = "--release closure/release --sysroot closure/root --program /bin/sh \
        --platform linux/amd64 --created 1 --no-auto-labels --no-sync --no-cache -o closure.tar";
    let outcome = sandbox.run(words.split_whitespace().chain(more.iter().copied()));
    let digest = result_digest(&outcome.success());
    let image = confirmed(&sandbox.path("closure.tar"), &digest);
    (digest, image)
}

#[test]
fn a_closure_without_what_no_file_names_has_the_digest_that_it_always_had() {
    let (digest, _) = closure(&["--runtime=minimal", "--package-records=none"]);
    assert_eq!(
        digest,
        "sha256:7a880b891467c874379ae948abf0bb5ed847e81c3e7f1c00d65e7beb5b04aed1"
    );
}

#[test]
fn a_closure_has_what_its_libraries_need_below_a_merged_usr() {
    let (digest, image) = closure(&[]);
    let files = image.files();
    let paths: Vec<String> = files
        .keys()
        .map(|path| path.display().to_string())
        .filter(|path| {
            !path.starts_with("etc") && files[Path::new(path)].kind != UnpackedKind::Directory
        })
        .collect();
    insta::assert_snapshot!(format!("{digest}\n{}", paths.join("\n")), @r#"
    sha256:727d7fb6b0ba9d07520c62c067a5c362e860bd533426e1a71a67966611f716b0
    app/bin/app
    bin
    lib
    lib64
    usr/bin/sh
    usr/lib/locale/C.utf8/LC_CTYPE
    usr/lib/terminfo/x/xterm
    usr/lib/x86_64-linux-gnu/gconv/KOI8-R.so
    usr/lib/x86_64-linux-gnu/gconv/gconv-modules
    usr/lib/x86_64-linux-gnu/libc.so.6
    usr/lib/x86_64-linux-gnu/libdl.so.2
    usr/lib/x86_64-linux-gnu/libm.so.6
    usr/lib/x86_64-linux-gnu/libtinfo.so.6
    usr/lib64/ld-linux-x86-64.so.2
    "#);
}

/// Returns the diff IDs of a fixture, in which one file may differ.
fn diff_ids(name: &str, changed: Option<&str>, more: &[&str]) -> Vec<String> {
    let sandbox = with_release(emulated(), name);
    if let Some(path) = changed {
        let path = sandbox.path(name).join(path);
        assert!(path.is_file(), "{}", path.display());
        fs::write(path, "changed\n").unwrap();
    }
    let (digest, archive) = build(&sandbox, name, more, "none");
    let layers = confirmed(&archive, &digest).layers.into_iter();
    layers.map(|layer| layer.diff_id).collect()
}

/// Checks that each file of a fixture is in a layer of its own, which alone
/// changes with it.
fn check_layers(name: &str, more: &[&str], files: &[&str], layers: usize) {
    let before = diff_ids(name, None, more);
    assert_eq!(before.len(), layers, "{before:?}");
    let mut seen = Vec::new();
    for path in files {
        let after = diff_ids(name, Some(path), more);
        assert_eq!(before.len(), after.len(), "{path}");
        let pairs = before.iter().zip(&after).enumerate();
        let changed = pairs.filter(|(_, (before, after))| before != after);
        let changed: Vec<usize> = changed.map(|(index, _)| index).collect();
        assert_eq!(changed.len(), 1, "{path}");
        seen.extend(changed);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), files.len(), "each in a layer of its own");
}

#[test]
fn a_changed_module_of_a_mix_release_changes_one_layer() {
    let files = [
        "lib/shop-1.2.0/ebin/Elixir.Shop.beam",
        "lib/jason-1.4.1/ebin/Elixir.Jason.beam",
        "lib/elixir-1.14.0/ebin/Elixir.Kernel.beam",
        "lib/kernel-8.5.3/ebin/kernel.beam",
        "erts-13.1.5/bin/beam.smp",
        "releases/1.2.0/runtime.exs",
    ];
    for more in [&[][..], &["--boot", "direct"]] {
        check_layers("mix", more, &files, 7);
    }
}

#[test]
fn a_changed_file_of_a_node_package_changes_one_layer() {
    let files = ["bin/node", "node_modules/greeting/index.js", "lib/page.js"];
    check_layers("node", &[], &files, 6);
}

#[test]
fn a_changed_file_of_a_next_project_changes_one_layer() {
    let server = ".next/standalone/.next/server/pages/index.html";
    let files = [".next/standalone/node_modules/next/package.json", server];
    check_layers("next", &[], &files, 3);
}

#[test]
fn a_changed_file_of_a_python_project_changes_one_layer() {
    let package = ".venv/lib/python3.11/site-packages/flask/__init__.py";
    check_layers("python", &[], &[package, "shop/__init__.py"], 4);
}

#[test]
fn a_changed_file_of_a_java_application_changes_one_layer() {
    let files = [
        "jre/lib/modules",
        "lib/greeting-1.0.0.jar",
        "lib/shop-1.2.0.jar",
    ];
    check_layers("java", &["--entrypoint", "jre/bin/java"], &files, 4);
}

#[test]
fn every_fixture_is_in_the_list() {
    let mut built: Vec<String> = IMAGES
        .iter()
        .map(|(name, _)| format!("{name}.tree"))
        .collect();
    built.dedup();
    let there = runs::names(&releases());
    let there: Vec<String> = there
        .into_iter()
        .filter(|name| name.ends_with(".tree"))
        .collect();
    assert_eq!(built, there);
}

fn releases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/releases")
}

/// Makes a sandbox for the program, on the processor of the environment.
fn emulated() -> Sandbox {
    let words = std::env::var(EMULATOR).unwrap_or_default();
    runs::sandbox().under(words.split_whitespace())
}

/// Writes the release of a fixture into a directory of its name.
fn with_release(sandbox: Sandbox, name: &str) -> Sandbox {
    let text = fs::read_to_string(releases().join(format!("{name}.tree"))).unwrap();
    let tree = Tree::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    tree.write_to(&sandbox.path(name)).unwrap();
    sandbox
}

fn build(sandbox: &Sandbox, name: &str, more: &[&str], compression: &str) -> (String, PathBuf) {
    let archive = format!("{name}.tar");
    let words = [
        "--release",
        name,
        "--output",
        &archive,
        "--compression",
        compression,
    ];
    // Nothing of this machine may be in the image: a script would include its
    // interpreter, a repository its commit. So these images cannot start.
    let constant = [
        "--platform",
        "linux/amd64",
        "--runtime",
        "none",
        "--check=off",
        "--no-sync",
        "--no-cache",
        "--no-auto-labels",
    ];
    let outcome = sandbox
        .run(words.iter().chain(&constant).chain(more))
        .success();
    (result_digest(&outcome), sandbox.path(&archive))
}

/// Builds all images, each in a new sandbox of `sandbox`.
fn list_of(compression: &str, sandbox: impl Fn() -> Sandbox) -> String {
    let mut list = String::new();
    for (name, more) in IMAGES {
        let sandbox = with_release(sandbox(), name);
        let (digest, archive) = build(&sandbox, name, more, compression);
        confirmed(&archive, &digest);
        let words: Vec<&str> = [name].iter().chain(more).copied().collect();
        list.push_str(&format!("{digest} {}\n", words.join(" ")));
    }
    list
}

fn check_list(compression: &str, file: &str) {
    let found = list_of(compression, emulated);
    let list = releases().join(file);
    if std::env::var_os("IMGBUILD_BLESS").is_some() {
        fs::write(&list, &found).unwrap();
    }
    let expected = fs::read_to_string(&list).unwrap_or_default();
    assert_eq!(
        found, expected,
        "`cargo xtask bless` accepts what is on the left"
    );
}
