//! Private keys in files that are not text.

use super::forms::has;
use crate::certificates::der::{DerReader, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE};

/// The start of the object identifiers of encrypted keys: of PKCS #5, and of
/// PKCS #12.
const ENCRYPTIONS: [&[u8]; 2] = [
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05",
    b"\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01",
];

/// The object identifier of a key in PKCS #12 without its last byte: 1, or 2 with
/// encryption.
const KEY_BAG: &[u8] = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01";

/// The object identifiers of Java begin so; those of certificates do not.
const SUN: &[u8] = b"\x2b\x06\x01\x04\x01\x2a\x02";

/// Returns whether a file can be a private key, by its first byte.
pub(super) fn may_be_key(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30 | 0xce | 0xfe, ..])
}

/// Returns whether a file is a private key, or a store that has one.
pub(super) fn is_key(bytes: &[u8]) -> bool {
    match bytes {
        // A keystore of Java: JKS, JCEKS. The kind of its first entry is not 2, a
        // certificate.
        [0xfe, 0xed, 0xfe, 0xed, rest @ ..] | [0xce, 0xce, 0xce, 0xce, rest @ ..] => {
            matches!(rest, [_, _, _, _, _, _, _, _, 0, 0, 0, 1 | 3, ..]) || has(rest, SUN)
        }
        // PKCS #12 in BER.
        [0x30, 0x80, ..] => has_key_bag(bytes),
        _ => is_der_key(bytes).unwrap_or(false),
    }
}

fn has_key_bag(bytes: &[u8]) -> bool {
    [1, 2]
        .iter()
        .any(|kind| has(bytes, &[KEY_BAG, &[*kind]].concat()))
}

/// Returns whether a file is a structure of [PKCS #8], [PKCS #1], [PKCS #12] or
/// of an [elliptic curve] with a private key.
///
/// [PKCS #8]: https://www.rfc-editor.org/rfc/rfc5958
/// [PKCS #1]: https://www.rfc-editor.org/rfc/rfc8017#appendix-A.1.2
/// [PKCS #12]: https://www.rfc-editor.org/rfc/rfc7292
/// [elliptic curve]: https://www.rfc-editor.org/rfc/rfc5915
fn is_der_key(bytes: &[u8]) -> Option<bool> {
    let mut file = DerReader(bytes);
    let mut key = file.sequence("key").ok()?;
    file.finish("key").ok()?;
    let (first, second) = (key.any().ok()?, key.any().ok()?);
    Some(match (first, second) {
        ((INTEGER, [0 | 1]), (SEQUENCE, [OBJECT_IDENTIFIER, ..])) => {
            key.element(OCTET_STRING, "key").is_ok()
        }
        ((INTEGER, [0]), (INTEGER, [_, _, _, _, ..])) => key.element(INTEGER, "key").is_ok(),
        ((INTEGER, [1]), (OCTET_STRING, number)) => (20..=80).contains(&number.len()),
        ((INTEGER, [3]), (SEQUENCE, _)) => has_key_bag(bytes),
        ((SEQUENCE, method), (OCTET_STRING, _)) => {
            ENCRYPTIONS.iter().any(|known| method.starts_with(known))
        }
        _ => false,
    })
}
