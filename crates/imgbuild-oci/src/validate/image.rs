//! The OCI half: from `index.json` to configurations and layers.

use std::collections::{BTreeMap, BTreeSet};

use super::Report;
use super::document::{self, DocumentSource, check_config, check_descriptor, check_size};
use super::layer_use::LayerUse;
use crate::digest::Digest;
use crate::document::{
    CONTAINERD_NAME, Descriptor, MAX_INDEX_DEPTH, MAX_MANIFESTS, RawConfig, RawDescriptor,
    RawDocument, RawLayoutMark, RawPlatform, blob_name,
};
use crate::image::Image;
use crate::media_type::{self, is_config, is_index, is_manifest, is_schema_1};
use crate::platform::Platform;
use crate::selection::IndexPart;
use crate::source::Source;
use crate::violation::{Violation, ViolationKind};

/// The version that all readers want, and the only one there is.
const LAYOUT_VERSION: &str = "1.0.0";

/// The number of indexes whose absent images are listed.
const MAX_PARTS: usize = 16;

/// The images that `index.json` leads to.
#[derive(Debug, Default)]
pub(super) struct OciHalf {
    /// Every image manifest, once, by its digest.
    pub(super) images: BTreeMap<Digest, OciImage>,
    /// Manifests that are not those of images.
    artifacts: BTreeMap<Digest, OciImage>,
    /// The descriptors of `index.json`.
    pub(super) roots: Vec<Root>,
    /// True if there is an index, and everything that it leads to was read.
    pub(super) is_complete: bool,
}

/// One descriptor of `index.json`.
#[derive(Debug)]
pub(super) struct Root {
    /// The name that it gives to its images.
    pub(super) name: Option<String>,
    /// The manifests of the images that it leads to.
    pub(super) images: BTreeSet<Digest>,
}

/// One image manifest.
#[derive(Debug)]
pub(super) struct OciImage {
    pub(super) config: Digest,
    pub(super) layers: Vec<LayerUse>,
}

impl OciHalf {
    /// Returns a manifest with this config, and all names that lead to it.
    pub(super) fn find(&self, config: Digest) -> Option<(&OciImage, BTreeSet<&String>)> {
        let has_config =
            |digest: &Digest| self.images.get(digest).filter(|one| one.config == config);
        let first = self.images.keys().find_map(has_config)?;
        let leads_here = |root: &&Root| root.images.iter().any(|one| has_config(one).is_some());
        let names = self.roots.iter().filter(leads_here);
        Some((first, names.filter_map(|root| root.name.as_ref()).collect()))
    }

    pub(super) fn layers(&self) -> impl Iterator<Item = &LayerUse> {
        let all = self.images.values().chain(self.artifacts.values());
        all.flat_map(|image| &image.layers)
    }
}

/// Reads the OCI half, if the source has one.
pub(super) fn walk(source: &Source, report: &mut Report) -> OciHalf {
    let has = |name| !matches!(source.member(name), Ok(None));
    if !has("oci-layout") && !has("index.json") {
        return OciHalf::default();
    }
    check_layout_mark(source, report);
    let mut walk = ImageWalk::new(source, report);
    walk.half.is_complete = true;
    walk.read_root();
    walk.half
}

/// Reads an image from its root.
pub(super) fn walk_image(image: &Image, report: &mut Report) -> OciHalf {
    let root = image.root();
    let raw = RawDescriptor {
        media_type: Some(root.media_type.clone()),
        digest: Some(root.digest.to_string()),
        size: i64::try_from(root.bytes.len()).ok(),
        ..RawDescriptor::default()
    };
    let mut walk = ImageWalk::new(image, report);
    walk.visit("the image", &raw, 1);
    walk.half
}

fn check_layout_mark(source: &Source, report: &mut Report) {
    let name = "oci-layout";
    let mark = document::read(source, name, report)
        .and_then(|bytes| document::parse::<RawLayoutMark>(name, &bytes, report));
    if let Some(mark) = mark {
        let version = mark.image_layout_version.unwrap_or_default();
        let (expected, found) = (format!("`{LAYOUT_VERSION}`"), format!("`{version}`"));
        report.compare(ViolationKind::LayoutVersion, name, expected, found);
    }
}

struct ImageWalk<'a> {
    source: &'a dyn DocumentSource,
    report: &'a mut Report,
    half: OciHalf,
    visited: usize,
}

impl<'a> ImageWalk<'a> {
    fn new(source: &'a dyn DocumentSource, report: &'a mut Report) -> Self {
        Self {
            source,
            report,
            half: OciHalf::default(),
            visited: 0,
        }
    }

    fn read_root(&mut self) {
        let name = "index.json";
        let index = document::read(self.source, name, self.report)
            .and_then(|bytes| self.parse(name, &bytes, media_type::INDEX));
        let Some(index) = index else {
            self.half.is_complete = false;
            return;
        };
        self.read_index(name, &index, 0);
    }

    /// Follows a descriptor of an index, and returns the images that it leads
    /// to.
    fn visit(&mut self, subject: &str, raw: &RawDescriptor, depth: usize) -> BTreeSet<Digest> {
        self.visited += 1;
        if self.visited > MAX_MANIFESTS || depth > MAX_INDEX_DEPTH {
            self.half.is_complete = false;
            let kind = ViolationKind::TooManyDocuments;
            self.report.add(Violation::new(kind, "index.json"));
            return BTreeSet::new();
        }
        let found = check_descriptor(subject, raw, self.report)
            .and_then(|descriptor| self.visit_valid(&descriptor, raw, depth));
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
    ) -> Option<BTreeSet<Digest>> {
        let name = blob_name(&descriptor.digest);
        let is_manifest = is_manifest(&descriptor.media_type);
        let is_image = self.half.images.contains_key(&descriptor.digest);
        if is_image || self.half.artifacts.contains_key(&descriptor.digest) {
            let size = self.source.size(&name).ok().flatten()?;
            check_size(&name, descriptor.size, size, self.report);
            return Some(is_image.then_some(descriptor.digest).into_iter().collect());
        }
        if !is_manifest && !is_index(&descriptor.media_type) {
            // Readers skip what they do not know; its bytes must be right.
            self.check_unknown(&name, descriptor);
            return Some(BTreeSet::new());
        }
        let bytes = document::read_blob(self.source, &name, descriptor, self.report)?;
        let document = self.parse(&name, &bytes, &descriptor.media_type)?;
        if is_manifest {
            let artifact = document.artifact().or_else(|| descriptor.artifact.clone());
            let platform = Some(raw.platform.as_ref()).filter(|_| artifact.is_none());
            let image = self.read_image(&name, document, platform)?;
            let Some(artifact) = artifact else {
                self.half.images.insert(descriptor.digest, image);
                return Some(BTreeSet::from([descriptor.digest]));
            };
            self.report.add_artifact(&artifact);
            self.half.artifacts.insert(descriptor.digest, image);
            return Some(BTreeSet::new());
        }
        Some(self.read_index(&name, &document, depth))
    }

    /// Follows the descriptors of an index, which is `index.json` at depth 0. Images may
    /// be absent beside others.
    fn read_index(&mut self, name: &str, index: &RawDocument, depth: usize) -> BTreeSet<Digest> {
        let mut found = BTreeSet::new();
        let mut part = IndexPart::default();
        let mut absent = Vec::new();
        for (place, raw) in index.manifests.iter().flatten().enumerate() {
            let subject = format!("{name} manifests[{place}]");
            if let Ok(descriptor) = raw.clone().complete() {
                let size = self.source.size(&blob_name(&descriptor.digest));
                let is_here = !matches!(size, Ok(None));
                part.add(&descriptor, is_here);
                if !is_here {
                    absent.push((subject, raw));
                    continue;
                }
            }
            let mut images = self.visit(&subject, raw, depth + 1);
            if depth == 0 {
                let annotations = raw.annotations.as_ref();
                let name = annotations.and_then(|all| all.get(CONTAINERD_NAME).cloned());
                let images = images.clone();
                self.half.roots.push(Root { name, images });
            }
            found.append(&mut images);
        }
        if found.is_empty() {
            for (subject, raw) in absent {
                self.visit(&subject, raw, depth + 1);
            }
        } else if !part.is_whole() && self.report.parts.len() < MAX_PARTS {
            self.report.parts.push(part);
        }
        found
    }

    /// Compares the size; the digest is compared with all blobs' names.
    fn check_unknown(&mut self, name: &str, descriptor: &Descriptor) {
        let report = &mut *self.report;
        if is_schema_1(&descriptor.media_type) {
            report.add(Violation::new(ViolationKind::ManifestSchema, name));
        }
        report.add_artifact(&descriptor.media_type);
        let kind = ViolationKind::Unreadable;
        match self.source.size(name) {
            Ok(Some(size)) => check_size(name, descriptor.size, size, report),
            Ok(None) => report.add(Violation::new(ViolationKind::BlobMissing, name)),
            Err(error) => report.add(Violation::of_error(kind, name, &error)),
        }
    }

    fn parse(&mut self, name: &str, bytes: &[u8], media_type: &str) -> Option<RawDocument> {
        let report = &mut *self.report;
        let document: RawDocument = document::parse(name, bytes, report)?;
        let version = document.schema_version;
        let version = version.map_or("none".to_owned(), |version| version.to_string());
        report.compare(ViolationKind::DocumentVersion, name, "2", &version);
        if let Some(found) = &document.media_type {
            let (expected, found) = (format!("`{media_type}`"), format!("`{found}`"));
            report.compare(ViolationKind::DocumentMediaType, name, expected, found);
        }
        Some(document)
    }

    /// Reads a manifest; `platform` is that of its descriptor, or `None` for an
    /// artifact.
    fn read_image(
        &mut self,
        name: &str,
        manifest: RawDocument,
        platform: Option<Option<&RawPlatform>>,
    ) -> Option<OciImage> {
        let report = &mut *self.report;
        let (Some(config), Some(layers)) = (&manifest.config, &manifest.layers) else {
            let field = manifest.config.map_or("config", |_| "layers");
            let violation = Violation::new(ViolationKind::ManifestIncomplete, name);
            report.add(violation.found(format_args!("`{field}` is missing or null")));
            return None;
        };
        let config = check_descriptor(&format!("{name} config"), config, report);
        let diff_ids = config.as_ref().and_then(|config| {
            let config_name = blob_name(&config.digest);
            let bytes = document::read_blob(self.source, &config_name, config, report)?;
            let platform = platform.filter(|_| is_config(&config.media_type))?;
            let config: RawConfig = document::parse(&config_name, &bytes, report)?;
            check_platform(&config_name, &config, platform, report);
            let count = layers.len();
            Some(check_config(&config_name, &config, count, report))
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
            layers: uses,
        })
    }
}

/// Returns true for a layer that may be elsewhere, such as those of Windows.
fn is_foreign(raw: &RawDescriptor) -> bool {
    let media_type = raw.media_type.as_deref().unwrap_or_default();
    raw.urls.as_ref().is_some_and(|urls| !urls.is_empty())
        || media_type.contains("nondistributable")
        || media_type.contains("rootfs.foreign")
}

fn check_platform(
    name: &str,
    config: &RawConfig,
    platform: Option<&RawPlatform>,
    report: &mut Report,
) {
    // Many configs leave the variant out; only two that differ disagree.
    let both = platform.into_iter().chain([&config.platform]);
    let has_variants = both.clone().all(|one| one.variant.is_some());
    let both: Option<Vec<Platform>> = both
        .map(|one| {
            let variant = one.variant.as_deref().filter(|_| has_variants);
            Some(Platform::from_parts(
                one.os.as_ref()?,
                one.architecture.as_ref()?,
                variant,
            ))
        })
        .collect();
    if let Some([expected, found]) = both.as_deref() {
        report.compare(ViolationKind::ConfigPlatform, name, expected, found);
    }
}
