//! Failures: the message, the hints and the exit code. `main` has the code of
//! internal errors; `check` and `validate` return 1 for what they find.

mod similar;

use std::env;
use std::error::Error;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use imgbuild_oci::error::Error as ImageError;
use imgbuild_oci::error::with_causes;
use imgbuild_oci::filesystem::FileSystemError;
use imgbuild_oci::path::{ImagePath, escaped};
use imgbuild_oci::selection::SelectionError;
use imgbuild_oci::source::Source;
use imgbuild_registry::cached::RemoteImageError;
use imgbuild_registry::error::Error as RegistryError;
use imgbuild_release::base::BaseError;
use imgbuild_release::certificates::{ALIASES, BUNDLE_PATH};
use imgbuild_release::error::Error as ReleaseError;
use imgbuild_release::finding::Rule;
use imgbuild_release::locale::LocaleError;
use imgbuild_release::programs::ProgramsError;
use imgbuild_release::refusal::Refusal;
use imgbuild_release::release::Release;
use imgbuild_release::warning::Warning;
use serde_json::{Value, json};

pub(crate) use similar::similar_directories;

/// The kind of a failure, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The image could not be built or written: something the user can fix.
    Build,
    /// The command line is wrong.
    CommandLine,
    /// A signal asked to stop.
    Interrupted,
}

/// A failure, as it is printed to the user.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) error: Box<dyn Error + Send + Sync>,
    pub(crate) hints: Vec<String>,
    /// The object that `--json` prints beside the error.
    pub(crate) facts: Value,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn command_line(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind: FailureKind::CommandLine,
            ..Self::build(error)
        }
    }

    /// Returns the failure of a flag with a value that cannot be used.
    pub(crate) fn of_flag(flag: &str, value: &str, reason: &str) -> Self {
        let value = if value.is_empty() { "''" } else { value };
        Self::command_line(format!("cannot use `{flag} {value}`: {reason}"))
    }

    /// Returns a failure that ends with the exit code 1.
    pub(crate) fn build(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind: FailureKind::Build,
            error: error.into(),
            hints: Vec::new(),
            facts: Value::Null,
        }
    }

    /// Returns a failure that ends with the exit code 1, with its cause.
    pub(crate) fn caused_by(
        cause: impl Into<Box<dyn Error + Send + Sync>>,
        message: impl Into<String>,
    ) -> Self {
        Self::build(CausedError {
            message: message.into(),
            cause: cause.into(),
        })
    }

    /// Returns the failure inside an error of a reader, for example that a signal
    /// ended it; `otherwise` makes that of any other error.
    pub(crate) fn of_reader(error: io::Error, otherwise: impl FnOnce(io::Error) -> Self) -> Self {
        failure_of_reader(error).unwrap_or_else(otherwise)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            FailureKind::Build => 1,
            FailureKind::CommandLine => 2,
            FailureKind::Interrupted => 130,
        }
    }

    /// Returns what `--json` prints; `conceal` removes secrets from a text.
    pub(crate) fn json(&self, conceal: impl Fn(&str) -> String) -> Value {
        let hints = self.hints.iter().map(|hint| conceal(hint));
        let mut value = self.facts.clone();
        value["error"] = json!({
            "message": conceal(&with_causes(self.error.as_ref(), ": ")),
            "hints": hints.collect::<Vec<_>>(),
            "exitCode": self.exit_code(),
        });
        if value.get("findings").is_none() {
            value["findings"] = json!([]);
        }
        value
    }
}

/// An error that this program describes, and its cause.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct CausedError {
    message: String,
    #[source]
    cause: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = with_causes(self.error.as_ref(), "\n  caused by: ");
        write!(formatter, "error: {chain}")?;
        for hint in &self.hints {
            write!(formatter, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Lets a `Failure` travel through `io::Error` when a blob that is fetched late
/// fails.
impl Error for Failure {}

/// Returns the failure inside an error of a reader: it has more detail than the
/// reader's.
fn failure_of_reader(error: io::Error) -> std::result::Result<Failure, io::Error> {
    let missing_layer = |error: RemoteImageError| match Failure::from(error) {
        failure if failure.kind == FailureKind::Interrupted => failure,
        failure => {
            failure.hint("the image needs this layer of its base image, which is not in the cache")
        }
    };
    error
        .downcast::<Failure>()
        .or_else(|error| error.downcast::<RegistryError>().map(Failure::from))
        .or_else(|error| error.downcast().map(missing_layer))
        .or_else(|error| error.downcast::<ImageError>().map(Failure::from))
}

impl From<RemoteImageError> for Failure {
    fn from(error: RemoteImageError) -> Self {
        match error {
            RemoteImageError::Registry(error) => error.into(),
            RemoteImageError::Connect(error) => match error.downcast::<Self>() {
                Ok(failure) => *failure,
                Err(error) => Self::build(error),
            },
            error => Self::build(error),
        }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        let error = match error {
            ImageError::Blob { digest, source } => match failure_of_reader(source) {
                Ok(failure) => return failure,
                Err(source) => ImageError::Blob { digest, source },
            },
            error => error,
        };
        let kind = match error {
            ImageError::Interrupted => FailureKind::Interrupted,
            _ => FailureKind::Build,
        };
        Self {
            kind,
            hints: image_hint(&error).into_iter().collect(),
            ..Self::build(error)
        }
    }
}

impl From<ReleaseError> for Failure {
    fn from(error: ReleaseError) -> Self {
        match error {
            ReleaseError::Image(error) => error.into(),
            ReleaseError::Refused(refusals) => Self {
                hints: refusal_hints(&refusals.0),
                ..Self::build(ReleaseError::Refused(refusals))
            },
            error => Self {
                hints: release_hint(&error).into_iter().collect(),
                ..Self::build(error)
            },
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let error = match error {
            RegistryError::Content { endpoint, source } => match failure_of_reader(source) {
                Ok(failure) => return failure,
                Err(source) => RegistryError::Content { endpoint, source },
            },
            error => error,
        };
        let kind = match error {
            RegistryError::Interrupted => FailureKind::Interrupted,
            _ => FailureKind::Build,
        };
        Self {
            kind,
            hints: crate::commands::registry::hints(&error),
            ..Self::build(error)
        }
    }
}

/// Adds the flag that names a file to a failure to read it.
pub(crate) fn named_by(error: ReleaseError, hint: &str) -> Failure {
    let is_of_file = matches!(error, ReleaseError::File(_));
    let failure = Failure::from(error);
    if is_of_file {
        failure.hint(hint)
    } else {
        failure
    }
}

fn release_flags(places: &[PathBuf]) -> String {
    let flags: Vec<String> = places
        .iter()
        .map(|place| format!("`--release {}`", place.display()))
        .collect();
    flags.join(" or ")
}

/// Returns a failure to plan an image. If a project without a command is
/// packaged as a whole, a hint names the releases below it.
pub(crate) fn of_plan(error: ReleaseError, warnings: &[Warning]) -> Failure {
    let has_no_command = matches!(error, ReleaseError::NoCommand(_) | ReleaseError::NoStart(_));
    let failure = Failure::from(error);
    let below = warnings.iter().find_map(|warning| match warning {
        Warning::ReleaseBelow { places, .. } => Some(release_flags(places)),
        _ => None,
    });
    match below.filter(|_| has_no_command) {
        Some(flags) => failure.hint(format!("the project has a release: use {flags}")),
        None => failure,
    }
}

#[rustfmt::skip]
fn image_hint(error: &ImageError) -> Option<String> {
    let hint = match error {
        ImageError::Changed { .. } | ImageError::LayerChanged { .. } => "wait until the release is fully built, then run imgbuild again",
        ImageError::Damaged { .. } => "the damaged entries were removed from the cache: run imgbuild again",
        ImageError::Stored { .. } => "run imgbuild again, or with `--no-cache`",
        ImageError::BaseChanged { .. } | ImageError::Base { .. } => "do not change the base image during a build, and run imgbuild again; `imgbuild validate` lists its violations",
        ImageError::Source(_) => DAMAGED_BASE,
        ImageError::BlobDigest { .. } | ImageError::BlobSize { .. } => "`imgbuild validate` lists the violations of the source",
        ImageError::NotALayout { .. } => "give `--output` a new directory, or the directory of an image layout",
        ImageError::Parent { parent, .. } if !parent.exists() => {
            return Some(format!("create it first: `mkdir -p {}`", parent.display()));
        }
        ImageError::Scratch { .. } => SCRATCH,
        ImageError::Sync(..) => "where the file system has no `fsync`, use `--no-sync`",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Returns the hint for a release that does not exist: a similar name, else a
/// release near it.
fn missing_hint(path: &Path) -> String {
    let mut places = similar_directories(path);
    if places.is_empty() {
        let near = path.ancestors().skip(1).find(|above| above.is_dir());
        places.extend(near.into_iter().flat_map(Release::places));
    }
    if places.is_empty() {
        return "build the release first, and name its directory with `--release`".to_owned();
    }
    format!("build the release first, or use {}", release_flags(&places))
}

/// Returns the hint for a file in place of a release.
fn file_hint(path: &Path) -> String {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let is_cargo = parent.ends_with("release") || parent.ends_with("debug");
    let flag = if is_cargo { "--bin" } else { "--entrypoint" };
    let name = escaped(path.file_name().unwrap_or_default().as_bytes());
    format!(
        "`--release` takes a directory: `--release {} {flag} {name}`",
        parent.display()
    )
}

const SCRATCH: &str = "temporary files are kept beside the output (or in `TMPDIR`), which must be writable and have room";

const DAMAGED_BASE: &str =
    "the base image is damaged: save it again; `imgbuild validate` lists its violations";

fn choice_hint(candidates: &[ImagePath]) -> String {
    let names = candidates.iter().take(5).map(ImagePath::file_name);
    let flags = names.map(|name| format!("`--entrypoint {}`", escaped(name)));
    format!(
        "add {}; select executables of a Cargo release with `--bin`, or build without a command with `--no-entrypoint`",
        flags.collect::<Vec<_>>().join(" or ")
    )
}

#[rustfmt::skip]
fn release_hint(error: &ReleaseError) -> Option<String> {
    let hint = match error {
        ReleaseError::Missing(path) => return Some(missing_hint(path)),
        ReleaseError::NotADirectory(path) => return Some(file_hint(path)),
        ReleaseError::WrongLevel { places, .. } => {
            let flags = release_flags(places);
            return Some(format!("use {flags}, or include the whole directory with `--kind tree`"));
        }
        ReleaseError::NoExecutable(_) => "run `cargo build --release` first, or include the whole directory with `--kind tree`",
        ReleaseError::Empty { left_out: 0, .. } => "build the release first",
        ReleaseError::Empty { .. } => "loosen `--exclude`, or add `--include`",
        ReleaseError::NoStart(start) if start.words.is_empty() => "name what starts, for example `--cmd node --cmd dist/main.js`, or build without a command with `--no-entrypoint`",
        ReleaseError::NoStart(start) => {
            let flags: Vec<String> = start.words.iter().map(|word| format!("--cmd {word}")).collect();
            return Some(format!("start it with `{}`", flags.join(" ")));
        }
        ReleaseError::UnknownBinary { .. } => "select one of these with `--bin`",
        ReleaseError::NotExecutable(_) => {
            let remedy = Rule::ProgramNotExecutable.info().build_remedy;
            return Some(format!("{remedy}; or name another program with `--entrypoint` or `--cmd`"));
        }
        ReleaseError::NoCommand(candidates) if candidates.is_empty() => "name the program with `--entrypoint` or `--cmd`, or build without one with `--no-entrypoint`",
        ReleaseError::NoCommand(candidates) => return Some(choice_hint(candidates)),
        ReleaseError::Programs(ProgramsError::Missing(_)) => "install the program on this machine, use another root with `--sysroot`, or add it with `--add`",
        ReleaseError::Programs(ProgramsError::UnknownPackages(_)) => "install the package on this machine first, for example with `apt-get install NAME`, or use another root with `--sysroot`",
        ReleaseError::Programs(ProgramsError::NoPackages(_)) => "use the root of a Debian or Alpine system with `--sysroot`, or include programs with `--program` and files with `--add`",
        ReleaseError::NoStartData(_) => "run `mix release` again, or include the whole directory with `--kind tree`",
        ReleaseError::NoDirectBoot(_) => "start the release by its script with `--boot script`; or change the release, or leave a script out with `--exclude`, set its variables with `--env`, and do the rest in `runtime.exs`",
        ReleaseError::Command { .. } => "include a program of this machine with `--program`; a relative command is a program of the release; `--dry-run --no-entrypoint` lists the files of the image",
        ReleaseError::UnknownBaseUser { .. } => "run as another user, for example `--user 1000:1000`, or as root with `--no-user`; or use a base image whose passwd file has its user",
        ReleaseError::UnknownUser(_) => "use numbers, for example `--user 1000:1000`, or add a passwd file with `--add`",
        ReleaseError::MissingLibraries(_) => "install the package that has the library, name its directory with `--library-path`, or use the libraries of another root with `--sysroot`; `--runtime none` includes no libraries",
        ReleaseError::Locale(LocaleError::Unknown { name, .. }) => return Some(locale_hint(name)),
        ReleaseError::Locale(LocaleError::Archive { .. }) => "create the archive again with `locale-gen`, or use the locales of another root with `--sysroot`",
        ReleaseError::TooManyLayers { .. } => "allow more with `--max-layers`, or use a base image with fewer layers",
        ReleaseError::Base { path, source } => return Some(base_hint(source, path)),
        _ => return None,
    };
    Some(hint.to_owned())
}

#[rustfmt::skip]
fn base_hint(error: &BaseError, place: &Path) -> String {
    let hint = match error {
        error if !error.compression().is_empty() => "`skopeo copy` converts the layers, for example `skopeo copy docker-archive:FILE oci:DIR`; so do `docker load` and `docker save`",
        BaseError::Selection(SelectionError::Platform { .. }) => "use a base image for the platform of the release; `--platform` selects one of several",
        BaseError::Selection(SelectionError::TooManyLayers { .. }) => "use a base image with fewer layers",
        BaseError::FileSystem(FileSystemError::Scratch { .. }) => SCRATCH,
        BaseError::Refused(_) => "no engine runs the base image either: use another one, or build it again with another tool; `imgbuild validate` lists its violations",
        BaseError::Source(_)
        | BaseError::System(_)
        | BaseError::Selection(SelectionError::NoImage | SelectionError::Artifact(_) | SelectionError::LayerMediaType(_)) => "`--base` takes an image layout or an archive, for example of `skopeo copy` or `docker save`",
        BaseError::Selection(error) => {
            let source = Source::open(place, &env::temp_dir()).ok();
            return selection_hint(error, source.as_ref()).unwrap_or_else(|| DAMAGED_BASE.to_owned());
        }
        _ => DAMAGED_BASE,
    };
    hint.to_owned()
}

/// Returns the hint for an image that is not selected in a source; without one,
/// it is in a registry.
pub(crate) fn selection_hint(error: &SelectionError, source: Option<&Source>) -> Option<String> {
    let hint = match error {
        error if error.asks_for_platform() => "select one with `--platform`",
        SelectionError::Platform { .. } => "select one of these with `--platform`",
        SelectionError::NoPlatform(_) => "give it with `--platform`",
        SelectionError::Several { .. }
        | SelectionError::Tag { .. }
        | SelectionError::Artifact(_)
        | SelectionError::Digest(_) => {
            let Some(source) = source else {
                return Some("name one with `docker://NAME@DIGEST`".to_owned());
            };
            let transport = transport_of(source);
            let named = format!("{transport}:{}", source.path().display());
            return Some(if transport == "docker-archive" {
                format!("name one with `{named}:NAME`")
            } else {
                format!("name one with `{named}:TAG` or `{named}@DIGEST`")
            });
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Returns the transport by which the images of a source are named.
pub(crate) fn transport_of(source: &Source) -> &'static str {
    let has_index = source.roots().is_ok_and(|roots| !roots.is_empty());
    match source {
        Source::Layout(_) => "oci",
        Source::Archive(_) if has_index => "oci-archive",
        Source::Archive(_) => "docker-archive",
    }
}

/// Returns the command that creates a locale: its language by its character
/// set.
fn locale_hint(name: &str) -> String {
    let (rest, modifier) = match name.split_once('@') {
        Some((rest, modifier)) => (rest, format!("@{modifier}")),
        None => (name, String::new()),
    };
    let (language, set) = rest.split_once('.').unwrap_or((rest, "UTF-8"));
    let set = match set.to_ascii_lowercase().as_str() {
        "utf8" => "UTF-8",
        _ => set,
    };
    format!(
        "create it with `localedef -i {language}{modifier} -f {set} {name}`, which is in the package `locales` of Debian; or name an existing locale"
    )
}

fn is_of_certificates(path: &ImagePath) -> bool {
    let places = ALIASES.iter().map(|(alias, _)| *alias);
    let mut places = places.chain([BUNDLE_PATH]);
    places.any(|place| place.as_bytes() == path.as_bytes())
}

fn refusal_hints(refusals: &[Refusal]) -> Vec<String> {
    let mut hints: Vec<&str> = refusals
        .iter()
        .map(|refusal| match refusal {
            Refusal::Special { .. } | Refusal::Unreadable { .. } | Refusal::Name { .. } => {
                "remove these files from the release, or leave them out with `--exclude`"
            }
            Refusal::SetId { .. } => {
                "include these files, owned by root, with `--allow-set-id`, or leave them out with `--exclude`"
            }
            Refusal::BaseFile { .. } => {
                "make the directory of the file writable, or add a copy of the file with `--add FILE:PATH`"
            }
            Refusal::BelowAFile { path, .. } if is_of_certificates(path) => {
                "`--cacert` needs these places: add a bundle elsewhere with `--add FILE:PATH` and `--env SSL_CERT_FILE=PATH`, or change what lies there with `--add`, `--exclude` or another base image"
            }
            _ => "keep one source: change `--prefix`, `--add` or `--exclude`",
        })
        .collect();
    hints.sort_unstable();
    hints.dedup();
    hints.into_iter().map(str::to_owned).collect()
}
