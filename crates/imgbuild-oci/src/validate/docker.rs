//! The Docker half of an archive: `manifest.json`, and whether it agrees with
//! the OCI half. Different engines read different halves.

use std::collections::BTreeSet;

use super::Report;
use super::document::{self, check_config, digest_in_name};
use super::image::{OciHalf, OciImage};
use super::layer_use::LayerUse;
use crate::digest::Digest;
use crate::document::{DockerManifest, RawConfig, blob_name};
use crate::reference::Reference;
use crate::source::{ArchiveSource, Source};
use crate::violation::{Violation, ViolationKind};

const NAME: &str = "manifest.json";

/// The largest number of images that `manifest.json` may list.
const MAX_IMAGES: usize = 1024;

/// The images that `manifest.json` leads to.
#[derive(Debug, Default)]
pub(super) struct DockerHalf {
    images: Vec<DockerImage>,
    is_there: bool,
}

#[derive(Debug)]
struct DockerImage {
    subject: String,
    /// The digest of the config, if the image is complete.
    config: Option<Digest>,
    tags: Vec<String>,
    layers: Vec<LayerUse>,
}

impl DockerHalf {
    pub(super) fn layers(&self) -> impl Iterator<Item = &LayerUse> {
        self.images.iter().flat_map(|image| &image.layers)
    }

    /// Compares with the OCI half, if both halves are there and were read.
    pub(super) fn check_agreement(&self, oci: &OciHalf, report: &mut Report) {
        if !self.is_there || !oci.is_complete {
            return;
        }
        let mut are_same = true;
        for image in &self.images {
            let Some(config) = image.config else {
                are_same = false;
                continue;
            };
            if let Some((one, names)) = oci.find(config) {
                image.check_layers(one, report);
                image.check_tags(&names, report);
            } else {
                are_same = false;
                report.add(image.unknown(config, oci));
            }
        }
        // Else the one that is missing here is the one that was unknown there.
        if are_same {
            self.check_all_there(oci, report);
        }
    }

    /// Every name of the index must lead to an image that Docker reads, too:
    /// of several platforms, one will do.
    fn check_all_there(&self, oci: &OciHalf, report: &mut Report) {
        let known: BTreeSet<Digest> = self.images.iter().filter_map(|one| one.config).collect();
        for root in &oci.roots {
            let images = root.images.iter();
            let images = images.filter_map(|digest| oci.images.get(digest));
            let configs: Vec<Digest> = images.map(|image| image.config).collect();
            if let Some(first) = configs.first()
                && !configs.iter().any(|config| known.contains(config))
            {
                let violation = Violation::new(ViolationKind::DockerImages, NAME);
                report.add(violation.expected(blob_name(first)).found("no such image"));
            }
        }
    }
}

impl DockerImage {
    fn unknown(&self, config: Digest, oci: &OciHalf) -> Violation {
        let expected = oci.images.values().map(|image| blob_name(&image.config));
        let expected: BTreeSet<String> = expected.collect();
        let expected = listed(&expected, " or ");
        let violation = Violation::new(ViolationKind::DockerImages, &self.subject);
        violation.expected(expected).found(blob_name(&config))
    }

    fn check_layers(&self, oci: &OciImage, report: &mut Report) {
        let names = |layers: &[LayerUse]| listed(layers.iter().map(|layer| &layer.name), ", ");
        // Only where blobs are stored once can they be compared by name.
        let mut layers = self.layers.iter();
        if layers.all(|layer| layer.name.starts_with("blobs/sha256/")) {
            let (expected, found) = (names(&oci.layers), names(&self.layers));
            report.compare(ViolationKind::DockerLayers, &self.subject, expected, found);
        }
    }

    fn check_tags(&self, names: &BTreeSet<&String>, report: &mut Report) {
        // `docker save` by digest writes neither; other tools write only tags.
        if names.is_empty() {
            return;
        }
        let full = |name: &String| {
            let reference = name.parse::<Reference>();
            reference.map_or_else(|_| name.clone(), |reference| reference.to_string())
        };
        let expected: BTreeSet<String> = names.iter().map(|name| full(name)).collect();
        let found: BTreeSet<String> = self.tags.iter().map(full).collect();
        let (expected, found) = (listed(&expected, ", "), listed(&found, ", "));
        report.compare(ViolationKind::DockerTags, &self.subject, expected, found);
    }
}

fn listed<'a>(texts: impl IntoIterator<Item = &'a String>, separator: &str) -> String {
    let texts: Vec<&str> = texts.into_iter().map(String::as_str).collect();
    if texts.is_empty() {
        return "none".to_owned();
    }
    texts.join(separator)
}

/// Reads the Docker half, if the source is an archive that has one.
pub(super) fn read(source: &Source, report: &mut Report) -> DockerHalf {
    let mut half = DockerHalf::default();
    let Source::Archive(archive) = source else {
        return half;
    };
    if matches!(source.member(NAME), Ok(None)) {
        return half;
    }
    let manifests = document::read(source, NAME, report)
        .and_then(|bytes| document::parse::<Vec<DockerManifest>>(NAME, &bytes, report));
    let Some(manifests) = manifests else {
        return half;
    };
    if manifests.len() > MAX_IMAGES {
        report.add(Violation::new(ViolationKind::TooManyDocuments, NAME));
        return half;
    }
    half.is_there = true;
    for (place, manifest) in manifests.into_iter().enumerate() {
        let subject = format!("{NAME} [{place}]");
        half.images
            .push(read_image(source, archive, subject, manifest, report));
    }
    half
}

fn read_image(
    source: &Source,
    archive: &ArchiveSource,
    subject: String,
    manifest: DockerManifest,
    report: &mut Report,
) -> DockerImage {
    let config = manifest.config;
    let layers = manifest.layers.unwrap_or_default();
    if config.is_none() {
        report.add(Violation::new(ViolationKind::DockerConfig, &subject));
    }
    let mut is_complete = true;
    for name in config.iter().chain(&layers) {
        is_complete &= check_member(source, archive, &subject, name, report);
    }
    let config = config.filter(|_| is_complete);
    let config = config.and_then(|name| read_config(source, &name, layers.len(), report));
    let (config, diff_ids) = config.unzip();
    let mut diff_ids = diff_ids.unwrap_or_default().into_iter();
    let uses = layers
        .into_iter()
        .filter(|name| has(source, name))
        .map(|name| LayerUse {
            name: plain_name(&name),
            descriptor: None,
            diff_id: diff_ids.next().flatten(),
            is_foreign: false,
        });
    let layers = uses.collect();
    let tags = manifest.repo_tags.unwrap_or_default();
    tags.iter().for_each(|tag| check_tag(&subject, tag, report));
    DockerImage {
        subject,
        config,
        tags,
        layers,
    }
}

fn has(source: &Source, name: &str) -> bool {
    matches!(source.member(name), Ok(Some(_)))
}

/// Returns the name as blobs are called elsewhere.
fn plain_name(name: &str) -> String {
    name.trim_start_matches("./")
        .trim_start_matches('/')
        .to_owned()
}

/// Checks that a file is there, and is called as the archive calls it.
fn check_member(
    source: &Source,
    archive: &ArchiveSource,
    subject: &str,
    name: &str,
    report: &mut Report,
) -> bool {
    if !has(source, name) {
        // The OCI half calls it the same.
        report.add(if plain_name(name).starts_with("blobs/sha256/") {
            Violation::new(ViolationKind::BlobMissing, plain_name(name))
        } else {
            Violation::new(ViolationKind::DockerMissing, subject).expected(format_args!("`{name}`"))
        });
        return false;
    }
    let is_plain = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !is_plain {
        let violation = Violation::new(ViolationKind::DockerName, subject);
        report.add(violation.found(format_args!("`{name}`")));
    }
    if archive.is_hard_link(name) {
        report.add(Violation::new(ViolationKind::ArchiveHardlink, name));
    }
    true
}

/// Reads the config and returns its digest and its diff IDs; `None` if it
/// does not have the digest of its name, or is malformed.
fn read_config(
    source: &Source,
    name: &str,
    layers: usize,
    report: &mut Report,
) -> Option<(Digest, Vec<Option<Digest>>)> {
    let bytes = document::read(source, name, report)?;
    let found = Digest::of(&bytes);
    let name = plain_name(name);
    if let Some(expected) = digest_in_name(&name)
        && !report.compare(ViolationKind::BlobDigest, &name, expected, found)
    {
        return None;
    }
    let config: RawConfig = document::parse(&name, &bytes, report)?;
    Some((found, check_config(&name, &config, layers, report)))
}

/// Checks for a tag: without one, Docker fails after it has stored the image.
fn check_tag(subject: &str, tag: &str, report: &mut Report) {
    let reference = tag.parse::<Reference>();
    let is_tagged = reference.is_ok_and(|reference| {
        let tag_of = reference.tag().map(|tag| format!(":{tag}"));
        reference.digest().is_none() && tag_of.is_some_and(|end| tag.ends_with(&end))
    });
    if !is_tagged {
        let violation = Violation::new(ViolationKind::DockerTag, subject);
        report.add(violation.found(format_args!("`{tag}`")));
    }
}
