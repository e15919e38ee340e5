//! Makes everything of a release in `target/dist`.

mod check;
mod compare;
mod crates;
mod pack;
mod packages;

use std::path::{Path, PathBuf};

use fs_err as fs;
use sha2::{Digest as _, Sha256};

use crate::Result;
use crate::process::{self, command, has_standard_library, output, workspace};
use pack::Packed;
use packages::Contents;

/// The options of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct DistArguments {
    /// Compile for this target of this machine; the default is the one with musl, else with glibc
    #[arg(long)]
    target: Option<String>,
    /// Compile nothing: make what all targets share, from the archives in `target/dist`
    #[arg(long)]
    assemble: bool,
    /// Install each output on a fresh Debian system, and build an image there
    #[arg(long)]
    check: bool,
    /// Make the release in a second checkout as well, and compare the bytes
    #[arg(long)]
    compare: bool,
}

impl DistArguments {
    /// Returns the options that make and check everything.
    pub(crate) fn full() -> Self {
        Self {
            target: None,
            assemble: false,
            check: true,
            compare: true,
        }
    }
}

pub(crate) fn run(arguments: &DistArguments) -> Result {
    let directory = directory();
    let version = version()?;
    if !arguments.assemble {
        let target = arguments.target.clone().map_or_else(default_target, Ok)?;
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        package(&version, &target)?;
    }
    assemble(&version)?;
    for name in names(&directory)? {
        println!("target/dist/{name}");
    }
    if arguments.compare {
        compare::run(arguments.target.as_deref())?;
    }
    if arguments.check {
        check::run(&version)?;
    }
    Ok(())
}

fn directory() -> PathBuf {
    workspace().join("target/dist")
}

/// Returns the directory of what Cargo builds.
fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || workspace().join("target"),
        |directory| workspace().join(directory),
    )
}

fn version() -> Result<String> {
    let printed = output(&mut command(&["cargo", "pkgid", "--package=imgbuild"]))?;
    let version = printed.trim_end().rsplit(['#', '@']).next();
    Ok(version.unwrap_or_default().to_owned())
}

/// Returns the time of the commit, which all files of the release have.
fn commit_time() -> Result<u64> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch.parse()?);
    }
    let words = ["git", "log", "--max-count=1", "--format=%ct"];
    Ok(output(&mut command(&words))?.trim_end().parse()?)
}

/// Returns the names in a directory, sorted.
fn names(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn default_target() -> Result<String> {
    let processor = std::env::consts::ARCH;
    let target = format!("{processor}-unknown-linux-musl");
    if has_standard_library(&target) {
        return Ok(target);
    }
    let other = format!("{processor}-unknown-linux-gnu");
    println!(
        "note: no standard library for {target} (`rustup target add {target}`): using {other}"
    );
    Ok(other)
}

/// Compiles the program for a target, and writes its packages.
fn package(version: &str, target: &str) -> Result {
    let contents = compile(version, target)?;
    let readme = fs::read_to_string(workspace().join("README.md"))?;
    let crates = crates::read(target)?;
    let directory = directory();
    for (name, bytes) in [
        (contents.archive_name(), contents.archive()?),
        (contents.debian_name(), contents.debian()?),
        (contents.wheel_name(), contents.wheel(&readme)),
        (
            format!("imgbuild-v{version}-{target}.cdx.json"),
            crates::bill_of_materials(&crates, version)?.into_bytes(),
        ),
    ] {
        fs::write(directory.join(name), bytes)?;
    }
    Ok(())
}

fn compile(version: &str, target: &str) -> Result<Contents> {
    process::run(&mut cargo_build(target)?)?;
    let program = target_directory().join(target).join("dist/imgbuild");
    let printed = |words: &[&str]| -> Result<Vec<u8>> {
        let name = program.to_string_lossy();
        let words = [&[name.as_ref()], words].concat();
        Ok(output(&mut command(&words))?.into_bytes())
    };
    let mut legal = Vec::new();
    for name in ["LICENSE-APACHE", "LICENSE-MIT", "NOTICE"] {
        legal.push(Packed::file(name, fs::read(workspace().join(name))?));
    }
    let notices = crates::notices(&crates::read(target)?)?;
    legal.push(Packed::file("THIRD-PARTY", notices));
    Ok(Contents {
        version: version.to_owned(),
        target: target.to_owned(),
        time: commit_time()?,
        manual: printed(&["man"])?,
        completions: [
            printed(&["completions", "bash"])?,
            printed(&["completions", "zsh"])?,
            printed(&["completions", "fish"])?,
        ],
        program: fs::read(&program)?,
        legal,
    })
}

/// Returns the command that compiles the program without a path of this machine.
fn cargo_build(target: &str) -> Result<std::process::Command> {
    let words = [
        "cargo",
        "build",
        "--profile=dist",
        "--locked",
        "--package=imgbuild",
        "--target",
        target,
    ];
    let mut build = command(&words);
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let sysroot = output(&mut command(&[&rustc, "--print", "sysroot"]))?;
    let home = std::env::var("HOME").unwrap_or_default();
    let cargo = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    // The last one that fits counts.
    let flags = [
        (sysroot.trim_end().to_owned(), "/rust"),
        (cargo, "/cargo"),
        (workspace().display().to_string(), "/imgbuild"),
        (target_directory().display().to_string(), "/target"),
    ];
    let flags = flags.map(|(from, to)| format!("--remap-path-prefix={from}={to}"));
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    if target.ends_with("-musl") {
        // It has the C library of the target within: no C compiler links.
        let name = target.to_uppercase().replace('-', "_");
        build.env(format!("CARGO_TARGET_{name}_LINKER"), "rust-lld");
    }
    Ok(build)
}

/// Makes what all targets share: the image, the script that installs, digests.
fn assemble(version: &str) -> Result {
    let directory = directory();
    let mut digests = String::new();
    let mut releases = Vec::new();
    let scratch = tempfile::tempdir()?;
    for name in names(&directory)? {
        let start = format!("imgbuild-v{version}-");
        let target = name
            .strip_prefix(&start)
            .and_then(|rest| rest.strip_suffix(".tar.gz"));
        let Some(target) = target else { continue };
        let archive = fs::read(directory.join(&name))?;
        digests.push_str(&format!("{target} {}\n", digest(&archive)));
        let unpacked =
            tar::Archive::new(flate2::read::GzDecoder::new(&archive[..])).unpack(scratch.path());
        unpacked.map_err(|error| format!("cannot unpack {name}: {error}"))?;
        let root = scratch.path().join(name.trim_end_matches(".tar.gz"));
        releases.push((target.to_owned(), root));
    }
    if releases.is_empty() {
        return Err(format!("target/dist has no archive of imgbuild {version}").into());
    }
    let script = fs::read_to_string(workspace().join("install.sh"))?;
    let script = script.replace(
        "\ndigests=''\n",
        &format!("\ndigests='{}'\n", digests.trim_end()),
    );
    fs::write(directory.join("install.sh"), script)?;
    build_image(version, &releases)?;
    write_digests(&directory)
}

/// Builds the image of imgbuild by imgbuild.
fn build_image(version: &str, releases: &[(String, PathBuf)]) -> Result {
    let is_own = |(target, _): &&(String, PathBuf)| target.starts_with(std::env::consts::ARCH);
    let (_, own) = releases
        .iter()
        .find(is_own)
        .ok_or("target/dist has no archive for the processor of this machine")?;
    let mut build = command(&[&own.join("imgbuild").to_string_lossy()]);
    for (target, root) in releases {
        let architecture = if target.starts_with("aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        build.arg(format!("--release=linux/{architecture}={}", root.display()));
    }
    let revision = output(&mut command(&["git", "rev-parse", "HEAD"]))?;
    let output = directory().join(format!("imgbuild-v{version}-image.tar"));
    for argument in [
        "--kind=cargo",
        "--cacert",
        "--no-cache",
        "--no-auto-labels",
        "--package-records=none",
        "--label=org.opencontainers.image.title=imgbuild",
        "--label=org.opencontainers.image.licenses=MIT OR Apache-2.0",
        "--label=org.opencontainers.image.source=https://github.com/imgbuild/imgbuild",
        &format!("--label=org.opencontainers.image.version={version}"),
        &format!(
            "--label=org.opencontainers.image.revision={}",
            revision.trim_end()
        ),
        &format!("--tag=ghcr.io/imgbuild/imgbuild:{version}"),
        &format!("--output=oci-archive:{}", output.display()),
    ] {
        build.arg(argument);
    }
    build.env("SOURCE_DATE_EPOCH", commit_time()?.to_string());
    process::run(&mut build)
}

/// Writes the digest of each file beside it, in the form of `sha256sum`.
fn write_digests(directory: &Path) -> Result {
    for name in names(directory)? {
        if !name.ends_with(".sha256") {
            let line = format!("{}  {name}\n", digest(&fs::read(directory.join(&name))?));
            fs::write(directory.join(format!("{name}.sha256")), line)?;
        }
    }
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
