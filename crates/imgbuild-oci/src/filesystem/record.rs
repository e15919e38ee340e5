//! A file system in one file, so that its layers need not be read again: the
//! contents that were kept, a record of everything else, and the offset at
//! which that starts.
//!
//! Any program that can write the file can write anything into it. A record
//! that is not a sorted tree, or that leads out of the file, is not read.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{BlobFacts, FileSystem};
use crate::content::{Content, FileRange};
use crate::entry::{Entry, EntryKind, Member, Owner};
use crate::path::{ImagePath, MAX_PATH_BYTES};
use crate::record::{self, RecordKind};
use crate::xattr::Xattrs;

/// The largest record in bytes: more than the largest file system takes whose
/// layers are read.
const MAX_RECORD_BYTES: u64 = 640 << 20;

/// A file system without the contents of its files.
#[derive(Debug, Serialize, Deserialize)]
struct FileSystemRecord<'a> {
    blobs: Vec<BlobFacts>,
    #[serde(borrow)]
    members: Vec<MemberRecord<'a>>,
    specials: Vec<&'a [u8]>,
    /// The violations as JSON, which may leave fields out.
    violations: Cow<'a, str>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct MemberRecord<'a> {
    path: &'a [u8],
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: u64,
    kind: KindRecord<'a>,
    xattrs: Cow<'a, Xattrs>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum KindRecord<'a> {
    Directory,
    Symlink {
        target: &'a [u8],
    },
    /// A file whose content was not kept.
    File {
        size: u64,
    },
    EmptyFile,
    /// A file whose content is in the same file as the record.
    KeptFile {
        size: u64,
        start: u64,
    },
}

impl FileSystem {
    /// Ends the file that has the `kept` bytes of its contents with a record;
    /// `file` is positioned after them.
    pub(crate) fn write_record(&self, mut file: &File, kept: u64) -> io::Result<()> {
        let members: Option<_> = self.members.iter().map(MemberRecord::of).collect();
        let record = FileSystemRecord {
            blobs: self.blobs.clone(),
            members: members.ok_or(io::ErrorKind::InvalidData)?,
            specials: self.specials.iter().map(ImagePath::as_bytes).collect(),
            violations: serde_json::to_string(&self.violations)?.into(),
        };
        file.write_all(&record::encode(RecordKind::FileSystem, &record))?;
        file.write_all(&kept.to_le_bytes())
    }

    /// Reads the record that [`FileSystem::write_record`] wrote of an image with this
    /// number of layers; `None` for anything else.
    pub(crate) fn of_record(file: File, layers: usize) -> Option<Self> {
        let mut kept = [0; 8];
        let end = file.metadata().ok()?.len().checked_sub(kept.len() as u64)?;
        file.read_exact_at(&mut kept, end).ok()?;
        let kept = u64::from_le_bytes(kept);
        let size = end
            .checked_sub(kept)
            .filter(|size| *size <= MAX_RECORD_BYTES)?;

        let file = Arc::new(file);
        let range = FileRange::new(Arc::clone(&file), kept, size);
        let bytes = range.first_bytes(size).ok()?;
        let record: FileSystemRecord<'_> = record::decode(RecordKind::FileSystem, &bytes)?;
        if record.blobs.len() != layers {
            return None;
        }
        record.into_file_system(&file, kept)
    }
}

impl FileSystemRecord<'_> {
    /// Checks everything. The first `kept` bytes of `file` are the contents.
    fn into_file_system(self, file: &Arc<File>, kept: u64) -> Option<FileSystem> {
        let mut members: Vec<Member> = Vec::new();
        for record in self.members {
            let member = record.to_member(file, kept)?;
            if !follows(&members, &member.entry.path) {
                return None;
            }
            members.push(member);
        }
        let specials: Option<BTreeSet<_>> = self.specials.into_iter().map(image_path).collect();
        Some(FileSystem {
            members,
            specials: specials?,
            violations: serde_json::from_str(&self.violations).ok()?,
            blobs: self.blobs,
        })
    }
}

impl<'a> MemberRecord<'a> {
    fn of(member: &'a Member) -> Option<Self> {
        let entry = &member.entry;
        let kind = match (&entry.kind, &member.content) {
            (EntryKind::Directory, None) => KindRecord::Directory,
            (EntryKind::Symlink { target }, None) if target.len() <= MAX_PATH_BYTES => {
                KindRecord::Symlink { target }
            }
            (EntryKind::File { size }, None) => KindRecord::File { size: *size },
            (EntryKind::File { size: 0 }, Some(Content::Bytes(_))) => KindRecord::EmptyFile,
            (EntryKind::File { size }, Some(Content::Range(range))) => {
                let (start, its_size) = range.place();
                if its_size != *size {
                    return None;
                }
                KindRecord::KeptFile { size: *size, start }
            }
            _ => return None,
        };
        Some(Self {
            path: entry.path.as_bytes(),
            mode: entry.mode,
            uid: entry.owner.uid,
            gid: entry.owner.gid,
            mtime: entry.mtime,
            kind,
            xattrs: Cow::Borrowed(&entry.xattrs),
        })
    }

    fn to_member(&self, file: &Arc<File>, kept: u64) -> Option<Member> {
        let (kind, content) = match self.kind {
            KindRecord::Directory => (EntryKind::Directory, None),
            KindRecord::Symlink { target } => {
                if target.is_empty() || target.len() > MAX_PATH_BYTES {
                    return None;
                }
                let target = target.to_vec();
                (EntryKind::Symlink { target }, None)
            }
            KindRecord::File { size } => (EntryKind::File { size }, None),
            KindRecord::EmptyFile => {
                let content = Content::Bytes(Arc::default());
                (EntryKind::File { size: 0 }, Some(content))
            }
            KindRecord::KeptFile { size, start } => {
                if start.checked_add(size)? > kept {
                    return None;
                }
                let range = FileRange::new(Arc::clone(file), start, size);
                (EntryKind::File { size }, Some(Content::Range(range)))
            }
        };
        let entry = Entry {
            path: image_path(self.path)?,
            kind,
            mode: Some(self.mode).filter(|mode| *mode <= 0o7777)?,
            owner: Owner {
                uid: self.uid,
                gid: self.gid,
            },
            mtime: self.mtime,
            xattrs: self.xattrs.clone().into_owned(),
        };
        Some(Member { entry, content })
    }
}

/// Returns a path that is spelled as it would be written, and is not the root.
fn image_path(bytes: &[u8]) -> Option<ImagePath> {
    let path = ImagePath::parse(bytes).ok()?;
    (path.as_bytes() == bytes && !path.is_root()).then_some(path)
}

/// Returns true if a path sorts after all `members` and is in a directory of
/// them.
fn follows(members: &[Member], path: &ImagePath) -> bool {
    let Some(last) = members.last() else {
        return path.parent().is_some_and(|parent| parent.is_root());
    };
    if last.entry.path >= *path {
        return false;
    }
    let parent = path.parent_bytes();
    if parent == b"/" || parent == last.entry.path.parent_bytes() {
        return true;
    }
    let found = members.binary_search_by(|member| member.entry.path.as_bytes().cmp(parent));
    found.is_ok_and(|index| members[index].entry.kind == EntryKind::Directory)
}

#[cfg(test)]
mod tests;
