//! The user of a container, and its rights.

use imgbuild_oci::entry::{Entry, EntryKind, Member, Owner};
use imgbuild_oci::path::ImagePath;

use crate::contents::Contents;

use crate::skeleton::{Accounts, UserName};

/// Execute a file, or pass a directory.
pub(super) const EXECUTE: u32 = 0o1;

/// Read a file.
pub(super) const READ: u32 = 0o4;

/// A user with its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContainerUser {
    pub(super) uid: u32,
    groups: Vec<u32>,
}

impl ContainerUser {
    /// Finds `USER[:GROUP]` as Docker does: names in the image's own files, a
    /// number as itself, and a number that has no account in the group 0.
    pub(super) fn find(text: &str, contents: &Contents<'_>) -> Option<Self> {
        let accounts = Accounts::read(contents).unwrap_or_default();
        let name = UserName::parse(text);
        let account = accounts.account(&name.user);
        let Owner { uid, mut gid } = accounts.find(&name).ok()?;
        if account.is_none() && name.group.is_none() {
            gid = 0;
        }
        let further = account.map(|account| accounts.groups_with(&account.name));
        let groups = [gid].into_iter().chain(further.into_iter().flatten());
        let groups = groups.collect();
        Some(Self { uid, groups })
    }

    /// Returns whether the user may do all of `bits` with a file.
    ///
    /// Root may do everything, but execute only files with an execute bit
    /// ([path_resolution(7)], [capabilities(7)]).
    ///
    /// [path_resolution(7)]: https://man7.org/linux/man-pages/man7/path_resolution.7.html
    /// [capabilities(7)]: https://man7.org/linux/man-pages/man7/capabilities.7.html
    pub(super) fn may(&self, entry: &Entry, bits: u32) -> bool {
        let mode = entry.mode;
        if self.uid == 0 {
            let is_directory = entry.kind == EntryKind::Directory;
            return is_directory || bits & EXECUTE == 0 || mode & 0o111 != 0;
        }
        let granted = if entry.owner.uid == self.uid {
            mode >> 6
        } else if self.groups.contains(&entry.owner.gid) {
            mode >> 3
        } else {
            mode
        };
        granted & bits == bits
    }

    /// Returns why the user may not do all of `bits` with `member`, which is at
    /// `path`, and the entry that keeps it from that: the member or a directory
    /// above it.
    pub(super) fn refusal<'a>(
        &self,
        contents: &Contents<'a>,
        path: &ImagePath,
        member: &'a Member,
        bits: u32,
    ) -> Option<(&'a Entry, String)> {
        let (closed, action) = match self.stopped_at(contents, path) {
            Some(directory) => (directory, "enter"),
            None if self.may(&member.entry, bits) => return None,
            None if member.entry.kind == EntryKind::Directory => (member, "enter"),
            None if bits == READ => (member, "read"),
            None => (member, "execute"),
        };
        Some((&closed.entry, self.forbidden(&closed.entry, action)))
    }

    /// Describes an action that the user may not do with an entry.
    pub(super) fn forbidden(&self, entry: &Entry, action: &str) -> String {
        let (path, mode, owner) = (&entry.path, entry.mode, entry.owner);
        format!(
            "user {} may not {action} `{path}`, which has the mode {mode:04o} and belongs to {}:{}",
            self.uid, owner.uid, owner.gid
        )
    }

    /// Returns the first directory above `path` that the user may not enter.
    fn stopped_at<'a>(&self, contents: &Contents<'a>, path: &ImagePath) -> Option<&'a Member> {
        let mut stopped = None;
        contents.walk(path, &mut |directory| {
            let member = contents.get(directory);
            let closed = member.filter(|member| !self.may(&member.entry, EXECUTE));
            stopped = stopped.or(closed);
        });
        stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> Member {
        let path = ImagePath::parse(path).unwrap();
        Member::file(path, 0o644, text.as_bytes().to_vec())
    }

    fn found(user: &str) -> Option<(u32, Vec<u32>)> {
        let members = [
            file("/etc/group", "root:x:0:\nweb:x:33:app\nteam:x:50:app,b\n"),
            file("/etc/passwd", "root:x:0:0::/root:\napp:x:1000:1001::/:\n"),
        ];
        let contents = Contents::new(&members);
        let identity = ContainerUser::find(user, &contents)?;
        Some((identity.uid, identity.groups))
    }

    #[test]
    fn a_user_is_found_as_docker_finds_it() {
        for (user, expected) in [
            ("", Some((0, vec![0]))),
            ("app", Some((1000, vec![1001, 33, 50]))),
            ("1000", Some((1000, vec![1001, 33, 50]))),
            ("app:web", Some((1000, vec![33, 33, 50]))),
            ("5", Some((5, vec![0]))),
            ("5:6", Some((5, vec![6]))),
            ("0:0:0", Some((0, vec![0]))),
            ("2147483647", Some((i32::MAX as u32, vec![0]))),
            ("2147483648", None),
            ("nobody", None),
            ("app:nogroup", None),
        ] {
            assert_eq!(found(user), expected, "{user}");
        }
    }

    #[test]
    fn the_first_class_that_fits_decides() {
        let identity = ContainerUser {
            uid: 5,
            groups: vec![6],
        };
        let entry = |mode, uid, gid| {
            let mut entry = Entry::file(ImagePath::parse("/f").unwrap(), 0, mode);
            entry.owner = Owner { uid, gid };
            entry
        };
        for (mode, uid, gid, expected) in [
            (0o755, 0, 0, true),
            (0o750, 0, 0, false),
            (0o750, 0, 6, true),
            (0o700, 5, 0, true),
            (0o077, 5, 6, false),
            (0o707, 0, 6, false),
        ] {
            let entry = entry(mode, uid, gid);
            assert_eq!(identity.may(&entry, EXECUTE), expected, "{mode:o}");
        }
        let root = ContainerUser {
            uid: 0,
            groups: vec![],
        };
        assert!(root.may(&entry(0o000, 5, 5), READ));
        assert!(!root.may(&entry(0o644, 0, 0), EXECUTE));
        assert!(root.may(&entry(0o100, 5, 5), EXECUTE));
    }
}
