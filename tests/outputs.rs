//! What is written beside the image itself: tags, pipes, small files.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;

use fs_err as fs;
use imgbuild_testing::registry::{Answer, Behavior, Fault};
use imgbuild_testing::{FakeRegistry, Outcome, Sandbox};

use crate::runs;
use crate::support::image::{confirmed, member, result_digest};

/// The tags in the index of an archive.
fn tags(sandbox: &Sandbox, archive: &str) -> Vec<String> {
    let archive = fs::read(sandbox.path(archive)).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&member(&archive, "index.json")).unwrap();
    let manifests = index["manifests"].as_array().unwrap().iter();
    manifests
        .map(|manifest| manifest["annotations"]["org.opencontainers.image.ref.name"].clone())
        .map(|tag| tag.as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn an_oci_archive_can_have_a_tag_as_a_layout_can() {
    let sandbox = runs::with_small_release();
    let more = ["--output=oci-archive:image.tar:v1", "--tag=app:latest"];
    let outcome = runs::build(&sandbox, &more).success();
    assert!(
        outcome
            .stderr_text()
            .contains("wrote `oci-archive:image.tar:v1`")
    );
    confirmed(&sandbox.path("image.tar"), &result_digest(&outcome));
    assert_eq!(tags(&sandbox, "image.tar"), ["v1"]);
    for output in [
        "oci-archive:image.tar:",
        "oci-archive:image.tar:-x",
        "oci-archive::v1",
    ] {
        let flag = format!("--output={output}");
        drop(runs::build(&sandbox, &[&flag]).exited(2));
    }
    // A colon in a directory's name is none of a tag.
    fs::create_dir(sandbox.path("a:b")).unwrap();
    drop(runs::build(&sandbox, &["--output=oci-archive:a:b/image.tar"]).success());
    assert!(sandbox.path("a:b/image.tar").is_file());
}

#[test]
fn a_docker_archive_can_have_a_name_as_with_other_tools() {
    let sandbox = runs::with_small_release();
    let more = ["--output=plain.tar", "--output=plain.tar.gz", "--tag=app:1"];
    drop(runs::build(&sandbox, &more).success());
    let named = [
        "--output=docker-archive:named.tar:app:1",
        "--output=docker-archive:named.tar.gz:app:1",
        "--tag=one",
        "--tag=two",
    ];
    let outcome = runs::build(&sandbox, &named).success();
    for expected in [
        "wrote `docker-archive:named.tar:app:1`",
        "lists the image as `app:1` only, without `one:latest`, `two:latest` (leave out its name",
    ] {
        let text = outcome.stderr_text();
        assert!(text.contains(expected), "{}", outcome.report());
    }
    let copy = [
        "copy",
        "oci-archive:plain.tar",
        "docker-archive:copied.tar:app:1",
    ];
    drop(sandbox.run(copy).success());
    let bytes = |name: &str| fs::read(sandbox.path(name)).unwrap();
    for name in ["named.tar", "copied.tar"] {
        assert!(bytes(name) == bytes("plain.tar"), "{name}");
    }
    assert!(bytes("named.tar.gz") == bytes("plain.tar.gz"));
    // A source is named in the same way.
    let again = [
        "copy",
        "docker-archive:named.tar:app:1",
        "docker-archive:x.tar:h:5/b:2",
    ];
    drop(sandbox.run(again).success());
    assert_eq!(tags(&sandbox, "x.tar"), ["2"]);
}

#[test]
fn names_that_a_destination_cannot_have_are_refused() {
    let sandbox = runs::with_small_release();
    let digest = format!("docker-archive:x.tar:a@sha256:{}", "0".repeat(64));
    for (output, expected) in [
        ("docker-archive:x.tar:", "the name is empty"),
        ("docker-archive:x.tar:APP", "not an image name"),
        ("docker-archive::app:1", "the path is empty"),
        ("docker-archive:-:app:1", "on standard output"),
        (&digest, "cannot contain a digest"),
        ("oci:lay@sha256:0", "cannot contain a digest"),
        ("oci-archive:x.tar@sha512:00", "cannot contain a digest"),
        ("docker-archive:x.tar@sha256:0", "cannot contain a digest"),
        ("./lay@sha256:0", "cannot contain a digest"),
        ("oci-layout:lay", "unknown transport"),
        ("ocidir:lay", "unknown transport"),
        ("http://a/lay", "did you mean `docker://a/lay`?"),
        ("type=docker,dest=x.tar", "unknown transport"),
    ] {
        let outcome = runs::build(&sandbox, &[&format!("--output={output}")]).exited(2);
        let text = outcome.stderr_text();
        assert!(text.contains(expected), "{}", outcome.report());
    }
    // A path without a transport may have a colon.
    drop(runs::build(&sandbox, &["--output=./a:b.tar"]).success());
    assert_eq!(runs::names(sandbox.root()), ["a:b.tar", "release"]);
}

#[test]
fn a_path_may_start_with_two_slashes() {
    let sandbox = runs::with_small_release();
    for (transport, name) in [
        ("oci", "lay"),
        ("oci-archive", "o.tar"),
        ("docker-archive", "d.tar"),
    ] {
        let place = format!("{transport}:/{}", sandbox.path(name).display());
        drop(runs::build(&sandbox, &[&format!("--output={place}")]).success());
        drop(sandbox.run(["validate", &place]).success());
    }
}

#[test]
fn names_that_a_tag_leaves_out_are_said() {
    let sandbox = runs::with_small_release();
    let more = ["--output=oci:layout:v1", "--tag=app:1", "--tag=other:2"];
    let outcome = runs::build(&sandbox, &more).success();
    let expected =
        "warning: `oci:layout:v1` lists the image as `app:v1` only, without `app:1`, `other:2`";
    assert!(
        outcome.stderr_text().contains(expected),
        "{}",
        outcome.report()
    );
    for more in [
        &["--output=oci:second", "--tag=app:1", "--tag=other:2"][..],
        &["--output=oci:third:v1", "--tag=app:1"],
    ] {
        let outcome = runs::build(&sandbox, more).success();
        assert!(
            !outcome.stderr_text().contains("warning"),
            "{}",
            outcome.report()
        );
    }
}

#[test]
fn names_that_old_engines_do_not_load_are_warned_of() {
    let sandbox = runs::with_small_release();
    for (output, count) in [("a.tar", 1), ("oci:layout", 0)] {
        let more = [&format!("--output={output}"), "--tag=[::1]:5000/app:1"];
        let outcome = runs::build(&sandbox, &more).success();
        let text = outcome.stderr_text();
        let warning = "IPv6 address in its name, `[::1]:5000/app:1`: name it";
        assert_eq!(text.matches(warning).count(), count, "{text}");
    }
    let copied = sandbox.run(["copy", "oci:layout", "docker-archive:b.tar"]);
    drop(copied.success());
}

#[test]
fn images_of_one_tag_and_several_names_stay_in_a_layout() {
    let sandbox = runs::with_small_release();
    let names = || -> Vec<String> {
        let index = fs::read(sandbox.path("layout/index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let each = index["manifests"].as_array().unwrap().iter().map(|one| {
            let annotations = &one["annotations"];
            let tag = annotations["org.opencontainers.image.ref.name"].as_str();
            let name = annotations["io.containerd.image.name"].as_str().unwrap();
            format!(
                "{} {}",
                name.rsplit('/').next().unwrap(),
                tag.unwrap_or("-")
            )
        });
        each.collect()
    };
    for (tags, expected) in [
        (&["--tag=a:1", "--tag=b:1"][..], &["a:1 1", "b:1 1"][..]),
        (&["--tag=c:1", "--mtime=7"], &["a:1 -", "b:1 -", "c:1 1"]),
        (&["--tag=b:1", "--mtime=8"], &["a:1 -", "c:1 -", "b:1 1"]),
    ] {
        let more = [&["--output=oci:layout"], tags].concat();
        drop(runs::build(&sandbox, &more).success());
        assert_eq!(names(), expected);
    }
}

#[test]
fn a_full_device_is_named() {
    let sandbox = runs::with_small_release();
    for more in [
        &["--output=image.tar"][..],
        &["--output=image.tar", "--json"],
        &["--dry-run"],
    ] {
        let words = runs::words("release", more);
        let script = "exec \"$@\" > /dev/full";
        let mut command = runs::scripted(&sandbox, script, &words);
        let outcome = sandbox.finish(&mut command, b"").exited(1);
        let expected =
            "error: cannot write the result to standard output\n  caused by: No space left";
        assert!(
            outcome.stderr_text().contains(expected),
            "{}",
            outcome.report()
        );
    }
}

#[test]
fn digests_replace_a_file_when_they_are_complete() {
    let sandbox = runs::with_small_release();
    fs::write(sandbox.path("digest"), "what was there before").unwrap();
    fs::hard_link(sandbox.path("digest"), sandbox.path("other-name")).unwrap();
    let more = [
        "--output=image.tar",
        "--digest-file=digest",
        "--iidfile=/dev/stderr",
    ];
    let outcome = runs::build(&sandbox, &more).success();
    let digest = fs::read_to_string(sandbox.path("digest")).unwrap();
    assert_eq!(digest, result_digest(&outcome));
    // Another file has the name now, and no half of one ever had it.
    let kept = fs::read_to_string(sandbox.path("other-name")).unwrap();
    assert_eq!(kept, "what was there before");
    assert_eq!(fs::metadata(sandbox.path("digest")).unwrap().nlink(), 1);
    let names = runs::names(sandbox.root());
    assert_eq!(names, ["digest", "image.tar", "other-name", "release"]);
}

#[test]
fn the_digest_of_an_index_replaces_a_file_when_it_is_complete() {
    let sandbox = runs::with_small_release();
    drop(runs::build(&sandbox, &["--output=image.tar"]).success());
    fs::write(sandbox.path("digest"), "what was there before").unwrap();
    fs::hard_link(sandbox.path("digest"), sandbox.path("other-name")).unwrap();
    let words = [
        "index",
        "create",
        "--digest-file",
        "digest",
        "oci:all",
        "image.tar",
    ];
    let outcome = sandbox.run(words).success();
    let digest = fs::read_to_string(sandbox.path("digest")).unwrap();
    assert_eq!(digest, result_digest(&outcome));
    let kept = fs::read_to_string(sandbox.path("other-name")).unwrap();
    assert_eq!(kept, "what was there before");
}

#[test]
fn one_file_is_not_two_outputs_of_any_command() {
    let sandbox = runs::with_small_release();
    drop(runs::build(&sandbox, &["--output=image.tar"]).success());
    std::os::unix::fs::symlink("same.tar", sandbox.path("link")).unwrap();
    for name in ["same.tar", "./same.tar", "release/../same.tar", "link"] {
        for words in [
            &["copy", "image.tar", "same.tar"][..],
            &["index", "create", "same.tar", "image.tar"],
            &["--release=release", "--output=same.tar"],
        ] {
            let words = words.iter().copied().chain(["--digest-file", name]);
            let outcome = sandbox.run(words).exited(2);
            let text = outcome.stderr_text();
            let expected = format!("two outputs are one file: `{name}`");
            assert!(text.contains(&expected), "{}", outcome.report());
        }
        assert!(!sandbox.path("same.tar").exists());
    }
    let twice = ["copy", "image.tar", "same.tar", "oci-archive:same.tar:1"];
    drop(sandbox.run(twice).exited(2));
    // A layout takes more than one.
    let layouts = ["copy", "image.tar", "oci:all:1", "oci:all:2"];
    drop(sandbox.run(layouts).success());
}

fn with_pipe() -> Sandbox {
    let sandbox = runs::with_small_release();
    sandbox.tree(".", "fifo pipe").unwrap();
    sandbox
}

#[test]
fn a_pipe_is_waited_for_and_filled() {
    let sandbox = with_pipe();
    let words = runs::words(
        "release",
        &["--output=docker-archive:pipe", "--digest-file=digest"],
    );
    let build = runs::start(&mut sandbox.command(words));
    let read = fs::read(sandbox.path("pipe")).unwrap();
    let (status, said) = runs::end(build);
    assert!(status.success(), "{said}");
    fs::write(sandbox.path("image.tar"), read).unwrap();
    let digest = fs::read_to_string(sandbox.path("digest")).unwrap();
    confirmed(&sandbox.path("image.tar"), &digest);
}

#[test]
fn one_signal_ends_the_wait_for_a_reader() {
    let sandbox = with_pipe();
    let words = runs::words("release", &["--output=docker-archive:pipe"]);
    let build = runs::start(&mut sandbox.command(words));
    assert!(runs::becomes(|| runs::handles_signals(&build)));
    runs::signal(&build, "TERM");
    let (status, said) = runs::end(build);
    assert_eq!(status.code(), Some(130), "{said}");
}

#[test]
fn an_archive_in_a_form_that_is_not_written_is_refused() {
    let sandbox = runs::with_small_release();
    for name in ["a.tar.zst", "a.tar.xz", "a.TAR", "a.zip"] {
        let outcome = runs::build(&sandbox, &[&format!("--output={name}")]);
        assert_eq!(outcome.code, Some(2), "{name}");
        let said = outcome.stderr_text();
        assert!(said.contains("archives are plain (`FILE.tar`)"), "{said}");
        assert!(!sandbox.path(name).exists());
    }
    let outcome = runs::build(&sandbox, &["--output=oci:a.zip"]);
    drop(outcome.success());
}

/// Runs the program with standard output as a shell makes it.
fn redirected(sandbox: &Sandbox, redirection: &str, words: &[OsString]) -> Outcome {
    let script = format!("exec \"$0\" \"$@\" {redirection}");
    sandbox.finish(
        &mut runs::wrapped(sandbox, &["sh", "-c", &script], words),
        b"",
    )
}

#[test]
fn an_archive_on_a_closed_standard_output_is_an_error() {
    let sandbox = runs::with_small_release();
    let to_stdout = runs::words("release", &["-o", "-"]);
    let json = runs::words("release", &["-o", "image.tar", "--json"]);
    let digest = runs::words("release", &["-o", "image.tar"]);
    let dry = runs::words("release", &["--dry-run"]);
    let version = ["--version".into()];
    let outcome = redirected(&sandbox, ">&-", &to_stdout).exited(1);
    let text = outcome.stderr_text();
    assert!(
        text.contains("`-` writes to standard output, which is closed"),
        "{text}"
    );
    // Nothing was built.
    assert!(!text.contains("layer"), "{text}");
    // Other results can be discarded, however the device was opened.
    for redirection in [">&-", ">/dev/null", "1<>/dev/null"] {
        for words in [&json[..], &dry, &digest, &version] {
            drop(redirected(&sandbox, redirection, words).success());
        }
    }
    drop(redirected(&sandbox, ">/dev/null", &to_stdout).success());
    // What cannot be written to, and what is full.
    for redirection in ["1</dev/null", "1<release/etc/app.toml", ">/dev/full"] {
        for words in [&to_stdout[..], &json, &digest, &dry, &version] {
            drop(redirected(&sandbox, redirection, words).exited(1));
        }
    }
    drop(redirected(&sandbox, "2>&-", &digest).success());
}

#[test]
fn a_failure_tells_which_of_several_outputs_are_complete() {
    let mut sandbox = runs::with_small_release();
    drop(runs::build(&sandbox, &["-o", "image.tar"]).success());
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    registry.fail(
        usize::MAX,
        "PUT",
        "/bad/manifests/",
        Fault::Answer(Answer::new(403)),
    );
    let [good, bad] = ["good", "bad"].map(|name| format!("docker://{}/{name}:1", registry.name()));
    let bin = sandbox.tree(
        "bin",
        r##"0755 file docker "#!/bin/sh\n[ $1 = info ] && exit; cat >/dev/null; exit 1\n""##,
    );
    sandbox.set("PATH", format!("{}:/usr/bin:/bin", bin.unwrap().display()));
    for (outputs, complete, not) in [
        (
            "-o a.tar -o oci-archive:/dev/full",
            "`a.tar`",
            "`oci-archive:/dev/full`",
        ),
        (
            "-o oci:a -o oci-archive:/dev/full -o b.tar",
            "`a`",
            "`oci-archive:/dev/full`, `b.tar`",
        ),
        (
            "-o oci-archive:/dev/full -o oci:a",
            "",
            "`oci-archive:/dev/full`, `a`",
        ),
        ("-o b.tar --load", "`b.tar`", "`the engine of this machine`"),
        (
            &format!("-o {bad} -o c.tar"),
            "`c.tar`",
            &format!("`{bad}`"),
        ),
        (
            &format!("-o {good} -o {bad} -o d.tar"),
            &format!("`{good}`, `d.tar`"),
            &format!("`{bad}`"),
        ),
        ("-o e.tar --digest-file /dev/full", "`e.tar`", ""),
        ("-o oci-archive:/dev/full", "", ""),
    ] {
        let more: Vec<&str> = outputs.split(' ').collect();
        let outcome = runs::build(&sandbox, &more).exited(1);
        let text = outcome.stderr_text();
        let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
        let names = [complete, not].map(|names| Some(names).filter(|names| !names.is_empty()));
        let found = [
            line("hint: outputs that are complete: "),
            line("hint: outputs that are not complete: "),
        ];
        assert_eq!(found, names, "{}", outcome.report());
    }
    let copy = ["copy", "image.tar", "oci:f", &bad, "g.tar"];
    let text = sandbox.run(copy).exited(1).stderr_text().to_owned();
    assert!(text.contains("are complete: `f`, `g.tar`\n"), "{text}");
}
