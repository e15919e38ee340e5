//! Work that several threads take from one row.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Runs `work(0)` … `work(count - 1)`, at most `threads` at a time and on at
/// least one thread.
///
/// # Errors
///
/// The first failure; what has not begun by then is left.
pub fn run_in_turn<E: Send>(
    threads: usize,
    count: usize,
    work: impl Fn(usize) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<E>> = Mutex::new(None);
    let run = || loop {
        let turn = next.fetch_add(1, Ordering::Relaxed);
        if turn >= count {
            return;
        }
        if let Err(error) = work(turn) {
            next.store(count, Ordering::Relaxed);
            let mut failure = failure.lock().expect("no holder of the lock panics");
            failure.get_or_insert(error);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(count) {
            scope.spawn(run);
        }
        run();
    });
    match failure.into_inner().expect("no holder of the lock panics") {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once() {
        for (threads, count) in [(0, 3), (1, 0), (4, 2), (3, 100)] {
            let done = Mutex::new(Vec::new());
            let run = run_in_turn(threads, count, |turn| {
                done.lock().unwrap().push(turn);
                Ok::<(), ()>(())
            });
            assert_eq!(run, Ok(()));
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            assert_eq!(done, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_failure_ends_the_row() {
        let begun = AtomicUsize::new(0);
        let run = run_in_turn(1, 100, |turn| {
            begun.fetch_add(1, Ordering::Relaxed);
            if turn == 2 { Err(turn) } else { Ok(()) }
        });
        assert_eq!(run, Err(2));
        assert_eq!(begun.into_inner(), 3);
    }
}
