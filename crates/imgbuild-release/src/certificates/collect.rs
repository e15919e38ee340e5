//! Takes sources one by one; gathers certificates, problems and warnings.

use std::path::{Path, PathBuf};

use super::Certificates;
use super::der::{DerReader, INTEGER, OBJECT_IDENTIFIER, SEQUENCE};
use super::pem::{self, PemBlock};
use super::read;
use super::report::{
    CertificateError, CertificateFinding, CertificateProblem, CertificateWarning, Location,
    ProblemReason, shown_label,
};
use super::x509::Certificate;

/// The certificates, problems and warnings of the sources so far.
#[derive(Debug)]
pub(super) struct Collector {
    certificates: Certificates,
    validity_at: Option<u64>,
    problems: Vec<CertificateProblem>,
    warnings: Vec<CertificateWarning>,
}

impl Collector {
    pub(super) fn new(validity_at: Option<u64>) -> Self {
        Self {
            certificates: Certificates::default(),
            validity_at,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds the certificates that are part of the program.
    pub(super) fn add_embedded(&mut self) {
        for certificate in Certificates::embedded().iter() {
            self.add_certificate(certificate.clone(), &Location::Embedded);
        }
    }

    /// Adds the first of `candidates` that exists.
    pub(super) fn add_system(&mut self, candidates: &[PathBuf]) -> Result<(), CertificateError> {
        let bundle = candidates.iter().find(|path| path.exists());
        match bundle {
            Some(path) => self.add_path(path),
            None => Err(CertificateError::NoSystemBundle {
                looked_for: candidates.to_vec(),
            }),
        }
    }

    /// Adds a file, or the files of a directory.
    pub(super) fn add_path(&mut self, path: &Path) -> Result<(), CertificateError> {
        if !path.is_dir() {
            return self.add_file(path);
        }
        let listing = read::list(path)?;
        self.warnings.extend(listing.warnings);
        if listing.files.is_empty() {
            self.refuse(path, None, ProblemReason::NoCertificateFile);
        }
        listing
            .files
            .iter()
            .try_for_each(|file| self.add_file(file))
    }

    /// Returns everything, or all problems.
    pub(super) fn finish(
        self,
    ) -> Result<(Certificates, Vec<CertificateWarning>), CertificateError> {
        if self.problems.is_empty() {
            Ok((self.certificates, self.warnings))
        } else {
            Err(CertificateError::Refused(self.problems))
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), CertificateError> {
        match read::read(path).map_err(CertificateError::File)? {
            Some(bytes) => self.add_bytes(path, &bytes),
            None => {
                let limit_bytes = read::MAX_FILE_BYTES;
                self.refuse(path, None, ProblemReason::TooLarge { limit_bytes });
            }
        }
        Ok(())
    }

    /// Adds the certificates of a file in any form.
    pub(super) fn add_bytes(&mut self, path: &Path, bytes: &[u8]) {
        if is_der(bytes) {
            return self.add_der_file(path, bytes);
        }
        if is_utf16(bytes) {
            return self.refuse(path, None, ProblemReason::Utf16);
        }
        if bytes.contains(&0) {
            return self.refuse(path, None, ProblemReason::Binary);
        }
        self.add_text(path, bytes);
    }

    fn add_der_file(&mut self, path: &Path, bytes: &[u8]) {
        match Certificate::from_der(bytes) {
            Ok(certificate) => self.add_certificate(certificate, &Location::file(path, None)),
            Err(error) => {
                let reason = known_der(bytes).unwrap_or(ProblemReason::Der(error));
                self.refuse(path, None, reason);
            }
        }
    }

    fn add_text(&mut self, path: &Path, text: &[u8]) {
        let problems_before = self.problems.len();
        let found = pem::parse(text);
        if let Some(line) = found.first_byte_order_mark {
            self.warn(path, Some(line), CertificateFinding::ByteOrderMark);
        }
        if let Some(line) = found.first_carriage_return {
            self.warn(path, Some(line), CertificateFinding::CarriageReturns);
        }
        if let Some(line) = found.first_text {
            self.warn(path, Some(line), CertificateFinding::Text);
        }
        for (line, reason) in found.problems {
            self.refuse(path, Some(line), reason);
        }
        let mut has_certificate = false;
        for block in &found.blocks {
            has_certificate |= self.add_block(path, block);
        }
        let has_problem = self.problems.len() > problems_before;
        if !has_certificate && !has_problem {
            self.refuse(path, None, ProblemReason::NoCertificate);
        }
        self.problems[problems_before..].sort_by(|left, right| left.location.cmp(&right.location));
    }

    /// Adds a block; returns whether it was a certificate.
    fn add_block(&mut self, path: &Path, block: &PemBlock<'_>) -> bool {
        let line = Some(block.line);
        match block.label {
            // The second is what OpenSSL wrote in its first years.
            b"CERTIFICATE" | b"X509 CERTIFICATE" => self.add_certificate_block(path, block),
            b"TRUSTED CERTIFICATE" => {
                self.refuse(path, line, ProblemReason::TrustSettings);
                false
            }
            // Unlike other blocks it can hold certificates, so it is not
            // dropped.
            b"PKCS7" | b"CMS" | b"PKCS #7 SIGNED DATA" => {
                self.refuse(path, line, ProblemReason::SignedData);
                false
            }
            label if is_private_key(label) => {
                self.refuse(path, line, ProblemReason::PrivateKey);
                false
            }
            label => {
                self.warn(
                    path,
                    line,
                    CertificateFinding::DroppedBlock {
                        label: shown_label(label),
                    },
                );
                false
            }
        }
    }

    fn add_certificate_block(&mut self, path: &Path, block: &PemBlock<'_>) -> bool {
        let der = match block.decode() {
            Ok(der) => der,
            Err((line, error)) => {
                self.refuse(path, Some(line), ProblemReason::Base64(error));
                return false;
            }
        };
        match Certificate::from_der(&der) {
            Ok(certificate) => {
                self.add_certificate(certificate, &Location::file(path, Some(block.line)));
                true
            }
            Err(error) => {
                let reason = known_der(&der).unwrap_or(ProblemReason::Der(error));
                self.refuse(path, Some(block.line), reason);
                false
            }
        }
    }

    /// Adds a certificate, and the warnings about it at its first occurrence.
    fn add_certificate(&mut self, certificate: Certificate, location: &Location) {
        let findings = self.findings(&certificate);
        if self.certificates.insert(certificate) {
            let warnings = findings.into_iter().map(|finding| CertificateWarning {
                location: location.clone(),
                finding,
            });
            self.warnings.extend(warnings);
        }
    }

    fn findings(&self, certificate: &Certificate) -> Vec<CertificateFinding> {
        let mut findings = Vec::new();
        let subject = || certificate.subject().to_owned();
        if let Some(now) = self.validity_at {
            let now = i64::try_from(now).unwrap_or(i64::MAX);
            let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
            if now > not_after.unix_seconds() {
                findings.push(CertificateFinding::Expired {
                    subject: subject(),
                    not_after,
                });
            }
            if now < not_before.unix_seconds() {
                findings.push(CertificateFinding::NotYetValid {
                    subject: subject(),
                    not_before,
                });
            }
        }
        if !certificate.is_authority() {
            findings.push(CertificateFinding::NotAnAuthority { subject: subject() });
        }
        findings
    }

    fn refuse(&mut self, path: &Path, line: Option<usize>, reason: ProblemReason) {
        let location = Location::file(path, line);
        self.problems.push(CertificateProblem { location, reason });
    }

    fn warn(&mut self, path: &Path, line: Option<usize>, finding: CertificateFinding) {
        let location = Location::file(path, line);
        self.warnings.push(CertificateWarning { location, finding });
    }
}

/// Returns whether a file is DER, whole or not: a long length can stand in no
/// text, and a short one must fit, since `0` may begin a text.
fn is_der(bytes: &[u8]) -> bool {
    match bytes {
        [SEQUENCE, length, rest @ ..] => *length >= 0x80 || usize::from(*length) == rest.len(),
        _ => false,
    }
}

/// Returns whether a text is UTF-16, with or without a byte order mark.
fn is_utf16(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [1..=0x7f, 0, ..] | [0, 1..=0x7f, ..]
    )
}

/// Every label of a key ends so, but PGP's `PRIVATE KEY BLOCK`.
fn is_private_key(label: &[u8]) -> bool {
    const PRIVATE_KEY: &[u8] = b"PRIVATE KEY";
    label
        .windows(PRIVATE_KEY.len())
        .any(|part| part.eq_ignore_ascii_case(PRIVATE_KEY))
}

/// Recognizes other structures that come in DER, by how they begin.
fn known_der(bytes: &[u8]) -> Option<ProblemReason> {
    let mut outer = DerReader::new(bytes).sequence("outer structure").ok()?;
    match outer.any().ok()? {
        // PKCS #8 and PKCS #1, and SEC 1: 0 or 1, then the key.
        (INTEGER, [0 | 1]) => Some(ProblemReason::PrivateKey),
        // PKCS #12: always 3.
        (INTEGER, [3]) => Some(ProblemReason::KeyStore),
        // `pkcs7-signedData`, 1.2.840.113549.1.7.2.
        (OBJECT_IDENTIFIER, [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2]) => {
            Some(ProblemReason::SignedData)
        }
        _ => None,
    }
}
