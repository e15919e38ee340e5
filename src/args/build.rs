//! A build: the release, what comes along, and the image as such.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use imgbuild_oci::compression::Compression;
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;
use imgbuild_release::release::Kind;

use super::EMBEDDED;
use super::base::BaseArguments;
use super::cache::CacheFlags;
use super::choice::{BootChoice, Choice, CookieChoice};
use super::configuration::ConfigurationArguments;
use super::output::OutputArguments;
use super::path::{PlatformPath, image_path};
use super::registry::RegistryFlags;

#[derive(Debug, Clone, Args)]
pub(crate) struct BuildArguments {
    /// The finished build; several, each for a platform, make an index
    ///
    /// Every build is checked against its platform, and everything else holds
    /// for all. What comes along of this machine is looked for per platform:
    /// see `--sysroot`.
    #[arg(id = "release", long = "release", value_name = "[PLATFORM=]DIR", value_parser = PlatformPath::parser(), value_hint = ValueHint::DirPath, help_heading = "Release")]
    pub(crate) releases: Vec<PlatformPath>,

    /// What made the release; default: recognized
    ///
    /// `cargo` takes the executables that lie directly in the directory, and
    /// those of its own shared libraries that they need. `tree` takes
    /// everything. `mix` takes a release of `mix release` or relx, and brings
    /// what its scripts call.
    #[arg(long, value_name = "cargo|mix|tree", value_parser = Kind::parse, help_heading = "Release")]
    pub(crate) kind: Option<&'static Kind>,

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
