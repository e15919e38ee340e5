//! The decision whether the files of the base image are needed.
//!
//! The bytes of an image must not depend on the place of the base, the cache or
//! the destination. So this depends on flags, the release and the configuration of
//! the base only.

use imgbuild_oci::entry::EntryKind;
use imgbuild_oci::image::Configuration;
use imgbuild_oci::path::ImagePath;
use imgbuild_release::base::Base;
use imgbuild_release::release::Release;

use super::Request;
use crate::args::{BootChoice, BuildArguments, CheckChoice, Choice, RuntimeChoice};
use crate::commands::options::BuildRequest;

/// The directories that systems have in `/`. Other directories belong to the
/// release.
const SYSTEM_DIRECTORIES: [&str; 23] = [
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt", "opt",
    "ostree", "proc", "root", "run", "sbin", "srv", "sys", "sysroot", "tmp", "usr", "var",
];

/// The system directories for other software, which are never links, and belong
/// to root with mode 0755.
const LOCAL_DIRECTORIES: [&str; 3] = ["/opt/", "/srv/", "/usr/local/bin/"];

impl Request<'_> {
    /// Returns whether something depends on the files of the base image.
    pub(super) fn needs_files(&self, base: &Base) -> bool {
        let members = &self.release.members;
        let needs_them = flags_need_files(self.build.flags)
            || !members
                .iter()
                .all(|member| is_outside_system(&member.entry.path))
            || !is_user_known(self.build, &base.configuration)
            || !is_working_dir_known(self.build.flags, self.release)
            || !is_command_known(self.build, self.release);
        if !needs_them {
            self.ui
                .detail("base image layers are not needed and not downloaded");
        }
        needs_them
    }
}

/// Returns whether a flag depends on the files of the base, or puts files anywhere.
fn flags_need_files(arguments: &BuildArguments) -> bool {
    arguments.runtime != RuntimeChoice::None
        || arguments.skeleton == Choice::Auto
        || arguments.output.check != CheckChoice::Off
        || arguments.tzdata
        || arguments.fonts
        || !arguments.add.is_empty()
        || !arguments.add_library.is_empty()
        || !arguments.cacert.is_empty()
        || !arguments.locale.is_empty()
        || !arguments.package.is_empty()
        || !arguments.program.is_empty()
        || !arguments.writable.is_empty()
        || !arguments.configuration.volume.is_empty()
}

/// Returns whether no base has a link or a directory with other metadata above the
/// path.
fn is_outside_system(path: &ImagePath) -> bool {
    let path = path.as_bytes();
    let top = path.split(|byte| *byte == b'/').nth(1).unwrap_or_default();
    !SYSTEM_DIRECTORIES.iter().any(|name| name.as_bytes() == top)
        || LOCAL_DIRECTORIES
            .iter()
            .any(|start| path.starts_with(start.as_bytes()))
}

/// Returns whether the user is numeric, so that no passwd file is needed.
fn is_user_known(build: &BuildRequest<'_>, base: &Configuration) -> bool {
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    if let Some(user) = &build.user {
        // Without a group, the group is in the passwd file.
        return is_number(&user.user) && user.group.as_deref().is_some_and(is_number);
    }
    let inherited = base.user.as_deref().filter(|_| !build.flags.base.no_user);
    inherited.is_none_or(|text| text.split(':').all(is_number))
}

/// Returns whether the release has the requested working directory. A base has its
/// own one.
fn is_working_dir_known(arguments: &BuildArguments, release: &Release) -> bool {
    let given = arguments.configuration.workdir.as_ref();
    given.is_none_or(|path| path == &release.prefix || has(release, path, true))
}

/// Returns whether the requested commands are found without the base's `PATH`.
fn is_command_known(build: &BuildRequest<'_>, release: &Release) -> bool {
    let given = &build.command;
    let check = &build.flags.configuration.healthcheck;
    let check = Some(check).filter(|words| words.as_slice() != ["none"]);
    let words = [given.entrypoint.as_ref(), given.cmd.as_ref(), check];
    let mut words = words
        .into_iter()
        .flatten()
        .filter_map(|words| words.first());
    let is_direct = build.flags.boot == BootChoice::Direct;
    let is_known = |word: &String| {
        let places = [word.clone(), format!("bin/{word}")];
        let mut places = places
            .iter()
            .filter_map(|place| release.prefix.join(place).ok());
        (word.starts_with('/') && !is_direct) || places.any(|place| has(release, &place, false))
    };
    words.all(is_known)
}

fn has(release: &Release, path: &ImagePath, is_directory: bool) -> bool {
    release.members.iter().any(|member| {
        let entry = &member.entry;
        entry.path == *path && (entry.kind == EntryKind::Directory) == is_directory
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_directories_may_be_links_in_a_base() {
        for (path, expected) in [
            ("/app", true),
            ("/app/etc/x", true),
            ("/usr", false),
            ("/usr/bin/x", false),
            ("/usr/local/bin", false),
            ("/usr/local/bin/x", true),
            ("/usr/local/binary", false),
            ("/opt/x/y", true),
            ("/opt", false),
            ("/etc/x", false),
            ("/library/x", true),
            ("/tmp/x", false),
        ] {
            let path = ImagePath::parse(path).unwrap();
            assert_eq!(is_outside_system(&path), expected, "{path}");
        }
    }
}
