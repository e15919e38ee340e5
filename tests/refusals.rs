//! What is refused: by name, all problems at once, nothing written, and what
//! was there untouched.

use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use fs_err as fs;
use imgbuild_testing::sandbox::finish;
use imgbuild_testing::{Outcome, Sandbox};

use crate::runs;
use crate::support::{has_programs, skip_always};

/// Builds `release`, which must fail with exit code 1 and change nothing.
fn refused(sandbox: &Sandbox, more: &[&str]) -> Outcome {
    let mut words: Vec<&str> = more.to_vec();
    if !more.iter().any(|word| word.starts_with("--output")) {
        words.push("--output=image.tar");
    }
    let before = runs::listing(sandbox.root());
    let outcome = runs::build(sandbox, &words).exited(1);
    assert_eq!(
        runs::listing(sandbox.root()),
        before,
        "{}",
        outcome.report()
    );
    assert!(outcome.stdout.is_empty(), "{}", outcome.report());
    outcome
}

fn refused_release(release: &str, more: &[&str]) -> String {
    let sandbox = runs::sandbox();
    sandbox.tree("release", release).unwrap();
    refused(&sandbox, more).stderr_redacted()
}

#[test]
fn sockets_fifos_and_whiteouts_are_refused_together() {
    let release = r#"
        0644 file fine ""
        socket run/server.sock
        fifo run/pipe
        0644 file data/.wh.gone "x"
        0755 dir .wh..wh..opq
        link .wh.link -> fine
    "#;
    insta::assert_snapshot!(refused_release(release, &[]), @r#"
    error: cannot package the release
      `release/.wh..wh..opq`: a name that starts with `.wh.` hides a file of a lower layer instead of adding one
      `release/.wh.link`: a name that starts with `.wh.` hides a file of a lower layer instead of adding one
      `release/data/.wh.gone`: a name that starts with `.wh.` hides a file of a lower layer instead of adding one
      `release/run/pipe` is a FIFO; images can hold files, directories and symbolic links
      `release/run/server.sock` is a socket; images can hold files, directories and symbolic links
    hint: remove these files from the release, or leave them out with `--exclude`
    "#);
}

#[test]
fn devices_are_refused() {
    if !runs::is_root() {
        return skip_always("not root");
    }
    if !has_programs(&["mknod"]) {
        return;
    }
    let sandbox = runs::sandbox();
    sandbox.tree("release", "0644 file fine \"\"").unwrap();
    for (name, kind) in [("null", ["c", "1", "3"]), ("disk", ["b", "7", "99"])] {
        let mut make = Command::new("mknod");
        make.arg(sandbox.path("release").join(name)).args(kind);
        drop(finish(&mut make, b"").success());
    }
    insta::assert_snapshot!(refused(&sandbox, &[]).stderr_redacted(), @r#"
    error: cannot package the release
      `release/disk` is a block device; images can hold files, directories and symbolic links
      `release/null` is a character device; images can hold files, directories and symbolic links
    hint: remove these files from the release, or leave them out with `--exclude`
    "#);
}

#[test]
fn unreadable_files_and_directories_are_refused_together() {
    let sandbox = runs::sandbox();
    let release = r#"
        0000 file closed "x"
        0644 file hidden/file "x"
        0644 file open "x"
    "#;
    sandbox.tree("release", release).unwrap();
    let hidden = sandbox.path("release/hidden");
    fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o000)).unwrap();
    let words = runs::words("release", &["--output=image.tar"]);
    let outcome = sandbox.finish(&mut runs::as_somebody(&sandbox, &words), b"");
    insta::assert_snapshot!(outcome.exited(1).stderr_redacted(), @r#"
    error: cannot package the release
      `release/closed` cannot be read: permission denied
      `release/hidden` cannot be read: Permission denied (os error 13)
    hint: remove these files from the release, or leave them out with `--exclude`
    "#);
    let more = [
        "--output=image.tar",
        "--exclude=closed",
        "--exclude=hidden/",
    ];
    let words = runs::words("release", &more);
    let outcome = sandbox.finish(&mut runs::as_somebody(&sandbox, &words), b"");
    let outcome = outcome.success();
    fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(
        outcome.stderr_text().contains("2 paths left out"),
        "{}",
        outcome.report()
    );
}

#[test]
fn an_unreadable_program_of_a_cargo_release_is_refused() {
    let sandbox = runs::sandbox();
    sandbox.tree("release", cargo_release()).unwrap();
    let program = sandbox.path("release/helper");
    fs::set_permissions(&program, std::fs::Permissions::from_mode(0o111)).unwrap();
    let words = runs::words("release", &["--output=image.tar"]);
    let outcome = sandbox.finish(&mut runs::as_somebody(&sandbox, &words), b"");
    let outcome = outcome.exited(1);
    assert!(
        outcome
            .stderr_text()
            .contains("release/helper` cannot be read"),
        "{}",
        outcome.report()
    );
}

fn cargo_release() -> &'static str {
    include_str!("../fixtures/releases/cargo.tree")
}

#[test]
fn twenty_problems_are_shown_and_the_rest_is_counted() {
    let release: String = (10..35)
        .map(|number| format!("fifo pipe{number}\n"))
        .collect();
    let said = refused_release(&release, &[]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("is a FIFO"))
            .count(),
        20,
        "{said}"
    );
    assert!(lines.contains(&"  … and 5 more"), "{said}");
    let release: String = (10..30)
        .map(|number| format!("fifo pipe{number}\n"))
        .collect();
    let said = refused_release(&release, &[]);
    assert!(!said.contains("more"), "{said}");
}

#[test]
fn names_with_control_characters_stay_on_one_line() {
    let said = refused_release("fifo \"a\\nb\\x1b[31m\\xff\"", &[]);
    assert!(
        said.contains("release/a\\nb\\u{1b}[31m\\xff` is a FIFO"),
        "{said}"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a snapshot")]
fn a_release_that_is_none_is_refused() {
    let sandbox = runs::sandbox();
    sandbox.tree("empty", "").unwrap();
    sandbox.tree("full", "0644 file a \"\"").unwrap();
    sandbox
        .tree(
            "target/release",
            "0755 dir .fingerprint\n0755 dir deps\n0644 file app.d \"\"",
        )
        .unwrap();
    fs::write(sandbox.path("file"), "").unwrap();
    let mut said = String::new();
    for words in [
        &["--release", "nowhere"][..],
        &["--release", "file"],
        &["--release", "file/below"],
        &["--release", "empty"],
        &["--release", "full", "--exclude", "*"],
        &["--release", "target/release"],
        &["--release", "full", "--kind", "cargo"],
        &["--release", "full"],
        &["--release", "full", "--cmd", "nothing"],
        &["--release", "full", "--cmd", "a"],
        &["--release", "full", "--no-entrypoint", "--user", "nobody"],
        &["--release", "full", "--no-entrypoint", "--add", "gone:/x"],
    ] {
        let before = runs::listing(sandbox.root());
        let outcome = sandbox.run(words).exited(1);
        assert_eq!(runs::listing(sandbox.root()), before);
        said.push_str(&format!(
            "$ imgbuild {}\n{}\n",
            words.join(" "),
            outcome.stderr_redacted()
        ));
    }
    insta::assert_snapshot!(said, @r#"
    $ imgbuild --release nowhere
    error: there is no release at `nowhere`
    hint: build the release first, and name its directory with `--release`

    $ imgbuild --release file
    error: the release `file` is not a directory
    hint: `--release` takes a directory: `--release . --entrypoint file`

    $ imgbuild --release file/below
    error: there is no release at `file/below`
    hint: build the release first, and name its directory with `--release`

    $ imgbuild --release empty
    error: the release `empty` has nothing to package
    hint: build the release first

    $ imgbuild --release full --exclude *
    error: the release `full` has nothing to package
    hint: loosen `--exclude`, or add `--include`

    $ imgbuild --release target/release
    error: the Cargo release `target/release` has no executable
    hint: run `cargo build --release` first, or include the whole directory with `--kind tree`

    $ imgbuild --release full --kind cargo
    error: the Cargo release `full` has no executable
    hint: run `cargo build --release` first, or include the whole directory with `--kind tree`

    $ imgbuild --release full
    error: cannot determine the command of the image: it has no executable at its top or in its `bin` directory
    hint: name the program with `--entrypoint` or `--cmd`, or build without one with `--no-entrypoint`

    $ imgbuild --release full --cmd nothing
    error: the command `/app/nothing` cannot run: `/app/nothing` does not exist in the image [command-missing]
    hint: add a program of this machine with `--program`; a relative path is taken from the release; `--dry-run` lists the files of the image
    error: the check found 1 error, and nothing was written
    hint: `--check=warn` writes the image anyway

    $ imgbuild --release full --cmd a
    error: the command `/app/a` cannot run: `/app/a` is neither a program nor a script with a shebang line [command-format]
    hint: name a program with `--entrypoint` or `--cmd`, or build without one with `--no-entrypoint`
    error: the check found 1 error, and nothing was written
    hint: `--check=warn` writes the image anyway

    $ imgbuild --release full --no-entrypoint --user nobody
    error: the image has no user or group called `nobody` (known: `root`, `nonroot`)
    hint: use numbers, for example `--user 1000:1000`, or add a passwd file with `--add`

    $ imgbuild --release full --no-entrypoint --add gone:/x
    error: cannot use `--add gone:/x`: there is no such file or directory: `gone`
    "#);
}

#[test]
fn set_id_files_of_others_are_refused_unless_allowed() {
    if !runs::is_root() {
        return skip_always("not root");
    }
    if !has_programs(&["chown"]) {
        return;
    }
    let sandbox = runs::sandbox();
    let release =
        "4755 file sudo \"x\"\n2755 file wall \"x\"\n0755 file plain \"x\"\n4755 file own \"x\"";
    sandbox.tree("release", release).unwrap();
    let script = "cd release && chown 1000:0 sudo && chgrp 5 wall && chmod 4755 sudo && chmod 2755 wall && chown 1:1 plain";
    let mut change = Command::new("/bin/sh");
    change.args(["-ec", script]).current_dir(sandbox.root());
    drop(finish(&mut change, b"").success());
    insta::assert_snapshot!(refused(&sandbox, &[]).stderr_redacted(), @r#"
    error: cannot package the release
      `release/sudo` is a set-id file of 1000:0; in the image it would run as root
      `release/wall` is a set-id file of 0:5; in the image it would run as root
    hint: include these files, owned by root, with `--allow-set-id`, or leave them out with `--exclude`
    "#);
    drop(runs::build(&sandbox, &["--output=image.tar", "--allow-set-id"]).success());
    let image = imgbuild_testing::unpack(&sandbox.path("image.tar")).unwrap();
    let files = image.files();
    let mode = |path: &str| {
        let found = &files[Path::new(path)];
        (found.mode, found.uid, found.gid)
    };
    assert_eq!(mode("app/sudo"), (0o4755, 0, 0));
    assert_eq!(mode("app/wall"), (0o2755, 0, 0));
    assert_eq!(mode("app/own"), (0o4755, 0, 0));
}

#[test]
fn additions_are_refused_for_the_same_reasons() {
    let sandbox = runs::sandbox();
    sandbox.tree("release", "0644 file fine \"\"").unwrap();
    let more = "fifo pipe\nsocket sock\n0644 file .wh.gone \"\"\n0755 dir fine";
    sandbox.tree("more", more).unwrap();
    let outcome = refused(&sandbox, &["--add=more:/more"]);
    insta::assert_snapshot!(outcome.stderr_redacted(), @r#"
    error: cannot package the release
      `more/.wh.gone`: a name that starts with `.wh.` hides a file of a lower layer instead of adding one
      `more/pipe` is a FIFO; images can hold files, directories and symbolic links
      `more/sock` is a socket; images can hold files, directories and symbolic links
    hint: remove these files from the release, or leave them out with `--exclude`
    "#);
}

#[test]
fn set_id_and_unreadable_additions_are_refused() {
    if !runs::is_root() {
        return skip_always("not root");
    }
    if !has_programs(&["chown"]) {
        return;
    }
    let sandbox = runs::sandbox();
    sandbox.tree("release", "0644 file fine \"\"").unwrap();
    sandbox
        .tree("more", "4755 file sudo \"x\"\n0600 file closed \"x\"")
        .unwrap();
    sandbox.tree("single", "4755 file sudo \"x\"").unwrap();
    let mut change = Command::new("/bin/sh");
    let script = "chown 1000:0 more/sudo single/sudo && chmod 4755 more/sudo single/sudo";
    change.args(["-ec", script]).current_dir(sandbox.root());
    drop(finish(&mut change, b"").success());
    let more = [
        "--output=image.tar",
        "--add=more:/more",
        "--add=single/sudo:/sudo",
    ];
    let words = runs::words("release", &more);
    let outcome = sandbox
        .finish(&mut runs::as_somebody(&sandbox, &words), b"")
        .exited(1);
    let said = outcome.stderr_text();
    for expected in [
        "`more/sudo` is a set-id file of 1000:0",
        "`single/sudo` is a set-id file of 1000:0",
        "`more/closed` cannot be read",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn two_sources_for_one_path_are_refused_together() {
    let sandbox = runs::sandbox();
    sandbox
        .tree(
            "release",
            "0644 file a \"1\"\n0644 file b \"1\"\n0644 file d/c \"1\"",
        )
        .unwrap();
    sandbox
        .tree(
            "more",
            "0644 file a \"2\"\n0644 file b \"2\"\n0644 file d \"2\"",
        )
        .unwrap();
    let outcome = refused(&sandbox, &["--add=more/a:/app"]);
    insta::assert_snapshot!(outcome.stderr_redacted(), @r#"
    error: cannot package the release
      `/app/a` lies below `/app`, which is not a directory
    hint: keep one source: change `--prefix`, `--add` or `--exclude`
    "#);
    let outcome = refused(&sandbox, &["--add=more:/app", "--add=more/a:/app/a/below"]);
    insta::assert_snapshot!(outcome.stderr_redacted(), @r#"
    error: cannot package the release
      `/app/a` has two sources: `release/a` and `more/a`
      `/app/b` has two sources: `release/b` and `more/b`
      `/app/d` has two sources: a directory and `more/d`
      `/app/a/below` lies below `/app/a`, which is not a directory
    hint: keep one source: change `--prefix`, `--add` or `--exclude`
    "#);
    let outcome = refused(&sandbox, &["--add=more/a:/x", "--add=more/b:/x"]);
    insta::assert_snapshot!(outcome.stderr_redacted(), @r#"
    error: cannot package the release
      `/x` has two sources: `more/a` and `more/b`
    hint: keep one source: change `--prefix`, `--add` or `--exclude`
    "#);
    let text = "0644 file etc/ssl/certs/ca-certificates.crt \"mine\"";
    sandbox.tree("release", text).unwrap();
    let outcome = refused(&sandbox, &["--prefix=/", "--cacert"]);
    insta::assert_snapshot!(outcome.stderr_redacted(), @r#"
    error: cannot package the release
      `/etc/ssl/certs/ca-certificates.crt` has two sources: `release/etc/ssl/certs/ca-certificates.crt` and the certificates of the image
    hint: keep one source: change `--prefix`, `--add` or `--exclude`
    "#);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a snapshot")]
fn an_output_that_cannot_be_one_is_refused() {
    let sandbox = runs::with_small_release();
    sandbox.tree("home", "0644 file letter \"dear\"").unwrap();
    sandbox
        .tree(
            "broken",
            r#"0644 file oci-layout "{\"imageLayoutVersion\":\"1.0.0\"}""#,
        )
        .unwrap();
    sandbox
        .tree(
            "future",
            r#"0644 file oci-layout "{\"imageLayoutVersion\":\"2.0.0\"}""#,
        )
        .unwrap();
    let text = r#"
        0644 file oci-layout "{\"imageLayoutVersion\":\"1.0.0\"}"
        0644 file index.json "[]"
    "#;
    sandbox.tree("odd", text).unwrap();
    sandbox.tree("directory.tar", "0644 file a \"\"").unwrap();
    fs::write(sandbox.path("file"), "precious").unwrap();
    let mut said = String::new();
    for output in [
        "home",
        "oci:home",
        "broken",
        "future",
        "odd",
        "oci:file",
        "directory.tar",
        "nowhere/image.tar",
        "file/image.tar",
        "oci:file/layout",
    ] {
        let flag = format!("--output={output}");
        let outcome = refused(&sandbox, &["--output=first.tar", &flag]);
        said.push_str(&format!("$ {flag}\n{}\n", outcome.stderr_redacted()));
    }
    insta::assert_snapshot!(said, @r#"
    $ --output=home
    error: `home` is not an image layout: it has files, but no `oci-layout`
    hint: give `--output` a new directory, or the directory of an image layout

    $ --output=oci:home
    error: `home` is not an image layout: it has files, but no `oci-layout`
    hint: give `--output` a new directory, or the directory of an image layout

    $ --output=broken
    error: `broken` is not an image layout: it has no `index.json`
    hint: give `--output` a new directory, or the directory of an image layout

    $ --output=future
    error: `future` is not an image layout: its `oci-layout` does not have version 1.0.0
    hint: give `--output` a new directory, or the directory of an image layout

    $ --output=odd
    error: `odd` is not an image layout: its `index.json` is not an image index: invalid type: sequence, expected an object at line 1 column 0
    hint: give `--output` a new directory, or the directory of an image layout

    $ --output=oci:file
    error: `file` is not an image layout: it is not a directory
    hint: give `--output` a new directory, or the directory of an image layout

    $ --output=directory.tar
    error: cannot write `directory.tar`
      caused by: is a directory

    $ --output=nowhere/image.tar
    error: cannot write `nowhere/image.tar`: its directory `nowhere` does not exist
    hint: create it first: `mkdir -p nowhere`

    $ --output=file/image.tar
    error: cannot write `file/image.tar`: its directory `file` is not a directory

    $ --output=oci:file/layout
    error: `file/layout` is not an image layout: it is not a directory
    hint: give `--output` a new directory, or the directory of an image layout
    "#);
}

#[test]
fn a_place_for_digests_that_cannot_be_one_is_refused() {
    let sandbox = runs::with_small_release();
    for flag in ["--digest-file", "--iidfile"] {
        for place in ["nowhere/file", "release"] {
            let said = refused(&sandbox, &[&format!("{flag}={place}")]).stderr_redacted();
            assert!(
                said.contains(&format!("`{place}")) || said.contains("`nowhere`"),
                "{said}"
            );
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_wrong_command_line_ends_with_2() {
    let sandbox = runs::with_small_release();
    let before = runs::listing(sandbox.root());
    let release = ["--release", "release"];
    for (words, expected) in [
        (&["--tag", "Upper"][..], "lower case"),
        (&["--tag", "app:1.0+build"], "+"),
        (&["--tag", "app@sha256:0"], "app@sha256:0"),
        (&["--tag", ""], "--tag"),
        (&["--tag", "a//b"], "a//b"),
        (&["--nonsense"], "--nonsense"),
        (
            &["--kind", "gradle"],
            "[possible values: mix, cargo, next, node, python, java, tree]",
        ),
        (&["--platform", "windows"], "windows"),
        (&["--compression", "zip"], "zip"),
        (&["--compression", "gzip:10"], "gzip:10"),
        (&["--max-layers", "0"], "0"),
        (&["--max-layers", "126"], "126"),
        (&["--threads", "0"], "0"),
        (&["--prefix", "relative"], "does not start with `/`"),
        (&["--prefix", "/a/../b"], ".."),
        (&["--created", "yesterday"], "yesterday"),
        (&["--mtime", "-5"], "-5"),
        (&["--expose", "http"], "http"),
        (&["--env", "=x"], "=x"),
        (&["--label", "x"], "KEY=VALUE"),
        (&["--annotation", "=x"], "KEY=VALUE"),
        (&["--stop-signal", "SIGNOTHING"], "SIGNOTHING"),
        (&["--user", ":5"], ":5"),
        (&["--entrypoint", "[1"], "JSON"),
        (&["--health-interval", "5s"], "--healthcheck"),
        (&["--healthcheck", "x", "--health-interval", "soon"], "soon"),
        (&["--runtime", "some"], "some"),
        (&["--skeleton", "some"], "some"),
        (&["--add", "x"], "SRC:DST[:MODE]"),
        (&["--add", "release:relative"], "SRC:DST[:MODE]"),
        (&["--output", ""], "the path is empty"),
        (&["--output", "docker:app"], "docker-archive:FILE"),
        (&["--output", "docker://APP"], "lower case"),
        (&["--output", "oci:x:"], "the tag is empty"),
        (&["--output", "oci:x:1.0+2"], "a tag has up to 128 letters"),
        (&["--entrypoint", "[]"], "the array is empty"),
        (&["--bin", "x"], "of the kind `tree`"),
        (
            &["--output", "x.tar", "--digest-file", "x.tar"],
            "two outputs are one file",
        ),
        (&["--output", "-", "--output", "-"], "twice"),
        (&["--output", "-", "--json"], "--json"),
        (&["--no-entrypoint", "--entrypoint", "x"], "--no-entrypoint"),
        (&["--quiet", "--verbose"], "--quiet"),
        (&["--exclude", "{a"], "{a"),
        (&["validate"], "validate"),
    ] {
        let words: Vec<&str> = release.iter().chain(words).copied().collect();
        let outcome = sandbox.run(&words).exited(2);
        let is_json = words.contains(&"--json");
        assert_eq!(outcome.stdout.is_empty(), !is_json, "{}", outcome.report());
        assert!(
            outcome.stderr_text().contains(expected),
            "{expected}: {}",
            outcome.report()
        );
    }
    for words in [
        &[][..],
        &["validate"],
        &["completions"],
        &["completions", "tcsh"],
        &["nonsense"],
    ] {
        drop(sandbox.run(words).exited(2));
    }
    assert_eq!(runs::listing(sandbox.root()), before);
}

#[test]
fn a_bad_name_comes_with_one_that_would_do() {
    let sandbox = runs::with_small_release();
    let said = |tag: &str| {
        let outcome = sandbox
            .run(["--release", "release", "--tag", tag])
            .exited(2);
        outcome.stderr_redacted()
    };
    insta::assert_snapshot!(said("My App:1.0+7"), @r#"
    error: invalid value 'My App:1.0+7' for '--tag <NAME[:TAG]>': `My App:1.0+7` is not an image name: repositories are lower case (`my-app:1.0-7` would do)

    For more information, try '--help'.
    "#);
}

/// Starts a build that writes to a pipe, and lets `change` happen when the
/// first bytes of the archive are there: all files were read by then, and
/// those after the first layer's start must be read again.
pub(crate) fn changed_while_written(change: impl FnOnce(&Path)) -> String {
    let sandbox = runs::sandbox();
    let release = sandbox
        .tree(
            "release",
            "0644 file a/large 4M\n0644 file z/last \"12345\"",
        )
        .unwrap();
    let words = runs::words(
        "release",
        &["--output=-", "--compression=none", "--threads=1"],
    );
    let mut child = runs::start(&mut sandbox.command(words));
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0; 1]).unwrap();
    change(&release.join("z/last"));
    std::io::copy(&mut output, &mut std::io::sink()).unwrap();
    let (status, said) = runs::end(child);
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

#[test]
fn a_file_that_grows_or_shrinks_is_an_error_with_both_sizes() {
    let said = changed_while_written(|path| {
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"67").unwrap();
    });
    insta::assert_snapshot!(said, @r#"
    layer 1/2 `release` 4.0 MiB sha256:48c44252c7ac1c57a4efc370fbf590c7b76b92243030e1fc924f547b173facbf
    layer 2/2 `skeleton` 1.5 KiB sha256:384afe74c2b0e0943ce7db41f2e304f6db0f07406b91b4066188b9b28f1381a0
    error: `release/z/last` changed while it was being packaged
      caused by: planned 5 bytes, found 7
    hint: wait until the release is fully built, then run imgbuild again
    "#);
    let said = changed_while_written(|path| fs::write(path, "12").unwrap());
    assert!(said.contains("planned 5 bytes, found 2"), "{said}");
    let said = changed_while_written(|path| fs::remove_file(path).unwrap());
    assert!(said.contains("release/z/last"), "{said}");
}

#[test]
fn a_file_with_another_time_is_an_error_with_both_times() {
    let said = changed_while_written(|path| fs::write(path, "54321").unwrap());
    assert!(
        said.contains("`release/z/last` changed while it was being packaged"),
        "{said}"
    );
    assert!(said.contains("planned modification time "), "{said}");
    assert!(said.contains(", found "), "{said}");
}

#[test]
fn a_file_with_its_old_time_and_other_bytes_is_noticed() {
    let said = changed_while_written(|path| {
        let time = fs::metadata(path).unwrap().modified().unwrap();
        fs::write(path, "54321").unwrap();
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.file().set_modified(time).unwrap();
    });
    assert!(
        said.contains("changed while the image was being written"),
        "{said}"
    );
}

#[test]
fn a_file_that_changes_before_it_is_first_read_is_an_error() {
    let sandbox = runs::sandbox();
    // The plan is made when the program listens to signals; then the largest
    // layer is hashed first, which takes a while.
    let text = "0644 file a/large 1G\n0644 file z/last 40M";
    let release = sandbox.tree("release", text).unwrap();
    let words = runs::words("release", &["--output=image.tar", "--threads=1"]);
    let mut child = runs::start(&mut sandbox.command(words));
    assert!(runs::becomes(|| runs::handles_signals(&child)));
    fs::write(release.join("z/last"), "other").unwrap();
    assert!(child.stdin.take().is_none());
    let (status, said) = runs::end(child);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("planned 41943040 bytes, found 5"), "{said}");
    assert_eq!(runs::names(sandbox.root()), ["release"]);
}

#[test]
fn bytes_in_names_are_shown_and_the_file_is_still_found() {
    let sandbox = runs::sandbox();
    let release = sandbox
        .tree("release", "0644 file \"x\\xff\" \"\"")
        .unwrap();
    assert_eq!(runs::names(&release).len(), 1);
    let outcome = runs::build(&sandbox, &["--dry-run"]).success();
    assert!(
        outcome.stdout_text().contains("/app/x\\xff"),
        "{}",
        outcome.report()
    );
    let there = fs::read_dir(&release).unwrap().next().unwrap().unwrap();
    assert_eq!(there.file_name().as_bytes(), b"x\xff");
}
