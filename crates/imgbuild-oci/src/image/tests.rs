use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::*;
use crate::blob::BlobContent;
use crate::document::{Descriptor, DocumentError, MAX_INDEX_DEPTH};
use crate::media_type::{CONFIG, INDEX, MANIFEST};
use crate::selection::SelectionError;

/// Documents by their digest, as a registry has them.
#[derive(Default)]
struct Documents(BTreeMap<Digest, Vec<u8>>);

impl Documents {
    fn add(&mut self, media_type: &str, json: &serde_json::Value) -> Document {
        let bytes = serde_json::to_vec(json).unwrap();
        let digest = Digest::of(&bytes);
        self.0.insert(digest, bytes.clone());
        Document {
            media_type: media_type.to_owned(),
            digest,
            bytes,
        }
    }

    fn manifest(&mut self, layer: &str) -> Document {
        let blob = |text: &str, media_type: &str| serde_json::json!({"mediaType": media_type, "digest": Digest::of(text.as_bytes()), "size": text.len()});
        let json = serde_json::json!({
            "config": blob(&format!("config of {layer}"), CONFIG),
            "layers": [blob("shared", "layer"), blob(layer, "layer"), {
                "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
                "digest": "sha512:abc", "size": 1, "urls": ["https://elsewhere"],
            }],
        });
        self.add(MANIFEST, &json)
    }

    fn index(&mut self, children: &[(&Document, Option<&str>)]) -> Document {
        let manifests: Vec<_> = children
            .iter()
            .map(|(child, architecture)| {
                let mut one = serde_json::json!({
                    "mediaType": child.media_type, "digest": child.digest, "size": child.bytes.len(),
                });
                if let Some(architecture) = architecture {
                    one["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
                }
                one
            })
            .collect();
        self.add(INDEX, &serde_json::json!({"manifests": manifests}))
    }

    fn build(&self, root: &Document, platforms: &Platforms) -> Result<Image, ImageError> {
        let read = &mut |descriptor: &Descriptor| {
            let found = self.0.get(&descriptor.digest);
            found.cloned().ok_or(io::ErrorKind::NotFound.into())
        };
        Image::read(root.clone(), platforms, read, &|digest, _| {
            let content: Arc<dyn BlobContent> =
                Arc::new(self.0.get(&digest).cloned().unwrap_or_default());
            content
        })
    }
}

#[test]
fn what_a_document_names_comes_before_it_and_once() {
    let mut documents = Documents::default();
    let (amd, arm) = (documents.manifest("a"), documents.manifest("b"));
    let inner = documents.index(&[(&arm, Some("arm64"))]);
    let root = documents.index(&[(&amd, Some("amd64")), (&inner, None), (&amd, None)]);
    let image = documents.build(&root, &Platforms::All).unwrap();
    let order: Vec<Digest> = image.documents().iter().map(|one| one.digest).collect();
    assert_eq!(order, [amd.digest, arm.digest, inner.digest, root.digest]);
    assert_eq!(image.root(), &root);
    // The shared layer once, two own layers, two configs; no foreign layer.
    assert_eq!(image.blobs().len(), 5);
    assert_eq!(
        image.blobs().iter().filter(|blob| blob.is_config).count(),
        2
    );
}

#[test]
fn one_platform_is_found_in_nested_indexes() {
    let mut documents = Documents::default();
    let (amd, arm) = (documents.manifest("a"), documents.manifest("b"));
    let inner = documents.index(&[(&arm, Some("arm64"))]);
    let root = documents.index(&[(&amd, Some("amd64")), (&inner, None)]);
    let one = |text: &str| Platforms::One(text.parse().unwrap());
    let image = documents.build(&root, &one("linux/arm64")).unwrap();
    assert_eq!(image.documents(), [arm]);
    let image = documents.build(&root, &one("linux/amd64")).unwrap();
    assert_eq!(image.documents(), [amd]);
    let error = documents.build(&root, &one("linux/riscv64")).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::Selection(SelectionError::Platform { .. })
        ),
        "{error}"
    );
}

/// Documents with an image for each of the platforms, which its config says.
fn with_images(platforms: &[&str]) -> (Documents, Vec<Document>) {
    let mut documents = Documents::default();
    let one = |platform: &&str| {
        let mut parts = platform.split('/');
        let mut next = || parts.next().unwrap_or_default().to_owned();
        let config = serde_json::json!({"os": next(), "architecture": next(), "variant": next()});
        let config = documents.add(CONFIG, &config);
        let size = config.bytes.len();
        let config =
            serde_json::json!({"mediaType": CONFIG, "digest": config.digest, "size": size});
        documents.add(MANIFEST, &serde_json::json!({"config": config}))
    };
    let images = platforms.iter().map(one).collect();
    (documents, images)
}

#[test]
fn a_config_says_the_platform_that_no_index_says() {
    let platforms = [
        "linux/amd64/v3",
        "linux/arm/v6",
        "linux/arm/v5",
        "linux/amd64",
    ];
    let (mut documents, images) = with_images(&platforms);
    let one = |text: &str| Platforms::One(text.parse().unwrap());
    let [level, arm, old_arm, amd] = &images[..] else {
        panic!("there are four");
    };
    let alone = documents.index(&[(amd, None)]);
    let first = documents.index(&[(level, None), (old_arm, None)]);
    let second = documents.index(&[(arm, None), (amd, None), (amd, None)]);
    let root = documents.index(&[(&first, None), (&second, None)]);
    for (index, platform, expected) in [
        (&alone, "linux/amd64", amd),
        // What every amd64 runs goes before what only newer ones do.
        (&root, "linux/amd64", amd),
        (&first, "linux/amd64", level),
        (&root, "linux/arm/v7", arm),
        (&root, "linux/arm/v5", old_arm),
    ] {
        let image = documents.build(index, &one(platform)).unwrap();
        assert_eq!(image.root(), expected, "{platform}");
    }
    let error = documents.build(&root, &one("linux/arm64")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no image in it is for linux/arm64 (it has: `linux/amd64`, `linux/arm/v5`, `linux/arm/v6`)"
    );
}

#[test]
fn what_says_no_platform_or_the_same_twice_is_refused() {
    let (mut documents, images) = with_images(&["", "linux/amd64", "linux/amd64/v1"]);
    let amd = Platforms::One("linux/amd64".parse().unwrap());
    let silent = documents.index(&[(&images[0], None)]);
    let error = documents.build(&silent, &amd).unwrap_err();
    let expected = "no image in it is for linux/amd64 (it has: none)";
    assert_eq!(error.to_string(), expected);
    let twice = documents.index(&[(&images[1], None), (&images[2], None)]);
    let error = documents.build(&twice, &amd).unwrap_err();
    assert!(
        matches!(error, ImageError::Selection(SelectionError::Several { .. })),
        "{error}"
    );
}

#[test]
fn what_is_missing_malformed_or_too_deep_is_refused() {
    let mut documents = Documents::default();
    let manifest = documents.manifest("a");
    let other = documents.add("text/plain", &serde_json::json!({}));
    let strange = documents.index(&[(&other, None)]);
    let error = documents.build(&strange, &Platforms::All).unwrap_err();
    assert!(matches!(error, ImageError::Kind { .. }), "{error}");
    let mut deep = documents.index(&[(&manifest, None)]);
    for _ in 0..MAX_INDEX_DEPTH {
        deep = documents.index(&[(&deep, None)]);
    }
    let error = documents.build(&deep, &Platforms::All).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::Selection(SelectionError::Document(DocumentError::TooDeep))
        ),
        "{error}"
    );
    let root = documents.index(&[(&manifest, None)]);
    documents.0.remove(&manifest.digest);
    let error = documents.build(&root, &Platforms::All).unwrap_err();
    assert!(
        matches!(error, ImageError::Selection(SelectionError::Missing(_))),
        "{error}"
    );
    for json in [
        serde_json::json!({"layers": [{"digest": "sha256:x", "size": 1, "mediaType": "l"}]}),
        serde_json::json!({"layers": [{"digest": manifest.digest, "size": -1, "mediaType": "l"}]}),
        serde_json::json!({"layers": [{"digest": manifest.digest, "size": 1}]}),
    ] {
        let broken = documents.add(MANIFEST, &json);
        let error = documents.build(&broken, &Platforms::All).unwrap_err();
        assert!(
            matches!(
                error,
                ImageError::Selection(SelectionError::Document(DocumentError::Descriptor { .. }))
            ),
            "{error}"
        );
    }
}
