//! Reads documents, and reports their violations.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;

use super::Report;
use crate::configuration;
use crate::digest::Digest;
use crate::document::{Descriptor, MAX_DOCUMENT_BYTES, RawConfig, RawDescriptor};
use crate::image::{Blob, Image};
use crate::json::from_json;
use crate::source::{Source, SourceError, read_document};
use crate::violation::{Violation, ViolationKind};

/// A place of documents: a source, or an image wherever it is.
pub(super) trait DocumentSource {
    /// Returns the size of a file in bytes; `None` if it does not exist.
    fn size(&self, name: &str) -> Result<Option<u64>, SourceError>;

    /// Reads a file whole.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, SourceError>;
}

impl DocumentSource for Source {
    fn size(&self, name: &str) -> Result<Option<u64>, SourceError> {
        Ok(self.member(name)?.map(|blob| blob.size()))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let blob = self.member(name)?;
        blob.map(|blob| read_document(name, blob)).transpose()
    }
}

impl DocumentSource for Image {
    fn size(&self, name: &str) -> Result<Option<u64>, SourceError> {
        Ok(digest_in_name(name).and_then(|digest| {
            let document = self.document(digest).map(|one| one.bytes.len() as u64);
            document.or_else(|| Some(self.blob(digest)?.size))
        }))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let Some(digest) = digest_in_name(name) else {
            return Ok(None);
        };
        if let Some(document) = self.document(digest) {
            return Ok(Some(document.bytes.clone()));
        }
        let bytes = self.blob(digest).map(Blob::read_document).transpose();
        bytes.map_err(|source| SourceError::Read {
            name: name.to_owned(),
            source,
        })
    }
}

/// Returns the digest that a config is named by: `blobs/sha256/HEX`,
/// `HEX.json` of older engines, `sha256:HEX` of other tools.
pub(super) fn digest_in_name(name: &str) -> Option<Digest> {
    let hex = name
        .strip_prefix("blobs/sha256/")
        .or(name.strip_suffix(".json"));
    match hex {
        Some(hex) => format!("sha256:{hex}").parse().ok(),
        None => name.parse().ok(),
    }
}

/// Reads a file whole; `None`, and a violation, if that cannot be done.
pub(super) fn read(
    source: &dyn DocumentSource,
    name: &str,
    report: &mut Report,
) -> Option<Vec<u8>> {
    match source.read(name) {
        Ok(Some(bytes)) if report.allows(bytes.len()) => return Some(bytes),
        Ok(Some(_)) => report.add(Violation::new(ViolationKind::TooManyDocuments, name)),
        Ok(None) => report.add(Violation::new(ViolationKind::DocumentMissing, name)),
        Err(error) => report.add(read_violation(name, &error)),
    }
    None
}

fn read_violation(name: &str, error: &SourceError) -> Violation {
    match error {
        SourceError::TooLarge { size, .. } => Violation::new(ViolationKind::DocumentSize, name)
            .expected(format_args!("at most {MAX_DOCUMENT_BYTES} bytes"))
            .found(format_args!("{size} bytes")),
        other => Violation::of_error(ViolationKind::Unreadable, name, other),
    }
}

pub(super) fn parse<T: DeserializeOwned>(
    name: &str,
    bytes: &[u8],
    report: &mut Report,
) -> Option<T> {
    let kind = ViolationKind::DocumentMalformed;
    let parsed = from_json(bytes);
    parsed
        .map_err(|error| report.add(Violation::of_error(kind, name, &error)))
        .ok()
}

/// Checks that a descriptor is complete; `subject` names it in violations.
pub(super) fn check_descriptor(
    subject: &str,
    raw: &RawDescriptor,
    report: &mut Report,
) -> Option<Descriptor> {
    let add = |kind, report: &mut Report, found: Option<String>| {
        let mut violation = Violation::new(kind, subject);
        violation.found = found;
        report.add(violation);
    };
    let has_media_type = raw.media_type.as_ref().is_some_and(|text| !text.is_empty());
    if !has_media_type {
        add(ViolationKind::DescriptorMediaType, report, None);
    }
    if raw.digest().is_err() {
        let text = raw.digest.as_deref();
        let is_other = text.is_some_and(|text| text.starts_with("sha512:"));
        let kind = if is_other {
            ViolationKind::DescriptorAlgorithm
        } else {
            ViolationKind::DescriptorDigest
        };
        let found = text.map(|text| crate::path::escaped(text.as_bytes()));
        add(kind, report, found);
    }
    if raw.size().is_err() {
        let found = raw.size.map(|size| size.to_string());
        add(ViolationKind::DescriptorSize, report, found);
    }
    let data = raw.data.as_ref().map(|text| STANDARD.decode(text));
    let is_blob = |data: Vec<u8>| raw.digest() == Ok(Digest::of(&data));
    if data.is_some_and(|data| !data.is_ok_and(is_blob)) {
        add(ViolationKind::DescriptorData, report, None);
    }
    raw.clone().complete().ok().filter(|_| has_media_type)
}

/// Reads the blob of a descriptor whole and compares size and digest; `None`,
/// and violations, unless both are right.
pub(super) fn read_blob(
    source: &dyn DocumentSource,
    name: &str,
    descriptor: &Descriptor,
    report: &mut Report,
) -> Option<Vec<u8>> {
    if let Ok(None) = source.size(name) {
        report.add(Violation::new(ViolationKind::BlobMissing, name));
        return None;
    }
    let bytes = read(source, name, report)?;
    check_size(name, descriptor.size, bytes.len() as u64, report);
    let (expected, found) = (descriptor.digest, Digest::of(&bytes));
    let is_right = report.compare(ViolationKind::BlobDigest, name, expected, found);
    is_right.then_some(bytes)
}

pub(super) fn check_size(name: &str, expected: u64, found: u64, report: &mut Report) {
    let bytes = |count: u64| format!("{count} bytes");
    report.compare(ViolationKind::BlobSize, name, bytes(expected), bytes(found));
}

/// Checks a configuration for itself and against the number of layers, and
/// returns its diff IDs; those that are malformed are `None`.
pub(super) fn check_config(
    name: &str,
    config: &RawConfig,
    layers: usize,
    report: &mut Report,
) -> Vec<Option<Digest>> {
    let found = configuration::check_config(name, &config.document, layers);
    found.into_iter().for_each(|one| report.add(one));
    let os = config.platform.os.as_deref().unwrap_or_default();
    if os.is_empty() || os.bytes().any(|byte| byte.is_ascii_uppercase()) {
        // Older engines crash on `Linux`.
        let mut violation = Violation::new(ViolationKind::ConfigOs, name);
        violation.found = Some(os.to_owned()).filter(|os| !os.is_empty());
        report.add(violation);
    }
    let architecture = config.platform.architecture.as_deref();
    if architecture.unwrap_or_default().is_empty() {
        report.add(Violation::new(ViolationKind::ConfigArchitecture, name));
    }
    let rootfs = config.rootfs.as_ref();
    let kind = rootfs.and_then(|rootfs| rootfs.kind.as_deref());
    let kind = kind.map_or("none".to_owned(), |kind| format!("`{kind}`"));
    report.compare(ViolationKind::ConfigRootfs, name, "`layers`", &kind);
    let diff_ids = rootfs.and_then(|rootfs| rootfs.diff_ids.as_deref());
    check_diff_ids(name, diff_ids.unwrap_or_default(), layers, report)
}

fn check_diff_ids(
    name: &str,
    diff_ids: &[String],
    layers: usize,
    report: &mut Report,
) -> Vec<Option<Digest>> {
    report.compare(ViolationKind::DiffIdCount, name, layers, diff_ids.len());
    let parse = |text: &String| {
        let digest = text.parse().ok();
        if digest.is_none() {
            let violation = Violation::new(ViolationKind::DiffIdMalformed, name);
            report.add(violation.found(text));
        }
        digest
    };
    diff_ids.iter().map(parse).collect()
}
