//! The command line as a contract: its reference, its outputs, its exit codes,
//! and one digest wherever an image is written to.

use std::collections::BTreeSet;
use std::path::Path;

use fs_err as fs;
use imgbuild_testing::registry::Behavior;
use imgbuild_testing::sandbox::finish;
use imgbuild_testing::{FakeRegistry, Outcome, Sandbox, unpack};

use crate::runs;
use crate::support::image::{confirmed, result_digest};

/// The main command and every subcommand.
const COMMANDS: [&[&str]; 12] = [
    &[],
    &["check"],
    &["validate"],
    &["copy"],
    &["index", "create"],
    &["certificates"],
    &["cache"],
    &["cache", "info"],
    &["cache", "prune"],
    &["cache", "clear"],
    &["completions"],
    &["man"],
];

fn help(words: &[&str]) -> String {
    let sandbox = runs::sandbox();
    let outcome = sandbox.run(words.iter().chain(&["--help"])).success();
    assert!(outcome.stderr.is_empty(), "{}", outcome.report());
    outcome.stdout_text().to_owned()
}

#[test]
fn the_reference_in_the_documentation_is_what_help_says() {
    let mut reference = "# Command-line reference\n\nWritten by a test: `cargo xtask bless` brings it up to date.\n".to_owned();
    for words in COMMANDS {
        let name = ["imgbuild"]
            .iter()
            .chain(words)
            .copied()
            .collect::<Vec<_>>()
            .join(" ");
        let text = help(words);
        let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
        reference.push_str(&format!(
            "\n## `{name}`\n\n```text\n{}\n```\n",
            lines.join("\n")
        ));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli-reference.md");
    if std::env::var_os("IMGBUILD_BLESS").is_some() {
        fs::write(&path, &reference).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == reference,
        "docs/cli-reference.md is stale: run `cargo xtask bless`"
    );
}

#[test]
fn every_subcommand_is_in_the_reference() {
    let help = help(&[]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let names: Vec<&str> = commands
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .collect();
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    let mut expected: Vec<&str> = COMMANDS[1..].iter().map(|words| words[0]).collect();
    expected.dedup();
    // That of clap.
    expected.push("help");
    assert_eq!(names, expected);
}

/// Every `--flag` in a text.
fn flags_in(text: &str) -> BTreeSet<String> {
    let mut flags = BTreeSet::new();
    for (start, _) in text.match_indices("--") {
        let is_start =
            !text[..start].ends_with(|before: char| before.is_alphanumeric() || before == '-');
        let name: String = text[start + 2..]
            .chars()
            .take_while(|character| character.is_ascii_lowercase() || *character == '-')
            .collect();
        let name = name.trim_end_matches('-');
        if is_start && !name.is_empty() {
            flags.insert(format!("--{name}"));
        }
    }
    flags
}

fn known_flags() -> BTreeSet<String> {
    // Only what is listed at the start of a line is a flag of the program's.
    let all: Vec<String> = COMMANDS.iter().map(|words| help(words)).collect();
    let listed = all
        .iter()
        .flat_map(|help| help.lines())
        .filter(|line| line.trim_start().starts_with('-'));
    listed
        .flat_map(|line| flags_in(line.split_once("  ").map_or(line, |_| line)))
        .collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list of flags")]
fn the_flags_of_the_contract_exist() {
    let known = known_flags();
    for flag in [
        "--release",
        "--kind",
        "--bin",
        "--prefix",
        "--cacert",
        "--tag",
        "--entrypoint",
        "--cmd",
        "--env",
        "--env-file",
        "--expose",
        "--user",
        "--workdir",
        "--volume",
        "--label",
        "--annotation",
        "--stop-signal",
        "--healthcheck",
        "--author",
        "--no-entrypoint",
        "--add",
        "--exclude",
        "--include",
        "--skeleton",
        "--runtime",
        "--sysroot",
        "--add-library",
        "--platform",
        "--created",
        "--mtime",
        "--compression",
        "--output",
        "--load",
        "--max-layers",
        "--dry-run",
        "--json",
        "--digest-file",
        "--iidfile",
        "--quiet",
        "--verbose",
        "--version",
        "--allow-set-id",
    ] {
        assert!(known.contains(flag), "{flag}: {known:?}");
    }
    let sandbox = runs::with_small_release();
    let short = [
        "--release=release",
        "-t",
        "app",
        "-o",
        "app.tar",
        "-e",
        "A=1",
        "-v",
        "--no-entrypoint",
    ];
    drop(sandbox.run(short).success());
    drop(
        sandbox
            .run(["--release=release", "-q", "--no-entrypoint"])
            .success(),
    );
}

#[test]
fn the_flags_that_messages_name_exist() {
    let mut known = known_flags();
    // Those of other programs.
    let others =
        "--format --import --init --launcher --no-install-recommends --strip-debug --target";
    known.extend(others.split(' ').map(str::to_owned));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for directory in [
        "src",
        "crates/imgbuild-oci/src",
        "crates/imgbuild-release/src",
    ] {
        for path in runs::listing(&root.join(directory)).into_keys() {
            let is_test = path.to_string_lossy().contains("test")
                || path.to_string_lossy().contains("fixture");
            if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
                sources.push(root.join(directory).join(path));
            }
        }
    }
    for document in [
        "configuration",
        "findings",
        "kinds",
        "labels",
        "packages",
        "registry",
    ] {
        sources.push(root.join(format!("docs/{document}.md")));
    }
    let mut named = BTreeSet::new();
    for source in &sources {
        let text = fs::read_to_string(source).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        // In messages and documentation, flags stand in backticks.
        for words in code
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|words| words.contains("--"))
        {
            for flag in flags_in(words) {
                assert!(known.contains(&flag), "{flag} in {}", source.display());
                named.insert(flag);
            }
        }
    }
    for flag in [
        "--exclude",
        "--allow-set-id",
        "--no-entrypoint",
        "--output",
        "--tag",
    ] {
        assert!(
            named.contains(flag),
            "no message names {flag}: the search is broken"
        );
    }
}

/// Builds the small release to every kind of destination.
const OUTPUTS: [&str; 6] = [
    "image.tar",
    "docker-archive:docker.tar",
    "oci-archive:oci.tar",
    "image.tar.gz",
    "oci:layout:v1",
    "directory",
];

#[test]
fn an_image_has_one_digest_wherever_it_is_written() {
    for compression in ["none", "gzip", "gzip:1"] {
        let sandbox = runs::with_small_release();
        let compression = format!("--compression={compression}");
        let mut digests = BTreeSet::new();
        for output in OUTPUTS {
            let flag = format!("--output={output}");
            let outcome = runs::build(&sandbox, &[&flag, &compression]).success();
            digests.insert(result_digest(&outcome));
        }
        let outcome = runs::build(&sandbox, &["--output=-", &compression]).success();
        fs::write(sandbox.path("piped.tar"), &outcome.stdout).unwrap();
        assert_eq!(digests.len(), 1, "{compression}");
        let digest = digests.into_iter().next().unwrap();
        assert!(
            outcome.stderr_text().contains(&digest),
            "{}",
            outcome.report()
        );
        for source in [
            "image.tar",
            "docker.tar",
            "oci.tar",
            "image.tar.gz",
            "layout",
            "directory",
            "piped.tar",
        ] {
            confirmed(&sandbox.path(source), &digest);
            let outcome = sandbox.run(["validate", source]).success();
            assert!(outcome.stdout.is_empty(), "{}", outcome.report());
        }
    }
}

#[test]
fn validate_reads_every_destination_by_its_transport() {
    let sandbox = runs::with_small_release();
    let outputs = OUTPUTS.map(|output| format!("--output={output}"));
    drop(runs::build(&sandbox, &outputs.each_ref().map(String::as_str)).success());
    for source in [
        "docker-archive:docker.tar",
        "docker-archive:image.tar",
        "oci-archive:oci.tar",
        "oci-archive:image.tar.gz",
        "oci:layout",
        "oci:directory",
        "./directory",
    ] {
        let outcome = sandbox.run(["validate", source]).success();
        assert!(outcome.stdout.is_empty(), "{}", outcome.report());
        assert!(
            outcome.stderr_text().contains("is valid"),
            "{}",
            outcome.report()
        );
        let outcome = sandbox.run(["validate", "--json", source]).success();
        let expected = "{\"schemaVersion\":1,\"violations\":[]}\n";
        assert_eq!(outcome.stdout_text(), expected, "{}", outcome.report());
    }
}

#[test]
fn validate_ends_with_1_and_names_what_disagrees() {
    let sandbox = runs::with_small_release();
    let digest = result_digest(&runs::build(&sandbox, &["--output=oci:layout"]).success());
    let blob = sandbox.path("layout/blobs").join(digest.replace(':', "/"));
    let mut manifest = fs::read(&blob).unwrap();
    manifest.push(b'\n');
    fs::write(&blob, manifest).unwrap();
    let outcome = sandbox.run(["validate", "layout"]).exited(1);
    assert!(
        outcome.stdout_text().contains(&digest),
        "{}",
        outcome.report()
    );
    assert!(
        outcome.stderr_text().contains("violation"),
        "{}",
        outcome.report()
    );
    let outcome = sandbox.run(["validate", "--json", "layout"]).exited(1);
    let result: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert!(!result["violations"].as_array().unwrap().is_empty());
    assert_eq!(result["error"]["exitCode"], 1);
    drop(sandbox.run(["validate", "nowhere"]).exited(1));
    drop(sandbox.run(["validate", "release"]).exited(1));
}

#[test]
fn all_destinations_of_one_run_are_written() {
    let sandbox = runs::with_small_release();
    let flags = OUTPUTS.map(|output| format!("--output={output}"));
    let outcome = runs::build(&sandbox, &flags.each_ref().map(String::as_str)).success();
    let digest = result_digest(&outcome);
    for name in [
        "image.tar",
        "docker.tar",
        "oci.tar",
        "image.tar.gz",
        "layout",
        "directory",
    ] {
        confirmed(&sandbox.path(name), &digest);
    }
    assert_eq!(
        runs::digest_of(&sandbox.path("image.tar")),
        runs::digest_of(&sandbox.path("oci.tar"))
    );
}

fn media_types(sandbox: &Sandbox, source: &str) -> Vec<String> {
    let image = unpack(&sandbox.path(source)).unwrap();
    let layers = image.manifest["layers"].as_array().unwrap().iter();
    layers
        .map(|layer| layer["mediaType"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn layers_are_compressed_by_default_where_they_are_pushed_from() {
    let sandbox = runs::with_small_release();
    for (outputs, name, is_gzip) in [
        (&["--output=a.tar"][..], "a.tar", false),
        (&["--output=b.tar.gz"], "b.tar.gz", false),
        (&["--output=docker-archive:c.tar"], "c.tar", false),
        (&["--output=oci-archive:d.tar"], "d.tar", true),
        (&["--output=oci:e"], "e", true),
        (&["--output=f.tar", "--output=f"], "f.tar", true),
    ] {
        drop(runs::build(&sandbox, outputs).success());
        for media_type in media_types(&sandbox, name) {
            assert_eq!(
                media_type.ends_with("+gzip"),
                is_gzip,
                "{name}: {media_type}"
            );
        }
    }
}

#[test]
fn the_default_output_is_named_like_the_image() {
    for (more, expected) in [
        (&[][..], "release.tar"),
        (&["--tag=registry.example/team/app:1"], "app.tar"),
        (&["--tag=zebra", "--tag=ape"], "zebra.tar"),
    ] {
        let sandbox = runs::with_small_release();
        drop(runs::build(&sandbox, more).success());
        assert_eq!(
            runs::names(sandbox.root())
                .into_iter()
                .find(|name| name != "release")
                .as_deref(),
            Some(expected)
        );
    }
}

#[test]
fn standard_output_is_one_line_and_quiet_is_quiet() {
    let sandbox = runs::with_small_release();
    let outcome = runs::build(
        &sandbox,
        &["--output=image.tar", "--exclude=etc", "--threads=1"],
    )
    .success();
    result_digest(&outcome);
    insta::assert_snapshot!(outcome.stderr_redacted(), @r#"
    layer 1/2 `release` 3.5 KiB sha256:ec1092c25c4a33399a7d37174186b65d40b204601107e3a5c54f66ed2e468ce5
    layer 2/2 `skeleton` 1.5 KiB sha256:384afe74c2b0e0943ce7db41f2e304f6db0f07406b91b4066188b9b28f1381a0
    wrote `image.tar`
    kind tree, because it is not a release of any other kind
    image `release:latest` for linux/amd64, created 1970-01-01T00:00:01Z (the default): 2 layers with 2 files, 5.0 KiB; 1 path left out (`-v` lists them)
    "#);
    let outcome = runs::build(&sandbox, &["--output=image.tar", "--quiet"]).success();
    result_digest(&outcome);
    assert!(outcome.stderr.is_empty(), "{}", outcome.report());
    let outcome = runs::build(&sandbox, &["--output=image.tar", "--exclude=etc", "-v"]).success();
    assert!(
        outcome.stderr_text().contains("left out `etc/`: excluded"),
        "{}",
        outcome.report()
    );
}

#[test]
fn the_result_as_json_says_what_was_made() {
    let sandbox = runs::with_small_release();
    let more = [
        "--output=image.tar",
        "--json",
        "--digest-file=digest",
        "--iidfile=id",
        "--tag=app:1",
    ];
    let outcome = runs::build(&sandbox, &more).success();
    let result: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let digest = result["digest"].as_str().unwrap();
    let image = confirmed(&sandbox.path("image.tar"), digest);
    assert_eq!(fs::read_to_string(sandbox.path("digest")).unwrap(), digest);
    let id = image.manifest["config"]["digest"].as_str().unwrap();
    assert_eq!(fs::read_to_string(sandbox.path("id")).unwrap(), id);
    assert_eq!(result["images"][0]["configDigest"], id);
    assert_eq!(
        result["images"][0]["layers"][0]["diffId"],
        image.config["rootfs"]["diff_ids"][0]
    );
    assert_eq!(result["destinations"][0], "image.tar");
    assert_eq!(result["references"][0], "docker.io/library/app:1");
    assert_eq!(result["images"][0]["platform"], "linux/amd64");
}

#[test]
fn the_short_help_fits_a_screen() {
    let outcome = runs::sandbox().run(["-h"]).success();
    let text = outcome.stdout_text();
    assert!(text.lines().count() <= 40, "{text}");
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{text}");
    let place = |words: &str| {
        text.find(words)
            .unwrap_or_else(|| panic!("{words}: {text}"))
    };
    assert!(place("Examples:") < place("--release <"));
    assert!(place("--release <") < place("--tag <") && place("--tag <") < place("--output <"));
    let help = runs::sandbox().run(["help", "check"]).success();
    assert_eq!(
        help.stdout,
        runs::sandbox().run(["check", "--help"]).success().stdout
    );
}

#[test]
fn a_directory_that_stands_alone_is_the_release() {
    let sandbox = runs::with_small_release();
    let more = runs::words("release", &["--output=named.tar"]);
    let named = result_digest(&sandbox.run(&more).success());
    // Without `--release` before it.
    let words = &runs::words("release", &["--output=alone.tar"])[1..];
    assert_eq!(result_digest(&sandbox.run(words).success()), named);
    // Neither is a word of a command, nor one for a command of imgbuild.
    let phrase = ["--no-config", "--cmd", "node", "release"];
    assert!(
        sandbox
            .run(phrase)
            .exited(2)
            .stderr_text()
            .contains("unexpected argument 'release'")
    );
    let index = sandbox.run(["index", "release"]).exited(2);
    assert!(
        !index.stderr_text().contains("--release"),
        "{}",
        index.report()
    );
    drop(sandbox.run(["--", "release"]).exited(2));
    let flags = runs::sandbox().run(["copy", "-h"]).success();
    assert!(flags.stdout_text().contains("--quiet"));
    // A command of another tool is not taken for a directory.
    fs::rename(sandbox.path("release"), sandbox.path("build")).unwrap();
    let refused = sandbox.run(["build"]).exited(2);
    assert!(
        refused.stderr_text().contains("`--release build`"),
        "{}",
        refused.report()
    );
}

#[test]
fn without_a_release_the_one_that_is_there_is_named() {
    let sandbox = runs::sandbox();
    let package = "0644 file package.json \"{\\\"main\\\": \\\"a.js\\\"}\"\n0644 file a.js \"\"";
    sandbox.tree("node", package).unwrap();
    sandbox.tree("data", "0644 file a \"\"").unwrap();
    for (directory, expected) in [
        ("node", "there is a release here: `imgbuild --release .`"),
        ("data", "`imgbuild --help` lists"),
    ] {
        let mut command = sandbox.command::<&str>([]);
        command.current_dir(sandbox.path(directory));
        let outcome = sandbox.finish(&mut command, b"").exited(2);
        assert!(
            outcome.stderr_text().contains(expected),
            "{}",
            outcome.report()
        );
    }
}

#[test]
fn standard_output_and_the_metadata_file_are_for_the_next_program() {
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let sandbox = runs::with_small_release();
    let name = format!("{}/me/app", registry.name());
    let tags = [format!("--tag={name}:2"), format!("--tag={name}:1")];
    let words = ["--push", &tags[0], &tags[1], "--metadata-file=result.json"];
    let outcome = runs::build(&sandbox, &words).success();
    let result: serde_json::Value =
        serde_json::from_slice(&fs::read(sandbox.path("result.json")).unwrap()).unwrap();
    let digest = result["digest"].as_str().unwrap();
    assert_eq!(outcome.stdout_text(), format!("{name}@{digest}\n"));
    assert_eq!(result["pushed"].as_array().unwrap().len(), 2);

    let there = format!("docker://{name}@{digest}");
    let copied = sandbox.run(["copy", &there, "oci:copy:1", "--metadata-file=copied.json"]);
    assert_eq!(copied.success().stdout_text(), format!("{digest}\n"));
    let words = ["--output=-", "--metadata-file=second.json"];
    let archive = runs::build(&sandbox, &words).success();
    assert!(archive.stdout.len() > 1024);
    for file in ["copied.json", "second.json"] {
        let second: serde_json::Value =
            serde_json::from_slice(&fs::read(sandbox.path(file)).unwrap()).unwrap();
        assert_eq!(second["schemaVersion"], 1, "{file}");
    }

    // A result that is not there leaves the file of the last one.
    let failed = ["--no-such-flag", "--metadata-file=second.json", "--json"];
    let outcome = runs::build(&sandbox, &failed).exited(2);
    let failure: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let message = failure["error"]["message"].as_str().unwrap();
    assert!(outcome.stderr_text().contains(message), "{message}");
    let one = runs::build(&sandbox, &["--digest-file=x", "--metadata-file=x"]).exited(2);
    assert!(one.stderr_text().contains("two outputs are one file"));
}

#[test]
fn a_link_to_the_only_program_is_no_second_one() {
    let sandbox = runs::with_small_release();
    let outcome = sandbox
        .run(["--release=release", "--output=image.tar"])
        .success();
    let image = confirmed(&sandbox.path("image.tar"), &result_digest(&outcome));
    assert_eq!(image.config["config"]["Entrypoint"][0], "/app/bin/server");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a snapshot")]
fn a_dry_run_writes_nothing_and_shows_what_a_build_makes() {
    let sandbox = runs::with_small_release();
    let before = runs::listing(sandbox.root());
    let more = [
        "--dry-run",
        "--exclude=etc",
        "--tag=app",
        "--digest-file=digest",
    ];
    let outcome = runs::build(&sandbox, &more).success();
    insta::assert_snapshot!(outcome.stdout_redacted(), @r#"
    image `app:latest`
    platform linux/amd64
    kind tree, because it is not a release of any other kind
    created 1970-01-01T00:00:01Z (the default)
    compression none
    config {
      "Env": [
        "PATH=/app/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
      ],
      "User": "65532:65532",
      "WorkingDir": "/app"
    }
    option --release release (flag)
    option --exclude etc (flag)
    option --boot script (default)
    option --tag app (flag)
    option --platform linux/amd64 (flag)
    option --max-layers 64 (default)
    option --check error (default)
    option --dry-run (flag)
    option --digest-file digest (flag)
    option --no-sync (flag)
    option --runtime none (flag)
    option --program-files auto (default)
    option --package-records auto (default)
    option --programs auto (default)
    option --skeleton none (flag)
    option --no-entrypoint (flag)
    option --no-cache (flag)
    option --cache stat (default)
    layer `skeleton` 1.5 KiB
      0755 0:0 directory /app
    layer `release` 3.5 KiB
      0755 0:0 directory /app
      0755 0:0 directory /app/bin
      0755 0:0 file /app/bin/server 17 <- release/bin/server
      0777 0:0 symlink /app/current -> bin/server
    left out `etc/`: excluded
    "#);
    let outcome = runs::build(&sandbox, &["--dry-run", "--json"]).success();
    assert_eq!(runs::listing(sandbox.root()), before);
    let plan: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    drop(runs::build(&sandbox, &["--output=image.tar"]).success());
    let image = unpack(&sandbox.path("image.tar")).unwrap();
    for (planned, made) in plan["images"][0]["layers"]
        .as_array()
        .unwrap()
        .iter()
        .zip(&image.layers)
    {
        let entries = planned["entries"].as_array().unwrap();
        let planned: Vec<&str> = entries
            .iter()
            .map(|entry| entry["path"].as_str().unwrap())
            .collect();
        let made: Vec<String> = made
            .entries
            .iter()
            .map(|(path, _)| format!("/{}", path.display()))
            .collect();
        let made: Vec<&str> = made.iter().map(|path| path.trim_end_matches('/')).collect();
        assert_eq!(planned, made);
    }
    assert_eq!(
        plan["images"][0]["layers"].as_array().unwrap().len(),
        image.layers.len()
    );
}

fn completions(shell: &str) -> Outcome {
    runs::sandbox().run(["completions", shell]).success()
}

#[test]
fn completions_know_every_flag() {
    for shell in ["bash", "zsh", "fish"] {
        let outcome = completions(shell);
        let script = outcome.stdout_text();
        for flag in known_flags() {
            let name = match shell {
                "fish" => format!("-l {}", &flag[2..]),
                _ => flag.clone(),
            };
            assert!(script.contains(&name), "{shell}: {flag}");
        }
        assert!(script.contains("validate"), "{shell}");
    }
}

#[test]
fn completions_are_scripts_that_shells_take() {
    for (shell, check) in [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish")] {
        let sandbox = Sandbox::new(shell).unwrap();
        fs::write(sandbox.path("script"), completions(shell).stdout).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_there = std::env::split_paths(&path).any(|place| place.join(check).is_file());
        if is_there {
            let mut command = sandbox.command(["-n", "script"]);
            drop(finish(command.env("PATH", path), b"").success());
        }
    }
}

#[test]
fn the_manual_names_every_flag_and_section() {
    let page = runs::sandbox().run(["man", "index", "create"]).success();
    assert!(page.stdout_text().contains(".TH imgbuild-index-create 1"));
    drop(runs::sandbox().run(["man", "nothing"]).exited(2));
    let outcome = runs::sandbox().run(["man"]).success();
    assert!(outcome.stdout_text().contains("\n.SH ENVIRONMENT\n"));
    let page = outcome.stdout_text();
    assert!(page.contains(".TH imgbuild 1"), "{page}");
    let plain = page.replace("\\-", "-");
    for words in [&["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "validate"][..]].concat() {
        assert!(plain.contains(words), "{words}");
    }
    let own: BTreeSet<String> = flags_in(&help(&[]));
    for flag in own.intersection(&known_flags()) {
        assert!(plain.contains(flag.as_str()), "{flag}");
    }
}

#[test]
fn versions_are_told() {
    let sandbox = runs::sandbox();
    let version = format!("imgbuild {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(sandbox.run(["--version"]).success().stdout_text(), version);
    assert_eq!(sandbox.run(["-V"]).success().stdout_text(), version);
    let outcome = sandbox.run(["--version", "-v"]).success();
    assert!(outcome.stdout_text().starts_with(&version));
    assert!(
        outcome.stdout_text().contains("certificates"),
        "{}",
        outcome.report()
    );
    let outcome = sandbox.run(["certificates"]).success();
    assert!(!outcome.stdout.is_empty());
    let pem = sandbox.run(["certificates", "--pem"]).success();
    assert!(pem.stdout_text().matches("BEGIN CERTIFICATE").count() > 50);
}
