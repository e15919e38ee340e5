//! What a file says about the processor: GNU properties, ARM attributes.

use object::elf;

use super::header::{Header, Segment};
use super::source::Source;
use super::{ElfError, ReadAt};

/// More bytes than any linker puts into a property note or the attributes.
const MAX_NOTE_BYTES: u64 = 4096;

/// `Tag_CPU_arch` (ARM IHI 0045, 3.3.2).
const ARM_TAG_CPU: u64 = 6;

/// Reads the x86-64 level that the file needs, 1 to 4; `None` when it says
/// nothing. The linker writes it with `-z x86-64-v3` and the like.
pub(super) fn isa_level<R: ReadAt + ?Sized>(
    source: &mut Source<'_, R>,
    header: &Header,
    segments: &[Segment],
) -> Result<Option<u8>, ElfError> {
    let Some(segment) = segments
        .iter()
        .find(|segment| segment.kind == elf::PT_GNU_PROPERTY)
        .filter(|_| header.machine == elf::EM_X86_64.0)
    else {
        return Ok(None);
    };
    let length = usize::try_from(segment.file_bytes.min(MAX_NOTE_BYTES)).expect("it is small");
    let mut note = vec![0; length];
    source.fill(segment.offset, &mut note)?;
    Ok(properties(header, &note).and_then(level))
}

/// Finds the bits of the needed levels in a note: 12 bytes of header, the
/// name `GNU`, then properties of type, size and padded content.
fn properties(header: &Header, note: &[u8]) -> Option<u32> {
    let encoding = header.encoding;
    let mut rest = note.get(16..)?;
    while rest.len() >= 8 {
        let kind = encoding.u32(rest, 0);
        let size = usize::try_from(encoding.u32(rest, 4)).ok()?;
        let content = rest[8..].get(..size)?;
        if kind == elf::GNU_PROPERTY_X86_ISA_1_NEEDED.0 && size >= 4 {
            return Some(encoding.u32(content, 0));
        }
        let padded = size.next_multiple_of(encoding.word_bytes());
        rest = rest[8..].get(padded..)?;
    }
    None
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

/// Reads the ARM architecture that the file was built for, as
/// `Tag_CPU_arch` numbers it; `None` when it says nothing.
pub(super) fn arm_cpu<R: ReadAt + ?Sized>(
    source: &mut Source<'_, R>,
    header: &Header,
) -> Result<Option<u64>, ElfError> {
    let table = header.sections;
    if header.machine != elf::EM_ARM.0 || table.entry_bytes != 40 {
        return Ok(None);
    }
    for index in 0..u64::from(table.count) {
        let at = table.offset.saturating_add(index * 40);
        let section: [u8; 40] = source.array(at)?;
        if header.encoding.u32(&section, 4) == elf::SHT_ARM_ATTRIBUTES.0 {
            let offset = u64::from(header.encoding.u32(&section, 16));
            let size = u64::from(header.encoding.u32(&section, 20)).min(MAX_NOTE_BYTES);
            let mut bytes = vec![0; usize::try_from(size).expect("it is small")];
            source.fill(offset, &mut bytes)?;
            return Ok(arm_attribute(&bytes));
        }
    }
    Ok(None)
}

/// Finds the attribute in the public section of the whole file: the format
/// `A`, a length, the vendor `aeabi`, the scope 1, a length, then tags with
/// numbers; those of names (4, 5, 67 and odd ones above 32) have strings.
fn arm_attribute(bytes: &[u8]) -> Option<u64> {
    const PREFIX_BYTES: usize = 1 + 4;
    let content = bytes.get(PREFIX_BYTES..)?.strip_prefix(b"aeabi\0\x01")?;
    let mut rest = content.get(4..)?;
    while !rest.is_empty() {
        let tag = leb128(&mut rest)?;
        if tag == ARM_TAG_CPU {
            return leb128(&mut rest);
        }
        // Tag_compatibility has both a number and a string.
        if tag == 32 || !has_string(tag) {
            leb128(&mut rest)?;
        }
        if tag == 32 || has_string(tag) {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    None
}

fn has_string(tag: u64) -> bool {
    matches!(tag, 4 | 5) || (tag > 32 && tag % 2 == 1)
}

fn leb128(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
