//! Extended attributes and file capabilities: carried, or counted in a warning.

use std::path::Path;
use std::process::Command;

use fs_err as fs;
use imgbuild_testing::sandbox::finish;
use imgbuild_testing::{Outcome, Sandbox, UnpackedImage, unpack};
use serde_json::Value;

use crate::runs::{self, build, sandbox};
use crate::support::docker::Engine;
use crate::support::image::{build_in, sandbox as engine_sandbox};
use crate::support::{has_programs, limited, skip_always};

/// The value of `cap_net_bind_service+ep`, as PAX records have it.
const BIND_SERVICE: &[u8] = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

const CAPABILITY: &str = "SCHILY.xattr.security.capability";

/// Sets the capabilities of a file; skips the test where that is not possible.
fn set_capabilities(file: &Path, capabilities: &str) -> bool {
    if !has_programs(&["setcap"]) {
        return false;
    }
    let set = Command::new("setcap").arg(capabilities).arg(file).output();
    let is_set = set.unwrap().status.success();
    if !is_set {
        skip_always("right to set file capabilities");
    }
    is_set
}

/// Sets an attribute; skips the test where the file system has none.
fn set_attribute(path: &Path, name: &str, value: &str) -> bool {
    if !has_programs(&["setfattr"]) {
        return false;
    }
    let words = ["-n", name, "-v", value];
    let set = Command::new("setfattr").args(words).arg(path).output();
    let is_set = set.unwrap().status.success();
    if !is_set {
        skip_always("file system with extended attributes");
    }
    is_set
}

/// The keys and values of PAX records.
type Records = Vec<(String, Vec<u8>)>;

/// Returns the paths in the layers of a layout that have PAX records, by a reader
/// that is not ours.
fn extended(layout: &Path) -> Vec<(String, Records)> {
    let image: UnpackedImage = unpack(layout).unwrap();
    let mut all = Vec::new();
    for layer in &image.layers {
        let blob = layout.join("blobs").join(layer.digest.replace(':', "/"));
        let mut archive = tar::Archive::new(fs::File::open(blob).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let pax = entry.pax_extensions().unwrap();
            let pax = pax.into_iter().flatten().map(|one| {
                let one = one.unwrap();
                (one.key().unwrap().to_owned(), one.value_bytes().to_vec())
            });
            all.push((path, pax.collect()));
        }
    }
    all.retain(|(_, pax): &(_, Records)| !pax.is_empty());
    all
}

fn warnings(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.stderr_text().lines();
    lines
        .filter(|line| line.contains("extended attribute"))
        .collect()
}

/// The flags of a plain layout.
const LAYOUT: [&str; 3] = ["--output=oci:layout", "--compression=none", "--check=off"];

/// Makes a release of a program, data, and a directory.
fn release() -> Sandbox {
    let sandbox = sandbox();
    let text = r##"
        0755 file bin/server "#!/bin/sh\nexit 0\n"
        0644 file etc/app.toml "port = 80\n"
        0644 file etc/other.toml "port = 81\n"
    "##;
    sandbox.tree("release", text).unwrap();
    sandbox
}

#[test]
fn capabilities_of_the_release_and_of_additions_are_carried() {
    let sandbox = release();
    let tool = sandbox.path("tool");
    fs::write(&tool, "x").unwrap();
    for path in [&sandbox.path("release/bin/server"), &tool] {
        if !set_capabilities(path, "cap_net_bind_service+ep") {
            return;
        }
    }
    // One that was not executable on the host, and is in the image.
    let add = format!("--add={}:/opt/tool:0755", tool.display());
    let outcome = build(&sandbox, &[&LAYOUT[..], &[&add]].concat()).success();
    let record = (CAPABILITY.to_owned(), BIND_SERVICE.to_vec());
    let expected = ["app/bin/server", "opt/tool"];
    let expected = expected.map(|path| (path.to_owned(), vec![record.clone()]));
    assert_eq!(extended(&sandbox.path("layout")), expected);
    assert!(warnings(&outcome).is_empty(), "{}", outcome.report());

    let validated = sandbox.run(["validate", "layout"]).success();
    assert!(warnings(&validated).is_empty(), "{}", validated.report());
    let plan = build(&sandbox, &["--dry-run"]).success();
    let line = plan
        .stdout_text()
        .lines()
        .find(|line| line.contains("bin/server"));
    assert!(
        line.unwrap().ends_with(" security.capability"),
        "{}",
        plan.report()
    );
    let plan = build(&sandbox, &["--dry-run", "--json"]).success();
    let plan: Value = serde_json::from_str(plan.stdout_text()).unwrap();
    let layers = plan["images"][0]["layers"].as_array().unwrap().iter();
    let mut entries = layers.flat_map(|layer| layer["entries"].as_array().unwrap());
    let entry = entries.find(|entry| entry["path"] == "/app/bin/server");
    assert_eq!(entry.unwrap()["xattrs"][0], "security.capability");
}

#[test]
fn only_the_first_of_several_names_has_the_capabilities() {
    let sandbox = release();
    let server = sandbox.path("release/bin/server");
    fs::hard_link(&server, sandbox.path("release/bin/again")).unwrap();
    if !set_capabilities(&server, "cap_net_bind_service+ep") {
        return;
    }
    drop(build(&sandbox, &LAYOUT).success());
    let found = extended(&sandbox.path("layout"));
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["app/bin/again"]);
}

/// Gives attributes to two files and a directory.
fn with_attributes() -> Option<Sandbox> {
    let sandbox = release();
    let at = |path: &str| sandbox.path("release").join(path);
    let access = "0sAgAAAAEABgD/////AgAEAOgDAAAEAAQA/////xAABAD/////IAAEAP////8=";
    let is_set = set_attribute(&at("etc/app.toml"), "user.comment", "a=b")
        && set_attribute(&at("etc/other.toml"), "user.comment", "c")
        && set_attribute(&at("etc/other.toml"), "user.overlay.opaque", "y")
        && set_attribute(&at("etc/other.toml"), "system.posix_acl_access", access)
        && set_attribute(&at("etc"), "user.comment", "d")
        && set_attribute(&at("etc"), "system.posix_acl_default", access);
    is_set.then_some(sandbox)
}

const DROPPED: &str = "warning: the image lacks extended attributes: `system.posix_acl_access` of 1 path, `system.posix_acl_default` of 1 path, `user.comment` of 3 paths (`--xattrs keep` keeps `user.*`, and `--add` the capabilities of a program of this machine)";

#[test]
fn other_attributes_are_dropped_with_one_warning_also_when_nothing_is_read() {
    let Some(sandbox) = with_attributes() else {
        return;
    };
    std::thread::sleep(std::time::Duration::from_millis(60));
    for compression in ["none", "gzip:1"] {
        let output = format!("--output=oci:{}", compression.replace(':', "-"));
        let compression = format!("--compression={compression}");
        let mut words = runs::words("release", &[&output, &compression, "--json"]);
        words.retain(|word| word != "--no-cache");
        let first = sandbox.run(&words).success();
        assert_eq!(warnings(&first), [DROPPED], "{}", first.report());
        let second = sandbox.run(&words).success();
        assert_eq!(warnings(&second), [DROPPED], "{}", second.report());
        assert!(
            second.stderr_text().contains("(cached)"),
            "{}",
            second.report()
        );
        let json =
            |outcome: &Outcome| -> Value { serde_json::from_str(outcome.stdout_text()).unwrap() };
        let (first, second) = (json(&first), json(&second));
        assert_eq!(first["digest"], second["digest"]);
        let text = DROPPED.strip_prefix("warning: ").unwrap();
        assert_eq!(second["images"][0]["warnings"], serde_json::json!([text]));
    }
    assert!(extended(&sandbox.path("none")).is_empty());
}

#[test]
fn attributes_of_users_are_kept_on_request() {
    let Some(sandbox) = with_attributes() else {
        return;
    };
    fs::write(sandbox.path("imgbuild.toml"), "xattrs = \"keep\"\n").unwrap();
    let outcome = build(&sandbox, &LAYOUT).success();
    let record = |value: &str| vec![("SCHILY.xattr.user.comment".to_owned(), value.into())];
    let expected = [
        ("app/etc/".to_owned(), record("d")),
        ("app/etc/app.toml".to_owned(), record("a=b")),
        ("app/etc/other.toml".to_owned(), record("c")),
    ];
    assert_eq!(extended(&sandbox.path("layout")), expected);
    let [warning] = warnings(&outcome)[..] else {
        panic!("{}", outcome.report());
    };
    assert!(!warning.contains("user.comment"), "{warning}");
    assert!(
        warning.contains("`system.posix_acl_default` of 1 path"),
        "{warning}"
    );
    drop(sandbox.run(["validate", "layout"]).success());

    // A directory of a base is repeated as it is there.
    sandbox.tree("other", "0644 file notes \"x\"").unwrap();
    let flags = [
        "--base=oci:layout",
        "--prefix=/app/etc",
        "--output=oci:above",
    ];
    let words = runs::words("other", &[&flags[..], &["--compression=none"]].concat());
    drop(sandbox.run(words).success());
    let above = extended(&sandbox.path("above"));
    assert_eq!(above[..3], expected);
    assert_eq!(above[3..], expected[..1]);

    let wrong = build(&sandbox, &["--xattrs=some"]).exited(2);
    assert!(
        wrong.stderr_text().contains("`keep` or `drop`"),
        "{}",
        wrong.report()
    );
}

#[test]
fn capabilities_are_dropped_with_a_warning_on_request_and_from_programs_of_the_host() {
    let sandbox = release();
    let server = sandbox.path("release/bin/server");
    if !set_capabilities(&server, "cap_net_bind_service+ep") {
        return;
    }
    let expected =
        "warning: the image lacks extended attributes: `security.capability` of 1 path (";
    let outcome = build(&sandbox, &[&LAYOUT[..], &["--xattrs=drop"]].concat()).success();
    assert!(extended(&sandbox.path("layout")).is_empty());
    assert!(
        warnings(&outcome)[0].starts_with(expected),
        "{}",
        outcome.report()
    );

    let host = sandbox.path("host");
    fs::copy(&server, &host).unwrap();
    assert!(set_capabilities(&host, "cap_net_raw+ep"));
    assert!(set_capabilities(&server, "-r"));
    let program = format!("--program={}", host.display());
    let outcome = build(&sandbox, &[&LAYOUT[..], &[&program]].concat()).success();
    assert!(extended(&sandbox.path("layout")).is_empty());
    assert!(
        warnings(&outcome)[0].starts_with(expected),
        "{}",
        outcome.report()
    );
}

#[test]
fn a_change_of_capabilities_alone_is_another_image() {
    let sandbox = release();
    let server = sandbox.path("release/bin/server");
    let digest = || {
        std::thread::sleep(std::time::Duration::from_millis(60));
        let mut words = runs::words("release", &["--output=oci:layout", "--check=off"]);
        words.retain(|word| word != "--no-cache");
        sandbox.run(words).success().stdout_text().to_owned()
    };
    let without = digest();
    if !set_capabilities(&server, "cap_net_bind_service+ep") {
        return;
    }
    let with = digest();
    assert_ne!(with, without);
    assert_eq!(with, digest(), "nothing changed");
    assert!(set_capabilities(&server, "cap_net_raw+ep"));
    assert_ne!(with, digest(), "only the capabilities changed");
    assert!(set_capabilities(&server, "-r"));
    assert_eq!(without, digest());
}

#[test]
fn a_program_that_may_bind_any_port_is_no_finding_here_and_on_a_base() {
    let sandbox = sandbox();
    sandbox.tree("release", "").unwrap();
    let server = sandbox.path("release/server");
    let sleep = imgbuild_testing::skip::find_program("sleep").unwrap();
    fs::copy(sleep, &server).unwrap();
    let words = [
        "--release=release",
        "--expose=80",
        "--no-sync",
        "--no-cache",
        "--output=oci:base",
    ];
    let finding = "port 80/tcp is privileged";
    let outcome = sandbox.run(words).success();
    assert!(
        outcome.stderr_text().contains(finding),
        "{}",
        outcome.report()
    );
    if !set_capabilities(&server, "cap_net_bind_service+ep") {
        return;
    }
    let outcome = sandbox.run(words).success();
    assert!(
        !outcome.stderr_text().contains(finding),
        "{}",
        outcome.report()
    );
    let layer = unpack(&sandbox.path("base")).unwrap().layers.pop().unwrap();

    sandbox.tree("other", "0644 file notes \"x\"").unwrap();
    let mut words = words.map(str::to_owned).to_vec();
    words[0] = "--release=other".to_owned();
    words[4] = "--output=oci:above".to_owned();
    words.push("--base=oci:base".to_owned());
    words.retain(|word| word != "--no-cache");
    // The second time, the files of the base are read from a record.
    for _ in 0..2 {
        let outcome = sandbox.run(&words).success();
        assert!(
            !outcome.stderr_text().contains(finding),
            "{}",
            outcome.report()
        );
    }
    let above = unpack(&sandbox.path("above")).unwrap();
    assert!(above.layers.iter().any(|one| one.digest == layer.digest));
    let checked = sandbox.run(["check", "above"]).success();
    assert!(
        !checked.stderr_text().contains(finding),
        "{}",
        checked.report()
    );
}

/// Prints the attributes in the layer whose tar is on standard input.
const PYTHON: &str = r#"
import sys, tarfile
for member in tarfile.open(fileobj=sys.stdin.buffer, mode="r|"):
    for key, value in member.pax_headers.items():
        print(member.name, key, value.encode("utf-8", "surrogateescape").hex())
"#;

#[test]
fn other_readers_find_the_capabilities() {
    let sandbox = release();
    // Two capabilities whose bits are a line feed.
    if !set_capabilities(
        &sandbox.path("release/bin/server"),
        "cap_dac_override,cap_fowner+ep",
    ) || !has_programs(&["python3", "tar", "umoci", "getcap"])
    {
        return;
    }
    drop(build(&sandbox, &[&LAYOUT[..], &["--tag=app:1"]].concat()).success());
    let image = unpack(&sandbox.path("layout")).unwrap();
    let blob = format!(
        "layout/blobs/{}",
        image.layers.last().unwrap().digest.replace(':', "/")
    );
    let blob = sandbox.path(blob);

    let outcome = finish(
        limited("python3").args(["-c", PYTHON]),
        &fs::read(&blob).unwrap(),
    );
    let value = "010000020a00000000000000".to_owned() + &"0".repeat(16);
    let expected = format!("app/bin/server {CAPABILITY} {value}\n");
    assert_eq!(outcome.success().stdout_text(), expected);

    let unpacked = sandbox.path("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let mut tar = limited("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "-C"]);
    tar.arg(&unpacked).arg("-xf").arg(&blob);
    drop(finish(&mut tar, b"").success());
    let bundle = sandbox.path("bundle");
    let mut umoci = limited("umoci");
    umoci.args(["unpack", "--image", "layout:1"]).arg(&bundle);
    drop(finish(umoci.current_dir(sandbox.root()), b"").success());
    for server in [
        unpacked.join("app/bin/server"),
        bundle.join("rootfs/app/bin/server"),
    ] {
        let outcome = finish(limited("getcap").arg(server), b"").success();
        let text = outcome.stdout_text();
        assert!(
            text.trim_end().ends_with("cap_dac_override,cap_fowner=ep"),
            "{text}"
        );
    }
}

const RAW_SOCKET: &str = r#"
#include <stdio.h>
#include <netinet/in.h>
#include <sys/socket.h>
int main(void) {
    struct sockaddr_in port = {.sin_family = AF_INET, .sin_port = htons(80)};
    int tcp = socket(AF_INET, SOCK_STREAM, 0);
    int is_bound = bind(tcp, (struct sockaddr *)&port, sizeof port) == 0;
    int is_raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0;
    printf("port %d, raw %d\n", is_bound, is_raw);
    return 0;
}
"#;

#[test]
fn a_program_has_its_capabilities_in_an_engine() {
    let engines = Engine::each();
    if engines.is_empty() || !has_programs(&["gcc"]) {
        return;
    }
    for (flags, expected) in [
        (&[][..], "port 1, raw 1\n"),
        (&["--xattrs=drop"], "port 0, raw 0\n"),
    ] {
        let sandbox = engine_sandbox();
        let release = sandbox.path("release");
        fs::create_dir(&release).unwrap();
        let source = sandbox.path("raw.c");
        fs::write(&source, RAW_SOCKET).unwrap();
        let mut gcc = limited("gcc");
        gcc.arg(source).arg("-o").arg(release.join("raw"));
        drop(finish(&mut gcc, b"").success());
        let capabilities = "cap_net_raw,cap_net_bind_service+ep";
        if !set_capabilities(&release.join("raw"), capabilities) {
            return;
        }
        let built = build_in(sandbox, &release, "raw", flags);
        for engine in &engines {
            let loaded = engine.load(&built.archive, &built.reference);
            // Docker lets any user listen on any port since 20.10.
            let usual = ["--sysctl=net.ipv4.ip_unprivileged_port_start=1024"];
            let outcome = loaded.run_with(&usual, &[], b"").success();
            assert_eq!(outcome.stdout_text(), expected, "{}", outcome.report());
        }
    }
}
