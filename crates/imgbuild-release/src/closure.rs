//! The runtime closure of everything that goes into an image, as members of
//! its layers.

pub(crate) mod finding;
mod mix;
mod object;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{Entry, EntryKind, Member};
use imgbuild_oci::image::Healthcheck;
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::store::Store;

use crate::base::Base;
use crate::command::{self, CommandOptions};
use crate::contents::{Contents, first_bytes};
use crate::elf::Architecture;
use crate::error::{Error, Result};
use crate::finding::{Finding, Rule};
use crate::host_file::file_member;
use crate::locale;
use crate::programs::{Brought, Programs};
use crate::release::{Kind, Release};
use crate::runtime::{
    Bindings, ImageOnly, Lookup, MissingLibrary, Node, Object, Role, Runtime, RuntimeOptions,
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
    /// The `LD_LIBRARY_PATH` of containers, if the user gave one.
    pub library_variable: Option<String>,
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
    /// What would keep programs from starting.
    pub findings: Vec<Finding>,
    /// The ELF files of the release, the additions and the programs that come
    /// along.
    pub objects: Vec<Object>,
    /// By file and needed name: the file of the image that answers.
    pub bindings: Bindings,
}

/// Reads every ELF file of the release and the additions, and finds what
/// they need.
///
/// # Errors
///
/// When something is nowhere that was asked for. What else is missing is a
/// part of the result.
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
    contents.add(&brought.members);
    let commands = command::files(release, &contents, &options.command, (None, base));
    let wanted = base.map(Base::platform).or(options.platform.as_ref());
    let platform = platform(&objects, &commands, wanted);
    if release.kind() == Kind::Tree {
        set_roles(&mut objects, &commands, platform.as_ref());
    }
    let mut findings = brought.findings;
    findings.extend(wrong_architectures(&objects, platform.as_ref()));
    let runtime = runtime(release, &contents, &objects, options)?;
    let mut of_runtime = finding::of_runtime(&runtime);
    let is_program = |path: &ImagePath| objects.iter().any(|object| object.image == *path);
    if release.kind() == Kind::Tree && commands.iter().any(is_program) {
        finding::soften(&mut of_runtime, &commands, &runtime.bindings);
    }
    finding::soften_elsewhere(&mut of_runtime, &runtime, &commands);
    findings.extend(of_runtime);
    let mut members = members(&runtime, options.mtime)?;
    members.extend(brought.members);
    Ok(Closure {
        members,
        warnings,
        platform,
        findings,
        objects,
        bindings: runtime.bindings,
    })
}

/// Returns what most programs of the release and the additions are for; `None`
/// without one that says it.
#[must_use]
pub fn release_platform(release: &Release, additions: &[Member]) -> Option<Platform> {
    let all = release.members().iter().chain(additions);
    let mut objects = object::find(all, None, &mut Vec::new());
    if let Some(mix) = release.mix() {
        mix::set_roles(release, mix, &mut objects);
    }
    platform(&objects, &[], None)
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
    Ok(programs.finish()?)
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
        image_paths: options
            .library_variable
            .as_deref()
            .map_or_else(Vec::new, |variable| {
                library_directories(variable, release.prefix())
            }),
        add_libraries: match options.brings_runtime {
            true => options.add_libraries.clone(),
            false => Vec::new(),
        },
        working_directory: (release.kind() != Kind::Cargo).then(|| release.prefix().clone()),
        image_only: (!options.brings_runtime).then(|| image_only(contents)),
    };
    let runtime = Runtime::resolve(objects, lookup, &runtime_options)?;
    let is_asked = |library: &&MissingLibrary| library.needed_by.is_none();
    let asked: Vec<String> = runtime.missing.iter().filter(is_asked).map(asked).collect();
    match asked.is_empty() {
        true => Ok(runtime),
        false => Err(Error::MissingLibraries { missing: asked }),
    }
}

/// Takes the directories of `LD_LIBRARY_PATH` (ld.so(8)) in an image whose
/// programs start in `start`.
pub(crate) fn library_directories(variable: &str, start: &ImagePath) -> Vec<ImagePath> {
    let directories = variable.split([':', ';']);
    let directories = directories.filter(|_| !variable.is_empty());
    let directories = directories.map(|directory| match directory.starts_with('/') {
        true => ImagePath::parse(directory),
        false => start.join(directory),
    });
    directories.filter_map(std::result::Result::ok).collect()
}

/// What an image tells its loaders in files of its own.
pub(crate) fn image_only(contents: &Contents<'_>) -> ImageOnly {
    /// The largest cache that is read; those of desktops have 300 KiB.
    const MAX_CACHE_BYTES: u64 = 64 << 20;
    let text = |path: &str| {
        let path = ImagePath::parse(path).ok()?;
        let content = contents.file(&path)?.content.as_ref()?;
        Some(first_bytes(content, MAX_CACHE_BYTES))
    };
    let musl = [
        "x86_64",
        "aarch64",
        "i386",
        "armhf",
        "riscv64",
        "powerpc64le",
        "s390x",
    ];
    let mut musl = musl
        .iter()
        .map(|name| text(&format!("/etc/ld-musl-{name}.path")));
    ImageOnly {
        cache: text("/etc/ld.so.cache").unwrap_or_default(),
        musl_path: musl.find_map(|text| text).unwrap_or_default(),
    }
}

fn asked(library: &MissingLibrary) -> String {
    let searched = finding::search_text(library);
    format!("`{}`, asked for{searched}", library.name)
}

pub(crate) fn node(contents: &Contents<'_>, path: &ImagePath) -> Option<Node> {
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

/// Finds what the image is for: what was asked for, else what its command is
/// for, else what most of its programs are for.
fn platform(
    objects: &[Object],
    commands: &[ImagePath],
    wanted: Option<&Platform>,
) -> Option<Platform> {
    if let Some(wanted) = wanted {
        return Some(wanted.clone());
    }
    let is_command = |object: &&Object| commands.contains(&object.image);
    let command = programs_of(objects).find(is_command);
    if let Some(architecture) = command.and_then(|command| command.elf.architecture()) {
        return Some(platform_of(architecture));
    }
    let found: Vec<Architecture> = programs_of(objects)
        .filter_map(|program| program.elf.architecture())
        .collect();
    let count = |name| found.iter().filter(|other| other.name == name).count();
    let most = found
        .iter()
        .map(|architecture| count(architecture.name))
        .max()?;
    let main = found
        .iter()
        .find(|architecture| count(architecture.name) == most)?;
    // Of variants, the image needs what the most demanding program needs.
    let alike = found.iter().filter(|other| other.name == main.name);
    alike.max().copied().map(platform_of)
}

/// Takes programs of a tree for another processor than the image's as what
/// they are: prebuilt for whoever has one, and never started here.
fn set_roles(objects: &mut [Object], commands: &[ImagePath], platform: Option<&Platform>) {
    for object in objects.iter_mut() {
        let architecture = object.elf.architecture().zip(platform);
        let is_other = architecture.is_some_and(|(its, platform)| !runs_on(its, platform));
        if is_other && !commands.contains(&object.image) {
            object.role = Role::Module;
        }
    }
}

fn programs_of(objects: &[Object]) -> impl Iterator<Item = &Object> {
    let is_program = |object: &&Object| object.role == Role::Program;
    objects.iter().filter(is_program)
}

fn platform_of(architecture: Architecture) -> Platform {
    Platform::from_parts("linux", architecture.name, architecture.variant)
}

/// Names the programs that are for something else than the image.
fn wrong_architectures(objects: &[Object], platform: Option<&Platform>) -> Vec<Finding> {
    let Some(platform) = platform else {
        return Vec::new();
    };
    programs_of(objects)
        .filter_map(|program| {
            let architecture = program.elf.architecture()?;
            let is_wrong = !runs_on(architecture, platform);
            is_wrong.then(|| wrong_architecture(&program.image, architecture, platform))
        })
        .collect()
}

/// A program that machines of the platform do not start.
pub(crate) fn wrong_architecture(
    path: &ImagePath,
    architecture: Architecture,
    platform: &Platform,
) -> Finding {
    let reason = format!("`{path}` is for linux/{architecture}, and the image is for {platform}");
    Finding::error(Rule::WrongArchitecture, Some(path), reason)
}

/// Returns whether machines of the platform start programs for `architecture`.
///
/// Those of 64 bits start the programs of their forerunner with 32, as nearly
/// all kernels for them are built to. Variants are not compared: what a
/// program says of its own is a guess.
pub(crate) fn runs_on(architecture: Architecture, platform: &Platform) -> bool {
    let pair = (architecture.name, platform.architecture());
    pair.0 == pair.1 || matches!(pair, ("386", "amd64") | ("arm", "arm64"))
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
