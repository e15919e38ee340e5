//! Rebuilds: layers that are reused or not, and bytes that do not depend on it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use fs_err as fs;
use imgbuild_testing::{Outcome, Sandbox};

use crate::runs::{BARE, digest_of, listing, sandbox};

/// Makes a sandbox with a release of two directories, each large enough for its
/// own layers.
fn with_release() -> Sandbox {
    let sandbox = sandbox();
    let mut text = String::new();
    for line in 0..60_000_u32 {
        text.push_str(&format!(
            "line {} says {}\n",
            line % 977,
            line.wrapping_mul(2_654_435_761)
        ));
    }
    for name in ["one", "two"] {
        let directory = sandbox.path("release").join(name);
        fs::create_dir_all(&directory).unwrap();
        for number in 0..12 {
            let content = format!("{name} {number}\n{text}{text}");
            fs::write(directory.join(number.to_string()), content).unwrap();
        }
    }
    settle();
    sandbox
}

/// Waits until the files are older than the resolution of file times.
fn settle() {
    thread::sleep(Duration::from_millis(60));
}

fn words<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let bare = BARE.iter().filter(|word| **word != "--no-cache");
    let release = ["--release", "release"].iter();
    release.chain(bare).chain(more).copied().collect()
}

fn build(sandbox: &Sandbox, more: &[&str]) -> Outcome {
    sandbox.run(words(more)).success()
}

fn make(sandbox: &Sandbox, more: &[&str]) {
    drop(build(sandbox, more));
}

/// Builds with and without the cache and compares every byte.
fn check(sandbox: &Sandbox, more: &[&str]) {
    for place in ["cached", "fresh"] {
        if sandbox.path(place).exists() {
            fs::remove_dir_all(sandbox.path(place)).unwrap();
        }
    }
    make(
        sandbox,
        &[&["-o", "oci:cached", "-o", "cached.tar"], more].concat(),
    );
    make(
        sandbox,
        &["-o", "oci:fresh", "-o", "fresh.tar", "--no-cache"],
    );
    assert_eq!(
        listing(&sandbox.path("cached")),
        listing(&sandbox.path("fresh"))
    );
    assert_eq!(
        digest_of(&sandbox.path("cached.tar")),
        digest_of(&sandbox.path("fresh.tar"))
    );
}

fn store(sandbox: &Sandbox) -> PathBuf {
    sandbox
        .root()
        .with_file_name("home")
        .join(".cache/imgbuild/v2")
}

/// Returns the blobs of the store with their modification times.
fn blobs(sandbox: &Sandbox) -> Vec<(PathBuf, SystemTime)> {
    let entries = fs::read_dir(store(sandbox).join("blobs/sha256")).unwrap();
    let mut blobs: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.path(), entry.metadata().unwrap().modified().unwrap()))
        .collect();
    blobs.sort();
    blobs
}

fn is_said(outcome: &Outcome, text: &str) -> bool {
    outcome.stderr_text().contains(text)
}

#[test]
fn unchanged_layers_are_not_written_again() {
    let sandbox = with_release();
    let outputs = ["-o", "oci:layout", "-o", "image.tar", "-o", "image.tar.gz"];
    let first = build(&sandbox, &outputs);
    assert!(is_said(&first, "wrote `image.tar`"));
    let before = (listing(sandbox.root()), blobs(&sandbox));
    let second = build(&sandbox, &outputs);
    for place in ["oci:layout", "image.tar", "image.tar.gz"] {
        let name = place.trim_start_matches("oci:");
        assert!(
            is_said(&second, &format!("unchanged `{name}`")),
            "{}",
            second.report()
        );
    }
    assert_eq!((listing(sandbox.root()), blobs(&sandbox)), before);
    assert_eq!(first.stdout_text(), second.stdout_text());
}

#[test]
fn unchanged_files_are_not_read_again() {
    let sandbox = with_release();
    let outputs = ["-o", "oci:layout", "-o", "image.tar"];
    make(&sandbox, &outputs);
    // An access time in the past shows a read.
    let times = |sandbox: &Sandbox| {
        let path = sandbox.path("release/one/3");
        fs::metadata(path).unwrap().accessed().unwrap()
    };
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let file = fs::File::open(sandbox.path("release/one/3")).unwrap();
    file.file()
        .set_times(std::fs::FileTimes::new().set_accessed(long_ago))
        .unwrap();
    settle();
    // The access time is not part of the state, but the change time of setting it is.
    make(&sandbox, &outputs);
    let read = times(&sandbox);
    make(&sandbox, &outputs);
    assert_eq!(times(&sandbox), read);
}

#[test]
fn one_changed_file_rebuilds_one_layer() {
    let sandbox = with_release();
    make(&sandbox, &["-o", "oci:layout"]);
    let before = blobs(&sandbox);
    assert!(before.len() > 1, "the release has several layers");
    fs::write(sandbox.path("release/one/3"), "changed").unwrap();
    settle();
    check(&sandbox, &[]);
    let after = blobs(&sandbox);
    let kept = before.iter().filter(|blob| after.contains(blob)).count();
    assert_eq!(kept, before.len());
    assert_eq!(after.len(), before.len() + 1);
    check(&sandbox, &[]);
    check(&sandbox, &["--cache", "content"]);
    assert_eq!(blobs(&sandbox), after);
}

#[test]
fn no_cache_leaves_nothing_and_uses_nothing() {
    let sandbox = with_release();
    make(&sandbox, &["-o", "image.tar", "--no-cache"]);
    assert!(!store(&sandbox).exists());
    let again = build(&sandbox, &["-o", "image.tar", "--no-cache"]);
    assert!(is_said(&again, "wrote `image.tar`"));
}

#[test]
fn the_cache_directory_is_the_chosen_one() {
    let mut sandbox = with_release();
    make(&sandbox, &["-o", "oci:layout", "--cache-dir", "here"]);
    assert!(sandbox.path("here/v2/layers").is_dir());
    assert!(sandbox.path("here/CACHEDIR.TAG").is_file());
    let place = sandbox.path("xdg");
    sandbox.set("XDG_CACHE_HOME", &place);
    make(&sandbox, &["-o", "oci:layout"]);
    assert!(place.join("imgbuild/v2/layers").is_dir());
    // A relative path is ignored.
    sandbox.set("XDG_CACHE_HOME", "relative");
    make(&sandbox, &["-o", "oci:layout"]);
    assert!(store(&sandbox).join("layers").is_dir());
    assert!(!sandbox.path("relative").exists());
}

#[test]
fn a_cache_inside_the_release_is_left_out() {
    let sandbox = with_release();
    let build = || {
        build(
            &sandbox,
            &["-o", "oci:layout", "--cache-dir", "release/cache"],
        )
    };
    assert_eq!(build().stdout_text(), build().stdout_text());
}

#[test]
fn a_cache_that_cannot_be_written_is_not_used() {
    let mut sandbox = with_release();
    fs::write(sandbox.path("file"), b"").unwrap();
    let outcome = build(&sandbox, &["-o", "a.tar", "--cache-dir", "file"]);
    assert!(
        is_said(&outcome, "no cache in `file`"),
        "{}",
        outcome.report()
    );
    sandbox.set("HOME", "/proc/none");
    let outcome = build(&sandbox, &["-o", "b.tar"]);
    assert!(!is_said(&outcome, "cache"), "{}", outcome.report());
    let outcome = build(&sandbox, &["-o", "b.tar", "-v"]);
    assert!(is_said(&outcome, "no cache in"), "{}", outcome.report());
    sandbox.set("HOME", "");
    let outcome = build(&sandbox, &["-o", "b.tar", "-v"]);
    assert!(
        is_said(&outcome, "there is no home directory"),
        "{}",
        outcome.report()
    );
    assert_eq!(
        digest_of(&sandbox.path("a.tar")),
        digest_of(&sandbox.path("b.tar"))
    );
}

#[test]
fn builds_at_the_same_time_share_a_cache() {
    let sandbox = with_release();
    thread::scope(|scope| {
        for number in 0..4 {
            let sandbox = &sandbox;
            scope.spawn(move || {
                let layout = format!("oci:layout-{number}");
                for _ in 0..3 {
                    make(sandbox, &["-o", &layout, "--cache-size", "1M"]);
                }
            });
        }
    });
    let expected = listing(&sandbox.path("layout-0"));
    for number in 1..4 {
        assert_eq!(listing(&sandbox.path(format!("layout-{number}"))), expected);
    }
    check(&sandbox, &[]);
}

#[test]
fn a_killed_build_leaves_a_valid_cache() {
    let sandbox = with_release();
    for milliseconds in (5..160).step_by(12) {
        let mut command = sandbox.command(words(&["-o", "oci:killed", "--threads", "1"]));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let end = Instant::now() + Duration::from_millis(milliseconds);
        while Instant::now() < end && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        // The process may be finished.
        drop(child.kill());
        child.wait().unwrap();
        fs::write(sandbox.path("release/one/3"), milliseconds.to_string()).unwrap();
    }
    settle();
    check(&sandbox, &[]);
    check(&sandbox, &[]);
}

#[test]
fn the_cache_stays_within_its_size() {
    let sandbox = with_release();
    make(&sandbox, &["-o", "oci:layout", "--cache-size", "0"]);
    assert_eq!(blobs(&sandbox), []);
    make(&sandbox, &["-o", "oci:layout"]);
    let info = sandbox.run(["cache", "info", "--json"]).success();
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    let layers = blobs(&sandbox);
    assert_eq!(info["layers"], layers.len());
    assert_eq!(
        Path::new(info["directory"].as_str().unwrap()),
        store(&sandbox).parent().unwrap()
    );
    let bytes: u64 = layers
        .iter()
        .map(|(path, _)| fs::metadata(path).unwrap().len())
        .sum();
    assert_eq!(info["layerBytes"], bytes);
    let prune = ["cache", "prune", "--max-size", "1M"];
    drop(sandbox.run(prune).success());
    assert!(blobs(&sandbox).len() < layers.len());
    drop(sandbox.run(["cache", "clear"]).success());
    let info = sandbox.run(["cache", "info"]).success();
    assert!(
        info.stdout_text().contains("0 compressed layers, 0 B"),
        "{}",
        info.report()
    );
    check(&sandbox, &[]);
}

#[test]
fn a_damaged_layer_is_built_again() {
    let sandbox = with_release();
    make(&sandbox, &["-o", "oci:layout"]);
    for (path, _) in blobs(&sandbox) {
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
    check(&sandbox, &[]);
}

#[test]
fn layers_are_reused_from_another_machine() {
    let sandbox = with_release();
    let first = build(
        &sandbox,
        &["-o", "oci:layout", "-o", "oci-archive:image.tar"],
    );
    fs::rename(store(&sandbox).parent().unwrap(), sandbox.path("carried")).unwrap();
    // As in a fresh checkout, the cache has no state of any file.
    let copy = sandbox.path("copy");
    fs::create_dir(&copy).unwrap();
    for name in ["one", "two"] {
        fs::create_dir(copy.join(name)).unwrap();
        for number in 0..12 {
            let file = format!("{name}/{number}");
            fs::copy(sandbox.path("release").join(&file), copy.join(&file)).unwrap();
        }
    }
    fs::remove_dir_all(sandbox.path("release")).unwrap();
    fs::rename(&copy, sandbox.path("release")).unwrap();
    for source in ["layout", "oci:layout", "image.tar", "carried"] {
        let outcome = build(&sandbox, &["-o", "oci:again", "--cache-from", source]);
        assert_eq!(outcome.stdout_text(), first.stdout_text(), "{source}");
        assert!(!is_said(&outcome, "warning"), "{}", outcome.report());
        let all = outcome.stderr_text().matches("layer ").count();
        let cached = outcome.stderr_text().matches(" (cached)").count();
        assert!(cached > 0 && cached >= all - 1, "{}", outcome.report());
        fs::remove_dir_all(store(&sandbox).parent().unwrap()).unwrap();
        fs::remove_dir_all(sandbox.path("again")).unwrap();
    }
}

#[test]
fn a_missing_cache_source_is_not_an_error() {
    let sandbox = with_release();
    let outcome = build(&sandbox, &["-o", "oci:layout", "--cache-from", "nothing"]);
    assert!(
        is_said(&outcome, "warning: cannot use `--cache-from nothing`"),
        "{}",
        outcome.report()
    );
}

#[test]
fn a_dry_run_makes_no_cache() {
    let sandbox = with_release();
    make(&sandbox, &["--dry-run"]);
    assert!(!store(&sandbox).exists());
}
