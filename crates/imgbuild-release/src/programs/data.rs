//! Files of the host that are not programs: data by its path, time zones, and
//! descriptions of terminals ([terminfo(5)]).
//!
//! [terminfo(5)]: https://man7.org/linux/man-pages/man5/terminfo.5.html

use imgbuild_oci::entry::{Entry, Member};
use imgbuild_oci::path::ImagePath;

use super::{Programs, ProgramsResult};
use crate::host_file::file_member;

/// The directory of time zones ([tzset(3)]).
///
/// [tzset(3)]: https://man7.org/linux/man-pages/man3/tzset.3.html
const ZONES: &str = "/usr/share/zoneinfo";

/// Other entries in it: the zones once more, with and without leap seconds, and
/// the zone of the build machine.
const NO_ZONES: [&[u8]; 3] = [b"posix", b"right", b"localtime"];

/// The places of descriptions, in the order in which ncurses searches them; the
/// first two are Debian's.
const PLACES: [&str; 4] = [
    "/etc/terminfo",
    "/lib/terminfo",
    "/usr/share/terminfo",
    "/usr/lib/terminfo",
];

impl Programs<'_> {
    /// Adds a file or directory of the host that is not a program, under its own
    /// path; returns whether it exists.
    pub(crate) fn add_data(&mut self, path: &str) -> ProgramsResult<bool> {
        self.add_data_except(path, &|_, _| false)
    }

    /// As [`Programs::add_data`], without the names in a directory for which
    /// `is_unwanted` is true.
    pub(super) fn add_data_except(
        &mut self,
        path: &str,
        is_unwanted: &dyn Fn(&str, &[u8]) -> bool,
    ) -> ProgramsResult<bool> {
        let Some(real) = self.real(path) else {
            return Ok(false);
        };
        let parsed = ImagePath::parse(path)?;
        let at = self.place_of(&parsed).unwrap_or_else(|| parsed.clone());
        if real.is_file() {
            if self.has(&at) {
                return Ok(true);
            }
            let member = match self.by_file.get(&real) {
                Some(first) => Entry::symlink(at.clone(), first.as_bytes()).into(),
                None => file_member(&real, at.clone())?,
            };
            self.by_file.entry(real).or_insert_with(|| at.clone());
            self.place(at, member);
            return Ok(true);
        }
        for name in self.host.list(&self.host.rooted(path.as_bytes())) {
            if !is_unwanted(path, &name) {
                let below = parsed.join(&name)?;
                self.add_data_except(&below.to_string(), is_unwanted)?;
            }
        }
        Ok(real.is_dir())
    }

    /// Adds a generated file, unless the image has one at its path.
    pub(crate) fn place_data(&mut self, member: Member) {
        if !self.has(&member.entry.path) {
            self.place(member.entry.path.clone(), member);
        }
    }

    /// Adds the time zones of the host.
    pub(crate) fn request_zones(&mut self) -> ProgramsResult<()> {
        let is_unwanted =
            |directory: &str, name: &[u8]| directory == ZONES && NO_ZONES.contains(&name);
        if !self.add_data_except(ZONES, &is_unwanted)? {
            self.problems.push(format!("`{ZONES}` does not exist"));
        }
        Ok(())
    }

    /// Adds the descriptions of terminals that the host has.
    pub(crate) fn add_terminals(&mut self, names: &str) -> ProgramsResult<()> {
        for terminal in names.split(' ') {
            let first = &terminal[..1];
            for place in PLACES {
                if self.add_data(&format!("{place}/{first}/{terminal}"))? {
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use imgbuild_testing::Tree;

    use super::*;
    use crate::contents::Contents;
    use crate::elf::fixture::Fixture;

    #[test]
    fn files_below_a_link_of_the_image_are_chosen_and_read_as_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let tree = "0644 file usr/share/zoneinfo/UTC \"zone\"\n\
            0644 file usr/share/zoneinfo/posix/UTC \"zone\"\n\
            0755 file usr/bin/python3.11 \"python\"\n\
            0644 file usr/lib/python3.11/os.py \"\"\n";
        Tree::parse(tree).unwrap().write_to(root.path()).unwrap();
        let module = root.path().join("usr/lib/python3.11/module.so");
        fs_err::write(module, Fixture::new().bytes()).unwrap();
        let link = Entry::symlink(ImagePath::parse("/usr").unwrap(), "opt");
        let members = [link.into()];
        let contents = Contents::new(&members);
        let mut programs = Programs::new(Some(root.path()), &contents, Vec::new(), 1);
        programs.request_zones().unwrap();
        programs.request("/usr/bin/python3.11");
        let added = programs.finish().unwrap();
        let paths = added.members.iter().map(|it| it.entry.path.to_string());
        let zones: Vec<String> = paths.filter(|it| it.contains("zoneinfo")).collect();
        assert_eq!(zones, ["/opt/share/zoneinfo/UTC"]);
        let objects: Vec<String> = (added.objects.iter())
            .map(|it| it.image.to_string())
            .collect();
        assert_eq!(objects, ["/opt/lib/python3.11/module.so"]);
    }
}
