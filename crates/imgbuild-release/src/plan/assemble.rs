//! From ingredients to layers: one source for each path, parents everywhere.

use std::collections::{BTreeMap, BTreeSet};

use imgbuild_oci::changeset::Changeset;
use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{Entry, EntryKind, Member};
use imgbuild_oci::path::{ImagePath, escaped};

use super::{PlanOptions, PlannedLayer};
use crate::base::Base;
use crate::contents::{Contents, End, real_place, source};
use crate::error::{Error, Result};
use crate::layering::{Weight, divide, divide_by_place};
use crate::refusal::{Refusal, Refusals};
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

/// What is to be done at a path where something lies.
enum Meeting {
    /// There is nothing in the way.
    None,
    /// What lies there stays.
    Yield,
    /// Both cannot be; this lies there.
    Refuse(String),
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
        let is_directory = member.entry.kind == EntryKind::Directory;
        let path = match self.real_place(&member.entry.path, is_directory) {
            Ok(path) => path,
            Err(refusal) => {
                self.refusals.push(refusal);
                return None;
            }
        };
        member.entry.path = path.clone();
        let text = format!("the {name} of the image");
        match self.meet(&path, is_directory, conflict) {
            Meeting::None => {}
            Meeting::Yield => return None,
            Meeting::Refuse(theirs) => {
                let sources = [theirs, text];
                self.refusals.push(Refusal::TwoSources { path, sources });
                return None;
            }
        }
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

    /// Looks at what lies at a path already. What a base image has there is
    /// replaced by what is no directory, unless that would yield.
    fn meet(&self, path: &ImagePath, is_directory: bool, conflict: Conflict) -> Meeting {
        let are_directories =
            |theirs: &Member| is_directory && theirs.entry.kind == EntryKind::Directory;
        if let Some(theirs) = self.users.own(path) {
            return match conflict {
                _ if are_directories(theirs) => Meeting::None,
                Conflict::Yield => Meeting::Yield,
                Conflict::Refuse => Meeting::Refuse(source(theirs)),
            };
        }
        let Some(theirs) = self.users.base(path) else {
            return Meeting::None;
        };
        let leads_nowhere = || !matches!(self.users.resolve(path), End::There(_));
        match (&theirs.entry.kind, conflict) {
            (EntryKind::Directory, _) if is_directory => Meeting::None,
            (EntryKind::Directory, _) => {
                Meeting::Refuse("a directory of the base image".to_owned())
            }
            (_, _) if is_directory => Meeting::Refuse("a file of the base image".to_owned()),
            (_, Conflict::Yield) if !leads_nowhere() => Meeting::Yield,
            (_, Conflict::Yield | Conflict::Refuse) => Meeting::None,
        }
    }

    /// A directory at a link to one is that one.
    fn real_place(&self, path: &ImagePath, is_directory: bool) -> Result<ImagePath, Refusal> {
        let place = real_place(self.users, path)?;
        match self.users.resolve(&place) {
            End::There(end) if is_directory && self.users.base(&place).is_some() => {
                let kind = self.users.get(&end).map(|member| &member.entry.kind);
                Ok(match kind {
                    Some(EntryKind::Directory) => end,
                    _ => place,
                })
            }
            _ => Ok(place),
        }
    }

    /// Returns the parts, lowest first.
    ///
    /// # Errors
    ///
    /// With every path that has two sources.
    pub(super) fn finish(self) -> Result<Vec<Part>, Refusals> {
        Refusals::check(self.refusals)?;
        Ok(self.parts)
    }
}

/// Checks that additions and the release do not meet, and puts additions
/// where the release's links lead.
///
/// # Errors
///
/// With every path that has two sources.
pub(super) fn place_additions(
    release: &[Member],
    additions: Vec<Member>,
) -> Result<Vec<Member>, Refusals> {
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
    Refusals::check(refusals)?;
    Ok(placed.into_values().collect())
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

/// Makes the layers: `parts` first, then the release, then the additions.
pub(super) fn layers(
    parts: Vec<Part>,
    release: Release,
    additions: Vec<Member>,
    ground: &Ground<'_>,
    options: &PlanOptions,
) -> Result<Vec<PlannedLayer>> {
    let max_layers = ground.room(options.max_layers)?;
    let mut lists: Vec<(String, Vec<Member>)> = parts
        .into_iter()
        .map(|part| (part.name.to_owned(), part.members))
        .filter(|(_, members)| !members.is_empty())
        .collect();
    let others = lists.len() + usize::from(!additions.is_empty());
    let room = max_layers.saturating_sub(others);
    lists.extend(release_lists(release, room));
    if !additions.is_empty() {
        lists.push(("additions".to_owned(), additions));
    }
    merge_to_limit(&mut lists, max_layers);
    let directories = shared_directories(&lists, ground);
    lists
        .into_iter()
        .map(|(name, members)| {
            let members = with_parents(members, &directories, ground, options.mtime);
            let changeset = Changeset::new(name.clone(), members)?;
            Ok(PlannedLayer { name, changeset })
        })
        .collect()
}

/// What the layers lie on.
#[derive(Debug, Default)]
pub(super) struct Ground<'a> {
    pub(super) base: Option<&'a Base>,
    /// Directories that are as the user wants them, whatever the base says.
    pub(super) own: BTreeSet<ImagePath>,
}

impl Ground<'_> {
    /// Returns how many layers may lie on the base.
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

    /// Returns a directory of the base, whose mode and owner are to stay.
    fn directory(&self, path: &ImagePath) -> Option<&Entry> {
        let base = self.base.filter(|_| !self.own.contains(path))?;
        base.directory(path)
    }
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
/// (`/tmp`, a home) is in the lowest, and stays as it is there. What a base
/// image has stays as it is in the base.
fn shared_directories(
    lists: &[(String, Vec<Member>)],
    ground: &Ground<'_>,
) -> BTreeMap<ImagePath, Entry> {
    let mut directories = BTreeMap::new();
    for member in lists.iter().flat_map(|(_, members)| members) {
        if member.entry.kind == EntryKind::Directory {
            let path = &member.entry.path;
            if !directories.contains_key(path) {
                let entry = ground.directory(path).unwrap_or(&member.entry);
                directories.insert(path.clone(), entry.clone());
            }
        }
    }
    directories
}

/// Adds every directory above the members of a layer, once.
fn with_parents(
    mut members: Vec<Member>,
    directories: &BTreeMap<ImagePath, Entry>,
    ground: &Ground<'_>,
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
        let known = directories.get(&path).or_else(|| ground.directory(&path));
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

    fn refusals<T: std::fmt::Debug>(result: Result<T, Refusals>) -> Vec<Refusal> {
        result.unwrap_err().0
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
        let ground = Ground::default();
        let directories = shared_directories(&lists, &ground);
        let members = with_parents(vec![file("/a/d")], &directories, &ground, 5);
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
