//! `imgbuild copy`: what is looked at before anything is changed.

use fs_err as fs;
use imgbuild_testing::FakeRegistry;
use imgbuild_testing::registry::{Answer, Auth, Behavior, Fault};

use super::assert_same_blobs;
use crate::runs::{sandbox, with_small_release, words};
use crate::support::base::{BaseImage, Layer};

#[test]
fn every_registry_is_spoken_to_before_one_is_changed() {
    let sandbox = with_small_release();
    let open = FakeRegistry::start(Behavior::default()).unwrap();
    let closed = FakeRegistry::start(Behavior {
        auth: Auth::Basic("somebody".to_owned(), "secret".to_owned()),
        ..Behavior::default()
    })
    .unwrap();
    let build = words("release", &["-o", "oci:from:1"]);
    drop(sandbox.run(build).success());
    let first = format!("docker://{}/me/app:1", open.name());
    let second = format!("docker://{}/me/app:1", closed.name());
    let copied = sandbox.run(["copy", "oci:from:1", &first, &second]);
    let copied = copied.exited(1);
    assert!(copied.stderr_text().contains("401"), "{}", copied.report());
    assert!(open.contents().manifests.is_empty());
    assert!(open.contents().blobs.is_empty());
    let created = sandbox.run(["index", "create", &first, "oci:from:1", "-o", &second]);
    drop(created.exited(1));
    assert!(open.contents().manifests.is_empty());
}

#[test]
fn what_was_pushed_before_a_failure_is_said() {
    let sandbox = with_small_release();
    let build = words("release", &["-o", "oci:from:1"]);
    drop(sandbox.run(build).success());
    let first = FakeRegistry::start(Behavior::default()).unwrap();
    let second = FakeRegistry::start(Behavior::default()).unwrap();
    let refusal = Fault::Answer(Answer::new(403));
    second.fail(usize::MAX, "POST", "/uploads/", refusal);
    let names = [&first, &second].map(|one| format!("docker://{}/me/app:1", one.name()));
    let copied = sandbox.run(["copy", "oci:from:1", &names[0], &names[1]]);
    let copied = copied.exited(1);
    let pushed = format!("pushed `{}/me/app:1`", first.name());
    assert!(
        copied.stderr_text().contains(&pushed),
        "{}",
        copied.report()
    );
    assert!(copied.stderr_text().contains("403"), "{}", copied.report());
}

#[test]
fn an_image_that_stands_alone_must_be_for_the_platform_that_is_asked_for() {
    let sandbox = with_small_release();
    let build = words("release", &["-o", "oci:from:1"]);
    drop(sandbox.run(build).success());
    let wrong = sandbox.run(["copy", "--platform", "linux/arm64", "oci:from:1", "oci:to"]);
    let wrong = wrong.exited(1);
    let expected = "the image is for linux/amd64, not for linux/arm64";
    assert!(wrong.stderr_text().contains(expected), "{}", wrong.report());
    assert!(!sandbox.path("to").exists());
    let right = sandbox.run(["copy", "--platform", "linux/amd64", "oci:from:1", "oci:to"]);
    drop(right.success());
}

#[test]
fn an_image_whose_platform_cannot_be_read_is_not_copied_for_one() {
    let sandbox = with_small_release();
    let build = words("release", &["-o", "oci:from:1"]);
    let built = sandbox.run(build).success();
    let layout = sandbox.path("from");
    let blob = |digest: &str| layout.join("blobs").join(digest.trim().replace(':', "/"));
    let manifest = fs::read(blob(built.stdout_text())).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap();
    fs::write(blob(config), "{}").unwrap();
    let outcome = sandbox.run(["copy", "--platform", "linux/amd64", "oci:from:1", "oci:to"]);
    let outcome = outcome.exited(1);
    let expected = format!("is damaged: expected {config}");
    assert!(
        outcome.stderr_text().contains(&expected),
        "{}",
        outcome.report()
    );
    assert!(!sandbox.path("to").exists());
}

#[test]
fn a_copy_of_an_image_that_is_not_valid_is_told() {
    let sandbox = sandbox();
    let layer = Layer::default().file("a", 0o644, "a");
    let mut image = BaseImage::new(vec![layer]);
    image.architecture = "";
    drop(image.write_layout(&sandbox.path("bad"), "1"));
    image.write_oci_archive(&sandbox.path("bad.tar"), "1");
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let there = format!("docker://{}/me/app:1", registry.name());
    let expected = "warning: the image is not valid, and is copied byte for byte: 1 violation, the first: `blobs/sha256/";
    for (source, target) in [
        ("oci:bad:1", there.as_str()),
        ("oci-archive:bad.tar:1", "oci:first:1"),
        (&there, "oci:second:1"),
        (&there, "third.tar"),
    ] {
        let outcome = sandbox.run(["copy", source, target]).success();
        let text = outcome.stderr_text();
        assert!(
            text.contains(expected) && text.contains("has no `architecture`"),
            "{text}"
        );
        if let Some(name) = target
            .strip_prefix("oci:")
            .and_then(|name| name.strip_suffix(":1"))
        {
            assert_same_blobs(&sandbox.path("bad"), &sandbox.path(name));
        }
    }
    let quiet = sandbox
        .run(["copy", "-q", "oci:bad:1", "oci:third"])
        .success();
    assert_eq!(quiet.stderr_text(), "");
    // A refusal by the registry is explained.
    registry.fail(
        usize::MAX,
        "PUT",
        "/manifests/",
        Fault::Answer(Answer::new(400)),
    );
    let refused = sandbox
        .run(["copy", "oci:bad:1", &there.replace("app", "other")])
        .exited(1);
    assert!(
        refused.stderr_text().contains(expected),
        "{}",
        refused.report()
    );
}

#[test]
fn a_malformed_index_is_not_called_a_missing_image() {
    let sandbox = sandbox();
    fs::create_dir(sandbox.path("bad")).unwrap();
    fs::write(
        sandbox.path("bad/oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    fs::write(sandbox.path("bad/index.json"), "[").unwrap();
    for (words, verb) in [
        (&["copy", "bad", "oci:x"][..], "copy"),
        (&["check", "bad"], "check"),
    ] {
        let outcome = sandbox.run(words).exited(1);
        let text = outcome.stderr_text();
        let is_told = text.contains("`index.json`") && !text.contains("cannot find");
        assert!(is_told, "{verb}: {}", outcome.report());
    }
}

#[test]
fn a_missing_library_of_a_flag_is_named_with_the_flag() {
    let sandbox = sandbox();
    fs::create_dir(sandbox.path("release")).unwrap();
    fs::copy(
        env!("CARGO_BIN_EXE_imgbuild"),
        sandbox.path("release/program"),
    )
    .unwrap();
    let words = "--release release --kind tree --no-cache --no-entrypoint --add-library libnowhere.so.9 -o oci:x";
    let outcome = sandbox.run(words.split(' ')).exited(1);
    let expected = "`libnowhere.so.9` (`--add-library`)";
    assert!(
        outcome.stderr_text().contains(expected),
        "{}",
        outcome.report()
    );
}
