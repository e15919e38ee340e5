//! Standard output is the result; standard error is everything else.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use imgbuild_oci::layer::Layer;
use imgbuild_oci::monitor::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is said, and where.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    pub(crate) is_quiet: bool,
    pub(crate) verbosity: u8,
    bar: ProgressBar,
}

impl Ui {
    pub(crate) fn new(is_quiet: bool, verbosity: u8) -> Self {
        Self {
            is_quiet,
            verbosity,
            bar: ProgressBar::hidden(),
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
    /// When standard output is closed or full.
    pub(crate) fn result(&self, text: &str) -> io::Result<()> {
        let mut output = io::stdout().lock();
        writeln!(output, "{text}")?;
        output.flush()
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

    /// Says what must be said.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| {
            // Nobody can be told that nobody can be told.
            drop(writeln!(anstream::stderr().lock(), "{text}"));
        });
    }

    /// Shows a bar for `bytes` of work, if somebody looks at it.
    pub(crate) fn start_progress(&self, bytes: u64) {
        if self.is_quiet || !io::stderr().is_terminal() {
            return;
        }
        let style = ProgressStyle::with_template(
            "{msg} [{bar:32}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
        );
        // The same bar, for its copies; it may have been shown before.
        self.bar.reset();
        self.bar.set_length(bytes);
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        if let Ok(style) = style {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.set_message("layers");
    }

    /// Counts further work.
    pub(crate) fn expect(&self, bytes: u64) {
        self.bar.inc_length(bytes);
    }

    pub(crate) fn finish_progress(&self) {
        self.bar.finish_and_clear();
    }

    /// Moves the bar.
    pub(crate) fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Follows a run that makes `total` layers; `done` counts them.
    pub(crate) fn follow(&self, progress: Progress<'_>, total: usize, done: &AtomicUsize) {
        match progress {
            Progress::Read { bytes } | Progress::Written { bytes } => self.bar.inc(bytes),
            Progress::Layer(layer) => {
                let number = done.fetch_add(1, Ordering::Relaxed) + 1;
                self.status(&layer_line(layer, number, total));
            }
            _ => {}
        }
    }
}

fn layer_line(layer: &Layer, number: usize, total: usize) -> String {
    let size = bytes_text(layer.size());
    let origin = match layer.is_reused() {
        true => " (cached)",
        false => "",
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
