//! An image that is there, ours or not, as a subject of the rules.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_oci::entry::{Entry, EntryKind, Member};
use imgbuild_oci::filesystem::{FileSystem, FileSystemError, ReadOptions};
use imgbuild_oci::image::Configuration;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::selection::SelectedImage;
use imgbuild_oci::source::Source;
use imgbuild_oci::violation::Violation;
use serde_json::Value;

use super::content::ReadableContent;
use super::erlang;
use super::secret::{self, MAX_KEY_BYTES};
use super::subject::Subject;
use crate::elf::Elf;
use crate::runtime::{Object, Role};

/// The size limit of scripts: a larger executable is not written by hand.
const MAX_SCRIPT_BYTES: u64 = 64 * 1024;

/// An image with its merged layers.
#[derive(Debug)]
pub struct ReadImage {
    config: Configuration,
    history: Vec<Value>,
    platform: Platform,
    files: FileSystem,
    objects: Vec<Object>,
    /// The violations of the configuration.
    violations: Vec<Violation>,
}

impl ReadImage {
    /// Reads all layers of an image; contents that matter wait in a file
    /// without a name in the directory `scratch`.
    ///
    /// # Errors
    ///
    /// When a layer cannot be read, or is not what it should be.
    pub fn read(
        source: &Source,
        image: &SelectedImage,
        scratch: &Path,
    ) -> Result<Self, FileSystemError> {
        let keeps = &keeps;
        let files = FileSystem::read(source, image, ReadOptions { scratch, keeps })?;
        Ok(Self {
            config: Configuration::of_document(&image.config),
            violations: image.violations.clone(),
            history: image.config["history"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
            platform: image.platform.clone(),
            objects: files.members().iter().filter_map(object).collect(),
            files,
        })
    }

    /// Returns the image as the rules see it.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        let layers = vec![self.files.members()];
        let mut subject = Subject::new(&self.config, &self.platform, layers, &self.objects);
        subject.history = &self.history;
        subject.violations = self.violations.iter().collect();
        subject.violations.extend(self.files.violations());
        subject
    }
}

/// Returns whether the rules read the content of a file: one that is named like
/// a secret, a small one that can be executed, or the one with the Erlang version
/// of a release.
fn keeps(entry: &Entry) -> bool {
    let size = entry.content_size();
    let name = entry.path.file_name();
    let is_script = entry.mode & 0o111 != 0 && size <= MAX_SCRIPT_BYTES;
    let is_start = name == erlang::START && size <= erlang::MAX_START_BYTES;
    is_script || is_start || (size <= MAX_KEY_BYTES && secret::is_named(&entry.path))
}

pub(super) fn object(member: &Member) -> Option<Object> {
    let EntryKind::File { size: 1.. } = member.entry.kind else {
        return None;
    };
    let opened = ReadableContent::open(member.content.as_ref()?)?;
    let elf = Elf::read(&opened).ok()??;
    Some(Object {
        image: member.entry.path.clone(),
        host: PathBuf::new(),
        role: Role::Module,
        elf: Arc::new(elf),
    })
}
