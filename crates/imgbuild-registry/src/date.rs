//! Dates of the Gregorian calendar and seconds since 1970, without a clock.

use std::time::{Duration, UNIX_EPOCH};

const SECONDS_PER_DAY: u64 = 86_400;

/// Days from 0000-03-01 to 1970-01-01. Years begin in March here, so that leap
/// days come last.
const DAYS_TO_1970: u64 = 719_468;

/// Returns the seconds since 1970 of a date and a time of the day in UTC.
/// `None` if there is no such time, or it was before 1970.
pub(crate) fn seconds(date: [u64; 3], time: [u64; 3]) -> Option<u64> {
    let [year, month, day] = date;
    let [hour, minute, second] = time;
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    let is_time = hour <= 23 && minute <= 59 && second <= 60;
    if !is_date || !is_time || !(1970..=9999).contains(&year) {
        return None;
    }
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - DAYS_TO_1970) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second)
}

/// 9999-12-31T23:59:59Z, after which no date has four digits for its year.
const LAST_SECOND: u64 = 253_402_300_799;

/// Writes seconds since 1970 as [RFC 3339] does: `2026-01-31T12:00:00Z`.
///
/// [RFC 3339]: https://www.rfc-editor.org/rfc/rfc3339
pub(crate) fn rfc_3339(seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND));
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (date, time, expected) in [
            ([1970, 1, 1], [0, 0, 0], 0),
            ([1994, 11, 6], [8, 49, 37], 784_111_777),
            ([2000, 2, 29], [23, 59, 59], 951_868_799),
            ([2024, 2, 29], [0, 0, 0], 1_709_164_800),
            ([2026, 12, 31], [12, 0, 0], 1_798_718_400),
            ([2100, 3, 1], [0, 0, 0], 4_107_542_400),
        ] {
            assert_eq!(seconds(date, time), Some(expected));
            let [year, month, day] = date;
            let [hour, minute, second] = time;
            let text = format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
            assert_eq!(rfc_3339(expected), text);
        }
        for date in [[1969, 1, 1], [2026, 13, 1], [2026, 0, 1], [2026, 1, 32]] {
            assert_eq!(seconds(date, [0, 0, 0]), None);
        }
        assert_eq!(seconds([2026, 1, 1], [24, 0, 0]), None);
        assert_eq!(rfc_3339(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
