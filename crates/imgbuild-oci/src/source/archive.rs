//! An image in one tar file.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err::File;

use super::{Decompressor, MemberReader, SourceError, StreamFormat};
use crate::bounded;
use crate::path::{ResolveError, escaped, resolve_links};
use crate::tar_reader::{ReadTarError, TarEntry, TarKind, TarReader, clean_path};

/// The largest number of files in an archive. An image has at most a few
/// hundred; an archive of many images has that per image.
pub(super) const MAX_MEMBERS: usize = 65_536;

/// The longest name that is remembered: nothing in an image is named longer.
const MAX_MEMBER_NAME_BYTES: usize = 1024;

/// A layout, a `docker save` tree or both, in one tar file.
///
/// The tar is read once, headers only, to find the place of each file. Nothing
/// is unpacked; a tar that is compressed as a whole is decompressed to a
/// scratch file that has no name.
#[derive(Debug)]
pub struct ArchiveSource {
    pub(super) path: PathBuf,
    file: Arc<File>,
    members: BTreeMap<Vec<u8>, ArchiveMember>,
    /// The names that start with a slash.
    pub(crate) absolute_names: Vec<String>,
    /// The error after which the rest of the tar could not be read.
    pub(crate) damage: Option<ReadTarError>,
}

#[derive(Debug)]
enum ArchiveMember {
    File { offset: u64, size: u64 },
    Symlink { target: Vec<u8> },
    Hardlink { target: Vec<u8> },
}

impl ArchiveSource {
    pub(super) fn open(path: &Path, scratch: &Path) -> Result<Self, SourceError> {
        let file = File::open(path).map_err(SourceError::File)?;
        let mut archive = Self {
            path: path.to_owned(),
            file: Arc::new(decompressed(file, scratch)?),
            members: BTreeMap::new(),
            absolute_names: Vec::new(),
            damage: None,
        };
        archive.read_members()?;
        let documents = ["oci-layout", "index.json", "manifest.json"];
        if documents.iter().any(|name| archive.has(name)) {
            return Ok(archive);
        }
        let path = path.to_owned();
        Err(match archive.damage {
            Some(source) => SourceError::Tar { path, source },
            None => SourceError::NotAnImage(path),
        })
    }

    /// Returns true if a name is a hard link.
    pub(crate) fn is_hard_link(&self, name: &str) -> bool {
        let member = self.members.get(&clean_path(name.as_bytes()));
        matches!(member, Some(ArchiveMember::Hardlink { .. }))
    }

    /// Opens a file by its name, following links within the archive.
    pub(super) fn member(&self, name: &str) -> Result<Option<MemberReader>, SourceError> {
        let resolved = resolve_links(name.as_bytes(), |path, _| {
            Ok::<_, Infallible>(match self.members.get(path.as_bytes()) {
                Some(ArchiveMember::Symlink { target }) => Some(target.clone()),
                // The target of a hard link is relative to the root.
                Some(ArchiveMember::Hardlink { target }) => {
                    Some([b"/", target.as_slice()].concat())
                }
                Some(ArchiveMember::File { .. }) | None => None,
            })
        });
        let path = match resolved {
            Ok(path) => path,
            Err(ResolveError::Name { .. }) => return Ok(None),
            Err(ResolveError::Loop(_)) => {
                return Err(SourceError::TooManyLinks(escaped(name.as_bytes())));
            }
        };
        Ok(match self.members.get(path.as_bytes()) {
            Some(ArchiveMember::File { offset, size }) => {
                Some(MemberReader::new(self.file.clone(), *offset, *size))
            }
            Some(ArchiveMember::Symlink { .. } | ArchiveMember::Hardlink { .. }) | None => None,
        })
    }

    /// Returns the names of the files in `blobs/sha256`, sorted.
    pub(super) fn blob_names(&self) -> Vec<String> {
        let prefix = b"/blobs/sha256/".as_slice();
        let names = self
            .members
            .keys()
            .filter_map(|path| path.strip_prefix(prefix));
        names.map(escaped).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.members.contains_key(&clean_path(name.as_bytes()))
    }

    fn read_members(&mut self) -> Result<(), SourceError> {
        let mut file = &*self.file.clone();
        io::Seek::rewind(&mut file).map_err(SourceError::File)?;
        let mut tar = TarReader::seekable(file);
        loop {
            match tar.next_entry() {
                Ok(Some(entry)) => self.add(entry, tar.offset())?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.damage = Some(error);
                    return Ok(());
                }
            }
        }
    }

    fn add(&mut self, entry: TarEntry, offset: u64) -> Result<(), SourceError> {
        if entry.path.len() > MAX_MEMBER_NAME_BYTES {
            return Ok(());
        }
        let member = match entry.kind {
            TarKind::File => ArchiveMember::File {
                offset,
                size: entry.size,
            },
            TarKind::Symlink { target } if target.len() <= MAX_MEMBER_NAME_BYTES => {
                ArchiveMember::Symlink { target }
            }
            TarKind::Hardlink { target } if target.len() <= MAX_MEMBER_NAME_BYTES => {
                ArchiveMember::Hardlink { target }
            }
            _ => return Ok(()),
        };
        if entry.path.starts_with(b"/") {
            self.absolute_names.push(escaped(&entry.path));
        }
        // The last one wins, as it does when the archive is unpacked.
        self.members.insert(clean_path(&entry.path), member);
        if self.members.len().max(self.absolute_names.len()) > MAX_MEMBERS {
            return Err(SourceError::TooManyMembers(self.path.clone()));
        }
        Ok(())
    }
}

/// Returns a plain tar, in a scratch file if `file` is compressed.
fn decompressed(file: File, scratch: &Path) -> Result<File, SourceError> {
    let path = file.path().to_owned();
    let read_error = |source| SourceError::Path {
        action: "decompress",
        path: path.clone(),
        source,
    };
    let start = bounded::read_start(&file, 8).map_err(SourceError::File)?;
    if StreamFormat::detect(&start) == StreamFormat::Plain {
        return Ok(file);
    }
    io::Seek::rewind(&mut (&file)).map_err(SourceError::File)?;
    let size = file.metadata().map_err(SourceError::File)?.len();
    let mut tar = Decompressor::new(file, size).map_err(read_error)?;
    let plain = tempfile::tempfile_in(scratch).map_err(|source| SourceError::Path {
        action: "make a scratch file in",
        path: scratch.to_owned(),
        source,
    })?;
    let mut plain = File::from_parts(plain, scratch.join("scratch"));
    io::copy(&mut tar, &mut plain).map_err(read_error)?;
    Ok(plain)
}
