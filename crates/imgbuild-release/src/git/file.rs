//! Bounded reads of the files of a repository.

use std::io;
use std::path::Path;

use fs_err as fs;
use imgbuild_oci::bounded;

use super::GitResult;

/// Opens a regular file, if it exists.
pub(super) fn open(path: &Path) -> GitResult<Option<fs::File>> {
    existing(bounded::open_file(path))
}

/// Reads a file of at most `limit` bytes, if it exists.
pub(super) fn read(path: &Path, limit: u64) -> GitResult<Option<Vec<u8>>> {
    existing(bounded::read_file(path, limit))
}

/// Returns the result of a call on a path; `None` if nothing is there.
pub(super) fn existing<T>(result: io::Result<T>) -> GitResult<Option<T>> {
    use io::ErrorKind::{NotADirectory, NotFound};
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// ByteReader that are taken from the front.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByteReader<'a>(pub(super) &'a [u8]);

impl<'a> ByteReader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes what comes before the next `end`, and `end`.
    pub(super) fn take_until(&mut self, end: u8) -> Option<&'a [u8]> {
        let length = self.0.iter().position(|byte| *byte == end)?;
        let taken = self.take(length)?;
        self.take(1)?;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    /// Takes a number of which each byte holds seven bits, lowest first.
    pub(super) fn size(&mut self) -> Option<u64> {
        let mut size = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            size |= bits.checked_shl(shift).filter(|it| it >> shift == bits)?;
            if byte & 0x80 == 0 {
                return Some(size);
            }
        }
        None
    }

    /// Takes a number of which each byte holds seven bits, highest first, and
    /// each further byte counts one more: an offset to a delta's base, or the
    /// length of a path in an index of version 4.
    pub(super) fn offset(&mut self) -> Option<u64> {
        let mut byte = self.byte()?;
        let mut offset = u64::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = self.byte()?;
            let shifted = offset.checked_add(1)?.checked_mul(128)?;
            offset = shifted | u64::from(byte & 0x7f);
        }
        Some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_in_both_forms() {
        for (bytes, size, offset) in [
            (&[0x00][..], Some(0), Some(0)),
            (&[0x7f], Some(127), Some(127)),
            (&[0x80, 0x01], Some(128), Some(129)),
            (&[0xff, 0x7f], Some(16383), Some(16511)),
            (&[0x80], None, None),
            (&[], None, None),
            (&[0xff; 12], None, None),
        ] {
            assert_eq!(ByteReader(bytes).size(), size, "{bytes:?}");
            assert_eq!(ByteReader(bytes).offset(), offset, "{bytes:?}");
        }
    }
}
