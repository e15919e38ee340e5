use serde_json::json;

use super::*;
use crate::document::REF_NAME;
use crate::source::fixture::{self, Files, Fixture, Opened};

/// A layout of several images: the tag, platform and bytes of each.
fn layout(images: &[(Option<&str>, &str)]) -> Opened {
    let mut files = Files::new();
    let mut manifests = Vec::new();
    for (tag, platform) in images {
        let mut parts = platform.split('/');
        let (os, architecture) = (parts.next().unwrap(), parts.next().unwrap());
        let mut config = json!({
            "os": os, "architecture": architecture,
            "rootfs": { "type": "layers", "diff_ids": [] },
            "comment": format!("{tag:?}"),
        });
        if let Some(variant) = parts.next() {
            config["variant"] = variant.into();
        }
        let config = crate::json::to_canonical(&config);
        fixture::add_blob(&mut files, &config);
        let manifest = crate::json::to_canonical(&json!({
            "schemaVersion": 2,
            "config": fixture::descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [],
        }));
        fixture::add_blob(&mut files, &manifest);
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let mut descriptor = fixture::descriptor(media_type, &manifest);
        if let Some(tag) = tag {
            descriptor["annotations"] = json!({ REF_NAME: tag });
        }
        manifests.push(descriptor);
    }
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    files.insert("index.json".to_owned(), crate::json::to_canonical(&index));
    Opened::layout(&files)
}

fn selected(opened: &Opened, tag: Option<&str>, platform: Option<&str>) -> Result<String, String> {
    let platform = platform.map(|text| text.parse().unwrap());
    SelectedImage::select(&opened.source(), tag, platform.as_ref())
        .map(|image| image.platform.to_string())
        .map_err(|error| error.to_string())
}

#[test]
fn the_platform_or_the_tag_decides() {
    let many = layout(&[
        (Some("1"), "linux/amd64"),
        (Some("1"), "linux/arm64"),
        (Some("2"), "linux/arm/v6"),
        (Some("2"), "linux/arm/v5"),
    ]);
    for (tag, platform, expected) in [
        (Some("1"), Some("linux/amd64"), Ok("linux/amd64")),
        (None, Some("linux/arm64"), Ok("linux/arm64")),
        (None, Some("linux/arm/v7"), Ok("linux/arm/v6")),
        (None, Some("linux/arm/v5"), Ok("linux/arm/v5")),
        (
            Some("2"),
            Some("linux/amd64"),
            Err("no image in it is for linux/amd64 (it has: `linux/arm/v5`, `linux/arm/v6`)"),
        ),
        (
            Some("3"),
            None,
            Err("no image in it has the tag `3` (it has: `1`, `2`)"),
        ),
        (Some("1"), None, Err("it has 2 images: ")),
    ] {
        let found = selected(&many, tag, platform);
        match (found, expected) {
            (Err(found), Err(expected)) => assert!(found.starts_with(expected), "{found}"),
            (found, expected) => assert_eq!(found.as_deref(), Ok(expected.unwrap())),
        }
    }
}

#[test]
fn an_image_for_every_processor_goes_before_one_for_newer_ones() {
    let two = layout(&[
        (Some("new"), "linux/amd64/v3"),
        (Some("all"), "linux/amd64"),
    ]);
    let wanted = "linux/amd64".parse().unwrap();
    let image = SelectedImage::select(&two.source(), None, Some(&wanted)).unwrap();
    assert_eq!(image.config["variant"], Value::Null);
}

#[test]
fn the_only_image_needs_no_choice_but_must_fit() {
    let one = layout(&[(None, "linux/arm64")]);
    assert_eq!(selected(&one, None, None).as_deref(), Ok("linux/arm64"));
    assert_eq!(
        selected(&one, None, Some("linux/amd64")),
        Err("no image in it is for linux/amd64 (it has: `linux/arm64`)".to_owned())
    );
    assert_eq!(
        selected(&layout(&[]), None, None),
        Err("there is no image in it".to_owned())
    );
}

#[test]
fn several_images_are_listed_by_name_and_platform() {
    let two = layout(&[(Some("1"), "linux/amd64"), (Some("2"), "linux/amd64")]);
    let error = SelectedImage::select(&two.source(), None, Some(&"linux/amd64".parse().unwrap()));
    let Err(SelectionError::Several {
        mut images,
        differ_by_platform,
    }) = error
    else {
        panic!("{error:?}");
    };
    images.sort();
    assert_eq!(images, ["1 for linux/amd64", "2 for linux/amd64"]);
    assert!(!differ_by_platform);
}

#[test]
fn a_docker_archive_says_the_same_as_its_index() {
    let fixture = Fixture::good();
    let whole = fixture.archive();
    let with_index = SelectedImage::select(&whole.source(), None, None).unwrap();
    let mut without = Fixture::good();
    without.edit_files(|files| drop(files.remove("index.json")));
    let without = without.archive();
    let from_docker = SelectedImage::select(&without.source(), Some("app:1"), None).unwrap();
    assert_eq!(from_docker.layers, with_index.layers);
    assert_eq!(from_docker.config, with_index.config);
    assert_eq!(from_docker.manifest, None);
    assert_eq!(from_docker.name.as_deref(), Some("app:1"));
    let name = Some("docker.io/library/app:1");
    assert_eq!(with_index.name.as_deref(), name);
}

#[test]
fn docker_media_types_become_those_of_oci() {
    let mut fixture = Fixture::good();
    fixture.edit_manifest(|manifest| {
        let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        manifest["layers"][0]["mediaType"] = docker.into();
        manifest["layers"][1]["annotations"] = json!({ "a": "b" });
    });
    let image = SelectedImage::select(&fixture.archive().source(), None, None).unwrap();
    let types: Vec<&String> = image.layers.iter().map(|layer| &layer.media_type).collect();
    assert_eq!(types, [crate::media_type::LAYER_GZIP; 2]);
    assert_eq!(image.layers[1].annotations["a"], "b");
}

#[test]
fn images_that_no_engine_runs_are_refused() {
    type Edit = fn(&mut Fixture);
    let cases: [(Edit, &str); 5] = [
        (
            |fixture| fixture.edit_config(|config| config["rootfs"]["diff_ids"] = json!([])),
            "layers of the manifest: 2, diff IDs of the configuration: 0",
        ),
        (
            |fixture| fixture.edit_config(|config| config["os"] = "".into()),
            "does not contain the platform of the image",
        ),
        (
            |fixture| {
                fixture.edit_manifest(|manifest| {
                    manifest["layers"][0]["mediaType"] = "text/plain".into();
                });
            },
            "one of its layers has the media type `text/plain`",
        ),
        (
            |fixture| {
                fixture.edit_manifest(|manifest| manifest["config"]["size"] = 3.into());
            },
            "is damaged: expected 3 bytes",
        ),
        (
            |fixture| {
                fixture.edit_manifest(|manifest| {
                    let layer = manifest["layers"][0].clone();
                    manifest["layers"] = vec![layer; 501].into();
                });
            },
            "it has 501 layers; no engine runs more than 500",
        ),
    ];
    for (edit, expected) in cases {
        let mut fixture = Fixture::good();
        edit(&mut fixture);
        let result = SelectedImage::select(&fixture.archive().source(), None, None);
        let error = result.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// Gives the fields of an object other names.
fn rename(object: &mut serde_json::Value, names: &[(&str, &str)]) {
    let object = object.as_object_mut().unwrap();
    for (name, other) in names {
        let value = object.remove(*name).unwrap();
        object.insert((*other).to_owned(), value);
    }
}

#[test]
fn fields_are_read_by_their_names_in_any_case_as_go_reads_them() {
    let expected = Fixture::good().archive();
    let expected = SelectedImage::select(&expected.source(), Some("app:1"), None).unwrap();
    let mut odd = Fixture::good();
    // Jib's names.
    odd.edit_docker(|docker| {
        let names = [
            ("Config", "config"),
            ("RepoTags", "repoTags"),
            ("Layers", "layers"),
        ];
        rename(&mut docker[0], &names);
    });
    odd.edit_config(|config| {
        rename(
            config,
            &[
                ("os", "OS"),
                ("architecture", "Architecture"),
                ("rootfs", "RootFS"),
            ],
        );
        rename(&mut config["RootFS"], &[("diff_ids", "Diff_IDs")]);
    });
    odd.edit_manifest(|manifest| {
        rename(manifest, &[("config", "Config"), ("layers", "LAYERS")]);
        rename(
            &mut manifest["Config"],
            &[("mediaType", "MediaType"), ("digest", "Digest")],
        );
    });
    odd.edit_index(|index| {
        rename(
            index,
            &[
                ("manifests", "Manifests"),
                ("schemaVersion", "schemaversion"),
            ],
        );
        rename(
            &mut index["Manifests"][0],
            &[("size", "Size"), ("annotations", "Annotations")],
        );
    });
    let whole = odd.archive();
    assert_eq!(crate::validate::validate(&whole.source(), 1).violations, []);
    let read = SelectedImage::select(&whole.source(), Some("app:1"), None).unwrap();
    assert_eq!(read.layers, expected.layers);
    assert_eq!(read.platform, expected.platform);
    odd.edit_files(|files| drop(files.remove("index.json")));
    let from_docker = SelectedImage::select(&odd.archive().source(), Some("app:1"), None).unwrap();
    assert_eq!(from_docker.layers, expected.layers);
}

#[test]
fn an_image_of_a_docker_archive_without_a_config_is_said_to_have_none() {
    let mut fixture = Fixture::good();
    fixture.edit_docker(|docker| rename(&mut docker[0], &[("Config", "Configuration")]));
    fixture.edit_files(|files| drop(files.remove("index.json")));
    let error = selected(&fixture.archive(), None, None).unwrap_err();
    assert_eq!(error, "an image of `manifest.json` has no `Config`");
}

#[test]
fn images_of_one_name_and_platform_are_listed_by_digest() {
    let mut two = Fixture::good();
    two.edit_files(|files| {
        let mut index = index_of(files);
        let first = index["manifests"][0].clone();
        let digest = first["digest"].as_str().unwrap().replace("sha256:", "");
        let mut bytes = files[&format!("blobs/sha256/{digest}")].clone();
        bytes.push(b' ');
        fixture::add_blob(files, &bytes);
        let mut second = first.clone();
        second["digest"] = Digest::of(&bytes).to_string().into();
        second["size"] = bytes.len().into();
        index["manifests"] = json!([first, second]);
        files.insert("index.json".to_owned(), crate::json::to_canonical(&index));
    });
    let error = selected(&two.layout(), None, None).unwrap_err();
    assert_eq!(error.matches("sha256:").count(), 2, "{error}");
}

#[test]
fn layers_of_an_artifact_make_it_one() {
    let mut signature = Fixture::good();
    signature.edit_manifest(|manifest| {
        for layer in manifest["layers"].as_array_mut().unwrap() {
            layer["mediaType"] = "application/vnd.dsse.envelope.v1+json".into();
        }
    });
    let error = selected(&signature.layout(), None, None).unwrap_err();
    assert_eq!(
        error,
        "there is no image in it, only the artifact `application/vnd.dsse.envelope.v1+json`"
    );
    let report = crate::validate::validate(&signature.layout().source(), 1);
    assert_eq!(report.artifacts.len(), 1, "{:?}", report.violations);
}

#[test]
fn an_absent_nested_index_is_passed_over_beside_an_image() {
    let mut sparse = Fixture::good();
    sparse.edit_files(|files| {
        files.remove("manifest.json");
        let mut index = index_of(files);
        let far = fixture::descriptor(crate::media_type::INDEX, b"far");
        index["manifests"].as_array_mut().unwrap().insert(0, far);
        let nested = crate::json::to_canonical(&index);
        fixture::add_blob(files, &nested);
        let root = fixture::descriptor(crate::media_type::INDEX, &nested);
        let index = json!({ "schemaVersion": 2, "manifests": [root] });
        files.insert("index.json".to_owned(), crate::json::to_canonical(&index));
    });
    let sparse = sparse.layout();
    assert!(selected(&sparse, None, None).is_ok());
    assert_eq!(sparse.source().manifests().unwrap().len(), 1);
    assert_eq!(
        crate::validate::validate(&sparse.source(), 1).violations,
        []
    );
}

fn index_of(files: &Files) -> Value {
    serde_json::from_slice(&files["index.json"]).unwrap()
}

#[test]
fn the_last_of_several_fields_is_taken_and_null_texts_are_empty() {
    let mut odd = Fixture::good();
    odd.edit_config(|config| {
        config["OS"] = "first".into();
        config["Config"] = Value::Null;
        config["config"] = json!({ "User": "5" });
    });
    odd.edit_index(|index| index["manifests"][0]["annotations"]["x"] = Value::Null);
    let odd = odd.layout();
    let image = SelectedImage::select(&odd.source(), None, None).unwrap();
    assert_eq!(image.platform.os(), "linux");
    let configuration = crate::configuration::Configuration::of_document(&image.config);
    assert_eq!(configuration.user.as_deref(), Some("5"));
    let last: RawPlatform = serde_json::from_str(r#"{"os":"a","OS":"b","oS":null}"#).unwrap();
    assert_eq!(last.os.as_deref(), Some("b"));
}
