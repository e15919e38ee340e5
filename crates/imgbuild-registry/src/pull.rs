//! Reading an image, or an index with all its images, as a parcel.

use std::sync::Arc;

use imgbuild_oci::cache::{RemoteLayer, RemoteLayers};
use imgbuild_oci::digest::{DiffId, Digest};
use imgbuild_oci::image::is_all_ours;
use imgbuild_oci::parcel::{Document, Parcel, ParcelBuilder, ParcelError, Platforms};
use imgbuild_oci::platform::Platform;
use serde::Deserialize;

use crate::error::{Error, ProtocolError, Result, Step};
use crate::repository::{Manifest, RemoteBlob, Repository};

/// Reads the documents of what `reference`, a tag or a digest, names; its
/// blobs are read when they are needed.
///
/// # Errors
///
/// When there is no such thing, when the registry refuses, or when what it sends
/// is malformed.
pub fn parcel(repository: &Repository, reference: &str, platforms: &Platforms) -> Result<Parcel> {
    let root = repository.existing_manifest(reference)?;
    parcel_of(repository, root, platforms)
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

/// Pairs the layers of the image that `reference` names with the diff IDs of
/// its config; `None` if there is no such image, or none for the platform.
/// Only the documents are read.
///
/// # Errors
///
/// When the registry refuses, or what it sends is malformed.
pub fn layers(
    repository: &Repository,
    reference: &str,
    platform: &Platform,
) -> Result<Option<RemoteLayers>> {
    let platforms = Platforms::One(platform.clone());
    let parcel = match parcel(repository, reference, &platforms) {
        Ok(parcel) => parcel,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(Error::Protocol { problem, .. })
            if matches!(*problem, ProtocolError::Platform { .. }) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let Some(config) = parcel.blobs().iter().find(|blob| blob.is_config) else {
        return Ok(None);
    };
    let bytes = repository.document_blob(&config.digest, config.size)?;
    let diff_ids = diff_ids(&bytes).unwrap_or_default();
    // Not the blobs of the parcel: there a layer that stands twice is once.
    let layers = listed_layers(&parcel.root().bytes).unwrap_or_default();
    if diff_ids.len() != layers.len() {
        return Ok(None);
    }
    let pairs = diff_ids.into_iter().zip(layers);
    let found = pairs.filter_map(|(diff_id, layer)| {
        let blob = parcel
            .blobs()
            .iter()
            .find(|blob| blob.digest == layer.digest)?;
        let is_gzip = blob.media_type.ends_with("+gzip");
        is_gzip.then(|| RemoteLayer {
            diff_id,
            digest: blob.digest,
            size: blob.size,
            content: Arc::clone(&blob.content),
        })
    });
    Ok(Some(RemoteLayers {
        layers: found.collect(),
        are_alike: is_all_ours(&parcel.root().bytes, &bytes),
    }))
}

#[derive(Deserialize)]
struct ListedLayer {
    digest: Digest,
}

/// Returns the layers of a manifest in their order.
fn listed_layers(manifest: &[u8]) -> Option<Vec<ListedLayer>> {
    #[derive(Deserialize)]
    struct Manifest {
        layers: Vec<ListedLayer>,
    }
    let manifest: Manifest = serde_json::from_slice(manifest).ok()?;
    Some(manifest.layers)
}

/// Returns the diff IDs of a config.
fn diff_ids(config: &[u8]) -> Option<Vec<DiffId>> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Vec<Digest>,
    }
    let config: Config = serde_json::from_slice(config).ok()?;
    let digests = config.rootfs.diff_ids.into_iter();
    Some(digests.map(DiffId::from_tar_digest).collect())
}

fn malformed(repository: &Repository, step: &Step, error: ParcelError) -> Error {
    let problem = match error {
        ParcelError::Platform { wanted, found } => ProtocolError::Platform { wanted, found },
        ParcelError::TooMany => ProtocolError::TooMany,
        // What fails while it is read says more itself.
        ParcelError::Config { digest, source } => match source.downcast::<Error>() {
            Ok(error) => return error,
            Err(source) => {
                ProtocolError::Malformed(format!("cannot read the config {digest}: {source}"))
            }
        },
        other => ProtocolError::Malformed(other.to_string()),
    };
    let place = Some(repository.name());
    repository.client().problem(step, place, problem)
}
