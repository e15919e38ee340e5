//! Flags of a build: the release, further contents, and the image.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum, ValueHint};
use imgbuild_oci::compression::Compression;
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;
use imgbuild_release::kind::KINDS;
use imgbuild_release::release::Kind;
use imgbuild_release::xattr::XattrPolicy;

use super::EMBEDDED;
use super::base::BaseArguments;
use super::cache::CacheFlags;
use super::configuration::ConfigurationArguments;
use super::location::ImageSource;
use super::output::OutputArguments;
use super::path::{PlatformPath, WritablePath, image_path};
use super::registry::RegistryFlags;

#[derive(Debug, Clone, Args)]
pub(crate) struct BuildArguments {
    /// The finished build; repeat as PLATFORM=DIR for a multi-platform image
    ///
    /// Each release is checked against its platform; all other options apply to
    /// every release. Libraries of this machine are searched per platform: see
    /// `--sysroot`.
    #[arg(id = "release", long = "release", value_name = "[PLATFORM=]DIR", value_parser = PlatformPath::parser(), value_hint = ValueHint::DirPath, help_heading = "Release")]
    pub(crate) releases: Vec<PlatformPath>,

    /// The kind of the release; default: detected
    ///
    /// `cargo` takes the executables and shared libraries directly in the
    /// directory, and those of its other libraries that they need. `tree` takes everything. `mix`
    /// takes a release of `mix release` or relx, and includes the programs that
    /// its scripts call. `node` takes everything, and starts the file that
    /// `package.json` names. `next` takes the standalone server of a Next.js
    /// project with `public` and `.next/static`. `python` takes a project with
    /// its virtual environment and the interpreter. `java` takes everything, and
    /// starts the jar or the start script.
    #[arg(long, value_name = "cargo|java|mix|next|node|python|tree", value_parser = kind(), hide_possible_values = true, help_heading = "Release")]
    pub(crate) kind: Option<&'static Kind>,

    /// Include this executable of a Cargo release (can be repeated); default:
    /// all
    #[arg(long, value_name = "NAME", help_heading = "Release")]
    pub(crate) bin: Vec<String>,

    /// The directory of the release in the image; default: `/usr/local/bin` for
    /// `cargo`, `/app` for all other kinds
    #[arg(long, value_name = "PATH", value_parser = image_path, help_heading = "Release")]
    pub(crate) prefix: Option<ImagePath>,

    /// Leave out paths that match this pattern, in the syntax of `.gitignore`
    /// (can be repeated)
    ///
    /// If several `--exclude` and `--include` match a path, the last one on the
    /// command line decides. A path without a match is treated as the nearest
    /// directory above it.
    #[arg(long, value_name = "GLOB", help_heading = "Release")]
    pub(crate) exclude: Vec<String>,

    /// Include paths that match, although an earlier `--exclude` or the kind of
    /// the release leaves them out (can be repeated)
    #[arg(long, value_name = "GLOB", help_heading = "Release")]
    pub(crate) include: Vec<String>,

    /// Add a file or directory to the image (can be repeated)
    ///
    /// A file is written to DST, or into it if DST ends with a slash; the
    /// content of a directory is written into DST. MODE is octal and applies to
    /// every file; default: 0755 for executables, 0644 for other files.
    #[arg(long, value_name = "SRC:DST[:MODE]", value_hint = ValueHint::AnyPath, help_heading = "Release")]
    pub(crate) add: Vec<String>,

    /// Include set-user-ID and set-group-ID files of other users, owned by root
    #[arg(long, help_heading = "Release")]
    pub(crate) allow_set_id: bool,

    /// Make programs and scripts executable that are not, for example after a
    /// transport that loses modes
    ///
    /// ELF programs and files that begin with `#!` get the mode 0755; shared
    /// libraries and other files stay as they are.
    #[arg(long, help_heading = "Release")]
    pub(crate) fix_modes: bool,

    /// Keep or drop extended attributes; default: only file capabilities are
    /// kept
    ///
    /// File capabilities (see `setcap`) let a program do what its user may not.
    /// Those of the release and of `--add` are kept, and a warning counts the
    /// attributes that are dropped. `keep` keeps `user.*`, too; `drop` drops
    /// all, and programs lose their capabilities. ACLs and labels of this
    /// machine are never kept.
    #[arg(long, value_name = "keep|drop", value_parser = xattr_policy, help_heading = "Release")]
    pub(crate) xattrs: Option<XattrPolicy>,

    /// Include the cookie of a mix release, which is a secret
    ///
    /// With `keep`, the image starts without further configuration, and anyone
    /// with the image can read the cookie unless `RELEASE_COOKIE` is set at run
    /// time. With `remove`, containers start only with `RELEASE_COOKIE`.
    /// Default: `keep`; with `--boot direct`, which does not need the cookie,
    /// `remove`.
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "keep|remove",
        help_heading = "Release"
    )]
    pub(crate) release_cookie: Option<CookieChoice>,

    /// The program that starts a mix release: its `script`, or the virtual
    /// machine (`direct`)
    ///
    /// With `direct`, the image has no shell and no other program: what the
    /// start script would compute is computed now and becomes the entrypoint.
    /// `runtime.exs` still runs. Commands of the script, for example `rpc` and
    /// `remote`, port programs that a shell starts, and `os:cmd` do not work,
    /// and the node is not distributed.
    #[arg(long, value_enum, default_value_t = BootChoice::Script, hide_possible_values = true, value_name = "direct|script", help_heading = "Release")]
    pub(crate) boot: BootChoice,

    /// The name of the image (can be repeated); default: the name in
    /// `Cargo.toml`, `package.json` or `pyproject.toml`, else of the directory, with
    /// the tag `latest`
    #[arg(short, long, value_name = "NAME[:TAG]", help_heading = "Name and form")]
    pub(crate) tag: Vec<Reference>,

    /// The platform of the image; default: the platform of the release's
    /// programs
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", help_heading = "Name and form")]
    pub(crate) platform: Option<Platform>,

    /// The creation time: RFC 3339, Unix seconds or `now`; default:
    /// `SOURCE_DATE_EPOCH`, else the date of the commit that is checked out
    /// where the release is, else 1970-01-01T00:00:01Z
    ///
    /// Layers never depend on it.
    #[arg(long, value_name = "TIME", help_heading = "Name and form")]
    pub(crate) created: Option<String>,

    /// The modification time of every file: RFC 3339 or Unix seconds; default:
    /// 1970-01-01T00:00:01Z
    #[arg(long, value_name = "TIME", help_heading = "Name and form")]
    pub(crate) mtime: Option<String>,

    /// The compression of layers: `none`, `gzip` or `gzip:1` to `gzip:9`;
    /// default: `none` if every destination is a docker-archive or an engine
    /// and no layer of the base image is compressed, else `gzip`
    #[arg(long, value_name = "NAME[:LEVEL]", help_heading = "Name and form")]
    pub(crate) compression: Option<Compression>,

    /// The maximum number of layers, 1 to 125
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u8).range(1..=125), help_heading = "Name and form")]
    pub(crate) max_layers: u8,

    #[command(flatten)]
    pub(crate) output: OutputArguments,

    /// Add CA certificates (can be repeated)
    ///
    /// Without a value, or with `embedded`: Mozilla's root certificates, which
    /// are part of this program. `system`: the bundle of this host. Otherwise a
    /// PEM or DER file, or a directory of them. Certificates are checked,
    /// merged and written to `/etc/ssl/certs/ca-certificates.crt`, with links
    /// at the paths that other systems use, and `SSL_CERT_FILE` is set. Java
    /// virtual machines read a keystore with them. The certificates of a base image stay.
    #[arg(long, value_name = "BUNDLE", value_hint = ValueHint::AnyPath, num_args = 0..=1, default_missing_value = EMBEDDED, help_heading = "Contents")]
    pub(crate) cacert: Vec<String>,

    /// Leave out the CA certificates of the base image
    #[arg(long, requires = "cacert", help_heading = "Contents")]
    pub(crate) cacert_replace: bool,

    /// Include the loaders and shared libraries that the release needs
    ///
    /// With the C library of GNU come its other libraries, the locale C.UTF-8
    /// and, for programs that convert text, its converters; with ncurses come
    /// terminals. Where `/bin`, `/lib` and the like are links on this machine,
    /// they are links in the image. `minimal` includes only what files name.
    #[arg(long, value_enum, default_value_t = RuntimeChoice::Auto, hide_possible_values = true, value_name = "auto|minimal|none", help_heading = "Contents")]
    pub(crate) runtime: RuntimeChoice,

    /// Take loaders and libraries from this root instead of `/`; with a
    /// platform, for that release only (can be repeated)
    #[arg(id = "sysroot", long = "sysroot", value_name = "[PLATFORM=]DIR", value_parser = PlatformPath::parser(), value_hint = ValueHint::DirPath, help_heading = "Contents")]
    pub(crate) sysroots: Vec<PlatformPath>,

    /// Search this directory for libraries, too (can be repeated)
    #[arg(long, value_name = "DIR", help_heading = "Contents")]
    pub(crate) library_path: Vec<PathBuf>,

    /// Include a library that programs load at run time with `dlopen` (can be
    /// repeated)
    #[arg(long, value_name = "NAME", help_heading = "Contents")]
    pub(crate) add_library: Vec<String>,

    /// Include a program of this machine and its libraries (can be repeated)
    ///
    /// A name is searched in the directories of the image's `PATH`, a path is
    /// absolute; the program has the same path in the image. Interpreters of
    /// scripts that are the command, or belong to a mix release, are included
    /// automatically; see also `--programs`.
    #[arg(long, value_name = "NAME|PATH", help_heading = "Contents")]
    pub(crate) program: Vec<String>,

    /// Include what the packages of `--program` have beside programs, and the
    /// libraries of Ruby and PHP
    #[arg(long, value_enum, default_value_t = Choice::Auto, hide_possible_values = true, value_name = "auto|none", help_heading = "Contents")]
    pub(crate) program_files: Choice,

    /// Include a package of this machine, and all packages that it depends on
    /// (can be repeated)
    ///
    /// Takes the files that dpkg or apk lists, as they are on this machine,
    /// without documentation and translations. Maintainer scripts do not run;
    /// alternatives, links in `/etc` and caches are as on this machine.
    #[arg(long, value_name = "NAME", help_heading = "Contents")]
    pub(crate) package: Vec<String>,

    /// Include the documentation and the translations of packages
    #[arg(long, requires = "package", help_heading = "Contents")]
    pub(crate) package_docs: bool,

    /// Include the installed packages that packages recommend
    #[arg(long, requires = "package", help_heading = "Contents")]
    pub(crate) package_recommends: bool,

    /// Record the packages of this machine that files of the image came from, for
    /// vulnerability scanners
    ///
    /// For dpkg, in `/var/lib/dpkg/status.d`, as distroless images do; for apk, in
    /// its database. `/etc/os-release` names the distribution. A base image keeps
    /// its own records.
    #[arg(long, value_enum, default_value_t = Choice::Auto, hide_possible_values = true, value_name = "auto|none", help_heading = "Contents")]
    pub(crate) package_records: Choice,

    /// Include the programs of this machine that start scripts call
    ///
    /// Those are the words in the position of a command, in the shell script that
    /// is the command, in the scripts that it starts, and in the generated scripts
    /// of a mix release.
    #[arg(long, value_enum, default_value_t = Choice::Auto, hide_possible_values = true, value_name = "auto|none", help_heading = "Contents")]
    pub(crate) programs: Choice,

    /// Include the time zones of this machine
    #[arg(long, help_heading = "Contents")]
    pub(crate) tzdata: bool,

    /// Include the default font family of this machine, and `/etc/fonts`
    #[arg(long, help_heading = "Contents")]
    pub(crate) fonts: bool,

    /// Include a locale of this machine, for example `de_DE.UTF-8` (can be
    /// repeated)
    ///
    /// `LANG` is set to the first one, unless `--env` sets it.
    #[arg(long, value_name = "NAME", help_heading = "Contents")]
    pub(crate) locale: Vec<String>,

    /// Let the user of the image write to a path of the image, which becomes a
    /// directory if it does not exist (can be repeated)
    ///
    /// The user owns the path and all that the release and `--add` have below it.
    /// For a user of the group 0, the group may do what the owner may. Modes stay;
    /// MODE is that of the directory.
    #[arg(long, value_name = "PATH[:MODE]", value_parser = WritablePath::parse, help_heading = "Contents")]
    pub(crate) writable: Vec<WritablePath>,

    /// Add users, `/etc/nsswitch.conf`, `/tmp` and a home directory
    #[arg(long, value_enum, default_value_t = Choice::Auto, hide_possible_values = true, value_name = "auto|none", help_heading = "Contents")]
    pub(crate) skeleton: Choice,

    #[command(flatten)]
    pub(crate) base: BaseArguments,

    #[command(flatten)]
    pub(crate) configuration: ConfigurationArguments,

    #[command(flatten)]
    pub(crate) registry: RegistryFlags,

    #[command(flatten)]
    pub(crate) cache: CacheFlags,
}

/// Parses a kind; completions offer the possible values.
fn kind() -> impl TypedValueParser<Value = &'static Kind> {
    let names = KINDS.map(|kind| kind.name);
    PossibleValuesParser::new(names).try_map(|name| Kind::parse(&name))
}

impl BuildArguments {
    /// Returns the images that are read from registries: the base image, else
    /// those of `--cache-from`.
    pub(crate) fn sources(&self) -> Vec<&Reference> {
        if let Some(base) = self.base.reference() {
            return vec![base];
        }
        let caches = self.cache.cache_from.iter();
        caches.filter_map(ImageSource::reference).collect()
    }
}

/// An automatic part of the image, included or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// Include it where it is needed
    Auto,
    /// Leave it out
    None,
}

/// The extent of the runtime closure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuntimeChoice {
    /// The closure, and what its libraries need at run time
    Auto,
    /// Only the files that others name
    Minimal,
    /// Leave it out
    None,
}

/// The treatment of the cookie of a mix release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CookieChoice {
    /// Keep the cookie
    Keep,
    /// Leave the cookie out
    Remove,
}

fn xattr_policy(word: &str) -> Result<XattrPolicy, &'static str> {
    match word {
        "keep" => Ok(XattrPolicy::Keep),
        "drop" => Ok(XattrPolicy::Drop),
        _ => Err("it is `keep` or `drop`"),
    }
}

/// The program that starts a mix release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BootChoice {
    /// The virtual machine
    Direct,
    /// The script of the release
    Script,
}
