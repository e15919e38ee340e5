//! Inputs that the user names, which may be pipes: they are waited for until a signal comes.

use std::io::{self, Read};
use std::path::Path;

use fs_err as fs;
use rustix::event::PollFlags;

use crate::bounded;
use crate::monitor::Monitor;

/// Reads an input that the user names: a file, a pipe that ends, or a device.
///
/// # Errors
///
/// When reading fails, gives more than `limit` bytes, or is interrupted: then
/// the error has [`Error::Interrupted`](crate::error::Error::Interrupted).
pub fn read_input(path: &Path, limit: u64, monitor: Monitor<'_>) -> io::Result<Vec<u8>> {
    let input = InterruptibleReader {
        file: bounded::open(path)?,
        what: &format!("`{}`", path.display()),
        monitor,
    };
    bounded::read_all(input, limit).map_err(|error| bounded::at_path(error, path))
}

/// Reads an open input; `what` is what a long wait is for.
///
/// # Errors
///
/// As [`read_input`].
pub fn read_stream(
    file: fs::File,
    what: &str,
    limit: u64,
    monitor: Monitor<'_>,
) -> io::Result<Vec<u8>> {
    let input = InterruptibleReader {
        file,
        what,
        monitor,
    };
    bounded::read_all(input, limit)
}

/// A reader that waits for a pipe until a signal comes.
struct InterruptibleReader<'a> {
    file: fs::File,
    what: &'a str,
    monitor: Monitor<'a>,
}

impl Read for InterruptibleReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // A pipe that has had no writer yet is not ready.
            let file = self.file.file();
            self.monitor
                .wait_until_ready(self.what, file, PollFlags::IN)?;
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}
