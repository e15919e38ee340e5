//! The bytes of a blob, wherever they are.

use std::fmt;
use std::io::{self, Read};

/// Bytes that can be read from any place on, again and again.
pub trait BlobContent: Send + Sync + fmt::Debug {
    /// Opens the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// When they cannot be read. A reader also fails when they turn out to be
    /// others than they should, as far as it can tell.
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>>;

    /// Opens all bytes for somebody who compares their digest, so that it need
    /// not be done twice.
    ///
    /// # Errors
    ///
    /// As [`BlobContent::open`].
    fn open_unchecked(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        self.open(0)
    }

    /// Opens the first `size` bytes: for a look that costs little where bytes
    /// come from afar.
    ///
    /// # Errors
    ///
    /// As [`BlobContent::open`], and when it is known that they are not there.
    fn open_start(&self, size: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.open(0)?.take(size)))
    }

    /// Gets the bytes near, where they are far and are not read from there.
    /// It may take long; later calls of [`BlobContent::open`] do not.
    ///
    /// # Errors
    ///
    /// When they cannot be had.
    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }

    /// Whether the bytes may come otherwise when they are read once more, after
    /// they could not be read so many times, the last time for `error`. It may
    /// wait before it says so.
    fn try_again(&self, failures: u32, error: &io::Error) -> bool {
        let _ = (failures, error);
        false
    }

    /// Returns the repository that has the bytes, if one does: another one of
    /// the same registry can take them from there.
    fn origin(&self) -> Option<&BlobOrigin> {
        None
    }
}

/// A repository that has a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobOrigin {
    /// The registry, as references name it.
    pub registry: String,
    /// The repository in it.
    pub repository: String,
}

/// Bytes at hand.
impl BlobContent for Vec<u8> {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let start = usize::try_from(offset).map_or(self.len(), |start| start.min(self.len()));
        Ok(Box::new(&self[start..]))
    }
}
