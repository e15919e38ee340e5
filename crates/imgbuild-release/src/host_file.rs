//! Files of the host as members of an image. Whiteouts (`.wh.`) and files that
//! no layer can hold are refused here.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_oci::content::{Content, HostFile};
use imgbuild_oci::entry::{Entry, Member, Owner};
use imgbuild_oci::path::{ImagePath, escaped};
use imgbuild_oci::root_directory::RootDirectory;
use serde::Serializer;

use crate::contents::can_run;
use crate::refusal::Refusal;
use crate::walk::Found;

/// The treatment of the modes of files.
#[derive(Debug, Clone, Copy, Default)]
pub struct ModeRules {
    /// Set-id files of other users than root may be included as root's.
    pub allow_set_id: bool,
    /// Programs and scripts without an execute bit get it.
    pub fix_modes: bool,
}

/// Returns the path in the image of something below a directory of the host
/// that is placed at `prefix`.
///
/// # Errors
///
/// The reason why no image can hold the name.
pub(crate) fn image_path(prefix: &ImagePath, relative: &Path) -> Result<ImagePath, String> {
    let joined = prefix.join(relative.as_os_str().as_bytes());
    let path = joined.map_err(|error| error.to_string())?;
    if path.file_name().starts_with(b".wh.") {
        return Err(
            "a name that starts with `.wh.` hides a file of a lower layer instead of adding one"
                .to_owned(),
        );
    }
    Ok(path)
}

/// Describes what a walk of `root` found at `host` as the member of an image at
/// `path`; without a root, no part of `host` is a link.
///
/// # Errors
///
/// When no image can hold it, when it cannot be read, and when a set-id file
/// would run as another user in the image, unless the rules allow that.
pub(crate) fn found_member(
    path: ImagePath,
    host: PathBuf,
    root: Option<&Arc<RootDirectory>>,
    found: io::Result<Found>,
    rules: ModeRules,
) -> Result<Member, Refusal> {
    match found {
        Ok(Found::Directory { mode, xattrs, .. }) => {
            let mut entry = Entry::directory(path);
            entry.mode |= mode & 0o7000;
            entry.xattrs = xattrs;
            Ok(entry.into())
        }
        Ok(Found::Symlink { target }) => Ok(Entry::symlink(path, target).into()),
        Ok(Found::File { state, owner, .. }) => {
            let host = HostFile {
                path: host,
                state,
                root: root.cloned(),
            };
            check_file(&host, owner, rules.allow_set_id)?;
            let mut member = file_at(path, host);
            if rules.fix_modes && member.entry.mode & 0o111 == 0 && can_run(&member) {
                member.entry.mode |= 0o111;
            }
            Ok(member)
        }
        Ok(Found::Special(what)) => Err(Refusal::Special { path: host, what }),
        Err(cause) => Err(Refusal::Unreadable { path: host, cause }),
    }
}

/// Describes one file of the host, of whose path no part is a link, as the member
/// of an image at `path`.
pub(crate) fn file_member(host: &Path, path: ImagePath) -> io::Result<Member> {
    Ok(file_at(path, HostFile::find(host)?))
}

fn file_at(path: ImagePath, host: HostFile) -> Member {
    Member {
        entry: Entry::file(path, host.state.size, image_mode(host.state.mode)),
        content: Some(Content::File(host)),
    }
}

/// Returns the mode in the image, which does not depend on the umask of the
/// builder.
fn image_mode(host: u32) -> u32 {
    let permissions = if host & 0o111 == 0 { 0o644 } else { 0o755 };
    permissions | host & 0o7000
}

/// Checks that a file of `owner` can be read, and that it would not run as
/// another user in the image than it does here.
fn check_file(host: &HostFile, owner: Owner, allows_set_id: bool) -> Result<(), Refusal> {
    let mode = host.state.mode;
    let changes_user = mode & 0o4000 != 0 && owner.uid != 0;
    let changes_group = mode & 0o2000 != 0 && owner.gid != 0;
    if (changes_user || changes_group) && !allows_set_id {
        let path = host.path.clone();
        return Err(Refusal::SetId { path, owner });
    }
    // The system is asked only where the mode leaves a doubt: it is one call
    // for each file.
    let is_readable = mode & 0o444 == 0o444
        || rustix::fs::access(&host.path, rustix::fs::Access::READ_OK).is_ok();
    if !is_readable {
        let cause = io::ErrorKind::PermissionDenied.into();
        let path = host.path.clone();
        return Err(Refusal::Unreadable { path, cause });
    }
    Ok(())
}

/// Serializes a path, which may not be UTF-8, as messages show it.
pub(crate) fn shown_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&escaped(path.as_os_str().as_bytes()))
}
