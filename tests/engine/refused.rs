//! Images that engines refuse: `validate`, `check` and `--base` have one list of
//! rules, and it is that of the engines.

use std::path::Path;

use imgbuild_testing::Outcome;
use imgbuild_testing::sandbox::finish;
use serde_json::{Value, json};

use crate::runs;
use crate::support::base::{BaseImage, Layer, Packing};
use crate::support::docker::{Engine, Loaded};
use crate::support::unique;

/// The engines that refuse an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    None,
    Every,
    GraphDrivers,
    /// Those of Docker 28, and not of Docker 20.10.
    NewGraphDrivers,
    /// Those that decompress without `pigz`.
    WithoutPigz,
}

/// The name of an image, what makes it, and the engines that refuse it.
type Row = (&'static str, fn() -> BaseImage, By);

/// An image of these layers, whose lowest layer no engine has.
fn image(layers: impl IntoIterator<Item = Layer>) -> BaseImage {
    let salt = Layer::default().file("salt", 0o644, unique().to_string());
    let mut image = BaseImage::new([salt].into_iter().chain(layers).collect());
    image.packing = Packing::Plain;
    image
}

fn layer(fill: impl FnOnce(Layer) -> Layer) -> BaseImage {
    image([fill(Layer::default())])
}

fn config(config: Value) -> BaseImage {
    image([]).with_config(config)
}

fn fields(fields: Value) -> BaseImage {
    let mut image = image([]);
    image.fields = fields;
    image
}

fn with_capabilities(value: &[u8]) -> BaseImage {
    let key = "SCHILY.xattr.security.capability";
    layer(|one| one.pax(key, value).file("a", 0o755, "x"))
}

/// A layer with a file that has an extended attribute.
fn with_xattr(name: &str, value: &[u8]) -> BaseImage {
    let key = format!("SCHILY.xattr.{name}");
    layer(|one| one.pax(&key, value).file("a", 0o755, "x"))
}

const ACCESS: &str = "system.posix_acl_access";

/// An access control list with an entry for each tag.
fn acl(tags: &[u8]) -> Vec<u8> {
    let entries = tags.iter().flat_map(|tag| [*tag, 0, 6, 0, 9, 0, 0, 0]);
    [2, 0, 0, 0].into_iter().chain(entries).collect()
}

/// A layer with a directory `usr` in the lowest layer, and others above.
fn above_usr(fill: impl FnOnce(Layer) -> Layer) -> BaseImage {
    let lower = Layer::default()
        .directory("usr", 0o755)
        .file("usr/a", 0o644, "x")
        .link("low", "usr");
    image([lower, fill(Layer::default())])
}

const ROWS: &[Row] = &[
    (
        "good",
        || layer(|one| one.directory("d", 0o755).file("d/a", 0o644, "x")),
        By::None,
    ),
    (
        "whiteout without a name",
        || layer(|one| one.directory("d", 0o755).file("d/.wh.", 0o644, "")),
        By::Every,
    ),
    (
        "whiteout of its directory",
        || layer(|one| one.directory("d", 0o755).file("d/.wh..", 0o644, "")),
        By::Every,
    ),
    (
        "whiteout of a neighbor",
        || {
            layer(|one| {
                one.directory("d", 0o755)
                    .file("d/a", 0o644, "x")
                    .file("d/.wh.a", 0o644, "")
            })
        },
        By::Every,
    ),
    (
        "whiteout before its path",
        || {
            layer(|one| {
                one.directory("d", 0o755)
                    .file("d/.wh.a", 0o644, "")
                    .file("d/a", 0o644, "x")
            })
        },
        By::None,
    ),
    (
        "opaque whiteout",
        || layer(|one| one.directory("d", 0o755).file("d/.wh..wh..opq", 0o644, "")),
        By::None,
    ),
    (
        "link into a layer below",
        || {
            let lower = Layer::default().file("low", 0o644, "x");
            image([lower, Layer::default().special(b'1', "link", "low")])
        },
        By::Every,
    ),
    (
        "link before its target",
        || layer(|one| one.special(b'1', "link", "a").file("a", 0o644, "x")),
        By::Every,
    ),
    (
        "link to a directory",
        || layer(|one| one.directory("d", 0o755).special(b'1', "link", "d")),
        By::Every,
    ),
    (
        "link through a link of its layer",
        || {
            layer(|one| {
                let one = one
                    .directory("usr", 0o755)
                    .link("lib", "usr")
                    .file("usr/a", 0o644, "x");
                one.special(b'1', "lib/b", "lib/a")
            })
        },
        By::None,
    ),
    (
        "file twice",
        || layer(|one| one.file("a", 0o644, "x").file("a", 0o644, "y")),
        By::GraphDrivers,
    ),
    (
        "directory in two spellings",
        || layer(|one| one.directory("d", 0o755).directory("./d", 0o755)),
        By::GraphDrivers,
    ),
    (
        "path out of the root",
        || layer(|one| one.file("../../evil", 0o644, "x")),
        By::NewGraphDrivers,
    ),
    (
        "path out of a directory",
        || layer(|one| one.file("d/../a", 0o644, "x")),
        By::None,
    ),
    (
        "short capabilities",
        || with_capabilities(b"bad"),
        By::Every,
    ),
    (
        "capabilities of the first form",
        || with_capabilities(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
        By::Every,
    ),
    ("no capabilities", || with_capabilities(b""), By::None),
    (
        "socket",
        || layer(|one| one.special(b's', "a", "")),
        By::Every,
    ),
    (
        "contiguous file",
        || layer(|one| one.special(b'7', "a", "")),
        By::Every,
    ),
    (
        "unknown type",
        || layer(|one| one.special(b'Q', "a", "")),
        By::Every,
    ),
    ("pipe", || layer(|one| one.special(b'6', "a", "")), By::None),
    (
        "link to nothing",
        || layer(|one| one.link("a", "")),
        By::Every,
    ),
    (
        "file as a directory",
        || layer(|one| one.file("a", 0o644, "x").file("a/b", 0o644, "x")),
        By::Every,
    ),
    (
        "file as a directory of the next layer",
        || {
            let lower = Layer::default().file("a", 0o644, "x");
            image([lower, Layer::default().file("a/b", 0o644, "x")])
        },
        By::None,
    ),
    (
        "file below a link into the layer below",
        || above_usr(|one| one.link("l", "/usr").file("l/a", 0o644, "x")),
        By::GraphDrivers,
    ),
    (
        "directory below a relative link into the layer below",
        || above_usr(|one| one.link("l", "usr").directory("l/d", 0o755)),
        By::GraphDrivers,
    ),
    (
        "file deep below a link to nothing",
        || above_usr(|one| one.link("l", "none").file("l/d/e/a", 0o644, "x")),
        By::GraphDrivers,
    ),
    (
        "whiteout below a link into the layer below",
        || above_usr(|one| one.link("l", "usr").file("l/.wh.a", 0o644, "")),
        By::GraphDrivers,
    ),
    (
        "opaque whiteout below a link into the layer below",
        || above_usr(|one| one.link("l", "usr").file("l/.wh..wh..opq", 0o644, "")),
        By::GraphDrivers,
    ),
    (
        "file below a link to a later directory",
        || {
            layer(|one| {
                let one = one.link("l", "d").file("l/a", 0o644, "x");
                one.directory("d", 0o755)
            })
        },
        By::GraphDrivers,
    ),
    (
        "file below a link by way of nothing",
        || layer(|one| one.link("l", "none/..").file("l/a", 0o644, "x")),
        By::GraphDrivers,
    ),
    (
        "file below a link of its layer",
        || {
            layer(|one| {
                let one = one.directory("d", 0o755).link("l", "../../d");
                one.file("l/e/a", 0o644, "x").file("d/.wh.b", 0o644, "")
            })
        },
        By::None,
    ),
    (
        "file below a link to an implied directory",
        || {
            layer(|one| {
                one.file("d/a", 0o644, "x")
                    .link("l", "d")
                    .file("l/b", 0o644, "x")
            })
        },
        By::None,
    ),
    (
        "file below a link of the layer below",
        || above_usr(|one| one.file("low/b", 0o644, "x")),
        By::None,
    ),
    (
        "whiteout below a link of the layer below",
        || above_usr(|one| one.file("low/.wh.a", 0o644, "")),
        By::None,
    ),
    (
        "file below a link to a file",
        || {
            layer(|one| {
                let one = one.file("a", 0o644, "x").link("l", "a");
                one.file("l/b", 0o644, "x")
            })
        },
        By::Every,
    ),
    (
        "file below a loop",
        || layer(|one| one.link("l", "l").file("l/b", 0o644, "x")),
        By::Every,
    ),
    (
        "file below a file that came through a link",
        || {
            layer(|one| {
                let one = one.directory("d", 0o755).link("l", "d");
                one.file("l/a", 0o644, "x").file("d/a/b", 0o644, "x")
            })
        },
        By::Every,
    ),
    (
        "file below a whiteout",
        || above_usr(|one| one.file(".wh.usr", 0o644, "").file("usr/b", 0o644, "x")),
        By::Every,
    ),
    (
        "directory in place of a whiteout",
        || {
            above_usr(|one| {
                let one = one.file(".wh.usr", 0o644, "").directory("usr", 0o755);
                one.file("usr/b", 0o644, "x")
            })
        },
        By::None,
    ),
    (
        "whiteout of an implied directory",
        || layer(|one| one.file("d/a", 0o644, "x").file(".wh.d", 0o644, "")),
        By::Every,
    ),
    (
        "opaque whiteout of the root",
        || above_usr(|one| one.file(".wh..wh..opq", 0o644, "")),
        By::None,
    ),
    (
        "attribute with a name of 255 bytes",
        || with_xattr(&format!("user.{}", "n".repeat(250)), b"x"),
        By::None,
    ),
    (
        "attribute with a name of 256 bytes",
        || with_xattr(&format!("user.{}", "n".repeat(251)), b"x"),
        By::Every,
    ),
    (
        "attribute of an unknown class with a name of 256 bytes",
        || with_xattr(&"n".repeat(256), b"x"),
        By::Every,
    ),
    (
        "trusted attribute with a name of 256 bytes",
        || with_xattr(&format!("trusted.{}", "n".repeat(248)), b"x"),
        By::GraphDrivers,
    ),
    (
        "attribute with a value of 65,537 bytes",
        || with_xattr("user.a", &[b'x'; 65_537]),
        By::Every,
    ),
    (
        "attribute without a name",
        || with_xattr("security.", b"x"),
        By::Every,
    ),
    (
        "access control list",
        || with_xattr(ACCESS, &acl(&[1, 2, 4, 16, 32])),
        By::None,
    ),
    (
        "access control list without entries",
        || with_xattr(ACCESS, &acl(&[])),
        By::None,
    ),
    (
        "access control list of a link",
        || {
            let key = format!("SCHILY.xattr.{ACCESS}");
            layer(|one| one.pax(&key, &acl(&[1, 4, 32])).link("l", "a"))
        },
        By::None,
    ),
    (
        "access control list of three bytes",
        || with_xattr(ACCESS, b"bad"),
        By::Every,
    ),
    (
        "access control list without a mask",
        || with_xattr(ACCESS, &acl(&[1, 2, 4, 32])),
        By::Every,
    ),
    (
        "access control list out of order",
        || with_xattr(ACCESS, &acl(&[4, 1, 32])),
        By::Every,
    ),
    (
        "access control list with an unknown entry",
        || with_xattr(ACCESS, &acl(&[1, 4, 32, 64])),
        By::Every,
    ),
    (
        "default access control list of a file",
        || with_xattr("system.posix_acl_default", &acl(&[1, 4, 32])),
        By::Every,
    ),
    (
        "link in place of the root",
        || layer(|one| one.link("/", "d")),
        By::GraphDrivers,
    ),
    (
        "link in place of the directory of the layer",
        || layer(|one| one.link("./", "d")),
        By::None,
    ),
    (
        "hard link to a whiteout",
        || above_usr(|one| one.file("usr/.wh.a", 0o644, "").special(b'1', "q", "usr/a")),
        By::None,
    ),
    (
        "long attribute of a whiteout",
        || {
            let key = format!("SCHILY.xattr.user.{}", "n".repeat(300));
            above_usr(|one| one.pax(&key, b"x").file("usr/.wh.a", 0o644, ""))
        },
        By::None,
    ),
    (
        "zeros after gzip",
        || {
            let mut image = layer(|one| one.file("a", 0o644, "x"));
            image.packing = Packing::Padded;
            image
        },
        By::WithoutPigz,
    ),
    (
        "label that is a number",
        || config(json!({ "Labels": { "a": 1 } })),
        By::Every,
    ),
    (
        "label that is null",
        || config(json!({ "Labels": { "a": null } })),
        By::None,
    ),
    (
        "variables in a text",
        || config(json!({ "Env": "A=b" })),
        By::Every,
    ),
    (
        "user that is a number",
        || config(json!({ "User": 5 })),
        By::Every,
    ),
    (
        "volumes in a list",
        || config(json!({ "Volumes": ["/data"] })),
        By::Every,
    ),
    (
        "health check that is a number",
        || config(json!({ "Healthcheck": 5 })),
        By::GraphDrivers,
    ),
    (
        "configuration that is a list",
        || config(json!([])),
        By::Every,
    ),
    (
        "date that is none",
        || fields(json!({ "created": "yesterday" })),
        By::Every,
    ),
    (
        "date of a step without a zone",
        || fields(json!({ "history": [{ "created": "2026-01-31T12:00:00" }] })),
        By::Every,
    ),
    (
        "date with a zone",
        || fields(json!({ "created": "2026-01-31T12:00:00+05:30" })),
        By::None,
    ),
    (
        "author that is a number",
        || fields(json!({ "author": 5 })),
        By::Every,
    ),
    (
        "comment that is a number",
        || fields(json!({ "Comment": 5 })),
        By::GraphDrivers,
    ),
    (
        "identity that is a number",
        || fields(json!({ "id": 5 })),
        By::GraphDrivers,
    ),
    (
        "size that is a text",
        || fields(json!({ "Size": "5" })),
        By::GraphDrivers,
    ),
    (
        "committed container that is a list",
        || fields(json!({ "container": [] })),
        By::GraphDrivers,
    ),
    (
        "command of the committed container that is a number",
        || fields(json!({ "container_config": { "Cmd": 5 } })),
        By::GraphDrivers,
    ),
    (
        "command of the committed container that is a text",
        || fields(json!({ "container_config": { "Cmd": "a" }, "docker_version": null })),
        By::None,
    ),
    (
        "volume above the root",
        || config(json!({ "Volumes": { "/../x": {} } })),
        By::None,
    ),
    (
        "variable without a value",
        || config(json!({ "Env": ["PATH"] })),
        By::None,
    ),
];

/// Returns true if an engine has the containerd image store.
fn has_containerd_store(engine: &Engine) -> bool {
    let info = engine
        .docker(["info", "--format", "{{.DriverStatus}}"])
        .output();
    info.is_ok_and(|info| String::from_utf8_lossy(&info.stdout).contains("io.containerd"))
}

const ON_BASE: [&str; 5] = [
    "--release=release",
    "--base=base.tar",
    "--no-cache",
    "--no-sync",
    "--output=image.tar",
];

/// Compares a row with an engine.
fn compare(engine: &Engine, archive: &Path, reference: &str, (name, _, by): &Row) {
    let is_refused = match (by, has_containerd_store(engine)) {
        (By::Every, _) | (By::GraphDrivers, false) => true,
        (By::None, _) => false,
        (By::GraphDrivers, true) | (By::NewGraphDrivers | By::WithoutPigz, _) => return,
    };
    let outcome = load(engine, archive, reference);
    let fails = outcome.code != Some(0) || outcome.stderr_text().contains("Error unpacking");
    assert_eq!(fails, is_refused, "{name}: {}", outcome.report());
}

/// Has an engine load an archive, and removes the image again.
fn load(engine: &Engine, archive: &Path, reference: &str) -> Outcome {
    let _image = Loaded::adopt(engine, reference);
    let archive = archive.display().to_string();
    finish(&mut engine.docker(["load", "--input", &archive]), b"")
}

#[test]
fn one_list_of_rules_is_that_of_the_engines() {
    let engines = Engine::each();
    for row in ROWS {
        let (name, make, by) = row;
        let sandbox = runs::with_small_release();
        let reference = format!("localhost/imgbuild-test/refused:{}", unique());
        make().write_docker_archive(&sandbox.path("base.tar"), &reference);
        let validated = sandbox.run(["validate", "base.tar"]);
        let expected = if *by == By::None { 0 } else { 1 };
        assert_eq!(
            validated.code,
            Some(expected),
            "{name}: {}",
            validated.report()
        );

        let checked = sandbox.run(["check", "base.tar"]);
        let before = runs::listing(sandbox.root());
        let built = sandbox.run(ON_BASE);
        let (checked, text) = (checked.stderr_text(), built.stderr_text());
        match by {
            By::None => {
                assert!(!checked.contains("[image-refused]"), "{name}: {checked}");
                assert!(
                    built.code == Some(0) && !text.contains("[image-refused]"),
                    "{name}: {text}"
                );
            }
            By::Every => {
                let is_error = |line: &str| {
                    line.starts_with("error: ")
                        && line.ends_with("refused by every engine [image-refused]")
                };
                assert!(checked.lines().any(is_error), "{name}: {checked}");
                assert!(
                    text.contains("; refused by every engine\nhint: "),
                    "{name}: {text}"
                );
                assert_eq!(built.code, Some(1), "{name}: {text}");
                assert_eq!(runs::listing(sandbox.root()), before, "{name}");
            }
            By::GraphDrivers | By::NewGraphDrivers | By::WithoutPigz => {
                let engines = if *by == By::WithoutPigz {
                    "; refused by Podman, and Docker and containerd without `pigz`"
                } else {
                    "; refused by Docker with graph drivers"
                };
                let is_warning = |line: &str| {
                    line.starts_with("warning: ")
                        && line.contains(engines)
                        && line.ends_with("[image-refused]")
                };
                assert!(checked.lines().any(is_warning), "{name}: {checked}");
                assert!(text.lines().any(is_warning), "{name}: {text}");
                assert_eq!(built.code, Some(0), "{name}: {text}");
            }
        }
        for engine in &engines {
            compare(engine, &sandbox.path("base.tar"), &reference, row);
        }
    }
}

#[test]
fn more_layers_than_graph_drivers_stack_are_told() {
    for (count, expected) in [(125, 0), (126, 1)] {
        let sandbox = runs::with_small_release();
        let layers =
            (1..count).map(|number| Layer::default().file(&format!("a{number}"), 0o644, "x"));
        let reference = format!("localhost/imgbuild-test/refused:{}", unique());
        image(layers).write_docker_archive(&sandbox.path("base.tar"), &reference);
        let told = "expected at most 125, found 126; refused by Docker with graph drivers";
        for command in ["validate", "check"] {
            let outcome = sandbox.run([command, "base.tar"]);
            let said = [outcome.stdout_text(), outcome.stderr_text()].concat();
            assert_eq!(said.matches(told).count(), expected, "{said}");
        }
        for engine in Engine::each()
            .iter()
            .filter(|one| !has_containerd_store(one))
        {
            let outcome = load(engine, &sandbox.path("base.tar"), &reference);
            assert_eq!(
                outcome.code != Some(0),
                expected == 1,
                "{}",
                outcome.report()
            );
        }
    }
}

#[test]
fn a_wrong_label_of_compression_is_told() {
    for (packing, label, expected) in [
        (Packing::Gzip, Packing::Gzip, 0),
        (Packing::Gzip, Packing::Plain, 2),
        // containerd looks at the first bytes.
        (Packing::Plain, Packing::Gzip, 0),
        (Packing::Zstd, Packing::Gzip, 0),
    ] {
        let sandbox = runs::with_small_release();
        let mut base = layer(|one| one.file("a", 0o644, "x"));
        base.packing = packing;
        base.label = Some(label.media_type());
        base.write_layout(&sandbox.path("base"), "1");
        let told = "refused by containerd, and Docker with its image store [image-refused]";
        let words = [
            "--release=release",
            "--base=base",
            "--no-sync",
            "--output=image.tar",
        ];
        for words in [&["check", "base"][..], &words, &words] {
            // The second build has the files from the cache.
            let outcome = sandbox.run(words);
            let said = outcome.stderr_text();
            assert_eq!(
                said.matches(told).count(),
                expected,
                "{packing:?} {label:?}: {said}"
            );
        }
        let validated = sandbox.run(["validate", "base"]);
        let is_right = packing == label;
        assert_eq!(
            validated.code,
            Some(i32::from(!is_right)),
            "{}",
            validated.report()
        );
    }
}
