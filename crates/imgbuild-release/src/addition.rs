//! Further files and directories that the user puts into an image.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_oci::content::{Content, FileState, HostFile};
use imgbuild_oci::entry::{Entry, EntryKind, Member};
use imgbuild_oci::path::ImagePath;

use crate::error::{Error, Refusal, Result};
use crate::release::{Found, image_mode, image_path, refuse_file, walk};

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
/// path that cannot go into an image; set-id files of other users than root
/// only go in when `allows_set_id`.
pub fn open_additions(
    additions: &[Addition],
    allows_set_id: bool,
    mtime: u64,
) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    let mut refusals = Vec::new();
    for addition in additions {
        let metadata = fs::metadata(&addition.source).map_err(Error::File)?;
        let mut destination = ImagePath::parse(&addition.destination).map_err(Error::Path)?;
        let first = members.len();
        // A mode that the user gives is what the user wants.
        let allows_set_id = allows_set_id || addition.mode.is_some();
        if metadata.is_dir() {
            let mut directory = Directory {
                source: &addition.source,
                destination,
                allows_set_id,
                members: &mut members,
                refusals: &mut refusals,
            };
            directory.add()?;
        } else if metadata.is_file() {
            let is_directory = addition.destination.ends_with('/');
            if let (true, Some(name)) = (is_directory, addition.source.file_name()) {
                destination = destination.join(name.as_bytes()).map_err(Error::Path)?;
            }
            let host = HostFile {
                path: addition.source.clone(),
                state: FileState::of(&metadata),
            };
            let owner = (metadata.uid(), metadata.gid());
            match refuse_file(&host, owner, allows_set_id) {
                Some(refusal) => refusals.push(refusal),
                None => members.push(file(destination, host)),
            }
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

/// A file of the host at its place in the image.
fn file(path: ImagePath, host: HostFile) -> Member {
    let entry = Entry::file(path, host.state.size, image_mode(host.state.mode));
    Member {
        entry,
        content: Some(Content::File(host)),
    }
}

/// A directory whose content is added.
struct Directory<'a> {
    source: &'a Path,
    destination: ImagePath,
    allows_set_id: bool,
    members: &'a mut Vec<Member>,
    refusals: &'a mut Vec<Refusal>,
}

impl Directory<'_> {
    fn add(&mut self) -> Result<()> {
        if !self.destination.is_root() {
            let entry = Entry::directory(self.destination.clone());
            self.members.push(entry.into());
        }
        let source = self.source;
        walk(
            source,
            &mut |relative, found| match image_path(&self.destination, relative) {
                Ok(path) => self.take(path, source.join(relative), found),
                Err(reason) => self.refusals.push(Refusal::Name {
                    path: source.join(relative),
                    reason,
                }),
            },
        )
        .map_err(Error::File)
    }

    fn take(&mut self, path: ImagePath, host: PathBuf, found: std::io::Result<Found>) {
        match found {
            Ok(Found::Directory { mode }) => {
                let mut entry = Entry::directory(path);
                entry.mode |= mode & 0o7000;
                self.members.push(entry.into());
            }
            Ok(Found::Symlink { target }) => {
                self.members.push(Entry::symlink(path, target).into());
            }
            Ok(Found::File { state, owner, .. }) => {
                let host = HostFile { path: host, state };
                match refuse_file(&host, owner, self.allows_set_id) {
                    Some(refusal) => self.refusals.push(refusal),
                    None => self.members.push(file(path, host)),
                }
            }
            Ok(Found::Special(what)) => {
                self.refusals.push(Refusal::Special { path: host, what });
            }
            Err(cause) => self
                .refusals
                .push(Refusal::Unreadable { path: host, cause }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use imgbuild_testing::Tree;

    use super::*;

    fn release() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let tree = r#"
            0755 file bin/tool "x"
            0640 file data "x"
            link to-data -> data
            1777 dir spool
        "#;
        Tree::parse(tree)
            .unwrap()
            .write_to(directory.path())
            .unwrap();
        directory
    }

    fn open(source: PathBuf, destination: &str, mode: Option<u32>) -> Result<Vec<Member>> {
        let destination = destination.to_owned();
        let addition = Addition {
            source,
            destination,
            mode,
        };
        open_additions(&[addition], false, 7)
    }

    fn shown(members: &[Member]) -> Vec<String> {
        let shown = |member: &Member| {
            let entry = &member.entry;
            assert_eq!(entry.mtime, 7);
            format!("{:04o} {}", entry.mode, entry.path)
        };
        members.iter().map(shown).collect()
    }

    #[test]
    fn a_file_lands_at_its_place_or_in_a_directory() {
        let release = release();
        let data = release.path().join("data");
        for (destination, mode, expected) in [
            ("/etc/x", None, "0644 /etc/x"),
            ("/etc/", None, "0644 /etc/data"),
            ("/etc/x", Some(0o600), "0600 /etc/x"),
        ] {
            let members = open(data.clone(), destination, mode).unwrap();
            assert_eq!(shown(&members), [expected]);
        }
        let members = open(release.path().join("to-data"), "/x", None).unwrap();
        assert_eq!(shown(&members), ["0644 /x"], "a link is followed");
    }

    #[test]
    fn the_content_of_a_directory_lands_in_its_place() {
        let release = release();
        let expected = [
            "0755 /srv",
            "0755 /srv/bin",
            "0755 /srv/bin/tool",
            "0644 /srv/data",
            "1755 /srv/spool",
            "0777 /srv/to-data",
        ];
        let members = open(release.path().to_path_buf(), "/srv", None).unwrap();
        assert_eq!(shown(&members), expected);
        let members = open(release.path().to_path_buf(), "/", Some(0o600)).unwrap();
        let expected = [
            "0755 /bin",
            "0600 /bin/tool",
            "0600 /data",
            "1755 /spool",
            "0777 /to-data",
        ];
        assert_eq!(shown(&members), expected, "a mode is for files");
    }

    #[test]
    fn what_no_image_can_hold_is_refused_at_once() {
        let release = release();
        let more = "fifo pipe\n0644 file .wh.x \"\"";
        Tree::parse(more).unwrap().write_to(release.path()).unwrap();
        let error = open(release.path().to_path_buf(), "/srv", None).unwrap_err();
        let Error::Refused { refusals } = error else {
            panic!("{error}");
        };
        assert_eq!(refusals.len(), 2, "{refusals:?}");
        let error = open(release.path().join("pipe"), "/x", None).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(open(release.path().join("gone"), "/x", None).is_err());
        assert!(open(release.path().join("data"), "x", None).is_err());
    }

    #[test]
    fn a_set_id_file_goes_in_only_when_somebody_says_so() {
        let release = release();
        let tool = release.path().join("bin/tool");
        fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o4755)).unwrap();
        let owner = fs::metadata(&tool).unwrap().uid();
        let is_taken = open(tool.clone(), "/tool", None).is_ok();
        assert_eq!(is_taken, owner == 0, "root's own may go in");
        let members = open(tool, "/tool", Some(0o4755)).unwrap();
        assert_eq!(shown(&members), ["4755 /tool"]);
    }
}
