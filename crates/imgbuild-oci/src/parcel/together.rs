//! Several blobs at a time, from wherever they are.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::ParcelBlob;
use crate::error::{Error, Result};
use crate::monitor::Monitor;

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
    let next = AtomicUsize::new(0);
    let abandoned = AtomicBool::new(false);
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let monitor = monitor.unless(&abandoned);
    let run = || loop {
        let turn = next.fetch_add(1, Ordering::Relaxed);
        let Some(blob) = blobs.get(turn) else {
            return;
        };
        if let Err(error) = monitor.check().and_then(|()| copy(turn, blob, monitor)) {
            let mut failure = failure.lock().expect("no holder of the lock panics");
            // Who is stopped by this one comes later.
            failure.get_or_insert(error);
            abandoned.store(true, Ordering::Relaxed);
            return;
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(blobs.len()) {
            scope.spawn(run);
        }
        run();
    });
    let failure = failure.into_inner().expect("no holder of the lock panics");
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
