//! Threads that take items from one queue, for everything that is done for
//! several items at a time.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard};
use std::thread::{self, Scope, ScopedJoinHandle};

use rustix::process::{Resource, getrlimit};

/// Items that wait for a thread. It ends when it is empty and nothing can add
/// to it any more, or when an item failed.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<QueueState<T>>,
    changed: Condvar,
    is_stopped: AtomicBool,
}

#[derive(Debug)]
struct QueueState<T> {
    waiting: VecDeque<T>,
    /// The number of threads that may still add items.
    producers: usize,
}

/// A thread that may add items, until this is dropped: also when it panics.
struct Producer<'a, T>(&'a Queue<T>);

/// Returns the number of processors that this process may use, at least one. The
/// answer takes ten system calls, so it is read once.
#[must_use]
pub fn processors() -> usize {
    static COUNT: LazyLock<usize> =
        LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));
    *COUNT
}

/// Starts a thread.
///
/// # Errors
///
/// If the system has no more threads or no memory for its stack: the caller goes
/// on without it.
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    #[cfg(test)]
    tests::take_thread()?;
    thread::Builder::new().spawn_scoped(scope, work)
}

/// The memory that a thread should find when it starts: its stack, and buffers
/// for its work.
const THREAD_BYTES: usize = 6 << 20;

/// Returns for how many of `count` threads there is memory, if it is limited: one
/// that starts and then finds none would end the program.
fn affordable(count: usize) -> usize {
    let is_limited = |resource| getrlimit(resource).current.is_some();
    if ![Resource::As, Resource::Data].into_iter().any(is_limited) {
        return count;
    }
    let reserve = |_| {
        let mut memory: Vec<u8> = Vec::new();
        memory.try_reserve_exact(THREAD_BYTES).ok()?;
        Some(memory)
    };
    let reserved: Vec<_> = (0..count).map_while(reserve).collect();
    reserved.len()
}

/// Starts at most `count` threads, as many as there are; returns their number.
pub(crate) fn spawn_all<'scope>(
    scope: &'scope Scope<'scope, '_>,
    count: usize,
    work: &'scope (impl Fn() + Sync),
) -> usize {
    let started = (0..affordable(count)).take_while(|_| spawn(scope, work).is_ok());
    started.count()
}

/// Calls `work` with every item, on at most `threads` threads and at least
/// one, in any order.
///
/// # Errors
///
/// The first failure. Items that wait then are left, and [`Queue::stopped`]
/// becomes true for those under way.
pub fn for_each<T: Send, E: Send>(
    threads: usize,
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T, &Queue<T>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let items: VecDeque<T> = items.into_iter().collect();
    for_each_added(threads.min(items.len()), items, work)
}

/// Calls `work` as [`for_each`] does, where `work` adds items: the threads are
/// not limited by the number of the first ones.
///
/// # Errors
///
/// As [`for_each`].
pub fn for_each_added<T: Send, E: Send>(
    threads: usize,
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T, &Queue<T>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let queue = Queue::new(items.into_iter().collect());
    let failure = Mutex::new(None);

    let run = || queue.run(&work, &failure);
    thread::scope(|scope| {
        spawn_all(scope, threads.saturating_sub(1), &run);
        run();
    });
    into_result(failure)
}

/// Cuts `items` into parts, calls `work` with each on at most `threads` threads,
/// and returns all results in the order of the items.
pub fn map_parts<T: Send, R: Send>(
    threads: usize,
    mut items: Vec<T>,
    work: impl Fn(Vec<T>) -> Vec<R> + Sync,
) -> Vec<R> {
    let share = items.len().div_ceil(threads.max(1));
    let mut parts = Vec::new();
    while items.len() > share {
        parts.push(items.split_off(items.len() - share));
    }
    parts.push(items);
    let results = Mutex::new(BTreeMap::new());
    let parts = parts.into_iter().rev().enumerate();
    let Ok(()) = for_each(threads, parts, |(index, part), _| {
        let result = work(part);
        let mut results = results.lock().expect("no holder of the lock panics");
        results.insert(index, result);
        Ok::<(), Infallible>(())
    });
    let results = results.into_inner().expect("no holder of the lock panics");
    results.into_values().flatten().collect()
}

/// Runs `produce`, which adds items, and calls `work` with every item
/// meanwhile, on `threads` other threads, or after it without other threads.
/// Returns when both have ended, with the result of each.
///
/// A failed item ends the queue, not `produce`.
pub fn with_workers<T: Send, E: Send, R>(
    threads: usize,
    work: impl Fn(T, &Queue<T>) -> Result<(), E> + Sync,
    produce: impl FnOnce(&Queue<T>) -> R,
) -> (R, Result<(), E>) {
    let queue = Queue::new(VecDeque::new());
    let failure = Mutex::new(None);

    let run = || queue.run(&work, &failure);
    let produced = thread::scope(|scope| {
        let producer = queue.producer(&mut queue.lock());
        let count = spawn_all(scope, threads.max(1), &run);
        let produced = produce(&queue);
        drop(producer);
        if count == 0 {
            run();
        }
        produced
    });
    (produced, into_result(failure))
}

fn into_result<E>(failure: Mutex<Option<E>>) -> Result<(), E> {
    let failure = failure.into_inner().expect("no holder of the lock panics");
    failure.map_or(Ok(()), Err)
}

impl<T> Queue<T> {
    fn new(waiting: VecDeque<T>) -> Self {
        Self {
            state: Mutex::new(QueueState {
                waiting,
                producers: 0,
            }),
            changed: Condvar::new(),
            is_stopped: AtomicBool::new(false),
        }
    }

    /// Adds an item; without effect after [`Queue::stop`].
    pub fn add(&self, item: T) {
        self.lock().waiting.push_back(item);
        self.changed.notify_one();
    }

    /// Ends the queue: items that wait are left.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        // A thread that has just looked must be waiting when it is notified.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Returns the flag that is true after [`Queue::stop`].
    #[must_use]
    pub fn stopped(&self) -> &AtomicBool {
        &self.is_stopped
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        self.state.lock().expect("no holder of the lock panics")
    }

    fn producer(&self, state: &mut QueueState<T>) -> Producer<'_, T> {
        state.producers += 1;
        Producer(self)
    }

    /// Works until the queue ends.
    fn run<E>(&self, work: &impl Fn(T, &Self) -> Result<(), E>, failure: &Mutex<Option<E>>) {
        while let Some((item, _producer)) = self.take() {
            if let Err(error) = work(item, self) {
                let mut failure = failure.lock().expect("no holder of the lock panics");
                // Before the queue stops, so that an item that fails because of
                // that comes second.
                failure.get_or_insert(error);
                self.stop();
            }
        }
    }

    /// Takes an item; waits for one while some thread may add it.
    fn take(&self) -> Option<(T, Producer<'_, T>)> {
        let is_open = |state: &mut QueueState<T>| {
            !self.is_stopped.load(Ordering::Relaxed)
                && state.waiting.is_empty()
                && state.producers > 0
        };
        let state = self.changed.wait_while(self.lock(), is_open);
        let mut state = state.expect("no holder of the lock panics");
        if self.is_stopped.load(Ordering::Relaxed) {
            return None;
        }
        let item = state.waiting.pop_front()?;
        Some((item, self.producer(&mut state)))
    }
}

impl<T> Drop for Producer<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.producers -= 1;
        if state.producers == 0 {
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    thread_local! {
        /// The number of threads that this one can start.
        static THREADS: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    /// Fails if the test has allowed no more threads.
    pub(super) fn take_thread() -> io::Result<()> {
        let left = THREADS.get().checked_sub(1);
        THREADS.set(left.ok_or(io::ErrorKind::WouldBlock)?);
        Ok(())
    }

    /// Runs `test` where only this many threads can be started.
    pub(crate) fn with_threads<T>(count: usize, test: impl FnOnce() -> T) -> T {
        THREADS.set(count);
        let result = test();
        THREADS.set(usize::MAX);
        result
    }

    #[test]
    fn work_is_done_with_the_threads_that_there_are() {
        for count in [0, 1, 5] {
            let all: Vec<usize> = (0..100).collect();
            let parts = with_threads(count, || map_parts(3, all.clone(), |part| part));
            assert_eq!(parts, all);
            let sum = AtomicUsize::new(0);
            let add = |item: usize, _: &Queue<usize>| {
                sum.fetch_add(item, Ordering::Relaxed);
                Ok::<(), ()>(())
            };
            let ran = with_threads(count, || for_each(3, all.clone(), add));
            assert_eq!((ran, sum.swap(0, Ordering::Relaxed)), (Ok(()), 4950));
            let produce = |queue: &Queue<usize>| all.iter().for_each(|item| queue.add(*item));
            let ran = with_threads(count, || with_workers(3, add, produce));
            assert_eq!((ran, sum.into_inner()), (((), Ok(())), 4950));
        }
    }

    #[test]
    fn parts_keep_their_order() {
        for (threads, count) in [(0, 3), (1, 0), (4, 2), (3, 100), (4, 9)] {
            let all: Vec<usize> = (0..count).collect();
            assert_eq!(map_parts(threads, all.clone(), |part| part), all);
        }
    }

    #[test]
    fn each_item_is_worked_on_once() {
        for (threads, count) in [(0, 3), (1, 0), (4, 2), (3, 100)] {
            let done = Mutex::new(Vec::new());
            let run = for_each(threads, 0..count, |item, _| {
                done.lock().unwrap().push(item);
                Ok::<(), ()>(())
            });
            assert_eq!(run, Ok(()));
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            assert_eq!(done, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_failure_leaves_the_items_that_wait() {
        let begun = AtomicUsize::new(0);
        let run = for_each(1, 0..100, |item, _| {
            begun.fetch_add(1, Ordering::Relaxed);
            if item == 2 { Err(item) } else { Ok(()) }
        });
        assert_eq!(run, Err(2));
        assert_eq!(begun.into_inner(), 3);
    }

    #[test]
    fn the_first_failure_is_returned_and_not_one_that_follows_from_it() {
        let run = for_each(4, 0..4, |item, queue| {
            if item == 3 {
                return Err("first");
            }
            while !queue.stopped().load(Ordering::Relaxed) {
                thread::yield_now();
            }
            Err("stopped")
        });
        assert_eq!(run, Err("first"));
    }

    #[test]
    fn items_that_workers_add_are_worked_on() {
        for threads in [1, 4] {
            let sum = AtomicUsize::new(0);
            let work = |item: usize, queue: &Queue<usize>| {
                sum.fetch_add(item, Ordering::Relaxed);
                for below in 1..item {
                    queue.add(below);
                }
                Ok::<(), ()>(())
            };
            let (added, run) = with_workers(threads, work, |queue| queue.add(4));
            assert_eq!((added, run), ((), Ok(())));
            // 4 adds 3, 2, 1; 3 adds 2, 1; each 2 adds 1.
            assert_eq!(sum.into_inner(), 4 + 3 + 2 * 2 + 4);
        }
    }

    #[test]
    fn a_failure_does_not_end_what_produces() {
        let work = |item: usize, _: &Queue<usize>| Err(item);
        let (produced, run) = with_workers(2, work, |queue| {
            queue.add(7);
            while !queue.stopped().load(Ordering::Relaxed) {
                thread::yield_now();
            }
            queue.add(8);
            "all"
        });
        assert_eq!((produced, run), ("all", Err(7)));
    }

    #[test]
    fn a_queue_that_is_stopped_leaves_what_waits() {
        let work = |_: usize, _: &Queue<usize>| -> Result<(), ()> {
            unreachable!("stopped before anything was added")
        };
        let (_, run) = with_workers(2, work, |queue| {
            queue.stop();
            queue.add(1);
        });
        assert_eq!(run, Ok(()));
    }
}
