use imgbuild_testing::fuzz::check;
use tar::EntryType::{Char, Directory, Link, Regular, Symlink, XHeader};

use super::*;
use crate::content::{FileState, Timestamp};
use crate::digest::DiffId;
use crate::source::fixture::{self, Fixture, end, entry, layer_tar};

#[test]
fn any_file_is_an_image_or_refused() {
    check("image_archive", image_archive, 400, || {
        let whole = fixture::archive(&Fixture::good().files());
        let mut old = Fixture::good();
        old.edit_files(|files| {
            for name in ["index.json", "oci-layout"] {
                files.remove(name);
            }
        });
        let old = fixture::archive(&old.files());
        vec![gzip(&whole), zstd(&old), whole, old]
    });
}

/// Writes an entry whose path is too long for a header of its own.
fn long_entry(tar: &mut Vec<u8>, key: &str, value: &[u8]) {
    // ` KEY=VALUE` and a line end, after the number of all bytes.
    let rest = key.len() + value.len() + 3;
    let sizes = (rest + 1..).find(|size| size - rest == size.to_string().len());
    let size = sizes.expect("the numbers have no end");
    let record = [format!("{size} {key}=").as_bytes(), value, b"\n"].concat();
    entry(tar, XHeader, "x", "", &record);
}

/// Two layers, and the number of units of 64 bytes that the first one has.
fn two_layers(lower: &[u8], upper: &[u8]) -> Vec<u8> {
    let edge = u16::try_from(lower.len() / 64).unwrap();
    [&edge.to_be_bytes()[..], lower, upper].concat()
}

/// A small tar of names that make directories: up to 4 KiB each.
fn deep_names() -> Vec<u8> {
    let mut tar = Vec::new();
    for number in 0..60 {
        let path = [format!("{number}/").as_bytes(), &b"d/".repeat(2000), b"x"].concat();
        long_entry(&mut tar, "path", &path);
        entry(&mut tar, Regular, "x", "", b"");
    }
    end(tar)
}

/// Links that lead to each other by targets of many names.
fn long_links() -> Vec<u8> {
    let mut tar = Vec::new();
    for number in 0..20 {
        let next = format!("k{}/", number + 1);
        let target = [next.as_bytes(), &b"../".repeat(100), next.as_bytes()].concat();
        long_entry(&mut tar, "linkpath", &target);
        entry(&mut tar, Symlink, &format!("k{number}"), "x", b"");
    }
    entry(&mut tar, Regular, "k0/x", "", b"");
    end(tar)
}

#[test]
fn any_layers_are_a_tree_or_refused() {
    check("image_layer", image_layer, 500, || {
        let mut every = Vec::new();
        for (kind, path, link) in [
            (Directory, "a/", ""),
            (Regular, "a/b", ""),
            (Symlink, "c", "a/../a"),
            (Link, "d", "a/b"),
            (Regular, "c/e", ""),
            (Char, "dev", ""),
            (Symlink, "l", "/l/l"),
            (Symlink, "up", "../../a"),
        ] {
            entry(&mut every, kind, path, link, b"");
        }
        long_entry(&mut every, "path", b"a/\xff/long");
        entry(&mut every, Regular, "x", "", b"#!/bin/sh");
        let above = layer_tar(&["a/.wh.b", "c/.wh..wh..opq", ".wh.c", "up/x", "l/x"]);
        vec![
            two_layers(&end(every), &above),
            two_layers(
                &layer_tar(&["etc/", "etc/a"]),
                &layer_tar(&["app/", "app/b"]),
            ),
            two_layers(&[], &deep_names()),
            two_layers(&[], &long_links()),
        ]
    });
}

#[test]
fn any_compressed_layer_is_decoded_as_others_do_or_refused() {
    check("compressed_layer", compressed_layer, 500, || {
        let tar = layer_tar(&["a/", "a/b", "a/c"]);
        let (gzip, zstd) = (gzip(&tar), zstd(&tar));
        let skippable = b"\x53\x2a\x4d\x18\x03\0\0\0abc".as_slice();
        let form = |form: u8, parts: &[&[u8]]| [&[form], &parts.concat()[..]].concat();
        vec![
            form(0, &[&tar]),
            form(1, &[&tar]),
            form(2, &[&gzip, &gzip]),
            form(3, &[skippable, &zstd, &zstd]),
            form(4, &[&gzip[10..gzip.len() - 8]]),
        ]
    });
}

#[test]
fn any_documents_are_an_image_or_refused() {
    check("image_documents", image_documents, 500, || {
        let layout = Layout::new();
        let layer = layout.blob(LAYER, &[0; 1024]);
        let diff_id = Digest::of(&[0; 1024]);
        let config = config(&[diff_id]);
        let mut root = layout.write_image(&[(layer, diff_id)]);
        let manifest = root["digest"].as_str().unwrap().parse().unwrap();
        let read = |name: &str| fs_err::read(layout.0.path().join(name)).unwrap();
        let manifest = read(&blob_name(&manifest));
        root["platform"] = json!({ "os": "linux", "architecture": "amd64", "variant": "v2" });
        root["annotations"] = json!({
            "io.containerd.image.name": "docker.io/library/app:1",
            "org.opencontainers.image.ref.name": "1",
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [root, root] });
        let index = index.to_string().into_bytes();
        let name = format!("{}.json", Digest::of(&config).hex());
        let docker = json!([{ "Config": name, "RepoTags": ["app:1"], "Layers": ["layer.tar"] }]);
        let documents = [
            config,
            manifest,
            index.clone(),
            index,
            read("oci-layout"),
            docker.to_string().into_bytes(),
        ];
        let documents = (0..).zip(documents);
        documents
            .map(|(which, bytes)| [&[which], &bytes[..]].concat())
            .collect()
    });
}

/// The value of an encoded record.
fn payload(record: &[u8]) -> &[u8] {
    &record[9..record.len() - 4]
}

#[test]
fn any_record_is_read_as_it_would_be_written_or_refused() {
    check("cache_records", cache_records, 2000, || {
        let digest = Digest::of(b"");
        let time = Timestamp {
            seconds: 1,
            nanoseconds: 2,
        };
        let state = FileState {
            size: 1 << 40,
            mtime: time,
            ctime: time,
            inode: 7,
            device: 8,
            mode: 0o100_644,
        };
        let layer = LayerRecord {
            diff_id: DiffId::from_tar_digest(digest),
            tar_size: 1 << 40,
            tar_crc: u32::MAX,
            dropped_xattrs: [("user.x".to_owned(), 3)].into(),
        };
        let content = ContentRecord {
            digest,
            crc: u32::MAX,
            state,
        };
        let output = OutputRecord {
            identity: digest,
            state,
        };
        let note = NoteRecord(vec![0, 1, 0]);
        let records = [
            record::encode(RecordKind::Layer, &layer),
            record::encode(RecordKind::Content, &content),
            record::encode(RecordKind::Output, &output),
            record::encode(RecordKind::Note, &note),
            record::encode(RecordKind::System, &SystemRecord { digest, state }),
        ];
        let records = (0..).zip(&records);
        let mut seeds: Vec<Vec<u8>> = records
            .map(|(kind, record)| [&[kind], payload(record)].concat())
            .collect();
        seeds.push(file_system_seed());
        seeds
    });
}

/// The record of a base image's file system, with the contents before it.
fn file_system_seed() -> Vec<u8> {
    let opened = Fixture::good().archive();
    let source = opened.source();
    let image = SelectedImage::select(&source, None, None).unwrap();
    let options = ReadOptions {
        scratch: opened.scratch(),
        keeps: &|_| true,
    };
    let path = opened.scratch().join("files");
    let file = fs_err::File::create_new(&path).unwrap().into_parts().0;
    let kept = file.try_clone().unwrap();
    let (files, kept) = FileSystem::read_keeping(&source, &image, options, kept).unwrap();
    files.write_record(&file, kept).unwrap();
    let bytes = fs_err::read(path).unwrap();
    let (contents, record) = bytes[..bytes.len() - 8].split_at(usize::try_from(kept).unwrap());
    let kept = u8::try_from(kept).unwrap();
    [&[5, kept], contents, payload(record)].concat()
}
