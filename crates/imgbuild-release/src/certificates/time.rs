//! The two times of a certificate's validity.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use super::der::{DerError, DerReader, GENERALIZED_TIME, UTC_TIME};

/// The seconds of 2,000 years: five times the period of the Gregorian calendar.
///
/// Calendars of computers begin in 1970. An earlier year is read and printed
/// as the one 2,000 years later, whose days are the same.
const SECONDS_IN_2000_YEARS: i64 = 5 * 146_097 * 86_400;

/// A time in UTC, to the second. It prints as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// The seconds since 1970-01-01T00:00:00Z.
    pub unix_seconds: i64,
}

impl Time {
    /// Reads the next element. Only the forms with seconds and `Z` are valid
    /// (RFC 5280 §4.1.2.5).
    pub(super) fn read(reader: &mut DerReader<'_>) -> Result<Self, DerError> {
        let (tag, text) = reader.any()?;
        let text = str::from_utf8(text).unwrap_or_default();
        let time = match tag {
            UTC_TIME if text < "5" => Self::parse(&format!("20{text}")),
            UTC_TIME => Self::parse(&format!("19{text}")),
            GENERALIZED_TIME => Self::parse(text),
            _ => None,
        };
        time.ok_or(DerError::Unexpected("validity"))
    }

    /// Parses `YYYYMMDDHHMMSSZ`.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_suffix('Z')?;
        let is_complete = digits.len() == 14 && digits.bytes().all(|byte| byte.is_ascii_digit());
        // A leap second is part of RFC 3339, but not of a certificate.
        if !is_complete || digits.ends_with("60") {
            return None;
        }

        let year: u16 = digits[..4].parse().ok()?;
        let is_early = year < 1970;
        let rfc_3339 = format!(
            "{:04}-{}-{}T{}:{}:{}Z",
            if is_early { year + 2000 } else { year },
            &digits[4..6],
            &digits[6..8],
            &digits[8..10],
            &digits[10..12],
            &digits[12..],
        );
        let time = humantime::parse_rfc3339(&rfc_3339).ok()?;
        let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let seconds = i64::try_from(seconds).ok()?;
        let unix_seconds = seconds - if is_early { SECONDS_IN_2000_YEARS } else { 0 };
        Some(Self { unix_seconds })
    }
}

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_early = self.unix_seconds < 0;
        let shift = if is_early { SECONDS_IN_2000_YEARS } else { 0 };
        let since_1970 = Duration::from_secs((self.unix_seconds + shift).unsigned_abs());
        let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + since_1970).to_string();
        if is_early {
            let year = text[..4].parse::<u16>().map_err(|_| fmt::Error)?;
            write!(formatter, "{:04}{}", year - 2000, &text[4..])
        } else {
            formatter.write_str(&text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(tag: u8, text: &str) -> Result<Time, DerError> {
        let length = u8::try_from(text.len()).unwrap();
        let bytes = [&[tag, length], text.as_bytes()].concat();
        Time::read(&mut DerReader(&bytes))
    }

    #[test]
    fn times_print_and_count_as_seconds() {
        // The seconds are those of `date -u -d TIME +%s`.
        for (tag, text, printed, seconds) in [
            (UTC_TIME, "700101000000Z", "1970-01-01T00:00:00Z", 0),
            (
                UTC_TIME,
                "500101000000Z",
                "1950-01-01T00:00:00Z",
                -631_152_000,
            ),
            (
                UTC_TIME,
                "491231235959Z",
                "2049-12-31T23:59:59Z",
                2_524_607_999,
            ),
            (
                UTC_TIME,
                "000229120000Z",
                "2000-02-29T12:00:00Z",
                951_825_600,
            ),
            (
                GENERALIZED_TIME,
                "20500101000000Z",
                "2050-01-01T00:00:00Z",
                2_524_608_000,
            ),
            (
                GENERALIZED_TIME,
                "99991231235959Z",
                "9999-12-31T23:59:59Z",
                253_402_300_799,
            ),
            (
                GENERALIZED_TIME,
                "00000101000000Z",
                "0000-01-01T00:00:00Z",
                -62_167_219_200,
            ),
        ] {
            let time = time(tag, text).unwrap();
            assert_eq!(time.to_string(), printed);
            assert_eq!(time.unix_seconds, seconds, "{printed}");
        }
    }

    #[test]
    fn a_time_in_another_form_is_refused() {
        for (tag, text) in [
            (UTC_TIME, ""),
            (UTC_TIME, "7"),
            (UTC_TIME, "7001010000Z"),
            (UTC_TIME, "700101000000"),
            (UTC_TIME, "700101000000+0000"),
            (UTC_TIME, "701301000000Z"),
            (UTC_TIME, "700001000000Z"),
            (UTC_TIME, "700100000000Z"),
            (UTC_TIME, "700431000000Z"),
            (UTC_TIME, "010229000000Z"),
            (UTC_TIME, "700101240000Z"),
            (UTC_TIME, "700101006000Z"),
            (UTC_TIME, "700101000060Z"),
            (UTC_TIME, "7a0101000000Z"),
            (GENERALIZED_TIME, "205"),
            (GENERALIZED_TIME, "20500101000000.5Z"),
            (GENERALIZED_TIME, "21000229000000Z"),
            (0x0c, "700101000000Z"),
        ] {
            assert!(time(tag, text).is_err(), "{text}");
        }
    }
}
