//! Times: parsed, printed, and the creation time of an image.

use std::env;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::failure::{Failure, Result};

/// The latest time that a tar header holds, in Unix seconds: eleven octal
/// digits.
const MAX_MTIME: u64 = 0o777_7777_7777;

/// The origin of the creation time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CreatedBy {
    /// `--created`, or its line in the configuration file.
    Flag,
    /// `SOURCE_DATE_EPOCH`.
    Environment,
    /// The date of the commit.
    Git,
    /// Nothing.
    Default,
}

impl fmt::Display for CreatedBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Flag => "as given",
            Self::Environment => "`SOURCE_DATE_EPOCH`",
            Self::Git => "its commit's date",
            Self::Default => "the default",
        })
    }
}

/// Parses RFC 3339, Unix seconds or `now`, into Unix seconds.
pub(crate) fn time(flag: &str, text: &str) -> Result<u64> {
    if text == "now" {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        return now.map(|now| now.as_secs()).map_err(Failure::build);
    }
    if let Ok(seconds) = text.parse::<u64>() {
        return check_time(flag, text, seconds);
    }
    match parse_rfc3339(text) {
        Some(seconds) => check_time(flag, text, seconds),
        None => Err(Failure::of_flag(
            flag,
            text,
            "expected RFC 3339 (for example `2026-01-31T12:00:00Z`) or Unix seconds, from 1970 on",
        )),
    }
}

/// Parses RFC 3339 with any offset, and the forms of `git log` and `date` that
/// have a space before the time or the offset, into Unix seconds.
fn parse_rfc3339(text: &str) -> Option<u64> {
    let offset_start = text.get(19..)?.find(['+', '-']).map(|index| 19 + index);
    let (local, offset) = match offset_start {
        Some(start) => (text[..start].trim_end(), parse_offset(&text[start..])?),
        None => (text.strip_suffix(['Z', 'z'])?, 0),
    };
    let local = humantime::parse_rfc3339_weak(&local.replace('t', "T")).ok()?;
    let local = local.duration_since(UNIX_EPOCH).ok()?.as_secs();
    local.checked_add_signed(-offset)
}

/// Parses an offset such as `+05:30` into seconds.
fn parse_offset(text: &str) -> Option<i64> {
    let (sign, digits) = text.split_at(1);
    let digits = digits.replace(':', "");
    let is_number = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<i64>().ok().filter(|_| is_number)?;
    let (hours, minutes) = (number / 100, number % 100);
    let seconds = (hours <= 23 && minutes <= 59).then_some(hours * 3600 + minutes * 60)?;
    Some(if sign == "-" { -seconds } else { seconds })
}

fn check_time(flag: &str, text: &str, seconds: u64) -> Result<u64> {
    if seconds > MAX_MTIME {
        let reason = format!("it is later than {}", rfc3339(MAX_MTIME));
        return Err(Failure::of_flag(flag, text, &reason));
    }
    Ok(seconds)
}

/// Returns a time in the format of image configurations (RFC 3339).
pub(crate) fn rfc3339(seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Returns the creation time of the flag or of `SOURCE_DATE_EPOCH`.
pub(crate) fn created(flag: Option<&str>) -> Result<Option<(u64, CreatedBy)>> {
    if let Some(text) = flag {
        return Ok(Some((time("--created", text)?, CreatedBy::Flag)));
    }
    match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) if !text.is_empty() => {
            let seconds = text.parse().map_err(|_| {
                Failure::command_line(format!(
                    "the environment variable `SOURCE_DATE_EPOCH` is `{text}`, not a number of seconds since 1970"
                ))
            })?;
            let seconds = check_time("SOURCE_DATE_EPOCH", &text, seconds)?;
            Ok(Some((seconds, CreatedBy::Environment)))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_or_seconds() {
        for (text, seconds) in [
            ("0", 0),
            ("1700000000", 1_700_000_000),
            ("1970-01-01T00:00:01Z", 1),
            ("2023-11-14T22:13:20Z", 1_700_000_000),
            ("2023-11-14t22:13:20.75z", 1_700_000_000),
            ("2023-11-15T03:43:20+05:30", 1_700_000_000),
            ("2023-11-14T14:13:20-08:00", 1_700_000_000),
            ("2023-11-14T22:13:20+00:00", 1_700_000_000),
            ("2023-11-14 14:13:20 -0800", 1_700_000_000),
            ("2023-11-14T14:13:20.123456789-08:00", 1_700_000_000),
            ("1970-01-01T01:00:00+01:00", 0),
        ] {
            assert_eq!(time("--created", text).unwrap(), seconds);
        }
        for text in [
            "",
            "yesterday",
            "-1",
            "1969-12-31T00:00:00Z",
            "1970-01-01T00:30:00+01:00",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:20+25:00",
            "2023-11-14T22:13:20+05:61",
            "2023-11-14T22:13:20+5",
            "2023-11-14T22:13:20é",
            "99999999999",
        ] {
            assert!(time("--created", text).is_err(), "{text}");
        }
        assert_eq!(rfc3339(1), "1970-01-01T00:00:01Z");
    }
}
