//! Blocking calls that an interruption ends, and that are reported if they last.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ureq::Timeout;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::monitor::{ClientMonitor, Event};
use crate::network_error::NetworkError;
use crate::url::WebOrigin;

/// The interval at which a blocking call checks for an interruption.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The time after which a wait is reported.
const NOTICE_AFTER: Duration = Duration::from_secs(5);

/// The caller of a client, which waits for servers ask whether to go on.
#[derive(Clone)]
pub(crate) struct WaitMonitor(pub(crate) Arc<dyn ClientMonitor>);

impl fmt::Debug for WaitMonitor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WaitMonitor")
            .finish_non_exhaustive()
    }
}

impl WaitMonitor {
    /// Adds `time` to a wait for a server, and reports it once when it is long.
    ///
    /// # Errors
    ///
    /// `ConnectionAborted` on an interruption.
    pub(super) fn waited(
        &self,
        server: &Uri,
        total: &mut Duration,
        time: Duration,
    ) -> io::Result<()> {
        if self.0.is_interrupted() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let was_reported = *total >= NOTICE_AFTER;
        *total += time;
        if !was_reported && *total >= NOTICE_AFTER {
            let server = WebOrigin::of(server).to_string();
            self.0.report(Event::NoAnswer { server: &server });
        }
        Ok(())
    }

    /// Runs `work` on another thread, and abandons the thread on an interruption
    /// or after the time `left`, from which the elapsed time is subtracted.
    /// Without another thread, `work` runs on this one.
    ///
    /// # Errors
    ///
    /// `TimedOut` after the time, and `ConnectionAborted` on an interruption.
    pub(super) fn wait_for<T: Send + 'static>(
        &self,
        server: &Uri,
        left: &mut Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (give, take) = mpsc::channel();
        let (sender, receiver) = mpsc::channel();
        let thread = thread::Builder::new().spawn(move || {
            if let Ok(work) = take.recv() {
                let work: Box<dyn FnOnce() -> T + Send> = work;
                drop(sender.send(work()));
            }
        });
        if thread.is_err() {
            return Ok(work());
        }
        drop(give.send(Box::new(work)));

        let mut total = Duration::ZERO;
        loop {
            let time = POLL_INTERVAL.min(*left);
            match receiver.recv_timeout(time) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Timeout) => *left -= time,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("the thread ended without a result"));
                }
            }
            self.waited(server, &mut total, time)?;
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

/// Resolves hosts as [`DefaultResolver`] does, until an interruption.
#[derive(Debug)]
pub(crate) struct InterruptibleResolver(pub(crate) WaitMonitor);

impl Resolver for InterruptibleResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (server, limit) = (uri, config.timeouts().resolve);
        let (uri, config) = (uri.clone(), config.clone());
        let resolve = move || {
            let found = DefaultResolver::default().resolve(&uri, &config, NextTimeout::default());
            found.map(|found| found.iter().copied().collect::<Vec<SocketAddr>>())
        };
        let mut left = *timeout.after;
        let found = self.0.wait_for(server, &mut left, resolve);
        let found = found.map_err(|error| timed_out(error, Timeout::Resolve, limit))??;
        let mut addresses = self.empty();
        for address in found {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

/// Adds the limit to a timeout.
pub(super) fn timed_out(error: io::Error, of: Timeout, limit: Option<Duration>) -> io::Error {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            let error = NetworkError::timed_out(of, limit);
            io::Error::new(io::ErrorKind::TimedOut, error)
        }
        _ => error,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A caller that notes what is reported.
    #[derive(Default)]
    pub(crate) struct Caller {
        is_interrupted: AtomicBool,
        events: Mutex<Vec<String>>,
    }

    impl ClientMonitor for Caller {
        fn now(&self) -> Duration {
            Duration::ZERO
        }

        fn wait(&self, _: Duration) {}

        fn random(&self) -> u64 {
            0
        }

        fn is_interrupted(&self) -> bool {
            self.is_interrupted.load(Ordering::Relaxed)
        }

        fn report(&self, event: Event<'_>) {
            self.events.lock().unwrap().push(format!("{event:?}"));
        }
    }

    fn server() -> Uri {
        Uri::from_static("https://r.example/v2/")
    }

    #[test]
    fn an_interruption_ends_a_wait() {
        let caller = Arc::new(Caller::default());
        let waits = WaitMonitor(caller.clone());
        let (_sender, never) = mpsc::channel::<()>();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            caller.is_interrupted.store(true, Ordering::Relaxed);
        });
        let mut left = Duration::from_secs(3600);
        let waited = waits.wait_for(&server(), &mut left, move || never.recv());
        assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(left > Duration::from_secs(3590));
    }

    #[test]
    fn a_wait_has_a_timeout() {
        let waits = WaitMonitor(Arc::new(Caller::default()));
        let (_sender, never) = mpsc::channel::<()>();
        let mut left = Duration::from_millis(150);
        let waited = waits.wait_for(&server(), &mut left, move || never.recv());
        assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut left = Duration::from_secs(60);
        assert_eq!(waits.wait_for(&server(), &mut left, || 7).unwrap(), 7);
    }

    #[test]
    fn a_long_wait_is_reported_once() {
        let caller = Arc::new(Caller::default());
        let waits = WaitMonitor(caller.clone());
        let mut total = Duration::ZERO;
        for _ in 0..200 {
            waits.waited(&server(), &mut total, POLL_INTERVAL).unwrap();
            let count = caller.events.lock().unwrap().len();
            assert_eq!(count, usize::from(total >= NOTICE_AFTER));
        }
        let events = caller.events.lock().unwrap().clone();
        assert_eq!(events, [r#"NoAnswer { server: "r.example" }"#]);
    }
}
