//! The OCI half: from `index.json` to configurations and layers.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{self, Descriptor, check_config, check_descriptor, check_size};
use super::inspection::{Inspection, Inspections};
use super::{Report, Violation, ViolationKind};
use crate::digest::Digest;
use crate::platform::Platform;
use crate::source::document::{Config, Document, LayoutMark, RawDescriptor, RawPlatform};
use crate::source::{Compression, MAX_INDEX_DEPTH, MAX_MANIFESTS, Source, blob_name, is_index};

/// The version that all readers want, and the only one there is.
const LAYOUT_VERSION: &str = "1.0.0";

const INDEX_MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// The annotation that containerd and Docker read the name of an image from.
const NAME_ANNOTATION: &str = "io.containerd.image.name";

/// What `index.json` leads to.
#[derive(Debug, Default)]
pub(super) struct OciHalf {
    /// Every image manifest, once, by its digest.
    pub(super) images: BTreeMap<Digest, OciImage>,
    /// For each descriptor of `index.json`, the manifests that it leads to.
    pub(super) roots: Vec<BTreeSet<Digest>>,
    /// Whether there is an index, and everything that it leads to was read.
    pub(super) is_complete: bool,
}

/// One image manifest.
#[derive(Debug)]
pub(super) struct OciImage {
    pub(super) config: Digest,
    /// The names that `index.json` gives it.
    pub(super) names: BTreeSet<String>,
    pub(super) layers: Vec<LayerUse>,
}

/// A layer as an image refers to it.
#[derive(Debug)]
pub(super) struct LayerUse {
    /// Its name in the source.
    pub(super) name: String,
    /// The descriptor; a Docker archive has none.
    pub(super) descriptor: Option<Descriptor>,
    /// The diff ID that the config says, if it says a valid one.
    pub(super) diff_id: Option<Digest>,
    /// Whether the blob may be somewhere else.
    pub(super) is_foreign: bool,
}

impl OciHalf {
    pub(super) fn layers(&self) -> impl Iterator<Item = &LayerUse> {
        self.images.values().flat_map(|image| &image.layers)
    }
}

impl LayerUse {
    /// Whether the blob is a tar: artifacts have other blobs for layers.
    pub(super) fn is_tar(&self) -> bool {
        self.compression().is_some() || self.descriptor.is_none()
    }

    /// Returns the compression that the media type says.
    fn compression(&self) -> Option<Compression> {
        layer_compression(&self.descriptor.as_ref()?.media_type)
    }

    pub(super) fn check(&self, inspections: &Inspections, report: &mut Report) {
        let Some(inspection) = inspections.get(&self.name) else {
            if !self.is_foreign {
                report.add(Violation::new(ViolationKind::BlobMissing, &self.name));
            }
            return;
        };
        if let Some(descriptor) = &self.descriptor {
            check_size(&self.name, descriptor.size, inspection.size, report);
            if descriptor.digest != inspection.digest {
                // Reported with the name of the blob.
                return;
            }
        }
        inspection
            .violations
            .iter()
            .for_each(|violation| report.add(violation.clone()));
        self.check_compression(inspection, report);
        self.check_diff_id(inspection, report);
    }

    fn check_compression(&self, inspection: &Inspection, report: &mut Report) {
        if let (Some(expected), Some(found)) = (self.compression(), inspection.compression)
            && expected != found
        {
            let violation = Violation::new(ViolationKind::LayerCompression, &self.name);
            report.add(violation.expected(expected).found(found));
        }
    }

    fn check_diff_id(&self, inspection: &Inspection, report: &mut Report) {
        // What is not a tar is its own "uncompressed" form.
        let found = match self.is_tar() {
            true => inspection.diff_id,
            false => Some(inspection.digest),
        };
        if let (Some(expected), Some(found)) = (self.diff_id, found)
            && expected != found
        {
            let violation = Violation::new(ViolationKind::DiffId, &self.name);
            report.add(violation.expected(expected).found(found));
        }
    }
}

/// Returns the compression of a layer's media type; `None` for other blobs.
fn layer_compression(media_type: &str) -> Option<Compression> {
    let oci = ["layer.v1.tar", "layer.nondistributable.v1.tar"]
        .iter()
        .find_map(|kind| {
            media_type
                .strip_prefix("application/vnd.oci.image.")?
                .strip_prefix(kind)
        });
    let docker = ["rootfs.diff.tar", "rootfs.foreign.diff.tar"]
        .iter()
        .find_map(|kind| {
            media_type
                .strip_prefix("application/vnd.docker.image.")?
                .strip_prefix(kind)
        });
    match oci.or(docker)? {
        "" => Some(Compression::None),
        "+gzip" | ".gzip" => Some(Compression::Gzip),
        "+zstd" | ".zstd" => Some(Compression::Zstd),
        _ => None,
    }
}

fn is_image_manifest(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json"
    )
}

fn is_image_config(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.config.v1+json"
            | "application/vnd.docker.container.image.v1+json"
    )
}

/// Reads the OCI half, if the source has one.
pub(super) fn walk(source: &Source, report: &mut Report) -> OciHalf {
    let has = |name| !matches!(source.member(name), Ok(None));
    if !has("oci-layout") && !has("index.json") {
        return OciHalf::default();
    }
    check_layout_mark(source, report);
    let mut walk = Walk {
        source,
        half: OciHalf {
            is_complete: true,
            ..OciHalf::default()
        },
        visited: 0,
    };
    walk.read_root(report);
    walk.half
}

fn check_layout_mark(source: &Source, report: &mut Report) {
    let name = "oci-layout";
    let Some(bytes) = document::read(source, name, report) else {
        return;
    };
    let Some(mark) = document::parse::<LayoutMark>(name, &bytes, report) else {
        return;
    };
    let version = mark.image_layout_version.unwrap_or_default();
    if version != LAYOUT_VERSION {
        let violation = Violation::new(ViolationKind::LayoutVersion, name);
        let expected = format_args!("`{LAYOUT_VERSION}`");
        report.add(
            violation
                .expected(expected)
                .found(format_args!("`{version}`")),
        );
    }
}

struct Walk<'a> {
    source: &'a Source,
    half: OciHalf,
    visited: usize,
}

impl Walk<'_> {
    fn read_root(&mut self, report: &mut Report) {
        let name = "index.json";
        let index = document::read(self.source, name, report)
            .and_then(|bytes| self.parse(name, &bytes, INDEX_MEDIA_TYPE, report));
        let Some(index) = index else {
            self.half.is_complete = false;
            return;
        };
        for (place, raw) in index.manifests.iter().flatten().enumerate() {
            let subject = format!("{name} manifests[{place}]");
            let image_name = raw
                .annotations
                .as_ref()
                .and_then(|all| all.get(NAME_ANNOTATION));
            let found = self.visit(&subject, raw, 1, report);
            for digest in &found {
                let image = self.half.images.get_mut(digest);
                let names = image.map(|image| &mut image.names);
                names
                    .into_iter()
                    .for_each(|names| names.extend(image_name.cloned()));
            }
            self.half.roots.push(found);
        }
    }

    /// Follows a descriptor of an index, and returns the images that it leads
    /// to.
    fn visit(
        &mut self,
        subject: &str,
        raw: &RawDescriptor,
        depth: usize,
        report: &mut Report,
    ) -> BTreeSet<Digest> {
        self.visited += 1;
        if self.visited > MAX_MANIFESTS || depth > MAX_INDEX_DEPTH {
            self.half.is_complete = false;
            report.add(Violation::new(ViolationKind::IndexDepth, "index.json"));
            return BTreeSet::new();
        }
        let found = check_descriptor(subject, raw, report)
            .and_then(|descriptor| self.visit_valid(&descriptor, raw, depth, report));
        found.unwrap_or_else(|| {
            self.half.is_complete = false;
            BTreeSet::new()
        })
    }

    fn visit_valid(
        &mut self,
        descriptor: &Descriptor,
        raw: &RawDescriptor,
        depth: usize,
        report: &mut Report,
    ) -> Option<BTreeSet<Digest>> {
        let name = blob_name(&descriptor.digest);
        let is_manifest = is_image_manifest(&descriptor.media_type);
        if is_manifest && self.half.images.contains_key(&descriptor.digest) {
            let size = self.source.member(&name).ok().flatten()?.size();
            check_size(&name, descriptor.size, size, report);
            return Some(BTreeSet::from([descriptor.digest]));
        }
        if !is_manifest && !is_index(&descriptor.media_type) {
            // Readers skip what they do not know; its bytes must be right.
            self.check_unknown(&name, descriptor, report);
            return Some(BTreeSet::new());
        }
        let bytes = document::read_blob(self.source, &name, descriptor, report)?;
        let document = self.parse(&name, &bytes, &descriptor.media_type, report)?;
        if is_manifest {
            let image = self.read_image(&name, document, raw.platform.as_ref(), report)?;
            self.half.images.insert(descriptor.digest, image);
            return Some(BTreeSet::from([descriptor.digest]));
        }
        let mut found = BTreeSet::new();
        for (place, raw) in document.manifests.iter().flatten().enumerate() {
            let subject = format!("{name} manifests[{place}]");
            found.append(&mut self.visit(&subject, raw, depth + 1, report));
        }
        Some(found)
    }

    /// Compares the size; the digest is compared with all blobs' names.
    fn check_unknown(&self, name: &str, descriptor: &Descriptor, report: &mut Report) {
        match self.source.member(name) {
            Ok(Some(blob)) => check_size(name, descriptor.size, blob.size(), report),
            Ok(None) => report.add(Violation::new(ViolationKind::BlobMissing, name)),
            Err(error) => {
                report.add(Violation::new(ViolationKind::Unreadable, name).found_error(&error));
            }
        }
    }

    fn parse(
        &self,
        name: &str,
        bytes: &[u8],
        media_type: &str,
        report: &mut Report,
    ) -> Option<Document> {
        let document: Document = document::parse(name, bytes, report)?;
        if document.schema_version != Some(2) {
            let violation = Violation::new(ViolationKind::DocumentVersion, name).expected(2);
            let found = document.schema_version;
            report.add(violation.found(found.map_or("none".to_owned(), |found| found.to_string())));
        }
        if let Some(found) = &document.media_type
            && found != media_type
        {
            let violation = Violation::new(ViolationKind::DocumentMediaType, name);
            let expected = format_args!("`{media_type}`");
            report.add(
                violation
                    .expected(expected)
                    .found(format_args!("`{found}`")),
            );
        }
        Some(document)
    }

    fn read_image(
        &self,
        name: &str,
        manifest: Document,
        platform: Option<&RawPlatform>,
        report: &mut Report,
    ) -> Option<OciImage> {
        let (Some(config), Some(layers)) = (manifest.config, manifest.layers) else {
            report.add(Violation::new(ViolationKind::ManifestIncomplete, name));
            return None;
        };
        let config = check_descriptor(&format!("{name} config"), &config, report);
        let diff_ids = config.as_ref().and_then(|config| {
            let config_name = blob_name(&config.digest);
            let bytes = document::read_blob(self.source, &config_name, config, report)?;
            if !is_image_config(&config.media_type) {
                return None;
            }
            let config: Config = document::parse(&config_name, &bytes, report)?;
            check_platform(&config_name, &config, platform, report);
            Some(check_config(&config_name, &config, layers.len(), report))
        });
        let mut diff_ids = diff_ids.unwrap_or_default().into_iter();
        let mut uses = Vec::new();
        for (place, raw) in layers.iter().enumerate() {
            let subject = format!("{name} layers[{place}]");
            let descriptor = check_descriptor(&subject, raw, report);
            let diff_id = diff_ids.next().flatten();
            uses.extend(descriptor.map(|descriptor| LayerUse {
                name: blob_name(&descriptor.digest),
                is_foreign: is_foreign(raw),
                descriptor: Some(descriptor),
                diff_id,
            }));
        }
        Some(OciImage {
            config: config?.digest,
            names: BTreeSet::new(),
            layers: uses,
        })
    }
}

/// Whether a layer may be somewhere else, as those of Windows are.
fn is_foreign(raw: &RawDescriptor) -> bool {
    let media_type = raw.media_type.as_deref().unwrap_or_default();
    raw.urls.as_ref().is_some_and(|urls| !urls.is_empty())
        || media_type.contains("nondistributable")
        || media_type.contains("rootfs.foreign")
}

fn check_platform(
    name: &str,
    config: &Config,
    platform: Option<&RawPlatform>,
    report: &mut Report,
) {
    let Some(platform) = platform else {
        return;
    };
    let (Some(os), Some(architecture)) = (&platform.os, &platform.architecture) else {
        return;
    };
    let (Some(config_os), Some(config_architecture)) = (&config.os, &config.architecture) else {
        return;
    };
    // Many configs leave the variant out; only two that differ disagree.
    let variants = platform.variant.as_deref().zip(config.variant.as_deref());
    let expected = Platform::from_parts(os, architecture, variants.map(|both| both.0));
    let found = Platform::from_parts(config_os, config_architecture, variants.map(|both| both.1));
    if expected != found {
        let violation = Violation::new(ViolationKind::ConfigPlatform, name);
        report.add(violation.expected(expected).found(found));
    }
}
