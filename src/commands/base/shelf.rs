//! Where the blobs of a base image of a registry are kept, and how those that
//! are missing get there.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use imgbuild_oci::blob::{BlobContent, BlobOrigin};
use imgbuild_oci::content::FileRange;
use imgbuild_oci::digest::Digest;
use imgbuild_oci::parallel;
use imgbuild_oci::reference::Reference;
use imgbuild_oci::store::Bases;
use imgbuild_registry::repository::Repository;

use crate::commands::registry::{Access, PARALLEL_BLOBS, Registries};
use crate::failure::{Failure, FailureKind, Result};
use crate::progress::Work;
use crate::ui::{Ui, bytes_text, count_text};

/// The blobs of one repository, here and there.
pub(super) struct Shelf {
    pub(super) bases: Bases,
    reference: Reference,
    registries: Registries,
    /// Reached when something of it is needed.
    repository: Mutex<Option<Repository>>,
    ui: Ui,
}

impl Shelf {
    pub(super) fn new(
        reference: &Reference,
        registries: Registries,
        bases: Bases,
        ui: &Ui,
    ) -> Self {
        Self {
            bases,
            reference: reference.clone(),
            registries,
            repository: Mutex::default(),
            ui: ui.clone(),
        }
    }

    pub(super) fn reference(&self) -> &Reference {
        &self.reference
    }

    pub(super) fn origin(&self) -> BlobOrigin {
        BlobOrigin {
            registry: self.reference.registry().to_owned(),
            repository: self.reference.repository().to_owned(),
        }
    }

    pub(super) fn repository(&self) -> Result<Repository> {
        let mut known = self
            .repository
            .lock()
            .expect("no holder of the lock panics");
        if let Some(repository) = &*known {
            return Ok(repository.clone());
        }
        let mut registries = self.registries.clone();
        let repository = registries.repository(&self.reference, Access::Pull)?;
        Ok(known.insert(repository).clone())
    }

    /// Fetches the blobs that are not here, several at a time; the first
    /// failure ends them all. Returns how many there were.
    pub(super) fn fetch(&self, blobs: &[(Digest, u64)]) -> Result<usize> {
        let mut missing: Vec<(Digest, u64)> = Vec::new();
        for (digest, size) in blobs.iter().copied() {
            if !missing.contains(&(digest, size)) && !self.bases.has(&digest, size) {
                missing.push((digest, size));
            }
        }
        if missing.is_empty() {
            return Ok(0);
        }
        let bytes = missing.iter().map(|(_, size)| size).sum();
        self.say(missing.len(), bytes);
        self.ui.start_progress(Work::Fetching, bytes);
        for (digest, size) in &missing {
            self.ui.expect_received(*digest, *size);
        }
        let fetched = self.fetch_all(&missing);
        self.ui.finish_progress();
        fetched.map(|()| missing.len())
    }

    fn say(&self, layers: usize, bytes: u64) {
        let (count, size) = (count_text(layers, "layer"), bytes_text(bytes));
        let text = format!("fetching {count} of the base image, {size}");
        self.ui.status(&text);
    }

    fn fetch_all(&self, blobs: &[(Digest, u64)]) -> Result<()> {
        let repository = self.repository()?;
        parallel::for_each(PARALLEL_BLOBS, blobs, |blob, _| {
            self.fetch_one(&repository, *blob).map(drop)
        })
    }

    /// Fetches a blob, checked, and opens what is kept of it.
    fn fetch_one(&self, repository: &Repository, (digest, size): (Digest, u64)) -> Result<File> {
        let new_file = || self.bases.new_file(&digest).map_err(Failure::build);
        let file = repository.read_blob_whole(&digest, size, new_file)?;
        file.keep().map_err(Failure::build)
    }
}

/// A layer of the base image. It is fetched when its bytes are needed and not
/// here; a registry that can have it from the base's repository needs none.
pub(super) struct ShelfBlob {
    shelf: Arc<Shelf>,
    digest: Digest,
    size: u64,
    origin: BlobOrigin,
    /// What has been checked, held open: nobody can take it away.
    file: Mutex<Option<Arc<File>>>,
}

impl fmt::Debug for ShelfBlob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ShelfBlob")
            .field("digest", &self.digest)
            .field("size", &self.size)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl ShelfBlob {
    pub(super) fn new(shelf: &Arc<Shelf>, digest: Digest, size: u64) -> Self {
        Self {
            shelf: Arc::clone(shelf),
            digest,
            size,
            origin: shelf.origin(),
            file: Mutex::default(),
        }
    }

    fn file(&self) -> Result<Arc<File>> {
        let mut known = self.file.lock().expect("no holder of the lock panics");
        if let Some(file) = &*known {
            return Ok(Arc::clone(file));
        }
        let file = match self.shelf.bases.open(&self.digest, self.size) {
            Some(file) => file,
            None => self.fetch().map_err(with_reason)?,
        };
        Ok(Arc::clone(known.insert(Arc::new(file))))
    }

    fn fetch(&self) -> Result<File> {
        let repository = self.shelf.repository()?;
        self.shelf.say(1, self.size);
        self.shelf.ui.expect_received(self.digest, self.size);
        let blob = (self.digest, self.size);
        self.shelf.fetch_one(&repository, blob)
    }
}

/// Says why a layer is fetched so late.
fn with_reason(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::Interrupted => failure,
        FailureKind::Build | FailureKind::CommandLine => failure
            .hint("the image needs this layer of its base image, which the cache does not have"),
    }
}

impl BlobContent for ShelfBlob {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let file = self.file().map_err(io::Error::other)?;
        let range = FileRange::new(file, 0, self.size);
        Ok(Box::new(RangeReader {
            range,
            position: offset,
        }))
    }

    fn prepare(&self) -> io::Result<()> {
        self.file().map(drop).map_err(io::Error::other)
    }

    fn origin(&self) -> Option<&BlobOrigin> {
        Some(&self.origin)
    }
}

struct RangeReader {
    range: FileRange,
    position: u64,
}

impl Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.range.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}
