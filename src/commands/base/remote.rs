//! A base image of a registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_oci::blob::BlobContent;
use imgbuild_oci::cache::Cache;
use imgbuild_oci::digest::Digest;
use imgbuild_oci::reference::Reference;
use imgbuild_oci::selection::SelectedLayer;
use imgbuild_oci::store::Store;
use imgbuild_registry::cached::{RemoteImage, RemoteImageError};
use imgbuild_release::base::{Base, BaseError, BaseOptions};
use imgbuild_release::error::Error;

use super::Request;
use crate::args::{BuildArguments, TRANSPORT};
use crate::commands::cache;
use crate::commands::registry::{self, Access, Registries, failed_at};
use crate::failure::{Failure, Result};
use crate::progress::Work;
use crate::ui::Ui;

/// The name of a base image with its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pin(pub(crate) String);

/// A base image of a registry, and the clients for registries. Without a cache,
/// its layers are in a temporary directory, which is removed on drop.
pub(crate) struct RemoteBase {
    image: Arc<RemoteImage>,
    store: Option<Arc<Store>>,
    /// The clients: layers of the base image may still be downloaded while the
    /// image is written.
    pub(crate) registries: Registries,
}

impl RemoteBase {
    /// Prepares to read the base image; `None` if it is not in a registry.
    pub(crate) fn prepare(
        arguments: &BuildArguments,
        targets: &[Reference],
        cache: &Cache,
        scratch: &Path,
        ui: &Ui,
    ) -> Result<Option<Self>> {
        let Some(reference) = arguments.base.reference() else {
            return Ok(None);
        };
        let registries = registry::connect(&arguments.registry, targets, arguments.sources(), ui)?;
        let (bases, store) = cache::open_bases(cache, arguments, scratch, ui)?;
        let (clients, name) = (registries.clone(), reference.clone());
        let connect = move || Ok(clients.clone().repository(&name, Access::Pull)?);
        let monitor = registries.monitor();
        Ok(Some(Self {
            image: Arc::new(RemoteImage::new(
                reference,
                bases,
                monitor,
                Box::new(connect),
            )),
            store,
            registries,
        }))
    }

    /// Downloads the documents of the base image, and its layers if their files
    /// are needed, and opens it.
    pub(super) fn open(&self, request: &Request<'_>) -> Result<(Base, Pin)> {
        let name = self.name();
        let digest = self.image.digest().map_err(|error| self.failed(error))?;
        let pin = Pin(format!("{TRANSPORT}{name}@{digest}"));
        if self.image.reference().digest().is_none() {
            request.ui.status(&format!("base: {}", pin.0));
        }

        let mut platform = request.platform.cloned();
        let mut selected = self.image.select(platform.as_ref());
        if let Err(RemoteImageError::Selection(error)) = &selected
            && let Some(of_programs) = request.platform_of_programs(error)
        {
            selected = self.image.select(Some(&of_programs));
            platform = Some(of_programs);
        }
        let source = selected.and_then(|manifest| self.image.source(manifest));
        let source = source.map_err(|error| self.failed(error))?;
        let options = BaseOptions {
            tag: None,
            platform,
            name,
        };
        let opened = Base::open(source, &options).map_err(|error| self.unusable(error))?;

        let mut blobs: BTreeMap<Digest, Arc<dyn BlobContent>> = BTreeMap::new();
        let mut base = opened.with_contents(|layer| {
            let blob = || Arc::new(self.image.blob(layer.digest, layer.size));
            Arc::clone(blobs.entry(layer.digest).or_insert_with(|| blob()))
        });
        if request.needs_files(&base) {
            self.read_files(&mut base, request)?;
        }
        if let Some(store) = &self.store {
            store.note_growth();
        }
        Ok((base, pin))
    }

    /// Reads the file tree of the base image, from the cache or from its layers.
    /// If a layer in the cache is damaged, all are downloaded again.
    fn read_files(&self, base: &mut Base, request: &Request<'_>) -> Result<()> {
        let store = self.store.as_deref();
        if store.is_some_and(|store| base.recall_files(store)) {
            return Ok(());
        }
        let blob = |layer: &SelectedLayer| (layer.digest, layer.size);
        let blobs: Vec<(Digest, u64)> = base.layers().iter().map(blob).collect();
        let fetched = self.fetch(&blobs, request.ui)?;
        let mut read = base.read_files(store, request.scratch);
        if fetched < blobs.len() && matches!(read, Err(BaseError::FileSystem(_))) {
            for (digest, _) in &blobs {
                self.image.forget(digest);
            }
            self.fetch(&blobs, request.ui)?;
            read = base.read_files(store, request.scratch);
        }
        read.map_err(|error| self.unusable(error))
    }

    /// Downloads the blobs that the cache does not have, and returns their number.
    fn fetch(&self, blobs: &[(Digest, u64)], ui: &Ui) -> Result<usize> {
        let missing = self.image.missing(blobs);
        if missing.is_empty() {
            return Ok(0);
        }
        let bytes = missing.iter().map(|(_, size)| size).sum();
        ui.start_progress(Work::Fetching, bytes);
        let fetched = self.image.fetch(&missing);
        ui.finish_progress();
        fetched.map_err(|error| self.failed(error))?;
        Ok(missing.len())
    }

    /// Returns the name without a digest.
    fn name(&self) -> String {
        let reference = self.image.reference();
        let tagged = reference.tag().and_then(|tag| reference.with_tag(tag));
        match tagged {
            Some(tagged) => tagged.to_string(),
            None => format!("{}/{}", reference.registry(), reference.repository()),
        }
    }

    fn failed(&self, error: RemoteImageError) -> Failure {
        match error {
            RemoteImageError::Registry(error) => failed_at(self.image.reference(), error),
            RemoteImageError::Selection(error) => self.unusable(error.into()),
            error => error.into(),
        }
    }

    fn unusable(&self, source: BaseError) -> Failure {
        let path = PathBuf::from(format!("{TRANSPORT}{}", self.image.reference()));
        let source = Box::new(source);
        Error::Base { path, source }.into()
    }
}
