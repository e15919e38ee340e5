//! The packages of the host, as its package manager lists them: dpkg and apk.
//!
//! A database that cannot be read, or makes no sense, has no packages, and a
//! [`PackageDatabase::problem`].

pub(crate) mod record;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use imgbuild_oci::root_directory::RootDirectory;
use imgbuild_oci::{bounded, parallel};

use crate::runtime::host::Host;
pub(crate) use text::Alternatives;
use text::Diversion;

/// The most bytes of a file of the database: the packages of apk with their
/// files, or of dpkg, where 800 have 1 MiB.
const MAX_BYTES: u64 = 64 << 20;

/// The most bytes of the lists of all packages, where a path counts as
/// [`PATH_BYTES`] more; 800 packages have 18 MiB.
const MAX_LISTED_BYTES: usize = 256 << 20;

const PATH_BYTES: usize = 64;

/// The most packages, the names that they provide, and diversions; all of Debian
/// has 64,000 packages, and a system some ten diversions.
const MAX_PACKAGES: usize = 100_000;
const MAX_NAMES: usize = 1_000_000;
const MAX_DIVERSIONS: usize = 1_000;

/// The files that list packages, for each package manager that is supported.
const DATABASES: [(&str, Manager); 3] = [
    ("/var/lib/dpkg/status", Manager::Dpkg),
    ("/lib/apk/db/installed", Manager::Apk),
    ("/usr/lib/apk/db/installed", Manager::Apk),
];

/// Packages that only maintainer scripts use, which do not run.
const INSTALLERS: [&str; 6] = [
    "adduser",
    "debconf",
    "dpkg",
    "init-system-helpers",
    "install-info",
    "ucf",
];

/// The directories below `/usr` that `/` has links to, or had once: lists may
/// have either name of a file in them.
pub(crate) const MERGED: [&str; 6] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    Dpkg,
    Apk,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostPackage {
    pub(crate) name: String,
    /// Its architecture; `all` for those of dpkg that have none.
    pub(crate) architecture: String,
    /// The package that it was built from.
    pub(crate) source: String,
    /// The start and the end of its paragraph.
    paragraph: [usize; 2],
}

/// Packages with everything that they depend on.
#[derive(Debug, Default)]
pub(crate) struct PackageSet<'a> {
    pub(crate) packages: BTreeSet<&'a HostPackage>,
    /// Names of packages that are recommended by those that were asked for, and by
    /// others of the same source.
    pub(crate) recommended: BTreeSet<&'a str>,
    /// Dependencies that are not installed.
    pub(crate) missing: BTreeSet<&'a str>,
}

/// The installed packages of the host.
#[derive(Debug, Default)]
pub(crate) struct PackageDatabase {
    /// The package manager; `None` without one that is supported.
    pub(crate) manager: Option<Manager>,
    /// The path of the list of packages in the root of the host.
    path: &'static str,
    /// Sorted by name and architecture.
    packages: Vec<HostPackage>,
    text: String,
    /// The packages by their names and by those that they provide.
    named: OnceLock<BTreeMap<String, Vec<usize>>>,
    /// `/var/lib/dpkg`.
    directory: Option<Arc<RootDirectory>>,
    diversions: Vec<Diversion>,
    /// The hash of each path with a package that has it, sorted.
    owners: OnceLock<Vec<(u64, usize)>>,
    problem: OnceLock<String>,
}

impl PackageDatabase {
    /// Returns the file that lists the packages of the host, and their manager.
    fn place(host: &Host) -> Option<(PathBuf, (&'static str, Manager))> {
        let real = |path: &str| host.real(&host.rooted(path.as_bytes()));
        let mut databases = DATABASES.into_iter();
        databases.find_map(|database| Some((real(database.0)?, database)))
    }

    /// Reads the list of packages.
    pub(crate) fn open(host: &Host) -> Self {
        let mut database = Self::default();
        let Some((path, (name, manager))) = Self::place(host) else {
            return database;
        };
        database.path = name;
        database.manager = Some(manager);
        match bounded::read_file(&path, MAX_BYTES) {
            Ok(bytes) => database.text = String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => database.fail(error.to_string()),
        }
        database.read_packages(manager);
        if database.packages.is_empty() {
            database.fail("it lists no packages".to_owned());
        }
        if manager == Manager::Dpkg {
            let directory = path.parent().unwrap_or(&path);
            database.directory = RootDirectory::open(directory).ok();
            let text = database.read("diversions").unwrap_or_default();
            database.diversions = text::diversions(&text);
            if database.diversions.len() > MAX_DIVERSIONS {
                database.fail("it has more than 1,000 diversions".to_owned());
                database.diversions.clear();
            }
        }
        database
    }

    fn read_packages(&mut self, manager: Manager) {
        for paragraph in text::paragraphs(&self.text) {
            let text = &self.text[paragraph[0]..paragraph[1]];
            let field = |dpkg, apk| text::field(text, [dpkg, apk][manager as usize]);
            // While triggers wait, the files are there.
            let state = field("Status", "P").and_then(|state| state.split(' ').nth(2));
            let is_installed = manager == Manager::Apk
                || state.is_some_and(|it| it == "installed" || it.starts_with("triggers-"));
            if let (Some(name), true) = (field("Package", "P"), is_installed) {
                let source = field("Source", "o").unwrap_or(name);
                self.packages.push(HostPackage {
                    name: name.to_owned(),
                    architecture: field("Architecture", "A").unwrap_or_default().to_owned(),
                    source: source.split(' ').next().unwrap_or(name).to_owned(),
                    paragraph,
                });
            }
        }
        if self.packages.len() > MAX_PACKAGES {
            self.packages.clear();
            self.fail("it lists too many packages".to_owned());
        }
        self.packages.sort();
    }

    /// Returns the packages by their names and by those that they provide.
    fn named(&self) -> &BTreeMap<String, Vec<usize>> {
        self.named.get_or_init(|| {
            let mut named: BTreeMap<String, Vec<usize>> = BTreeMap::new();
            let mut count = 0;
            for (index, package) in self.packages.iter().enumerate() {
                let provided = self.relations(package, ["Provides", "p"]).concat();
                count += provided.len();
                if count > MAX_NAMES {
                    self.fail("its packages provide too many names".to_owned());
                    break;
                }
                for name in [package.name.as_str()].into_iter().chain(provided) {
                    named.entry(name.to_owned()).or_default().push(index);
                }
            }
            named
        })
    }

    /// Returns the first reason why the database is not used as a whole.
    pub(crate) fn problem(&self) -> Option<String> {
        let problem = self.problem.get()?;
        Some(format!(
            "the package database of the host, `{}`, is incomplete: {problem}",
            self.path
        ))
    }

    fn fail(&self, problem: String) {
        // The first one is enough.
        drop(self.problem.set(problem));
    }

    /// Returns all packages, sorted by name.
    pub(crate) fn packages(&self) -> impl Iterator<Item = &HostPackage> {
        self.packages.iter()
    }

    /// Finds a package by `NAME` or `NAME:ARCHITECTURE`.
    pub(crate) fn find(&self, name: &str) -> Option<&HostPackage> {
        let found = self.find_for(name, None)?;
        let fits = |asked| [asked, "all"].contains(&&*found.architecture);
        // Names of apk may have a colon, for example `so:libz.so.1`.
        let asked = name.split_once(':').map(|(_, asked)| asked);
        let asked = asked.filter(|_| !self.named().contains_key(name));
        asked.is_none_or(fits).then_some(found)
    }

    /// Finds the package of a name, or one that provides it, if possible of an
    /// architecture, which is that of the package manager by default.
    fn find_for(&self, name: &str, architecture: Option<&str>) -> Option<&HostPackage> {
        let indexes = self.named().get(name);
        let all = indexes.into_iter().flatten().map(|it| &self.packages[*it]);
        let native = || {
            let manager = *self.named().get("dpkg")?.first()?;
            Some(self.packages[manager].architecture.as_str())
        };
        let architectures = [Some("all"), architecture.or_else(native)];
        let is_other =
            |package: &HostPackage| !architectures.contains(&Some(&package.architecture));
        let best = all.min_by_key(|package| (package.name != name, is_other(package)));
        best.or_else(|| {
            let (name, architecture) = name.split_once(':')?;
            self.find_for(name, Some(architecture))
        })
    }

    fn paragraph(&self, package: &HostPackage) -> &str {
        let [start, end] = package.paragraph;
        &self.text[start..end]
    }

    /// Returns whether all packages take this one for granted.
    pub(crate) fn is_essential(&self, package: &HostPackage) -> bool {
        text::field(self.paragraph(package), "Essential") == Some("yes")
    }

    /// Returns the packages that all others take for granted: the essential ones, and
    /// what they depend on; of Alpine, BusyBox.
    pub(crate) fn granted(&self) -> PackageSet<'_> {
        let is_granted = |it: &&HostPackage| {
            self.is_essential(it) || self.manager == Some(Manager::Apk) && it.name == "busybox"
        };
        let all = self
            .packages()
            .filter(|it| !INSTALLERS.contains(&&*it.name));
        self.closure(&all.filter(is_granted).collect::<Vec<_>>(), false)
    }

    /// Returns the packages in a field, which dpkg and apk name differently.
    fn relations(&self, package: &HostPackage, names: [&str; 2]) -> Vec<Vec<&str>> {
        let of = |manager| {
            let field = text::field(self.paragraph(package), names[manager as usize])?;
            Some(text::relations(manager, field))
        };
        self.manager.and_then(of).unwrap_or_default()
    }

    /// Returns packages with all that they depend on, as it is installed. Of the
    /// alternatives of a dependency, the first one counts.
    pub(crate) fn closure<'a>(
        &'a self,
        packages: &[&'a HostPackage],
        takes_recommended: bool,
    ) -> PackageSet<'a> {
        let mut set = PackageSet::default();
        let mut waiting = packages.to_vec();
        while let Some(package) = waiting.pop() {
            if !set.packages.insert(package) {
                continue;
            }
            let own = Some(&*package.architecture).filter(|it| *it != "all");
            let find = |names: &Vec<&str>| names.iter().find_map(|name| self.find_for(name, own));
            for name in ["Pre-Depends", "Depends"] {
                for names in self.relations(package, [name, "D"]) {
                    match find(&names) {
                        Some(found) if INSTALLERS.contains(&&*found.name) => {}
                        Some(found) => waiting.push(found),
                        None => drop(set.missing.insert(names[0])),
                    }
                }
            }
            for names in self.relations(package, ["Recommends", ""]) {
                let found = find(&names);
                if packages.iter().any(|it| it.source == package.source) {
                    (set.recommended).insert(found.map_or(names[0], |found| &found.name));
                }
                waiting.extend(found.filter(|_| takes_recommended));
            }
        }
        let is_left = |name: &&str| !set.packages.iter().any(|it| it.name == *name);
        set.recommended.retain(is_left);
        set
    }

    /// Returns the absolute paths of a package: files, links and directories, which
    /// are not told apart.
    pub(crate) fn files(&self, package: &HostPackage) -> Vec<String> {
        let mut paths = Vec::new();
        let _bytes = self.each_listed(package, &mut |path| paths.push(path.to_owned()));
        for path in &mut paths {
            if let Some(diversion) = self.diversion(package, path) {
                path.clone_from(&diversion.to);
            }
        }
        paths
    }

    /// Returns the diversion to a path.
    fn diverted(&self, path: &str) -> Option<&Diversion> {
        self.diversions.iter().find(|one| one.to == path)
    }

    fn diversion(&self, package: &HostPackage, path: &str) -> Option<&Diversion> {
        let mut all = self.diversions.iter();
        all.find(|one| one.from == path && one.package != package.name)
    }

    /// Calls `see` with the paths of a package as its archive has them; returns the
    /// number of bytes that were read.
    fn each_listed(&self, package: &HostPackage, see: &mut dyn FnMut(&str)) -> usize {
        if self.manager == Some(Manager::Apk) {
            let text = self.paragraph(package);
            text::apk_paths(text).for_each(|path| see(&path));
            return text.len();
        }
        let Some(text) = self.read_of(package, "list") else {
            let name = &package.name;
            self.fail(format!("the list of the files of `{name}` cannot be read"));
            return 0;
        };
        let is_path = |line: &&str| line.starts_with('/') && *line != "/.";
        text.lines().filter(is_path).for_each(see);
        text.len()
    }

    /// Reads a file of dpkg about a package, by the end of its name.
    fn read_of(&self, package: &HostPackage, end: &str) -> Option<String> {
        let (name, architecture) = (&package.name, &package.architecture);
        let mut names = [
            format!("info/{name}.{end}"),
            format!("info/{name}:{architecture}.{end}"),
        ];
        if text::field(self.paragraph(package), "Multi-Arch") == Some("same") {
            names.reverse();
        }
        names.iter().find_map(|name| self.read(name))
    }

    /// Reads a text below `/var/lib/dpkg`.
    fn read(&self, name: &str) -> Option<String> {
        let file = self.directory.as_ref()?.open_file(Path::new(name)).ok()?;
        let bytes = bounded::read_opened(&file, MAX_BYTES).ok()?;
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(String::from_utf8(bytes).unwrap_or_else(|error| lossy(error.as_bytes())))
    }

    /// Returns the packages that have a path; of a directory, these may be many.
    pub(crate) fn owners(&self, path: &str) -> impl Iterator<Item = &HostPackage> {
        let diversion = self.diverted(path);
        let listed = diversion.map_or(path, |one| &one.from).to_owned();
        let all = self.owners.get_or_init(|| self.index());
        let found = [Some(listed.clone()), other_name(&listed)].map(|name| {
            let hash = name.map_or(0, |name| hash(&name));
            let start = all.partition_point(|(one, _)| *one < hash);
            let rest = all[start..].iter();
            rest.take_while(move |(one, _)| *one == hash)
        });
        let packages = found.into_iter().flatten();
        let packages = packages.map(|(_, index)| &self.packages[*index]);
        packages.filter(move |package| self.diversion(package, &listed) == diversion)
    }

    /// Reads the lists of all packages.
    fn index(&self) -> Vec<(u64, usize)> {
        let count = AtomicUsize::new(0);
        let read = |packages: Vec<usize>| {
            let mut found = Vec::new();
            for index in packages {
                let before = found.len();
                let bytes = self.each_listed(&self.packages[index], &mut |path| {
                    found.push((hash(path), index));
                });
                let bytes = bytes + (found.len() - before) * PATH_BYTES;
                if count.fetch_add(bytes, Ordering::Relaxed) > MAX_LISTED_BYTES {
                    self.fail("it lists too many files".to_owned());
                    return Vec::new();
                }
            }
            found
        };
        let all = (0..self.packages.len()).collect();
        let mut found = parallel::map_parts(parallel::processors(), all, read);
        found.sort_unstable();
        found
    }

    /// Returns the groups of alternatives of the host, sorted by name.
    pub(crate) fn alternatives(&self, host: &Host) -> Vec<Alternatives> {
        let names = host.list(&host.rooted(b"/var/lib/dpkg/alternatives"));
        let read = |name: &Vec<u8>| {
            let name = String::from_utf8_lossy(name);
            text::alternatives(&name, &self.read(&format!("alternatives/{name}"))?)
        };
        names.iter().filter_map(read).collect()
    }
}

/// Returns the other name of a path on a system whose `/bin` and `/lib` are
/// links into `/usr`.
fn other_name(path: &str) -> Option<String> {
    let (below, other) = match path.strip_prefix("/usr/") {
        Some(below) => (below, format!("/{below}")),
        None => (path.strip_prefix('/')?, format!("/usr{path}")),
    };
    let (directory, _) = below.split_once('/')?;
    MERGED.contains(&directory).then_some(other)
}

fn hash(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
pub(crate) mod tests;
