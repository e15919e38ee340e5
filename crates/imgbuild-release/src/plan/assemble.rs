//! From ingredients to layers: one source for each path, parents everywhere.

use std::collections::{BTreeMap, BTreeSet};

use imgbuild_oci::changeset::{Changeset, Member};
use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{Entry, EntryKind};
use imgbuild_oci::path::{ImagePath, escaped};

use super::{PlanOptions, PlannedLayer};
use crate::contents::{Contents, End};
use crate::error::{Error, Refusal, Result};
use crate::layering::{Weight, divide, divide_by_place};
use crate::release::{Kind, Release};

/// Members that will be one layer, or several.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) members: Vec<Member>,
}

/// What to do with a path that the user brings too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflict {
    /// The user's file is the one.
    Yield,
    /// Nobody can tell which one is meant.
    Refuse,
}

/// Puts parts beside what the user brings, and notes what cannot be.
pub(super) struct Assembly<'a> {
    users: &'a Contents<'a>,
    placed: BTreeMap<ImagePath, String>,
    parts: Vec<Part>,
    refusals: Vec<Refusal>,
}

impl<'a> Assembly<'a> {
    /// `users` is what the user brings: the release and the additions.
    pub(super) fn new(users: &'a Contents<'a>) -> Self {
        Self {
            users,
            placed: BTreeMap::new(),
            parts: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// Adds a part; a path through a link of the release goes where the link
    /// leads, so that the link stays what it is.
    pub(super) fn add(&mut self, name: &'static str, members: Vec<Member>, conflict: Conflict) {
        let placed = members
            .into_iter()
            .filter_map(|member| self.place(name, member, conflict))
            .collect();
        self.parts.push(Part {
            name,
            members: placed,
        });
    }

    fn place(&mut self, name: &str, mut member: Member, conflict: Conflict) -> Option<Member> {
        let path = match self.real_place(&member.entry.path) {
            Ok(path) => path,
            Err(refusal) => {
                self.refusals.push(refusal);
                return None;
            }
        };
        member.entry.path = path.clone();
        let is_directory = member.entry.kind == EntryKind::Directory;
        let theirs = self.users.get(&path);
        match theirs {
            Some(theirs) if is_directory && theirs.entry.kind == EntryKind::Directory => {}
            Some(_) if conflict == Conflict::Yield => return None,
            Some(theirs) => {
                let sources = [source(theirs), format!("the {name} of the image")];
                self.refusals.push(Refusal::TwoSources { path, sources });
                return None;
            }
            None => {}
        }
        let text = format!("the {name} of the image");
        match self.placed.insert(path.clone(), text.clone()) {
            Some(_) if is_directory => None,
            Some(first) => {
                let sources = [first, text];
                self.refusals.push(Refusal::TwoSources { path, sources });
                None
            }
            None => Some(member),
        }
    }

    fn real_place(&self, path: &ImagePath) -> std::result::Result<ImagePath, Refusal> {
        real_place(self.users, path)
    }

    /// Returns the parts, lowest first.
    ///
    /// # Errors
    ///
    /// With every path that has two sources.
    pub(super) fn finish(self) -> Result<Vec<Part>> {
        match self.refusals.is_empty() {
            true => Ok(self.parts),
            false => Err(Error::Refused {
                refusals: self.refusals,
            }),
        }
    }
}

/// Follows the links of the directories above `path`.
fn real_place(
    contents: &Contents<'_>,
    path: &ImagePath,
) -> std::result::Result<ImagePath, Refusal> {
    let Some(parent) = path.parent() else {
        return Ok(path.clone());
    };
    let below_a_file = |parent: ImagePath| Refusal::BelowAFile {
        path: path.clone(),
        parent,
    };
    let end = match contents.resolve(&parent) {
        End::There(end) | End::Nothing(end) => end,
        End::Loop => return Err(below_a_file(parent)),
    };
    let is_directory = |path: &ImagePath| {
        let member = contents.get(path);
        member.is_none_or(|member| member.entry.kind == EntryKind::Directory)
    };
    if let Some(file) = [end.clone()]
        .into_iter()
        .chain(end.ancestors())
        .find(|path| !is_directory(path))
    {
        return Err(below_a_file(file));
    }
    let joined = end.join(path.file_name());
    joined.map_err(|_| below_a_file(end))
}

/// Checks that additions and the release do not meet, and puts additions
/// where the release's links lead.
///
/// # Errors
///
/// With every path that has two sources.
pub(super) fn place_additions(release: &[Member], additions: Vec<Member>) -> Result<Vec<Member>> {
    let contents = Contents::new(release);
    let mut refusals = Vec::new();
    let mut placed: BTreeMap<ImagePath, Member> = BTreeMap::new();
    for mut member in additions {
        match real_place(&contents, &member.entry.path) {
            Ok(path) => member.entry.path = path,
            Err(refusal) => {
                refusals.push(refusal);
                continue;
            }
        }
        let path = &member.entry.path;
        let other = contents.get(path).or_else(|| placed.get(path));
        let are_directories =
            |other: &Member| [&other.entry.kind, &member.entry.kind] == [&EntryKind::Directory; 2];
        match other {
            Some(other) if !are_directories(other) => refusals.push(Refusal::TwoSources {
                path: path.clone(),
                sources: [source(other), source(&member)],
            }),
            Some(_) => {
                placed.insert(path.clone(), member);
            }
            None => match first_below(release, path) {
                Some(below) if member.entry.kind != EntryKind::Directory => {
                    refusals.push(Refusal::BelowAFile {
                        path: below.clone(),
                        parent: path.clone(),
                    });
                }
                Some(_) | None => {
                    placed.insert(path.clone(), member);
                }
            },
        }
    }
    match refusals.is_empty() {
        true => Ok(placed.into_values().collect()),
        false => Err(Error::Refused { refusals }),
    }
}

/// Returns the first of the members, sorted by path, that lies below `path`.
fn first_below<'a>(members: &'a [Member], path: &ImagePath) -> Option<&'a ImagePath> {
    let is_before = |member: &Member| member.entry.path.as_bytes() <= path.as_bytes();
    let after = members.partition_point(is_before);
    let later = members[after..].iter().map(|member| &member.entry.path);
    // Between a path and what is below it come those that only begin like it.
    later
        .take_while(|later| later.as_bytes().starts_with(path.as_bytes()))
        .find(|later| later.starts_with(path))
}

/// Says where a member comes from.
fn source(member: &Member) -> String {
    match (&member.content, &member.entry.kind) {
        (Some(Content::File(file)), _) => format!("`{}`", file.path.display()),
        (_, EntryKind::Symlink { target }) => format!("a link to `{}`", escaped(target)),
        (_, EntryKind::Directory) => "a directory".to_owned(),
        _ => "imgbuild".to_owned(),
    }
}

/// Makes the layers: `parts` first, then the release, then the additions.
pub(super) fn layers(
    parts: Vec<Part>,
    release: Release,
    additions: Vec<Member>,
    options: &PlanOptions,
) -> Result<Vec<PlannedLayer>> {
    let mut lists: Vec<(String, Vec<Member>)> = parts
        .into_iter()
        .map(|part| (part.name.to_owned(), part.members))
        .filter(|(_, members)| !members.is_empty())
        .collect();
    let others = lists.len() + usize::from(!additions.is_empty());
    let room = options.max_layers.saturating_sub(others);
    lists.extend(release_lists(release, room));
    if !additions.is_empty() {
        lists.push(("additions".to_owned(), additions));
    }
    merge_to_limit(&mut lists, options.max_layers);
    let directories = shared_directories(&lists);
    lists
        .into_iter()
        .map(|(name, members)| {
            let members = with_parents(members, &directories, options.mtime);
            let changeset = Changeset::new(name.clone(), members).map_err(Error::Image)?;
            Ok(PlannedLayer { name, changeset })
        })
        .collect()
}

/// Divides the release into units that change as one.
fn release_lists(release: Release, room: usize) -> Vec<(String, Vec<Member>)> {
    let linked = release.linked().clone();
    let kind = release.kind();
    let mix = release.mix().cloned();
    let prefix = release.prefix().clone();
    let depth = match prefix.is_root() {
        true => 1,
        false => prefix.as_bytes().len() + 1,
    };
    let members = release.into_members();
    let weights: Vec<Weight<'_>> = members
        .iter()
        .map(|member| Weight {
            path: member
                .entry
                .path
                .as_bytes()
                .get(depth..)
                .unwrap_or_default(),
            bytes: member.entry.content_size(),
        })
        .collect();
    let units = match (kind, &mix) {
        (_, Some(mix)) => divide_by_place(&weights, |path| mix.place(path), room),
        (Kind::Cargo, None) => divide(&weights, 1),
        (Kind::Mix | Kind::Tree, None) => divide(&weights, room),
    };
    drop(weights);
    let mut members: Vec<Option<Member>> = members.into_iter().map(Some).collect();
    units
        .into_iter()
        .map(|unit| {
            let name = match unit.name.is_empty() {
                true => "release".to_owned(),
                false => format!("release: {}", escaped(&unit.name)),
            };
            let taken = unit.paths.iter().filter_map(|index| members[*index].take());
            let mut taken: Vec<Member> = taken.collect();
            link_again(&mut taken, &linked);
            (name, taken)
        })
        .collect()
}

/// Makes further names of a file hard links to its first.
fn link_again(members: &mut [Member], linked: &BTreeSet<(u64, u64)>) {
    if linked.is_empty() {
        return;
    }
    let mut first_names: BTreeMap<(u64, u64), ImagePath> = BTreeMap::new();
    for member in members {
        let Some(Content::File(file)) = &member.content else {
            continue;
        };
        let identity = (file.state.device, file.state.inode);
        if !linked.contains(&identity) {
            continue;
        }
        if let Some(first) = first_names.get(&identity) {
            let target = first.clone();
            member.entry.kind = EntryKind::Hardlink { target };
            member.content = None;
        } else {
            first_names.insert(identity, member.entry.path.clone());
        }
    }
}

/// Merges the highest layers but the additions until there are few enough.
fn merge_to_limit(lists: &mut Vec<(String, Vec<Member>)>, limit: usize) {
    while lists.len() > limit.max(1) {
        let (_, upper) = lists.pop().expect("there is more than one");
        let (name, lower) = lists.last_mut().expect("there was more than one");
        lower.extend(upper);
        "image".clone_into(name);
    }
}

/// The directories that are more than a parent, by path: every layer repeats
/// one as it is here, for the last layer that names it decides.
///
/// The lists come in the order of the layers; what imgbuild itself makes
/// (`/tmp`, a home) is in the lowest, and stays as it is there.
fn shared_directories(lists: &[(String, Vec<Member>)]) -> BTreeMap<ImagePath, Entry> {
    let mut directories = BTreeMap::new();
    for member in lists.iter().flat_map(|(_, members)| members) {
        if member.entry.kind == EntryKind::Directory {
            let path = &member.entry.path;
            if !directories.contains_key(path) {
                directories.insert(path.clone(), member.entry.clone());
            }
        }
    }
    directories
}

/// Adds every directory above the members of a layer, once.
fn with_parents(
    mut members: Vec<Member>,
    directories: &BTreeMap<ImagePath, Entry>,
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
        let entry = directories.get(&path).cloned().unwrap_or_else(|| {
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

    fn link(at: &str, to: &str) -> Member {
        Entry::symlink(path(at), to).into()
    }

    fn directory(at: &str) -> Member {
        Entry::directory(path(at)).into()
    }

    fn sorted(mut members: Vec<Member>) -> Vec<Member> {
        members.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
        members
    }

    fn refusals<T: std::fmt::Debug>(result: Result<T>) -> Vec<String> {
        match result.unwrap_err() {
            Error::Refused { refusals } => refusals.iter().map(ToString::to_string).collect(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn additions_go_where_the_links_of_the_release_lead() {
        let release = sorted(vec![
            link("/app/lib", "/usr/lib"),
            directory("/app/d"),
            file("/app/d/f"),
        ]);
        let additions = vec![file("/app/lib/x"), directory("/app/d"), file("/app/d/g")];
        let placed = place_additions(&release, additions).unwrap();
        let paths: Vec<String> = placed
            .iter()
            .map(|member| member.entry.path.to_string())
            .collect();
        assert_eq!(paths, ["/app/d", "/app/d/g", "/usr/lib/x"]);
    }

    #[test]
    fn all_meetings_are_refused_at_once() {
        let release = sorted(vec![
            file("/app/a"),
            directory("/app/d"),
            link("/app/l", "l"),
        ]);
        let additions = vec![
            file("/app/a"),
            file("/app/d"),
            file("/app/a/b"),
            file("/app/l/x"),
            file("/x"),
            file("/x"),
        ];
        assert_eq!(refusals(place_additions(&release, additions)).len(), 5);
    }

    #[test]
    fn a_part_yields_to_the_user_or_refuses() {
        let users = [file("/etc/passwd")];
        let contents = Contents::new(&users);
        let part = || vec![file("/etc/passwd"), file("/etc/group")];
        let mut assembly = Assembly::new(&contents);
        assembly.add("skeleton", part(), Conflict::Yield);
        let parts = assembly.finish().unwrap();
        assert_eq!(parts[0].members.len(), 1);
        let mut assembly = Assembly::new(&contents);
        assembly.add("skeleton", part(), Conflict::Refuse);
        assert_eq!(refusals(assembly.finish()).len(), 1);
    }

    #[test]
    fn every_layer_has_the_directories_above_its_members_once() {
        let mut sticky = Entry::directory(path("/a"));
        sticky.mode = 0o1777;
        let lists = vec![("one".to_owned(), vec![sticky.into(), file("/a/b/c")])];
        let directories = shared_directories(&lists);
        let members = with_parents(vec![file("/a/d")], &directories, 5);
        let shown: Vec<String> = members
            .iter()
            .map(|member| format!("{:04o} {}", member.entry.mode, member.entry.path))
            .collect();
        assert_eq!(shown, ["0644 /a/d", "1777 /a"]);
    }

    #[test]
    fn too_many_layers_are_merged_from_the_top() {
        let list = |name: &str| (name.to_owned(), vec![file(&format!("/{name}"))]);
        let mut lists = vec![list("a"), list("b"), list("c")];
        merge_to_limit(&mut lists, 2);
        let shown: Vec<(&str, usize)> = lists
            .iter()
            .map(|(name, members)| (name.as_str(), members.len()))
            .collect();
        assert_eq!(shown, [("a", 1), ("image", 2)]);
    }
}
