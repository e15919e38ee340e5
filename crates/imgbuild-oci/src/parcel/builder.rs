//! Following documents to everything that they name.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{
    Child, Document, Parcel, ParcelBlob, ParcelError, Platforms, child, children, is_foreign,
    is_manifest, parse,
};
use crate::blob::BlobContent;
use crate::digest::Digest;
use crate::platform::{Platform, Purpose};
use crate::selection::{is_image, keep_best};
use crate::source::document::Config;
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

    /// Finds the image that is meant by the rules of [`crate::selection`].
    fn choose(&mut self, root: Document, wanted: &Platform) -> Result<Document, ParcelError> {
        if !is_index(&root.media_type) {
            return Ok(root);
        }
        let mut images = Vec::new();
        self.list_images(&root, 0, &mut images)?;
        self.seen.clear();
        for image in &mut images {
            if image.purpose.is_none() {
                image.purpose = self.purpose_in_config(image)?;
            }
        }
        let best = keep_best(images, |one| one.purpose.as_ref(), wanted);
        let best = best.map_err(|known| ParcelError::Platform {
            wanted: wanted.to_string(),
            found: match known.is_empty() {
                true => "none, the index names no platforms".to_owned(),
                false => known.join(", "),
            },
        })?;
        match &best[..] {
            [one] => self.read(one),
            several => Err(ParcelError::Several {
                wanted: wanted.to_string(),
                found: several.iter().map(|one| one.digest).collect(),
            }),
        }
    }

    /// Lists the images of an index and of the indexes in it, each once.
    fn list_images(
        &mut self,
        index: &Document,
        depth: usize,
        images: &mut Vec<Child>,
    ) -> Result<(), ParcelError> {
        if depth >= MAX_INDEX_DEPTH {
            return Err(ParcelError::TooMany);
        }
        for child in children(index)? {
            if !self.seen.insert(child.digest) {
                continue;
            }
            if self.seen.len() > MAX_MANIFESTS {
                return Err(ParcelError::TooMany);
            }
            if is_index(&child.media_type) {
                let inner = self.read(&child)?;
                self.list_images(&inner, depth + 1, images)?;
            } else if is_image(&child.media_type, child.purpose.as_ref()) {
                images.push(child);
            }
        }
        Ok(())
    }

    /// Returns what an image is for where no index says it.
    fn purpose_in_config(&mut self, image: &Child) -> Result<Option<Purpose>, ParcelError> {
        let manifest = self.read(image)?;
        let Some(config) = parse(&manifest)?.config else {
            return Ok(None);
        };
        let blob = self.blob(child(&manifest, config)?, true)?;
        let digest = blob.digest;
        let bytes = blob.read_document();
        let bytes = bytes.map_err(|source| ParcelError::Config { digest, source })?;
        // What is no JSON, as the empty config of an artifact, says no platform.
        let config: Config = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok(config.purpose())
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
            let blob = self.blob(child(document, descriptor)?, is_config)?;
            self.parcel.push_blob(blob);
        }
        Ok(())
    }

    fn blob(&mut self, child: Child, is_config: bool) -> Result<ParcelBlob, ParcelError> {
        let content = (self.open_blob)(child.digest, child.size);
        Ok(ParcelBlob {
            media_type: child.media_type,
            digest: child.digest,
            size: child.size,
            is_config,
            content: content.ok_or(ParcelError::Missing(child.digest))?,
        })
    }
}
