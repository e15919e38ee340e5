//! The parts of a certificate that the bundle needs ([RFC 5280 §4.1]).
//!
//! The structure is walked to its end, so that no reader stumbles over a
//! block later. Signatures and keys are not checked: a root is trusted because
//! it is in the bundle, and a reader that cannot use one skips it.
//!
//! [RFC 5280 §4.1]: https://www.rfc-editor.org/rfc/rfc5280#section-4.1

use imgbuild_oci::path::escaped;

use super::der::{
    self, BIT_STRING, BOOLEAN, DerError, DerReader, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SET,
};
use super::time::Time;

/// The attributes that can name a subject, the best first: `commonName`,
/// `organizationalUnitName`, `organizationName` (X.520).
const NAMING_ATTRIBUTES: [&[u8]; 3] = [&[0x55, 4, 3], &[0x55, 4, 11], &[0x55, 4, 10]];

/// The extension `basicConstraints` (RFC 5280 §4.2.1.9).
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// The longest subject that is shown.
const MAX_SUBJECT_CHARACTERS: usize = 100;

/// One X.509 certificate. Certificates compare by their exact bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Certificate {
    // First, since derived comparisons go by the order of the fields; the
    // others follow from it.
    /// The exact bytes.
    pub der: Vec<u8>,
    /// The name of its subject: its common name, else its unit, else its
    /// organization. It is escaped and at most 100 characters long, for
    /// messages only.
    pub subject: String,
    /// The first second in which it is valid.
    pub not_before: Time,
    /// The last second in which it is valid.
    pub not_after: Time,
    /// Set if it may sign other certificates: by `basicConstraints`, or because
    /// its version is too old for extensions.
    pub is_authority: bool,
}

impl Certificate {
    /// Parses exactly one certificate.
    ///
    /// # Errors
    ///
    /// Refuses everything that is not the strict DER of a certificate, and
    /// bytes that follow it.
    pub fn from_der(der: &[u8]) -> Result<Self, DerError> {
        let mut outer = DerReader(der);
        let mut certificate = outer.sequence("outer structure")?;
        outer.finish("end")?;

        // `TBSCertificate`.
        let mut signed = certificate.sequence("signed part")?;
        let version = version(&mut signed)?;
        signed.element(INTEGER, "serial number")?;
        algorithm(&mut signed, "signature algorithm")?;
        name(signed.sequence("issuer")?)?;
        let mut validity = signed.sequence("validity")?;
        let not_before = Time::read(&mut validity)?;
        let not_after = Time::read(&mut validity)?;
        validity.finish("validity")?;
        let subject = name(signed.sequence("subject")?)?;
        let mut key = signed.sequence("public key")?;
        algorithm(&mut key, "public key")?;
        bit_string(&mut key, "public key")?;
        key.finish("public key")?;
        // The unique identifiers of issuer and subject, then the extensions.
        signed.optional(der::implicit(1))?;
        signed.optional(der::implicit(2))?;
        let extensions = signed.optional(der::explicit(3))?;
        signed.finish("signed part")?;
        let is_authority = extensions
            .map(|content| has_authority(DerReader(content)))
            .transpose()?
            .flatten();

        algorithm(&mut certificate, "signature algorithm")?;
        bit_string(&mut certificate, "signature")?;
        certificate.finish("signature")?;
        Ok(Self {
            der: der.to_vec(),
            subject,
            not_before,
            not_after,
            is_authority: is_authority.unwrap_or(version < 2),
        })
    }
}

/// Reads the version: 0, 1 or 2 for v1, v2 and v3.
fn version(signed: &mut DerReader<'_>) -> Result<u8, DerError> {
    let Some(content) = signed.optional(der::explicit(0))? else {
        return Ok(0);
    };
    let mut version = DerReader(content);
    let number = version.element(INTEGER, "version")?;
    version.finish("version")?;
    match number {
        [number @ 0..=2] => Ok(*number),
        _ => Err(DerError::Unexpected("version")),
    }
}

fn algorithm(reader: &mut DerReader<'_>, part: &'static str) -> Result<(), DerError> {
    let mut algorithm = reader.sequence(part)?;
    algorithm.element(OBJECT_IDENTIFIER, part)?;
    if !algorithm.0.is_empty() {
        algorithm.any()?;
    }
    algorithm.finish(part)
}

fn bit_string(reader: &mut DerReader<'_>, part: &'static str) -> Result<(), DerError> {
    match reader.element(BIT_STRING, part)? {
        [0..=7, ..] => Ok(()),
        _ => Err(DerError::Unexpected(part)),
    }
}

/// Walks a name and returns its best text for messages.
fn name(mut parts: DerReader<'_>) -> Result<String, DerError> {
    let mut found = [const { None }; NAMING_ATTRIBUTES.len()];
    while !parts.0.is_empty() {
        let mut attributes = DerReader(parts.element(SET, "name")?);
        while !attributes.0.is_empty() {
            let mut attribute = attributes.sequence("name")?;
            let kind = attribute.element(OBJECT_IDENTIFIER, "name")?;
            let (tag, value) = attribute.any()?;
            attribute.finish("name")?;
            if let Some(rank) = NAMING_ATTRIBUTES.iter().position(|known| *known == kind) {
                found[rank] = Some(text(tag, value));
            }
        }
    }
    let name = found.into_iter().flatten().find(|text| !text.is_empty());
    Ok(name.unwrap_or_else(|| "without a name".to_owned()))
}

/// Decodes a directory string for display. An unknown kind appears as bytes.
fn text(tag: u8, value: &[u8]) -> String {
    let text = match tag {
        // `BMPString`, in practice UTF-16.
        0x1e => {
            let pairs = value.chunks_exact(2);
            let units = pairs.map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            String::from_utf16_lossy(&units.collect::<Vec<_>>())
        }
        // `TeletexString`, in practice Latin-1.
        0x14 => value.iter().copied().map(char::from).collect(),
        _ => return shortened(&escaped(value)),
    };
    shortened(&escaped(text.as_bytes()))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SUBJECT_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Walks the extensions and returns the flag of `basicConstraints`, if present.
fn has_authority(mut outer: DerReader<'_>) -> Result<Option<bool>, DerError> {
    let mut extensions = outer.sequence("extensions")?;
    outer.finish("extensions")?;
    let mut authority = None;
    while !extensions.0.is_empty() {
        let mut extension = extensions.sequence("extension")?;
        let kind = extension.element(OBJECT_IDENTIFIER, "extension")?;
        extension.optional(BOOLEAN)?;
        let value = extension.element(OCTET_STRING, "extension")?;
        extension.finish("extension")?;
        if kind == BASIC_CONSTRAINTS {
            let mut constraints = DerReader(value).sequence("basic constraints")?;
            let flag = constraints.optional(BOOLEAN)?;
            constraints.optional(INTEGER)?;
            constraints.finish("basic constraints")?;
            authority = Some(flag.is_some_and(|flag| flag != [0]));
        }
    }
    Ok(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_text_are_decoded() {
        for (tag, value, shown) in [
            (0x0c, "Über CA".as_bytes(), "Über CA"),
            (0x13, b"Plain CA", "Plain CA"),
            (0x14, b"\xdcber CA", "Über CA"),
            (0x1e, b"\0C\0A\x20\x1c", "CA“"),
            (0x1e, b"\xd8\x00", "\u{fffd}"),
            (0x0c, b"a\nb\xff\x1b", "a\\nb\\xff\\u{1b}"),
        ] {
            assert_eq!(text(tag, value), shown);
        }
    }

    #[test]
    fn a_long_subject_is_cut_between_characters() {
        let long = "é".repeat(101);
        assert_eq!(shortened(&long), format!("{}…", "é".repeat(100)));
        assert_eq!(shortened(&long[2..]), &long[2..]);
    }

    /// Builds one element whose content is the given parts.
    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u8::try_from(content.len()).unwrap();
        let head: &[u8] = if length < 0x80 {
            &[tag, length]
        } else {
            &[tag, 0x81, length]
        };
        [head, &content].concat()
    }

    fn sequence(parts: &[&[u8]]) -> Vec<u8> {
        element(der::SEQUENCE, parts)
    }

    const NAME: &[u8] = &[0x30, 12, 0x31, 10, 0x30, 8, 6, 3, 0x55, 4, 3, 0x0c, 1, b'A'];
    const EMPTY_NAME: &[u8] = &[0x30, 0];
    const ALGORITHM: &[u8] = &[0x30, 3, 6, 1, 42];
    const BITS: &[u8] = &[3, 2, 0, 1];
    const VERSION_3: &[u8] = &[0xa0, 3, 2, 1, 2];

    /// Builds a certificate from its version, its subject and what follows
    /// its key.
    fn certificate(version: &[u8], subject: &[u8], end: &[u8]) -> Result<Certificate, DerError> {
        let validity = sequence(&[b"\x17\x0d200101000000Z", b"\x17\x0d491231235959Z"]);
        let key = sequence(&[ALGORITHM, BITS]);
        let serial = &[2, 1, 7];
        let fields = [
            version, serial, ALGORITHM, NAME, &validity, subject, &key, end,
        ];
        let signed = sequence(&fields);
        Certificate::from_der(&sequence(&[&signed, ALGORITHM, BITS]))
    }

    /// Builds extensions with these basic constraints.
    fn constraints(content: &[u8]) -> Vec<u8> {
        let kind = element(OBJECT_IDENTIFIER, &[BASIC_CONSTRAINTS]);
        let critical = &[BOOLEAN, 1, 0xff];
        let value = element(OCTET_STRING, &[content]);
        let extension = sequence(&[&kind, critical, &value]);
        element(der::explicit(3), &[&sequence(&[&extension])])
    }

    #[test]
    fn only_an_authority_may_sign_certificates() {
        for (version, end, is_authority) in [
            (VERSION_3, constraints(&[0x30, 3, 1, 1, 0xff]), true),
            (
                VERSION_3,
                constraints(&[0x30, 6, 1, 1, 0xff, 2, 1, 0]),
                true,
            ),
            (VERSION_3, constraints(&[0x30, 3, 1, 1, 0]), false),
            (VERSION_3, constraints(&[0x30, 0]), false),
            (VERSION_3, Vec::new(), false),
            (
                &[0xa0, 3, 2, 1, 1],
                vec![0x81, 2, 0, 1, 0x82, 2, 0, 1],
                true,
            ),
            (&[], Vec::new(), true),
        ] {
            let certificate = certificate(version, NAME, &end).unwrap();
            assert_eq!(
                certificate.is_authority, is_authority,
                "{version:?} {end:?}"
            );
        }
    }

    #[test]
    fn a_subject_without_a_name_is_said_to_have_none() {
        let certificate = certificate(&[], EMPTY_NAME, &[]).unwrap();
        assert_eq!(certificate.subject, "without a name");
    }

    #[test]
    fn another_structure_is_refused() {
        let unexpected = DerError::Unexpected;
        let trailing = |part, bytes| DerError::Trailing { part, bytes };
        for (version, subject, end, error) in [
            (&[0xa0, 3, 2, 1, 3][..], NAME, vec![], unexpected("version")),
            (&[0xa0, 3, 4, 1, 2], NAME, vec![], unexpected("version")),
            (&[0xa0, 4, 2, 1, 2, 0], NAME, vec![], trailing("version", 1)),
            (&[], &[0x31, 0], vec![], unexpected("subject")),
            (&[], &[0x30, 2, 0x30, 0], vec![], unexpected("name")),
            (
                &[],
                &[0x30, 4, 0x31, 2, 0x30, 0],
                vec![],
                DerError::Truncated,
            ),
            (&[], NAME, vec![5, 0], trailing("signed part", 2)),
            (
                VERSION_3,
                NAME,
                vec![0xa3, 2, 5, 0],
                unexpected("extensions"),
            ),
            (
                VERSION_3,
                NAME,
                vec![0xa3, 4, 0x30, 0, 5, 0],
                trailing("extensions", 2),
            ),
            (
                VERSION_3,
                NAME,
                constraints(&[5, 0]),
                unexpected("basic constraints"),
            ),
            (
                VERSION_3,
                NAME,
                constraints(&[0x30, 2, 5, 0]),
                trailing("basic constraints", 2),
            ),
        ] {
            assert_eq!(certificate(version, subject, &end), Err(error), "{end:?}");
        }
    }
}
