//! Sources of images on this machine: image layouts and archives of any tool.
//!
//! Input is never trusted. Documents are bounded in size, number and depth,
//! names cannot leave the source, links are followed within an archive only,
//! and blobs are checked against their digest when they are read whole.
//! Nothing is unpacked to disk.

use std::io;
use std::path::Path;

use crate::blob::BlobOrigin;
use crate::bounded;
use crate::digest::Digest;
use crate::document::{
    Descriptor, DockerManifest, MAX_DOCUMENT_BYTES, RawDescriptor, RawDocument, blob_name,
    documents_below,
};
use crate::json::from_json;
use crate::media_type::is_index;

mod archive;
mod blob;
mod compression;
mod error;
mod layout;
mod name;

pub use archive::ArchiveSource;
pub use blob::MemberReader;
pub(crate) use blob::SourceBlob;
pub use compression::UnsupportedCompressionError;
pub(crate) use compression::{Decompressor, StreamFormat, TrailingBytesError};
pub use error::SourceError;
pub use layout::LayoutSource;
pub(crate) use name::{FOREIGN_TRANSPORTS, split_tag};
pub use name::{ParseSourceNameError, SourceName};

use layout::KnownRoot;

/// A source of images.
#[derive(Debug)]
pub enum Source {
    /// A directory.
    Layout(LayoutSource),
    /// A tar file.
    Archive(ArchiveSource),
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
                io::ErrorKind::NotFound => SourceError::NotFound(path),
                // Without the text of the system call.
                kind => SourceError::Path {
                    action: "access",
                    path,
                    source: kind.into(),
                },
            }
        })?;
        if metadata.is_dir() {
            return LayoutSource::open(path).map(Self::Layout);
        }
        if !metadata.is_file() {
            return Err(SourceError::NotAFile(path.to_owned()));
        }
        ArchiveSource::open(path, scratch).map(Self::Archive)
    }

    /// Opens a directory that has `blobs/sha256`, but may have no index.
    pub(crate) fn open_blobs(path: &Path) -> Option<Self> {
        LayoutSource::open_blobs(path).map(Self::Layout)
    }

    /// Takes a directory with `blobs/sha256` as if its index listed `root` alone.
    /// The repository `origin` has its blobs, too.
    pub(crate) fn of_blobs(path: &Path, root: Descriptor, origin: Option<BlobOrigin>) -> Self {
        Self::Layout(LayoutSource::of_known(path, KnownRoot { root, origin }))
    }

    /// Returns the repository that has its blobs, too, if one is known.
    #[must_use]
    pub fn origin(&self) -> Option<&BlobOrigin> {
        self.known()?.origin.as_ref()
    }

    fn known(&self) -> Option<&KnownRoot> {
        match self {
            Self::Layout(layout) => layout.known.as_ref(),
            Self::Archive(_) => None,
        }
    }

    /// Returns the path that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Layout(layout) => &layout.root,
            Self::Archive(archive) => &archive.path,
        }
    }

    /// Opens a file of the source by its name there, such as `index.json`;
    /// `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn member(&self, name: &str) -> Result<Option<MemberReader>, SourceError> {
        match self {
            Self::Layout(layout) => layout.member(name),
            Self::Archive(archive) => archive.member(name),
        }
    }

    /// Returns false if the blob of a descriptor is not there.
    pub(crate) fn has(&self, one: &Descriptor) -> bool {
        !matches!(self.member(&blob_name(&one.digest)), Ok(None))
    }

    /// Opens a blob, without checking it.
    ///
    /// # Errors
    ///
    /// When it is missing or cannot be opened.
    pub fn blob(&self, digest: &Digest) -> Result<MemberReader, SourceError> {
        self.existing(&blob_name(digest))
    }

    /// Opens a file of the source that must exist.
    pub(crate) fn existing(&self, name: &str) -> Result<MemberReader, SourceError> {
        let missing = || SourceError::Missing(name.to_owned());
        self.member(name)?.ok_or_else(missing)
    }

    /// Reads a document whole by its name in the source.
    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>, SourceError> {
        read_document(name, self.existing(name)?)
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

    /// Returns the descriptors of `index.json`, of indexes as well as of
    /// manifests; an empty list if there is no `index.json`.
    ///
    /// # Errors
    ///
    /// When it is damaged or malformed, or lists too much.
    pub fn roots(&self) -> Result<Vec<Descriptor>, SourceError> {
        if let Some(known) = self.known() {
            return Ok(vec![known.root.clone()]);
        }
        let name = "index.json";
        let Some(blob) = self.member(name)? else {
            return Ok(Vec::new());
        };
        let index: RawDocument = parse_document(name, &read_document(name, blob)?)?;
        let manifests = index.manifests.unwrap_or_default();
        let complete = |raw: RawDescriptor| {
            raw.complete().map_err(|field| SourceError::Descriptor {
                name: name.to_owned(),
                field,
            })
        };
        manifests.into_iter().map(complete).collect()
    }

    /// Returns the manifests that `index.json` and the indexes below it lead
    /// to, in their order; an empty list if there is no `index.json`.
    ///
    /// # Errors
    ///
    /// When an index is missing, damaged or malformed, or leads to too many.
    pub fn manifests(&self) -> Result<Vec<Descriptor>, SourceError> {
        let read = &mut |index: &Descriptor| self.read_blob(&index.digest);
        let is_missing = |error: &SourceError| matches!(error, SourceError::Missing(_));
        let mut found = documents_below(&self.roots()?, read, is_missing)?;
        found.retain(|one| !is_index(&one.media_type));
        Ok(found)
    }

    /// Returns the images that an archive's `manifest.json` lists; an empty list
    /// if there is no such file, or the source is a directory.
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

/// Reads at most [`MAX_DOCUMENT_BYTES`].
pub(crate) fn read_document(name: &str, blob: MemberReader) -> Result<Vec<u8>, SourceError> {
    let size = blob.size();
    let name = name.to_owned();
    if size > MAX_DOCUMENT_BYTES {
        return Err(SourceError::TooLarge { name, size });
    }
    bounded::read_all(blob, MAX_DOCUMENT_BYTES).map_err(|source| SourceError::Read { name, source })
}

pub(crate) fn parse_document<T: serde::de::DeserializeOwned>(
    name: &str,
    bytes: &[u8],
) -> Result<T, SourceError> {
    from_json(bytes).map_err(|source| SourceError::Json {
        name: name.to_owned(),
        source,
    })
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
