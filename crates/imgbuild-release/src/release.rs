//! A finished build: its kind, and the files that go into an image.

pub(crate) mod command;
pub(crate) mod facts;
pub(crate) mod kind;
pub(crate) mod selection;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{EntryKind, Member};
use imgbuild_oci::path::{ImagePath, escaped};
use imgbuild_oci::temporary::is_temporary_name;
use serde::Serialize;

use crate::base::Base;
use crate::contents::is_executable;
use crate::error::{Error, Result};
use crate::layering::{LayerDraft, Weight};
use crate::package::Package;
use crate::pattern::Patterns;
use crate::refusal::Refusals;
use crate::warning::Warning;

pub use crate::host_file::ModeRules;
pub use command::CommandOptions;
pub use kind::Kind;
use kind::{Behavior, Selected};
use selection::{Selection, directory_name};

/// The reason to leave out what has a temporary name.
const TEMPORARY: &str = "it belongs to a run of imgbuild that was killed or is still running";

/// The reason to leave out an output.
const WRITTEN: &str = "the image is written there";

/// The wishes of the user for a release.
#[derive(Debug, Clone, Default)]
pub struct ReleaseOptions {
    /// The kind; detected when not given.
    pub kind: Option<&'static Kind>,
    /// The directory of the release in the image; that of its kind when not
    /// given.
    pub prefix: Option<ImagePath>,
    /// The executables to take of a Cargo release; all when empty.
    pub binaries: Vec<String>,
    /// Further files to include or to leave out.
    pub patterns: Patterns,
    /// The treatment of the modes of files.
    pub modes: ModeRules,
    /// The cookie of a mix release is included or not.
    pub cookie: Cookie,
    /// The program that starts a mix release.
    pub boot: Boot,
    /// The environment variables that the user gives to containers; a start
    /// without a shell depends on them.
    pub variables: Vec<(String, String)>,
    /// The modification time of every entry, in Unix seconds.
    pub mtime: u64,
}

/// The handling of the cookie of a mix release, which its nodes share as a
/// secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cookie {
    /// The image has it, and starts as it is.
    #[default]
    Keep,
    /// The image does not have it; containers get one of their own.
    Remove,
}

/// The program that starts a mix release in a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Boot {
    /// Its own script, with the shell and the programs that this needs.
    #[default]
    Script,
    /// `erlexec`: the image has neither a shell nor programs for it.
    Direct,
}

/// A release: its files and its kind. Only metadata of the files was read.
#[derive(Debug)]
pub struct Release {
    /// The directory on the host, as it was given.
    pub root: PathBuf,
    /// The kind.
    pub kind: &'static Kind,
    /// The reason why it is of this kind, in words.
    pub because: String,
    /// The directory of the release in the image.
    pub prefix: ImagePath,
    /// The name of the package, or of the directory.
    pub name: String,
    pub(crate) behavior: Box<dyn Behavior>,
    /// The included files, sorted by path, without the directories above.
    pub members: Vec<Member>,
    /// The identities of files with several names.
    linked: BTreeSet<(u64, u64)>,
    /// The paths that are not included.
    pub left_out: Vec<LeftOut>,
    /// Likely mistakes of the user.
    pub warnings: Vec<Warning>,
}

/// A path of the release that is not included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The path relative to the release; a directory includes everything below.
    #[serde(serialize_with = "crate::host_file::shown_path")]
    pub path: PathBuf,
    /// The reason.
    pub reason: &'static str,
}

impl Release {
    /// Makes a release of selected files.
    ///
    /// # Errors
    ///
    /// With every path that cannot go into an image, and when no file is
    /// selected.
    pub(crate) fn new(
        mut selection: Selection<'_>,
        kind: &'static Kind,
        selected: Selected,
    ) -> Result<Self> {
        Refusals::check(std::mem::take(&mut selection.refusals))?;
        if selection.members.is_empty() {
            return Err(Error::Empty {
                path: selection.root.path().to_path_buf(),
                left_out: selection.left_out.len(),
            });
        }
        selection.warn_of_unmatched();
        selection
            .members
            .sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
        selection.left_out.sort_by(|a, b| a.path.cmp(&b.path));
        let name = selected.name;
        Ok(Self {
            root: selection.root.path().to_path_buf(),
            kind,
            because: String::new(),
            prefix: selection.prefix.clone(),
            name: name.unwrap_or_else(|| directory_name(selection.root.path())),
            behavior: selected.behavior,
            members: selection.members,
            linked: selection.linked,
            left_out: selection.left_out,
            warnings: selection.warnings,
        })
    }

    /// Returns the package that the release was made of.
    #[must_use]
    pub fn package(&self) -> Option<Package> {
        self.behavior.package(self)
    }

    /// Leaves out the files or directories at `outputs` on the host, and those
    /// with a temporary name, here and in `additions`: output of an earlier run
    /// is not a part of the release, or each image would contain the one before.
    #[must_use]
    pub fn without_outputs(mut self, outputs: &[&Path], additions: &mut Vec<Member>) -> Self {
        let root = fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
        let places = outputs.iter().filter_map(|output| {
            let directory = output.parent().filter(|path| !path.as_os_str().is_empty());
            let directory = fs::canonicalize(directory.unwrap_or(Path::new("."))).ok()?;
            let place = directory.join(output.file_name()?);
            let relative = place.strip_prefix(&root).ok()?;
            self.prefix.join(relative.as_os_str().as_bytes()).ok()
        });
        let members = self.members.iter().chain(&*additions);
        let temporary = members.map(|member| &member.entry.path).filter(|path| {
            let name = OsStr::from_bytes(path.file_name());
            is_temporary_name(Path::new(name))
        });
        let mut reasons: BTreeMap<ImagePath, &'static str> =
            temporary.map(|path| (path.clone(), TEMPORARY)).collect();
        reasons.extend(places.map(|place| (place, WRITTEN)));
        if reasons.is_empty() {
            return self;
        }

        // Of places within each other, the outer one.
        let find = |member: &Member, is_added: bool| {
            let path = &member.entry.path;
            let paths = [path.clone()].into_iter().chain(path.ancestors());
            let found = paths.filter_map(|path| reasons.get_key_value(&path));
            found
                .filter(|(_, reason)| !is_added || **reason == TEMPORARY)
                .last()
        };
        let remove = |members: &mut Vec<Member>, are_added| {
            let mut found = BTreeSet::new();
            members.retain(|member| {
                let place = find(member, are_added);
                found.extend(place);
                place.is_none()
            });
            found
        };
        let found = remove(&mut self.members, false);
        let mut warned = remove(additions, true);
        warned.extend(found.iter().filter(|(_, reason)| **reason == TEMPORARY));
        for (place, reason) in warned {
            self.warnings
                .push(format!("left out `{place}`: {reason}").into());
        }
        for (place, reason) in found {
            let depth = self.prefix.as_bytes().len();
            let relative = place.as_bytes().get(depth..).unwrap_or_default();
            let relative = relative.strip_prefix(b"/").unwrap_or(relative);
            self.left_out.push(LeftOut {
                path: PathBuf::from(OsStr::from_bytes(relative)),
                reason,
            });
        }
        self
    }

    /// Counts the files, also of `additions`, that are executable in the image and
    /// not on this machine.
    #[must_use]
    pub fn made_executable(&self, additions: &[Member]) -> usize {
        let members = self.members.iter().chain(additions);
        let is_made = |member: &&Member| match &member.content {
            Some(Content::File(file)) => {
                file.state.mode & 0o111 == 0 && is_executable(&member.entry)
            }
            _ => false,
        };
        members.filter(is_made).count()
    }

    /// Moves the release to where the links of a base image lead.
    ///
    /// # Errors
    ///
    /// As [`Base::place`].
    pub fn onto(mut self, base: &Base) -> Result<Self, Refusals> {
        self.members = base.place(self.members)?;
        self.prefix = base.directory_place(&self.prefix);
        Ok(self)
    }

    /// Divides the members into at most `limit` layers, each with its name.
    /// Further names of a file in one layer become hard links to its first.
    pub(crate) fn into_layers(self, limit: usize) -> Vec<LayerDraft> {
        let depth = self.prefix.as_bytes().len() + usize::from(!self.prefix.is_root());
        let weights = self.members.iter().map(|Member { entry, .. }| Weight {
            path: entry.path.as_bytes().get(depth..).unwrap_or_default(),
            bytes: entry.content_size(),
        });
        let units = (self.behavior).divide(&weights.collect::<Vec<_>>(), limit);

        let mut left: Vec<Option<Member>> = self.members.into_iter().map(Some).collect();
        units
            .into_iter()
            .map(|unit| {
                let name = if unit.name.is_empty() {
                    "release".to_owned()
                } else {
                    format!("release: {}", escaped(&unit.name))
                };
                let taken = unit.paths.iter().filter_map(|index| left[*index].take());
                let mut members: Vec<Member> = taken.collect();
                link_again(&mut members, &self.linked);
                LayerDraft { name, members }
            })
            .collect()
    }
}

/// Makes further names of a file hard links to its first.
fn link_again(members: &mut [Member], linked: &BTreeSet<(u64, u64)>) {
    let mut first_names: BTreeMap<(u64, u64), ImagePath> = BTreeMap::new();
    for member in members {
        let Some(Content::File(file)) = &member.content else {
            continue;
        };
        let identity = file.state.identity();
        if !linked.contains(&identity) {
            continue;
        }
        if let Some(first) = first_names.get(&identity) {
            member.entry.kind = EntryKind::Hardlink {
                target: first.clone(),
            };
            member.entry.xattrs.clear();
            member.content = None;
        } else {
            first_names.insert(identity, member.entry.path.clone());
        }
    }
}
