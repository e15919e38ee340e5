//! The two times of a certificate's validity.

use std::fmt;

use super::der::{DerError, GENERALIZED_TIME, Reader, UTC_TIME};

/// A time in UTC, to the second, as a certificate writes it. It prints as
/// RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl Time {
    /// Reads the next element. Only the forms with seconds and `Z` are valid
    /// (RFC 5280 §4.1.2.5).
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DerError> {
        let (tag, text) = reader.any()?;
        let (year, rest) = match (tag, text) {
            (UTC_TIME, [_, _, rest @ ..]) => {
                let year = number(&text[..2]).map(u16::from);
                (
                    year.map(|year| if year < 50 { 2000 + year } else { 1900 + year }),
                    rest,
                )
            }
            (GENERALIZED_TIME, [_, _, _, _, rest @ ..]) => {
                let century = number(&text[..2]).map(u16::from);
                let year = number(&text[2..4]).map(u16::from);
                (
                    century
                        .zip(year)
                        .map(|(century, year)| century * 100 + year),
                    rest,
                )
            }
            _ => (None, text),
        };
        year.and_then(|year| Self::within(year, rest))
            .ok_or(DerError::Unexpected("validity"))
    }

    /// Parses `MMDDHHMMSSZ`.
    fn within(year: u16, text: &[u8]) -> Option<Self> {
        let digits = text
            .strip_suffix(b"Z")
            .filter(|digits| digits.len() == 10)?;
        let part = |index: usize| number(&digits[2 * index..2 * index + 2]);
        let time = Self {
            year,
            month: part(0)?,
            day: part(1)?,
            hour: part(2)?,
            minute: part(3)?,
            second: part(4)?,
        };
        let is_date = (1..=12).contains(&time.month)
            && (1..=days_in_month(year, time.month)).contains(&time.day);
        (is_date && time.hour < 24 && time.minute < 60 && time.second < 60).then_some(time)
    }

    /// Returns the seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn unix_seconds(&self) -> i64 {
        let years = i64::from(self.year);
        let leap_days =
            |year: i64| year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        // The days of whole years before this one, counted from year 1970.
        let mut days = (years - 1970) * 365 + leap_days(years - 1) - leap_days(1969);
        days += (1..self.month)
            .map(|month| i64::from(days_in_month(self.year, month)))
            .sum::<i64>();
        days += i64::from(self.day) - 1;
        (days * 24 + i64::from(self.hour)) * 3600
            + i64::from(self.minute) * 60
            + i64::from(self.second)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self;
        write!(
            formatter,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

/// Parses two decimal digits.
fn number(digits: &[u8]) -> Option<u8> {
    match digits {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Some((tens - b'0') * 10 + (ones - b'0')),
        _ => None,
    }
}

fn days_in_month(year: u16, month: u8) -> u8 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(tag: u8, text: &str) -> Result<Time, DerError> {
        let length = u8::try_from(text.len()).unwrap();
        let bytes = [&[tag, length], text.as_bytes()].concat();
        Time::read(&mut Reader::new(&bytes))
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
            assert_eq!(time.unix_seconds(), seconds, "{printed}");
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
