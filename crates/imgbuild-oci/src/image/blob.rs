//! Configs and layers, and how their bytes get elsewhere.

use std::io::{self, Write};
use std::sync::Arc;

use crate::blob::BlobContent;
use crate::bounded;
use crate::digest::{Digest, DigestWriter};
use crate::document::MAX_DOCUMENT_BYTES;
use crate::error::{Error, Result};
use crate::layer::{CHUNK_BYTES, Layer};
use crate::media_type;
use crate::monitor::{Monitor, Progress};

/// A config or a layer.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The media type.
    pub media_type: String,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The number of the bytes.
    pub size: u64,
    /// True for the config of a manifest.
    pub is_config: bool,
    body: BlobBody,
}

/// The place of a blob's bytes.
#[derive(Debug, Clone)]
enum BlobBody {
    /// A layer that was built here: several threads can write it.
    Layer(Arc<Layer>),
    /// Bytes that are read in order.
    Content(Arc<dyn BlobContent>),
}

impl Blob {
    /// Takes a layer that is read in order.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64, content: Arc<dyn BlobContent>) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            is_config: false,
            body: BlobBody::Content(content),
        }
    }

    /// Takes the bytes of a config.
    pub(super) fn of_config(bytes: Vec<u8>) -> Self {
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        Self::new(media_type::CONFIG, digest, size, Arc::new(bytes)).into_config()
    }

    /// Marks the blob as the config of a manifest.
    pub(super) fn into_config(self) -> Self {
        Self {
            is_config: true,
            ..self
        }
    }

    /// Takes a finished layer.
    #[must_use]
    pub fn of_layer(layer: &Layer) -> Self {
        Self {
            media_type: layer.media_type.clone(),
            digest: layer.digest(),
            size: layer.size(),
            is_config: false,
            body: BlobBody::Layer(Arc::new(layer.clone())),
        }
    }

    /// Returns the bytes.
    #[must_use]
    pub fn content(&self) -> &dyn BlobContent {
        match &self.body {
            BlobBody::Layer(layer) => &**layer,
            BlobBody::Content(content) => &**content,
        }
    }

    /// Returns the layer that was built here, if it is one.
    pub(crate) fn layer(&self) -> Option<&Layer> {
        match &self.body {
            BlobBody::Layer(layer) => Some(layer),
            BlobBody::Content(_) => None,
        }
    }

    /// Reads a document whole, and checks it.
    pub(crate) fn read_document(&self) -> io::Result<Vec<u8>> {
        let bytes = bounded::read_all(self.content().open(0)?, MAX_DOCUMENT_BYTES)?;
        if Digest::of(&bytes) == self.digest {
            return Ok(bytes);
        }
        let kind = io::ErrorKind::InvalidData;
        Err(io::Error::new(kind, "its bytes have another digest"))
    }

    /// Runs `copy`, which can start again, until it succeeds or fails for good.
    pub(crate) fn until_whole(&self, copy: &dyn Fn() -> Result<()>) -> Result<()> {
        let mut failures = 0;
        loop {
            failures += 1;
            match copy() {
                Err(Error::Blob { source, .. }) if self.content().try_again(failures, &source) => {}
                result => return result,
            }
        }
    }

    /// Copies the bytes to `sink`, and checks them.
    ///
    /// # Errors
    ///
    /// When they cannot be read, are not those of the digest, or when the sink
    /// fails, as `sink_error` wraps it.
    pub(crate) fn copy_to(
        &self,
        sink: &mut dyn Write,
        sink_error: &dyn Fn(io::Error) -> Error,
        monitor: Monitor<'_>,
    ) -> Result<()> {
        let content = match &self.body {
            BlobBody::Layer(layer) => return layer.write_to(sink, sink_error, monitor),
            BlobBody::Content(content) => content,
        };
        let read_error = |source| Error::Blob {
            digest: self.digest,
            source,
        };
        let mut reader = content.open_unchecked().map_err(read_error)?;
        let mut writer = DigestWriter::new(sink);
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            monitor.check()?;
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A reader that was interrupted fails, too.
                Err(error) => return monitor.check().and(Err(read_error(error))),
            };
            writer.write_all(&buffer[..count]).map_err(sink_error)?;
            monitor.report(Progress::Written(count as u64));
        }
        let (_, found, size) = writer.finish();
        if found == self.digest && size == self.size {
            return Ok(());
        }
        if found == self.digest {
            return Err(Error::BlobSize {
                digest: found,
                expected: self.size,
                found: size,
            });
        }
        Err(Error::BlobDigest {
            expected: self.digest,
            found,
        })
    }
}

#[cfg(test)]
mod tests;
