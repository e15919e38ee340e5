//! Layers that others have made, taken over byte for byte.

use std::sync::Arc;

use super::{Layer, LayerBytes, Place};
use crate::error::{Error, Result};
use crate::filesystem::BlobFacts;
use crate::selection::SelectedLayer;
use crate::source::{Source, SourceError};

impl Layer {
    /// Takes a layer of another image as it is. It has been read, and `facts`
    /// say what it was then; it is written from where it lies.
    ///
    /// # Errors
    ///
    /// When its blob cannot be opened.
    pub fn of_base(
        source: &Source,
        layer: &SelectedLayer,
        facts: BlobFacts,
        name: impl Into<String>,
    ) -> Result<Self> {
        let missing = || SourceError::Missing {
            name: layer.name.clone(),
        };
        let blob = source.member(&layer.name).map_err(Error::Source)?;
        let blob = blob.ok_or_else(missing).map_err(Error::Source)?;
        let path = source.path();
        let (file, offset) = blob.place().map_err(|source| Error::Base {
            path: path.to_path_buf(),
            source,
        })?;
        if blob.size() != layer.size {
            return Err(Error::BaseChanged {
                path: path.to_path_buf(),
            });
        }
        Ok(Self {
            name: name.into(),
            media_type: layer.media_type.clone(),
            annotations: layer.annotations.clone(),
            digest: layer.digest,
            size: layer.size,
            diff_id: layer.diff_id,
            tar_size: facts.tar_size,
            entries: facts.entries,
            is_reused: true,
            bytes: LayerBytes::Blob {
                file: Arc::new(file),
                offset,
                crc: facts.crc,
                place: Place::Base(path.into(), source.origin().cloned().map(Arc::new)),
            },
        })
    }
}
