//! A base image of a registry: fetched once, then found by its digest.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use imgbuild_oci::blob::BlobContent;
use imgbuild_oci::digest::Digest;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;
use imgbuild_oci::selection::{SelectedLayer, SelectionError, select_manifest};
use imgbuild_oci::source::{ManifestDescriptor, Source};
use imgbuild_oci::store::Store;
use imgbuild_registry::repository::{Manifest, Repository};
use imgbuild_release::base::{Base, BaseError, BaseOptions};
use imgbuild_release::closure;
use imgbuild_release::error::Error;
use serde::Deserialize;

use super::Request;
use super::shelf::{Shelf, ShelfBlob};
use crate::args::TRANSPORT;
use crate::commands::registry::failed_at;
use crate::failure::{Failure, Result};

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
    shelf: &'a Arc<Shelf>,
    store: Option<&'a Store>,
    named: &'a mut Option<Digest>,
    request: &'a Request<'a>,
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
    pub(super) fn new(
        (shelf, store, named): (&'a Arc<Shelf>, Option<&'a Store>, &'a mut Option<Digest>),
        request: &'a Request<'a>,
    ) -> Self {
        Self {
            shelf,
            store,
            named,
            request,
        }
    }

    /// Fetches what is missing of its documents, and of its layers if somebody
    /// has to look into them, and opens the image.
    pub(super) fn open(mut self) -> Result<(Base, Pin)> {
        let digest = self.resolve()?;
        let pin = self.pin(digest);
        if self.reference().digest().is_none() {
            self.request.ui.status(&format!("base: {}", pin.0));
        }
        let root = self.descriptor(digest)?;
        let mut platform = self.request.platform.cloned();
        let mut chosen = self.choose(&root, platform.as_ref())?;
        let is_undecided = matches!(chosen, Err(SelectionError::Several { .. }));
        if is_undecided && platform.is_none() {
            let request = self.request;
            platform = closure::release_platform(request.release, request.additions);
            if platform.is_some() {
                chosen = self.choose(&root, platform.as_ref())?;
            }
        }
        let manifest = chosen.map_err(|error| self.unusable(error.into()))?;
        let options = BaseOptions {
            tag: None,
            platform,
            name: self.name(),
        };
        let base = self.open_image(manifest.digest, &options)?;
        Ok((base, pin))
    }

    fn reference(&self) -> &'a Reference {
        self.shelf.reference()
    }

    /// Returns the digest of what is named, which a reference without one
    /// leaves to the registry.
    fn resolve(&mut self) -> Result<Digest> {
        if let Some(digest) = self.reference().digest().or(self.named.as_ref()) {
            return Ok(*digest);
        }
        let tag = self.reference().tag().unwrap_or_default();
        let found = self.read(tag)?;
        self.keep(&found.digest, &found.bytes)?;
        *self.named = Some(found.digest);
        Ok(found.digest)
    }

    fn read(&self, name: &str) -> Result<Manifest> {
        let found = self.repository()?.existing_manifest(name);
        found.map_err(|error| failed_at(self.reference(), error))
    }

    /// The name without a digest.
    fn name(&self) -> String {
        let reference = self.reference();
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
        let path = PathBuf::from(format!("{TRANSPORT}{}", self.reference()));
        let source = Box::new(source);
        Error::Base { path, source }.into()
    }

    fn repository(&self) -> Result<Repository> {
        self.shelf.repository()
    }

    fn keep(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let mut file = self.shelf.bases.new_file(digest).map_err(Failure::build)?;
        file.write_all(bytes).map_err(Failure::build)?;
        file.keep().map(drop).map_err(Failure::build)
    }

    /// Reads a manifest or an index, from here or from there.
    fn document(&mut self, digest: Digest) -> Result<Vec<u8>> {
        if let Some(bytes) = self.shelf.bases.document(&digest) {
            return Ok(bytes);
        }
        let found = self.read(&digest.to_string())?;
        self.keep(&digest, &found.bytes)?;
        Ok(found.bytes)
    }

    fn start(&mut self, digest: Digest) -> Result<(Start, u64)> {
        let bytes = self.document(digest)?;
        let start = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::build(format!(
                "the document {digest} of `{TRANSPORT}{}` is no manifest: {error}",
                self.reference()
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
            purpose: None,
        })
    }

    fn source(&self, root: &ManifestDescriptor) -> Source {
        let origin = self.shelf.origin();
        self.shelf.bases.source(root.clone(), origin)
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
        if self.shelf.bases.document(&config.digest).is_some() {
            return Ok(());
        }
        let bytes = self
            .repository()?
            .document_blob(&config.digest, config.size)?;
        self.keep(&config.digest, &bytes)
    }

    /// Opens the image of a manifest.
    fn open_image(&mut self, manifest: Digest, options: &BaseOptions) -> Result<Base> {
        self.fetch_config(manifest)?;
        let root = self.descriptor(manifest)?;
        let opened = Base::open(self.source(&root), options);
        let opened = opened.map_err(|error| self.unusable(error))?;
        let mut known: BTreeMap<Digest, Arc<dyn BlobContent>> = BTreeMap::new();
        let mut base = opened.with_contents(|layer| {
            let blob = || Arc::new(ShelfBlob::new(self.shelf, layer.digest, layer.size));
            Arc::clone(known.entry(layer.digest).or_insert_with(|| blob()))
        });
        if self.request.needs_files(&base) {
            self.look_into(&mut base)?;
        }
        Ok(base)
    }

    /// Finds out what lies where, at best without the layers. If one that was
    /// here already is damaged, all are fetched again, once.
    fn look_into(&self, base: &mut Base) -> Result<()> {
        if self.store.is_some_and(|store| base.recall_files(store)) {
            return Ok(());
        }
        let blob = |layer: &SelectedLayer| (layer.digest, layer.size);
        let blobs: Vec<(Digest, u64)> = base.layers().iter().map(blob).collect();
        let fetched = self.shelf.fetch(&blobs)?;
        let mut read = base.read_files(self.store, self.request.scratch);
        let was_here = fetched < blobs.len();
        if was_here && matches!(read, Err(BaseError::FileSystem(_))) {
            for (digest, _) in &blobs {
                self.shelf.bases.forget(digest);
            }
            self.shelf.fetch(&blobs)?;
            read = base.read_files(self.store, self.request.scratch);
        }
        read.map_err(|error| self.unusable(error))
    }
}
