//! The check: every warning, how findings are said and counted, and that the
//! table in the documentation has them all.

use std::collections::BTreeSet;
use std::path::Path;

use fs_err as fs;
use imgbuild_release::finding::RULES;
use imgbuild_testing::Sandbox;
use serde_json::Value;

use crate::engine::findings::{FOREIGN, ROWS, compile, flags, hello, rewritten, with_library};
use crate::runs;
use crate::support::image::{build_in, sandbox};
use crate::support::{has_programs, program, skip};

/// A release that a rule warns of.
struct Row {
    rule: &'static str,
    /// Makes the release in a sandbox, and returns further flags.
    prepare: fn(&Sandbox, &Path) -> Vec<String>,
}

fn write(path: &Path, content: impl AsRef<[u8]>) {
    let parent = path.parent().expect("it is in a sandbox");
    fs::create_dir_all(parent).expect("there is room for it");
    fs::write(path, content).expect("there is room for it");
}

const ROWS_OF_WARNINGS: &[Row] = &[
    Row {
        rule: "program-missing",
        prepare: |_, release| {
            let script = release.join("run");
            write(&script, "#!/bin/sh\ncut -c1 /etc/passwd\n");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(script, mode).expect("it was made");
            flags(&["--programs=none"])
        },
    },
    Row {
        rule: "program-not-executable",
        prepare: |_, release| {
            let library = hello(release);
            write(
                &release.join("bin/migrate"),
                fs::read(library).expect("it was made"),
            );
            Vec::new()
        },
    },
    Row {
        rule: "environment-unused",
        prepare: |_, release| {
            let script = release.join("run");
            write(&script, "#!/usr/bin/env python3\n");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(script, mode).expect("it was made");
            write(&release.join(".venv/pyvenv.cfg"), "");
            fs::create_dir_all(release.join(".venv/bin")).expect("there is room for it");
            let link = release.join(".venv/bin/python3");
            fs_err::os::unix::fs::symlink("/usr/bin/python3", link).expect("it is free");
            flags(&["--cmd=run"])
        },
    },
    Row {
        rule: "module-unusable",
        prepare: |_, release| {
            with_library(release);
            let mut bytes = fs::read(release.join("libown.so")).expect("it was made");
            // `e_machine`: EM_AARCH64.
            bytes[18..20].copy_from_slice(&[183, 0]);
            write(&release.join("prebuilt/own.node"), bytes);
            Vec::new()
        },
    },
    Row {
        rule: "release-forbidden",
        prepare: |sandbox, release| {
            hello(release);
            let file = sandbox.path("settings");
            write(&file, "x");
            vec![format!("--add={}:/app/settings:0600", file.display())]
        },
    },
    Row {
        rule: "port-privileged",
        prepare: |_, release| {
            hello(release);
            flags(&["--expose=80"])
        },
    },
    Row {
        rule: "healthcheck-broken",
        prepare: |_, release| {
            hello(release);
            flags(&["--healthcheck=/bin/curl"])
        },
    },
    Row {
        rule: "new-processor",
        prepare: |_, release| {
            let level = ["-o", "app", "-Wl,-z,x86-64-v3"];
            let library = ["-shared", "-fPIC", "-o", "libown.so"];
            compile(release, "int own(void) { return 0; }", &library);
            compile(release, "int main(void) { return 0; }", &level);
            Vec::new()
        },
    },
    Row {
        rule: "certificates-missing",
        prepare: |_, release| {
            let library = ["-shared", "-fPIC", "-o", "libown.so"];
            compile(release, "int own(void) { return 0; }", &library);
            let source = "#include <stdio.h>\nint main(void) { return puts(\"/etc/ssl/certs/ca-certificates.crt\"); }";
            compile(release, source, &["-o", "app"]);
            Vec::new()
        },
    },
    Row {
        rule: "fonts-missing",
        prepare: |_, release| {
            let source = "int own(void) { return 0; }";
            let library = ["-shared", "-fPIC", "-o", "libfontconfig.so.1"];
            compile(release, source, &library);
            let user = [
                "-shared",
                "-fPIC",
                "-o",
                "libown.so",
                "-l:libfontconfig.so.1",
            ];
            compile(
                release,
                source,
                &[&["-Wl,--no-as-needed"], &user[..]].concat(),
            );
            compile(release, "int main(void) { return 0; }", &["-o", "app"]);
            flags(&["--cmd=app"])
        },
    },
    Row {
        rule: "variable-dangling",
        prepare: |_, release| {
            hello(release);
            flags(&["--env=TZ=Europe/Berlin"])
        },
    },
    Row {
        rule: "secret-file",
        prepare: |_, release| {
            hello(release);
            write(&release.join(".env"), "TOKEN=hunter2");
            write(
                &release.join("key.pem"),
                "-----BEGIN PRIVATE KEY-----\nhunter2\n",
            );
            let bytes = "hunter2A".repeat(8);
            let key = format!("-----BEGIN PRIVATE KEY-----\n{bytes}\n-----END PRIVATE KEY-----\n");
            write(&release.join("notes"), key);
            Vec::new()
        },
    },
    Row {
        rule: "secret-variable",
        prepare: |_, release| {
            hello(release);
            flags(&["--env=GITHUB_TOKEN=hunter2"])
        },
    },
    Row {
        rule: "secret-configuration",
        prepare: |_, release| {
            hello(release);
            let token = format!("gh{}_{}", "p", "Gh4kT9wLx2".repeat(4));
            vec![format!("--label=note={token}")]
        },
    },
    Row {
        rule: "link-dangling",
        prepare: |_, release| {
            hello(release);
            fs_err::os::unix::fs::symlink("../gone", release.join("link")).expect("it is free");
            Vec::new()
        },
    },
    Row {
        rule: "set-id",
        prepare: |sandbox, release| {
            let program = hello(release);
            let own = sandbox.path("own");
            fs::copy(program, &own).expect("there is room for it");
            vec![format!("--add={}:/opt/own:4755", own.display())]
        },
    },
    Row {
        rule: "world-writable",
        prepare: |sandbox, release| {
            hello(release);
            let file = sandbox.path("file");
            write(&file, "x");
            vec![format!("--add={}:/srv/file:0666", file.display())]
        },
    },
    Row {
        rule: "case-collision",
        prepare: |_, release| {
            hello(release);
            write(&release.join("README"), "x");
            write(&release.join("Readme"), "x");
            Vec::new()
        },
    },
    Row {
        rule: "duplicate-content",
        prepare: |_, release| {
            hello(release);
            write(&release.join("one/data"), runs::noise(1 << 20));
            write(&release.join("two/data"), runs::noise(1 << 20));
            Vec::new()
        },
    },
    Row {
        rule: "build-leftover",
        prepare: |_, release| {
            hello(release);
            write(&release.join("main.o"), "x");
            write(&release.join("lib/__pycache__/a.pyc"), "x");
            Vec::new()
        },
    },
    Row {
        rule: "debug-information",
        prepare: |_, release| {
            hello(release);
            let library = ["-shared", "-fPIC", "-o", "libown.so"];
            let section = "asm(\".pushsection .debug_info\\n.zero 2097152\\n.popsection\");";
            compile(release, section, &library);
            Vec::new()
        },
    },
];

#[test]
fn programs_that_start_a_shell_are_named_with_v() {
    if !has_programs(&["gcc"]) {
        return;
    }
    let sandbox = sandbox();
    let release = sandbox.path("release");
    fs::create_dir_all(&release).expect("there is room for it");
    let library = ["-shared", "-fPIC", "-o", "libown.so"];
    compile(&release, "int own(void) { return 0; }", &library);
    let source = "#include <stdlib.h>\nint main(void) { return system(\"true\"); }";
    compile(&release, source, &["-o", "app"]);
    let line = "`/app/app` may start commands with `/bin/sh`, which the image does not have";
    for (flags, expected) in [
        (&["-v"][..], true),
        (&[], false),
        (&["-v", "--program=/bin/sh"], false),
    ] {
        let words = ["--release=release", "--cmd=app", "--tag=a:b", "--dry-run"];
        let outcome = sandbox.run([&words, flags].concat()).success();
        let told = outcome.stderr_text().contains(line);
        assert_eq!(told, expected, "{}", outcome.report());
    }
}

#[test]
fn every_warning_is_said_and_stops_nothing() {
    for row in ROWS_OF_WARNINGS {
        if row.rule == "environment-unused" && !Path::new("/usr/bin/python3").is_file() {
            skip("`/usr/bin/python3`");
            continue;
        }
        let sandbox = sandbox();
        let tree = "0644 file data/file \"x\"";
        let release = sandbox.tree("release", tree).expect("there is room for it");
        let mut words = (row.prepare)(&sandbox, &release);
        let release = release.to_str().expect("a sandbox has a plain name");
        let fixed = ["--release", release, "--output=image.tar", "--json"];
        words.extend(fixed.map(str::to_owned));
        let outcome = sandbox.run(&words).success();
        let mark = format!("[{}]", row.rule);
        let said = outcome.stderr_text();
        let is_told = |line: &str| line.starts_with("warning: ") && line.ends_with(&mark);
        assert!(
            said.lines().any(is_told),
            "{}: {}",
            row.rule,
            outcome.report()
        );
        assert!(!said.contains("hunter2"), "{}", outcome.report());
        let json: Value = serde_json::from_slice(&outcome.stdout).unwrap();
        let findings = json["images"][0]["findings"].as_array().unwrap();
        let is_it = |finding: &&Value| finding["rule"] == row.rule;
        let finding = findings.iter().find(is_it).unwrap();
        assert_eq!(finding["severity"], "warning");
        for field in ["reason", "remedy"] {
            assert!(!finding[field].as_str().unwrap().is_empty());
        }
        assert!(!json.to_string().contains("hunter2"));
        drop(sandbox.run(["check", "image.tar"]).success());
    }
}

#[test]
fn a_file_that_is_not_a_secret_can_be_allowed() {
    let sandbox = runs::sandbox();
    let tree = "0644 file .env \"A=b\"\n0644 file tests/key.kdbx \"x\"\n0644 file data \"x\"";
    sandbox.tree("release", tree).unwrap();
    let found = |allowed: &[&str]| {
        let words = [&["--output=image.tar", "--json"], allowed].concat();
        let outcome = runs::build(&sandbox, &words).success();
        let json: Value = serde_json::from_slice(&outcome.stdout).unwrap();
        let findings = json["images"][0]["findings"].as_array().unwrap().iter();
        let secrets = findings.filter(|finding| finding["rule"] == "secret-file");
        let has_no_effect = outcome
            .stderr_text()
            .contains("`--allow-secret /app/data` has no effect: no file with a secret matches it");
        (secrets.count(), has_no_effect)
    };
    assert_eq!(found(&[]), (2, false));
    assert_eq!(found(&["--allow-secret=/app/.env"]), (1, false));
    assert_eq!(
        found(&["--allow-secret=*.kdbx", "--allow-secret=.env"]),
        (0, false)
    );
    assert_eq!(found(&["--allow-secret=/app/tests"]), (1, false));
    assert_eq!(found(&["--allow-secret=/app/data"]), (2, true));
    let file = "allow-secret = [\".env\", \"/app/tests/*\"]\n";
    fs::write(sandbox.path("imgbuild.toml"), file).unwrap();
    assert_eq!(found(&[]), (0, false));
}

#[test]
fn what_earlier_runs_wrote_is_named_and_goes_in() {
    let sandbox = runs::with_small_release();
    let release = sandbox.path("release");
    let run = |output: &str| {
        let mut command = sandbox.command(runs::words(".", &["--output", output, "--json"]));
        command.current_dir(&release);
        sandbox.finish(&mut command, b"").success()
    };
    let first = run("first.tar");
    assert!(
        !first.stderr_text().contains("[build-leftover]"),
        "{}",
        first.report()
    );
    drop(run("oci:layout:one"));
    for _ in 0..2 {
        let outcome = run("second.tar");
        let json: Value = serde_json::from_slice(&outcome.stdout).unwrap();
        let findings = json["images"][0]["findings"].as_array().unwrap().iter();
        let left = findings.filter(|finding| finding["rule"] == "build-leftover");
        let paths: Vec<&str> = left
            .map(|finding| finding["path"].as_str().unwrap())
            .collect();
        assert_eq!(paths, ["/app/first.tar", "/app/layout"]);
        assert!(
            outcome
                .stderr_text()
                .contains("exclude it with `--exclude`")
        );
    }
    let image = imgbuild_testing::unpack(&release.join("second.tar")).unwrap();
    let files = image.files();
    assert!(files.contains_key(Path::new("app/first.tar")));
    assert!(!files.contains_key(Path::new("app/second.tar")));
}

#[test]
fn what_other_builders_write_is_warned_of() {
    let closed = |config: &mut Value| {
        config["WorkingDir"] = "/root".into();
        config["User"] = "5".into();
    };
    let port = |config: &mut Value| {
        config["ExposedPorts"] = serde_json::json!({"http/tcp": {}});
    };
    for (rule, change) in [
        ("workdir-forbidden", closed as fn(&mut Value)),
        ("port-invalid", port),
    ] {
        let hello = program::c_release("hello", &["gcc"]);
        let built = build_in(sandbox(), &hello, rule, &["--user=0"]);
        let archive = rewritten(&built, change);
        let archive = archive.to_str().unwrap();
        let outcome = built.sandbox.run(["check", archive]).success();
        let mark = format!("[{rule}]");
        assert!(
            outcome.stderr_text().contains(&mark),
            "{}",
            outcome.report()
        );
    }
}

#[test]
fn every_rule_has_a_row_in_the_table_and_a_test() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/findings.md");
    let text = fs::read_to_string(path).unwrap();
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let named: BTreeSet<&str> = rows
        .iter()
        .filter_map(|row| row.split('`').nth(1))
        .collect();
    let known: BTreeSet<&str> = RULES.iter().map(|row| row.name).collect();
    assert_eq!(named, known);
    let engine = ROWS.iter().map(|row| (row.rule, row.engine));
    let foreign = FOREIGN.iter().map(|row| (row.rule, row.engine));
    let shown: Vec<(&str, &str)> = engine.chain(foreign).collect();
    for (rule, engine) in &shown {
        let has_it = |row: &&str| row.starts_with(&format!("| `{rule}`")) && row.contains(engine);
        assert!(rows.iter().any(has_it), "{rule}: {engine}");
    }
    let mut tested: BTreeSet<&str> = shown.iter().map(|(rule, _)| *rule).collect();
    tested.extend(ROWS_OF_WARNINGS.iter().map(|row| row.rule));
    // `tests/engine/refused.rs` has images for the last one.
    tested.extend(["port-invalid", "workdir-forbidden", "image-refused"]);
    assert_eq!(tested, known);
}

#[test]
fn files_with_one_fault_share_a_line() {
    let sandbox = sandbox();
    let text = "0755 file run \"#!/bin/sh\\n./a; ./b; exec ./c\\n\"\n\
        0755 file a \"#!/nowhere/sh\\n\"\n0755 file b \"#!/nowhere/sh\\n\"\n\
        0755 file c \"#!/nowhere/other\\n\"\n";
    let release = sandbox.tree("release", text).unwrap();
    let release = release.to_str().unwrap();
    let outcome = sandbox.run(["--release", release, "--cmd=run", "--dry-run"]);
    let outcome = outcome.success();
    let said = outcome.stderr_text();
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.ends_with("[interpreter-missing]"))
        .collect();
    assert_eq!(
        lines,
        [
            "warning: the interpreter `/nowhere/sh` of `/app/a` does not exist in the image: line 1 is `#!/nowhere/sh`; the same with 1 other file [interpreter-missing]",
            "warning: the interpreter `/nowhere/other` of `/app/c` does not exist in the image: line 1 is `#!/nowhere/other` [interpreter-missing]",
        ],
        "{said}"
    );
}

#[test]
fn ten_findings_of_a_rule_are_said_and_the_rest_is_counted() {
    let sandbox = runs::sandbox();
    let release: String = (10..25)
        .map(|number| format!("link l{number} -> gone\n"))
        .collect();
    sandbox.tree("release", &release).unwrap();
    let outcome = runs::build(&sandbox, &["--output=image.tar", "--json"]).success();
    let said = outcome.stderr_text();
    let lines = said
        .lines()
        .filter(|line| line.ends_with("[link-dangling]"));
    assert_eq!(lines.count(), 11, "{said}");
    assert!(
        said.contains("warning: … and 5 more [link-dangling]"),
        "{said}"
    );
    assert_eq!(
        said.lines()
            .filter(|line| line.starts_with("hint: "))
            .count(),
        1
    );
    let json: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(json["images"][0]["findings"].as_array().unwrap().len(), 15);
}

/// A release whose command is nowhere.
fn broken() -> Sandbox {
    let sandbox = runs::sandbox();
    sandbox.tree("release", "0644 file data \"x\"").unwrap();
    sandbox
}

const BROKEN: [&str; 5] = [
    "--release=release",
    "--cmd=gone",
    "--platform=linux/amd64",
    "--no-cache",
    "--output=image.tar",
];

#[test]
fn an_image_that_does_not_start_is_made_only_when_asked_for() {
    for (choice, code, expected) in [
        (
            "--check=error",
            1,
            "error: the command `/app/gone` cannot run",
        ),
        (
            "--check=warn",
            0,
            "warning: the command `/app/gone` cannot run",
        ),
        ("--check=off", 0, ""),
    ] {
        let sandbox = broken();
        let words = BROKEN.iter().chain([&choice]);
        let outcome = sandbox.run(words).exited(code);
        assert!(
            outcome.stderr_text().contains(expected),
            "{}",
            outcome.report()
        );
        let is_said = outcome.stderr_text().contains("[command-missing]");
        assert_eq!(is_said, !expected.is_empty(), "{}", outcome.report());
        assert_eq!(sandbox.path("image.tar").exists(), code == 0);
    }
}

#[test]
fn a_refusal_is_data_as_well() {
    let sandbox = broken();
    let outcome = sandbox.run(BROKEN.iter().chain([&"--json"])).exited(1);
    let json: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let finding = &json["findings"][0];
    assert_eq!(finding["rule"], "command-missing");
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["path"], "/app/gone");
    let words = BROKEN.iter().chain(&["--json", "--dry-run"]);
    let outcome = sandbox.run(words).exited(1);
    let json: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(json["images"][0]["findings"][0], *finding);
    assert!(json["images"][0]["layers"].is_array());
}

#[test]
fn quiet_says_errors_and_no_warnings() {
    let sandbox = broken();
    let words = BROKEN.iter().chain(&["--quiet", "--expose=80"]);
    let outcome = sandbox.run(words).exited(1);
    let said = outcome.stderr_text();
    assert!(said.contains("[command-missing]"), "{said}");
    assert!(!said.contains("[port-privileged]"), "{said}");
}

#[test]
fn what_cannot_be_checked_is_refused() {
    let sandbox = runs::with_small_release();
    let both = ["--output=oci:layout:one", "--tag=app:1"];
    drop(runs::build(&sandbox, &both).success());
    drop(
        runs::build(
            &sandbox,
            &["--output=oci:layout:two", "--cmd=x", "--check=off"],
        )
        .exited(0),
    );
    for (words, expected) in [
        (&["check", "nowhere"][..], "nowhere"),
        (&["check", "release"], "image layout"),
        (&["check", "layout"], "`oci:layout:TAG`"),
        (&["check", "oci:layout:three"], "three"),
        (
            &["check", "oci:layout:one", "--platform=linux/arm64"],
            "linux/arm64",
        ),
    ] {
        let outcome = sandbox.run(words).exited(1);
        assert!(
            outcome.stderr_text().contains(expected),
            "{}",
            outcome.report()
        );
        assert!(outcome.stdout.is_empty(), "{}", outcome.report());
    }
    drop(sandbox.run(["check", "oci:layout:one"]).success());
    drop(sandbox.run(["check", "layout", "--tag=one"]).success());
}

#[test]
fn findings_are_the_same_every_time() {
    let sandbox = runs::sandbox();
    let release = "link b -> x\nlink a -> x\n0644 file .env \"\"\n0644 file z.o \"\"";
    sandbox.tree("release", release).unwrap();
    let json = || {
        let outcome = runs::build(&sandbox, &["--output=image.tar", "--json"]).success();
        let json: Value = serde_json::from_slice(&outcome.stdout).unwrap();
        json["images"][0]["findings"].clone()
    };
    let first = json();
    assert_eq!(first, json());
    let rules: Vec<&str> = first
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["rule"].as_str().unwrap())
        .collect();
    assert_eq!(
        rules,
        [
            "secret-file",
            "link-dangling",
            "link-dangling",
            "build-leftover"
        ]
    );
    let checked = sandbox.run(["check", "image.tar", "--json"]).success();
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let paths = |list: &Value| -> Vec<Value> {
        let list = list.as_array().unwrap().iter();
        list.map(|one| one["path"].clone()).collect()
    };
    assert_eq!(paths(&checked["findings"]), paths(&first));
}

#[test]
fn what_nothing_starts_is_never_an_error() {
    let sandbox = sandbox();
    let release = sandbox.tree("release", "0755 dir vendor").unwrap();
    // Another program, whose library is nowhere.
    with_library(&release);
    fs::rename(release.join("app"), release.join("vendor/other")).unwrap();
    fs::remove_file(release.join("libown.so")).unwrap();
    let program = hello(&release);
    let mut bytes = fs::read(&program).unwrap();
    // One for arm64, by its `e_machine`.
    bytes[18..20].copy_from_slice(&[183, 0]);
    let prebuilt = release.join("vendor/prebuilt");
    fs::copy(&program, &prebuilt).unwrap();
    fs::write(&prebuilt, bytes).unwrap();
    let built = build_in(sandbox, &release, "nothing-starts", &["--entrypoint=app"]);
    let archive = built.archive.to_str().unwrap();
    let outcome = built.sandbox.run(["check", archive, "--json"]).success();
    let json: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let found: BTreeSet<String> = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {} {}", one["severity"], one["rule"], one["path"]).replace('"', ""))
        .collect();
    assert_eq!(
        found,
        BTreeSet::from([
            "warning library-missing /app/vendor/other".to_owned(),
            "warning module-unusable /app/vendor/prebuilt".to_owned(),
        ])
    );
}

/// A release whose program needs a library that is not in the search path,
/// started by `service`.
fn with_hidden_library(sandbox: &Sandbox, service: &str) {
    let release = sandbox.path("release");
    fs::create_dir_all(release.join("bin")).unwrap();
    fs::create_dir_all(release.join("lib")).unwrap();
    with_library(&release);
    fs::rename(release.join("libown.so"), release.join("lib/libown.so")).unwrap();
    fs::rename(release.join("app"), release.join("bin/app.real")).unwrap();
    write(&release.join("bin/service"), service);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(release.join("bin/service"), mode).unwrap();
}

#[test]
fn what_a_variable_or_a_script_finds_is_no_error() {
    if !has_programs(&["gcc"]) {
        return;
    }
    let sandbox = runs::sandbox();
    let script = "#!/bin/sh\nexport LD_LIBRARY_PATH=/app/lib\nexec /app/bin/app.real\n";
    with_hidden_library(&sandbox, script);
    let base = [
        "--release=release",
        "--no-cache",
        "--output=image.tar",
        "--json",
    ];
    let found = |more: &[&str]| {
        let outcome = sandbox.run(base.iter().chain(more));
        let json: Value = serde_json::from_slice(&outcome.stdout).unwrap();
        let findings = json
            .pointer("/images/0/findings")
            .unwrap_or(&json["findings"]);
        let findings = findings.as_array().unwrap().iter();
        let missing = findings.filter(|finding| finding["rule"] == "library-missing");
        let severities = missing.map(|finding| finding["severity"].as_str().unwrap().to_owned());
        (outcome.code, severities.collect::<Vec<_>>())
    };
    let direct = "--entrypoint=/app/bin/app.real";
    assert_eq!(found(&[direct]), (Some(1), vec!["error".to_owned()]));
    let variable = "--env=LD_LIBRARY_PATH=/app/lib";
    assert_eq!(found(&[direct, variable]), (Some(0), vec![]));
    assert_eq!(
        found(&["--cmd=bin/service"]),
        (Some(0), vec!["warning".to_owned()])
    );
}

#[test]
fn a_command_line_in_one_argument_is_recognized() {
    let sandbox = runs::with_small_release();
    let words = [
        "--release=release",
        "--no-cache",
        "--runtime=none",
        "--cmd=server --verbose",
        "--output=image.tar",
    ];
    let outcome = sandbox.run(words);
    assert_eq!(outcome.code, Some(1));
    let said = outcome.stderr_text();
    assert!(
        said.contains("hint: give each argument separately"),
        "{said}"
    );
    assert!(!sandbox.path("image.tar").exists());
}

#[test]
fn an_environment_without_its_python_is_to_be_created_again() {
    let sandbox = runs::sandbox();
    let tree = "0644 file .venv/pyvenv.cfg \"\"\nlink .venv/bin/python -> python3\n\
         link .venv/bin/python3 -> /nowhere/python3\n0644 file app.py \"\"\n";
    sandbox.tree("shop", tree).unwrap();
    let words = ["--release=shop", "--dry-run", "--skeleton=none"];
    let outcome = sandbox.run(words);
    let said = outcome.stderr_text();
    assert!(
        said.contains("hint: create the virtual environment again"),
        "{said}"
    );
}
