//! Values: from TOML to the words of one flag.

use std::ops::Range;
use std::path::Path;

use clap::{Arg, ArgAction, ValueHint};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::args::{EMBEDDED, LOCAL_TRANSPORTS, PlatformPath, check_no_password};

/// The arguments that a value stands for, and its position.
type Words = (Range<usize>, Vec<String>);

/// A problem and its position.
type Problem = (Range<usize>, String);

/// Returns whether the values of a flag are pairs of a name and a value, of
/// which the last one of a name counts.
pub(super) fn has_names(flag: &Arg) -> bool {
    let names = flag.get_value_names().unwrap_or_default();
    names
        .iter()
        .any(|name| matches!(name.as_str(), "K=V" | "K[=V]"))
}

/// Turns a value into arguments: one list for each line that it may be on.
pub(super) fn words(
    flag: &Arg,
    value: &Spanned<DeValue<'_>>,
    directory: &Path,
) -> Result<Vec<Words>, Problem> {
    let writer = FlagWriter { flag, directory };
    let placed = |value: &Spanned<_>, words: Option<Vec<String>>| match words {
        Some(words) => Ok((value.span(), words)),
        None => Err(writer.problem(value)),
    };
    let one = |words| placed(value, words).map(|placed| vec![placed]);
    match (flag.get_action(), value.get_ref()) {
        (ArgAction::SetTrue, DeValue::Boolean(is_set)) => {
            one(Some(writer.repeated(u8::from(*is_set))))
        }
        (ArgAction::Count, number) => {
            let count = integer(number).and_then(|number| u8::try_from(number).ok());
            one(count.map(|count| writer.repeated(count)))
        }
        (ArgAction::Set, value) => one(writer.scalar(value)),
        (ArgAction::Append, DeValue::Table(table)) if has_names(flag) => {
            let mut words = Vec::new();
            writer.pairs("", table, &mut words)?;
            words.sort_by_key(|(span, _)| span.start);
            Ok(words)
        }
        (ArgAction::Append, DeValue::Array(values)) => values
            .iter()
            .map(|value| placed(value, writer.scalar(value.get_ref())))
            .collect(),
        (ArgAction::Append, value) => one(writer.scalar(value)),
        _ => Err(writer.problem(value)),
    }
}

struct FlagWriter<'a> {
    flag: &'a Arg,
    directory: &'a Path,
}

impl FlagWriter<'_> {
    fn name(&self) -> &str {
        self.flag.get_long().unwrap_or_default()
    }

    /// Returns true if the flag needs no value.
    fn can_stand_alone(&self) -> bool {
        let count = self.flag.get_num_args();
        count.is_some_and(|count| count.min_values() == 0)
    }

    fn repeated(&self, count: u8) -> Vec<String> {
        vec![format!("--{}", self.name()); usize::from(count)]
    }

    fn with_value(&self, value: &str) -> Vec<String> {
        vec![format!("--{}={value}", self.name())]
    }

    /// Returns the arguments of one value; `true` is a value of a flag that can
    /// stand alone.
    fn scalar(&self, value: &DeValue<'_>) -> Option<Vec<String>> {
        match value {
            DeValue::Boolean(is_set) if self.can_stand_alone() => {
                Some(self.repeated(u8::from(*is_set)))
            }
            DeValue::String(text) => Some(self.with_value(&self.placed(text))),
            DeValue::Datetime(time) => Some(self.with_value(&time.to_string())),
            value => Some(self.with_value(&integer(value)?.to_string())),
        }
    }

    /// A table of names and values. Names with dots need not be quoted: they
    /// are tables in each other.
    fn pairs(
        &self,
        prefix: &str,
        table: &DeTable<'_>,
        words: &mut Vec<Words>,
    ) -> Result<(), Problem> {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let text = match value.get_ref() {
                DeValue::Table(table) => {
                    self.pairs(&format!("{name}."), table, words)?;
                    continue;
                }
                DeValue::String(text) => text.to_string(),
                DeValue::Boolean(value) => value.to_string(),
                other => match integer(other) {
                    Some(number) => number.to_string(),
                    None => {
                        let problem = format!(
                            "`{name}` in `{}` takes a string, a number, `true` or `false`, not {}",
                            self.name(),
                            kind_of(other)
                        );
                        return Err((value.span(), problem));
                    }
                },
            };
            if name.contains('=') {
                let problem = format!("the name `{name}` in `{}` contains `=`", self.name());
                return Err((key.span(), problem));
            }
            words.push((key.span(), self.with_value(&format!("{name}={text}"))));
        }
        Ok(())
    }

    fn problem(&self, value: &Spanned<DeValue<'_>>) -> Problem {
        let expected = match self.flag.get_action() {
            ArgAction::SetTrue => "`true` or `false`",
            ArgAction::Count => "a number from 0 to 255",
            ArgAction::Append if has_names(self.flag) => {
                "a table of names and values, or an array of strings"
            }
            ArgAction::Append if self.can_stand_alone() => "`true`, a string or an array of them",
            ArgAction::Append => "a string or an array of strings",
            _ => "a string or a number",
        };
        let found = match value.get_ref() {
            DeValue::Integer(_) if matches!(self.flag.get_action(), ArgAction::Count) => {
                "another number"
            }
            other => kind_of(other),
        };
        let problem = format!("`{}` takes {expected}, not {found}", self.name());
        (value.span(), problem)
    }

    /// Returns a value in which a relative path starts at the directory of the
    /// file.
    fn placed(&self, text: &str) -> String {
        let names_a_path = matches!(
            self.flag.get_value_hint(),
            ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath
        );
        // These words are no paths: certificates that have no file, and pipes.
        let is_bundle = self.name() == "cacert" && (text == "system" || text == EMBEDDED);
        let is_word = text.is_empty() || text == "-" || is_bundle;
        if !names_a_path || is_word || self.directory.as_os_str().is_empty() {
            return text.to_owned();
        }
        let transport = LOCAL_TRANSPORTS.iter().find(|it| text.starts_with(*it));
        let transport = match self.name() {
            "release" | "sysroot" => PlatformPath::prefix_of(text),
            _ => transport.copied().unwrap_or_default(),
        };
        let path = &text[transport.len()..];
        let is_image = matches!(self.name(), "base" | "output");
        let has_password = is_image && check_no_password(text).is_err();
        if path == "-" || path.contains("://") || has_password {
            return text.to_owned();
        }
        format!("{transport}{}", self.directory.join(path).display())
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Integer(_) => "an integer",
        DeValue::Array(_) => "an array",
        DeValue::String(_) => "a string",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Table(_) => "a table",
    }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}
