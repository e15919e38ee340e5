//! The file header and the program headers.

use object::elf;

use super::source::Source;
use super::{Class, ElfError, Endianness, ReadAt};

/// More segments than any linker makes; the kernel takes 65,536 bytes of them
/// (`load_elf_phdrs`, linux/fs/binfmt_elf.c), which is 1,170 of 64 bits.
const MAX_SEGMENTS: u16 = 2048;

/// Decodes numbers as one file writes them.
#[derive(Clone, Copy)]
pub(super) struct Encoding {
    pub(super) class: Class,
    pub(super) endianness: Endianness,
}

impl Encoding {
    pub(super) fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let array = [bytes[at], bytes[at + 1]];
        match self.endianness {
            Endianness::Little => u16::from_le_bytes(array),
            Endianness::Big => u16::from_be_bytes(array),
        }
    }

    pub(super) fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let mut array = [0; 4];
        array.copy_from_slice(&bytes[at..at + 4]);
        match self.endianness {
            Endianness::Little => u32::from_le_bytes(array),
            Endianness::Big => u32::from_be_bytes(array),
        }
    }

    /// Reads the `index`-th word of a table of words: 4 or 8 bytes.
    pub(super) fn word(self, bytes: &[u8], index: usize) -> u64 {
        if self.class == Class::Bits32 {
            return u64::from(self.u32(bytes, index * 4));
        }
        let mut array = [0; 8];
        array.copy_from_slice(&bytes[index * 8..index * 8 + 8]);
        match self.endianness {
            Endianness::Little => u64::from_le_bytes(array),
            Endianness::Big => u64::from_be_bytes(array),
        }
    }

    pub(super) fn is_wide(self) -> bool {
        self.class == Class::Bits64
    }

    /// Returns the number of bytes of a word.
    pub(super) fn word_bytes(self) -> usize {
        if self.is_wide() { 8 } else { 4 }
    }
}

/// What the file header says.
pub(super) struct Header {
    pub(super) encoding: Encoding,
    pub(super) os_abi: u8,
    pub(super) file_type: elf::FileType,
    pub(super) machine: u16,
    pub(super) flags: u32,
    pub(super) sections: Table,
    segments: Table,
}

/// Where a table lies in the file.
#[derive(Clone, Copy)]
pub(super) struct Table {
    pub(super) offset: u64,
    pub(super) entry_bytes: u16,
    pub(super) count: u16,
}

/// A program header.
pub(super) struct Segment {
    pub(super) kind: elf::ProgramType,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) file_bytes: u64,
}

impl Header {
    /// Reads the header; `None` when the file does not start as one.
    pub(super) fn read<R: ReadAt + ?Sized>(
        source: &mut Source<'_, R>,
    ) -> Result<Option<Self>, ElfError> {
        let ident: [u8; 16] = match source.array(0) {
            Ok(ident) => ident,
            Err(ElfError::Malformed(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        if ident[..4] != elf::ELFMAG {
            return Ok(None);
        }
        let encoding = encoding(&ident)?;
        let mut bytes = [0; 64];
        let length = if encoding.is_wide() { 64 } else { 52 };
        source.fill(0, &mut bytes[..length])?;
        Ok(Some(Self::decode(encoding, &bytes)))
    }

    fn decode(encoding: Encoding, bytes: &[u8; 64]) -> Self {
        // Past the identification, type, machine and version come the entry
        // point and the offsets of both tables: three words.
        let word_bytes = encoding.word_bytes();
        let words = &bytes[24..];
        let rest = &bytes[24 + 3 * word_bytes..];
        Self {
            encoding,
            os_abi: bytes[7],
            file_type: elf::FileType(encoding.u16(bytes, 16)),
            machine: encoding.u16(bytes, 18),
            flags: encoding.u32(rest, 0),
            segments: Table {
                offset: encoding.word(words, 1),
                entry_bytes: encoding.u16(rest, 6),
                count: encoding.u16(rest, 8),
            },
            sections: Table {
                offset: encoding.word(words, 2),
                entry_bytes: encoding.u16(rest, 10),
                count: encoding.u16(rest, 12),
            },
        }
    }

    pub(super) fn segments<R: ReadAt + ?Sized>(
        &self,
        source: &mut Source<'_, R>,
    ) -> Result<Vec<Segment>, ElfError> {
        let entry_bytes: u16 = if self.encoding.is_wide() { 56 } else { 32 };
        if self.segments.count == 0 {
            return Ok(Vec::new());
        }
        if self.segments.entry_bytes != entry_bytes || self.segments.count > MAX_SEGMENTS {
            return Err(ElfError::Malformed("its program headers make no sense"));
        }
        let mut bytes = vec![0; usize::from(entry_bytes) * usize::from(self.segments.count)];
        source.fill(self.segments.offset, &mut bytes)?;
        Ok(bytes
            .chunks_exact(usize::from(entry_bytes))
            .map(|entry| self.segment(entry))
            .collect())
    }

    fn segment(&self, entry: &[u8]) -> Segment {
        // The 64-bit form has the flags before the offset, for alignment.
        let words = &entry[if self.encoding.is_wide() { 8 } else { 4 }..];
        Segment {
            kind: elf::ProgramType(self.encoding.u32(entry, 0)),
            offset: self.encoding.word(words, 0),
            address: self.encoding.word(words, 1),
            file_bytes: self.encoding.word(words, 3),
        }
    }
}

fn encoding(ident: &[u8; 16]) -> Result<Encoding, ElfError> {
    let class = match elf::FileClass(ident[4]) {
        elf::ELFCLASS32 => Class::Bits32,
        elf::ELFCLASS64 => Class::Bits64,
        _ => return Err(ElfError::Malformed("it is neither of 32 nor of 64 bits")),
    };
    let endianness = match elf::DataEncoding(ident[5]) {
        elf::ELFDATA2LSB => Endianness::Little,
        elf::ELFDATA2MSB => Endianness::Big,
        _ => return Err(ElfError::Malformed("its byte order is unknown")),
    };
    Ok(Encoding { class, endianness })
}

/// Returns where in the file the memory at `address` comes from, and where
/// its segment ends.
pub(super) fn offset_of(segments: &[Segment], address: u64) -> Option<(u64, u64)> {
    segments
        .iter()
        .filter(|segment| segment.kind == elf::PT_LOAD)
        .find_map(|segment| {
            let distance = address.checked_sub(segment.address)?;
            (distance < segment.file_bytes).then_some(())?;
            let start = segment.offset.checked_add(distance)?;
            Some((start, segment.offset.checked_add(segment.file_bytes)?))
        })
}
