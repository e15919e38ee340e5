//! The dynamic section: what the dynamic loader is told.

use object::elf;

use super::header::{Encoding, Segment, offset_of};
use super::source::Source;
use super::{Elf, ElfError, ReadAt};

/// More entries than any linker makes.
const MAX_ENTRIES: usize = 1 << 16;

/// The tags of the dynamic section that say where something is. Of repeated
/// ones the last counts, as for glibc's loader.
#[derive(Default)]
pub(super) struct Dynamic {
    needed: Vec<u64>,
    soname: Option<u64>,
    rpath: Option<u64>,
    runpath: Option<u64>,
    flags_1: u64,
    strings: Option<u64>,
    strings_bytes: u64,
    pub(super) symbols: Option<u64>,
    pub(super) gnu_hash: Option<u64>,
    pub(super) needed_versions: Option<u64>,
    pub(super) needed_versions_count: u64,
    pub(super) defined_versions: Option<u64>,
    pub(super) defined_versions_count: u64,
}

/// The string table of the dynamic section, as a range of the file.
#[derive(Clone, Copy)]
pub(super) struct Strings {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Strings {
    pub(super) fn read<R: ReadAt + ?Sized>(
        self,
        source: &mut Source<'_, R>,
        at: u64,
    ) -> Result<String, ElfError> {
        let start = self.start.saturating_add(at);
        source.string(start, self.end)
    }
}

impl Dynamic {
    /// Reads the dynamic section that lies in `segment`.
    pub(super) fn read<R: ReadAt + ?Sized>(
        source: &mut Source<'_, R>,
        encoding: Encoding,
        segment: &Segment,
    ) -> Result<Self, ElfError> {
        let entry_bytes = 2 * encoding.word_bytes();
        let entries = usize::try_from(segment.file_bytes)
            .unwrap_or(usize::MAX)
            .min(MAX_ENTRIES * entry_bytes)
            / entry_bytes;
        let mut dynamic = Self::default();
        let mut entry = [0; 16];
        let mut offset = segment.offset;
        for _ in 0..entries {
            source.fill(offset, &mut entry[..entry_bytes])?;
            let tag = elf::DynamicTag(encoding.word(&entry, 0).cast_signed());
            if tag == elf::DT_NULL {
                break;
            }
            dynamic.set(tag, encoding.word(&entry, 1));
            offset = offset.saturating_add(entry_bytes as u64);
        }
        Ok(dynamic)
    }

    fn set(&mut self, tag: elf::DynamicTag, value: u64) {
        match tag {
            elf::DT_NEEDED => self.needed.push(value),
            elf::DT_SONAME => self.soname = Some(value),
            elf::DT_RPATH => self.rpath = Some(value),
            elf::DT_RUNPATH => self.runpath = Some(value),
            elf::DT_FLAGS_1 => self.flags_1 = value,
            elf::DT_STRTAB => self.strings = Some(value),
            elf::DT_STRSZ => self.strings_bytes = value,
            elf::DT_SYMTAB => self.symbols = Some(value),
            elf::DT_GNU_HASH => self.gnu_hash = Some(value),
            elf::DT_VERNEED => self.needed_versions = Some(value),
            elf::DT_VERNEEDNUM => self.needed_versions_count = value,
            elf::DT_VERDEF => self.defined_versions = Some(value),
            elf::DT_VERDEFNUM => self.defined_versions_count = value,
            // The rest concerns relocation and initialization.
            _ => {}
        }
    }

    pub(super) fn has_flag(&self, flag: elf::DynamicFlags1) -> bool {
        self.flags_1 & flag.0 != 0
    }

    /// Returns the string table; an empty one when there is none.
    pub(super) fn strings(&self, segments: &[Segment]) -> Result<Strings, ElfError> {
        let Some(address) = self.strings else {
            return Ok(Strings { start: 0, end: 0 });
        };
        let (start, segment_end) = offset_of(segments, address).ok_or(ElfError::Malformed(
            "its strings lie outside of its segments",
        ))?;
        let end = start.saturating_add(self.strings_bytes).min(segment_end);
        Ok(Strings { start, end })
    }

    /// Reads the names of libraries and the search paths into `file`.
    pub(super) fn read_names<R: ReadAt + ?Sized>(
        &self,
        source: &mut Source<'_, R>,
        strings: Strings,
        file: &mut Elf,
    ) -> Result<(), ElfError> {
        for at in &self.needed {
            file.needed.push(strings.read(source, *at)?);
        }
        for (at, text) in [
            (self.soname, &mut file.soname),
            (self.rpath, &mut file.rpath),
            (self.runpath, &mut file.runpath),
        ] {
            *text = at.map(|at| strings.read(source, at)).transpose()?;
        }
        Ok(())
    }
}
