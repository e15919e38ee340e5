//! Layers of a base come when their bytes are needed, and are looked into once.

use std::path::PathBuf;

use fs_err as fs;
use imgbuild_testing::registry::{Auth, Behavior};
use imgbuild_testing::{FakeRegistry, Outcome};
use serde_json::Value;

use super::{Bench, image};
use crate::registry::server::Registry;
use crate::runs::names;
use crate::support::{has_programs, image as engine_image};

/// As [`super::PLAIN`], with a look into the base.
const LOOKING: [&str; 9] = [
    "--release",
    "release",
    "--runtime=none",
    "--skeleton=none",
    "--no-entrypoint",
    "--check=warn",
    "--no-sync",
    "--tag=x/y:1",
    "--json",
];

const SYSTEMS: &str = "bases/systems";

impl Bench {
    fn look(&self, base: &str, more: &[&str]) -> Outcome {
        let base = format!("--base={base}");
        let own = [base.as_str()];
        self.sandbox.run(LOOKING.iter().chain(&own).chain(more))
    }

    /// Builds with a look into the base; returns the digest.
    fn looked(&self, more: &[&str]) -> String {
        digest_of(&self.look(&self.pinned(), more).success())
    }

    /// Builds without.
    fn unlooked(&self, more: &[&str]) -> String {
        digest_of(&self.build(&self.pinned(), more).success())
    }

    /// How many blobs of the size of a layer were read since it was asked last.
    fn fetched(&self) -> usize {
        let layers = self.layers();
        let is_read = |target: &String| {
            let mut layers = layers.iter();
            layers.any(|layer| *target == format!("GET /v2/team/base/blobs/{layer}"))
        };
        self.targets()
            .iter()
            .filter(|target| is_read(target))
            .count()
    }

    /// The digests of the base's layers.
    fn layers(&self) -> Vec<String> {
        let contents = self.registry.contents();
        let key = ("team/base".to_owned(), self.root.clone());
        let manifest: Value = serde_json::from_slice(&contents.manifests[&key].1).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers
            .map(|layer| layer["digest"].as_str().unwrap().to_owned())
            .collect()
    }

    fn cache(&self) -> PathBuf {
        let home = self.sandbox.root().with_file_name("home");
        home.join(".cache/imgbuild/v2")
    }

    /// Leaves the documents of the base and what is known of it.
    fn remove_layers(&self) {
        for layer in self.layers() {
            let hex = layer.trim_start_matches("sha256:");
            drop(fs::remove_file(
                self.cache().join("bases/blobs/sha256").join(hex),
            ));
        }
    }

    fn system(&self) -> PathBuf {
        let place = self.cache().join(SYSTEMS);
        let names = names(&place);
        assert_eq!(names.len(), 1, "{names:?}");
        place.join(&names[0])
    }

    fn target(&self, repository: &str) -> String {
        format!("--output=docker://{}/{repository}:1", self.registry.name())
    }
}

fn digest_of(outcome: &Outcome) -> String {
    result_of(outcome)["digest"].as_str().unwrap().to_owned()
}

fn result_of(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.stdout).unwrap()
}

#[test]
fn what_is_known_of_a_base_needs_no_layer_until_bytes_are_written() {
    let bench = Bench::new(&["amd64"]);
    let first = bench.looked(&["--output=oci:first"]);
    assert_eq!(bench.fetched(), 2);
    bench.remove_layers();

    let outcome = bench
        .look(&bench.pinned(), &[&bench.target("team/app")])
        .success();
    let result = result_of(&outcome);
    assert_eq!(result["pushed"][0]["mounted"], 2, "{}", outcome.report());
    assert_eq!(bench.fetched(), 0);
    assert_eq!(result["digest"], first.as_str());
    // They are there now: not even mounted.
    let again = bench
        .look(&bench.pinned(), &[&bench.target("team/app")])
        .success();
    assert_eq!(result_of(&again)["pushed"][0]["unchanged"], true);
    assert_eq!(bench.looked(&["--output=oci:first"]), first);
    assert_eq!(bench.fetched(), 0);

    let compressed = ["--output=oci-archive:second.tar"];
    assert_eq!(bench.looked(&compressed), first);
    assert_eq!(bench.fetched(), 2);
    assert_eq!(bench.looked(&["--output=oci:third"]), first);
    assert_eq!(bench.fetched(), 0, "they are in the cache again");
    for written in ["first", "second.tar", "third"] {
        drop(bench.sandbox.run(["validate", written]).success());
    }
}

#[test]
fn a_registry_that_has_none_of_it_is_sent_all() {
    let bench = Bench::new(&["amd64"]);
    let first = bench.looked(&["--output=oci:first"]);
    for (behavior, expected) in [
        (Behavior::default(), 5),
        (
            Behavior {
                no_mount: true,
                ..Behavior::default()
            },
            5,
        ),
    ] {
        bench.remove_layers();
        drop(bench.registry.requests());
        let other = FakeRegistry::start(behavior).unwrap();
        let target = format!("--output=docker://{}/team/app:1", other.name());
        let outcome = bench.look(&bench.pinned(), &[&target]).success();
        let result = result_of(&outcome);
        assert_eq!(result["digest"], first.as_str());
        assert_eq!(
            result["pushed"][0]["uploaded"],
            expected,
            "{}",
            outcome.report()
        );
        assert_eq!(bench.fetched(), 2);
        assert_eq!(bench.kept().len(), 4, "they are kept");
        let stored = other.contents();
        for layer in bench.layers() {
            assert!(stored.blobs.contains_key(&("team/app".to_owned(), layer)));
        }
    }
}

#[test]
fn the_registry_of_the_base_is_sent_them_if_it_cannot_mount() {
    let behavior = Behavior {
        no_mount: true,
        ..Behavior::default()
    };
    let bench = Bench::with(&["amd64"], behavior);
    let first = bench.looked(&["--output=oci:first"]);
    bench.remove_layers();
    drop(bench.registry.requests());
    let outcome = bench
        .look(&bench.pinned(), &[&bench.target("team/app")])
        .success();
    let result = result_of(&outcome);
    assert_eq!(result["digest"], first.as_str());
    assert_eq!(result["pushed"][0]["uploaded"], 5, "{}", outcome.report());
    assert_eq!(bench.fetched(), 2);
}

#[test]
fn layers_that_the_repository_of_the_base_has_lost_are_sent_to_it() {
    let bench = Bench::new(&["amd64"]);
    drop(bench.looked(&["--output=oci:image"]));
    let layers = bench.layers();
    bench.registry.change(|contents| {
        contents
            .blobs
            .retain(|(_, digest), _| !layers.contains(digest));
    });
    let target = format!("--output=docker://{}/team/base:2", bench.registry.name());
    let outcome = bench.look(&bench.pinned(), &[&target]).success();
    let result = result_of(&outcome);
    assert_eq!(result["pushed"][0]["uploaded"], 5, "{}", outcome.report());
    let contents = bench.registry.contents();
    for layer in layers {
        assert!(
            contents
                .blobs
                .contains_key(&("team/base".to_owned(), layer))
        );
    }
}

#[test]
fn a_base_that_nothing_looks_into_is_not_fetched_for_a_push() {
    let bench = Bench::new(&["amd64"]);
    let outcome = bench
        .build(&bench.pinned(), &[&bench.target("team/app")])
        .success();
    let result = result_of(&outcome);
    assert_eq!(result["pushed"][0]["mounted"], 2, "{}", outcome.report());
    assert_eq!(bench.fetched(), 0);
    assert_eq!(bench.kept().len(), 2, "its documents");
    assert_eq!(names(&bench.cache().join(SYSTEMS)).len(), 0);
    assert!(
        result["images"][0]["layers"][0]["entryCount"].is_null(),
        "nobody has counted"
    );
    drop(bench.build(&bench.pinned(), &["--dry-run"]).success());
    let no_cache = [&bench.target("team/other"), "--no-cache"];
    drop(bench.build(&bench.pinned(), &no_cache).success());
    assert_eq!(bench.fetched(), 0);

    let digest = result["digest"].as_str().unwrap();
    assert_eq!(bench.unlooked(&["--output=oci:image"]), digest);
    assert_eq!(bench.fetched(), 2);
    drop(bench.sandbox.run(["validate", "image"]).success());
}

#[test]
fn no_byte_depends_on_the_cache_the_destination_or_the_place_of_the_base() {
    let bench = Bench::new(&["amd64"]);
    let digest = bench.unlooked(&["--output=oci:unknown"]);
    // A record is of no interest to it, even if there is one.
    drop(bench.looked(&["--output=oci:looked"]));
    assert_eq!(bench.unlooked(&["--output=oci:known"]), digest);
    assert_eq!(
        bench.unlooked(&["--output=oci:fresh", "--no-cache"]),
        digest
    );
    let archive = ["--output=archive.tar", "--compression=gzip"];
    assert_eq!(bench.unlooked(&archive), digest);
    assert_eq!(bench.unlooked(&[&bench.target("team/app")]), digest);
    // Only the name of the base is another one.
    let layers = |base: &str| {
        let outcome = bench.build(base, &["--output=oci:local"]).success();
        result_of(&outcome)["images"][0]["layers"].clone()
    };
    let layout = image("amd64").write_layout(&bench.sandbox.path("here"), "1");
    let here = layers(layout.to_str().unwrap());
    assert_eq!(here, layers(&bench.pinned()));
}

#[test]
fn whether_it_is_looked_into_is_seen_in_no_layer_of_its_own() {
    let bench = Bench::new(&["amd64"]);
    let layers = |outcome: Outcome| {
        let result = result_of(&outcome.success());
        let layers = result["images"][0]["layers"].as_array().unwrap().clone();
        let digests = layers.iter().map(|layer| layer["digest"].clone());
        digests.collect::<Vec<Value>>()
    };
    let looked = layers(bench.look(&bench.pinned(), &["--output=oci:looked"]));
    let unlooked = layers(bench.build(&bench.pinned(), &["--output=oci:unlooked"]));
    assert_eq!(looked, unlooked);
    let first: Vec<&str> = looked.iter().take(2).filter_map(Value::as_str).collect();
    assert_eq!(bench.layers(), first);
}

#[test]
fn everything_that_depends_on_files_of_the_base_has_it_looked_into() {
    let bench = Bench::new(&["amd64"]);
    fs::write(bench.sandbox.path("extra"), "x").unwrap();
    let base = |more: &[&str]| {
        drop(bench.sandbox.run(["cache", "clear"]).success());
        drop(bench.registry.requests());
        let target = bench.target("team/app");
        let words = [&["--platform=linux/amd64", target.as_str()], more].concat();
        drop(bench.build(&bench.pinned(), &words).success());
        bench.fetched() > 0
    };
    for flags in [
        &["--add=extra:/data/extra"][..],
        &["--cacert"],
        &["--writable=/data"],
        &["--volume=/data"],
        &["--user=1000"],
        &["--workdir=/data"],
        &["--prefix=/etc/app"],
        &["--prefix=/"],
        &["--healthcheck=true"],
    ] {
        assert!(base(flags), "{flags:?}");
    }
    for flags in [
        &["--user=1000:1000"][..],
        &["--workdir=/app"],
        &["--prefix=/opt/app"],
        &["--prefix=/usr/local/bin"],
        &["--healthcheck=/bin/true"],
        &["--healthcheck=none"],
        &["--env=A=b", "--label=a=b", "--expose=80"],
    ] {
        assert!(!base(flags), "{flags:?}");
    }
}

#[test]
fn a_damaged_record_is_made_anew() {
    let bench = Bench::new(&["amd64"]);
    let first = bench.looked(&["--output=oci:image"]);
    let path = bench.system();
    let good = fs::read(&path).unwrap();
    let cut = good[..good.len() / 2].to_vec();
    let mut altered = good.clone();
    altered[good.len() / 2] ^= 1;
    // What is whole is not always ours.
    let foreign = b"imgbuild".repeat(100);
    for bytes in [cut, altered, foreign, Vec::new()] {
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        bench.remove_layers();
        drop(bench.registry.requests());
        assert_eq!(bench.looked(&["--output=oci:image"]), first);
        assert_eq!(bench.fetched(), 2);
        assert_eq!(fs::read(bench.system()).unwrap(), good);
    }
}

#[test]
fn the_cache_counts_what_is_known_of_bases_and_forgets_it() {
    let bench = Bench::new(&["amd64"]);
    let info = || -> Value {
        let info = bench.sandbox.run(["cache", "info", "--json"]).success();
        serde_json::from_slice(&info.stdout).unwrap()
    };
    drop(bench.looked(&["--output=oci:image"]));
    let with = info()["baseBytes"].as_u64().unwrap();
    let size = fs::metadata(bench.system()).unwrap().len();
    fs::remove_file(bench.system()).unwrap();
    assert_eq!(info()["baseBytes"].as_u64().unwrap(), with - size);
    drop(bench.looked(&["--output=oci:image"]));
    let prune = ["cache", "prune", "--max-size", "0"];
    drop(bench.sandbox.run(prune).success());
    assert_eq!(names(&bench.cache().join(SYSTEMS)).len(), 0);
    assert_eq!(names(&bench.cache().join("systems")).len(), 0);
    drop(bench.looked(&["--output=oci:other", "--cache-size=1K"]));
    assert_eq!(names(&bench.cache().join(SYSTEMS)).len(), 0);
}

#[test]
fn with_no_cache_nothing_is_remembered_of_a_base() {
    let bench = Bench::new(&["amd64"]);
    let layout = image("amd64").write_layout(&bench.sandbox.path("here"), "1");
    let here = layout.to_str().unwrap();
    drop(
        bench
            .look(here, &["--output=oci:image", "--no-cache"])
            .success(),
    );
    assert!(!bench.cache().exists());
    drop(
        bench
            .look(here, &["--output=oci:image", "--dry-run"])
            .success(),
    );
    assert!(!bench.cache().exists());
    drop(bench.look(here, &["--output=oci:image"]).success());
    assert!(bench.system().exists());
}

#[test]
fn what_cannot_be_fetched_for_an_output_is_said_as_it_was_met() {
    let bench = Bench::new(&["amd64"]);
    drop(bench.looked(&["--output=oci:image"]));
    bench.remove_layers();
    bench.registry.change(|contents| contents.blobs.clear());
    let other = FakeRegistry::start(Behavior::default()).unwrap();
    let to_registry = format!("--output=docker://{}/team/app:1", other.name());
    for output in [
        "--output=oci-archive:a.tar",
        "--output=oci:new",
        &to_registry,
    ] {
        let text = bench.look(&bench.pinned(), &[output]).exited(1);
        let text = text.stderr_text();
        assert!(
            text.contains("error: cannot read the blob sha256:"),
            "{text}"
        );
        let place = format!("at `{}/team/base`", bench.registry.name());
        assert!(text.contains(&place), "{text}");
        assert!(text.contains("hint: check registry, repository"), "{text}");
        assert!(text.contains("hint: the image needs this layer"), "{text}");
        assert!(!text.contains("caused by: error:"), "{text}");
    }
    let left = names(bench.sandbox.root());
    assert_eq!(left, ["image", "release"]);
    let tags = other.contents().manifests;
    assert!(tags.is_empty(), "{tags:?}");
}

#[test]
fn the_base_is_read_as_another_user_than_the_one_who_pushes() {
    let basic = |user: &str| Behavior {
        auth: Auth::Basic(user.to_owned(), "pass".to_owned()),
        ..Behavior::default()
    };
    let mut bench = Bench::with(&["amd64"], basic("reader"));
    let other = FakeRegistry::start(basic("writer")).unwrap();
    // `user:pass` in the encoding of Docker's file.
    let config = format!(
        r#"{{"auths": {{"{}": {{"username": "reader", "password": "pass"}}, "{}": {{"username": "writer", "password": "pass"}}}}}}"#,
        bench.registry.name(),
        other.name()
    );
    let directory = bench.sandbox.path("docker");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.json"), config).unwrap();
    bench.sandbox.set("DOCKER_CONFIG", directory);
    drop(bench.looked(&["--output=oci:image"]));
    bench.remove_layers();
    drop(bench.registry.requests());
    let target = format!("--output=docker://{}/team/app:1", other.name());
    let outcome = bench.look(&bench.pinned(), &[&target]).success();
    assert_eq!(result_of(&outcome)["pushed"][0]["uploaded"], 5);
    assert_eq!(bench.fetched(), 2);
}

#[test]
fn a_real_registry_mounts_what_was_never_fetched() {
    if !has_programs(&["docker-registry"]) {
        return;
    }
    let bench = Bench::new(&["amd64"]);
    let server_sandbox = engine_image::sandbox();
    let registry = Registry::plain(&server_sandbox);
    let layout = image("amd64").write_layout(&bench.sandbox.path("here"), "1");
    let source = format!("oci:{}:1", layout.display());
    let base = format!("docker://{}/team/base:1", registry.name());
    drop(bench.sandbox.run(["copy", &source, &base]).success());
    let target = format!("--output=docker://{}/team/app:1", registry.name());
    let outcome = bench.build(&base, &[&target]).success();
    let result = result_of(&outcome);
    assert_eq!(result["pushed"][0]["mounted"], 2, "{}", outcome.report());
    assert_eq!(bench.kept().len(), 2, "documents alone");
    let pushed = format!("docker://{}/team/app:1", registry.name());
    drop(bench.sandbox.run(["copy", &pushed, "oci:pulled"]).success());
    drop(bench.sandbox.run(["validate", "pulled"]).success());
    let again = bench.build(&base, &["--output=oci:again"]).success();
    assert_eq!(digest_of(&again), digest_of(&outcome));
}
