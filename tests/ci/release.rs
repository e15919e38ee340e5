//! The release that the action downloads, and the workflow that makes one.

use fs_err as fs;
use imgbuild_testing::Sandbox;

use super::runner::Runner;
use super::workflow::{Step, pairs, parse, steps};
use super::{TOOLS, digest_at, document, inputs, runner_at, testimony, with_witness, witnessed};
use crate::registry::server::Registry;
use crate::runs::sandbox;
use crate::support::has_programs;

const WORKFLOW: &str = ".github/workflows/release.yml";

const GIVEN: [(&str, &str); 2] = [("release", "dist"), ("tags", "a/b")];

/// Returns the steps of all jobs that make a release.
pub(super) fn all_steps() -> Vec<Step> {
    let workflow = parse(&document(WORKFLOW));
    let jobs = pairs(&workflow["jobs"]).into_iter();
    jobs.flat_map(|(_, job)| steps(job)).collect()
}

/// Runs the action in a job that has these variables, which must fail.
fn refused(sandbox: &Sandbox, variables: &[(&str, &str)]) -> (Runner, String) {
    let mut runner = with_witness(sandbox);
    for (name, value) in variables {
        runner.set(name, value);
    }
    let outcome = runner.run_action(&inputs(&GIVEN), None).exited(1);
    let said = format!("{}{}", outcome.stderr_text(), outcome.stdout_text());
    (runner, said)
}

#[test]
fn the_script_installs_the_version_of_its_commit() {
    let line = concat!("\nversion=", env!("CARGO_PKG_VERSION"), "\n");
    assert!(document("install.sh").contains(line));
}

#[test]
fn the_action_downloads_its_release_and_checks_its_attestation() {
    if !has_programs(&["bash"]) {
        return;
    }
    let sandbox = sandbox();
    let (runner, _) = witnessed(&sandbox, &GIVEN);
    let home = runner.root.join("home");
    let asked = fs::read_to_string(home.join("gh")).unwrap();
    assert!(asked.starts_with("attestation verify "), "{asked}");
    assert!(asked.ends_with(" --repo imgbuild/imgbuild\n"), "{asked}");
    // Only the layers are cached.
    assert_eq!(runner.keys.len(), 2);

    // Not every image of a job has the program of GitHub.
    let mut runner = with_witness(&sandbox);
    fs::remove_file(runner.root.join("tools/gh")).unwrap();
    fs::remove_file(home.join("gh")).unwrap();
    assert!(!testimony(&mut runner, &GIVEN).is_empty());
}

#[test]
fn another_release_than_the_expected_one_is_not_installed() {
    if !has_programs(&["bash"]) {
        return;
    }
    let sandbox = sandbox();
    for (variable, reason) in [
        (("SERVED_DIGEST", "0123"), "not 0123: nothing was installed"),
        (
            ("GH_STATUS", "1"),
            "has no attestation of imgbuild/imgbuild",
        ),
        (
            ("VERSION", "9.9.9"),
            "error: cannot download https://github.com/",
        ),
    ] {
        let (runner, said) = refused(&sandbox, &[variable]);
        assert!(said.contains(reason), "{said}");
        assert!(said.contains("'from-source: true' compiles it"), "{said}");
        assert!(!runner.root.join("temporary/imgbuild/bin/imgbuild").exists());
    }
}

/// Makes the outputs of the jobs for each platform.
const DIST: &str = r#"
mkdir -p target/dist release
cp "$PROGRAMS/x86_64" release/app
chmod 755 release/app
"$PROGRAM_UNDER_TEST" --quiet --no-cache --release release --output "oci-archive:target/dist/imgbuild-v$VERSION-image.tar"
cp "$GITHUB_ACTION_PATH/install.sh" target/dist
for machine in x86_64 aarch64; do
    name=imgbuild-v$VERSION-$machine-unknown-linux-musl
    mkdir "$name"
    cp "$PROGRAM_UNDER_TEST" "$name/imgbuild"
    tar -cf - "$name" | gzip -1 >"target/dist/$name.tar.gz"
    (cd target/dist && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
done
"#;

#[test]
fn the_workflow_pushes_the_image_and_drafts_the_release() {
    if !has_programs(&TOOLS) {
        return;
    }
    let sandbox = sandbox();
    let registry = Registry::plain(&sandbox);
    let mut runner = runner_at(&registry, &sandbox, "runner", "x86_64");
    let tag = concat!("v", env!("CARGO_PKG_VERSION")).to_owned();
    let name = "github.ref_name".to_owned();
    runner.context.insert(name, tag.clone());
    drop(runner.script(DIST, &[]).success());
    let workflow = parse(&document(WORKFLOW).replace("ghcr.io", &registry.name()));
    let job = steps(&workflow["jobs"]["release"]);
    drop(runner.run(&job).success());

    let image = format!("{}/imgbuild/imgbuild", registry.name());
    let digest = digest_at(&sandbox, &format!("{image}:{}", &tag[1..]));
    assert_eq!(digest_at(&sandbox, &format!("{image}:latest")), digest);
    assert_eq!(runner.context["steps.image.outputs.digest"], digest);
    let drafted = fs::read_to_string(runner.root.join("home/gh")).unwrap();
    let start = format!("release create {tag} --draft --verify-tag ");
    assert!(drafted.starts_with(&start), "{drafted}");
    assert!(drafted.contains(" target/dist/install.sh"), "{drafted}");

    // A tag of another version than that of the archives.
    let name = "github.ref_name".to_owned();
    runner.context.insert(name, "v9.9.9".to_owned());
    drop(runner.run(&job).exited(1));
}
