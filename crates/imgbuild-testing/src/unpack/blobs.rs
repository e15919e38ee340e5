//! The files of a layout in a directory or an archive.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use fs_err as fs;
use serde_json::Value;

use super::UnpackError;

/// The place of the files.
#[derive(Debug)]
pub(super) struct Blobs {
    source: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Directory,
    /// The position and size of each file in the plain archive.
    Archive {
        file: std::fs::File,
        members: BTreeMap<String, (u64, u64)>,
    },
}

impl Blobs {
    pub(super) fn open(source: &Path) -> Result<Self, UnpackError> {
        let mut blobs = Self {
            source: source.to_owned(),
            place: Place::Directory,
        };
        if !source.is_dir() {
            blobs.place =
                open_archive(source).map_err(|error| blobs.unreadable("archive", error))?;
        }
        Ok(blobs)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        match &self.place {
            Place::Directory => self.source.join(name).exists(),
            Place::Archive { members, .. } => members.contains_key(name),
        }
    }

    /// Opens a file of the layout; only one can be read at a time.
    pub(super) fn open_file(&self, name: &str) -> Result<Box<dyn Read + '_>, UnpackError> {
        let opened = match &self.place {
            Place::Directory => {
                fs::File::open(self.source.join(name)).map(|file| Box::new(file) as Box<dyn Read>)
            }
            Place::Archive { file, members } => open_member(file, members.get(name)),
        };
        opened.map_err(|error| self.unreadable(name, error))
    }

    pub(super) fn json(&self, name: &str) -> Result<Value, UnpackError> {
        serde_json::from_reader(self.open_file(name)?).map_err(|source| UnpackError::Json {
            name: name.to_owned(),
            source,
        })
    }

    pub(super) fn unreadable(&self, name: &str, source: io::Error) -> UnpackError {
        UnpackError::Read {
            source_path: self.source.clone(),
            name: name.to_owned(),
            source,
        }
    }
}

fn open_member<'a>(
    mut file: &'a std::fs::File,
    member: Option<&(u64, u64)>,
) -> io::Result<Box<dyn Read + 'a>> {
    let (position, size) = member.ok_or(io::ErrorKind::NotFound)?;
    file.seek(SeekFrom::Start(*position))?;
    Ok(Box::new(io::BufReader::new(file.take(*size))))
}

fn open_archive(source: &Path) -> io::Result<Place> {
    let file = plain(fs::File::open(source)?.into_file())?;
    let mut members = BTreeMap::new();
    let mut archive = tar::Archive::new(&file);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if members
            .insert(name.clone(), (entry.raw_file_position(), entry.size()))
            .is_some()
        {
            return Err(io::Error::other(format!("two members are called `{name}`")));
        }
    }
    Ok(Place::Archive { file, members })
}

/// Returns a reader of the plain or decompressed file.
fn plain(mut file: std::fs::File) -> io::Result<std::fs::File> {
    let mut magic = [0; 2];
    file.read_exact(&mut magic)?;
    file.rewind()?;
    if magic != [0x1f, 0x8b] {
        return Ok(file);
    }
    let mut decompressed = tempfile::tempfile()?;
    io::copy(&mut MultiGzDecoder::new(file), &mut decompressed)?;
    decompressed.rewind()?;
    Ok(decompressed)
}
