//! Any two tars given as layers, under their right digests, make a file system
//! or are refused: sorted, each path once, every parent a directory, nothing
//! outside of the root.
//!
//! The first two bytes say where the first layer ends.

#![no_main]

use std::fs;
use std::path::Path;

use imgbuild_oci::digest::Digest;
use imgbuild_oci::entry::EntryKind;
use imgbuild_oci::filesystem::{FileSystem, ReadOptions};
use imgbuild_oci::selection::SelectedImage;
use imgbuild_oci::source::Source;
use libfuzzer_sys::fuzz_target;

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fuzz_target!(|data: &[u8]| {
    let [high, low, rest @ ..] = data else {
        return;
    };
    let edge = usize::from(u16::from_be_bytes([*high, *low])) * 64;
    let layers = rest.split_at(edge.min(rest.len()));
    let directory = tempfile::tempdir().expect("there is room for a directory");
    write_layout(directory.path(), &[layers.0, layers.1]);
    let source = Source::open(directory.path(), directory.path()).expect("the layout is valid");
    let image = SelectedImage::select(&source, None, None).expect("there is one image");
    let options = ReadOptions {
        scratch: directory.path(),
        keeps: &|_| false,
    };
    let Ok(files) = FileSystem::read(&source, &image, options) else {
        return;
    };
    let members = files.members();
    assert!(members.windows(2).all(|pair| pair[0].entry.path < pair[1].entry.path));
    for member in members {
        let path = &member.entry.path;
        assert!(!path.as_bytes().split(|byte| *byte == b'/').any(|part| part == b".."));
        // The root itself is no member.
        if let Some(parent) = path.parent().filter(|parent| !parent.is_root()) {
            let parent = files.get(&parent).expect("every parent is a member");
            assert_eq!(parent.entry.kind, EntryKind::Directory);
        }
    }
});

fn write_layout(directory: &Path, layers: &[&[u8]]) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("there is room for a directory");
    let write = |bytes: &[u8], media_type: &str| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).expect("there is room for a blob");
        let size = bytes.len();
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
    };
    let descriptors: Vec<String> = layers.iter().map(|layer| write(layer, TAR)).collect();
    let diff_ids: Vec<String> =
        layers.iter().map(|layer| format!("\"{}\"", Digest::of(layer))).collect();
    let config = write(
        format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            diff_ids.join(",")
        )
        .as_bytes(),
        CONFIG,
    );
    let manifest = write(
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{}]}}"#,
            descriptors.join(",")
        )
        .as_bytes(),
        MANIFEST,
    );
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{manifest}]}}"#);
    fs::write(directory.join("index.json"), index).expect("there is room for a file");
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        .expect("there is room for a file");
}
