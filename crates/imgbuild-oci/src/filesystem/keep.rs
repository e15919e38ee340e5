//! The contents that are kept, in one scratch file.

use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::{FileSystemError, LayerError, ReadOptions};
use crate::bounded;
use crate::content::{Content, FileRange};
use crate::entry::{Entry, EntryKind};

/// The largest file of `/etc`, or with the distribution, and the largest one with
/// certificates or accounts, that is kept.
const MAX_CONFIGURATION_BYTES: u64 = 4 << 20;

/// The number of bytes by which the kind of a file is detected.
const HEAD_BYTES: u64 = 64;

const BUFFER_BYTES: usize = 128 * 1024;

/// Decides which contents are kept, and keeps them.
pub(super) struct Keeper<'a> {
    options: ReadOptions<'a>,
    file: Arc<std::fs::File>,
    writer: BufWriter<Arc<std::fs::File>>,
    position: u64,
    buffer: Vec<u8>,
}

impl<'a> Keeper<'a> {
    /// Keeps contents in `file`, from its beginning.
    pub(super) fn new(options: ReadOptions<'a>, file: std::fs::File) -> Self {
        let file = Arc::new(file);
        Self {
            options,
            writer: BufWriter::with_capacity(BUFFER_BYTES, Arc::clone(&file)),
            file,
            position: 0,
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    /// Looks at the beginning of a file, and keeps the rest if it matters.
    pub(super) fn take(
        &mut self,
        entry: &Entry,
        mut contents: impl Read,
    ) -> Result<Option<Content>, LayerError> {
        let EntryKind::File { size } = entry.kind else {
            return Ok(None);
        };
        if size == 0 {
            return Ok(Some(Content::Bytes(Arc::default())));
        }
        let head = bounded::read_start(&mut contents, HEAD_BYTES).map_err(LayerError::Read)?;
        if !self.matters(entry, size, &head) {
            return Ok(None);
        }
        let start = self.position;
        self.write(&head)?;
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            let count = contents.read(&mut buffer);
            let written = match count {
                Ok(count) => self.write(&buffer[..count]).map(|()| count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(1),
                Err(error) => Err(LayerError::Read(error)),
            };
            self.buffer = buffer;
            if written? == 0 {
                break;
            }
        }
        let range = FileRange::new(Arc::clone(&self.file), start, self.position - start);
        Ok(Some(Content::Range(range)))
    }

    fn matters(&self, entry: &Entry, size: u64, head: &[u8]) -> bool {
        let path = &entry.path;
        let is_configuration =
            path.as_bytes().starts_with(b"/etc/") || path.file_name().starts_with(b"os-release");
        is_loadable(head)
            || head.starts_with(b"#!")
            || ((is_configuration || has_certificates(entry, head) || has_accounts(entry, head))
                && size <= MAX_CONFIGURATION_BYTES)
            || (self.options.keeps)(entry)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        let result = self.writer.write_all(bytes);
        result.map_err(|source| LayerError::Scratch {
            directory: self.directory(),
            source,
        })?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn directory(&self) -> PathBuf {
        self.options.scratch.to_path_buf()
    }

    /// Makes everything readable; returns how many bytes were kept.
    pub(super) fn finish(mut self) -> Result<u64, FileSystemError> {
        let directory = self.directory();
        match self.writer.flush() {
            Ok(()) => Ok(self.position),
            Err(source) => Err(FileSystemError::Scratch { directory, source }),
        }
    }
}

/// Returns true for a file that may be a CA bundle: the links of `/etc` lead to such
/// files anywhere, and may come after them.
fn has_certificates(entry: &Entry, head: &[u8]) -> bool {
    let names: [&[u8]; 4] = [b".pem", b".crt", b".cert", b".cer"];
    let starts: [&[u8]; 2] = [b"-----BEGIN CERTIFICA", b"-----BEGIN TRUSTED C"];
    names.iter().any(|end| entry.path.as_bytes().ends_with(end))
        || starts.iter().any(|start| head.starts_with(start))
}

/// Returns true for a file that may be that of users or groups, which `/etc` may lead
/// to as well: its first line is `NAME:PASSWORD:NUMBER`, and more fields may follow.
fn has_accounts(entry: &Entry, head: &[u8]) -> bool {
    let names: [&[u8]; 2] = [b"passwd", b"group"];
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut fields = lines.next().unwrap_or(head).split(|byte| *byte == b':');
    let number = fields.nth(2).map(<[u8]>::trim_ascii);
    number.is_some_and(|it| !it.is_empty() && it.iter().all(u8::is_ascii_digit))
        || names.contains(&entry.path.file_name())
}

/// Returns true for an ELF program or library: object files and the modules
/// of a kernel are only other data here (`e_type`, [elf(5)]).
///
/// [elf(5)]: https://man7.org/linux/man-pages/man5/elf.5.html
fn is_loadable(head: &[u8]) -> bool {
    let file_type = head.get(16..18);
    head.starts_with(b"\x7fELF")
        && file_type.is_some_and(|bytes| matches!(bytes, [2 | 3, 0] | [0, 2 | 3]))
}
