//! The runtime closure of everything that goes into an image, as members of
//! its layers, and the command.

mod data;
pub(crate) mod finding;
mod merged;
mod object;
mod platform;
mod records;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{Entry, EntryKind, Member};
use imgbuild_oci::image::Healthcheck;
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::store::Store;

use crate::base::Base;
use crate::command::{self, default_path};
use crate::contents::Contents;
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::host_file::file_member;
use crate::locale;
use crate::programs::packages::PackageOptions;
use crate::programs::{AddedFiles, Programs};
use crate::release::command::{Command, CommandRequest, resolve as resolve_command, started_file};
use crate::release::{CommandOptions, Release};
use crate::runtime::{Bindings, ImageNode, ImageOnly, Lookup, Object, Runtime, RuntimeOptions};
use crate::skeleton::Accounts;
use crate::warning::Warning;

pub(crate) use object::is_foreign;
use platform::{platform, programs_of, set_roles, wrong_architectures};
pub(crate) use platform::{runs_on, wrong_architecture};
use records::HostParts;

/// The wishes of the user for programs, libraries and the command.
#[derive(Debug, Clone, Default)]
pub struct ClosureOptions {
    /// Libraries of the host are included.
    pub include_libraries: bool,
    /// Neither the files that libraries open nor the links of a merged `/usr` are
    /// included.
    pub is_minimal: bool,
    /// Another root to take them from.
    pub sysroot: Option<PathBuf>,
    /// Further directories with libraries.
    pub library_paths: Vec<PathBuf>,
    /// Further libraries.
    pub add_libraries: Vec<String>,
    /// Programs of the host to include, by name or absolute path.
    pub programs: Vec<String>,
    /// Packages of the host to include.
    pub packages: PackageOptions,
    /// Programs come with other files of their packages.
    pub include_program_files: bool,
    /// The programs that start scripts call are included.
    pub include_calls: bool,
    /// The time zones of the host are included.
    pub include_time_zones: bool,
    /// The default fonts of the host are included.
    pub include_fonts: bool,
    /// Locales of the host to include, by name.
    pub locales: Vec<String>,
    /// The command, which may be a script.
    pub command: CommandOptions,
    /// The health check, whose command may be a script.
    pub healthcheck: Option<Healthcheck>,
    /// The environment variables that the user gives to containers; a later
    /// one of a name wins.
    pub variables: Vec<(String, String)>,
    /// The platform that the user asked for.
    pub platform: Option<Platform>,
    /// The packages of the host that files came from are recorded.
    pub include_records: bool,
    /// The files of the host with the CA certificates.
    pub certificates: Vec<PathBuf>,
    /// The modification time of every entry, in Unix seconds.
    pub mtime: u64,
    /// The store that remembers which files are not ELF files, and records of
    /// packages.
    pub store: Option<Arc<Store>>,
}

/// Everything that a release needs beside its own files, and the facts that
/// were read from files for the plan.
#[derive(Debug, Clone, Default)]
pub struct Closure {
    /// Programs, loaders, libraries and links to them.
    pub(crate) members: Vec<Member>,
    /// Records of the packages that these came from.
    pub(crate) records: Vec<Member>,
    /// The links of a merged `/usr` above them, at free paths.
    pub(crate) links: Vec<Member>,
    pub(crate) warnings: Vec<Warning>,
    /// Remarks that are no warnings, each in a line.
    pub notes: Vec<String>,
    /// Facts about what programs may need, for a reader who asks for more.
    pub details: Vec<String>,
    /// The platform of the programs; `None` without one that has it.
    pub platform: Option<Platform>,
    /// The command; its program is an absolute path.
    pub(crate) command: Command,
    /// The accounts of the image's own passwd and group files; `None` without
    /// such files.
    pub(crate) accounts: Option<Accounts>,
    /// The reasons why programs would not start.
    pub(crate) findings: Vec<Finding>,
    /// The ELF files of the release, the additions and the included programs.
    pub(crate) objects: Vec<Object>,
    /// The file of the image for each needed name of each file.
    pub(crate) bindings: Bindings,
}

/// Decides the command, reads every ELF file of the release and the additions,
/// and finds what they need.
///
/// # Errors
///
/// When there is no command, and when something that was asked for does not
/// exist. What else is missing is a part of the result.
pub fn resolve(
    release: &Release,
    additions: &[Member],
    base: Option<&Base>,
    options: &ClosureOptions,
) -> Result<Closure> {
    let mut contents = Contents::new(&release.members);
    contents.add(additions);
    if let Some(base) = base {
        contents = base.under(contents);
    }
    let mut links = merged::links(&contents, options);
    contents.add(&links);
    let accounts = Accounts::read(&contents);
    let (brought, command) = include_programs(release, &contents, base, options)?;
    contents.add(&brought.members);
    let command = command.resolved(&release.prefix, &contents)?;
    let started: Vec<ImagePath> = started_file(&contents, command.words())
        .into_iter()
        .collect();

    let mut warnings = brought.warnings;
    let all = release.members.iter().chain(additions);
    let mut objects = object::find(all, options.store.as_deref(), &mut warnings);
    release.behavior.set_roles(release, &mut objects);
    objects.extend(brought.objects);
    let wanted = base.map(Base::platform).or(options.platform.as_ref());
    let platform = platform(&objects, &started, wanted);
    let may_not_start = release.kind.is_any_directory;
    if may_not_start {
        set_roles(&mut objects, &started, platform.as_ref());
    }

    let runtime = find_libraries(release, &contents, &objects, options)?;
    let mut details = callers_of_no_shell(&contents, &objects);
    let mut findings = brought.findings;
    findings.extend(wrong_architectures(&objects, platform.as_ref()));
    let is_program = |path: &ImagePath| objects.iter().any(|object| object.image == *path);
    let may_not_start = may_not_start && started.iter().any(is_program);
    findings.extend(runtime_findings(&runtime, &started, may_not_start));
    let mut members = members(&runtime, options.mtime)?;
    let mut packages = brought.packages;
    let all: Vec<&Member> = members.iter().chain(&brought.members).collect();
    let data = data::find(&all, &runtime, &contents, options, &mut details)?;
    members.extend(data.members);
    packages.files.extend(data.packages.files);
    let parts = HostParts {
        members: [&members, &brought.members],
        packages,
    };
    let records = parts.record(&contents, options, &mut warnings);
    members.extend(brought.members);
    links.retain(|link| merged::is_used(&link.entry, &members));
    Ok(Closure {
        members,
        records,
        links,
        warnings,
        notes: brought.notes,
        details,
        platform,
        command,
        accounts,
        findings,
        objects,
        bindings: runtime.bindings,
    })
}

/// Finds the reasons why programs would not start. What the started program does not
/// need is no error where others `may_not_start`.
fn runtime_findings(runtime: &Runtime, started: &[ImagePath], may_not_start: bool) -> Vec<Finding> {
    let mut findings = finding::of_runtime(runtime);
    if may_not_start {
        finding::soften(&mut findings, started, &runtime.bindings);
    }
    finding::soften_elsewhere(&mut findings, runtime, started);
    findings
}

/// Describes the programs that may start a shell, if the image lacks it.
fn callers_of_no_shell(contents: &Contents<'_>, objects: &[Object]) -> Vec<String> {
    let shell = ImagePath::parse("/bin/sh").ok();
    if shell.is_some_and(|shell| contents.file(&shell).is_some()) {
        return Vec::new();
    }
    let callers = programs_of(objects).filter(|object| object.elf.imports.shell);
    let described = callers.map(|object| {
        let path = &object.image;
        format!("`{path}` may start commands with `/bin/sh`, which the image does not have")
    });
    described.collect()
}

/// Returns the platform of most programs of the release and the additions;
/// `None` without one that has it.
#[must_use]
pub fn release_platform(release: &Release, additions: &[Member]) -> Option<Platform> {
    let all = release.members.iter().chain(additions);
    let mut objects = object::find(all, None, &mut Vec::new());
    release.behavior.set_roles(release, &mut objects);
    platform(&objects, &[], None)
}

/// Includes programs of the host: those asked for, and those that scripts
/// need. Decides the command on the way: it may be one of the programs asked
/// for, and a script needs its interpreter.
fn include_programs(
    release: &Release,
    contents: &Contents<'_>,
    base: Option<&Base>,
    options: &ClosureOptions,
) -> Result<(AddedFiles, Command)> {
    let path = match options.variable("PATH") {
        Some(path) => path.to_owned(),
        None => default_path(release, contents)?,
    };
    let search = path
        .split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(str::to_owned)
        .collect();
    let mut programs = Programs::new(options.sysroot.as_deref(), contents, search, options.mtime);
    programs.takes_package_files = options.include_program_files;
    programs.brings_calls = options.include_calls;
    programs.add_packages(&options.packages)?;
    for name in &options.programs {
        programs.request(name);
    }
    let interpreter = release.behavior.interpreter(release, contents);
    if let Some(name) = interpreter.filter(|_| options.include_libraries) {
        if options.command == CommandOptions::default() && base.is_none() {
            programs.request(name);
        } else {
            programs.add_if_present(name);
        }
    }
    if options.include_time_zones {
        programs.request_zones()?;
    }
    if options.include_fonts {
        programs.request_fonts()?;
    }
    for name in &options.locales {
        locale::add(name, &mut programs)?;
    }
    if options.include_libraries {
        programs.set_release(&release.root, &release.prefix);
        programs.add_environments(contents, &release.members);
    }

    let mut everything = contents.clone();
    everything.add(programs.placed.values());
    let request = CommandRequest {
        options: &options.command,
        variables: &options.variables,
        contents: &everything,
        base,
    };
    let command = command::decide(release, &request)?;
    if options.include_libraries {
        let started = started_files(release, &everything, &command, options);
        for path in &started {
            programs.add_interpreter_of(path);
        }
        let scripts: Vec<&Member> = started
            .iter()
            .filter_map(|path| contents.own(path))
            .collect();
        (release.behavior).include_programs(release, &scripts, &mut programs)?;
    }
    Ok((programs.finish()?, command))
}

/// Returns the files that the command and the health check start, as far as
/// `contents` has them.
fn started_files(
    release: &Release,
    contents: &Contents<'_>,
    command: &Command,
    options: &ClosureOptions,
) -> Vec<ImagePath> {
    let prefix = &release.prefix;
    let command = command.clone().resolved(prefix, contents);
    let command = command.map(|command| command.words().to_vec());
    let check = options
        .healthcheck
        .as_ref()
        .map(|check| check.test.as_slice());
    let check = match check {
        Some([kind, check @ ..]) if kind == "CMD" => resolve_command(prefix, contents, check).ok(),
        _ => None,
    };
    [command.ok(), check]
        .into_iter()
        .flatten()
        .filter_map(|words| started_file(contents, &words))
        .collect()
}

fn find_libraries(
    release: &Release,
    contents: &Contents<'_>,
    objects: &[Object],
    options: &ClosureOptions,
) -> Result<Runtime> {
    let lookup = |path: &ImagePath| node(contents, path);
    let lookup: &Lookup<'_> = &lookup;
    let mut library_paths = options.library_paths.clone();
    library_paths.extend(release.behavior.library_directories(&release.root));
    let image_paths = options.variable("LD_LIBRARY_PATH");
    let add_libraries = if options.include_libraries {
        options.add_libraries.clone()
    } else {
        Vec::new()
    };
    let starts_in_release = release.kind.has_own_directory;
    let runtime_options = RuntimeOptions {
        sysroot: options.sysroot.clone(),
        library_paths,
        image_paths: image_paths.map_or_else(Vec::new, |variable| {
            library_directories(variable, &release.prefix)
        }),
        add_libraries,
        completes_c_library: !options.is_minimal,
        working_directory: starts_in_release.then(|| release.prefix.clone()),
        image_only: (!options.include_libraries).then(|| image_only(contents)),
    };
    let runtime = Runtime::resolve(objects, lookup, &runtime_options)?;
    let missing: Vec<String> = runtime
        .missing
        .iter()
        .filter(|library| library.needed_by.is_none())
        .map(|library| {
            format!(
                "`{}` (`--add-library`){}",
                library.name,
                finding::search_text(library)
            )
        })
        .collect();
    if missing.is_empty() {
        Ok(runtime)
    } else {
        Err(Error::MissingLibraries(missing))
    }
}

impl ClosureOptions {
    /// Returns whether the closure has what no file names.
    fn is_whole(&self) -> bool {
        self.include_libraries && !self.is_minimal
    }

    /// Returns the value of a variable that the user gives to containers.
    fn variable(&self, name: &str) -> Option<&str> {
        let mut variables = self.variables.iter().rev();
        let found = variables.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Takes the directories of `LD_LIBRARY_PATH` (ld.so(8)) in an image whose
/// programs start in `start`.
pub(crate) fn library_directories(variable: &str, start: &ImagePath) -> Vec<ImagePath> {
    let directories = variable.split([':', ';']);
    let directories = directories.filter(|_| !variable.is_empty());
    let directories = directories.map(|directory| {
        if directory.starts_with('/') {
            ImagePath::parse(directory)
        } else {
            start.join(directory)
        }
    });
    directories.flatten().collect()
}

/// Returns the files of an image that configure its loaders.
pub(crate) fn image_only(contents: &Contents<'_>) -> ImageOnly {
    /// The largest cache that is read; those of desktops have 300 KiB.
    const MAX_CACHE_BYTES: u64 = 64 << 20;
    let text = |path: &str| contents.first_bytes(path, MAX_CACHE_BYTES);
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

pub(crate) fn node(contents: &Contents<'_>, path: &ImagePath) -> Option<ImageNode> {
    let member = contents.get(path)?;
    match (&member.entry.kind, &member.content) {
        (EntryKind::Directory, _) => Some(ImageNode::Directory),
        (EntryKind::Symlink { target }, _) => Some(ImageNode::Symlink(target.clone())),
        (EntryKind::Hardlink { target }, _) => node(contents, target),
        (EntryKind::File { .. }, Some(Content::File(file))) => {
            Some(ImageNode::File(file.path.clone()))
        }
        (EntryKind::File { .. }, Some(Content::Range(range))) => {
            Some(ImageNode::Base(Some(range.clone())))
        }
        (EntryKind::File { .. }, _) => Some(ImageNode::Base(None)),
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
