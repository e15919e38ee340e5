//! What the bundle needs to know of a certificate ([RFC 5280 §4.1]).
//!
//! The structure is walked to its end, so that no reader stumbles over a
//! block later. Signatures and keys are not checked: a root is trusted because
//! it is in the bundle, and a reader that cannot use one skips it.
//!
//! [RFC 5280 §4.1]: https://www.rfc-editor.org/rfc/rfc5280#section-4.1

use imgbuild_oci::path::escaped;

use super::der::{
    self, BIT_STRING, BOOLEAN, DerError, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SET,
};
use super::time::Time;

/// The attributes that can name a subject, the best first: `commonName`,
/// `organizationalUnitName`, `organizationName` (X.520).
const NAMING_ATTRIBUTES: [&[u8]; 3] = [&[0x55, 4, 3], &[0x55, 4, 11], &[0x55, 4, 10]];

/// The extension `basicConstraints` (RFC 5280 §4.2.1.9).
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// The longest subject that is shown.
const MAX_SUBJECT_CHARACTERS: usize = 100;

/// One X.509 certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    subject: String,
    not_before: Time,
    not_after: Time,
    is_authority: bool,
}

impl Certificate {
    /// Parses exactly one certificate.
    ///
    /// # Errors
    ///
    /// Refuses everything that is not the strict DER of a certificate, and
    /// bytes that follow it.
    pub fn from_der(der: &[u8]) -> Result<Self, DerError> {
        let mut outer = Reader::new(der);
        let mut certificate = outer.sequence("outer structure")?;
        outer.finish("end")?;
        let fields = signed_fields(certificate.sequence("signed part")?)?;
        algorithm(&mut certificate, "signature algorithm")?;
        bit_string(&mut certificate, "signature")?;
        certificate.finish("signature")?;
        Ok(Self {
            der: der.to_vec(),
            subject: fields.subject,
            not_before: fields.not_before,
            not_after: fields.not_after,
            is_authority: fields.is_authority,
        })
    }

    /// Returns the exact bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Returns what the certificate calls itself: its common name, else its
    /// unit, else its organization. It is escaped and at most 100 characters
    /// long, for messages only.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the first second in which it is valid.
    #[must_use]
    pub fn not_before(&self) -> Time {
        self.not_before
    }

    /// Returns the last second in which it is valid.
    #[must_use]
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// Returns whether it may sign other certificates: `basicConstraints` says
    /// so, or its version is too old to have extensions.
    #[must_use]
    pub fn is_authority(&self) -> bool {
        self.is_authority
    }
}

struct Fields {
    subject: String,
    not_before: Time,
    not_after: Time,
    is_authority: bool,
}

/// Walks `TBSCertificate`.
fn signed_fields(mut signed: Reader<'_>) -> Result<Fields, DerError> {
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
    signed.optional(der::implicit(1))?;
    signed.optional(der::implicit(2))?;
    let extensions = signed.optional(der::explicit(3))?;
    signed.finish("signed part")?;
    let is_authority = match extensions {
        Some(content) => has_authority(Reader::new(content))?.unwrap_or(version < 2),
        None => version < 2,
    };
    Ok(Fields {
        subject,
        not_before,
        not_after,
        is_authority,
    })
}

/// Reads the version: 0, 1 or 2 for v1, v2 and v3.
fn version(signed: &mut Reader<'_>) -> Result<u8, DerError> {
    let Some(content) = signed.optional(der::explicit(0))? else {
        return Ok(0);
    };
    let mut version = Reader::new(content);
    let number = version.element(INTEGER, "version")?;
    version.finish("version")?;
    match number {
        [number @ 0..=2] => Ok(*number),
        _ => Err(DerError::Unexpected("version")),
    }
}

fn algorithm(reader: &mut Reader<'_>, part: &'static str) -> Result<(), DerError> {
    let mut algorithm = reader.sequence(part)?;
    algorithm.element(OBJECT_IDENTIFIER, part)?;
    if !algorithm.is_empty() {
        algorithm.any()?;
    }
    algorithm.finish(part)
}

fn bit_string(reader: &mut Reader<'_>, part: &'static str) -> Result<(), DerError> {
    match reader.element(BIT_STRING, part)? {
        [0..=7, ..] => Ok(()),
        _ => Err(DerError::Unexpected(part)),
    }
}

/// Walks a name and returns the text that stands best for it.
fn name(mut parts: Reader<'_>) -> Result<String, DerError> {
    let mut found = [const { None }; NAMING_ATTRIBUTES.len()];
    while !parts.is_empty() {
        let mut attributes = Reader::new(parts.element(SET, "name")?);
        while !attributes.is_empty() {
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
            let units = value.chunks_exact(2);
            String::from_utf16_lossy(
                &units
                    .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                    .collect::<Vec<_>>(),
            )
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

/// Walks the extensions and returns what `basicConstraints` says, if present.
fn has_authority(mut outer: Reader<'_>) -> Result<Option<bool>, DerError> {
    let mut extensions = outer.sequence("extensions")?;
    outer.finish("extensions")?;
    let mut authority = None;
    while !extensions.is_empty() {
        let mut extension = extensions.sequence("extension")?;
        let kind = extension.element(OBJECT_IDENTIFIER, "extension")?;
        extension.optional(BOOLEAN)?;
        let value = extension.element(OCTET_STRING, "extension")?;
        extension.finish("extension")?;
        if kind == BASIC_CONSTRAINTS {
            let mut constraints = Reader::new(value).sequence("basic constraints")?;
            let flag = constraints.optional(BOOLEAN)?;
            constraints.optional(INTEGER)?;
            constraints.finish("basic constraints")?;
            authority = Some(flag.is_some_and(|flag| flag != [0]));
        }
    }
    Ok(authority)
}
