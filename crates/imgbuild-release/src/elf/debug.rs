//! The share of debug information in a file.

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, SectionHeader as _};

use super::block_reader::BlockReader;
use super::tables::{ElfTables, identify};
use super::{Class, ElfError, ReadAt};

/// More sections than this are not looked at.
const MAX_SECTIONS: usize = 4096;

/// Sizes of a file's parts in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SectionSizes {
    /// Content that only a debugger reads.
    pub(crate) debug: u64,
    pub(crate) code: u64,
}

/// Adds up the sections of an ELF file; `None` for any other file.
///
/// Contents that no process has in its memory are debug information, but for
/// a comment of some bytes: symbols have a type of their own.
pub(crate) fn debug_information<R: ReadAt + ?Sized>(file: &R) -> Option<SectionSizes> {
    let mut reader = BlockReader::new(file);
    let (class, endianness) = identify(&mut reader).ok()??;
    match class {
        Class::Bits32 => {
            add_up(ElfTables::<_, FileHeader32<_>>::open(reader, endianness).ok()?).ok()
        }
        Class::Bits64 => {
            add_up(ElfTables::<_, FileHeader64<_>>::open(reader, endianness).ok()?).ok()
        }
    }
}

fn add_up<R, H>(mut tables: ElfTables<'_, R, H>) -> Result<SectionSizes, ElfError>
where
    R: ReadAt + ?Sized,
    H: FileHeader<Endian = object::Endianness>,
{
    let endian = tables.endian;
    let mut sizes = SectionSizes::default();
    for section in tables.sections().take(MAX_SECTIONS) {
        let section = section?;
        let flags = section.sh_flags(endian);
        let size: u64 = section.sh_size(endian).into();
        if section.sh_type(endian) != elf::SHT_PROGBITS {
            continue;
        }
        if !flags.contains(elf::SHF_ALLOC) {
            sizes.debug = sizes.debug.saturating_add(size);
        } else if flags.contains(elf::SHF_EXECINSTR) {
            sizes.code = sizes.code.saturating_add(size);
        }
    }
    Ok(sizes)
}
