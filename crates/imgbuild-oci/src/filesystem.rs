//! The root file system of an image: its layers merged, and the contents of
//! those files that decide what can run.
//!
//! Layers are read once, in order, and nothing is unpacked: names go into a
//! map, and the contents that may matter into one scratch file without a name.
//! Input is never trusted. What a layer may hold, name and expand to is
//! bounded, and so is the work that its links and whiteouts make; digests and
//! diff IDs are checked; no path leaves the root.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, Member};
use crate::path::ImagePath;
use crate::selection::{SelectedImage, SelectedLayer};
use crate::source::Source;
use crate::violation::Violation;

mod error;
mod keep;
mod layer;
mod record;
mod tree;

pub use error::{FileSystemError, LayerError};
use keep::Keeper;
use tree::Tree;

/// The number of decompressed bytes that the layers of an image may always
/// have.
const MIN_EXPANDED_BYTES: u64 = 256 << 20;

/// The largest expansion of deflate, which a file of zeros has: allowed up to
/// [`FULL_EXPANSION_BYTES`].
const FULL_EXPANSION: u64 = 1032;

const FULL_EXPANSION_BYTES: u64 = 4 << 30;

/// The expansion of an image's blobs that is allowed beyond that. Systems
/// are compressed to a third or a quarter; only crafted layers shrink to less
/// than a hundredth.
const MAX_EXPANSION: u64 = 100;

/// The memory for names that an image may always need, in bytes: some 200,000
/// files.
const MIN_NAMES: u64 = 128 << 20;

/// The memory for names in relation to the size of the blobs. The name of an
/// empty file takes at least 20 bytes of a layer and 700 of memory.
const NAMES_PER_BYTE: u64 = 128;

/// The most memory for names: some 3,000,000 files. A distribution with a
/// desktop has 400,000.
const MAX_NAMES: u64 = 2 << 30;

/// Options of reading a file system.
#[derive(Clone, Copy)]
pub struct ReadOptions<'a> {
    /// The directory for the scratch file with contents.
    pub scratch: &'a Path,
    /// The files whose contents are kept, beside those that always are.
    pub keeps: &'a dyn Fn(&Entry) -> bool,
}

impl std::fmt::Debug for ReadOptions<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ReadOptions")
            .field("scratch", &self.scratch)
            .finish_non_exhaustive()
    }
}

/// The merged layers of an image.
///
/// Entries that every engine refuses are left out. Whiteouts are done, and hard links are files of their own with one content.
/// A regular file has its content if it is an ELF program or library, begins
/// with `#!`, is in `/etc`, may be a CA bundle or list users or groups, is empty, or
/// was asked for; a file without content is none of these.
#[derive(Debug)]
pub struct FileSystem {
    members: Vec<Member>,
    specials: BTreeSet<ImagePath>,
    blobs: Vec<BlobFacts>,
    violations: Vec<Violation>,
}

/// Facts about a layer's blob that reading it gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobFacts {
    /// The CRC of its bytes.
    pub crc: u32,
    /// The size of its tar in bytes.
    pub tar_size: u64,
    /// The number of entries of the tar.
    pub entries: usize,
}

impl FileSystem {
    /// Reads the layers of an image.
    ///
    /// # Errors
    ///
    /// When a layer is missing, does not have its digest, size or diff ID, or
    /// contains entries that no file system can.
    pub fn read(
        source: &Source,
        image: &SelectedImage,
        options: ReadOptions<'_>,
    ) -> Result<Self, FileSystemError> {
        let file = tempfile::tempfile_in(options.scratch).map_err(|source| {
            let directory = options.scratch.to_path_buf();
            FileSystemError::Scratch { directory, source }
        })?;
        Self::read_keeping(source, image, options, file).map(|(files, _)| files)
    }

    /// Reads the layers as [`FileSystem::read`], with contents in `file`, which is
    /// empty; also returns the number of bytes in it.
    pub(crate) fn read_keeping(
        source: &Source,
        image: &SelectedImage,
        options: ReadOptions<'_>,
        file: std::fs::File,
    ) -> Result<(Self, u64), FileSystemError> {
        let mut tree = Tree::new(names_limit(&image.layers));
        let mut keeper = Keeper::new(options, file);
        let mut budget = expansion_limit(&image.layers);
        let mut blobs = Vec::new();
        let mut violations = Vec::new();
        for (index, selected) in image.layers.iter().enumerate() {
            tree.layer = index;
            let (facts, found) = layer::read(source, selected, &mut tree, &mut keeper, &mut budget)
                .map_err(|source| FileSystemError::Layer {
                    name: selected.name.clone(),
                    source: Box::new(source),
                })?;
            blobs.push(facts);
            violations.extend(found);
        }
        let kept = keeper.finish()?;
        let (members, specials) = tree.finish();
        let files = Self {
            members,
            specials,
            blobs,
            violations,
        };
        Ok((files, kept))
    }

    /// Returns every directory, file and symbolic link but the root, sorted by
    /// path. The parent directory of a member is always a member, too.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Returns the member at exactly this path; links are not followed.
    #[must_use]
    pub fn get(&self, path: &ImagePath) -> Option<&Member> {
        let found = self
            .members
            .binary_search_by(|member| member.entry.path.cmp(path));
        found.ok().map(|index| &self.members[index])
    }

    /// Returns the paths of devices, named pipes and the like, which cannot be
    /// entries of our layers.
    #[must_use]
    pub fn specials(&self) -> &BTreeSet<ImagePath> {
        &self.specials
    }

    /// Returns the violations of its layers that engines refuse.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Returns the facts about every layer, lowest first.
    #[must_use]
    pub fn blobs(&self) -> &[BlobFacts] {
        &self.blobs
    }
}

/// Returns the number of bytes that the tars of all layers may have.
fn expansion_limit(layers: &[SelectedLayer]) -> u64 {
    let compressed = compressed_size(layers);
    compressed
        .saturating_mul(FULL_EXPANSION)
        .min(FULL_EXPANSION_BYTES)
        .max(compressed.saturating_mul(MAX_EXPANSION))
        .max(MIN_EXPANDED_BYTES)
}

/// Returns the bytes of memory that the names in all layers may take.
fn names_limit(layers: &[SelectedLayer]) -> u64 {
    compressed_size(layers)
        .saturating_mul(NAMES_PER_BYTE)
        .clamp(MIN_NAMES, MAX_NAMES)
}

fn compressed_size(layers: &[SelectedLayer]) -> u64 {
    layers
        .iter()
        .fold(0, |sum, layer| sum.saturating_add(layer.size))
}

#[cfg(test)]
mod tests;
