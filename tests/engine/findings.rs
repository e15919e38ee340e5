//! The errors of `docs/findings.md`: each image fails in the engine as stated, and
//! is not built while the check is on.

use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;
use imgbuild_testing::Sandbox;
use imgbuild_testing::sandbox::finish;
use serde_json::Value;

use crate::support::docker::Engine;
use crate::support::image::{Built, build_in, member, sandbox};
use crate::support::{has_programs, program};

/// A release whose image cannot run.
pub(crate) struct Row {
    pub(crate) rule: &'static str,
    /// Makes the release in a sandbox, and returns further flags.
    prepare: fn(&Sandbox, &Path) -> Vec<String>,
    /// The error of the engine.
    pub(crate) engine: &'static str,
}

fn nothing(_: &Sandbox, _: &Path) -> Vec<String> {
    Vec::new()
}

pub(crate) fn flags(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// Writes an executable file of the release.
fn script(release: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = release.join("app");
    fs::write(&path, text).expect("there is room for it");
    let mode = std::fs::Permissions::from_mode(0o755);
    fs::set_permissions(&path, mode).expect("it is ours");
}

/// Adds the program `hello` as `app` to the release.
pub(crate) fn hello(release: &Path) -> PathBuf {
    let built = program::c_release("hello", &["gcc"]).join("bin/hello");
    let path = release.join("app");
    fs::copy(built, &path).expect("there is room for it");
    path
}

/// Compiles a C source in the release.
pub(crate) fn compile(release: &Path, source: &str, arguments: &[&str]) {
    fs::write(release.join("source.c"), source).expect("there is room for it");
    let mut command = Command::new("gcc");
    command.args(arguments).arg("source.c").current_dir(release);
    // Libraries follow the objects that need them.
    command.args(["-L.", "-Wl,-rpath,$ORIGIN", "-Wl,--no-as-needed"]);
    let is_program = !arguments.contains(&"-shared");
    command.args(is_program.then_some("-lown"));
    drop(finish(&mut command, b"").success());
    fs::remove_file(release.join("source.c")).expect("it was written");
}

/// Adds a program and its own library to the release.
pub(crate) fn with_library(release: &Path) {
    let library = ["-shared", "-fPIC", "-o", "libown.so"];
    compile(release, "int own(void) { return 0; }", &library);
    compile(
        release,
        "int own(void); int main(void) { return own(); }",
        &["-o", "app"],
    );
}

pub(crate) const ROWS: &[Row] = &[
    Row {
        rule: "command-missing",
        prepare: |_, _| flags(&["--entrypoint=/bin/gone"]),
        engine: "stat /bin/gone: no such file or directory",
    },
    Row {
        rule: "command-dangling",
        prepare: |_, release| {
            fs_err::os::unix::fs::symlink("gone", release.join("app")).expect("it is free");
            flags(&["--entrypoint=app"])
        },
        engine: "no such file or directory",
    },
    Row {
        rule: "command-directory",
        prepare: |_, _| flags(&["--entrypoint=/tmp"]),
        engine: "permission denied",
    },
    Row {
        rule: "command-not-executable",
        prepare: |_, release| {
            fs::write(release.join("app"), "#!/bin/sh\n").expect("there is room for it");
            flags(&["--entrypoint=app"])
        },
        engine: "permission denied",
    },
    Row {
        rule: "command-format",
        prepare: |_, release| {
            script(release, "echo hello\n");
            flags(&["--entrypoint=app", "--program=/bin/sh"])
        },
        engine: "exec format error",
    },
    Row {
        rule: "command-forbidden",
        prepare: |_, release| {
            let program = hello(release);
            let add = format!("--add={}:/opt/app:0700", program.display());
            vec![add, "--entrypoint=/opt/app".to_owned()]
        },
        engine: "permission denied",
    },
    Row {
        rule: "interpreter-missing",
        prepare: |_, release| {
            script(release, "#!/nowhere/sh\n");
            Vec::new()
        },
        engine: "no such file or directory",
    },
    Row {
        rule: "interpreter-missing",
        prepare: |_, release| {
            script(release, "#!/usr/bin/env no-such-shell\n");
            flags(&["--program=/usr/bin/env"])
        },
        engine: "no-such-shell",
    },
    Row {
        rule: "interpreter-missing",
        prepare: |_, release| {
            hello(release);
            flags(&["--runtime=none"])
        },
        engine: "no such file or directory",
    },
    Row {
        rule: "interpreter-moved",
        prepare: |_, release| {
            let shell = release.join("shell");
            fs::rename(hello(release), &shell).expect("it is ours");
            script(release, &format!("#!{} sh\n", shell.display()));
            flags(&["--entrypoint=app"])
        },
        engine: "no such file or directory",
    },
    Row {
        rule: "script-carriage-return",
        prepare: |_, release| {
            script(release, "#!/bin/sh\r\necho hello\r\n");
            flags(&["--program=/bin/sh"])
        },
        engine: "no such file or directory",
    },
    Row {
        rule: "wrong-architecture",
        prepare: |_, release| {
            let path = hello(release);
            let mut bytes = fs::read(&path).expect("it was written");
            // `e_machine`: EM_S390, which no engine here emulates.
            bytes[18..20].copy_from_slice(&[22, 0]);
            fs::write(&path, bytes).expect("it is ours");
            flags(&[
                "--platform=linux/amd64",
                "--runtime=none",
                "--entrypoint=app",
            ])
        },
        engine: "exec format error",
    },
    Row {
        rule: "library-unusable",
        prepare: |_, release| {
            let built = program::c_release("hello-musl", &["musl-gcc"]).join("bin/hello-musl");
            fs::copy(built, release.join("app")).expect("there is room for it");
            let loader = "/lib64/ld-linux-x86-64.so.2:/lib/ld-musl-x86_64.so.1:0755";
            vec!["--runtime=none".to_owned(), format!("--add={loader}")]
        },
        engine: "error while loading shared libraries: libc.so",
    },
    Row {
        rule: "library-missing",
        prepare: |_, release| {
            with_library(release);
            fs::remove_file(release.join("libown.so")).expect("it was made");
            Vec::new()
        },
        engine: "error while loading shared libraries: libown.so: cannot open shared object file: No such file or directory",
    },
    Row {
        rule: "library-unusable",
        prepare: |_, release| {
            with_library(release);
            let path = release.join("libown.so");
            let mut bytes = fs::read(&path).expect("it was made");
            // `EI_CLASS`: 32 bits.
            bytes[4] = 1;
            fs::write(&path, bytes).expect("it is ours");
            Vec::new()
        },
        engine: "wrong ELF class: ELFCLASS32",
    },
    Row {
        rule: "symbol-version-missing",
        prepare: |_, release| {
            let version = |name: &str| {
                let text = format!("{name} {{ global: own; }};");
                fs::write(release.join("own.map"), text).expect("there is room for it");
                let map = "-Wl,--version-script=own.map";
                let library = ["-shared", "-fPIC", "-o", "libown.so", map];
                compile(release, "int own(void) { return 0; }", &library);
            };
            version("OWN_2.0");
            let source = "int own(void); int main(void) { return own(); }";
            compile(release, source, &["-o", "app"]);
            version("OWN_1.0");
            fs::remove_file(release.join("own.map")).expect("it was written");
            Vec::new()
        },
        engine: "version `OWN_2.0' not found (required by /app/app)",
    },
    Row {
        rule: "erlang-missing",
        prepare: |sandbox, _| {
            with_erlang_release(sandbox, "exec erl -boot \"releases/$VSN/start\"", "");
            Vec::new()
        },
        engine: "exec: erl: not found",
    },
    Row {
        rule: "release-incomplete",
        prepare: |sandbox, _| {
            with_erlang_release(
                sandbox,
                ". ./releases/$VSN/env.sh\n: $RELEASE_VM_ARGS",
                "0644 file releases/1.0.0/env.sh \"\"\n0755 file erts-13.1.5/bin/erlexec \"\"",
            );
            flags(&["--exclude=releases/*/env.sh"])
        },
        engine: "./releases/1.0.0/env.sh: No such file",
    },
    Row {
        rule: "program-not-executable",
        prepare: |sandbox, _| {
            with_erlang_release(
                sandbox,
                "exec \"$PWD/erts-$ERTS/bin/erlexec\"",
                "0644 file erts-13.1.5/bin/erlexec \"#!/bin/sh\\n\"",
            );
            Vec::new()
        },
        engine: "erts-13.1.5/bin/erlexec: Permission denied",
    },
    Row {
        rule: "library-forbidden",
        prepare: |sandbox, release| {
            with_library(release);
            let library = sandbox.path("libown.so");
            fs::rename(release.join("libown.so"), &library).expect("it was made");
            vec![format!("--add={}:/app/libown.so:0600", library.display())]
        },
        engine: "error while loading shared libraries: libown.so: cannot open shared object file",
    },
];

/// Writes a release of Erlang whose script ends with `start`.
fn with_erlang_release(sandbox: &Sandbox, start: &str, more: &str) {
    let script = format!(
        "#!/bin/sh\ncd \"$(dirname \"$0\")/..\"\nread -r ERTS VSN < releases/start_erl.data\n{start}\n"
    );
    let tree = format!(
        "0755 file bin/shop {script:?}\n0644 file releases/start_erl.data \"13.1.5 1.0.0\\n\"\n\
         0644 file releases/1.0.0/shop.rel \"\"\n0644 file lib/shop-1.0.0/ebin/shop.app \"\"\n{more}"
    );
    let made = sandbox.tree("release", &tree);
    drop(made.expect("there is room for it"));
}

/// Makes a sandbox with a release, and prepares the row in it.
fn prepared(row: &Row) -> (Sandbox, PathBuf, Vec<String>) {
    let sandbox = sandbox();
    let tree = "0644 file data/file \"x\"";
    let release = sandbox.tree("release", tree).expect("there is room for it");
    let flags = (row.prepare)(&sandbox, &release);
    (sandbox, release, flags)
}

/// The rows whose releases can be made on this machine.
fn rows() -> impl Iterator<Item = &'static Row> {
    let has_musl = has_programs(&["musl-gcc"]);
    let is_possible = move |row: &&Row| has_musl || row.rule != "library-unusable";
    ROWS.iter().filter(is_possible)
}

#[test]
fn images_that_cannot_start_are_not_built() {
    for row in rows() {
        let (sandbox, release, flags) = prepared(row);
        let release = release.to_str().expect("a sandbox has a plain name");
        let mut words = flags.clone();
        words.extend(["--release", release, "--output=image.tar"].map(str::to_owned));
        let outcome = sandbox.run(&words).exited(1);
        let mark = format!("[{}]", row.rule);
        let said = outcome.stderr_text();
        let is_told = |line: &str| line.starts_with("error: ") && line.ends_with(&mark);
        assert!(
            said.lines().any(is_told),
            "{}: {}",
            row.rule,
            outcome.report()
        );
        assert!(outcome.stdout.is_empty(), "{}", outcome.report());
        assert!(!sandbox.path("image.tar").exists(), "{}", row.rule);
    }
}

#[test]
fn images_built_without_the_check_fail_as_documented() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    for row in rows() {
        let (sandbox, release, mut flags) = prepared(row);
        flags.push("--check=off".to_owned());
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let built = build_in(sandbox, &release, row.rule, &flags);
        // The check of the image finds the same as the check before the build.
        let archive = built.archive.to_str().expect("a sandbox has a plain name");
        let checked = built.sandbox.run(["check", archive]).exited(1);
        // Only the building machine has the original path of an interpreter.
        let mark = match row.rule {
            "interpreter-moved" => "[interpreter-missing]".to_owned(),
            rule => format!("[{rule}]"),
        };
        assert!(
            checked.stderr_text().contains(&mark),
            "{}",
            checked.report()
        );
        for engine in &engines {
            let image = engine.load(&built.archive, &built.reference);
            // Some engines keep their capabilities until the program starts.
            let outcome = image.run_with(&["--cap-drop=ALL"], &[], b"");
            assert_ne!(outcome.code, Some(0), "{}: {}", row.rule, outcome.report());
            assert!(
                outcome.stderr_text().contains(row.engine),
                "{}: {}",
                row.rule,
                outcome.report()
            );
        }
    }
}

/// A configuration that imgbuild does not write.
pub(crate) struct Foreign {
    pub(crate) rule: &'static str,
    change: fn(&mut Value),
    pub(crate) engine: &'static str,
}

pub(crate) const FOREIGN: &[Foreign] = &[
    Foreign {
        rule: "command-not-in-path",
        change: |config| config["Entrypoint"] = serde_json::json!(["no-such-program"]),
        engine: "executable file not found in $PATH",
    },
    Foreign {
        rule: "user-unknown",
        change: |config| config["User"] = "somebody".into(),
        engine: "unable to find user somebody: no matching entries in passwd file",
    },
    Foreign {
        rule: "workdir-invalid",
        change: |config| config["WorkingDir"] = "/app/bin/hello".into(),
        engine: "/app/bin/hello is not a directory",
    },
    Foreign {
        rule: "volume-invalid",
        change: |config| config["Volumes"] = serde_json::json!({"/app/bin/hello": {}}),
        engine: "cannot mount volume over existing file",
    },
];

/// Writes the image with another configuration, in the form of Docker's archives
/// before OCI.
pub(crate) fn rewritten(built: &Built, change: fn(&mut Value)) -> PathBuf {
    let mut config = built.image.config.clone();
    change(&mut config["config"]);
    let mut members = vec![("config.json".to_owned(), config.to_string().into_bytes())];
    let mut names = Vec::new();
    let archive = fs::read(&built.archive).expect("it was built");
    let layers = built.image.manifest["layers"]
        .as_array()
        .expect("it has layers");
    for layer in layers {
        let digest = layer["digest"].as_str().expect("a digest is text");
        let blob = digest.replace("sha256:", "blobs/sha256/");
        let name = format!("{}.tar", names.len());
        members.push((name.clone(), member(&archive, &blob)));
        names.push(name);
    }
    let reference = &built.reference;
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": [reference], "Layers": names}
    ]);
    members.push((
        "manifest.json".to_owned(),
        manifest.to_string().into_bytes(),
    ));
    let path = built.sandbox.path("rewritten.tar");
    let file = fs::File::create(&path).expect("there is room for it");
    let mut writer = tar::Builder::new(file);
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let appended = writer.append_data(&mut header, name, bytes.as_slice());
        appended.expect("there is room for it");
    }
    drop(writer.into_inner().expect("there is room for it"));
    path
}

#[test]
fn configurations_that_engines_refuse_are_errors() {
    let engines = Engine::each();
    for row in FOREIGN {
        let hello = program::c_release("hello", &["gcc"]);
        let built = build_in(sandbox(), &hello, row.rule, &[]);
        let archive = rewritten(&built, row.change);
        let text = archive.to_str().expect("a sandbox has a plain name");
        let outcome = built.sandbox.run(["check", text, "--json"]).exited(1);
        let result: Value = serde_json::from_slice(&outcome.stdout).expect("it is JSON");
        let found = result["findings"].as_array().expect("it is a list").iter();
        let mut found = found.filter(|finding| finding["severity"] == "error");
        assert_eq!(found.next().expect("there is one")["rule"], row.rule);
        for engine in &engines {
            let image = engine.load(&archive, &built.reference);
            let outcome = image.run(&[]);
            assert_ne!(outcome.code, Some(0), "{}: {}", row.rule, outcome.report());
            assert!(
                outcome.stderr_text().contains(row.engine),
                "{}: {}",
                row.rule,
                outcome.report()
            );
        }
    }
}

#[test]
fn an_image_that_runs_has_no_errors() {
    let engines = Engine::each();
    for (name, compiler) in [
        ("hello", &["gcc"][..]),
        ("hello-static", &["gcc", "-static"]),
        ("hello-musl", &["musl-gcc"]),
    ] {
        if !has_programs(&compiler[..1]) {
            continue;
        }
        let row = Row {
            rule: name,
            prepare: nothing,
            engine: "",
        };
        let (sandbox, ..) = prepared(&row);
        let release = program::c_release(name, compiler);
        let built = build_in(sandbox, &release, name, &[]);
        let archive = built.archive.to_str().expect("a sandbox has a plain name");
        let outcome = built.sandbox.run(["check", archive]).success();
        let is_finding = |line: &str| line.ends_with(']');
        let said = outcome.stderr_text();
        assert!(!said.lines().any(is_finding), "{}", outcome.report());
        for engine in &engines {
            let image = engine.load(&built.archive, &built.reference);
            drop(image.run(&[]).success());
        }
    }
}
