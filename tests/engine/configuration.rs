//! The effect of flags on an image, as the engine reports it.

use std::path::PathBuf;

use fs_err as fs;
use imgbuild_testing::sandbox::finish;

use crate::support::docker::{Engine, Loaded};
use crate::support::image::{build, build_in, confirmed, sandbox};
use crate::support::{program, unique, unique_time};

/// The smallest real program.
fn hello() -> PathBuf {
    program::c_release("hello", &["gcc"])
}

#[test]
fn every_field_of_the_configuration_reaches_the_engine() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let built = build(
        &hello(),
        "fields",
        &[
            "--entrypoint=bin/hello",
            "--cmd=[\"one\",\"two words\"]",
            "--env=GREETING=a=b c",
            "--expose=8080",
            "--expose=53/udp",
            "--user=1234:5678",
            "--workdir=/srv",
            "--volume=/data",
            "--label=org.example.key=value",
            "--no-auto-labels",
            "--stop-signal=SIGINT",
            "--author=Somebody",
        ],
    );
    let fields = [
        ("{{json .Config.Entrypoint}}", "[\"/app/bin/hello\"]"),
        ("{{json .Config.Cmd}}", "[\"one\",\"two words\"]"),
        (
            "{{json .Config.ExposedPorts}}",
            "{\"53/udp\":{},\"8080/tcp\":{}}",
        ),
        ("{{.Config.User}}", "1234:5678"),
        ("{{.Config.WorkingDir}}", "/srv"),
        ("{{json .Config.Volumes}}", "{\"/data\":{}}"),
        ("{{json .Config.Labels}}", "{\"org.example.key\":\"value\"}"),
        ("{{.Config.StopSignal}}", "SIGINT"),
        ("{{.Author}}", "Somebody"),
        ("{{.Os}}", "linux"),
    ];
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        for (template, expected) in fields {
            assert_eq!(image.inspect(template), expected, "{template}");
        }
        let environment = image.inspect("{{json .Config.Env}}");
        assert!(environment.contains("\"GREETING=a=b c\""), "{environment}");
        let outcome = image.run(&[]).success();
        assert_eq!(outcome.stdout_text(), "hello one two words, user 1234\n");
    }
}

#[test]
fn a_health_check_reaches_the_engine_in_nanoseconds() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let check = [
        "--healthcheck=bin/hello",
        "--healthcheck=well",
        "--health-interval=30s",
    ];
    let built = build(&hello(), "health", &check);
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        assert_eq!(
            image.inspect("{{json .Config.Healthcheck}}"),
            "{\"Test\":[\"CMD\",\"/app/bin/hello\",\"well\"],\"Interval\":30000000000}"
        );
    }
}

#[test]
fn two_names_load_as_one_image() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let second = format!("localhost/imgbuild-test/second-name:{}", unique());
    let built = build(&hello(), "first-name", &["--tag", &second]);
    for engine in engines {
        let mut load = engine.docker(["load"]);
        load.stdin(fs::File::open(&built.archive).unwrap().into_file());
        let first = Loaded::adopt(&engine, &built.reference);
        let other = Loaded::adopt(&engine, &second);
        let outcome = finish(&mut load, b"").success();
        let mut lines: Vec<&str> = outcome.stdout_text().lines().collect();
        lines.sort_unstable();
        let mut expected = [&built.reference, &second].map(|name| format!("Loaded image: {name}"));
        expected.sort_unstable();
        assert_eq!(lines, expected);
        assert_eq!(first.inspect("{{.Id}}"), other.inspect("{{.Id}}"));
    }
}

#[test]
fn further_files_are_readable_and_keep_their_mode() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let sandbox = sandbox();
    let tree = "0600 file secret \"for everybody now\\n\"\n0755 file sub/tool \"#!/app/bin/sh\\necho ran\\n\"";
    let extra = sandbox.tree("extra", tree).expect("there is room for it");
    let release = sandbox
        .tree("release", "0755 dir bin")
        .expect("there is room for it");
    fs::copy("/bin/busybox", release.join("bin/sh")).expect("busybox-static is installed");
    let add = format!("{}:/opt/extra", extra.display());
    let one = format!("{}:/etc/one.conf:0440", extra.join("secret").display());
    let arguments = ["--entrypoint=bin/sh", "--add", &add, "--add", &one];
    let built = build_in(sandbox, &release, "adding", &arguments);
    let script = "cat /opt/extra/secret; /opt/extra/sub/tool; stat -c %a:%u /etc/one.conf";
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let outcome = image.run(&["-c", script]).success();
        assert_eq!(outcome.stdout_text(), "for everybody now\nran\n440:0\n");
    }
}

#[test]
fn the_engine_identifies_the_image_by_our_digests() {
    let built = build(&hello(), "identity", &[]);
    let config = built.image.manifest["config"]["digest"]
        .as_str()
        .expect("a digest is text");
    if let Some(engine) = Engine::require() {
        let image = engine.load(&built.archive, &built.reference);
        assert_eq!(image.inspect("{{.Id}}"), config);
    }
    if let Some(engine) = Engine::containerd() {
        let image = engine.load(&built.archive, &built.reference);
        assert_eq!(image.inspect("{{.Id}}"), built.digest);
    }
}

#[test]
fn docker_save_returns_the_archive_byte_for_byte() {
    let Some(engine) = Engine::containerd() else {
        return;
    };
    let built = build(&hello(), "fixed-point", &[]);
    let image = engine.load(&built.archive, &built.reference);
    let saved = built.sandbox.path("saved.tar");
    image.save(&saved);
    let same = fs::read(&saved).unwrap() == fs::read(&built.archive).unwrap();
    assert!(same, "docker save writes another archive");
}

#[test]
fn compressed_layers_and_compressed_archives_load() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let sandbox = sandbox();
    let packed = sandbox.path("packed.tar.gz");
    let output = format!("--output={}", packed.display());
    let built = build_in(sandbox, &hello(), "gzip", &["--compression=gzip", &output]);
    let media_type = built.image.manifest["layers"][0]["mediaType"].as_str();
    assert_eq!(
        media_type,
        Some("application/vnd.oci.image.layer.v1.tar+gzip")
    );
    confirmed(&packed, &built.digest);
    for engine in engines {
        for archive in [&built.archive, &packed] {
            let image = engine.load(archive, &built.reference);
            drop(image.run(&[]).success());
        }
    }
}

#[test]
fn a_docker_archive_loads() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let sandbox = sandbox();
    let archive = sandbox.path("docker.tar");
    let output = format!("--output=docker-archive:{}", archive.display());
    let built = build_in(sandbox, &hello(), "docker-archive", &[&output]);
    for engine in engines {
        let image = engine.load(&archive, &built.reference);
        drop(image.run(&[]).success());
    }
}

#[test]
fn standard_output_feeds_the_engine() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let reference = format!("localhost/imgbuild-test/pipe:{}", unique());
    let sandbox = sandbox();
    let release = hello();
    let mtime = unique_time();
    let words = [
        "--tag",
        &reference,
        "--mtime",
        &mtime,
        "--output",
        "-",
        "--release",
    ];
    let outcome = sandbox
        .run(
            words
                .map(std::ffi::OsStr::new)
                .into_iter()
                .chain([release.as_os_str()]),
        )
        .success();
    let image = Loaded::adopt(&engine, &reference);
    let loaded = finish(&mut engine.docker(["load"]), &outcome.stdout).success();
    assert_eq!(loaded.stdout_text(), format!("Loaded image: {reference}\n"));
    drop(image.run(&[]).success());
}

#[test]
fn the_program_can_write_to_tmp_and_nowhere_in_the_release() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let sandbox = sandbox();
    let text = "0755 dir bin\n0644 file bin/data \"x\"";
    let release = sandbox.tree("release", text).expect("there is room for it");
    let shell = release.join("bin/sh");
    fs::copy("/bin/busybox", &shell).expect("busybox-static is installed");
    let script = "id -u; echo ok > /tmp/a && cat /tmp/a; \
        (echo no > /app/bin/data) 2>/dev/null || echo refused; pwd";
    let built = build_in(sandbox, &release, "writing", &["--entrypoint", "bin/sh"]);
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let outcome = image.run(&["-c", script]).success();
        assert_eq!(outcome.stdout_text(), "65532\nok\nrefused\n/app\n");
    }
}
