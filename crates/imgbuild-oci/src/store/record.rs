//! The small files of a store. One that does not decode is as good as absent.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{CONTENTS, LAYERS, NOTES, OUTPUTS, SYSTEMS};
use crate::content::FileState;
use crate::digest::{DiffId, Digest};
use crate::record::RecordKind;
use crate::xattr::DroppedXattrs;

/// The value of one file of a directory.
pub(crate) trait Record: Serialize + DeserializeOwned {
    const KIND: RecordKind;
    const DIRECTORY: &'static str;
}

/// The identity of a layer whose files are in a known state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) diff_id: DiffId,
    pub(crate) tar_size: u64,
    /// The CRC-32 of the tar; 0 if the tar was compressed while it was read.
    pub(crate) tar_crc: u32,
    /// The extended attributes that the files have and the tar lacks.
    pub(crate) dropped_xattrs: DroppedXattrs,
}

/// The identity of a compressed layer whose tar is known.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ContentRecord {
    pub(crate) digest: Digest,
    /// The CRC-32 of the blob.
    pub(crate) crc: u32,
    /// The state of the blob's file when it was known to be right.
    pub(crate) state: FileState,
}

/// The identity of a file that was written to a destination.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct OutputRecord {
    pub(crate) identity: Digest,
    pub(crate) state: FileState,
}

/// A note about files in a known state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NoteRecord(pub(crate) Vec<u8>);

/// The file that has the file system of a base image.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct SystemRecord {
    pub(crate) digest: Digest,
    /// The state of the file when it was known to be right.
    pub(crate) state: FileState,
}

impl Record for LayerRecord {
    const KIND: RecordKind = RecordKind::Layer;
    const DIRECTORY: &'static str = LAYERS;
}

impl Record for ContentRecord {
    const KIND: RecordKind = RecordKind::Content;
    const DIRECTORY: &'static str = CONTENTS;
}

impl Record for OutputRecord {
    const KIND: RecordKind = RecordKind::Output;
    const DIRECTORY: &'static str = OUTPUTS;
}

impl Record for NoteRecord {
    const KIND: RecordKind = RecordKind::Note;
    const DIRECTORY: &'static str = NOTES;
}

impl Record for SystemRecord {
    const KIND: RecordKind = RecordKind::System;
    const DIRECTORY: &'static str = SYSTEMS;
}
