//! The binary form of everything that a cache keeps as a record: the magic, a
//! kind, the value in the format of [postcard], and a CRC-32.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format

use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"imgbuild";

/// The kind of a record; none decodes as another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RecordKind {
    /// A layer whose files are in a known state.
    Layer = 1,
    /// A compressed layer whose tar is known.
    Content = 2,
    /// A file that was written to a destination.
    Output = 3,
    /// A note about files in a known state.
    Note = 4,
    /// The file that has the file system of a base image.
    System = 5,
    /// The file system of a base image. Number 6 was one without extended
    /// attributes; 7 followed links of layers below; 8 had other modes of hard links
    /// and of directories that a layer lacks; 9 kept accounts of `/etc` only.
    FileSystem = 10,
}

/// Encodes a value.
pub(crate) fn encode(kind: RecordKind, value: &impl Serialize) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(kind as u8);
    let mut bytes = postcard::to_extend(value, bytes).expect("records have lengths");
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Decodes a value. Returns `None` for bytes that are cut, altered, of another
/// kind or longer than the value; it allocates no more than a small multiple of
/// their number.
pub(crate) fn decode<'a, T: Deserialize<'a>>(kind: RecordKind, bytes: &'a [u8]) -> Option<T> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let payload = body.strip_prefix(MAGIC)?.strip_prefix(&[kind as u8])?;
    let (value, rest) = postcard::take_from_bytes(payload).ok()?;
    rest.is_empty().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_decodes_to_what_was_encoded() {
        let value = (u64::MAX, "text", Some(-1_i64), vec![b"a".as_slice(), b""]);
        let bytes = encode(RecordKind::Note, &value);
        assert_eq!(decode(RecordKind::Note, &bytes), Some(value));
    }

    #[test]
    fn a_record_that_is_cut_altered_longer_or_of_another_kind_does_not_decode() {
        let bytes = encode(RecordKind::Note, &(7_u64, "text"));
        let is_read = |bytes: &[u8]| decode::<(u64, &str)>(RecordKind::Note, bytes).is_some();
        assert!(is_read(&bytes));
        for length in 0..bytes.len() {
            assert!(!is_read(&bytes[..length]), "{length}");
        }
        for place in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[place] ^= 0x40;
            assert!(!is_read(&altered), "{place}");
        }
        assert!(decode::<u64>(RecordKind::Note, &bytes).is_none());
        assert!(decode::<(u64, &str)>(RecordKind::Layer, &bytes).is_none());
    }

    #[test]
    fn a_length_alone_takes_no_memory() {
        let bytes = encode(RecordKind::Note, &u64::MAX);
        assert!(decode::<Vec<u64>>(RecordKind::Note, &bytes).is_none());
        assert!(decode::<&[u8]>(RecordKind::Note, &bytes).is_none());
    }
}
