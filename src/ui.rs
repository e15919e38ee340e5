//! Standard output is the result; standard error is everything else.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use imgbuild_oci::digest::Digest;
use imgbuild_oci::image::Image;
use imgbuild_oci::layer::Layer;
use imgbuild_oci::monitor::Progress;
use imgbuild_registry::secret::Secrets;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::{Failure, Result};
use crate::progress::{Ledger, Moved, Way, Work};

/// What is said, and where.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    pub(crate) is_quiet: bool,
    pub(crate) verbosity: u8,
    /// What is never said.
    pub(crate) secrets: Secrets,
    bar: ProgressBar,
    following: Arc<Mutex<Following>>,
}

/// What is followed, for all copies.
#[derive(Debug, Default)]
struct Following {
    work: Option<Work>,
    ledger: Ledger,
}

impl Ui {
    pub(crate) fn new(is_quiet: bool, verbosity: u8) -> Self {
        Self {
            is_quiet,
            verbosity,
            secrets: Secrets::default(),
            bar: ProgressBar::hidden(),
            following: Arc::default(),
        }
    }

    /// The same, but that it says nothing if `is_known` what it would say.
    pub(crate) fn quiet_if(&self, is_known: bool) -> Self {
        Self {
            is_quiet: self.is_quiet || is_known,
            ..self.clone()
        }
    }

    /// Prints one line of the result.
    ///
    /// # Errors
    ///
    /// When standard output cannot be written.
    pub(crate) fn result(&self, text: &str) -> Result<()> {
        self.result_bytes(format!("{text}\n").as_bytes())
    }

    /// Prints a result as it is. A reader that closed its end, for example
    /// `head`, has read all that it wanted.
    ///
    /// # Errors
    ///
    /// When standard output cannot be written.
    pub(crate) fn result_bytes(&self, bytes: &[u8]) -> Result<()> {
        let mut output = io::stdout().lock();
        match output.write_all(bytes).and_then(|()| output.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::build(UnprintedError(error)))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Says how it goes, unless asked to be quiet.
    pub(crate) fn status(&self, text: &str) {
        if !self.is_quiet {
            self.say(text);
        }
    }

    /// Says what only `-v` shows.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbosity > 0 {
            self.status(text);
        }
    }

    pub(crate) fn warning(&self, text: &str) {
        self.status(&format!("warning: {text}"));
    }

    /// Prints the failure that ends the program; returns its exit code.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        self.say(&failure.to_string());
        failure.exit_code()
    }

    /// Warns of a failure that stops nothing.
    pub(crate) fn warning_of(&self, what: &str, failure: &Failure) {
        self.warning(&format!("{what}: {}", failure.reason()));
        for hint in &failure.hints {
            self.status(&format!("hint: {hint}"));
        }
    }

    /// Says what must be said, without secrets that somebody else has put there.
    pub(crate) fn say(&self, text: &str) {
        let text = self.secrets.conceal(text);
        self.bar.suspend(|| {
            // Nobody can be told that nobody can be told.
            drop(writeln!(anstream::stderr().lock(), "{text}"));
        });
    }

    /// Shows a bar for `bytes` of work, if somebody looks at it.
    pub(crate) fn start_progress(&self, work: Work, bytes: u64) {
        self.following().work = Some(work);
        self.show_bar(work, 0, bytes);
    }

    /// Shows what is left to be sent to a repository. It has got ahead what
    /// was told of before, unless it is the next one.
    pub(crate) fn start_sending(&self, image: &Image, is_next: bool) {
        let mut following = self.following();
        following.work = Some(Work::Sending);
        if is_next {
            following.ledger.begin_repository();
        }
        for blob in image.blobs() {
            following.ledger.plan(blob.digest, blob.size);
        }
        let (position, total) = following.ledger.sums();
        drop(following);
        self.show_bar(Work::Sending, position, total);
    }

    fn show_bar(&self, work: Work, position: u64, total: u64) {
        if self.is_quiet || !io::stderr().is_terminal() {
            return;
        }
        let style = ProgressStyle::with_template(
            "{msg} [{bar:20}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}{prefix}",
        );
        // The same bar, for its copies; it may have been shown before, and
        // neither stays on the screen nor is to be seen half changed.
        self.bar.finish_and_clear();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
        self.bar.reset();
        self.bar.set_length(total);
        self.bar.set_position(position);
        // The rate is that of what moves from now on.
        self.bar.reset_eta();
        if let Ok(style) = style {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.set_prefix("");
        self.bar.set_message(work.label());
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
    }

    fn following(&self) -> MutexGuard<'_, Following> {
        self.following.lock().expect("no holder of the lock panics")
    }

    /// Takes note of a layer that is sent while others are made.
    pub(crate) fn expect_sent(&self, digest: Digest, size: u64) {
        self.following().ledger.plan(digest, size);
    }

    /// Takes note of the size of a blob that will be fetched.
    pub(crate) fn expect_received(&self, digest: Digest, size: u64) {
        self.following().ledger.know(digest, size);
    }

    pub(crate) fn finish_progress(&self) {
        self.following().work = None;
        self.bar.finish_and_clear();
    }

    /// Moves the bar, if it counts such bytes.
    pub(crate) fn advance(&self, moved: Moved, bytes: u64) {
        let is_counted = self.following().work.is_some_and(|work| work.counts(moved));
        if is_counted {
            self.bar.inc(bytes);
        }
    }

    /// Takes note of bytes of a blob that were sent at the time `now`.
    pub(crate) fn sent(&self, digest: Digest, bytes: u64, now: Duration) {
        let mut following = self.following();
        following.ledger.send(digest, bytes);
        let told = following.ledger.travel(Way::Out, digest, bytes, now);
        drop(following);
        self.show_sent();
        self.tell_of("sending", digest, told);
    }

    /// Takes note of bytes of a blob that were received at the time `now`.
    pub(crate) fn received(&self, digest: Digest, bytes: u64, now: Duration) {
        let mut following = self.following();
        let told = following.ledger.travel(Way::In, digest, bytes, now);
        // What only passes through is told when it is sent.
        let is_end = following.work != Some(Work::Sending);
        drop(following);
        self.advance(Moved::Received, bytes);
        self.tell_of("fetching", digest, told.filter(|_| is_end));
    }

    /// Takes note of a blob that a repository has.
    pub(crate) fn settled(&self, digest: Digest, size: u64, is_sent: bool) {
        self.following().ledger.settle(digest, size, is_sent);
        self.show_sent();
    }

    fn show_sent(&self) {
        let following = self.following();
        let (position, total) = following.ledger.sums();
        let work = following.work;
        drop(following);
        match work {
            Some(Work::Sending) => {
                self.bar.set_length(total);
                self.bar.set_position(position);
            }
            Some(Work::Layers) if position > 0 => {
                let text = format!(", {} sent", bytes_text(position));
                self.bar.set_prefix(text);
            }
            _ => {}
        }
    }

    /// Says how far a blob is that takes long, where there is no bar.
    fn tell_of(&self, what: &str, digest: Digest, told: Option<(u64, Option<u64>)>) {
        let Some((bytes, size)) = told.filter(|_| !io::stderr().is_terminal()) else {
            return;
        };
        let bytes = bytes_text(bytes);
        self.status(&match size {
            Some(size) => format!("{what} {digest} {bytes} of {}", bytes_text(size)),
            None => format!("{what} {digest} {bytes}"),
        });
    }

    /// Advances the progress of a run.
    pub(crate) fn follow(&self, progress: Progress) {
        match progress {
            Progress::Read { bytes } => self.advance(Moved::Read, bytes),
            Progress::Written { bytes } => self.advance(Moved::Written, bytes),
            _ => {}
        }
    }

    /// Shows a finished layer of `total`; `done` counts them.
    pub(crate) fn show_layer(&self, layer: &Layer, total: usize, done: &AtomicUsize) {
        let number = done.fetch_add(1, Ordering::Relaxed) + 1;
        self.status(&layer_line(layer, number, total));
    }
}

/// A result that could not be printed.
#[derive(Debug)]
struct UnprintedError(io::Error);

impl fmt::Display for UnprintedError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("cannot write the result to standard output")
    }
}

impl std::error::Error for UnprintedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

fn layer_line(layer: &Layer, number: usize, total: usize) -> String {
    let size = bytes_text(layer.size());
    let origin = match (layer.is_remote(), layer.is_reused()) {
        (true, _) => " (in the registry)",
        (false, true) => " (cached)",
        (false, false) => "",
    };
    format!(
        "layer {number}/{total} `{}` {size} {}{origin}",
        layer.name(),
        layer.digest()
    )
}

/// Shows a number of bytes with its binary unit.
pub(crate) fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut size = 1024;
    while bytes / size >= 1024 && unit + 1 < UNITS.len() {
        size *= 1024;
        unit += 1;
    }
    let tenths = bytes % size * 10 / size;
    format!("{}.{tenths} {}", bytes / size, UNITS[unit])
}

/// Shows a count with its noun: `1 file`, `2 files`.
pub(crate) fn count_text(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_binary_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            (14_889_780, "14.2 MiB"),
            (5 << 40, "5.0 TiB"),
        ] {
            assert_eq!(bytes_text(bytes), text);
        }
    }
}
