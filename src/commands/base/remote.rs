//! A base image of a registry: fetched once, then found by its digest.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use imgbuild_oci::blob::BlobContent;
use imgbuild_oci::digest::Digest;
use imgbuild_oci::document::{Descriptor, Document, RawDocument};
use imgbuild_oci::media_type::{self, is_index, is_manifest};
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;
use imgbuild_oci::selection::{ImageCandidate, SelectedLayer, SelectionError, select};
use imgbuild_oci::source::Source;
use imgbuild_oci::store::Store;
use imgbuild_registry::repository::Repository;
use imgbuild_release::base::{Base, BaseError, BaseOptions};
use imgbuild_release::closure;
use imgbuild_release::error::Error;

use super::Request;
use super::shelf::{Shelf, ShelfBlob};
use crate::args::TRANSPORT;
use crate::commands::registry::failed_at;
use crate::failure::{Failure, Result};

/// The number of indexes and configurations below an index that are read:
/// configurations for their platform, where the index does not have it.
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
        let base = self.open_image(manifest.document.digest, &options)?;
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

    fn read(&self, name: &str) -> Result<Document> {
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

    /// Reads a manifest or an index; also returns its size in bytes.
    fn parsed(&mut self, digest: Digest) -> Result<(RawDocument, u64)> {
        let bytes = self.document(digest)?;
        let parsed = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::build(format!(
                "the document {digest} of `{TRANSPORT}{}` is not a manifest: {error}",
                self.reference()
            ))
        })?;
        Ok((parsed, bytes.len() as u64))
    }

    fn descriptor(&mut self, digest: Digest) -> Result<Descriptor> {
        let (document, size) = self.parsed(digest)?;
        let default = match document.manifests {
            Some(_) => media_type::INDEX,
            None => media_type::MANIFEST,
        };
        Ok(Descriptor {
            media_type: document.media_type.unwrap_or_else(|| default.to_owned()),
            digest,
            size,
            annotations: Arc::default(),
            platform: None,
        })
    }

    fn source(&self, root: &Descriptor) -> Source {
        let origin = self.shelf.origin();
        self.shelf.bases.source(root.clone(), origin)
    }

    /// Chooses the image for a platform, as in a layout.
    fn choose(
        &mut self,
        root: &Descriptor,
        platform: Option<&Platform>,
    ) -> Result<std::result::Result<ImageCandidate, SelectionError>> {
        // The root is one of them, and was read before.
        let mut left = MAX_DOCUMENTS + 1;
        let chosen = select(vec![root.clone()], None, platform, &mut |descriptor| {
            let is_manifest = is_manifest(&descriptor.media_type);
            if !is_manifest {
                left = left.checked_sub(1).ok_or(io::ErrorKind::NotFound)?;
            }
            let bytes = if is_manifest || is_index(&descriptor.media_type) {
                self.document(descriptor.digest)
            } else {
                self.config(descriptor.digest, descriptor.size)
            };
            bytes.map_err(io::Error::other)
        });
        match chosen {
            Err(SelectionError::Read { digest, source }) => match source.downcast::<Failure>() {
                Ok(failure) => Err(failure),
                Err(source) => Ok(Err(SelectionError::Read { digest, source })),
            },
            chosen => Ok(chosen),
        }
    }

    /// Reads a configuration, from here or from there.
    fn config(&mut self, digest: Digest, size: u64) -> Result<Vec<u8>> {
        if let Some(bytes) = self.shelf.bases.document(&digest) {
            return Ok(bytes);
        }
        let bytes = self.repository()?.document_blob(&digest, size)?;
        self.keep(&digest, &bytes)?;
        Ok(bytes)
    }

    /// Fetches the configuration of a manifest.
    fn fetch_config(&mut self, manifest: Digest) -> Result<()> {
        let config = self.parsed(manifest)?.0.config.unwrap_or_default();
        if let (Ok(digest), Ok(size)) = (config.digest(), config.size()) {
            self.config(digest, size)?;
        }
        Ok(())
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
