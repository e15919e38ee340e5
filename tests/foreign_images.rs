//! Images that other tools wrote: indexes of which a part is there, artifacts
//! beside images, images without a platform, and documents that are unknown.

use std::collections::BTreeMap;

use fs_err as fs;
use imgbuild_testing::registry::Behavior;
use imgbuild_testing::sandbox::finish;
use imgbuild_testing::{FakeRegistry, Outcome, Sandbox};
use serde_json::{Value, json};

use crate::runs::{sandbox, with_small_release, words};
use crate::support::base::{self, Layer, digest};
use crate::support::docker::{Engine, Loaded};
use crate::support::{own_architecture, unique};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const SBOM: &str = "application/vnd.me.sbom";
const TAG: &str = "org.opencontainers.image.ref.name";

/// The files of an image layout, by name.
#[derive(Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn add(&mut self, media_type: &str, bytes: impl Into<Vec<u8>>) -> Value {
        let bytes = bytes.into();
        let digest = digest(&bytes);
        let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
        self.0.insert(name(&descriptor), bytes);
        descriptor
    }

    fn document(&mut self, media_type: &str, document: &Value) -> Value {
        self.add(media_type, document.to_string())
    }

    /// Adds an image whose configuration has these fields.
    fn image(&mut self, fields: &Value) -> Value {
        let tar = Layer::default().file("a", 0o755, "#!/a\n").finish();
        let mut config = fields.clone();
        config["config"] = json!({ "Cmd": ["/a"] });
        config["rootfs"] = json!({ "type": "layers", "diff_ids": [digest(&tar)] });
        let layer = self.add("application/vnd.oci.image.layer.v1.tar", tar);
        let config = self.document(CONFIG, &config);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
        });
        self.document(MANIFEST, &manifest)
    }

    fn image_for(&mut self, architecture: &str) -> Value {
        let platform = json!({ "os": "linux", "architecture": architecture });
        let mut image = self.image(&platform);
        image["platform"] = platform;
        image
    }

    /// Adds an artifact in the form of OCI 1.1 with these fields.
    fn artifact(&mut self, fields: &Value) -> Value {
        let empty = self.add("application/vnd.oci.empty.v1+json", "{}");
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": empty, "layers": [empty],
        });
        for (name, value) in fields.as_object().unwrap() {
            manifest[name] = value.clone();
        }
        self.document(MANIFEST, &manifest)
    }

    fn index(&mut self, children: &[&Value]) -> Value {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": children });
        self.document(INDEX, &index)
    }

    fn remove(&mut self, descriptor: &Value) {
        self.0.remove(&name(descriptor)).unwrap();
    }

    /// Writes the layout `lay` and the archive `lay.tar`.
    fn write(&self, sandbox: &Sandbox, roots: &[&Value]) {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": roots });
        let mut files = self.0.clone();
        files.insert("index.json".to_owned(), index.to_string().into());
        let mark = r#"{"imageLayoutVersion":"1.0.0"}"#;
        files.insert("oci-layout".to_owned(), mark.into());
        for (name, bytes) in &files {
            let path = sandbox.path("lay").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let files: Vec<(String, Vec<u8>)> = files.into_iter().collect();
        fs::write(sandbox.path("lay.tar"), base::archive(&files)).unwrap();
    }
}

fn name(descriptor: &Value) -> String {
    let digest = descriptor["digest"].as_str().unwrap();
    format!("blobs/{}", digest.replace(':', "/"))
}

fn annotated(mut descriptor: Value, name: &str, value: &str) -> Value {
    descriptor["annotations"] = json!({ name: value });
    descriptor
}

fn text(value: &Value) -> &str {
    value["digest"].as_str().unwrap()
}

#[track_caller]
fn assert_says(outcome: &Outcome, expected: &[&str]) {
    for expected in expected {
        let text = outcome.stderr_text();
        assert!(text.contains(expected), "{expected}: {}", outcome.report());
    }
}

/// Texts of the `config` of an image whose fields are there in several spellings.
const SPELLINGS: [&str; 6] = [
    r#"{"Cmd":["exact"],"cmd":["lower"]}"#,
    r#"{"cmd":["lower"],"Cmd":["exact"],"Env":["A=1"],"env":["B=2"]}"#,
    r#"{"Cmd":["/a"],"User":"5","user":null}"#,
    r#"{"Cmd":["/a"],"Labels":{"a":"1","b":"1"},"labels":{"b":"2"},"LABELS":{"c":"3"}}"#,
    r#"{"Cmd":["/a"],"Volumes":{"/a":{}},"volumes":{"/b":{}},"healthcheck":{"test":["CMD","/a"]}}"#,
    r#"{"Cmd":["/a"],"StopSignal":"SIGINT","\u017ftopSignal":"SIGQUIT","Env":["A=1"],"ENV":null}"#,
];

/// Writes the archive `base.tar` with an image that has this `config`.
fn write_base_with(sandbox: &Sandbox, text: &str, reference: &str) {
    let tar = Layer::default().file("a", 0o755, reference).finish();
    let diff_id = digest(&tar);
    let config = format!(
        r#"{{"os":"linux","architecture":"amd64","Author":"me","config":{text},
        "History":[{{"Created_By":"x"}}],"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    );
    let docker = json!([{ "Config": "c", "RepoTags": [reference], "Layers": ["l"] }]);
    let files = [
        ("c".to_owned(), config.into_bytes()),
        ("l".to_owned(), tar),
        ("manifest.json".to_owned(), docker.to_string().into_bytes()),
    ];
    fs::write(sandbox.path("base.tar"), base::archive(&files)).unwrap();
}

#[test]
fn fields_in_several_spellings_are_inherited_as_engines_read_them() {
    for text in SPELLINGS {
        let sandbox = sandbox();
        let reference = format!("localhost/imgbuild-test/spellings:{}", unique());
        write_base_with(&sandbox, text, &reference);
        sandbox.tree("data", "0644 file x \"1\"").unwrap();
        let given = [
            "--release=data",
            "--base=base.tar",
            "--runtime=none",
            "--skeleton=none",
            "--no-auto-labels",
            "--check=off",
            "--no-cache",
            "--no-sync",
            "--output=on.tar",
        ];
        drop(sandbox.run(given).success());
        let image = imgbuild_testing::unpack(&sandbox.path("on.tar")).unwrap();
        assert_eq!(image.config["author"], "me", "{text}");
        assert_eq!(image.config["history"][0]["created_by"], "x", "{text}");
        let Some(engine) = Engine::require() else {
            continue;
        };
        let _image = Loaded::adopt(&engine, &reference);
        let archive = sandbox.path("base.tar").display().to_string();
        let loaded = finish(&mut engine.docker(["load", "--input", &archive]), b"");
        drop(loaded.success());
        let inspect = [
            "image",
            "inspect",
            "--format",
            "{{json .Config}}",
            &reference,
        ];
        let theirs = finish(&mut engine.docker(inspect), b"").success();
        let theirs: Value = serde_json::from_slice(theirs.stdout_text().as_bytes()).unwrap();
        for field in [
            "Cmd",
            "Env",
            "User",
            "Labels",
            "Volumes",
            "Healthcheck",
            "StopSignal",
        ] {
            // The variable that every engine sets is set by builds, too.
            let shown = |value: &Value| match value {
                Value::Array(all) => {
                    let is_path = |one: &&Value| one.as_str().unwrap().starts_with("PATH=");
                    let all = all.iter().filter(|one| !is_path(one));
                    Some(all.cloned().collect()).filter(|all| *all != json!([]))
                }
                value => Some(value.clone()).filter(|one| *one != json!("") && !one.is_null()),
            };
            let ours = shown(&image.config["config"][field]);
            assert_eq!(ours, shown(&theirs[field]), "{field} of {text}");
        }
    }
}

#[test]
fn variables_without_a_name_or_a_value_are_not_inherited() {
    let sandbox = with_small_release();
    let text = r#"{"Cmd":["/a"],"Env":["=x","A","PATH","B=1"]}"#;
    write_base_with(&sandbox, text, "localhost/a:1");
    for command in ["validate", "check"] {
        let refused = sandbox.run([command, "base.tar"]).exited(1);
        let said = [refused.stdout_text(), refused.stderr_text()].concat();
        let expected = "has a variable without a name: `=x`; refused by every engine";
        assert!(said.contains(expected), "{said}");
    }
    drop(build_on(&sandbox, "base.tar").success());
    let image = imgbuild_testing::unpack(&sandbox.path("on")).unwrap();
    let path = "PATH=/app/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(image.config["config"]["Env"], json!(["B=1", path]));
}

#[test]
fn the_last_of_several_fields_of_one_name_counts_in_all_documents() {
    let sandbox = with_small_release();
    let mut files = Files::default();
    let image = files.image_for("amd64");
    let old = files.0.remove(&name(&image)).unwrap();
    let old = String::from_utf8(old).unwrap();
    let repeated = r#"{"schemaVersion":1,"layers":[],"Layers":null,"config":{"size":"x"},"#;
    let mut image = files.add(MANIFEST, old.replacen('{', repeated, 1));
    image["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    files.write(&sandbox, &[&image]);
    let index = sandbox.path("lay/index.json");
    let text = fs::read_to_string(&index).unwrap();
    let repeated = r#"{"schemaVersion":1,"manifests":[5],"MANIFESTS":[],"#;
    fs::write(&index, text.replacen('{', repeated, 1)).unwrap();
    drop(sandbox.run(["validate", "lay"]).success());
    drop(build_on(&sandbox, "lay").success());
    let copied = sandbox.run(["copy", "lay", "oci:x"]).success();
    assert_eq!(copied.stdout_text().trim_end(), image["digest"]);
    // What is added to such an index keeps the others.
    drop(sandbox.run(["copy", "oci:on", "oci:lay:b"]).success());
    let index: Value = serde_json::from_slice(&fs::read(index).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(2));
}

/// A build on `base` without any files of this machine.
fn build_on(sandbox: &Sandbox, base: &str) -> Outcome {
    sandbox.run(words("release", &["--base", base, "-o", "oci:on"]))
}

/// An index of two platforms of which one is there, as Docker saves it.
fn sparse(sandbox: &Sandbox) -> Value {
    let mut files = Files::default();
    let here = files.image_for("amd64");
    let absent = files.image_for("arm64");
    let attached = files.image(&json!({ "os": "unknown", "architecture": "unknown" }));
    let mut attached = annotated(
        attached,
        "vnd.docker.reference.type",
        "attestation-manifest",
    );
    attached["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    let index = files.index(&[&here, &absent, &attached]);
    files.remove(&absent);
    files.remove(&attached);
    files.write(sandbox, &[&annotated(index, TAG, "1")]);
    here
}

#[test]
fn the_image_that_is_there_is_taken_from_an_index_of_which_others_are_absent() {
    let sandbox = with_small_release();
    let here = sparse(&sandbox);
    let part = "only `linux/amd64` of the 2 images of its index is there, not `linux/arm64`";
    for source in ["lay", "lay.tar"] {
        let valid = sandbox.run(["validate", source]).success();
        assert_says(&valid, &[&format!("note: {part}"), "is valid"]);
        drop(sandbox.run(["check", source]).success());
        drop(build_on(&sandbox, source).success());
        let refused = sandbox.run(["copy", source, "oci:x"]).exited(1);
        let hint = "hint: copy one image: `--platform linux/amd64`";
        assert_says(&refused, &[part, hint]);
        assert!(!sandbox.path("x").exists());
        let output = format!("oci:{source}-one");
        let copied = sandbox.run(["copy", "--platform", "linux/amd64", source, &output]);
        assert_eq!(copied.success().stdout_text().trim_end(), text(&here));
        let output = format!("oci:{source}-new");
        let created = sandbox.run(["index", "create", &output, source]).success();
        assert_says(&created, &["index for linux/amd64\n", part]);
        drop(sandbox.run(["validate", &output]).success());
    }
}

#[test]
fn an_image_that_only_index_json_names_may_be_absent_beside_another() {
    let sandbox = with_small_release();
    let mut files = Files::default();
    let [here, absent] = ["amd64", "arm64"].map(|one| files.image_for(one));
    files.remove(&absent);
    files.write(&sandbox, &[&here, &absent]);
    let part = "only `linux/amd64` of the 2 images of its index is there, not `linux/arm64`";
    for source in ["lay", "lay.tar"] {
        let valid = sandbox.run(["validate", source]).success();
        assert_says(&valid, &[&format!("note: {part}"), "is valid"]);
        let output = format!("oci:{source}-all");
        let copied = sandbox.run(["copy", source, &output]).success();
        assert_eq!(copied.stdout_text().trim_end(), text(&here));
        assert_says(&copied, &[part]);
        let output = format!("oci:{source}-new");
        let created = sandbox.run(["index", "create", &output, source]).success();
        assert_says(&created, &["index for linux/amd64\n", part]);
    }
}

#[test]
fn absent_images_of_index_json_do_not_matter_to_a_copy_of_one_platform() {
    let mut files = Files::default();
    let [here, other, absent] = ["amd64", "mips", "arm64"].map(|one| files.image_for(one));
    let index = files.index(&[&here, &other]);
    files.remove(&absent);
    for root in [&here, &index] {
        let sandbox = sandbox();
        files.write(&sandbox, &[root, &absent]);
        let copied = sandbox.run(["copy", "--platform", "linux/amd64", "lay", "oci:x"]);
        let copied = copied.success();
        assert_eq!(copied.stdout_text().trim_end(), text(&here));
        assert!(
            !copied.stderr_text().contains("warning"),
            "{}",
            copied.report()
        );
    }
}

#[test]
fn an_image_without_a_platform_in_its_index_is_named_by_its_digest() {
    let sandbox = sandbox();
    let mut files = Files::default();
    let platform = |name| json!({ "os": "linux", "architecture": name });
    let [here, absent] = ["amd64", "arm64"].map(|one| files.image(&platform(one)));
    let index = files.index(&[&here, &absent]);
    files.remove(&absent);
    files.write(&sandbox, &[&index]);
    for (source, transport) in [("lay", "oci"), ("lay.tar", "oci-archive")] {
        let refused = sandbox.run(["copy", source, "oci:x"]).exited(1);
        let one = format!("{transport}:{source}@{}", text(&here));
        assert_says(&refused, &[&format!("hint: copy one image: `{one}`")]);
        let copied = sandbox.run(["copy", &one, &format!("oci:{source}-one")]);
        assert_eq!(copied.success().stdout_text().trim_end(), text(&here));
    }
}

#[test]
fn the_image_for_this_machine_is_checked_unless_another_is_named() {
    let sandbox = sandbox();
    let own = own_architecture();
    let mut files = Files::default();
    let [first, second, other] = [own, "mips", "s390x"].map(|one| files.image_for(one));
    let index = files.index(&[&first, &second]);
    let others = files.index(&[&other, &second]);
    let named = [annotated(index, TAG, "1"), annotated(others, TAG, "2")];
    files.write(&sandbox, &[&named[0], &named[1]]);
    for source in ["oci:lay:1", "oci-archive:lay.tar:1"] {
        let note = format!("; checking the one for linux/{own}, the platform of this machine");
        let checked = sandbox.run(["check", source]).success();
        assert_says(
            &checked,
            &["note: it has 2 images: ", "for linux/mips`", &note],
        );
        let given = sandbox.run(["check", source, "--platform", "linux/mips"]);
        assert!(!given.success().stderr_text().contains("note"));
    }
    let refused = sandbox.run(["check", "oci:lay:2"]).exited(1);
    let known = "(it has: `linux/mips`, `linux/s390x`)";
    let none = format!("no image in it is for linux/{own} {known}");
    assert_says(
        &refused,
        &[&none, "hint: select one of these with `--platform`"],
    );
}

#[test]
fn an_index_without_any_of_its_images_is_damaged() {
    let sandbox = sandbox();
    let mut files = Files::default();
    let absent = [files.image_for("amd64"), files.image_for("arm64")];
    let index = files.index(&[&absent[0], &absent[1]]);
    absent.iter().for_each(|one| files.remove(one));
    files.write(&sandbox, &[&index]);
    let found = sandbox.run(["validate", "lay"]).exited(1);
    assert_says(&found, &["2 violations"]);
    let platform = ["--platform", "linux/amd64"];
    for words in [&["check", "lay"][..], &["copy", "lay", "oci:x"]] {
        let outcome = sandbox.run(words.iter().chain(&platform)).exited(1);
        assert_says(&outcome, &["is missing"]);
    }
    assert_says(
        &sandbox.run(["copy", "lay", "oci:x"]).exited(1),
        &["is missing"],
    );
}

#[test]
fn a_registry_may_have_a_part_of_an_index() {
    let sandbox = with_small_release();
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let here = sparse(&sandbox);
    let target = format!("docker://{}/me/app:one", registry.name());
    let only = ["copy", "--platform", "linux/amd64", "lay", &target];
    drop(sandbox.run(only).success());
    let index = fs::read(sandbox.path("lay/index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let bytes = fs::read(sandbox.path("lay").join(name(&index["manifests"][0]))).unwrap();
    registry.change(|contents| {
        let name = ("me/app".to_owned(), "1".to_owned());
        contents.manifests.insert(name, (INDEX.to_owned(), bytes));
    });
    let source = format!("docker://{}/me/app:1", registry.name());
    let refused = sandbox.run(["copy", &source, "oci:x"]).exited(1);
    assert_says(
        &refused,
        &["only `linux/amd64` of the 2 images", "`--platform`"],
    );
    let one = sandbox.run(["copy", "--platform", "linux/amd64", &source, "oci:x"]);
    assert_eq!(one.success().stdout_text().trim_end(), text(&here));
    let created = sandbox.run(["index", "create", "oci:y", &source]).success();
    assert_says(&created, &["warning: `docker://"]);
}

/// Marks of artifacts, each on a manifest that would be an image without it.
fn marked(files: &mut Files, image: &Value) -> Vec<Value> {
    let other = |files: &mut Files| files.image(&json!({ "os": "", "architecture": "" }));
    let mut unknown = other(files);
    unknown["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    let mut typed = other(files);
    typed["artifactType"] = SBOM.into();
    vec![
        unknown,
        typed,
        annotated(other(files), "kind", "dev.cosignproject.cosign/sigs"),
        annotated(other(files), "io.containerd.manifest.subject", text(image)),
        annotated(
            other(files),
            "vnd.docker.reference.type",
            "attestation-manifest",
        ),
        files.artifact(&json!({ "artifactType": SBOM, "subject": image })),
        files.artifact(&json!({})),
    ]
}

#[test]
fn artifacts_beside_an_image_are_passed_over_and_named() {
    let count = marked(&mut Files::default(), &json!({ "digest": "" })).len();
    for mark in 0..count {
        let sandbox = with_small_release();
        let mut files = Files::default();
        let image = files.image(&json!({ "os": "linux", "architecture": "amd64" }));
        let artifact = marked(&mut files, &image).remove(mark);
        files.write(&sandbox, &[&artifact, &image]);
        let valid = sandbox.run(["validate", "lay"]).success();
        assert_says(&valid, &["note: it has 1 artifact of the type `"]);
        drop(sandbox.run(["check", "lay"]).success());
        drop(build_on(&sandbox, "oci:lay").success());
        let copied = sandbox.run(["copy", "lay.tar", "oci:x"]).success();
        assert_eq!(copied.stdout_text().trim_end(), text(&image));
        assert_says(
            &copied,
            &["not copied: `", "attached to the image in `lay.tar`"],
        );
        let created = sandbox.run(["index", "create", "oci:y", "lay"]).success();
        assert_says(&created, &["index for linux/amd64\n"]);
    }
}

#[test]
fn an_artifact_of_its_own_is_not_called_attached() {
    let sandbox = sandbox();
    let mut files = Files::default();
    let image = files.image_for("amd64");
    let chart = files.artifact(&json!({ "artifactType": SBOM }));
    let other = files.artifact(&json!({ "artifactType": SBOM, "subject": chart }));
    let named = annotated(chart, TAG, "chart");
    files.write(
        &sandbox,
        &[&annotated(image.clone(), TAG, "1"), &named, &other],
    );
    let copied = sandbox.run(["copy", "oci:lay:1", "oci:x"]).success();
    assert_eq!(copied.stderr_text(), "wrote `x`\n");
    // An artifact is copied by its name, and is not an image.
    let copied = sandbox.run(["copy", "oci:lay:chart", "oci:y"]).success();
    assert_says(&copied, &["not copied: `application/vnd.me.sbom`"]);
    let refused = sandbox.run(["check", "oci:lay:chart"]).exited(1);
    let expected = "there is no image in it, only the artifact `application/vnd.me.sbom`";
    assert_says(&refused, &[expected]);
}

#[test]
fn manifest_json_is_not_compared_with_artifacts() {
    let sandbox = sandbox();
    let mut files = Files::default();
    let image = files.image(&json!({ "os": "linux", "architecture": "amd64" }));
    let artifact = files.artifact(&json!({ "artifactType": SBOM, "subject": image }));
    let artifact = annotated(artifact, "io.containerd.manifest.subject", text(&image));
    let manifest: Value = serde_json::from_slice(&files.0[&name(&image)]).unwrap();
    let docker = json!([{
        "Config": name(&manifest["config"]),
        "RepoTags": ["app:1"],
        "Layers": [name(&manifest["layers"][0])],
    }]);
    files
        .0
        .insert("manifest.json".to_owned(), docker.to_string().into());
    let image = annotated(image, "io.containerd.image.name", "docker.io/library/app:1");
    files.write(&sandbox, &[&artifact, &image]);
    let valid = sandbox.run(["validate", "lay.tar"]).success();
    assert_says(
        &valid,
        &["note: it has 1 artifact of the type `application/vnd.me.sbom`"],
    );
}

#[test]
fn an_image_is_named_by_its_digest() {
    let sandbox = with_small_release();
    let mut files = Files::default();
    let one = files.image(&json!({ "os": "linux", "architecture": "amd64" }));
    let two = files.image(&json!({ "os": "linux", "architecture": "amd64", "author": "two" }));
    let three = files.image_for("arm64");
    let index = files.index(&[&two, &three]);
    files.write(&sandbox, &[&one, &index]);
    let refused = sandbox.run(["copy", "oci:lay", "oci:x"]).exited(1);
    assert_says(&refused, &[text(&one), text(&index), "or `oci:lay@DIGEST`"]);
    for wanted in [&one, &two, &three, &index] {
        let wanted = text(wanted);
        for source in [
            format!("oci:lay@{wanted}"),
            format!("oci-archive:lay.tar@{wanted}"),
        ] {
            let output = format!("oci:{}", &wanted[7..]);
            let copied = sandbox.run(["copy", &source, &output]).success();
            assert_eq!(copied.stdout_text().trim_end(), wanted);
            drop(sandbox.run(["validate", &source]).success());
        }
    }
    for wanted in [&one, &two] {
        let source = format!("oci:lay@{}", text(wanted));
        drop(sandbox.run(["check", &source]).success());
        drop(build_on(&sandbox, &source).success());
    }
    let absent = format!("oci:lay@{}", digest(b"nothing"));
    let hint = "hint: name one with `oci:lay:TAG` or `oci:lay@DIGEST`";
    for refused in [
        sandbox.run(["copy", &absent, "oci:x"]),
        sandbox.run(["check", &absent]),
        sandbox.run(["validate", &absent]),
        build_on(&sandbox, &absent),
    ] {
        assert_says(&refused.exited(1), &["no manifest with the digest", hint]);
    }
}

#[test]
fn a_digest_names_what_a_nested_index_has() {
    let sandbox = with_small_release();
    let mut files = Files::default();
    let [one, two, three] = ["amd64", "arm64", "s390x"].map(|one| files.image_for(one));
    let innermost = files.index(&[&one]);
    let nested = files.index(&[&innermost, &two]);
    let index = files.index(&[&nested, &three]);
    files.write(&sandbox, &[&annotated(index, TAG, "1")]);
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let target = format!("docker://{}/me/app", registry.name());
    drop(
        sandbox
            .run(["copy", "lay", &format!("{target}:1")])
            .success(),
    );
    for wanted in [&one, &two, &innermost, &nested] {
        let wanted = text(wanted);
        for source in ["oci:lay", "oci-archive:lay.tar", &target] {
            let output = format!("oci:{}", &wanted[7..]);
            let copied = sandbox.run(["copy", &format!("{source}@{wanted}"), &output]);
            assert_eq!(copied.success().stdout_text().trim_end(), wanted);
            drop(sandbox.run(["validate", &output]).success());
        }
    }
    for source in ["oci:lay", &target] {
        let base = format!("{source}@{}", text(&innermost));
        drop(build_on(&sandbox, &base).success());
    }
}

#[test]
fn an_absent_configuration_does_not_hide_the_images_to_choose_from() {
    let sandbox = sandbox();
    let mut files = Files::default();
    let one = files.image(&json!({ "os": "linux", "architecture": "amd64" }));
    let two = files.image(&json!({ "os": "linux", "architecture": "amd64", "author": "two" }));
    let manifest: Value = serde_json::from_slice(&files.0[&name(&two)]).unwrap();
    files.remove(&manifest["config"]);
    files.write(&sandbox, &[&one, &two]);
    let refused = sandbox.run(["copy", "oci:lay", "oci:x"]).exited(1);
    assert_says(&refused, &["it has 2 images", text(&one), text(&two)]);
}

#[test]
fn one_image_that_is_listed_twice_is_one_and_the_only_tag_is_taken() {
    let sandbox = with_small_release();
    let mut files = Files::default();
    let one = files.image(&json!({ "os": "linux", "architecture": "amd64" }));
    let two = files.image(&json!({ "os": "linux", "architecture": "amd64", "author": "two" }));
    let named = annotated(one.clone(), TAG, "1");
    files.write(&sandbox, &[&named, &named, &two]);
    drop(sandbox.run(["check", "lay"]).success());
    drop(build_on(&sandbox, "oci:lay").success());
    let copied = sandbox.run(["copy", "lay", "oci:x"]).success();
    assert_eq!(copied.stdout_text().trim_end(), text(&one));
}

#[test]
fn a_manifest_of_an_unknown_type_is_never_copied_in_part() {
    let sandbox = sandbox();
    let mut files = Files::default();
    let image = files.image_for("amd64");
    for kind in [
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.oci.artifact.manifest.v1+json",
    ] {
        let other = files.document(kind, &json!({ "schemaVersion": 1, "blobs": [] }));
        let index = files.index(&[&image, &other]);
        for root in [&other, &index] {
            files.write(&sandbox, &[root]);
            let refused = sandbox.run(["copy", "lay", "oci:x"]).exited(1);
            let expected = [
                "cannot copy the image in `lay`",
                &format!("{} is of the type `{kind}`", text(&other)),
                "hint: `imgbuild validate` names such documents",
            ];
            assert_says(&refused, &expected);
            assert!(!sandbox.path("x").exists());
            let validated = sandbox.run(["validate", "lay"]);
            if kind.contains("docker") {
                let found = validated.exited(1);
                let sentence = "is a manifest of schema 1, which engines refuse";
                assert!(found.stdout_text().contains(sentence), "{}", found.report());
            } else {
                let note = format!("note: it has 1 artifact of the type `{kind}`");
                assert_says(&validated.success(), &[&note]);
            }
        }
    }
}

#[test]
fn hints_name_images_in_the_form_that_the_archive_has() {
    let sandbox = with_small_release();
    let tar = Layer::default().file("a", 0o755, "#!/a\n").finish();
    let config = |author: &str| {
        let config = json!({
            "os": "linux", "architecture": "amd64", "author": author,
            "rootfs": { "type": "layers", "diff_ids": [digest(&tar)] },
        });
        config.to_string().into_bytes()
    };
    let [one, two] = ["one", "two"].map(config);
    let docker = json!([
        { "Config": digest(&one), "RepoTags": ["a:1"], "Layers": ["a.tar"] },
        { "Config": digest(&two), "RepoTags": ["a:2"], "Layers": ["a.tar"] },
    ]);
    let members = [
        (digest(&one), one),
        (digest(&two), two),
        ("a.tar".to_owned(), tar),
        ("manifest.json".to_owned(), docker.to_string().into_bytes()),
    ];
    fs::write(sandbox.path("old.tar"), base::archive(&members)).unwrap();
    let mut files = Files::default();
    let images = ["one", "two"].map(|author| {
        let fields = json!({ "os": "linux", "architecture": "amd64", "author": author });
        annotated(files.image(&fields), TAG, author)
    });
    files.write(&sandbox, &[&images[0], &images[1]]);
    for (source, hint, named) in [
        (
            "old.tar",
            "`docker-archive:old.tar:NAME`",
            "docker-archive:old.tar:a:1",
        ),
        (
            "lay.tar",
            "`oci-archive:lay.tar:TAG` or `oci-archive:lay.tar@DIGEST`",
            "oci-archive:lay.tar:one",
        ),
    ] {
        let hint = format!("hint: name one with {hint}\n");
        for refused in [
            sandbox.run(["copy", source, "oci:x"]),
            sandbox.run(["check", source]),
            build_on(&sandbox, source),
        ] {
            assert_says(&refused.exited(1), &["2 images: ", &hint]);
        }
        drop(sandbox.run(["copy", named, "oci:x"]).success());
        let (_, without) = named.split_once(':').unwrap();
        let hint = format!("is `{named}`");
        let refused = sandbox.run(["copy", without, "oci:x"]).exited(1);
        assert_says(&refused, &[&hint]);
    }
}

#[test]
fn all_platforms_of_one_index_are_a_remedy_for_an_absent_one() {
    let sandbox = with_small_release();
    let mut files = Files::default();
    let platforms = ["amd64", "arm64"].map(|one| files.image_for(one));
    files.write(&sandbox, &[&platforms[0], &platforms[1]]);
    let hint = "hint: leave out `--platform` to copy all";
    let copy = ["copy", "--platform=linux/s390x", "lay.tar", "oci:y"];
    let refused = sandbox.run(copy).exited(1);
    assert!(
        !refused.stderr_text().contains(hint),
        "{}",
        refused.report()
    );
    let index = files.index(&[&platforms[0], &platforms[1]]);
    files.write(&sandbox, &[&index]);
    assert_says(&sandbox.run(copy).exited(1), &[hint]);
    drop(sandbox.run(["copy", "lay.tar", "oci:y"]).success());
}

#[test]
fn an_image_without_a_platform_is_copied_and_is_a_base_for_a_given_one() {
    let sandbox = with_small_release();
    let tar = Layer::default().file("a", 0o755, "#!/a\n").finish();
    let config = json!({
        "os": "", "architecture": "",
        "config": { "Cmd": ["/a"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&tar)] },
    });
    let config = config.to_string().into_bytes();
    let docker = json!([{ "Config": digest(&config), "RepoTags": ["a:1"], "Layers": ["a.tar"] }]);
    let files = [
        (digest(&config), config),
        ("a.tar".to_owned(), tar),
        ("manifest.json".to_owned(), docker.to_string().into_bytes()),
    ];
    fs::write(sandbox.path("a.tar"), base::archive(&files)).unwrap();
    drop(sandbox.run(["copy", "a.tar", "oci:lay"]).success());
    for source in ["a.tar", "lay"] {
        let found = sandbox.run(["validate", source]).exited(1);
        let output = found.stdout_text();
        assert!(output.contains("has no valid `os`\n"), "{output}");
        drop(build_on(&sandbox, source).success());
        let refused = sandbox.run(["check", source]).exited(1);
        let expected = [
            "does not contain the platform",
            "hint: give it with `--platform`",
        ];
        assert_says(&refused, &expected);
        let checked = sandbox.run(["check", "--platform", "linux/amd64", source]);
        drop(checked.success());
    }
}

#[test]
fn a_blob_of_another_size_is_said_to_have_it() {
    let sandbox = sandbox();
    let mut files = Files::default();
    let layer = files.add(
        "application/vnd.oci.image.layer.v1.tar",
        Layer::default().finish(),
    );
    let config = json!({ "os": "linux", "architecture": "amd64",
        "rootfs": { "type": "layers", "diff_ids": [text(&layer)] } });
    let config = files.document(CONFIG, &config);
    let mut wrong = layer.clone();
    wrong["size"] = 1025.into();
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [wrong] });
    let image = files.document(MANIFEST, &manifest);
    files.write(&sandbox, &[&image]);
    let refused = sandbox.run(["copy", "lay", "oci:x"]).exited(1);
    let expected = format!(
        "the blob {} is damaged: expected 1025 bytes, found 1024 bytes\nhint: `imgbuild validate`",
        text(&layer)
    );
    assert_says(&refused, &[&expected]);
}

#[test]
fn a_copy_of_plain_layers_to_a_registry_is_warned_of() {
    let sandbox = sandbox();
    let mut files = Files::default();
    let image = files.image_for("amd64");
    files.write(&sandbox, &[&image]);
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let target = format!("docker://{}/me/app:1", registry.name());
    let expected = "warning: the registry has layers that are not compressed";
    assert_says(
        &sandbox.run(["copy", "lay", &target]).success(),
        &[expected],
    );
    let copied = sandbox.run(["copy", "lay", "oci:x"]).success();
    assert_eq!(copied.stderr_text(), "wrote `x`\n");
}
