//! `imgbuild --release DIR`: resolve, plan, build, write, report.

mod job;
mod made;
mod planned;
mod several;

use std::env;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ArgMatches;
use imgbuild_oci::cache::Cache;
use imgbuild_oci::compression::Compression;
use imgbuild_oci::destination::Destination;
use imgbuild_oci::entry::{DEFAULT_MTIME, Member};
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::{Reference, name_from};
use imgbuild_release::addition::open_additions;
use imgbuild_release::closure::{self, ClosureOptions};
use imgbuild_release::error::Error;
use imgbuild_release::pattern::Patterns;
use imgbuild_release::plan::{ConfigurationOptions, Ingredients, Plan, PlanOptions};
use imgbuild_release::release::{Boot, Cookie, Kind, Release, ReleaseOptions};

use super::registry;
use super::{base, cache, certificates, check, options, outputs, provenance, report, time};
use crate::args::{BootChoice, BuildArguments, Choice, CookieChoice, EMBEDDED, must_exist};
use crate::configuration_file::Given;
use crate::failure::{self, Failure, Result};
use crate::printed;
use crate::ui::Ui;
use job::Job;
pub(crate) use made::Made;
pub(crate) use planned::Planned;

pub(crate) fn run(arguments: &BuildArguments, given: &Given, ui: &mut Ui) -> Result<ExitCode> {
    let builds = several::divide(arguments)?;
    let Some(arguments) = builds.first() else {
        let failure = Failure::command_line("`--release DIR` is missing");
        return Err(failure.hint("`imgbuild --help` lists the options and commands"));
    };
    several::check_loadable(&builds, &host_platform())?;
    let mtime = match &arguments.mtime {
        Some(text) => time::time("--mtime", text)?,
        None => DEFAULT_MTIME,
    };
    base::check_lock(&arguments.base, given)?;
    let mut releases = Vec::new();
    for build in &builds {
        releases.push(open_release(build, &given.matches, mtime)?);
        options::check_runtime(build)?;
    }
    let references = references(&arguments.tag, &releases)?;
    let destinations = destinations(arguments, &references)?;
    let targets = registry::targets(&arguments.output, &references)?;
    report::names_left_out(&destinations, &references, ui);
    let scratch = scratch(&destinations);
    let cache = match arguments.output.dry_run {
        true => Cache::default(),
        false => cache::open(&arguments.cache, &scratch, ui),
    };
    let mut supply = base::Supply::prepare(arguments, &targets, (&cache, &scratch), ui)?;
    let is_compressed = !targets.is_empty()
        || destinations
            .iter()
            .any(Destination::wants_compressed_layers);
    let outputs = output_paths(arguments, &destinations);
    let store = cache.store.as_deref().filter(|_| !cache.reads_contents);
    let choice = arguments.output.check;
    let frame = Frame {
        cache: &cache,
        scratch: &scratch,
        outputs: &outputs,
        references: &references,
        is_compressed,
        mtime,
    };
    let (mut plans, pin) = frame.plan(&builds, releases, supply.as_mut(), ui)?;
    report::warnings(plans.iter().map(|planned| &planned.plan), ui);
    let findings = planned::check_all(&mut plans, choice, store, ui);
    let refusal = check::refusal(&findings, choice);
    if arguments.output.dry_run {
        printed(report::plans(&plans, given, arguments.output.json, ui))?;
        return refusal.map_or(Ok(ExitCode::SUCCESS), Err);
    }
    if let Some(failure) = refusal {
        if arguments.output.json {
            let text = serde_json::json!({ "findings": findings }).to_string();
            printed(ui.result(&text))?;
        }
        return Err(failure);
    }
    let network = supply.as_ref().map(base::Supply::network);
    let connect = || registry::connect(arguments, &targets, ui);
    let (interrupted, registries) = network.map_or_else(connect, Ok)?;
    let mut job = Job {
        arguments,
        cache,
        destinations: &destinations,
        references,
        targets,
        registries,
        threads: options::threads(arguments.output.threads),
        interrupted,
    };
    let result = job.run(plans, ui);
    cache::close(&job.cache, &arguments.cache, ui);
    result.and_then(|code| base::lock(&arguments.base, given, pin, ui).map(|()| code))
}

/// What all releases of a run are planned with.
struct Frame<'a> {
    cache: &'a Cache,
    scratch: &'a Path,
    outputs: &'a [&'a Path],
    references: &'a [Reference],
    is_compressed: bool,
    mtime: u64,
}

impl Frame<'_> {
    /// Makes the plan of each release; returns with them what the base image
    /// can be pinned to.
    fn plan(
        &self,
        builds: &[BuildArguments],
        releases: Vec<Release>,
        mut supply: Option<&mut base::Supply>,
        ui: &Ui,
    ) -> Result<(Vec<Planned>, Option<base::Pin>)> {
        let mut plans: Vec<Planned> = Vec::new();
        // Of an index, it is the same for every platform.
        let mut pin = None;
        for (build, release) in builds.iter().zip(releases) {
            let release = release.without_outputs(self.outputs);
            // What is found on this machine is the same for all: it is said once.
            let quiet = ui.quiet_if(!plans.is_empty());
            let sources = (self.cache, self.scratch, supply.as_deref_mut());
            let (ingredients, its_pin) = gather(release, build, sources, self.mtime, &quiet)?;
            pin = its_pin.or(pin);
            let found = provenance::find(build, &ingredients.release, &quiet)?;
            let names = self.references.to_vec();
            let mut options =
                plan_options(build, names, self.is_compressed, &ingredients, self.mtime)?;
            found.apply(&mut options);
            let below = failure::release_below(ingredients.release.warnings());
            let plan = Plan::new(ingredients, &options)
                .map_err(|error| failure::of_plan(error, below.as_deref()))?;
            plans.push(Planned {
                plan,
                found,
                findings: Vec::new(),
            });
        }
        Ok((plans, pin))
    }
}

/// Everything that the run writes, which is no part of a release.
fn output_paths<'a>(
    arguments: &'a BuildArguments,
    destinations: &'a [Destination],
) -> Vec<&'a Path> {
    let files = [
        &arguments.output.digest_file,
        &arguments.output.iidfile,
        &arguments.output.index_digest_file,
    ];
    let files = files.into_iter().filter_map(|file| file.as_deref());
    destinations
        .iter()
        .filter_map(Destination::path)
        .chain(files)
        .chain(arguments.cache.cache_dir.as_deref())
        .collect()
}

/// Refuses what only means something for another kind of release.
fn check_kind(root: &Path, arguments: &BuildArguments, kind: Kind) -> Result<()> {
    let root = root.display();
    if !arguments.bin.is_empty() && kind != Kind::Cargo {
        let failure = Failure::command_line(format!(
            "`--bin` picks executables of a Cargo release, and `{root}` is of the kind `{kind}`"
        ));
        return Err(failure.hint("pick files with `--exclude` and `--include`, or set `--kind`"));
    }
    if arguments.boot == BootChoice::Direct && kind != Kind::Mix {
        let failure = Failure::command_line(format!(
            "`--boot direct` starts a mix release, and `{root}` is of the kind `{kind}`"
        ));
        return Err(failure.hint("name the program with `--entrypoint`, or set `--kind mix`"));
    }
    Ok(())
}

fn open_release(arguments: &BuildArguments, matches: &ArgMatches, mtime: u64) -> Result<Release> {
    let root = arguments.release.as_deref().unwrap_or(Path::new("."));
    let patterns = Patterns::new(&options::patterns(matches)).map_err(|error| {
        let mut failure = Failure::from(Error::Pattern(error));
        failure.kind = failure::Kind::CommandLine;
        failure
    })?;
    let options = ReleaseOptions {
        kind: arguments.kind,
        prefix: arguments.prefix.clone(),
        binaries: arguments.bin.clone(),
        patterns,
        allow_set_id: arguments.allow_set_id,
        cookie: match (arguments.release_cookie, arguments.boot) {
            (Some(CookieChoice::Remove), _) | (None, BootChoice::Direct) => Cookie::Remove,
            (Some(CookieChoice::Keep), _) | (None, BootChoice::Script) => Cookie::Keep,
        },
        boot: match arguments.boot {
            BootChoice::Direct => Boot::Direct,
            BootChoice::Script => Boot::Script,
        },
        variables: options::configuration(arguments)?.env,
        mtime,
    };
    let release = Release::open(root, &options)?;
    check_kind(root, arguments, release.kind())?;
    Ok(release)
}

/// The names of the image, each once: those given, or one made from the
/// release's own.
fn references(given: &[Reference], releases: &[Release]) -> Result<Vec<Reference>> {
    let mut references = given.to_vec();
    if references.is_empty() {
        let own = several::common_name(releases)?;
        let name = name_from(own);
        let reference = name.as_deref().map(str::parse).transpose();
        let Ok(Some(reference)) = reference else {
            let failure =
                Failure::command_line(format!("`{own}` cannot be made the name of an image"));
            return Err(failure.hint("name the image with `--tag NAME`"));
        };
        references.push(reference);
    }
    if let Some(reference) = references
        .iter()
        .find(|reference| reference.digest().is_some())
    {
        let failure = Failure::command_line(format!(
            "cannot use `--tag {reference}`: an image cannot be told its digest"
        ));
        return Err(failure.hint("leave out what follows `@`"));
    }
    references.sort();
    references.dedup();
    Ok(references)
}

/// Where the image goes; checked before anything is read.
fn destinations(arguments: &BuildArguments, references: &[Reference]) -> Result<Vec<Destination>> {
    let outputs = arguments.output.output.iter();
    let here = outputs.filter_map(|output| output.here().transpose());
    let mut destinations: Vec<Destination> = here.collect::<Result<_>>()?;
    let output = &arguments.output;
    if output.output.is_empty() && !output.load && !output.push {
        // The first one that was given, not the first in order.
        let first = arguments.tag.first().or(references.first());
        let repository = first.map_or("image", Reference::repository);
        let name = repository.rsplit('/').next().unwrap_or(repository);
        destinations.push(Destination::Archive(
            PathBuf::from(format!("{name}.tar")),
            None,
        ));
    }
    let to_output = |destination: &&Destination| **destination == Destination::StandardOutput;
    let to_outputs = destinations.iter().filter(to_output).count();
    if to_outputs > 1 {
        return Err(Failure::command_line("`--output -` is given twice"));
    }
    if to_outputs > 0 && !arguments.output.dry_run {
        if arguments.output.json {
            return Err(Failure::command_line(
                "`--output -` and `--json` both write to standard output",
            ));
        }
        if io::stdout().is_terminal() {
            let failure = Failure::command_line("refusing to write an archive to a terminal");
            return Err(failure.hint("redirect standard output, or name a file with `--output`"));
        }
    }
    let files = [
        &output.digest_file,
        &output.iidfile,
        &output.index_digest_file,
    ];
    let files = files.into_iter().filter_map(|file| file.as_deref());
    outputs::check_distinct(&destinations, files.clone())?;
    if !arguments.output.dry_run {
        for destination in &destinations {
            destination.check()?;
        }
        outputs::check_files(files)?;
    }
    Ok(destinations)
}

/// Opens what `--add` names.
fn additions(arguments: &BuildArguments, mtime: u64) -> Result<Vec<Member>> {
    let texts = arguments.add.iter();
    let additions: Vec<_> = texts
        .map(|text| options::addition(text))
        .collect::<Result<_>>()?;
    for (text, addition) in arguments.add.iter().zip(&additions) {
        must_exist(&format!("--add {text}"), &addition.source)?;
    }
    open_additions(&additions, arguments.allow_set_id, mtime)
        .map_err(|error| failure::named_by(error, "`--add` names what it is to put in"))
}

/// Finds everything that goes in.
fn gather(
    release: Release,
    arguments: &BuildArguments,
    (cache, scratch, supply): (&Cache, &Path, Option<&mut base::Supply>),
    mtime: u64,
    ui: &Ui,
) -> Result<(Ingredients, Option<base::Pin>)> {
    let mut additions = additions(arguments, mtime)?;
    let mut release = release;
    let request = base::Request {
        arguments,
        release: &release,
        additions: &additions,
        cache,
        scratch,
        ui,
    };
    let (base, pin) = base::open(&request, supply)?.unzip();
    if let Some(base) = &base {
        release = release.onto(base)?;
        additions = base.place(additions).map_err(Error::Refused)?;
    }
    let mut certificates = None;
    if !arguments.cacert.is_empty() {
        let (loaded, warnings) = certificates::load(&arguments.cacert)?;
        for warning in warnings {
            ui.warning(&warning);
        }
        certificates = Some(loaded);
    }
    let configuration = options::configuration(arguments)?;
    let variable = |wanted: &str| {
        let mut variables = configuration.env.iter().rev();
        let found = variables.find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone())
    };
    let closure_options = ClosureOptions {
        brings_runtime: arguments.runtime == Choice::Auto,
        sysroot: arguments.sysroot.clone(),
        library_paths: arguments.library_path.clone(),
        add_libraries: arguments.add_library.clone(),
        programs: options::programs(&arguments.program)?,
        brings_zones: arguments.tzdata,
        locales: options::locales(&arguments.locale)?,
        command: options::command(arguments)?,
        healthcheck: configuration.healthcheck.clone(),
        path: variable("PATH"),
        library_variable: variable("LD_LIBRARY_PATH"),
        platform: arguments.platform.clone(),
        mtime,
        store: cache.store.clone().filter(|_| !cache.reads_contents),
    };
    let closure = closure::resolve(&release, &additions, base.as_ref(), &closure_options)?;
    let ingredients = Ingredients {
        release,
        additions,
        closure,
        certificates,
        has_own_certificates: arguments.cacert.iter().any(|bundle| bundle != EMBEDDED),
        base,
    };
    Ok((ingredients, pin.flatten()))
}

fn plan_options(
    arguments: &BuildArguments,
    references: Vec<Reference>,
    is_compressed: bool,
    ingredients: &Ingredients,
    mtime: u64,
) -> Result<PlanOptions> {
    let given = &arguments.configuration;
    let platform = ingredients.closure.platform.clone();
    let default_compression = match is_compressed {
        true => Compression::Gzip(imgbuild_deflate::Level::DEFAULT),
        false => Compression::None,
    };
    Ok(PlanOptions {
        references,
        command: options::command(arguments)?,
        configuration: ConfigurationOptions {
            locale: arguments.locale.first().cloned(),
            ..options::configuration(arguments)?
        },
        user: given.user.as_deref().map(options::user).transpose()?,
        writable: arguments.writable.iter().cloned().collect(),
        has_skeleton: arguments.skeleton == Choice::Auto,
        platform: platform.unwrap_or_else(host_platform),
        created: time::rfc3339(DEFAULT_MTIME),
        author: given.author.clone(),
        annotations: options::pairs("--annotation", &given.annotation)?,
        compression: arguments.compression.unwrap_or(default_compression),
        max_layers: usize::from(arguments.max_layers),
        mtime,
    })
}

/// What this program was built for: a guess for a release that does not say.
fn host_platform() -> Platform {
    Platform::from_parts("linux", env::consts::ARCH, None)
}

/// Standard output without the buffer that cuts it into lines.
pub(super) fn raw_standard_output() -> Result<std::fs::File> {
    let handle = io::stdout().as_fd().try_clone_to_owned();
    Ok(handle.map_err(Failure::build)?.into())
}

/// Compressed layers that are not kept wait beside the output: there is room
/// for them, and a temporary directory may lie in memory.
fn scratch(destinations: &[Destination]) -> PathBuf {
    let mut files = destinations.iter().filter_map(Destination::path);
    let existing = files.find_map(|path| {
        let ancestors = path.ancestors().skip(1);
        let named = ancestors.map(|path| match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        });
        let mut existing = named.filter(|path| path.is_dir());
        existing.next().map(Path::to_path_buf)
    });
    existing.unwrap_or_else(env::temp_dir)
}
