//! Checks of the files of a store against their records.

use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::path::Path;

use crate::content::FileState;
use crate::digest::{Digest, DigestWriter};

/// The number of bytes that are read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// Opens a file that had `digest` in the state `recorded`, and returns its state
/// now. A file whose state changed, for example in a store that was copied to
/// another machine, is hashed; `None` is a missing or damaged one.
pub(super) fn open_recorded(
    path: &Path,
    recorded: &FileState,
    digest: Digest,
) -> Option<(File, FileState)> {
    let (file, _) = fs_err::File::open(path).ok()?.into_parts();
    let state = FileState::of(&file.metadata().ok()?);
    let is_right = state == *recorded
        || state.size == recorded.size && hash(&file).is_ok_and(|found| found == digest);
    is_right.then_some((file, state))
}

/// Returns the digest of a file, which is at its beginning then.
pub(super) fn hash(mut file: &File) -> io::Result<Digest> {
    file.rewind()?;
    let mut sha = DigestWriter::new(io::sink());
    io::copy(&mut BufReader::with_capacity(BUFFER_BYTES, file), &mut sha)?;
    file.rewind()?;
    Ok(sha.finish().1)
}
