//! What killed runs leave: removed by the next one, and in no image.

use std::path::Path;

use fs_err as fs;
use imgbuild_testing::sandbox::finish;
use imgbuild_testing::{Sandbox, unpack};
use serde_json::{Value, json};

use crate::runs;
use crate::support::base::digest;
use crate::support::skip_always;

/// Writes a file, and the directories above it.
fn plant(sandbox: &Sandbox, path: &str) {
    let path = sandbox.path(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let sandbox = runs::with_small_release();
    drop(runs::build(&sandbox, &["--output=image.tar"]).success());
    for words in [
        &["copy", "image.tar", "out/new.tar"][..],
        &["copy", "image.tar", "oci:out/layout"],
        &["index", "create", "oci:out/index", "image.tar"],
        &[
            "copy",
            "image.tar",
            "new.tar",
            "--digest-file",
            "out/digest",
        ],
    ] {
        plant(&sandbox, "out/.imgbuild-Ab12Cd/blobs/sha256/y");
        plant(&sandbox, "out/.imgbuild-base-9zZzzz/tmp/y");
        plant(&sandbox, "out/.imgbuild-A1aaaa");
        plant(&sandbox, "out/.imgbuild-config");
        plant(&sandbox, "out/.imgbuild-Cached/y");
        let outcome = sandbox.run(words).success();
        let names = runs::names(&sandbox.path("out"));
        let hidden: Vec<_> = names.iter().filter(|name| name.starts_with('.')).collect();
        assert_eq!(hidden, [".imgbuild-Cached", ".imgbuild-config"]);
        for name in ["Ab12Cd", "base-9zZzzz", "A1aaaa"] {
            let said = format!("out/.imgbuild-{name}`, which a killed run left");
            assert!(
                outcome.stderr_text().contains(&said),
                "{}",
                outcome.report()
            );
        }
    }
    plant(&sandbox, "out/.imgbuild-A1aaaa");
    drop(runs::build(&sandbox, &["--output=out/x.tar", "--dry-run"]).success());
    assert!(sandbox.path("out/.imgbuild-A1aaaa").exists());
}

#[test]
fn what_another_run_is_writing_stays() {
    for mebibytes in [256, 1024, 4096] {
        let sandbox = runs::with_small_release();
        let large = format!("0644 file large {mebibytes}M");
        sandbox.tree("large", &large).unwrap();
        fs::create_dir(sandbox.path("out")).unwrap();
        let words = runs::words("large", &["--output=oci:out/layout", "--compression=none"]);
        let first = runs::start(&mut sandbox.command(words));
        let writing = || runs::names(&sandbox.path("out"));
        // A directory without content may not be locked yet; then another one is made.
        let is_filled = |name: &String| !runs::names(&sandbox.path("out").join(name)).is_empty();
        assert!(runs::becomes(|| writing().iter().any(is_filled)));
        runs::signal(&first, "STOP");
        let before = writing();
        drop(runs::build(&sandbox, &["--output=out/other.tar"]).success());
        let after = writing();
        runs::signal(&first, "CONT");
        let (status, said) = runs::end(first);
        assert!(status.success(), "{said}");
        drop(sandbox.run(["validate", "oci:out/layout"]).success());
        assert_eq!(runs::names(&sandbox.path("out")), ["layout", "other.tar"]);
        if before[0].starts_with(".imgbuild-") {
            assert_eq!(after[0], before[0]);
            return;
        }
    }
    panic!("the first run was always done");
}

/// The paths of the image in an archive.
fn paths(archive: &Path) -> Vec<String> {
    let image = unpack(archive).unwrap();
    let paths = image.files().into_keys();
    paths.map(|path| path.display().to_string()).collect()
}

#[test]
fn a_temporary_name_is_left_out_of_every_image_and_named() {
    let sandbox = runs::with_small_release();
    plant(&sandbox, "release/.imgbuild-Ab12Cd/blobs/y");
    plant(&sandbox, "release/etc/.imgbuild-base-A1aaaa/y");
    plant(&sandbox, "release/etc/.imgbuild-z0Z0z0");
    plant(&sandbox, "release/.imgbuild-config");
    plant(&sandbox, "more/data");
    plant(&sandbox, "more/.imgbuild-Ef34Gh/y");
    let more = ["--output=image.tar", "--add=more:/srv/more", "-v"];
    let outcome = runs::build(&sandbox, &more).success();
    let found = paths(&sandbox.path("image.tar"));
    let hidden: Vec<_> = found
        .iter()
        .filter(|path| path.contains(".imgbuild"))
        .collect();
    assert_eq!(hidden, ["app/.imgbuild-config"], "{found:?}");
    assert!(
        found.iter().any(|path| path == "srv/more/data"),
        "{found:?}"
    );
    for said in [
        "warning: left out `/app/.imgbuild-Ab12Cd`: it belongs to a run of imgbuild",
        "warning: left out `/app/etc/.imgbuild-base-A1aaaa`: ",
        "warning: left out `/app/etc/.imgbuild-z0Z0z0`: ",
        "warning: left out `/srv/more/.imgbuild-Ef34Gh`: ",
        "\nleft out `.imgbuild-Ab12Cd`: ",
    ] {
        assert!(outcome.stderr_text().contains(said), "{}", outcome.report());
    }
    assert!(sandbox.path("release/.imgbuild-Ab12Cd/blobs/y").exists());
}

#[test]
fn an_output_in_the_release_leaves_nothing_in_the_next_image() {
    let sandbox = runs::with_small_release();
    let build = |output: &str| {
        plant(&sandbox, "release/dist/.imgbuild-Ab12Cd/blobs/y");
        let outcome = runs::build(&sandbox, &[output]).success();
        assert_eq!(runs::names(&sandbox.path("release/dist")), ["layout"]);
        outcome.stdout_text().to_owned()
    };
    let first = build("--output=oci:release/dist/layout");
    assert_eq!(build("--output=oci:release/dist/layout"), first);
    drop(
        sandbox
            .run(["validate", "oci:release/dist/layout"])
            .success(),
    );
}

fn blobs(sandbox: &Sandbox) -> Vec<String> {
    runs::names(&sandbox.path("layout/blobs/sha256"))
}

/// Puts a blob into the layout, and returns its descriptor.
fn put(sandbox: &Sandbox, media_type: &str, bytes: &[u8]) -> Value {
    let digest = digest(bytes);
    let name = digest.replacen(':', "/", 1);
    fs::write(sandbox.path("layout/blobs").join(name), bytes).unwrap();
    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
}

/// Adds a descriptor to the index of the layout.
fn list(sandbox: &Sandbox, descriptor: &Value) {
    let path = sandbox.path("layout/index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let manifests = index["manifests"].as_array_mut().unwrap();
    manifests.push(descriptor.clone());
    fs::write(path, index.to_string()).unwrap();
}

/// Makes a layout with two images, and blobs of a third whose tag was replaced.
/// Returns the blobs of the two.
fn with_replaced_image() -> (Sandbox, Vec<String>) {
    let sandbox = runs::with_small_release();
    drop(runs::build(&sandbox, &["--output=oci:layout", "--tag=app:1"]).success());
    fs::write(sandbox.path("release/new"), "new").unwrap();
    drop(runs::build(&sandbox, &["--output=oci:layout", "--tag=app:2"]).success());
    let used = blobs(&sandbox);
    fs::write(sandbox.path("release/newer"), "newer").unwrap();
    drop(runs::build(&sandbox, &["--output=oci:layout", "--tag=app:3"]).success());
    let layout = ["copy", "oci:layout:1", "oci:layout:3"];
    drop(sandbox.run(layout).success());
    assert!(blobs(&sandbox).len() > used.len());
    (sandbox, used)
}

const PRUNE: [&str; 4] = ["cache", "prune", "--layout", "layout"];

#[test]
fn blobs_that_no_image_of_a_layout_needs_are_removed() {
    let (sandbox, used) = with_replaced_image();
    let all = blobs(&sandbox);
    let unused = all.iter().filter(|name| !used.contains(name));
    let sizes = unused.map(|name| fs::metadata(sandbox.path("layout/blobs/sha256").join(name)));
    let bytes: u64 = sizes.map(|found| found.unwrap().len()).sum();
    let outcome = sandbox.run(PRUNE.iter().chain(&["-v", "--json"])).success();
    let count = all.len() - used.len();
    let kib = format!("{}.{} KiB", bytes / 1024, bytes % 1024 * 10 / 1024);
    let said = outcome.stderr_text();
    assert!(
        said.ends_with(&format!("removed {count} files, {kib}\n")),
        "{said}"
    );
    let listed = said.matches("removed `layout/blobs/sha256/").count();
    assert_eq!(listed, count, "{said}");
    let json =
        serde_json::json!({"removedBytes": bytes, "removedFiles": count, "schemaVersion": 1});
    assert_eq!(outcome.stdout_text(), format!("{json}\n"));
    assert_eq!(blobs(&sandbox), used);
    drop(sandbox.run(["validate", "oci:layout"]).success());
    for tag in ["1", "2", "3"] {
        let source = format!("oci:layout:{tag}");
        drop(sandbox.run(["copy", &source, "copied.tar"]).success());
    }
    let again = sandbox.run(PRUNE.iter().chain(&["--quiet"])).success();
    assert_eq!(again.stderr_text(), "");
    // A cache is not touched, and not both are named.
    drop(sandbox.run(PRUNE.iter().chain(&["--max-size=1"])).exited(2));
    drop(
        sandbox
            .run(PRUNE.iter().chain(&["--cache-dir=c"]))
            .exited(2),
    );
}

#[test]
fn everything_that_a_document_names_is_kept() {
    let (sandbox, used) = with_replaced_image();
    let put = |media_type: &str, bytes: &[u8]| put(&sandbox, media_type, bytes);
    let leaf = |text: &str| put("application/octet-stream", text.as_bytes());
    let document = |media_type: &str, value: Value| put(media_type, value.to_string().as_bytes());
    let subject = document(
        "application/vnd.example+json",
        json!({ "of": leaf("of")["digest"] }),
    );
    let escaped = leaf("escaped")["digest"]
        .to_string()
        .replace(':', "\\u003a");
    let odd = format!("{{ \"things\": {{ \"deep\": [[{escaped}]] }} }}");
    let referrer = document(
        "application/vnd.oci.image.manifest.v1+json",
        json!({
            "config": leaf("{}"),
            "layers": [leaf("layer")],
            "blobs": [leaf("blob")],
            "subject": subject,
            "annotations": { "base": format!("x@{}", leaf("base")["digest"].as_str().unwrap()) },
        }),
    );
    let index = document(
        "application/vnd.oci.image.index.v1+json",
        json!({ "manifests": [referrer, put("application/vnd.example", odd.as_bytes())] }),
    );
    list(&sandbox, &index);
    // What is named twice, and by a blob that is named by nothing.
    list(&sandbox, &index);
    let lost = leaf("lost");
    let loser = document(
        "application/vnd.oci.image.index.v1+json",
        json!({ "manifests": [lost] }),
    );
    let outcome = sandbox.run(PRUNE).success();
    let left = blobs(&sandbox);
    assert_eq!(left.len(), used.len() + 10, "{}", outcome.report());
    for gone in [lost, loser] {
        let hex = gone["digest"]
            .as_str()
            .unwrap()
            .trim_start_matches("sha256:");
        assert!(!left.contains(&hex.to_owned()));
    }
}

#[test]
fn a_layout_that_cannot_be_followed_keeps_everything() {
    let index_type = "application/vnd.oci.image.index.v1+json";
    let missing = json!({ "mediaType": index_type, "digest": digest(b"gone"), "size": 4 });
    let sha512 = json!({ "mediaType": index_type, "digest": format!("sha512:{}", "0".repeat(128)), "size": 4 });
    for (listed, said) in [
        (missing, "is missing"),
        (sha512, "is missing"),
        (json!({}), "is missing"),
        (Value::Null, "is malformed"),
    ] {
        let (sandbox, _) = with_replaced_image();
        let listed = match listed {
            Value::Null => put(&sandbox, "application/vnd.example", b"no JSON"),
            listed => listed,
        };
        list(&sandbox, &listed);
        let before = runs::listing(&sandbox.path("layout"));
        let outcome = sandbox.run(PRUNE).exited(1);
        let text = outcome.stderr_text();
        let error = "error: cannot write `layout`, of which all blobs are kept";
        assert!(
            text.contains(error) && text.contains(said),
            "{}",
            outcome.report()
        );
        assert_eq!(runs::listing(&sandbox.path("layout")), before);
    }
}

#[test]
fn only_a_layout_of_its_own_is_pruned_and_by_one_at_a_time() {
    let (sandbox, used) = with_replaced_image();
    let all = blobs(&sandbox);
    let path = |name: &str| sandbox.path(name);
    fs::rename(path("layout/blobs/sha256"), path("shared")).unwrap();
    std::os::unix::fs::symlink(path("shared"), path("layout/blobs/sha256")).unwrap();
    let outcome = sandbox.run(PRUNE).exited(1);
    assert!(
        outcome.stderr_text().contains("behind a link"),
        "{}",
        outcome.report()
    );
    assert_eq!(runs::names(&path("shared")), all);
    fs::remove_file(path("layout/blobs/sha256")).unwrap();
    fs::rename(path("shared"), path("layout/blobs/sha256")).unwrap();

    for (name, said) in [
        ("release", "is not an image layout"),
        ("none", "No such file"),
    ] {
        let outcome = sandbox.run(["cache", "prune", "--layout", name]).exited(1);
        assert!(outcome.stderr_text().contains(said), "{}", outcome.report());
    }

    let lock = fs::File::open(path("layout")).unwrap();
    lock.file().lock().unwrap();
    let child = runs::start(&mut sandbox.command(PRUNE));
    assert!(runs::becomes(|| runs::has_open(&child, &path("layout"))));
    assert_eq!(blobs(&sandbox), all);
    lock.file().unlock().unwrap();
    let (status, said) = runs::end(child);
    assert!(status.success(), "{said}");
    assert_eq!(blobs(&sandbox), used);
}

/// Runs a build whose system call fails; `None` if this machine cannot do so.
fn without_call(
    sandbox: &Sandbox,
    fault: &str,
    more: &[&str],
) -> Option<imgbuild_testing::Outcome> {
    let words: Vec<_> = runs::words("release", more);
    let words: Vec<_> = words
        .into_iter()
        .filter(|word| word != "--no-sync")
        .collect();
    let fault = format!("inject={fault}");
    runs::traced(sandbox, &["-o", "/dev/null", "-e", &fault], &words)
}

#[test]
fn a_file_system_without_locks_has_new_layouts_and_keeps_what_is_there() {
    let sandbox = runs::with_small_release();
    for error in ["ENOSYS", "EPERM", "EOPNOTSUPP"] {
        plant(&sandbox, "out/.imgbuild-Ab12Cd/blobs/y");
        let output = format!("--output=oci:out/{error}");
        let fault = format!("flock:error={error}");
        let Some(outcome) = without_call(&sandbox, &fault, &[&output]) else {
            return;
        };
        drop(outcome.success());
        drop(
            sandbox
                .run(["validate", &format!("oci:out/{error}")])
                .success(),
        );
        assert!(sandbox.path("out/.imgbuild-Ab12Cd/blobs/y").exists());
        fs::write(sandbox.path("release/changed"), error).unwrap();
        let outcome = without_call(&sandbox, &fault, &[&output])
            .unwrap()
            .exited(1);
        let said = "without a lock (flock), which a new directory does not need";
        assert!(outcome.stderr_text().contains(said), "{}", outcome.report());
        drop(
            without_call(&sandbox, &fault, &["--output=image.tar"])
                .unwrap()
                .success(),
        );
    }
}

#[test]
fn a_file_system_without_fsync_is_told_the_flag() {
    let sandbox = runs::with_small_release();
    for error in ["ENOSYS", "EPERM", "EINVAL"] {
        for output in ["--output=oci:layout", "--output=image.tar"] {
            let fault = format!("fsync:error={error}");
            let Some(outcome) = without_call(&sandbox, &fault, &[output]) else {
                return;
            };
            let text = outcome.clone().exited(1).stderr_text().to_owned();
            assert!(text.contains("error: cannot sync `"), "{text}");
            assert!(
                text.contains("hint: where the file system has no `fsync`, use `--no-sync`"),
                "{text}"
            );
        }
        assert_eq!(runs::names(sandbox.root()), ["release"]);
    }
}

#[test]
fn an_output_on_a_read_only_file_system_is_named() {
    let script = "
        mkdir m && mount -t tmpfs tmpfs m && mount -o remount,ro m || exit 99
        \"$@\"
    ";
    for output in ["oci:m/new", "oci:m/new/deep", "m/new.tar"] {
        let sandbox = runs::with_small_release();
        let more = ["--compression=gzip", &format!("--output={output}")];
        let words = runs::words("release", &more);
        let before = ["unshare", "--mount", "/bin/sh", "-c", script, "sh"];
        let outcome = finish(&mut runs::wrapped(&sandbox, &before, &words), b"");
        if outcome.code == Some(99) || outcome.stderr_text().starts_with("unshare:") {
            return skip_always("cannot mount");
        }
        let path = output.trim_start_matches("oci:");
        let said = format!("error: cannot write `{path}`\n  caused by: Read-only file system");
        assert!(
            outcome.stderr_text().contains(&said),
            "{}",
            outcome.report()
        );
    }
}
