//! Output appears only when it is complete, and older output stays until then:
//! on signals, full disks, closed pipes, and with two writers.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;

use fs_err as fs;
use imgbuild_testing::sandbox::finish;
use imgbuild_testing::{Sandbox, unpack};

use crate::runs;
use crate::support::image::result_digest;
use crate::support::skip_always;

/// Makes a sandbox with a release of `mebibytes` zeros, and an `output` directory
/// with files that must stay.
fn with_large_release(mebibytes: u64) -> Sandbox {
    let sandbox = runs::sandbox();
    sandbox
        .tree(
            "release",
            &format!("0644 file a/large {mebibytes}M\n0644 file b/small \"x\""),
        )
        .unwrap();
    sandbox
        .tree("output", "0644 file image.tar \"precious\"")
        .unwrap();
    sandbox
}

fn assert_untouched(sandbox: &Sandbox) {
    let output = sandbox.path("output");
    assert_eq!(runs::names(&output), ["image.tar"]);
    assert_eq!(fs::read(output.join("image.tar")).unwrap(), b"precious");
    assert_eq!(runs::names(sandbox.root()), ["output", "release"]);
    let temporary = sandbox.root().with_file_name("tmp");
    assert!(
        runs::names(&temporary).is_empty(),
        "{:?}",
        runs::names(&temporary)
    );
}

fn start(sandbox: &Sandbox, more: &[&str]) -> Child {
    runs::start(&mut sandbox.command(runs::words("release", more)))
}

#[test]
fn a_signal_while_files_are_read_leaves_everything_as_it_was() {
    for name in ["INT", "TERM", "HUP"] {
        for more in [
            &["--output=output/image.tar"][..],
            &["--output=output/image.tar", "--compression=gzip"],
            &["--output=output/image.tar.gz"],
            &["--output=oci:output/layout"],
            &["--output=oci:output/new/deep/layout", "--compression=none"],
        ] {
            // A terabyte of zeros: this build is never finished.
            let sandbox = with_large_release(1 << 20);
            let child = start(&sandbox, more);
            assert!(runs::becomes(|| runs::handles_signals(&child)));
            runs::signal(&child, name);
            let (status, said) = runs::end(child);
            assert_eq!(status.code(), Some(130), "{name} {more:?}: {said}");
            assert!(said.contains("error: interrupted"), "{said}");
            assert_untouched(&sandbox);
        }
    }
}

/// Returns `true` if a process has a new file, perhaps without a name, or a new
/// directory in a directory.
fn is_writing(child: &Child, directory: &Path) -> bool {
    let names = runs::names(directory);
    let files = fs::read_dir(format!("/proc/{}/fd", child.id()));
    let open = files.into_iter().flatten().filter_map(|file| {
        let target = fs::read_link(file.ok()?.path()).ok()?;
        target.into_os_string().into_string().ok()
    });
    let nameless = format!("{}/#", directory.display());
    names.iter().any(|name| name.starts_with(".imgbuild-"))
        || open.into_iter().any(|target| target.starts_with(&nameless))
}

/// Starts builds of ever larger releases until a signal stops one during its
/// writing; returns its status.
fn stopped_while_written(
    name: &str,
    more: &[&str],
    check: impl Fn(&Sandbox),
) -> std::process::ExitStatus {
    for mebibytes in [256, 1024, 4096] {
        let sandbox = with_large_release(mebibytes);
        let child = start(&sandbox, more);
        let output = sandbox.path("output");
        assert!(runs::becomes(|| is_writing(&child, &output)));
        runs::signal(&child, name);
        let (status, _) = runs::end(child);
        if !status.success() {
            check(&sandbox);
            return status;
        }
    }
    panic!("the signal always came too late");
}

#[test]
fn a_signal_while_an_archive_is_written_leaves_the_old_one() {
    for output in ["output/image.tar", "output/image.tar.gz"] {
        let output = format!("--output={output}");
        let more = [&output, "--compression=none"];
        let status = stopped_while_written("INT", &more, assert_untouched);
        assert_eq!(status.code(), Some(130));
    }
}

#[test]
fn a_signal_while_a_new_layout_is_written_leaves_nothing() {
    let more = ["--output=oci:output/layout", "--compression=none"];
    let status = stopped_while_written("TERM", &more, assert_untouched);
    assert_eq!(status.code(), Some(130));
}

#[test]
fn a_kill_leaves_the_old_archive() {
    let more = ["--output=output/image.tar", "--compression=none"];
    let status = stopped_while_written("KILL", &more, |sandbox| {
        assert_eq!(
            fs::read(sandbox.path("output/image.tar")).unwrap(),
            b"precious"
        );
        // A file that is not complete has no name.
        assert_eq!(runs::names(&sandbox.path("output")), ["image.tar"]);
    });
    assert_eq!(status.signal(), Some(9));
}

#[test]
fn a_kill_leaves_no_incomplete_layout() {
    let more = ["--output=oci:output/layout", "--compression=none"];
    let status = stopped_while_written("KILL", &more, |sandbox| {
        let output = sandbox.path("output");
        assert!(!output.join("layout").exists());
        assert_eq!(runs::names(&output).len(), 2);
        fs::remove_file(sandbox.path("release/a/large")).unwrap();
        drop(runs::build(sandbox, &["--output=output/other.tar"]).success());
        assert_eq!(runs::names(&output), ["image.tar", "other.tar"]);
    });
    assert_eq!(status.signal(), Some(9));
}

/// Makes a layout with an image of another tool.
fn with_layout() -> Sandbox {
    let sandbox = runs::with_small_release();
    drop(runs::build(&sandbox, &["--output=oci:layout", "--tag=app:old"]).success());
    let index = sandbox.path("layout/index.json");
    let mut document: serde_json::Value =
        serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let foreign = serde_json::json!({
        "mediaType": "application/vnd.example.thing+json",
        "digest": "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        "size": 3,
        "annotations": { "org.example": "kept" },
        "data": "Zm9v",
    });
    document["manifests"].as_array_mut().unwrap().push(foreign);
    document["annotations"] = serde_json::json!({ "about": "the whole" });
    fs::write(&index, serde_json::to_vec(&document).unwrap()).unwrap();
    fs::write(
        sandbox.path(
            "layout/blobs/sha256/2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        ),
        "foo",
    )
    .unwrap();
    fs::write(sandbox.path("layout/README"), "not of the format").unwrap();
    sandbox
}

fn index(layout: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap()
}

/// Returns the tags in a layout with their digests, sorted.
fn tags(layout: &Path) -> Vec<(String, String)> {
    let index = index(layout);
    let manifests = index["manifests"].as_array().unwrap();
    let mut tags: Vec<(String, String)> = manifests
        .iter()
        .filter_map(|one| {
            let tag = one["annotations"]["org.opencontainers.image.ref.name"].as_str()?;
            Some((tag.to_owned(), one["digest"].as_str()?.to_owned()))
        })
        .collect();
    tags.sort();
    tags
}

#[test]
fn a_signal_while_a_layout_is_locked_leaves_it_as_it_was() {
    for (name, code) in [("INT", Some(130)), ("TERM", Some(130)), ("KILL", None)] {
        let sandbox = with_layout();
        sandbox
            .tree("release", "0644 file another \"one\"")
            .unwrap();
        let layout = sandbox.path("layout");
        let before = runs::listing(sandbox.root());
        let lock = fs::File::open(&layout).unwrap();
        lock.file().lock().unwrap();
        let child = start(&sandbox, &["--output=oci:layout", "--tag=app:new"]);
        // It opens the layout to look at it before it waits for the lock.
        assert!(runs::becomes(
            || runs::catches_interrupts(&child) && runs::has_open(&child, &layout)
        ));
        runs::signal(&child, name);
        let (status, said) = runs::end(child);
        assert_eq!(status.code(), code, "{name}: {said}");
        assert_eq!(runs::listing(sandbox.root()), before, "{name}");
    }
}

#[test]
fn a_layout_keeps_its_other_images() {
    let sandbox = with_layout();
    let layout = sandbox.path("layout");
    let before = index(&layout);
    sandbox
        .tree("release", "0644 file another \"one\"")
        .unwrap();
    let digest =
        result_digest(&runs::build(&sandbox, &["--output=oci:layout", "--tag=app:new"]).success());
    let after = index(&layout);
    assert_eq!(after["annotations"], before["annotations"]);
    for manifest in before["manifests"].as_array().unwrap() {
        assert!(
            after["manifests"].as_array().unwrap().contains(manifest),
            "{manifest}"
        );
    }
    let tags = tags(&layout);
    let names: Vec<&str> = tags.iter().map(|(tag, _)| tag.as_str()).collect();
    assert_eq!(names, ["new", "old"]);
    assert_eq!(tags[0].1, digest);
    assert_eq!(
        fs::read(layout.join("README")).unwrap(),
        b"not of the format"
    );
}

#[test]
fn a_tag_of_a_layout_moves_to_the_latest_image() {
    let sandbox = with_layout();
    let layout = sandbox.path("layout");
    let blobs = runs::names(&layout.join("blobs/sha256"));
    sandbox
        .tree("release", "0644 file another \"one\"")
        .unwrap();
    let digest =
        result_digest(&runs::build(&sandbox, &["--output=oci:layout", "--tag=app:old"]).success());
    assert_eq!(tags(&layout), [("old".to_owned(), digest)]);
    assert_eq!(index(&layout)["manifests"].as_array().unwrap().len(), 2);
    let now = runs::names(&layout.join("blobs/sha256"));
    assert!(
        blobs.iter().all(|name| now.contains(name)),
        "blobs of others stay"
    );
}

#[test]
fn two_names_with_one_tag_are_both_kept() {
    let sandbox = runs::with_small_release();
    let more = [
        "--output=image.tar",
        "--output=oci:layout",
        "--tag=one",
        "--tag=two",
        "--tag=two:2",
    ];
    drop(runs::build(&sandbox, &more).success());
    for source in ["image.tar", "layout"] {
        let image = unpack(&sandbox.path(source)).unwrap();
        let mut names = image.names();
        names.sort_unstable();
        let expected = [
            "docker.io/library/one:latest",
            "docker.io/library/two:2",
            "docker.io/library/two:latest",
        ];
        assert_eq!(names, expected, "{source}");
    }
}

/// Writes images of several tags into one layout at once.
fn write_at_once(sandbox: &Sandbox, prepare: impl Fn(&[Child])) {
    let tags: Vec<String> = (0..6).map(|number| format!("v{number}")).collect();
    let children: Vec<Child> = tags
        .iter()
        .map(|tag| {
            let release = format!("release-{tag}");
            sandbox
                .tree(
                    &release,
                    &format!("0644 file {tag} \"{tag}\"\n0644 file same 1M"),
                )
                .unwrap();
            let tag = format!("--tag=app:{tag}");
            let words = runs::words(&release, &["--output=oci:layout", &tag]);
            runs::start(&mut sandbox.command(words))
        })
        .collect();
    prepare(&children);
    for child in children {
        let (status, said) = runs::end(child);
        assert!(status.success(), "{said}");
    }
    let layout = sandbox.path("layout");
    let found: Vec<String> = self::tags(&layout)
        .into_iter()
        .map(|(tag, _)| tag)
        .collect();
    assert!(tags.iter().all(|tag| found.contains(tag)), "{found:?}");
    drop(sandbox.run(["validate", "oci:layout"]).success());
    let litter = |directory: &Path| {
        runs::names(directory)
            .into_iter()
            .find(|name| name.starts_with(".imgbuild"))
    };
    for directory in ["", "layout", "layout/blobs/sha256"] {
        assert_eq!(litter(&sandbox.path(directory)), None);
    }
}

#[test]
fn several_writers_make_one_new_layout() {
    for _ in 0..3 {
        write_at_once(&runs::sandbox(), |_| {});
    }
}

#[test]
fn several_writers_wait_for_each_other() {
    let sandbox = with_layout();
    let layout = sandbox.path("layout");
    let lock = fs::File::open(&layout).unwrap();
    lock.file().lock().unwrap();
    write_at_once(&sandbox, |children| {
        let wait = |child| runs::has_open(child, &layout);
        assert!(runs::becomes(|| children.iter().all(wait)));
        lock.file().unlock().unwrap();
    });
    assert!(
        tags(&sandbox.path("layout"))
            .iter()
            .any(|(tag, _)| tag == "old")
    );
}

#[test]
fn a_closed_pipe_is_a_failure() {
    for flag in ["--compression=none", "--compression=gzip:1"] {
        let sandbox = runs::sandbox();
        // Incompressible data, so that the pipe fills up.
        sandbox.tree("release", "0644 file a 4M").unwrap();
        let noise = runs::noise(1 << 20);
        fs::write(sandbox.path("release/noise"), noise).unwrap();
        let mut child = start(&sandbox, &["--output=-", flag]);
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut [0; 1]).unwrap();
        drop(output);
        let (status, said) = runs::end(child);
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(
            said.contains("error: cannot write the archive to standard output"),
            "{said}"
        );
    }
}

#[test]
fn a_closed_pipe_ends_the_digest_quietly() {
    let sandbox = runs::with_small_release();
    let mut child = start(&sandbox, &["--output=image.tar"]);
    drop(child.stdout.take());
    let (status, said) = runs::end(child);
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(sandbox.path("image.tar").exists());
}

/// A script that runs a build with a file size limit of 1 MiB.
const LIMITED: &str = "ulimit -f 2048; \"$@\"";

#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    for more in [
        &["--output=output/image.tar", "--compression=none"][..],
        &["--output=output/image.tar.gz", "--compression=none"],
        &["--output=output/image.tar", "--compression=gzip"],
        &["--output=oci:output/layout", "--compression=none"],
        &["--output=oci:output/new/layout", "--compression=none"],
    ] {
        let sandbox = with_large_release(1);
        let noise = runs::noise(4 << 20);
        fs::write(sandbox.path("release/noise"), noise).unwrap();
        let words = runs::words("release", more);
        let outcome = finish(&mut runs::scripted(&sandbox, LIMITED, &words), b"").exited(1);
        assert!(
            outcome.stderr_text().contains("File too large"),
            "{more:?} {}",
            outcome.report()
        );
        assert_untouched(&sandbox);
    }
}

#[test]
fn a_full_device_is_a_failure() {
    let sandbox = runs::with_small_release();
    let words = runs::words("release", &["--output=-"]);
    let outcome = finish(
        &mut runs::scripted(&sandbox, "exec \"$@\" > /dev/full", &words),
        b"",
    );
    let outcome = outcome.exited(1);
    let expected =
        "error: cannot write the archive to standard output\n  caused by: No space left on device";
    assert!(
        outcome.stderr_text().contains(expected),
        "{}",
        outcome.report()
    );
    let outcome = runs::build(&sandbox, &["--output=docker-archive:/dev/full"]).exited(1);
    assert!(
        outcome.stderr_text().contains("No space left on device"),
        "{}",
        outcome.report()
    );
    drop(runs::build(&sandbox, &["--output=docker-archive:/dev/null"]).success());
}

#[test]
fn a_full_file_system_leaves_everything_as_it_was() {
    // A mount in a namespace of this process.
    let script = "
        mkdir full && mount -t tmpfs -o size=1m tmpfs full || exit 99
        cp output/image.tar full/
        \"$@\"; code=$?
        test \"$(ls -A full)\" = image.tar || exit 98
        test \"$(cat full/image.tar)\" = precious || exit 97
        umount full && rmdir full
        exit $code
    ";
    for more in [
        &["--output=full/image.tar", "--compression=none"][..],
        &["--output=oci:full/layout", "--compression=none"],
    ] {
        let sandbox = with_large_release(2);
        let words = runs::words("release", more);
        let before = ["unshare", "--mount", "/bin/sh", "-c", script, "sh"];
        let outcome = finish(&mut runs::wrapped(&sandbox, &before, &words), b"");
        if outcome.code == Some(99) || outcome.stderr_text().starts_with("unshare:") {
            return skip_always("cannot mount");
        }
        let outcome = outcome.exited(1);
        assert!(
            outcome.stderr_text().contains("No space left on device"),
            "{}",
            outcome.report()
        );
        assert_untouched(&sandbox);
    }
}

#[test]
fn a_second_build_replaces_the_archive_as_a_whole() {
    let sandbox = with_large_release(1);
    let old = fs::File::open(sandbox.path("output/image.tar")).unwrap();
    drop(runs::build(&sandbox, &["--output=output/image.tar"]).success());
    let mut text = String::new();
    { old }.read_to_string(&mut text).unwrap();
    assert_eq!(
        text, "precious",
        "who had opened the old archive still has it"
    );
    assert_eq!(runs::names(&sandbox.path("output")), ["image.tar"]);
    unpack(&sandbox.path("output/image.tar")).unwrap();
}

#[test]
fn a_link_at_the_destination_is_followed() {
    let sandbox = with_large_release(1);
    std::os::unix::fs::symlink("output/image.tar", sandbox.path("link.tar")).unwrap();
    drop(runs::build(&sandbox, &["--output=link.tar"]).success());
    assert!(sandbox.path("link.tar").is_symlink());
    unpack(&sandbox.path("output/image.tar")).unwrap();
    let _kept = fs::create_dir(sandbox.path("empty"));
    std::os::unix::fs::symlink("empty", sandbox.path("link")).unwrap();
    drop(runs::build(&sandbox, &["--output=oci:link"]).success());
    unpack(&sandbox.path("empty")).unwrap();
}

#[test]
fn a_dangling_link_at_the_destination_is_followed() {
    let sandbox = runs::with_small_release();
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, sandbox.path(name)).unwrap();
    };
    fs::create_dir(sandbox.path("there")).unwrap();
    link("there/real.tar", "link.tar");
    link("there/digest", "digest");
    link("new/layout", "link");
    let more = [
        "--output=link.tar",
        "--output=oci:link",
        "--digest-file=digest",
    ];
    drop(runs::build(&sandbox, &more).success());
    for name in ["link.tar", "link", "digest"] {
        assert!(sandbox.path(name).is_symlink(), "{name}");
    }
    unpack(&sandbox.path("there/real.tar")).unwrap();
    unpack(&sandbox.path("new/layout")).unwrap();
    assert!(sandbox.path("there/digest").is_file());

    link("nowhere/real.tar", "lost.tar");
    link("loop.tar", "loop.tar");
    for (name, expected) in [
        ("lost.tar", "nowhere` does not exist"),
        ("loop.tar", "cannot write `loop.tar`"),
    ] {
        let outcome = runs::build(&sandbox, &[&format!("--output={name}")]).exited(1);
        let text = outcome.stderr_text();
        assert!(text.contains(expected), "{}", outcome.report());
        assert!(sandbox.path(name).is_symlink(), "{name}");
    }
}
