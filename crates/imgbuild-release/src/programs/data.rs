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
        is_unwanted: &dyn Fn(&ImagePath, &[u8]) -> bool,
    ) -> ProgramsResult<bool> {
        let Some(real) = self.real(path) else {
            return Ok(false);
        };
        let at = ImagePath::parse(path)?;
        let at = self.place_of(&at).unwrap_or(at);
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
            if is_unwanted(&at, &name) {
                continue;
            }
            let below = ImagePath::parse(path)?.join(&name)?;
            self.add_data_except(&below.to_string(), is_unwanted)?;
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
        let is_unwanted = |directory: &ImagePath, name: &[u8]| {
            directory.as_bytes() == ZONES.as_bytes() && NO_ZONES.contains(&name)
        };
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
