//! Reads blobs to the end, each once, several at a time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Read};
use std::sync::Mutex;

use super::layer::LayerRules;
use super::{Report, Violation, ViolationKind, document};
use crate::digest::{Digest, DigestReader};
use crate::parallel;
use crate::source::{Decompressor, MemberReader, Source, StreamFormat, TrailingBytesError};
use crate::tar_reader::{ReadTarError, TarReader};

/// A blob to be read.
#[derive(Debug)]
pub(super) struct InspectionJob {
    pub(super) name: String,
    /// True for a layer, whose tar is inspected.
    pub(super) is_tar: bool,
}

/// The properties of a blob that was read.
#[derive(Debug)]
pub(super) struct Inspection {
    pub(super) size: u64,
    pub(super) digest: Digest,
    /// The compression of a layer.
    pub(super) compression: Option<StreamFormat>,
    /// The digest of a layer's tar, if it could be read to its end.
    pub(super) diff_id: Option<Digest>,
    /// The violations of a layer.
    pub(super) violations: Vec<Violation>,
}

/// The properties of all blobs, by their names.
#[derive(Debug, Default)]
pub(super) struct Inspections {
    by_name: BTreeMap<String, Result<Inspection, Violation>>,
}

impl Inspections {
    /// Returns `None` for a blob that is missing.
    pub(super) fn get(&self, name: &str) -> Option<&Inspection> {
        self.by_name.get(name)?.as_ref().ok()
    }

    /// Reports blobs that could not be read or do not have the digest of their
    /// name.
    pub(super) fn check_names(&self, report: &mut Report) {
        for (name, result) in &self.by_name {
            let inspection = match result {
                Ok(inspection) => inspection,
                Err(violation) => {
                    report.add(violation.clone());
                    continue;
                }
            };
            let Some(hex) = name.strip_prefix("blobs/sha256/") else {
                continue;
            };
            if let Ok(digest) = format!("sha256:{hex}").parse() {
                document::check_digest(name, digest, inspection.digest, report);
            }
        }
    }
}

/// Does all jobs on up to `threads` threads.
pub(super) fn run(source: &Source, jobs: &[InspectionJob], threads: usize) -> Inspections {
    let by_name = Mutex::new(BTreeMap::new());
    let Ok(()) = parallel::for_each(threads, jobs, |job, _| {
        if let Some(result) = inspect(source, job) {
            let mut by_name = by_name.lock().expect("no holder of the lock panics");
            by_name.insert(job.name.clone(), result);
        }
        Ok::<(), Infallible>(())
    });
    Inspections {
        by_name: by_name.into_inner().expect("no holder of the lock panics"),
    }
}

/// Reads one blob; `None` if it is not there.
fn inspect(source: &Source, job: &InspectionJob) -> Option<Result<Inspection, Violation>> {
    let unreadable = |error: &dyn std::error::Error| {
        Violation::new(ViolationKind::Unreadable, &job.name).found_error(error)
    };
    let blob = match source.member(&job.name) {
        Ok(blob) => blob?,
        Err(error) => return Some(Err(unreadable(&error))),
    };
    let result = if job.is_tar {
        inspect_layer(&job.name, blob)
    } else {
        inspect_bytes(DigestReader::new(blob))
    };
    Some(result.map_err(|error| unreadable(&error)))
}

/// Reads the rest of a blob.
fn inspect_bytes(mut blob: DigestReader<MemberReader>) -> io::Result<Inspection> {
    io::copy(&mut blob, &mut io::sink())?;
    let (_, digest, size) = blob.finish();
    Ok(Inspection {
        size,
        digest,
        compression: None,
        diff_id: None,
        violations: Vec::new(),
    })
}

fn inspect_layer(name: &str, blob: MemberReader) -> io::Result<Inspection> {
    let size = blob.size();
    let whole = blob.clone();
    let stream = match Decompressor::new(DigestReader::new(blob), size) {
        Ok(stream) => stream,
        Err(error) => {
            let mut inspection = inspect_bytes(DigestReader::new(whole))?;
            let violation = Violation::new(ViolationKind::LayerDamaged, name);
            inspection.violations.push(violation.found_error(&error));
            return Ok(inspection);
        }
    };
    let compression = stream.compression();
    let mut tar = TarReader::new(HashedTar::new(stream));
    let mut rules = LayerRules::new(name);
    let tar_error = read_entries(&mut tar, &mut rules);
    let mut stream = tar.into_inner();
    // What follows the end mark belongs to the diff ID, too.
    io::copy(&mut stream, &mut io::sink())?;
    let (blob, tar_digest, failure) = stream.finish();
    let mut inspection = inspect_bytes(blob)?;
    inspection.compression = Some(compression);
    inspection.violations = rules.finish();
    match failure {
        None => inspection.diff_id = Some(tar_digest),
        Some(TarFailure::TrailingBytes) => {
            inspection.diff_id = Some(tar_digest);
            let violation = Violation::new(ViolationKind::LayerTrailingBytes, name);
            inspection.violations.push(violation);
        }
        Some(TarFailure::Damaged(error)) => {
            let violation = Violation::new(ViolationKind::LayerDamaged, name);
            inspection.violations.push(violation.found_error(&error));
            return Ok(inspection);
        }
    }
    if let Some(error) = tar_error {
        let violation = Violation::new(ViolationKind::LayerTar, name);
        inspection.violations.push(violation.found_error(&error));
    }
    Ok(inspection)
}

fn read_entries<R: Read>(tar: &mut TarReader<R>, rules: &mut LayerRules) -> Option<ReadTarError> {
    loop {
        match tar.next_entry() {
            Ok(Some(entry)) => rules.check(&entry),
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    }
}

/// The error at which decompressing a layer ended.
enum TarFailure {
    TrailingBytes,
    Damaged(io::Error),
}

/// The tar of a layer: hashed, and at its end when decompression fails, so
/// that such a failure is told from a damaged tar.
struct HashedTar {
    inner: DigestReader<Decompressor<DigestReader<MemberReader>>>,
    failure: Option<TarFailure>,
}

impl HashedTar {
    fn new(stream: Decompressor<DigestReader<MemberReader>>) -> Self {
        Self {
            inner: DigestReader::new(stream),
            failure: None,
        }
    }

    fn finish(self) -> (DigestReader<MemberReader>, Digest, Option<TarFailure>) {
        let (inner, digest, _) = self.inner.finish();
        (inner.into_inner(), digest, self.failure)
    }
}

impl Read for HashedTar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failure.is_some() {
            return Ok(0);
        }
        match self.inner.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let cause = error.get_ref();
                let is_trailing = cause.is_some_and(|cause| cause.is::<TrailingBytesError>());
                self.failure = Some(if is_trailing {
                    TarFailure::TrailingBytes
                } else {
                    TarFailure::Damaged(error)
                });
                Ok(0)
            }
            result => result,
        }
    }
}
