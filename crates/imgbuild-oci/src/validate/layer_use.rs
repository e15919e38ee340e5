//! A layer in the documents of an image, compared with its blob.

use super::Report;
use super::document::check_size;
use super::inspection::{Inspection, Inspections};
use crate::digest::Digest;
use crate::document::Descriptor;
use crate::rules::check_compression;
use crate::source::StreamFormat;
use crate::violation::{Violation, ViolationKind};

/// A layer as an image refers to it.
#[derive(Debug)]
pub(super) struct LayerUse {
    /// Its name in the source.
    pub(super) name: String,
    /// The descriptor; a Docker archive has none.
    pub(super) descriptor: Option<Descriptor>,
    /// The diff ID in the config, if it is valid.
    pub(super) diff_id: Option<Digest>,
    /// True if the blob may be elsewhere.
    pub(super) is_foreign: bool,
}

impl LayerUse {
    /// Returns true if the blob is a tar: artifacts have other blobs for layers.
    pub(super) fn is_tar(&self) -> bool {
        self.compression().is_some() || self.descriptor.is_none()
    }

    /// Returns the compression of the media type.
    fn compression(&self) -> Option<StreamFormat> {
        StreamFormat::of_media_type(&self.descriptor.as_ref()?.media_type)
    }

    pub(super) fn check(&self, inspections: &Inspections, report: &mut Report) {
        let Some(Ok(inspection)) = inspections.get(&self.name) else {
            if !self.is_foreign {
                report.add(Violation::new(ViolationKind::BlobMissing, &self.name));
            }
            return;
        };
        if let Some(descriptor) = &self.descriptor {
            check_size(&self.name, descriptor.size, inspection.size, report);
        }
        let named = self.name.strip_prefix("blobs/sha256/");
        if named.is_some_and(|hex| hex != inspection.digest.hex()) {
            // Reported with the names of all blobs.
            return;
        }
        let label = self.compression().zip(inspection.compression);
        let label = label.and_then(|(one, found)| check_compression(&self.name, one, found));
        let all = inspection.violations.iter().cloned().chain(label);
        all.for_each(|violation| report.add(violation));
        self.check_diff_id(inspection, report);
    }

    fn check_diff_id(&self, inspection: &Inspection, report: &mut Report) {
        // What is not a tar is its own "uncompressed" form.
        let found = if self.is_tar() {
            inspection.diff_id
        } else {
            Some(inspection.digest)
        };
        if let (Some(expected), Some(found)) = (self.diff_id, found) {
            report.compare(ViolationKind::DiffId, &self.name, expected, found);
        }
    }
}
