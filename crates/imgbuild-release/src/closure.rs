//! The runtime closure of everything that goes into an image, as members of
//! its layers.

mod mix;
mod object;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_oci::changeset::Member;
use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{Entry, EntryKind};
use imgbuild_oci::image::Healthcheck;
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::store::Store;

use crate::base::Base;
use crate::command::{self, CommandOptions};
use crate::contents::Contents;
use crate::elf::Architecture;
use crate::error::{Error, Result};
use crate::locale;
use crate::programs::{Brought, Programs};
use crate::release::{Kind, Release, file_member};
use crate::runtime::{
    Lookup, MissingLibrary, ModuleProblem, Node, Object, Role, Runtime, RuntimeOptions,
    UnsatisfiedVersion,
};
use crate::warning::Warning;

/// Which platform and libraries the image gets.
#[derive(Debug, Clone, Default)]
pub struct ClosureOptions {
    /// Whether libraries come along at all.
    pub brings_runtime: bool,
    /// Another root to take them from.
    pub sysroot: Option<PathBuf>,
    /// Further directories with libraries.
    pub library_paths: Vec<PathBuf>,
    /// Further libraries.
    pub add_libraries: Vec<String>,
    /// Programs of the host to bring, by name or absolute path.
    pub programs: Vec<String>,
    /// Whether the host's time zones come along.
    pub brings_zones: bool,
    /// Locales of the host to bring, by name.
    pub locales: Vec<String>,
    /// The command, which may be a script.
    pub command: CommandOptions,
    /// The health check, whose command may be a script.
    pub healthcheck: Option<Healthcheck>,
    /// The `PATH` of containers, if the user gave one.
    pub path: Option<String>,
    /// The platform that the user asked for.
    pub platform: Option<Platform>,
    /// The modification time of every entry, in Unix seconds.
    pub mtime: u64,
    /// What remembers which files are none of interest.
    pub store: Option<Arc<Store>>,
}

/// What comes along with a release.
#[derive(Debug, Clone, Default)]
pub struct Closure {
    /// Programs, loaders, libraries and links to them.
    pub members: Vec<Member>,
    /// What may surprise.
    pub warnings: Vec<Warning>,
    /// What the programs are for; `None` without one that says it.
    pub platform: Option<Platform>,
}

/// Reads every ELF file of the release and the additions, and finds what
/// they need.
///
/// # Errors
///
/// When programs are for different platforms or another than asked for, and
/// with every library that a program needs and that is nowhere.
pub fn resolve(
    release: &Release,
    additions: &[Member],
    base: Option<&Base>,
    options: &ClosureOptions,
) -> Result<Closure> {
    let mut contents = Contents::new(release.members());
    contents.add(additions);
    if let Some(base) = base {
        contents = base.under(contents);
    }
    let brought = programs(release, (&contents, base), options)?;
    let mut warnings = brought.warnings;
    let all = release.members().iter().chain(additions);
    let mut objects = object::find(all, options.store.as_deref(), &mut warnings);
    if let Some(mix) = release.mix() {
        mix::set_roles(release, mix, &mut objects);
    }
    objects.extend(brought.objects);
    let wanted = base.map(Base::platform).or(options.platform.as_ref());
    let platform = platform(&objects, wanted)?;
    let mut closure = Closure {
        members: Vec::new(),
        warnings,
        platform,
    };
    if options.brings_runtime {
        contents.add(&brought.members);
        let runtime = runtime(release, &contents, &objects, options)?;
        check_versions(&runtime, &contents)?;
        closure.warnings.extend(runtime_warnings(&runtime));
        closure.members = members(&runtime, options.mtime)?;
    }
    closure.members.extend(brought.members);
    Ok(closure)
}

/// Returns what the programs of the release and the additions are for; `None`
/// without one that says it.
///
/// # Errors
///
/// When they are for different platforms.
pub fn release_platform(release: &Release, additions: &[Member]) -> Result<Option<Platform>> {
    let all = release.members().iter().chain(additions);
    let mut objects = object::find(all, None, &mut Vec::new());
    if let Some(mix) = release.mix() {
        mix::set_roles(release, mix, &mut objects);
    }
    platform(&objects, None)
}

/// Brings programs of the host: those asked for, and what scripts need.
fn programs(
    release: &Release,
    (contents, base): (&Contents<'_>, Option<&Base>),
    options: &ClosureOptions,
) -> Result<Brought> {
    let path = match &options.path {
        Some(path) => path.clone(),
        None => command::default_path(release, contents)?,
    };
    let search = path
        .split(':')
        .filter(|directory| directory.starts_with('/'));
    let search = search.map(str::to_owned).collect();
    let mut programs = Programs::new(options.sysroot.as_deref(), contents, search, options.mtime);
    for name in &options.programs {
        programs.ask(name);
    }
    if options.brings_zones {
        programs.ask_for_zones()?;
    }
    for name in &options.locales {
        locale::bring(name, &mut programs)?;
    }
    if options.brings_runtime {
        programs.set_release(release.root(), release.prefix());
        programs.bring_environments(contents, release.members());
        let commands = {
            let mut everything = contents.clone();
            everything.add(programs.members());
            command::files(
                release,
                &everything,
                &options.command,
                (options.healthcheck.as_ref(), base),
            )
        };
        for path in &commands {
            programs.bring_interpreter_of(path);
        }
        match release.mix() {
            Some(mix) => mix::bring(release, mix, &mut programs)?,
            None => {
                for member in commands.iter().filter_map(|path| contents.own(path)) {
                    mix::name_missing_calls(member, &mut programs);
                }
            }
        }
    }
    programs.finish()
}

fn runtime(
    release: &Release,
    contents: &Contents<'_>,
    objects: &[Object],
    options: &ClosureOptions,
) -> Result<Runtime> {
    let lookup = |path: &ImagePath| node(contents, path);
    let lookup: &Lookup<'_> = &lookup;
    let mut library_paths = options.library_paths.clone();
    if release.kind() == Kind::Cargo {
        let own = [release.root().to_path_buf(), release.root().join("deps")];
        library_paths.extend(own.into_iter().filter(|path| path.is_dir()));
    }
    let runtime_options = RuntimeOptions {
        sysroot: options.sysroot.clone(),
        library_paths,
        add_libraries: options.add_libraries.clone(),
        working_directory: (release.kind() != Kind::Cargo).then(|| release.prefix().clone()),
    };
    let runtime = Runtime::resolve(objects, lookup, &runtime_options).map_err(Error::Runtime)?;
    if !runtime.missing.is_empty() {
        let missing = runtime.missing.iter().map(missing_text).collect();
        return Err(Error::MissingLibraries { missing });
    }
    Ok(runtime)
}

fn node(contents: &Contents<'_>, path: &ImagePath) -> Option<Node> {
    let member = contents.get(path)?;
    match (&member.entry.kind, &member.content) {
        (EntryKind::Directory, _) => Some(Node::Directory),
        (EntryKind::Symlink { target }, _) => Some(Node::Symlink(target.clone())),
        (EntryKind::Hardlink { target }, _) => node(contents, target),
        (EntryKind::File { .. }, Some(Content::File(file))) => Some(Node::File(file.path.clone())),
        (EntryKind::File { .. }, Some(Content::Range(range))) => {
            Some(Node::Base(Some(range.clone())))
        }
        (EntryKind::File { .. }, _) => Some(Node::Base(None)),
    }
}

/// Finds the one platform of all programs.
fn platform(objects: &[Object], wanted: Option<&Platform>) -> Result<Option<Platform>> {
    let programs = || objects.iter().filter(|object| object.role == Role::Program);
    let mut found: Option<Platform> = wanted.cloned();
    for program in programs() {
        let Some(architecture) = program.elf.architecture() else {
            continue;
        };
        let its = platform_of(architecture);
        let fits = found.as_ref().is_none_or(|found| {
            found.architecture() == its.architecture()
                && (found.variant() == its.variant() || wanted.is_some() || its.variant().is_none())
        });
        if !fits {
            return Err(Error::Platform {
                wanted: wanted.map(ToString::to_string),
                programs: rarest_first(programs()),
            });
        }
        found.get_or_insert(its);
    }
    Ok(found)
}

fn platform_of(architecture: Architecture) -> Platform {
    Platform::from_parts("linux", architecture.name, architecture.variant)
}

/// Says what each program is for; those of the rarest platform come first,
/// for they are probably the ones that should not be there.
fn rarest_first<'a>(programs: impl Iterator<Item = &'a Object>) -> Vec<String> {
    let mut by_architecture: BTreeMap<Architecture, Vec<String>> = BTreeMap::new();
    for program in programs {
        if let Some(architecture) = program.elf.architecture() {
            let host = program.host.display();
            let text = format!("`{host}` is for linux/{architecture}");
            by_architecture.entry(architecture).or_default().push(text);
        }
    }
    let mut groups: Vec<Vec<String>> = by_architecture.into_values().collect();
    groups.sort_by_key(Vec::len);
    groups.into_iter().flatten().collect()
}

fn missing_text(library: &MissingLibrary) -> String {
    let mut text = match (&library.needed_by, library.is_interpreter) {
        (Some(by), true) => format!("the loader `{}`, needed by `{by}`", library.name),
        (Some(by), false) => format!("`{}`, needed by `{by}`", library.name),
        (None, _) => format!("`{}`, asked for", library.name),
    };
    let searched: Vec<String> = library
        .searched
        .iter()
        .map(|place| format!("`{}` ({})", place.directory, place.reason))
        .collect();
    if !searched.is_empty() {
        text.push_str(&format!("; looked in {}", searched.join(", ")));
    }
    for file in &library.unusable {
        text.push_str(&format!("; `{}` does not fit: {}", file.path, file.reason));
    }
    for path in &library.elsewhere {
        text.push_str(&format!(
            "; the release has `{path}`, where no loader looks"
        ));
    }
    text
}

fn runtime_warnings(runtime: &Runtime) -> Vec<Warning> {
    let modules = runtime.warnings.iter().map(|warning| {
        let module = &warning.module;
        Warning::Module(match &warning.problem {
            ModuleProblem::OtherArchitecture(Some(architecture)) => {
                format!("`{module}` is for {architecture}: no program of the image can load it")
            }
            ModuleProblem::OtherArchitecture(None) => {
                format!("`{module}` is for another processor: no program of the image can load it")
            }
            ModuleProblem::OtherSystem => {
                format!("`{module}` is for another system than Linux: no program of the image can load it")
            }
            ModuleProblem::OtherFlavor(flavor) => {
                format!("`{module}` is for {flavor}: no program of the image can load it")
            }
            ModuleProblem::NoProgram => {
                format!("`{module}` needs a program that loads it, and the image has none")
            }
            ModuleProblem::Missing(library) => {
                format!(
                    "`{module}` cannot be loaded: {} was not found",
                    missing_text(library)
                )
            }
        })
    });
    let versions = runtime.unsatisfied.iter();
    let versions = versions.map(|version| Warning::Module(version_text(version)));
    modules.chain(versions).collect()
}

fn version_text(version: &UnsatisfiedVersion) -> String {
    let available = match &version.available {
        Some(available) => format!("it has up to {available}"),
        None => "it has none of them".to_owned(),
    };
    format!(
        "`{}` needs {} of `{}`; {available}",
        version.object, version.version, version.library
    )
}

/// Refuses programs that need more than a library of the base image has: the
/// loader does not start them.
fn check_versions(runtime: &Runtime, contents: &Contents<'_>) -> Result<()> {
    let is_base = |path: &ImagePath| contents.own(path).is_none() && contents.base(path).is_some();
    let versions = runtime.unsatisfied.iter();
    let versions: Vec<String> = versions
        .filter(|version| version.role == Role::Program && is_base(&version.library))
        .map(version_text)
        .collect();
    match versions.is_empty() {
        true => Ok(()),
        false => Err(Error::UnsatisfiedVersions { versions }),
    }
}

fn members(runtime: &Runtime, mtime: u64) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for file in &runtime.files {
        let mut member = file_member(Path::new(&file.host), file.path.clone())?;
        member.entry.mode = file.mode;
        members.push(member);
    }
    for (path, target) in &runtime.links {
        members.push(Entry::symlink(path.clone(), target.as_bytes()).into());
    }
    for member in &mut members {
        member.entry.mtime = mtime;
    }
    Ok(members)
}
