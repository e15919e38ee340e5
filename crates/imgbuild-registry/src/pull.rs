//! Reading an image, or an index with all its images, as a parcel.

use std::sync::Arc;

use imgbuild_oci::digest::Digest;
use imgbuild_oci::parcel::{Document, Parcel, ParcelBuilder, ParcelError, Platforms};

use crate::error::{Error, Problem, Result, Step};
use crate::repository::{Manifest, RemoteBlob, Repository};

/// Reads the documents of what `reference`, a tag or a digest, names; its
/// blobs are read when they are needed. `None` if there is no such thing.
///
/// # Errors
///
/// When the registry refuses, or what it sends is malformed.
pub fn parcel(
    repository: &Repository,
    reference: &str,
    platforms: &Platforms,
) -> Result<Option<Parcel>> {
    let Some(root) = repository.manifest(reference)? else {
        return Ok(None);
    };
    parcel_of(repository, root, platforms).map(Some)
}

/// As [`parcel`], of a document that has been read.
///
/// # Errors
///
/// As [`parcel`].
pub fn parcel_of(repository: &Repository, root: Manifest, platforms: &Platforms) -> Result<Parcel> {
    let step = Step::ReadManifest(root.digest.to_string());
    let mut failure = None;
    let read_document = |digest: &Digest| match repository.manifest(&digest.to_string()) {
        Ok(found) => found.map(|found| found.bytes),
        Err(error) => {
            failure = Some(error);
            None
        }
    };
    let read_blob = |digest: Digest, size: u64| {
        let content: Arc<dyn imgbuild_oci::parcel::BlobContent> =
            Arc::new(RemoteBlob::new(repository, digest, size));
        Some(content)
    };
    let root = Document {
        media_type: root.media_type,
        digest: root.digest,
        bytes: root.bytes,
    };
    let built = ParcelBuilder::new(read_document, read_blob).build(root, platforms);
    match (built, failure) {
        (Ok(parcel), _) => Ok(parcel),
        (Err(_), Some(error)) => Err(error),
        (Err(error), None) => Err(malformed(repository, &step, error)),
    }
}

fn malformed(repository: &Repository, step: &Step, error: ParcelError) -> Error {
    let problem = match error {
        ParcelError::Platform { wanted, found } => Problem::Platform { wanted, found },
        ParcelError::TooMany => Problem::TooMany,
        other => Problem::Malformed(other.to_string()),
    };
    let place = Some(repository.name());
    repository.client().problem(step, place, problem)
}
