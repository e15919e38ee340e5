//! Sending an image to a repository: blobs, then configs, then manifests, then
//! indexes, then tags.

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
use blobs::Blobs;

/// How an image is sent.
#[derive(Debug, Clone, Copy)]
pub struct PushOptions<'a> {
    /// The tags that it gets; without any it is found by its digest only.
    pub tags: &'a [String],
    /// How many blobs are sent at a time.
    pub parallel: usize,
    /// Repositories of the same registry that may have the blobs already.
    pub mount_from: &'a [String],
    /// What was sent to this repository before the image was complete.
    pub sent: Option<&'a Sent>,
}

/// The outcome of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the manifest or index.
    pub digest: Digest,
    /// The tags that had it already.
    pub unchanged: Vec<String>,
    /// How many blobs were sent.
    pub uploaded: usize,
    /// How many bytes they have.
    pub uploaded_bytes: u64,
    /// How many blobs were mounted from another repository.
    pub mounted: usize,
    /// How many blobs were there.
    pub present: usize,
}

/// Sends an image or index, and gives it its tags when everything of it is there.
///
/// What the repository has is not sent again: a tag that has the digest
/// already stays as it is, and the blobs of a manifest that is there are not
/// asked for, since a registry takes a manifest only when it has its blobs. The
/// images of an index are: registries let them be removed, and keep the index.
///
/// # Errors
///
/// When the registry refuses or cannot be reached, or when a blob cannot be
/// read. Then no tag has been changed, unless giving the tags itself failed.
pub fn push(repository: &Repository, image: &Image, options: PushOptions<'_>) -> Result<Pushed> {
    let root = image.root();
    let job = Job {
        repository,
        image,
        options,
        blobs: Blobs::new(repository, options.mount_from),
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
    let counts = job.blobs.counts().and(before);
    Ok(Pushed {
        digest: root.digest,
        unchanged,
        uploaded: counts.uploaded,
        uploaded_bytes: counts.uploaded_bytes,
        mounted: counts.mounted,
        present: counts.present,
    })
}

struct Job<'a> {
    repository: &'a Repository,
    image: &'a Image,
    options: PushOptions<'a>,
    blobs: Blobs<'a>,
}

impl Job<'_> {
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

    /// Returns whether everything is there that an index names.
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
            // A registry may forget a blob between two requests: what it
            // lacks now is sent, once.
            Err(error) if lacks_blobs(&error) => {
                self.blobs.trust_no_more();
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
            // Of an index, images may be there; that of the root is known.
            let is_root = document.digest == self.image.root().digest;
            if !is_root && self.has_document(document)? {
                continue;
            }
            match self.repository.put_manifest(&reference, document) {
                // Its tags will do, and tell if something else is wrong.
                Err(error) if is_root && self.will_do_with_tags(&error) => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Whether what a registry refuses under its digest may get a tag at once.
    fn will_do_with_tags(&self, error: &Error) -> bool {
        let is_refused = error
            .response()
            .is_some_and(|answer| matches!(answer.status(), 400 | 404 | 405 | 501));
        is_refused && !self.options.tags.is_empty() && !lacks_blobs(error)
    }

    /// Asks for every blob before any is sent.
    fn missing<'b>(&self, blobs: &[&'b Blob]) -> Result<Vec<&'b Blob>> {
        let missing = Mutex::new(BTreeSet::new());
        self.in_parallel(blobs, |blob| {
            if self.blobs.is_there(blob)? {
                self.blobs.report(blob, BlobOutcome::Present)
            } else {
                missing
                    .lock()
                    .expect("no holder of the lock panics")
                    .insert(blob.digest);
            }
            Ok(())
        })?;
        let missing = missing.into_inner().expect("no holder of the lock panics");
        let blobs = blobs.iter().copied();
        Ok(blobs
            .filter(|blob| missing.contains(&blob.digest))
            .collect())
    }

    /// Does `work` for every blob on several threads; the first failure ends
    /// them all.
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

/// Whether a manifest was refused because the registry lacks what it names.
pub(crate) fn lacks_blobs(error: &Error) -> bool {
    error.response().is_some_and(|answer| {
        answer.has_code("MANIFEST_BLOB_UNKNOWN") || answer.has_code("BLOB_UNKNOWN")
    })
}
