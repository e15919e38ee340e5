//! Replaces paths and durations, which differ between runs, by fixed words.
//!
//! Digests are never redacted.

use std::path::{Path, PathBuf};

/// The paths to replace, each with its word; durations become `[DURATION]`.
#[derive(Debug, Clone, Default)]
pub struct Redactions {
    paths: Vec<(PathBuf, String)>,
}

impl Redactions {
    /// Redacts durations only.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Also replaces `path` by `word`.
    #[must_use]
    pub fn path(mut self, path: &Path, word: &str) -> Self {
        self.paths.push((path.to_owned(), word.to_owned()));
        // The longest first: a parent is a prefix of its child.
        self.paths
            .sort_by_key(|(path, _)| std::cmp::Reverse(path.as_os_str().len()));
        self
    }

    /// Returns `text` with all replacements.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (path, word) in &self.paths {
            text = text.replace(&*path.to_string_lossy(), word);
        }
        redact_durations(&text)
    }
}

/// Returns the length of a number with a unit of time, if `text` starts with one.
fn redact_durations(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    let mut inside_word = false;
    while let Some(first) = rest.chars().next() {
        let length = if inside_word {
            0
        } else {
            duration_length(rest)
        };
        if length > 0 {
            redacted.push_str("[DURATION]");
            rest = &rest[length..];
            inside_word = true;
        } else {
            redacted.push(first);
            inside_word = first.is_alphanumeric() || matches!(first, '.' | '_' | '-' | '/');
            rest = &rest[first.len_utf8()..];
        }
    }
    redacted
}

fn duration_length(text: &str) -> usize {
    let number = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
        .count();
    let (digits, after) = text.split_at(number);
    if !digits.starts_with(|first: char| first.is_ascii_digit()) || digits.ends_with('.') {
        return 0;
    }
    let spaced = after.strip_prefix(' ').unwrap_or(after);
    for unit in ["ns", "µs", "us", "ms", "s", "min"] {
        if let Some(end) = spaced.strip_prefix(unit)
            && !end.starts_with(|next: char| next.is_alphanumeric() || next == '_')
        {
            return text.len() - end.len();
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_become_a_word() {
        let cases = [
            ("built in 1.24s", "built in [DURATION]"),
            ("(350 ms)", "([DURATION])"),
            ("3 min, 12µs", "[DURATION], [DURATION]"),
        ];
        for (text, expected) in cases {
            assert_eq!(Redactions::new().apply(text), expected);
        }
    }

    #[test]
    fn what_is_no_duration_stays() {
        for text in [
            "sha256:4s99ms00",
            "3 symbolic links",
            "14.2 MiB",
            "libz.so.1s",
            "version 1.2.",
            "2 seconds_left",
        ] {
            assert_eq!(Redactions::new().apply(text), text);
        }
    }

    #[test]
    fn the_longest_path_wins() {
        let redactions = Redactions::new()
            .path(Path::new("/tmp/x"), "[SANDBOX]")
            .path(Path::new("/tmp/x/home"), "[HOME]");
        assert_eq!(
            redactions.apply("cannot read `/tmp/x/home/a`, `/tmp/x/b`"),
            "cannot read `[HOME]/a`, `[SANDBOX]/b`"
        );
    }
}
