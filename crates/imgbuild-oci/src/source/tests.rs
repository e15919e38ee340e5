use proptest::prelude::*;
use serde_json::{Value, json};
use tar::EntryType;

use super::fixture::{
    Files, Fixture, Opened, add_blob, all, archive, descriptor, end, entry, gzip, zstd,
};
use super::*;
use crate::document::DocumentError;
use crate::document::{MAX_INDEX_DEPTH, MAX_MANIFESTS};
use crate::json::to_canonical;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Wraps the manifest of the fixture in `depth` indexes below `index.json`.
fn nested(depth: usize) -> Fixture {
    let mut fixture = Fixture::good();
    fixture.edit_files(move |files| {
        let mut index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let annotations = index["manifests"][0]["annotations"].take();
        index["manifests"][0]
            .as_object_mut()
            .unwrap()
            .remove("annotations");
        index["manifests"][0]["platform"] = json!({"os": "linux", "architecture": "amd64"});
        for _ in 0..depth {
            let bytes = to_canonical(&index);
            add_blob(files, &bytes);
            index["manifests"] = json!([descriptor(INDEX, &bytes)]);
        }
        index["manifests"][0]["annotations"] = annotations;
        files.insert("index.json".to_owned(), to_canonical(&index));
    });
    fixture
}

#[test]
fn every_form_of_a_source_gives_the_same_manifests() {
    let fixture = Fixture::good();
    let tar = archive(&fixture.files());
    let forms = [
        fixture.layout(),
        Opened::archive(&tar),
        Opened::archive(&gzip(&tar)),
        Opened::archive(&zstd(&tar)),
    ];
    let expected = forms[0].source().manifests().unwrap();
    assert_eq!(expected.len(), 1);
    assert_eq!(
        expected[0].annotations["org.opencontainers.image.ref.name"],
        "1"
    );
    for form in &forms {
        let source = form.source();
        assert_eq!(source.manifests().unwrap(), expected);
        let manifest = source.read_blob(&expected[0].digest).unwrap();
        assert_eq!(manifest.len() as u64, expected[0].size);
    }
}

#[test]
fn a_compressed_archive_leaves_no_file_behind() {
    let opened = Opened::archive(&gzip(&archive(&Fixture::good().files())));
    let source = opened.source();
    assert!(source.manifests().is_ok());
    assert_eq!(fs_err::read_dir(opened.scratch()).unwrap().count(), 1);
}

#[test]
fn the_docker_half_is_read_from_archives_only() {
    let fixture = Fixture::good();
    let images = fixture.archive().source().docker_manifests().unwrap();
    assert_eq!(
        images[0].repo_tags.as_deref(),
        Some(&["app:1".to_owned()][..])
    );
    assert_eq!(images[0].layers.as_ref().unwrap().len(), 2);
    assert!(
        fixture
            .layout()
            .source()
            .docker_manifests()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn manifests_in_nested_indexes_keep_the_name_of_the_root() {
    for depth in 1..MAX_INDEX_DEPTH {
        let manifests = nested(depth).archive().source().manifests().unwrap();
        assert_eq!(manifests.len(), 1);
        assert_eq!(
            manifests[0].annotations["org.opencontainers.image.ref.name"],
            "1"
        );
        assert_eq!(
            manifests[0].platform.as_ref().unwrap().to_string(),
            "linux/amd64"
        );
    }
    let too_deep = nested(MAX_INDEX_DEPTH).archive().source().manifests();
    assert!(matches!(
        too_deep,
        Err(SourceError::Document(DocumentError::TooDeep))
    ));
}

#[test]
fn an_index_that_multiplies_is_cut_short() {
    let mut fixture = Fixture::good();
    fixture.edit_files(|files| {
        let mut index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        for _ in 0..3 {
            let one = index["manifests"][0].clone();
            index["manifests"] = Value::Array(vec![one; 200]);
            let bytes = to_canonical(&index);
            add_blob(files, &bytes);
            index["manifests"] = json!([descriptor(INDEX, &bytes)]);
        }
        files.insert("index.json".to_owned(), to_canonical(&index));
    });
    let manifests = fixture.archive().source().manifests();
    assert!(
        matches!(
            manifests,
            Err(SourceError::Document(DocumentError::TooManyManifests))
        ),
        "{manifests:?}"
    );
}

#[test]
fn indexes_do_not_count_as_manifests() {
    for (count, is_taken) in [(MAX_MANIFESTS, true), (MAX_MANIFESTS + 1, false)] {
        let mut fixture = Fixture::good();
        fixture.edit_files(move |files| {
            let one = descriptor(crate::media_type::MANIFEST, b"{}");
            // A list in a document is not longer.
            let (most, more) = (vec![&one; MAX_MANIFESTS], vec![&one; count - MAX_MANIFESTS]);
            let index = to_canonical(&json!({"schemaVersion": 2, "manifests": most}));
            let roots: Vec<Value> = [descriptor(INDEX, &index)]
                .into_iter()
                .chain(more.into_iter().cloned())
                .collect();
            add_blob(files, &index);
            let index = json!({"schemaVersion": 2, "manifests": roots});
            files.insert("index.json".to_owned(), to_canonical(&index));
        });
        let manifests = fixture.archive().source().manifests();
        assert_eq!(manifests.is_ok(), is_taken, "{manifests:?}");
    }
}

#[test]
fn a_damaged_document_is_refused() {
    let mut fixture = Fixture::good();
    fixture.edit_files(|files| {
        let name = files
            .keys()
            .find(|name| name.starts_with("blobs/"))
            .unwrap()
            .clone();
        files.get_mut(&name).unwrap()[0] ^= 1;
    });
    let source = fixture.archive().source();
    let name = fixture
        .files()
        .keys()
        .find(|name| name.starts_with("blobs/"))
        .unwrap()
        .clone();
    let digest: Digest = name.replace("blobs/sha256/", "sha256:").parse().unwrap();
    assert!(matches!(
        source.read_blob(&digest),
        Err(SourceError::Digest { .. })
    ));
    let missing = source.read_blob(&Digest::of(b"nowhere"));
    assert!(matches!(missing, Err(SourceError::Missing(_))));
}

#[test]
fn a_large_document_is_not_read() {
    let mut fixture = Fixture::good();
    fixture.edit_files(|files| {
        files.insert("index.json".to_owned(), vec![b' '; (4 << 20) + 1]);
    });
    let manifests = fixture.layout().source().manifests();
    assert!(matches!(
        manifests,
        Err(SourceError::TooLarge {
            size: 4_194_305,
            ..
        })
    ));
}

fn links(entries: &[(EntryType, &str, &str)]) -> Source {
    let mut tar = Vec::new();
    for (kind, path, target) in entries {
        entry(&mut tar, *kind, path, target, b"");
    }
    entry(&mut tar, EntryType::Regular, "a/layer.tar", "", b"layer");
    entry(&mut tar, EntryType::Regular, "manifest.json", "", b"[]");
    Opened::archive(&end(tar)).source()
}

#[test]
fn links_are_followed_within_the_archive() {
    let source = links(&[
        (EntryType::Symlink, "b/layer.tar", "../a/layer.tar"),
        (EntryType::Symlink, "c/layer.tar", "/b/layer.tar"),
        (EntryType::Symlink, "d", "../../../a/layer.tar"),
        (EntryType::Link, "e", "a/layer.tar"),
        (EntryType::Symlink, "out", "/etc/passwd"),
    ]);
    for name in [
        "b/layer.tar",
        "c/layer.tar",
        "d",
        "e",
        "./e",
        "/a/layer.tar",
    ] {
        assert_eq!(
            all(source.member(name).unwrap().unwrap()),
            b"layer",
            "{name}"
        );
    }
    for name in ["out", "/etc/passwd", "../../etc/passwd", ""] {
        assert!(source.member(name).unwrap().is_none(), "{name}");
    }
}

#[test]
fn links_that_go_in_circles_are_refused() {
    let source = links(&[
        (EntryType::Symlink, "b", "c"),
        (EntryType::Symlink, "c", "b"),
    ]);
    assert!(matches!(
        source.member("b"),
        Err(SourceError::TooManyLinks(_))
    ));
}

#[test]
fn names_cannot_leave_a_layout() {
    let opened = Fixture::good().layout();
    fs_err::write(opened.scratch().join("secret"), "x").unwrap();
    let source = opened.source();
    let absolute = opened.scratch().join("secret");
    for name in [
        "../secret",
        "blobs/../../secret",
        absolute.to_str().unwrap(),
        "",
        ".",
        "a\0b",
    ] {
        assert!(source.member(name).unwrap().is_none(), "{name}");
    }
}

#[test]
fn only_files_are_read_from_a_layout() {
    let opened = Fixture::good().layout();
    fs_err::create_dir(opened.path.join("blobs/sha256/directory")).unwrap();
    let member = opened.source().member("blobs/sha256/directory").map(|_| ());
    assert!(matches!(member, Err(SourceError::NotAFile(_))));
}

#[test]
fn what_is_no_image_is_refused() {
    let empty = Files::from([("readme".to_owned(), b"x".to_vec())]);
    for opened in [
        Opened::layout(&empty),
        Opened::archive(&archive(&empty)),
        Opened::archive(b""),
    ] {
        assert!(matches!(opened.open(), Err(SourceError::NotAnImage(_))));
    }
    let text = Opened::archive(&[b'x'; 2000]);
    assert!(matches!(text.open(), Err(SourceError::Tar { .. })));
    let xz = Opened::archive(b"\xfd7zXZ\0 and so on");
    assert!(matches!(
        xz.open(),
        Err(SourceError::Path {
            action: "decompress",
            ..
        })
    ));
    let cut = gzip(&archive(&Fixture::good().files()));
    let cut = Opened::archive(&cut[..cut.len() / 2]);
    assert!(matches!(
        cut.open(),
        Err(SourceError::Path {
            action: "decompress",
            ..
        })
    ));
    let missing = Source::open(Path::new("/nowhere/at/all"), Path::new("/")).unwrap_err();
    assert!(matches!(missing, SourceError::NotFound(_)));
}

#[test]
fn a_transport_must_fit_what_is_there() {
    let layout = Fixture::good().layout();
    let hybrid = Fixture::good().archive();
    let mut oci = Fixture::good();
    oci.edit_files(|files| drop(files.remove("manifest.json")));
    let oci = oci.archive();
    let open = |transport: &str, opened: &Opened| {
        let name: SourceName = format!("{transport}{}", opened.path.display())
            .parse()
            .unwrap();
        name.open(opened.scratch())
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    for (transport, opened) in [
        ("", &layout),
        ("", &hybrid),
        ("oci:", &layout),
        ("oci-archive:", &hybrid),
        ("oci-archive:", &oci),
        ("docker-archive:", &hybrid),
    ] {
        assert_eq!(open(transport, opened), Ok(()));
    }
    for (transport, opened, expected) in [
        ("oci:", &hybrid, "an image layout"),
        ("oci-archive:", &layout, "an OCI archive"),
        ("docker-archive:", &oci, "a Docker archive"),
    ] {
        let message = format!("`{}` is not {expected}", opened.path.display());
        assert_eq!(open(transport, opened), Err(message));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn damaged_archives_are_read_or_refused(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        is_compressed in any::<bool>(),
    ) {
        let mut bytes = archive(&Fixture::good().files());
        if is_compressed {
            bytes = gzip(&bytes);
        }
        for (at, mask) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        bytes.truncate(bytes.len() / 2 + cut.index(bytes.len() / 2 + 1));
        if let Ok(source) = Opened::archive(&bytes).open() {
            let manifests = source.manifests().unwrap_or_default();
            for manifest in manifests {
                if let Ok(bytes) = source.read_blob(&manifest.digest) {
                    prop_assert_eq!(Digest::of(&bytes), manifest.digest);
                }
            }
        }
    }
}
