//! Further files and directories that the user puts into an image.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_oci::changeset::Member;
use imgbuild_oci::content::{Content, HostFile};
use imgbuild_oci::entry::{Entry, EntryKind};
use imgbuild_oci::path::ImagePath;

use crate::error::{Error, Refusal, Result};
use crate::release::{Found, file_member, image_mode, walk};

/// One file or directory of the host, with its place in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// The file or directory on the host.
    pub source: PathBuf,
    /// The absolute path in the image. With a slash at its end, a file lands
    /// in that directory; the content of a directory always does.
    pub destination: String,
    /// The mode of every file; the host's, without its umask, when not given.
    pub mode: Option<u32>,
}

/// Looks at all additions.
///
/// # Errors
///
/// When a source is not there, a destination is not absolute, or with every
/// path that cannot go into an image.
pub fn open_additions(additions: &[Addition], mtime: u64) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    let mut refusals = Vec::new();
    for addition in additions {
        let metadata = fs::metadata(&addition.source).map_err(Error::File)?;
        let mut destination = ImagePath::parse(&addition.destination).map_err(Error::Path)?;
        let first = members.len();
        if metadata.is_dir() {
            add_directory(&addition.source, &destination, &mut members, &mut refusals)?;
        } else if metadata.is_file() {
            let is_directory = addition.destination.ends_with('/');
            if let (true, Some(name)) = (is_directory, addition.source.file_name()) {
                destination = destination.join(name.as_bytes()).map_err(Error::Path)?;
            }
            members.push(file_member(&addition.source, destination)?);
        } else {
            let path = addition.source.clone();
            let what = "neither a file nor a directory";
            refusals.push(Refusal::Special { path, what });
        }
        for member in &mut members[first..] {
            member.entry.mtime = mtime;
            let is_file = matches!(member.entry.kind, EntryKind::File { .. });
            if let (true, Some(mode)) = (is_file, addition.mode) {
                member.entry.mode = mode;
            }
        }
    }
    match refusals.is_empty() {
        true => Ok(members),
        false => Err(Error::Refused { refusals }),
    }
}

fn add_directory(
    source: &Path,
    destination: &ImagePath,
    members: &mut Vec<Member>,
    refusals: &mut Vec<Refusal>,
) -> Result<()> {
    if !destination.is_root() {
        members.push(Entry::directory(destination.clone()).into());
    }
    let mut add = |relative: &Path, found| {
        let host = source.join(relative);
        let path = match destination.join(relative.as_os_str().as_bytes()) {
            Ok(path) => path,
            Err(error) => {
                let reason = error.to_string();
                return refusals.push(Refusal::Name { path: host, reason });
            }
        };
        match found {
            Ok(Found::Directory { mode }) => {
                let mut entry = Entry::directory(path);
                entry.mode |= mode & 0o7000;
                members.push(entry.into());
            }
            Ok(Found::Symlink { target }) => members.push(Entry::symlink(path, target).into()),
            Ok(Found::File { state, .. }) => {
                let entry = Entry::file(path, state.size, image_mode(state.mode));
                let content = Content::File(HostFile { path: host, state });
                members.push(Member {
                    entry,
                    content: Some(content),
                });
            }
            Ok(Found::Special(what)) => refusals.push(Refusal::Special { path: host, what }),
            Err(cause) => refusals.push(Refusal::Unreadable { path: host, cause }),
        }
    };
    walk(source, &mut add).map_err(Error::File)
}
