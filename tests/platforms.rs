//! Images for several platforms: built in one run, merged, refused.

use std::path::Path;

use fs_err as fs;
use imgbuild_testing::{Outcome, Sandbox};
use serde_json::Value;

use crate::runs::{digest_of, sandbox};
use crate::support::{own_architecture, program};

/// The flags that keep everything but the release out of an image, for any
/// platform.
const BARE: [&str; 7] = [
    "--runtime",
    "none",
    "--skeleton",
    "none",
    "--no-entrypoint",
    "--no-sync",
    "--no-cache",
];

/// Makes a sandbox with a release without programs for each of three platforms.
fn with_releases() -> Sandbox {
    let sandbox = sandbox();
    for platform in ["amd64", "arm64", "armv7"] {
        let tree = format!("0644 file data \"for {platform}\\n\"\n0644 file shared \"same\\n\"");
        sandbox.tree(platform, &tree).expect("it is a tree");
    }
    sandbox
}

fn build(sandbox: &Sandbox, releases: &[&str], more: &[&str]) -> Outcome {
    let releases = releases.iter().flat_map(|one| ["--release", one]);
    let words = releases.chain(BARE).chain(more.iter().copied());
    sandbox.run(words)
}

fn digest(outcome: Outcome) -> String {
    outcome.success().stdout_text().trim_end().to_owned()
}

fn blob(layout: &Path, digest: &str) -> Vec<u8> {
    let hex = digest.trim_start_matches("sha256:");
    fs::read(layout.join("blobs/sha256").join(hex)).expect("the layout has it")
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("it is JSON")
}

#[test]
fn one_run_makes_an_index_with_platforms_in_order() {
    let sandbox = with_releases();
    let releases = [
        "linux/arm/v7=armv7",
        "linux/arm64=arm64",
        "linux/amd64=amd64",
    ];
    let more = ["-t", "x/y:1", "-o", "oci:layout", "--annotation", "k=v"];
    let outcome = build(&sandbox, &releases, &more).success();
    let digest = outcome.stdout_text().trim_end().to_owned();
    let layout = sandbox.path("layout");
    let bytes = blob(&layout, &digest);
    let index = json_of(&bytes);
    assert_eq!(
        index["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    assert_eq!(index["annotations"]["k"], "v");
    assert_eq!(serde_json::to_vec(&index).unwrap(), bytes, "canonical");
    let manifests = index["manifests"].as_array().unwrap();
    let platforms: Vec<String> = manifests
        .iter()
        .map(|one| one["platform"].to_string())
        .collect();
    assert_eq!(
        platforms,
        [
            r#"{"architecture":"amd64","os":"linux"}"#,
            r#"{"architecture":"arm","os":"linux","variant":"v7"}"#,
            r#"{"architecture":"arm64","os":"linux"}"#,
        ]
    );
    for one in manifests {
        let manifest = json_of(&blob(&layout, one["digest"].as_str().unwrap()));
        assert_eq!(manifest["annotations"]["k"], "v");
        let config = json_of(&blob(
            &layout,
            manifest["config"]["digest"].as_str().unwrap(),
        ));
        assert_eq!(config["architecture"], one["platform"]["architecture"]);
        assert_eq!(config["variant"], one["platform"]["variant"]);
    }
    let root = json_of(&fs::read(layout.join("index.json")).unwrap());
    assert_eq!(root["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(root["manifests"][0]["digest"], digest.as_str());
    drop(sandbox.run(["validate", "layout"]).success());
}

#[test]
fn an_image_of_an_index_is_the_image_alone() {
    let sandbox = with_releases();
    let both = ["linux/amd64=amd64", "linux/arm64=arm64"];
    let outcome = build(&sandbox, &both, &["-t", "x", "-o", "oci:both", "--json"]).success();
    let json = json_of(outcome.stdout_text().as_bytes());
    for (image, release) in json["images"].as_array().unwrap().iter().zip(both) {
        let alone = digest(build(&sandbox, &[release], &["-t", "x", "-o", "oci:alone"]));
        assert_eq!(image["digest"], alone.as_str());
    }
    let (platform, directory) = both[1].split_once('=').unwrap();
    let more = ["-t", "x", "-o", "oci:alone", "--platform", platform];
    let alone = digest(build(&sandbox, &[directory], &more));
    assert_eq!(json["images"][1]["digest"], alone.as_str());
}

#[test]
fn neither_order_nor_destination_nor_cache_changes_an_index() {
    let sandbox = with_releases();
    let (amd, arm) = ("linux/amd64=amd64", "linux/arm64=arm64");
    let fixed = ["-t", "x/y:1", "--compression", "gzip"];
    let with = |more: &[&'static str]| [&fixed[..], more].concat();
    let expected = digest(build(&sandbox, &[amd, arm], &with(&["-o", "oci:layout"])));
    for more in [
        &["-o", "first.tar"][..],
        &["-o", "oci-archive:second.tar", "--threads", "1"],
        &["-o", "third.tar.gz", "-o", "oci:other"],
    ] {
        assert_eq!(digest(build(&sandbox, &[arm, amd], &with(more))), expected);
    }
    assert_eq!(
        digest_of(&sandbox.path("first.tar")),
        digest_of(&sandbox.path("second.tar"))
    );
    let words = ["--release", arm, "--release", amd, "--cache-dir", "cache"];
    let words = words.iter().chain(&BARE[..6]).chain(&fixed);
    let words: Vec<&str> = words.copied().chain(["-o", "oci:cached"]).collect();
    assert_eq!(digest(sandbox.run(&words)), expected);
    let again = sandbox.run(&words).success();
    assert!(
        again.stderr_text().contains("unchanged `cached`"),
        "{}",
        again.report()
    );
    // An archive has the index, and one image for engines without support for it.
    let outcome = sandbox.run(["validate", "first.tar"]).success();
    assert!(outcome.stderr_text().contains("is valid"));
    let file = fs::File::open(sandbox.path("first.tar")).unwrap();
    let mut archive = tar::Archive::new(file);
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let entry = entries.find(|entry| entry.path().unwrap().as_os_str() == "manifest.json");
    let manifest: Value = serde_json::from_reader(entry.unwrap()).unwrap();
    let config = manifest[0]["Config"].as_str().unwrap().to_owned();
    let config = json_of(&fs::read(sandbox.path("layout").join(config)).unwrap());
    assert_eq!(config["architecture"], "amd64");
}

#[test]
fn merged_images_make_the_index_of_one_run() {
    let sandbox = with_releases();
    let releases = [
        "linux/amd64=amd64",
        "linux/arm64=arm64",
        "linux/arm/v7=armv7",
    ];
    let fixed = ["-t", "x/y:1", "--compression", "gzip"];
    let with = |more: &[&'static str]| [&fixed[..], more].concat();
    let expected = digest(build(&sandbox, &releases, &with(&["-o", "oci:whole"])));
    drop(build(&sandbox, &releases[..1], &with(&["-o", "amd64.tar"])).success());
    drop(build(&sandbox, &releases[1..2], &with(&["-o", "oci:lay:arm"])).success());
    drop(
        build(
            &sandbox,
            &releases[1..],
            &with(&["-o", "oci-archive:arms.tar"]),
        )
        .success(),
    );
    let index = |words: &[&str]| {
        let words = ["index", "create", "--no-sync"].iter().chain(words);
        sandbox.run(words.copied().collect::<Vec<_>>())
    };
    for words in [
        &["oci:merged", "amd64.tar", "arms.tar"][..],
        &[
            "again.tar",
            "oci-archive:arms.tar",
            "oci:lay:arm",
            "docker-archive:amd64.tar",
        ],
        &["oci:merged:other", "oci:whole"],
        &["oci:merged", "-o", "more.tar", "amd64.tar", "again.tar"],
    ] {
        assert_eq!(digest(index(words)), expected, "{words:?}");
    }
    drop(sandbox.run(["validate", "merged"]).success());
    drop(sandbox.run(["validate", "again.tar"]).success());
    // The name that all images have is kept.
    assert_eq!(
        names(&sandbox, "merged"),
        ["docker.io/x/y:1", "docker.io/x/y:other"]
    );
}

/// Returns the full names in a layout.
fn names(sandbox: &Sandbox, layout: &str) -> Vec<String> {
    let index = json_of(&fs::read(sandbox.path(layout).join("index.json")).unwrap());
    let manifests = index["manifests"].as_array().unwrap().iter();
    let annotations = manifests.map(|one| &one["annotations"]["io.containerd.image.name"]);
    let mut names: Vec<String> = annotations
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

#[test]
fn an_index_can_be_named_and_annotated() {
    let sandbox = with_releases();
    let more = ["-t", "x/y:1", "-o", "a.tar", "--annotation", "own=1"];
    drop(build(&sandbox, &["linux/amd64=amd64"], &more).success());
    let create = |words: &[&str]| {
        let words = ["index", "create", "--no-sync"].iter().chain(words);
        sandbox.run(words.copied().collect::<Vec<_>>()).success()
    };
    drop(create(&["oci:named", "a.tar", "-t", "a:1", "-t", "b:2"]));
    assert_eq!(
        names(&sandbox, "named"),
        ["docker.io/library/a:1", "docker.io/library/b:2"]
    );
    let words = ["oci:other", "a.tar", "--annotation", "k=v", "--json"];
    let outcome = create(&[&words[..], &["--digest-file", "digest"]].concat());
    let lost =
        "the new index lacks the annotations `k` of `oci:other`: set them with `--annotation`";
    let again = create(&["oci:third", "oci:other"]);
    assert!(again.stderr_text().contains(lost), "{}", again.report());
    let kept = create(&["oci:third", "oci:other", "--annotation", "k=v"]);
    assert!(!kept.stderr_text().contains("lacks"), "{}", kept.report());
    let json = json_of(outcome.stdout_text().as_bytes());
    let digest = fs::read_to_string(sandbox.path("digest")).unwrap();
    assert_eq!(json["digest"], digest.as_str());
    assert_eq!(json["images"][0]["platform"], "linux/amd64");
    let annotated = json_of(&blob(&sandbox.path("other"), &digest));
    let expected = serde_json::json!({"k": "v", "own": "1"});
    assert_eq!(annotated["annotations"], expected);
}

#[test]
fn an_index_without_a_name_gets_the_tag_of_its_layout() {
    let sandbox = with_releases();
    let build = |release: &str, tag: &str, to: &str| {
        drop(build(&sandbox, &[release], &["-t", tag, "-o", to]).success());
    };
    build("linux/amd64=amd64", "x:1", "a.tar");
    build("linux/arm64=arm64", "y:1", "b.tar");
    drop(
        sandbox
            .run(["index", "create", "oci:layout:v1", "a.tar", "b.tar"])
            .success(),
    );
    let index = json_of(&fs::read(sandbox.path("layout/index.json")).unwrap());
    let annotations = index["manifests"][0]["annotations"].to_string();
    assert_eq!(annotations, r#"{"org.opencontainers.image.ref.name":"v1"}"#);
    drop(sandbox.run(["copy", "oci:layout:v1", "c.tar"]).success());
}

/// Releases, further arguments, and the expected error.
type Refused = (
    &'static [&'static str],
    &'static [&'static str],
    &'static str,
);

const REFUSED: [Refused; 12] = [
    (
        &["linux/amd64=amd64", "linux/amd64=arm64"],
        &["-t", "x"],
        "there are two releases for linux/amd64",
    ),
    (
        &["linux/amd64=amd64", "linux/x86_64=arm64"],
        &["-t", "x"],
        "there are two releases for linux/amd64",
    ),
    (
        &["linux/amd64=amd64", "arm64"],
        &["-t", "x"],
        "`--release arm64` has no platform, and there are several releases",
    ),
    (
        &["linux/amd64=amd64", "linux/arm64=arm64"],
        &[],
        "the releases have several names: `amd64` and `arm64`",
    ),
    (
        &["linux/amd64=amd64", "linux/arm64=arm64"],
        &["-t", "x", "--iidfile", "id"],
        "`--iidfile` is for one image",
    ),
    (
        &["linux/amd64=amd64", "linux/arm64=arm64"],
        &["-t", "x", "--platform", "linux/amd64"],
        "both set the platform",
    ),
    (
        &["linux/amd64=amd64"],
        &["-t", "x", "--platform", "linux/arm64"],
        "both set the platform",
    ),
    (
        &["linux/amd46=amd64"],
        &["-t", "x"],
        "unknown platform `linux/amd46`",
    ),
    (
        &["linux/amd64=amd64"],
        &["-t", "x", "--sysroot", "linux/arm64=/"],
        "is for a platform without a release",
    ),
    (
        &["linux/amd64=amd64"],
        &["-t", "x", "--sysroot", "/", "--sysroot", "/usr"],
        "`--sysroot` is given twice",
    ),
    (
        &["linux/amd64=amd64"],
        &["-t", "x", "--update-index"],
        "`--update-index` changes the index in a registry",
    ),
    (
        &["linux/riscv64=amd64", "linux/s390x=arm64"],
        &["-t", "x", "--load"],
        "there is no release for linux/",
    ),
];

#[test]
fn images_that_cannot_form_an_index_are_refused() {
    let sandbox = with_releases();
    for (releases, more, expected) in REFUSED {
        let outcome = build(&sandbox, releases, more).exited(2);
        let text = outcome.stderr_text();
        assert!(text.contains(expected), "{}", outcome.report());
        assert!(
            text.contains("hint: ") || text.contains("--help") || expected.contains("two releases"),
            "{text}"
        );
    }
}

#[test]
fn images_for_one_platform_are_not_merged() {
    let sandbox = with_releases();
    let one = ["-t", "x:1", "-o", "oci:one"];
    drop(build(&sandbox, &["linux/amd64=amd64"], &one).success());
    drop(
        build(
            &sandbox,
            &["linux/amd64=arm64"],
            &["-t", "x:1", "-o", "oci:two"],
        )
        .success(),
    );
    let outcome = sandbox
        .run(["index", "create", "oci:out", "one", "two"])
        .exited(1);
    let text = outcome.stderr_text();
    assert!(text.contains("cannot add `two` to the index"), "{text}");
    assert!(
        text.contains("there are two images for linux/amd64"),
        "{text}"
    );
    assert!(!sandbox.path("out").exists());
    let outcome = sandbox
        .run(["index", "create", "docker://x/y", "one", "-t", "a"])
        .exited(2);
    assert!(
        outcome.stderr_text().contains("`--tag` names an index"),
        "{}",
        outcome.report()
    );
}

#[test]
fn each_release_is_checked_against_its_platform() {
    let sandbox = sandbox();
    let release = program::c_release("hello", &["gcc"]);
    let own = own_architecture();
    let releases =
        [own, "s390x"].map(|name| format!("--release=linux/{name}={}", release.display()));
    let words = releases.iter().map(String::as_str);
    let outcome = sandbox
        .run(words.chain(["-t", "x", "--no-cache"]))
        .exited(1);
    let text = outcome.stderr_text();
    let expected = format!(
        "check of the image for linux/s390x\nerror: `/app/bin/hello` is for linux/{own}, and the image is for linux/s390x"
    );
    assert_eq!(text.matches(&expected).count(), 1, "{text}");
    assert!(!sandbox.path("x.tar").exists());
}

#[test]
fn a_dry_run_shows_the_plan_of_each_platform() {
    let sandbox = with_releases();
    let both = ["linux/arm64=arm64", "linux/amd64=amd64"];
    let outcome = build(&sandbox, &both, &["-t", "x", "--dry-run"]).success();
    let text = outcome.stdout_text();
    let platforms: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("platform"))
        .collect();
    assert_eq!(platforms, ["platform linux/amd64", "platform linux/arm64"]);
    let outcome = build(&sandbox, &both, &["-t", "x", "--dry-run", "--json"]).success();
    let json = json_of(outcome.stdout_text().as_bytes());
    assert_eq!(json["images"].as_array().unwrap().len(), 2);
}
