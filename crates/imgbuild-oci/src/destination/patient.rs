//! Writing to pipes, sockets and terminals, whose readers may stop to read: a
//! blocking call could not be interrupted then.

use std::fs::File;
use std::io::{self, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::monitor::Monitor;

/// The number of bytes that a pipe with some room takes without blocking
/// (`PIPE_BUF`).
const MAX_BYTES: usize = 4096;

/// A writer that waits for room in its file, until an interruption.
#[derive(Debug)]
pub struct PatientWriter<'a> {
    file: &'a mut File,
    reader: &'a str,
    monitor: Monitor<'a>,
    /// Set for a regular file, which always has room.
    is_regular: bool,
}

impl<'a> PatientWriter<'a> {
    /// Creates a writer to a file; `reader` is what a long wait is for.
    #[must_use]
    pub fn new(file: &'a mut File, reader: &'a str, monitor: Monitor<'a>) -> Self {
        let is_regular = file.metadata().is_ok_and(|found| found.is_file());
        Self {
            file,
            reader,
            monitor,
            is_regular,
        }
    }
}

impl Write for PatientWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_regular {
            return self.file.write(bytes);
        }
        let file = &*self.file;
        let has_room = self.monitor.wait_for(self.reader, |interval| {
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: interval.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(file, PollFlags::OUT)], Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => Ok(None),
                // A failed write has the reason of a failed poll, too.
                Ok(_) | Err(_) => Ok(Some(())),
            }
        });
        has_room.map_err(io::Error::other)?;
        self.file.write(&bytes[..bytes.len().min(MAX_BYTES)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
