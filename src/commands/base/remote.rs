//! A base image of a registry: fetched once, then found by its digest.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use imgbuild_oci::changeset::Member;
use imgbuild_oci::digest::Digest;
use imgbuild_oci::parcel::BlobOrigin;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;
use imgbuild_oci::selection::{SelectedImage, SelectedLayer, SelectionError, select_manifest};
use imgbuild_oci::source::{ManifestDescriptor, Source};
use imgbuild_oci::store::Bases;
use imgbuild_registry::repository::Repository;
use imgbuild_release::base::{Base, BaseError, BaseOptions};
use imgbuild_release::closure;
use imgbuild_release::error::Error;
use imgbuild_release::release::Release;
use serde::Deserialize;

use crate::commands::registry::{Access, PARALLEL_BLOBS, Registries, TRANSPORT};
use crate::failure::{Failure, Result};
use crate::ui::{Ui, bytes_text, count_text};

const INDEX_MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// How deep indexes may lie in each other.
const MAX_INDEX_DEPTH: usize = 3;

/// How many documents below an index are looked at: for their platform, where
/// the index does not say it.
const MAX_DOCUMENTS: usize = 64;

/// A base image by name and digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pin(pub(crate) String);

/// A base image of a registry, about to be opened.
pub(crate) struct Remote<'a> {
    reference: &'a Reference,
    registries: &'a mut Registries,
    named: &'a mut Option<Digest>,
    /// Reached when something of it is needed.
    repository: Option<Repository>,
    bases: &'a Bases,
    ui: &'a Ui,
}

/// What an index says of something below it.
#[derive(Deserialize)]
struct Child {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: Digest,
    platform: Option<serde_json::Value>,
}

/// What a manifest or an index begins with.
#[derive(Deserialize)]
struct Start {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    manifests: Option<Vec<Child>>,
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    digest: Digest,
    size: u64,
}

impl<'a> Remote<'a> {
    pub(crate) fn new(
        reference: &'a Reference,
        (registries, named): (&'a mut Registries, &'a mut Option<Digest>),
        bases: &'a Bases,
        ui: &'a Ui,
    ) -> Self {
        Self {
            reference,
            registries,
            named,
            repository: None,
            bases,
            ui,
        }
    }

    /// Fetches what is missing, and opens the image.
    pub(super) fn open(
        mut self,
        platform: Option<&Platform>,
        (release, additions): (&Release, &[Member]),
        scratch: &Path,
    ) -> Result<(Base, Pin)> {
        let digest = self.resolve()?;
        let pin = self.pin(digest);
        if self.reference.digest().is_none() {
            self.ui.status(&format!("base: {}", pin.0));
        }
        let root = self.descriptor(digest)?;
        let mut platform = platform.cloned();
        let mut chosen = self.choose(&root, platform.as_ref())?;
        let is_undecided = matches!(chosen, Err(SelectionError::Several { .. }));
        if is_undecided && platform.is_none() {
            platform = closure::release_platform(release, additions);
            if platform.is_some() {
                chosen = self.choose(&root, platform.as_ref())?;
            }
        }
        let manifest = chosen.map_err(|error| self.unusable(error.into()))?;
        let options = BaseOptions {
            tag: None,
            platform,
            name: self.name(),
            scratch: scratch.to_path_buf(),
        };
        let base = self.open_image(manifest.digest, &options)?;
        Ok((base, pin))
    }

    /// Returns the digest of what is named, which a reference without one
    /// leaves to the registry.
    fn resolve(&mut self) -> Result<Digest> {
        if let Some(digest) = self.reference.digest().or(self.named.as_ref()) {
            return Ok(*digest);
        }
        let tag = self.reference.tag().unwrap_or_default();
        let Some(found) = self.repository()?.manifest(tag)? else {
            return Err(self.missing());
        };
        self.keep(&found.digest, &found.bytes)?;
        *self.named = Some(found.digest);
        Ok(found.digest)
    }

    fn missing(&self) -> Failure {
        let failure = Failure::build(format!("there is no image `{}`", self.reference));
        failure
            .hint("see that repository and tag are right; what may not be seen is not found either")
    }

    /// The name without a digest.
    fn name(&self) -> String {
        let reference = self.reference;
        let tagged = reference.tag().and_then(|tag| reference.with_tag(tag));
        match tagged {
            Some(tagged) => tagged.to_string(),
            None => format!("{}/{}", reference.registry(), reference.repository()),
        }
    }

    fn pin(&self, digest: Digest) -> Pin {
        Pin(format!("{TRANSPORT}{}@{digest}", self.name()))
    }

    fn unusable(&self, source: BaseError) -> Failure {
        let path = PathBuf::from(format!("{TRANSPORT}{}", self.reference));
        let source = Box::new(source);
        Error::Base { path, source }.into()
    }

    fn repository(&mut self) -> Result<&Repository> {
        let repository = match self.repository.take() {
            Some(repository) => repository,
            None => self.registries.repository(self.reference, Access::Pull)?,
        };
        Ok(self.repository.insert(repository))
    }

    fn keep(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let mut file = self.bases.new_file(digest).map_err(Failure::build)?;
        file.write_all(bytes).map_err(Failure::build)?;
        file.keep().map_err(Failure::build)
    }

    /// Reads a manifest or an index, from here or from there.
    fn document(&mut self, digest: Digest) -> Result<Vec<u8>> {
        if let Some(bytes) = self.bases.document(&digest) {
            return Ok(bytes);
        }
        let Some(found) = self.repository()?.manifest(&digest.to_string())? else {
            return Err(self.missing());
        };
        self.keep(&digest, &found.bytes)?;
        Ok(found.bytes)
    }

    fn start(&mut self, digest: Digest) -> Result<(Start, u64)> {
        let bytes = self.document(digest)?;
        let start = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::build(format!(
                "the document {digest} of `{TRANSPORT}{}` is no manifest: {error}",
                self.reference
            ))
        })?;
        Ok((start, bytes.len() as u64))
    }

    fn descriptor(&mut self, digest: Digest) -> Result<ManifestDescriptor> {
        let (start, size) = self.start(digest)?;
        let default = match start.manifests {
            Some(_) => INDEX_MEDIA_TYPE,
            None => MANIFEST_MEDIA_TYPE,
        };
        Ok(ManifestDescriptor {
            media_type: start.media_type.unwrap_or_else(|| default.to_owned()),
            digest,
            size,
            annotations: std::sync::Arc::default(),
            platform: None,
        })
    }

    fn source(&self, root: &ManifestDescriptor) -> Source {
        let origin = BlobOrigin {
            registry: self.reference.registry().to_owned(),
            repository: self.reference.repository().to_owned(),
        };
        self.bases.source(root.clone(), origin)
    }

    /// Finds the image that is meant, as in a layout.
    fn choose(
        &mut self,
        root: &ManifestDescriptor,
        platform: Option<&Platform>,
    ) -> Result<std::result::Result<ManifestDescriptor, SelectionError>> {
        let mut left = MAX_DOCUMENTS;
        self.fetch_below(root.digest, MAX_INDEX_DEPTH, &mut left)?;
        Ok(select_manifest(&self.source(root), platform))
    }

    /// Fetches what is needed to choose from an index: indexes below it, and
    /// what is of a platform that no index says.
    fn fetch_below(&mut self, digest: Digest, depth: usize, left: &mut usize) -> Result<()> {
        let (start, _) = self.start(digest)?;
        let children = start.manifests.unwrap_or_default();
        let is_only_one = children.len() == 1;
        for child in children {
            let is_index = child.media_type.contains("index") || child.media_type.contains("list");
            let is_silent = child.platform.is_none() && !is_only_one;
            if !(is_index || is_silent) || depth == 0 || *left == 0 {
                continue;
            }
            *left -= 1;
            match is_index {
                true => self.fetch_below(child.digest, depth - 1, left)?,
                false => self.fetch_config(child.digest)?,
            }
        }
        Ok(())
    }

    /// Fetches the configuration of a manifest.
    fn fetch_config(&mut self, manifest: Digest) -> Result<()> {
        let Some(config) = self.start(manifest)?.0.config else {
            return Ok(());
        };
        if self.bases.document(&config.digest).is_some() {
            return Ok(());
        }
        let bytes = self
            .repository()?
            .document_blob(&config.digest, config.size)?;
        self.keep(&config.digest, &bytes)
    }

    /// Opens the image of a manifest. If a layer that was here already is
    /// damaged, all are fetched again, once.
    fn open_image(&mut self, manifest: Digest, options: &BaseOptions) -> Result<Base> {
        self.fetch_config(manifest)?;
        let root = self.descriptor(manifest)?;
        let selected = SelectedImage::select(&self.source(&root), None, options.platform.as_ref());
        let selected = selected.map_err(|error| self.unusable(error.into()))?;
        let fetched = self.fetch_layers(&selected.layers)?;
        let mut opened = Base::open(self.source(&root), options);
        let was_here = fetched < selected.layers.len();
        if was_here && matches!(opened, Err(BaseError::FileSystem(_))) {
            for layer in &selected.layers {
                self.bases.forget(&layer.digest);
            }
            self.fetch_layers(&selected.layers)?;
            opened = Base::open(self.source(&root), options);
        }
        opened.map_err(|error| self.unusable(error))
    }

    /// Fetches the layers that are not here, several at a time, and returns
    /// how many.
    fn fetch_layers(&mut self, layers: &[SelectedLayer]) -> Result<usize> {
        let mut missing: Vec<(Digest, u64)> = Vec::new();
        for layer in layers {
            let blob = (layer.digest, layer.size);
            if !missing.contains(&blob) && !self.bases.has(&layer.digest, layer.size) {
                missing.push(blob);
            }
        }
        if missing.is_empty() {
            return Ok(0);
        }
        let bytes = missing.iter().map(|(_, size)| size).sum();
        let (count, size) = (count_text(missing.len(), "layer"), bytes_text(bytes));
        self.ui
            .status(&format!("fetching {count} of the base image, {size}"));
        let bases = self.bases;
        fetch(self.repository()?, bases, &missing)?;
        Ok(missing.len())
    }
}

/// Fetches blobs; the first failure ends them all.
fn fetch(repository: &Repository, bases: &Bases, blobs: &[(Digest, u64)]) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let run = || {
        while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = fetch_one(repository, bases, *blob) {
                next.store(blobs.len(), Ordering::Relaxed);
                let mut failure = failure.lock().expect("no holder of the lock panics");
                failure.get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..PARALLEL_BLOBS.min(blobs.len()) {
            scope.spawn(run);
        }
        run();
    });
    let failure = failure.into_inner().expect("no holder of the lock panics");
    failure.map_or(Ok(()), Err)
}

fn fetch_one(repository: &Repository, bases: &Bases, (digest, size): (Digest, u64)) -> Result<()> {
    let mut file = bases.new_file(&digest).map_err(Failure::build)?;
    repository.read_blob(&digest, size, &mut file)?;
    file.keep().map_err(Failure::build)
}
