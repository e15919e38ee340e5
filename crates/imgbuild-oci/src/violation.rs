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
    /// Podman, and Docker and containerd on a machine without `pigz`.
    WithoutPigz,
}

impl fmt::Display for Refuser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Engines => "every engine",
            Self::Docker => "Docker with graph drivers",
            Self::DockerAndPodman => "Docker with graph drivers, and Podman",
            Self::Containerd => "containerd, and Docker with its image store",
            Self::WithoutPigz => "Podman, and Docker and containerd without `pigz`",
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

    pub(crate) fn refused_by(mut self, refuser: Option<Refuser>) -> Self {
        self.refused_by = refuser;
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

/// Declares the kinds, each with its predicate in messages.
macro_rules! kinds {
    ($($(#[$meaning:meta])* $kind:ident $predicate:literal,)*) => {
        /// The rules that a source can break.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum ViolationKind {
            $($(#[$meaning])* $kind,)*
        }

        impl ViolationKind {
            fn predicate(self) -> &'static str {
                match self {
                    $(Self::$kind => $predicate,)*
                }
            }
        }
    };
}

kinds! {
    /// A document that must be there is not.
    DocumentMissing "is missing",
    /// A document is not JSON, or a field has the wrong type.
    DocumentMalformed "is malformed",
    /// A document is larger than readers take.
    DocumentSize "is too large",
    /// The `schemaVersion` is not 2.
    DocumentVersion "has the wrong `schemaVersion`",
    /// The `mediaType` is not that of the descriptor.
    DocumentMediaType "has the wrong `mediaType`",
    /// A file cannot be read.
    Unreadable "cannot be read",
    /// The `imageLayoutVersion` is not `1.0.0`, which all readers want.
    LayoutVersion "has a version that readers refuse",
    /// Indexes are nested too deep, or lead to too many documents.
    TooManyDocuments "leads to too many documents",
    /// A descriptor has no media type.
    DescriptorMediaType "has no media type",
    /// A descriptor has no digest, or a malformed one.
    DescriptorDigest "has no valid digest",
    /// A descriptor has a digest of another algorithm than SHA-256.
    DescriptorAlgorithm "has a digest that imgbuild does not compute",
    /// A descriptor has no size, or a negative one.
    DescriptorSize "has no valid size",
    /// The `data` of a descriptor is not its blob.
    DescriptorData "has `data` other than its blob",
    /// A manifest has no config or no list of layers.
    ManifestIncomplete "is not a complete manifest",
    /// A manifest is of Docker's schema 1, which engines refuse.
    ManifestSchema "is a manifest of schema 1, which engines refuse",
    /// A blob is not there.
    BlobMissing "is missing",
    /// A blob does not have the size of its descriptor.
    BlobSize "has the wrong size",
    /// The bytes of a blob have another digest than its name.
    BlobDigest "has the wrong digest",
    /// A file among the blobs is not named by a digest.
    BlobName "is not named by a digest",
    /// The config's `os` is missing or not in lower case.
    ConfigOs "has no valid `os`",
    /// The config's `architecture` is missing.
    ConfigArchitecture "has no `architecture`",
    /// An image has more layers than Docker's graph drivers stack.
    LayerCount "has too many layers",
    /// The config's platform is not the one in the index.
    ConfigPlatform "is not for the platform in the index",
    /// A variable has no name.
    ConfigVariable "has a variable without a name",
    /// A volume is at a path where engines mount nothing, or at a relative one.
    ConfigVolume "has a volume that engines do not mount",
    /// The config's `rootfs.type` is not `layers`.
    ConfigRootfs "has the wrong `rootfs.type`",
    /// The config does not have as many diff IDs as there are layers.
    DiffIdCount "has the wrong number of diff IDs",
    /// A diff ID is not a digest.
    DiffIdMalformed "has a diff ID that is not a digest",
    /// The tar of a layer does not have the digest in the config.
    DiffId "has the wrong diff ID",
    /// The history has more steps that made a layer than there are layers.
    HistoryCount "has a history of more layers than it has",
    /// The compression of a layer is not that of its media type.
    LayerCompression "does not have the compression of its media type",
    /// The compressed bytes of a layer are damaged.
    LayerDamaged "cannot be decompressed",
    /// Bytes follow the compressed stream of a layer.
    LayerTrailingBytes "has bytes after its compressed stream",
    /// The tar of a layer is damaged.
    LayerTar "is not a tar that can be read",
    /// Two entries of a layer have the same path.
    LayerDuplicatePath "has a path twice",
    /// A path leads out of the root by `..`.
    LayerPathOutside "has a path that leads out of the root",
    /// A path lies below another one that is not a directory.
    LayerParent "has a path below one that is not a directory",
    /// A path lies below a symbolic link that leads to nothing in its layer.
    LayerParentLink "has a path below a symbolic link whose target is not in the same layer before it",
    /// A path, or the target of a symbolic link, is longer than Linux allows.
    LayerPathLength "has a path or the target of a link that is too long",
    /// The target of a hard link is not an earlier entry of the same layer.
    LayerHardlink "has a hard link whose target is not a file before it in the same layer",
    /// A symbolic link has no target.
    LayerSymlink "has a symbolic link without a target",
    /// An entry is of a type that engines do not unpack.
    LayerEntryType "has an entry that is not a file, directory, link, device or pipe",
    /// A whiteout hides nothing, or an entry of its own layer.
    LayerWhiteout "has a whiteout of nothing, or of an entry before it in the same layer",
    /// An owner is negative or does not fit in 32 bits, and becomes another one.
    LayerOwner "has an owner that becomes another one in 32 bits",
    /// The capabilities of a program are in no form of the kernel's.
    LayerCapabilities "has file capabilities in none of the forms of the kernel",
    /// An extended attribute has no name, or its name or value is longer than Linux
    /// allows.
    LayerXattr "has an extended attribute that Linux does not take",
    /// An extended attribute is one of overlayfs: Docker applies it, containerd does not.
    LayerOverlay "has an attribute of overlayfs, by which engines show other files",
    /// The root is a file or a link.
    LayerRoot "has a root that is not a directory",
    /// A layer has more violations than are listed, or too many entries.
    LayerMore "has more violations than are listed",
    /// The archive itself is damaged.
    ArchiveTar "is damaged",
    /// A name in the archive is absolute, which containerd refuses.
    ArchiveName "is an absolute name in the archive",
    /// A file in the archive is a hard link, which containerd does not follow.
    ArchiveHardlink "is a hard link in the archive",
    /// `manifest.json` refers to a file by a name other than the archive's.
    DockerName "refers to a file by another name than the archive's",
    /// An image of `manifest.json` has no `Config`.
    DockerConfig "has no `Config`",
    /// `manifest.json` refers to a file that is not there.
    DockerMissing "refers to a file that is missing",
    /// A name in `manifest.json` is not a `repository:tag`.
    DockerTag "has a name that is not a `repository:tag`",
    /// `manifest.json` and `index.json` name an image differently.
    DockerTags "names an image differently than `index.json`",
    /// `manifest.json` and `index.json` list different images.
    DockerImages "lists other images than `index.json`",
    /// `manifest.json` and the manifest list different layers.
    DockerLayers "lists other layers than the manifest",
}
