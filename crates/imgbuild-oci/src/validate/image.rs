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
        let mut found = self
            .images
            .iter()
            .filter(|(_, image)| image.config == config)
            .peekable();
        let (_, first) = *found.peek()?;
        let manifests: Vec<&Digest> = found.map(|(digest, _)| digest).collect();
        let leads_here = |root: &&Root| manifests.iter().any(|digest| root.images.contains(digest));
        let names = self
            .roots
            .iter()
            .filter(leads_here)
            .filter_map(|root| root.name.as_ref());
        Some((first, names.collect()))
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
    let mut walk = ImageWalk {
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

/// Reads an image from its root.
pub(super) fn walk_image(image: &Image, report: &mut Report) -> OciHalf {
    let root = image.root();
    let raw = RawDescriptor {
        media_type: Some(root.media_type.clone()),
        digest: Some(root.digest.to_string()),
        size: i64::try_from(root.bytes.len()).ok(),
        ..RawDescriptor::default()
    };
    let mut walk = ImageWalk {
        source: image,
        half: OciHalf::default(),
        visited: 0,
    };
    walk.visit("the image", &raw, 1, report);
    walk.half
}

fn check_layout_mark(source: &Source, report: &mut Report) {
    let name = "oci-layout";
    let Some(bytes) = document::read(source, name, report) else {
        return;
    };
    let Some(mark) = document::parse::<RawLayoutMark>(name, &bytes, report) else {
        return;
    };
    let version = mark.image_layout_version.unwrap_or_default();
    let expected = format!("`{LAYOUT_VERSION}`");
    report.compare(
        ViolationKind::LayoutVersion,
        name,
        expected,
        format!("`{version}`"),
    );
}

struct ImageWalk<'a> {
    source: &'a dyn DocumentSource,
    half: OciHalf,
    visited: usize,
}

impl ImageWalk<'_> {
    fn read_root(&mut self, report: &mut Report) {
        let name = "index.json";
        let index = document::read(self.source, name, report)
            .and_then(|bytes| self.parse(name, &bytes, media_type::INDEX, report));
        let Some(index) = index else {
            self.half.is_complete = false;
            return;
        };
        for (place, raw) in index.manifests.iter().flatten().enumerate() {
            let subject = format!("{name} manifests[{place}]");
            let annotations = raw.annotations.as_ref();
            let name = annotations
                .and_then(|all| all.get(CONTAINERD_NAME))
                .cloned();
            let images = self.visit(&subject, raw, 1, report);
            self.half.roots.push(Root { name, images });
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
            report.add(Violation::new(
                ViolationKind::TooManyDocuments,
                "index.json",
            ));
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
        let is_manifest = is_manifest(&descriptor.media_type);
        let is_image = self.half.images.contains_key(&descriptor.digest);
        if is_image || self.half.artifacts.contains_key(&descriptor.digest) {
            let size = self.source.size(&name).ok().flatten()?;
            check_size(&name, descriptor.size, size, report);
            return Some(is_image.then_some(descriptor.digest).into_iter().collect());
        }
        if !is_manifest && !is_index(&descriptor.media_type) {
            // Readers skip what they do not know; its bytes must be right.
            self.check_unknown(&name, descriptor, report);
            return Some(BTreeSet::new());
        }
        let bytes = document::read_blob(self.source, &name, descriptor, report)?;
        let document = self.parse(&name, &bytes, &descriptor.media_type, report)?;
        if is_manifest {
            let artifact = document.artifact().or_else(|| descriptor.artifact.clone());
            let platform = Some(raw.platform.as_ref()).filter(|_| artifact.is_none());
            let image = self.read_image(&name, document, platform, report)?;
            let Some(artifact) = artifact else {
                self.half.images.insert(descriptor.digest, image);
                return Some(BTreeSet::from([descriptor.digest]));
            };
            report.add_artifact(&artifact);
            self.half.artifacts.insert(descriptor.digest, image);
            return Some(BTreeSet::new());
        }
        Some(self.read_index(&name, &document, depth, report))
    }

    /// Follows the descriptors of an index. Images may be absent beside others.
    fn read_index(
        &mut self,
        name: &str,
        index: &RawDocument,
        depth: usize,
        report: &mut Report,
    ) -> BTreeSet<Digest> {
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
            found.append(&mut self.visit(&subject, raw, depth + 1, report));
        }
        if found.is_empty() {
            for (subject, raw) in absent {
                self.visit(&subject, raw, depth + 1, report);
            }
        } else if !part.is_whole() && report.parts.len() < MAX_PARTS {
            report.parts.push(part);
        }
        found
    }

    /// Compares the size; the digest is compared with all blobs' names.
    fn check_unknown(&self, name: &str, descriptor: &Descriptor, report: &mut Report) {
        if is_schema_1(&descriptor.media_type) {
            report.add(Violation::new(ViolationKind::ManifestSchema, name));
        }
        report.add_artifact(&descriptor.media_type);
        match self.source.size(name) {
            Ok(Some(size)) => check_size(name, descriptor.size, size, report),
            Ok(None) => report.add(Violation::new(ViolationKind::BlobMissing, name)),
            Err(error) => {
                report.add(Violation::of_error(ViolationKind::Unreadable, name, &error));
            }
        }
    }

    fn parse(
        &self,
        name: &str,
        bytes: &[u8],
        media_type: &str,
        report: &mut Report,
    ) -> Option<RawDocument> {
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
        &self,
        name: &str,
        manifest: RawDocument,
        platform: Option<Option<&RawPlatform>>,
        report: &mut Report,
    ) -> Option<OciImage> {
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
            Some(check_config(
                &config_name,
                &bytes,
                &config,
                layers.len(),
                report,
            ))
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
    let Some(platform) = platform else {
        return;
    };
    let (Some(os), Some(architecture)) = (&platform.os, &platform.architecture) else {
        return;
    };
    let (Some(config_os), Some(config_architecture)) =
        (&config.platform.os, &config.platform.architecture)
    else {
        return;
    };
    // Many configs leave the variant out; only two that differ disagree.
    let variants = platform
        .variant
        .as_deref()
        .zip(config.platform.variant.as_deref());
    let expected = Platform::from_parts(os, architecture, variants.map(|both| both.0));
    let found = Platform::from_parts(config_os, config_architecture, variants.map(|both| both.1));
    report.compare(ViolationKind::ConfigPlatform, name, expected, found);
}
