//! Progress of a long run for its caller, and the way to stop it.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// The interval at which a wait looks for an interruption.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The number of intervals after which a wait is reported: five seconds.
const INTERVALS_TO_NOTICE: u64 = 250;

/// Reports the progress of a run, and asks whether it should go on.
///
/// Called from several threads at once.
#[derive(Clone, Copy)]
pub struct Monitor<'a> {
    progress: &'a (dyn Fn(Progress) + Sync),
    interrupted: &'a AtomicBool,
    /// True when another thread failed.
    abandoned: Option<&'a AtomicBool>,
}

/// One step of a run.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// So many bytes of a layer's tar were read.
    Read(u64),
    /// So many bytes were written to a destination, or found there.
    Written(u64),
    /// The run has waited for this for five seconds.
    Waiting(&'a str),
}

impl<'a> Monitor<'a> {
    /// Calls `progress` at every step; stops when `interrupted` becomes true.
    #[must_use]
    pub fn new(progress: &'a (dyn Fn(Progress) + Sync), interrupted: &'a AtomicBool) -> Self {
        Self {
            progress,
            interrupted,
            abandoned: None,
        }
    }

    /// Returns a monitor of the same run, which also stops when `abandoned`
    /// becomes true.
    pub(crate) fn unless(self, abandoned: &'a AtomicBool) -> Self {
        Self {
            abandoned: Some(abandoned),
            ..self
        }
    }

    pub(crate) fn report(&self, progress: Progress<'_>) {
        (self.progress)(progress);
    }

    /// Fails when the run should stop.
    pub(crate) fn check(&self) -> Result<()> {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if is_set(self.interrupted) || self.abandoned.is_some_and(is_set) {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Calls `poll` until it returns a value; each call waits for at most the time
    /// that it gets. Reports a long wait for `what` once.
    ///
    /// # Errors
    ///
    /// Those of `poll`, and [`Error::Interrupted`].
    pub fn wait_for<T>(
        &self,
        what: &str,
        mut poll: impl FnMut(Duration) -> Result<Option<T>>,
    ) -> Result<T> {
        let mut intervals = 0;
        loop {
            self.check()?;
            if let Some(found) = poll(POLL_INTERVAL)? {
                return Ok(found);
            }
            intervals += 1;
            if intervals == INTERVALS_TO_NOTICE {
                self.report(Progress::Waiting(what));
            }
        }
    }

    /// Waits until a file is ready for `events`, or has failed.
    pub(crate) fn wait_until_ready(
        &self,
        what: &str,
        file: impl AsFd,
        events: PollFlags,
    ) -> io::Result<()> {
        let is_ready = self.wait_for(what, |interval| {
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: interval.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&file, events)], Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => Ok(None),
                // A failed read or write has the reason of a failed poll, too.
                Ok(_) | Err(_) => Ok(Some(())),
            }
        });
        is_ready.map_err(io::Error::other)
    }
}

impl Monitor<'static> {
    /// Returns a monitor that reports nothing and never stops.
    #[must_use]
    pub fn silent() -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Self::new(&|_| {}, &NEVER)
    }
}

impl std::fmt::Debug for Monitor<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Monitor").finish_non_exhaustive()
    }
}
