//! Dates of the calendar as seconds since 1970, and back.

use std::time::{Duration, UNIX_EPOCH};

/// Returns the seconds since 1970 of a date and a time of the day in UTC, each
/// as text: `["2026", "01", "31"]` and `["12", "00", "00"]`. `None` if there is
/// no such time, or it was before 1970.
pub(crate) fn seconds([year, month, day]: [&str; 3], time: [&str; 3]) -> Option<u64> {
    let text = format!("{year:0>4}-{month:0>2}-{day:0>2}T{}Z", time.join(":"));
    let is_whole = text.len() == "2026-01-31T12:00:00Z".len();
    let time = humantime::parse_rfc3339(&text).ok().filter(|_| is_whole)?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
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
            (["1970", "01", "01"], ["00", "00", "00"], 0),
            (["1994", "11", "6"], ["08", "49", "37"], 784_111_777),
            (["2000", "02", "29"], ["23", "59", "59"], 951_868_799),
            (["2024", "02", "29"], ["00", "00", "00"], 1_709_164_800),
            (["2026", "12", "31"], ["12", "00", "00"], 1_798_718_400),
            (["2100", "03", "01"], ["00", "00", "00"], 4_107_542_400),
        ] {
            assert_eq!(seconds(date, time), Some(expected));
            let [year, month, day] = date;
            let text = format!("{year}-{month}-{day:0>2}T{}Z", time.join(":"));
            assert_eq!(rfc_3339(expected), text);
        }
        for date in [
            ["1969", "01", "01"],
            ["2026", "13", "01"],
            ["2026", "0", "01"],
            ["2026", "01", "32"],
            ["2026", "01", "+1"],
            ["2026", "01", "001"],
        ] {
            assert_eq!(seconds(date, ["00", "00", "00"]), None);
        }
        assert_eq!(seconds(["2026", "01", "01"], ["24", "00", "00"]), None);
        assert_eq!(seconds(["2026", "01", "01"], ["1", "00", "00"]), None);
        assert_eq!(rfc_3339(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
