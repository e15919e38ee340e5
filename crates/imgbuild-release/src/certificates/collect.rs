//! Takes sources one by one; gathers certificates, problems and warnings.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use imgbuild_oci::input;
use imgbuild_oci::monitor::Monitor;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use super::Certificates;
use super::der::{DerError, DerReader, INTEGER, OBJECT_IDENTIFIER, SEQUENCE};
use super::pem::{self, PemBlock};
use super::report::{CertificateError, CertificateNotice, counted, shown_label};
use super::x509::Certificate;

/// The largest file that is read: ninety times the bundle of any browser.
pub(crate) const MAX_FILE_BYTES: u64 = 16 << 20;

/// The extensions that certificates have in directories, in any case.
const EXTENSIONS: [&str; 5] = ["pem", "crt", "cer", "cert", "der"];

/// A private key must never get into an image by accident.
const PRIVATE_KEY: &str = "it contains a private key";
const SIGNED_DATA: &str = "it is a PKCS #7 bundle, not a certificate";

/// The certificates, problems and warnings of the sources so far.
#[derive(Debug, Default)]
pub(super) struct Collector {
    pub(super) certificates: Certificates,
    /// The time, in Unix seconds, at which certificates should be valid.
    pub(super) validity_at: Option<u64>,
    pub(super) problems: Vec<CertificateNotice>,
    warnings: Vec<CertificateNotice>,
}

impl Collector {
    pub(super) fn new(validity_at: Option<u64>) -> Self {
        Self {
            validity_at,
            ..Self::default()
        }
    }

    pub(super) fn add_embedded(&mut self) {
        for der in TLS_SERVER_ROOT_CERTS {
            let certificate = Certificate::from_der(der)
                .expect("a test parses every certificate that is embedded");
            self.add_certificate(certificate, None, None);
        }
    }

    /// Adds a file, or the files of a directory that are named like
    /// certificates, as OpenSSL and Go do: they do not look into directories
    /// below either.
    pub(super) fn add_path(
        &mut self,
        path: &Path,
        monitor: Monitor<'_>,
    ) -> Result<(), CertificateError> {
        if !path.is_dir() {
            return self.add_file(path, monitor);
        }
        let files = self.list(path)?;
        if files.is_empty() {
            let reason = "no file directly in it is named like a certificate (`*.pem`, `*.crt`, `*.cer`, `*.cert`, `*.der` or `01234567.0`)";
            self.refuse(path, None, reason);
        }
        files
            .iter()
            .try_for_each(|file| self.add_file(file, monitor))
    }

    /// Lists the certificate files of a directory in bytewise order, but names
    /// that `openssl rehash` made come last: a message shall name the file
    /// itself.
    fn list(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = fs_err::read_dir(directory)?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let mut paths = paths.collect::<io::Result<Vec<PathBuf>>>()?;
        paths.sort_by_cached_key(|path| (is_hashed_name(path), path.clone()));
        let mut listed = Vec::new();
        let (mut files, mut directories) = (0, 0);
        for path in paths {
            match fs_err::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => directories += 1,
                Ok(metadata) if metadata.is_file() && is_certificate_name(&path) => {
                    listed.push(path);
                }
                Ok(_) => files += 1,
                Err(error) if is_dangling(&path, &error) => {
                    self.warn(&path, None, "the symlink is dangling and is ignored");
                }
                Err(error) => return Err(error),
            }
        }
        let mut ignored = Vec::new();
        if files > 0 {
            let files = counted(files, "file", "files");
            ignored.push(format!("{files} not named like a certificate"));
        }
        if directories > 0 {
            ignored.push(counted(directories, "directory", "directories"));
        }
        if !ignored.is_empty() {
            self.warn(directory, None, format!("ignored: {}", ignored.join(", ")));
        }
        Ok(listed)
    }

    /// Returns everything, or all problems.
    pub(super) fn finish(self) -> Result<(Certificates, Vec<CertificateNotice>), CertificateError> {
        if self.problems.is_empty() {
            Ok((self.certificates, self.warnings))
        } else {
            Err(CertificateError::Refused(self.problems))
        }
    }

    fn add_file(&mut self, path: &Path, monitor: Monitor<'_>) -> Result<(), CertificateError> {
        // Not only regular files: a pipe is as good.
        match input::read_input(path, MAX_FILE_BYTES, monitor) {
            Ok(bytes) => self.add_bytes(path, &bytes),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                let reason = format!("it is larger than {} MiB", MAX_FILE_BYTES >> 20);
                self.refuse(path, None, reason);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Adds the certificates of a file in any form.
    pub(super) fn add_bytes(&mut self, path: &Path, bytes: &[u8]) {
        if is_der(bytes) {
            self.add_der(path, None, bytes);
        } else if is_utf16(bytes) {
            self.refuse(path, None, "it is UTF-16; certificates are ASCII");
        } else if bytes.contains(&0) {
            self.refuse(path, None, "it is neither PEM nor DER");
        } else {
            self.add_text(path, bytes);
        }
    }

    /// Adds a certificate; returns whether it is one.
    fn add_der(&mut self, path: &Path, line: Option<usize>, der: &[u8]) -> bool {
        match Certificate::from_der(der) {
            Ok(certificate) => {
                self.add_certificate(certificate, Some(path), line);
                true
            }
            Err(error) => {
                self.refuse(path, line, der_fault(der, error));
                false
            }
        }
    }

    fn add_text(&mut self, path: &Path, text: &[u8]) {
        let problems_before = self.problems.len();
        let found = pem::parse(text);
        // It costs Go, rustls and Erlang the certificate that follows.
        if let Some(line) = found.first_byte_order_mark {
            self.warn(path, Some(line), "a byte order mark is dropped");
        }
        if let Some(line) = found.first_carriage_return {
            let reason = "carriage returns at line ends are dropped";
            self.warn(path, Some(line), reason);
        }
        if let Some(line) = found.first_text {
            self.warn(path, Some(line), "text between the certificates is dropped");
        }
        for (line, reason) in found.problems {
            self.refuse(path, Some(line), reason);
        }
        let mut has_certificate = false;
        for block in &found.blocks {
            has_certificate |= self.add_block(path, block);
        }
        if !has_certificate && self.problems.len() == problems_before {
            self.refuse(path, None, "it contains no certificate");
        }
        self.problems[problems_before..].sort_by_key(|problem| problem.line);
    }

    /// Adds a block; returns whether it was a certificate.
    fn add_block(&mut self, path: &Path, block: &PemBlock<'_>) -> bool {
        let line = Some(block.line);
        match block.label {
            // The second is what OpenSSL wrote in its first years.
            b"CERTIFICATE" | b"X509 CERTIFICATE" => match block.decode() {
                Ok(der) => return self.add_der(path, line, &der),
                Err((line, error)) => {
                    self.refuse(path, Some(line), format!("the base64 is broken: {error}"));
                }
            },
            // They can state that the certificate is *not* trusted, and no
            // reader but OpenSSL supports them.
            b"TRUSTED CERTIFICATE" => {
                let reason =
                    "a `TRUSTED CERTIFICATE` has trust settings, which a bundle cannot keep";
                self.refuse(path, line, reason);
            }
            // Unlike other blocks it can hold certificates, so it is not
            // dropped.
            b"PKCS7" | b"CMS" | b"PKCS #7 SIGNED DATA" => self.refuse(path, line, SIGNED_DATA),
            label if is_private_key(label) => self.refuse(path, line, PRIVATE_KEY),
            // A revocation list, for example, keeps Erlang from reading the
            // whole bundle.
            label => {
                let label = shown_label(label);
                let reason = format!("the block `{label}` is dropped: it is not a certificate");
                self.warn(path, line, reason);
            }
        }
        false
    }

    /// Adds a certificate, and the warnings about it at its first occurrence.
    /// It stays in with all of them: some readers trust one that is not an
    /// authority as the server's own.
    fn add_certificate(
        &mut self,
        certificate: Certificate,
        path: Option<&Path>,
        line: Option<usize>,
    ) {
        if self.certificates.set.contains(&certificate) {
            return;
        }
        let Certificate {
            subject,
            not_before,
            not_after,
            ..
        } = &certificate;
        let now = self.validity_at;
        let now = now.map(|now| i64::try_from(now).unwrap_or(i64::MAX));
        let mut reasons = Vec::new();
        if now.is_some_and(|now| now > not_after.unix_seconds) {
            reasons.push(format!("`{subject}` expired at {not_after}"));
        }
        if now.is_some_and(|now| now < not_before.unix_seconds) {
            reasons.push(format!("`{subject}` is not valid before {not_before}"));
        }
        if !certificate.is_authority {
            reasons.push(format!(
                "`{subject}` is not a CA: it may not sign other certificates"
            ));
        }
        let notices = reasons.into_iter().map(|reason| CertificateNotice {
            path: path.map(Path::to_owned),
            line,
            reason,
        });
        self.warnings.extend(notices);
        self.certificates.set.insert(certificate);
    }

    fn refuse(&mut self, path: &Path, line: Option<usize>, reason: impl Into<String>) {
        self.problems.push(notice(path, line, reason));
    }

    fn warn(&mut self, path: &Path, line: Option<usize>, reason: impl Into<String>) {
        self.warnings.push(notice(path, line, reason));
    }
}

fn notice(path: &Path, line: Option<usize>, reason: impl Into<String>) -> CertificateNotice {
    CertificateNotice {
        path: Some(path.to_owned()),
        line,
        reason: reason.into(),
    }
}

/// Returns whether `path` is a link that leads nowhere, or in a circle.
fn is_dangling(path: &Path, error: &io::Error) -> bool {
    error.kind() != ErrorKind::PermissionDenied
        && fs_err::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

/// Returns whether a file in a directory is meant to be a certificate.
fn is_certificate_name(path: &Path) -> bool {
    let has_extension = path.extension().is_some_and(|extension| {
        EXTENSIONS
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    });
    has_extension || is_hashed_name(path)
}

/// Returns whether a name is like `5ed36f99.0`, as `openssl rehash` makes it.
/// Revocation lists have an `r` before the last number.
fn is_hashed_name(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().as_encoded_bytes();
    let extension = path.extension().unwrap_or_default().as_encoded_bytes();
    stem.len() == 8
        && stem.iter().all(u8::is_ascii_hexdigit)
        && !extension.is_empty()
        && extension.iter().all(u8::is_ascii_digit)
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

/// Names the fault of bytes that are not a certificate: another structure that
/// comes in DER, by its beginning, or the error of the parser.
fn der_fault(bytes: &[u8], error: DerError) -> String {
    let outer = DerReader(bytes).sequence("outer structure");
    match outer.and_then(|mut outer| outer.any()) {
        // PKCS #8 and PKCS #1, and SEC 1: 0 or 1, then the key.
        Ok((INTEGER, [0 | 1])) => PRIVATE_KEY.to_owned(),
        // PKCS #12: always 3.
        Ok((INTEGER, [3])) => "it is a PKCS #12 key store, not a certificate".to_owned(),
        // `pkcs7-signedData`, 1.2.840.113549.1.7.2.
        Ok((OBJECT_IDENTIFIER, [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2])) => {
            SIGNED_DATA.to_owned()
        }
        _ => format!("the certificate is broken: {error}"),
    }
}
