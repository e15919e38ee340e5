//! The dynamic section: the instructions to the dynamic loader.

use std::ops::Range;

use object::elf;
use object::read::elf::{Dyn as _, FileHeader};

use super::tables::ElfTables;
use super::{ElfError, ReadAt};

/// More entries than any linker makes.
const MAX_ENTRIES: u64 = 1 << 16;

/// The entries of the dynamic section that matter here: offsets into the
/// strings, addresses of tables, and counts. Of repeated tags the last counts,
/// as for glibc's loader.
#[derive(Default)]
pub(super) struct DynamicSection {
    pub(super) needed: Vec<u64>,
    pub(super) soname: Option<u64>,
    pub(super) rpath: Option<u64>,
    pub(super) runpath: Option<u64>,
    pub(super) flags_1: elf::DynamicFlags1,
    pub(super) symbols: Option<u64>,
    pub(super) gnu_hash: Option<u64>,
    pub(super) needed_versions: Option<u64>,
    pub(super) needed_versions_count: u64,
    pub(super) defined_versions: Option<u64>,
    pub(super) defined_versions_count: u64,
    /// The string table, as a part of the file.
    pub(super) strings: Range<u64>,
}

impl<R, H> ElfTables<'_, R, H>
where
    R: ReadAt + ?Sized,
    H: FileHeader<Endian = object::Endianness>,
{
    /// Reads the dynamic section; an empty one when the file has none.
    pub(super) fn dynamic(&mut self) -> Result<DynamicSection, ElfError> {
        let mut dynamic = DynamicSection::default();
        let Some(section) = self.segments(elf::PT_DYNAMIC).next() else {
            return Ok(dynamic);
        };
        let entry_bytes = size_of::<H::Dyn>() as u64;
        let entries = ((section.end - section.start) / entry_bytes).min(MAX_ENTRIES);
        let (mut strings, mut strings_bytes) = (None, 0);
        for index in 0..entries {
            let entry: H::Dyn = self
                .reader
                .structure(section.start.saturating_add(index * entry_bytes))?;
            let value: u64 = entry.d_val(self.endian).into();
            match entry.d_tag(self.endian) {
                elf::DT_NULL => break,
                elf::DT_NEEDED => dynamic.needed.push(value),
                elf::DT_SONAME => dynamic.soname = Some(value),
                elf::DT_RPATH => dynamic.rpath = Some(value),
                elf::DT_RUNPATH => dynamic.runpath = Some(value),
                elf::DT_FLAGS_1 => dynamic.flags_1 = elf::DynamicFlags1(value),
                elf::DT_STRTAB => strings = Some(value),
                elf::DT_STRSZ => strings_bytes = value,
                elf::DT_SYMTAB => dynamic.symbols = Some(value),
                elf::DT_GNU_HASH => dynamic.gnu_hash = Some(value),
                elf::DT_VERNEED => dynamic.needed_versions = Some(value),
                elf::DT_VERNEEDNUM => dynamic.needed_versions_count = value,
                elf::DT_VERDEF => dynamic.defined_versions = Some(value),
                elf::DT_VERDEFNUM => dynamic.defined_versions_count = value,
                // The rest concerns relocation and initialization.
                _ => {}
            }
        }
        if let Some(address) = strings {
            let range = self.file_range(address).ok_or(ElfError::Malformed(
                "its strings lie outside of its segments",
            ))?;
            let end = range.start.saturating_add(strings_bytes).min(range.end);
            dynamic.strings = range.start..end;
        }
        Ok(dynamic)
    }

    /// Reads the string at an offset into the strings of the dynamic section.
    pub(super) fn string(&mut self, dynamic: &DynamicSection, at: u64) -> Result<String, ElfError> {
        let start = dynamic.strings.start.saturating_add(at);
        self.reader.string(start..dynamic.strings.end)
    }

    /// Reads the string of an optional entry.
    pub(super) fn optional_string(
        &mut self,
        dynamic: &DynamicSection,
        at: Option<u64>,
    ) -> Result<Option<String>, ElfError> {
        at.map(|at| self.string(dynamic, at)).transpose()
    }
}
