//! The entries of a layer that is to be made, in the order of its tar.

use crate::entry::{Entry, EntryKind, MAX_ID, Member};
use crate::error::{Error, Result};
use crate::tar_writer;

/// The entries of one layer, checked and in the order in which they are
/// written: bytewise by path, so that a parent precedes what is below it.
#[derive(Debug, Clone)]
pub struct Changeset {
    name: String,
    members: Vec<Member>,
    tar_size: u64,
}

impl Changeset {
    /// Sorts and checks `members`, which make up the layer called `name`.
    ///
    /// # Errors
    ///
    /// When some consumer of layers does not take them: for a path twice, a path
    /// without its parent directories, an entry for the root, a name that starts
    /// with `.wh.`, a mode over 0o7777, an owner over [`MAX_ID`], extended
    /// attributes over 512 KiB, a symbolic link with an empty target, a hard link to
    /// a path that is not an earlier file of the same layer or has another mode, owner
    /// or time; and for a file whose content is missing or of another size.
    pub fn new(name: impl Into<String>, mut members: Vec<Member>) -> Result<Self> {
        members.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
        check(&members)?;
        let tar_size = tar_writer::tar_size(&members);
        Ok(Self {
            name: name.into(),
            members,
            tar_size,
        })
    }

    /// Returns the name that messages and the history use.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the members in the order of the tar.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Returns the exact size of the tar in bytes.
    #[must_use]
    pub fn tar_size(&self) -> u64 {
        self.tar_size
    }
}

fn check(members: &[Member]) -> Result<()> {
    let mut checks = Checks {
        members,
        directory: b"/",
    };
    for (index, member) in members.iter().enumerate() {
        if let Some(reason) = check_alone(member).or_else(|| checks.check(index)) {
            let path = member.entry.path.clone();
            return Err(Error::Entry { path, reason });
        }
    }
    Ok(())
}

fn check_alone(member: &Member) -> Option<&'static str> {
    let entry = &member.entry;
    if entry.path.is_root() {
        return Some("no engine honors an entry for `/`");
    }
    if entry.path.file_name().starts_with(b".wh.") {
        return Some("a name that starts with `.wh.` would hide a file instead of adding one");
    }
    if entry.mode > 0o7777 {
        return Some("its mode has bits beyond 07777");
    }
    if entry.owner.uid > MAX_ID || entry.owner.gid > MAX_ID {
        return Some("its owner is larger than 2147483647");
    }
    let xattrs = entry.xattrs.iter();
    let sizes = xattrs.map(|(name, value)| name.len() + value.len());
    // Engines read a PAX header of at most 1 MiB.
    if sizes.sum::<usize>() > 512 << 10 {
        return Some("its extended attributes are larger than 512 KiB");
    }
    match (&entry.kind, &member.content) {
        (EntryKind::Symlink { target }, _) if target.is_empty() => Some("the link has no target"),
        (EntryKind::Symlink { target }, _) if target.contains(&0) => {
            Some("the target of the link contains a NUL byte")
        }
        (EntryKind::File { size }, Some(content)) if content.size() == *size => None,
        (EntryKind::File { .. }, _) => Some("its content has another size"),
        (_, Some(_)) => Some("only a regular file has content"),
        (_, None) => None,
    }
}

/// The check of each member against those before it, which are sorted.
struct Checks<'a> {
    members: &'a [Member],
    /// The parent that was found last; mostly it is that of the next member too.
    directory: &'a [u8],
}

impl<'a> Checks<'a> {
    fn check(&mut self, index: usize) -> Option<&'static str> {
        let entry = &self.members[index].entry;
        let before = index
            .checked_sub(1)
            .map(|before| &self.members[before].entry);
        if before.is_some_and(|before| before.path == entry.path) {
            return Some("the path occurs twice");
        }
        let parent = entry.path.parent_bytes();
        if parent != b"/" && parent != self.directory {
            match self.earlier(index, parent).map(|entry| &entry.kind) {
                Some(EntryKind::Directory) => self.directory = parent,
                Some(_) => return Some("its parent is not a directory"),
                None => return Some("its parent directory is missing"),
            }
        }
        let EntryKind::Hardlink { target } = &entry.kind else {
            return None;
        };
        let Some(file) = self.earlier(index, target.as_bytes()) else {
            return Some("a hard link needs a file that comes before it in the same layer");
        };
        let same = (file.mode, file.owner, file.mtime) == (entry.mode, entry.owner, entry.mtime);
        match file.kind {
            EntryKind::File { .. } if same => None,
            EntryKind::File { .. } => {
                Some("a hard link must have the mode, owner and time of its file")
            }
            _ => Some("a hard link needs a regular file"),
        }
    }

    /// Finds the entry at `path` among the members before `index`.
    fn earlier(&self, index: usize, path: &[u8]) -> Option<&'a Entry> {
        let earlier = &self.members[..index];
        let found = earlier.binary_search_by(|member| member.entry.path.as_bytes().cmp(path));
        found.ok().map(|found| &earlier[found].entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::ImagePath;

    fn path(text: &str) -> ImagePath {
        ImagePath::parse(text).unwrap()
    }

    fn directory(text: &str) -> Member {
        Entry::directory(path(text)).into()
    }

    fn hardlink(text: &str, target: &str, mode: u32) -> Member {
        let mut entry = Entry::file(path(text), 0, mode);
        entry.kind = EntryKind::Hardlink {
            target: path(target),
        };
        entry.into()
    }

    #[test]
    fn members_are_sorted_by_the_bytes_of_their_path() {
        let members = ["/a/b", "/a-b", "/a"].map(directory).to_vec();
        let changeset = Changeset::new("test", members).unwrap();
        let paths: Vec<String> = changeset
            .members()
            .iter()
            .map(|member| member.entry.path.to_string())
            .collect();
        assert_eq!(paths, ["/a", "/a-b", "/a/b"]);
    }

    #[test]
    fn what_a_consumer_would_not_take_is_refused() {
        let file = |text| Member::file(path(text), 0o644, b"x".to_vec());
        let mut wrong_size = file("/f");
        wrong_size.entry.kind = EntryKind::File { size: 2 };
        let mut wrong_mode = file("/f");
        wrong_mode.entry.mode = 0o100_644;
        let cases: Vec<(&str, Vec<Member>)> = vec![
            ("twice", vec![file("/f"), file("/f")]),
            ("missing", vec![file("/d/f")]),
            ("not a directory", vec![file("/d"), file("/d/f")]),
            ("for `/`", vec![directory("/")]),
            ("`.wh.`", vec![file("/.wh.f")]),
            ("another size", vec![wrong_size]),
            ("07777", vec![wrong_mode]),
            ("no target", vec![Entry::symlink(path("/l"), "").into()]),
            ("before it", vec![hardlink("/a", "/b", 0o644), file("/b")]),
            (
                "regular file",
                vec![directory("/a"), hardlink("/b", "/a", 0o755)],
            ),
            ("mode, owner", vec![file("/a"), hardlink("/b", "/a", 0o755)]),
        ];
        for (expected, members) in cases {
            let error = Changeset::new("test", members).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        assert!(Changeset::new("test", vec![file("/a"), hardlink("/b", "/a", 0o644)]).is_ok());
    }
}
