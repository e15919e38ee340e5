use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::AtomicBool;

use fs_err as fs;

use super::*;
use crate::content::{Content, HostFile};
use crate::entry::Member;
use crate::path::ImagePath;

/// More than all blocks that are read ahead.
const FILE_BYTES: usize = 8 << 20;

/// Builds a layer of one file of which `change` happens when its first bytes
/// have been read.
fn built(compression: &str, change: impl Fn(&Path) + Sync) -> Result<Vec<Layer>> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, vec![b'a'; FILE_BYTES]).unwrap();
    let content = Content::File(HostFile::find(&path).unwrap());
    let member = Member::file(ImagePath::parse("/file").unwrap(), 0o644, content);
    let changeset = Changeset::new("release", vec![member]).unwrap();
    let options = LayerOptions {
        compression: compression.parse().unwrap(),
        threads: 1,
        scratch: directory.path().to_path_buf(),
        cache: crate::cache::Cache::default(),
    };
    let once = Once::new();
    let progress = |step: Progress<'_>| {
        // The first block of a compressed layer is the header.
        if matches!(step, Progress::Read(count) if count > 512) {
            once.call_once(|| change(&path));
        }
    };
    let interrupted = AtomicBool::new(false);
    let monitor = Monitor::new(&progress, &interrupted);
    let layers = build_layers(vec![changeset], &options, &|_| {}, monitor)?;
    // A plain layer is read again when it is written.
    let mut written = Vec::new();
    for layer in &layers {
        layer.write_to(&mut written, &|error| panic!("{error}"), Monitor::silent())?;
    }
    assert!(once.is_completed());
    Ok(layers)
}

/// Overwrites the file in place, and restores its modification time.
fn rewrite(path: &Path) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.file()
        .write_all_at(&vec![b'b'; FILE_BYTES], 0)
        .unwrap();
    file.file().set_modified(time).unwrap();
}

#[test]
fn a_file_is_never_packed_half_old_and_half_new() {
    for compression in ["none", "gzip:1"] {
        let error = built(compression, rewrite).unwrap_err();
        assert!(
            matches!(&error, Error::LayerChanged(name) if name == "release"),
            "{compression}: {error:?}"
        );
    }
}

#[test]
fn a_new_link_or_mode_does_not_fail_a_build() {
    for compression in ["none", "gzip:1"] {
        let expected = built(compression, |_| {}).unwrap()[0].digest();
        let linked = built(compression, |path| {
            fs::hard_link(path, path.with_extension("link")).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(path, mode).unwrap();
        });
        assert_eq!(linked.unwrap()[0].digest(), expected, "{compression}");
    }
}
