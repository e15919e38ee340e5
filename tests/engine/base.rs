//! Images on base images, run by the engines.

use std::path::Path;

use fs_err as fs;
use imgbuild_testing::Outcome;
use imgbuild_testing::sandbox::finish;
use serde_json::{Value, json};

use crate::support::base::{BaseImage, Layer, small_debian};
use crate::support::docker::{Engine, Loaded};
use crate::support::image::{Built, build_in, confirmed, sandbox};
use crate::support::{has_programs, program, unique, unique_time};

fn can_run() -> Vec<Engine> {
    let is_right = cfg!(target_arch = "x86_64") && Path::new("/bin/busybox").exists();
    if !is_right || !has_programs(&["busybox"]) {
        return Vec::new();
    }
    Engine::each()
}

fn on(base: &BaseImage, release: &Path, name: &str, arguments: &[&str]) -> Built {
    let sandbox = sandbox();
    let layout = base.write_layout(&sandbox.path("base"), "1");
    let base = format!("--base=oci:{}:1", layout.display());
    let mut words = vec![base.as_str()];
    words.extend(arguments);
    build_in(sandbox, release, name, &words)
}

#[test]
fn a_dynamic_program_runs_with_the_libraries_of_the_base() {
    let engines = can_run();
    let release = program::c_release("hello", &["gcc"]);
    if engines.is_empty() {
        return;
    }
    let built = on(&small_debian(), &release, "base-glibc", &[]);
    // Neither the loader nor the C library is added again.
    let own: Vec<_> = built.image.layers[2..]
        .iter()
        .flat_map(|layer| &layer.entries)
        .filter(|(path, _)| path.to_string_lossy().contains(".so"))
        .collect();
    assert!(own.is_empty(), "{own:?}");
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let outcome = image.run(&[]).success();
        assert_eq!(outcome.stdout_text(), "hello, user 65532\n");
        let options = ["--entrypoint=/bin/stat"];
        let words = ["-c", "%a %g %n", "/etc", "/tmp", "/var/spool", "/usr/lib"];
        let outcome = image.run_with(&options, &words, b"").success();
        assert_eq!(
            outcome.stdout_text(),
            "755 0 /etc\n1777 0 /tmp\n2770 12 /var/spool\n755 0 /usr/lib\n"
        );
    }
}

#[test]
fn a_program_runs_on_a_base_that_was_not_read() {
    let engines = can_run();
    let release = program::c_release("hello", &["gcc"]);
    if engines.is_empty() {
        return;
    }
    let sandbox = sandbox();
    let layout = small_debian().write_layout(&sandbox.path("base"), "1");
    let reference = format!("localhost/imgbuild-test/base-unseen:{}", unique());
    let words = [
        format!("--release={}", release.display()),
        format!("--base=oci:{}", layout.display()),
        format!("--tag={reference}"),
        format!("--mtime={}", unique_time()),
        "--runtime=none".to_owned(),
        "--skeleton=none".to_owned(),
        "--check=off".to_owned(),
        "--json".to_owned(),
        "--output=image.tar".to_owned(),
    ];
    let outcome = sandbox.run(&words).success();
    let result: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert!(result["images"][0]["layers"][0]["entryCount"].is_null());
    for engine in engines {
        let image = engine.load(&sandbox.path("image.tar"), &reference);
        let outcome = image.run(&[]).success();
        assert_eq!(outcome.stdout_text(), "hello, user 65532\n");
        // Its links and directories are unchanged.
        let options = ["--entrypoint=/bin/stat"];
        let words = ["-c", "%a %F %n", "/bin", "/tmp", "/var/spool"];
        let outcome = image.run_with(&options, &words, b"").success();
        assert_eq!(
            outcome.stdout_text(),
            "777 symbolic link /bin\n1777 directory /tmp\n2770 directory /var/spool\n"
        );
    }
}

#[test]
fn a_library_that_the_base_lacks_is_added() {
    let engines = can_run();
    if engines.is_empty() || !has_programs(&["openssl"]) {
        return;
    }
    let sandbox = sandbox();
    sandbox.tree("release", "0755 dir bin").unwrap();
    fs::copy("/usr/bin/openssl", sandbox.path("release/bin/openssl")).unwrap();
    let layout = small_debian().write_layout(&sandbox.path("base"), "1");
    let base = format!("--base=oci:{}", layout.display());
    let release = sandbox.path("release");
    let words = [base.as_str(), "--cmd=openssl", "--cmd=version"];
    let built = build_in(sandbox, &release, "base-library", &words);
    let libraries = built.paths_below("usr/lib/x86_64-linux-gnu/libcrypto");
    assert!(!libraries.is_empty() || !built.paths_below("usr/lib").is_empty());
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let outcome = image.run(&[]).success();
        assert!(
            outcome.stdout_text().starts_with("OpenSSL "),
            "{}",
            outcome.report()
        );
    }
}

#[test]
fn a_script_is_run_by_the_shell_of_the_base() {
    let engines = can_run();
    if engines.is_empty() {
        return;
    }
    let sandbox = sandbox();
    let script = "#!/bin/sh\necho \"$BASE as $(id -u) with $(cat words)\"\n";
    let tree = format!("0755 file service {script:?}\n0644 file words \"words\"");
    let release = sandbox.tree("release", &tree).unwrap();
    let config =
        json!({ "Env": ["PATH=/usr/bin", "BASE=base"], "User": "web", "WorkingDir": "/srv" });
    let base = small_debian().with_config(config);
    let layout = base.write_layout(&sandbox.path("base"), "1");
    let base = format!("--base=oci:{}", layout.display());
    let words = [base.as_str(), "--entrypoint=service"];
    let built = build_in(sandbox, &release, "base-script", &words);
    assert_eq!(built.config("User"), "web");
    assert!(!built.has("usr/bin/dash"));
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let outcome = image.run(&[]).success();
        assert_eq!(outcome.stdout_text(), "base as 1000 with words\n");
    }
}

#[test]
fn a_program_for_glibc_runs_on_a_base_of_musl() {
    let engines = can_run();
    let release = program::c_release("hello", &["gcc"]);
    if engines.is_empty() || !has_programs(&["musl-gcc"]) {
        return;
    }
    let lower = Layer::default()
        .directory("lib", 0o755)
        .directory("bin", 0o755)
        .host_file(
            "lib/ld-musl-x86_64.so.1",
            Path::new("/lib/ld-musl-x86_64.so.1"),
        )
        .link("lib/libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1")
        .host_file(
            "bin/musl",
            &program::c_release("musl-hello", &["musl-gcc"]).join("bin/musl-hello"),
        );
    let built = on(&BaseImage::new(vec![lower]), &release, "base-musl", &[]);
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let outcome = image.run(&[]).success();
        assert_eq!(outcome.stdout_text(), "hello, user 65532\n");
        let outcome = image
            .run_with(&["--entrypoint=/bin/musl"], &[], b"")
            .success();
        assert!(
            outcome.stdout_text().ends_with("user 65532\n"),
            "{}",
            outcome.report()
        );
    }
}

/// Runs `docker build`; fields without an effect are removed.
fn docker_build(engine: &Engine, from: &str, lines: &str) -> Value {
    let reference = format!("localhost/imgbuild-test/from:{}", unique());
    let mut command = engine.docker(["build", "--quiet", "--tag", &reference, "-"]);
    command.env("DOCKER_BUILDKIT", "0");
    let text = format!("FROM {from}\n{lines}\n");
    drop(finish(&mut command, text.as_bytes()).success());
    let image = Loaded::adopt(engine, &reference);
    fields(&image)
}

fn fields(image: &Loaded<'_>) -> Value {
    let text = image.inspect("{{json .Config}}");
    let mut config: Value = serde_json::from_str(&text).unwrap();
    let fields = config.as_object_mut().unwrap();
    // Old engines record the container of the build.
    for name in ["Hostname", "Domainname", "Image"] {
        fields.remove(name);
    }
    fields.retain(|_, value| {
        let is_empty = value.as_str() == Some("") || value.as_array().is_some_and(Vec::is_empty);
        !value.is_null() && !is_empty && value != &json!(false) && value != &json!({})
    });
    config
}

/// A base image that sets every inherited field.
fn with_every_field() -> BaseImage {
    let layer = Layer::default().file("etc/passwd", 0o644, "web:x:5:6::/:/x\n");
    BaseImage::new(vec![layer]).with_config(json!({
        "Env": ["PATH=/opt/bin:/bin", "A=1", "B=2"],
        "Entrypoint": ["/enter"], "Cmd": ["one", "two"], "User": "web",
        "WorkingDir": "/srv", "Labels": { "a": "1", "b": "2" },
        "ExposedPorts": { "80/tcp": {} }, "Volumes": { "/data": {} },
        "StopSignal": "SIGQUIT", "Shell": ["/bin/bash", "-c"],
        // The classic builder inherits missing times from the base, BuildKit does
        // not.
        "Healthcheck": { "Test": ["CMD", "x"] },
    }))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn the_configuration_is_inherited_as_docker_does() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let base = with_every_field();
    let sandbox = sandbox();
    let from = format!("localhost/imgbuild-test/base:{}", unique());
    base.write_docker_archive(&sandbox.path("base.tar"), &from);
    let loaded = engine.load(&sandbox.path("base.tar"), &from);
    let release = sandbox.tree("release", "0755 file run \"#!/x\"").unwrap();
    let cases: [(&[&str], &str); 9] = [
        (&["--entrypoint=/app/run"], "ENTRYPOINT [\"/app/run\"]"),
        (&["--cmd=three"], "CMD [\"three\"]"),
        (
            &["--entrypoint=/app/run", "--cmd=three"],
            "ENTRYPOINT [\"/app/run\"]\nCMD [\"three\"]",
        ),
        (&["--no-entrypoint"], "ENTRYPOINT []"),
        (&["--no-cmd"], "CMD []"),
        (
            &["--cmd=x", "--env=B=3", "--env=C=4"],
            "CMD [\"x\"]\nENV B=3 C=4",
        ),
        (
            &[
                "--cmd=x",
                "--label=b=3",
                "--label=c=4",
                "--expose=81",
                "--volume=/more",
            ],
            "CMD [\"x\"]\nLABEL b=3 c=4\nEXPOSE 81\nVOLUME /more",
        ),
        (
            &[
                "--cmd=x",
                "--user=5:6",
                "--stop-signal=INT",
                "--healthcheck=none",
            ],
            "CMD [\"x\"]\nUSER 5:6\nSTOPSIGNAL SIGINT\nHEALTHCHECK NONE",
        ),
        (
            &["--cmd=x", "--workdir=/else"],
            "CMD [\"x\"]\nWORKDIR /else",
        ),
    ];
    for (words, lines) in cases {
        let name = format!("localhost/imgbuild-test/inherits:{}", unique());
        let mut all = vec![
            "--release",
            release.to_str().unwrap(),
            "--base=docker-archive:base.tar",
            "--runtime=none",
            "--check=off",
            "--output=out.tar",
            "--no-cache",
            "--tag",
            &name,
        ];
        all.extend(words);
        if words[0].contains("entrypoint") {
            // A program of the release starts in its own directory.
            all.push("--workdir=/srv");
        }
        let outcome: Outcome = sandbox.run(all).success();
        let digest = outcome.stdout_text().trim().to_owned();
        drop(confirmed(&sandbox.path("out.tar"), &digest));
        let ours = engine.load(&sandbox.path("out.tar"), &name);
        assert_eq!(
            fields(&ours),
            docker_build(&engine, &from, lines),
            "{lines}"
        );
    }
    drop(loaded);
}
