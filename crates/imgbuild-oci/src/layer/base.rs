//! Layers of base images, taken over byte for byte.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use super::{BlobLocation, Layer, LayerBlob, LayerBytes};
use crate::blob::{BlobContent, BlobOrigin};
use crate::content::FileRange;
use crate::digest::{CheckedReader, Digest};
use crate::error::{Error, Result};
use crate::filesystem::BlobFacts;
use crate::parallel;
use crate::selection::SelectedLayer;
use crate::source::Source;
use crate::xattr::DroppedXattrs;

/// The number of layers that are fetched at a time.
const PARALLEL_LAYERS: usize = 4;

impl Layer {
    /// Takes a layer of another image as it is, out of its layout or archive.
    /// `facts` are from when it was read; without them, its digest is compared
    /// when it is written.
    ///
    /// # Errors
    ///
    /// When its blob cannot be opened.
    pub fn of_base(
        source: &Source,
        layer: &SelectedLayer,
        facts: Option<BlobFacts>,
        name: impl Into<String>,
    ) -> Result<Self> {
        let blob = source.existing(&layer.name).map_err(Error::Source)?;
        let path = source.path();
        let (file, offset) = blob.place().map_err(|source| Error::Base {
            path: path.to_path_buf(),
            source,
        })?;
        if blob.size() != layer.size {
            return Err(Error::BaseChanged(path.to_path_buf()));
        }
        let range = FileRange::new(Arc::new(file), offset, layer.size);
        let origin = source.origin().cloned().map(Arc::new);
        let bytes = match facts {
            Some(facts) => LayerBytes::Blob {
                range,
                crc: facts.crc,
                location: BlobLocation::Base(path.into(), origin),
            },
            None => LayerBytes::Remote(Arc::new(UnreadBlob {
                range,
                digest: layer.digest,
                path: path.to_path_buf(),
                origin,
            })),
        };
        Ok(Self::taken_over(layer, facts, name.into(), bytes))
    }

    /// Takes a layer of another image whose bytes are elsewhere.
    #[must_use]
    pub fn of_content(
        layer: &SelectedLayer,
        facts: Option<BlobFacts>,
        content: Arc<dyn BlobContent>,
        name: impl Into<String>,
    ) -> Self {
        Self::taken_over(layer, facts, name.into(), LayerBytes::Remote(content))
    }

    fn taken_over(
        layer: &SelectedLayer,
        facts: Option<BlobFacts>,
        name: String,
        bytes: LayerBytes,
    ) -> Self {
        Self {
            name,
            media_type: layer.media_type.clone(),
            annotations: layer.annotations.clone(),
            diff_id: layer.diff_id,
            tar_size: facts.map(|facts| facts.tar_size),
            entries: facts.map(|facts| facts.entries),
            dropped_xattrs: DroppedXattrs::default(),
            is_reused: true,
            blob: LayerBlob {
                digest: layer.digest,
                size: layer.size,
                bytes,
            },
        }
    }
}

/// Fetches the bytes of layers that are elsewhere, several at a time.
pub(crate) fn fetch_all<'a>(layers: impl Iterator<Item = &'a Layer>) -> Result<()> {
    let remote = layers.filter_map(|layer| match &layer.blob.bytes {
        LayerBytes::Remote(content) => Some((content, layer.digest())),
        LayerBytes::Tar { .. } | LayerBytes::Blob { .. } => None,
    });
    parallel::for_each(PARALLEL_LAYERS, remote, |(content, digest), _| {
        let prepared = content.prepare();
        prepared.map_err(|source| Error::Blob { digest, source })
    })
}

/// A blob of a layout or archive that was not read yet.
#[derive(Debug)]
struct UnreadBlob {
    range: FileRange,
    digest: Digest,
    path: PathBuf,
    origin: Option<Arc<BlobOrigin>>,
}

impl BlobContent for UnreadBlob {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        if offset > 0 {
            return Ok(Box::new(self.range.reader_from(offset)));
        }
        let error = |_| io::Error::other(Error::BaseChanged(self.path.clone()));
        let reader = self.range.reader_from(0);
        let size = self.range.place().1;
        let checked = CheckedReader::new(reader, size, self.digest, error);
        Ok(Box::new(checked))
    }

    fn origin(&self) -> Option<&BlobOrigin> {
        self.origin.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(bytes: &[u8], digest: Digest) -> UnreadBlob {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blob");
        fs_err::write(&path, bytes).unwrap();
        let (file, _) = fs_err::File::open(&path).unwrap().into_parts();
        UnreadBlob {
            range: FileRange::new(Arc::new(file), 2, bytes.len() as u64 - 2),
            digest,
            path,
            origin: None,
        }
    }

    fn read(blob: &UnreadBlob, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        blob.open(offset)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn an_unread_blob_gives_its_bytes_from_any_place() {
        let blob = blob(b"..bytes", Digest::of(b"bytes"));
        assert_eq!(read(&blob, 0).unwrap(), b"bytes");
        assert_eq!(read(&blob, 3).unwrap(), b"es");
        assert_eq!(read(&blob, 5).unwrap(), b"");
    }

    #[test]
    fn an_unread_blob_that_is_another_fails_before_its_end() {
        let blob = blob(b"..bytes", Digest::of(b"other"));
        let mut reader = blob.open(0).unwrap();
        assert_eq!(reader.read(&mut [0; 4]).unwrap(), 4);
        let error = reader.read(&mut [0; 4]).unwrap_err();
        assert!(error.to_string().contains("the base image"), "{error}");
    }

    #[test]
    fn a_blob_that_became_shorter_is_another() {
        let blob = blob(b"..bytes", Digest::of(b"bytes"));
        let short = UnreadBlob {
            range: FileRange::new(Arc::new(tempfile::tempfile().unwrap()), 0, 5),
            ..blob
        };
        assert!(read(&short, 0).is_err());
    }
}
