//! Nothing is compressed or sent twice: what a registry has is found by diff
//! IDs, and looked at before it is believed.

use std::path::PathBuf;

use fs_err as fs;
use imgbuild_testing::registry::{Answer, Behavior, Fault};
use imgbuild_testing::{FakeRegistry, Outcome, Sandbox};
use serde_json::Value;

use super::push;
use crate::runs::{noise, sandbox, words};
use crate::support::image::result_digest;

/// A registry, and a release with two large files, each in a layer of its own.
struct Bench {
    registry: FakeRegistry,
    sandbox: Sandbox,
}

impl Bench {
    fn new() -> Self {
        let sandbox = sandbox();
        let release = sandbox
            .tree("release", "0755 file bin/x \"#!/bin/sh\\n\"")
            .unwrap();
        for (name, size) in [("a", 20_000_000), ("b", 17_000_000)] {
            let directory = release.join(name);
            fs::create_dir_all(&directory).unwrap();
            // What hardly compresses, and what does.
            let mut data = noise(size);
            data.splice(..0, b"the same words again ".repeat(5000));
            fs::write(directory.join("data"), data).unwrap();
        }
        let registry = FakeRegistry::start(Behavior::default()).unwrap();
        Self { registry, sandbox }
    }

    /// Adds a layer that compresses, so that it tells how all were made.
    fn with_text(self) -> Self {
        let words: Vec<u8> = noise(400_000)
            .iter()
            .flat_map(|byte| format!("{byte} little words, ").into_bytes())
            .collect();
        let directory = self.sandbox.path("release/text");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("words"), words).unwrap();
        self
    }

    /// How often the start of a blob was asked for.
    fn looks(&self) -> usize {
        let requests = self.registry.requests();
        let looks = requests
            .iter()
            .filter(|request| request.header("range").is_some());
        looks.count()
    }

    fn name(&self, repository: &str) -> String {
        format!("{}/{repository}:1", self.registry.name())
    }

    fn push(&self, repository: &str, more: &[&str]) -> (Value, Outcome) {
        let mut all = vec!["--json"];
        all.extend_from_slice(more);
        let outcome = push(&self.sandbox, &[&self.name(repository)], &all).success();
        (serde_json::from_slice(&outcome.stdout).unwrap(), outcome)
    }

    /// The digest of the image when no registry is asked.
    fn digest_alone(&self) -> String {
        let all = words("release", &["--output", "oci:alone", "--tag", "x/y:1"]);
        result_digest(&self.sandbox.run(all).success())
    }

    /// What a build here says and makes, with the layers of `source`.
    fn build_with_cache(&self, source: &str) -> (String, String) {
        let all = [
            "--output",
            "oci:here",
            "--tag",
            "x/y:1",
            "--cache-from",
            source,
        ];
        let outcome = self.sandbox.run(words("release", &all)).success();
        let digest = result_digest(&outcome);
        (outcome.stderr_text().to_owned(), digest)
    }

    /// Builds into a layout here, with the layers of `origin` where they fit, and
    /// validates it; the image is the one that is built without them.
    fn build_here(&self, origin: &str) -> Outcome {
        let all = ["--output", "oci:here", "--tag", "x/y:1"];
        let all = [&all[..], &["--cache-from", origin]].concat();
        let outcome = self.sandbox.run(words("release", &all)).success();
        assert_eq!(result_digest(&outcome), self.digest_alone());
        drop(self.sandbox.run(["validate", "here"]).success());
        outcome
    }

    /// Changes a byte of every large blob in the registry, where `place` says.
    fn damage_large_blobs(&self, place: impl Fn(usize) -> usize) {
        self.registry.change(|contents| {
            let blobs = contents.blobs.values_mut();
            for blob in blobs.filter(|blob| blob.len() > 1_000_000) {
                let at = place(blob.len());
                blob[at] ^= 1;
            }
        });
    }

    fn change_one_file(&self) -> PathBuf {
        let path = self.sandbox.path("release/bin/x");
        fs::write(&path, "#!/bin/sh\nexit 7\n").unwrap();
        path
    }
}

fn number(result: &Value, field: &str) -> u64 {
    result[field].as_u64().expect("it is a number")
}

#[test]
fn an_unchanged_release_costs_a_handful_of_small_requests() {
    let bench = Bench::new();
    let (first, _) = bench.push("me/app", &[]);
    assert!(number(&first, "sentBytes") > 1_000_000);
    drop(bench.registry.requests());
    let (second, outcome) = bench.push("me/app", &[]);
    assert_eq!(second["digest"], first["digest"]);
    assert_eq!(second["pushed"][0]["unchanged"], true);
    assert_eq!(number(&second, "sentBytes"), 0);
    let layers = second["images"][0]["layers"].as_array().unwrap().len() as u64;
    // A ping, two documents, a look at each layer, and a look at the tag.
    assert_eq!(
        number(&second, "requests"),
        4 + layers,
        "{}",
        outcome.report()
    );
    assert_eq!(
        outcome.stderr_text().matches("(in the registry)").count() as u64,
        layers
    );
    for request in bench.registry.requests() {
        let is_small = request.method == "HEAD"
            || !request.target.contains("/blobs/")
            || request.header("range").is_some()
            || request.target.contains(config_of(&second));
        assert!(is_small, "{request:?}");
    }
    assert_eq!(second["digest"], bench.digest_alone().as_str());
}

#[test]
fn what_imgbuild_has_written_is_known_by_one_layer_that_is_made_again() {
    let bench = Bench::new().with_text();
    let (first, _) = bench.push("me/app", &[]);
    let (second, outcome) = bench.push("me/app", &[]);
    assert_eq!(second["digest"], first["digest"]);
    let layers = second["images"][0]["layers"].as_array().unwrap().len();
    assert!(layers > 3, "{}", outcome.report());
    // A ping, two documents, a look at the tag.
    assert_eq!(number(&second, "requests"), 4, "{}", outcome.report());
    assert_eq!(
        outcome.stderr_text().matches("(in the registry)").count(),
        layers
    );
    let changed = bench.sandbox.path("release/b/data");
    fs::write(&changed, noise(17_000_001)).unwrap();
    let (third, outcome) = bench.push("me/app", &[]);
    assert_eq!(third["pushed"][0]["uploaded"], 2, "{}", outcome.report());
    assert_eq!(bench.looks(), 0, "{}", outcome.report());
    assert_eq!(third["digest"], bench.digest_alone().as_str());
}

#[test]
fn one_layer_made_again_shows_that_another_level_made_all() {
    let bench = Bench::new().with_text();
    drop(bench.push("me/app", &["--compression", "gzip:9"]));
    let (result, outcome) = bench.push("me/app", &[]);
    let text = outcome.stderr_text();
    assert!(!text.contains("(in the registry)"), "{}", outcome.report());
    assert_eq!(bench.looks(), 0, "{}", outcome.report());
    assert_eq!(result["digest"], bench.digest_alone().as_str());
}

fn config_of(result: &Value) -> &str {
    result["images"][0]["configDigest"]
        .as_str()
        .expect("it has a config")
}

#[test]
fn one_changed_layer_is_one_upload_and_the_digest_that_of_a_build_alone() {
    let bench = Bench::new();
    drop(bench.push("me/app", &[]));
    bench.change_one_file();
    let (result, outcome) = bench.push("me/app", &[]);
    assert_eq!(result["pushed"][0]["uploaded"], 2, "{}", outcome.report());
    assert!(
        number(&result, "sentBytes") < 10_000,
        "{}",
        outcome.report()
    );
    assert_eq!(result["digest"], bench.digest_alone().as_str());
}

#[test]
fn layers_of_another_image_are_mounted_or_fetched() {
    let bench = Bench::new();
    drop(bench.push("me/app", &[]));
    let origin = format!("docker://{}", bench.name("me/app"));
    let (result, outcome) = bench.push("me/other", &["--cache-from", &origin]);
    let mounted = result["pushed"][0]["mounted"].as_u64().unwrap();
    assert!(mounted >= 2, "{}", outcome.report());
    assert!(
        number(&result, "sentBytes") < 10_000,
        "{}",
        outcome.report()
    );
    // An output on this machine needs the bytes, which are checked.
    let here = bench.build_here(&origin);
    assert!(here.stderr_text().contains("(cached)"));
    // Another registry gets what it lacks from where it is.
    let elsewhere = FakeRegistry::start(Behavior::default()).unwrap();
    let target = format!("{}/me/app:1", elsewhere.name());
    let outcome = push(&bench.sandbox, &[&target], &["--cache-from", &origin]).success();
    assert_eq!(result_digest(&outcome), bench.digest_alone());
    let back = bench
        .sandbox
        .run(["copy", &format!("docker://{target}"), "oci:back"]);
    drop(back.success());
    drop(bench.sandbox.run(["validate", "back"]).success());
}

#[test]
fn a_layer_that_is_not_as_we_would_write_it_is_not_taken() {
    let bench = Bench::new();
    drop(bench.push("me/app", &["--compression", "gzip:9"]));
    let (result, outcome) = bench.push("me/app", &[]);
    assert!(
        !outcome.stderr_text().contains("(in the registry)"),
        "{}",
        outcome.report()
    );
    assert_eq!(
        result["digest"],
        bench.digest_alone().as_str(),
        "{}",
        outcome.report()
    );
    // The bytes under its digest are others, which the start shows.
    bench.damage_large_blobs(|_| 100);
    drop(bench.build_here(&format!("docker://{}", bench.name("me/app"))));
}

#[test]
fn damage_further_on_is_found_when_the_bytes_come_here() {
    let bench = Bench::new();
    drop(bench.push("me/app", &[]));
    bench.damage_large_blobs(|size| size - 1000);
    drop(bench.build_here(&format!("docker://{}", bench.name("me/app"))));
}

#[test]
fn an_image_that_has_lost_its_config_can_be_replaced() {
    let bench = Bench::new();
    let (first, _) = bench.push("me/app", &[]);
    let config = config_of(&first).to_owned();
    bench
        .registry
        .change(|contents| contents.blobs.retain(|(_, digest), _| *digest != config));
    bench.change_one_file();
    let (result, outcome) = bench.push("me/app", &[]);
    let text = outcome.stderr_text();
    let warning = format!("warning: cannot read the blob {config}");
    assert!(text.contains(&warning), "{text}");
    assert_eq!(result["pushed"][0]["uploaded"], 2, "{text}");
    assert_eq!(result["digest"], bench.digest_alone().as_str());
}

#[test]
fn a_cache_that_is_not_there_yet_is_said_and_one_that_is_refused_a_warning() {
    let bench = Bench::new();
    let missing = format!("docker://{}", bench.name("no/such"));
    let (text, digest) = bench.build_with_cache(&missing);
    let expected = format!("no layers from `--cache-from {missing}`: it does not exist yet\n");
    assert!(text.contains(&expected), "{text}");
    assert!(!text.contains("warning"), "{text}");
    assert_eq!(digest, bench.digest_alone());

    drop(bench.push("me/app", &[]));
    let image = format!("docker://{}", bench.name("me/app"));
    let source = format!("docker://{}", bench.name("me/index"));
    let create = ["index", "create", &source, &image];
    drop(bench.sandbox.run(create).success());
    let name = bench.name("me/other");
    let words = [
        "--release=release",
        "--push",
        "--tag",
        &name,
        "--cache-from",
        &source,
        "--platform=linux/s390x",
        "--runtime=none",
        "--check=off",
        "--no-entrypoint",
    ];
    let outcome = bench.sandbox.run(words).success();
    let text = outcome.stderr_text();
    assert!(
        text.contains("it has no image for linux/s390x yet"),
        "{text}"
    );

    let refusal = Fault::Answer(Answer::new(403));
    bench.registry.fail(usize::MAX, "GET", "/no/such/", refusal);
    let (text, digest) = bench.build_with_cache(&missing);
    let expected =
        format!("warning: cannot use `--cache-from {missing}`: cannot read the manifest");
    assert!(text.contains(&expected), "{text}");
    assert!(text.contains("403 Forbidden"), "{text}");
    assert!(
        text.contains("\nhint: log in with `docker login "),
        "{text}"
    );
    assert!(!text.contains("error: "), "{text}");
    assert_eq!(digest, bench.digest_alone());
}
