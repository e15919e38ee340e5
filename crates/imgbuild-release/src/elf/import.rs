//! The few imported symbols that say what a file loads later.

use super::dynamic::{Dynamic, Strings};
use super::header::{Encoding, Segment, offset_of};
use super::source::Source;
use super::{ElfError, Imports, ReadAt};

/// More symbols than this are not looked at.
const MAX_SYMBOLS: u64 = 1 << 20;

/// glibc's functions that load `libgcc_s.so.1` when they are called
/// (`__libc_unwind_link_get`, misc/unwind-link.c).
const UNWINDING: [&[u8]; 3] = [b"pthread_cancel", b"pthread_exit", b"backtrace"];

/// Looks for the symbols among those that the file imports.
///
/// Nothing states how many dynamic symbols there are. The linkers in use put
/// the strings behind them, and the hash table of GNU starts with the first
/// symbol that is *not* imported; the smaller of the two bounds is taken.
pub(super) fn imports<R: ReadAt + ?Sized>(
    source: &mut Source<'_, R>,
    encoding: Encoding,
    (dynamic, strings): (&Dynamic, Strings),
    segments: &[Segment],
) -> Result<Imports, ElfError> {
    let mut imports = Imports::default();
    let Some((start, _)) = dynamic
        .symbols
        .and_then(|address| offset_of(segments, address))
    else {
        return Ok(imports);
    };
    let symbol_bytes: u64 = if encoding.is_wide() { 24 } else { 16 };
    let mut count = (strings.start.saturating_sub(start) / symbol_bytes).min(MAX_SYMBOLS);
    if let Some(first_hashed) = first_hashed(source, encoding, dynamic, segments)? {
        count = count.min(first_hashed);
    }
    for index in 1..count {
        let mut symbol = [0; 24];
        let symbol = &mut symbol[..if encoding.is_wide() { 24 } else { 16 }];
        source.fill(start + index * symbol_bytes, symbol)?;
        let section = encoding.u16(symbol, if encoding.is_wide() { 6 } else { 14 });
        let name = u64::from(encoding.u32(symbol, 0));
        if section == 0 && name != 0 {
            record(source, strings, name, &mut imports)?;
        }
    }
    Ok(imports)
}

/// Reads the index of the first symbol in the hash table. A table without
/// any says 1, whatever is imported, and so says nothing.
fn first_hashed<R: ReadAt + ?Sized>(
    source: &mut Source<'_, R>,
    encoding: Encoding,
    dynamic: &Dynamic,
    segments: &[Segment],
) -> Result<Option<u64>, ElfError> {
    let Some((table, _)) = dynamic
        .gnu_hash
        .and_then(|address| offset_of(segments, address))
    else {
        return Ok(None);
    };
    let header: [u8; 8] = source.array(table)?;
    let first = encoding.u32(&header, 4);
    Ok((first > 1).then_some(u64::from(first)))
}

fn record<R: ReadAt + ?Sized>(
    source: &mut Source<'_, R>,
    strings: Strings,
    name: u64,
    imports: &mut Imports,
) -> Result<(), ElfError> {
    let mut bytes = [0; 16];
    let start = strings.start.saturating_add(name);
    let length = usize::try_from(strings.end.saturating_sub(start)).unwrap_or(usize::MAX);
    let bytes = &mut bytes[..length.min(16)];
    source.fill(start, bytes)?;
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    imports.dlopen |= name == b"dlopen";
    imports.unwinding |= UNWINDING.contains(&name);
    Ok(())
}
