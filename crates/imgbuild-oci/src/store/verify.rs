//! Checks of the files of a store against their records.

use std::io;
use std::os::unix::fs::FileExt;

use sha2::{Digest as _, Sha256};

use super::record::ContentRecord;
use crate::digest::Digest;

/// Returns whether a file has the bytes of its record.
pub(super) fn is_blob(file: &std::fs::File, record: &ContentRecord) -> bool {
    hash(file).is_ok_and(|found| found == (record.digest, record.crc))
}

/// Returns the digest and the CRC of a file, from its beginning.
pub(super) fn hash(file: &std::fs::File) -> io::Result<(Digest, u32)> {
    let mut buffer = vec![0; 256 * 1024];
    let (mut sha, mut crc) = (Sha256::new(), crc32fast::Hasher::new());
    let mut position = 0;
    loop {
        match file.read_at(&mut buffer, position) {
            Ok(0) => return Ok((Digest::from_hasher(sha), crc.finalize())),
            Ok(count) => {
                sha.update(&buffer[..count]);
                crc.update(&buffer[..count]);
                position += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
