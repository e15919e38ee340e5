use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use tar::EntryType;

use super::*;
use crate::image::Platforms;
use crate::json::to_canonical;
use crate::source::fixture::{
    Files, Fixture, Layer, Opened, TAR, TAR_GZIP, TAR_ZSTD, add_blob, archive, descriptor, end,
    entry, gzip, layer_tar, plain, zstd,
};
use ViolationKind as Kind;

const THREADS: usize = 2;

fn violations(opened: &Opened) -> Vec<Violation> {
    validate(&opened.source(), THREADS).violations
}

#[track_caller]
fn assert_only(found: &[Violation], kind: ViolationKind, case: &str) {
    let kinds: Vec<ViolationKind> = found.iter().map(|violation| violation.kind).collect();
    assert_eq!(kinds, [kind], "{case}: {found:#?}");
}

type Break = fn(&mut Fixture);

/// Breaks that both a layout and an archive show, each in one way.
const BREAKS: &[(&str, Kind, Break)] = &[
    ("no mark", Kind::DocumentMissing, |fixture| {
        fixture.edit_files(|files| drop(files.remove("oci-layout")));
    }),
    ("mark is no JSON", Kind::DocumentMalformed, |fixture| {
        fixture
            .edit_files(|files| drop(files.insert("oci-layout".into(), b"\xef\xbb\xbf{}".into())));
    }),
    (
        "mark of the specification's version",
        Kind::LayoutVersion,
        |fixture| {
            let mark = br#"{"imageLayoutVersion":"1.1.0"}"#;
            fixture.edit_files(|files| drop(files.insert("oci-layout".into(), mark.into())));
        },
    ),
    ("no index", Kind::DocumentMissing, |fixture| {
        fixture.edit_files(|files| drop(files.remove("index.json")));
    }),
    ("index is no JSON", Kind::DocumentMalformed, |fixture| {
        fixture.edit_files(|files| drop(files.insert("index.json".into(), b"{".into())));
    }),
    ("index is huge", Kind::DocumentSize, |fixture| {
        fixture.edit_files(|files| drop(files.insert("index.json".into(), vec![b' '; 5 << 20])));
    }),
    ("index of schema 1", Kind::DocumentVersion, |fixture| {
        fixture.edit_index(|index| index["schemaVersion"] = json!(1));
    }),
    ("index without a schema", Kind::DocumentVersion, |fixture| {
        fixture.edit_index(|index| drop(index.as_object_mut().unwrap().remove("schemaVersion")));
    }),
    (
        "index that says it is a manifest",
        Kind::DocumentMediaType,
        |fixture| {
            fixture.edit_index(|index| index["mediaType"] = json!("application/json"));
        },
    ),
    ("index in itself", Kind::TooManyDocuments, |fixture| {
        nest(fixture, MAX_DEPTH);
    }),
    (
        "descriptor without a media type",
        Kind::DescriptorMediaType,
        |fixture| {
            fixture.edit_index(|index| {
                drop(
                    index["manifests"][0]
                        .as_object_mut()
                        .unwrap()
                        .remove("mediaType"),
                );
            });
        },
    ),
    (
        "descriptor with a bad digest",
        Kind::DescriptorDigest,
        |fixture| {
            fixture.edit_index(|index| index["manifests"][0]["digest"] = json!("sha256:../../x"));
        },
    ),
    (
        "descriptor with a negative size",
        Kind::DescriptorSize,
        |fixture| {
            fixture.edit_manifest(|manifest| manifest["config"]["size"] = json!(-1));
        },
    ),
    (
        "layer descriptor without a size",
        Kind::DescriptorSize,
        |fixture| {
            fixture.edit_manifest(|manifest| manifest["layers"][1]["size"] = Value::Null);
            // Or the other half disagrees, and rightly.
            fixture.edit_files(|files| drop(files.remove("manifest.json")));
        },
    ),
    ("manifest of schema 1", Kind::DocumentVersion, |fixture| {
        fixture.edit_manifest(|manifest| manifest["schemaVersion"] = json!(1));
    }),
    (
        "manifest of Docker's type",
        Kind::DocumentMediaType,
        |fixture| {
            let docker = "application/vnd.docker.distribution.manifest.v2+json";
            fixture.edit_manifest(move |manifest| manifest["mediaType"] = json!(docker));
        },
    ),
    (
        "manifest without layers",
        Kind::ManifestIncomplete,
        |fixture| {
            fixture.edit_manifest(|manifest| manifest["layers"] = Value::Null);
        },
    ),
    (
        "manifest without a config",
        Kind::ManifestIncomplete,
        |fixture| {
            fixture.edit_manifest(|manifest| manifest["config"] = Value::Null);
        },
    ),
    ("manifest is missing", Kind::BlobMissing, |fixture| {
        fixture.edit_files(|files| drop(files.remove(&manifest_name(files))));
    }),
    ("config is missing", Kind::BlobMissing, |fixture| {
        fixture.edit_files(|files| drop(files.remove(&config_name(files))));
    }),
    ("layer is missing", Kind::BlobMissing, |fixture| {
        fixture.edit_files(|files| drop(files.remove(&layer_name(files))));
    }),
    ("manifest is damaged", Kind::BlobDigest, |fixture| {
        fixture.edit_files(|files| flip(files, manifest_name));
    }),
    ("config is damaged", Kind::BlobDigest, |fixture| {
        fixture.edit_files(|files| flip(files, config_name));
    }),
    ("layer is damaged", Kind::BlobDigest, |fixture| {
        fixture.edit_files(|files| flip(files, layer_name));
    }),
    ("unused blob is damaged", Kind::BlobDigest, |fixture| {
        fixture.edit_files(|files| {
            let name = add_blob(files, b"unused");
            files.insert(name, b"something else".to_vec());
        });
    }),
    ("manifest of another size", Kind::BlobSize, |fixture| {
        fixture.edit_index(|index| add_one(&mut index["manifests"][0]["size"]));
    }),
    ("config of another size", Kind::BlobSize, |fixture| {
        fixture.edit_manifest(|manifest| add_one(&mut manifest["config"]["size"]));
    }),
    ("layer of another size", Kind::BlobSize, |fixture| {
        fixture.edit_manifest(|manifest| add_one(&mut manifest["layers"][0]["size"]));
    }),
    ("stray file", Kind::BlobName, |fixture| {
        fixture.edit_files(|files| drop(files.insert("blobs/sha256/.tmp1".into(), b"x".into())));
    }),
    (
        "config is no JSON object",
        Kind::DocumentMalformed,
        |fixture| {
            fixture.edit_config(|config| *config = json!([1]));
        },
    ),
    (
        "config without an operating system",
        Kind::ConfigOs,
        |fixture| {
            fixture.edit_config(|config| drop(config.as_object_mut().unwrap().remove("os")));
        },
    ),
    ("config of Linux", Kind::ConfigOs, |fixture| {
        fixture.edit_config(|config| config["os"] = json!("Linux"));
    }),
    (
        "config without an architecture",
        Kind::ConfigArchitecture,
        |fixture| {
            fixture.edit_config(|config| config["architecture"] = json!(""));
        },
    ),
    (
        "config of another platform",
        Kind::ConfigPlatform,
        |fixture| {
            fixture.edit_index(|index| {
                index["manifests"][0]["platform"] = json!({"os": "linux", "architecture": "arm64"});
            });
        },
    ),
    (
        "config without a type of rootfs",
        Kind::ConfigRootfs,
        |fixture| {
            fixture.edit_config(|config| config["rootfs"]["type"] = Value::Null);
        },
    ),
    ("one diff ID too many", Kind::DiffIdCount, |fixture| {
        fixture.edit_config(|config| {
            let ids = config["rootfs"]["diff_ids"].as_array_mut().unwrap();
            ids.push(ids[0].clone());
        });
    }),
    ("no diff IDs", Kind::DiffIdCount, |fixture| {
        fixture.edit_config(|config| config["rootfs"]["diff_ids"] = Value::Null);
    }),
    ("diff ID is no digest", Kind::DiffIdMalformed, |fixture| {
        fixture.edit_config(|config| config["rootfs"]["diff_ids"][0] = json!("sha256:x"));
    }),
    ("diff ID is another digest", Kind::DiffId, |fixture| {
        let other = Digest::of(b"other").to_string();
        fixture.edit_config(move |config| config["rootfs"]["diff_ids"][0] = json!(other));
    }),
    ("history is too long", Kind::HistoryCount, |fixture| {
        fixture.edit_config(|config| config["history"] = json!([{}, {}, {}]));
    }),
    ("gzip called plain", Kind::LayerCompression, |fixture| {
        fixture.layers[0].media_type = TAR;
    }),
    ("plain called gzip", Kind::LayerCompression, |fixture| {
        fixture.layers[0].compress = plain;
    }),
    ("gzip called zstd", Kind::LayerCompression, |fixture| {
        fixture.layers[0].media_type = TAR_ZSTD;
    }),
    ("gzip that breaks off", Kind::LayerDamaged, |fixture| {
        fixture.layers[0].compress = |tar| {
            let whole = gzip(tar);
            whole[..whole.len() - 1].to_vec()
        };
    }),
    ("gzip that is damaged", Kind::LayerDamaged, |fixture| {
        fixture.layers[0].compress = |tar| {
            let mut whole = gzip(tar);
            let at = whole.len() - 8;
            whole[at] ^= 1;
            whole
        };
    }),
    ("zstd that breaks off", Kind::LayerDamaged, |fixture| {
        fixture.layers[0].media_type = TAR_ZSTD;
        fixture.layers[0].compress = |tar| {
            let whole = zstd(tar);
            whole[..whole.len() - 1].to_vec()
        };
    }),
    ("bytes after gzip", Kind::LayerTrailingBytes, |fixture| {
        fixture.layers[0].compress = |tar| [gzip(tar), vec![0; 512]].concat();
    }),
    ("layer is no tar", Kind::LayerTar, |fixture| {
        fixture.layers[0].tar = vec![b'x'; 1024];
    }),
    ("tar that breaks off", Kind::LayerTar, |fixture| {
        fixture.layers[0].tar.truncate(1600 - 64);
        let at = fixture.layers[0].tar.len() - 512;
        fixture.layers[0].tar.truncate(at - 1);
    }),
    ("directory twice", Kind::LayerDuplicatePath, |fixture| {
        fixture.layers[0].tar = layer_tar(&["app/", "./app/"]);
    }),
    ("file twice", Kind::LayerDuplicatePath, |fixture| {
        fixture.layers[0].tar = layer_tar(&["a", "b", "a"]);
    }),
    ("hard link first", Kind::LayerHardlink, |fixture| {
        fixture.layers[0].tar = special(EntryType::Link, "0", "a");
    }),
    ("symbolic link to nothing", Kind::LayerSymlink, |fixture| {
        fixture.layers[0].tar = special(EntryType::Symlink, "0", "");
    }),
    ("socket", Kind::LayerEntryType, |fixture| {
        fixture.layers[0].tar = special(EntryType::new(b's'), "0", "");
    }),
    ("sparse file of GNU tar", Kind::LayerEntryType, |fixture| {
        fixture.layers[0].tar = special(EntryType::GNUSparse, "0", "");
    }),
    ("whiteout of nothing", Kind::LayerWhiteout, |fixture| {
        fixture.layers[0].tar = layer_tar(&["a/", "a/.wh."]);
    }),
    ("whiteout of a neighbor", Kind::LayerWhiteout, |fixture| {
        fixture.layers[0].tar = layer_tar(&["a/", "a/b", "a/.wh.b"]);
    }),
    ("owner beyond 32 bits", Kind::LayerOwner, |fixture| {
        fixture.layers[0].tar = pax_layer("uid", "4294967301");
    }),
    ("owner before 0", Kind::LayerOwner, |fixture| {
        fixture.layers[0].tar = pax_layer("gid", "-1");
    }),
    ("attribute without a name", Kind::LayerXattr, |fixture| {
        fixture.layers[0].tar = pax_layer("SCHILY.xattr.user.", "x");
    }),
    (
        "path below a link to nothing",
        Kind::LayerParentLink,
        |fixture| {
            let mut tar = Vec::new();
            entry(&mut tar, EntryType::Symlink, "a", "gone", b"");
            entry(&mut tar, EntryType::Regular, "a/b", "", b"");
            fixture.layers[0].tar = end(tar);
        },
    ),
    ("short capabilities", Kind::LayerCapabilities, |fixture| {
        fixture.layers[0].tar = pax_layer("SCHILY.xattr.security.capability", "short");
    }),
    ("file as a directory", Kind::LayerParent, |fixture| {
        fixture.layers[0].tar = layer_tar(&["a", "a/b/c"]);
    }),
    ("path that leads out", Kind::LayerPathOutside, |fixture| {
        fixture.layers[0].tar = layer_tar(&["a/", "a/../../b"]);
    }),
    ("contiguous file", Kind::LayerEntryType, |fixture| {
        fixture.layers[0].tar = special(EntryType::Continuous, "0", "");
    }),
    (
        "whiteout of its directory",
        Kind::LayerWhiteout,
        |fixture| {
            fixture.layers[0].tar = layer_tar(&["a/", "a/.wh.."]);
        },
    ),
    (
        "label that is a number",
        Kind::DocumentMalformed,
        |fixture| {
            fixture.edit_config(|config| config["config"] = json!({"Labels": {"a": 1}}));
        },
    ),
    ("volume at the root", Kind::ConfigVolume, |fixture| {
        fixture.edit_config(|config| config["config"] = json!({"Volumes": {"/": {}}}));
    }),
    ("volume in /proc", Kind::ConfigVolume, |fixture| {
        fixture.edit_config(|config| config["config"] = json!({"volumes": {"/a/../proc/x": {}}}));
    }),
    ("relative volume", Kind::ConfigVolume, |fixture| {
        fixture.edit_config(|config| config["config"] = json!({"Volumes": {"data": {}}}));
    }),
    ("date that is none", Kind::DocumentMalformed, |fixture| {
        fixture.edit_config(|config| config["created"] = json!("yesterday"));
    }),
    (
        "annotation that is a number",
        Kind::DocumentMalformed,
        |fixture| {
            fixture.edit_manifest(|manifest| manifest["annotations"] = json!({"a": 1}));
        },
    ),
    (
        "annotation of a layer that is a number",
        Kind::DocumentMalformed,
        |fixture| {
            fixture
                .edit_manifest(|manifest| manifest["layers"][0]["annotations"] = json!({"a": 1}));
        },
    ),
    ("data of another blob", Kind::DescriptorData, |fixture| {
        fixture.edit_manifest(|manifest| manifest["config"]["data"] = json!("e30="));
    }),
    ("data that is not base64", Kind::DescriptorData, |fixture| {
        fixture.edit_manifest(|manifest| manifest["layers"][0]["data"] = json!("?"));
    }),
    ("name beyond 255 bytes", Kind::LayerPathLength, |fixture| {
        fixture.layers[0].tar = pax_layer("path", &"a".repeat(256));
    }),
];

/// Breaks of the half that only archives have.
const DOCKER_BREAKS: &[(&str, Kind, Break)] = &[
    ("no JSON", Kind::DocumentMalformed, |fixture| {
        fixture.edit_docker(|docker| *docker = json!({}));
    }),
    ("no images", Kind::DockerImages, |fixture| {
        fixture.edit_docker(|docker| *docker = json!([]));
    }),
    ("another config", Kind::DockerImages, |fixture| {
        fixture.edit_files(|files| {
            let mut config: Value = serde_json::from_slice(&files[&config_name(files)]).unwrap();
            config["author"] = json!("somebody else");
            let name = add_blob(files, &to_canonical(&config));
            edit_docker_file(files, |docker| docker[0]["Config"] = json!(name));
        });
    }),
    ("another order of layers", Kind::DockerLayers, |fixture| {
        fixture.layers[1].tar = fixture.layers[0].tar.clone();
        fixture.layers[1].compress = |tar| [gzip(&tar[..512]), gzip(&tar[512..])].concat();
        fixture.edit_docker(|docker| docker[0]["Layers"].as_array_mut().unwrap().reverse());
    }),
    ("another name", Kind::DockerTags, |fixture| {
        fixture.edit_docker(|docker| docker[0]["RepoTags"] = json!(["app:2"]));
    }),
    ("no name", Kind::DockerTags, |fixture| {
        fixture.edit_docker(|docker| docker[0]["RepoTags"] = Value::Null);
    }),
    ("a name without a tag", Kind::DockerTag, |fixture| {
        fixture.edit_index(|index| index["manifests"][0]["annotations"] = Value::Null);
        fixture.edit_docker(|docker| docker[0]["RepoTags"] = json!(["app"]));
    }),
    ("a name in upper case", Kind::DockerTag, |fixture| {
        fixture.edit_index(|index| index["manifests"][0]["annotations"] = Value::Null);
        fixture.edit_docker(|docker| docker[0]["RepoTags"] = json!(["App:1"]));
    }),
    (
        "a config that is not there",
        Kind::DockerMissing,
        |fixture| {
            fixture.edit_docker(|docker| docker[0]["Config"] = json!("nowhere.json"));
        },
    ),
    (
        "no config in `manifest.json`",
        Kind::DockerConfig,
        |fixture| {
            fixture.edit_docker(|docker| docker[0]["Config"] = Value::Null);
        },
    ),
    ("a config by another name", Kind::DockerName, |fixture| {
        fixture.edit_docker(|docker| {
            docker[0]["Config"] = json!(format!("./{}", docker[0]["Config"].as_str().unwrap()));
        });
    }),
];

const MAX_DEPTH: usize = crate::document::MAX_INDEX_DEPTH;

fn index_of(files: &Files) -> Value {
    serde_json::from_slice(&files["index.json"]).unwrap()
}

fn named(descriptor: &Value) -> String {
    descriptor["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "blobs/sha256/")
}

fn manifest_name(files: &Files) -> String {
    named(&index_of(files)["manifests"][0])
}

fn manifest_of(files: &Files) -> Value {
    serde_json::from_slice(&files[&manifest_name(files)]).unwrap()
}

fn config_name(files: &Files) -> String {
    named(&manifest_of(files)["config"])
}

fn layer_name(files: &Files) -> String {
    named(&manifest_of(files)["layers"][0])
}

fn flip(files: &mut Files, name: fn(&Files) -> String) {
    let name = name(files);
    let blob = files.get_mut(&name).unwrap();
    let at = blob.len() / 2;
    blob[at] ^= 1;
}

fn add_one(number: &mut Value) {
    *number = json!(number.as_u64().unwrap() + 1);
}

fn edit_docker_file(files: &mut Files, edit: impl Fn(&mut Value)) {
    let mut docker = serde_json::from_slice(&files["manifest.json"]).unwrap();
    edit(&mut docker);
    files.insert("manifest.json".to_owned(), to_canonical(&docker));
}

/// Puts the manifest below `depth` indexes, besides `index.json`.
fn nest(fixture: &mut Fixture, depth: usize) {
    fixture.edit_files(move |files| {
        let mut index = index_of(files);
        for _ in 0..depth {
            let bytes = to_canonical(&index);
            add_blob(files, &bytes);
            index["manifests"] = json!([descriptor(
                "application/vnd.oci.image.index.v1+json",
                &bytes
            )]);
        }
        files.insert("index.json".to_owned(), to_canonical(&index));
    });
}

/// An entry of a kind, and a file `a` after it.
fn special(kind: EntryType, path: &str, link: &str) -> Vec<u8> {
    let mut tar = Vec::new();
    entry(&mut tar, kind, path, link, b"");
    tar.extend(layer_tar(&["a"]));
    tar
}

/// A file with one PAX record.
fn pax_layer(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let digits = (rest + 3).to_string().len();
    let record = format!("{} {key}={value}\n", rest + digits);
    let mut tar = Vec::new();
    entry(&mut tar, EntryType::XHeader, "x", "", record.as_bytes());
    entry(&mut tar, EntryType::Regular, "a", "", b"");
    end(tar)
}

#[test]
fn a_good_image_has_no_violations() {
    let mut fixture = Fixture::good();
    assert_eq!(violations(&fixture.archive()), []);
    assert_eq!(violations(&fixture.layout()), []);
    let tar = archive(&fixture.files());
    assert_eq!(violations(&Opened::archive(&gzip(&tar))), []);
    fixture.layers[0].media_type = TAR;
    fixture.layers[0].compress = plain;
    fixture.layers[1].media_type = TAR_ZSTD;
    fixture.layers[1].compress = zstd;
    assert_eq!(violations(&fixture.archive()), []);
}

#[test]
fn each_break_is_one_violation_of_an_archive() {
    for (case, kind, apply) in BREAKS.iter().chain(DOCKER_BREAKS) {
        let mut fixture = Fixture::good();
        apply(&mut fixture);
        assert_only(&violations(&fixture.archive()), *kind, case);
    }
}

#[test]
fn each_break_is_one_violation_of_a_layout() {
    for (case, kind, apply) in BREAKS {
        let mut fixture = Fixture::good();
        apply(&mut fixture);
        assert_only(&violations(&fixture.layout()), *kind, case);
    }
}

#[test]
fn all_disagreements_are_reported_at_once() {
    let mut fixture = Fixture::good();
    fixture.edit_config(|config| {
        config["os"] = Value::Null;
        config["rootfs"]["diff_ids"][1] = json!(Digest::of(b"x").to_string());
    });
    fixture.edit_manifest(|manifest| add_one(&mut manifest["layers"][0]["size"]));
    fixture.edit_docker(|docker| docker[0]["RepoTags"] = json!(["other:1"]));
    fixture.layers[0].tar = layer_tar(&["a", "a"]);
    let kinds: BTreeSet<Kind> = violations(&fixture.archive())
        .iter()
        .map(|violation| violation.kind)
        .collect();
    let expected = [
        Kind::ConfigOs,
        Kind::DiffId,
        Kind::BlobSize,
        Kind::DockerTags,
        Kind::LayerDuplicatePath,
    ];
    assert_eq!(kinds, BTreeSet::from(expected));
}

#[test]
fn a_violation_is_a_sentence_with_both_values() {
    let mut fixture = Fixture::good();
    let name = layer_name(&fixture.files());
    let size = fixture.files()[&name].len();
    fixture.edit_manifest(|manifest| add_one(&mut manifest["layers"][0]["size"]));
    let found = violations(&fixture.archive());
    assert_eq!(
        found[0].to_string(),
        format!(
            "`{name}` has the wrong size: expected {} bytes, found {size} bytes",
            size + 1
        )
    );
    let data = serde_json::to_value(&found[0]).unwrap();
    assert_eq!(data["kind"], "blob-size");
    assert_eq!(data["subject"], name);
}

#[test]
fn the_report_does_not_depend_on_threads() {
    let mut fixture = Fixture::good();
    fixture.layers = (0..12)
        .map(|number| Layer {
            tar: layer_tar(&["a", &format!("b{number}"), "a"]),
            media_type: TAR_GZIP,
            compress: gzip,
        })
        .collect();
    let opened = fixture.archive();
    let expected = validate(&opened.source(), 1).violations;
    assert_eq!(expected.len(), 12);
    for threads in [0, 2, 8, 100] {
        assert_eq!(validate(&opened.source(), threads).violations, expected);
    }
}

#[test]
fn two_names_of_an_image_and_a_layer_twice_are_fine() {
    let mut fixture = Fixture::good();
    fixture.layers[1].tar = fixture.layers[0].tar.clone();
    fixture.edit_index(|index| {
        let mut second = index["manifests"][0].clone();
        second["annotations"]["io.containerd.image.name"] = json!("docker.io/library/app:2");
        index["manifests"].as_array_mut().unwrap().push(second);
    });
    fixture.edit_docker(|docker| docker[0]["RepoTags"] = json!(["app:2", "docker.io/app:1"]));
    assert_eq!(violations(&fixture.archive()), []);
}

#[test]
fn unknown_documents_and_artifacts_are_only_hashed() {
    let mut fixture = Fixture::good();
    fixture.edit_files(|files| {
        let statement = b"{\"predicate\":{}}";
        add_blob(files, statement);
        let empty = b"{}";
        add_blob(files, empty);
        let artifact = to_canonical(&json!({
            "schemaVersion": 2,
            "config": descriptor("application/vnd.oci.empty.v1+json", empty),
            "layers": [descriptor("application/vnd.in-toto+json", statement)],
        }));
        add_blob(files, &artifact);
        let mut index = index_of(files);
        let manifests = index["manifests"].as_array_mut().unwrap();
        manifests.push(descriptor(
            "application/vnd.oci.image.manifest.v1+json",
            &artifact,
        ));
        manifests.push(descriptor("application/x-unknown", statement));
        files.insert("index.json".to_owned(), to_canonical(&index));
    });
    assert_eq!(violations(&fixture.layout()), []);
}

#[test]
fn foreign_layers_may_be_missing() {
    let mut fixture = Fixture::good();
    fixture.edit_manifest(|manifest| {
        manifest["layers"][0]["urls"] = json!(["https://example.com/layer"]);
    });
    fixture.edit_files(|files| {
        let name = layer_name(files);
        files.remove(&name);
        files.remove("manifest.json");
    });
    assert_eq!(violations(&fixture.layout()), []);
}

/// What `docker save` of older engines writes.
fn old_docker_archive(config: &Value, shares_layer: bool) -> Opened {
    let config = to_canonical(config);
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let manifest = to_canonical(&json!([{
        "Config": config_name,
        "RepoTags": ["app:1"],
        "Layers": ["1/layer.tar", "2/layer.tar"],
    }]));
    let mut tar = Vec::new();
    entry(
        &mut tar,
        EntryType::Regular,
        "1/layer.tar",
        "",
        &layer_tar(&["a"]),
    );
    if shares_layer {
        entry(
            &mut tar,
            EntryType::Symlink,
            "2/layer.tar",
            "../1/layer.tar",
            b"",
        );
    } else {
        entry(
            &mut tar,
            EntryType::Regular,
            "2/layer.tar",
            "",
            &layer_tar(&["b"]),
        );
    }
    entry(&mut tar, EntryType::Regular, &config_name, "", &config);
    entry(&mut tar, EntryType::Regular, "manifest.json", "", &manifest);
    Opened::archive(&end(tar))
}

fn docker_config(paths: [&str; 2]) -> Value {
    let ids = paths.map(|path| Digest::of(&layer_tar(&[path])));
    json!({
        "os": "linux",
        "architecture": "amd64",
        "rootfs": { "type": "layers", "diff_ids": ids },
    })
}

#[test]
fn archives_of_older_engines_are_checked_by_their_diff_ids() {
    assert_eq!(
        violations(&old_docker_archive(&docker_config(["a", "b"]), false)),
        []
    );
    assert_eq!(
        violations(&old_docker_archive(&docker_config(["a", "a"]), true)),
        []
    );
    let wrong = violations(&old_docker_archive(&docker_config(["a", "b"]), true));
    assert_only(&wrong, Kind::DiffId, "a link to another layer");
}

#[test]
fn absolute_names_and_hard_links_in_an_archive_are_reported() {
    let files = Fixture::good().files();
    let mut tar = Vec::new();
    for (name, contents) in &files {
        let name = if name == "oci-layout" {
            "/oci-layout"
        } else {
            name
        };
        entry(&mut tar, EntryType::Regular, name, "", contents);
    }
    let found = violations(&Opened::archive(&end(tar)));
    assert_only(&found, Kind::ArchiveName, "absolute name");

    let layer = layer_name(&files);
    let mut tar = Vec::new();
    entry(&mut tar, EntryType::Regular, "layer", "", &files[&layer]);
    entry(&mut tar, EntryType::Link, &layer, "layer", b"");
    for (name, contents) in files.iter().filter(|(name, _)| **name != layer) {
        entry(&mut tar, EntryType::Regular, name, "", contents);
    }
    let found = violations(&Opened::archive(&end(tar)));
    // A link's target may be 100 bytes long, the layer's name is shorter.
    assert_only(&found, Kind::ArchiveHardlink, "hard link");
}

#[test]
fn an_archive_that_breaks_off_is_damaged() {
    let mut tar = archive(&Fixture::good().files());
    tar.truncate(tar.len() - 1024);
    entry(&mut tar, EntryType::Regular, "zz", "", &[0; 600]);
    tar.truncate(tar.len() - 512);
    let found = violations(&Opened::archive(&tar));
    assert_only(&found, Kind::ArchiveTar, "cut");
    assert!(
        found[0].to_string().starts_with("`image.tar` is damaged: "),
        "{}",
        found[0]
    );
}

#[test]
fn many_violations_of_one_layer_are_counted() {
    let mut fixture = Fixture::good();
    let paths: Vec<String> = (0..260).map(|number| format!("a{}", number / 2)).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    fixture.layers[0].tar = layer_tar(&paths);
    let found = violations(&fixture.layout());
    assert_eq!(found.len(), 101);
    assert_eq!(found[100].kind, Kind::LayerMore);
    assert_eq!(found[100].found.as_deref(), Some("30 more"));
}

/// Where the bytes of blobs lie in an archive of `files`.
fn blob_ranges(files: &Files) -> Vec<std::ops::Range<usize>> {
    let mut start = 0;
    let mut ranges = BTreeMap::new();
    for (name, contents) in files {
        start += 512;
        ranges.insert(name, start..start + contents.len());
        start += contents.len().next_multiple_of(512);
    }
    let blobs = ranges
        .into_iter()
        .filter(|(name, _)| name.starts_with("blobs/"));
    blobs.map(|(_, range)| range).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_flipped_bit_in_a_blob_is_always_found(
        blob in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let files = Fixture::good().files();
        let mut tar = archive(&files);
        let ranges = blob_ranges(&files);
        let range = &ranges[blob.index(ranges.len())];
        tar[range.start + at.index(range.len())] ^= 1_u8 << bit;
        prop_assert!(!violations(&Opened::archive(&tar)).is_empty());
    }

    #[test]
    fn damaged_archives_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut tar = archive(&Fixture::good().files());
        let good = tar.clone();
        for (at, mask) in flips {
            let at = at.index(tar.len());
            tar[at] ^= mask;
        }
        if let Ok(source) = Opened::archive(&tar).open() {
            let found = validate(&source, THREADS).violations;
            prop_assert!(tar != good || found.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Damage below intact digests: the layer rules and decompressors see it.
    #[test]
    fn damaged_layers_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=u8::MAX), 1..4),
        which in 0..3_usize,
    ) {
        let mut fixture = Fixture::good();
        let (media_type, compress) =
            [(TAR, plain as fn(&[u8]) -> Vec<u8>), (TAR_GZIP, gzip), (TAR_ZSTD, zstd)][which];
        fixture.layers[0].media_type = media_type;
        fixture.layers[0].compress = compress;
        fixture.edit_files(move |files| {
            let name = layer_name(files);
            let mut blob = files.remove(&name).unwrap();
            for (at, mask) in &flips {
                let at = at.index(blob.len());
                blob[at] ^= mask;
            }
            let mut manifest = manifest_of(files);
            manifest["layers"][0] = descriptor(media_type, &blob);
            let manifest = to_canonical(&manifest);
            add_blob(files, &blob);
            add_blob(files, &manifest);
            let mut index = index_of(files);
            index["manifests"][0] =
                descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
            files.insert("index.json".to_owned(), to_canonical(&index));
            files.remove("manifest.json");
        });
        let found = violations(&fixture.layout());
        // What gzip's header says of itself may change without any harm, and
        // two flips of one byte may take each other back.
        prop_assert!(found.iter().all(|violation| violation.kind != Kind::BlobDigest));
    }
}

#[test]
fn an_index_that_multiplies_is_cut_short() {
    let mut fixture = Fixture::good();
    fixture.edit_files(|files| {
        let mut index = index_of(files);
        for _ in 0..3 {
            let one = index["manifests"][0].clone();
            index["manifests"] = Value::Array(vec![one; 200]);
            let bytes = to_canonical(&index);
            add_blob(files, &bytes);
            index["manifests"] = json!([descriptor(
                "application/vnd.oci.image.index.v1+json",
                &bytes
            )]);
        }
        files.insert("index.json".to_owned(), to_canonical(&index));
    });
    assert_only(
        &violations(&fixture.layout()),
        Kind::TooManyDocuments,
        "8,000,000 paths",
    );
}

#[test]
fn names_in_a_nested_index_are_compared_with_the_docker_half() {
    let mut fixture = Fixture::good();
    fixture.edit_files(|files| {
        let mut index = index_of(files);
        let annotations = index["manifests"][0]["annotations"].take();
        index["manifests"][0]["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let bytes = to_canonical(&index);
        add_blob(files, &bytes);
        let mut root = descriptor("application/vnd.oci.image.index.v1+json", &bytes);
        root["annotations"] = annotations;
        index["manifests"] = json!([root]);
        files.insert("index.json".to_owned(), to_canonical(&index));
    });
    assert_eq!(violations(&fixture.archive()), []);
    fixture.edit_files(|files| {
        edit_docker_file(files, |docker| docker[0]["RepoTags"] = json!(["app:2"]));
    });
    assert_only(&violations(&fixture.archive()), Kind::DockerTags, "nested");
}

#[test]
fn an_image_that_only_one_half_lists_is_reported() {
    let mut fixture = Fixture::good();
    fixture.edit_files(|files| {
        let mut config: Value = serde_json::from_slice(&files[&config_name(files)]).unwrap();
        config["author"] = json!("somebody else");
        let config = to_canonical(&config);
        add_blob(files, &config);
        let mut manifest = manifest_of(files);
        manifest["config"] = descriptor("application/vnd.oci.image.config.v1+json", &config);
        let manifest = to_canonical(&manifest);
        add_blob(files, &manifest);
        let mut index = index_of(files);
        let second = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        index["manifests"].as_array_mut().unwrap().push(second);
        files.insert("index.json".to_owned(), to_canonical(&index));
    });
    assert_only(
        &violations(&fixture.archive()),
        Kind::DockerImages,
        "second image",
    );
}

/// Returns the violations that a copy reports, unless the image cannot be read.
fn copied(opened: &Opened) -> Option<Vec<ViolationKind>> {
    let source = Arc::new(opened.source());
    let (image, _) = Image::of_source(&source, None, &Platforms::All).ok()?;
    let found = validate_copied(&image);
    Some(found.iter().map(|violation| violation.kind).collect())
}

#[test]
fn a_copy_reports_what_it_copies() {
    assert_eq!(copied(&Fixture::good().layout()), Some(Vec::new()));
    for (case, kind, apply) in BREAKS {
        let mut fixture = Fixture::good();
        apply(&mut fixture);
        // A copy has an index of its own, and fails if a blob is damaged.
        let is_of_index = [
            "no mark",
            "mark",
            "no index",
            "index",
            "manifest of another size",
        ];
        let is_left = is_of_index.iter().any(|name| case.starts_with(name))
            || matches!(
                kind,
                Kind::BlobMissing | Kind::BlobDigest | Kind::BlobName | Kind::ConfigPlatform
            );
        let expected = if is_left { vec![] } else { vec![*kind] };
        for opened in [fixture.layout(), fixture.archive()] {
            let found = copied(&opened);
            assert!(found.is_none_or(|found| found == expected), "{case}");
        }
    }
}

#[test]
fn a_copy_reports_a_large_layer_by_its_first_bytes() {
    let mut fixture = Fixture::good();
    fixture.layers[0].tar.resize(1 << 20, 0);
    fixture.layers[0].media_type = TAR_GZIP;
    fixture.layers[0].compress = plain;
    assert_eq!(
        copied(&fixture.layout()),
        Some(vec![Kind::LayerCompression])
    );
}
