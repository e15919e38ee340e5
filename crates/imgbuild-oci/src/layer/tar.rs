//! The tar of a layer that is being made: hashed, or on its way to be
//! compressed.

use sha2::{Digest as _, Sha256};

use super::CHUNK_BYTES;
use crate::buffer::AlignedBuffer;
use crate::changeset::Changeset;
use crate::digest::{DiffId, Digest};
use crate::error::Result;
use crate::monitor::Monitor;
use crate::pipeline::SizedStream;
use crate::tar_writer::{self, TarStream};

/// The identity of a tar whose files were read to their ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct TarSummary {
    pub(super) diff_id: DiffId,
    /// The size in bytes.
    pub(super) size: u64,
    /// The CRC-32; 0 when the tar was compressed while it was read.
    pub(super) crc: u32,
    /// True if all files had their planned state when they had been read.
    pub(super) is_steady: bool,
}

impl TarSummary {
    /// Reads all files of a changeset and hashes its tar.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or is not as planned, or when interrupted.
    pub(super) fn read(changeset: &Changeset, monitor: Monitor<'_>) -> Result<Self> {
        let mut stream = TarStream::new(changeset.members(), true);
        let mut buffer = AlignedBuffer::new(CHUNK_BYTES);
        let mut sha = Sha256::new();
        let mut crc = crc32fast::Hasher::new();

        loop {
            monitor.check()?;
            let count = stream.fill(buffer.as_mut_slice())?;
            let chunk = &buffer.as_slice()[..count];
            sha.update(chunk);
            crc.update(chunk);
            if count < CHUNK_BYTES {
                break;
            }
        }
        Ok(Self {
            diff_id: DiffId::from_tar_digest(Digest::from_hasher(sha)),
            size: changeset.tar_size(),
            crc: crc.finalize(),
            is_steady: stream.is_steady(),
        })
    }
}

/// The tar of a changeset as input of the compressor.
pub(super) struct LayerStream<'a> {
    changeset: &'a Changeset,
    tar: TarStream<'a>,
}

impl<'a> LayerStream<'a> {
    pub(super) fn new(changeset: &'a Changeset) -> Self {
        Self {
            changeset,
            tar: TarStream::new(changeset.members(), true),
        }
    }

    /// Returns whether all files so far had their planned state when they had
    /// been read.
    pub(super) fn is_steady(&self) -> bool {
        self.tar.is_steady()
    }
}

impl SizedStream for LayerStream<'_> {
    fn size(&self) -> u64 {
        self.changeset.tar_size()
    }

    fn segment_starts(&self) -> Vec<u64> {
        tar_writer::segment_starts(self.changeset.members())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        let count = self.tar.fill(buffer)?;
        debug_assert_eq!(count, buffer.len(), "the size of the tar is known");
        Ok(())
    }
}
