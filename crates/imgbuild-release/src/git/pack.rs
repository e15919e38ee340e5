//! Packs: many objects in one file, most of them as deltas, and an index that
//! says where each one lies ([gitformat-pack(5)], version 2 of the index).
//!
//! [gitformat-pack(5)]: https://git-scm.com/docs/gitformat-pack

use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::file::{Bytes, From};
use super::id::Hash;
use super::objects::{Kind, MAX_OBJECT_BYTES};
use super::{GitError, ObjectId, Result, delta, file};

const SIGNATURE: &[u8] = b"\xfftOc\0\0\0\x02";

/// How many objects have a name that starts with each byte or a lower one.
const FANOUT_BYTES: u64 = 256 * 4;

const TABLES: u64 = SIGNATURE.len() as u64 + FANOUT_BYTES;

/// The most deltas between an object and its base; git makes 4095.
const MAX_DELTAS: usize = 4096;

/// The most bytes before the content of an object: its kind and size, and the
/// name of its base or the way to it.
const MAX_HEADER_BYTES: usize = 64;

/// A pack, by its index.
#[derive(Debug)]
pub(super) struct Pack {
    index: PathBuf,
    fanout: Vec<u32>,
    hash: Hash,
}

/// What an object in a pack is made of.
enum Base {
    Nothing(Kind),
    Offset(u64),
    Object(ObjectId),
}

impl Pack {
    pub(super) fn open(index: PathBuf, hash: Hash) -> Result<Self> {
        let file = file::open(&index)?;
        let malformed = |reason| GitError::malformed(&index, reason);
        let file = file.ok_or_else(|| malformed("it is gone"))?;
        let mut start = [0; TABLES as usize];
        let read = file.file().read_exact_at(&mut start, 0);
        read.map_err(|_| malformed("it is too short"))?;
        let mut bytes = Bytes(&start);
        if bytes.take(SIGNATURE.len()) != Some(SIGNATURE) {
            return Err(GitError::unsupported(&index, "an index of another version"));
        }
        let counts = std::iter::from_fn(|| bytes.u32());
        let fanout: Vec<u32> = counts.collect();
        match fanout.is_sorted() {
            true => Ok(Self {
                index,
                fanout,
                hash,
            }),
            false => Err(malformed("its counts do not grow")),
        }
    }

    fn malformed(&self, reason: &'static str) -> GitError {
        GitError::malformed(&self.index, reason)
    }

    /// Returns where in the pack an object lies.
    pub(super) fn find(&self, id: ObjectId) -> Result<Option<u64>> {
        let first = usize::from(id.as_bytes()[0]);
        let count = |of: usize| u64::from(self.fanout[of]);
        let mut low = first.checked_sub(1).map_or(0, count);
        let mut high = count(first);
        if low == high {
            return Ok(None);
        }
        let file = file::open(&self.index)?.ok_or_else(|| self.malformed("it is gone"))?;
        let file = file.file();
        let size = self.hash.size() as u64;
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.bytes(file, TABLES + middle * size, self.hash.size())?;
            match id.as_bytes().cmp(&found) {
                std::cmp::Ordering::Less => high = middle,
                std::cmp::Ordering::Greater => low = middle + 1,
                std::cmp::Ordering::Equal => return self.offset(file, middle).map(Some),
            }
        }
        Ok(None)
    }

    /// Reads where the object of a number lies; beyond 2 GiB, a further table
    /// says so.
    fn offset(&self, file: &File, number: u64) -> Result<u64> {
        const IS_LARGE: u64 = 1 << 31;
        let count = u64::from(self.fanout[255]);
        // After the names, there is a checksum of four bytes for each object.
        let offsets = TABLES + count * (self.hash.size() as u64 + 4);
        let short = self.bytes(file, offsets + number * 4, 4)?;
        let short = u64::from(u32::from_be_bytes(
            short.try_into().expect("four were read"),
        ));
        if short & IS_LARGE == 0 {
            return Ok(short);
        }
        let place = offsets + count * 4 + (short ^ IS_LARGE) * 8;
        let long = self.bytes(file, place, 8)?;
        Ok(u64::from_be_bytes(
            long.try_into().expect("eight were read"),
        ))
    }

    fn bytes(&self, file: &File, offset: u64, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let read = file.read_exact_at(&mut bytes, offset);
        read.map_err(|_| self.malformed("it is too short"))?;
        Ok(bytes)
    }

    /// Reads the object at an offset: back from delta to delta to one that is
    /// whole, and forward again.
    pub(super) fn object(&self, mut offset: u64) -> Result<(Kind, Vec<u8>)> {
        let path = self.index.with_extension("pack");
        let file = file::open(&path)?;
        let file = file.ok_or_else(|| GitError::malformed(&path, "it is gone"))?;
        let malformed = || GitError::malformed(&path, "an object in it cannot be read");
        let mut deltas = Vec::new();
        let mut total = 0;
        let (kind, mut data) = loop {
            let (base, data) = self.entry(file.file(), offset).ok_or_else(malformed)?;
            total += data.len() as u64;
            if total > MAX_OBJECT_BYTES || deltas.len() > MAX_DELTAS {
                return Err(malformed());
            }
            offset = match base {
                Base::Nothing(kind) => break (kind, data),
                Base::Offset(offset) => offset,
                Base::Object(id) => self.find(id)?.ok_or_else(malformed)?,
            };
            deltas.push(data);
        };
        for delta in deltas.iter().rev() {
            data = delta::apply(&data, delta, MAX_OBJECT_BYTES).ok_or_else(malformed)?;
        }
        Ok((kind, data))
    }

    /// Reads what lies at an offset: an object, or a delta and its base.
    fn entry(&self, file: &File, offset: u64) -> Option<(Base, Vec<u8>)> {
        let mut start = Vec::new();
        let mut from = std::io::Read::take(From::new(file, offset), MAX_HEADER_BYTES as u64);
        std::io::Read::read_to_end(&mut from, &mut start).ok()?;
        let mut header = Bytes(&start);
        let first = header.byte()?;
        let mut size = u64::from(first & 0x0f);
        if first & 0x80 != 0 {
            let rest = header.size()?;
            size |= rest.checked_mul(16)?;
        }
        let base = match (first >> 4) & 7 {
            1 => Base::Nothing(Kind::Commit),
            2 => Base::Nothing(Kind::Tree),
            3 => Base::Nothing(Kind::Blob),
            4 => Base::Nothing(Kind::Tag),
            6 => Base::Offset(offset.checked_sub(header.offset()?.max(1))?),
            7 => Base::Object(self.hash.id(header.take(self.hash.size())?)?),
            _ => return None,
        };
        if size > MAX_OBJECT_BYTES {
            return None;
        }
        let header_size = (start.len() - header.0.len()) as u64;
        let content = BufReader::new(From::new(file, offset + header_size));
        Some((base, file::inflate(content, size)?))
    }
}
