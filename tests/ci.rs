//! The action and the scripts of `docs/ci.md`: all their shell scripts run here
//! against a registry on loopback.

mod release;
mod runner;
mod workflow;

use std::path::Path;

use fs_err as fs;
use imgbuild_testing::{Sandbox, sandbox::finish};
use serde_json::Value;
use yaml_rust2::Yaml;

use crate::registry::server::{PASSWORD, Registry, USER};
use crate::runs::sandbox;
use crate::support::{has_programs, limited};
use runner::{Runner, write_executable};
use workflow::{blocks, list, pairs, parse, steps, text};

const TOOLS: [&str; 2] = ["docker-registry", "bash"];

/// The programs that these tests need of a runner.
const ACTION: &str = "imgbuild/imgbuild";

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(path).expect("it is in the repository")
}

/// Returns a workflow of `docs/ci.md` by its name, with another registry.
fn documented(name: &str, registry: &str) -> Yaml {
    let texts = blocks(&document("docs/ci.md"), "yaml");
    let all = texts
        .iter()
        .map(|text| parse(&text.replace("ghcr.io", registry)));
    let mut named = all.filter(|yaml| text(&yaml["name"]).as_deref() == Some(name));
    named
        .next()
        .unwrap_or_else(|| panic!("no workflow `{name}`"))
}

/// Makes a runner that uses a registry in place of GitHub's.
fn runner_at(registry: &Registry, sandbox: &Sandbox, name: &str, machine: &str) -> Runner {
    let mut runner = Runner::new(sandbox, name, machine);
    runner.registry = registry.name();
    runner
}

fn inputs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    given.iter().map(owned).collect()
}

/// Returns the platforms of the index of a tag.
fn platforms(sandbox: &Sandbox, reference: &str) -> Vec<String> {
    let source = format!("docker://{reference}");
    let words = [
        "index",
        "create",
        "--json",
        "--no-sync",
        "oci:looked-at",
        &source,
    ];
    let outcome = sandbox.run(words).success();
    let json: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let manifests = json["images"].as_array().unwrap().iter();
    manifests
        .map(|one| one["platform"].as_str().unwrap().to_owned())
        .collect()
}

fn digest_at(sandbox: &Sandbox, reference: &str) -> String {
    let source = format!("docker://{reference}");
    let outcome = sandbox
        .run(["copy", "--no-sync", &source, "oci:copied:x"])
        .success();
    outcome.stdout_text().trim_end().to_owned()
}

#[test]
fn the_workflow_for_one_image_pushes_it_and_passes_its_digest_on() {
    if !has_programs(&TOOLS) {
        return;
    }
    let sandbox = sandbox();
    let registry = Registry::plain(&sandbox);
    let workflow = documented("image", &registry.name());
    let mut runner = runner_at(&registry, &sandbox, "runner", "x86_64");
    let job = steps(&workflow["jobs"]["image"]);
    // An owner and a branch whose names are not valid in image names.
    let mut other = runner_at(&registry, &sandbox, "other", "x86_64");
    for (key, value) in [("repository", "Me/Other"), ("ref_name", "feature/x+y")] {
        let key = format!("github.{key}");
        other.context.insert(key, value.to_owned());
    }
    let outcome = other.run(&job).success();
    let name = format!("{}/me/other", registry.name());
    let digest = digest_at(&sandbox, &format!("{name}:feature-x-y"));
    let expected = format!("pushed {name}@{digest}\n");
    assert_eq!(outcome.stdout_text(), expected);

    let outcome = runner.run(&job).success();
    let name = format!("{}/me/app", registry.name());
    let digest = digest_at(&sandbox, &format!("{name}:v1.2.3"));
    let expected = format!("pushed {name}@{digest}\n");
    assert_eq!(outcome.stdout_text(), expected);
    assert_eq!(digest_at(&sandbox, &format!("{name}:latest")), digest);
    // The same run again sends nothing.
    drop(runner.run(&job).success());
    let json: Value = serde_json::from_str(&runner.context["steps.image.outputs.json"]).unwrap();
    assert_eq!(json["digest"], digest.as_str());
    assert_eq!(json["pushed"][0]["uploaded"], 0);
    assert_eq!(json["pushed"][0]["unchanged"], true);
    assert_eq!(
        runner.context["steps.image.outputs.tags"],
        format!("{name}:v1.2.3\n{name}:latest")
    );
}

#[test]
fn jobs_for_several_platforms_end_in_one_index() {
    if !has_programs(&TOOLS) {
        return;
    }
    let sandbox = sandbox();
    let registry = Registry::plain(&sandbox);
    let workflow = documented("platforms", &registry.name());
    let runners = list(&workflow["jobs"]["image"]["strategy"]["matrix"]["runner"]);
    assert_eq!(runners, ["ubuntu-24.04", "ubuntu-24.04-arm"]);
    let job = steps(&workflow["jobs"]["image"]);
    let mut references = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for name in &runners {
            let machine = if name.ends_with("-arm") {
                "aarch64"
            } else {
                "x86_64"
            };
            let mut runner = runner_at(&registry, &sandbox, name, machine);
            runner
                .context
                .insert("matrix.runner".to_owned(), name.clone());
            let job = &job;
            threads.push(scope.spawn(move || {
                drop(runner.run(job).success());
                runner.output("reference").to_owned()
            }));
        }
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.collect::<Vec<String>>()
    });
    let name = format!("{}/me/app", registry.name());
    // Each job names an index, the last one the complete index.
    let whole = digest_at(&sandbox, &format!("{name}:v1.2.3"));
    references.retain(|reference| *reference == format!("{name}@{whole}"));
    assert!(!references.is_empty());
    let both = ["linux/amd64", "linux/arm64"];
    assert_eq!(platforms(&sandbox, &format!("{name}:v1.2.3")), both);
    let mut runner = runner_at(&registry, &sandbox, "latest", "x86_64");
    drop(runner.run(&steps(&workflow["jobs"]["latest"])).success());
    let [one, other] =
        ["v1.2.3", "latest"].map(|tag| digest_at(&sandbox, &format!("{name}:{tag}")));
    assert_eq!(one, other);

    // One job for all makes the same index.
    let workflow = documented("cross", &registry.name());
    let mut runner = runner_at(&registry, &sandbox, "cross", "x86_64");
    let mut job = steps(&workflow["jobs"]["image"]);
    for step in &mut job {
        for (name, value) in &mut step.with {
            if name == "tags" {
                value.push_str("-cross");
            }
        }
    }
    drop(runner.run(&job).success());
    assert_eq!(digest_at(&sandbox, &format!("{name}:v1.2.3-cross")), one);
}

/// The keywords of GitLab, which cannot be names of jobs.
const GITLAB_KEYWORDS: [&str; 17] = [
    "after_script",
    "before_script",
    "cache",
    "default",
    "false",
    "image",
    "include",
    "nil",
    "pages",
    "pages:deploy",
    "services",
    "spec",
    "stages",
    "true",
    "types",
    "variables",
    "workflow",
];

/// Returns the first entry of the YAML texts in `docs/ci.md` that fits.
fn named(is_wanted: impl Fn(&str, &Yaml) -> bool) -> (String, Yaml) {
    let texts = blocks(&document("docs/ci.md"), "yaml");
    let all: Vec<Yaml> = texts.iter().map(|text| parse(text)).collect();
    let mut pairs = all.iter().flat_map(pairs);
    let found = pairs.find(|(name, value)| is_wanted(name, value));
    let (name, value) = found.expect("the document has it");
    (name, value.clone())
}

/// Returns the name of the GitLab job, and the job.
fn gitlab_job() -> (String, Yaml) {
    named(|_, job| job["script"].is_array())
}

#[test]
fn the_name_of_the_job_for_gitlab_is_not_a_keyword() {
    let (name, _) = gitlab_job();
    assert!(!GITLAB_KEYWORDS.contains(&name.as_str()), "{name}");
}

/// Returns the variable of `docs/ci.md` for GitLab's dependency proxy, with
/// another registry in its place.
fn dependency_proxy(registry: &str) -> String {
    let (_, variables) = named(|name, _| name == "variables");
    let config = text(&variables["DOCKER_AUTH_CONFIG"]).expect("it is a text");
    config
        .replace("$CI_DEPENDENCY_PROXY_SERVER", registry)
        .replace("$CI_DEPENDENCY_PROXY_USER", USER)
        .replace("$CI_DEPENDENCY_PROXY_PASSWORD", PASSWORD)
}

#[test]
fn the_cache_of_gitlab_is_for_one_version_one_image_and_one_job() {
    let (_, job) = gitlab_job();
    let image = text(&job["image"]).unwrap().replace(':', "-");
    let version = env!("CARGO_PKG_VERSION");
    let key = text(&job["cache"]["key"]).unwrap();
    assert_eq!(key, format!("imgbuild-{version}-{image}-$CI_JOB_NAME_SLUG"));
    assert!(!key.contains('/'), "GitLab refuses it");
}

#[test]
fn the_job_for_gitlab_pushes_with_the_variables_of_gitlab() {
    if !has_programs(&TOOLS) {
        return;
    }
    let mut sandbox = sandbox();
    let registry = Registry::with_password(&sandbox);
    let (_, job) = gitlab_job();
    let name = registry.name();
    let image = format!("{name}/group/app");
    let mut runner = Runner::new(&sandbox, "runner", "x86_64");
    runner.check_out();
    let work = runner.root.join("work");
    let variables = [
        ("CI_PROJECT_DIR", work.to_str().unwrap()),
        ("CI_REGISTRY", name.as_str()),
        ("CI_REGISTRY_IMAGE", image.as_str()),
        ("CI_REGISTRY_USER", USER),
        ("CI_REGISTRY_PASSWORD", PASSWORD),
        ("CI_COMMIT_SHORT_SHA", "01234567"),
    ];
    let mut environment = inputs(&variables);
    for (name, value) in pairs(&job["variables"]) {
        let value = text(value).unwrap();
        let of = value.strip_prefix('$').expect("a variable of GitLab's");
        let (_, value) = variables.iter().find(|(known, _)| *known == of).unwrap();
        environment.push((name, (*value).to_owned()));
    }
    assert!(environment.contains(&("IMGBUILD_REGISTRY".to_owned(), name)));
    // Twice: the second run finds the program and the layers in the cache.
    for _ in 0..2 {
        for line in list(&job["script"]) {
            drop(runner.script(&line, &environment).success());
        }
    }
    sandbox.set("DOCKER_AUTH_CONFIG", dependency_proxy(&registry.name()));
    let digest = digest_at(&sandbox, &format!("{image}:01234567"));
    let dotenv = fs::read_to_string(work.join("image.env")).unwrap();
    assert_eq!(dotenv, format!("IMAGE={image}@{digest}\n"));
    let json: Value = serde_json::from_slice(&fs::read(work.join("image.json")).unwrap()).unwrap();
    assert_eq!(json["pushed"][0]["uploaded"], 0);
    for path in list(&job["artifacts"]["paths"]) {
        assert!(work.join(path).exists());
    }
    assert!(work.join(&list(&job["cache"]["paths"])[0]).is_dir());
}

#[test]
fn the_lines_for_other_services_run() {
    if !has_programs(&TOOLS) {
        return;
    }
    let sandbox = sandbox();
    let registry = Registry::plain(&sandbox);
    let mut runner = Runner::new(&sandbox, "runner", "x86_64");
    runner.check_out();
    drop(
        runner
            .script("cargo build; cargo install --root \"$HOME\"", &[])
            .success(),
    );
    runner
        .path
        .push(runner.root.join("home/bin").display().to_string());
    let scripts = blocks(&document("docs/ci.md"), "sh");
    assert!(!scripts.is_empty());
    for script in scripts {
        let script = script.replace("ghcr.io", &registry.name());
        drop(runner.script(&script, &inputs(&[("TOKEN", "x")])).success());
    }
    let layout = runner.root.join("work/backup");
    drop(
        sandbox
            .run(["validate".as_ref(), layout.as_os_str()])
            .success(),
    );
    let name = format!("{}/me/app:1.2.3-all", registry.name());
    assert_eq!(platforms(&sandbox, &name), ["linux/amd64"]);
}

/// Returns the cache key of the program on a system with this `/etc/os-release`.
fn key_on(cat: &str, image: Option<&str>) -> String {
    let [program, ..] = keys(|runner| {
        let script = format!("#!/bin/sh\n{cat}\n");
        write_executable(&runner.root.join("tools/cat"), script.as_bytes());
        if let Some(image) = image {
            runner.set("ImageOS", image);
        }
    });
    program
}

#[test]
fn a_program_of_one_system_is_not_found_on_another() {
    if !has_programs(&["bash"]) {
        return;
    }
    let ubuntu = |version: &str| key_on(&format!("echo VERSION_ID={version}"), None);
    let keys = [
        ubuntu("22.04"),
        ubuntu("24.04"),
        key_on("exit 1", None),
        key_on("exit 1", Some("ubuntu24")),
    ];
    assert_eq!(keys[1], ubuntu("24.04"));
    for (index, key) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(key), "{keys:?}");
    }
}

/// Replaces imgbuild: records its arguments.
const WITNESS: &str = r#"#!/bin/sh
{
    echo "registry=$IMGBUILD_REGISTRY"
    echo "user=$IMGBUILD_REGISTRY_USER"
    echo "password=$IMGBUILD_REGISTRY_PASSWORD"
    env | grep -c -e token-of-the-job -e given-password | sed 's/^/mentions=/'
    for word; do echo "word=$word"; done
} >"$HOME/witness"
for word; do
    case $word in
    --digest-file=*) echo sha256:0123 >"${word#*=}" ;;
    --metadata-file=*) echo '{}' >"${word#*=}" ;;
    --index-digest-file=*) echo sha256:4567 >"${word#*=}" ;;
    esac
done
echo x/y@sha256:0123
"#;

/// Makes a runner whose imgbuild records its arguments.
fn with_witness(sandbox: &Sandbox) -> Runner {
    let mut runner = Runner::new(sandbox, "runner", "x86_64");
    let witness = runner.root.join("witness");
    write_executable(&witness, WITNESS.as_bytes());
    runner.set("PROGRAM_UNDER_TEST", witness.to_str().unwrap());
    runner
}

fn testimony(runner: &mut Runner, given: &[(&str, &str)]) -> Vec<String> {
    drop(runner.run_action(&inputs(given), None).success());
    let witness = fs::read_to_string(runner.root.join("home/witness")).unwrap();
    witness.lines().map(str::to_owned).collect()
}

fn witnessed(sandbox: &Sandbox, given: &[(&str, &str)]) -> (Runner, Vec<String>) {
    let mut runner = with_witness(sandbox);
    let words = testimony(&mut runner, given);
    (runner, words)
}

/// The inputs of a job that compiles imgbuild.
const FROM_SOURCE: [(&str, &str); 3] = [
    ("release", "dist"),
    ("tags", "a/b"),
    ("from-source", "true"),
];

/// Returns the cache keys that the action uses in a job that compiles imgbuild.
fn keys(change: impl FnOnce(&mut Runner)) -> [String; 3] {
    let sandbox = sandbox();
    let mut runner = with_witness(&sandbox);
    change(&mut runner);
    drop(testimony(&mut runner, &FROM_SOURCE));
    let names: Vec<&str> = runner.keys.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["key", "key", "restore-keys"]);
    let keys: Vec<String> = runner.keys.into_iter().map(|(_, key)| key).collect();
    keys.try_into().unwrap()
}

#[test]
fn any_name_of_a_workflow_gives_valid_cache_keys() {
    if !has_programs(&["bash"]) {
        return;
    }
    let of = |name: String| {
        keys(|runner| {
            runner
                .context
                .insert("github.workflow".to_owned(), name.clone());
            runner.set("GITHUB_WORKFLOW", &name);
        })
    };
    let [program, layers, before] = of("build, test and push".to_owned());
    assert!(layers.starts_with(&before), "{layers}, {before}");
    let [same_program, others, _] = of("long ".repeat(200));
    assert!(!others.starts_with(&before), "{others}, {before}");
    assert_eq!(program, same_program);
}

#[test]
fn the_token_of_the_job_goes_to_github_only() {
    if !has_programs(&["bash"]) {
        return;
    }
    let with = |tags: &str, more: &[(&str, &str)]| {
        let given = [&[("release", "dist"), ("tags", tags)], more].concat();
        witnessed(&sandbox(), &given).1
    };
    let expected = [
        "registry=ghcr.io",
        "user=octocat",
        "password=token-of-the-job",
        "mentions=1",
    ];
    for tags in [
        "ghcr.io/me/app:1\n\n  ghcr.io/me/app:2  ",
        "docker.io/me/app",
        "quay.io/me/app\nghcr.io/me/app",
        "ghcr.io.example.com/me/app",
        "me/app",
        "example.com/ghcr.io/app",
    ] {
        assert_eq!(with(tags, &[])[..4], expected, "{tags}");
    }
    let elsewhere = "--base=docker://quay.io/me/base\n--output=docker://registry.example/a/b";
    let more = [("push", "false"), ("arguments", elsewhere)];
    assert_eq!(with("ghcr.io/me/app", &more)[..4], expected);
    // The input `registry` alone does not send the token there.
    assert_eq!(
        with("ghcr.io/me/app", &[("registry", "quay.io")])[..4],
        expected
    );
}

#[test]
fn a_given_password_is_sent_to_one_registry() {
    if !has_programs(&["bash"]) {
        return;
    }
    let sandbox = sandbox();
    let own = [("username", "me"), ("password", "given-password")];
    let with = |tags: &str, more: &[(&str, &str)]| {
        let given = [&[("release", "dist"), ("tags", tags)], &own[..], more].concat();
        let words = witnessed(&sandbox, &given).1;
        let expected = ["user=me", "password=given-password", "mentions=1"];
        assert_eq!(words[1..4], expected, "{tags}");
        words[0].strip_prefix("registry=").unwrap().to_owned()
    };
    for (tags, registry) in [
        ("quay.io/me/app", "quay.io"),
        ("quay.io/me/app\nghcr.io/me/app", "quay.io"),
        ("ghcr.io/me/app:1", "ghcr.io"),
        ("me/app", "docker.io"),
        ("app:1.0", "docker.io"),
        ("localhost/app", "localhost"),
        ("here:5000/app:1", "here:5000"),
    ] {
        assert_eq!(with(tags, &[]), registry, "{tags}");
    }
    let more = [("push", "false"), ("registry", "base.example:5000")];
    assert_eq!(with("ghcr.io/me/app", &more), "base.example:5000");
}

#[test]
fn a_password_in_the_environment_precedes_the_token() {
    if !has_programs(&["bash"]) {
        return;
    }
    let sandbox = sandbox();
    let mut runner = with_witness(&sandbox);
    for (name, value) in [
        ("", "quay.io"),
        ("_USER", "me"),
        ("_PASSWORD", "given-password"),
    ] {
        runner.set(&format!("IMGBUILD_REGISTRY{name}"), value);
    }
    let words = testimony(
        &mut runner,
        &[("release", "dist"), ("tags", "ghcr.io/me/app")],
    );
    let expected = [
        "registry=quay.io",
        "user=me",
        "password=given-password",
        "mentions=1",
    ];
    assert_eq!(words[..4], expected);
}

#[test]
fn the_token_of_the_job_opens_the_registry_of_github() {
    if !has_programs(&TOOLS) {
        return;
    }
    let mut sandbox = sandbox();
    let registry = Registry::with_password(&sandbox);
    let workflow = documented("image", &registry.name());
    let mut runner = runner_at(&registry, &sandbox, "runner", "x86_64");
    runner.set("GITHUB_ACTOR", USER);
    let token = ("github.token".to_owned(), PASSWORD.to_owned());
    runner.context.extend([token]);
    drop(runner.run(&steps(&workflow["jobs"]["image"])).success());
    sandbox.set("IMGBUILD_REGISTRY_USER", USER);
    sandbox.set("IMGBUILD_REGISTRY_PASSWORD", PASSWORD);
    sandbox.set("IMGBUILD_REGISTRY", registry.name());
    let name = format!("{}/me/app", registry.name());
    let digest = digest_at(&sandbox, &format!("{name}:latest"));
    let reference = &runner.context["steps.image.outputs.reference"];
    assert_eq!(*reference, format!("{name}@{digest}"));
}

#[test]
fn inputs_are_arguments_and_never_commands() {
    if !has_programs(&["bash"]) {
        return;
    }
    let evil = "a$(touch pwned)`touch pwned`; touch pwned 'x' \"y\" --push";
    let sandbox = sandbox();
    let given = [
        ("release", "linux/amd64=a b\r\nlinux/arm64=c"),
        ("tags", evil),
        ("push", "false"),
        ("update-index", "true"),
        ("arguments", &format!("--label={evil}\n--cacert")),
        ("cache-from", "docker://x/y:1\ndist"),
    ];
    let (runner, words) = witnessed(&sandbox, &given);
    let words: Vec<&str> = words
        .iter()
        .filter_map(|line| line.strip_prefix("word="))
        .collect();
    let tag = format!("--tag={evil}");
    let label = format!("--label={evil}");
    let last = words.last().copied().unwrap_or_default();
    assert!(last.starts_with("--index-digest-file="), "{last}");
    assert_eq!(
        words[3..words.len() - 1],
        [
            "--release=linux/amd64=a b",
            "--release=linux/arm64=c",
            "--cache-from=docker://x/y:1",
            "--cache-from=dist",
            &label,
            "--cacert",
            &tag,
            "--update-index",
        ]
    );
    assert!(words[0].starts_with("--cache-dir=") && words[1].starts_with("--metadata-file="));
    assert!(!runner.root.join("work/pwned").exists());
    assert_eq!(runner.output("tags"), evil);
    assert_eq!(runner.output("digest"), "sha256:0123");
    // The index, not the image of one job.
    assert!(runner.output("reference").ends_with("@sha256:4567"));
    let (runner, _) = witnessed(&sandbox, &[("release", "d"), ("tags", "x:5000/a/b:1\nc")]);
    assert_eq!(runner.output("reference"), "x:5000/a/b@sha256:0123");
    let (runner, _) = witnessed(&sandbox, &[("release", "d"), ("tags", "x:5000/a/b")]);
    assert_eq!(runner.output("reference"), "x:5000/a/b@sha256:0123");
}

#[test]
fn an_action_without_names_or_with_a_failed_build_fails() {
    if !has_programs(&["bash"]) {
        return;
    }
    let sandbox = sandbox();
    let mut runner = Runner::new(&sandbox, "runner", "x86_64");
    let outcome = runner.run_action(&inputs(&[("release", "d"), ("tags", " \n")]), None);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stdout_text().contains("::error::"),
        "{}",
        outcome.report()
    );
    let outcome = runner.run_action(&inputs(&[("release", "d"), ("tags", "x.invalid/a")]), None);
    assert_eq!(outcome.code, Some(1), "{}", outcome.report());
    assert!(
        outcome.stderr_text().contains("error: "),
        "{}",
        outcome.report()
    );
    assert!(!runner.root.join("output").exists());
}

#[test]
fn imgbuild_is_compiled_by_its_own_rust() {
    if !has_programs(&["bash"]) {
        return;
    }
    let sandbox = sandbox();
    let mut runner = with_witness(&sandbox);
    runner.check_out();
    for (name, value) in [
        ("RUSTUP_TOOLCHAIN", "1.80.0"),
        ("RUSTFLAGS", "-C target-cpu=native"),
        ("CARGO_BUILD_TARGET", "aarch64-unknown-linux-musl"),
        ("CARGO_TARGET_DIR", "target"),
    ] {
        runner.set(name, value);
    }
    assert!(!testimony(&mut runner, &FROM_SOURCE).is_empty());
}

#[test]
fn a_runner_without_rust_gets_an_error_with_a_remedy() {
    if !has_programs(&["bash"]) {
        return;
    }
    let sandbox = sandbox();
    let mut runner = with_witness(&sandbox);
    runner.keep_only(&[
        "bash",
        "cat",
        "cut",
        "find",
        "sha256sum",
        "sort",
        "timeout",
        "xargs",
    ]);
    let outcome = runner.run_action(&inputs(&FROM_SOURCE), None).exited(1);
    let said = outcome.stdout_text();
    assert!(
        said.starts_with("::error::") && said.contains("https://rustup.rs"),
        "{said}"
    );
    assert_eq!((said.lines().count(), outcome.stderr_text()), (1, ""));
}

#[test]
fn inputs_other_than_true_and_false_are_errors() {
    if !has_programs(&["bash"]) {
        return;
    }
    let sandbox = sandbox();
    for input in ["push", "update-index", "cache", "from-source"] {
        for value in ["True", "yes", "", "true\n::warning::x"] {
            let mut runner = with_witness(&sandbox);
            let given = [("release", "dist"), ("tags", "a/b"), (input, value)];
            let outcome = runner.run_action(&inputs(&given), None).exited(1);
            let said = outcome.stdout_text();
            let expected =
                format!("::error::the input '{input}' of imgbuild must be 'true' or 'false'");
            assert!(said.starts_with(&expected), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
    for (value, is_pushed) in [("true", true), ("false", false)] {
        let given = [("release", "dist"), ("tags", "a/b"), ("push", value)];
        let (_, words) = witnessed(&sandbox, &given);
        assert_eq!(words.contains(&"word=--push".to_owned()), is_pushed);
    }
}

#[test]
fn no_script_has_an_expression_and_every_action_is_pinned() {
    let mut all = steps(&parse(&document("action.yml"))["runs"]);
    all.extend(release::all_steps());
    for text in blocks(&document("docs/ci.md"), "yaml") {
        for (_, job) in pairs(&parse(&text)["jobs"]) {
            all.extend(steps(job));
        }
    }
    assert!(all.len() > 10);
    for step in all {
        let script = step.run.unwrap_or_default();
        assert!(!script.contains("${{"), "{script}");
        let uses = step.uses.unwrap_or_default();
        let Some((name, version)) = uses.split_once('@') else {
            continue;
        };
        let is_commit = version.len() == 40 && version.bytes().all(|b| b.is_ascii_hexdigit());
        let is_right = match name {
            ACTION => version == concat!("v", env!("CARGO_PKG_VERSION")),
            _ => is_commit,
        };
        assert!(is_right, "{uses}");
    }
}

#[test]
fn the_scripts_are_correct_by_shellcheck() {
    if !has_programs(&["shellcheck"]) {
        return;
    }
    let mut all = steps(&parse(&document("action.yml"))["runs"]);
    all.extend(release::all_steps());
    let scripts = all.into_iter().filter_map(|step| step.run);
    for script in scripts {
        let mut command = limited("shellcheck");
        command.args(["--shell=bash", "-"]);
        drop(finish(&mut command, script.as_bytes()).success());
    }
    let mut command = limited("shellcheck");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("install.sh"));
    drop(finish(&mut command, b"").success());
}
