//! Standard output is the result; standard error is everything else.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use imgbuild_oci::digest::Digest;
use imgbuild_oci::error::with_causes;
use imgbuild_oci::image::Image;
use imgbuild_oci::layer::Layer;
use imgbuild_oci::monitor::{Monitor, Progress};
use imgbuild_registry::secret::Secrets;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::fs::{OFlags, fcntl_getfl, fstat, stat};

use crate::failure::{Failure, Result};
use crate::interrupt;
use crate::json;
use crate::progress::{Direction, TransferProgress, Work};

/// The output of the program: results, messages and progress.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    pub(crate) is_quiet: bool,
    pub(crate) verbosity: u8,
    /// The result on standard output is JSON, also of a failure.
    pub(crate) is_json: bool,
    /// Texts that are never printed.
    pub(crate) secrets: Secrets,
    /// True after a signal that asks to stop.
    pub(crate) interrupted: Arc<AtomicBool>,
    /// True after a result: a failure that follows does not print a second one.
    has_result: Arc<AtomicBool>,
    /// The start of the program.
    pub(crate) start: Instant,
    bar: ProgressBar,
    shared: Arc<Mutex<SharedProgress>>,
}

/// The progress that all copies share.
#[derive(Debug, Default)]
struct SharedProgress {
    work: Option<Work>,
    transfers: TransferProgress,
    /// The subjects of waits that were reported: each is reported once.
    waits: BTreeSet<String>,
}

impl Ui {
    pub(crate) fn new(is_quiet: bool, verbosity: u8, is_json: bool) -> Self {
        Self {
            is_quiet,
            verbosity,
            is_json,
            secrets: Secrets::default(),
            interrupted: Arc::default(),
            has_result: Arc::default(),
            start: Instant::now(),
            bar: ProgressBar::hidden(),
            shared: Arc::default(),
        }
    }

    /// Returns a copy that prints nothing if `is_known`.
    pub(crate) fn quiet_if(&self, is_known: bool) -> Self {
        Self {
            is_quiet: self.is_quiet || is_known,
            ..self.clone()
        }
    }

    pub(crate) fn result(&self, text: &str) -> Result<()> {
        self.result_bytes(format!("{text}\n").as_bytes())
    }

    /// Prints a result as it is. A reader that closed its end, for example `head`, has read all that
    /// it wanted.
    pub(crate) fn result_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.has_result.store(true, Ordering::Relaxed);
        // The standard library ignores that its own may not be written to.
        match raw_standard_output()?.write_all(bytes) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                let message = "cannot write the result to standard output";
                Err(Failure::caused_by(error, message))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(crate) fn status(&self, text: &str) {
        if !self.is_quiet {
            self.say(text);
        }
    }

    pub(crate) fn detail(&self, text: &str) {
        if self.verbosity > 0 {
            self.status(text);
        }
    }

    pub(crate) fn warning(&self, text: &str) {
        self.status(&format!("warning: {text}"));
    }

    /// Prints what the program waits for, once.
    pub(crate) fn waiting_for(&self, what: &str) {
        if self.shared().waits.insert(what.to_owned()) {
            self.status(&format!("waiting for {what}"));
        }
    }

    /// Runs `work`, which a signal ends; prints what it waits for if that takes long.
    pub(crate) fn while_waiting<T>(&self, work: impl FnOnce(Monitor<'_>) -> T) -> T {
        // Without it, a signal ends the program at once.
        drop(interrupt::watch(&self.interrupted));
        let follow = |progress: Progress<'_>| self.follow(progress);
        work(Monitor::new(&follow, &self.interrupted))
    }

    /// Prints the failure that ends the program; returns its exit code.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        self.say(&failure.to_string());
        self.fail_as_json(failure);
        ExitCode::from(failure.exit_code())
    }

    /// Prints the failure that ends the program as the result, if that is JSON.
    pub(crate) fn fail_as_json(&self, failure: &Failure) {
        if self.is_json && !self.has_result.load(Ordering::Relaxed) {
            let value = failure.json(|text| self.secrets.conceal(text));
            // The failure was reported on standard error.
            drop(self.result(&json::text(value)));
        }
    }

    pub(crate) fn warning_of(&self, what: &str, failure: &Failure) {
        let reason = with_causes(failure.error.as_ref(), ": ");
        self.warning(&format!("{what}: {reason}"));
        for hint in &failure.hints {
            self.status(&format!("hint: {hint}"));
        }
    }

    /// Prints a message always, with secrets removed.
    pub(crate) fn say(&self, text: &str) {
        let text = self.secrets.conceal(text);
        self.bar.suspend(|| {
            // If standard error is closed, there is nothing left to report to.
            drop(writeln!(anstream::stderr().lock(), "{text}"));
        });
    }

    /// Shows a bar for `bytes` of work, on a terminal.
    pub(crate) fn start_progress(&self, work: Work, bytes: u64) {
        self.shared().work = Some(work);
        self.show_bar(work, 0, bytes);
    }

    /// Shows the progress of sending to a repository. Blobs that were sent
    /// before count, unless `is_next` begins another repository.
    pub(crate) fn start_sending(&self, image: &Image, is_next: bool) {
        let mut shared = self.shared();
        shared.work = Some(Work::Sending);
        if is_next {
            shared.transfers.begin_repository();
        }
        for blob in image.blobs() {
            shared.transfers.expect_blob(blob.digest, blob.size);
        }
        let (position, total) = shared.transfers.totals();
        drop(shared);
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

    fn shared(&self) -> MutexGuard<'_, SharedProgress> {
        self.shared.lock().expect("no holder of the lock panics")
    }

    /// Registers a layer that is sent while others are built.
    pub(crate) fn expect_sent(&self, digest: Digest, size: u64) {
        self.shared().transfers.expect_blob(digest, size);
    }

    pub(crate) fn expect_received(&self, digest: Digest, size: u64) {
        self.shared().transfers.set_size(digest, size);
    }

    pub(crate) fn finish_progress(&self) {
        self.shared().work = None;
        self.bar.finish_and_clear();
    }

    /// Advances the bar of building layers or writing a destination: each counts
    /// bytes of its own kind.
    pub(crate) fn follow(&self, progress: Progress<'_>) {
        if let Progress::Waiting(what) = progress {
            return self.waiting_for(what);
        }
        let work = self.shared().work;
        match (work, progress) {
            (Some(Work::Layers), Progress::Read(bytes))
            | (Some(Work::Writing | Work::Copying), Progress::Written(bytes)) => {
                self.bar.inc(bytes);
            }
            _ => {}
        }
    }

    /// Records bytes of a blob that were sent at the time `now`.
    pub(crate) fn sent(&self, digest: Digest, bytes: u64, now: Duration) {
        let mut shared = self.shared();
        shared.transfers.send(digest, bytes);
        let slow = shared
            .transfers
            .track(Direction::Upload, digest, bytes, now);
        drop(shared);
        self.show_sent();
        self.report_slow("sending", digest, slow);
    }

    /// Records bytes of a blob that were received at the time `now`.
    pub(crate) fn received(&self, digest: Digest, bytes: u64, now: Duration) {
        let mut shared = self.shared();
        let slow = shared
            .transfers
            .track(Direction::Download, digest, bytes, now);
        let work = shared.work;
        drop(shared);
        if work == Some(Work::Fetching) {
            self.bar.inc(bytes);
        }
        // Bytes that are passed on are reported when they are sent.
        if work != Some(Work::Sending) {
            self.report_slow("fetching", digest, slow);
        }
    }

    /// Records a blob that a repository has.
    pub(crate) fn settled(&self, digest: Digest, size: u64, is_sent: bool) {
        self.shared().transfers.finish(digest, size, is_sent);
        self.show_sent();
    }

    fn show_sent(&self) {
        let shared = self.shared();
        let (position, total) = shared.transfers.totals();
        let work = shared.work;
        drop(shared);
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

    /// Prints the progress of a slow blob if no bar is shown.
    fn report_slow(&self, what: &str, digest: Digest, slow: Option<(u64, Option<u64>)>) {
        let Some((bytes, size)) = slow.filter(|_| !io::stderr().is_terminal()) else {
            return;
        };
        let bytes = bytes_text(bytes);
        self.status(&match size {
            Some(size) => format!("{what} {digest} {bytes} of {}", bytes_text(size)),
            None => format!("{what} {digest} {bytes}"),
        });
    }

    /// Shows a finished layer of `total`; `done` counts them.
    pub(crate) fn show_layer(&self, layer: &Layer, total: usize, done: &AtomicUsize) {
        let number = done.fetch_add(1, Ordering::Relaxed) + 1;
        let size = bytes_text(layer.size());
        let origin = match (layer.is_remote(), layer.is_reused) {
            (true, _) => " (in the registry)",
            (false, true) => " (cached)",
            (false, false) => "",
        };
        self.status(&format!(
            "layer {number}/{total} `{}` {size} {}{origin}",
            layer.name,
            layer.digest()
        ));
    }
}

/// Returns standard output without the buffer that splits it into lines.
pub(crate) fn raw_standard_output() -> Result<std::fs::File> {
    let handle = io::stdout().as_fd().try_clone_to_owned();
    Ok(handle.map_err(Failure::build)?.into())
}

/// Fails if standard output is closed. The standard library opens `/dev/null` in
/// its place, to read and write, as some programs do that discard what another one
/// prints: so this is only for an archive. `>/dev/null`
/// opens it to write only.
pub(crate) fn check_output() -> Result<()> {
    let output = io::stdout();
    let flags = fcntl_getfl(&output).unwrap_or(OFlags::WRONLY);
    let devices = [fstat(&output), stat("/dev/null")].map(|found| found.map(|found| found.st_rdev));
    if !flags.contains(OFlags::RDWR) || devices[0] != devices[1] {
        return Ok(());
    }
    let failure = Failure::build(
        "`-` writes to standard output, which is closed, or `/dev/null` opened to read and write",
    );
    Err(failure.hint("redirect it to a file or a pipe, or with `>/dev/null`"))
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
