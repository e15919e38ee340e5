//! Disagreements between the documents and the contents of a source.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::with_causes;

/// A disagreement in a source.
///
/// Prints as one sentence; as data it has a `kind` that does not change from
/// version to version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Violation {
    /// The rule that is broken.
    pub kind: ViolationKind,
    /// The name in the source, and the place in it.
    pub subject: String,
    /// The expected value, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The value that was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The engines that do not load or unpack the image.
    #[serde(rename = "refusedBy", skip_serializing_if = "Option::is_none")]
    pub refused_by: Option<Refuser>,
}

/// Engines that refuse an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Refuser {
    /// Docker, Podman and containerd.
    Engines,
    /// Docker with graph drivers, the default before Docker 29.
    Docker,
    /// The same, and Podman.
    DockerAndPodman,
    /// containerd, and Docker with its image store.
    Containerd,
}

impl fmt::Display for Refuser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Engines => "every engine",
            Self::Docker => "Docker with graph drivers",
            Self::DockerAndPodman => "Docker with graph drivers, and Podman",
            Self::Containerd => "containerd, and Docker with its image store",
        })
    }
}

/// The longest text that a violation repeats from the source.
const MAX_TEXT_BYTES: usize = 500;

impl Violation {
    pub(crate) fn new(kind: ViolationKind, subject: impl fmt::Display) -> Self {
        Self {
            kind,
            subject: shown(&subject),
            expected: None,
            found: None,
            refused_by: None,
        }
    }

    /// Returns the first violation that every engine refuses.
    #[must_use]
    pub fn refusal(all: &[Self]) -> Option<&Self> {
        let mut all = all.iter();
        all.find(|one| one.refused_by == Some(Refuser::Engines))
    }

    pub(crate) fn expected(mut self, expected: impl fmt::Display) -> Self {
        self.expected = Some(shown(&expected));
        self
    }

    pub(crate) fn found(mut self, found: impl fmt::Display) -> Self {
        self.found = Some(shown(&found));
        self
    }

    /// Makes a violation that has found an error, with its causes.
    pub(crate) fn of_error(
        kind: ViolationKind,
        subject: impl fmt::Display,
        error: &dyn Error,
    ) -> Self {
        Self::new(kind, subject).found(with_causes(error, ": "))
    }
}

pub(crate) fn shown(text: &impl fmt::Display) -> String {
    let mut text = crate::path::escaped(text.to_string().as_bytes());
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.push('…');
    }
    text
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` {}", self.subject, self.kind.predicate())?;
        match (&self.expected, &self.found) {
            (Some(expected), Some(found)) => {
                write!(formatter, ": expected {expected}, found {found}")
            }
            (Some(expected), None) => write!(formatter, ": expected {expected}"),
            (None, Some(found)) => write!(formatter, ": {found}"),
            (None, None) => Ok(()),
        }?;
        let mut refusers = self.refused_by.iter();
        refusers.try_for_each(|refuser| write!(formatter, "; refused by {refuser}"))
    }
}

/// The rules that a source can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ViolationKind {
    /// A document that must be there is not.
    DocumentMissing,
    /// A document is not JSON, or a field has the wrong type.
    DocumentMalformed,
    /// A document is larger than readers take.
    DocumentSize,
    /// The `schemaVersion` is not 2.
    DocumentVersion,
    /// The `mediaType` is not that of the descriptor.
    DocumentMediaType,
    /// A file cannot be read.
    Unreadable,
    /// The `imageLayoutVersion` is not `1.0.0`, which all readers want.
    LayoutVersion,
    /// Indexes are nested too deep, or lead to too many documents.
    TooManyDocuments,
    /// A descriptor has no media type.
    DescriptorMediaType,
    /// A descriptor has no digest, or a malformed one.
    DescriptorDigest,
    /// A descriptor has a digest of another algorithm than SHA-256.
    DescriptorAlgorithm,
    /// A descriptor has no size, or a negative one.
    DescriptorSize,
    /// The `data` of a descriptor is not its blob.
    DescriptorData,
    /// A manifest has no config or no list of layers.
    ManifestIncomplete,
    /// A manifest is of Docker's schema 1, which engines refuse.
    ManifestSchema,
    /// A blob is not there.
    BlobMissing,
    /// A blob does not have the size of its descriptor.
    BlobSize,
    /// The bytes of a blob have another digest than its name.
    BlobDigest,
    /// A file among the blobs is not named by a digest.
    BlobName,
    /// The config's `os` is missing or not in lower case.
    ConfigOs,
    /// The config's `architecture` is missing.
    ConfigArchitecture,
    /// An image has more layers than Docker's graph drivers stack.
    LayerCount,
    /// The config's platform is not the one in the index.
    ConfigPlatform,
    /// The config's `rootfs.type` is not `layers`.
    ConfigRootfs,
    /// The config does not have as many diff IDs as there are layers.
    DiffIdCount,
    /// A diff ID is not a digest.
    DiffIdMalformed,
    /// The tar of a layer does not have the digest in the config.
    DiffId,
    /// The history has more steps that made a layer than there are layers.
    HistoryCount,
    /// The compression of a layer is not that of its media type.
    LayerCompression,
    /// The compressed bytes of a layer are damaged.
    LayerDamaged,
    /// Bytes follow the compressed stream of a layer.
    LayerTrailingBytes,
    /// The tar of a layer is damaged.
    LayerTar,
    /// Two entries of a layer have the same path.
    LayerDuplicatePath,
    /// A path leads out of the root by `..`.
    LayerPathOutside,
    /// A path lies below another one that is not a directory.
    LayerParent,
    /// A path, or the target of a symbolic link, is longer than Linux allows.
    LayerPathLength,
    /// The target of a hard link is not an earlier entry of the same layer.
    LayerHardlink,
    /// A symbolic link has no target.
    LayerSymlink,
    /// An entry is of a type that engines do not unpack.
    LayerEntryType,
    /// A whiteout hides nothing, or an entry of its own layer.
    LayerWhiteout,
    /// An owner does not fit in 32 bits and would become another one.
    LayerOwner,
    /// The capabilities of a program are in no form of the kernel's.
    LayerCapabilities,
    /// A layer has more violations than are listed, or too many entries.
    LayerMore,
    /// The archive itself is damaged.
    ArchiveTar,
    /// A name in the archive is absolute, which containerd refuses.
    ArchiveName,
    /// A file in the archive is a hard link, which containerd does not follow.
    ArchiveHardlink,
    /// `manifest.json` refers to a file by a name other than the archive's.
    DockerName,
    /// An image of `manifest.json` has no `Config`.
    DockerConfig,
    /// `manifest.json` refers to a file that is not there.
    DockerMissing,
    /// A name in `manifest.json` is not a `repository:tag`.
    DockerTag,
    /// `manifest.json` and `index.json` name an image differently.
    DockerTags,
    /// `manifest.json` and `index.json` list different images.
    DockerImages,
    /// `manifest.json` and the manifest list different layers.
    DockerLayers,
}

impl ViolationKind {
    fn predicate(self) -> &'static str {
        match self {
            Self::DocumentMissing | Self::BlobMissing => "is missing",
            Self::DocumentMalformed => "is malformed",
            Self::DocumentSize => "is too large",
            Self::DocumentVersion => "has the wrong `schemaVersion`",
            Self::DocumentMediaType => "has the wrong `mediaType`",
            Self::Unreadable => "cannot be read",
            Self::LayoutVersion => "has a version that readers refuse",
            Self::TooManyDocuments => "leads to too many documents",
            Self::DescriptorMediaType => "has no media type",
            Self::DescriptorDigest => "has no valid digest",
            Self::DescriptorAlgorithm => "has a digest that imgbuild does not compute",
            Self::DescriptorSize => "has no valid size",
            Self::DescriptorData => "has `data` other than its blob",
            Self::ManifestIncomplete => "is not a complete manifest",
            Self::ManifestSchema => "is a manifest of schema 1, which engines refuse",
            Self::BlobSize => "has the wrong size",
            Self::BlobDigest => "has the wrong digest",
            Self::BlobName => "is not named by a digest",
            Self::ConfigOs => "has no valid `os`",
            Self::ConfigArchitecture => "has no `architecture`",
            Self::LayerCount => "has too many layers",
            Self::ConfigPlatform => "is not for the platform in the index",
            Self::ConfigRootfs => "has the wrong `rootfs.type`",
            Self::DiffIdCount => "has the wrong number of diff IDs",
            Self::DiffIdMalformed => "has a diff ID that is not a digest",
            Self::DiffId => "has the wrong diff ID",
            Self::HistoryCount => "has a history of more layers than it has",
            Self::LayerCompression => "does not have the compression of its media type",
            Self::LayerDamaged => "cannot be decompressed",
            Self::LayerTrailingBytes => "has bytes after its compressed stream",
            Self::LayerTar => "is not a tar that can be read",
            Self::LayerDuplicatePath => "has a path twice",
            Self::LayerPathOutside => "has a path that leads out of the root",
            Self::LayerParent => "has a path below one that is not a directory",
            Self::LayerPathLength => "has a path or the target of a link that is too long",
            Self::LayerHardlink => {
                "has a hard link whose target is not a file before it in the same layer"
            }
            Self::LayerSymlink => "has a symbolic link without a target",
            Self::LayerEntryType => {
                "has an entry that is not a file, directory, link, device or pipe"
            }
            Self::LayerWhiteout => {
                "has a whiteout of nothing, or of an entry before it in the same layer"
            }
            Self::LayerOwner => "has an owner that does not fit in 32 bits",
            Self::LayerCapabilities => "has file capabilities in none of the forms of the kernel",
            Self::LayerMore => "has more violations than are listed",
            Self::ArchiveTar => "is damaged",
            Self::ArchiveName => "is an absolute name in the archive",
            Self::ArchiveHardlink => "is a hard link in the archive",
            Self::DockerName => "refers to a file by another name than the archive's",
            Self::DockerConfig => "has no `Config`",
            Self::DockerMissing => "refers to a file that is missing",
            Self::DockerTag => "has a name that is not a `repository:tag`",
            Self::DockerTags => "names an image differently than `index.json`",
            Self::DockerImages => "lists other images than `index.json`",
            Self::DockerLayers => "lists other layers than the manifest",
        }
    }
}
