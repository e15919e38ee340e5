//! What the library of registries asks for: the clock, chance, patience; and
//! lines for what it tells.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use imgbuild_registry::monitor::{BlobOutcome, Event, Monitor};

use crate::ui::{Ui, bytes_text};

/// How long a signal may wait to be noticed.
const SLICE: Duration = Duration::from_millis(50);

/// Watches a run for the user.
#[derive(Debug)]
pub(super) struct Watcher {
    start: Instant,
    ui: Ui,
    interrupted: Arc<AtomicBool>,
}

impl Watcher {
    pub(super) fn new(ui: Ui, interrupted: Arc<AtomicBool>) -> Self {
        Self {
            start: Instant::now(),
            ui,
            interrupted,
        }
    }
}

impl Monitor for Watcher {
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
            thread::sleep(left.min(SLICE));
        }
    }

    fn random(&self) -> u64 {
        // Every hasher of the standard library starts elsewhere.
        RandomState::new().hash_one(0)
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn report(&self, event: Event<'_>) {
        match event {
            Event::Sent { digest, bytes } => self.ui.sent(digest, bytes, self.now()),
            Event::Received { digest, bytes } => self.ui.received(digest, bytes, self.now()),
            Event::Blob { digest, size, outcome } => {
                self.ui.settled(digest, size, outcome == BlobOutcome::Uploaded);
                let size = bytes_text(size);
                match outcome {
                    BlobOutcome::Present => self.ui.detail(&format!("present {digest} {size}")),
                    BlobOutcome::Mounted { from } => {
                        self.ui
                            .status(&format!("mounted {digest} {size} from `{from}`"));
                    }
                    BlobOutcome::Uploaded => self.ui.status(&format!("uploaded {digest} {size}")),
                }
            }
            Event::Waiting { place, most } => self.ui.status(&format!(
                "waiting for another run that adds to this index and has announced itself as `{place}`; {} s at most",
                most.as_secs()
            )),
            Event::Retry { error, after } => {
                let mut text = error.to_string();
                let mut cause = std::error::Error::source(error);
                while let Some(error) = cause {
                    text.push_str(&format!(": {error}"));
                    cause = error.source();
                }
                let seconds = after.as_millis() / 100;
                let wait = format!("{}.{} s", seconds / 10, seconds % 10);
                self.ui.warning(&format!("{text}; trying again in {wait}"));
            }
            _ => {}
        }
    }
}
