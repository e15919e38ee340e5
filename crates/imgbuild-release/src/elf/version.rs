//! Symbol versions that a file needs and defines: the [GNU version sections].
//!
//! [GNU version sections]: https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/symversion.html

use object::elf::{self, Verdaux, Verdef, Vernaux, Verneed};
use object::read::elf::FileHeader;

use super::dynamic::DynamicSection;
use super::tables::ElfTables;
use super::{ElfError, NeededVersion, NeededVersions, ReadAt};

/// Both tables are chains: each entry has the distance to the next one, which
/// is 0 in the last.
impl<R, H> ElfTables<'_, R, H>
where
    R: ReadAt + ?Sized,
    H: FileHeader<Endian = object::Endianness>,
{
    /// Reads the versions that the file needs, by library.
    pub(super) fn needed_versions(
        &mut self,
        dynamic: &DynamicSection,
    ) -> Result<Vec<NeededVersions>, ElfError> {
        let mut libraries = Vec::new();
        let mut next = self.version_table(dynamic.needed_versions)?;
        for _ in 0..dynamic.needed_versions_count {
            let Some(at) = next else { break };
            let entry: Verneed<object::Endianness> = self.reader.structure(at)?;
            let library = entry.vn_file.get(self.endian);
            let first = at.saturating_add(entry.vn_aux.get(self.endian).into());
            libraries.push(NeededVersions {
                library: self.string(dynamic, library.into())?,
                versions: self.needed_of_one(
                    dynamic,
                    first,
                    entry.vn_cnt.get(self.endian).into(),
                )?,
            });
            next = following(at, entry.vn_next.get(self.endian));
        }
        Ok(libraries)
    }

    /// Reads the versions of one library.
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
            let version: Vernaux<object::Endianness> = self.reader.structure(at)?;
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
            let entry: Verdef<object::Endianness> = self.reader.structure(at)?;
            // The first of the names is the version, the others its parents.
            let names = at.saturating_add(entry.vd_aux.get(self.endian).into());
            let name: Verdaux<object::Endianness> = self.reader.structure(names)?;
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
}

/// Returns the position of the entry at `distance` from another one.
fn following(at: u64, distance: u32) -> Option<u64> {
    (distance != 0).then(|| at.saturating_add(distance.into()))
}
