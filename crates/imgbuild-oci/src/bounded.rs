//! Reading files and streams whole, each up to a limit.
//!
//! The functions of `std` and `fs_err` that read without a limit are banned (`clippy.toml`).

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::OFlags;

use crate::root_directory::regular_file;

/// Reads at most `limit` bytes; what follows them stays.
///
/// # Errors
///
/// When reading fails.
pub fn read_start(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    append(&mut bytes, reader, limit)?;
    Ok(bytes)
}

/// Reads at most `limit` bytes, or those that come before a failure.
pub fn read_available(reader: impl Read, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    drop(append(&mut bytes, reader, limit));
    bytes
}

#[expect(clippy::disallowed_methods, reason = "the one place, with a limit")]
fn append(bytes: &mut Vec<u8>, reader: impl Read, limit: u64) -> io::Result<()> {
    reader.take(limit).read_to_end(bytes).map(drop)
}

/// Reads to the end.
///
/// # Errors
///
/// When reading fails, or gives more than `limit` bytes.
pub fn read_all(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let bytes = read_start(reader, limit.saturating_add(1))?;
    if bytes.len() as u64 > limit {
        let error = Unreadable::TooLarge { path: None, limit };
        return Err(error.into());
    }
    Ok(bytes)
}

/// Opens the regular file that `path` leads to; a FIFO is not waited for.
///
/// # Errors
///
/// When it cannot be opened, or is not a regular file.
pub fn open_file(path: &Path) -> io::Result<fs::File> {
    regular_file(open(path)?)
}

/// Reads the regular file that `path` leads to.
///
/// # Errors
///
/// When it cannot be read, is not a regular file, or has more than `limit` bytes.
pub fn read_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_opened(&open_file(path)?, limit)
}

/// Reads an open file to its end.
///
/// # Errors
///
/// When reading fails, or gives more than `limit` bytes.
pub fn read_opened(file: &fs::File, limit: u64) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    if size > limit {
        return Err(too_large(file.path(), limit));
    }
    // Without a capacity, the first reads are of 32 bytes.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    append(&mut bytes, file, limit.saturating_add(1))?;
    if bytes.len() as u64 > limit {
        return Err(too_large(file.path(), limit));
    }
    Ok(bytes)
}

/// Reads a regular file of UTF-8 text.
///
/// # Errors
///
/// As [`read_file`], and when it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    to_text(path, read_file(path, limit)?)
}

/// Returns the text of a file's bytes.
///
/// # Errors
///
/// When they are not UTF-8.
pub fn to_text(path: &Path, bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| Unreadable::NotText(path.to_path_buf()).into())
}

/// Opens without waiting for the writer of a pipe.
pub(crate) fn open(path: &Path) -> io::Result<fs::File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let mut options = fs::OpenOptions::new();
    options.read(true).custom_flags(flags).open(path)
}

pub(crate) fn at_path(error: io::Error, path: &Path) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Unreadable::TooLarge { limit, .. }) => too_large(path, *limit),
        _ => error,
    }
}

fn too_large(path: &Path, limit: u64) -> io::Error {
    let path = Some(path.to_path_buf());
    Unreadable::TooLarge { path, limit }.into()
}

/// A file or stream that cannot be what it should be.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("{} more than {}, the limit: check that it is the right one", subject(path.as_deref()), Size(*limit))]
    TooLarge { path: Option<PathBuf>, limit: u64 },
    #[error("`{}` is not UTF-8: save it as UTF-8 text", .0.display())]
    NotText(PathBuf),
}

impl From<Unreadable> for io::Error {
    fn from(error: Unreadable) -> Self {
        let kind = match error {
            Unreadable::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            Unreadable::NotText(_) => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

fn subject(path: Option<&Path>) -> String {
    match path {
        Some(path) => format!("`{}` has", path.display()),
        None => "the input has".to_owned(),
    }
}

/// A limit in bytes, as a message shows it.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes % (1 << 20) == 0 => write!(formatter, "{} MiB", bytes >> 20),
            bytes if bytes % (1 << 10) == 0 => write!(formatter, "{} KiB", bytes >> 10),
            bytes => write!(formatter, "{bytes} bytes"),
        }
    }
}

#[cfg(test)]
mod tests;
