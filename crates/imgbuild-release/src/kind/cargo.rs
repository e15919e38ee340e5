//! Cargo's profile directories: `target/release`, `target/TRIPLE/release`, ….

mod manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_oci::path::ImagePath;

use super::expand;
use crate::contents::is_executable;
use crate::elf::{self, Elf};
use crate::error::{Error, Result};
use crate::layering::{Unit, Weight, divide};
use crate::package::Package;
use crate::pattern::Verdict;
use crate::refusal::Refusal;
use crate::release::kind::{Behavior, ReleasesBelow, Selected};
use crate::release::selection::Selection;
use crate::release::{Kind, Release};
use crate::walk::{Found, look_at, walk, walk_flat};

/// The executables of a profile directory of Cargo's, and those of its
/// libraries that they need.
pub static CARGO: Kind = Kind {
    name: "cargo",
    prefix: "/usr/local/bin",
    has_own_directory: false,
    is_any_directory: false,
    recognize: is_profile_directory,
    find_below,
    select,
};

const LEFT_BY_CARGO: &str = "Cargo's intermediate files";
const NOT_PICKED: &str = "not picked with `--bin`";

/// The file that Cargo writes to the top of `target` ([the build cache]).
///
/// [the build cache]: https://doc.rust-lang.org/cargo/reference/build-cache.html
const TARGET_MARK: &str = ".rustc_info.json";

#[derive(Debug)]
struct CargoRelease;

impl Behavior for CargoRelease {
    fn divide(&self, files: &[Weight<'_>], _: usize) -> Vec<Unit> {
        divide(files, 1)
    }

    /// Reads the `Cargo.toml` beside `target/` or, in a workspace, that of the
    /// member that makes the only executable which is included. A manifest
    /// that cannot be read has no package.
    fn package(&self, release: &Release) -> Option<Package> {
        let entries = release.members().iter().map(|member| &member.entry);
        let executables: Vec<String> = entries
            .filter(|entry| {
                entry.path.parent().as_ref() == Some(release.prefix()) && is_executable(entry)
            })
            .map(|entry| String::from_utf8_lossy(entry.path.file_name()).into_owned())
            .collect();
        manifest::package(release.root(), &executables)
    }

    fn library_directories(&self, root: &Path) -> Vec<PathBuf> {
        let directories = [root.to_path_buf(), root.join("deps")];
        directories
            .into_iter()
            .filter(|path| path.is_dir())
            .collect()
    }
}

/// Returns whether Cargo wrote this directory.
fn is_profile_directory(root: &Path) -> bool {
    let has = |name: &str| root.join(name).exists();
    has(".fingerprint")
        || has(".cargo-lock")
        || (has("deps") && (has("build") || has("incremental")))
}

fn find_below(root: &Path) -> Option<ReleasesBelow> {
    let is_project = root.join("Cargo.toml").is_file();
    let is_target = |directory: &Path| directory.join(TARGET_MARK).is_file();
    let absolute = fs::canonicalize(root).ok()?;
    let patterns: &[&[&str]] = if is_project {
        &[&["target", "release"], &["target", "*", "release"]]
    } else if is_target(root) || absolute.parent().is_some_and(is_target) {
        &[&["release"], &["*", "release"]]
    } else {
        return None;
    };
    let mut places: Vec<PathBuf> = patterns
        .iter()
        .flat_map(|pattern| expand(root, pattern))
        .collect();
    places.retain(|place| is_profile_directory(place) && has_program(place));
    (!places.is_empty()).then_some(ReleasesBelow {
        places,
        is_certain: !is_project,
    })
}

/// Reads the package's name from the `Cargo.toml` above the directory.
fn package_name(root: &Path) -> Option<String> {
    let root = fs::canonicalize(root).ok()?;
    let manifest = root
        .ancestors()
        .skip(1)
        .map(|directory| directory.join("Cargo.toml"))
        .find(|manifest| manifest.is_file())?;
    let table: toml::Table = fs::read_to_string(&manifest).ok()?.parse().ok()?;
    match table.get("package").and_then(|package| package.get("name")) {
        Some(name) => Some(name.as_str()?.to_owned()),
        // A workspace without a package of its own goes by its directory.
        None => {
            let directory = manifest.parent().and_then(Path::file_name);
            directory.map(|name| name.to_string_lossy().into_owned())
        }
    }
}

/// Takes the executables, and of the release's own libraries those that they
/// need.
fn select(selection: &mut Selection<'_>) -> Result<Selected> {
    let root = selection.root;
    let (programs, closed) = programs(root)?;
    refuse_closed(selection, closed);
    if !selection.refusals.is_empty() {
        return Ok(selected(root));
    }
    let picked = pick(&programs, &selection.options.binaries)?;
    if picked.is_empty() {
        let path = root.to_path_buf();
        return Err(Error::NoExecutable { path });
    }
    let libraries = needed_libraries(root, picked.values());
    // Below the directory itself, only a pattern could bring something back.
    let walk = if selection.options.patterns.is_empty() {
        walk_flat
    } else {
        walk
    };
    walk(root, &mut |relative, found| {
        let is_directory = matches!(found, Ok(Found::Directory { .. }));
        let name = relative.as_os_str();
        let verdict = selection.decide(relative, is_directory);
        let is_wanted = match verdict {
            Verdict::Included => !is_directory,
            Verdict::Excluded => false,
            Verdict::Undecided => picked.contains_key(name),
        };
        if is_wanted {
            selection.take(relative, found);
        } else if !libraries.values().any(|path| path == relative) {
            let reason = match verdict {
                Verdict::Excluded => "excluded",
                _ if programs.contains_key(name) => NOT_PICKED,
                _ => LEFT_BY_CARGO,
            };
            selection.leave_out(relative, is_directory, reason);
        }
    })?;
    let directory = library_directory(selection.prefix);
    for (name, relative) in &libraries {
        let found = look_at(&root.join(relative));
        let path = directory.join(name)?;
        selection.take_at(path, relative, found);
    }
    Ok(selected(root))
}

fn selected(root: &Path) -> Selected {
    Selected {
        name: package_name(root),
        behavior: Box::new(CargoRelease),
    }
}

/// Returns the directory of the release's own libraries: `lib` beside a `bin`,
/// else below the prefix.
fn library_directory(prefix: &ImagePath) -> ImagePath {
    let parent = prefix.parent().filter(|_| prefix.file_name() == b"bin");
    let beside = parent.as_ref().unwrap_or(prefix).join("lib");
    beside.unwrap_or_else(|_| prefix.clone())
}

/// Refuses executables that cannot be read, unless they are not picked.
fn refuse_closed(selection: &mut Selection<'_>, closed: Vec<(OsString, io::Error)>) {
    let options = selection.options;
    let is_wanted = |name: &OsStr| {
        let is_named = |picked: &String| OsStr::new(picked) == name;
        (options.binaries.is_empty() || options.binaries.iter().any(is_named))
            && options.patterns.decide(Path::new(name), false) != Verdict::Excluded
    };
    for (name, cause) in closed {
        if is_wanted(&name) {
            let path = selection.root.join(name);
            selection.refusals.push(Refusal::Unreadable { path, cause });
        }
    }
}

/// Returns whether the directory has a program.
fn has_program(root: &Path) -> bool {
    programs(root).is_ok_and(|(programs, _)| !programs.is_empty())
}

/// Returns the programs directly in the directory, by name, and the executables
/// that cannot be read.
#[expect(clippy::type_complexity, reason = "two lists for one caller")]
fn programs(root: &Path) -> Result<(BTreeMap<OsString, Elf>, Vec<(OsString, io::Error)>)> {
    let mut programs = BTreeMap::new();
    let mut closed = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            continue;
        }
        let is_program = |elf: &Elf| {
            matches!(
                elf.kind,
                elf::ElfKind::Program | elf::ElfKind::StaticProgram
            )
        };
        let file = match fs::File::open(entry.path()) {
            Ok(file) => file,
            Err(error) => {
                closed.push((entry.file_name(), error.kind().into()));
                continue;
            }
        };
        if let Some(elf) = Elf::read(&file).ok().flatten().filter(is_program) {
            programs.insert(entry.file_name(), elf);
        }
    }
    closed.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok((programs, closed))
}

fn read_elf(path: &Path) -> Option<Elf> {
    let file = fs::File::open(path).ok()?;
    Elf::read(&file).ok().flatten()
}

fn pick<'a>(
    programs: &'a BTreeMap<OsString, Elf>,
    names: &[String],
) -> Result<BTreeMap<&'a OsStr, &'a Elf>> {
    let all = programs.iter().map(|(name, elf)| (name.as_os_str(), elf));
    if names.is_empty() {
        return Ok(all.collect());
    }
    if let Some(name) = names
        .iter()
        .find(|name| !programs.contains_key(OsStr::new(name)))
    {
        return Err(Error::UnknownBinary {
            name: name.clone(),
            known: programs
                .keys()
                .map(|name| name.to_string_lossy().into_owned())
                .collect(),
        });
    }
    Ok(all
        .filter(|(name, _)| names.iter().any(|picked| OsStr::new(picked) == *name))
        .collect())
}

/// The release's own shared libraries that `programs` need, directly or
/// through each other: name and path relative to the release.
fn needed_libraries<'a>(
    root: &Path,
    programs: impl Iterator<Item = &'a &'a Elf>,
) -> BTreeMap<String, PathBuf> {
    let mut libraries = BTreeMap::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut queue: Vec<String> = programs.flat_map(|elf| elf.needed.clone()).collect();
    while let Some(name) = queue.pop() {
        if name.contains('/') || !seen.insert(name.clone()) {
            continue;
        }
        let places = [PathBuf::from(&name), Path::new("deps").join(&name)];
        for place in places {
            if let Some(elf) = read_elf(&root.join(&place)) {
                queue.extend(elf.needed);
                libraries.insert(name, place);
                break;
            }
        }
    }
    libraries
}
