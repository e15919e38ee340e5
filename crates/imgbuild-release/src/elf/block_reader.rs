//! Reads small pieces of a file that may be huge, broken or hostile.

use std::collections::BTreeMap;
use std::ops::Range;

use object::pod::{self, Pod};

use super::{ElfError, ReadAt};

const BLOCK_BYTES: usize = 4096;

/// The number of blocks of one file that are read at most: 16 MiB. The tables of the
/// largest browsers fit; a hostile file costs no more.
const MAX_BLOCKS: usize = 4096;

/// The bytes of strings that one file may name in total, counted with
/// [`STRING_OVERHEAD_BYTES`] each. A table of a few bytes can otherwise point
/// at one long string without end.
const MAX_STRINGS_BYTES: usize = 8 << 20;

const STRING_OVERHEAD_BYTES: usize = 64;

/// The longest string. Search paths of tens of thousands of bytes are real.
const MAX_STRING_BYTES: usize = 1 << 20;

/// The largest structure of the format: the file header of 64 bits.
const MAX_STRUCTURE_BYTES: usize = 64;

const OUTSIDE: ElfError = ElfError::Malformed("a table lies outside of the file");

/// A file with the blocks that were read so far.
pub(super) struct BlockReader<'a, R: ?Sized> {
    reader: &'a R,
    blocks: BTreeMap<u64, Vec<u8>>,
    string_bytes: usize,
}

impl<'a, R: ReadAt + ?Sized> BlockReader<'a, R> {
    pub(super) fn new(reader: &'a R) -> Self {
        Self {
            reader,
            blocks: BTreeMap::new(),
            string_bytes: 0,
        }
    }

    pub(super) fn structure<T: Pod>(&mut self, offset: u64) -> Result<T, ElfError> {
        let mut buffer = [0; MAX_STRUCTURE_BYTES];
        let bytes = &mut buffer[..size_of::<T>()];
        self.fill(offset, bytes)?;
        let (value, _) = pod::from_bytes(bytes).map_err(|()| OUTSIDE)?;
        Ok(*value)
    }

    /// Reads `count` bytes; the caller bounds them.
    pub(super) fn bytes(&mut self, offset: u64, count: u64) -> Result<Vec<u8>, ElfError> {
        let mut bytes = vec![0; usize::try_from(count).map_err(|_| OUTSIDE)?];
        self.fill(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills the buffer; a file that ends before is malformed.
    fn fill(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), ElfError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = advance(offset, filled)?;
            let available = self.available(at)?;
            if available.is_empty() {
                return Err(OUTSIDE);
            }
            let count = available.len().min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&available[..count]);
            filled += count;
        }
        Ok(())
    }

    /// Reads the string that begins the range and ends with a NUL in it.
    pub(super) fn string(&mut self, range: Range<u64>) -> Result<String, ElfError> {
        let limit = usize::try_from(range.end.saturating_sub(range.start))
            .unwrap_or(MAX_STRING_BYTES)
            .min(MAX_STRING_BYTES);
        let mut string = Vec::new();
        loop {
            let available = self.available(advance(range.start, string.len())?)?;
            let available = &available[..available.len().min(limit - string.len())];
            if available.is_empty() {
                return Err(ElfError::Malformed("a string is not terminated"));
            }
            let nul = available.iter().position(|byte| *byte == 0);
            string.extend_from_slice(&available[..nul.unwrap_or(available.len())]);
            if nul.is_some() {
                break;
            }
        }
        self.string_bytes += string.len() + STRING_OVERHEAD_BYTES;
        if self.string_bytes > MAX_STRINGS_BYTES {
            return Err(ElfError::Malformed("it has too many strings"));
        }
        Ok(String::from_utf8_lossy(&string).into_owned())
    }

    /// Returns the block of `offset` from there on: nothing at the
    /// end of the file.
    fn available(&mut self, offset: u64) -> Result<&[u8], ElfError> {
        let number = offset / BLOCK_BYTES as u64;
        if !self.blocks.contains_key(&number) {
            if self.blocks.len() == MAX_BLOCKS {
                return Err(ElfError::Malformed("its tables are too large"));
            }
            let mut block = vec![0; BLOCK_BYTES];
            let count = self
                .reader
                .fill_at(&mut block, number * BLOCK_BYTES as u64)
                .map_err(|source| ElfError::Read { source })?;
            block.truncate(count);
            self.blocks.insert(number, block);
        }
        let start = usize::try_from(offset % BLOCK_BYTES as u64).expect("it is below 4,096");
        Ok(self.blocks[&number].get(start..).unwrap_or_default())
    }
}

fn advance(offset: u64, count: usize) -> Result<u64, ElfError> {
    offset
        .checked_add(count as u64)
        .filter(|offset| *offset <= i64::MAX as u64)
        .ok_or(OUTSIDE)
}
