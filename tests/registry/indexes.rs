//! Indexes in registries: pushed whole, merged there, added to by many at once.

use std::process::Child;

use imgbuild_testing::registry::{Answer, Behavior, Fault};
use imgbuild_testing::{FakeRegistry, Sandbox};
use serde_json::Value;

use super::TOOLS;
use super::server::Registry;
use crate::runs::{end, listing, sandbox, start};
use crate::support::has_programs;
use crate::support::image::result_digest;

const BARE: [&str; 9] = [
    "--runtime",
    "none",
    "--skeleton",
    "none",
    "--no-entrypoint",
    "--no-sync",
    "--no-cache",
    "--compression",
    "gzip",
];

const PLATFORMS: [&str; 3] = ["linux/386", "linux/amd64", "linux/arm64"];

/// `--release` for each platform.
fn releases(sandbox: &Sandbox) -> Vec<String> {
    let one = |platform: &&str| {
        let name = platform.replace('/', "-");
        let tree = format!("0644 file data \"for {platform}\\n\"\n0644 file shared \"same\\n\"");
        sandbox.tree(&name, &tree).expect("it is a tree");
        format!("--release={platform}={name}")
    };
    PLATFORMS.iter().map(one).collect()
}

fn run(sandbox: &Sandbox, words: &[&str]) -> String {
    let outcome = sandbox.run(words).success();
    if words.contains(&"--json") {
        return outcome.stdout_text().to_owned();
    }
    result_digest(&outcome)
}

fn build(sandbox: &Sandbox, releases: &[String], more: &[&str]) -> String {
    let words = releases.iter().map(String::as_str).chain(BARE);
    run(
        sandbox,
        &words.chain(more.iter().copied()).collect::<Vec<_>>(),
    )
}

/// Builds an index of two platforms; returns how it is named.
pub(super) fn two_platforms(sandbox: &Sandbox) -> String {
    let output = ["--tag", "x/y:1", "--output", "oci:index"];
    build(sandbox, &releases(sandbox)[1..], &output);
    "oci:index:1".to_owned()
}

#[test]
fn an_index_is_pushed_whole_and_pulled_as_it_was() {
    if !has_programs(&TOOLS) {
        return;
    }
    let sandbox = sandbox();
    let registry = Registry::plain(&sandbox);
    let name = format!("{}/me/app:1", registry.name());
    let more = ["--tag", &name, "--push", "--output", "oci:built", "--json"];
    let all = releases(&sandbox);
    let first: Value = serde_json::from_str(&build(&sandbox, &all, &more)).unwrap();
    assert_eq!(first["images"].as_array().unwrap().len(), 3);
    let digest = first["digest"].as_str().unwrap();
    let source = format!("docker://{name}");
    assert_eq!(run(&sandbox, &["copy", &source, "oci:pulled"]), digest);
    let blobs = |layout: &str| listing(&sandbox.path(layout).join("blobs"));
    assert_eq!(blobs("built"), blobs("pulled"));
    // Again, on a machine that remembers nothing.
    let again: Value = serde_json::from_str(&build(&sandbox, &all, &more)).unwrap();
    assert_eq!(again["digest"], digest);
    assert_eq!(again["pushed"][0]["unchanged"], true);
    assert_eq!(again["sentBytes"], 0);
}

#[test]
fn images_of_a_registry_are_merged_there() {
    if !has_programs(&TOOLS) {
        return;
    }
    let sandbox = sandbox();
    let registry = Registry::plain(&sandbox);
    let name = format!("{}/me/app", registry.name());
    let all = releases(&sandbox);
    let whole = build(&sandbox, &all, &["--tag", "x", "--output", "oci:whole"]);
    let tags: Vec<String> = all
        .iter()
        .zip(["a", "b", "c"])
        .map(|(release, tag)| {
            let tag = format!("{name}:{tag}");
            build(
                &sandbox,
                std::slice::from_ref(release),
                &["--tag", &tag, "--push"],
            );
            format!("docker://{tag}")
        })
        .collect();
    let create = |destination: &str, sources: &[&String]| -> Value {
        let sources = sources.iter().map(|source| source.as_str());
        let words = ["index", "create", "--json", destination].into_iter();
        let text = run(&sandbox, &words.chain(sources).collect::<Vec<_>>());
        serde_json::from_str(&text).unwrap()
    };
    // In the repository that has the images only the index is sent.
    let same = create(
        &format!("docker://{name}:all"),
        &[&tags[2], &tags[0], &tags[1]],
    );
    assert_eq!(same["digest"], whole.as_str());
    assert_eq!(same["pushed"][0]["uploaded"], 0);
    // By its digest, then by its tag.
    assert!(same["sentBytes"].as_u64() <= same["size"].as_u64().map(|size| 2 * size));
    // In another one of the same registry blobs are mounted.
    let other = format!("docker://{}/me/other:all", registry.name());
    let near = create(&other, &[&format!("docker://{name}:all")]);
    assert_eq!(near["digest"], whole.as_str());
    assert_eq!(near["pushed"][0]["uploaded"], 0);
    assert!(near["pushed"][0]["mounted"].as_u64() > Some(0));
    // From a layout and a registry, to another registry.
    let far_sandbox = crate::runs::sandbox();
    let far_registry = Registry::plain(&far_sandbox);
    let far = format!("docker://{}/x/y:1", far_registry.name());
    let sent = create(&far, &[&"oci:whole".to_owned(), &tags[0]]);
    assert_eq!(sent["digest"], whole.as_str());
    assert!(sent["pushed"][0]["uploaded"].as_u64() > Some(3));
    assert_eq!(run(&sandbox, &["copy", &far, "oci:back"]), whole);
}

#[test]
fn processes_that_add_to_one_tag_at_once_all_end_in_it() {
    if !has_programs(&TOOLS) {
        return;
    }
    let sandbox = sandbox();
    let registry = Registry::plain(&sandbox);
    let all = releases(&sandbox);
    let whole = build(&sandbox, &all, &["--tag", "x", "--output", "oci:whole"]);
    for round in 0..15 {
        let name = format!("{}/me/app:{round}", registry.name());
        let more = ["--tag", &name, "--push", "--update-index"];
        let children: Vec<Child> = all
            .iter()
            .map(|release| {
                let words = [release.as_str()].into_iter().chain(BARE).chain(more);
                start(&mut sandbox.command(words))
            })
            .collect();
        for child in children {
            let (status, text) = end(child);
            assert!(status.success(), "round {round}: {text}");
        }
        let source = format!("docker://{name}");
        let words = ["copy", "--no-sync", &source, "oci:copied:x"];
        assert_eq!(run(&sandbox, &words), whole, "round {round}");
    }
    // Each image has a tag of its own; adding it again changes nothing.
    let alone = format!("docker://{}/me/app:14-linux-386", registry.name());
    let words = ["copy", "--no-sync", &alone, "oci:copied:y"];
    let digest = run(&sandbox, &words);
    let name = format!("{}/me/app:14", registry.name());
    let more = ["--tag", &name, "--push", "--update-index", "--json"];
    let text = build(&sandbox, &all[..1], &more);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["digest"], digest.as_str());
    let pushed = &json["pushed"][0];
    assert_eq!(pushed["unchanged"], true);
    assert_eq!(pushed["index"]["digest"], whole.as_str());
    assert_eq!(
        pushed["index"]["platforms"],
        serde_json::json!(["linux/386", "linux/amd64", "linux/arm64"])
    );
}

#[test]
fn several_platforms_of_one_run_are_added_each_with_a_tag_of_its_own() {
    if !has_programs(&TOOLS) {
        return;
    }
    let sandbox = sandbox();
    let registry = Registry::plain(&sandbox);
    let all = releases(&sandbox);
    let whole = build(&sandbox, &all, &["--tag", "x", "--output", "oci:whole"]);
    let name = |tag: &str| format!("{}/me/app:{tag}", registry.name());
    let (first, second) = (name("1"), name("2"));
    let more = ["--push", "--update-index", "--tag", &first, "--json"];
    drop(build(&sandbox, &all[2..], &more));

    // In the order in which they were given, the second tag comes first.
    let more = [
        &["--tag", &second][..],
        &more,
        &["--index-digest-file=index", "--digest-file=built"],
    ];
    let words = all[..2].iter().map(String::as_str).chain(BARE);
    let words: Vec<&str> = words.chain(more.concat()).collect();
    let outcome = sandbox.run(words).success();
    let json: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let file = |name: &str| fs_err::read_to_string(sandbox.path(name)).unwrap();
    let digest = json["digest"].as_str().unwrap();
    assert_eq!(file("built").trim_end(), digest);
    let pushed = json["pushed"].as_array().unwrap();
    let index = |number: usize| pushed[number]["index"]["digest"].as_str().unwrap();
    assert_eq!(index(0), whole);
    assert_eq!(index(1), digest, "there was nothing under the second tag");
    assert_eq!(file("index").trim_end(), index(1));
    // What was sent is said once, not for each tag.
    let sent = pushed
        .iter()
        .map(|one| one["uploadedBytes"].as_u64().unwrap());
    assert!(pushed[0]["uploaded"].as_u64() > Some(0));
    assert_eq!(pushed[1]["uploaded"], 0);
    assert!(sent.sum::<u64>() < json["sentBytes"].as_u64().unwrap());
    let text = outcome.stderr_text();
    assert!(
        text.contains(&format!(
            "2 images, added to the indexes of `{first}`, `{second}`"
        )),
        "{text}"
    );

    // Each image alone.
    for (platform, manifest) in PLATFORMS.iter().zip(json["images"].as_array().unwrap()) {
        let tag = format!("1-{}", platform.replace('/', "-"));
        let source = format!("docker://{}", name(&tag));
        let words = ["copy", "--no-sync", &source, "oci:alone:x"];
        assert_eq!(run(&sandbox, &words), manifest["digest"].as_str().unwrap());
    }
}

#[test]
fn a_second_repository_mounts_what_the_first_has_got() {
    let sandbox = sandbox();
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let all = releases(&sandbox);
    let names = ["a", "b"].map(|name| format!("{}/me/{name}:1", registry.name()));
    let tags = ["--tag", &names[0], "--tag", &names[1]];
    let more = [&tags[..], &["--push", "--update-index", "--json"]].concat();
    let json: Value = serde_json::from_str(&build(&sandbox, &all[..1], &more)).unwrap();
    let pushed = &json["pushed"];
    assert_eq!(pushed[1]["uploaded"], 0, "{json}");
    assert_eq!(pushed[1]["mounted"], pushed[0]["uploaded"], "{json}");
}

#[test]
fn what_was_added_before_a_failure_is_said() {
    let sandbox = sandbox();
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let refusal = Answer::new(403).saying(r#"{"errors":[{"code":"DENIED"}]}"#);
    registry.fail(99, "PUT", "/manifests/2", Fault::Answer(refusal));
    let all = releases(&sandbox);
    let name = |tag: &str| format!("{}/me/a:{tag}", registry.name());
    let (first, second) = (name("1"), name("2"));
    let words = [all[0].as_str()].into_iter().chain(BARE);
    let words = words.chain([
        "--tag",
        &first,
        "--tag",
        &second,
        "--push",
        "--update-index",
    ]);
    let outcome = sandbox.run(words).exited(1);
    let text = outcome.stderr_text();
    assert!(
        text.contains(&format!("added to `{first}`: index sha256:")),
        "{text}"
    );
    assert!(!text.contains(&format!("added to `{second}`")), "{text}");
}
