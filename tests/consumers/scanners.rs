//! Scanners: syft lists the packages of the host that files of an image came from,
//! and dpkg reads the records of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fs_err as fs;
use imgbuild_testing::{UnpackedKind, read_file, sandbox::finish};

use super::{json, run};
use crate::support::image::{Built, build};
use crate::support::{has_programs, limited, program, program_of_variable};

const RECORDS: &str = "var/lib/dpkg/status.d/";

/// Builds an image with a program of the host that needs libraries of several
/// packages.
fn with_packages(more: &[&str]) -> Built {
    let release = program::c_release("hello", &["gcc"]);
    let arguments = [&["--program=openssl", "--tzdata"], more].concat();
    build(&release, "packages", &arguments)
}

/// Returns the packages that dpkg names for the files of an image which the host has
/// at the same paths.
fn owners(built: &Built) -> BTreeSet<String> {
    let mut names = Vec::new();
    for (path, file) in built.image.files() {
        let path = Path::new("/").join(path);
        let is_file = matches!(file.kind, UnpackedKind::File { .. });
        // The skeleton has files that the host has, too.
        let is_made = path.starts_with("/app") || path.starts_with("/etc");
        if is_file && !is_made && path.is_file() {
            let real = fs::canonicalize(&path).unwrap().display().to_string();
            let short = real.strip_prefix("/usr").unwrap_or(&real).to_owned();
            names.extend([real, short]);
        }
    }
    // One of the two names of each file is not known.
    let found = finish(limited("dpkg-query").arg("-S").args(names), b"");
    let lines = found.stdout_text().lines();
    let lines = lines.filter(|line| !line.starts_with("diversion"));
    let owners = lines.filter_map(|line| Some(line.split_once(':')?.0.to_owned()));
    // The bundle that this link leads to is made at installation: no package lists it.
    let link = Path::new("usr/lib/ssl/cert.pem");
    let has_bundle = built.image.files().contains_key(link);
    let bundle = has_bundle.then(|| "ca-certificates".to_owned());
    owners.chain(bundle).collect()
}

/// Returns the records in an image by their file names.
fn records(built: &Built) -> BTreeMap<String, String> {
    let files = built.image.files().into_keys();
    let names = files.filter_map(|path| Some(path.to_str()?.strip_prefix(RECORDS)?.to_owned()));
    let names = names.filter(|name| !name.is_empty());
    let read = |name: String| {
        let path = format!("{RECORDS}{name}");
        let text = read_file(&built.archive, Path::new(&path)).unwrap();
        (name, String::from_utf8(text).unwrap())
    };
    names.map(read).collect()
}

#[test]
fn a_scanner_lists_the_packages_and_the_distribution() {
    let Some(syft) = program_of_variable("syft", "IMGBUILD_SYFT", "syft", &["version"]) else {
        return;
    };
    if !has_programs(&["dpkg-query", "openssl"]) {
        return;
    }
    let built = with_packages(&[]);
    let expected = owners(&built);
    for name in ["base-files", "libc6", "libssl3", "openssl", "tzdata"] {
        assert!(expected.contains(name), "{name}: {expected:?}");
    }
    let source = format!("docker-archive:{}", built.archive.display());
    let words = ["scan", "--quiet", "--output=json", &source];
    let mut command = limited(&syft);
    command
        .args(words)
        .env("SYFT_CHECK_FOR_APP_UPDATE", "false");
    let found = json(&finish(&mut command, b"").success());
    let release = fs::read_to_string("/usr/lib/os-release").unwrap();
    let id = release.lines().find_map(|line| line.strip_prefix("ID="));
    assert_eq!(found["distro"]["id"].as_str(), id);

    let mut listed = BTreeSet::new();
    for package in found["artifacts"].as_array().unwrap() {
        if package["type"] == "deb" {
            let name = package["name"].as_str().unwrap();
            let query = ["-W", "-f=${Version}\n", name];
            let versions = run("dpkg-query", &query).success();
            let version = package["version"].as_str().unwrap();
            let mut versions = versions.stdout_text().lines();
            assert!(versions.any(|one| one == version), "{name} {version}");
            listed.insert(name.to_owned());
        }
    }
    assert_eq!(listed, expected);
}

#[test]
fn records_are_those_of_the_files_in_the_image() {
    if !has_programs(&["dpkg-query", "md5sum", "openssl"]) {
        return;
    }
    let built = with_packages(&[]);
    let (sums, packages): (BTreeMap<_, _>, BTreeMap<_, _>) = records(&built)
        .into_iter()
        .partition(|(name, _)| name.ends_with(".md5sums"));
    assert_eq!(
        packages.keys().cloned().collect::<BTreeSet<_>>(),
        owners(&built)
    );

    let admin = built.sandbox.path("dpkg");
    for directory in ["info", "updates"] {
        fs::create_dir_all(admin.join(directory)).unwrap();
    }
    let status: Vec<&str> = packages.values().map(String::as_str).collect();
    fs::write(admin.join("status"), status.join("\n")).unwrap();
    let admin = format!("--admindir={}", admin.display());
    let words = [&admin, "-W", "-f=${Package} ${Status}\n"];
    let read = run("dpkg-query", &words).success();
    assert_eq!(read.stderr_text(), "");
    let expected = packages.keys();
    let expected = expected.map(|name| format!("{name} install ok installed\n"));
    assert_eq!(read.stdout_text(), expected.collect::<String>());

    // A few of them: of the time zones alone there are some thousand.
    assert!(sums.contains_key("libc6.md5sums"), "{:?}", sums.keys());
    for (name, text) in sums {
        assert!(!text.is_empty(), "{name}");
        for line in text.lines().take(3) {
            let (sum, path) = line.split_once("  ").unwrap();
            let content = read_file(&built.archive, Path::new(path)).unwrap();
            let found = finish(&mut limited("md5sum"), &content).success();
            assert_eq!(found.stdout_text(), format!("{sum}  -\n"), "{name}: {path}");
        }
    }
}

#[test]
fn without_records_an_image_has_nothing_of_them() {
    if !has_programs(&["dpkg-query"]) {
        return;
    }
    let built = with_c_library(&["--package-records=none"]);
    let files = built.image.files().into_keys();
    let paths: Vec<String> = files.map(|path| path.display().to_string()).collect();
    let is_record = |path: &&String| path.contains("os-release") || path.contains("/dpkg");
    assert_eq!(paths.iter().find(is_record), None);
    let with = with_c_library(&[]);
    let fewer = with.image.layers.len() - 1;
    assert_eq!(
        built.image.layers.len(),
        fewer,
        "records are a layer of their own"
    );
}

/// Builds an image of a program that needs the C library only.
fn with_c_library(more: &[&str]) -> Built {
    build(&program::c_release("hello", &["gcc"]), "recorded", more)
}

#[test]
fn a_static_program_has_no_records() {
    if !has_programs(&["dpkg-query"]) {
        return;
    }
    let release = program::c_release("hello-static", &["gcc", "-static"]);
    let built = build(&release, "static", &[]);
    assert_eq!(records(&built), BTreeMap::new());
    assert!(
        !built
            .image
            .files()
            .contains_key(Path::new("etc/os-release"))
    );
}
