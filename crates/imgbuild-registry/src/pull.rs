//! Pulling: an image, or an index with all its images.

use std::io;
use std::sync::Arc;

use imgbuild_oci::cache::{LayerCandidate, RemoteLayers};
use imgbuild_oci::digest::Digest;
use imgbuild_oci::document::{Descriptor, Document, DocumentError, RawConfig, RawDocument};
use imgbuild_oci::image::{Image, ImageError, Platforms, is_all_ours};
use imgbuild_oci::platform::Platform;
use imgbuild_oci::selection::SelectionError;

use crate::error::{Error, ProtocolError, Result, Step};
use crate::repository::{RemoteBlob, Repository};

/// Downloads the documents of the image or index that a tag or digest refers to;
/// its blobs are downloaded when they are read.
///
/// # Errors
///
/// If it does not exist or is malformed, and if the registry fails.
pub fn image(repository: &Repository, reference: &str, platforms: &Platforms) -> Result<Image> {
    let root = repository.existing_manifest(reference)?;
    image_of(repository, root, platforms)
}

/// Downloads the documents below `root`.
pub(crate) fn image_of(
    repository: &Repository,
    root: Document,
    platforms: &Platforms,
) -> Result<Image> {
    let step = Step::ReadManifest(root.digest.to_string());
    let read = &mut |descriptor: &Descriptor| {
        let found = repository.manifest(&descriptor.digest.to_string());
        let found = found.map_err(io::Error::other)?;
        Ok(found.ok_or(io::ErrorKind::NotFound)?.bytes)
    };
    let image = Image::read(root, platforms, read, &|digest, size| {
        Arc::new(RemoteBlob::new(repository, digest, size))
    });
    image.map_err(|error| malformed(repository, &step, error))
}

/// Pairs the layers of an image with the diff IDs of its configuration, for which
/// only documents are downloaded. Returns `None` if there is no image for the
/// platform.
///
/// # Errors
///
/// If the registry fails, or the documents are malformed.
pub fn layers(
    repository: &Repository,
    reference: &str,
    platform: &Platform,
) -> Result<Option<RemoteLayers>> {
    let platforms = Platforms::One(platform.clone());
    let image = match image(repository, reference, &platforms) {
        Ok(image) => image,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(Error::Protocol { problem, .. })
            if matches!(*problem, ProtocolError::Platform { .. }) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let Some(config) = image.config() else {
        return Ok(None);
    };
    let config = repository.document_blob(&config.digest, config.size)?;
    let parsed: RawConfig = serde_json::from_slice(&config).unwrap_or_default();
    let diff_ids = parsed.diff_ids().unwrap_or_default();
    // The blobs of an image contain a layer that is listed twice only once.
    let layers = listed_layers(image.root()).unwrap_or_default();
    if diff_ids.len() != layers.len() {
        return Ok(None);
    }
    let pairs = diff_ids.into_iter().zip(layers);
    let found = pairs.filter_map(|(diff_id, layer)| {
        let blob = image.blobs().iter().find(|blob| blob.digest == layer)?;
        let is_gzip = blob.media_type.ends_with("+gzip");
        is_gzip.then(|| LayerCandidate {
            diff_id,
            digest: blob.digest,
            size: blob.size,
            trailer: None,
            content: Arc::new(RemoteBlob::new(repository, blob.digest, blob.size)),
        })
    });
    Ok(Some(RemoteLayers {
        layers: found.collect(),
        are_alike: is_all_ours(&image.root().bytes, &config),
    }))
}

/// Returns the digests of the layers of a manifest in their order.
fn listed_layers(manifest: &Document) -> Option<Vec<Digest>> {
    let raw: RawDocument = manifest.parse().ok()?;
    let layers = raw.layers?.into_iter();
    layers.map(|layer| layer.digest().ok()).collect()
}

fn malformed(repository: &Repository, step: &Step, error: ImageError) -> Error {
    let problem = match error {
        ImageError::Selection(SelectionError::Platform { wanted, known }) => {
            let found = if known.is_empty() {
                "no platforms".to_owned()
            } else {
                known.join(", ")
            };
            ProtocolError::Platform { wanted, found }
        }
        ImageError::Selection(SelectionError::Document(
            DocumentError::TooDeep | DocumentError::TooManyManifests,
        )) => ProtocolError::Other("the index refers to too many manifests, or to itself".into()),
        ImageError::Part(part) => ProtocolError::Part(part),
        // The error of a failed request has more detail.
        ImageError::Selection(SelectionError::Read { digest, source }) => {
            match source.downcast::<Error>() {
                Ok(error) => return error,
                Err(source) => {
                    ProtocolError::Malformed(format!("cannot read the document {digest}: {source}"))
                }
            }
        }
        other => ProtocolError::Malformed(other.to_string()),
    };
    repository.problem(step, problem)
}
