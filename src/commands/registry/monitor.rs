//! The program as the monitor of the registry client: the clock, random numbers
//! and signals, and lines for its events.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use imgbuild_oci::error::with_causes;
use imgbuild_registry::monitor::{BlobOutcome, ClientMonitor, Event};

use crate::ui::{Ui, bytes_text, count_text};

/// The interval between two checks for a signal.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

impl ClientMonitor for Ui {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wait(&self, time: Duration) {
        let end = Instant::now() + time;
        while !self.is_interrupted() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(POLL_INTERVAL));
        }
    }

    fn random(&self) -> u64 {
        // The standard library seeds each hasher at random.
        RandomState::new().hash_one(0)
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn report(&self, event: Event<'_>) {
        match event {
            Event::Sent { digest, bytes } => self.sent(digest, bytes, self.now()),
            Event::Received { digest, bytes } => self.received(digest, bytes, self.now()),
            Event::Blob {
                digest,
                size,
                outcome,
            } => {
                self.settled(digest, size, outcome == BlobOutcome::Uploaded);
                let size = bytes_text(size);
                match outcome {
                    BlobOutcome::Present => self.detail(&format!("present {digest} {size}")),
                    BlobOutcome::Mounted { from } => {
                        self.status(&format!("mounted {digest} {size} from `{from}`"));
                    }
                    BlobOutcome::Uploaded => self.status(&format!("uploaded {digest} {size}")),
                }
            }
            Event::Fetching { blobs } => {
                let layers = count_text(blobs.len(), "layer");
                let size = bytes_text(blobs.iter().map(|(_, size)| size).sum());
                self.status(&format!("fetching {layers} of the base image, {size}"));
                for (digest, size) in blobs {
                    self.expect_received(*digest, *size);
                }
            }
            Event::Waiting { tag, timeout } => self.status(&format!(
                "waiting up to {} s for another run that adds to this index (announced as `{tag}`)",
                timeout.as_secs()
            )),
            Event::NoAnswer { server } => self.waiting_for(&format!("`{server}`")),
            Event::Unreadable { error } => {
                let text = with_causes(error, ": ");
                self.warning(&format!("{text}; all blobs are sent"));
            }
            Event::Retry { error, after } => {
                let text = with_causes(error, ": ");
                let seconds = after.as_secs_f64();
                self.warning(&format!("{text}; trying again in {seconds:.1} s"));
            }
            _ => {}
        }
    }
}
