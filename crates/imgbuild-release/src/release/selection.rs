//! What of a release goes into an image, and what does not.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use imgbuild_oci::entry::Member;
use imgbuild_oci::path::ImagePath;

use super::{Direct, Kind, LeftOut, MixRelease, Release, ReleaseOptions};
use crate::error::{Error, Result};
use crate::host_file::{found_member, image_path};
use crate::pattern::Verdict;
use crate::refusal::{Refusal, Refusals};
use crate::walk::{Found, walk};
use crate::warning::Warning;

/// Gathers what goes in and what does not.
pub(super) struct Selection<'a> {
    pub(super) root: &'a Path,
    pub(super) prefix: &'a ImagePath,
    pub(super) options: &'a ReleaseOptions,
    pub(super) members: Vec<Member>,
    pub(super) linked: BTreeSet<(u64, u64)>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) refusals: Vec<Refusal>,
    /// The patterns that have matched nothing so far.
    unmatched: Vec<usize>,
    pub(super) warnings: Vec<Warning>,
    pub(super) direct: Option<Direct>,
}

impl<'a> Selection<'a> {
    pub(super) fn new(root: &'a Path, prefix: &'a ImagePath, options: &'a ReleaseOptions) -> Self {
        Self {
            root,
            prefix,
            options,
            members: Vec::new(),
            linked: BTreeSet::new(),
            left_out: Vec::new(),
            refusals: Vec::new(),
            unmatched: options.patterns.numbers().collect(),
            warnings: Vec::new(),
            direct: None,
        }
    }

    /// Says what the patterns say of a path.
    pub(super) fn decide(&mut self, relative: &Path, is_directory: bool) -> Verdict {
        let patterns = &self.options.patterns;
        self.unmatched
            .retain(|number| !patterns.matches(*number, relative, is_directory));
        patterns.decide(relative, is_directory)
    }

    /// Takes everything that the patterns do not exclude and for which
    /// `unwanted`, told what they say, gives no reason.
    pub(super) fn take_tree(
        &mut self,
        unwanted: &dyn Fn(&Path, Verdict) -> Option<&'static str>,
    ) -> Result<()> {
        let root = self.root;
        walk(root, &mut |relative, found| {
            let is_directory = match &found {
                Ok(found) => matches!(found, Found::Directory { .. }),
                // One that cannot be listed.
                Err(_) => root.join(relative).is_dir(),
            };
            let verdict = self.decide(relative, is_directory);
            let excluded = (verdict == Verdict::Excluded).then_some("excluded");
            match unwanted(relative, verdict).or(excluded) {
                Some(reason) => self.leave_out(relative, is_directory, reason),
                None => self.take(relative, found),
            }
        })?;
        Ok(())
    }

    /// Names a path as left out, unless a directory above it is already.
    pub(super) fn leave_out(&mut self, relative: &Path, is_directory: bool, reason: &'static str) {
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
    pub(super) fn take(&mut self, relative: &Path, found: io::Result<Found>) {
        match image_path(self.prefix, relative) {
            Ok(path) => self.take_at(path, relative, found),
            Err(reason) => {
                let path = self.root.join(relative);
                self.refusals.push(Refusal::Name { path, reason });
            }
        }
    }

    /// Takes what lies at `relative` under another path of the image.
    pub(super) fn take_at(&mut self, path: ImagePath, relative: &Path, found: io::Result<Found>) {
        if let Ok(Found::File {
            state,
            is_linked: true,
            ..
        }) = &found
        {
            self.linked.insert((state.device, state.inode));
        }
        let host = join(self.root, relative);
        match found_member(path, host, found, self.options.allow_set_id) {
            Ok(member) => self.push(member),
            Err(refusal) => self.refusals.push(refusal),
        }
    }

    pub(super) fn push(&mut self, mut member: Member) {
        member.entry.mtime = self.options.mtime;
        self.members.push(member);
    }

    pub(super) fn finish(
        mut self,
        kind: Kind,
        name: String,
        mix: Option<MixRelease>,
    ) -> Result<Release> {
        Refusals::check(self.refusals)?;
        if self.members.is_empty() {
            return Err(Error::Empty {
                path: self.root.to_path_buf(),
                left_out: self.left_out.len(),
            });
        }
        self.members
            .sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
        self.left_out.sort_by(|a, b| a.path.cmp(&b.path));
        let mut warnings = self.warnings;
        let unmatched = self.unmatched.iter();
        warnings.extend(unmatched.map(|number| Warning::PatternWithoutMatch {
            pattern: self.options.patterns.text(*number).to_owned(),
        }));
        Ok(Release {
            root: self.root.to_path_buf(),
            kind,
            prefix: self.prefix.clone(),
            name,
            mix,
            direct: self.direct,
            members: self.members,
            linked: self.linked,
            left_out: self.left_out,
            warnings,
        })
    }
}

/// As [`Path::join`], with one allocation.
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
