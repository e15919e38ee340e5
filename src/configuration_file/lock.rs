//! `--lock`: the digest of the base image, written into the file that names
//! it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use imgbuild_oci::destination::rewrite_text;
use imgbuild_oci::monitor::Monitor;

use super::ParsedFlags;
use super::file::read;
use crate::args::ImageSource;
use crate::failure::{Failure, Result};

const KEY: &str = "base";

impl ParsedFlags {
    /// Refuses when there is nothing to write a digest into.
    pub(crate) fn check_lock(&self) -> Result<()> {
        self.locked_place().map(drop)
    }

    /// Sets `base` in the file to `pinned`, and keeps every other byte; returns the
    /// file, or `None` if it has this value already.
    pub(crate) fn lock_base(&self, pinned: &str, sync: bool) -> Result<Option<PathBuf>> {
        let (path, text, span) = self.locked_place()?;
        let Some(text) = replaced(&text, span, pinned) else {
            return Ok(None);
        };
        rewrite_text(path, &text, sync, Monitor::silent())?;
        Ok(Some(path.to_path_buf()))
    }

    fn locked_place(&self) -> Result<(&Path, String, Range<usize>)> {
        let Some(path) = &self.file else {
            let failure = Failure::command_line("`--lock` needs a configuration file");
            return Err(failure.hint(
                "write `base = \"docker://REFERENCE\"` into `imgbuild.toml`, or name a file with `--config`",
            ));
        };
        let text = read(path)?;
        match value_of(&text) {
            Some(span) => Ok((path, text, span)),
            None => {
                let failure = Failure::command_line(format!(
                    "`--lock` rewrites the key `{KEY}`, which `{}` does not have",
                    path.display()
                ));
                Err(failure.hint("add `base = \"docker://REFERENCE\"` to the file"))
            }
        }
    }
}

/// Finds the value of `base`, its quotes included.
fn value_of(text: &str) -> Option<Range<usize>> {
    let table = DeTable::parse(text).ok()?;
    let entries = table.get_ref().iter();
    let mut found = entries.filter(|(key, _)| key.get_ref().as_ref() == KEY);
    let (_, value) = found.next()?;
    matches!(value.get_ref(), DeValue::String(_)).then(|| value.span())
}

/// Replaces a value; `None` if it is the same already.
fn replaced(text: &str, span: Range<usize>, pinned: &str) -> Option<String> {
    let (before, after) = (text.get(..span.start)?, text.get(span.end..)?);
    let old = text.get(span)?;
    let known = old.trim_matches(['"', '\'']).parse::<ImageSource>();
    if known.is_ok() && known == pinned.parse() {
        return None;
    }
    // A reference has no letter that would have to be escaped.
    Some(format!("{before}\"{pinned}\"{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "docker://docker.io/a/b:1@sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn lock(text: &str) -> Option<String> {
        replaced(text, value_of(text).unwrap(), NEW)
    }

    #[test]
    fn only_the_value_changes() {
        for (before, after) in [
            ("", ""),
            ("# base = \"x\"\n", "\n"),
            ("tag = ['a']\r\n", " # why\r\n[env]\r\nbase = \"other\"\r\n"),
        ] {
            for old in ["\"docker://a/b:1\"", "'docker://a/b:1'", "\"\"\"x\"\"\""] {
                let text = format!("{before}base =  {old}{after}");
                let expected = format!("{before}base =  \"{NEW}\"{after}");
                assert_eq!(lock(&text).as_deref(), Some(expected.as_str()), "{text}");
            }
        }
    }

    #[test]
    fn what_is_locked_stays_as_it_is() {
        for quote in ['"', '\''] {
            let text = format!(
                "base = {quote}docker://a/b:1@sha256:{}{quote}\n",
                "0".repeat(64)
            );
            assert_eq!(lock(&text), None);
        }
    }

    #[test]
    fn only_a_string_at_the_top_is_a_base() {
        for text in ["", "[env]\nbase = 'x'\n", "base = 1\n", "\"bases\" = 'x'\n"] {
            assert_eq!(value_of(text), None, "{text}");
        }
    }
}
