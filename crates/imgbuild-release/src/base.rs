//! The image that another one is built on: its configuration, its layers, and
//! its files, if they are needed.
//!
//! Its layers come first, unchanged. The layers above follow the links of its
//! directories and keep their modes and owners.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_oci::blob::BlobContent;
use imgbuild_oci::digest::Digest;
use imgbuild_oci::entry::{Entry, EntryKind};
use imgbuild_oci::filesystem::{FileSystem, FileSystemError, ReadOptions};
use imgbuild_oci::image::{Configuration, path_from_root};
use imgbuild_oci::layer::Layer;
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::selection::{SelectedImage, SelectedLayer, SelectionError};
use imgbuild_oci::source::{Source, SourceError, UnsupportedCompressionError};
use imgbuild_oci::store::Store;
use imgbuild_oci::violation::{Violation, ViolationKind};
use serde_json::Value;

use crate::certificates::{ALIASES, BUNDLE_PATH, BaseBundle, MAX_FILE_BYTES};
use crate::contents::Contents;

pub(crate) mod configuration;
mod place;

/// A base image. Its documents have the digests that name them; its layers are
/// read only if its files are needed.
#[derive(Debug)]
pub struct Base {
    source: Source,
    /// The name, for annotations.
    pub name: String,
    image: SelectedImage,
    files: Option<FileSystem>,
    /// The bytes of its layers, if they are not in the source.
    contents: Vec<Arc<dyn BlobContent>>,
    /// The configuration that an image on it inherits.
    pub configuration: Configuration,
    /// The history, with one step for each layer.
    pub(crate) history: Vec<Value>,
}

/// A reason why an image cannot be a base.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaseError {
    /// It cannot be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is no such image, or there are several.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// Its layers cannot be read.
    #[error(transparent)]
    FileSystem(#[from] FileSystemError),
    /// It is for another operating system.
    #[error("it is for {0}, not for Linux")]
    System(Platform),
    /// Every engine refuses it.
    #[error("{0}")]
    Refused(Box<Violation>),
}

impl BaseError {
    /// Fails with a violation that every engine refuses.
    fn check(violations: &[Violation]) -> Result<(), Self> {
        let found = Violation::refusal(violations).cloned();
        found.map_or(Ok(()), |found| Err(Self::Refused(Box::new(found))))
    }

    /// Returns `: ` and the reason, if the base has a compression that is not read,
    /// else nothing.
    #[must_use]
    pub fn compression(&self) -> String {
        let found = UnsupportedCompressionError::find(self);
        found.map_or_else(String::new, |error| format!(": {error}"))
    }
}

/// The choice of one image of a source.
#[derive(Debug, Clone, Default)]
pub struct BaseOptions {
    /// The tag, where there are several.
    pub tag: Option<String>,
    /// The platform, where there are several; an only one must be for it.
    pub platform: Option<Platform>,
    /// The name of an image that has none in its source.
    pub name: String,
}

impl Base {
    /// Selects the image and reads its documents.
    ///
    /// # Errors
    ///
    /// When there is no such image, or its documents do not have their digests.
    pub fn open(source: Source, options: &BaseOptions) -> Result<Self, BaseError> {
        let platform = options.platform.as_ref();
        let mut image = SelectedImage::select(&source, options.tag.as_deref(), platform)?;
        if image.platform.os() != "linux" {
            return Err(BaseError::System(image.platform));
        }
        // The images on it do not have such variables.
        let is_inherited = |one: &Violation| one.kind != ViolationKind::ConfigVariable;
        image.violations.retain(is_inherited);
        BaseError::check(&image.violations)?;
        let mut configuration = Configuration::of_document(&image.config);
        // Engines resolve `..` from the root.
        if let Some(text) = &mut configuration.working_dir
            && text.starts_with('/')
            && ImagePath::parse(&*text).is_err()
            && let Some(path) = path_from_root(text)
        {
            *text = path.to_string();
        }
        Ok(Self {
            name: image.name.clone().unwrap_or_else(|| options.name.clone()),
            history: configuration::history(&image.config, image.layers.len()),
            configuration,
            source,
            image,
            files: None,
            contents: Vec::new(),
        })
    }

    /// Takes the bytes of each layer from elsewhere than the source.
    #[must_use]
    pub fn with_contents(
        mut self,
        content: impl FnMut(&SelectedLayer) -> Arc<dyn BlobContent>,
    ) -> Self {
        self.contents = self.image.layers.iter().map(content).collect();
        self
    }

    /// Takes the file system that the store remembers; returns whether it has
    /// everything.
    pub fn recall_files(&mut self, store: &Store) -> bool {
        if self.files.is_none() {
            self.files = store.file_system(&self.image.layers);
        }
        self.files.is_some()
    }

    /// Reads its layers, and has the store remember what they hold. Contents
    /// that matter wait there, or in the directory `scratch`.
    ///
    /// # Errors
    ///
    /// When a layer does not have its digest, the layers do not fit together, or
    /// every engine refuses them.
    pub fn read_files(&mut self, store: Option<&Store>, scratch: &Path) -> Result<(), BaseError> {
        let options = ReadOptions {
            scratch,
            keeps: &|_| false,
        };
        let files = match store {
            Some(store) => store.read_file_system(&self.source, &self.image, options),
            None => FileSystem::read(&self.source, &self.image, options),
        };
        let files = files?;
        BaseError::check(files.violations())?;
        self.files = Some(files);
        Ok(())
    }

    /// Returns whether its files are known: the layers above then follow its
    /// links and repeat its directories unchanged.
    #[must_use]
    pub fn knows_files(&self) -> bool {
        self.files.is_some()
    }

    /// Returns the digest of its manifest; a Docker archive may have none.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.image.manifest
    }

    /// Returns what it runs on.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.image.platform
    }

    /// Returns its layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[SelectedLayer] {
        &self.image.layers
    }

    /// Returns the compression of each layer that is compressed: `gzip` or `zstd`.
    pub fn compressions(&self) -> impl Iterator<Item = &str> {
        let media_types = self.layers().iter().map(|layer| &layer.media_type);
        media_types.filter_map(|one| Some(one.rsplit_once('+')?.1))
    }

    /// Returns the violations that some engines refuse.
    pub(crate) fn violations(&self) -> impl Iterator<Item = &Violation> {
        let of_files = self.files.iter().flat_map(FileSystem::violations);
        self.image.violations.iter().chain(of_files)
    }

    /// Returns who made it.
    pub(crate) fn author(&self) -> Option<&str> {
        self.image.config.get("author").and_then(Value::as_str)
    }

    /// Puts it under contents.
    pub(crate) fn under<'a>(&'a self, mut contents: Contents<'a>) -> Contents<'a> {
        contents.base = self.files.as_ref().map_or(&[], FileSystem::members);
        contents.base_path = self.path();
        contents
    }

    /// Returns whether it has a device or the like at this path.
    fn is_special(&self, path: &ImagePath) -> bool {
        let files = self.files.as_ref();
        files.is_some_and(|files| files.specials().contains(path))
    }

    /// Returns its `PATH`.
    pub(crate) fn path(&self) -> Option<&str> {
        self.variable("PATH=")
    }

    /// Returns the path where its programs look for CA certificates, if it sets one
    /// that is not a directory.
    pub(crate) fn certificate_file(&self) -> Option<ImagePath> {
        let path = ImagePath::parse(self.variable("SSL_CERT_FILE=")?).ok()?;
        let contents = self.under(Contents::new(&[]));
        (!contents.leads_to_directory(&path)).then_some(path)
    }

    /// Returns its CA bundles, each once: those at the places of systems, and those of
    /// `SSL_CERT_FILE` and `NODE_EXTRA_CA_CERTS`.
    #[must_use]
    pub fn ca_bundles(&self) -> Vec<BaseBundle> {
        let contents = self.under(Contents::new(&[]));
        let variables = ["SSL_CERT_FILE=", "NODE_EXTRA_CA_CERTS="];
        let of_variables = variables.iter().filter_map(|name| self.variable(name));
        let aliases = ALIASES.iter().map(|(alias, _)| *alias);
        let places = of_variables.chain([BUNDLE_PATH]).chain(aliases);
        let mut seen = BTreeSet::new();
        let bundle = |place: &str| {
            let file = contents.file(&ImagePath::parse(place).ok()?)?;
            let content = file.content.as_ref();
            let bytes = content.and_then(|content| content.first_bytes(MAX_FILE_BYTES).ok());
            let is_new = seen.insert(&file.entry.path)
                && bytes.as_ref().is_none_or(|bytes| !bytes.is_empty());
            let path = PathBuf::from(place);
            is_new.then_some(BaseBundle { path, bytes })
        };
        places.filter_map(bundle).collect()
    }

    /// Returns the value of a variable, whose name is given with its `=`. The last one
    /// counts.
    fn variable(&self, start: &str) -> Option<&str> {
        let mut variables = self.configuration.env.iter().rev();
        variables.find_map(|variable| variable.strip_prefix(start))
    }

    /// Returns its directory at exactly this path.
    pub(crate) fn directory(&self, path: &ImagePath) -> Option<&Entry> {
        let member = self.files.as_ref()?.get(path)?;
        let is_directory = member.entry.kind == EntryKind::Directory;
        is_directory.then_some(&member.entry)
    }

    /// Opens its layers to be written.
    pub(crate) fn open_layers(&self) -> imgbuild_oci::error::Result<Vec<Layer>> {
        let facts = self.files.as_ref().map(FileSystem::blobs);
        let open = |(index, layer): (usize, &SelectedLayer)| {
            let facts = facts.and_then(|facts| facts.get(index)).copied();
            match self.contents.get(index) {
                Some(content) => Ok(Layer::of_content(layer, facts, Arc::clone(content), "base")),
                None => Layer::of_base(&self.source, layer, facts, "base"),
            }
        };
        self.image.layers.iter().enumerate().map(open).collect()
    }
}

#[cfg(test)]
mod tests;
