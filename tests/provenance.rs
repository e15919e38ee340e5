//! The origin of an image: its date and its labels.

use std::collections::BTreeMap;
use std::process::Command;

use fs_err as fs;
use imgbuild_testing::sandbox::finish;
use imgbuild_testing::{Outcome, Sandbox, UnpackedImage};

use crate::runs;
use crate::support::has_programs;
use crate::support::image::{confirmed, result_digest};

const DEFAULT: &str = "1970-01-01T00:00:01Z";

const MANIFEST: &str = r#"
    [package]
    name = "app"
    version = "1.2.3"
    license = "MIT"
    description = "An app"
    homepage = "https://example.com/app"
    repository = "https://example.com/not/this/one"
    authors = ["A <a@example.com>"]
"#;

/// Runs git in a directory of the sandbox, without settings of the user.
fn git(sandbox: &Sandbox, directory: &str, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(words).current_dir(sandbox.path(directory));
    for (name, value) in [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_AUTHOR_NAME", "A"),
        ("GIT_AUTHOR_EMAIL", "a@example.com"),
        ("GIT_AUTHOR_DATE", "1600000000 +0000"),
        ("GIT_COMMITTER_NAME", "C"),
        ("GIT_COMMITTER_EMAIL", "c@example.com"),
        ("GIT_COMMITTER_DATE", "1700000000 +0200"),
    ] {
        command.env(name, value);
    }
    command.env("HOME", sandbox.root());
    let outcome = finish(&mut command, b"").success();
    outcome.stdout_text().trim_end().to_owned()
}

/// Makes a Cargo project in `work` with a finished build that git ignores and one
/// commit of 2023-11-14T22:13:20Z.
fn project() -> Option<Sandbox> {
    if !has_programs(&["git"]) {
        return None;
    }
    let sandbox = runs::sandbox();
    let tree = "
        0644 file src/main.rs \"fn main() {}\"
        0644 file .gitignore \"target\"
    ";
    drop(sandbox.tree("work", tree).unwrap());
    fs::write(sandbox.path("work/Cargo.toml"), MANIFEST).unwrap();
    git(&sandbox, "work", &["init", "--quiet"]);
    git(&sandbox, "work", &["add", "--all"]);
    git(&sandbox, "work", &["commit", "--quiet", "--message=x"]);
    let url = "https://somebody:secret@example.com/o/r.git";
    git(&sandbox, "work", &["remote", "add", "origin", url]);
    add_build(&sandbox, "work");
    Some(sandbox)
}

fn add_build(sandbox: &Sandbox, project: &str) {
    let build = sandbox.path(project).join("target/release");
    fs::create_dir_all(build.join("deps")).unwrap();
    fs::create_dir_all(build.join("build")).unwrap();
    fs::copy("/bin/true", build.join("app")).unwrap();
}

fn head(sandbox: &Sandbox) -> String {
    git(sandbox, "work", &["rev-parse", "HEAD"])
}

/// Builds `work/target/release` with further arguments.
fn run(sandbox: &Sandbox, environment: &[(&str, &str)], more: &[&str]) -> Outcome {
    let fixed = [
        "--release=work/target/release",
        "--output=image.tar",
        "--runtime=none",
        "--check=off",
        "--no-cache",
        "--no-sync",
    ];
    let mut command = sandbox.command(fixed.iter().chain(more));
    command.envs(environment.iter().copied());
    sandbox.finish(&mut command, b"").success()
}

fn image(sandbox: &Sandbox, outcome: &Outcome) -> UnpackedImage {
    confirmed(&sandbox.path("image.tar"), &result_digest(outcome))
}

fn built(sandbox: &Sandbox, environment: &[(&str, &str)], more: &[&str]) -> UnpackedImage {
    let outcome = run(sandbox, environment, more);
    image(sandbox, &outcome)
}

/// Returns the labels of an image by the part after `org.opencontainers.image.`,
/// and checks that the annotations equal them.
fn labels(image: &UnpackedImage) -> BTreeMap<String, String> {
    let labels = image.config["config"]["Labels"].clone();
    assert_eq!(labels, image.manifest["annotations"]);
    let labels: Option<BTreeMap<String, String>> = serde_json::from_value(labels).unwrap();
    let labels = labels.unwrap_or_default().into_iter();
    labels
        .map(|(key, value)| {
            let name = key.strip_prefix("org.opencontainers.image.").unwrap();
            (name.to_owned(), value)
        })
        .collect()
}

fn expected(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    let labels = labels.iter();
    labels
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn the_date_is_that_of_the_flag_the_environment_or_the_commit() {
    let Some(sandbox) = project() else { return };
    let epoch = ("SOURCE_DATE_EPOCH", "1600000000");
    let mut diff_ids = Vec::new();
    for (environment, more, created, said) in [
        (
            &[][..],
            &[][..],
            "2023-11-14T22:13:20Z",
            "(its commit's date)",
        ),
        (
            &[epoch],
            &[],
            "2020-09-13T12:26:40Z",
            "(`SOURCE_DATE_EPOCH`)",
        ),
        (
            &[epoch],
            &["--created=7"],
            "1970-01-01T00:00:07Z",
            "(as given)",
        ),
        (
            &[],
            &["--no-auto-labels"],
            "2023-11-14T22:13:20Z",
            "(its commit's date)",
        ),
    ] {
        let outcome = run(&sandbox, environment, more);
        let line = format!("created {created} {said}");
        assert!(
            outcome.stderr_text().contains(&line),
            "{}",
            outcome.report()
        );
        let image = image(&sandbox, &outcome);
        assert_eq!(image.config["created"], created);
        diff_ids.push(image.config["rootfs"]["diff_ids"].clone());
    }
    fs::remove_dir_all(sandbox.path("work/.git")).unwrap();
    let outcome = run(&sandbox, &[], &[]);
    let line = format!("created {DEFAULT} (the default)");
    assert!(
        outcome.stderr_text().contains(&line),
        "{}",
        outcome.report()
    );
    diff_ids.push(image(&sandbox, &outcome).config["rootfs"]["diff_ids"].clone());
    diff_ids.dedup();
    assert_eq!(diff_ids.len(), 1, "layers depend on the date: {diff_ids:?}");
}

#[test]
fn labels_come_from_the_manifest_and_the_repository() {
    let Some(sandbox) = project() else { return };
    let image = built(&sandbox, &[], &[]);
    let revision = head(&sandbox);
    let all = expected(&[
        ("authors", "A <a@example.com>"),
        ("description", "An app"),
        ("licenses", "MIT"),
        ("revision", &revision),
        ("source", "https://example.com/o/r"),
        ("title", "app"),
        ("url", "https://example.com/app"),
        ("version", "1.2.3"),
    ]);
    assert_eq!(labels(&image), all);
    // Without a repository, the source comes from the package manifest.
    fs::remove_dir_all(sandbox.path("work/.git")).unwrap();
    let labels = labels(&built(&sandbox, &[], &[]));
    assert_eq!(labels["source"], "https://example.com/not/this/one");
    assert!(!labels.contains_key("revision"));
}

#[test]
fn a_changed_file_marks_the_revision_and_an_unknown_one_does_not() {
    let Some(sandbox) = project() else { return };
    let revision = head(&sandbox);
    let found = || labels(&built(&sandbox, &[], &[]))["revision"].clone();
    fs::write(sandbox.path("work/notes"), "x").unwrap();
    assert_eq!(found(), revision);
    fs::write(sandbox.path("work/src/main.rs"), "fn main() { }").unwrap();
    assert_eq!(found(), format!("{revision}-dirty"));
    git(&sandbox, "work", &["add", "src/main.rs"]);
    assert_eq!(found(), format!("{revision}-dirty"));
    git(&sandbox, "work", &["reset", "--quiet", "--hard"]);
    assert_eq!(found(), revision);
}

#[test]
fn build_services_precede_the_repository() {
    let Some(sandbox) = project() else { return };
    let revision = head(&sandbox);
    let github = [
        ("GITHUB_SHA", revision.as_str()),
        ("GITHUB_SERVER_URL", "https://git.example.org"),
        ("GITHUB_REPOSITORY", "team/app"),
    ];
    let outcome = run(&sandbox, &github, &[]);
    assert!(
        !outcome.stderr_text().contains("warning"),
        "{}",
        outcome.report()
    );
    let found = labels(&image(&sandbox, &outcome));
    assert_eq!(found["source"], "https://git.example.org/team/app");
    assert_eq!(found["revision"], revision);
    let other = "0123456789012345678901234567890123456789";
    let gitlab = [
        ("CI_COMMIT_SHA", other),
        (
            "CI_PROJECT_URL",
            "https://me:token@gitlab.example.org/team/app",
        ),
    ];
    let outcome = run(&sandbox, &gitlab, &[]);
    let text = outcome.stderr_text();
    assert!(text.contains(other) && text.contains(&revision), "{text}");
    let found = labels(&image(&sandbox, &outcome));
    assert_eq!(found["source"], "https://gitlab.example.org/team/app");
    assert_eq!(found["revision"], other);
}

#[test]
fn flags_precede_other_sources() {
    let Some(sandbox) = project() else { return };
    let title = "org.opencontainers.image.title";
    let label = format!("--label={title}=Label");
    let annotation = format!("--annotation={title}=Annotation");
    for (more, in_config, in_manifest) in [
        (&[label.as_str()][..], "Label", "Label"),
        (&[annotation.as_str()], "Annotation", "Annotation"),
        (
            &[label.as_str(), annotation.as_str()],
            "Label",
            "Annotation",
        ),
    ] {
        let image = built(&sandbox, &[("GITHUB_SHA", "x")], more);
        assert_eq!(image.config["config"]["Labels"][title], in_config);
        assert_eq!(image.manifest["annotations"][title], in_manifest);
    }
    let image = built(&sandbox, &[], &["--no-auto-labels", "--label=a=b"]);
    let labels = &image.config["config"]["Labels"];
    assert_eq!(labels, &serde_json::json!({"a": "b"}));
    assert!(image.manifest.get("annotations").is_none());
}

#[test]
fn a_secret_in_the_origin_does_not_appear() {
    let Some(sandbox) = project() else { return };
    for more in [
        &["--json"][..],
        &["--dry-run"],
        &["--dry-run", "--json", "-v"],
    ] {
        let outcome = run(&sandbox, &[], more);
        let text = outcome.report();
        assert!(
            !text.contains("secret") && !text.contains("somebody"),
            "{text}"
        );
    }
    let archive = fs::read(sandbox.path("image.tar")).unwrap();
    assert!(!archive.windows(6).any(|bytes| bytes == b"secret"));
}

#[test]
fn clones_of_a_project_make_the_same_image() {
    let Some(sandbox) = project() else { return };
    let first = result_digest(&run(&sandbox, &[], &[]));
    fs::rename(sandbox.path("work"), sandbox.path("first")).unwrap();
    git(&sandbox, ".", &["clone", "--quiet", "first", "work"]);
    let url = "git@example.com:o/r.git";
    git(&sandbox, "work", &["remote", "set-url", "origin", url]);
    git(&sandbox, "work", &["gc", "--quiet"]);
    add_build(&sandbox, "work");
    assert_eq!(result_digest(&run(&sandbox, &[], &[])), first);
    // A linked work tree and a copied one.
    git(
        &sandbox,
        "first",
        &["worktree", "add", "--quiet", "../linked"],
    );
    fs::remove_dir_all(sandbox.path("work")).unwrap();
    fs::rename(sandbox.path("linked"), sandbox.path("work")).unwrap();
    add_build(&sandbox, "work");
    assert_eq!(result_digest(&run(&sandbox, &[], &[])), first);
}

#[test]
fn a_damaged_repository_is_a_warning() {
    let Some(sandbox) = project() else { return };
    let objects = sandbox.path("work/.git/objects");
    let id = head(&sandbox);
    let object = objects.join(&id[..2]).join(&id[2..]);
    fs::remove_file(&object).unwrap();
    fs::write(&object, "x").unwrap();
    let outcome = run(&sandbox, &[], &[]);
    let text = outcome.stderr_text();
    assert!(
        text.contains("warning: cannot read the git repository of the release"),
        "{text}"
    );
    assert!(text.contains(&format!("{DEFAULT} (the default)")), "{text}");
    let labels = labels(&image(&sandbox, &outcome));
    assert_eq!(labels["title"], "app");
    assert!(!labels.contains_key("revision"));
    let quiet = run(&sandbox, &[], &["--no-auto-labels", "--created=1"]);
    assert!(
        !quiet.stderr_text().contains("warning"),
        "{}",
        quiet.report()
    );
}

#[test]
fn an_unreadable_index_leaves_the_revision_as_it_is() {
    let Some(sandbox) = project() else { return };
    fs::write(sandbox.path("work/.git/index"), "x").unwrap();
    let outcome = run(&sandbox, &[], &[]);
    let text = outcome.stderr_text();
    assert!(text.contains("has uncommitted changes"), "{text}");
    let found = labels(&image(&sandbox, &outcome));
    assert_eq!(found["revision"], head(&sandbox));
}

#[test]
fn the_name_and_version_of_a_mix_release_become_labels() {
    let sandbox = runs::sandbox();
    let tree = "
        0755 file bin/shop \"#!/bin/sh\"
        0755 dir lib/shop-0.3.1/ebin
        0644 file releases/start_erl.data \"15.0 0.3.1\"
        0644 file releases/0.3.1/shop.rel \"{release,{\\\"shop\\\",\\\"0.3.1\\\"},{erts,\\\"15.0\\\"},[]}.\"
    ";
    drop(sandbox.tree("release", tree).unwrap());
    let outcome = runs::build(&sandbox, &["--output=image.tar"]).success();
    let labels = labels(&image(&sandbox, &outcome));
    assert_eq!(labels, expected(&[("title", "shop"), ("version", "0.3.1")]));
}

#[test]
fn a_dry_run_shows_the_origin_of_every_value() {
    let Some(sandbox) = project() else { return };
    let outcome = run(&sandbox, &[("GITHUB_SHA", "x")], &["--dry-run"]);
    let text = outcome.stdout_text();
    for line in [
        "created 2023-11-14T22:13:20Z (its commit's date)\n",
        "option --release work/target/release (flag)\n",
        "option --max-layers 64 (default)\n",
        "option --dry-run (flag)\n",
        "found org.opencontainers.image.source=https://example.com/o/r (git)\n",
        "found org.opencontainers.image.title=app (`Cargo.toml`)\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let outcome = run(&sandbox, &[], &["--dry-run", "--json"]);
    let plan: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let plan = &plan["images"][0];
    assert_eq!(plan["createdBy"], "git");
    let version = &plan["autoLabels"]["org.opencontainers.image.version"];
    assert_eq!(
        version,
        &serde_json::json!({"value": "1.2.3", "origin": "cargo"})
    );
    let release = serde_json::json!({
        "name": "release", "value": "work/target/release", "origin": "flag",
    });
    assert_eq!(plan["options"][0], release);
    assert!(plan["layers"].is_array());
}

#[test]
fn a_directory_that_is_not_a_repository_is_ignored() {
    let sandbox = runs::with_small_release();
    for name in ["release/.git", ".git"] {
        let path = sandbox.path(name);
        fs::create_dir_all(&path).unwrap();
        // The check names such a directory in any case.
        let more = ["--output=image.tar", "--check=off"];
        let outcome = runs::build(&sandbox, &more).success();
        let text = outcome.stderr_text();
        assert!(!text.contains("warning"), "{text}");
        assert!(text.contains("(the default)"), "{text}");
        fs::remove_dir_all(&path).unwrap();
    }
}
