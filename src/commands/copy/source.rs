//! What is copied from this machine: of a layout or an archive, the one image
//! or index that is meant.

use std::env;
use std::sync::Arc;

use imgbuild_oci::parcel::{Parcel, ParcelError, Platforms};
use imgbuild_oci::reference::Reference;
use imgbuild_oci::selection::{SelectedImage, SelectionError, is_called};
use imgbuild_oci::source::{ManifestDescriptor, Source, SourceName};

use super::Found;
use crate::args::source_name;
use crate::commands::source::{NotSelected, open_source};
use crate::failure::{Failure, Result};

/// The tag, in an index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The full name, in an index.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// What can be copied from here.
const KINDS: &str = "a source here is a directory with an OCI image layout, or an archive of `docker save` or of an OCI image layout";

/// Opens what the user calls `text`.
pub(crate) fn from_source(text: &str, platforms: &Platforms) -> Result<Found> {
    let name = source_name(text)?;
    let source = Arc::new(open_source(&name, text, &env::temp_dir(), KINDS)?);
    let roots = source.roots().map_err(Failure::build)?;
    if roots.is_empty() {
        return without_manifest(&name, text, &source, platforms);
    }
    let root = choose(&name, &roots)?;
    let parcel = Parcel::of_source(&source, root, platforms).map_err(|error| match error {
        error @ ParcelError::Platform { .. } => Failure::build(error)
            .hint("take one of these with `--platform`, or leave it out for all"),
        error => Failure::build(error),
    })?;
    let same = roots.iter().filter(|one| one.digest == root.digest);
    let names = same.filter_map(|one| one.annotations.get(CONTAINERD_NAME)?.parse().ok());
    Ok(Found {
        parcel,
        names: names.collect(),
    })
}

/// Takes an image of an archive that only `manifest.json` describes.
fn without_manifest(
    name: &SourceName,
    text: &str,
    source: &Arc<Source>,
    platforms: &Platforms,
) -> Result<Found> {
    let listed = source.docker_manifests().map_err(Failure::build)?;
    if listed.is_empty() {
        let message = format!("`{}` has no image", name.path().display());
        return Err(Failure::build(message));
    }
    let platform = match platforms {
        Platforms::All => None,
        Platforms::One(platform) => Some(platform),
    };
    let image = SelectedImage::select(source, name.tag(), platform)
        .map_err(|error| not_selected(error, text, name))?;
    let parcel = Parcel::of_image_without_manifest(source, &image).map_err(Failure::build)?;
    let config = Some(&image.config_name);
    let same = listed.iter().filter(|one| one.config.as_ref() == config);
    let names = same.flat_map(|one| one.repo_tags.iter().flatten());
    let names: Vec<Reference> = names.filter_map(|name| name.parse().ok()).collect();
    Ok(Found { parcel, names })
}

fn not_selected(error: SelectionError, text: &str, name: &SourceName) -> Failure {
    let hint = match &error {
        SelectionError::Several { .. } | SelectionError::Tag { .. } => Some(format!(
            "name one with `docker-archive:{}:NAME`",
            name.path().display()
        )),
        _ => None,
    };
    let failure = Failure::build(NotSelected::new("copy", text, error));
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Finds the one image or index that is meant.
fn choose<'a>(
    name: &SourceName,
    roots: &'a [ManifestDescriptor],
) -> Result<&'a ManifestDescriptor> {
    let path = name.path().display();
    let fits = |one: &&ManifestDescriptor, tag: &str| {
        let names = [REF_NAME, CONTAINERD_NAME].into_iter();
        names
            .filter_map(|key| one.annotations.get(key))
            .any(|name| is_called(name, tag))
    };
    let fitting: Vec<&ManifestDescriptor> = match name.tag() {
        Some(tag) => roots.iter().filter(|one| fits(one, tag)).collect(),
        None => roots.iter().collect(),
    };
    let first = fitting.first();
    let is_one = fitting
        .iter()
        .all(|one| Some(&one.digest) == first.map(|first| &first.digest));
    match (first, is_one) {
        (Some(first), true) => Ok(first),
        (None, _) => {
            let message = format!(
                "`{path}` has no image with the tag `{}`",
                name.tag().unwrap_or_default()
            );
            Err(Failure::build(message).hint(known_tags(roots)))
        }
        (Some(_), false) => {
            let failure = Failure::build(format!("`{path}` has several images"));
            Err(failure.hint(format!(
                "name one with `{}`; {}",
                with_tag(name),
                known_tags(roots)
            )))
        }
    }
}

/// How one of several images is named.
fn with_tag(name: &SourceName) -> String {
    let path = name.path().display();
    match name {
        SourceName::DockerArchive { .. } => format!("docker-archive:{path}:NAME"),
        SourceName::OciArchive { .. } => format!("oci-archive:{path}:TAG"),
        SourceName::Path(file) if file.is_file() => format!("oci-archive:{path}:TAG"),
        SourceName::Path(_) | SourceName::Layout { .. } => format!("oci:{path}:TAG"),
    }
}

fn known_tags(roots: &[ManifestDescriptor]) -> String {
    let keys = [CONTAINERD_NAME, REF_NAME];
    let tag_of = |root: &'_ ManifestDescriptor| {
        let mut names = keys.iter().filter_map(|key| root.annotations.get(*key));
        names.next().cloned()
    };
    let tags: Vec<String> = roots.iter().filter_map(tag_of).take(20).collect();
    match tags.is_empty() {
        true => "none of them has a tag".to_owned(),
        false => format!("it has `{}`", tags.join("`, `")),
    }
}
