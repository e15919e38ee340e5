//! Why a tar cannot be read.

use std::io;

use super::MAX_EXTENSION_BYTES;

/// A tar that cannot be read. Offsets count bytes of the uncompressed tar.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadTarError {
    /// The reader below failed.
    #[error("cannot read the tar at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The tar ends within a header or a file.
    #[error("the tar ends early, at byte {offset}")]
    Truncated {
        /// Where.
        offset: u64,
    },
    /// The sum of a header's bytes is not what the header says.
    #[error("the header at byte {offset} is damaged: expected checksum {expected}, found {found}")]
    Checksum {
        /// Where the header starts.
        offset: u64,
        /// What the header says.
        expected: u64,
        /// What its bytes add up to.
        found: u64,
    },
    /// A field that should be a number is none, or is out of range.
    #[error("the header at byte {offset} has no valid number in its `{field}` field")]
    Number {
        /// Where the header starts.
        offset: u64,
        /// Which field.
        field: &'static str,
    },
    /// An extension header is larger than [`MAX_EXTENSION_BYTES`].
    #[error(
        "the extension header at byte {offset} is too large: {size} bytes, at most {MAX_EXTENSION_BYTES}"
    )]
    ExtensionTooLarge {
        /// Where the header starts.
        offset: u64,
        /// How large it claims to be.
        size: u64,
    },
    /// A PAX record is not of the form `LENGTH KEY=VALUE`.
    #[error("the PAX header at byte {offset} is malformed")]
    Pax {
        /// Where the header starts.
        offset: u64,
    },
    /// A path or a link target holds a NUL byte.
    #[error("the header at byte {offset} has a NUL byte in its `{field}` field")]
    Nul {
        /// Where the header starts.
        offset: u64,
        /// Which field.
        field: &'static str,
    },
    /// One block of zeros is followed by something else.
    #[error("half an end mark at byte {offset}: a block of zeros, then something else")]
    EndMark {
        /// Where the block of zeros starts.
        offset: u64,
    },
    /// An extension header is followed by no entry.
    #[error("the extension header at byte {offset} belongs to no entry")]
    LoneExtension {
        /// Where the header starts.
        offset: u64,
    },
}
