//! Retries with exponential backoff, or after the time in `Retry-After`.
//! `ErrorResponse::is_transient` lists the statuses that are retried, for
//! example 429.

use std::mem;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::monitor::{ClientMonitor, Event, check};

/// A policy for retries.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// The number of attempts, at least 1.
    pub attempts: u32,
    /// The wait after the first failure; each further failure doubles it.
    pub first_wait: Duration,
    /// The maximum wait.
    pub max_wait: Duration,
    /// The maximum wait that a registry may ask for (`Retry-After`).
    pub max_asked_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_wait: Duration::from_millis(500),
            max_wait: Duration::from_secs(20),
            max_asked_wait: Duration::from_secs(120),
        }
    }
}

/// The limit of all failures, as a multiple of the attempts, for a transfer that
/// makes a little progress between them.
const MAX_FAILURES_FACTOR: u32 = 20;

/// The number of attempts that a server may leave without an answer: the first
/// may have used a connection that is gone.
const MAX_SILENCES: u32 = 2;

/// The progress after which earlier silence counts no more, in bytes.
const MIN_PROGRESS_BYTES: u64 = 64 << 10;

/// The failures of an operation so far.
#[derive(Debug)]
pub(crate) struct Attempts {
    policy: RetryPolicy,
    /// The failures since the last progress.
    pub(crate) failures: u32,
    all_failures: u32,
    /// The number of attempts without an answer.
    silences: u32,
    /// The number of bytes since the last of them.
    moved: u64,
}

impl Attempts {
    /// Creates the attempts of an operation that failed this many times.
    pub(crate) fn new(policy: RetryPolicy, failures: u32) -> Self {
        Self {
            policy,
            failures,
            all_failures: failures,
            silences: 0,
            moved: 0,
        }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    ///
    /// The failure itself if it is not transient or there are no more attempts,
    /// and an error on an interruption.
    pub(crate) fn wait(&mut self, monitor: &dyn ClientMonitor, error: Error) -> Result<()> {
        check(monitor)?;
        if !error.is_transient() {
            return Err(error);
        }
        self.wait_anyway(monitor, error)
    }

    /// Waits as [`Attempts::wait`] does, also after a failure that is not
    /// transient: the next attempt is a different one.
    pub(crate) fn wait_anyway(
        &mut self,
        monitor: &dyn ClientMonitor,
        mut error: Error,
    ) -> Result<()> {
        if !self.pause(monitor, &error) {
            if let Error::Network { reason, .. } = &mut error {
                reason.add_attempts(self.silences);
            }
            return Err(error);
        }
        check(monitor)
    }

    /// Waits, or returns false if there are no more attempts.
    pub(crate) fn pause(&mut self, monitor: &dyn ClientMonitor, error: &Error) -> bool {
        self.failures += 1;
        self.all_failures += 1;
        let max = self.policy.attempts.saturating_mul(MAX_FAILURES_FACTOR);
        if self.failures >= self.policy.attempts || self.all_failures >= max {
            return false;
        }
        if error.is_timeout() {
            let has_moved = mem::take(&mut self.moved) >= MIN_PROGRESS_BYTES;
            self.silences = if has_moved { 1 } else { self.silences + 1 };
            if self.silences >= MAX_SILENCES {
                return false;
            }
        }
        let asked = error.response().and_then(|response| response.retry_after);
        let policy = &self.policy;
        let random = monitor.random();
        let wait = backoff(
            policy.first_wait,
            policy.max_wait,
            self.failures - 1,
            random,
        );
        let after = match asked {
            Some(asked) if asked > policy.max_asked_wait => return false,
            // A little later: other clients got the same `Retry-After`.
            Some(asked) => asked + wait / 4,
            None => wait,
        };
        monitor.report(Event::Retry { error, after });
        monitor.wait(after);
        true
    }

    /// Notes progress of so many bytes, after which failures are counted anew.
    pub(crate) fn progress(&mut self, bytes: u64) {
        self.failures = 0;
        self.moved += bytes;
    }
}

/// Returns a random time between half of the doubled wait and all of it.
pub(crate) fn backoff(first: Duration, max: Duration, doublings: u32, random: u64) -> Duration {
    let whole = (first * (1 << doublings.min(16))).min(max);
    let half = whole / 2;
    half + half * u32::try_from(random % 1001).unwrap_or_default() / 1000
}

#[cfg(test)]
mod tests {
    use std::io;

    use ureq::Timeout;

    use super::*;
    use crate::connector::Caller;
    use crate::error::{Endpoint, NetworkError, Step};

    #[test]
    fn waits_double_with_chance_and_have_a_limit() {
        let wait = |doublings, random| {
            let (first, max) = (Duration::from_millis(500), Duration::from_secs(20));
            backoff(first, max, doublings, random).as_millis()
        };
        assert_eq!((wait(0, 0), wait(0, 1000)), (250, 500));
        assert_eq!((wait(1, 0), wait(1, 1000)), (500, 1000));
        assert_eq!((wait(2, 0), wait(29, 1000)), (1000, 20_000));
    }

    #[test]
    fn silence_is_endured_twice_unless_enough_has_moved_in_between() {
        let caller = Caller::default();
        let endpoint = Endpoint {
            registry: "r".into(),
            repository: None,
        };
        let silence = NetworkError::timed_out(Timeout::RecvBody, None);
        let silence = endpoint.clone().network_error(&Step::Ping, silence);
        let cut = io::Error::from(io::ErrorKind::ConnectionReset);
        let cut = endpoint.network_error(&Step::Ping, cut);
        let mut attempts = Attempts::new(RetryPolicy::default(), 0);
        for _ in 0..20 {
            assert!(attempts.pause(&caller, &silence));
            assert!(attempts.pause(&caller, &cut));
            attempts.progress(MIN_PROGRESS_BYTES);
        }
        attempts.progress(1);
        assert!(attempts.pause(&caller, &silence));
        attempts.progress(1);
        assert!(attempts.pause(&caller, &cut));
        assert!(!attempts.pause(&caller, &silence));
    }
}
