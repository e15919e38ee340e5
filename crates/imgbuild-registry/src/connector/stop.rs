//! Work that cannot be ended, and is not waited for when the run should stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long a signal may wait to be noticed by who waits for a server.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// Whether the run should stop. Clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Has all who wait give up.
    pub(crate) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Does `work` on a thread of its own, which is left to itself when the
    /// run should stop or the time is over. What passes is taken from `left`.
    ///
    /// # Errors
    ///
    /// `TimedOut` when the time is over, `ConnectionAborted` when the run
    /// should stop, and when there is no thread.
    pub(super) fn wait_for<T: Send + 'static>(
        &self,
        left: &mut Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (sender, receiver) = mpsc::channel();
        thread::Builder::new().spawn(move || drop(sender.send(work())))?;
        loop {
            if self.0.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let slice = SLICE.min(*left);
            match receiver.recv_timeout(slice) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Timeout) => *left -= slice,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("the work has ended without a result"));
                }
            }
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

/// Finds hosts as [`DefaultResolver`] does, until the run should stop.
#[derive(Debug)]
pub(crate) struct StoppingResolver {
    stop: Stop,
}

impl StoppingResolver {
    pub(crate) fn new(stop: Stop) -> Self {
        Self { stop }
    }
}

impl Resolver for StoppingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (uri, config) = (uri.clone(), config.clone());
        let resolve = move || {
            // This thread may take its time.
            let found = DefaultResolver::default().resolve(&uri, &config, NextTimeout::default());
            found.map(|found| found.iter().copied().collect::<Vec<SocketAddr>>())
        };
        let mut left = *timeout.after;
        let found = self.stop.wait_for(&mut left, resolve);
        let found = found.map_err(|error| timed_out(error, timeout))??;
        let mut addresses = self.empty();
        for address in found {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

/// Says what has taken too long.
pub(super) fn timed_out(error: io::Error, timeout: NextTimeout) -> ureq::Error {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ureq::Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_work_when_the_run_should_stop() {
        let stop = Stop::default();
        let (_sender, never) = mpsc::channel::<()>();
        let stopper = stop.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            stopper.stop();
        });
        let mut left = Duration::from_secs(3600);
        let waited = stop.wait_for(&mut left, move || never.recv());
        assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(left > Duration::from_secs(3590));
    }

    #[test]
    fn work_has_its_time_and_no_more() {
        let stop = Stop::default();
        let (_sender, never) = mpsc::channel::<()>();
        let mut left = Duration::from_millis(150);
        let waited = stop.wait_for(&mut left, move || never.recv());
        assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut left = Duration::from_secs(60);
        assert_eq!(stop.wait_for(&mut left, || 7).unwrap(), 7);
    }
}
