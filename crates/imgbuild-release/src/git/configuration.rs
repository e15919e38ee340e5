//! The settings of a repository that are needed to read it
//! ([git-config(1)]).
//!
//! Files that it includes, and those of the user and the system, are not read:
//! their content depends on the machine.
//!
//! [git-config(1)]: https://git-scm.com/docs/git-config

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::id::Hash;
use super::{GitError, GitResult, file};

const MAX_BYTES: u64 = 1 << 20;

/// The settings of a configuration file, in its order.
#[derive(Debug, Default)]
pub(super) struct GitConfig {
    path: PathBuf,
    settings: Vec<GitSetting>,
}

#[derive(Debug, PartialEq, Eq)]
struct GitSetting {
    section: Arc<str>,
    subsection: Arc<str>,
    name: String,
    /// None for a name alone, which means true.
    value: Option<String>,
}

impl GitConfig {
    /// Reads a file; without it, nothing is set.
    pub(super) fn read(path: &Path) -> GitResult<Self> {
        let text = file::read(path, MAX_BYTES)?.unwrap_or_default();
        let settings = parse(&String::from_utf8_lossy(&text));
        let malformed = || GitError::malformed(path, "it has an invalid line");
        Ok(Self {
            path: path.to_path_buf(),
            settings: settings.ok_or_else(malformed)?,
        })
    }

    /// Returns the last setting of a name.
    fn value(&self, section: &str, name: &str) -> Option<&GitSetting> {
        let mut settings = self.settings.iter().rev();
        settings.find(|it| *it.section == *section && it.subsection.is_empty() && it.name == name)
    }

    pub(super) fn text(&self, section: &str, name: &str) -> Option<&str> {
        self.value(section, name)?.value.as_deref()
    }

    pub(super) fn is(&self, section: &str, name: &str, default: bool) -> bool {
        match self.value(section, name).map(|it| it.value.as_deref()) {
            None => default,
            Some(None) => true,
            Some(Some(text)) => {
                !["false", "no", "off", "0", ""].contains(&text.to_ascii_lowercase().as_str())
            }
        }
    }

    pub(super) fn hash(&self) -> GitResult<Hash> {
        match self.text("extensions", "objectformat") {
            None | Some("sha1") => Ok(Hash::Sha1),
            Some("sha256") => Ok(Hash::Sha256),
            Some(_) => Err(GitError::unsupported(&self.path, "an unknown hash")),
        }
    }

    /// The address of `origin`, or of the only remote.
    pub(super) fn origin(&self) -> Option<&str> {
        let urls = || {
            let settings = self.settings.iter();
            settings.filter(|it| &*it.section == "remote" && it.name == "url")
        };
        let named = urls().find(|it| &*it.subsection == "origin");
        let only = || {
            let mut all = urls();
            let first = all.next()?;
            all.all(|it| it.subsection == first.subsection)
                .then_some(first)
        };
        named.or_else(only)?.value.as_deref()
    }
}

/// Reads sections and what they set; none if a line is neither.
fn parse(text: &str) -> Option<Vec<GitSetting>> {
    let mut settings = Vec::new();
    // Shared: a long name may stand above many short lines.
    let (mut section, mut subsection) = (Arc::from(""), Arc::from(""));
    let mut lines = text.trim_start_matches('\u{feff}').lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim();
        if let Some(rest) = line.strip_prefix('[') {
            let (names, after) = header(rest)?;
            (section, subsection) = (names.0.into(), names.1.into());
            // A setting may stand on the line of its section.
            line = after.trim();
        }
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value_of(value, &mut lines)?)),
            None => (line.split(['#', ';']).next().unwrap_or(line), None),
        };
        let name = name.trim();
        if !name
            .chars()
            .all(|letter| letter.is_alphanumeric() || letter == '-')
        {
            return None;
        }
        settings.push(GitSetting {
            section: Arc::clone(&section),
            subsection: Arc::clone(&subsection),
            name: name.to_ascii_lowercase(),
            value,
        });
    }
    Some(settings)
}

/// Reads `NAME]`, `NAME.SUBSECTION]` or `NAME "SUBSECTION"]`, and returns what
/// comes after it.
fn header(text: &str) -> Option<((String, String), &str)> {
    let Some((name, quoted)) = text.split_once('"').filter(|(name, _)| !name.contains(']')) else {
        let (names, rest) = text.split_once(']')?;
        let (name, subsection) = names.split_once('.').unwrap_or((names, ""));
        let name = name.trim().to_ascii_lowercase();
        return Some(((name, subsection.to_ascii_lowercase()), rest));
    };
    let mut subsection = String::new();
    let mut letters = quoted.char_indices();
    while let Some((place, letter)) = letters.next() {
        match letter {
            '"' => {
                let rest = quoted[place + 1..].trim_start().strip_prefix(']')?;
                return Some(((name.trim().to_ascii_lowercase(), subsection), rest));
            }
            '\\' => subsection.push(letters.next()?.1),
            _ => subsection.push(letter),
        }
    }
    None
}

/// Reads a value: quotes, escapes, comments, and lines that end in a backslash.
fn value_of<'a>(text: &str, lines: &mut impl Iterator<Item = &'a str>) -> Option<String> {
    let mut value = String::new();
    // What stands in quotes is not trimmed.
    let mut kept = 0;
    let mut is_quoted = false;
    let mut line = text.trim_start().to_owned();
    loop {
        let mut letters = line.chars();
        let mut goes_on = false;
        while let Some(letter) = letters.next() {
            match letter {
                '"' => is_quoted = !is_quoted,
                '#' | ';' if !is_quoted => break,
                '\\' => match letters.next() {
                    None => goes_on = true,
                    Some('n') => value.push('\n'),
                    Some('t') => value.push('\t'),
                    Some('b') => drop(value.pop()),
                    Some(other @ ('"' | '\\')) => value.push(other),
                    Some(_) => return None,
                },
                _ => value.push(letter),
            }
            if is_quoted || !letter.is_whitespace() {
                kept = value.len();
            }
        }
        if !goes_on {
            break;
        }
        lines.next()?.clone_into(&mut line);
    }
    value.truncate(kept.max(value.trim_end().len()));
    (!is_quoted).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> GitConfig {
        GitConfig {
            path: PathBuf::new(),
            settings: parse(text).unwrap(),
        }
    }

    #[test]
    fn sections_and_values_are_read_as_git_reads_them() {
        for (text, expected) in [
            (
                "[remote \"origin\"]\n\turl = https://a/b\n",
                Some("https://a/b"),
            ),
            (
                "[Remote \"origin\"] URL=https://a/b # why",
                Some("https://a/b"),
            ),
            ("[remote \"origin\"]\nurl = \"a b\" ; c", Some("a b")),
            ("[remote \"origin\"]\nurl = a\\\nb\n", Some("ab")),
            ("[remote \"or\\\"igin\"]\nurl = x", Some("x")),
            (
                "[remote \"x\"]\nurl = x\n[remote \"origin\"]\nurl = y",
                Some("y"),
            ),
            ("[remote \"x\"]\nurl = x\n[remote \"y\"]\nurl = y", None),
            ("[remote.x]\nurl = x", Some("x")),
            ("[branch \"main\"]\nurl = x", None),
            ("", None),
        ] {
            assert_eq!(read(text).origin(), expected, "{text}");
        }
    }

    #[test]
    fn truth_has_several_names() {
        for (text, is_so) in [
            ("[core]\nbare", true),
            ("[core]\nbare = true", true),
            ("[core]\nbare = yes", true),
            ("[core]\nbare = False", false),
            ("[core]\nbare = 0", false),
            ("[core]\nbare = true\nbare = off", false),
            ("", false),
        ] {
            assert_eq!(read(text).is("core", "bare", false), is_so, "{text}");
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for text in [
            "[core",
            "[a \"b]\nx=1",
            "x y",
            "[a]\nb = \"c",
            "[a]\nb = \\q",
            "[a]\nb = c\\",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn unknown_hashes_are_not_guessed() {
        assert_eq!(read("").hash().unwrap(), Hash::Sha1);
        let sha256 = read("[extensions]\nobjectFormat = sha256");
        assert_eq!(sha256.hash().unwrap(), Hash::Sha256);
        let other = read("[extensions]\nobjectformat = sha3");
        assert!(other.hash().is_err());
    }
}
