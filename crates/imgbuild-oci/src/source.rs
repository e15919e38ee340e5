//! Where an image is read from: an image layout or an archive, anybody's.
//!
//! Input is never trusted. Documents are bounded in size, number and depth,
//! names cannot leave the source, links are followed within an archive only,
//! and blobs are checked against their digest when they are read whole.
//! Nothing is unpacked to disk.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::blob::BlobOrigin;
use crate::digest::Digest;
use crate::platform::Purpose;

mod archive;
mod blob;
mod compression;
pub(crate) mod document;
mod error;
mod layout;
mod name;

pub use archive::ArchiveSource;
pub use blob::BlobReader;
pub use compression::{
    Compression, Decompressor, ExpansionError, TrailingBytesError, UnsupportedCompressionError,
};
pub use document::DockerManifest;
pub use error::SourceError;
pub use layout::LayoutSource;
pub use name::{ParseSourceNameError, SourceName};

use document::{Document, RawDescriptor};
use layout::Known;

/// The largest JSON document that is read: indexes, manifests, configurations.
///
/// Other readers have the same limit, and registries refuse larger ones.
pub const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// How deep indexes may lie in each other, `index.json` counted.
pub const MAX_INDEX_DEPTH: usize = 4;

/// How many manifests a source may have, names of the same one counted.
pub const MAX_MANIFESTS: usize = 16_384;

/// How many indexes below `index.json` are read.
const MAX_INDEXES: usize = 1024;

/// Something that images are read from.
#[derive(Debug)]
pub enum Source {
    /// A directory.
    Layout(LayoutSource),
    /// A tar file.
    Archive(ArchiveSource),
}

/// A manifest that the index of a source leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestDescriptor {
    /// What kind of document it is.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// The number of its bytes.
    pub size: u64,
    /// The annotations of its descriptor in `index.json`, or of the one that
    /// leads to it from there: its names are among them.
    pub annotations: Arc<BTreeMap<String, String>>,
    /// The platform that its descriptor says, if it says one.
    pub purpose: Option<Purpose>,
}

impl Source {
    /// Opens a layout or an archive; the content decides which.
    ///
    /// An archive that is compressed as a whole is decompressed to a file
    /// without a name in the directory `scratch`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is neither.
    pub fn open(path: &Path, scratch: &Path) -> Result<Self, SourceError> {
        let metadata = fs_err::metadata(path).map_err(|error| {
            let path = path.to_owned();
            match error.kind() {
                io::ErrorKind::NotFound => SourceError::NotFound { path },
                // Without the words of the call.
                kind => SourceError::Inaccessible {
                    path,
                    source: kind.into(),
                },
            }
        })?;
        if metadata.is_dir() {
            return LayoutSource::open(path).map(Self::Layout);
        }
        if !metadata.is_file() {
            let path = path.to_owned();
            return Err(SourceError::NotAFile { path });
        }
        ArchiveSource::open(path, scratch).map(Self::Archive)
    }

    /// Opens a directory that has `blobs/sha256`, but may have no index.
    pub(crate) fn open_blobs(path: &Path) -> Option<Self> {
        LayoutSource::open_blobs(path).map(Self::Layout)
    }

    /// Takes a directory with `blobs/sha256` as if its index had `root` alone.
    /// Its blobs came from `origin`, where they are still.
    #[must_use]
    pub fn of_blobs(path: &Path, root: ManifestDescriptor, origin: Option<BlobOrigin>) -> Self {
        Self::Layout(LayoutSource::of_known(path, Known { root, origin }))
    }

    /// Returns the repository that its blobs came from, if it is known.
    #[must_use]
    pub fn origin(&self) -> Option<&BlobOrigin> {
        self.known()?.origin.as_ref()
    }

    fn known(&self) -> Option<&Known> {
        match self {
            Self::Layout(layout) => layout.known(),
            Self::Archive(_) => None,
        }
    }

    /// Returns what was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Layout(layout) => layout.root(),
            Self::Archive(archive) => archive.path(),
        }
    }

    /// Opens a file of the source by its name there, such as `index.json`;
    /// `None` if there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn member(&self, name: &str) -> Result<Option<BlobReader>, SourceError> {
        match self {
            Self::Layout(layout) => layout.member(name),
            Self::Archive(archive) => archive.member(name),
        }
    }

    /// Opens a blob, without checking it.
    ///
    /// # Errors
    ///
    /// When it is missing or cannot be opened.
    pub fn blob(&self, digest: &Digest) -> Result<BlobReader, SourceError> {
        let name = blob_name(digest);
        self.member(&name)?.ok_or(SourceError::Missing { name })
    }

    /// Reads a document whole by its name in the source.
    ///
    /// # Errors
    ///
    /// When it is missing, or larger than [`MAX_DOCUMENT_BYTES`].
    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>, SourceError> {
        let missing = || SourceError::Missing {
            name: name.to_owned(),
        };
        read_document(name, self.member(name)?.ok_or_else(missing)?)
    }

    /// Reads a document whole and checks its digest.
    ///
    /// # Errors
    ///
    /// When it is missing, damaged, or larger than [`MAX_DOCUMENT_BYTES`].
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, SourceError> {
        let name = blob_name(digest);
        let bytes = read_document(&name, self.blob(digest)?)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            let expected = *digest;
            return Err(SourceError::Digest {
                name,
                expected,
                found,
            });
        }
        Ok(bytes)
    }

    /// Returns what `index.json` itself lists, indexes as well as manifests;
    /// none if there is no `index.json`.
    ///
    /// # Errors
    ///
    /// When it is damaged or malformed, or lists too much.
    pub fn roots(&self) -> Result<Vec<ManifestDescriptor>, SourceError> {
        if let Some(known) = self.known() {
            return Ok(vec![known.root.clone()]);
        }
        let mut found = Vec::new();
        if let Some(blob) = self.member("index.json")? {
            let bytes = read_document("index.json", blob)?;
            self.add_manifests("index.json", &bytes, None, &mut found)?;
        }
        Ok(found)
    }

    /// Returns the manifests that `index.json` and the indexes below it lead
    /// to, in their order; none if there is no `index.json`.
    ///
    /// # Errors
    ///
    /// When an index is missing, damaged or malformed, or leads to too many.
    pub fn manifests(&self) -> Result<Vec<ManifestDescriptor>, SourceError> {
        let mut found = self.roots()?;
        for _ in 1..MAX_INDEX_DEPTH {
            found = self.expand_indexes(found)?;
        }
        if found.iter().any(|one| is_index(&one.media_type)) {
            return Err(SourceError::TooDeep);
        }
        Ok(found)
    }

    /// Puts what the indexes among `manifests` lead to in their place.
    fn expand_indexes(
        &self,
        manifests: Vec<ManifestDescriptor>,
    ) -> Result<Vec<ManifestDescriptor>, SourceError> {
        let indexes = manifests.iter().filter(|one| is_index(&one.media_type));
        if indexes.count() > MAX_INDEXES {
            return Err(SourceError::TooManyManifests);
        }
        let mut found = Vec::with_capacity(manifests.len());
        for one in manifests {
            if is_index(&one.media_type) {
                let bytes = self.read_blob(&one.digest)?;
                self.add_manifests(&blob_name(&one.digest), &bytes, Some(&one), &mut found)?;
            } else {
                found.push(one);
            }
        }
        Ok(found)
    }

    fn add_manifests(
        &self,
        name: &str,
        bytes: &[u8],
        parent: Option<&ManifestDescriptor>,
        found: &mut Vec<ManifestDescriptor>,
    ) -> Result<(), SourceError> {
        let index: Document = parse_document(name, bytes)?;
        for raw in index.manifests.unwrap_or_default() {
            let mut one = manifest_descriptor(name, raw)?;
            if let Some(parent) = parent {
                one.annotations = parent.annotations.clone();
            }
            found.push(one);
            if found.len() > MAX_MANIFESTS {
                return Err(SourceError::TooManyManifests);
            }
        }
        Ok(())
    }

    /// Returns the images that an archive's `manifest.json` lists; none if
    /// there is no such file, or the source is a directory.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is malformed.
    pub fn docker_manifests(&self) -> Result<Vec<DockerManifest>, SourceError> {
        let name = "manifest.json";
        // In a layout the file means nothing.
        let (Self::Archive(_), Some(blob)) = (self, self.member(name)?) else {
            return Ok(Vec::new());
        };
        parse_document(name, &read_document(name, blob)?)
    }

    /// Returns the names of the files in `blobs/sha256`, sorted.
    pub(crate) fn blob_names(&self) -> Result<Vec<String>, SourceError> {
        match self {
            Self::Layout(layout) => layout.blob_names(),
            Self::Archive(archive) => Ok(archive.blob_names()),
        }
    }
}

/// Returns where a blob lies in a layout.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Whether a media type is that of an index, by OCI's or Docker's name.
#[must_use]
pub fn is_index(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json"
    )
}

/// Reads at most [`MAX_DOCUMENT_BYTES`].
pub(crate) fn read_document(name: &str, blob: BlobReader) -> Result<Vec<u8>, SourceError> {
    let size = blob.size();
    let name = || name.to_owned();
    if size > MAX_DOCUMENT_BYTES {
        return Err(SourceError::TooLarge { name: name(), size });
    }
    let mut bytes = Vec::new();
    let result = blob.take(MAX_DOCUMENT_BYTES).read_to_end(&mut bytes);
    match result {
        Ok(_) => Ok(bytes),
        Err(source) => Err(SourceError::Read {
            name: name(),
            source,
        }),
    }
}

fn parse_document<T: serde::de::DeserializeOwned>(
    name: &str,
    bytes: &[u8],
) -> Result<T, SourceError> {
    serde_json::from_slice(bytes).map_err(|source| SourceError::Json {
        name: name.to_owned(),
        source,
    })
}

fn manifest_descriptor(name: &str, raw: RawDescriptor) -> Result<ManifestDescriptor, SourceError> {
    let error = |field| SourceError::Descriptor {
        name: name.to_owned(),
        field,
    };
    let digest = raw.digest.and_then(|text| text.parse().ok());
    let size = raw.size.and_then(|size| u64::try_from(size).ok());
    let purpose = raw.platform.and_then(|platform| platform.purpose());
    Ok(ManifestDescriptor {
        media_type: raw.media_type.ok_or_else(|| error("media type"))?,
        digest: digest.ok_or_else(|| error("digest"))?,
        size: size.ok_or_else(|| error("size"))?,
        annotations: Arc::new(raw.annotations.unwrap_or_default()),
        purpose,
    })
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
