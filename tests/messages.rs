//! The whole standard error of typical failures, so that a changed sentence is
//! reviewed as a difference.

use fs_err as fs;

use crate::runs;

/// Builds of the small release, which end with an error.
const BUILDS: [&[&str]; 28] = [
    &["--add=release/etc"],
    &["--add=gone:/x"],
    &["--program=./jq"],
    &["--locale=1"],
    &["--created=yesterday"],
    &["--mtime=99999999999999"],
    &["--healthcheck=[1"],
    &["--cmd=[]"],
    &["--label=x"],
    &["--env==x"],
    &["--env-file=gone"],
    &["--expose=http"],
    &["--stop-signal=SIGNOTHING"],
    &["--healthcheck=x", "--health-interval=1ns"],
    &["--user=1:99999999999"],
    &["--bin=x"],
    &["--boot=direct"],
    &["--cacert="],
    &["--base=gone"],
    &["--lock"],
    &["--base=docker://localhost:1/a", "--lock"],
    &["--library-path=/usr/lib"],
    &["--output=-", "--output=-"],
    &["--output=a.tar", "--digest-file=a.tar"],
    &["--output=docker:app"],
    &["--update-index"],
    &["--created="],
    &["--env-file=-"],
];

/// Other command lines that end with an error.
const COMMANDS: [&[&str]; 31] = [
    &[],
    &["build"],
    &["pull", "x"],
    &["login"],
    &["inspect", "x"],
    &["run"],
    &["init"],
    &["-f", "Dockerfile", "."],
    &["--build-arg=A=1"],
    &["-p", "8080:80"],
    &["--insecure"],
    &["--name=x"],
    &["--from=debian:12"],
    &["--cache-to=type=registry"],
    &["releas"],
    &["--release=releas"],
    &["--release=release/bin/server"],
    &["release/nothing"],
    &["release", "extra"],
    &["-e", "FOO", "BAR=1", "--release=release"],
    &["--", "bash", "-c", "x"],
    &["--max-layers=500"],
    &["--config=gone"],
    &["--config=wrong.toml"],
    &["check", "docker://a/b"],
    &["validate", "release"],
    &["copy", "debian:12", "oci:x"],
    &[
        "copy",
        "oci:x",
        "docker://a.io/b@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ],
    &["index", "create", "docker://a.io/b", "oci:x", "--tag=y"],
    &["cache", "prune", "--max-size=1X"],
    &["cache", "prune", "release"],
];

#[test]
fn failures_have_a_cause_and_a_hint() {
    let sandbox = runs::with_small_release();
    fs::write(
        sandbox.path("wrong.toml"),
        "tagg = \"x\"\nexpose = 1.5\nconfig = \"x\"\n",
    )
    .unwrap();
    let mut all = String::new();
    let mut run = |shown: &[&str], words: &[std::ffi::OsString]| {
        let outcome = sandbox.run(words);
        assert_ne!(outcome.code, Some(0), "{shown:?}");
        let code = outcome.code.unwrap_or_default();
        let text = outcome.stderr_redacted();
        all += &format!("$ imgbuild {} # {code}\n{text}\n", shown.join(" "));
    };
    for words in BUILDS {
        run(words, &runs::words("release", words));
    }
    for words in COMMANDS {
        let typed: Vec<_> = words.iter().map(Into::into).collect();
        run(words, &typed);
    }
    insta::assert_snapshot!("failures", all);
}
