//! Blobs of layouts and archives, checked while they are read.

use std::io::{self, Read};
use std::sync::Arc;

use super::{MemberReader, Source, SourceError};
use crate::blob::BlobContent;
use crate::digest::{CheckedReader, Digest};
use crate::document::blob_name;

/// A blob of a layout or archive.
#[derive(Debug)]
pub(crate) struct SourceBlob {
    source: Arc<Source>,
    name: String,
    digest: Digest,
}

impl SourceBlob {
    /// Takes the blob at the path of its digest.
    pub(crate) fn new(source: &Arc<Source>, digest: Digest) -> Self {
        Self::named(source, blob_name(&digest), digest)
    }

    /// Takes a blob by its name in the source.
    pub(crate) fn named(source: &Arc<Source>, name: String, digest: Digest) -> Self {
        Self {
            source: Arc::clone(source),
            name,
            digest,
        }
    }

    fn reader(&self) -> io::Result<MemberReader> {
        self.source.existing(&self.name).map_err(io::Error::other)
    }
}

impl BlobContent for SourceBlob {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let reader = self.reader()?;
        if offset > 0 {
            return Ok(Box::new(reader.skip(offset)));
        }
        let size = reader.size();
        let error = |found| {
            io::Error::other(SourceError::Digest {
                name: self.name.clone(),
                expected: self.digest,
                found,
            })
        };
        let checked = CheckedReader::new(reader, size, self.digest, error);
        Ok(Box::new(checked))
    }

    fn open_unchecked(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.reader()?))
    }
}
