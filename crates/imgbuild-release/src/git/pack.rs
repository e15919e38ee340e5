//! Packs: many objects in one file, most of them as deltas, and an index with
//! their offsets ([gitformat-pack(5)], version 2 of the index).
//!
//! [gitformat-pack(5)]: https://git-scm.com/docs/gitformat-pack

use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;

use flate2::bufread::ZlibDecoder;
use fs_err as fs;
use fs_err::os::unix::fs::FileExt as _;
use imgbuild_oci::bounded;

use super::budget::WorkBudget;
use super::file::ByteReader;
use super::id::Hash;
use super::{GitError, GitResult, ObjectId, file};

const SIGNATURE: &[u8] = b"\xfftOc\0\0\0\x02";

/// The kinds of objects, by their numbers in a pack from 1 on.
pub(super) const KINDS: [&str; 4] = ["commit", "tree", "blob", "tag"];

/// The most bytes of an object: only commits are read.
pub(super) const MAX_OBJECT_BYTES: u64 = 4 << 20;

/// The table of how many objects have a name that starts with each byte or a
/// lower one.
const FANOUT_BYTES: u64 = 256 * 4;

const TABLES: u64 = SIGNATURE.len() as u64 + FANOUT_BYTES;

/// The most deltas between an object and its base; git makes 4095.
const MAX_DELTAS: usize = 4096;

/// A pack, by its index.
#[derive(Debug)]
pub(super) struct Pack {
    index: PathBuf,
    fanout: Vec<u32>,
    hash: Hash,
}

/// The base of an object in a pack: none for one that is whole.
enum DeltaBase {
    Whole(&'static str),
    Offset(u64),
    Object(ObjectId),
}

impl Pack {
    pub(super) fn open(index: PathBuf, hash: Hash) -> GitResult<Self> {
        let file = file::open(&index)?;
        let malformed = |reason| GitError::malformed(&index, reason);
        let file = file.ok_or_else(|| malformed("it vanished"))?;
        let mut start = [0; TABLES as usize];
        let read = file.read_exact_at(&mut start, 0);
        read.map_err(|_| malformed("it is too short"))?;
        let mut bytes = ByteReader(&start);
        if bytes.take(SIGNATURE.len()) != Some(SIGNATURE) {
            return Err(GitError::unsupported(&index, "an index of another version"));
        }
        let counts = std::iter::from_fn(|| bytes.u32());
        let fanout: Vec<u32> = counts.collect();
        if fanout.is_sorted() {
            Ok(Self {
                index,
                fanout,
                hash,
            })
        } else {
            Err(malformed("its counts are not sorted"))
        }
    }

    fn malformed(&self, reason: &'static str) -> GitError {
        GitError::malformed(&self.index, reason)
    }

    /// Returns the offset of an object in the pack.
    pub(super) fn find(&self, id: ObjectId) -> GitResult<Option<u64>> {
        let first = usize::from(id.as_bytes()[0]);
        let count = |of: usize| u64::from(self.fanout[of]);
        let mut low = first.checked_sub(1).map_or(0, count);
        let mut high = count(first);
        if low == high {
            return Ok(None);
        }
        let file = file::open(&self.index)?.ok_or_else(|| self.malformed("it vanished"))?;
        let size = self.hash.size() as u64;
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.bytes(&file, TABLES + middle * size, self.hash.size())?;
            match id.as_bytes().cmp(&found) {
                std::cmp::Ordering::Less => high = middle,
                std::cmp::Ordering::Greater => low = middle + 1,
                std::cmp::Ordering::Equal => return self.offset(&file, middle).map(Some),
            }
        }
        Ok(None)
    }

    /// Reads the offset of the object of a number. Offsets beyond 2 GiB are in a
    /// table of their own.
    fn offset(&self, file: &fs::File, number: u64) -> GitResult<u64> {
        const IS_LARGE: u64 = 1 << 31;
        let count = u64::from(self.fanout[255]);
        // After the names, there is a checksum of four bytes for each object.
        let offsets = TABLES + count * (self.hash.size() as u64 + 4);
        let short = self.number(file, offsets + number * 4, 4)?;
        if short & IS_LARGE == 0 {
            return Ok(short);
        }
        let place = offsets + count * 4 + (short ^ IS_LARGE) * 8;
        self.number(file, place, 8)
    }

    fn number(&self, file: &fs::File, offset: u64, count: usize) -> GitResult<u64> {
        let bytes = self.bytes(file, offset, count)?;
        let add = |number, byte: &u8| (number << 8) | u64::from(*byte);
        Ok(bytes.iter().fold(0, add))
    }

    fn bytes(&self, file: &fs::File, offset: u64, count: usize) -> GitResult<Vec<u8>> {
        let mut bytes = vec![0; count];
        let read = file.read_exact_at(&mut bytes, offset);
        read.map_err(|_| self.malformed("it is too short"))?;
        Ok(bytes)
    }

    /// Reads the object at an offset: back from delta to delta to one that is
    /// whole, and forward again. What each delta makes is taken from the budget.
    pub(super) fn object(
        &self,
        mut offset: u64,
        budget: &WorkBudget,
    ) -> GitResult<(&'static str, Vec<u8>)> {
        let path = self.index.with_extension("pack");
        let file = file::open(&path)?;
        let file = file.ok_or_else(|| GitError::malformed(&path, "it vanished"))?;
        let malformed = || GitError::malformed(&path, "an object in it cannot be read");
        let mut deltas = Vec::new();
        let mut total = 0;
        let (kind, mut data) = loop {
            let (base, data) = self.entry(&file, offset).ok_or_else(malformed)?;
            total += data.len() as u64;
            if total > MAX_OBJECT_BYTES || deltas.len() > MAX_DELTAS {
                return Err(malformed());
            }
            offset = match base {
                DeltaBase::Whole(kind) => break (kind, data),
                DeltaBase::Offset(offset) => offset,
                DeltaBase::Object(id) => self.find(id)?.ok_or_else(malformed)?,
            };
            deltas.push(data);
        };
        for delta in deltas.iter().rev() {
            let limit = budget.left().min(MAX_OBJECT_BYTES);
            data = apply_delta(&data, delta, limit).ok_or_else(malformed)?;
            budget.spend(data.len() as u64, &path)?;
        }
        Ok((kind, data))
    }

    /// Reads the entry at an offset: an object, or a delta and its base.
    fn entry(&self, mut file: &fs::File, offset: u64) -> Option<(DeltaBase, Vec<u8>)> {
        file.seek(SeekFrom::Start(offset)).ok()?;
        let mut content = BufReader::new(file);
        // The buffer is far larger than what comes before the content: kind and
        // size, and the name of the base or the distance to it.
        let start = content.fill_buf().ok()?;
        let mut header = ByteReader(start);
        let first = header.byte()?;
        let mut size = u64::from(first & 0x0f);
        if first & 0x80 != 0 {
            let rest = header.size()?;
            size |= rest.checked_mul(16)?;
        }
        let base = match (first >> 4) & 7 {
            kind @ 1..=4 => DeltaBase::Whole(KINDS[usize::from(kind) - 1]),
            6 => DeltaBase::Offset(offset.checked_sub(header.offset()?.max(1))?),
            7 => DeltaBase::Object(self.hash.id(header.take(self.hash.size())?)?),
            _ => return None,
        };
        if size > MAX_OBJECT_BYTES {
            return None;
        }
        let header_bytes = start.len() - header.0.len();
        content.consume(header_bytes);

        let data = bounded::read_all(ZlibDecoder::new(content), size).ok()?;
        (data.len() as u64 == size).then_some((base, data))
    }
}

/// Makes an object of at most `limit` bytes from its base; none if the delta is
/// malformed.
fn apply_delta(base: &[u8], delta: &[u8], limit: u64) -> Option<Vec<u8>> {
    let mut delta = ByteReader(delta);
    let base_size = delta.size()?;
    let size = delta.size().filter(|size| *size <= limit)?;
    if base_size != base.len() as u64 {
        return None;
    }
    let mut made = Vec::new();
    while let Some(instruction) = delta.byte() {
        let piece = match instruction {
            0 => return None,
            1..=0x7f => delta.take(usize::from(instruction))?,
            0x80.. => copied(base, instruction, &mut delta)?,
        };
        if (made.len() + piece.len()) as u64 > size {
            return None;
        }
        made.extend_from_slice(piece);
    }
    (made.len() as u64 == size).then_some(made)
}

/// Returns the piece of the base that an instruction copies: its bits select
/// the bytes of offset and length that follow.
fn copied<'a>(base: &'a [u8], instruction: u8, delta: &mut ByteReader<'_>) -> Option<&'a [u8]> {
    let mut number = |bits: std::ops::Range<u8>| {
        let mut number = 0_usize;
        for (place, bit) in bits.enumerate() {
            if instruction & (1 << bit) != 0 {
                number |= usize::from(delta.byte()?) << (8 * place);
            }
        }
        Some(number)
    };
    let offset = number(0..4)?;
    let length = match number(4..7)? {
        0 => 0x10000,
        length => length,
    };
    base.get(offset..offset.checked_add(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &[u8] = b"hello world";

    #[test]
    fn pieces_are_copied_and_inserted() {
        // 6 bytes from 0, then `there`.
        let delta = [11, 11, 0x90, 6, 5, b't', b'h', b'e', b'r', b'e'];
        assert_eq!(apply_delta(BASE, &delta, 100).unwrap(), b"hello there");
        assert_eq!(
            apply_delta(BASE, &[11, 5, 0x91, 6, 5], 100).unwrap(),
            b"world"
        );
    }

    #[test]
    fn malformed_deltas_make_nothing() {
        for delta in [
            &[][..],
            &[10, 5, 0x91, 6, 5],
            &[11, 4, 0x91, 6, 5],
            &[11, 6, 0x91, 6, 5],
            &[11, 6, 0x91, 6, 6],
            &[11, 5, 0x91, 6],
            &[11, 5, 0],
            &[11, 5, 5, b'a'],
            &[11, 101, 0x91, 6, 5],
            &[11, 5, 0xff, 255, 255, 255, 255, 255, 255, 255],
        ] {
            assert_eq!(apply_delta(BASE, delta, 100), None, "{delta:?}");
        }
    }
}
