//! The dynamic section, the instructions to the dynamic loader, and what it
//! leads to: symbol versions ([GNU version sections]), and the few imported
//! symbols by which a file loads more at run time.
//!
//! [GNU version sections]: https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/symversion.html

use std::ops::Range;

use object::elf::{self, Verdaux, Verdef, Vernaux, Verneed};
use object::read::elf::{Dyn as _, FileHeader, Sym as _};

use super::tables::ElfTables;
use super::{ElfError, Endianness, Imports, NeededVersion, NeededVersions, ReadAt};

/// More entries than any linker makes.
const MAX_ENTRIES: u64 = 1 << 16;

/// More symbols than this are not looked at.
const MAX_SYMBOLS: u64 = 1 << 20;

/// The bytes of a name that are compared: more than the longest of these.
const NAME_BYTES: usize = 48;

/// Functions that take the CA certificates of the system, by their first letters.
const SYSTEM_ROOTS: [&str; 3] = [
    "SSL_CTX_set_default_verify_",
    "X509_STORE_set_default_paths",
    "gnutls_certificate_set_x509_system_trust",
];

/// glibc's functions that load `libgcc_s.so.1` when they are called
/// (`__libc_unwind_link_get`, misc/unwind-link.c).
const UNWINDING: [&[u8]; 3] = [b"pthread_cancel", b"pthread_exit", b"backtrace"];

/// The entries of the dynamic section that matter here: offsets into the
/// strings, addresses of tables, and counts. Of repeated tags the last counts,
/// as for glibc's loader.
#[derive(Default)]
pub(super) struct DynamicSection {
    pub(super) needed: Vec<u64>,
    pub(super) optional: Vec<u64>,
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
    H: FileHeader<Endian = Endianness>,
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
                elf::DT_NEEDED | elf::DT_FILTER => dynamic.needed.push(value),
                elf::DT_AUXILIARY | elf::DT_AUDIT | elf::DT_DEPAUDIT => {
                    dynamic.optional.push(value);
                }
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

    pub(super) fn optional_string(
        &mut self,
        dynamic: &DynamicSection,
        at: Option<u64>,
    ) -> Result<Option<String>, ElfError> {
        at.map(|at| self.string(dynamic, at)).transpose()
    }

    /// Reads the versions that the file needs, by library. This table and that of
    /// defined versions are chains: each entry has the distance to the next one,
    /// which is 0 in the last.
    pub(super) fn needed_versions(
        &mut self,
        dynamic: &DynamicSection,
    ) -> Result<Vec<NeededVersions>, ElfError> {
        let mut libraries = Vec::new();
        let mut next = self.version_table(dynamic.needed_versions)?;
        for _ in 0..dynamic.needed_versions_count {
            let Some(at) = next else { break };
            let entry: Verneed<Endianness> = self.reader.structure(at)?;
            let library = entry.vn_file.get(self.endian);
            let first = at.saturating_add(entry.vn_aux.get(self.endian).into());
            let count = entry.vn_cnt.get(self.endian).into();
            libraries.push(NeededVersions {
                library: self.string(dynamic, library.into())?,
                versions: self.needed_of_one(dynamic, first, count)?,
            });
            next = following(at, entry.vn_next.get(self.endian));
        }
        Ok(libraries)
    }

    fn needed_of_one(
        &mut self,
        dynamic: &DynamicSection,
        first: u64,
        count: usize,
    ) -> Result<Vec<NeededVersion>, ElfError> {
        let mut versions = Vec::new();
        let mut next = Some(first);
        for _ in 0..count {
            let Some(at) = next else { break };
            let version: Vernaux<Endianness> = self.reader.structure(at)?;
            let name = version.vna_name.get(self.endian);
            let flags = version.vna_flags.get(self.endian);
            versions.push(NeededVersion {
                name: self.string(dynamic, name.into())?,
                is_weak: flags.contains(elf::VER_FLG_WEAK),
            });
            next = following(at, version.vna_next.get(self.endian));
        }
        Ok(versions)
    }

    /// Reads the versions that the file defines, without the one that names
    /// the file itself.
    pub(super) fn defined_versions(
        &mut self,
        dynamic: &DynamicSection,
    ) -> Result<Vec<String>, ElfError> {
        let mut versions = Vec::new();
        let mut next = self.version_table(dynamic.defined_versions)?;
        for _ in 0..dynamic.defined_versions_count {
            let Some(at) = next else { break };
            let entry: Verdef<Endianness> = self.reader.structure(at)?;
            // The first of the names is the version, the others its parents.
            let names = at.saturating_add(entry.vd_aux.get(self.endian).into());
            let name: Verdaux<Endianness> = self.reader.structure(names)?;
            let name = self.string(dynamic, name.vda_name.get(self.endian).into())?;
            if !entry.vd_flags.get(self.endian).contains(elf::VER_FLG_BASE) {
                versions.push(name);
            }
            next = following(at, entry.vd_next.get(self.endian));
        }
        Ok(versions)
    }

    /// Returns the position of a table's first entry.
    fn version_table(&self, address: Option<u64>) -> Result<Option<u64>, ElfError> {
        let Some(address) = address else {
            return Ok(None);
        };
        let range = self.file_range(address).ok_or(ElfError::Malformed(
            "its symbol versions lie outside of its segments",
        ))?;
        Ok(Some(range.start))
    }

    /// Searches the imported symbols.
    ///
    /// The file has no count of its dynamic symbols. The linkers in use put
    /// the strings behind them, and the hash table of GNU starts with the first
    /// symbol that is *not* imported; the smaller of the two bounds is taken.
    pub(super) fn imports(&mut self, dynamic: &DynamicSection) -> Result<Imports, ElfError> {
        let mut imports = Imports::default();
        let Some(symbols) = dynamic.symbols.and_then(|at| self.file_range(at)) else {
            return Ok(imports);
        };
        let symbol_bytes = size_of::<H::Sym>() as u64;
        let before_strings = dynamic.strings.start.saturating_sub(symbols.start) / symbol_bytes;
        let first_hashed = self.first_hashed(dynamic)?.unwrap_or(MAX_SYMBOLS);
        for index in 1..before_strings.min(first_hashed).min(MAX_SYMBOLS) {
            let symbol: H::Sym = self
                .reader
                .structure(symbols.start + index * symbol_bytes)?;
            let name = symbol.st_name(self.endian);
            if symbol.st_shndx(self.endian) == elf::SHN_UNDEF && name != 0 {
                let start = dynamic.strings.start.saturating_add(name.into());
                let bytes = dynamic.strings.end.saturating_sub(start);
                let bytes = self.reader.bytes(start, bytes.min(NAME_BYTES as u64))?;
                let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                imports.dlopen |= name == b"dlopen";
                imports.locale |= name == b"setlocale";
                imports.iconv |= name == b"iconv_open";
                // As libstdc++ has it: `__nl_langinfo_l`.
                let langinfo = name.strip_prefix(b"__").unwrap_or(name);
                imports.langinfo |= langinfo.starts_with(b"nl_langinfo");
                imports.shell |= [&b"system"[..], b"popen", b"wordexp"].contains(&name);
                imports.unwinding |= UNWINDING.contains(&name);
                let mut roots = SYSTEM_ROOTS.iter();
                imports.system_roots |= roots.any(|it| name.starts_with(it.as_bytes()));
            }
        }
        Ok(imports)
    }

    /// Reads the index of the first symbol in the hash table. An empty table
    /// has 1 there, whatever is imported, and so gives no bound.
    fn first_hashed(&mut self, dynamic: &DynamicSection) -> Result<Option<u64>, ElfError> {
        let Some(table) = dynamic.gnu_hash.and_then(|at| self.file_range(at)) else {
            return Ok(None);
        };
        let header: elf::GnuHashHeader<Endianness> = self.reader.structure(table.start)?;
        let first = header.symbol_base.get(self.endian);
        Ok((first > 1).then_some(first.into()))
    }
}

/// Returns the position of the entry at `distance` from another one.
fn following(at: u64, distance: u32) -> Option<u64> {
    (distance != 0).then(|| at.saturating_add(distance.into()))
}
