//! Members on a base image: the paths to which its links lead.

use imgbuild_oci::entry::{EntryKind, Member};
use imgbuild_oci::path::ImagePath;

use super::Base;
use crate::contents::{Contents, End, real_place, source};
use crate::refusal::{Refusal, Refusals};

impl Base {
    /// Moves members to where the links of the base's directories lead, and
    /// sorts them by path. A directory at a link to one is that one.
    ///
    /// # Errors
    ///
    /// With every member at a directory of the base, below one of its files, or
    /// at the path of another member.
    pub fn place(&self, members: Vec<Member>) -> Result<Vec<Member>, Refusals> {
        let contents = self.under(Contents::new(&[]));
        let mut refusals = Vec::new();
        let mut placed: Vec<Member> = Vec::with_capacity(members.len());
        let mut last: Option<(ImagePath, ImagePath)> = None;
        for mut member in members {
            let path = &member.entry.path;
            let known = last.as_ref().filter(|(from, _)| is_in(path, from));
            let place = match known.and_then(|(_, to)| to.join(path.file_name()).ok()) {
                Some(place) => Ok(place),
                None => real_place(&contents, path),
            };
            let place = place.and_then(|place| {
                let parents = path.parent().zip(place.parent());
                last = parents;
                self.check(&contents, &member, place)
            });
            match place {
                Ok(place) => {
                    member.entry.path = place;
                    placed.push(member);
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        let placed = unique(placed, &mut refusals);
        Refusals::check(refusals)?;
        Ok(placed)
    }

    /// Returns the path of a directory with all links followed.
    pub(crate) fn directory_place(&self, path: &ImagePath) -> ImagePath {
        let contents = self.under(Contents::new(&[]));
        contents.end_of(path).unwrap_or_else(|| path.clone())
    }

    /// Checks the path of a member against the files of the base, and returns
    /// the path that it gets.
    fn check(
        &self,
        contents: &Contents<'_>,
        member: &Member,
        place: ImagePath,
    ) -> Result<ImagePath, Refusal> {
        if let Some(parent) = place.ancestors().find(|path| self.is_special(path)) {
            let path = place;
            return Err(Refusal::BelowAFile { path, parent });
        }
        let is_directory = member.entry.kind == EntryKind::Directory;
        let conflict = |what: &str, path| Refusal::TwoSources {
            path,
            sources: [format!("{what} of the base image"), source(member)],
        };
        if is_directory && self.is_special(&place) {
            return Err(conflict("a device", place));
        }
        let Some(theirs) = contents.base(&place) else {
            return Ok(place);
        };
        let leads_to = match (&theirs.entry.kind, contents.resolve(&place)) {
            (EntryKind::Symlink { .. }, End::There(end)) if self.directory(&end).is_some() => {
                Some(end)
            }
            _ => None,
        };
        match (&theirs.entry.kind, is_directory, leads_to) {
            (EntryKind::Directory, true, _) => Ok(place),
            (EntryKind::Directory, false, _) => Err(conflict("a directory", place)),
            (_, true, Some(end)) => Ok(end),
            (_, true, None) => Err(conflict("a file", place)),
            (theirs, false, Some(_)) if *theirs != member.entry.kind => {
                Err(conflict("a link to a directory", place))
            }
            (_, false, _) => Ok(place),
        }
    }
}

fn is_in(path: &ImagePath, directory: &ImagePath) -> bool {
    path.parent_bytes() == directory.as_bytes()
}

/// Sorts members and merges directories that have the same path now.
fn unique(mut members: Vec<Member>, refusals: &mut Vec<Refusal>) -> Vec<Member> {
    members.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    let mut unique: Vec<Member> = Vec::with_capacity(members.len());
    for member in members {
        match unique.last() {
            Some(last) if last.entry.path == member.entry.path => {
                let are_directories =
                    [&last.entry.kind, &member.entry.kind] == [&EntryKind::Directory; 2];
                if !are_directories {
                    refusals.push(Refusal::TwoSources {
                        path: member.entry.path.clone(),
                        sources: [source(last), source(&member)],
                    });
                }
            }
            _ => unique.push(member),
        }
    }
    unique
}
