//! Cargo's profile directories: `target/release`, `target/TRIPLE/release`, ….

mod manifest;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::root_directory::RootDirectory;

use super::expand;
use crate::contents::{can_run, is_executable};
use crate::elf::Elf;
use crate::error::{Error, Result};
use crate::layering::{Unit, Weight, divide};
use crate::package::Package;
use crate::pattern::Verdict;
use crate::refusal::Refusal;
use crate::release::facts::DirectoryFacts;
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
    recognize: |root, _| is_profile_directory(root).then(|| "Cargo built in it".to_owned()),
    find_below,
    select,
};

const LEFT_BY_CARGO: &str = "only builds need it";
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
        let executables = release.members.iter().filter(|member| {
            let is_at_top = member.entry.path.parent().as_ref() == Some(&release.prefix);
            is_at_top && is_executable(&member.entry) && can_run(member)
        });
        let executables: Vec<String> = executables
            .map(|member| &member.entry)
            .map(|entry| String::from_utf8_lossy(entry.path.file_name()).into_owned())
            .collect();
        manifest::package(&release.root, &executables)
    }

    fn library_directories(&self, root: &Path) -> Vec<PathBuf> {
        let mut directories = vec![root.to_path_buf(), root.join("deps")];
        directories.retain(|path| path.is_dir());
        directories
    }
}

/// Returns whether Cargo wrote this directory.
fn is_profile_directory(root: &Path) -> bool {
    let has = |name: &str| root.join(name).exists();
    has(".fingerprint")
        || has(".cargo-lock")
        || (has("deps") && (has("build") || has("incremental")))
}

fn find_below(root: &Path, facts: &DirectoryFacts) -> Option<ReleasesBelow> {
    let is_project = root.join("Cargo.toml").is_file();
    let is_target = |directory: &Path| directory.join(TARGET_MARK).is_file();
    let absolute = fs::canonicalize(root).ok()?;
    let patterns = if is_project {
        ["target/release", "target/*/release"]
    } else if is_target(root) || absolute.parent().is_some_and(is_target) {
        ["release", "*/release"]
    } else {
        return None;
    };
    let mut places: Vec<PathBuf> = patterns
        .iter()
        .flat_map(|pattern| expand(root, pattern, facts))
        .collect();
    places.retain(|place| {
        let root = || RootDirectory::open(place);
        let executables = || root().and_then(|root| Executables::read(&root, true));
        is_profile_directory(place) && executables().is_ok_and(|them| !them.programs.is_empty())
    });
    (!places.is_empty()).then_some(ReleasesBelow {
        places,
        is_certain: !is_project,
    })
}

/// Selects the executables, the shared libraries beside them, which are products
/// of the build (`cdylib`, `dylib`), and of its other libraries those that they
/// need.
fn select(selection: &mut Selection<'_>) -> Result<Selected> {
    let root = selection.root;
    let executables = Executables::read(root, selection.options.modes.fix_modes)?;
    refuse_unreadable(selection, &executables);
    let picked = executables.pick(&selection.options.binaries)?;
    if picked.is_empty() && selection.refusals.is_empty() {
        return Err(Error::NoExecutable(root.path().to_path_buf()));
    }
    if selection.options.binaries.is_empty() {
        let without_bit = executables.without_bit.iter().map(|(path, mode)| {
            let path = path.display();
            format!("left out the program `{path}`: its mode {mode:04o} does not let anyone execute it; some uploads of CI artifacts lose this, and `chmod +x` mends it").into()
        });
        selection.warnings.extend(without_bit);
    }
    let products = executables.libraries.iter();
    let products = products.filter(|_| selection.options.binaries.is_empty());
    let products: BTreeMap<&OsStr, &Elf> = products
        .map(|(name, elf)| (name.as_os_str(), elf))
        .collect();
    let libraries = needed_libraries(root, picked.values().chain(products.values()));
    let is_needed = |relative: &Path| libraries.values().any(|path| path == relative);

    // Below the directory itself, only a pattern includes anything.
    let walk = if selection.options.patterns.is_empty() {
        walk_flat
    } else {
        walk
    };
    walk(root, &mut |relative, found| {
        let is_directory = matches!(found, Ok(Found::Directory { .. }));
        let name = relative.as_os_str();
        let reason = match selection.decide(relative, is_directory) {
            Verdict::Included if !is_directory => return selection.take(relative, found),
            Verdict::Undecided if picked.contains_key(name) => {
                return selection.take(relative, found);
            }
            Verdict::Undecided if products.contains_key(name) && !is_needed(relative) => {
                return selection.take(relative, found);
            }
            Verdict::Excluded => "excluded",
            _ if executables.has(name) => NOT_PICKED,
            _ => LEFT_BY_CARGO,
        };
        if !is_needed(relative) {
            selection.leave_out(relative, is_directory, reason);
        }
    })?;
    let directory = library_directory(selection.prefix);
    for (name, relative) in &libraries {
        let found = look_at(&root.path().join(relative));
        selection.take_at(directory.join(name)?, root, relative, found);
    }
    Ok(Selected {
        name: manifest::package_name(root.path()),
        behavior: Box::new(CargoRelease),
    })
}

/// Returns the directory of the release's own libraries: `lib` beside a `bin`,
/// else below the prefix.
fn library_directory(prefix: &ImagePath) -> ImagePath {
    let parent = prefix.parent().filter(|_| prefix.file_name() == b"bin");
    let beside = parent.as_ref().unwrap_or(prefix).join("lib");
    beside.unwrap_or_else(|_| prefix.clone())
}

/// Refuses executables that cannot be read, unless they are not wanted.
fn refuse_unreadable(selection: &mut Selection<'_>, executables: &Executables) {
    let options = selection.options;
    for (name, error) in &executables.unreadable {
        let picked = &options.binaries;
        let is_picked = picked.is_empty() || picked.iter().any(|picked| name == picked.as_str());
        if is_picked && options.patterns.decide(Path::new(name), false) != Verdict::Excluded {
            selection.refusals.push(Refusal::Unreadable {
                path: selection.root.path().join(name),
                cause: (*error).into(),
            });
        }
    }
}

/// The executables directly in a directory.
struct Executables {
    programs: BTreeMap<OsString, Elf>,
    libraries: BTreeMap<OsString, Elf>,
    /// The modes of programs without an execute bit.
    without_bit: BTreeMap<PathBuf, u32>,
    unreadable: BTreeMap<OsString, io::ErrorKind>,
}

impl Executables {
    /// Reads the programs; if `fixes_modes`, all have an execute bit.
    fn read(root: &RootDirectory, fixes_modes: bool) -> io::Result<Self> {
        let mut programs = BTreeMap::new();
        let mut libraries = BTreeMap::new();
        let mut without_bit = BTreeMap::new();
        let mut unreadable = BTreeMap::new();
        walk_flat(root, &mut |name, found| {
            let Ok(Found::File { state, .. }) = found else {
                return;
            };
            let has_bit = state.mode & 0o111 != 0;
            match root.open_file(name).map(|file| Elf::read(&file)) {
                Ok(Ok(Some(elf))) if elf.is_program() && (has_bit || fixes_modes) => {
                    programs.insert(name.into(), elf);
                }
                Ok(Ok(Some(elf))) if elf.is_program() => {
                    without_bit.insert(root.path().join(name), state.mode & 0o7777);
                }
                Ok(Ok(Some(elf))) if name.extension().is_some_and(|it| it == "so") => {
                    libraries.insert(name.into(), elf);
                }
                Err(error) if has_bit => {
                    unreadable.insert(name.into(), error.kind());
                }
                _ => {}
            }
        })?;
        Ok(Self {
            programs,
            libraries,
            without_bit,
            unreadable,
        })
    }

    fn has(&self, name: &OsStr) -> bool {
        self.programs.contains_key(name) || self.libraries.contains_key(name)
    }

    /// Returns the programs with these names; all programs without any.
    fn pick(&self, names: &[String]) -> Result<BTreeMap<&OsStr, &Elf>> {
        let all = self.programs.iter();
        let mut picked: BTreeMap<&OsStr, &Elf> =
            all.map(|(name, elf)| (name.as_os_str(), elf)).collect();
        let lacks_bit = |path: &Path| {
            let is_named = names.iter().any(|wanted| path.ends_with(wanted));
            is_named || (names.is_empty() && picked.is_empty() && self.unreadable.is_empty())
        };
        let without_bit = self.without_bit.iter().filter(|(path, _)| lacks_bit(path));
        let without_bit = without_bit.map(|(path, mode)| (path.display(), *mode));
        if let Some(error) = Error::of_modes(without_bit) {
            return Err(error);
        }
        let is_unknown = |name: &&String| {
            let name = OsStr::new(name);
            !picked.contains_key(name) && !self.unreadable.contains_key(name)
        };
        if let Some(name) = names.iter().find(is_unknown) {
            let known = picked.keys().map(|name| name.to_string_lossy());
            return Err(Error::UnknownBinary {
                name: name.clone(),
                known: known.map(Cow::into_owned).collect(),
            });
        }
        picked.retain(|name, _| {
            names.is_empty() || names.iter().any(|wanted| *name == wanted.as_str())
        });
        Ok(picked)
    }
}

/// Finds the release's own shared libraries that `programs` need, directly or
/// through each other: their names, and their paths relative to the release.
fn needed_libraries<'a>(
    root: &RootDirectory,
    programs: impl Iterator<Item = &'a &'a Elf>,
) -> BTreeMap<String, PathBuf> {
    let mut libraries = BTreeMap::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut queue: Vec<String> = programs.flat_map(|elf| elf.needed.clone()).collect();
    while let Some(name) = queue.pop() {
        if name.contains('/') || !seen.insert(name.clone()) {
            continue;
        }
        for path in [PathBuf::from(&name), Path::new("deps").join(&name)] {
            if let Some(elf) = Elf::of(root.open_file(&path)) {
                queue.extend(elf.needed);
                libraries.insert(name, path);
                break;
            }
        }
    }
    libraries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::fixture::Fixture;
    use crate::release::ReleaseOptions;

    #[test]
    fn shared_libraries_at_the_top_are_products() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let program = Fixture::new()
            .file_type(2)
            .needed(&["libneeded.so"])
            .bytes();
        let library = Fixture::new().file_type(3).bytes();
        for (path, bytes) in [
            (".cargo-lock", &[][..]),
            ("app", &program),
            ("app.d", b"app: src/main.rs"),
            ("libapp.rlib", b"!<arch>\n"),
            ("libneeded.so", &library),
            ("libplugin.so", &library),
            ("deps/libmacros.so", &library),
        ] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let opened = |binaries: &[&str]| {
            let binaries = binaries.iter().map(ToString::to_string).collect();
            let options = ReleaseOptions {
                binaries,
                ..ReleaseOptions::default()
            };
            let release = Release::open(directory.path(), &options).unwrap();
            let members = release.members.iter();
            let files = members.filter(|member| member.content.is_some());
            let paths: Vec<String> = files.map(|file| file.entry.path.to_string()).collect();
            let left = release.left_out.iter();
            let plugin = left.filter(|left| left.path == Path::new("libplugin.so"));
            (paths.join(" "), plugin.map(|left| left.reason).collect())
        };
        let needed = "/usr/local/lib/libneeded.so";
        let all = format!("/usr/local/bin/app /usr/local/bin/libplugin.so {needed}");
        assert_eq!(opened(&[]), (all, Vec::new()));
        let one = format!("/usr/local/bin/app {needed}");
        assert_eq!(opened(&["app"]), (one, vec![NOT_PICKED]));
    }
}
