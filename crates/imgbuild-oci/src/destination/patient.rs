//! Writing to pipes, sockets and terminals, whose readers may stop to read: a
//! blocking call could not be interrupted then.

use std::fs::{File, FileType};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::event::PollFlags;
use rustix::fs::OFlags;

use crate::monitor::Monitor;

/// The number of bytes that a pipe with some room takes without blocking
/// (`PIPE_BUF`).
const MAX_BYTES: usize = 4096;

/// A writer that waits for room in its file, until an interruption.
#[derive(Debug)]
pub struct PatientWriter<'a> {
    file: &'a mut File,
    /// The same pipe, for writing without blocking: the file may be shared with
    /// other programs, which do not expect that.
    pipe: Option<fs_err::File>,
    reader: &'a str,
    monitor: Monitor<'a>,
    /// Set for a regular file, which always has room.
    is_regular: bool,
}

impl<'a> PatientWriter<'a> {
    /// Creates a writer to a file; `reader` is what a long wait is for.
    #[must_use]
    pub fn new(file: &'a mut File, reader: &'a str, monitor: Monitor<'a>) -> Self {
        let kind = file.metadata().map(|found| found.file_type());
        let is_regular = kind.as_ref().is_ok_and(FileType::is_file);
        let is_pipe = kind.is_ok_and(|kind| kind.is_fifo());
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let pipe = is_pipe.then(|| {
            let mut options = fs_err::OpenOptions::new();
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            options.write(true).custom_flags(flags).open(path)
        });
        Self {
            file,
            pipe: pipe.and_then(Result::ok),
            reader,
            monitor,
            is_regular,
        }
    }
}

impl PatientWriter<'_> {
    /// Waits until some bytes can be written.
    fn wait(&self) -> io::Result<()> {
        self.monitor
            .wait_until_ready(self.reader, &*self.file, PollFlags::OUT)
    }
}

impl Write for PatientWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_regular {
            return self.file.write(bytes);
        }
        while let Some(pipe) = &mut self.pipe {
            match pipe.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                // Without the path in `/proc`.
                Err(error) => return Err(error.kind().into()),
                written => return written,
            }
        }
        self.wait()?;
        self.file.write(&bytes[..bytes.len().min(MAX_BYTES)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
