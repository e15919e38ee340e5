//! Commands that are scripts, and programs of the host that are included.

use imgbuild_testing::Sandbox;

use crate::support::docker::Engine;
use crate::support::has_programs;
use crate::support::image::{build_in, sandbox};

/// A service of one script.
fn service(sandbox: &Sandbox, script: &str) -> std::path::PathBuf {
    let text = format!("0755 dir bin\n0755 file bin/service {script:?}");
    sandbox
        .tree("service", &text)
        .expect("there is room for it")
}

#[test]
fn a_script_that_is_the_command_gets_its_interpreter() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    for line in [
        "#!/bin/sh",
        "#!/usr/bin/env bash",
        "#!/usr/bin/env -S bash -e",
    ] {
        let sandbox = sandbox();
        let release = service(&sandbox, &format!("{line}\necho \"$0 as $(id -u)\"\n"));
        let arguments = ["--entrypoint=service", "--program=id"];
        let built = build_in(sandbox, &release, "script", &arguments);
        assert!(built.has("usr/bin/id"));
        for engine in &engines {
            let image = engine.load(&built.archive, &built.reference);
            let outcome = image.run(&[]).success();
            assert_eq!(outcome.stdout_text(), "/app/bin/service as 65532\n");
        }
    }
}

#[test]
fn a_writable_directory_belongs_to_the_user() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let sandbox = sandbox();
    let script = "#!/bin/sh\necho a > /var/lib/service/file && cat /var/lib/service/file\n";
    let release = service(&sandbox, script);
    let arguments = [
        "--program=cat",
        "--writable=/var/lib/service",
        "--user=1234",
    ];
    let built = build_in(sandbox, &release, "writable", &arguments);
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        assert_eq!(image.run(&[]).success().stdout_text(), "a\n");
    }
}

#[test]
fn a_program_can_be_the_command() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let sandbox = sandbox();
    let release = sandbox
        .tree("data", "0644 file words \"b\\na\\n\"")
        .expect("there is room for it");
    let arguments = ["--program=sort", "--entrypoint=sort", "--entrypoint=words"];
    let built = build_in(sandbox, &release, "program", &arguments);
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        assert_eq!(image.run(&[]).success().stdout_text(), "a\nb\n");
    }
}

#[test]
fn time_zones_are_included() {
    let engines = Engine::each();
    if engines.is_empty() || !has_programs(&["date"]) {
        return;
    }
    let sandbox = sandbox();
    let script = "#!/bin/sh\nTZ=Asia/Kathmandu date -d @0 +%H:%M\n";
    let release = service(&sandbox, script);
    let arguments = ["--program=date", "--tzdata"];
    let built = build_in(sandbox, &release, "zones", &arguments);
    assert!(!built.has("usr/share/zoneinfo/localtime"));
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        assert_eq!(image.run(&[]).success().stdout_text(), "05:30\n");
    }
}

#[test]
fn programs_that_a_start_script_calls_come_along() {
    let sandbox = sandbox();
    let script = "#!/bin/sh\ncd \"$(dirname \"$0\")/..\" || exit 1\n. ./lib/names.sh\nexec ./lib/run \"$(names)\"\n";
    let names = "names() { cat words | sort; }\n";
    let run = "#!/usr/bin/env bash\necho $1 | tr a-z A-Z\n";
    let text = format!(
        "0755 dir bin\n0755 file bin/service {script:?}\n0755 file lib/run {run:?}\n0644 file lib/names.sh {names:?}\n0644 file words \"b\\na\\n\"\n"
    );
    let release = sandbox.tree("service", &text);
    let release = release.expect("there is room for it");
    let built = build_in(sandbox, &release, "script", &[]);
    for name in ["cat", "dirname", "env", "bash", "sort", "tr"] {
        assert!(built.has(&format!("usr/bin/{name}")), "{name}");
    }
    for engine in Engine::each() {
        let image = engine.load(&built.archive, &built.reference);
        assert_eq!(image.run(&[]).success().stdout_text(), "A B\n");
    }
}

#[test]
fn text_is_drawn_with_the_fonts_of_the_host() {
    let engines = Engine::each();
    if engines.is_empty() || !has_programs(&["rsvg-convert", "fc-match"]) {
        return;
    }
    let pictures = [&[][..], &["--fonts"]].map(|flags| {
        let sandbox = sandbox();
        let picture = r#"<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30"><text x="5" y="20">Text</text></svg>"#;
        let release = sandbox
            .tree("pictures", &format!("0644 file text.svg {picture:?}"))
            .expect("there is room for it");
        let words = ["--program=rsvg-convert", "--program-files=none", "--entrypoint=rsvg-convert", "--cmd=/app/text.svg"];
        let release_words = ["--dry-run", "--release", release.to_str().expect("it has a plain name")];
        let shown = sandbox.run([&release_words, &words[..], flags].concat()).success();
        assert_eq!(shown.stderr_text().contains("[fonts-missing]"), flags.is_empty());
        let built = build_in(sandbox, &release, "pictures", &[&words, flags].concat());
        assert_eq!(built.has("etc/fonts/fonts.conf"), !flags.is_empty());
        let run = |engine: &Engine| {
            let image = engine.load(&built.archive, &built.reference);
            image.run(&[]).success().stdout
        };
        engines.iter().map(run).collect::<Vec<_>>()
    });
    assert_ne!(pictures[0], pictures[1]);
    assert!(pictures[0][0].len() < pictures[1][0].len());
}

#[test]
fn a_node_of_the_host_gets_the_certificates_by_either_name() {
    for name in ["node", "nodejs"] {
        let sandbox = sandbox();
        let text = format!("0755 file usr/bin/{name} \"x\"\n");
        sandbox.tree("root", &text).expect("there is room for it");
        let release = service(&sandbox, "#!/usr/bin/node\n");
        let release = release.to_str().expect("it has a plain name");
        let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/certificates/rsa.pem");
        let words = [
            "--release",
            release,
            "--dry-run",
            "--json",
            "--no-entrypoint",
        ];
        let more = ["--sysroot=root", "--program", name, "--cacert", bundle];
        let outcome = sandbox.run(words.iter().chain(&more)).success();
        assert!(
            outcome.stdout_text().contains("NODE_EXTRA_CA_CERTS="),
            "{}",
            outcome.report()
        );
    }
}

#[test]
fn programs_that_a_script_calls_and_the_image_lacks_are_reported() {
    let sandbox = sandbox();
    let release = service(
        &sandbox,
        "#!/bin/sh\nset -e\ncut -c1 x | sort; echo; nothing-like-it\n",
    );
    let release = release.to_str().expect("it has a plain name");
    let words = [
        "--release",
        release,
        "--dry-run",
        "--program=sort",
        "--programs=none",
    ];
    let outcome = sandbox.run(words).success();
    let expected = "`/app/bin/service` seems to call programs that the image does not have: `cut` [program-missing]";
    assert!(
        outcome.stderr_text().contains(expected),
        "{}",
        outcome.report()
    );
}

#[test]
fn unusable_interpreters_stop_the_build() {
    for (line, expected) in [
        (
            "#!/nowhere/sh",
            "`/nowhere/sh` of `/app/bin/service` does not exist in the image: line 1 is `#!/nowhere/sh`",
        ),
        ("#!/usr/bin/env no-such-shell", "`no-such-shell` of"),
        ("#!/bin/sh\r", "ends with a carriage return"),
    ] {
        let sandbox = sandbox();
        let release = service(&sandbox, &format!("{line}\n"));
        let release = release.to_str().expect("it has a plain name");
        let outcome = sandbox.run(["--release", release, "--dry-run"]).exited(1);
        assert!(
            outcome.stderr_text().contains(expected),
            "{}",
            outcome.report()
        );
        assert!(
            outcome.stderr_text().contains("hint: "),
            "{}",
            outcome.report()
        );
    }
    let sandbox = sandbox();
    let release = service(&sandbox, "#!/bin/sh\n");
    let release = release.to_str().expect("it has a plain name");
    let outcome = sandbox
        .run(["--release", release, "--program=no-such-program"])
        .exited(1);
    assert!(
        outcome
            .stderr_text()
            .contains("`no-such-program` is not in"),
        "{}",
        outcome.report()
    );
}
