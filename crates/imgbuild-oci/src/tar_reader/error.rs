//! Errors of reading a tar.

use std::io;

use super::MAX_EXTENSION_BYTES;

/// A tar that cannot be read. Offsets count bytes of the uncompressed tar.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadTarError {
    /// The reader below failed.
    #[error("cannot read the tar at byte {offset}")]
    Read { offset: u64, source: io::Error },
    /// The tar ends within a header or a file.
    #[error("the tar ends early, at byte {0}")]
    Truncated(u64),
    /// The sum of a header's bytes is not the one in the header.
    #[error("the header at byte {offset} is damaged: expected checksum {expected}, found {found}")]
    Checksum {
        offset: u64,
        /// The sum in the header.
        expected: u64,
        /// The sum of its bytes.
        found: u64,
    },
    /// A field is not a number, or is out of range.
    #[error("the header at byte {offset} has no valid number in its `{field}` field")]
    Number { offset: u64, field: &'static str },
    /// An extension header is larger than [`MAX_EXTENSION_BYTES`].
    #[error(
        "the extension header at byte {offset} is too large: {size} bytes, at most {MAX_EXTENSION_BYTES}"
    )]
    ExtensionTooLarge {
        offset: u64,
        /// Its size, in bytes.
        size: u64,
    },
    /// A PAX record is not of the form `LENGTH KEY=VALUE`.
    #[error("the PAX header at byte {offset} is malformed")]
    Pax { offset: u64 },
    /// A path or a link target holds a NUL byte.
    #[error("the header at byte {offset} has a NUL byte in its `{field}` field")]
    Nul { offset: u64, field: &'static str },
    /// Something else follows one block of zeros.
    #[error("half an end mark at byte {offset}: a block of zeros, then something else")]
    EndMark { offset: u64 },
    /// No entry follows an extension header.
    #[error("the extension header at byte {offset} belongs to no entry")]
    LoneExtension { offset: u64 },
}
