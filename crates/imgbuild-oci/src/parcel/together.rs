//! Several blobs at a time, from wherever they are.

use super::ParcelBlob;
use crate::error::Result;
use crate::monitor::Monitor;
use crate::parallel;

/// Has `copy` copy every blob on `threads` threads.
///
/// # Errors
///
/// The first failure; it stops those that are on their way, too.
pub(crate) fn copy_together(
    blobs: &[&ParcelBlob],
    threads: usize,
    monitor: Monitor<'_>,
    copy: &(dyn Fn(usize, &ParcelBlob, Monitor<'_>) -> Result<()> + Sync),
) -> Result<()> {
    parallel::for_each(threads, blobs.iter().enumerate(), |(turn, blob), queue| {
        let monitor = monitor.unless(queue.stopped());
        monitor.check()?;
        copy(turn, blob, monitor)
    })
}

#[cfg(test)]
mod tests;
