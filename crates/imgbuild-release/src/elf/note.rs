//! The processor that a file needs (GNU properties, ARM attributes), and its
//! share of debug information.

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{AttributesSection, FileHeader, NoteIterator, SectionHeader as _};

use super::block_reader::BlockReader;
use super::tables::{ElfTables, identify};
use super::{Class, ElfError, Endianness, ReadAt};

/// More bytes than any linker puts into a property note or the attributes.
const MAX_NOTE_BYTES: u64 = 4096;

/// `Tag_CPU_arch` (ARM IHI 0045, 3.3.2).
const ARM_TAG_CPU: u64 = 6;

/// `Tag_compatibility`, which has both a number and a string.
const ARM_TAG_COMPATIBILITY: u64 = 32;

impl<R, H> ElfTables<'_, R, H>
where
    R: ReadAt + ?Sized,
    H: FileHeader<Endian = Endianness>,
{
    /// Reads the x86-64 level that the file needs, 1 to 4, if it has one. The
    /// linker writes it with `-z x86-64-v3` and the like.
    pub(super) fn isa_level(&mut self) -> Result<Option<u8>, ElfError> {
        if self.header.e_machine(self.endian) != elf::EM_X86_64 {
            return Ok(None);
        }
        let Some(note) = self.segments(elf::PT_GNU_PROPERTY).next() else {
            return Ok(None);
        };
        let bytes = (note.end - note.start).min(MAX_NOTE_BYTES);
        let note = self.reader.bytes(note.start, bytes)?;
        Ok(needed_isa::<H>(&note, self.endian).and_then(level))
    }

    /// Reads the ARM architecture that the file was built for, as
    /// `Tag_CPU_arch` numbers it, if it has that attribute.
    pub(super) fn arm_cpu(&mut self) -> Result<Option<u64>, ElfError> {
        let endian = self.endian;
        if self.header.e_machine(endian) != elf::EM_ARM {
            return Ok(None);
        }
        let is_wanted =
            |section: &H::SectionHeader| section.sh_type(endian) == elf::SHT_ARM_ATTRIBUTES;
        let found = self
            .sections()
            .find(|section| section.as_ref().map_or(true, is_wanted))
            .transpose()?;
        let Some(section) = found else {
            return Ok(None);
        };
        let start = section.sh_offset(endian).into();
        let bytes: u64 = section.sh_size(endian).into();
        let content = self.reader.bytes(start, bytes.min(MAX_NOTE_BYTES))?;
        Ok(arm_attribute::<H>(&content, endian))
    }
}

/// Finds the bits of the needed levels in a note of GNU properties.
fn needed_isa<H: FileHeader>(note: &[u8], endian: H::Endian) -> Option<u32> {
    NoteIterator::<H>::new(endian, H::Word::default(), note)
        .ok()?
        .map_while(Result::ok)
        .filter_map(|note| note.gnu_properties(endian))
        .flat_map(|properties| properties.map_while(Result::ok))
        .find(|property| property.pr_type() == elf::GNU_PROPERTY_X86_ISA_1_NEEDED)
        .and_then(|property| property.data_u32(endian).ok())
}

fn level(bits: u32) -> Option<u8> {
    [
        elf::GNU_PROPERTY_X86_ISA_1_V4,
        elf::GNU_PROPERTY_X86_ISA_1_V3,
        elf::GNU_PROPERTY_X86_ISA_1_V2,
        elf::GNU_PROPERTY_X86_ISA_1_BASELINE,
    ]
    .iter()
    .zip([4, 3, 2, 1])
    .find_map(|(bit, level)| (bits & bit != 0).then_some(level))
}

/// Finds the attribute among the public ones of the whole file. Tags have
/// numbers, but those of names (4, 5, 67 and odd ones above 32) strings.
fn arm_attribute<H: FileHeader>(section: &[u8], endian: H::Endian) -> Option<u64> {
    let public = AttributesSection::<H>::new(endian, section)
        .and_then(|section| section.subsections())
        .ok()?
        .map_while(Result::ok)
        .find(|subsection| subsection.vendor() == b"aeabi")?;
    let mut attributes = public
        .subsubsections()
        .map_while(Result::ok)
        .find(|scope| scope.tag() == elf::Tag_File)?
        .attributes();
    while let Some(tag) = attributes.read_tag().ok()? {
        let has_string = matches!(tag, 4 | 5) || (tag > 32 && tag % 2 == 1);
        if tag == ARM_TAG_CPU {
            return attributes.read_integer().ok();
        }
        if !has_string {
            attributes.read_integer().ok()?;
        }
        if has_string || tag == ARM_TAG_COMPATIBILITY {
            attributes.read_string().ok()?;
        }
    }
    None
}

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
    H: FileHeader<Endian = Endianness>,
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
