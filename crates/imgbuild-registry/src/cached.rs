//! An image of a registry, read through a cache: documents and layers are
//! downloaded when they are needed and the cache does not have them.

use std::error::Error as StdError;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

use imgbuild_oci::blob::{BlobContent, BlobOrigin};
use imgbuild_oci::content::FileRange;
use imgbuild_oci::digest::Digest;
use imgbuild_oci::document::{Descriptor, RawDocument};
use imgbuild_oci::media_type::{self, is_index, is_manifest};
use imgbuild_oci::parallel;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;
use imgbuild_oci::selection::{SelectionError, select};
use imgbuild_oci::source::Source;
use imgbuild_oci::store::Bases;

use crate::error::{Error, Result};
use crate::monitor::{ClientMonitor, Event};
use crate::repository::Repository;

/// The maximum number of indexes and configurations that are read to select an
/// image.
const MAX_DOCUMENTS: usize = 64;

/// The number of blobs that are downloaded at a time.
const PARALLEL_BLOBS: usize = 4;

/// A function that connects to the repository of an image.
pub type Connect = dyn Fn() -> Result<Repository, BoxError> + Send + Sync;

/// An error of the caller.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// An image of a registry, and the cache of its blobs.
pub struct RemoteImage {
    reference: Reference,
    origin: BlobOrigin,
    cache: Bases,
    monitor: Arc<dyn ClientMonitor>,
    connect: Box<Connect>,
    repository: Mutex<Option<Repository>>,
    digest: Mutex<Option<Digest>>,
}

/// An error while an image is read through the cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteImageError {
    /// The connection to the registry failed.
    #[error(transparent)]
    Connect(BoxError),
    /// The registry failed or refused.
    #[error(transparent)]
    Registry(#[from] Error),
    /// The cache cannot be written.
    #[error(transparent)]
    Cache(#[from] io::Error),
    /// A document is not a manifest or an index.
    #[error("the document {digest} of `docker://{reference}` is not a manifest")]
    Document {
        /// The digest of the document.
        digest: Digest,
        /// The image.
        reference: Box<Reference>,
        /// The cause.
        source: serde_json::Error,
    },
    /// The image has no manifest for the platform.
    #[error(transparent)]
    Selection(#[from] SelectionError),
}

impl fmt::Debug for RemoteImage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RemoteImage")
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

impl RemoteImage {
    /// Prepares to read an image; `connect` is called for the first download.
    #[must_use]
    pub fn new(
        reference: &Reference,
        cache: Bases,
        monitor: Arc<dyn ClientMonitor>,
        connect: Box<Connect>,
    ) -> Self {
        Self {
            reference: reference.clone(),
            origin: BlobOrigin {
                registry: reference.registry().to_owned(),
                repository: reference.repository().to_owned(),
            },
            cache,
            monitor,
            connect,
            repository: Mutex::default(),
            digest: Mutex::default(),
        }
    }

    /// Returns the name of the image.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Returns the digest of the image. The registry is asked once for the
    /// digest of a tag, so that all platforms have the same image.
    ///
    /// # Errors
    ///
    /// If the registry fails, and if the cache cannot be written.
    pub fn digest(&self) -> Result<Digest, RemoteImageError> {
        if let Some(digest) = self.reference.digest() {
            return Ok(*digest);
        }
        let mut known = self.digest.lock().expect("no holder of the lock panics");
        if let Some(digest) = *known {
            return Ok(digest);
        }
        let tag = self.reference.tag().unwrap_or_default();
        let found = self.repository()?.existing_manifest(tag)?;
        self.keep(&found.digest, &found.bytes)?;
        Ok(*known.insert(found.digest))
    }

    /// Selects the manifest for a platform, as in a layout.
    ///
    /// # Errors
    ///
    /// [`RemoteImageError::Selection`] if there is not exactly one, and as
    /// [`RemoteImage::digest`].
    pub fn select(&self, platform: Option<&Platform>) -> Result<Digest, RemoteImageError> {
        let root = self.descriptor(self.digest()?)?;
        // The root is one of the documents, and was read before.
        let mut left = MAX_DOCUMENTS + 1;
        let mut read = |descriptor: &Descriptor| {
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
        };
        let selected = select(vec![root], None, platform, &mut read, &|_| true);
        match selected {
            Ok(candidate) => Ok(candidate.document.digest),
            Err(SelectionError::Read { digest, source }) => {
                Err(match source.downcast::<RemoteImageError>() {
                    Ok(error) => error,
                    Err(source) => SelectionError::Read { digest, source }.into(),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns a source of the image with this manifest. It has the documents,
    /// and the layers that are in the cache.
    ///
    /// # Errors
    ///
    /// As [`RemoteImage::digest`].
    pub fn source(&self, manifest: Digest) -> Result<Source, RemoteImageError> {
        let config = self.parsed(manifest)?.0.config.unwrap_or_default();
        if let (Ok(digest), Ok(size)) = (config.digest(), config.size()) {
            self.config(digest, size)?;
        }
        let descriptor = self.descriptor(manifest)?;
        Ok(self.cache.source(descriptor, self.origin.clone()))
    }

    /// Returns the digests and sizes of those blobs that the cache does not have.
    #[must_use]
    pub fn missing(&self, blobs: &[(Digest, u64)]) -> Vec<(Digest, u64)> {
        let mut missing = Vec::new();
        for (digest, size) in blobs.iter().copied() {
            if !missing.contains(&(digest, size)) && !self.cache.has(&digest, size) {
                missing.push((digest, size));
            }
        }
        missing
    }

    /// Downloads blobs into the cache, several at a time.
    ///
    /// # Errors
    ///
    /// The first failure, which ends all downloads.
    pub fn fetch(&self, blobs: &[(Digest, u64)]) -> Result<(), RemoteImageError> {
        if blobs.is_empty() {
            return Ok(());
        }
        self.monitor.report(Event::Fetching { blobs });
        let repository = self.repository()?;
        parallel::for_each(
            PARALLEL_BLOBS,
            blobs.iter().copied(),
            |(digest, size), _| self.download(&repository, digest, size).map(drop),
        )
    }

    /// Removes a damaged blob from the cache.
    pub fn forget(&self, digest: &Digest) {
        self.cache.forget(digest);
    }

    /// Returns a blob, which is downloaded when its bytes are read and the cache
    /// does not have it.
    #[must_use]
    pub fn blob(self: &Arc<Self>, digest: Digest, size: u64) -> CachedBlob {
        CachedBlob {
            image: Arc::clone(self),
            digest,
            size,
            file: Mutex::default(),
        }
    }

    fn repository(&self) -> Result<Repository, RemoteImageError> {
        let mut connected = self
            .repository
            .lock()
            .expect("no holder of the lock panics");
        if let Some(repository) = &*connected {
            return Ok(repository.clone());
        }
        let repository = (self.connect)().map_err(RemoteImageError::Connect)?;
        Ok(connected.insert(repository).clone())
    }

    fn keep(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.cache.new_file(digest)?;
        file.write_all(bytes)?;
        file.keep().map(drop)
    }

    /// Returns a manifest or an index.
    fn document(&self, digest: Digest) -> Result<Vec<u8>, RemoteImageError> {
        self.cached(digest, |repository| {
            Ok(repository.existing_manifest(&digest.to_string())?.bytes)
        })
    }

    /// Returns a configuration.
    fn config(&self, digest: Digest, size: u64) -> Result<Vec<u8>, RemoteImageError> {
        self.cached(digest, |repository| repository.document_blob(&digest, size))
    }

    /// Returns a document of the cache, which is downloaded if it is not there.
    fn cached(
        &self,
        digest: Digest,
        download: impl FnOnce(&Repository) -> Result<Vec<u8>, Error>,
    ) -> Result<Vec<u8>, RemoteImageError> {
        if let Some(bytes) = self.cache.document(&digest) {
            return Ok(bytes);
        }
        let bytes = download(&self.repository()?)?;
        self.keep(&digest, &bytes)?;
        Ok(bytes)
    }

    /// Returns a manifest or an index, and its size in bytes.
    fn parsed(&self, digest: Digest) -> Result<(RawDocument, u64), RemoteImageError> {
        let bytes = self.document(digest)?;
        let document = serde_json::from_slice(&bytes);
        let document = document.map_err(|source| RemoteImageError::Document {
            digest,
            reference: Box::new(self.reference.clone()),
            source,
        })?;
        Ok((document, bytes.len() as u64))
    }

    fn descriptor(&self, digest: Digest) -> Result<Descriptor, RemoteImageError> {
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
            artifact: None,
        })
    }

    /// Downloads a blob into the cache, checks its digest, and opens it.
    fn download(
        &self,
        repository: &Repository,
        digest: Digest,
        size: u64,
    ) -> Result<File, RemoteImageError> {
        let new_file = || self.cache.new_file(&digest).map_err(RemoteImageError::from);
        let file = repository.read_blob_whole(&digest, size, new_file)?;
        Ok(file.keep()?)
    }
}

/// A blob of a [`RemoteImage`]. A push to a repository that can mount it needs
/// no download.
#[derive(Debug)]
pub struct CachedBlob {
    image: Arc<RemoteImage>,
    digest: Digest,
    size: u64,
    /// The checked file, open so that it cannot be removed.
    file: Mutex<Option<Arc<File>>>,
}

impl CachedBlob {
    fn file(&self) -> Result<Arc<File>, RemoteImageError> {
        let mut opened = self.file.lock().expect("no holder of the lock panics");
        if let Some(file) = &*opened {
            return Ok(Arc::clone(file));
        }
        let file = match self.image.cache.open(&self.digest, self.size) {
            Some(file) => file,
            None => {
                let repository = self.image.repository()?;
                let blobs = &[(self.digest, self.size)];
                self.image.monitor.report(Event::Fetching { blobs });
                self.image.download(&repository, self.digest, self.size)?
            }
        };
        Ok(Arc::clone(opened.insert(Arc::new(file))))
    }
}

impl BlobContent for CachedBlob {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let file = self.file().map_err(io::Error::other)?;
        let range = FileRange::new(file, 0, self.size);
        Ok(Box::new(CachedReader {
            range,
            position: offset,
        }))
    }

    fn prepare(&self) -> io::Result<()> {
        self.file().map(drop).map_err(io::Error::other)
    }

    fn origin(&self) -> Option<&BlobOrigin> {
        Some(&self.image.origin)
    }
}

/// A reader of a file from a position on.
struct CachedReader {
    range: FileRange,
    position: u64,
}

impl Read for CachedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.range.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}
