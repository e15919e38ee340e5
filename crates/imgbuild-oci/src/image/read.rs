//! Images from documents, wherever these are read from.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::{Blob, Image, ImageError};
use crate::blob::BlobContent;
use crate::digest::Digest;
use crate::document::{
    CONTAINERD_NAME, Descriptor, Document, DocumentError, MAX_INDEX_DEPTH, MAX_MANIFESTS, REF_NAME,
    SUBJECT,
};
use crate::media_type::{is_index, is_manifest};
use crate::path::escaped;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::selection::{ReadDocument, SelectionError, read_document, select, select_root};
use crate::source::{Source, SourceBlob};

/// The images of an index that are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platforms {
    /// All of them, and the index itself.
    All,
    /// Those that are there, without an index that may name others.
    Here,
    /// The one for a platform, without the index.
    One(Platform),
}

/// Opens a blob of a digest and a size in bytes; nothing needs to be read.
type OpenBlob<'a> = dyn Fn(Digest, u64) -> Arc<dyn BlobContent> + 'a;

impl Image {
    /// Reads the image or index `root`. `read` reads manifests and indexes, and
    /// `open` opens configs and layers.
    ///
    /// # Errors
    ///
    /// When a document is missing, damaged, malformed or of an unknown type, when
    /// there is no image for the platform, and for [`Platforms::All`] when only a part
    /// of an index is there.
    pub fn read(
        root: Document,
        platforms: &Platforms,
        read: &mut ReadDocument<'_>,
        open: &OpenBlob<'_>,
    ) -> Result<Self, ImageError> {
        let mut reader = ImageReader {
            read,
            open,
            image: Self::empty(),
            seen: BTreeSet::new(),
        };
        let root = match platforms {
            Platforms::One(platform) if is_index(&root.media_type) => {
                reader.choose(&root, platform)?
            }
            _ => root,
        };
        check_kind(&root.media_type, root.digest)?;
        reader.add(root, 0)?;
        let image = reader.image;
        if *platforms == Platforms::Here || image.part.is_whole() {
            return Ok(image);
        }
        Err(ImageError::Part(image.part))
    }

    /// Reads the image or index of a layout or archive that `tag`, a tag or a
    /// full name, names: the only one without it. Returns it with all its
    /// full names there.
    ///
    /// # Errors
    ///
    /// As [`Image::read`], and when there is no such image, or more than one. Images that
    /// only `index.json` names may be absent beside it: they are listed in its `part`,
    /// unless one platform is read.
    pub fn of_source(
        source: &Arc<Source>,
        tag: Option<&str>,
        platforms: &Platforms,
    ) -> Result<(Self, Vec<Reference>), ImageError> {
        let roots = source.roots()?;
        if roots.is_empty() {
            return Self::of_docker_archive(source, tag, platforms);
        }
        let read = &mut |one: &Descriptor| source.read_blob(&one.digest).map_err(io::Error::other);
        let (mut here, mut absent): (Vec<_>, Vec<_>) =
            roots.iter().cloned().partition(|one| source.has(one));
        if tag.is_some() || here.is_empty() {
            (here, absent) = (roots.clone(), Vec::new());
        }
        let chosen = select_root(here, tag, read)?.document;
        let root = Document::of(&chosen, source.read_blob(&chosen.digest)?);
        let mut image = Self::read(root, platforms, read, &|digest, _| {
            Arc::new(SourceBlob::new(source, digest))
        })?;
        let attached = roots.iter().filter_map(|root| image.attached(root, source));
        image.artifacts = attached.collect();
        if !matches!(platforms, Platforms::One(_)) {
            if is_manifest(&chosen.media_type) {
                image.part.add(&chosen, true);
            }
            absent.iter().for_each(|one| image.part.add(one, false));
        }
        let same = roots.iter().filter(|one| one.digest == chosen.digest);
        let names = same.filter_map(|one| one.annotations.get(CONTAINERD_NAME)?.parse().ok());
        Ok((image, names.collect()))
    }

    /// Returns the type of an artifact that is attached to the image and not a part
    /// of it: by its subject or, if it has none, because it has no name.
    fn attached(&self, one: &Descriptor, source: &Source) -> Option<String> {
        if !is_manifest(&one.media_type) || self.document(one.digest).is_some() {
            return None;
        }
        let manifest = Document::of(one, source.read_blob(&one.digest).ok()?);
        let manifest = manifest.parse().ok()?;
        let subject = manifest.subject.as_ref().and_then(|one| one.digest.clone());
        let is_attached = match subject.or(one.annotations.get(SUBJECT).cloned()) {
            Some(subject) => self.document(subject.parse().ok()?).is_some(),
            None => !one.annotations.contains_key(REF_NAME),
        };
        let artifact = manifest.artifact().or_else(|| one.artifact.clone());
        artifact.filter(|_| is_attached)
    }
}

/// Refuses a document whose references are unknown: the copy would be in part.
fn check_kind(media_type: &str, digest: Digest) -> Result<(), ImageError> {
    if is_index(media_type) || is_manifest(media_type) {
        return Ok(());
    }
    let media_type = escaped(media_type.as_bytes());
    Err(ImageError::Kind { digest, media_type })
}

struct ImageReader<'a> {
    read: &'a mut ReadDocument<'a>,
    open: &'a OpenBlob<'a>,
    image: Image,
    seen: BTreeSet<Digest>,
}

impl ImageReader<'_> {
    /// Returns the manifest for a platform, by the rules of [`select`].
    fn choose(&mut self, index: &Document, wanted: &Platform) -> Result<Document, ImageError> {
        let (read, open) = (&mut *self.read, self.open);
        let mut read_any = |one: &Descriptor| {
            if is_index(&one.media_type) || is_manifest(&one.media_type) {
                read(one)
            } else {
                blob(one, true, open).read_document()
            }
        };
        let images = index.children()?;
        let chosen = select(images, None, Some(wanted), &mut read_any, &|_| true);
        let chosen = chosen.map_err(|error| match error {
            // An index without images has none for the platform.
            SelectionError::NoImage | SelectionError::Artifact(_) => {
                SelectionError::no_platform(wanted, Vec::new())
            }
            error => error,
        })?;
        chosen.check_runs_on(wanted, &mut read_any)?;
        Ok(read_document(&chosen.document, self.read)?)
    }

    fn add(&mut self, document: Document, depth: usize) -> Result<(), ImageError> {
        if !self.seen.insert(document.digest) {
            return Ok(());
        }
        if depth >= MAX_INDEX_DEPTH {
            return Err(DocumentError::TooDeep.into());
        }
        if self.seen.len() > MAX_MANIFESTS {
            return Err(DocumentError::TooManyManifests.into());
        }
        if is_index(&document.media_type) {
            let mut missing = None;
            for child in document.children()? {
                check_kind(&child.media_type, child.digest)?;
                match read_document(&child, self.read) {
                    Err(error) if error.is_missing() => {
                        missing.get_or_insert(error);
                        self.image.part.add(&child, false);
                        continue;
                    }
                    found => self.add(found?, depth + 1)?,
                }
                if is_manifest(&child.media_type) {
                    self.image.part.add(&child, true);
                }
            }
            if let Some(error) = missing.filter(|_| self.image.part.here.is_empty()) {
                return Err(error.into());
            }
        } else {
            self.add_blobs(&document)?;
        }
        self.image.documents.push(document);
        Ok(())
    }

    fn add_blobs(&mut self, manifest: &Document) -> Result<(), DocumentError> {
        let raw = manifest.parse()?;
        let layers = raw.layers.into_iter().flatten();
        let layers = layers.map(|layer| (layer, false));
        let config = raw.config.into_iter().map(|config| (config, true));
        let all = layers.chain(config).filter(|(one, _)| !one.is_foreign());
        for (descriptor, is_config) in all {
            let descriptor = manifest.complete(descriptor)?;
            let blob = blob(&descriptor, is_config, self.open);
            self.image.push_blob(blob);
        }
        Ok(())
    }
}

fn blob(descriptor: &Descriptor, is_config: bool, open: &OpenBlob<'_>) -> Blob {
    let (digest, size) = (descriptor.digest, descriptor.size);
    let blob = Blob::new(&descriptor.media_type, digest, size, open(digest, size));
    if is_config { blob.into_config() } else { blob }
}
