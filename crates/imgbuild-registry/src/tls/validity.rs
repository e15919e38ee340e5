//! The validity period of a certificate, and its dates as text.

use std::time::{Duration, UNIX_EPOCH};

use der::asn1::AnyRef;
use der::{Decode as _, SliceReader, Tag, Tagged as _};

/// The first and the last second of a certificate, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: u64,
    pub(super) not_after: u64,
}

/// Reads the validity of a certificate ([RFC 5280], section 4.1); `None` if it
/// is not found.
///
/// [RFC 5280]: https://www.rfc-editor.org/rfc/rfc5280
pub(super) fn validity(certificate: &[u8]) -> Option<Validity> {
    let mut outer = SliceReader::new(certificate).ok()?;
    let mut certificate = sequence(&mut outer)?;
    let mut signed = sequence(&mut certificate)?;

    // The version is optional and has a tag of its own.
    if AnyRef::decode(&mut signed).ok()?.tag() != Tag::Integer {
        let serial_number = AnyRef::decode(&mut signed).ok()?;
        (serial_number.tag() == Tag::Integer).then_some(())?;
    }
    let _algorithm = sequence(&mut signed)?;
    let _issuer = sequence(&mut signed)?;
    let mut validity = sequence(&mut signed)?;
    Some(Validity {
        not_before: time(&mut validity)?,
        not_after: time(&mut validity)?,
    })
}

/// Reads a `SEQUENCE` and returns a reader of what is in it.
fn sequence<'a>(reader: &mut SliceReader<'a>) -> Option<SliceReader<'a>> {
    let element = AnyRef::decode(reader).ok()?;
    if element.tag() != Tag::Sequence {
        return None;
    }
    SliceReader::new(element.value()).ok()
}

/// Reads `YYMMDDhhmmssZ`, or the same with four digits of the year, as seconds
/// since 1970. A time before 1970 counts as 1970.
fn time(reader: &mut SliceReader<'_>) -> Option<u64> {
    let element = AnyRef::decode(reader).ok()?;
    let text = str::from_utf8(element.value()).ok()?;
    let text = match element.tag() {
        // Section 4.1.2.5.1: two digits mean 1950 to 2049.
        Tag::UtcTime if text < "5" => format!("20{text}"),
        Tag::UtcTime => format!("19{text}"),
        Tag::GeneralizedTime => text.to_owned(),
        _ => return None,
    };
    let digits = text.strip_suffix('Z')?;
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }

    let (year, rest) = digits.split_at(4);
    let is_early = year < "1970";
    let year = if is_early { "1970" } else { year };
    let part = |at: usize| &rest[at..at + 2];
    let text = format!(
        "{year}-{}-{}T{}:{}:{}Z",
        part(0),
        part(2),
        part(4),
        part(6),
        part(8)
    );
    let time = humantime::parse_rfc3339(&text).ok()?;
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(if is_early { 0 } else { seconds })
}

/// 9999-12-31T23:59:59Z, after which no date has four digits for its year.
const LAST_SECOND: u64 = 253_402_300_799;

/// Writes seconds since 1970 as [RFC 3339] does: `2026-01-31T12:00:00Z`.
///
/// [RFC 3339]: https://www.rfc-editor.org/rfc/rfc3339
pub(super) fn rfc_3339(seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND));
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTEGER: u8 = 0x02;
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    const SEQUENCE: u8 = 0x30;
    /// `[0] EXPLICIT`, before the version.
    const VERSION: u8 = 0xa0;

    fn of(tag: u8, value: &[&[u8]]) -> Vec<u8> {
        let value = value.concat();
        let mut bytes = vec![tag];
        match u8::try_from(value.len()) {
            Ok(size @ 0..=0x7f) => bytes.push(size),
            Ok(size) => bytes.extend([0x81, size]),
            Err(_) => panic!("a test has no such certificate"),
        }
        bytes.extend(value);
        bytes
    }

    fn certificate(version: &[u8], first: &[u8], last: &[u8]) -> Vec<u8> {
        let number = of(INTEGER, &[&[7; 9]]);
        let algorithm = of(SEQUENCE, &[]);
        let issuer = of(SEQUENCE, &[&[0; 100]]);
        let both = of(SEQUENCE, &[first, last]);
        let parts: [&[u8]; 5] = [version, &number, &algorithm, &issuer, &both];
        of(SEQUENCE, &[&of(SEQUENCE, &parts)])
    }

    #[test]
    fn the_times_of_a_certificate_are_found() {
        let first = of(UTC_TIME, &[b"700101000001Z"]);
        let last = of(GENERALIZED_TIME, &[b"20260131120000Z"]);
        let expected = Some(Validity {
            not_before: 1,
            not_after: 1_769_860_800,
        });
        assert_eq!(rfc_3339(1_769_860_800), "2026-01-31T12:00:00Z");
        assert_eq!(rfc_3339(u64::MAX), "9999-12-31T23:59:59Z");
        let version = of(VERSION, &[&of(INTEGER, &[&[2]])]);
        assert_eq!(validity(&certificate(&version, &first, &last)), expected);
        assert_eq!(validity(&certificate(&[], &first, &last)), expected);
        let old = of(UTC_TIME, &[b"500101000000Z"]);
        let found = validity(&certificate(&[], &old, &last)).unwrap();
        assert_eq!(found.not_before, 0);
    }

    #[test]
    fn what_is_no_certificate_has_no_times() {
        let right = of(UTC_TIME, &[b"700101000001Z"]);
        for wrong in [
            of(UTC_TIME, &[b"700101000001"]),
            of(UTC_TIME, &[b"70010100000Z"]),
            of(UTC_TIME, &[b"701301000000Z"]),
            of(UTC_TIME, &[b"+00101000000Z"]),
            of(GENERALIZED_TIME, &[b"700101000001Z"]),
            of(INTEGER, &[b"700101000001Z"]),
            vec![UTC_TIME, 0x85, 1, 1, 1, 1, 1],
            Vec::new(),
        ] {
            assert_eq!(validity(&certificate(&[], &right, &wrong)), None);
        }
        let whole = certificate(&[], &right, &right);
        for end in 0..whole.len() {
            assert_eq!(validity(&whole[..end]), None, "{end}");
        }
    }
}
