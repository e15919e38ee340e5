//! The action and the scripts of `docs/ci.md`: every line that a shell would
//! run is run here, against a registry on loopback.

mod workflow;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_testing::{Outcome, Sandbox, sandbox::finish};
use serde_json::Value;

use crate::registry::server::{PASSWORD, Registry, USER};
use crate::runs::sandbox;
use crate::support::{has_tools, limited};
use workflow::{Context, Step, blocks, evaluate, holds, list, pairs, parse, steps, text};

const TOOLS: [&str; 2] = ["docker-registry", "bash"];

/// What every runner has of these documents.
const ACTION: &str = "imgbuild/imgbuild@";

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(path).expect("it is in the repository")
}

/// The workflow with this name in `docs/ci.md`, its registry another one.
fn documented(name: &str, registry: &str) -> yaml_rust2::Yaml {
    let texts = blocks(&document("docs/ci.md"), "yaml");
    let all = texts
        .iter()
        .map(|text| parse(&text.replace("ghcr.io", registry)));
    let mut named = all.filter(|yaml| text(&yaml["name"]).as_deref() == Some(name));
    named
        .next()
        .unwrap_or_else(|| panic!("no workflow `{name}`"))
}

/// A program without libraries for a machine, by its number in ELF headers.
fn program(machine: u16) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    // Entry, program headers, section headers, flags.
    for number in [0x40_0078_u64, 64, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(0_u32.to_le_bytes());
    for size in [64_u16, 56, 1, 64, 0, 0] {
        bytes.extend(size.to_le_bytes());
    }
    // One segment: the whole file.
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(5_u32.to_le_bytes());
    for number in [0_u64, 0x40_0000, 0x40_0000, 120, 120, 0x1000] {
        bytes.extend(number.to_le_bytes());
    }
    bytes
}

/// In the place of Cargo: `install` brings the program under test, `build`
/// makes a program for the machine of the job, or for a target.
const CARGO: &str = r#"#!/bin/sh
set -e
command=$1 target= root=
while [ $# -gt 0 ]; do
    case $1 in
    --target) target=$2 ;;
    --root) root=$2 ;;
    esac
    shift
done
case $command in
install)
    mkdir -p "$root/bin"
    cp "$PROGRAM_UNDER_TEST" "$root/bin/imgbuild"
    ;;
build)
    directory=target/${target:+$target/}release
    mkdir -p "$directory/deps" "$directory/.fingerprint"
    cp "$PROGRAMS/${target%%-*}" "$directory/app" 2>/dev/null ||
        cp "$PROGRAMS/$MACHINE" "$directory/app"
    chmod 755 "$directory/app"
    ;;
*)
    exit 64
    ;;
esac
"#;

/// A machine of a CI service, with one job on it.
struct Runner {
    root: PathBuf,
    context: Context,
    environment: Vec<(String, String)>,
    /// What the steps have put before the path.
    path: Vec<String>,
}

fn write_executable(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("the sandbox is ours");
    let mode = std::fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, mode).expect("the sandbox is ours");
}

impl Runner {
    fn new(sandbox: &Sandbox, name: &str, machine: &str) -> Self {
        let root = sandbox.path(name);
        for directory in ["tools", "temporary", "home", "work", "programs"] {
            fs::create_dir_all(root.join(directory)).expect("the sandbox is ours");
        }
        write_executable(&root.join("tools/cargo"), CARGO.as_bytes());
        for (name, number) in [("x86_64", 62), ("aarch64", 183)] {
            fs::write(root.join("programs").join(name), program(number)).unwrap();
        }
        let manifest = "[package]\nname = \"app\"\nversion = \"1.0.0\"\n";
        fs::write(root.join("work/Cargo.toml"), manifest).unwrap();
        let place = |name: &str| root.join(name).display().to_string();
        let environment = [
            ("HOME", place("home")),
            ("RUNNER_TEMP", place("temporary")),
            ("GITHUB_OUTPUT", place("output")),
            ("GITHUB_PATH", place("path")),
            ("GITHUB_ACTOR", "octocat".to_owned()),
            ("GITHUB_ACTION_PATH", env!("CARGO_MANIFEST_DIR").to_owned()),
            (
                "PROGRAM_UNDER_TEST",
                env!("CARGO_BIN_EXE_imgbuild").to_owned(),
            ),
            ("PROGRAMS", place("programs")),
            ("MACHINE", machine.to_owned()),
        ];
        let context = [
            ("github.repository", "me/app"),
            ("github.ref_name", "v1.2.3"),
            ("github.sha", "0123456789abcdef"),
            ("github.server_url", "https://github.com"),
            ("github.actor", "octocat"),
            ("github.token", "token-of-the-job"),
            ("github.workflow", "image"),
            ("github.job", "image"),
            ("github.run_id", "1"),
            ("github.run_attempt", "1"),
            ("runner.os", "Linux"),
            ("runner.arch", machine),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            environment: environment
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            context: context.map(owned).into(),
            path: vec![place("tools")],
            root,
        }
    }

    /// Runs a script as a runner does.
    fn script(&mut self, script: &str, environment: &[(String, String)]) -> Outcome {
        let file = self.root.join("script");
        fs::write(&file, script).expect("the sandbox is ours");
        let mut command = limited("bash");
        command
            .args(["--noprofile", "--norc", "-eo", "pipefail"])
            .arg(&file)
            .current_dir(self.root.join("work"))
            .env_clear();
        for (name, value) in self.environment.iter().chain(environment) {
            command.env(name, value);
        }
        let path = self.path.join(":");
        command.env("PATH", format!("{path}:/usr/local/bin:/usr/bin:/bin"));
        let outcome = finish(&mut command, b"");
        if let Ok(added) = fs::read_to_string(self.root.join("path")) {
            let added = added.lines().map(str::to_owned);
            self.path.splice(0..0, added);
            fs::remove_file(self.root.join("path")).unwrap();
        }
        outcome
    }

    /// Runs steps to their end, or to the first that fails.
    fn run(&mut self, steps: &[Step]) -> Outcome {
        let mut last = None;
        for step in steps {
            if step
                .condition
                .as_ref()
                .is_some_and(|one| !holds(one, &self.context))
            {
                continue;
            }
            let Some(outcome) = self.run_step(step) else {
                continue;
            };
            let has_failed = outcome.code != Some(0);
            last = Some(outcome);
            if has_failed {
                break;
            }
        }
        last.expect("some step does something")
    }

    fn run_step(&mut self, step: &Step) -> Option<Outcome> {
        let all = |pairs: &[(String, String)], context: &Context| -> Vec<(String, String)> {
            let one = |(name, value): &(String, String)| (name.clone(), evaluate(value, context));
            pairs.iter().map(one).collect()
        };
        let environment = all(&step.env, &self.context);
        let with = all(&step.with, &self.context);
        if let Some(script) = &step.run {
            let outcome = self.script(script, &environment);
            self.take_outputs(step.id.as_deref());
            return Some(outcome);
        }
        let uses = step.uses.as_deref().expect("a step does something");
        if !uses.starts_with(ACTION) {
            return None;
        }
        Some(self.run_action(&with, step.id.as_deref()))
    }

    /// Runs `action.yml` with these inputs.
    fn run_action(&mut self, with: &[(String, String)], id: Option<&str>) -> Outcome {
        let action = parse(&document("action.yml"));
        let outside = self.context.clone();
        for (name, input) in pairs(&action["inputs"]) {
            let given = with.iter().find(|(known, _)| *known == name);
            let value = given.map(|(_, value)| value.clone());
            let value = value.or_else(|| text(&input["default"]));
            let value = value.unwrap_or_else(|| panic!("the input `{name}` is missing"));
            self.context.insert(format!("inputs.{name}"), value);
        }
        let unknown = with
            .iter()
            .find(|(name, _)| !self.context.contains_key(&format!("inputs.{name}")));
        assert_eq!(unknown, None, "there is such an input");
        let outcome = self.run(&steps(&action["runs"]));
        let inside = std::mem::replace(&mut self.context, outside);
        if outcome.code == Some(0) {
            for (name, output) in pairs(&action["outputs"]) {
                let value = evaluate(&text(&output["value"]).unwrap(), &inside);
                let id = id.unwrap_or("action");
                self.context
                    .insert(format!("steps.{id}.outputs.{name}"), value);
            }
        }
        outcome
    }

    /// Reads what a step has written to `$GITHUB_OUTPUT`.
    fn take_outputs(&mut self, id: Option<&str>) {
        let file = self.root.join("output");
        let Ok(written) = fs::read_to_string(&file) else {
            return;
        };
        fs::remove_file(&file).unwrap();
        let mut lines = written.lines();
        while let Some(line) = lines.next() {
            let id = id.expect("a step with outputs has an id");
            let (name, value) = match line.split_once("<<") {
                Some((name, end)) if !name.contains('=') => {
                    let value = lines.by_ref().take_while(|line| *line != end);
                    (name, value.collect::<Vec<_>>().join("\n"))
                }
                _ => {
                    let (name, value) = line.split_once('=').expect("NAME=VALUE");
                    (name, value.to_owned())
                }
            };
            self.context
                .insert(format!("steps.{id}.outputs.{name}"), value);
        }
    }

    fn output(&self, name: &str) -> &str {
        &self.context[&format!("steps.action.outputs.{name}")]
    }
}

fn inputs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    given.iter().map(owned).collect()
}

/// The platforms of the index that a tag names.
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
    let manifests = json["manifests"].as_array().unwrap().iter();
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
    if !has_tools(&TOOLS) {
        return;
    }
    let sandbox = sandbox();
    let registry = Registry::plain(&sandbox);
    let workflow = documented("image", &registry.name());
    let mut runner = Runner::new(&sandbox, "runner", "x86_64");
    let job = steps(&workflow["jobs"]["image"]);
    // An owner and a branch whose names cannot be those of images.
    let mut other = Runner::new(&sandbox, "other", "x86_64");
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
    // The same again sends nothing.
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
    if !has_tools(&TOOLS) {
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
            let machine = match name.ends_with("-arm") {
                true => "aarch64",
                false => "x86_64",
            };
            let mut runner = Runner::new(&sandbox, name, machine);
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
    // Each job names an index, and the one that ended last the whole one.
    let whole = digest_at(&sandbox, &format!("{name}:v1.2.3"));
    references.retain(|reference| *reference == format!("{name}@{whole}"));
    assert!(!references.is_empty());
    let both = ["linux/amd64", "linux/arm64"];
    assert_eq!(platforms(&sandbox, &format!("{name}:v1.2.3")), both);
    let mut runner = Runner::new(&sandbox, "latest", "x86_64");
    drop(runner.run(&steps(&workflow["jobs"]["latest"])).success());
    let [one, other] =
        ["v1.2.3", "latest"].map(|tag| digest_at(&sandbox, &format!("{name}:{tag}")));
    assert_eq!(one, other);

    // One job for all makes the same index.
    let workflow = documented("cross", &registry.name());
    let mut runner = Runner::new(&sandbox, "cross", "x86_64");
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

#[test]
fn the_job_for_gitlab_pushes_with_the_variables_of_gitlab() {
    if !has_tools(&TOOLS) {
        return;
    }
    let mut sandbox = sandbox();
    let registry = Registry::with_password(&sandbox);
    let texts = blocks(&document("docs/ci.md"), "yaml");
    let all: Vec<_> = texts.iter().map(|text| parse(text)).collect();
    let job = all.iter().find(|yaml| yaml["image"]["script"].is_array());
    let job = &job.expect("there is a job for GitLab")["image"];
    let image = format!("{}/group/app", registry.name());
    let mut runner = Runner::new(&sandbox, "runner", "x86_64");
    let variables = [
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
    // Twice: the second run finds the program and the layers in the cache.
    for _ in 0..2 {
        for line in list(&job["script"]) {
            drop(runner.script(&line, &environment).success());
        }
    }
    sandbox.set("IMGBUILD_REGISTRY_USER", USER);
    sandbox.set("IMGBUILD_REGISTRY_PASSWORD", PASSWORD);
    let digest = digest_at(&sandbox, &format!("{image}:01234567"));
    let work = runner.root.join("work");
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
fn the_lines_for_anywhere_else_run() {
    if !has_tools(&TOOLS) {
        return;
    }
    let sandbox = sandbox();
    let registry = Registry::plain(&sandbox);
    let mut runner = Runner::new(&sandbox, "runner", "x86_64");
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

/// In the place of imgbuild: writes down what it is told.
const WITNESS: &str = r#"#!/bin/sh
{
    echo "user=$IMGBUILD_REGISTRY_USER"
    echo "password=$IMGBUILD_REGISTRY_PASSWORD"
    env | grep -c -e token-of-the-job -e given-password | sed 's/^/mentions=/'
    for word; do echo "word=$word"; done
} >"$HOME/witness"
for word; do
    case $word in
    --digest-file=*) echo sha256:0123 >"${word#*=}" ;;
    --index-digest-file=*) echo sha256:4567 >"${word#*=}" ;;
    esac
done
echo '{}'
"#;

fn witnessed(given: &[(&str, &str)]) -> (Runner, Vec<String>) {
    let sandbox = sandbox();
    let mut runner = Runner::new(&sandbox, "runner", "x86_64");
    let bin = runner.root.join("temporary/imgbuild/bin");
    fs::create_dir_all(&bin).unwrap();
    write_executable(&bin.join("imgbuild"), WITNESS.as_bytes());
    drop(runner.run_action(&inputs(given), None).success());
    let witness = fs::read_to_string(runner.root.join("home/witness")).unwrap();
    (runner, witness.lines().map(str::to_owned).collect())
}

#[test]
fn the_token_of_the_job_goes_to_github_only() {
    if !has_tools(&["bash"]) {
        return;
    }
    let with = |tags: &str, more: &[(&str, &str)]| {
        let given = [&[("release", "dist"), ("tags", tags)], more].concat();
        witnessed(&given).1
    };
    let own = with("ghcr.io/me/app:1\n\n  ghcr.io/me/app:2  ", &[]);
    assert_eq!(
        own[..3],
        ["user=octocat", "password=token-of-the-job", "mentions=1"]
    );
    for tags in [
        "docker.io/me/app",
        "ghcr.io/me/app\nquay.io/me/app",
        "ghcr.io.example.com/me/app",
        "me/app",
        "example.com/ghcr.io/app",
    ] {
        assert_eq!(
            with(tags, &[])[..3],
            ["user=", "password=", "mentions=0"],
            "{tags}"
        );
    }
    let given = [("username", "me"), ("password", "given-password")];
    let expected = ["user=me", "password=given-password", "mentions=1"];
    assert_eq!(with("quay.io/me/app", &given)[..3], expected);
    assert_eq!(with("ghcr.io/me/app", &given)[..3], expected);
}

#[test]
fn inputs_are_arguments_and_never_commands() {
    if !has_tools(&["bash"]) {
        return;
    }
    let evil = "a$(touch pwned)`touch pwned`; touch pwned 'x' \"y\" --push";
    let (runner, words) = witnessed(&[
        ("release", "linux/amd64=a b\r\nlinux/arm64=c"),
        ("tags", evil),
        ("push", "false"),
        ("update-index", "true"),
        ("arguments", &format!("--label={evil}\n--cacert")),
        ("cache-from", "docker://x/y:1\ndist"),
    ]);
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
    assert!(words[0].starts_with("--cache-dir=") && words[1] == "--json");
    assert!(!runner.root.join("work/pwned").exists());
    assert_eq!(runner.output("tags"), evil);
    assert_eq!(runner.output("digest"), "sha256:0123");
    // The index, not what one job has built.
    assert!(runner.output("reference").ends_with("@sha256:4567"));
    let (runner, _) = witnessed(&[("release", "d"), ("tags", "x:5000/a/b:1\nc")]);
    assert_eq!(runner.output("reference"), "x:5000/a/b@sha256:0123");
    let (runner, _) = witnessed(&[("release", "d"), ("tags", "x:5000/a/b")]);
    assert_eq!(runner.output("reference"), "x:5000/a/b@sha256:0123");
}

#[test]
fn an_action_without_names_or_with_a_failure_ends_with_it() {
    if !has_tools(&["bash"]) {
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
fn no_script_has_an_expression_and_every_foreign_action_is_pinned() {
    let mut all = steps(&parse(&document("action.yml"))["runs"]);
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
        let version = uses.split_once('@').map(|(_, version)| version);
        let is_pinned =
            |version: &str| version.len() == 40 && version.bytes().all(|b| b.is_ascii_hexdigit());
        let is_own = uses.starts_with(ACTION);
        assert!(is_own || version.is_none_or(is_pinned), "{uses}");
    }
}

#[test]
fn the_scripts_are_correct_by_shellcheck() {
    if !has_tools(&["shellcheck"]) {
        return;
    }
    for step in steps(&parse(&document("action.yml"))["runs"]) {
        let Some(script) = step.run else { continue };
        let mut command = limited("shellcheck");
        command.args(["--shell=bash", "-"]);
        drop(finish(&mut command, script.as_bytes()).success());
    }
}
