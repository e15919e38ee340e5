//! Pushing an image: its layers, then configurations, manifests, indexes and tags.
//!
//! A layer can be uploaded as soon as its digest is known: registries keep blobs
//! without a manifest for some time. So uploads and compression overlap.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use imgbuild_oci::digest::Digest;
use imgbuild_oci::document::Document;
use imgbuild_oci::image::{Blob, Image};
use imgbuild_oci::parallel::{self, Queue};

use crate::error::{Error, Result};
use crate::monitor::{BlobOutcome, Event, check};
use crate::repository::Repository;

/// The options of a push.
#[derive(Debug, Clone, Copy)]
pub struct PushOptions<'a> {
    /// The tags of the image; without a tag, it has only its digest.
    pub tags: &'a [String],
    /// The number of blobs that are uploaded at a time.
    pub parallel: usize,
    /// Repositories of the same registry to mount blobs from.
    pub mount_from: &'a [String],
    /// The blobs that were uploaded before the image was complete.
    pub sent: Option<&'a Sent>,
}

/// The result of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the manifest or index.
    pub digest: Digest,
    /// The tags that had the image before.
    pub unchanged: Vec<String>,
    /// The number of blobs that were uploaded.
    pub uploaded: usize,
    /// The number of their bytes.
    pub uploaded_bytes: u64,
    /// The number of blobs that were mounted from another repository.
    pub mounted: usize,
    /// The number of blobs that the repository had before.
    pub present: usize,
}

/// The blobs that were uploaded before their manifest.
#[derive(Debug, Default)]
pub struct Sent {
    digests: BTreeSet<Digest>,
    counts: BlobCounts,
}

/// The numbers of blobs by outcome.
#[derive(Debug, Clone, Copy, Default)]
struct BlobCounts {
    uploaded: usize,
    uploaded_bytes: u64,
    mounted: usize,
    present: usize,
}

/// Runs `work`, and uploads the blobs that it adds to the queue meanwhile,
/// `parallel` at a time. Returns the result of `work` and the uploaded blobs.
///
/// A failed upload ends the uploads, but not `work`, which may have other outputs.
/// After a failure of `work`, queued blobs are not uploaded.
pub fn send_ahead<T, E>(
    repository: &Repository,
    parallel: usize,
    work: impl FnOnce(&Queue<Blob>) -> std::result::Result<T, E>,
) -> (std::result::Result<T, E>, Result<Sent>) {
    let blobs = BlobUploads::new(repository, &[], None);
    // Without a failure, all of these are uploaded at the end.
    let taken = Mutex::new(BTreeSet::new());
    let send = |blob: Blob, _: &Queue<Blob>| {
        let mut taken = taken.lock().expect("no holder of the lock panics");
        let is_new = taken.insert(blob.digest);
        drop(taken);
        if !is_new {
            return Ok(());
        }
        check(repository.client().monitor())?;
        if blobs.is_present(&blob)? {
            blobs.report(&blob, BlobOutcome::Present);
            return Ok(());
        }
        blobs.upload(&blob)
    };

    let (outcome, sent) = parallel::with_workers(parallel, send, |queue| {
        let outcome = work(queue);
        if outcome.is_err() {
            queue.stop();
        }
        outcome
    });
    let sent = sent.map(|()| Sent {
        digests: taken.into_inner().expect("no holder of the lock panics"),
        counts: blobs.counts(),
    });
    (outcome, sent)
}

/// Pushes an image or index, and tags it when it is complete.
///
/// Nothing is sent that the repository has: neither a tag with the right digest,
/// nor the blobs of a manifest that exists, since registries accept a manifest
/// only if they have its blobs. The images of an index are checked, since
/// registries allow to remove them separately. Everything is sent to a registry that does not
/// let this login read.
///
/// # Errors
///
/// If the registry fails, or a blob cannot be read. Then no tag was changed, unless
/// writing the tags failed.
pub fn push(repository: &Repository, image: &Image, options: PushOptions<'_>) -> Result<Pushed> {
    let root = image.root();
    let job = PushJob {
        image,
        options,
        blobs: BlobUploads::new(repository, options.mount_from, options.sent),
    };
    let mut unchanged = Vec::new();
    for tag in options.tags {
        if job.has_manifest(tag, root.digest)? {
            unchanged.push(tag.clone());
        }
    }
    let is_there = !unchanged.is_empty() || job.has_document(root)?;
    if is_there && job.has_parts()? {
        for blob in image.blobs().iter().filter(|blob| !job.was_sent(blob)) {
            job.blobs.report(blob, BlobOutcome::Present);
        }
    } else {
        job.send_everything()?;
    }
    for tag in options.tags.iter().filter(|tag| !unchanged.contains(tag)) {
        repository.put_manifest(tag, root)?;
    }
    let counts = job.blobs.counts();
    Ok(Pushed {
        digest: root.digest,
        unchanged,
        uploaded: counts.uploaded,
        uploaded_bytes: counts.uploaded_bytes,
        mounted: counts.mounted,
        present: counts.present,
    })
}

struct PushJob<'a> {
    image: &'a Image,
    options: PushOptions<'a>,
    blobs: BlobUploads<'a>,
}

impl PushJob<'_> {
    fn has_document(&self, document: &Document) -> Result<bool> {
        self.has_manifest(&document.digest.to_string(), document.digest)
    }

    fn has_manifest(&self, reference: &str, digest: Digest) -> Result<bool> {
        let repository = self.blobs.repository;
        let find = || repository.manifest_digest(reference);
        Ok(repository.client().if_readable(find)?.flatten() == Some(digest))
    }

    /// Returns whether the repository has all documents of an index.
    fn has_parts(&self) -> Result<bool> {
        let root = self.image.root().digest;
        let documents = self.image.documents().iter();
        for part in documents.filter(|document| document.digest != root) {
            if !self.has_document(part)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn was_sent(&self, blob: &Blob) -> bool {
        let sent = self.options.sent;
        sent.is_some_and(|sent| sent.digests.contains(&blob.digest))
    }

    fn send_everything(&self) -> Result<()> {
        let all: Vec<&Blob> = self.image.blobs().iter().collect();
        let left = all.iter().copied().filter(|blob| !self.was_sent(blob));
        match self.send_once(&left.collect::<Vec<_>>()) {
            // A registry may lose a blob between two requests: all blobs are
            // checked again, once.
            Err(error) if lacks_blobs(&error) => {
                self.blobs.has_lost_blobs.store(true, Ordering::Relaxed);
                self.send_once(&all)
            }
            result => result,
        }
    }

    fn send_once(&self, blobs: &[&Blob]) -> Result<()> {
        let missing = self.missing(blobs)?;
        let (configs, layers): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|blob| blob.is_config);
        for stage in [layers, configs] {
            self.in_parallel(&stage, |blob| self.blobs.upload(blob))?;
        }
        for document in self.image.documents() {
            let reference = document.digest.to_string();
            // The root is known to be missing, or incomplete.
            let is_root = document.digest == self.image.root().digest;
            if !is_root && self.has_document(document)? {
                continue;
            }
            match self.blobs.repository.put_manifest(&reference, document) {
                // Some registries accept manifests under tags only.
                Err(error) if is_root && self.may_need_tag(&error) => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Returns whether a manifest that was refused under its digest may be accepted
    /// under a tag.
    fn may_need_tag(&self, error: &Error) -> bool {
        let response = error.response();
        let is_refused = response
            .is_some_and(|response| matches!(response.status, 400 | 401 | 403 | 404 | 405 | 501));
        is_refused && !self.options.tags.is_empty() && !lacks_blobs(error)
    }

    /// Checks all blobs, and returns those that the repository does not have.
    fn missing<'b>(&self, blobs: &[&'b Blob]) -> Result<Vec<&'b Blob>> {
        let missing = Mutex::new(BTreeSet::new());
        self.in_parallel(blobs, |blob| {
            if self.blobs.is_present(blob)? {
                self.blobs.report(blob, BlobOutcome::Present);
            } else {
                let mut missing = missing.lock().expect("no holder of the lock panics");
                missing.insert(blob.digest);
            }
            Ok(())
        })?;
        let missing = missing.into_inner().expect("no holder of the lock panics");
        let blobs = blobs.iter().copied();
        let is_missing = |blob: &&Blob| missing.contains(&blob.digest);
        Ok(blobs.filter(is_missing).collect())
    }

    /// Calls `work` for all blobs on several threads, until the first failure.
    fn in_parallel(
        &self,
        blobs: &[&Blob],
        work: impl Fn(&Blob) -> Result<()> + Sync,
    ) -> Result<()> {
        parallel::for_each(self.options.parallel, blobs, |blob, _| {
            check(self.blobs.repository.client().monitor())?;
            work(blob)
        })
    }
}

/// The uploads of blobs to one repository.
struct BlobUploads<'a> {
    repository: &'a Repository,
    mount_from: &'a [String],
    counts: Mutex<BlobCounts>,
    /// Set after the repository lost a blob. Then all blobs are checked and
    /// uploaded: the registry may have reported to mount one that it lost.
    has_lost_blobs: AtomicBool,
}

impl<'a> BlobUploads<'a> {
    fn new(repository: &'a Repository, mount_from: &'a [String], before: Option<&Sent>) -> Self {
        Self {
            repository,
            mount_from,
            counts: Mutex::new(before.map(|sent| sent.counts).unwrap_or_default()),
            has_lost_blobs: AtomicBool::new(false),
        }
    }

    fn counts(&self) -> BlobCounts {
        *self.counts.lock().expect("no holder of the lock panics")
    }

    /// Returns the repository of the same registry that a blob is from.
    fn origin<'b>(&self, blob: &'b Blob) -> Option<&'b str> {
        let origin = blob.content().origin()?;
        let is_same = origin.registry == self.repository.client().registry();
        let is_usable = is_same && !self.has_lost_blobs.load(Ordering::Relaxed);
        is_usable.then_some(origin.repository.as_str())
    }

    /// Returns whether the repository has a blob. A manifest of the repository
    /// implies its blobs, without a request.
    fn is_present(&self, blob: &Blob) -> Result<bool> {
        let is_implied = self.origin(blob) == Some(self.repository.name());
        if is_implied {
            return Ok(true);
        }
        let find = || self.repository.has_blob(&blob.digest, blob.size);
        Ok(self.repository.client().if_readable(find)? == Some(true))
    }

    /// Uploads a blob, or mounts it from its origin or from a repository of the
    /// caller.
    fn upload(&self, blob: &Blob) -> Result<()> {
        let mut mounts = Vec::new();
        if !self.has_lost_blobs.load(Ordering::Relaxed) {
            mounts.extend(self.origin(blob).map(str::to_owned));
            mounts.extend_from_slice(self.mount_from);
            mounts.retain(|name| name != self.repository.name());
            mounts.dedup();
        }
        let outcome = self.repository.upload(blob, &mounts)?;
        self.report(blob, outcome);
        Ok(())
    }

    /// Counts and reports a blob that the repository has.
    fn report(&self, blob: &Blob, outcome: BlobOutcome<'_>) {
        let mut counts = self.counts.lock().expect("no holder of the lock panics");
        match outcome {
            BlobOutcome::Present => counts.present += 1,
            BlobOutcome::Mounted { .. } => counts.mounted += 1,
            BlobOutcome::Uploaded => {
                counts.uploaded += 1;
                counts.uploaded_bytes += blob.size;
            }
        }
        drop(counts);
        self.repository.client().monitor().report(Event::Blob {
            digest: blob.digest,
            size: blob.size,
            outcome,
        });
    }
}

/// Returns whether a manifest was refused because the registry lacks its blobs.
pub(crate) fn lacks_blobs(error: &Error) -> bool {
    let codes = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"];
    let response = error.response();
    response.is_some_and(|response| codes.iter().any(|code| response.has_code(code)))
}
