//! Which image of a source is meant, and the documents that describe it.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::image::MediaType;
use serde_json::Value;

use crate::digest::{DiffId, Digest};
use crate::platform::{Platform, Purpose};
use crate::reference::Reference;
use crate::source::document::Document;
use crate::source::{DockerManifest, ManifestDescriptor, Source, blob_name};

mod document;
mod error;
mod fit;

use document::{Layers, check_name, descriptor, diff_ids, parse, purpose_of, read_sized};
pub use error::SelectionError;
pub(crate) use fit::keep_best;
pub use fit::runs_on;

/// The most layers of an image that can run: Docker's graph drivers stack as
/// many (`maxDepth` of overlay2 is 128, the container's own layer counted).
pub const MAX_IMAGE_LAYERS: usize = 127;

/// The tag, in an index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The full name, in an index.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// One image of a source. Its documents have the digests that their
/// descriptors say; its layers have not been read.
#[derive(Debug, Clone)]
pub struct SelectedImage {
    /// Its name as the source says it, if it says more than a tag.
    pub name: Option<String>,
    /// The digest of the manifest; a Docker archive need not have one.
    pub manifest: Option<Digest>,
    /// The digest of the configuration.
    pub config_digest: Digest,
    /// The name of the configuration in the source.
    pub config_name: String,
    /// The configuration, with every field that somebody put into it.
    pub config: Value,
    /// What the configuration says that it runs on.
    pub platform: Platform,
    /// The layers, lowest first; at most [`MAX_IMAGE_LAYERS`].
    pub layers: Vec<SelectedLayer>,
}

/// A layer as the documents of its image describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedLayer {
    /// The name of its blob in the source.
    pub name: String,
    /// The OCI media type; Docker's are replaced by the ones that mean the
    /// same, as an OCI manifest wants them.
    pub media_type: MediaType,
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// The annotations of its descriptor.
    pub annotations: BTreeMap<String, String>,
}

impl SelectedImage {
    /// Finds the one image that is meant: the one with this tag, or full
    /// name, for this platform. Both may be left out where there is only one.
    ///
    /// A platform with a variant takes an older variant when its own is not
    /// there, as engines do.
    ///
    /// # Errors
    ///
    /// When there is none, or more than one; the error names what there is.
    /// When a document is missing, damaged or malformed.
    pub fn select(
        source: &Source,
        tag: Option<&str>,
        platform: Option<&Platform>,
    ) -> Result<Self, SelectionError> {
        let mut candidates = oci_candidates(source)?;
        if candidates.is_empty() {
            candidates = docker_candidates(source)?;
        }
        let chosen = choose(source, candidates, tag, platform)?;
        let image = chosen.read(source)?;
        match platform {
            Some(wanted) if !runs_on(&image.platform, wanted) => Err(SelectionError::Platform {
                wanted: wanted.to_string(),
                known: vec![image.platform.to_string()],
            }),
            Some(_) | None => Ok(image),
        }
    }
}

/// Finds the one manifest that is meant, as [`SelectedImage::select`] does,
/// and reads no more than that needs.
///
/// # Errors
///
/// As [`SelectedImage::select`].
pub fn select_manifest(
    source: &Source,
    platform: Option<&Platform>,
) -> Result<ManifestDescriptor, SelectionError> {
    let candidates = oci_candidates(source)?;
    match choose(source, candidates, None, platform)?.document {
        CandidateDocument::Manifest(manifest) => Ok(manifest),
        CandidateDocument::Docker(_) => Err(SelectionError::NoImage),
    }
}

/// An image that could be meant.
#[derive(Debug, Clone)]
struct Candidate {
    names: BTreeSet<String>,
    purpose: Option<Purpose>,
    document: CandidateDocument,
}

#[derive(Debug, Clone)]
enum CandidateDocument {
    Manifest(ManifestDescriptor),
    Docker(DockerManifest),
}

/// Lists the images of the indexes, each once.
fn oci_candidates(source: &Source) -> Result<Vec<Candidate>, SelectionError> {
    let mut found: BTreeMap<Digest, Candidate> = BTreeMap::new();
    for manifest in source.manifests()? {
        if !is_image(&manifest.media_type, manifest.purpose.as_ref()) {
            continue;
        }
        let names = [CONTAINERD_NAME, REF_NAME].iter();
        let names = names.filter_map(|key| manifest.annotations.get(*key).cloned());
        let candidate = found.entry(manifest.digest).or_insert_with(|| Candidate {
            names: BTreeSet::new(),
            purpose: manifest.purpose.clone(),
            document: CandidateDocument::Manifest(manifest.clone()),
        });
        candidate.names.extend(names);
    }
    Ok(found.into_values().collect())
}

fn docker_candidates(source: &Source) -> Result<Vec<Candidate>, SelectionError> {
    let images = source.docker_manifests()?.into_iter();
    Ok(images
        .map(|image| Candidate {
            names: image.repo_tags.iter().flatten().cloned().collect(),
            purpose: None,
            document: CandidateDocument::Docker(image),
        })
        .collect())
}

/// Whether a descriptor is that of an image.
pub(crate) fn is_image(media_type: &str, purpose: Option<&Purpose>) -> bool {
    let is_manifest = matches!(
        media_type,
        "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json"
    );
    // What BuildKit attaches to an image, such as its provenance.
    is_manifest && purpose.is_none_or(|purpose| purpose.platform.os() != "unknown")
}

/// Narrows the candidates to one.
fn choose(
    source: &Source,
    mut candidates: Vec<Candidate>,
    tag: Option<&str>,
    platform: Option<&Platform>,
) -> Result<Candidate, SelectionError> {
    if candidates.is_empty() {
        return Err(SelectionError::NoImage);
    }
    if let Some(tag) = tag {
        let known: BTreeSet<String> = candidates
            .iter()
            .flat_map(|candidate| candidate.names.clone())
            .collect();
        candidates.retain(|candidate| candidate.names.iter().any(|name| is_called(name, tag)));
        if candidates.is_empty() {
            return Err(SelectionError::Tag {
                tag: tag.to_owned(),
                known: known.into_iter().collect(),
            });
        }
    }
    if candidates.len() > 1 {
        for candidate in &mut candidates {
            candidate.tell_platform(source)?;
        }
        candidates = narrow(candidates, platform)?;
    }
    match candidates.len() {
        1 => Ok(candidates.remove(0)),
        _ => Err(SelectionError::Several {
            images: candidates.iter().map(Candidate::describe).collect(),
            differ_by_platform: differ_by_platform(&candidates),
        }),
    }
}

/// Returns the name that is more than a tag.
fn full_name(names: &BTreeSet<String>) -> Option<String> {
    let mut full = names.iter().filter(|name| name.contains([':', '/']));
    full.next().cloned()
}

/// Whether a name in an index or archive is the tag or the name that the user
/// says; `app:1` is `docker.io/library/app:1`.
#[must_use]
pub fn is_called(name: &str, wanted: &str) -> bool {
    let tag = name.rsplit_once(':').map(|(_, tag)| tag);
    let full = |text: &str| text.parse::<Reference>().ok();
    name == wanted
        || tag == Some(wanted)
        || full(name).is_some_and(|name| full(wanted) == Some(name))
}

/// Keeps the candidates that fit the platform best.
fn narrow(
    candidates: Vec<Candidate>,
    platform: Option<&Platform>,
) -> Result<Vec<Candidate>, SelectionError> {
    let Some(wanted) = platform else {
        return Ok(candidates);
    };
    keep_best(candidates, |one| one.purpose.as_ref(), wanted).map_err(|known| {
        SelectionError::Platform {
            wanted: wanted.to_string(),
            known,
        }
    })
}

fn differ_by_platform(candidates: &[Candidate]) -> bool {
    let platforms: BTreeSet<_> = candidates.iter().map(|one| &one.purpose).collect();
    platforms.len() == candidates.len()
}

impl Candidate {
    fn describe(&self) -> String {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let platform = self.purpose.as_ref().map(|one| one.platform.to_string());
        let platform = platform.unwrap_or_else(|| "an unknown platform".to_owned());
        match names.is_empty() {
            true => platform,
            false => format!("{} for {platform}", names.join(" = ")),
        }
    }

    /// Looks the platform up in the configuration when no index says it.
    fn tell_platform(&mut self, source: &Source) -> Result<(), SelectionError> {
        if self.purpose.is_none() {
            let (_, _, config) = self.documents(source)?;
            self.purpose = Some(purpose_of(&config)?);
        }
        Ok(())
    }

    /// Returns the layers' descriptors or names, and the configuration.
    fn documents(&self, source: &Source) -> Result<(Layers, Digest, Vec<u8>), SelectionError> {
        match &self.document {
            CandidateDocument::Manifest(manifest) => {
                let document: Document = parse(
                    &blob_name(&manifest.digest),
                    &read_sized(source, &manifest.digest, manifest.size)?,
                )?;
                let name = blob_name(&manifest.digest);
                let config = document.config.unwrap_or_default();
                let (digest, size) = descriptor(&name, &config)?;
                let bytes = read_sized(source, &digest, size)?;
                let layers = document.layers.unwrap_or_default();
                Ok((Layers::Descriptors(name, layers), digest, bytes))
            }
            CandidateDocument::Docker(image) => {
                let name = image.config.clone().unwrap_or_default();
                let bytes = source.document(&name)?;
                let digest = check_name(&name, &bytes)?;
                let layers = image.layers.clone().unwrap_or_default();
                Ok((Layers::Names(layers), digest, bytes))
            }
        }
    }

    fn read(self, source: &Source) -> Result<SelectedImage, SelectionError> {
        let (layers, config_digest, bytes) = self.documents(source)?;
        let name = blob_name(&config_digest);
        let config: Value = parse(&name, &bytes)?;
        if !config.is_object() {
            return Err(SelectionError::Config {
                name,
                reason: "it is no object",
            });
        }
        let diff_ids = diff_ids(&name, &bytes)?;
        if layers.len() > MAX_IMAGE_LAYERS {
            return Err(SelectionError::TooManyLayers {
                count: layers.len(),
            });
        }
        if diff_ids.len() != layers.len() {
            return Err(SelectionError::DiffIds {
                expected: layers.len(),
                found: diff_ids.len(),
            });
        }
        Ok(SelectedImage {
            name: full_name(&self.names),
            manifest: match &self.document {
                CandidateDocument::Manifest(manifest) => Some(manifest.digest),
                CandidateDocument::Docker(_) => None,
            },
            config_digest,
            config_name: match self.document {
                CandidateDocument::Manifest(_) => name,
                CandidateDocument::Docker(image) => image.config.unwrap_or_default(),
            },
            platform: purpose_of(&bytes)?.platform,
            config,
            layers: layers.read(source, diff_ids)?,
        })
    }
}

#[cfg(test)]
mod tests;
