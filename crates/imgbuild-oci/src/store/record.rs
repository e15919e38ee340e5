//! The small files of a store: fixed fields, a kind at the start, a checksum
//! at the end. What does not decode is as good as absent.

use crate::content::{FileState, Timestamp};
use crate::digest::{DiffId, Digest};

const MAGIC: &[u8; 8] = b"imgbuild";

/// What is known of a layer whose files are in a known state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerRecord {
    pub(crate) diff_id: DiffId,
    pub(crate) tar_size: u64,
    /// The CRC-32 of the tar.
    pub(crate) tar_crc: u32,
}

/// What is known of a compressed layer whose tar is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentRecord {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// The CRC-32 of the blob.
    pub(super) crc: u32,
    /// The state of the blob's file when it was known to be right.
    pub(super) state: FileState,
}

/// What was written to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutputRecord {
    pub(super) identity: Digest,
    pub(super) state: FileState,
}

/// The file that says what the layers of a base image hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SystemRecord {
    pub(super) digest: Digest,
    /// The state of the file when it was known to be right.
    pub(super) state: FileState,
}

/// Puts `payload` between the magic and a checksum.
pub(super) fn seal(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(payload);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Returns the payload of a record of this kind that is whole.
pub(super) fn unseal(kind: u8, bytes: &[u8]) -> Option<&[u8]> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let payload = body.strip_prefix(MAGIC)?.strip_prefix(&[kind])?;
    (crc32fast::hash(body) == u32::from_le_bytes(*crc)).then_some(payload)
}

impl LayerRecord {
    pub(super) const KIND: u8 = 1;

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut payload = self.diff_id.as_digest().as_bytes().to_vec();
        payload.extend_from_slice(&self.tar_size.to_le_bytes());
        payload.extend_from_slice(&self.tar_crc.to_le_bytes());
        seal(Self::KIND, &payload)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(unseal(Self::KIND, bytes)?);
        let record = Self {
            diff_id: DiffId::from_tar_digest(fields.digest()?),
            tar_size: fields.number()?,
            tar_crc: fields.crc()?,
        };
        fields.is_at_end().then_some(record)
    }
}

impl ContentRecord {
    pub(super) const KIND: u8 = 2;

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut payload = self.digest.as_bytes().to_vec();
        payload.extend_from_slice(&self.size.to_le_bytes());
        payload.extend_from_slice(&self.crc.to_le_bytes());
        push_state(&mut payload, &self.state);
        seal(Self::KIND, &payload)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(unseal(Self::KIND, bytes)?);
        let record = Self {
            digest: fields.digest()?,
            size: fields.number()?,
            crc: fields.crc()?,
            state: fields.state()?,
        };
        fields.is_at_end().then_some(record)
    }
}

impl OutputRecord {
    pub(super) const KIND: u8 = 3;

    pub(super) fn encode(&self) -> Vec<u8> {
        encode_stated(Self::KIND, self.identity, &self.state)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (identity, state) = decode_stated(Self::KIND, bytes)?;
        Some(Self { identity, state })
    }
}

impl SystemRecord {
    /// [`super::NOTE_KIND`] comes before.
    pub(super) const KIND: u8 = 5;

    pub(super) fn encode(&self) -> Vec<u8> {
        encode_stated(Self::KIND, self.digest, &self.state)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (digest, state) = decode_stated(Self::KIND, bytes)?;
        Some(Self { digest, state })
    }
}

/// A record of a digest and the state of the file that has it.
fn encode_stated(kind: u8, digest: Digest, state: &FileState) -> Vec<u8> {
    let mut payload = digest.as_bytes().to_vec();
    push_state(&mut payload, state);
    seal(kind, &payload)
}

fn decode_stated(kind: u8, bytes: &[u8]) -> Option<(Digest, FileState)> {
    let mut fields = Fields(unseal(kind, bytes)?);
    let stated = (fields.digest()?, fields.state()?);
    fields.is_at_end().then_some(stated)
}

fn push_state(payload: &mut Vec<u8>, state: &FileState) {
    for number in [state.size, state.inode, state.device, state.mode.into()] {
        payload.extend_from_slice(&number.to_le_bytes());
    }
    for time in [state.mtime, state.ctime] {
        payload.extend_from_slice(&time.seconds.to_le_bytes());
        payload.extend_from_slice(&time.nanoseconds.to_le_bytes());
    }
}

/// Takes fields off the front of a payload.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const COUNT: usize>(&mut self) -> Option<[u8; COUNT]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn digest(&mut self) -> Option<Digest> {
        self.take().map(Digest::from_bytes)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn crc(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn time(&mut self) -> Option<Timestamp> {
        Some(Timestamp {
            seconds: self.take().map(i64::from_le_bytes)?,
            nanoseconds: self.take().map(i64::from_le_bytes)?,
        })
    }

    fn state(&mut self) -> Option<FileState> {
        let [size, inode, device, mode] = [
            self.number()?,
            self.number()?,
            self.number()?,
            self.number()?,
        ];
        Some(FileState {
            size,
            inode,
            device,
            mode: u32::try_from(mode).ok()?,
            mtime: self.time()?,
            ctime: self.time()?,
        })
    }

    fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> FileState {
        let time = |seconds| Timestamp {
            seconds,
            nanoseconds: 999_999_999,
        };
        FileState {
            size: 1,
            mtime: time(-2),
            ctime: time(3),
            inode: u64::MAX,
            device: 4,
            mode: 0o100_644,
        }
    }

    #[test]
    fn records_decode_to_what_was_encoded() {
        let layer = LayerRecord {
            diff_id: DiffId::from_tar_digest(Digest::of(b"tar")),
            tar_size: 7,
            tar_crc: 8,
        };
        assert_eq!(LayerRecord::decode(&layer.encode()), Some(layer));
        let content = ContentRecord {
            digest: Digest::of(b"blob"),
            size: 9,
            crc: 10,
            state: state(),
        };
        assert_eq!(ContentRecord::decode(&content.encode()), Some(content));
        let output = OutputRecord {
            identity: Digest::of(b"identity"),
            state: state(),
        };
        assert_eq!(OutputRecord::decode(&output.encode()), Some(output));
        let system = SystemRecord {
            digest: Digest::of(b"system"),
            state: state(),
        };
        assert_eq!(SystemRecord::decode(&system.encode()), Some(system));
    }

    #[test]
    fn what_is_damaged_or_of_another_kind_does_not_decode() {
        let record = OutputRecord {
            identity: Digest::of(b"identity"),
            state: state(),
        };
        let bytes = record.encode();
        for length in 0..bytes.len() {
            assert_eq!(OutputRecord::decode(&bytes[..length]), None, "{length}");
        }
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x40;
            assert_eq!(OutputRecord::decode(&damaged), None, "{place}");
        }
        assert_eq!(LayerRecord::decode(&bytes), None);
        assert_eq!(ContentRecord::decode(&bytes), None);
        assert_eq!(SystemRecord::decode(&bytes), None);
    }
}
