//! Packages of the host: their files, and those of the packages that they depend
//! on, where the package manager put them.
//!
//! Maintainer scripts do not run. What they made is taken from the host where
//! the packages show it: alternatives, links in `/etc` to files of the packages,
//! and files in a directory below `/usr` that other packages do not have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use imgbuild_oci::bounded;
use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{Entry, EntryKind};
use imgbuild_oci::path::ImagePath;

use super::{Programs, ProgramsError, ProgramsResult, WITH_LIBRARIES};
use crate::contents::{is_executable, real_place};
use crate::host_file::{ModeRules, found_member, image_path};
use crate::host_packages::{HostPackage, PackageDatabase, PackageSet};
use crate::refusal::few;
use crate::runtime::Role;
use crate::walk::look_at;

/// Directories of documentation and translations, of which only licenses
/// (`copyright`) are taken.
const DOCUMENTATION: [&str; 9] = [
    "/usr/share/bug",
    "/usr/share/doc",
    "/usr/share/doc-base",
    "/usr/share/gtk-doc",
    "/usr/share/help",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/man",
];

/// Files that maintainer scripts make in directories of many packages.
const CACHES: [&str; 6] = [
    "ca-certificates.crt",
    "giomodule.cache",
    "gschemas.compiled",
    "immodules.cache",
    "loaders.cache",
    "mime.cache",
];

/// Files of any mode are taken; what they lose is decided here.
const ANY_MODE: ModeRules = ModeRules {
    allow_set_id: true,
    fix_modes: false,
};

const UNREADABLE: &str = "files of packages are not on this machine, or cannot be read";
const SET_ID: &str = "set-id files of packages are included without these bits";
const UNLISTED: &str = "files that no package lists are not included from directories of packages";

/// The packages of the host to include.
#[derive(Debug, Clone, Default)]
pub struct PackageOptions {
    /// Their names.
    pub names: Vec<String>,
    /// Documentation and translations are included.
    pub include_docs: bool,
    /// The packages that they recommend are included.
    pub include_recommended: bool,
    /// Files keep their set-id bits.
    pub allow_set_id: bool,
}

/// Packages on their way into the image.
#[derive(Default)]
struct Installation {
    options: PackageOptions,
    /// The paths of all packages.
    listed: BTreeSet<String>,
    /// The directories of the host by their listed paths, with links followed.
    directories: BTreeMap<String, Option<PathBuf>>,
    /// The first path of each file.
    files: BTreeMap<(u64, u64), ImagePath>,
    scripts: Vec<ImagePath>,
    /// The names to tell of, by the sentence.
    notes: BTreeMap<&'static str, Vec<String>>,
}

impl Programs<'_> {
    /// Returns the packages of the host.
    pub(crate) fn packages(&self) -> Rc<PackageDatabase> {
        self.packages.open(&self.host)
    }

    /// Adds packages, with those that they depend on.
    pub(crate) fn add_packages(&mut self, options: &PackageOptions) -> ProgramsResult<()> {
        if options.names.is_empty() {
            return Ok(());
        }
        let database = self.packages();
        if database.manager.is_none() {
            let mut rpm = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"].into_iter();
            return Err(ProgramsError::NoPackages(
                if rpm.any(|path| self.real(path).is_some()) {
                    "its package manager is rpm, not dpkg or apk"
                } else {
                    "it has no database of dpkg or apk"
                },
            ));
        }
        let names = options.names.iter();
        let (found, unknown): (Vec<_>, Vec<_>) =
            names.partition(|name| database.find(name).is_some());
        if !unknown.is_empty() {
            let unknown = unknown.into_iter().map(|name| similar(&database, name));
            let unknown = unknown.chain(database.problem());
            return Err(ProgramsError::UnknownPackages(unknown.collect()));
        }
        let found: Vec<_> = found.iter().filter_map(|it| database.find(it)).collect();
        let set = database.closure(&found, options.include_recommended);
        let listed = set.packages.iter().flat_map(|it| database.files(it));
        let named = |it: &&HostPackage| format!("{}:{}", it.name, it.architecture);
        self.packages.names = set.packages.iter().map(named).collect();
        let mut installation = Installation {
            options: options.clone(),
            listed: listed.filter(|path| options.includes(path)).collect(),
            ..Installation::default()
        };
        let names = |names: &BTreeSet<&str>| -> Vec<String> {
            names.iter().map(|&name| name.to_owned()).collect()
        };
        let missing = names(&set.missing);
        (installation.notes).insert(
            "the packages depend on others that are not installed",
            missing,
        );
        if !set.recommended.is_empty() {
            let names = few(&names(&set.recommended));
            self.notes.push(format!(
                "the packages recommend others, which are not included: {names}"
            ));
        }
        installation.listed.extend(self.registered(&set));
        for path in installation.listed.clone() {
            self.install(&path, &mut installation);
        }
        self.add_alternatives(&database);
        self.add_unlisted(&database, &set, &mut installation);
        let has_modules = installation.listed.iter().any(|path| path.ends_with(".pm"));
        self.add_granted(&database, &installation.scripts, has_modules);
        for (what, names) in &installation.notes {
            let text = || format!("{what}: {}", few(names)).into();
            self.warnings.extend((!names.is_empty()).then(text));
        }
        Ok(())
    }

    /// Returns the configuration files that scripts of packages made and
    /// registered (ucf(1)).
    fn registered(&self, set: &PackageSet<'_>) -> Vec<String> {
        const MAX_BYTES: u64 = 16 << 20;
        let path = self.host_file("/var/lib/ucf/registry");
        let text = path.and_then(|path| bounded::read_text(&path, MAX_BYTES).ok());
        let text = text.unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        let has = |name: &str| set.packages.iter().any(|it| it.name == name);
        let paths = pairs.filter(|(package, _)| has(package));
        paths.map(|(_, path)| path.trim().to_owned()).collect()
    }

    /// Adds a path of a package, unless the image has it. A directory comes with
    /// what is in it, unless it is a link on the host.
    fn install(&mut self, path: &str, installation: &mut Installation) -> Option<()> {
        let (directory, name) = path.rsplit_once('/')?;
        let known = &mut installation.directories;
        let directory = known.entry(directory.to_owned()).or_insert_with(|| {
            self.host
                .real(&self.host.rooted(format!("{directory}/").as_bytes()))
        });
        let host = directory.as_ref().map(|it| it.join(name));
        let at = host.as_ref().and_then(|host| {
            let at = image_path(&ImagePath::root(), Path::new(&self.home(host)?)).ok()?;
            self.place_of(&at)
        });
        let member = host
            .as_ref()
            .zip(at)
            .map(|(host, at)| found_member(at, host.clone(), None, look_at(host), ANY_MODE));
        let (Some(host), Some(Ok(mut member))) = (host, member) else {
            installation.note(UNREADABLE, path);
            return None;
        };
        let at = member.entry.path.clone();
        let is_link = matches!(member.entry.kind, EntryKind::Symlink { .. });
        let has_files = installation.has_below(path);
        if self.placed.contains_key(&at)
            || self.contents.get(&at).is_some()
            || has_files && (!is_link || self.contents.has_below(&at))
        {
            return None;
        }
        if !is_link && member.entry.mode & 0o6000 != 0 && !installation.options.allow_set_id {
            member.entry.mode &= !0o6000;
            installation.note(SET_ID, path);
        }
        let Some(Content::File(file)) = &member.content else {
            self.place(at, member);
            return None;
        };
        let first = installation.files.entry(file.state.identity());
        let first = first.or_insert_with(|| at.clone());
        if *first != at {
            let link = Entry::symlink(at.clone(), first.as_bytes());
            self.place(at, link.into());
            return None;
        }
        let is_library = name.contains(".so");
        let is_program = is_executable(&member.entry) && !is_library;
        let role = if is_program {
            Role::Program
        } else {
            Role::Module
        };
        self.place(at.clone(), member);
        if is_program || is_library {
            self.by_file.insert(host.clone(), at.clone());
            if !self.take_object(&at, host, role) && path.contains("bin/") {
                installation.scripts.push(at);
            }
        }
        Some(())
    }

    /// Returns the path that a file gets in the image, where links lead.
    pub(super) fn place_of(&self, path: &ImagePath) -> Option<ImagePath> {
        let at = real_place(self.contents, path).ok()?;
        // As `/bin` does, which came with a package.
        let top = at.ancestors().last();
        let top = top.and_then(|top| Some((self.placed.get(&top)?, top)));
        if let Some((member, top)) = top
            && let EntryKind::Symlink { target } = &member.entry.kind
        {
            let below = &at.as_bytes()[top.as_bytes().len()..];
            return ImagePath::root().join(target).ok()?.join(below).ok();
        }
        Some(at)
    }

    pub(super) fn is_placed(&self, path: &str) -> bool {
        let at = ImagePath::parse(path).ok();
        let at = at.and_then(|at| self.place_of(&at));
        at.is_some_and(|at| self.placed.contains_key(&at))
    }

    /// Adds the links of alternatives to files that came: those of the host, else
    /// to the file with the highest priority.
    fn add_alternatives(&mut self, database: &PackageDatabase) {
        for group in database.alternatives(&self.host) {
            let main = group.links.first().and_then(|(_, link)| self.real(link));
            let is_main = |path: &str| main.is_some() && self.real(path) == main;
            let here = group
                .choices
                .iter()
                .filter(|(path, _)| self.is_placed(path));
            let best = here.max_by_key(|(path, (priority, _))| (is_main(path), *priority));
            let targets = best.into_iter().flat_map(|(_, (_, targets))| targets);
            for ((name, link), target) in group.links.iter().zip(targets) {
                if self.is_placed(target) {
                    let middle = format!("/etc/alternatives/{name}");
                    for (path, target) in [(link, &middle), (&middle, target)] {
                        if let Some(at) = ImagePath::parse(path)
                            .ok()
                            .and_then(|it| self.place_of(&it))
                        {
                            self.place_data(Entry::symlink(at, target.as_bytes()).into());
                        }
                    }
                }
            }
        }
    }

    /// Adds what maintainer scripts made in the directories of the packages.
    fn add_unlisted(
        &mut self,
        database: &PackageDatabase,
        set: &PackageSet<'_>,
        installation: &mut Installation,
    ) {
        let listed = installation.listed.iter();
        let parents = listed.filter_map(|path| Some(path.rsplit_once('/')?.0.to_owned()));
        let placed = self.placed.values().map(|member| &member.entry);
        let empty = placed.filter(|entry| entry.kind == EntryKind::Directory);
        let empty = empty.map(|entry| entry.path.to_string());
        for directory in parents.chain(empty).collect::<BTreeSet<_>>() {
            let is_etc = directory.starts_with("/etc/");
            let is_own = (is_etc || directory.starts_with("/usr/"))
                && database
                    .owners(&directory)
                    .all(|it| set.packages.contains(it));
            for name in self.host_names(&directory) {
                let path = format!("{directory}/{name}");
                let is_cache = CACHES.contains(&name.as_str());
                let is_leftover = name.contains(".dpkg-") || name.ends_with(".pyc");
                let may_be = (is_own || is_etc || is_cache) && installation.options.includes(&path);
                let is_listed = || database.owners(&path).next().is_some();
                if !may_be || is_leftover || installation.listed.contains(&path) || is_listed() {
                    continue;
                }
                let Some(end) = self.host_file(&path).and_then(|it| self.home(&it)) else {
                    continue;
                };
                let is_link = end != path;
                if is_cache || is_link && self.is_placed(&end) || is_own && !is_etc && !is_link {
                    self.install(&path, installation);
                } else if is_own && !is_link {
                    installation.note(UNLISTED, &path);
                }
            }
        }
    }

    /// Adds what the package of a program from the host has beside programs and
    /// libraries, and what those of the same source have that it depends on; for
    /// interpreters but Perl, all that it depends on.
    pub(super) fn add_files_of(&mut self, name: &str) {
        let real = self.found(name);
        let real = real.filter(|real| self.by_file.contains_key(real));
        let Some((real, home)) = real.and_then(|real| Some((real.clone(), self.home(&real)?)))
        else {
            return;
        };
        let database = self.packages();
        let file = home.rsplit('/').next().unwrap_or_default();
        let known = WITH_LIBRARIES
            .into_iter()
            .find(|known| file.starts_with(known));
        let Some(owner) = database.owners(&home).next() else {
            return;
        };
        if known.is_none() && database.is_essential(owner) {
            return;
        }
        self.add_perl(&real);
        let takes_all = known.is_some_and(|known| known != "perl");
        let mut set = database.closure(&[owner], false);
        set.packages
            .retain(|it| it.source == owner.source || takes_all && it.source != "glibc");
        let listed = set.packages.iter().flat_map(|it| database.files(it));
        let mut installation = Installation {
            listed: listed.collect(),
            ..Installation::default()
        };
        for path in installation.listed.clone() {
            if is_data(&path) && !installation.has_below(&path) {
                self.install(&path, &mut installation);
            }
        }
        self.add_unlisted(&database, &set, &mut installation);
        let unlisted = installation.notes.remove(UNLISTED);
        let warning = unlisted.map(|names| format!("{UNLISTED}: {}", few(&names)).into());
        self.warnings.extend(warning);
        let files = installation
            .files
            .values()
            .filter_map(|path| self.placed.get(path));
        let sizes: Vec<u64> = files
            .map(|it| it.content.as_ref().map_or(0, Content::size))
            .collect();
        if !sizes.is_empty() {
            self.with_libraries.extend(known);
            let (count, size) = (sizes.len(), sizes.iter().sum::<u64>().div_ceil(1 << 10));
            let package = &owner.name;
            self.notes.push(format!(
                "`{name}` comes with files of the package `{package}` and those it needs: {count}, {size} KiB"
            ));
        }
    }
}

impl Installation {
    fn note(&mut self, what: &'static str, path: &str) {
        self.notes.entry(what).or_default().push(path.to_owned());
    }

    fn has_below(&self, path: &str) -> bool {
        let below = format!("{path}/");
        let mut rest = self.listed.range(below.clone()..);
        rest.next().is_some_and(|next| next.starts_with(&below))
    }
}

impl PackageOptions {
    fn includes(&self, path: &str) -> bool {
        let is_in = |directory: &str| {
            let rest = path.strip_prefix(directory);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let is_documentation = DOCUMENTATION.into_iter().any(is_in);
        self.include_docs || path.ends_with("/copyright") || !is_documentation
    }
}

/// Returns whether a program may open a file of its package, which is neither a
/// program nor a library for the loader.
fn is_data(path: &str) -> bool {
    const OTHERS: [&str; 6] = [
        "/usr/share/doc/",
        "/bin/",
        "/sbin/",
        "/usr/include/",
        "/applications/",
        "/bash-completion/",
    ];
    let (parent, name) = path.rsplit_once('/').unwrap_or_default();
    let is_library =
        name.contains(".so") && (parent.ends_with("-linux-gnu") || parent.ends_with("/lib"));
    PackageOptions::default().includes(path)
        && !is_library
        && !OTHERS.iter().any(|other| path.contains(other))
}

/// Shows the name of a package that is not there, with similar ones.
fn similar(database: &PackageDatabase, name: &str) -> String {
    let is_near = |other: &str| {
        let same = name.bytes().zip(other.bytes()).take_while(|(a, b)| a == b);
        other.contains(name) || same.count() * 4 >= name.len().max(other.len()) * 3
    };
    let names = database.packages().map(|package| package.name.clone());
    let mut near: Vec<String> = names.filter(|other| is_near(other)).collect();
    near.dedup();
    if near.is_empty() {
        format!("`{name}`")
    } else {
        format!("`{name}` (similar: {})", few(&near))
    }
}

#[cfg(test)]
mod tests;
