//! Layers that may be used again: a store of earlier builds, and images or
//! stores that the user names. Layers are looked up in `layer/reuse.rs`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::digest::{DiffId, Digest};
use crate::document::{RawConfig, RawDocument};
use crate::source::{Source, SourceBlob, SourceError, SourceName, StreamFormat, parse_document};
use crate::store::Store;

mod image;

pub(crate) use image::CandidateLayers;
pub use image::{LayerCandidate, RemoteLayers};

/// Everything that may be used again instead of being made.
#[derive(Debug, Clone, Default)]
pub struct Cache {
    /// The store of earlier builds on this machine.
    pub store: Option<Arc<Store>>,
    /// Images and stores that the user named, in the order in which they are
    /// searched.
    pub sources: Vec<Arc<CacheSource>>,
    /// True if a layer is recognized by its bytes only, never by the states of
    /// its files.
    pub reads_contents: bool,
}

/// An image, or a store, whose compressed layers may be used again.
#[derive(Debug)]
pub struct CacheSource {
    name: String,
    pub(crate) kind: CacheKind,
}

#[derive(Debug)]
pub(crate) enum CacheKind {
    Image(CandidateLayers),
    Store(Store),
}

impl Cache {
    /// Adds sources, to be searched last.
    pub fn add_sources(&mut self, sources: Vec<CacheSource>) {
        self.sources.extend(sources.into_iter().map(Arc::new));
    }
}

impl CacheSource {
    /// Opens a layout, an archive, a directory of blobs, or a store. An archive
    /// that is compressed as a whole is decompressed to a file without a name in
    /// `scratch`.
    ///
    /// # Errors
    ///
    /// When `name` is not one of these, or cannot be read.
    pub fn open(name: &SourceName, scratch: &Path) -> Result<Self, SourceError> {
        let shown = name.path().display().to_string();
        if name.transport.is_none()
            && let Some(store) = Store::open_read_only(name.path())
        {
            let kind = CacheKind::Store(store);
            return Ok(Self { name: shown, kind });
        }
        let source = match name.open(scratch) {
            Err(error @ SourceError::NotAnImage(_)) => {
                Source::open_blobs(name.path()).ok_or(error)?
            }
            source => source?,
        };
        let source = Arc::new(source);
        // A manifest that cannot be read does not hide the others.
        let layers = manifests(&source)?
            .into_iter()
            .filter_map(|manifest| layers_of(&source, manifest).ok());
        let kind = CacheKind::Image(CandidateLayers::local(layers.flatten()));
        Ok(Self { name: shown, kind })
    }

    /// Takes the layers of an image in a registry. `by_descriptor` is true if the
    /// new image goes to registries only, so that their bytes are not needed.
    #[must_use]
    pub fn of_layers(name: String, layers: RemoteLayers, by_descriptor: bool) -> Self {
        let kind = CacheKind::Image(CandidateLayers::remote(layers, by_descriptor));
        Self { name, kind }
    }

    /// Returns the number of compressed layers; `None` for a store, which is not
    /// searched before it is needed.
    #[must_use]
    pub fn layers(&self) -> Option<usize> {
        match &self.kind {
            CacheKind::Image(image) => Some(image.count()),
            CacheKind::Store(_) => None,
        }
    }

    /// Returns whether it is worth the time to hash a tar of this size.
    pub(crate) fn may_have(&self, shape: Digest, tar_size: u64) -> bool {
        match &self.kind {
            CacheKind::Image(image) => image.may_have(tar_size),
            CacheKind::Store(store) => store.knows(shape),
        }
    }
}

impl fmt::Display for CacheSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// Returns the manifests of the index; without one, every blob may be a
/// manifest.
fn manifests(source: &Source) -> Result<Vec<Digest>, SourceError> {
    let listed = source.manifests()?;
    if !listed.is_empty() {
        return Ok(listed.iter().map(|manifest| manifest.digest).collect());
    }
    let names = source.blob_names()?.into_iter();
    let digests = names.filter_map(|name| format!("sha256:{name}").parse().ok());
    Ok(digests.collect())
}

/// Pairs the layers of a manifest with the diff IDs of its config.
fn layers_of(source: &Arc<Source>, manifest: Digest) -> Result<Vec<LayerCandidate>, SourceError> {
    let document: RawDocument =
        parse_document(&manifest.to_string(), &source.read_blob(&manifest)?)?;
    let config = document.config.as_ref();
    let Some(config) = config.and_then(|config| config.digest().ok()) else {
        return Ok(Vec::new());
    };
    let config: RawConfig = parse_document(&config.to_string(), &source.read_blob(&config)?)?;
    let diff_ids = config.rootfs.and_then(|rootfs| rootfs.diff_ids);
    let diff_ids = diff_ids.unwrap_or_default();
    let layers = document.layers.unwrap_or_default();
    if diff_ids.len() != layers.len() {
        return Ok(Vec::new());
    }
    let pairs = diff_ids.iter().zip(&layers);
    Ok(pairs
        .filter_map(|(diff_id, layer)| {
            let media_type = layer.media_type.as_deref()?;
            let digest = layer.digest().ok()?;
            let is_gzip = StreamFormat::of_media_type(media_type) == Some(StreamFormat::Gzip);
            let blob = is_gzip.then(|| source.blob(&digest).ok())??;
            Some(LayerCandidate {
                diff_id: DiffId::from_tar_digest(diff_id.parse().ok()?),
                digest,
                size: blob.size(),
                trailer: Some(blob.last_bytes()?),
                content: Arc::new(SourceBlob::new(source, digest)),
            })
        })
        .collect())
}
