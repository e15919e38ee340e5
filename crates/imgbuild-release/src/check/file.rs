//! The rules about single paths, in one pass over the image.

use imgbuild_oci::path::ImagePath;
use imgbuild_oci::store::Store;

use super::archive::ImageArchives;
use super::certificates::TlsEvidence;
use super::leftover::{self, Leftovers};
use super::secret::SecretFiles;
use super::subject::Subject;
use super::tree::{CaseCollisions, ReadableFiles, check_member};
use crate::finding::Finding;

/// Checks every path; `programs` are those that start with a container.
pub(super) fn check(
    subject: &Subject<'_>,
    programs: &[ImagePath],
    store: Option<&Store>,
) -> Vec<Finding> {
    let mut findings = leftover::debug(subject);
    let readable = ReadableFiles::new(subject, programs);
    let mut secrets = SecretFiles::default();
    let mut cases = CaseCollisions::default();
    let mut leftovers = Leftovers::default();
    let mut roots = TlsEvidence::default();
    let mut archives = ImageArchives::default();
    for member in subject.members() {
        let path = &member.entry.path;
        let name = path.file_name();
        findings.extend(check_member(subject, member));
        findings.extend(readable.check(&member.entry));
        secrets.visit(member, name);
        cases.visit(path);
        leftovers.visit(member, name);
        roots.visit(path, name);
        archives.visit(member, name);
    }
    findings.extend(roots.finish(subject, store));
    findings.extend(secrets.finish(store));
    findings.extend(cases.finish());
    findings.extend(leftovers.finish(store));
    findings.extend(archives.finish(store));
    findings
}
