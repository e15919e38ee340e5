use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use fs_err as fs;
use serde_json::json;

use super::*;

fn header() -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// A tar of directories (`None`) and files.
fn tar(entries: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = header();
        header.set_mode(if content.is_some() { 0o644 } else { 0o755 });
        header.set_entry_type(if content.is_some() {
            tar::EntryType::Regular
        } else {
            tar::EntryType::Directory
        });
        header.set_size(content.unwrap_or_default().len() as u64);
        builder
            .append_data(&mut header, path, content.unwrap_or_default().as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn put(layout: &Path, bytes: &[u8]) -> Value {
    let digest = layer::digest_of(bytes);
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::write(
        layout.join("blobs").join(digest.replacen(':', "/", 1)),
        bytes,
    )
    .unwrap();
    json!({ "digest": digest, "size": bytes.len(), "mediaType": "application/x" })
}

/// A layout of layers, every second one compressed.
fn layout(layers: &[Vec<u8>]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut descriptors = Vec::new();
    for (number, tar) in layers.iter().enumerate() {
        let compressed = number % 2 == 1;
        let blob = if compressed { gzip(tar) } else { tar.clone() };
        let mut descriptor = put(directory.path(), &blob);
        let media_type = if compressed {
            "layer.v1.tar+gzip"
        } else {
            "layer.v1.tar"
        };
        descriptor["mediaType"] = json!(media_type);
        descriptors.push(descriptor);
    }
    let diff_ids: Vec<_> = layers.iter().map(|tar| layer::digest_of(tar)).collect();
    let config = json!({ "rootfs": { "diff_ids": diff_ids } }).to_string();
    let config = put(directory.path(), config.as_bytes());
    let manifest = json!({ "config": config, "layers": descriptors }).to_string();
    let mut manifest = put(directory.path(), manifest.as_bytes());
    manifest["annotations"] = json!({ "io.containerd.image.name": "docker.io/library/a:1" });
    let index = json!({ "manifests": [manifest] }).to_string();
    fs::write(directory.path().join("index.json"), index).unwrap();
    directory
}

fn archive(layout: &Path) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all("", layout).unwrap();
    builder.into_inner().unwrap()
}

fn paths(image: &UnpackedImage) -> Vec<String> {
    image
        .files()
        .keys()
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
fn a_layout_and_both_forms_of_its_archive_read_alike() {
    let layout = layout(&[
        tar(&[("a", Some("1"))]),
        tar(&[("b", None), ("b/c", Some("2"))]),
    ]);
    let scratch = tempfile::tempdir().unwrap();
    let (plain, packed) = (
        scratch.path().join("a.tar"),
        scratch.path().join("a.tar.gz"),
    );
    fs::write(&plain, archive(layout.path())).unwrap();
    fs::write(&packed, gzip(&archive(layout.path()))).unwrap();
    for source in [layout.path(), &plain, &packed] {
        let image = unpack(source).unwrap();
        assert_eq!(paths(&image), ["a", "b", "b/c"]);
        assert_eq!(image.names(), ["docker.io/library/a:1"]);
        assert_eq!(
            image.files()[Path::new("a")],
            UnpackedPath {
                kind: UnpackedKind::File {
                    size: 1,
                    digest: layer::digest_of(b"1")
                },
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: 0,
            }
        );
    }
}

#[test]
fn upper_layers_replace_and_hide_lower_ones() {
    let lower = tar(&[
        ("gone", Some("1")),
        ("kept", None),
        ("kept/a", Some("1")),
        ("emptied", None),
        ("emptied/a", Some("1")),
        ("becomes-a-file", None),
        ("becomes-a-file/a", Some("1")),
    ]);
    let upper = tar(&[
        (".wh.gone", Some("")),
        ("becomes-a-file", Some("2")),
        ("emptied", None),
        ("emptied/.wh..wh..opq", Some("")),
        ("emptied/b", Some("2")),
    ]);
    let image = unpack(layout(&[lower, upper]).path()).unwrap();
    assert_eq!(
        paths(&image),
        ["becomes-a-file", "emptied", "emptied/b", "kept", "kept/a"]
    );
}

#[test]
fn a_file_is_read_from_the_uppermost_layer_that_has_it() {
    let layout = layout(&[
        tar(&[("a", Some("1")), ("b", Some("2"))]),
        tar(&[("a", Some("3"))]),
    ]);
    let read = |path: &str| read_file(layout.path(), Path::new(path));
    assert_eq!(read("a").unwrap(), b"3");
    assert_eq!(read("b").unwrap(), b"2");
    assert!(read("c").is_err());
}

#[test]
fn a_changed_byte_is_found() {
    let layout = layout(&[tar(&[("a", Some("1"))])]);
    let image = unpack(layout.path()).unwrap();
    let blob = layout
        .path()
        .join("blobs")
        .join(image.layers[0].digest.replacen(':', "/", 1));
    let mut bytes = fs::read(&blob).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let error = unpack(layout.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("digest of layer 0: expected sha256:"),
        "{error}"
    );
}

#[test]
fn a_device_is_no_part_of_our_images() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = header();
    header.set_entry_type(tar::EntryType::Char);
    header.set_size(0);
    builder.append_data(&mut header, "null", &b""[..]).unwrap();
    let error = unpack(layout(&[builder.into_inner().unwrap()]).path()).unwrap_err();
    assert_eq!(error.to_string(), "`null` of layer 0 is of tar type `3`");
}
