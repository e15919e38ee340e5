//! Symbol versions that a file needs and defines: the [GNU version sections].
//!
//! [GNU version sections]: https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/symversion.html

use object::elf;

use super::dynamic::{Dynamic, Strings};
use super::header::{Encoding, Segment, offset_of};
use super::source::Source;
use super::{ElfError, NeededVersion, NeededVersions, ReadAt};

const OUTSIDE: ElfError = ElfError::Malformed("its symbol versions lie outside of its segments");

/// One file's version tables. Their offsets are relative to each entry.
pub(super) struct Versions<'a> {
    pub(super) encoding: Encoding,
    pub(super) segments: &'a [Segment],
    pub(super) strings: Strings,
}

impl Versions<'_> {
    /// Reads the versions that the file needs, by library.
    pub(super) fn needed<R: ReadAt + ?Sized>(
        &self,
        source: &mut Source<'_, R>,
        dynamic: &Dynamic,
    ) -> Result<Vec<NeededVersions>, ElfError> {
        let Some(address) = dynamic.needed_versions else {
            return Ok(Vec::new());
        };
        let (mut offset, _) = offset_of(self.segments, address).ok_or(OUTSIDE)?;
        let mut libraries = Vec::new();
        for _ in 0..dynamic.needed_versions_count {
            let entry: [u8; 16] = source.array(offset)?;
            let library = u64::from(self.encoding.u32(&entry, 4));
            libraries.push(NeededVersions {
                library: self.strings.read(source, library)?,
                versions: self.needed_of_one(source, offset, &entry)?,
            });
            let next = u64::from(self.encoding.u32(&entry, 12));
            if next == 0 {
                break;
            }
            offset = offset.saturating_add(next);
        }
        Ok(libraries)
    }

    fn needed_of_one<R: ReadAt + ?Sized>(
        &self,
        source: &mut Source<'_, R>,
        start: u64,
        entry: &[u8; 16],
    ) -> Result<Vec<NeededVersion>, ElfError> {
        let mut offset = start.saturating_add(u64::from(self.encoding.u32(entry, 8)));
        let mut versions = Vec::new();
        for _ in 0..self.encoding.u16(entry, 2) {
            let version: [u8; 16] = source.array(offset)?;
            let flags = self.encoding.u16(&version, 4);
            let name = u64::from(self.encoding.u32(&version, 8));
            versions.push(NeededVersion {
                name: self.strings.read(source, name)?,
                is_weak: flags & elf::VER_FLG_WEAK.0 != 0,
            });
            let next = u64::from(self.encoding.u32(&version, 12));
            if next == 0 {
                break;
            }
            offset = offset.saturating_add(next);
        }
        Ok(versions)
    }

    /// Reads the versions that the file defines, without the one that names
    /// the file itself.
    pub(super) fn defined<R: ReadAt + ?Sized>(
        &self,
        source: &mut Source<'_, R>,
        dynamic: &Dynamic,
    ) -> Result<Vec<String>, ElfError> {
        let Some(address) = dynamic.defined_versions else {
            return Ok(Vec::new());
        };
        let (mut offset, _) = offset_of(self.segments, address).ok_or(OUTSIDE)?;
        let mut versions = Vec::new();
        for _ in 0..dynamic.defined_versions_count {
            let entry: [u8; 20] = source.array(offset)?;
            let is_base = self.encoding.u16(&entry, 2) & elf::VER_FLG_BASE.0 != 0;
            // The first of the names is the version, the others its parents.
            let names = offset.saturating_add(u64::from(self.encoding.u32(&entry, 12)));
            let name: [u8; 8] = source.array(names)?;
            let name = self
                .strings
                .read(source, u64::from(self.encoding.u32(&name, 0)))?;
            if !is_base {
                versions.push(name);
            }
            let next = u64::from(self.encoding.u32(&entry, 16));
            if next == 0 {
                break;
            }
            offset = offset.saturating_add(next);
        }
        Ok(versions)
    }
}
