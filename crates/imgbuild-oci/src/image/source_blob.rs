//! Blobs of layouts and archives, checked while they are read.

use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::blob::BlobContent;
use crate::digest::{Digest, DigestWriter};
use crate::document::blob_name;
use crate::source::{BlobReader, Source, SourceError};

/// A blob of a layout or archive.
#[derive(Debug)]
pub(super) struct SourceBlob {
    source: Arc<Source>,
    name: String,
    digest: Digest,
}

impl SourceBlob {
    /// The blob that lies where its digest says.
    pub(super) fn new(source: &Arc<Source>, digest: Digest) -> Self {
        Self::named(source, blob_name(&digest), digest)
    }

    /// A blob that lies elsewhere.
    pub(super) fn named(source: &Arc<Source>, name: String, digest: Digest) -> Self {
        Self {
            source: Arc::clone(source),
            name,
            digest,
        }
    }

    fn reader(&self) -> io::Result<BlobReader> {
        let name = self.name.clone();
        let found = self
            .source
            .member(&self.name)
            .and_then(|blob| blob.ok_or(SourceError::Missing { name }));
        found.map_err(io::Error::other)
    }
}

impl BlobContent for SourceBlob {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let reader = self.reader()?;
        if offset > 0 {
            return Ok(Box::new(reader.skip(offset)));
        }
        Ok(Box::new(Checked {
            left: reader.size(),
            reader,
            hasher: Some(DigestWriter::new(io::sink())),
            blob: self,
        }))
    }

    fn open_unchecked(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.reader()?))
    }
}

/// Keeps the last bytes of what turns out to be something else.
struct Checked<'a> {
    reader: BlobReader,
    left: u64,
    hasher: Option<DigestWriter<io::Sink>>,
    blob: &'a SourceBlob,
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.write_all(&buffer[..count])?;
        }
        self.left = self.left.saturating_sub(count as u64);
        let is_end = self.left == 0 || (count == 0 && !buffer.is_empty());
        if let Some(hasher) = self.hasher.take_if(|_| is_end) {
            let (_, found, _) = hasher.finish();
            self.compare(found)?;
        }
        Ok(count)
    }
}

impl Checked<'_> {
    fn compare(&self, found: Digest) -> io::Result<()> {
        let expected = self.blob.digest;
        if found == expected {
            return Ok(());
        }
        let name = self.blob.name.clone();
        Err(io::Error::other(SourceError::Digest {
            name,
            expected,
            found,
        }))
    }
}
