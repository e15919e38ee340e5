//! A parcel of what an index lists, from the parcels that have it.

use std::collections::BTreeSet;

use super::PlatformIndex;
use crate::digest::Digest;
use crate::parcel::{Document, Parcel, ParcelError, blobs_of};

impl PlatformIndex {
    /// Takes what is listed out of `parts`, in order, and the index itself.
    /// What is not listed stays behind.
    ///
    /// # Errors
    ///
    /// When a manifest of the index is in none of the parts, or is malformed.
    pub fn to_parcel(&self, parts: &[Parcel]) -> Result<Parcel, ParcelError> {
        let mut parcel = Parcel::default();
        let mut seen = BTreeSet::new();
        for listed in self.listed() {
            let digest = listed.digest();
            if !seen.insert(digest) {
                continue;
            }
            let document = find(parts, digest)?.clone();
            for digest in blobs_of(&document)? {
                let mut blobs = parts.iter().flat_map(Parcel::blobs);
                let blob = blobs.find(|blob| blob.digest == digest);
                parcel.push_blob(blob.ok_or(ParcelError::Missing(digest))?.clone());
            }
            parcel.push_document(document);
        }
        parcel.push_document(self.to_document());
        Ok(parcel)
    }
}

fn find(parts: &[Parcel], digest: Digest) -> Result<&Document, ParcelError> {
    let mut documents = parts.iter().flat_map(Parcel::documents);
    documents
        .find(|one| one.digest == digest)
        .ok_or(ParcelError::Missing(digest))
}
