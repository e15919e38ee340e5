//! The programs of `fixtures/programs`, built with their usual tools.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use fs_err as fs;
use imgbuild_testing::sandbox::finish;

/// The projects that this process built. The lock is held during a build, so
/// that no two tests build the same project.
static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());

/// Builds a Cargo project, and returns its directory with `target/release`.
pub(crate) fn cargo_project(name: &str) -> PathBuf {
    built(name, name, |project| cargo(project, &["--workspace"], ""))
}

/// Builds the packages of a Cargo project one after the other.
pub(crate) fn cargo_packages(name: &str, packages: &[&str]) -> PathBuf {
    built(name, name, |project| {
        for package in packages {
            cargo(project, &["--package", package], "");
        }
    })
}

/// Builds a Cargo project with flags for the compiler; `key` names the variant.
pub(crate) fn cargo_variant(name: &str, key: &str, arguments: &[&str], flags: &str) -> PathBuf {
    built(name, key, |project| cargo(project, arguments, flags))
}

/// Compiles `fixtures/programs/static`, and returns a release with `bin/NAME`.
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

/// Builds the release of a mix project, which `prepare` may change first, and
/// returns its directory below `_build`.
pub(crate) fn mix_release(name: &str, key: &str, prepare: impl FnOnce(&Path)) -> PathBuf {
    let project = built(name, key, |project| {
        prepare(project);
        run_mix(project);
    });
    project.join("_build/prod/rel").join(name)
}

/// Runs `mix release` without a network and without settings of the user.
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

/// Returns the directory of a program that is not compiled.
pub(crate) fn sources(name: &str) -> PathBuf {
    built(name, name, |_project| {})
}

/// Copies a program and prepares it by `build`; `key` names the variant.
pub(crate) fn variant(name: &str, key: &str, build: impl FnOnce(&Path)) -> PathBuf {
    built(name, key, build)
}

/// Builds an Erlang release by rebar3 with relx, without a network.
pub(crate) fn relx_release(name: &str) -> PathBuf {
    relx_variant(name, name, |_project| {})
}

/// Builds an Erlang release of a project that `prepare` may change first; `key`
/// names the variant.
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
    // A failed build must not fail the next test.
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

/// Copies only files that differ, so that Cargo does not build again.
fn copy_changed(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the target directory is ours");
    for entry in fs::read_dir(from).expect("fixtures are readable") {
        let entry = entry.expect("fixtures are readable");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            // Build directories, if a fixture was built in place.
            if entry.file_name() != "target" && entry.file_name() != "_build" {
                copy_changed(&from, &to);
            }
        } else {
            let content = fs::read(&from).expect("fixtures are readable");
            if fs::read(&to).ok().as_ref() != Some(&content) {
                // The mode is copied as well: a script must stay executable.
                fs::copy(&from, &to).expect("the target directory is ours");
            }
        }
    }
}

/// Runs `cargo build --release` without the variables of the outer Cargo.
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
