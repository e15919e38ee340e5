//! A finished build: what it is, and which of its files go into an image.

mod cargo;
mod kind;
mod level;
mod mix;
mod selection;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_oci::entry::Member;
use imgbuild_oci::path::ImagePath;
use serde::Serialize;

use crate::base::Base;
use crate::error::{Error, Result};
use crate::pattern::{Patterns, Verdict};
use crate::warning::Warning;

pub use kind::{Kind, ParseKindError};
use level::Level;
pub(crate) use mix::Direct;
pub use mix::{Boot, BootProblem, Cookie, MixRelease};
use selection::Selection;

/// What to take of a release.
#[derive(Debug, Clone)]
pub struct ReleaseOptions {
    /// The kind; recognized when not given.
    pub kind: Option<Kind>,
    /// Where the release lands; by its kind when not given.
    pub prefix: Option<ImagePath>,
    /// The executables to take of a Cargo release; all when empty.
    pub binaries: Vec<String>,
    /// What else to leave out or take.
    pub patterns: Patterns,
    /// Whether set-id files of other users than root may go in as root's.
    pub allow_set_id: bool,
    /// Whether the cookie of a mix release goes in.
    pub cookie: Cookie,
    /// What starts a mix release.
    pub boot: Boot,
    /// The environment variables that the user gives to containers, which a
    /// start without a shell depends on.
    pub variables: Vec<(String, String)>,
    /// The modification time of every entry, in Unix seconds.
    pub mtime: u64,
}

/// A release that has been looked at; nothing but metadata has been read.
#[derive(Debug)]
pub struct Release {
    root: PathBuf,
    kind: Kind,
    prefix: ImagePath,
    name: String,
    mix: Option<MixRelease>,
    direct: Option<Direct>,
    members: Vec<Member>,
    linked: BTreeSet<(u64, u64)>,
    left_out: Vec<LeftOut>,
    warnings: Vec<Warning>,
}

/// A path of the release that does not go in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The path relative to the release; a directory stands for all below.
    pub path: PathBuf,
    /// Why.
    pub reason: &'static str,
}

impl Release {
    /// Looks at the release at `root`.
    ///
    /// # Errors
    ///
    /// When there is no such directory, when nothing of it would go in, and
    /// with every path at once that cannot go into an image.
    pub fn open(root: &Path, options: &ReleaseOptions) -> Result<Self> {
        let metadata = match fs::metadata(root) {
            Ok(metadata) => metadata,
            Err(error) if is_absent(&error) => {
                let path = root.to_path_buf();
                return Err(Error::Missing { path });
            }
            Err(error) => return Err(error.into()),
        };
        if !metadata.is_dir() {
            let path = root.to_path_buf();
            return Err(Error::NotADirectory { path });
        }
        let recognized = recognize(root);
        let kind = options.kind.unwrap_or(recognized);
        let is_asked_for =
            options.kind == Some(Kind::Tree) || kind == recognized && kind != Kind::Tree;
        let level = (!is_asked_for).then(|| level::find(root)).flatten();
        let level = level.filter(|level| options.kind.is_none_or(|kind| kind == level.kind));
        if let Some(Level {
            kind,
            places,
            is_certain: true,
        }) = level
        {
            return Err(Error::WrongLevel {
                path: root.to_path_buf(),
                kind: kind.name(),
                places,
            });
        }
        let prefix = match &options.prefix {
            Some(prefix) => prefix.clone(),
            None => ImagePath::parse(kind.default_prefix())?,
        };
        let mix = (kind == Kind::Mix)
            .then(|| mix::describe(root))
            .transpose()?;
        let mut selection = Selection::new(root, &prefix, options);
        match (kind, &mix) {
            (Kind::Cargo, _) => cargo::select(&mut selection)?,
            (_, Some(mix)) => selection.direct = mix::select(&mut selection, mix)?,
            (_, None) => selection.take_tree(&|_, _| None)?,
        }
        let name = match kind {
            Kind::Cargo => cargo::package_name(root),
            Kind::Mix => mix.as_ref().map(|mix| mix.name.clone()),
            Kind::Tree => None,
        };
        let name = name.unwrap_or_else(|| directory_name(root));
        if let Some(level) = level {
            let (kind, places) = (level.kind.to_string(), level.places);
            selection
                .warnings
                .push(Warning::ReleaseBelow { kind, places });
        }
        selection.finish(kind, name, mix)
    }

    /// Returns the directory on the host, as it was given.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns what made the release.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns where the release lands.
    #[must_use]
    pub fn prefix(&self) -> &ImagePath {
        &self.prefix
    }

    /// Returns the name of the package, or of the directory.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what a mix release says about itself.
    #[must_use]
    pub fn mix(&self) -> Option<&MixRelease> {
        self.mix.as_ref()
    }

    /// Returns how a mix release starts without a shell, if it is to do so.
    pub(crate) fn direct(&self) -> Option<&Direct> {
        self.direct.as_ref()
    }

    /// Returns what goes in, sorted by path; without the directories above.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Returns what does not go in.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Returns what may surprise in what was asked for.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Returns the device and inode numbers of files with several names.
    #[must_use]
    pub fn linked(&self) -> &BTreeSet<(u64, u64)> {
        &self.linked
    }

    /// Leaves out what lies at `outputs`, files or directories on the host:
    /// what an earlier run wrote is no part of the release, or each image would
    /// hold the one before.
    #[must_use]
    pub fn without_outputs(mut self, outputs: &[&Path]) -> Self {
        let root = fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
        let places = outputs.iter().filter_map(|output| {
            let directory = output.parent().filter(|path| !path.as_os_str().is_empty());
            let directory = fs::canonicalize(directory.unwrap_or(Path::new("."))).ok()?;
            let place = directory.join(output.file_name()?);
            let relative = place.strip_prefix(&root).ok()?;
            self.prefix.join(relative.as_os_str().as_bytes()).ok()
        });
        let places: Vec<ImagePath> = places.collect();
        for place in places {
            let below = |member: &Member| member.entry.path.starts_with(&place);
            if !self.members.iter().any(below) {
                continue;
            }
            self.members.retain(|member| !below(member));
            let depth = self.prefix.as_bytes().len();
            let relative = place.as_bytes().get(depth..).unwrap_or_default();
            let relative = relative.strip_prefix(b"/").unwrap_or(relative);
            self.left_out.push(LeftOut {
                path: PathBuf::from(OsStr::from_bytes(relative)),
                reason: "the image is written there",
            });
        }
        self
    }

    /// Puts the release onto a base image, whose links to directories it
    /// follows.
    ///
    /// # Errors
    ///
    /// As [`Base::place`].
    pub fn onto(mut self, base: &Base) -> Result<Self> {
        self.members = base.place(self.members)?;
        self.prefix = base.directory_place(&self.prefix);
        Ok(self)
    }

    pub(crate) fn take_left_out(&mut self) -> Vec<LeftOut> {
        std::mem::take(&mut self.left_out)
    }

    /// Gives up the members, to be planned.
    #[must_use]
    pub fn into_members(self) -> Vec<Member> {
        self.members
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn recognize(root: &Path) -> Kind {
    if cargo::is_profile_directory(root) {
        Kind::Cargo
    } else if mix::is_release(root) {
        Kind::Mix
    } else {
        Kind::Tree
    }
}

fn directory_name(root: &Path) -> String {
    let absolute = fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
    let name = absolute.file_name().unwrap_or(OsStr::new("image"));
    name.to_string_lossy().into_owned()
}
