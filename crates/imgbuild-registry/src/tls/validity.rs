//! From when to when a certificate is valid: just enough of DER.

use crate::date;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, before the version.
const VERSION: u8 = 0xa0;

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
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (mut rest, _) = expect(certificate, SEQUENCE)?;
    if let Some((_, after)) = expect(rest, VERSION) {
        rest = after;
    }
    // The serial number, the algorithm, and the issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        rest = expect(rest, tag)?.1;
    }
    let (both, _) = expect(rest, SEQUENCE)?;
    let (not_before, rest) = time(both)?;
    let (not_after, _) = time(rest)?;
    Some(Validity {
        not_before,
        not_after,
    })
}

/// Takes a value with this tag off the front.
fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, value, rest) = element(bytes)?;
    (found == tag).then_some((value, rest))
}

/// Takes tag and value off the front.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, bytes) = bytes.split_first()?;
    let (&first, mut bytes) = bytes.split_first()?;
    let size = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x84 => {
            let (digits, rest) = bytes.split_at_checked(usize::from(first & 0x7f))?;
            bytes = rest;
            digits
                .iter()
                .fold(0, |size, digit| size << 8 | usize::from(*digit))
        }
        _ => return None,
    };
    let (value, rest) = bytes.split_at_checked(size)?;
    Some((tag, value, rest))
}

/// Takes a time off the front: `YYMMDDhhmmssZ`, or with four digits of the
/// year. One before 1970 counts as 1970.
fn time(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (tag, value, rest) = element(bytes)?;
    let digits = str::from_utf8(value).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, digits) = match tag {
        UTC_TIME => {
            let (year, digits) = digits.split_at_checked(2)?;
            let year: u64 = year.parse().ok()?;
            // Section 4.1.2.5.1: two digits mean 1950 to 2049.
            (year + if year < 50 { 2000 } else { 1900 }, digits)
        }
        GENERALIZED_TIME => {
            let (year, digits) = digits.split_at_checked(4)?;
            (year.parse().ok()?, digits)
        }
        _ => return None,
    };
    let number = |at: usize| digits.get(at..at + 2)?.parse().ok();
    let date = [year.max(1970), number(0)?, number(2)?];
    let seconds = date::seconds(date, [number(4)?, number(6)?, number(8)?])?;
    let seconds = if year < 1970 { 0 } else { seconds };
    (digits.len() == 10).then_some((seconds, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

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
