//! The bytes of a blob, at hand or elsewhere.

use std::fmt;
use std::io::{self, Read};

/// Bytes that can be read from any place on, again and again.
pub trait BlobContent: Send + Sync + fmt::Debug {
    /// Opens the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// When they cannot be read. A reader also fails if it detects other bytes
    /// than it should have.
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>>;

    /// Opens all bytes for a caller that compares their digest, so that it is
    /// not done twice.
    ///
    /// # Errors
    ///
    /// As [`BlobContent::open`].
    fn open_unchecked(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        self.open(0)
    }

    /// Opens the first `size` bytes, which costs little where bytes come from a
    /// registry.
    ///
    /// # Errors
    ///
    /// As [`BlobContent::open`], and when the source does not have them.
    fn open_start(&self, size: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.open(0)?.take(size)))
    }

    /// Fetches bytes that are kept on this machine once they were read. It may
    /// take long; later calls of [`BlobContent::open`] do not.
    ///
    /// # Errors
    ///
    /// When they cannot be fetched.
    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }

    /// Returns true if another attempt to read the bytes may succeed, after so
    /// many failures, the last one with `error`. It may wait before it returns.
    fn try_again(&self, failures: u32, error: &io::Error) -> bool {
        let _ = (failures, error);
        false
    }

    /// Returns the repository that has the bytes: another one of the same
    /// registry can mount them from there.
    fn origin(&self) -> Option<&BlobOrigin> {
        None
    }
}

/// A repository that has a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobOrigin {
    /// The registry, by its name in references.
    pub registry: String,
    /// The repository in it.
    pub repository: String,
}

/// Bytes in memory.
impl BlobContent for Vec<u8> {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let start = usize::try_from(offset).map_or(self.len(), |start| start.min(self.len()));
        Ok(Box::new(&self[start..]))
    }
}
