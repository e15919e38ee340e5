//! One layer: the tar in a blob, read entry by entry and never held in memory.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tar::EntryType;

use super::{Blobs, UnpackError, UnpackedKind, UnpackedLayer, UnpackedPath, field, same, text};

/// Reads the layer of a descriptor.
pub(super) fn read(
    blobs: &Blobs,
    number: usize,
    descriptor: &Value,
) -> Result<UnpackedLayer, UnpackError> {
    let what = format!("layer {number}");
    let digest = text(field(descriptor, &what, "/digest")?).to_owned();
    let media_type = text(field(descriptor, &what, "/mediaType")?);
    let name = format!("blobs/{}", digest.replacen(':', "/", 1));
    let unreadable = |error| blobs.unreadable(&name, error);

    let mut blob = Hashed::new(blobs.open_file(&name)?);
    let compressed = media_type.ends_with("+gzip");
    let plain: Box<dyn Read> = if compressed {
        Box::new(GzDecoder::new(&mut blob))
    } else {
        Box::new(&mut blob)
    };
    let mut tar = Hashed::new(plain);
    let entries = entries(&mut tar, number, unreadable)?;
    // A tar reader stops at the end mark; the digest also covers what follows.
    io::copy(&mut tar, &mut io::sink()).map_err(unreadable)?;
    let diff_id = tar.finish();
    io::copy(&mut blob, &mut io::sink()).map_err(unreadable)?;
    let size = field(descriptor, &what, "/size")?;
    same(
        &format!("size of {what}"),
        &size.to_string(),
        &blob.size.to_string(),
    )?;
    same(&format!("digest of {what}"), &digest, &blob.finish())?;
    Ok(UnpackedLayer {
        digest,
        diff_id,
        entries,
    })
}

/// Returns the content of a regular file, if the layer has one at `path`.
pub(super) fn content_of(
    blobs: &Blobs,
    descriptor: &Value,
    path: &Path,
) -> Result<Option<Vec<u8>>, UnpackError> {
    let name = format!(
        "blobs/{}",
        text(&descriptor["digest"]).replacen(':', "/", 1)
    );
    let unreadable = |error| blobs.unreadable(&name, error);
    let blob = blobs.open_file(&name)?;
    let mut archive = tar::Archive::new(decompressed(blob, text(&descriptor["mediaType"])));
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let found = Path::new(OsStr::from_bytes(&entry.path_bytes())) == path;
        if found && entry.header().entry_type() == EntryType::Regular {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(unreadable)?;
            return Ok(Some(content));
        }
    }
    Ok(None)
}

fn decompressed<'a>(blob: impl Read + 'a, media_type: &str) -> Box<dyn Read + 'a> {
    if media_type.ends_with("+gzip") {
        Box::new(GzDecoder::new(blob))
    } else {
        Box::new(blob)
    }
}

fn entries(
    tar: &mut impl Read,
    number: usize,
    unreadable: impl Fn(io::Error) -> UnpackError + Copy,
) -> Result<Vec<(PathBuf, UnpackedPath)>, UnpackError> {
    let mut archive = tar::Archive::new(tar);
    let mut found = Vec::new();
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let path = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        let kind = match entry.header().entry_type() {
            EntryType::Directory => UnpackedKind::Directory,
            EntryType::Regular => content(&mut entry).map_err(unreadable)?,
            EntryType::Symlink => UnpackedKind::Symlink {
                target: target(&entry),
            },
            EntryType::Link => UnpackedKind::Hardlink {
                target: target(&entry),
            },
            other => {
                let kind = char::from(other.as_byte());
                return Err(UnpackError::Kind {
                    layer: number,
                    path,
                    kind,
                });
            }
        };
        let header = entry.header();
        let unpacked = UnpackedPath {
            kind,
            mode: header.mode().map_err(unreadable)?,
            uid: header.uid().map_err(unreadable)?,
            gid: header.gid().map_err(unreadable)?,
            mtime: header.mtime().map_err(unreadable)?,
        };
        found.push((path, unpacked));
    }
    Ok(found)
}

fn content(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<UnpackedKind> {
    let expected = entry.size();
    let mut content = Hashed::new(entry);
    let size = io::copy(&mut content, &mut io::sink())?;
    if size != expected {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(UnpackedKind::File {
        size,
        digest: content.finish(),
    })
}

fn target(entry: &tar::Entry<'_, impl Read>) -> PathBuf {
    let bytes = entry.link_name_bytes().unwrap_or_default();
    PathBuf::from(OsStr::from_bytes(&bytes))
}

/// A reader that hashes and counts its bytes.
struct Hashed<R> {
    inner: R,
    hasher: Sha256,
    size: u64,
}

impl<R: Read> Hashed<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            size: 0,
        }
    }

    fn finish(self) -> String {
        print(&self.hasher.finalize())
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.size += count as u64;
        Ok(count)
    }
}

/// Returns `sha256:…` of bytes in memory.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    print(&Sha256::digest(bytes))
}

fn print(hash: &[u8]) -> String {
    hash.iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}
