//! Following documents to everything that they name.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{
    Child, Document, Parcel, ParcelBlob, ParcelError, Platforms, child, children, is_foreign,
    is_manifest, parse,
};
use crate::blob::BlobContent;
use crate::digest::Digest;
use crate::platform::Platform;
use crate::source::{MAX_INDEX_DEPTH, MAX_MANIFESTS, is_index};

/// Follows documents to everything that they name.
#[derive(Debug)]
pub struct ParcelBuilder<D, B> {
    read_document: D,
    open_blob: B,
    parcel: Parcel,
    seen: BTreeSet<Digest>,
}

impl<D, B> ParcelBuilder<D, B>
where
    D: FnMut(&Digest) -> Option<Vec<u8>>,
    B: FnMut(Digest, u64) -> Option<Arc<dyn BlobContent>>,
{
    /// `read_document` returns the checked bytes of a manifest or index, and
    /// `open_blob` the content of a blob of a size.
    pub fn new(read_document: D, open_blob: B) -> Self {
        Self {
            read_document,
            open_blob,
            parcel: Parcel {
                documents: Vec::new(),
                blobs: Vec::new(),
            },
            seen: BTreeSet::new(),
        }
    }

    /// Follows `root`.
    ///
    /// # Errors
    ///
    /// When something is missing or malformed.
    pub fn build(mut self, root: Document, platforms: &Platforms) -> Result<Parcel, ParcelError> {
        let root = match platforms {
            Platforms::All => root,
            Platforms::One(platform) => self.choose(root, platform)?,
        };
        self.add(root, 0)?;
        Ok(self.parcel)
    }

    /// Goes down to the manifest for a platform.
    fn choose(&mut self, root: Document, wanted: &Platform) -> Result<Document, ParcelError> {
        let mut document = root;
        for _ in 0..MAX_INDEX_DEPTH {
            if !is_index(&document.media_type) {
                return Ok(document);
            }
            let children = children(&document)?;
            let fits = |child: &&Child| child.platform.as_ref() == Some(wanted);
            // An index in an index may say no platform.
            let Some(child) = children.iter().find(fits).or_else(|| {
                let mut deeper = children.iter();
                deeper.find(|child| is_index(&child.media_type) && child.platform.is_none())
            }) else {
                let found = children.iter().filter_map(|child| child.platform.as_ref());
                let found: Vec<String> = found.map(ToString::to_string).collect();
                return Err(ParcelError::Platform {
                    wanted: wanted.to_string(),
                    found: found.join(", "),
                });
            };
            document = self.read(child)?;
        }
        Err(ParcelError::TooMany)
    }

    fn read(&mut self, child: &Child) -> Result<Document, ParcelError> {
        let bytes = (self.read_document)(&child.digest);
        Ok(Document {
            media_type: child.media_type.clone(),
            digest: child.digest,
            bytes: bytes.ok_or(ParcelError::Missing(child.digest))?,
        })
    }

    fn add(&mut self, document: Document, depth: usize) -> Result<(), ParcelError> {
        if !self.seen.insert(document.digest) {
            return Ok(());
        }
        if depth >= MAX_INDEX_DEPTH || self.seen.len() > MAX_MANIFESTS {
            return Err(ParcelError::TooMany);
        }
        if is_index(&document.media_type) {
            for child in children(&document)? {
                if !is_index(&child.media_type) && !is_manifest(&child.media_type) {
                    return Err(ParcelError::Kind {
                        digest: document.digest,
                        media_type: crate::path::escaped(child.media_type.as_bytes()),
                    });
                }
                let child = self.read(&child)?;
                self.add(child, depth + 1)?;
            }
        } else {
            self.add_blobs(&document)?;
        }
        self.parcel.documents.push(document);
        Ok(())
    }

    fn add_blobs(&mut self, document: &Document) -> Result<(), ParcelError> {
        let raw = parse(document)?;
        let layers = raw.layers.unwrap_or_default();
        let config = raw.config.into_iter().map(|config| (config, true));
        for (descriptor, is_config) in layers.into_iter().map(|layer| (layer, false)).chain(config)
        {
            if is_foreign(&descriptor) {
                continue;
            }
            let child = child(document, descriptor)?;
            let content = (self.open_blob)(child.digest, child.size);
            self.parcel.push_blob(ParcelBlob {
                media_type: child.media_type,
                digest: child.digest,
                size: child.size,
                is_config,
                content: content.ok_or(ParcelError::Missing(child.digest))?,
            });
        }
        Ok(())
    }
}
