//! The choice of one image among several, by tag and platform (`choose`), and
//! its documents.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde_json::Value;

use crate::configuration::check_config;
use crate::digest::{DiffId, Digest};
use crate::document::{
    Descriptor, DockerManifest, Document, RawConfig, RawDocument, RawPlatform, blob_name,
    documents_below,
};
use crate::media_type::{is_index, is_manifest};
use crate::path::escaped;
use crate::platform::{ImagePlatform, Platform};
use crate::source::{Source, SourceError, parse_document};
use crate::violation::Violation;

mod choice;
mod document;
mod error;
mod fit;
mod part;

use choice::{by_digest, choose};
use document::{check_name, described_layer, named_layer};
pub use error::SelectionError;
pub use fit::runs_on;
pub use part::IndexPart;

/// The most layers of an image that can run: the kernel stacks as many
/// (`OVL_MAX_STACK`).
pub(crate) const MAX_IMAGE_LAYERS: usize = 500;

/// Reads the document of a descriptor, and checks its digest. A document that
/// is not there is an error of the kind [`io::ErrorKind::NotFound`].
pub type ReadDocument<'a> = dyn FnMut(&Descriptor) -> io::Result<Vec<u8>> + 'a;

/// One image of a source. Its documents have the digests of their descriptors;
/// its layers have not been read.
#[derive(Debug, Clone)]
pub struct SelectedImage {
    /// The name in the source, if it is more than a tag.
    pub name: Option<String>,
    /// The digest of the manifest; a Docker archive need not have one.
    pub manifest: Option<Digest>,
    /// The digest of the configuration.
    pub config_digest: Digest,
    /// The name of the configuration in the source.
    pub config_name: String,
    /// The configuration, with every field that it has.
    pub config: Value,
    /// The platform in the configuration.
    pub platform: Platform,
    /// The layers, lowest first; at most `MAX_IMAGE_LAYERS`.
    pub layers: Vec<SelectedLayer>,
    /// The violations of the configuration that engines refuse.
    pub violations: Vec<Violation>,
}

/// A layer as the documents of its image describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedLayer {
    /// The name of its blob in the source.
    pub name: String,
    /// The OCI media type; Docker's are replaced by the ones that mean the
    /// same, as an OCI manifest needs them.
    pub media_type: String,
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// The annotations of its descriptor.
    pub annotations: BTreeMap<String, String>,
}

/// An image or index that may be chosen, with its document of the type `D`.
#[derive(Debug, Clone)]
pub struct ImageCandidate<D = Descriptor> {
    /// The document that leads to everything else.
    pub document: D,
    /// The names that lead to it.
    pub names: BTreeSet<String>,
    /// The platform, as far as it is known.
    pub platform: Option<ImagePlatform>,
    /// The digest of the document, if it has one.
    pub digest: Option<Digest>,
}

/// Chooses the one image among those that `roots` lead to: the one with this
/// tag, or full name, for this platform. Both may be `None` where there is only
/// one image.
///
/// A platform with a variant takes an older variant if there is none of its
/// own, as engines do. The platform of the only image is not checked. Artifacts
/// are passed over, and so are images that are not here, beside others.
///
/// # Errors
///
/// When there is no such image, or more than one; the error lists them. When a
/// document is missing, damaged or malformed.
pub fn select(
    roots: Vec<Descriptor>,
    tag: Option<&str>,
    platform: Option<&Platform>,
    read: &mut ReadDocument<'_>,
    is_here: &dyn Fn(&Descriptor) -> bool,
) -> Result<ImageCandidate, SelectionError> {
    let (roots, tag) = named(roots, tag, read)?;
    let mut manifests = documents_of(&roots, read)?;
    manifests.retain(|one| !is_index(&one.media_type));
    let is_image = |one: &Descriptor| is_manifest(&one.media_type) && one.artifact.is_none();
    if !manifests.iter().any(is_image)
        && let Some(other) = manifests.pop()
    {
        let media_type = escaped(other.media_type.as_bytes());
        let kind = other.artifact.unwrap_or(media_type);
        return Err(SelectionError::Artifact(kind));
    }
    manifests.retain(is_image);
    if manifests.iter().any(is_here) {
        manifests.retain(is_here);
    }
    choose(by_digest(manifests), tag, platform, &mut |manifest| {
        Ok(read_platform(manifest, read)?.parse())
    })
}

/// Chooses the one image or index among `roots` themselves, by its tag or full
/// name, or one among them and those below by its digest.
pub(crate) fn select_root(
    roots: Vec<Descriptor>,
    tag: Option<&str>,
    read: &mut ReadDocument<'_>,
) -> Result<ImageCandidate, SelectionError> {
    let (roots, tag) = named(roots, tag, read)?;
    let mut candidates = by_digest(roots);
    for candidate in &mut candidates {
        candidate.platform = None;
    }
    choose(candidates, tag, None, &mut |root| {
        if is_index(&root.media_type) {
            return Ok(None);
        }
        parse_image(&read_image(root, read)?).map(|_| None)
    })
}

fn documents_of(
    roots: &[Descriptor],
    read: &mut ReadDocument<'_>,
) -> Result<Vec<Descriptor>, SelectionError> {
    let read = &mut |one: &Descriptor| Ok(read_document(one, read)?.bytes);
    documents_below(roots, read, SelectionError::is_missing)
}

/// Returns the descriptors that a digest in place of a tag names, of `roots` and
/// all below, and otherwise the tag.
fn named<'a>(
    mut roots: Vec<Descriptor>,
    tag: Option<&'a str>,
    read: &mut ReadDocument<'_>,
) -> Result<(Vec<Descriptor>, Option<&'a str>), SelectionError> {
    let Some(digest) = tag.and_then(|tag| tag.parse().ok()) else {
        return Ok((roots, tag));
    };
    if roots.iter().all(|root| root.digest != digest) {
        roots = documents_of(&roots, read)?;
    }
    roots.retain(|one| one.digest == digest);
    if roots.is_empty() {
        return Err(SelectionError::Digest(digest));
    }
    Ok((roots, None))
}

/// Reads the platform in the configuration of a manifest.
fn read_platform(
    manifest: &Descriptor,
    read: &mut ReadDocument<'_>,
) -> Result<RawPlatform, SelectionError> {
    platform_in_config(&read_image(manifest, read)?, read)
}

/// Reads a manifest that its descriptor does not mark as that of an artifact.
fn read_image(
    manifest: &Descriptor,
    read: &mut ReadDocument<'_>,
) -> Result<Document, SelectionError> {
    match &manifest.artifact {
        Some(artifact) => Err(SelectionError::Artifact(artifact.clone())),
        None => read_document(manifest, read),
    }
}

/// Reads the document of a descriptor.
pub(crate) fn read_document(
    descriptor: &Descriptor,
    read: &mut ReadDocument<'_>,
) -> Result<Document, SelectionError> {
    let bytes = read(descriptor);
    let bytes = bytes.map_err(|error| SelectionError::of_read(descriptor.digest, error))?;
    Ok(Document::of(descriptor, bytes))
}

/// Reads the platform in the configuration of a manifest.
pub(crate) fn platform_in_config(
    manifest: &Document,
    read: &mut ReadDocument<'_>,
) -> Result<RawPlatform, SelectionError> {
    let raw = parse_image(manifest)?;
    let Some(config) = raw.config else {
        return Ok(RawPlatform::default());
    };
    let config = read_document(&manifest.complete(config)?, read)?;
    Ok(RawPlatform::of_config(&config.bytes))
}

/// Parses the manifest of an image; its configuration need not have a media type.
fn parse_image(manifest: &Document) -> Result<RawDocument, SelectionError> {
    let mut raw = manifest.parse()?;
    if let Some(artifact) = raw.artifact() {
        return Err(SelectionError::Artifact(artifact));
    }
    if let Some(config) = &mut raw.config {
        config.media_type.get_or_insert_default();
    }
    Ok(raw)
}

impl<D> ImageCandidate<D> {
    /// Describes the image by its names, by its digest if `by_digest` or nothing else
    /// is known, and by its platform.
    fn describe(&self, by_digest: bool) -> String {
        let by_digest = by_digest || self.names.is_empty() && self.platform.is_none();
        let digest = self.digest.filter(|_| by_digest);
        let names = self.names.iter().cloned();
        let names = names.chain(digest.map(|digest| digest.to_string()));
        let name = names.collect::<Vec<_>>().join(" = ");
        match &self.platform {
            Some(platform) if name.is_empty() => platform.platform().to_string(),
            Some(platform) => format!("{name} for {}", platform.platform()),
            None if name.is_empty() => "an unknown platform".to_owned(),
            None => name,
        }
    }

    /// Returns the name that is more than a tag.
    fn full_name(&self) -> Option<String> {
        let mut full = self.names.iter().filter(|name| name.contains([':', '/']));
        full.next().cloned()
    }
}

impl ImageCandidate {
    /// Checks that the image runs on a platform; its configuration is read if
    /// no index has its platform.
    pub(crate) fn check_runs_on(
        &self,
        wanted: &Platform,
        read: &mut ReadDocument<'_>,
    ) -> Result<(), SelectionError> {
        let platform = match &self.platform {
            Some(platform) => Some(platform.clone()),
            None => read_platform(&self.document, read)?.parse(),
        };
        match platform {
            Some(platform) if runs_on(platform.platform(), wanted) => Ok(()),
            other => {
                let known = other.iter().map(|one| one.platform().to_string());
                Err(SelectionError::no_platform(wanted, known.collect()))
            }
        }
    }
}

impl SelectedImage {
    /// Chooses the one image that is meant, as [`select`], also from an archive
    /// that only `manifest.json` describes, and reads its documents.
    ///
    /// # Errors
    ///
    /// As [`select`], when the only image does not run on the platform, when no
    /// engine can run it, and when neither it nor `platform` has a platform.
    pub fn select(
        source: &Source,
        tag: Option<&str>,
        platform: Option<&Platform>,
    ) -> Result<Self, SelectionError> {
        let mut image = Self::select_any(source, tag, platform)?;
        if image.platform == Platform::none() {
            let wanted = platform.cloned();
            let name = &image.config_name;
            image.platform = wanted.ok_or_else(|| SelectionError::NoPlatform(name.clone()))?;
        }
        Ok(image)
    }

    /// Does the same for an image that need not have a platform.
    pub(crate) fn select_any(
        source: &Source,
        tag: Option<&str>,
        platform: Option<&Platform>,
    ) -> Result<Self, SelectionError> {
        let read =
            &mut |one: &Descriptor| document::read_sized(source, one).map_err(io::Error::other);
        let is_here = &|one: &Descriptor| source.has(one);
        let image = match select(source.roots()?, tag, platform, read, is_here) {
            Err(SelectionError::NoImage) => {
                let images = docker_candidates(source)?;
                let platform_of = &mut |image: &DockerManifest| {
                    Ok(RawPlatform::of_config(&read_config(image, source)?.1).parse())
                };
                choose(images, tag, platform, platform_of)?.read(source)?
            }
            chosen => chosen?.read(source)?,
        };
        let own = Some(&image.platform).filter(|own| **own != Platform::none());
        match platform.zip(own) {
            Some((wanted, own)) if !runs_on(own, wanted) => {
                Err(SelectionError::no_platform(wanted, vec![own.to_string()]))
            }
            _ => Ok(image),
        }
    }

    /// Puts together the parts that all images have. `layer` describes one of
    /// `count` layers.
    fn new(
        config_name: String,
        config_digest: Digest,
        config: &[u8],
        count: usize,
        layer: &dyn Fn(usize, DiffId) -> Result<SelectedLayer, SelectionError>,
    ) -> Result<Self, SelectionError> {
        let name = blob_name(&config_digest);
        let invalid = |reason| SelectionError::Config {
            name: name.clone(),
            reason,
        };
        let raw: RawConfig = parse_document(&name, config)?;
        let diff_ids = raw.diff_ids();
        let diff_ids =
            diff_ids.ok_or_else(|| invalid("one of its diff IDs is not a `sha256:` digest"))?;
        if count > MAX_IMAGE_LAYERS {
            return Err(SelectionError::TooManyLayers(count));
        }
        if diff_ids.len() != count {
            return Err(SelectionError::DiffIds {
                expected: count,
                found: diff_ids.len(),
            });
        }
        let platform = raw.platform.parse();
        let diff_ids = diff_ids.into_iter().enumerate();
        let layers = diff_ids.map(|(index, diff_id)| layer(index, diff_id));
        Ok(Self {
            name: None,
            manifest: None,
            config_digest,
            config_name,
            platform: platform.map_or_else(Platform::none, |one| one.platform().clone()),
            violations: check_config(&name, &raw.document, count),
            config: raw.document,
            layers: layers.collect::<Result<_, _>>()?,
        })
    }
}

impl ImageCandidate {
    fn read(self, source: &Source) -> Result<SelectedImage, SelectionError> {
        let bytes = document::read_sized(source, &self.document)?;
        let manifest = Document::of(&self.document, bytes);
        let raw = parse_image(&manifest)?;
        let config = manifest.complete(raw.config.unwrap_or_default())?;
        let bytes = document::read_sized(source, &config)?;
        let layers = raw.layers.unwrap_or_default();
        let name = blob_name(&config.digest);
        let layer = |index: usize, diff_id| described_layer(&manifest, &layers[index], diff_id);
        let image = SelectedImage::new(name, config.digest, &bytes, layers.len(), &layer)?;
        Ok(SelectedImage {
            name: self.full_name(),
            manifest: Some(manifest.digest),
            ..image
        })
    }
}

/// Lists the images of `manifest.json`.
fn docker_candidates(
    source: &Source,
) -> Result<Vec<ImageCandidate<DockerManifest>>, SelectionError> {
    let images = source.docker_manifests()?.into_iter();
    let candidates = images.map(|image| ImageCandidate {
        names: image.repo_tags.iter().flatten().cloned().collect(),
        platform: None,
        digest: None,
        document: image,
    });
    Ok(candidates.collect())
}

/// Returns the digest and the bytes of a configuration.
fn read_config(
    image: &DockerManifest,
    source: &Source,
) -> Result<(Digest, Vec<u8>), SelectionError> {
    let name = image.config.as_deref().ok_or(SourceError::NoConfig)?;
    let bytes = source.document(name)?;
    Ok((check_name(name, &bytes)?, bytes))
}

impl ImageCandidate<DockerManifest> {
    fn read(self, source: &Source) -> Result<SelectedImage, SelectionError> {
        let (digest, config) = read_config(&self.document, source)?;
        let name = self.full_name();
        let config_name = self.document.config.unwrap_or_default();
        let layers = self.document.layers.unwrap_or_default();
        let layer = |index: usize, diff_id| named_layer(source, &layers[index], diff_id);
        let image = SelectedImage::new(config_name, digest, &config, layers.len(), &layer)?;
        Ok(SelectedImage { name, ..image })
    }
}

#[cfg(test)]
mod tests;
