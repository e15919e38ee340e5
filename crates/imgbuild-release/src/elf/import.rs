//! The few imported symbols by which a file loads more at run time.

use object::elf;
use object::read::elf::{FileHeader, Sym as _};

use super::dynamic::DynamicSection;
use super::tables::ElfTables;
use super::{ElfError, Imports, ReadAt};

/// More symbols than this are not looked at.
const MAX_SYMBOLS: u64 = 1 << 20;

/// The bytes of a name that are compared: more than the longest of
/// [`UNWINDING`].
const NAME_BYTES: usize = 16;

/// glibc's functions that load `libgcc_s.so.1` when they are called
/// (`__libc_unwind_link_get`, misc/unwind-link.c).
const UNWINDING: [&[u8]; 3] = [b"pthread_cancel", b"pthread_exit", b"backtrace"];

impl<R, H> ElfTables<'_, R, H>
where
    R: ReadAt + ?Sized,
    H: FileHeader<Endian = object::Endianness>,
{
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
                imports.unwinding |= UNWINDING.contains(&name);
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
        let header: elf::GnuHashHeader<object::Endianness> = self.reader.structure(table.start)?;
        let first = header.symbol_base.get(self.endian);
        Ok((first > 1).then_some(first.into()))
    }
}
