//! The selection of files of a release.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use imgbuild_oci::entry::Member;
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::root_directory::RootDirectory;

use super::facts::DirectoryFacts;
use super::{LeftOut, ReleaseOptions};
use crate::error::Result;
use crate::host_file::{found_member, image_path};
use crate::pattern::Verdict;
use crate::refusal::Refusal;
use crate::walk::{Found, walk};
use crate::warning::Warning;

/// Files of a release that are included, left out or refused.
pub(crate) struct Selection<'a> {
    pub(crate) root: &'a Arc<RootDirectory>,
    pub(crate) prefix: &'a ImagePath,
    pub(crate) options: &'a ReleaseOptions,
    pub(crate) facts: &'a DirectoryFacts,
    pub(crate) members: Vec<Member>,
    pub(crate) linked: BTreeSet<(u64, u64)>,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) refusals: Vec<Refusal>,
    /// The patterns without a match so far.
    unmatched: Vec<usize>,
    pub(crate) warnings: Vec<Warning>,
}

impl<'a> Selection<'a> {
    pub(crate) fn new(
        root: &'a Arc<RootDirectory>,
        prefix: &'a ImagePath,
        options: &'a ReleaseOptions,
        facts: &'a DirectoryFacts,
    ) -> Self {
        Self {
            root,
            prefix,
            options,
            facts,
            members: Vec::new(),
            linked: BTreeSet::new(),
            left_out: Vec::new(),
            refusals: Vec::new(),
            unmatched: options.patterns.numbers().collect(),
            warnings: Vec::new(),
        }
    }

    /// Returns the decision of the patterns about a path.
    pub(crate) fn decide(&mut self, relative: &Path, is_directory: bool) -> Verdict {
        let patterns = &self.options.patterns;
        self.unmatched
            .retain(|number| !patterns.matches(*number, relative, is_directory));
        patterns.decide(relative, is_directory)
    }

    /// Takes everything that the patterns do not exclude and for which
    /// `unwanted` returns no reason.
    pub(crate) fn take_tree(
        &mut self,
        unwanted: &dyn Fn(&Path, Verdict) -> Option<&'static str>,
    ) -> Result<()> {
        let root = self.root;
        self.take_below(root, Path::new(""), unwanted)
    }

    /// Takes another directory, as [`Selection::take_tree`] does, to `place` in the
    /// release.
    pub(crate) fn take_below(
        &mut self,
        root: &Arc<RootDirectory>,
        place: &Path,
        unwanted: &dyn Fn(&Path, Verdict) -> Option<&'static str>,
    ) -> Result<()> {
        walk(root, &mut |below, found| {
            let relative = &place.join(below);
            let is_directory = match &found {
                Ok(found) => matches!(found, Found::Directory { .. }),
                // One that cannot be listed.
                Err(_) => root.path().join(below).is_dir(),
            };
            let verdict = self.decide(relative, is_directory);
            let excluded = (verdict == Verdict::Excluded).then_some("excluded");
            match unwanted(relative, verdict).or(excluded) {
                Some(reason) => self.leave_out(relative, is_directory, reason),
                None => self.take_to(relative, root, below, found),
            }
        })?;
        Ok(())
    }

    /// Lists a path as left out, unless a directory above it is listed.
    pub(crate) fn leave_out(&mut self, relative: &Path, is_directory: bool, reason: &'static str) {
        let below_last = self.left_out.last().is_some_and(|last| {
            last.reason == reason
                && is_directory_name(&last.path)
                && relative.starts_with(&last.path)
        });
        if below_last {
            return;
        }
        let mut path = relative.to_path_buf();
        if is_directory {
            path.as_mut_os_string().push("/");
        }
        self.left_out.push(LeftOut { path, reason });
    }

    /// Takes one path, or refuses it.
    pub(crate) fn take(&mut self, relative: &Path, found: io::Result<Found>) {
        self.take_to(relative, self.root, relative, found);
    }

    /// Takes the file at `relative` in `root` to `place` in the release.
    fn take_to(
        &mut self,
        place: &Path,
        root: &Arc<RootDirectory>,
        relative: &Path,
        found: io::Result<Found>,
    ) {
        match image_path(self.prefix, place) {
            Ok(path) => self.take_at(path, root, relative, found),
            Err(reason) => {
                let path = root.path().join(relative);
                self.refusals.push(Refusal::Name { path, reason });
            }
        }
    }

    /// Takes the file at `relative` in `root` to any path of the image.
    pub(crate) fn take_at(
        &mut self,
        path: ImagePath,
        root: &Arc<RootDirectory>,
        relative: &Path,
        found: io::Result<Found>,
    ) {
        if let Ok(Found::File {
            state,
            is_linked: true,
            ..
        }) = &found
        {
            self.linked.insert(state.identity());
        }
        let host = join(root.path(), relative);
        match found_member(path, host, Some(root), found, self.options.modes) {
            Ok(member) => self.push(member),
            Err(refusal) => self.refusals.push(refusal),
        }
    }

    pub(crate) fn push(&mut self, mut member: Member) {
        member.entry.mtime = self.options.mtime;
        self.members.push(member);
    }

    /// Warns of the patterns that matched nothing.
    pub(super) fn warn_of_unmatched(&mut self) {
        let patterns = &self.options.patterns;
        let unmatched = self.unmatched.iter();
        self.warnings
            .extend(unmatched.map(|number| Warning::PatternWithoutMatch {
                pattern: patterns.text(*number).to_owned(),
            }));
    }
}

/// Returns the name of a directory, links followed.
pub(crate) fn directory_name(root: &Path) -> String {
    let absolute = fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
    let name = absolute.file_name().unwrap_or(OsStr::new("image"));
    name.to_string_lossy().into_owned()
}

/// Joins paths as [`Path::join`] does, with one allocation.
fn join(root: &Path, relative: &Path) -> PathBuf {
    let length = root.as_os_str().len() + 1 + relative.as_os_str().len();
    let mut path = PathBuf::with_capacity(length);
    path.push(root);
    path.push(relative);
    path
}

fn is_directory_name(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}
