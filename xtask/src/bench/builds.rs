//! Builds into archives and layouts.

use super::subject::{CHANGE, EMPTY, Subject, imgbuild};

/// Empties the output and the cache.
const COLD: &str = "rm -rf \"$OUT\" \"$STATE/cache\"; mkdir -p \"$OUT\"";

pub(super) fn plain() -> Vec<Subject> {
    let cold = |name: &str, flags: &str| {
        let arguments = format!("--no-cache {flags} -o \"$OUT/image.tar\"");
        Subject::new(name, COLD, imgbuild(&arguments))
    };
    vec![
        cold("imgbuild --no-sync", "--no-sync"),
        cold("imgbuild", ""),
        Subject::bound("read, SHA-256, write", "copy", "\"$OUT/file\""),
        Subject::bound("read, SHA-256", "hash", ""),
        Subject::bound("write", "write", "\"$OUT/file\""),
        Subject::new(
            "tar \\| sha256sum (writes nothing)",
            EMPTY,
            "tar -C \"$TREE\" -cf - . | sha256sum",
        ),
    ]
}

pub(super) fn gzip(has_pigz: bool) -> Vec<Subject> {
    let cold = |name: &str, flags: &str| {
        let arguments = format!("--no-cache {flags} -o oci:\"$OUT/layout\"");
        Subject::new(name, COLD, imgbuild(&arguments))
    };
    let mut subjects = vec![
        cold("imgbuild --no-sync", "--no-sync --compression gzip"),
        cold(
            "imgbuild --no-sync gzip:8",
            "--no-sync --compression gzip:8",
        ),
        cold("imgbuild", "--compression gzip"),
    ];
    if has_pigz {
        for (name, level) in [("tar \\| pigz -1", 1), ("tar \\| pigz -6", 6)] {
            let script = format!(
                "tar -C \"$TREE\" -cf - . | pigz -n -p \"$THREADS\" -{level} > \"$OUT/file.tar.gz\""
            );
            subjects.push(Subject::new(name, EMPTY, script));
        }
    }
    subjects
}

/// Builds with a cache that has the layers of the release.
pub(super) fn warm() -> Vec<Subject> {
    let mut subjects = rebuilds("");
    subjects.push(Subject::bound("stat of the tree", "stat", ""));
    subjects
}

/// Builds after a change of one file. An archive is a new file each time, so
/// the cost of writing one stands beside it.
pub(super) fn changed() -> Vec<Subject> {
    let mut subjects = rebuilds(CHANGE);
    subjects.push(Subject::bound("stat of the tree", "stat", ""));
    subjects.push(Subject::bound("write", "write", "\"$OUT/file\""));
    subjects
}

fn rebuilds(before: &str) -> Vec<Subject> {
    let builds = [
        ("imgbuild, archive", "-o \"$OUT/image.tar\""),
        (
            "imgbuild --no-sync, archive",
            "--no-sync -o \"$OUT/image.tar\"",
        ),
        (
            "imgbuild, gzip layout",
            "--compression gzip -o oci:\"$OUT/layout\"",
        ),
    ];
    let subject = |(name, arguments): (&str, &str)| {
        let script = imgbuild(arguments);
        let mut subject = Subject::new(name, before, script.clone());
        // A file that changed moments ago is read again.
        subject.first = format!("{script}; sleep 2");
        subject
    };
    builds.map(subject).into()
}

pub(super) fn cache_from() -> Vec<Subject> {
    let arguments = "--no-sync --compression gzip -o oci:\"$OUT/layout\"";
    let with = imgbuild(&format!("--cache-from oci:\"$STATE/layout\" {arguments}"));
    let mut with = Subject::new("imgbuild --cache-from", COLD, with);
    with.first = imgbuild("--no-cache --compression gzip -o oci:\"$STATE/layout\"");
    vec![
        with,
        Subject::new("imgbuild", COLD, imgbuild(arguments)),
        Subject::bound("read, SHA-256", "hash", ""),
    ]
}
