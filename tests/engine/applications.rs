//! Applications in other languages, in containers with the fewest privileges.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fs_err as fs;
use imgbuild_testing::sandbox::finish;

use crate::support::docker::{Container, Engine};
use crate::support::image::{Built, build, build_in, sandbox};
use crate::support::{has_programs, program, skip};

/// The fewest privileges that a container can have.
pub(super) const CONFINED: [&str; 4] = [
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--publish=127.0.0.1::4000",
];

/// The Python of images; on this machine, a shim may come first on `PATH`.
pub(super) const PYTHON: &str = "/usr/bin/python3";

pub(super) fn check(container: &Container<'_>, answers: &[(&str, &str)]) {
    container.answers(answers);
    container.stop();
}

#[test]
fn a_node_application_serves_confined() {
    let Some(engine) = Engine::require() else {
        return;
    };
    if !has_programs(&["node"]) {
        return;
    }
    let release = program::sources("node_app");
    let built = build(&release, "node", &["--tzdata", "--env=LANG=C.UTF-8"]);
    let image = engine.load(&built.archive, &built.reference);
    let container = image.start(&[&CONFINED[..], &["--tmpfs=/tmp"]].concat());
    check(
        &container,
        &[
            ("/", "hello from another package"),
            (
                "/crypto",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            ("/roots", "true"),
            ("/language", "Januar"),
            ("/user", "65532"),
            ("/pid", "1"),
            ("/file", "größe"),
        ],
    );
}

/// Packages of PyPI with native modules, and a program that imports them;
/// installed once.
fn python_release(name: &str, install: impl FnOnce(&Path) -> bool) -> Option<PathBuf> {
    if !Path::new(PYTHON).exists() {
        skip("`/usr/bin/python3`");
        return None;
    }
    let mut is_installed = true;
    let project = program::variant("python_app", name, |project| {
        let release = project.join("release");
        fs::create_dir_all(&release).expect("the target directory is ours");
        fs::copy(project.join("app.py"), release.join("app.py")).expect("it was copied");
        is_installed = release.join("installed").exists() || install(&release);
    });
    if !is_installed {
        skip("package index of Python");
        return None;
    }
    let release = project.join("release");
    fs::write(release.join("installed"), "").expect("the target directory is ours");
    Some(release)
}

fn pip(python: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new(python);
    command
        .args(["-m", "pip", "install", "--quiet", "--no-compile"])
        .args(["--only-binary=:all:", "--disable-pip-version-check"])
        .args(arguments)
        .arg("markupsafe==2.1.5");
    let outcome = finish(&mut command, b"");
    outcome.code == Some(0)
}

fn check_python(engine: &Engine, built: &Built, prefix: &str) {
    let image = engine.load(&built.archive, &built.reference);
    let container = image.start(&[&CONFINED[..], &["--tmpfs=/tmp"]].concat());
    let roots = built.roots();
    check(
        &container,
        &[
            ("/", "&lt;größe&gt;"),
            ("/native", "True"),
            (
                "/crypto",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            ("/roots", &roots),
            ("/database", "42"),
            ("/zlib", "ok"),
            ("/file", "größe"),
            ("/prefix", prefix),
            ("/user", "65532"),
            ("/pid", "1"),
        ],
    );
}

#[test]
fn a_python_application_with_its_packages_beside_it_serves_confined() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let install = |release: &Path| {
        let target = release.to_str().expect("it has a plain name");
        pip(Path::new(PYTHON), &["--target", target])
    };
    let Some(release) = python_release("python-target", install) else {
        return;
    };
    let built = build(&release, "python", &[]);
    assert!(!built.has("bin/sh"));
    check_python(&engine, &built, "/usr");
}

/// A script that does not refer to the virtual environment beside it.
#[test]
fn a_virtual_environment_is_used_when_it_comes_first_in_path() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let Ok(python) = fs::canonicalize(PYTHON) else {
        return skip("`/usr/bin/python3`");
    };
    let version = python.file_name().expect("it is a file").to_string_lossy();
    let prepared = || {
        let sandbox = sandbox();
        let tree = format!(
            "0755 file run \"#!/usr/bin/env python3\\nimport own\\n\"\n\
             0644 file .venv/pyvenv.cfg \"home = /usr/bin\\n\"\n\
             link .venv/bin/python3 -> /usr/bin/python3\n\
             0644 file .venv/lib/{version}/site-packages/own.py \"print('own')\\n\""
        );
        let release = sandbox
            .tree("release", &tree)
            .expect("there is room for it");
        (sandbox, release)
    };
    let (sandbox, release) = prepared();
    let words = ["--release", "release", "--dry-run", "--cmd=run"];
    let outcome = sandbox.run(words).success();
    let said = outcome.stderr_text();
    assert!(said.contains("[environment-unused]"), "{said}");
    let hint = said.split_once("with `--env ").expect("it has a remedy").1;
    let path = format!("--env={}", hint.split('`').next().unwrap_or_default());
    let built = build_in(sandbox, &release, "venv-unused", &["--cmd=run"]);
    let image = engine.load(&built.archive, &built.reference);
    let outcome = image.run(&[]).exited(1);
    let said = outcome.stderr_text();
    assert!(
        said.contains("No module named 'own'"),
        "{}",
        outcome.report()
    );
    let (sandbox, release) = prepared();
    let built = build_in(sandbox, &release, "venv-first", &["--cmd=run", &path]);
    let image = engine.load(&built.archive, &built.reference);
    assert_eq!(image.run(&[]).success().stdout_text(), "own\n");
}

#[test]
fn a_python_application_in_a_virtual_environment_serves_confined() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let install = |release: &Path| {
        let mut command = Command::new(PYTHON);
        command
            .args(["-m", "venv", "--clear"])
            .arg(release.join("venv"));
        drop(finish(&mut command, b"").success());
        pip(&release.join("venv/bin/python"), &[])
    };
    let Some(release) = python_release("python-venv", install) else {
        return;
    };
    let built = build(&release, "python-venv", &[]);
    check_python(&engine, &built, "/app/venv");
}

#[test]
fn a_script_of_a_virtual_environment_that_moves_is_refused() {
    let directory = sandbox();
    let script = format!("#!{}/venv/bin/python\\n", directory.path("").display());
    let tree = format!(
        "0755 file bin/serve \"{script}\"\nlink bin/python -> /usr/bin/python3\n0644 file pyvenv.cfg \"home = /usr/bin\\n\""
    );
    let release = directory.tree("venv", &tree).expect("there is room for it");
    let release = release.to_str().expect("it has a plain name");
    let words = ["--release", release, "--cmd=bin/serve", "--dry-run"];
    let outcome = directory.run(words).exited(1);
    let text = outcome.stderr_text();
    assert!(
        text.contains("is a file of the release, which is at `/app/bin/python` in the image"),
        "{text}"
    );
    assert!(
        text.contains("hint: place the release at the path where it was built with `--prefix`"),
        "{text}"
    );
}

#[test]
fn a_perl_script_finds_the_modules_of_perl() {
    let engines = Engine::each();
    if engines.is_empty() || !has_programs(&["perl"]) {
        return;
    }
    let directory = sandbox();
    let script = "#!/usr/bin/env perl\nuse strict;\nuse JSON::PP;\nuse POSIX qw(floor);\n\
        use Digest::SHA qw(sha256_hex);\nuse Encode qw(decode);\nuse Socket;\n\
        print JSON::PP->new->canonical->encode({floor => floor(2.5), user => $<, hash => sha256_hex('abc'), length => length(decode('UTF-8', 'größe'))}), \"\\n\";\n";
    let tree = format!("0755 file bin/report {script:?}");
    let release = directory
        .tree("report", &tree)
        .expect("there is room for it");
    let built = build_in(directory, &release, "perl", &[]);
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let outcome = image.run_with(&CONFINED[..3], &[], b"").success();
        assert_eq!(
            outcome.stdout_text(),
            "{\"floor\":2,\"hash\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\",\"length\":5,\"user\":65532}\n"
        );
    }
}

#[test]
fn a_static_program_runs_confined() {
    let engines = Engine::each();
    if engines.is_empty() || !has_programs(&["musl-gcc"]) {
        return;
    }
    let release = program::c_release("hello-confined", &["musl-gcc", "-static"]);
    let built = build(&release, "hello-confined", &[]);
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let outcome = image.run_with(&CONFINED[..3], &["there"], b"").success();
        assert_eq!(outcome.stdout_text(), "hello there, user 65532\n");
    }
}

#[test]
fn a_service_that_is_a_shell_script_runs_confined() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let release = program::sources("shell_service");
    let arguments = [
        "--program=cat",
        "--program=id",
        "--program=sleep",
        "--volume=/var/lib/service",
    ];
    let built = build(&release, "service", &arguments);
    let image = engine.load(&built.archive, &built.reference);
    let container = image.start(&CONFINED[..3]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !container.logs().contains("as 65532 at 3\n") {
        assert!(Instant::now() < deadline, "{}", container.logs());
        std::thread::sleep(Duration::from_millis(50));
    }
    container.stop();
    assert!(
        container.logs().contains("ended at "),
        "{}",
        container.logs()
    );
}
