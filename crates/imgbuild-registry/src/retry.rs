//! When to try again, and when to give up.

use std::time::Duration;

use crate::answer::Answer;
use crate::error::{Error, Result};
use crate::monitor::{Event, Monitor, check};

/// How often and how long failures are tried again.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// How often one thing is tried, at least 1.
    pub attempts: u32,
    /// The wait after the first failure; every further one doubles it.
    pub first_wait: Duration,
    /// The longest wait that we choose.
    pub max_wait: Duration,
    /// The longest wait that a registry may ask for (`Retry-After`).
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

/// How often all attempts may be used up by something that achieves a little
/// each time: a byte at a time is not how anybody wants to go on.
const PATIENCE: u32 = 20;

/// The failures of one thing so far.
#[derive(Debug)]
pub(crate) struct Attempts {
    policy: RetryPolicy,
    /// In a row.
    failures: u32,
    /// Also those between which something was achieved.
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

    /// The same for a thing that has failed so often already.
    pub(crate) fn after(policy: RetryPolicy, failures: u32) -> Self {
        Self {
            failures,
            all_failures: failures,
            ..Self::new(policy)
        }
    }

    /// Waits until the thing may be tried again.
    ///
    /// # Errors
    ///
    /// The failure itself, when it is final or there were enough; and when the
    /// run should stop.
    pub(crate) fn wait(&mut self, monitor: &dyn Monitor, error: Error) -> Result<()> {
        check(monitor)?;
        match error.is_transient() {
            true => self.wait_anyway(monitor, error),
            false => Err(error),
        }
    }

    /// As [`Attempts::wait`], for a failure that something else will be done
    /// about.
    pub(crate) fn wait_anyway(&mut self, monitor: &dyn Monitor, error: Error) -> Result<()> {
        match self.pause(monitor, &error) {
            true => check(monitor),
            false => Err(error),
        }
    }

    /// Waits if there were not enough failures yet; false if there were.
    pub(crate) fn pause(&mut self, monitor: &dyn Monitor, error: &Error) -> bool {
        self.failures += 1;
        self.all_failures += 1;
        let most = self.policy.attempts.saturating_mul(PATIENCE);
        if self.failures >= self.policy.attempts || self.all_failures >= most {
            return false;
        }
        let asked = error.answer().and_then(Answer::retry_after);
        let chosen = self.chosen_wait(monitor.random());
        let after = match asked {
            Some(asked) if asked > self.policy.max_asked_wait => return false,
            // A little later than asked, for many are asked the same.
            Some(asked) => asked + chosen / 4,
            None => chosen,
        };
        monitor.report(Event::Retry { error, after });
        monitor.wait(after);
        true
    }

    /// Between half of the doubled wait and all of it.
    fn chosen_wait(&self, random: u64) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let whole = self.policy.first_wait * (1 << doublings);
        let whole = whole.min(self.policy.max_wait);
        let half = whole / 2;
        half + half * u32::try_from(random % 1001).unwrap_or_default() / 1000
    }

    /// Returns how many failures there were in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts from the start again: something was achieved.
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
            attempts.chosen_wait(random).as_millis()
        };
        assert_eq!((wait(1, 0), wait(1, 1000)), (250, 500));
        assert_eq!((wait(2, 0), wait(2, 1000)), (500, 1000));
        assert_eq!((wait(3, 0), wait(30, 1000)), (1000, 20_000));
    }
}
