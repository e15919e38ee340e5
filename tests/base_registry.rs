//! Base images of registries: fetched once, checked, found again by digest.

use std::path::Path;

use fs_err as fs;
use imgbuild_testing::registry::{Behavior, Fault};
use imgbuild_testing::{FakeRegistry, Outcome, Sandbox};
use serde_json::{Value, json};

use crate::runs::{listing, names, noise, with_small_release};
use crate::support::base::{BaseImage, Layer, digest};
use crate::support::own_architecture;

mod lazy;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Builds without anything of this machine.
const PLAIN: [&str; 9] = [
    "--release",
    "release",
    "--runtime=none",
    "--skeleton=none",
    "--no-entrypoint",
    "--check=off",
    "--no-sync",
    "--tag=x/y:1",
    "--json",
];

/// A registry with a base image under `team/base:1`, and a release.
struct Bench {
    registry: FakeRegistry,
    sandbox: Sandbox,
    /// The digest of what the tag names.
    root: String,
}

fn image(architecture: &'static str) -> BaseImage {
    let lower = Layer::default()
        .directory("etc", 0o755)
        .file("etc/lower", 0o644, noise(300_000));
    let upper = Layer::default().file("upper", 0o644, architecture);
    let mut image = BaseImage::new(vec![lower, upper]);
    image.architecture = architecture;
    image
}

impl Bench {
    /// One image, or an index with one for each architecture.
    fn new(architectures: &[&'static str]) -> Self {
        Self::with(architectures, Behavior::default())
    }

    fn with(architectures: &[&'static str], behavior: Behavior) -> Self {
        let sandbox = with_small_release();
        let registry = FakeRegistry::start(behavior).unwrap();
        let mut entries = Vec::new();
        for architecture in architectures {
            let layout = image(architecture).write_layout(&sandbox.path("source"), "1");
            entries.push(upload(&registry, &layout));
            fs::remove_dir_all(layout).unwrap();
        }
        let mut root = entries[0]["digest"].as_str().unwrap().to_owned();
        if entries.len() > 1 {
            let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
            let bytes = index.to_string().into_bytes();
            root = digest(&bytes);
            put(&registry, &root, INDEX, &bytes);
        }
        registry.change(|contents| {
            let place = |name: &str| ("team/base".to_owned(), name.to_owned());
            let found = contents.manifests[&place(&root)].clone();
            contents.manifests.insert(place("1"), found);
        });
        Self {
            registry,
            sandbox,
            root,
        }
    }

    fn name(&self) -> String {
        format!("{}/team/base:1", self.registry.name())
    }

    fn pinned(&self) -> String {
        format!("docker://{}@{}", self.name(), self.root)
    }

    fn build(&self, base: &str, more: &[&str]) -> Outcome {
        let base = format!("--base={base}");
        let own = [base.as_str()];
        self.sandbox.run(PLAIN.iter().chain(&own).chain(more))
    }

    /// Builds into the new layout `image`, and returns the result.
    fn built(&self, base: &str, more: &[&str]) -> (Value, Outcome) {
        drop(fs::remove_dir_all(self.sandbox.path("image")));
        let to_layout = ["--output=oci:image"];
        let words: Vec<&str> = to_layout.iter().chain(more).copied().collect();
        let outcome = self.build(base, &words).success();
        let result = serde_json::from_slice(&outcome.stdout).unwrap();
        (result, outcome)
    }

    /// Builds, which must fail and leave no image.
    fn refused(&self, base: &str, more: &[&str]) -> String {
        let before = listing(self.sandbox.root());
        let to_layout = ["--output=oci:image"];
        let words: Vec<&str> = to_layout.iter().chain(more).copied().collect();
        let outcome = self.build(base, &words).exited(1);
        assert_eq!(listing(self.sandbox.root()), before, "{}", outcome.report());
        outcome.stderr_text().to_owned()
    }

    fn kept(&self) -> Vec<String> {
        let place = self.sandbox.root().with_file_name("home");
        names(&place.join(".cache/imgbuild/v2/bases/blobs/sha256"))
    }

    fn targets(&self) -> Vec<String> {
        let requests = self.registry.requests().into_iter();
        requests
            .filter(|request| request.target != "/v2/")
            .map(|request| format!("{} {}", request.method, request.target))
            .collect()
    }

    /// The manifest of the image that was built.
    fn manifest(&self, result: &Value) -> Value {
        let digest = result["digest"].as_str().unwrap();
        let name = digest.replacen(':', "/", 1);
        let path = self.sandbox.path("image/blobs").join(name);
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }
}

fn put(registry: &FakeRegistry, name: &str, media_type: &str, bytes: &[u8]) {
    registry.change(|contents| {
        let key = ("team/base".to_owned(), name.to_owned());
        let value = (media_type.to_owned(), bytes.to_vec());
        contents.manifests.insert(key, value);
    });
}

/// Puts everything of a layout into the registry; returns its descriptor.
fn upload(registry: &FakeRegistry, layout: &Path) -> Value {
    let index: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let mut root = index["manifests"][0].clone();
    root.as_object_mut().unwrap().remove("annotations");
    for name in names(&layout.join("blobs/sha256")) {
        let bytes = fs::read(layout.join("blobs/sha256").join(&name)).unwrap();
        let digest = format!("sha256:{name}");
        if root["digest"] == digest.as_str() {
            put(registry, &digest, MANIFEST, &bytes);
            continue;
        }
        registry.change(|contents| {
            let key = ("team/base".to_owned(), digest);
            contents.blobs.insert(key, bytes);
        });
    }
    root
}

#[test]
fn a_base_is_fetched_once_and_its_digest_is_said() {
    let bench = Bench::new(&["amd64"]);
    let base = format!("docker://{}", bench.name());
    let (first, outcome) = bench.built(&base, &[]);
    let line = format!("base: {}\n", bench.pinned());
    assert!(
        outcome.stderr_text().contains(&line),
        "{}",
        outcome.report()
    );
    // The manifest, the configuration, two layers.
    assert_eq!(bench.targets().len(), 4);
    assert_eq!(bench.kept().len(), 4);
    let manifest = bench.manifest(&first);
    let annotation = |name: &str| {
        manifest["annotations"][format!("org.opencontainers.image.base.{name}")].clone()
    };
    assert_eq!(annotation("name"), bench.name().as_str());
    assert_eq!(annotation("digest"), bench.root.as_str());
    drop(bench.sandbox.run(["validate", "image"]).success());

    let (again, _) = bench.built(&base, &[]);
    assert_eq!(again["digest"], first["digest"]);
    assert_eq!(bench.targets(), ["GET /v2/team/base/manifests/1"]);

    let (pinned, outcome) = bench.built(&bench.pinned(), &[]);
    assert_eq!(pinned["digest"], first["digest"]);
    assert_eq!(bench.registry.requests().len(), 0);
    assert!(!outcome.stderr_text().contains("base: docker://"));
}

#[test]
fn a_base_by_digest_alone_has_a_name_without_a_tag() {
    let bench = Bench::new(&["amd64"]);
    let name = format!("{}/team/base", bench.registry.name());
    let (result, _) = bench.built(&format!("docker://{name}@{}", bench.root), &[]);
    let annotations = &bench.manifest(&result)["annotations"];
    assert_eq!(annotations["org.opencontainers.image.base.name"], name);
}

#[test]
fn without_a_cache_nothing_of_a_base_stays() {
    let bench = Bench::new(&["amd64"]);
    for _ in 0..2 {
        drop(bench.built(&bench.pinned(), &["--no-cache"]));
        assert_eq!(bench.targets().len(), 4);
    }
    let names = names(bench.sandbox.root());
    assert_eq!(names, ["image", "release"]);
    assert!(
        !bench
            .sandbox
            .root()
            .with_file_name("home")
            .join(".cache")
            .exists()
    );
}

#[test]
fn the_cache_counts_bases_and_forgets_them() {
    let bench = Bench::new(&["amd64"]);
    drop(bench.built(&bench.pinned(), &[]));
    let info = || -> Value {
        let info = bench.sandbox.run(["cache", "info", "--json"]).success();
        serde_json::from_slice(&info.stdout).unwrap()
    };
    let bytes = info()["baseBytes"].as_u64().unwrap();
    assert!(bytes > 300_000, "{bytes}");
    assert!(info()["bytes"].as_u64().unwrap() > bytes);
    let prune = ["cache", "prune", "--max-size", "0"];
    drop(bench.sandbox.run(prune).success());
    assert_eq!(bench.kept().len(), 0);
    drop(bench.registry.requests());
    drop(bench.built(&bench.pinned(), &[]));
    assert_eq!(bench.kept().len(), 4);
    drop(bench.sandbox.run(["cache", "clear"]).success());
    assert_eq!(info()["baseBytes"], 0);
    assert_eq!(bench.kept().len(), 0);
}

#[test]
fn a_damaged_base_is_refused_and_nothing_is_kept_of_it() {
    let truncate = |bytes: &mut Vec<u8>| bytes.truncate(1000);
    let corrupt = |bytes: &mut Vec<u8>| bytes[1000] ^= 1;
    let damages: [fn(&mut Vec<u8>); 2] = [truncate, corrupt];
    for damage in damages {
        let bench = Bench::new(&["amd64"]);
        let layer = large_layer(&bench);
        bench.registry.change(|contents| {
            let mut blobs = contents.blobs.iter_mut();
            let found = blobs.find(|((_, digest), _)| digest.ends_with(&layer));
            damage(found.unwrap().1);
        });
        let text = bench.refused(&bench.pinned(), &[]);
        assert!(text.contains("error: cannot read the blob"), "{text}");
        assert!(!bench.kept().contains(&layer));
        let temporary = bench.sandbox.root().with_file_name("home");
        assert_eq!(names(&temporary.join(".cache/imgbuild/v2/tmp")).len(), 0);
    }
}

#[test]
fn a_layer_that_comes_damaged_is_fetched_anew() {
    let bench = Bench::new(&["amd64"]);
    let layer = large_layer(&bench);
    let mut times = 0;
    bench.registry.when(move |request| {
        let is_it = request.method == "GET" && request.target.ends_with(&layer);
        times += usize::from(is_it);
        (is_it && times == 1).then_some(Fault::Corrupt)
    });
    let (_, outcome) = bench.built(&bench.pinned(), &[]);
    let text = outcome.stderr_text();
    assert!(text.contains("received bytes with the digest"), "{text}");
    drop(bench.sandbox.run(["validate", "image"]).success());
}

/// The hexadecimal digest of the layer that is not small.
fn large_layer(bench: &Bench) -> String {
    let contents = bench.registry.contents();
    let mut blobs = contents.blobs.iter();
    let found = blobs.find(|(_, bytes)| bytes.len() > 100_000);
    found.unwrap().0.1.trim_start_matches("sha256:").to_owned()
}

#[test]
fn what_has_another_digest_is_refused() {
    let bench = Bench::new(&["amd64"]);
    let wrong = format!("docker://{}@sha256:{}", bench.name(), "0".repeat(64));
    let text = bench.refused(&wrong, &[]);
    assert!(
        text.contains("the registry answered 404 Not Found: "),
        "{text}"
    );
    let key = ("team/base".to_owned(), format!("sha256:{}", "0".repeat(64)));
    bench.registry.change(|contents| {
        let found = contents.manifests.values().next().unwrap().clone();
        contents.manifests.insert(key, found);
    });
    let text = bench.refused(&wrong, &[]);
    assert!(text.contains("sha256:0000"), "{text}");
    assert_eq!(bench.kept().len(), 0);
}

#[test]
fn a_layer_that_rots_in_the_cache_is_fetched_again() {
    let bench = Bench::new(&["amd64"]);
    let (first, _) = bench.built(&bench.pinned(), &[]);
    let home = bench.sandbox.root().with_file_name("home");
    let place = home.join(".cache/imgbuild/v2/bases/blobs/sha256");
    let path = place.join(large_layer(&bench));
    let mut bytes = fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (second, _) = bench.built(&bench.pinned(), &[]);
    assert_eq!(second["digest"], first["digest"]);
    assert_ne!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn the_platform_picks_from_an_index_and_only_that_is_fetched() {
    let bench = Bench::new(&["amd64", "arm64"]);
    let base = format!("docker://{}", bench.name());
    // A script does not say what it is for.
    let text = bench.refused(&base, &[]);
    assert!(
        text.contains("hint: select one with `--platform`"),
        "{text}"
    );
    drop(bench.registry.requests());
    let (result, outcome) = bench.built(&base, &["--platform=linux/arm64"]);
    assert!(outcome.stderr_text().contains(&bench.pinned()));
    // The tag again; then a manifest, a configuration and two layers.
    assert_eq!(bench.targets().len(), 5);
    let annotations = &bench.manifest(&result)["annotations"];
    let of_image = annotations["org.opencontainers.image.base.digest"].clone();
    assert_ne!(of_image, bench.root.as_str());
    drop(bench.built(&bench.pinned(), &["--platform=linux/arm64"]));
    assert_eq!(bench.registry.requests().len(), 0);
    let text = bench.refused(&base, &["--platform=linux/riscv64"]);
    assert!(text.contains("linux/amd64"), "{text}");
}

#[test]
fn the_programs_of_the_release_pick_the_platform() {
    let bench = Bench::new(&["amd64", "arm64"]);
    let program = bench.sandbox.path("release/bin/program");
    fs::copy(std::env::current_exe().unwrap(), program).unwrap();
    let (result, _) = bench.built(&bench.pinned(), &["--no-cache"]);
    let expected = format!("linux/{}", own_architecture());
    assert_eq!(result["images"][0]["platform"], expected);
}

#[test]
fn a_push_to_the_same_registry_mounts_the_layers_of_the_base() {
    let bench = Bench::new(&["amd64"]);
    let target = format!("--output=docker://{}/team/app:1", bench.registry.name());
    let outcome = bench.build(&bench.pinned(), &[&target]).success();
    let result: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(result["pushed"][0]["mounted"], 2, "{}", outcome.report());
    assert_eq!(result["pushed"][0]["uploaded"], 3, "{}", outcome.report());
    let sent = result["sentBytes"].as_u64().unwrap();
    assert!(sent < 10_000, "{}", outcome.report());
    let uploaded = result["pushed"][0]["uploadedBytes"].as_u64().unwrap();
    assert!(uploaded < 10_000, "{}", outcome.report());
    // Another registry has none of it.
    let other = FakeRegistry::start(Behavior::default()).unwrap();
    let target = format!("--output=docker://{}/team/app:1", other.name());
    let outcome = bench.build(&bench.pinned(), &[&target]).success();
    let result: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(result["pushed"][0]["uploaded"], 5, "{}", outcome.report());
    assert!(result["sentBytes"].as_u64().unwrap() > 300_000);
}

#[test]
fn lock_writes_the_digest_and_nothing_else() {
    let bench = Bench::new(&["amd64"]);
    let file = bench.sandbox.path("imgbuild.toml");
    let text = |base: &str| {
        format!(
            "# ours\nno-sync   = true\nbase = \"{base}\" # from\nrelease = 'release'\n\n[env]\nbase = 'x'\n"
        )
    };
    let plain = format!("docker://{}", bench.name());
    fs::write(&file, text(&plain)).unwrap();
    let words = [
        "--runtime=none",
        "--skeleton=none",
        "--no-entrypoint",
        "--output=a.tar",
        "--lock",
    ];
    drop(bench.sandbox.run(words).success());
    assert_eq!(fs::read_to_string(&file).unwrap(), text(&bench.pinned()));
    drop(bench.registry.requests());
    let before = listing(bench.sandbox.root());
    let outcome = bench.sandbox.run(words).success();
    assert_eq!(bench.registry.requests().len(), 0);
    assert_eq!(
        listing(bench.sandbox.root()),
        before,
        "{}",
        outcome.report()
    );
}

#[test]
fn lock_needs_a_file_with_a_base_of_a_registry() {
    let bench = Bench::new(&["amd64"]);
    let base = format!("--base=docker://{}", bench.name());
    let file = bench.sandbox.path("imgbuild.toml");
    let refused = |base: &str, expected: &str| {
        let own = [base, "--lock", "--output=a.tar"];
        let outcome = bench.sandbox.run(PLAIN.iter().chain(&own)).exited(2);
        let text = outcome.stderr_text();
        assert!(text.contains(expected), "{text}");
    };
    refused(&base, "`--lock` needs a configuration file");
    fs::write(&file, "quiet = false\n").unwrap();
    refused(&base, "which `imgbuild.toml` does not have");
    refused("--base=oci:x", "`--lock` needs `--base docker://REFERENCE`");
    refused(
        "--base=oci:x",
        "hint: `--lock` writes the digest of this base image",
    );
    assert_eq!(bench.registry.requests().len(), 0);
}

#[test]
fn all_platforms_of_a_run_get_what_the_tag_named_once() {
    let bench = Bench::new(&["amd64", "arm64"]);
    let base = format!("--base=docker://{}", bench.name());
    let words = [
        "--release=linux/amd64=release",
        "--release=linux/arm64=release",
        &base,
        "--no-auto-labels",
        "--runtime=none",
        "--check=off",
        "--output=oci:image",
    ];
    let outcome = bench.sandbox.run(words).success();
    let asked = bench.targets();
    let of_tag = asked
        .iter()
        .filter(|target| target.ends_with("/manifests/1"));
    assert_eq!(of_tag.count(), 1, "{}", outcome.report());
}
