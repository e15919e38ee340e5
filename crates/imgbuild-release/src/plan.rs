//! Plans: everything that an image will be, as data.

mod configuration;
mod layers;
mod parts;
mod show;
mod user;

use std::collections::BTreeMap;
use std::path::PathBuf;

use imgbuild_oci::changeset::Changeset;
use imgbuild_oci::compression::Compression;
use imgbuild_oci::entry::{Entry, EntryKind, Member, Owner};
use imgbuild_oci::image::{Configuration, ImageOptions};
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;
use imgbuild_oci::xattr::DroppedXattrs;
use serde::Serialize;

pub use configuration::{Cleared, ConfigurationOptions, Field};
pub use show::kind_name;

use crate::base::Base;
use crate::certificates::Certificates;
use crate::closure::Closure;
use crate::contents::{Contents, is_executable};
use crate::error::Result;
use crate::finding::Finding;
use crate::host_file::image_path;
use crate::programs::java::CLASSES;
use crate::release::{LeftOut, Release};
use crate::runtime::{Bindings, Object};
use crate::skeleton::UserName;
use crate::warning::Warning;
use layers::LayerBase;
use parts::PartSet;

/// The most layers that Docker's graph drivers stack.
pub const MAX_LAYERS: usize = 125;

/// The name of the layer with the programs and libraries of the host.
pub(crate) const RUNTIME: &str = "runtime";

/// The wishes of the user for an image, beside its release.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// The names of the image.
    pub references: Vec<Reference>,
    /// The rest of the configuration.
    pub configuration: ConfigurationOptions,
    /// The user of containers; 65532:65532 when not given.
    pub user: Option<UserName>,
    /// The image gets users, `/tmp` and a home.
    pub has_skeleton: bool,
    /// Paths that belong to the user with all below them that the release and the
    /// additions have, and the modes of their directories, if given. A path that
    /// is not there becomes a directory.
    pub writable: BTreeMap<ImagePath, Option<u32>>,
    /// The platform.
    pub platform: Platform,
    /// The creation time in RFC 3339.
    pub created: String,
    /// The author of the image.
    pub author: Option<String>,
    /// The annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// The compression of all layers.
    pub compression: Compression,
    /// The most layers that the image may have.
    pub max_layers: usize,
    /// The modification time of every entry, in Unix seconds.
    pub mtime: u64,
}

impl Default for PlanOptions {
    /// An image for Linux on x86-64 with a skeleton, whose layers are not
    /// compressed and whose times are 1970.
    fn default() -> Self {
        Self {
            references: Vec::new(),
            configuration: ConfigurationOptions::default(),
            user: None,
            has_skeleton: true,
            writable: BTreeMap::new(),
            platform: Platform::from_parts("linux", "amd64", None),
            created: "1970-01-01T00:00:00Z".to_owned(),
            author: None,
            annotations: BTreeMap::new(),
            compression: Compression::None,
            max_layers: MAX_LAYERS,
            mtime: 0,
        }
    }
}

/// The content of an image and the facts about it: everything that a plan is
/// made from, read and found before.
#[derive(Debug)]
pub struct Ingredients {
    /// The release.
    pub release: Release,
    /// The files that the user adds, where the links of the release lead.
    pub additions: Vec<Member>,
    /// The command, and the libraries and loaders that are included.
    pub closure: Closure,
    /// The CA certificates.
    pub certificates: Option<Certificates>,
    /// The certificates are not only Mozilla's roots.
    pub has_own_certificates: bool,
    /// The image that this one is built on. The release and the additions are
    /// already where its links lead.
    pub base: Option<Base>,
    /// The extended attributes of directories that the image lacks.
    pub dropped_xattrs: DroppedXattrs,
}

impl Ingredients {
    /// Returns the ingredients of an image without additions, certificates and
    /// a base.
    #[must_use]
    pub fn new(release: Release, closure: Closure) -> Self {
        Self {
            release,
            additions: Vec::new(),
            closure,
            certificates: None,
            has_own_certificates: false,
            base: None,
            dropped_xattrs: DroppedXattrs::default(),
        }
    }
}

/// Everything that will be written; `build` decides nothing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    #[serde(serialize_with = "crate::host_file::shown_path")]
    release: PathBuf,
    /// The kind of the release, and the reason.
    pub kind: String,
    /// The names of the image.
    #[serde(skip)]
    pub references: Vec<Reference>,
    /// Everything of the image but its layers.
    #[serde(flatten)]
    pub image: ImageOptions,
    /// The image that this one is built on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// The compression of all layers.
    pub compression: Compression,
    /// The layers, lowest first.
    pub layers: Vec<PlannedLayer>,
    /// The files of the release that are not included.
    pub left_out: Vec<LeftOut>,
    /// Likely mistakes.
    pub warnings: Vec<Warning>,
    /// The findings of the closure.
    #[serde(skip)]
    pub(crate) findings: Vec<Finding>,
    /// The ELF files of the closure.
    #[serde(skip)]
    pub(crate) objects: Vec<Object>,
    /// The file for the name of each needed library.
    #[serde(skip)]
    pub(crate) bindings: Bindings,
    /// The extended attributes of directories that the image lacks.
    #[serde(skip)]
    pub(crate) dropped_xattrs: DroppedXattrs,
}

/// One layer to be made.
#[derive(Debug)]
pub struct PlannedLayer {
    /// The name, for the history and for messages.
    pub name: String,
    /// The members.
    pub changeset: Changeset,
}

impl Plan {
    /// Decides everything about the image. Reads no file.
    ///
    /// # Errors
    ///
    /// When the user is not known, and with every path that has two sources.
    pub fn new(ingredients: Ingredients, options: &PlanOptions) -> Result<Self> {
        let context = Context::new(&ingredients, options);
        let user = user::find(&context)?;
        let config = configuration::configuration(&context, user.text)?;
        let image = context.image(config);
        let warnings = context.warnings();
        let mut parts = PartSet::new(&context.payload);
        parts.add_skeleton(&context, user.id, &image.config)?;
        let certificates = parts::certificates_as_members(&context);
        parts.add_runtime(&context, &certificates);
        parts.add_records(&context);
        parts.add_certificates(&context, certificates);
        let parts = parts.finish()?;

        let own_directories = context.own_directories(user.id);
        let writable = context.writable();
        let (mut release, mut additions) = (ingredients.release, ingredients.additions);
        let members = release.members.iter_mut().chain(&mut additions);
        for Member { entry, .. } in members {
            if writable.iter().any(|path| entry.path.starts_with(path)) {
                give(entry, user.id);
            }
        }
        let kind = format!("{}, because {}", release.kind.name, release.because);
        let (root, left_out) = (release.root.clone(), release.left_out.clone());
        let base = ingredients.base.as_ref();
        let below = LayerBase {
            base,
            own_directories: own_directories.into_keys().collect(),
        };
        let layers = layers::layers(parts, release, additions, &below, options)?;
        let closure = ingredients.closure;
        Ok(Self {
            release: root,
            kind,
            references: options.references.clone(),
            image,
            compression: options.compression,
            layers,
            left_out,
            warnings,
            dropped_xattrs: ingredients.dropped_xattrs,
            base: ingredients.base,
            findings: closure.findings,
            objects: closure.objects,
            bindings: closure.bindings,
        })
    }

    pub(crate) fn into_changesets(self) -> Vec<Changeset> {
        let layers = self.layers.into_iter();
        layers.map(|layer| layer.changeset).collect()
    }
}

/// The ingredients as the parts of a plan see them.
struct Context<'a> {
    ingredients: &'a Ingredients,
    options: &'a PlanOptions,
    /// The release and the additions, over the base image.
    payload: Contents<'a>,
    /// The payload and the closure.
    everything: Contents<'a>,
    /// The writable paths of the user and of the release.
    writable: BTreeMap<ImagePath, Option<u32>>,
}

impl<'a> Context<'a> {
    fn new(ingredients: &'a Ingredients, options: &'a PlanOptions) -> Self {
        let mut payload = Contents::new(&ingredients.release.members);
        payload.add(&ingredients.additions);
        payload.add(&ingredients.closure.links);
        if let Some(base) = &ingredients.base {
            payload = base.under(payload);
        }
        let mut everything = payload.clone();
        everything.add(&ingredients.closure.members);
        let release = &ingredients.release;
        let of_release = release.behavior.writable().iter();
        let of_release = of_release.filter_map(|path| image_path(&release.prefix, path).ok());
        let mut writable: BTreeMap<_, _> = of_release.map(|path| (path, None)).collect();
        writable.extend(options.writable.clone());
        Self {
            ingredients,
            options,
            payload,
            everything,
            writable,
        }
    }

    fn base(&self) -> Option<&'a Base> {
        self.ingredients.base.as_ref()
    }

    /// Returns everything of the image but its layers.
    fn image(&self, config: Configuration) -> ImageOptions {
        let (base, options) = (self.base(), self.options);
        let base_author = base.and_then(Base::author).map(str::to_owned);
        ImageOptions {
            platform: options.platform.clone(),
            created: options.created.clone(),
            author: options.author.clone().or(base_author),
            config,
            annotations: self.annotations(),
            base_history: base.map_or_else(Vec::new, |base| base.history.clone()),
            base_layers: base.map_or(0, |base| base.layers().len()),
        }
    }

    /// Returns the annotations: those of the user, and those that name the
    /// base image ([annotation keys]).
    ///
    /// [annotation keys]: https://github.com/opencontainers/image-spec/blob/v1.1.0/annotations.md#pre-defined-annotation-keys
    fn annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = BTreeMap::new();
        if let Some(base) = self.base() {
            let key = |name: &str| format!("org.opencontainers.image.base.{name}");
            annotations.insert(key("name"), base.name.clone());
            if let Some(digest) = base.digest() {
                annotations.insert(key("digest"), digest.to_string());
            }
        }
        annotations.extend(self.options.annotations.clone());
        annotations
    }

    fn warnings(&self) -> Vec<Warning> {
        let mut warnings = self.ingredients.release.warnings.clone();
        warnings.extend(self.ingredients.closure.warnings.iter().cloned());
        warnings
    }

    /// Returns the directories that belong to the user of the image: new ones
    /// for volumes, and writable ones, which a base image may have. Their mode
    /// stays unless it is given.
    fn own_directories(&self, user: Owner) -> BTreeMap<ImagePath, Entry> {
        let end = |path: &ImagePath| self.payload.end_of(path).unwrap_or_else(|| path.clone());
        let volumes = self.options.configuration.volumes.iter().map(end);
        let is_new = |path: &ImagePath| !path.is_root() && self.payload.get(path).is_none();
        let volumes = volumes.filter(is_new).map(|path| (path, None));
        let writable = self.writable.iter();
        let writable = writable.map(|(path, mode)| (end(path), *mode));
        let mut directories = BTreeMap::new();
        for (path, mode) in volumes.chain(writable) {
            let known = self.payload.get(&path).map(|member| &member.entry);
            let mut entry = match known.filter(|entry| entry.kind == EntryKind::Directory) {
                Some(entry) => entry.clone(),
                // The file itself is writable, and one of a base is refused.
                None if known.is_some() => continue,
                None => Entry::directory(path.clone()),
            };
            entry.mode = mode.unwrap_or(entry.mode);
            give(&mut entry, user);
            directories.insert(path, entry);
        }
        directories
    }

    /// Returns the files of the base image that shall be writable. Their contents are
    /// not kept, so they cannot be in another layer with another owner.
    fn writable_files_of_base(&self) -> impl Iterator<Item = ImagePath> {
        let is_file = |path: &ImagePath| {
            let member = self.payload.base(path).map(|member| &member.entry.kind);
            member.is_some_and(|kind| *kind != EntryKind::Directory)
        };
        let paths = self.writable().into_iter();
        paths.filter(move |path| self.payload.own(path).is_none() && is_file(path))
    }

    /// Returns the writable paths with the links of the payload followed.
    fn writable(&self) -> Vec<ImagePath> {
        let paths = self.writable.keys();
        paths.filter_map(|path| self.payload.end_of(path)).collect()
    }

    /// Returns whether the image has an executable of this name.
    fn has_program(&self, name: &[u8]) -> bool {
        self.members()
            .any(|member| member.entry.path.file_name() == name && is_executable(&member.entry))
    }

    /// Returns the directories of Java virtual machines.
    fn java_homes(&self) -> Vec<ImagePath> {
        let is_classes = |path: &&ImagePath| {
            let mut homes = CLASSES
                .iter()
                .filter_map(|file| path.as_bytes().strip_suffix(file.as_bytes()));
            homes.any(|home| home.ends_with(b"/"))
        };
        let paths = self.members().map(|member| &member.entry.path);
        let homes = paths
            .filter(is_classes)
            .filter_map(|path| path.parent()?.parent());
        homes
            .filter(|home| {
                let mut paths = ["lib/jvm.cfg", "lib/rt.jar"]
                    .iter()
                    .flat_map(|path| home.join(path));
                paths.any(|path| self.everything.get(&path).is_some())
            })
            .collect()
    }

    fn members(&self) -> impl Iterator<Item = &'a Member> {
        let ingredients = self.ingredients;
        let members = ingredients.release.members.iter();
        members
            .chain(&ingredients.additions)
            .chain(&ingredients.closure.members)
            .chain(self.payload.base)
    }
}

/// Makes the user the owner. Where that is in the group 0, as the users that
/// OpenShift makes up, the group may do what the owner may.
fn give(entry: &mut Entry, user: Owner) {
    entry.owner = user;
    if user.gid == 0 {
        entry.mode |= (entry.mode & 0o700) >> 3;
    }
}

#[cfg(test)]
mod tests;
