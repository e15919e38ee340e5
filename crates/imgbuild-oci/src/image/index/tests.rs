use std::io;
use std::sync::Arc;

use super::*;
use crate::blob::BlobContent;
use crate::document::{Descriptor, DocumentError};
use crate::image::Platforms;
use crate::media_type::{CONFIG, INDEX, MANIFEST};
use crate::selection::SelectionError;

/// Documents and configs by their digest, as a registry has them.
#[derive(Default)]
struct Store(BTreeMap<Digest, Vec<u8>>);

impl Store {
    fn add(&mut self, media_type: &str, json: &Value) -> Document {
        let bytes = serde_json::to_vec(json).unwrap();
        let digest = Digest::of(&bytes);
        self.0.insert(digest, bytes.clone());
        Document {
            media_type: media_type.to_owned(),
            digest,
            bytes,
        }
    }

    /// An image whose config says `platform`, with a layer called `name`.
    fn image(&mut self, name: &str, platform: &Value) -> Document {
        let config = self.add(CONFIG, platform);
        let layer = Digest::of(name.as_bytes());
        let manifest = json!({
            "config": {"mediaType": CONFIG, "digest": config.digest, "size": config.bytes.len()},
            "layers": [{"mediaType": crate::media_type::LAYER, "digest": layer, "size": name.len()}],
        });
        self.add(MANIFEST, &manifest)
    }

    fn linux(&mut self, name: &str, architecture: &str) -> Document {
        self.image(name, &json!({"os": "linux", "architecture": architecture}))
    }

    fn index(&mut self, manifests: &[Value]) -> Document {
        self.add(INDEX, &json!({"manifests": manifests}))
    }

    fn image_of(&self, root: &Document) -> Image {
        let read = &mut |descriptor: &Descriptor| {
            let found = self.0.get(&descriptor.digest);
            found.cloned().ok_or(io::ErrorKind::NotFound.into())
        };
        let image = Image::read(root.clone(), &Platforms::All, read, &|digest, _| {
            let content: Arc<dyn BlobContent> =
                Arc::new(self.0.get(&digest).cloned().unwrap_or_default());
            content
        });
        image.unwrap()
    }

    fn read(&self, root: &Document) -> Result<PlatformIndex, ImageError> {
        PlatformIndex::of_image(&self.image_of(root))
    }
}

fn descriptor(of: &Document) -> Value {
    json!({"mediaType": of.media_type, "digest": of.digest, "size": of.bytes.len()})
}

fn with(of: &Document, field: &str, value: Value) -> Value {
    let mut descriptor = descriptor(of);
    descriptor[field] = value;
    descriptor
}

fn attestation(of: &Document, manifest: &Document) -> Value {
    let mut value = with(
        manifest,
        "platform",
        json!({"os": "unknown", "architecture": "unknown"}),
    );
    value["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": of.digest,
    });
    value
}

fn digests(index: &PlatformIndex) -> Vec<Digest> {
    index.entries().iter().map(|one| one.digest).collect()
}

fn names(index: &PlatformIndex) -> Vec<String> {
    index.platforms().iter().map(ToString::to_string).collect()
}

#[test]
fn images_make_the_same_index_wherever_they_come_from() {
    let mut store = Store::default();
    let (amd, arm) = (store.linux("a", "amd64"), store.linux("b", "arm64"));
    let mut alone = store.read(&arm).unwrap();
    alone.merge(store.read(&amd).unwrap()).unwrap();
    let platform = json!({"os": "linux", "architecture": "arm64"});
    let inner = store.index(&[with(&arm, "platform", platform)]);
    let root = store.index(&[descriptor(&inner), descriptor(&amd)]);
    let nested = store.read(&root).unwrap();
    let mut built = PlatformIndex::default();
    for (manifest, platform) in [(&arm, "linux/arm64"), (&amd, "linux/amd64")] {
        built
            .add(PlatformEntry::new(manifest, &platform.parse().unwrap()))
            .unwrap();
    }
    assert_eq!(alone.to_document(), nested.to_document());
    assert_eq!(alone.to_document(), built.to_document());
    let text = format!(
        r#"{{"manifests":[{{"digest":"{}","mediaType":"{MANIFEST}","platform":{{"architecture":"amd64","os":"linux"}},"size":{}}},{{"digest":"{}","mediaType":"{MANIFEST}","platform":{{"architecture":"arm64","os":"linux"}},"size":{}}}],"mediaType":"{INDEX}","schemaVersion":2}}"#,
        amd.digest,
        amd.bytes.len(),
        arm.digest,
        arm.bytes.len(),
    );
    assert_eq!(String::from_utf8(alone.to_document().bytes).unwrap(), text);
}

#[test]
fn platforms_are_told_apart_by_all_that_a_config_says() {
    let mut store = Store::default();
    let mut index = PlatformIndex::default();
    for (name, platform) in [
        (
            "a",
            json!({"os": "linux", "architecture": "arm", "variant": "v7"}),
        ),
        (
            "b",
            json!({"os": "linux", "architecture": "arm", "variant": "v6"}),
        ),
        ("c", json!({"os": "linux", "architecture": "amd64"})),
        (
            "d",
            json!({"os": "linux", "architecture": "amd64", "variant": "v3"}),
        ),
        (
            "e",
            json!({"os": "windows", "architecture": "amd64", "os.version": "10.0.2"}),
        ),
        (
            "f",
            json!({"os": "windows", "architecture": "amd64", "os.version": "10.0.1"}),
        ),
    ] {
        let image = store.image(name, &platform);
        index.merge(store.read(&image).unwrap()).unwrap();
    }
    assert_eq!(
        names(&index),
        [
            "linux/amd64",
            "linux/amd64 (v3)",
            "linux/arm/v6",
            "linux/arm/v7",
            "windows/amd64 (10.0.1)",
            "windows/amd64 (10.0.2)",
        ]
    );
    let text = String::from_utf8(index.to_document().bytes).unwrap();
    assert!(text.contains(r#""os.version":"10.0.1""#), "{text}");
    assert!(
        text.contains(r#"{"architecture":"arm","os":"linux","variant":"v6"}"#),
        "{text}"
    );
}

#[test]
fn an_index_says_all_that_its_images_are_told_apart_by() {
    let mut store = Store::default();
    let mut index = PlatformIndex::default();
    for variant in [json!(null), json!("v2"), json!("v3")] {
        let platform = json!({"os": "linux", "architecture": "amd64", "variant": variant});
        let image = store.image(&format!("{variant}"), &platform);
        index.merge(store.read(&image).unwrap()).unwrap();
    }
    let document = index.to_document();
    let read = PlatformIndex::of_document(&document).unwrap();
    assert_eq!(names(&read), names(&index));
    assert_eq!(read.to_document(), document);
    let text = String::from_utf8(document.bytes).unwrap();
    assert_eq!(text.matches("variant").count(), 2, "{text}");
    // The first level is what amd64 means.
    let first = json!({"os": "linux", "architecture": "amd64", "variant": "v1"});
    let image = store.image("first", &first);
    let document = store.read(&image).unwrap().to_document();
    assert!(
        !String::from_utf8(document.bytes)
            .unwrap()
            .contains("variant")
    );
}

#[test]
fn two_images_for_one_platform_are_refused_unless_they_are_the_same() {
    let mut store = Store::default();
    let (one, other) = (store.linux("a", "arm64"), store.linux("b", "arm64"));
    let mut index = store.read(&one).unwrap();
    index.merge(store.read(&one).unwrap()).unwrap();
    assert_eq!(digests(&index), [one.digest]);
    let error = index.merge(store.read(&other).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "there are two images for linux/arm64: {} and {}",
            one.digest, other.digest
        )
    );
}

#[test]
fn what_belongs_to_an_image_stays_with_it_and_goes_with_it() {
    let mut store = Store::default();
    let (amd, arm) = (store.linux("a", "amd64"), store.linux("b", "arm64"));
    let proof = store.image("proof", &json!({"os": "unknown"}));
    let other_proof = store.image("other", &json!({"os": "unknown"}));
    let root = store.index(&[
        attestation(&amd, &proof),
        attestation(&arm, &other_proof),
        descriptor(&amd),
        descriptor(&arm),
    ]);
    let mut index = store.read(&root).unwrap();
    assert_eq!(digests(&index)[..2], [amd.digest, arm.digest]);
    assert_eq!(index.entries().len(), 4);
    assert_eq!(names(&index), ["linux/amd64", "linux/arm64"]);
    let kept = index.entries()[2].descriptor.clone();
    assert!(kept["annotations"].is_object(), "{kept:?}");

    let new = store.linux("new", "amd64");
    index.replace(store.read(&new).unwrap());
    assert_eq!(
        digests(&index),
        [new.digest, arm.digest, other_proof.digest]
    );
    let parts = [store.image_of(&root), store.image_of(&new)];
    let image = index.to_image(&parts).unwrap();
    let documents: Vec<Digest> = image.documents().iter().map(|one| one.digest).collect();
    assert_eq!(documents[..3], digests(&index)[..]);
    assert_eq!(image.root(), &index.to_document());
    let layer = |name: &str| Digest::of(name.as_bytes());
    let has = |name: &str| image.blobs().iter().any(|blob| blob.digest == layer(name));
    assert!(has("new") && has("b") && has("other") && !has("a") && !has("proof"));
    let error = index.to_image(&parts[..1]).unwrap_err();
    assert!(
        matches!(error, ImageError::Selection(SelectionError::Missing(digest)) if digest == new.digest)
    );
}

#[test]
fn an_index_is_read_alone_when_it_says_everything() {
    let mut store = Store::default();
    let image = store.linux("a", "amd64");
    let platform = json!({"os": "linux", "architecture": "amd64"});
    let whole = store.index(&[with(&image, "platform", platform)]);
    let index = PlatformIndex::of_document(&whole).unwrap();
    assert_eq!(index, store.read(&whole).unwrap());
    let partial = store.index(&[descriptor(&image)]);
    let nested = store.index(&[descriptor(&whole)]);
    for document in [&partial, &nested, &image] {
        let error = PlatformIndex::of_document(document).unwrap_err();
        assert!(
            matches!(error, ImageError::Selection(SelectionError::Missing(_))),
            "{error}"
        );
        assert_eq!(digests(&store.read(document).unwrap()), [image.digest]);
    }
}

#[test]
fn annotations_of_an_index_stay_and_are_added_to() {
    let mut store = Store::default();
    let image = store.linux("a", "amd64");
    let root = json!({"manifests": [descriptor(&image)], "annotations": {"a": "1", "b": "1"}});
    let root = store.add(INDEX, &root);
    let mut index = store.read(&root).unwrap();
    let mut own = store.read(&image).unwrap();
    own.annotations.insert("b".to_owned(), "2".to_owned());
    index.replace(own);
    let expected = [("a", "1"), ("b", "2")].map(|(name, value)| (name.into(), value.into()));
    assert_eq!(index.annotations, BTreeMap::from(expected));
}

#[test]
fn what_is_malformed_or_says_no_platform_is_refused() {
    let mut store = Store::default();
    let image = store.linux("a", "amd64");
    let artifact = store.image("b", &json!({}));
    let error = store.read(&artifact).unwrap_err();
    assert!(matches!(error, ImageError::NoPlatform(_)), "{error}");
    for broken in [
        json!({"digest": image.digest, "size": 1}),
        json!({"mediaType": MANIFEST, "size": 1}),
        json!({"mediaType": MANIFEST, "digest": image.digest, "size": -1}),
    ] {
        let root = store.index(&[broken]);
        let error = PlatformIndex::of_document(&root).unwrap_err();
        assert!(
            matches!(
                error,
                ImageError::Selection(SelectionError::Document(DocumentError::Descriptor { .. }))
            ),
            "{error}"
        );
    }
    // What is not as long as its descriptor says.
    let root = store.index(&[with(&image, "size", json!(1))]);
    let error = store.read(&root).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::Selection(SelectionError::Document(DocumentError::Descriptor {
                field: "size",
                ..
            }))
        ),
        "{error}"
    );
    for manifests in [
        json!({}),
        json!([with(&image, "platform", json!("linux"))]),
        json!([with(&image, "platform", json!({"os": 1}))]),
    ] {
        let root = store.add(INDEX, &json!({ "manifests": manifests }));
        let error = PlatformIndex::of_document(&root).unwrap_err();
        assert!(
            matches!(
                error,
                ImageError::Selection(SelectionError::Document(DocumentError::Json { .. }))
            ),
            "{error}"
        );
    }
}

#[test]
fn a_config_that_is_damaged_is_no_config() {
    let mut store = Store::default();
    let image = store.linux("a", "amd64");
    let config = store
        .0
        .values_mut()
        .find(|bytes| bytes.starts_with(b"{\"arch"));
    config.unwrap().push(b' ');
    let error = store.read(&image).unwrap_err();
    assert!(
        matches!(error, ImageError::Selection(SelectionError::Read { .. })),
        "{error}"
    );
    let platform: Platform = "linux/amd64".parse().unwrap();
    assert_eq!(PlatformEntry::new(&image, &platform).digest, image.digest);
}

#[test]
fn what_all_images_say_the_index_says() {
    let mut store = Store::default();
    let mut annotated = |name: &str, architecture: &str, annotations: &Value| {
        let image = store.linux(name, architecture);
        let mut manifest: Value = serde_json::from_slice(&image.bytes).unwrap();
        manifest["annotations"] = annotations.clone();
        store.add(MANIFEST, &manifest)
    };
    let one = annotated("a", "amd64", &json!({"same": "1", "other": "1"}));
    let two = annotated("b", "arm64", &json!({"same": "1", "other": "2"}));
    let parts = [store.image_of(&one), store.image_of(&two)];
    let mut index = PlatformIndex::of_image(&parts[0]).unwrap();
    assert_eq!(index.annotations["other"], "1");
    index.merge(store.read(&two).unwrap()).unwrap();
    index.annotate_as_images(&parts).unwrap();
    let expected = BTreeMap::from([("same".to_owned(), "1".to_owned())]);
    assert_eq!(index.annotations, expected);
    assert!(index.annotate_as_images(&parts[..1]).is_err());
}
