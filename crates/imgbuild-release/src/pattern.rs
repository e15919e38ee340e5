//! Patterns that include and exclude paths of a release, like those of
//! `.gitignore`.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// One pattern of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Leaves matching paths out.
    Exclude(String),
    /// Includes matching paths, although an earlier pattern or the kind of the
    /// release leaves them out.
    Include(String),
}

/// A list of patterns; the last one that matches a path decides.
///
/// The syntax is that of [gitignore], for example `*.map`, `/docs`, `logs/` or
/// `a/**/b`. For a path without a matching pattern, the nearest directory above
/// it decides. Unlike in git, a file below an excluded directory can be
/// included.
///
/// [gitignore]: https://git-scm.com/docs/gitignore#_pattern_format
#[derive(Debug, Clone)]
pub struct Patterns {
    matcher: Gitignore,
    /// Each pattern alone, to find those that match nothing.
    single: Vec<(String, Gitignore)>,
}

/// The decision of the patterns about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No pattern matches.
    Undecided,
    /// Left out.
    Excluded,
    /// Included.
    Included,
}

/// A text that is not a pattern.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the pattern `{pattern}`")]
pub struct PatternError {
    pattern: String,
    source: ignore::Error,
}

impl Default for Patterns {
    fn default() -> Self {
        Self {
            matcher: Gitignore::empty(),
            single: Vec::new(),
        }
    }
}

impl Patterns {
    /// Compiles patterns in the order given.
    ///
    /// # Errors
    ///
    /// The first text that is not a pattern.
    pub fn new(patterns: &[Pattern]) -> Result<Self, PatternError> {
        let mut builder = GitignoreBuilder::new("");
        let mut single = Vec::new();
        for pattern in patterns {
            let (text, line) = match pattern {
                // A leading `!` or `#` is part of the name here.
                Pattern::Exclude(text) if text.starts_with(['!', '#']) => {
                    (text, format!("\\{text}"))
                }
                Pattern::Exclude(text) => (text, text.clone()),
                Pattern::Include(text) => (text, format!("!{text}")),
            };
            let error = |source| PatternError {
                pattern: text.clone(),
                source,
            };
            builder.add_line(None, &line).map_err(error)?;
            let mut alone = GitignoreBuilder::new("");
            alone.add_line(None, &line).map_err(error)?;
            single.push((text.clone(), alone.build().map_err(error)?));
        }
        let matcher = builder.build().map_err(|source| PatternError {
            pattern: String::new(),
            source,
        })?;
        Ok(Self { matcher, single })
    }

    /// Returns the numbers of all patterns.
    pub(crate) fn numbers(&self) -> std::ops::Range<usize> {
        0..self.single.len()
    }

    /// Returns a pattern as it was given.
    pub(crate) fn text(&self, number: usize) -> &str {
        &self.single[number].0
    }

    /// Returns whether one pattern matches a path.
    pub(crate) fn matches(&self, number: usize, path: &Path, is_directory: bool) -> bool {
        !self.single[number].1.matched(path, is_directory).is_none()
    }

    /// Returns whether there are no patterns, so that nothing needs matching.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.matcher.is_empty()
    }

    /// Decides on a path relative to the release.
    #[must_use]
    pub(crate) fn decide(&self, path: &Path, is_directory: bool) -> Verdict {
        if self.is_empty() {
            return Verdict::Undecided;
        }
        let found = self.matcher.matched_path_or_any_parents(path, is_directory);
        if found.is_ignore() {
            Verdict::Excluded
        } else if found.is_whitelist() {
            Verdict::Included
        } else {
            Verdict::Undecided
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pattern_that_matches_decides() {
        let exclude = |text: &str| Pattern::Exclude(text.to_owned());
        let include = |text: &str| Pattern::Include(text.to_owned());
        let patterns = Patterns::new(&[
            exclude("*.map"),
            include("keep.map"),
            exclude("/docs"),
            include("docs/license"),
            exclude("logs/"),
            exclude("#x"),
        ])
        .unwrap();
        for (path, expected) in [
            ("a.js", Verdict::Undecided),
            ("a/b.map", Verdict::Excluded),
            ("a/keep.map", Verdict::Included),
            ("docs/index.html", Verdict::Excluded),
            ("docs/license", Verdict::Included),
            ("lib/docs", Verdict::Undecided),
            ("a/logs/today", Verdict::Excluded),
            ("logs", Verdict::Undecided),
            ("#x", Verdict::Excluded),
        ] {
            assert_eq!(patterns.decide(Path::new(path), false), expected, "{path}");
        }
        assert_eq!(patterns.decide(Path::new("logs"), true), Verdict::Excluded);
    }

    #[test]
    fn a_text_that_is_not_a_pattern_is_named() {
        let error = Patterns::new(&[Pattern::Exclude("a{b".to_owned())]).unwrap_err();
        assert_eq!(error.to_string(), "cannot use the pattern `a{b`");
    }
}
