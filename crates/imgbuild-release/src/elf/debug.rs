//! How much of a file is debug information.

use object::elf;

use super::header::Header;
use super::source::Source;
use super::{ElfError, ReadAt};

/// More sections than this are not looked at.
const MAX_SECTIONS: u64 = 4096;

/// Sizes of a file's parts in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// What only a debugger reads.
    pub(crate) debug: u64,
    /// What the processor runs.
    pub(crate) code: u64,
}

/// Adds up the sections of an ELF file; `None` when it is none.
///
/// Contents that no process has in its memory are debug information, but for
/// a comment of some bytes: symbols have a type of their own.
pub(crate) fn debug_information<R: ReadAt + ?Sized>(file: &R) -> Option<Sizes> {
    let mut source = Source::new(file);
    let header = Header::read(&mut source).ok()??;
    add_up(&mut source, &header).ok()
}

fn add_up<R: ReadAt + ?Sized>(
    source: &mut Source<'_, R>,
    header: &Header,
) -> Result<Sizes, ElfError> {
    let encoding = header.encoding;
    let table = header.sections;
    let entry_bytes = if encoding.is_wide() { 64 } else { 40 };
    let mut sizes = Sizes::default();
    if usize::from(table.entry_bytes) != entry_bytes {
        return Ok(sizes);
    }
    for index in 0..u64::from(table.count).min(MAX_SECTIONS) {
        let at = table.offset.saturating_add(index * entry_bytes as u64);
        let mut bytes = [0; 64];
        let section = &mut bytes[..entry_bytes];
        source.fill(at, section)?;
        // Name and type, then words: flags, address, offset, size.
        let flags = encoding.word(&section[8..], 0);
        let size = encoding.word(&section[8..], 3);
        let is_content = encoding.u32(section, 4) == elf::SHT_PROGBITS.0;
        let has = |flag: u64| flags & flag != 0;
        if is_content && !has(elf::SHF_ALLOC.0) {
            sizes.debug = sizes.debug.saturating_add(size);
        } else if is_content && has(elf::SHF_EXECINSTR.0) {
            sizes.code = sizes.code.saturating_add(size);
        }
    }
    Ok(sizes)
}
