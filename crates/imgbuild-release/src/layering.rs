//! The division of a release into layers.
//!
//! A release that is one tree is cut along its directories, so that parts
//! that change at different times are in different layers, and large releases
//! are read, sent and unpacked in parallel. The rule depends on paths and
//! sizes only. A change inside one directory moves nothing between layers
//! unless the directory crosses a limit.
//!
//! Where the parts that change together are known, for example for mix
//! releases, they decide instead ([`divide_by_group`]).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use imgbuild_oci::entry::Member;

/// The size up to which a directory stays together, in bytes.
const MAX_UNIT_BYTES: u64 = 32 << 20;

/// The part of the largest unit from which on a directory is a unit of its
/// own, when its parent is too large for one.
const OWN_UNIT_DIVISOR: u64 = 4;

/// The size from which on a member of a group is a unit of its own, in bytes.
const MIN_MEMBER_BYTES: u64 = 1 << 20;

/// The number of units for smaller members.
const MEMBER_UNITS: u64 = 4;

/// The members of a layer before directories above them are added.
#[derive(Debug)]
pub(crate) struct LayerDraft {
    /// The name, for the history and for messages.
    pub(crate) name: String,
    pub(crate) members: Vec<Member>,
}

/// A path of the release and its size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weight<'a> {
    /// The path relative to the release, without a leading slash.
    pub(crate) path: &'a [u8],
    /// The bytes of its content.
    pub(crate) bytes: u64,
}

/// A part of a release that changes as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// The directory or file; empty for the whole release.
    pub(crate) name: Vec<u8>,
    /// The indexes of its paths, ascending.
    pub(crate) paths: Vec<usize>,
    bytes: u64,
}

/// Divides `paths`, which are sorted by their bytes, into at most `limit`
/// units, each path into one.
///
/// Units double in size until there are few enough of them, so that most of
/// them stay the same when a file changes.
pub(crate) fn divide(paths: &[Weight<'_>], limit: usize) -> Vec<Unit> {
    let mut max_bytes = MAX_UNIT_BYTES;
    loop {
        let whole = Unit::new(paths, Vec::new(), (0..paths.len()).collect());
        let is_one = whole.bytes <= max_bytes;
        let mut units = Vec::new();
        split(paths, whole, max_bytes, &mut units);
        if is_one || units.len() <= limit {
            units.sort_by(|a, b| a.paths.cmp(&b.paths));
            return units;
        }
        max_bytes = max_bytes.saturating_mul(2);
    }
}

/// The part of a release that a path changes with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    /// The rank; lower is more stable.
    pub(crate) rank: u8,
    /// The name of everything with this rank.
    pub(crate) name: &'static str,
    /// The member of the rank, if its members change independently; a large
    /// one is a unit of its own.
    member: String,
}

impl Group {
    /// Returns a rank that changes as one.
    pub(crate) fn whole(rank: u8, name: &'static str) -> Self {
        Self::member(rank, name, "")
    }

    /// Returns a member of a rank whose members change independently.
    pub(crate) fn member(rank: u8, name: &'static str, member: &str) -> Self {
        let member = member.to_owned();
        Self { rank, name, member }
    }
}

/// Divides `paths` by their groups into at most `limit` units, most stable
/// first.
///
/// Members below [`MIN_MEMBER_BYTES`] are put together by a hash of their
/// name, which has no version.
pub(crate) fn divide_by_group(
    paths: &[Weight<'_>],
    group: impl Fn(&[u8]) -> Group,
    limit: usize,
) -> Vec<Unit> {
    let mut by_group: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
    for (index, weight) in paths.iter().enumerate() {
        by_group.entry(group(weight.path)).or_default().push(index);
    }
    let mut units: BTreeMap<(u8, Vec<u8>, u64), Unit> = BTreeMap::new();
    for (group, members) in by_group {
        let mut unit = Unit::new(paths, group.name.as_bytes().to_vec(), members);
        let mut number = 0;
        if !group.member.is_empty() {
            if unit.bytes >= MIN_MEMBER_BYTES {
                unit.name = group.member.into_bytes();
            } else {
                number = u64::from(name_hash(group.member.as_bytes())) % MEMBER_UNITS;
            }
        }
        match units.entry((group.rank, unit.name.clone(), number)) {
            Entry::Vacant(vacant) => drop(vacant.insert(unit)),
            Entry::Occupied(mut occupied) => occupied.get_mut().extend(unit),
        }
    }
    let mut units: Vec<Unit> = units.into_values().collect();
    merge_neighbors(&mut units, limit.max(1));
    units
}

/// Merges the two smallest neighbors until there are few
/// enough units.
fn merge_neighbors(units: &mut Vec<Unit>, limit: usize) {
    while units.len() > limit {
        let pairs = units.windows(2).map(|pair| pair[0].bytes + pair[1].bytes);
        let (lower, _) = pairs
            .enumerate()
            .min_by_key(|(_, bytes)| *bytes)
            .expect("there are two or more");
        let upper = units.remove(lower + 1);
        units[lower].extend(upper);
    }
}

impl Unit {
    /// Merges another unit into this one, with its name.
    fn extend(&mut self, other: Self) {
        if self.name != other.name && !other.name.is_empty() {
            if !self.name.is_empty() {
                self.name.extend_from_slice(b", ");
            }
            self.name.extend_from_slice(&other.name);
        }
        self.bytes += other.bytes;
        self.paths.extend(other.paths);
        self.paths.sort_unstable();
    }

    fn new(paths: &[Weight<'_>], name: Vec<u8>, members: Vec<usize>) -> Self {
        let bytes = members.iter().map(|index| paths[*index].bytes).sum();
        Self {
            name,
            paths: members,
            bytes,
        }
    }
}

/// Paths next to each other that lie below the same child of a directory, or are
/// the child.
#[derive(Debug, Clone, Copy)]
struct ChildRun<'a> {
    /// The name of the child; empty for the directory itself.
    name: &'a [u8],
    paths: &'a [usize],
    bytes: u64,
}

fn split(paths: &[Weight<'_>], unit: Unit, max_bytes: u64, units: &mut Vec<Unit>) {
    if unit.bytes <= max_bytes || unit.paths.len() == 1 {
        units.push(unit);
        return;
    }
    let depth = match unit.name.len() {
        0 => 0,
        length => length + 1,
    };
    let name = |index: &usize| {
        let below = paths[*index].path.get(depth..).unwrap_or_default();
        below.split(|byte| *byte == b'/').next().unwrap_or_default()
    };
    let runs = unit.paths.chunk_by(|a, b| name(a) == name(b));
    let mut runs: Vec<ChildRun<'_>> = runs
        .map(|run| ChildRun {
            name: name(&run[0]),
            paths: run,
            bytes: run.iter().map(|index| paths[*index].bytes).sum(),
        })
        .collect();
    // `a-b` lies between `a` and `a/b`.
    runs.sort_by_key(|run| run.name);
    let mut small = Vec::new();
    for child in runs.chunk_by(|a, b| a.name == b.name) {
        let bytes: u64 = child.iter().map(|run| run.bytes).sum();
        if bytes < max_bytes / OWN_UNIT_DIVISOR {
            small.extend_from_slice(child);
            continue;
        }
        let mut path = unit.name.clone();
        if depth > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(child[0].name);
        let members = child.iter().flat_map(|run| run.paths).copied().collect();
        split(paths, Unit::new(paths, path, members), max_bytes, units);
    }
    units.extend(group_small(paths, &unit.name, &small, max_bytes));
}

/// Groups small children of a directory by a hash of their name: the group of
/// a child does not depend on the sizes of the other children.
fn group_small(
    paths: &[Weight<'_>],
    directory: &[u8],
    children: &[ChildRun<'_>],
    max_bytes: u64,
) -> Vec<Unit> {
    let bytes: u64 = children.iter().map(|run| run.bytes).sum();
    let groups = bytes.div_ceil(max_bytes).next_power_of_two();
    let mut by_group: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for child in children {
        let group = u64::from(name_hash(child.name)) % groups;
        by_group.entry(group).or_default().extend(child.paths);
    }
    by_group
        .into_values()
        .map(|mut members| {
            members.sort_unstable();
            Unit::new(paths, directory.to_vec(), members)
        })
        .collect()
}

/// FNV-1a: short, and the same for all time.
fn name_hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn names(paths: &[(&str, u64)], limit: usize) -> Vec<(String, usize)> {
        let weights: Vec<Weight<'_>> = paths
            .iter()
            .map(|(path, mebibytes)| Weight {
                path: path.as_bytes(),
                bytes: mebibytes * MIB,
            })
            .collect();
        let units = divide(&weights, limit);
        let mut all: Vec<usize> = units.iter().flat_map(|unit| unit.paths.clone()).collect();
        all.sort_unstable();
        assert_eq!(
            all,
            (0..paths.len()).collect::<Vec<_>>(),
            "each path is in one unit"
        );
        let name = |unit: &Unit| String::from_utf8(unit.name.clone()).unwrap();
        units
            .iter()
            .map(|unit| (name(unit), unit.paths.len()))
            .collect()
    }

    #[test]
    fn a_small_release_is_one_unit() {
        let paths = [("a", 1), ("b/c", 20), ("d", 5)];
        assert_eq!(names(&paths, 64), [(String::new(), 3)]);
    }

    #[test]
    fn a_large_release_is_cut_along_its_directories() {
        let paths = [
            ("bin", 0),
            ("bin/server", 1),
            ("data/model", 100),
            ("lib", 0),
            ("lib/a", 0),
            ("lib/a/x", 20),
            ("lib/a/y", 3),
            ("lib/b/x", 16),
            ("lib/c", 1),
            ("readme", 1),
        ];
        let unit = |name: &str, count| (name.to_owned(), count);
        assert_eq!(
            names(&paths, 64),
            [
                unit("", 3),
                unit("data", 1),
                unit("lib", 2),
                unit("lib/a", 3),
                unit("lib/b", 1),
            ]
        );
        assert_eq!(
            names(&paths, 4),
            [unit("", 3), unit("data", 1), unit("lib", 6)],
            "units double in size until there are few enough"
        );
        assert_eq!(names(&paths, 1), [unit("", 10)]);
    }

    fn placed(paths: &[(&str, u64)], limit: usize) -> Vec<(String, usize)> {
        let weights: Vec<Weight<'_>> = paths
            .iter()
            .map(|(path, mebibytes)| Weight {
                path: path.as_bytes(),
                bytes: mebibytes * MIB,
            })
            .collect();
        let place = |path: &[u8]| match str::from_utf8(path).unwrap().split_once('/') {
            Some(("stable", _)) => Group::whole(0, "stable"),
            Some((name, _)) => Group::member(1, "others", name),
            None => Group::whole(2, ""),
        };
        let units = divide_by_group(&weights, place, limit);
        let mut all: Vec<usize> = units.iter().flat_map(|unit| unit.paths.clone()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..paths.len()).collect::<Vec<_>>());
        let name = |unit: &Unit| String::from_utf8(unit.name.clone()).unwrap();
        let units = units.iter();
        units.map(|unit| (name(unit), unit.paths.len())).collect()
    }

    #[test]
    fn groups_become_units_in_their_order() {
        let unit = |name: &str, count| (name.to_owned(), count);
        let paths = [
            ("large/x", 3),
            ("large/y", 1),
            ("rest", 1),
            ("small/x", 0),
            ("stable/x", 50),
        ];
        assert_eq!(
            placed(&paths, 9),
            [
                unit("stable", 1),
                unit("large", 2),
                unit("others", 1),
                unit("", 1),
            ]
        );
        assert_eq!(
            placed(&paths, 3),
            [unit("stable", 1), unit("large", 2), unit("others", 2)]
        );
        assert_eq!(placed(&paths, 1), [unit("stable, large, others", 5)]);
    }
}
