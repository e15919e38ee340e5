//! Single flags: what they refuse, and what they warn of.

use fs_err as fs;

use crate::runs;

/// What the small release with these flags is refused with.
fn refused(more: &[&str]) -> String {
    let sandbox = runs::with_small_release();
    let outcome = runs::build(&sandbox, more).exited(2);
    assert_eq!(runs::names(sandbox.root()), ["release"]);
    outcome.stderr_redacted()
}

/// What a build with these flags says on standard error.
fn said(more: &[&str]) -> String {
    let sandbox = runs::with_small_release();
    let more = [&["--output=image.tar"], more].concat();
    runs::build(&sandbox, &more).success().stderr_redacted()
}

#[test]
fn a_bundle_has_a_name() {
    let text = refused(&["--cacert="]);
    assert!(
        text.contains("cannot use `--cacert=`: the value is empty"),
        "{text}"
    );
    let sandbox = runs::with_small_release();
    let build = |more: &[&str]| runs::build(&sandbox, more).success().stdout;
    let alone = build(&["--cacert", "--output=image.tar"]);
    assert_eq!(build(&["--cacert=embedded", "--output=image.tar"]), alone);
}

#[test]
fn a_variant_that_would_be_lost_is_refused() {
    for platform in ["linux/amd64/v3", "linux/386/sse2", "linux/x86_64/V2"] {
        let sandbox = runs::with_small_release();
        let flag = format!("--platform={platform}");
        let outcome = sandbox.run(["--release=release", &flag]).exited(2);
        let text = outcome.stderr_text();
        assert!(
            text.contains(&format!("unknown platform `{platform}`")),
            "{text}"
        );
        assert!(text.contains("linux/amd64,"), "{text}");
    }
    for platform in ["linux/amd64/v1", "linux/arm64/v8", "linux/arm/v6"] {
        let sandbox = runs::with_small_release();
        let flag = format!("--platform={platform}");
        drop(
            sandbox
                .run(["--release=release", "--runtime=none", "--check=off", &flag])
                .success(),
        );
    }
}

#[test]
fn patterns_that_match_nothing_are_named() {
    let text = said(&["--exclude=*.map", "--exclude=etc", "--include=etc/*.toml"]);
    assert!(
        text.contains("warning: the pattern `*.map` matches nothing of the release"),
        "{text}"
    );
    assert_eq!(text.matches("matches nothing").count(), 1, "{text}");
    // One that is overruled matches all the same.
    let text = said(&["--exclude=etc", "--include=etc"]);
    assert!(!text.contains("matches nothing"), "{text}");
}

#[test]
fn flags_for_libraries_are_refused_where_none_come_along() {
    for flag in ["--add-library=libc.so.6", "--library-path=/usr/lib"] {
        let name = flag.split('=').next().unwrap();
        let text = refused(&[flag]);
        let expected = format!("`{name}` has no effect with `--runtime none`");
        assert!(text.contains(&expected), "{text}");
    }
}

#[test]
fn a_path_where_nothing_is_comes_with_its_flag() {
    let sandbox = runs::with_small_release();
    for (flag, code) in [
        ("--add gone:/x", 1),
        ("--cacert gone", 1),
        ("--env-file gone", 1),
        ("--base gone", 1),
        ("--ca-file gone", 1),
        ("--config gone", 2),
        ("--sysroot gone", 2),
        ("--library-path gone", 2),
    ] {
        let mut words = runs::words("release", &["--output=image.tar", "--tag=localhost:1/x"]);
        words.extend(flag.split(' ').map(Into::into));
        if flag.starts_with("--ca-file") {
            words.push("--push".into());
        }
        let outcome = sandbox.run(words).exited(code);
        let said = outcome.stderr_text();
        let expected = format!("error: cannot use `{flag}`: there is no such ");
        assert!(said.contains(&expected), "{said}");
    }
    for words in [
        &["check", "gone"][..],
        &["validate", "gone/below"],
        &["copy", "gone", "oci:layout"],
        &["certificates", "gone"],
    ] {
        let outcome = sandbox.run(words).exited(1);
        let said = outcome.stderr_text();
        let name = words[1];
        let expected = format!("error: cannot use `{name}`: there is no such file or directory");
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn hints_name_the_flag_and_its_form() {
    let token = format!("--label=k=gh{}_{}", "p", "Gh4kT9wLx2".repeat(4));
    for (flag, expected) in [
        ("--healthcheck=curl -f x", "`--healthcheck '[\"CMD\", "),
        (
            "--healthcheck=CMD-SHELL curl x",
            "`--healthcheck '[\"CMD-SHELL\", ",
        ),
        (&token, "remove it from the flag that sets it (`--label`, "),
    ] {
        let text = said(&[flag]);
        assert!(text.contains(expected), "{text}");
    }
    let mut sandbox = runs::with_small_release();
    sandbox.set("TMPDIR", "/proc");
    let outcome = runs::build(&sandbox, &["--output=-", "--compression=gzip"]).exited(1);
    let text = outcome.stderr_text();
    assert!(
        text.contains("(or in `TMPDIR`), which must be writable"),
        "{text}"
    );
}

#[test]
fn modes_that_were_lost_are_named_and_set_on_request() {
    let sandbox = runs::sandbox();
    let tree = |mode| format!("{mode} file bin/run \"#!/bin/sh\"\n0644 file lib/x \"x\"");
    let cargo = "0755 dir target/release/.fingerprint";
    for (name, tree) in [
        ("whole", tree("0755")),
        ("lost", tree("0644")),
        ("cargo", cargo.to_owned()),
    ] {
        sandbox.tree(name, &tree).expect("it is a tree");
    }
    let server = sandbox.path("cargo/target/release/server");
    fs::copy(std::env::current_exe().expect("it runs"), &server).expect("there is room for it");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    fs::set_permissions(&server, mode).expect("it was made");
    let run = |release: &str, more: &[&str]| {
        let flags = [
            "--runtime=none",
            "--check=off",
            "--tag=app",
            "--add=lost:/o",
        ];
        let output = ["--output=image.tar", "--release", release];
        sandbox.run(flags.iter().chain(&output).chain(more))
    };
    for (release, flags, expected) in [
        ("lost", &[][..], "`/app/bin/run`: its mode is 0644"),
        ("cargo/target/release", &[], "/server`: its mode is 0640"),
        (
            "cargo/target/release",
            &["--bin=server"],
            "/server`: its mode is 0640",
        ),
    ] {
        let outcome = run(release, flags).exited(1);
        let said = outcome.stderr_text();
        assert!(said.contains(expected), "{said}");
        assert!(said.contains("`--fix-modes` or `chmod +x`"), "{said}");
        let outcome = run(release, &[flags, &["--fix-modes"]].concat()).success();
        let said = outcome.stderr_text();
        assert!(
            said.contains("`--fix-modes` made 2 files executable"),
            "{said}"
        );
    }
    let digest = |release, flags: &[&str]| run(release, flags).success().stdout;
    let fixed = digest("lost", &["--fix-modes"]);
    assert_eq!(fixed, digest("whole", &["--fix-modes"]));
    assert_ne!(fixed, digest("whole", &[]), "the cache has the mode");
    assert_eq!(fixed, digest("lost", &["--fix-modes", "--no-cache"]));

    // One of two programs.
    let other = server.with_file_name("worker");
    fs::copy(std::env::current_exe().expect("it runs"), &other).expect("there is room for it");
    let outcome = run("cargo/target/release", &[]).success();
    let said = outcome.stderr_text();
    assert!(
        said.contains("/server`: its mode 0640 does not let"),
        "{said}"
    );
}

#[test]
fn a_mistyped_command_is_no_directory() {
    let sandbox = runs::with_small_release();
    let outcome = sandbox.run(["validat"]).exited(2);
    assert!(
        !outcome.stderr_text().contains("--release"),
        "{}",
        outcome.report()
    );
}

#[test]
fn names_in_a_preview_stay_on_their_line() {
    let sandbox = runs::sandbox();
    fs::create_dir(sandbox.path("release")).unwrap();
    fs::write(sandbox.path("release/a\nb"), "x").unwrap();
    fs::write(sandbox.path("release/left\u{1b}[31m"), "x").unwrap();
    let more = ["--dry-run", "--exclude=left*"];
    let outcome = runs::build(&sandbox, &more).success();
    let text = outcome.stdout_text();
    assert!(text.contains("<- release/a\\nb\n"), "{text}");
    assert!(text.contains("left out `left\\u{1b}[31m`"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

/// What a command that is no build is refused with.
fn refused_command(words: &[&str], code: i32) -> String {
    let sandbox = runs::with_small_release();
    let before = runs::listing(sandbox.root());
    let outcome = sandbox.run(words).exited(code);
    assert_eq!(runs::listing(sandbox.root()), before, "{words:?}");
    assert!(outcome.stdout.is_empty(), "{words:?}");
    outcome.stderr_redacted()
}

#[test]
fn a_destination_that_lacks_its_transport_is_refused() {
    for name in [
        "localhost:5000/me/app:1",
        "ghcr.io/me/app:1.2",
        "ghcr.io/me/app",
    ] {
        let output = format!("--output={name}");
        let expected = format!(
            "error: `{name}` looks like a name in a registry, and would become a directory here\n\
             hint: did you mean `docker://{name}`? A directory of this name is `./{name}`\n"
        );
        assert_eq!(refused(&[&output]), expected);
        for words in [
            ["copy", "oci:source", name].as_slice(),
            &["index", "create", name, "oci:source"],
            &["index", "create", "oci:x", "-o", name, "oci:source"],
        ] {
            assert_eq!(refused_command(words, 2), expected, "{words:?}");
        }
    }
    let typo = refused(&["--output=docker:localhost:5000/me/app:1"]);
    assert!(
        typo.contains("did you mean `docker://localhost:5000/me/app:1`?"),
        "{typo}"
    );
    assert!(
        typo.contains("imgbuild writes `docker://REFERENCE`"),
        "{typo}"
    );
}

#[test]
fn a_directory_may_be_called_like_a_registry() {
    let sandbox = runs::with_small_release();
    for output in [
        "./ghcr.io/me/app",
        "oci:ghcr.io/me/other",
        "ghcr.io/me/third",
    ] {
        drop(runs::build(&sandbox, &["--output", output]).success());
    }
    assert_eq!(
        runs::names(&sandbox.path("ghcr.io/me")),
        ["app", "other", "third"]
    );
}

#[test]
fn a_source_that_is_not_there_may_be_in_a_registry() {
    let expected = |name: &str| {
        format!(
            "error: cannot use `{name}`: there is no such file or directory\n\
             hint: an image of a registry is `docker://{name}`\n"
        )
    };
    for name in ["debian:12", "localhost:5000/me/multi:1"] {
        for words in [
            ["copy", name, "oci:x"].as_slice(),
            &["index", "create", "oci:x", name],
            &["check", name],
            &["validate", name],
        ] {
            assert_eq!(refused_command(words, 1), expected(name), "{words:?}");
        }
        let base = ["--release=release", "--base", name];
        let text = refused_command(&base, 1);
        assert!(
            text.contains("there is no such file or directory"),
            "{text}"
        );
        assert!(text.ends_with(&format!("is `docker://{name}`\n")), "{text}");
    }
    for source in ["oci:nosuch", "oci-archive:nosuch", "./nosuch"] {
        let text = refused_command(&["copy", source, "oci:x"], 1);
        assert!(
            text.contains("there is no such file or directory"),
            "{text}"
        );
        assert!(
            text.contains("\nhint: a source on this machine is a directory"),
            "{text}"
        );
    }
    for (words, list) in [
        (["copy", "docker-daemon:app", "oci:x"].as_slice(), ""),
        (&["check", "docker:app"], "did you mean `docker://app`?"),
        (&["validate", "docker:app"], "did you mean `docker://app`?"),
    ] {
        let text = refused_command(words, 2);
        assert!(
            text.contains("imgbuild reads `docker://REFERENCE`"),
            "{text}"
        );
        assert!(text.contains(list), "{text}");
    }
}

#[test]
fn what_cannot_be_used_is_named_with_its_flag() {
    let cache = said(&["--cache-from=oci:nosuch"]);
    assert!(
        cache.contains(
            "warning: cannot use `--cache-from oci:nosuch`: there is no file or directory `nosuch`\n"
        ),
        "{cache}"
    );
    let words = [
        "copy",
        "oci:x",
        "docker://localhost:1/a",
        "--ca-file=nothere.pem",
    ];
    let text = refused_command(&words, 1);
    assert!(
        text.contains("cannot use `--ca-file nothere.pem`: there is no such file"),
        "{text}"
    );
    for words in [
        ["copy", "oci:x", "nodir/x.tar"].as_slice(),
        &["copy", "oci:x", "oci:y", "--digest-file=nodir/d"],
        &["index", "create", "oci:y", "oci:x", "--digest-file=nodir/d"],
    ] {
        let text = refused_command(words, 1);
        assert!(
            text.contains("its directory `nodir` does not exist"),
            "{text}"
        );
        assert!(
            text.contains("hint: create it first: `mkdir -p nodir`"),
            "{text}"
        );
    }
}

#[test]
fn words_of_other_tools_are_answered_with_ours() {
    for (words, expected) in [
        (["push", "x"].as_slice(), "is pushed with `--push`"),
        (&["pull", "x"], "`imgbuild copy docker://REFERENCE oci:DIR`"),
        (&["login"], "`docker login`"),
        (
            &["inspect", "x"],
            "`imgbuild copy --json docker://REFERENCE oci:DIR`",
        ),
        (
            &["copy", "--tls-verify=false", "a", "b"],
            "`--ca-file FILE`",
        ),
    ] {
        let text = refused_command(words, 2);
        let hint = text.lines().find(|line| line.starts_with("hint: "));
        assert!(hint.is_some_and(|hint| hint.contains(expected)), "{text}");
    }
    for words in [["check", "docker://x/y"], ["validate", "docker://x/y"]] {
        let text = refused_command(&words, 2);
        assert!(
            text.contains("`imgbuild copy docker://x/y oci:DIR`"),
            "{text}"
        );
    }
    let digest = format!("docker://x.io/y@sha256:{}", "0".repeat(64));
    let text = refused_command(&["copy", "oci:x", &digest], 2);
    assert!(
        text.contains("hint: name a tag only: `docker://x.io/y:TAG`"),
        "{text}"
    );
}

#[test]
fn a_port_that_is_none_is_not_repaired() {
    let text = refused(&["--tag=localhost:abc/me/app"]);
    assert!(text.contains("its registry must be a host name"), "{text}");
    assert!(!text.contains("would do"), "{text}");
}

#[test]
fn general_flags_stand_under_no_heading_of_others() {
    let sandbox = runs::with_small_release();
    for words in [
        ["copy", "--help"].as_slice(),
        &["check", "--help"],
        &["validate", "--help"],
        &["index", "create", "--help"],
    ] {
        let outcome = sandbox.run(words).success();
        let help = outcome.stdout_text();
        assert!(help.contains("--quiet"), "{help}");
        assert!(!help.contains("Cache:"), "{help}");
    }
}
