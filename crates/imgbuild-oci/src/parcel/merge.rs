//! A parcel of what an index lists, from the parcels that have it.

use std::collections::BTreeSet;

use super::{Document, Parcel, ParcelError, child, is_foreign, parse};
use crate::digest::Digest;
use crate::platform_index::PlatformIndex;

impl Parcel {
    /// Takes what `index` lists out of `parts`, in its order, and the index
    /// itself. What it does not list stays behind.
    ///
    /// # Errors
    ///
    /// When a manifest of the index is in none of the parts, or is malformed.
    pub fn of_index(index: &PlatformIndex, parts: &[Self]) -> Result<Self, ParcelError> {
        let mut parcel = Self {
            documents: Vec::new(),
            blobs: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        for listed in index.listed() {
            let digest = listed.digest();
            if !seen.insert(digest) {
                continue;
            }
            let document = find(parts, digest)?.clone();
            for digest in blobs_of(&document)? {
                let mut blobs = parts.iter().flat_map(|part| &part.blobs);
                let blob = blobs.find(|blob| blob.digest == digest);
                parcel.push_blob(blob.ok_or(ParcelError::Missing(digest))?.clone());
            }
            parcel.documents.push(document);
        }
        parcel.documents.push(index.to_document());
        Ok(parcel)
    }
}

fn find(parts: &[Parcel], digest: Digest) -> Result<&Document, ParcelError> {
    let mut documents = parts.iter().flat_map(|part| &part.documents);
    documents
        .find(|one| one.digest == digest)
        .ok_or(ParcelError::Missing(digest))
}

/// Returns the layers and the config of a manifest that are distributed.
fn blobs_of(manifest: &Document) -> Result<Vec<Digest>, ParcelError> {
    let raw = parse(manifest)?;
    let layers = raw.layers.unwrap_or_default();
    let all = layers.into_iter().chain(raw.config);
    let own = all.filter(|descriptor| !is_foreign(descriptor));
    own.map(|descriptor| Ok(child(manifest, descriptor)?.digest))
        .collect()
}
