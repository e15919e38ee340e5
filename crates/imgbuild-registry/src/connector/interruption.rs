//! Blocking calls that an interruption ends.

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

/// The interval at which a blocking call checks for an interruption.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A flag that is set on an interruption. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interruption(Arc<AtomicBool>);

impl Interruption {
    /// Ends all waits.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Runs `work` on another thread, and abandons the thread on an interruption
    /// or after the time `left`, from which the elapsed time is subtracted.
    ///
    /// # Errors
    ///
    /// `TimedOut` after the time, `ConnectionAborted` on an interruption, and an
    /// error if the thread cannot be started.
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
            let time = POLL_INTERVAL.min(*left);
            match receiver.recv_timeout(time) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Timeout) => *left -= time,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("the thread ended without a result"));
                }
            }
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

/// Resolves hosts as [`DefaultResolver`] does, until an interruption.
#[derive(Debug)]
pub(crate) struct InterruptibleResolver(pub(crate) Interruption);

impl Resolver for InterruptibleResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (uri, config) = (uri.clone(), config.clone());
        let resolve = move || {
            let found = DefaultResolver::default().resolve(&uri, &config, NextTimeout::default());
            found.map(|found| found.iter().copied().collect::<Vec<SocketAddr>>())
        };
        let mut left = *timeout.after;
        let found = self.0.wait_for(&mut left, resolve);
        let found = found.map_err(|error| timed_out(error, timeout))??;
        let mut addresses = self.empty();
        for address in found {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

/// Adds the reason to a timeout.
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
    fn an_interruption_ends_a_wait() {
        let interruption = Interruption::default();
        let (_sender, never) = mpsc::channel::<()>();
        let clone = interruption.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            clone.set();
        });
        let mut left = Duration::from_secs(3600);
        let waited = interruption.wait_for(&mut left, move || never.recv());
        assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(left > Duration::from_secs(3590));
    }

    #[test]
    fn a_wait_has_a_timeout() {
        let interruption = Interruption::default();
        let (_sender, never) = mpsc::channel::<()>();
        let mut left = Duration::from_millis(150);
        let waited = interruption.wait_for(&mut left, move || never.recv());
        assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut left = Duration::from_secs(60);
        assert_eq!(interruption.wait_for(&mut left, || 7).unwrap(), 7);
    }
}
