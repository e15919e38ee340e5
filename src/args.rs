//! The command line: what was typed, nothing resolved.

mod registry;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use imgbuild_oci::compression::Compression;
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;
use imgbuild_release::release::Kind;

use crate::commands::cache::size;
use crate::commands::registry::{ImageSource, Output};

pub(crate) use registry::{CopyArguments, RegistryFlags};

mod platforms;

pub(crate) use platforms::{IndexCommand, IndexCreateArguments, PlatformPath};
mod base;

pub(crate) use base::BaseArguments;

/// Make a container image from a finished build: no daemon, no root, no
/// Dockerfile
///
/// The image holds the release, the shared libraries and loaders that its
/// programs need, CA certificates if asked for, and nothing else. The same
/// release gives the same bytes on every machine.
///
/// Standard output is one line, the digest of the manifest or index; everything
/// else is on standard error.
#[derive(Debug, Parser)]
#[command(
    name = "imgbuild",
    args_conflicts_with_subcommands = true,
    disable_version_flag = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = EXIT_CODES,
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) build: BuildArguments,

    /// Print the version; with `-v` also the edition of the embedded roots
    #[arg(short = 'V', long)]
    pub(crate) version: bool,

    /// Read flags from this file; default: `imgbuild.toml` in the current
    /// directory, if it is there
    ///
    /// Every flag of a build is a key, as `tag = ["app:1"]`. What is given on
    /// the command line wins.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Read no file of flags
    #[arg(long, conflicts_with = "config")]
    pub(crate) no_config: bool,

    /// Say more: what was left out, every source (can be repeated)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the image could not be built or written, `check` found that it would
       not start, or `validate` found a disagreement
  2    the command line or the configuration file is wrong
  70   internal error, please report
  130  interrupted (SIGINT, SIGTERM or SIGHUP)

Examples:
  imgbuild --release target/release --cacert
  imgbuild --release _build/prod/rel/app -t ghcr.io/me/app:1.2.3 --expose 4000
  imgbuild --release dist --cmd bin/server -o oci:layout -o app.tar
  imgbuild --release linux/amd64=out/amd64 --release linux/arm64=out/arm64 -t app";

/// The bundle that is part of this program.
pub(crate) const EMBEDDED: &str = "embedded";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look for what would keep an image from starting, or would surprise
    Check(CheckArguments),
    /// Recompute every size, digest and diff ID of a layout or archive
    Validate(ValidateArguments),
    /// Copy an image or index to other places, its digests kept
    Copy(CopyArguments),
    /// Work with indexes: images for several platforms under one name
    Index {
        #[command(subcommand)]
        command: IndexCommand,
    },
    /// Show the certificates that `--cacert` brings
    Certificates(CertificatesArguments),
    /// Look after the cache that makes rebuilds fast
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// Print a script that completes the command line in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The image: `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`,
    /// `docker-archive:FILE[:NAME]`, or a path whose kind is recognized
    pub(crate) source: String,

    /// The name or tag of the image, if the source has several
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub(crate) tag: Option<String>,

    /// The platform, if the source has the image for several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,

    /// Print the findings as one JSON array on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArguments {
    /// The image: `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE`, or a
    /// path whose kind is recognized
    pub(crate) source: String,

    /// Print the disagreements as one JSON array on standard output
    #[arg(long)]
    pub(crate) json: bool,

    /// How many threads hash at a time; default: as many as there are cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct CertificatesArguments {
    /// A bundle as `--cacert` takes it (can be repeated); default: the
    /// embedded roots
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundles: Vec<String>,

    /// Print the normalized bundle on standard output
    #[arg(long)]
    pub(crate) pem: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Say where the cache is and how large
    Info {
        /// The directory of the cache; default: as for a build
        #[arg(long, value_name = "DIR")]
        cache_dir: Option<PathBuf>,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Remove what was not used for the longest time, and what killed builds
    /// have left
    Prune {
        /// The directory of the cache; default: as for a build
        #[arg(long, value_name = "DIR")]
        cache_dir: Option<PathBuf>,

        /// The most that stays, as `500M` or `2G`; default: 2G
        #[arg(long, value_name = "SIZE", value_parser = size)]
        max_size: Option<u64>,
    },
    /// Remove everything
    Clear {
        /// The directory of the cache; default: as for a build
        #[arg(long, value_name = "DIR")]
        cache_dir: Option<PathBuf>,
    },
}

/// By what an unchanged layer is recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Recognition {
    /// By what the system says of its files
    Stat,
    /// By the content of its files
    Content,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CacheFlags {
    /// Where layers are kept for the next build; default:
    /// `$XDG_CACHE_HOME/imgbuild`, else `$HOME/.cache/imgbuild`
    ///
    /// No byte of an image depends on it. It can be removed at any time, and
    /// several builds can share it.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,

    /// Make everything anew and keep nothing
    #[arg(long, conflicts_with_all = ["cache_dir", "cache", "cache_size"])]
    pub(crate) no_cache: bool,

    /// By what an unchanged layer is recognized: `stat`, the size, times,
    /// inode and mode of its files, or `content`
    ///
    /// `stat` reads nothing. It is used on local file systems, for files that
    /// are older than the grain of the clock; everything else is recognized by
    /// its content, which is read but not compressed again.
    #[arg(long, value_enum, default_value_t = Recognition::Stat, hide_possible_values = true, value_name = "stat|content")]
    pub(crate) cache: Recognition,

    /// The most that the cache keeps, as `500M` or `2G`; default: 2G
    ///
    /// What was not used for the longest time is removed first, after the
    /// build.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) cache_size: Option<u64>,

    /// Take compressed layers from an image or a cache of another machine (can
    /// be repeated)
    ///
    /// An image layout, an archive, a directory with `blobs/sha256`, a cache, or
    /// `docker://REFERENCE`. What `--push` names is looked into by itself. A layer is taken when
    /// its uncompressed bytes have the diff ID that the image says, and its
    /// compressed bytes begin as imgbuild would write them. Name only what you
    /// trust as you trust a registry that you push to.
    #[arg(long, value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    pub(crate) cache_from: Vec<ImageSource>,
}

/// Whether something comes along by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// What is needed
    Auto,
    /// Nothing
    None,
}

/// What becomes of an image that would not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckChoice {
    /// It is not made
    Error,
    /// It is made, and what is wrong is said
    Warn,
    /// Nobody looks
    Off,
}

/// Whether a secret of the release goes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CookieChoice {
    /// It does
    Keep,
    /// It does not
    Remove,
}

/// What starts a mix release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BootChoice {
    /// The virtual machine itself
    Direct,
    /// Its script
    Script,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct BuildArguments {
    /// The finished build; several, each for a platform, make an index
    ///
    /// Every build is checked against its platform, and everything else holds
    /// for all. What comes along of this machine is looked for per platform:
    /// see `--sysroot`.
    #[arg(id = "release", long = "release", value_name = "[PLATFORM=]DIR", value_parser = PlatformPath::parser(), value_hint = ValueHint::DirPath, help_heading = "Release")]
    pub(crate) releases: Vec<PlatformPath>,

    /// The one of these that a run is about.
    #[arg(skip)]
    pub(crate) release: Option<PathBuf>,

    /// What made the release; default: recognized
    ///
    /// `cargo` takes the executables that lie directly in the directory, and
    /// those of its own shared libraries that they need. `tree` takes
    /// everything. `mix` takes a release of `mix release` or relx, and brings
    /// what its scripts call.
    #[arg(long, value_name = "cargo|mix|tree", help_heading = "Release")]
    pub(crate) kind: Option<Kind>,

    /// Take this executable of a Cargo release (can be repeated); default: all
    #[arg(long, value_name = "NAME", help_heading = "Release")]
    pub(crate) bin: Vec<String>,

    /// Where the release lands in the image; default: `/usr/local/bin` for
    /// `cargo`, `/app` for `mix` and `tree`
    #[arg(long, value_name = "PATH", value_parser = image_path, help_heading = "Release")]
    pub(crate) prefix: Option<ImagePath>,

    /// Leave out what matches, as a line of `.gitignore` would (can be
    /// repeated)
    ///
    /// Of all `--exclude` and `--include` that match a path, the last one on
    /// the command line decides; a path that none matches goes where the
    /// nearest directory above it goes.
    #[arg(long, value_name = "GLOB", help_heading = "Release")]
    pub(crate) exclude: Vec<String>,

    /// Take what matches, although an earlier `--exclude` or the kind of the
    /// release leaves it out (can be repeated)
    #[arg(long, value_name = "GLOB", help_heading = "Release")]
    pub(crate) include: Vec<String>,

    /// Put a further file or directory into the image (can be repeated)
    ///
    /// A file lands at DST, or in it if DST ends with a slash; the content of
    /// a directory lands in DST. MODE is octal and for every file; default:
    /// 0755 for executables, 0644 for other files.
    #[arg(long, value_name = "SRC:DST[:MODE]", value_hint = ValueHint::AnyPath, help_heading = "Release")]
    pub(crate) add: Vec<String>,

    /// Let set-user-ID and set-group-ID files of other users become root's
    #[arg(long, help_heading = "Release")]
    pub(crate) allow_set_id: bool,

    /// Whether the cookie of a mix release, a secret, goes in
    ///
    /// With `keep`, the image starts as it is, and everybody who has it knows
    /// the cookie unless `RELEASE_COOKIE` is set at run time. With `remove`,
    /// containers start only with `RELEASE_COOKIE`. Default: `keep`, and with
    /// `--boot direct`, which needs none, `remove`.
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "keep|remove",
        help_heading = "Release"
    )]
    pub(crate) release_cookie: Option<CookieChoice>,

    /// What starts a mix release: its `script`, or `direct`ly the virtual
    /// machine
    ///
    /// With `direct`, the image has no shell and no other program: what the
    /// start script would compute is computed now and becomes the entrypoint.
    /// `runtime.exs` still runs. The commands of the script, as `rpc` and
    /// `remote`, port programs that are started by a shell, and `os:cmd` do
    /// not work, and the node is not distributed.
    #[arg(long, value_enum, default_value_t = BootChoice::Script, hide_possible_values = true, value_name = "direct|script", help_heading = "Release")]
    pub(crate) boot: BootChoice,

    /// Add CA certificates (can be repeated)
    ///
    /// Without a value, or as `embedded`: Mozilla's roots that are part of this
    /// program. `system`: this host's bundle. Else a PEM or DER file, or a directory of them.
    /// They are checked, merged and written to
    /// `/etc/ssl/certs/ca-certificates.crt`, with links where other systems
    /// have their bundle, and `SSL_CERT_FILE` is set. A Java virtual machine
    /// reads none of these.
    #[arg(long, value_name = "BUNDLE", value_hint = ValueHint::AnyPath, num_args = 0..=1, default_missing_value = EMBEDDED, help_heading = "Contents")]
    pub(crate) cacert: Vec<String>,

    /// Bring the loaders and shared libraries that the release needs
    #[arg(long, value_enum, default_value_t = Choice::Auto, hide_possible_values = true, value_name = "auto|none", help_heading = "Contents")]
    pub(crate) runtime: Choice,

    /// Take loaders and libraries from this root instead of `/`; with a
    /// platform, for its release only (can be repeated)
    #[arg(id = "sysroot", long = "sysroot", value_name = "[PLATFORM=]DIR", value_parser = PlatformPath::parser(), value_hint = ValueHint::DirPath, help_heading = "Contents")]
    pub(crate) sysroots: Vec<PlatformPath>,

    /// The one of these that is for the release.
    #[arg(skip)]
    pub(crate) sysroot: Option<PathBuf>,

    /// Look for libraries in this directory, too (can be repeated)
    #[arg(long, value_name = "DIR", help_heading = "Contents")]
    pub(crate) library_path: Vec<PathBuf>,

    /// Bring a library that is only opened at run time, with `dlopen` (can be
    /// repeated)
    #[arg(long, value_name = "NAME", help_heading = "Contents")]
    pub(crate) add_library: Vec<String>,

    /// Bring a program of this machine, with what it needs (can be repeated)
    ///
    /// A name is looked up in the directories of the image's `PATH`, a path is
    /// absolute; the program lands where it was found. For what scripts call:
    /// of a script that is the command, and of those of a mix release, the
    /// interpreter comes along by itself, and so do the programs that the
    /// generated scripts of a mix release call.
    #[arg(long, value_name = "NAME|PATH", help_heading = "Contents")]
    pub(crate) program: Vec<String>,

    /// Bring the time zones of this machine
    #[arg(long, help_heading = "Contents")]
    pub(crate) tzdata: bool,

    /// Bring a locale of this machine, as `de_DE.UTF-8` (can be repeated)
    ///
    /// `LANG` names the first one, unless `--env` says it.
    #[arg(long, value_name = "NAME", help_heading = "Contents")]
    pub(crate) locale: Vec<String>,

    /// Make a directory that the user of the image may write to (can be
    /// repeated)
    #[arg(long, value_name = "PATH", value_parser = image_path, help_heading = "Contents")]
    pub(crate) writable: Vec<ImagePath>,

    /// Give the image users, `/etc/nsswitch.conf`, `/tmp` and a home
    #[arg(long, value_enum, default_value_t = Choice::Auto, hide_possible_values = true, value_name = "auto|none", help_heading = "Contents")]
    pub(crate) skeleton: Choice,

    /// The name of the image (can be repeated); default: the name of the Cargo
    /// package or of the directory, with the tag `latest`
    #[arg(short, long, value_name = "NAME[:TAG]", help_heading = "Image")]
    pub(crate) tag: Vec<Reference>,

    /// The platform; default: what the programs of the release are for
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", help_heading = "Image")]
    pub(crate) platform: Option<Platform>,

    /// The creation time: RFC 3339, Unix seconds or `now`; default:
    /// `SOURCE_DATE_EPOCH`, else the date of the commit that is checked out
    /// where the release lies, else 1970-01-01T00:00:01Z
    ///
    /// Layers never depend on it.
    #[arg(long, value_name = "TIME", help_heading = "Image")]
    pub(crate) created: Option<String>,

    /// The modification time of every file: RFC 3339 or Unix seconds; default:
    /// 1970-01-01T00:00:01Z
    #[arg(long, value_name = "TIME", help_heading = "Image")]
    pub(crate) mtime: Option<String>,

    /// How layers are compressed: `none`, `gzip` or `gzip:1` to `gzip:9`;
    /// default: `none` if every destination is a docker-archive or an engine,
    /// else `gzip`
    #[arg(long, value_name = "NAME[:LEVEL]", help_heading = "Image")]
    pub(crate) compression: Option<Compression>,

    /// The most layers, 1 to 125
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u8).range(1..=125), help_heading = "Image")]
    pub(crate) max_layers: u8,

    #[command(flatten)]
    pub(crate) base: BaseArguments,

    #[command(flatten)]
    pub(crate) configuration: ConfigurationArguments,

    #[command(flatten)]
    pub(crate) output: OutputArguments,

    #[command(flatten)]
    pub(crate) registry: RegistryFlags,

    #[command(flatten)]
    pub(crate) cache: CacheFlags,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Image configuration")]
pub(crate) struct ConfigurationArguments {
    /// The program that containers run: one argument after the other, or one
    /// JSON array (can be repeated)
    ///
    /// A relative program lies in the release. Without `--entrypoint` and
    /// `--cmd`: the one executable of the release, or of several the one named
    /// like the package or the directory; of a mix release `bin/server`, else
    /// `bin/NAME start`, as the command.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) entrypoint: Vec<String>,

    /// The arguments after the entrypoint, or the program if there is none; as
    /// `--entrypoint` (can be repeated)
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) cmd: Vec<String>,

    /// Make an image without an entrypoint; of a base image, the command goes
    /// with it
    #[arg(long, conflicts_with = "entrypoint")]
    pub(crate) no_entrypoint: bool,

    /// Set an environment variable; K alone takes it from the environment of
    /// imgbuild, `K-` removes what the base image or imgbuild sets (can be
    /// repeated)
    #[arg(short, long, value_name = "K[=V]")]
    pub(crate) env: Vec<String>,

    /// Read environment variables from a file, one `K=V` or `K` a line; what
    /// `--env` says comes later and wins (can be repeated)
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,

    /// Declare a port, or a range of ports (can be repeated)
    #[arg(long, value_name = "PORT[-PORT][/tcp|udp|sctp]")]
    pub(crate) expose: Vec<String>,

    /// Whom containers run as; default: whom the base image says, else
    /// 65532:65532 (`nonroot`)
    ///
    /// A name must be in the passwd file of the image; numbers are always
    /// written.
    #[arg(long, value_name = "NAME|UID[:GID]")]
    pub(crate) user: Option<String>,

    /// The directory that the program starts in; default: where a tree lands, and
    /// for a program of the base image where that says
    #[arg(long, value_name = "PATH", value_parser = image_path)]
    pub(crate) workdir: Option<ImagePath>,

    /// Declare a volume; the directory is made and belongs to the user (can be
    /// repeated)
    #[arg(long, value_name = "PATH", value_parser = image_path)]
    pub(crate) volume: Vec<ImagePath>,

    /// Set a label; `K-` removes the base image's (can be repeated)
    #[arg(long, value_name = "K=V")]
    pub(crate) label: Vec<String>,

    /// Set an annotation of the manifest, and of the index of several (can be
    /// repeated)
    #[arg(long, value_name = "K=V")]
    pub(crate) annotation: Vec<String>,

    /// Set no labels and annotations but those that are asked for
    ///
    /// Without it, `org.opencontainers.image.title`, `version`, `licenses`,
    /// `source`, `revision`, `url`, `authors` and `description` are set from
    /// `Cargo.toml` or the mix release, the git repository that holds the
    /// release, and the variables of build services.
    #[arg(long)]
    pub(crate) no_auto_labels: bool,

    /// The signal that stops a container: a name or a number
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,

    /// The command that checks a container's health, as `--entrypoint`; or
    /// `none` (can be repeated)
    ///
    /// A field of Docker's: engines that follow the OCI specification to the
    /// letter, as Podman, ignore it. It runs without a shell.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) healthcheck: Vec<String>,

    /// The time between two health checks, as `30s`
    #[arg(long, value_name = "TIME", requires = "healthcheck")]
    pub(crate) health_interval: Option<humantime::Duration>,

    /// The time that a health check may take
    #[arg(long, value_name = "TIME", requires = "healthcheck")]
    pub(crate) health_timeout: Option<humantime::Duration>,

    /// The time after the start in which failures do not count
    #[arg(long, value_name = "TIME", requires = "healthcheck")]
    pub(crate) health_start_period: Option<humantime::Duration>,

    /// The failures in a row that make a container unhealthy
    #[arg(long, value_name = "N", requires = "healthcheck")]
    pub(crate) health_retries: Option<u64>,

    /// Who made the image
    #[arg(long, value_name = "TEXT")]
    pub(crate) author: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArguments {
    /// Where the image goes (can be repeated); default: NAME.tar in the current
    /// directory
    ///
    /// `FILE.tar`: the archive that every loader takes. `FILE.tar.gz`: the
    /// same, compressed as a whole. `docker-archive:FILE`,
    /// `oci-archive:FILE[:TAG]`: the same under the names of other tools. A
    /// directory, or
    /// `oci:DIR[:TAG]`: an OCI image layout, which keeps what it has. `-`: the
    /// archive on standard output. `docker://REFERENCE`: a registry.
    #[arg(short, long, value_name = "DESTINATION", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Vec<Output>,

    /// Push the image to the registries of all its names
    ///
    /// What a registry has is neither compressed nor sent again.
    #[arg(long, requires = "tag")]
    pub(crate) push: bool,

    /// Add what is pushed to the index that the tag names, for other jobs that
    /// push other platforms
    ///
    /// An image for the same platform is replaced, everything else stays. The
    /// image alone gets a tag that ends with its platform, as
    /// `1.2.3-linux-amd64`. Many jobs can do it at once, one for each platform.
    #[arg(long)]
    pub(crate) update_index: bool,

    /// Load the image into the local engine: `docker load`, else `podman load`;
    /// of several, the one for this machine
    #[arg(long)]
    pub(crate) load: bool,

    /// What becomes of an image that would not start: with `error` it is not
    /// made, with `warn` it is, with `off` nobody looks
    ///
    /// The check finds programs, interpreters and libraries that are missing
    /// or do not fit, and warns of what may surprise, as files that are likely
    /// secrets. `imgbuild check` does the same for any image.
    #[arg(long, value_enum, default_value_t = CheckChoice::Error, hide_possible_values = true, value_name = "error|warn|off")]
    pub(crate) check: CheckChoice,

    /// Print the plan and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Print the result, or the plan, as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the digest of the manifest, or of the index, to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) digest_file: Option<PathBuf>,

    /// Write the image ID, the digest of the configuration, to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,

    /// How many threads work at a time; default: as many as there are cores
    ///
    /// No byte depends on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// Do not wait until everything is on the disk
    #[arg(long)]
    pub(crate) no_sync: bool,
}

fn image_path(text: &str) -> Result<ImagePath, String> {
    ImagePath::parse(text).map_err(|error| error.to_string())
}
