//! Pushing an image: its layers, then configurations, manifests, indexes and tags.

use std::collections::BTreeSet;
use std::sync::Mutex;

use imgbuild_oci::digest::Digest;
use imgbuild_oci::document::Document;
use imgbuild_oci::image::{Blob, Image};
use imgbuild_oci::parallel;

use crate::error::{Error, Result};
use crate::monitor::{BlobOutcome, check};
use crate::repository::Repository;

mod ahead;
mod blobs;

pub use ahead::{Ahead, Sent, send_ahead};
use blobs::BlobUploads;

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

/// Pushes an image or index, and tags it when it is complete.
///
/// Nothing is sent that the repository has: neither a tag with the right digest,
/// nor the blobs of a manifest that exists, since registries accept a manifest
/// only if they have its blobs. The images of an index are checked, since
/// registries allow to remove them separately.
///
/// # Errors
///
/// If the registry fails, or a blob cannot be read. Then no tag was changed, unless
/// writing the tags failed.
pub fn push(repository: &Repository, image: &Image, options: PushOptions<'_>) -> Result<Pushed> {
    let root = image.root();
    let job = PushJob {
        repository,
        image,
        options,
        blobs: BlobUploads::new(repository, options.mount_from),
    };
    let mut unchanged = Vec::new();
    for tag in options.tags {
        if repository.manifest_digest(tag)? == Some(root.digest) {
            unchanged.push(tag.clone());
        }
    }
    let is_there = !unchanged.is_empty() || job.has_document(root)?;
    if is_there && job.has_parts()? {
        job.report_all_present();
    } else {
        job.send_everything()?;
    }
    for tag in options.tags.iter().filter(|tag| !unchanged.contains(tag)) {
        repository.put_manifest(tag, root)?;
    }
    let before = options.sent.map(|sent| sent.counts).unwrap_or_default();
    let counts = job.blobs.counts().plus(before);
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
    repository: &'a Repository,
    image: &'a Image,
    options: PushOptions<'a>,
    blobs: BlobUploads<'a>,
}

impl PushJob<'_> {
    fn report_all_present(&self) {
        for blob in self.image.blobs() {
            if !self.was_sent(blob) {
                self.blobs.report(blob, BlobOutcome::Present);
            }
        }
    }

    fn has_document(&self, document: &Document) -> Result<bool> {
        let reference = document.digest.to_string();
        Ok(self.repository.manifest_digest(&reference)? == Some(document.digest))
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
                self.blobs.set_has_lost_blobs();
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
            match self.repository.put_manifest(&reference, document) {
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
        let is_refused =
            response.is_some_and(|response| matches!(response.status(), 400 | 404 | 405 | 501));
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
            check(self.repository.client().monitor())?;
            work(blob)
        })
    }
}

/// Returns whether a manifest was refused because the registry lacks its blobs.
pub(crate) fn lacks_blobs(error: &Error) -> bool {
    let codes = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"];
    let response = error.response();
    response.is_some_and(|response| codes.iter().any(|code| response.has_code(code)))
}
