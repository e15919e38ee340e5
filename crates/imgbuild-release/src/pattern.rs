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

/// The patterns of a `.dockerignore`, with the meaning that [Docker] gives them.
///
/// They begin at the directory of the file. The last one that matches decides; it
/// holds below a directory, too, unless it includes one that was not excluded.
///
/// [Docker]: https://docs.docker.com/build/concepts/context/#dockerignore-files
#[derive(Debug, Default)]
pub(crate) struct DockerIgnore(Vec<Gitignore>);

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

/// Escapes braces, which are letters to Docker, unless they are escaped already.
fn without_alternates(pattern: &str) -> String {
    let mut escaped = String::new();
    let mut is_escaped = false;
    for letter in pattern.chars() {
        if matches!(letter, '{' | '}') && !is_escaped {
            escaped.push('\\');
        }
        escaped.push(letter);
        is_escaped = letter == '\\' && !is_escaped;
    }
    escaped
}

impl DockerIgnore {
    /// Parses the text of a file.
    ///
    /// # Errors
    ///
    /// The first line that is not a pattern.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        let lines = text.trim_start_matches('\u{feff}').lines();
        let lines = lines.filter(|line| !line.starts_with('#')).map(str::trim);
        let patterns = lines.filter_map(|line| {
            let (mark, pattern) = match line.strip_prefix('!') {
                Some(pattern) => ("!", pattern.trim_start()),
                None => ("", line),
            };
            let pattern = without_alternates(pattern);
            let parts = pattern.split('/').filter(|part| !matches!(*part, "" | "."));
            let clean = parts.collect::<Vec<_>>().join("/");
            (!clean.is_empty()).then(|| (line, format!("{mark}/{clean}")))
        });
        let matchers = patterns.map(|(line, pattern)| {
            let mut builder = GitignoreBuilder::new("");
            let built = match builder.add_line(None, &pattern) {
                Ok(_) => builder.build(),
                Err(error) => Err(error),
            };
            built.map_err(|source| PatternError {
                pattern: line.to_owned(),
                source,
            })
        });
        matchers.collect::<Result<_, _>>().map(Self)
    }

    /// Returns true if a path relative to the directory of the file is left out.
    pub(crate) fn excludes(&self, path: &Path) -> bool {
        let mut ancestors: Vec<&Path> = path.ancestors().collect();
        // The last one is empty.
        ancestors.pop();
        let mut matching = vec![false; self.0.len()];
        let mut is_excluded = false;
        for part in ancestors.into_iter().rev() {
            is_excluded = false;
            for (pattern, matches) in self.0.iter().zip(&mut matching) {
                let excludes = pattern.num_ignores() > 0;
                // A pattern that would change nothing is not tried.
                if !*matches && excludes != is_excluded {
                    *matches = !pattern.matched(part, true).is_none();
                }
                if *matches {
                    is_excluded = excludes;
                }
            }
        }
        is_excluded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_ignore_file_means_what_docker_takes_it_for() {
        let text = "\u{feff}# text\n.git\n /logs/ \n*.md\n!README.md\n**/*.pem\nb\n!b/keep\na{b\nx\\{y\n./c/./d\n! e\nf/g\n!f\n[xy]z\n\\#h\n";
        let ignore = DockerIgnore::parse(text).unwrap();
        for (path, expected) in [
            (".git", true),
            (".git/config", true),
            ("sub/.git", false),
            ("logs/today", true),
            ("logs", true),
            ("a.md", true),
            ("README.md", false),
            ("sub/a.md", false),
            ("sub/key.pem", true),
            ("key.pem", true),
            ("b/other", true),
            ("b/keep", false),
            ("b/keep/x", false),
            ("a{b", true),
            ("x{y", true),
            ("c/d/e", true),
            ("f/g", true),
            ("f/h", false),
            ("xz", true),
            ("az", false),
            ("#h", true),
            ("text", false),
        ] {
            assert_eq!(ignore.excludes(Path::new(path)), expected, "{path}");
        }
        let error = DockerIgnore::parse("a\n[z-a]\n").unwrap_err();
        assert_eq!(error.to_string(), "cannot use the pattern `[z-a]`");
        let nothing = DockerIgnore::parse("\n.\n/\n").unwrap();
        assert!(!nothing.excludes(Path::new("a")));
    }

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
