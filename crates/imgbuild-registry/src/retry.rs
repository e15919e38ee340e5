//! Retries with exponential backoff.

use std::time::Duration;

use crate::error::{Error, ErrorResponse, Result};
use crate::monitor::{Event, Monitor, check};

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

/// The failures of an operation so far.
#[derive(Debug)]
pub(crate) struct Attempts {
    policy: RetryPolicy,
    /// The failures since the last progress.
    failures: u32,
    all_failures: u32,
}

impl Attempts {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            failures: 0,
            all_failures: 0,
        }
    }

    /// Creates the attempts of an operation that failed this many times.
    pub(crate) fn after(policy: RetryPolicy, failures: u32) -> Self {
        Self {
            failures,
            all_failures: failures,
            ..Self::new(policy)
        }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    ///
    /// The failure itself if it is not transient or there are no more attempts,
    /// and an error on an interruption.
    pub(crate) fn wait(&mut self, monitor: &dyn Monitor, error: Error) -> Result<()> {
        check(monitor)?;
        if !error.is_transient() {
            return Err(error);
        }
        self.wait_anyway(monitor, error)
    }

    /// Waits as [`Attempts::wait`] does, also after a failure that is not
    /// transient: the next attempt is a different one.
    pub(crate) fn wait_anyway(&mut self, monitor: &dyn Monitor, error: Error) -> Result<()> {
        if !self.pause(monitor, &error) {
            return Err(error);
        }
        check(monitor)
    }

    /// Waits, or returns false if there are no more attempts.
    pub(crate) fn pause(&mut self, monitor: &dyn Monitor, error: &Error) -> bool {
        self.failures += 1;
        self.all_failures += 1;
        let max = self.policy.attempts.saturating_mul(MAX_FAILURES_FACTOR);
        if self.failures >= self.policy.attempts || self.all_failures >= max {
            return false;
        }
        let asked = error.response().and_then(ErrorResponse::retry_after);
        let backoff = self.backoff(monitor.random());
        let after = match asked {
            Some(asked) if asked > self.policy.max_asked_wait => return false,
            // A little later: other clients got the same `Retry-After`.
            Some(asked) => asked + backoff / 4,
            None => backoff,
        };
        monitor.report(Event::Retry { error, after });
        monitor.wait(after);
        true
    }

    /// Returns a random time between half of the doubled wait and all of it.
    fn backoff(&self, random: u64) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let whole = self.policy.first_wait * (1 << doublings);
        let whole = whole.min(self.policy.max_wait);
        let half = whole / 2;
        half + half * u32::try_from(random % 1001).unwrap_or_default() / 1000
    }

    /// Returns the number of failures since the last progress.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Notes progress, after which failures are counted anew.
    pub(crate) fn progress(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_chance_and_have_a_limit() {
        let wait = |failures, random| {
            let mut attempts = Attempts::new(RetryPolicy::default());
            attempts.failures = failures;
            attempts.backoff(random).as_millis()
        };
        assert_eq!((wait(1, 0), wait(1, 1000)), (250, 500));
        assert_eq!((wait(2, 0), wait(2, 1000)), (500, 1000));
        assert_eq!((wait(3, 0), wait(30, 1000)), (1000, 20_000));
    }
}
