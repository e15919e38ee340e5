//! What the caller of a long run sees of it, and how it stops it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Reports the progress of a run, and asks whether it should go on.
///
/// Called from several threads at once.
#[derive(Clone, Copy)]
pub struct Monitor<'a> {
    progress: &'a (dyn Fn(Progress) + Sync),
    interrupted: &'a AtomicBool,
    /// Another reason to stop: others have failed.
    abandoned: Option<&'a AtomicBool>,
}

/// One step of a run.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Progress {
    /// Bytes of a layer's tar were read.
    Read {
        /// How many.
        bytes: u64,
    },
    /// Bytes were written to a destination, or found there.
    Written {
        /// How many.
        bytes: u64,
    },
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

    /// The same run, which also stops when `abandoned` becomes true.
    pub(crate) fn unless(self, abandoned: &'a AtomicBool) -> Self {
        Self {
            abandoned: Some(abandoned),
            ..self
        }
    }

    pub(crate) fn report(&self, progress: Progress) {
        (self.progress)(progress);
    }

    /// Fails when the run should stop.
    pub(crate) fn check(&self) -> Result<()> {
        let flags = [Some(self.interrupted), self.abandoned];
        match flags
            .iter()
            .flatten()
            .any(|flag| flag.load(Ordering::Relaxed))
        {
            true => Err(Error::Interrupted),
            false => Ok(()),
        }
    }
}

impl Monitor<'static> {
    /// Reports to nobody and never stops.
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
