//! The files of an image by path. Links are followed as the kernel does.

use std::collections::BTreeMap;
use std::convert::Infallible;

use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{Entry, EntryKind, Member};
use imgbuild_oci::path::{ImagePath, ResolveError, escaped, resolve_links};

use crate::check::content::ReadableContent;
use crate::elf::Elf;
use crate::refusal::Refusal;

/// Members by their path, from several sorted or unsorted lists.
#[derive(Debug, Default, Clone)]
pub(crate) struct Contents<'a> {
    /// Sorted lists, too long to be copied into a map. Of two members with the
    /// same path, that of the earlier list counts.
    sorted: Vec<&'a [Member]>,
    others: BTreeMap<&'a ImagePath, &'a Member>,
    /// The members of a base image, sorted; other members hide them.
    pub(crate) base: &'a [Member],
    /// The `PATH` of the base image.
    pub(crate) base_path: Option<&'a str>,
}

/// The end of a path when all its links are followed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// An existing file, link or directory.
    There(ImagePath),
    /// A path that does not exist.
    Nothing(ImagePath),
    /// A loop of links.
    Loop,
}

impl<'a> Contents<'a> {
    /// Returns the contents of one list, which is sorted by path.
    pub(crate) fn new(sorted: &'a [Member]) -> Self {
        Self::of_layers(vec![sorted])
    }

    /// Returns the contents of layers, the highest first, each sorted by path.
    pub(crate) fn of_layers(sorted: Vec<&'a [Member]>) -> Self {
        Self {
            sorted,
            ..Self::default()
        }
    }

    /// Adds members; an earlier one with the same path stays.
    pub(crate) fn add(&mut self, members: impl IntoIterator<Item = &'a Member>) {
        for member in members {
            self.others.entry(&member.entry.path).or_insert(member);
        }
    }

    /// Returns the member at exactly this path.
    pub(crate) fn get(&self, path: &ImagePath) -> Option<&'a Member> {
        self.own(path).or_else(|| self.base(path))
    }

    /// Returns the member at exactly this path, unless it is of a base image.
    pub(crate) fn own(&self, path: &ImagePath) -> Option<&'a Member> {
        let found = self.sorted.iter().find_map(|list| find(list, path));
        found.or_else(|| self.others.get(path).copied())
    }

    /// Returns the member of a base image at exactly this path.
    pub(crate) fn base(&self, path: &ImagePath) -> Option<&'a Member> {
        find(self.base, path)
    }

    /// Returns whether any path but those of a base image lies below this one.
    pub(crate) fn has_below(&self, path: &ImagePath) -> bool {
        let sorted = self.sorted.iter().copied().flatten();
        let mut members = sorted.chain(self.others.values().copied());
        members.any(|member| member.entry.path.starts_with(path))
    }

    /// Follows all links of `path`, the last one too.
    pub(crate) fn resolve(&self, path: &ImagePath) -> End {
        self.walk(path, &mut |_| {})
    }

    /// Returns the path at which `path` ends, whether something is there or
    /// not; `None` for a loop of links.
    pub(crate) fn end_of(&self, path: &ImagePath) -> Option<ImagePath> {
        match self.resolve(path) {
            End::There(end) | End::Nothing(end) => Some(end),
            End::Loop => None,
        }
    }

    /// Follows all links as [`Contents::resolve`] does, and calls `pass` with
    /// every directory on the way.
    pub(crate) fn walk(&self, path: &ImagePath, pass: &mut dyn FnMut(&ImagePath)) -> End {
        let resolved = resolve_links(path.as_bytes(), |next, _| {
            if let Some(directory) = next.parent() {
                pass(&directory);
            }
            Ok::<_, Infallible>(match self.get(next).map(|member| &member.entry.kind) {
                Some(EntryKind::Symlink { target }) => Some(target),
                _ => None,
            })
        });
        let at = match resolved {
            Ok(at) => at,
            Err(ResolveError::Loop(_)) => return End::Loop,
            Err(ResolveError::Name { directory, .. }) => return End::Nothing(directory),
        };
        if at.is_root() || self.get(&at).is_some() {
            End::There(at)
        } else {
            End::Nothing(at)
        }
    }

    /// Returns the regular file that `path` leads to.
    pub(crate) fn file(&self, path: &ImagePath) -> Option<&'a Member> {
        let End::There(end) = self.resolve(path) else {
            return None;
        };
        let member = self.get(&end)?;
        match &member.entry.kind {
            EntryKind::File { .. } => Some(member),
            EntryKind::Hardlink { target } => self.get(target),
            EntryKind::Directory | EntryKind::Symlink { .. } => None,
        }
    }

    /// Returns whether the file that `path` leads to is executable.
    pub(crate) fn has_executable(&self, path: &ImagePath) -> bool {
        let file = self.file(path);
        file.is_some_and(|file| is_executable(&file.entry))
    }

    /// Returns whether `path` leads to a directory.
    pub(crate) fn leads_to_directory(&self, path: &ImagePath) -> bool {
        let End::There(end) = self.resolve(path) else {
            return false;
        };
        let member = self.get(&end);
        member.is_none_or(|member| member.entry.kind == EntryKind::Directory)
    }

    /// Returns the first bytes of the file that `path` leads to, at most
    /// `limit`.
    pub(crate) fn first_bytes(&self, path: &str, limit: u64) -> Option<Vec<u8>> {
        let path = ImagePath::parse(path).ok()?;
        let content = self.file(&path)?.content.as_ref()?;
        Some(first_bytes(content, limit))
    }
}

fn find<'a>(sorted: &'a [Member], path: &ImagePath) -> Option<&'a Member> {
    let found = sorted.binary_search_by(|member| member.entry.path.cmp(path));
    found.ok().map(|index| &sorted[index])
}

/// Returns the first bytes of a file, at most `limit`; nothing of one that
/// cannot be read.
pub(crate) fn first_bytes(content: &Content, limit: u64) -> Vec<u8> {
    content.first_bytes(limit).unwrap_or_default()
}

/// Follows the links of the directories above `path`.
///
/// # Errors
///
/// When a directory above it is a file or a loop of links.
pub(crate) fn real_place(contents: &Contents<'_>, path: &ImagePath) -> Result<ImagePath, Refusal> {
    let Some(parent) = path.parent() else {
        return Ok(path.clone());
    };
    let below_a_file = |parent: ImagePath| Refusal::BelowAFile {
        path: path.clone(),
        parent,
    };
    let Some(end) = contents.end_of(&parent) else {
        return Err(below_a_file(parent));
    };
    let is_directory = |path: &ImagePath| {
        let member = contents.get(path);
        member.is_none_or(|member| member.entry.kind == EntryKind::Directory)
    };
    let mut directories = [end.clone()].into_iter().chain(end.ancestors());
    if let Some(file) = directories.find(|path| !is_directory(path)) {
        return Err(below_a_file(file));
    }
    let joined = end.join(path.file_name());
    joined.map_err(|_| below_a_file(end))
}

/// Describes the source of a member, for messages.
pub(crate) fn source(member: &Member) -> String {
    match (&member.content, &member.entry.kind) {
        (Some(Content::File(file)), _) => format!("`{}`", file.path.display()),
        (_, EntryKind::Symlink { target }) => format!("a link to `{}`", escaped(target)),
        (_, EntryKind::Directory) => "a directory".to_owned(),
        _ => "imgbuild".to_owned(),
    }
}

/// Returns whether the mode of a file lets the system run it.
pub(crate) fn is_executable(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::File { .. }) && entry.mode & 0o111 != 0
}

/// Returns whether the kernel takes a file for a program: a script, or an ELF
/// file that is one.
pub(crate) fn can_run(member: &Member) -> bool {
    let Some(content) = &member.content else {
        return false;
    };
    match first_bytes(content, 4).as_slice() {
        [b'#', b'!', ..] => true,
        [0x7f, b'E', b'L', b'F'] => {
            let elf = ReadableContent::open(content).map(|file| Elf::read(&file));
            matches!(elf, Some(Ok(Some(elf))) if elf.is_program())
        }
        _ => false,
    }
}
