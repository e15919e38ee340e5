//! Recomputes every size, digest and diff ID of a source, and reports all
//! disagreements.
//!
//! The consequences of a violation are not reported: for a blob with the wrong
//! digest, neither diff IDs nor the documents below it are checked. Memory is
//! bounded for every input.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::digest::Digest;
use crate::image::Image;
use crate::selection::IndexPart;
use crate::source::Source;
use crate::violation::{Violation, ViolationKind, shown};

mod docker;
mod document;
mod image;
mod inspection;
mod layer_use;

use inspection::InspectionJob;
use layer_use::LayerUse;

/// Checks everything that can be reached from the documents of a source, and
/// that every blob has the name that its bytes ask for.
///
/// Up to `threads` blobs are read at once. The order of the violations does
/// not depend on it.
#[must_use]
pub fn validate(source: &Source, threads: usize) -> Report {
    let mut report = Report::default();
    check_archive(source, &mut report);
    let oci = image::walk(source, &mut report);
    let docker = docker::read(source, &mut report);
    docker.check_agreement(&oci, &mut report);

    let uses: Vec<&LayerUse> = oci.layers().chain(docker.layers()).collect();
    let jobs = jobs(source, &uses, &mut report);
    let inspections = inspection::run(source, &jobs, threads);
    inspection::check_names(&inspections, &mut report);
    for one in uses {
        one.check(&inspections, &mut report);
    }
    report
}

/// Checks an image that is copied, as far as that costs little: its documents,
/// and of the layers on this machine the first bytes, or all of small ones.
///
/// What cannot be read is not reported: it cannot be copied either.
#[must_use]
pub fn validate_copied(image: &Image) -> Vec<Violation> {
    let mut report = Report::default();
    let oci = image::walk_image(image, &mut report);
    for layer in oci.layers().filter(|layer| layer.is_tar()) {
        let blob = layer.descriptor.as_ref();
        let blob = blob.and_then(|one| image.blob(one.digest));
        let here = blob.filter(|blob| blob.content().origin().is_none());
        if let Some(Ok(found)) = here.map(|blob| inspection::inspect_copied(&layer.name, blob)) {
            let inspections = BTreeMap::from([(layer.name.clone(), Ok(found))]);
            layer.check(&inspections, &mut report);
        }
    }
    let mut violations = report.violations;
    violations.retain(|one| one.kind != ViolationKind::Unreadable);
    violations
}

fn check_archive(source: &Source, report: &mut Report) {
    let Source::Archive(archive) = source else {
        return;
    };
    if let Some(damage) = &archive.damage {
        let path = archive_name(source);
        report.add(Violation::of_error(ViolationKind::ArchiveTar, path, damage));
    }
    for name in &archive.absolute_names {
        report.add(Violation::new(ViolationKind::ArchiveName, name));
    }
}

/// Returns the name of the archive in violations: its file name, so that the
/// report does not depend on its directory.
fn archive_name(source: &Source) -> String {
    let name = source.path().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Lists the blobs to read: every layer once, and every other blob that no
/// document has led to.
fn jobs(source: &Source, uses: &[&LayerUse], report: &mut Report) -> Vec<InspectionJob> {
    let tars = uses.iter().filter(|one| one.is_tar());
    let tars: BTreeSet<String> = tars.map(|one| one.name.clone()).collect();
    let mut names: BTreeSet<String> = uses.iter().map(|one| one.name.clone()).collect();
    let kind = ViolationKind::Unreadable;
    match source.blob_names() {
        Ok(all) => names.extend(all.iter().filter_map(|one| checked_blob_name(one, report))),
        Err(error) => report.add(Violation::of_error(kind, "blobs/sha256", &error)),
    }
    let names = names.into_iter();
    let jobs = names.map(|name| InspectionJob {
        is_tar: tars.contains(&name),
        name,
    });
    jobs.collect()
}

/// Returns the path of a blob in the source, if the file is named by a digest.
fn checked_blob_name(file_name: &str, report: &mut Report) -> Option<String> {
    let name = format!("blobs/sha256/{file_name}");
    if format!("sha256:{file_name}").parse::<Digest>().is_err() {
        report.add(Violation::new(ViolationKind::BlobName, name));
        return None;
    }
    Some(name)
}

/// The result of a validation.
#[derive(Debug, Default)]
pub struct Report {
    /// The violations, each once.
    pub violations: Vec<Violation>,
    /// The indexes of which only some images are there, which is allowed.
    pub parts: Vec<IndexPart>,
    /// The numbers of the artifacts that are not images, by their types.
    pub artifacts: BTreeMap<String, usize>,
    known: BTreeSet<Violation>,
    document_bytes: u64,
}

/// The size of all documents that are read, in bytes. An image has some ten thousand
/// bytes of them, but a hostile index can lead to the same ones many times.
const MAX_TOTAL_DOCUMENT_BYTES: u64 = 1 << 30;

impl Report {
    /// Counts the bytes of a document, and returns true if there may be so many.
    fn allows(&mut self, bytes: usize) -> bool {
        self.document_bytes = self.document_bytes.saturating_add(bytes as u64);
        self.document_bytes <= MAX_TOTAL_DOCUMENT_BYTES
    }

    /// Adds a violation unless both values are the same, and returns whether
    /// they are.
    fn compare<T: PartialEq + fmt::Display>(
        &mut self,
        kind: ViolationKind,
        subject: &str,
        expected: T,
        found: T,
    ) -> bool {
        let is_same = expected == found;
        if !is_same {
            let violation = Violation::new(kind, subject).expected(expected);
            self.add(violation.found(found));
        }
        is_same
    }

    fn add_artifact(&mut self, kind: &str) {
        *self.artifacts.entry(shown(&kind)).or_default() += 1;
    }

    fn add(&mut self, violation: Violation) {
        if self.known.insert(violation.clone()) {
            self.violations.push(violation);
        }
    }
}

#[cfg(test)]
mod tests;
