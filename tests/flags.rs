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
        text.contains("cannot use `--cacert=`: it names no bundle"),
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
        let expected = format!("`{name}` brings libraries, and `--runtime none` brings none");
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
fn a_directory_alone_is_answered_with_its_flag() {
    let sandbox = runs::with_small_release();
    let outcome = sandbox.run(["release"]).exited(2);
    let text = outcome.stderr_text();
    assert!(text.contains("as `--release release`"), "{text}");
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
