//! Whether anybody has to know which files the base image has.
//!
//! The bytes of an image must not depend on where the base is, on what the
//! cache knows of it, or on where the image goes. So what was asked for
//! decides, together with the release and the configuration of the base.

use imgbuild_oci::entry::EntryKind;
use imgbuild_oci::image::Configuration;
use imgbuild_oci::path::ImagePath;
use imgbuild_release::base::Base;
use imgbuild_release::release::Release;

use super::Request;
use crate::args::{BootChoice, BuildArguments, CheckChoice, Choice};
use crate::commands::options::BuildRequest;

/// The directories of the root that systems have. What lies in another one is
/// the release's own.
const SYSTEM: [&str; 23] = [
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt", "opt",
    "ostree", "proc", "root", "run", "sbin", "srv", "sys", "sysroot", "tmp", "usr", "var",
];

/// Directories of systems that are there for others, and that are no links
/// and belong to root with mode 0755 wherever they are.
const FOR_OTHERS: [&str; 3] = ["/opt/", "/srv/", "/usr/local/bin/"];

impl Request<'_> {
    /// Returns whether something depends on the files of the base image.
    pub(super) fn needs_files(&self, base: &Base) -> bool {
        let members = self.release.members();
        let needs_them = asks(self.build.flags)
            || !members.iter().all(|member| is_beside(&member.entry.path))
            || !is_user_known(self.build, base.configuration())
            || !is_working_dir_known(self.build.flags, self.release)
            || !is_command_known(self.build, self.release);
        if !needs_them {
            self.ui
                .detail("nobody looks into the base image: nothing depends on its files");
        }
        needs_them
    }
}

/// Whether a flag is about what the base has, or puts something anywhere.
fn asks(arguments: &BuildArguments) -> bool {
    arguments.runtime == Choice::Auto
        || arguments.skeleton == Choice::Auto
        || arguments.output.check != CheckChoice::Off
        || arguments.tzdata
        || [
            arguments.add.len(),
            arguments.add_library.len(),
            arguments.cacert.len(),
            arguments.locale.len(),
            arguments.program.len(),
            arguments.writable.len(),
            arguments.configuration.volume.len(),
        ]
        .iter()
        .any(|count| *count > 0)
}

/// Whether no base can have a link, or a directory of its own kind, above the
/// path.
fn is_beside(path: &ImagePath) -> bool {
    let path = path.as_bytes();
    let top = path.split(|byte| *byte == b'/').nth(1).unwrap_or_default();
    !SYSTEM.iter().any(|name| name.as_bytes() == top)
        || FOR_OTHERS
            .iter()
            .any(|start| path.starts_with(start.as_bytes()))
}

/// Whether the user can be told without a passwd file.
fn is_user_known(build: &BuildRequest<'_>, base: &Configuration) -> bool {
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    if let Some(user) = &build.user {
        // Without a group, it is the one that the file says.
        return is_number(&user.user) && user.group.as_deref().is_some_and(is_number);
    }
    let inherited = base.user.as_deref().filter(|_| !build.flags.base.no_user);
    inherited.is_none_or(|text| text.split(':').all(is_number))
}

/// Whether the release has the directory that was asked for; what the base
/// says it has.
fn is_working_dir_known(arguments: &BuildArguments, release: &Release) -> bool {
    let given = arguments.configuration.workdir.as_ref();
    given.is_none_or(|path| path == release.prefix() || has(release, path, true))
}

/// Whether the commands that were given are found without the base's `PATH`.
fn is_command_known(build: &BuildRequest<'_>, release: &Release) -> bool {
    let given = &build.command;
    let check = &build.flags.configuration.healthcheck;
    let check = Some(check).filter(|words| words.as_slice() != ["none"]);
    let words = [given.entrypoint.as_ref(), given.cmd.as_ref(), check];
    let words = words
        .into_iter()
        .flatten()
        .filter_map(|words| words.first());
    let is_direct = build.flags.boot == BootChoice::Direct;
    let is_known = |word: &String| {
        let places = [word.clone(), format!("bin/{word}")];
        let mut places = places
            .iter()
            .filter_map(|place| release.prefix().join(place).ok());
        (word.starts_with('/') && !is_direct) || places.any(|place| has(release, &place, false))
    };
    words.collect::<Vec<_>>().into_iter().all(is_known)
}

fn has(release: &Release, path: &ImagePath, is_directory: bool) -> bool {
    release.members().iter().any(|member| {
        let entry = &member.entry;
        entry.path == *path && (entry.kind == EntryKind::Directory) == is_directory
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_apart_from_systems_is_beside_them() {
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
            assert_eq!(is_beside(&path), expected, "{path}");
        }
    }
}
