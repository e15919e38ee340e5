//! The command line: flags, arguments and the parsers of their values. Nothing
//! is read from the system here.

mod base;
mod build;
mod cache;
mod configuration;
mod inspect;
mod location;
mod output;
mod path;
mod registry;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use base::BaseArguments;
pub(crate) use build::{BootChoice, BuildArguments, Choice, CookieChoice, RuntimeChoice};
pub(crate) use cache::{CacheCommand, CacheFlags, Recognition};
pub(crate) use configuration::ConfigurationArguments;
pub(crate) use inspect::{CertificatesArguments, CheckArguments, ValidateArguments};
pub(crate) use location::{
    ImageSource, LOCAL_TRANSPORTS, LOGIN, Output, TRANSPORT, check_no_password, missing_hint,
    reference, source_name,
};
pub(crate) use output::{CheckChoice, ResultArguments};
pub(crate) use path::{PlatformPath, must_exist, octal_mode};
pub(crate) use registry::{CopyArguments, IndexCommand, IndexCreateArguments, RegistryFlags};

/// Make a container image from a finished build: no daemon, no root, no
/// Dockerfile
///
/// The image contains the release, the shared libraries and loaders that its
/// programs need, CA certificates on request, and nothing else. The same
/// release gives the same bytes on every machine.
///
/// Standard output is one line: `NAME@DIGEST` after `--push`, the image ID after
/// `--load`, else the digest of the manifest or index. Everything else goes to
/// standard error.
#[derive(Debug, Parser)]
#[command(
    name = "imgbuild",
    args_conflicts_with_subcommands = true,
    disable_version_flag = true,
    max_term_width = 100,
    before_long_help = EXAMPLES,
    after_long_help = EXIT_CODES,
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) build: BuildArguments,

    /// Print the version; with `-v` also the edition of the embedded CA
    /// certificates
    #[arg(short = 'V', long, help_heading = None)]
    pub(crate) version: bool,

    /// Read flags from this file; default: `imgbuild.toml` in the current
    /// directory, else in the nearest directory above it in the same git
    /// repository
    ///
    /// Every flag of a build is a key, for example `tag = ["app:1"]`. Flags on
    /// the command line take precedence.
    #[arg(long, value_name = "FILE", help_heading = None)]
    pub(crate) config: Option<PathBuf>,

    /// Do not read a configuration file
    #[arg(long, conflicts_with = "config", help_heading = None)]
    pub(crate) no_config: bool,

    /// Print more: paths that are left out, every source (can be repeated)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = None)]
    pub(crate) verbose: u8,

    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = None)]
    pub(crate) quiet: bool,
}

/// Moves flags of all commands behind the name of the command: many users type
/// `imgbuild -v copy …`, which `args_conflicts_with_subcommands` refuses.
pub(crate) fn normalize(mut words: Vec<OsString>) -> Vec<OsString> {
    let is_general = |word: &OsString| {
        let text = word.to_str().unwrap_or_default();
        let letters = text.strip_prefix('-').filter(|rest| !rest.is_empty());
        matches!(text, "--quiet" | "--verbose")
            || letters.is_some_and(|rest| rest.chars().all(|one| "qv".contains(one)))
    };
    let count = words
        .iter()
        .skip(1)
        .take_while(|word| is_general(word))
        .count();
    let command = Arguments::command();
    let names: Vec<&str> = command
        .get_subcommands()
        .map(clap::Command::get_name)
        .collect();
    let next = words.get(1 + count).and_then(|word| word.to_str());
    if next.is_some_and(|next| names.contains(&next)) {
        words[1..=1 + count].rotate_left(count);
    }
    words
}

const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    the image could not be built or written, `check` found that it cannot
       start, or `validate` found a violation
  2    the command line or the configuration file is invalid
  70   internal error, please report it
  130  interrupted (SIGINT, SIGTERM or SIGHUP)
";

const EXAMPLES: &str = "\
Examples:
  imgbuild --release target/release --cacert
  imgbuild --release _build/prod/rel/app -t ghcr.io/me/app:1.2.3 --push
  docker run --rm $(imgbuild -q --release target/release --load)
  imgbuild --release dist --cmd bin/server -o oci:layout -o app.tar";

/// The flags of `-h`, in the order of use.
const SHORT_HELP: [(&str, &str); 22] = [
    ("release", "The finished build"),
    ("bin", "An executable of it"),
    ("tag", "The name of the image"),
    ("output", "FILE.tar, oci:DIR, docker://NAME, `-`"),
    ("push", "Push to the registries of all names"),
    ("load", "Load into Docker or Podman"),
    ("cacert", "Add CA certificates; BUNDLE: your own"),
    ("base", "Build on an image, docker://NAME"),
    ("program", "Add a program of this machine"),
    ("package", "Add a package of this machine"),
    ("add", "Add a file or directory"),
    ("exclude", "Leave files out"),
    ("entrypoint", "The program that runs"),
    ("cmd", "A word of the command, repeated"),
    ("env", "A variable of containers"),
    ("expose", "A port of containers"),
    ("user", "The user; default: 65532:65532"),
    ("platform", "The platform; default: the release's"),
    ("check", "If the image cannot start"),
    ("dry_run", "Print the plan and write nothing"),
    ("json", "Print the result as one JSON object"),
    ("verbose", "Print more"),
];

const SHORT_TEMPLATE: &str = "\
{about}

{before-help}{usage-heading} imgbuild --release DIR [OPTIONS]
       imgbuild COMMAND

{options}

Commands: check, validate, copy, index, certificates, cache, completions, man
`imgbuild --help` describes all options and commands.
";

/// Returns the command line for the parser. If the short help is asked for, it is
/// the one with few flags.
pub(crate) fn command(words: &[OsString]) -> clap::Command {
    let command = Arguments::command();
    let is_of_command = command
        .get_subcommands()
        .any(|one| words.iter().any(|word| word == one.get_name()));
    if is_of_command || words.iter().all(|word| word != "-h") {
        return command;
    }
    let order = |id: &str| SHORT_HELP.iter().position(|(name, _)| *name == id);
    let command = command.before_help(EXAMPLES).help_template(SHORT_TEMPLATE);
    command.mut_args(|flag| match order(flag.get_id().as_str()) {
        Some(place) => {
            let has_value = flag.get_action().takes_values();
            let flag = flag.help(SHORT_HELP[place].1).help_heading(None);
            flag.hide_default_value(has_value).display_order(place)
        }
        None => flag.hide_short_help(true),
    })
}

/// The name of the CA certificates that are part of this program.
pub(crate) const EMBEDDED: &str = "embedded";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check whether an image can start, and warn about likely mistakes
    Check(CheckArguments),
    /// Recompute every size, digest and diff ID of a layout or archive
    Validate(ValidateArguments),
    /// Copy an image or index to other destinations without changing its
    /// digests
    ///
    /// The build cache is not used: content that a destination lacks is read
    /// from the source every time.
    Copy(CopyArguments),
    /// Create indexes (multi-platform images)
    Index {
        #[command(subcommand)]
        command: IndexCommand,
    },
    /// Show the CA certificates that `--cacert` adds
    Certificates(CertificatesArguments),
    /// Show, prune or clear the build cache
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page of imgbuild or of a command
    Man {
        /// The command, for example `index create`; default: imgbuild itself
        command: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn general_flags_may_stand_before_a_command() {
        for (typed, expected) in [
            ("imgbuild -v copy a b", "imgbuild copy -v a b"),
            (
                "imgbuild -q --verbose index create",
                "imgbuild index -q --verbose create",
            ),
            ("imgbuild -vv --release x", "imgbuild -vv --release x"),
            ("imgbuild copy -v a", "imgbuild copy -v a"),
            ("imgbuild - copy", "imgbuild - copy"),
            ("imgbuild -v", "imgbuild -v"),
            ("imgbuild", "imgbuild"),
        ] {
            let words = typed.split(' ').map(OsString::from).collect();
            let expected: Vec<OsString> = expected.split(' ').map(OsString::from).collect();
            assert_eq!(normalize(words), expected, "{typed}");
        }
    }
}
