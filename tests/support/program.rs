//! The programs of `fixtures/programs`, built as their users would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use fs_err as fs;
use imgbuild_testing::sandbox::finish;

/// The projects that this process has built. Holding the lock while one is
/// built keeps two tests from building the same.
static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());

/// The directory of a Cargo project of that name, with its `target/release`.
pub(crate) fn cargo_project(name: &str) -> PathBuf {
    built(name, name, |project| cargo(project, &["--workspace"], ""))
}

/// As [`cargo_project`], the packages built one after the other.
pub(crate) fn cargo_packages(name: &str, packages: &[&str]) -> PathBuf {
    built(name, name, |project| {
        for package in packages {
            cargo(project, &["--package", package], "");
        }
    })
}

/// As [`cargo_project`], with flags for the compiler; `key` tells variants apart.
pub(crate) fn cargo_variant(name: &str, key: &str, arguments: &[&str], flags: &str) -> PathBuf {
    built(name, key, |project| cargo(project, arguments, flags))
}

/// A release of one program, `bin/NAME`, compiled from `fixtures/programs/static`.
pub(crate) fn c_release(name: &str, compiler: &[&str]) -> PathBuf {
    let project = built("static", name, |project| {
        let directory = project.join("release/bin");
        fs::create_dir_all(&directory).expect("the target directory is ours");
        let mut command = Command::new(compiler[0]);
        command
            .args(&compiler[1..])
            .args(["-O1", "-o"])
            .arg(directory.join(name));
        command.arg(project.join("hello.c"));
        drop(finish(&mut command, b"").success());
    });
    project.join("release")
}

/// A release of a mix project, below its `_build`; `prepare` may change the
/// project first.
pub(crate) fn mix_release(name: &str, key: &str, prepare: impl FnOnce(&Path)) -> PathBuf {
    let project = built(name, key, |project| {
        prepare(project);
        run_mix(project);
    });
    project.join("_build/prod/rel").join(name)
}

/// `mix release` without a network or anything of the user's.
pub(crate) fn run_mix(project: &Path) {
    let mut command = Command::new("mix");
    command
        .args(["release", "--overwrite", "--quiet"])
        .current_dir(project)
        .env_clear()
        .env("MIX_ENV", "prod")
        .env("LANG", "C.UTF-8")
        .env("HOME", project);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    drop(finish(&mut command, b"").success());
}

/// The directory of a program that needs no build.
pub(crate) fn sources(name: &str) -> PathBuf {
    built(name, name, |_project| {})
}

/// A copy of a program, made ready by `build`; `key` tells variants apart.
pub(crate) fn variant(name: &str, key: &str, build: impl FnOnce(&Path)) -> PathBuf {
    built(name, key, build)
}

/// A release of Erlang, as rebar3 makes it with relx, without a network.
pub(crate) fn relx_release(name: &str) -> PathBuf {
    relx_variant(name, name, |_project| {})
}

/// As [`relx_release`], of a project that `prepare` may change first; `key`
/// tells variants apart.
pub(crate) fn relx_variant(name: &str, key: &str, prepare: impl FnOnce(&Path)) -> PathBuf {
    let project = built(name, key, |project| {
        prepare(project);
        let mut command = Command::new("rebar3");
        command
            .arg("release")
            .current_dir(project)
            .env_clear()
            .env("LANG", "C.UTF-8")
            .env("HOME", project);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        drop(finish(&mut command, b"").success());
    });
    project.join("_build/default/rel").join(name)
}

fn built(source: &str, key: &str, build: impl FnOnce(&Path)) -> PathBuf {
    // A test that failed to build its program does not fail the next one.
    let mut built = BUILT
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(project) = built.get(key) {
        return project.clone();
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/programs")
        .join(source);
    let project = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("programs")
        .join(key);
    copy_changed(&sources, &project);
    build(&project);
    built.insert(key.to_owned(), project.clone());
    project
}

/// Copies what differs only, so that Cargo need not build again.
fn copy_changed(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the target directory is ours");
    for entry in fs::read_dir(from).expect("fixtures are readable") {
        let entry = entry.expect("fixtures are readable");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            // Somebody may have built a fixture in its place.
            if entry.file_name() != "target" && entry.file_name() != "_build" {
                copy_changed(&from, &to);
            }
        } else {
            let content = fs::read(&from).expect("fixtures are readable");
            if fs::read(&to).ok().as_ref() != Some(&content) {
                // With the mode: a script stays one.
                fs::copy(&from, &to).expect("the target directory is ours");
            }
        }
    }
}

/// `cargo build --release` without what the outer Cargo put into the environment.
fn cargo(project: &Path, arguments: &[&str], flags: &str) {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["build", "--release", "--offline", "--locked"])
        .args(arguments);
    command
        .current_dir(project)
        .env_clear()
        .env("RUSTFLAGS", flags);
    for name in [
        "PATH",
        "HOME",
        "CARGO_HOME",
        "RUSTUP_HOME",
        "RUSTUP_TOOLCHAIN",
    ] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    drop(finish(&mut command, b"").success());
}
