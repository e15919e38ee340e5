//! The layers of an image in their order ([`layers`]), with the directories
//! above their members. `layering` divides the release.

use std::collections::{BTreeMap, BTreeSet};

use imgbuild_oci::changeset::Changeset;
use imgbuild_oci::entry::{Entry, EntryKind, Member};
use imgbuild_oci::path::ImagePath;

use super::{PlanOptions, PlannedLayer};
use crate::base::Base;
use crate::error::{Error, Result};
use crate::layering::LayerDraft;
use crate::release::Release;

/// The image below the layers of a plan.
#[derive(Debug, Default)]
pub(super) struct LayerBase<'a> {
    pub(super) base: Option<&'a Base>,
    /// Directories of the user, even if the base has them.
    pub(super) own_directories: BTreeSet<ImagePath>,
}

impl LayerBase<'_> {
    /// Returns the number of layers that the base leaves room for.
    fn room(&self, max_layers: usize) -> Result<usize> {
        let base = self.base.map_or(0, |base| base.layers().len());
        match max_layers.checked_sub(base) {
            Some(room) if room > 0 || base == 0 => Ok(room),
            _ => Err(Error::TooManyLayers {
                base,
                limit: max_layers,
            }),
        }
    }

    /// Returns a directory of the base, whose mode and owner stay.
    fn directory(&self, path: &ImagePath) -> Option<&Entry> {
        let base = self.base.filter(|_| !self.own_directories.contains(path))?;
        base.directory(path)
    }
}

/// Makes the layers: `parts` first, then the release, then the additions.
///
/// # Errors
///
/// When the base image leaves no room, or a layer cannot hold its members.
pub(super) fn layers(
    parts: Vec<LayerDraft>,
    release: Release,
    additions: Vec<Member>,
    below: &LayerBase<'_>,
    options: &PlanOptions,
) -> Result<Vec<PlannedLayer>> {
    let max_layers = below.room(options.max_layers)?;
    let mut drafts = parts;
    drafts.retain(|draft| !draft.members.is_empty());
    let others = drafts.len() + usize::from(!additions.is_empty());
    drafts.extend(release.into_layers(max_layers.saturating_sub(others)));
    if !additions.is_empty() {
        drafts.push(LayerDraft {
            name: "additions".to_owned(),
            members: additions,
        });
    }
    merge_to_limit(&mut drafts, max_layers);

    let directories = shared_directories(&drafts, below);
    drafts
        .into_iter()
        .map(|LayerDraft { name, members }| {
            let members = with_parents(members, &directories, below, options.mtime);
            let changeset = Changeset::new(name.clone(), members)?;
            Ok(PlannedLayer { name, changeset })
        })
        .collect()
}

/// Merges the highest layers until there are at most `limit`.
fn merge_to_limit(drafts: &mut Vec<LayerDraft>, limit: usize) {
    while drafts.len() > limit.max(1) {
        let upper = drafts.pop().expect("there is more than one");
        let lower = drafts.last_mut().expect("there was more than one");
        lower.members.extend(upper.members);
        "image".clone_into(&mut lower.name);
    }
}

/// Returns the directories that are more than a parent, by path. Every layer
/// repeats one as it is here, because the last layer that has it decides.
///
/// The drafts come in the order of the layers; what imgbuild itself makes
/// (`/tmp`, a home) is in the lowest and stays as it is there. A directory of
/// the base image stays as it is in the base.
fn shared_directories(drafts: &[LayerDraft], below: &LayerBase<'_>) -> BTreeMap<ImagePath, Entry> {
    let mut directories = BTreeMap::new();
    for Member { entry, .. } in drafts.iter().flat_map(|draft| &draft.members) {
        if entry.kind == EntryKind::Directory && !directories.contains_key(&entry.path) {
            let shared = below.directory(&entry.path).unwrap_or(entry);
            directories.insert(entry.path.clone(), shared.clone());
        }
    }
    directories
}

/// Adds every directory above the members of a layer, once.
fn with_parents(
    mut members: Vec<Member>,
    directories: &BTreeMap<ImagePath, Entry>,
    below: &LayerBase<'_>,
    mtime: u64,
) -> Vec<Member> {
    let mut missing: BTreeSet<ImagePath> = BTreeSet::new();
    members.retain(|member| {
        member.entry.kind != EntryKind::Directory || {
            missing.insert(member.entry.path.clone());
            false
        }
    });
    // Files of one directory follow each other: it is looked up once.
    let mut last: &[u8] = b"/";
    for member in &members {
        let parent = member.entry.path.parent_bytes();
        if parent != last {
            add_ancestors(&member.entry.path, &mut missing);
            last = parent;
        }
    }
    for path in missing.clone() {
        add_ancestors(&path, &mut missing);
    }
    members.extend(missing.into_iter().map(|path| {
        let known = directories.get(&path).or_else(|| below.directory(&path));
        let entry = known.cloned().unwrap_or_else(|| {
            let mut entry = Entry::directory(path);
            entry.mtime = mtime;
            entry
        });
        entry.into()
    }));
    members
}

fn add_ancestors(path: &ImagePath, missing: &mut BTreeSet<ImagePath>) {
    for ancestor in path.ancestors() {
        if !missing.insert(ancestor) {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::parse(text).unwrap()
    }

    fn file(at: &str) -> Member {
        Member::file(path(at), 0o644, b"x".to_vec())
    }

    fn draft(name: &str, members: Vec<Member>) -> LayerDraft {
        let name = name.to_owned();
        LayerDraft { name, members }
    }

    #[test]
    fn every_layer_has_the_directories_above_its_members_once() {
        let mut sticky = Entry::directory(path("/a"));
        sticky.mode = 0o1777;
        let drafts = vec![draft("one", vec![sticky.into(), file("/a/b/c")])];
        let below = LayerBase::default();
        let directories = shared_directories(&drafts, &below);
        let members = with_parents(vec![file("/a/d")], &directories, &below, 5);
        let shown: Vec<String> = members
            .iter()
            .map(|member| format!("{:04o} {}", member.entry.mode, member.entry.path))
            .collect();
        assert_eq!(shown, ["0644 /a/d", "1777 /a"]);
    }

    #[test]
    fn too_many_layers_are_merged_from_the_top() {
        let draft = |name: &str| draft(name, vec![file(&format!("/{name}"))]);
        let mut drafts = vec![draft("a"), draft("b"), draft("c")];
        merge_to_limit(&mut drafts, 2);
        let shown: Vec<(&str, usize)> = drafts
            .iter()
            .map(|draft| (draft.name.as_str(), draft.members.len()))
            .collect();
        assert_eq!(shown, [("a", 1), ("image", 2)]);
    }
}
