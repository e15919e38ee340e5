//! The image that the rules examine.

use std::collections::BTreeMap;
use std::sync::Arc;

use imgbuild_oci::entry::Member;
use imgbuild_oci::image::{Configuration, path_from_root};
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::violation::Violation;
use serde_json::Value;

use super::content::ReadableContent;
use super::identity::ContainerUser;
use crate::contents::{Contents, End};
use crate::elf::Elf;
use crate::plan::Plan;
use crate::release::command::SYSTEM_PATH;
use crate::runtime::{Bindings, Object};

/// An image, planned or existing, as the rules examine it.
#[derive(Debug)]
pub struct Subject<'a> {
    pub(super) config: &'a Configuration,
    pub(super) platform: &'a Platform,
    /// The members of each layer, sorted by path, the lowest layer first.
    pub(super) layers: Vec<&'a [Member]>,
    /// The same by path, the highest layer first.
    pub(super) contents: Contents<'a>,
    /// The ELF files that are known, at paths without links.
    objects: BTreeMap<&'a ImagePath, &'a Object>,
    /// The user of containers; `None` if the image has no such user.
    pub(super) identity: Option<ContainerUser>,
    /// The history in the configuration.
    pub(super) history: &'a [Value],
    /// The annotations of the manifest, if they are known.
    pub(super) annotations: Option<&'a BTreeMap<String, String>>,
    /// The violations that engines refuse.
    pub(super) violations: Vec<&'a Violation>,
    /// The library that each needed name resolves to, if libraries were
    /// searched for when the plan was made.
    pub(super) bindings: Option<&'a Bindings>,
}

impl<'a> Subject<'a> {
    /// Takes a plan as the image that it would make, above the files of its base
    /// image, which are not checked themselves.
    #[must_use]
    pub fn of_plan(plan: &'a Plan) -> Self {
        let image = &plan.image;
        let layers = plan.layers.iter();
        let layers = layers.map(|layer| layer.changeset.members()).collect();
        let mut subject = Self::new(&image.config, &image.platform, layers, &plan.objects);
        subject.bindings = Some(&plan.bindings);
        subject.history = &image.base_history;
        subject.annotations = Some(&image.annotations);
        if let Some(base) = &plan.base {
            subject.violations = base.violations().collect();
            subject.contents = base.under(subject.contents);
            let user = image.config.user.as_deref().unwrap_or_default();
            subject.identity = ContainerUser::find(user, &subject.contents);
        }
        subject
    }

    /// Takes an image by its parts; each layer is sorted by path, and the
    /// lowest comes first.
    #[must_use]
    pub fn new(
        config: &'a Configuration,
        platform: &'a Platform,
        layers: Vec<&'a [Member]>,
        objects: &'a [Object],
    ) -> Self {
        let contents = Contents::of_layers(layers.iter().rev().copied().collect());
        let user = config.user.as_deref().unwrap_or_default();
        Self {
            identity: ContainerUser::find(user, &contents),
            config,
            platform,
            objects: objects
                .iter()
                .map(|object| (&object.image, object))
                .collect(),
            layers,
            contents,
            history: &[],
            annotations: None,
            violations: Vec::new(),
            bindings: None,
        }
    }

    /// Returns all members of the image, layer by layer.
    pub(super) fn members(&self) -> impl Iterator<Item = &'a Member> + use<'a, '_> {
        self.layers.iter().copied().flatten()
    }

    /// Returns the properties of the ELF file at a path without links, if it is one.
    pub(super) fn elf(&self, path: &ImagePath) -> Option<Arc<Elf>> {
        if let Some(object) = self.objects.get(path) {
            return Some(Arc::clone(&object.elf));
        }
        let content = self.contents.file(path)?.content.as_ref()?;
        let elf = Elf::read(&ReadableContent::open(content)?).ok()?;
        elf.map(Arc::new)
    }

    /// Returns whether the file at a path is an ELF file that is known.
    pub(super) fn is_elf(&self, path: &ImagePath) -> bool {
        self.objects.contains_key(path)
    }

    /// Returns the ELF files that are known, by path.
    pub(super) fn objects(&self) -> impl Iterator<Item = &'a Object> + use<'a, '_> {
        self.objects.values().copied()
    }

    /// Returns whether something other than a directory is at the end of the
    /// links of a path.
    pub(super) fn has_file(&self, path: &str) -> bool {
        let path = ImagePath::parse(path);
        path.is_ok_and(|path| self.contents.file(&path).is_some())
    }

    /// Returns the value of a variable when containers start.
    pub(super) fn variable(&self, name: &str) -> Option<&'a str> {
        let variables = self.config.env.iter().rev();
        let mut pairs = variables.filter_map(|variable| variable.split_once('='));
        pairs.find_map(|(known, value)| (known == name).then_some(value))
    }

    /// Returns the directories that names of programs are looked up in; those
    /// that are relative depend on where a container starts.
    pub(super) fn search_path(&self) -> Vec<ImagePath> {
        let path = self.variable("PATH").unwrap_or(SYSTEM_PATH);
        let directories = path.split(':').map(ImagePath::parse);
        directories.filter_map(Result::ok).collect()
    }

    /// Returns the words that containers start: the entrypoint, then the command.
    pub(super) fn words(&self) -> Vec<String> {
        let lists = [&self.config.entrypoint, &self.config.cmd];
        lists
            .map(|list| list.as_deref().unwrap_or_default())
            .concat()
    }

    /// Returns the programs of a name in the directories of `PATH`, executable
    /// or not, in order.
    pub(super) fn in_path(&self, name: &str) -> impl Iterator<Item = (ImagePath, &'a Member)> {
        let directories = self.search_path().into_iter();
        directories.filter_map(move |directory| {
            let path = directory.join(name).ok()?;
            let member = self.contents.file(&path)?;
            Some((path, member))
        })
    }

    /// Takes a path as the kernel does when containers start; one with `..` is
    /// not followed.
    pub(super) fn path(&self, text: &str) -> Option<ImagePath> {
        if text.starts_with('/') {
            ImagePath::parse(text).ok()
        } else {
            self.working_directory().join(text).ok()
        }
    }

    /// Returns the directory that containers start in.
    pub(super) fn working_directory(&self) -> ImagePath {
        let path = self.config.working_dir.as_deref().and_then(path_from_root);
        path.unwrap_or_else(ImagePath::root)
    }

    /// Returns the member at the path itself, once the links of the
    /// directories above are followed.
    pub(super) fn at(&self, path: &ImagePath) -> Option<&'a Member> {
        let parent = path.parent()?;
        match self.contents.resolve(&parent) {
            End::There(parent) => self.contents.get(&parent.join(path.file_name()).ok()?),
            End::Nothing(_) | End::Loop => None,
        }
    }
}
