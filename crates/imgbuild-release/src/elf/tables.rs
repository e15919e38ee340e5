//! The headers of one ELF file, and what they lead to.
//!
//! The crate `object` has the layout of every structure. The walk is ours: it
//! goes by the program headers, as that of the kernel and the loader does,
//! since a stripped file may have no sections.

use std::ops::Range;

use object::elf;
use object::read::elf::{FileHeader, ProgramHeader as _};

use super::block_reader::BlockReader;
use super::{Class, ElfError, Endianness, ReadAt};

/// More segments than any linker makes; the kernel takes 65,536 bytes of them
/// (`load_elf_phdrs`, linux/fs/binfmt_elf.c), which is 1,170 of 64 bits.
const MAX_SEGMENTS: u16 = 2048;

/// One file with its headers. `H` is the file header of its class.
pub(super) struct ElfTables<'a, R: ?Sized, H: FileHeader> {
    pub(super) reader: BlockReader<'a, R>,
    pub(super) endian: Endianness,
    pub(super) header: H,
    segments: Vec<H::ProgramHeader>,
}

/// Reads class and byte order; `None` when the file does not start as an ELF
/// file.
pub(super) fn identify<R: ReadAt + ?Sized>(
    reader: &mut BlockReader<'_, R>,
) -> Result<Option<(Class, Endianness)>, ElfError> {
    let ident: [u8; 16] = match reader.structure(0) {
        Ok(ident) => ident,
        Err(ElfError::Malformed(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    if ident[..4] != elf::ELFMAG {
        return Ok(None);
    }
    let class = match elf::FileClass(ident[4]) {
        elf::ELFCLASS32 => Class::Bits32,
        elf::ELFCLASS64 => Class::Bits64,
        _ => return Err(ElfError::Malformed("it is neither 32-bit nor 64-bit")),
    };
    let endianness = match elf::DataEncoding(ident[5]) {
        elf::ELFDATA2LSB => Endianness::Little,
        elf::ELFDATA2MSB => Endianness::Big,
        _ => return Err(ElfError::Malformed("its byte order is unknown")),
    };
    Ok(Some((class, endianness)))
}

impl<'a, R, H> ElfTables<'a, R, H>
where
    R: ReadAt + ?Sized,
    H: FileHeader<Endian = Endianness>,
{
    pub(super) fn open(
        mut reader: BlockReader<'a, R>,
        endian: Endianness,
    ) -> Result<Self, ElfError> {
        let header = reader.structure(0)?;
        Ok(Self {
            reader,
            endian,
            header,
            segments: Vec::new(),
        })
    }

    pub(super) fn read_segments(&mut self) -> Result<(), ElfError> {
        let count = self.header.e_phnum(self.endian);
        if count == 0 {
            return Ok(());
        }
        let entry_bytes = size_of::<H::ProgramHeader>();
        if usize::from(self.header.e_phentsize(self.endian)) != entry_bytes || count > MAX_SEGMENTS
        {
            return Err(ElfError::Malformed("its program headers are not valid"));
        }
        let start: u64 = self.header.e_phoff(self.endian).into();
        for index in 0..u64::from(count) {
            let at = start.saturating_add(index * entry_bytes as u64);
            self.segments.push(self.reader.structure(at)?);
        }
        Ok(())
    }

    /// Returns the parts of the file that the segments of this type consist of.
    pub(super) fn segments(&self, kind: elf::ProgramType) -> impl Iterator<Item = Range<u64>> {
        let of_kind = move |segment: &&H::ProgramHeader| segment.p_type(self.endian) == kind;
        self.segments.iter().filter(of_kind).map(|segment| {
            let start = segment.p_offset(self.endian).into();
            let bytes = segment.p_filesz(self.endian).into();
            start..start.saturating_add(bytes)
        })
    }

    /// Returns the part of the file that the memory from `address` to the end
    /// of its segment comes from.
    pub(super) fn file_range(&self, address: u64) -> Option<Range<u64>> {
        self.segments.iter().find_map(|segment| {
            let distance = address.checked_sub(segment.p_vaddr(self.endian).into())?;
            let bytes: u64 = segment.p_filesz(self.endian).into();
            if segment.p_type(self.endian) != elf::PT_LOAD || distance >= bytes {
                return None;
            }
            let start: u64 = segment.p_offset(self.endian).into();
            Some(start.checked_add(distance)?..start.checked_add(bytes)?)
        })
    }

    /// Reads the section headers one after the other; none if their size is
    /// not that of the class.
    pub(super) fn sections(
        &mut self,
    ) -> impl Iterator<Item = Result<H::SectionHeader, ElfError>> + use<'_, 'a, R, H> {
        let entry_bytes = size_of::<H::SectionHeader>();
        let start: u64 = self.header.e_shoff(self.endian).into();
        let is_known = usize::from(self.header.e_shentsize(self.endian)) == entry_bytes;
        let count = if is_known {
            self.header.e_shnum(self.endian)
        } else {
            0
        };
        (0..u64::from(count)).map(move |index| {
            let at = start.saturating_add(index * entry_bytes as u64);
            self.reader.structure(at)
        })
    }
}
