//! `imgbuild --release DIR`: resolve, plan, build, write, report.

use std::collections::BTreeSet;
use std::env;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use clap::ArgMatches;
use fs_err as fs;
use imgbuild_oci::cache::Cache;
use imgbuild_oci::compression::Compression;
use imgbuild_oci::destination::{Destination, WriteOptions, Written, write_image, write_text};
use imgbuild_oci::entry::DEFAULT_MTIME;
use imgbuild_oci::image::Image;
use imgbuild_oci::monitor::{Monitor, Progress};
use imgbuild_oci::parcel::Parcel;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::{Reference, name_from};
use imgbuild_oci::store::Store;
use imgbuild_release::addition::open_additions;
use imgbuild_release::build::{BuildOptions, build};
use imgbuild_release::closure::{self, ClosureOptions};
use imgbuild_release::error::Error;
use imgbuild_release::finding::Finding;
use imgbuild_release::pattern::Patterns;
use imgbuild_release::plan::{ConfigurationOptions, Ingredients, Plan, PlanOptions};
use imgbuild_release::release::{Boot, Cookie, Kind, Release, ReleaseOptions};

use super::load::Engine;
use super::provenance::CreatedBy;
use super::registry::{self, Output, Push, Registries};
use super::{base, cache, certificates, check, options, origin, provenance, report};
use crate::args::{BootChoice, BuildArguments, Choice, CookieChoice, EMBEDDED};
use crate::configuration_file::Given;
use crate::failure::{self, Failure, Result};
use crate::printed;
use crate::ui::Ui;

pub(crate) fn run(arguments: &BuildArguments, given: &Given, ui: &mut Ui) -> Result<ExitCode> {
    let Some(root) = &arguments.release else {
        let failure = Failure::command_line("`--release DIR` is missing");
        return Err(failure.hint("`imgbuild --help` lists the options and commands"));
    };
    let mtime = match &arguments.mtime {
        Some(text) => options::time("--mtime", text)?,
        None => DEFAULT_MTIME,
    };
    base::check_lock(&arguments.base, given)?;
    let release = open_release(root, arguments, &given.matches, mtime)?;
    check_kind(root, arguments, release.kind())?;
    options::check_runtime(arguments)?;
    let references = references(&arguments.tag, &release)?;
    let destinations = destinations(arguments, &references)?;
    let targets = registry::targets(&arguments.output, &references)?;
    report::names_left_out(&destinations, &references, ui);
    let files = [&arguments.output.digest_file, &arguments.output.iidfile];
    let files = files.into_iter().filter_map(|file| file.as_deref());
    let outputs = destinations
        .iter()
        .filter_map(Destination::path)
        .chain(files)
        .chain(arguments.cache.cache_dir.as_deref());
    let release = release.without_outputs(&outputs.collect::<Vec<_>>());
    let scratch = scratch(&destinations);
    let cache = match arguments.output.dry_run {
        true => Cache::default(),
        false => cache::open(&arguments.cache, &scratch, ui),
    };
    let mut supply = base::Supply::prepare(arguments, &targets, (&cache, &scratch), ui)?;
    let sources = (&cache, &*scratch, supply.as_mut());
    let (ingredients, pin) = gather(release, arguments, sources, mtime, ui)?;
    let is_pushed = !targets.is_empty();
    let is_compressed = is_pushed
        || destinations
            .iter()
            .any(Destination::wants_compressed_layers);
    let found = provenance::find(arguments, &ingredients.release, ui)?;
    let mut plan_options = plan_options(arguments, references, is_compressed, &ingredients, mtime)?;
    found.apply(&mut plan_options);
    let plan = Plan::new(ingredients, &plan_options)?;
    report::warnings(&plan, ui);
    let store = cache.store.as_deref().filter(|_| !cache.reads_contents);
    let findings = check::of_plan(&plan, arguments.output.check, store, ui);
    let refusal = check::refusal(&findings, arguments.output.check);
    if arguments.output.dry_run {
        let origins = origin::Origins::new(given, &found);
        let shown = report::ShownPlan {
            plan: &plan,
            origins: &origins,
            findings: &findings,
        };
        printed(report::plan(&shown, arguments.output.json, ui))?;
        return refusal.map_or(Ok(ExitCode::SUCCESS), Err);
    }
    if let Some(failure) = refusal {
        if arguments.output.json {
            let text = serde_json::json!({ "findings": findings }).to_string();
            printed(ui.result(&text))?;
        }
        return Err(failure);
    }
    let network = supply.as_mut().and_then(base::Supply::network);
    let connect = || registry::connect(arguments, &targets, ui);
    let (interrupted, registries) = network.map_or_else(connect, Ok)?;
    let mut job = Job {
        arguments,
        cache,
        destinations: &destinations,
        references: plan_options.references,
        targets,
        registries,
        created_by: found.created_by,
        threads: options::threads(arguments.output.threads),
        interrupted,
        findings,
    };
    let result = job.run(plan, ui);
    cache::close(&job.cache, &arguments.cache, ui);
    result.and_then(|code| base::lock(&arguments.base, given, pin, ui).map(|()| code))
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

fn open_release(
    root: &Path,
    arguments: &BuildArguments,
    matches: &ArgMatches,
    mtime: u64,
) -> Result<Release> {
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
        mtime,
    };
    Ok(Release::open(root, &options)?)
}

/// The names of the image, each once: those given, or one made from the
/// release's own.
fn references(given: &[Reference], release: &Release) -> Result<Vec<Reference>> {
    let mut references = given.to_vec();
    if references.is_empty() {
        let name = name_from(release.name());
        let reference = name.as_deref().map(str::parse).transpose();
        let Ok(Some(reference)) = reference else {
            let failure = Failure::command_line(format!(
                "`{}` cannot be made the name of an image",
                release.name()
            ));
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
    let mut destinations: Vec<Destination> = outputs
        .filter_map(|output| match output {
            Output::Here(destination) => Some(destination.clone()),
            Output::Registry(_) => None,
        })
        .collect();
    let output = &arguments.output;
    if output.output.is_empty() && !output.load && !output.push {
        // The first one that was given, not the first in order.
        let first = arguments.tag.first().or(references.first());
        let repository = first.map_or("image", Reference::repository);
        let name = repository.rsplit('/').next().unwrap_or(repository);
        destinations.push(Destination::Archive(PathBuf::from(format!("{name}.tar"))));
    }
    let to_output = |destination: &&Destination| **destination == Destination::StandardOutput;
    let outputs = destinations.iter().filter(to_output).count();
    if outputs > 1 {
        return Err(Failure::command_line("`--output -` is given twice"));
    }
    if outputs > 0 && !arguments.output.dry_run {
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
    check_distinct(&destinations, arguments)?;
    if !arguments.output.dry_run {
        for destination in &destinations {
            destination.check()?;
        }
        let output = &arguments.output;
        for path in [&output.digest_file, &output.iidfile].into_iter().flatten() {
            // What an archive needs to be written, any file needs.
            Destination::Archive(path.clone()).check()?;
        }
    }
    Ok(destinations)
}

/// Refuses one file for two outputs: the last one would be all there is.
fn check_distinct(destinations: &[Destination], arguments: &BuildArguments) -> Result<()> {
    let output = &arguments.output;
    let files = [&output.digest_file, &output.iidfile];
    let files = files.into_iter().filter_map(|file| file.as_deref());
    let archives = destinations.iter().filter(|to| !is_layout(to));
    let mut seen = BTreeSet::new();
    for path in archives.filter_map(Destination::path).chain(files) {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        // A device takes everything.
        let is_special = fs::metadata(&real).is_ok_and(|found| !found.is_file());
        if !is_special && !seen.insert(real) {
            return Err(Failure::command_line(format!(
                "two outputs are one file: `{}`",
                path.display()
            )));
        }
    }
    Ok(())
}

fn is_layout(destination: &Destination) -> bool {
    matches!(destination, Destination::Layout(..))
}

/// Finds everything that goes in.
fn gather(
    release: Release,
    arguments: &BuildArguments,
    (cache, scratch, supply): (&Cache, &Path, Option<&mut base::Supply>),
    mtime: u64,
    ui: &Ui,
) -> Result<(Ingredients, Option<base::Pin>)> {
    let texts = arguments.add.iter();
    let additions: Vec<_> = texts
        .map(|text| options::addition(text))
        .collect::<Result<_>>()?;
    let mut additions = open_additions(&additions, arguments.allow_set_id, mtime)
        .map_err(|error| failure::named_by(error, "`--add` names what it is to put in"))?;
    let mut release = release;
    let found = (&release, additions.as_slice());
    let platform = arguments.platform.as_ref();
    let opened = base::open(&arguments.base, platform, found, (scratch, supply, ui))?;
    let (base, pin) = opened.unzip();
    if let Some(base) = &base {
        release = release.onto(base)?;
        additions = base.place(additions)?;
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
    let mut variables = configuration.env.into_iter().rev();
    let path = variables.find(|(name, _)| name == "PATH");
    let closure_options = ClosureOptions {
        brings_runtime: arguments.runtime == Choice::Auto,
        sysroot: arguments.sysroot.clone(),
        library_paths: arguments.library_path.clone(),
        add_libraries: arguments.add_library.clone(),
        programs: options::programs(&arguments.program)?,
        brings_zones: arguments.tzdata,
        locales: options::locales(&arguments.locale)?,
        command: options::command(arguments)?,
        healthcheck: configuration.healthcheck,
        path: path.map(|(_, path)| path),
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
        true => Compression::Gzip(imgbuild_oci::deflate::Level::DEFAULT),
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
        created: options::rfc3339(DEFAULT_MTIME),
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

/// A plan on its way to its destinations.
struct Job<'a> {
    arguments: &'a BuildArguments,
    cache: Cache,
    destinations: &'a [Destination],
    references: Vec<Reference>,
    targets: Vec<Reference>,
    registries: Registries,
    created_by: CreatedBy,
    threads: usize,
    interrupted: Arc<AtomicBool>,
    findings: Vec<Finding>,
}

impl Job<'_> {
    fn run(&mut self, plan: Plan, ui: &mut Ui) -> Result<ExitCode> {
        let engine = match self.arguments.output.load {
            true => Some(Engine::start()?),
            false => None,
        };
        let summary = report::Summary::of(&plan, self.created_by);
        ui.start_progress(summary.tar_bytes * self.passes() + summary.base_bytes * self.copies());
        self.look_into_registries(&plan)?;
        let image = self.build(plan, ui)?;
        for destination in self.destinations {
            self.write(&image, destination, ui)?;
        }
        let mut loaded = Vec::new();
        if let Some(engine) = engine {
            loaded = engine.load(|input| {
                let standard_output = Destination::StandardOutput;
                self.write_to(&image, &standard_output, input, ui)?;
                Ok(())
            })?;
        }
        let pushes = self.push(&image)?;
        ui.finish_progress();
        for push in &pushes {
            push.report(ui);
        }
        for name in &loaded {
            ui.status(&format!("loaded `{name}`"));
        }
        self.write_digests(&image)?;
        let result = report::Result {
            image: &image,
            references: &self.references,
            destinations: self.destinations,
            loaded: &loaded,
            pushes: &pushes,
            traffic: self.registries.traffic(),
            summary: &summary,
            findings: &self.findings,
        };
        self.print(&result, ui)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Adds what registries have to what may be used again.
    fn look_into_registries(&mut self, plan: &Plan) -> Result<()> {
        // Plain layers are known by their diff IDs alone.
        if plan.compression() != Compression::None {
            let by_descriptor = self.destinations.is_empty() && !self.arguments.output.load;
            let platform = &plan.image().platform;
            let given = &self.arguments.cache.cache_from;
            let registries = &mut self.registries;
            let sources = registries.layers(&self.targets, given, platform, by_descriptor)?;
            self.cache.add_sources(sources);
        }
        Ok(())
    }

    /// Sends the image to where it is pushed, last of all: what is written
    /// here can be removed again.
    fn push(&mut self, image: &Image) -> Result<Vec<Push>> {
        if self.targets.is_empty() {
            return Ok(Vec::new());
        }
        self.registries
            .push(&Parcel::of_image(image), &self.targets)
    }

    /// How often the bytes of the layers are read or written.
    fn passes(&self) -> u64 {
        1 + self.copies()
    }

    /// How often the image is written.
    fn copies(&self) -> u64 {
        let outputs = self.destinations.len() + self.targets.len();
        outputs as u64 + u64::from(self.arguments.output.load)
    }

    fn build(&self, plan: Plan, ui: &Ui) -> Result<Image> {
        let total = plan.layers().len();
        let done = AtomicUsize::new(0);
        let follow = |progress: Progress<'_>| ui.follow(progress, total, &done);
        let options = BuildOptions {
            threads: self.threads,
            scratch: scratch(self.destinations),
            cache: self.cache.clone(),
        };
        Ok(build(
            plan,
            &options,
            Monitor::new(&follow, &self.interrupted),
        )?)
    }

    fn write(&self, image: &Image, destination: &Destination, ui: &Ui) -> Result<()> {
        let mut output = raw_standard_output()?;
        let written = self.write_to(image, destination, &mut output, ui)?;
        match destination {
            _ if written == Written::Unchanged => ui.status(&format!("unchanged `{destination}`")),
            Destination::StandardOutput => ui.status("wrote the archive to standard output"),
            _ => ui.status(&format!("wrote `{destination}`")),
        }
        Ok(())
    }

    fn write_to(
        &self,
        image: &Image,
        destination: &Destination,
        output: &mut (dyn Write + Send),
        ui: &Ui,
    ) -> Result<Written> {
        let done = AtomicUsize::new(0);
        let follow = |progress: Progress<'_>| ui.follow(progress, 0, &done);
        let options = WriteOptions {
            references: &self.references,
            threads: self.threads,
            sync: !self.arguments.output.no_sync,
            store: self.store_of_outputs(),
            platform: None,
        };
        let monitor = Monitor::new(&follow, &self.interrupted);
        Ok(write_image(image, destination, options, output, monitor)?)
    }

    /// An archive is recognized by what the system says of it, or not at all.
    fn store_of_outputs(&self) -> Option<&Store> {
        let store = self.cache.store.as_deref();
        store.filter(|_| !self.cache.reads_contents)
    }

    fn write_digests(&self, image: &Image) -> Result<()> {
        let output = &self.arguments.output;
        let monitor = Monitor::new(&|_| {}, &self.interrupted);
        let files = [
            (&output.digest_file, image.manifest().digest()),
            (&output.iidfile, image.config().digest()),
        ];
        for (file, digest) in files {
            if let Some(path) = file {
                write_text(path, &digest.to_string(), !output.no_sync, monitor)?;
            }
        }
        Ok(())
    }

    fn print(&self, result: &report::Result<'_>, ui: &Ui) -> Result<()> {
        report::summary(result, ui);
        if self.destinations.contains(&Destination::StandardOutput) {
            // Standard output holds the archive.
            ui.status(&result.image.manifest().digest().to_string());
            return Ok(());
        }
        printed(match self.arguments.output.json {
            true => ui.result(&report::json(result)),
            false => ui.result(&result.image.manifest().digest().to_string()),
        })
    }
}
