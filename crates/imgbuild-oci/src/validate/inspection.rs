//! Reads blobs to the end, each once, several at a time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Read};
use std::sync::Mutex;

use super::Report;
use crate::bounded;
use crate::digest::{Digest, DigestReader};
use crate::image::Blob;
use crate::parallel;
use crate::rules::{LayerRules, trailing_bytes};
use crate::source::{Decompressor, Source, StreamFormat, TrailingBytesError};
use crate::tar_reader::{ReadTarError, TarReader};
use crate::violation::{Violation, ViolationKind};

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

/// The properties of all blobs, by their names; a blob that could not be read
/// has a violation, and a missing one is left out.
pub(super) type Inspections = BTreeMap<String, Result<Inspection, Violation>>;

/// Reports blobs that could not be read or do not have the digest of their
/// name.
pub(super) fn check_names(inspections: &Inspections, report: &mut Report) {
    for (name, result) in inspections {
        match result {
            Err(violation) => report.add(violation.clone()),
            Ok(inspection) => {
                let hex = name.strip_prefix("blobs/sha256/");
                let digest = hex.and_then(|hex| format!("sha256:{hex}").parse().ok());
                if let Some(digest) = digest {
                    report.compare(ViolationKind::BlobDigest, name, digest, inspection.digest);
                }
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
    by_name.into_inner().expect("no holder of the lock panics")
}

/// Reads one blob; `None` if it is not there.
fn inspect(source: &Source, job: &InspectionJob) -> Option<Result<Inspection, Violation>> {
    let unreadable = |error: &dyn std::error::Error| {
        Violation::of_error(ViolationKind::Unreadable, &job.name, error)
    };
    let blob = match source.member(&job.name) {
        Ok(blob) => blob?,
        Err(error) => return Some(Err(unreadable(&error))),
    };
    let result = if job.is_tar {
        let size = blob.size();
        inspect_layer(&job.name, blob, size)
    } else {
        inspect_bytes(DigestReader::new(blob))
    };
    Some(result.map_err(|error| unreadable(&error)))
}

/// The largest layer, in bytes, that is inspected whole when it is copied.
const MAX_COPIED_BYTES: u64 = 64 << 10;

/// Inspects a layer of this machine as far as that costs little: its first
/// bytes, or all of a small one.
pub(super) fn inspect_copied(name: &str, layer: &Blob) -> io::Result<Inspection> {
    let (digest, size) = (layer.digest, layer.size);
    let is_small = size <= MAX_COPIED_BYTES;
    let start = layer
        .content()
        .open_start(if is_small { size } else { 8 })?;
    let bytes = bounded::read_start(start, MAX_COPIED_BYTES)?;
    if is_small {
        return inspect_layer(name, &bytes[..], size);
    }
    let compression = StreamFormat::detect(&bytes);
    Ok(Inspection {
        size,
        digest,
        compression: Some(compression),
        diff_id: (compression == StreamFormat::Plain).then_some(digest),
        violations: Vec::new(),
    })
}

/// Reads the rest of a blob.
fn inspect_bytes(mut blob: DigestReader<impl Read>) -> io::Result<Inspection> {
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

fn inspect_layer<R: Read + Clone>(name: &str, blob: R, size: u64) -> io::Result<Inspection> {
    let whole = blob.clone();
    let stream = match Decompressor::new(DigestReader::new(blob), size) {
        Ok(stream) => stream,
        Err(error) => {
            let mut inspection = inspect_bytes(DigestReader::new(whole))?;
            let violation = Violation::of_error(ViolationKind::LayerDamaged, name, &error);
            inspection.violations.push(violation);
            return Ok(inspection);
        }
    };
    let compression = stream.compression();
    let mut tar = TarReader::new(HashedTar {
        inner: DigestReader::new(stream),
        failure: None,
    });
    let mut rules = LayerRules::new(name);
    let tar_error = read_entries(&mut tar, &mut rules);
    let mut stream = tar.into_inner();
    // What follows the end mark belongs to the diff ID, too.
    io::copy(&mut stream, &mut io::sink())?;
    let HashedTar { inner, failure } = stream;
    let (stream, tar_digest, _) = inner.finish();
    let trailing = stream.has_trailing_bytes().then(|| trailing_bytes(name));
    let mut inspection = inspect_bytes(stream.into_inner())?;
    inspection.compression = Some(compression);
    inspection.violations = rules.finish();
    inspection.violations.extend(trailing);
    if let Some(error) = failure {
        let cause = error.get_ref();
        if !cause.is_some_and(|cause| cause.is::<TrailingBytesError>()) {
            let violation = Violation::of_error(ViolationKind::LayerDamaged, name, &error);
            inspection.violations.push(violation);
            return Ok(inspection);
        }
        let violation = Violation::new(ViolationKind::LayerTrailingBytes, name);
        inspection.violations.push(violation);
    }
    inspection.diff_id = Some(tar_digest);
    if let Some(error) = tar_error {
        let violation = Violation::of_error(ViolationKind::LayerTar, name, &error);
        inspection.violations.push(violation);
    }
    Ok(inspection)
}

fn read_entries<R: Read>(tar: &mut TarReader<R>, rules: &mut LayerRules) -> Option<ReadTarError> {
    loop {
        match tar.next_entry() {
            Ok(Some(entry)) => drop(rules.check(&entry, entry.whiteout().as_ref())),
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    }
}

/// The tar of a layer: hashed, and at its end when decompression fails, so
/// that such a failure is told from a damaged tar.
struct HashedTar<R> {
    inner: DigestReader<Decompressor<DigestReader<R>>>,
    /// The error at which decompression ended.
    failure: Option<io::Error>,
}

impl<R: Read> Read for HashedTar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failure.is_some() {
            return Ok(0);
        }
        match self.inner.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.failure = Some(error);
                Ok(0)
            }
            result => result,
        }
    }
}
