//! Errors of the command line, with what to type instead.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory};

use crate::args::{Arguments, LOGIN};
use crate::failure::{Failure, similar_directories};
use crate::ui::Ui;

/// Commands and flags of other tools, and what to do here. These go before
/// similar names.
const FOREIGN: [(&[&str], &str); 32] = [
    (
        &["build", "bake", "package"],
        "a build has no command: `imgbuild --release DIR`",
    ),
    (
        &["push", "publish"],
        "a build is pushed with `--push`; `imgbuild copy SOURCE docker://REFERENCE` pushes an existing image",
    ),
    (
        &["pull", "save", "export"],
        "`imgbuild copy docker://REFERENCE oci:DIR`, or `FILE.tar`, pulls an image",
    ),
    (
        &["load", "import"],
        "a build is loaded with `--load`; an archive with `docker load`",
    ),
    (
        &["run", "start", "exec"],
        "imgbuild runs no containers: load the image with `--load`, then `docker run NAME`",
    ),
    (
        &["login", "logout"],
        "imgbuild uses the credentials of `docker login` or `podman login`, else `--username` and `--password-stdin`, or `IMGBUILD_REGISTRY_USER` and `IMGBUILD_REGISTRY_PASSWORD`",
    ),
    (
        &["inspect", "digest", "manifest", "config"],
        "`imgbuild copy --json docker://REFERENCE oci:DIR` fetches the image and prints its digest; `imgbuild check` inspects it",
    ),
    (
        &["tag", "retag"],
        "a build is named with `--tag`; `imgbuild copy` copies an existing image to another name",
    ),
    (
        &["ls", "list", "images", "ps", "rm", "rmi"],
        "imgbuild keeps no images: they are in files, registries and engines; `imgbuild cache info` shows its cache",
    ),
    (
        &["history", "layers", "diff"],
        "the layers of a build are in `--dry-run` and `--json`; `docker history NAME` shows those of a loaded image",
    ),
    (
        &["scan", "sbom", "sign"],
        "scanners and signers read an archive or `oci:DIR` of `--output`, or the image in the registry",
    ),
    (
        &["init", "new"],
        "write an `imgbuild.toml` with the flags of the build as keys, for example `release = \"target/release\"`",
    ),
    (&["version"], "`imgbuild --version` prints the version"),
    (
        &["prune", "clean"],
        "`imgbuild cache prune` and `imgbuild cache clear` remove entries of the cache",
    ),
    (
        &[
            "-f",
            "--file",
            "--dockerfile",
            "--squash",
            "--target",
            "--network",
            "--builder",
            "--pull",
            "--rm",
        ],
        "imgbuild reads no Dockerfile and runs no command of the image: it packages a finished build, for example `imgbuild --release target/release`",
    ),
    (
        &["--build-arg"],
        "a variable of the image is `--env NAME=VALUE`; what a build needs is set where the release is built",
    ),
    (
        &["-p", "--publish", "--port"],
        "`--expose PORT` names a port of the image; `docker run -p` publishes it",
    ),
    (
        &["--from", "--image", "--base-image"],
        "a base image is `--base docker://REFERENCE`",
    ),
    (
        &["--copy", "--add-file", "--contents"],
        "`--add SRC:DST` adds files and directories",
    ),
    (
        &["--name", "--repo", "--repository"],
        "the name of the image is `--tag NAME[:TAG]`",
    ),
    (
        &[
            "-r",
            "-d",
            "--dir",
            "--directory",
            "--context",
            "--path",
            "--src",
        ],
        "the directory of the release is `--release DIR`",
    ),
    (&["-l", "--labels"], "a label is `--label K=V`"),
    (
        &["--arch", "--os", "--platforms"],
        "`--platform OS/ARCH` names the platform; for several, give each release with its platform: `--release linux/amd64=DIR`",
    ),
    (
        &[
            "--tls-verify",
            "--insecure",
            "--src-tls-verify",
            "--dest-tls-verify",
            "--insecure-registry",
            "--insecure-policy",
            "-k",
        ],
        "for a registry with a private certificate authority use `--ca-file FILE`, for one without TLS `--plain-http`",
    ),
    (
        &["--authfile"],
        "set the environment variable `REGISTRY_AUTH_FILE` instead",
    ),
    (
        &["--creds", "--src-creds", "--dest-creds", "--password"],
        "`--username USER --password-stdin`, or `IMGBUILD_REGISTRY_USER` and `IMGBUILD_REGISTRY_PASSWORD`",
    ),
    (
        &["--cache-to"],
        "the cache is a directory, `--cache-dir DIR`; layers in a registry are found there without a flag, and elsewhere with `--cache-from`",
    ),
    (
        &["--secret", "--ssh"],
        "imgbuild runs no build that could need a secret; what the image needs is given when it starts, for example with `docker run -e`",
    ),
    (
        &["--progress", "--print", "--watch", "--debug", "--log-level"],
        "`--verbose` prints more, `--quiet` errors only, and `--dry-run` the plan",
    ),
    (
        &["--sbom", "--provenance", "--attest", "--sign"],
        "the packages of the image are recorded in it, for scanners; sign the pushed image by the digest that imgbuild prints",
    ),
    (
        &["--digestfile", "--metadata"],
        "`--digest-file FILE` writes the digest, `--metadata-file FILE` everything",
    ),
    (
        &["--format"],
        "the form of the output is the transport of `--output`, for example `oci:DIR` or `docker-archive:FILE`",
    ),
];

/// Flags whose values have blanks, which some people do not quote.
const PHRASES: [&str; 8] = [
    "--cmd",
    "--entrypoint",
    "--healthcheck",
    "-e",
    "--env",
    "--label",
    "--annotation",
    "--author",
];

/// An invalid command line or configuration file.
#[derive(Debug)]
pub(crate) enum UsageError {
    /// An error of clap, and hints for it.
    Clap(clap::Error, Vec<String>),
    /// An error of the file.
    File(Failure),
}

impl UsageError {
    /// Makes the error of an invalid command line.
    pub(crate) fn new(error: clap::Error, words: &[OsString]) -> Self {
        let hints = hints(&error, words);
        Self::Clap(error, hints)
    }

    pub(crate) fn report(self) -> ExitCode {
        let is_json = env::args_os().any(|word| word == "--json");
        let ui = Ui::new(false, 0, is_json);
        match self {
            Self::Clap(error, _) if !error.use_stderr() => error.exit(),
            Self::Clap(error, mut hints) => {
                for (_, value) in error.context() {
                    if let ContextValue::String(text) = value
                        && ui.secrets.add_userinfo(text)
                    {
                        hints.push(LOGIN.to_owned());
                    }
                }
                let failure = Failure {
                    hints,
                    ..Failure::command_line(message(&error))
                };
                if failure.hints.is_empty() {
                    // The whole text, with similar names and the usage.
                    ui.say(ranges(&error.render().ansi().to_string()).trim_end());
                    ui.fail_as_json(&failure);
                    return ExitCode::from(failure.exit_code());
                }
                ui.fail(&failure)
            }
            Self::File(failure) => ui.fail(&failure),
        }
    }
}

impl From<Failure> for UsageError {
    fn from(failure: Failure) -> Self {
        Self::File(failure)
    }
}

/// Returns the first sentence of an error of clap.
fn message(error: &clap::Error) -> String {
    if let Some(word) = subcommand(error) {
        return match error.kind() {
            ErrorKind::ArgumentConflict => format!("unexpected argument '{word}' found"),
            _ if word.contains('/') => format!("`{word}` is neither a command nor a directory"),
            _ => format!("unrecognized subcommand '{word}'"),
        };
    }
    let text = ranges(&error.render().to_string());
    let first = text.split("\n\n").next().unwrap_or_default();
    first.trim_start_matches("error: ").to_owned()
}

/// Returns a text of clap without Rust's form of ranges.
fn ranges(text: &str) -> String {
    let is_range = text.contains("..=");
    let text = text.replace("..=", " to ");
    if is_range {
        text.replace(" is not in ", " is not a number from ")
    } else {
        text
    }
}

/// Returns the word that clap took for a command.
fn subcommand(error: &clap::Error) -> Option<&str> {
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => Some(word),
        _ => None,
    }
}

/// Returns a command line with `--release=` before a directory that stands alone,
/// such as in `imgbuild target/release`, if that is the error.
pub(crate) fn with_release(words: &[OsString], error: &UsageError) -> Option<Vec<OsString>> {
    let UsageError::Clap(error, _) = error else {
        return None;
    };
    let word = subcommand(error)?;
    let mut places = (1..words.len()).filter(|place| words[*place] == word);
    let (place, None) = (places.next()?, places.next()) else {
        return None;
    };
    let is_release = Path::new(word).is_dir() && advice(word).is_none();
    let is_phrase = |word: &OsString| {
        let word = word.to_string_lossy();
        PHRASES.contains(&word.split('=').next().unwrap_or_default())
    };
    let is_part_of_phrase = words[place.saturating_sub(2)..place].iter().any(is_phrase);
    let names_release = |word: &OsString| word.to_string_lossy().starts_with("--release");
    let is_alone =
        is_of_build(words, place) && !is_part_of_phrase && !words.iter().any(names_release);
    (is_release && is_alone).then(|| {
        let mut words = words.to_vec();
        words[place] = format!("--release={word}").into();
        words
    })
}

/// Returns true if a word is neither behind a command nor behind `--`.
fn is_of_build(words: &[OsString], place: usize) -> bool {
    let command = Arguments::command();
    let before = words.get(1..place).unwrap_or_default();
    !before.iter().any(|word| {
        let mut names = command.get_subcommands().map(clap::Command::get_name);
        word == "--" || names.any(|name| word == name)
    })
}

fn hints(error: &clap::Error, words: &[OsString]) -> Vec<String> {
    let word = subcommand(error).or_else(|| match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) => Some(word),
        _ => None,
    });
    let Some(word) = word else {
        return Vec::new();
    };
    if let Some(advice) = advice(word) {
        let is_directory = Path::new(word).is_dir();
        let release = is_directory.then(|| format!("the directory is `--release {word}`"));
        return release.into_iter().chain([advice.to_owned()]).collect();
    }
    if word.starts_with('-') {
        return Vec::new();
    }
    let typed = Arguments::command().ignore_errors(true);
    let typed = typed.try_get_matches_from(words).unwrap_or_default();
    let cache = typed.subcommand_matches("cache");
    if cache.and_then(ArgMatches::subcommand_name) == Some("prune") {
        return vec![format!(
            "the blobs of a layout are pruned with `--layout {word}`"
        )];
    }
    let place = words.iter().position(|typed| typed == word);
    let place = place.unwrap_or_default();
    if words.iter().take(place).any(|word| word == "--") {
        return vec![
            "the command of the image is given with `--cmd`, once for each word".to_owned(),
        ];
    }
    if !is_of_build(words, place) {
        return Vec::new();
    }
    if Path::new(word).is_dir() {
        return vec![format!(
            "name the directory of a finished build with its flag: `--release {word}`"
        )];
    }
    if error.kind() == ErrorKind::ArgumentConflict {
        return vec!["a value with blanks is quoted, for example `--env 'GREETING=good day'`, and a flag that takes several values is repeated".to_owned()];
    }
    let similar = similar_directories(Path::new(word));
    if similar.is_empty() && word.contains('/') {
        return vec!["build the release first, and name its directory with `--release`".to_owned()];
    }
    let similar = similar.iter().map(|path| path.display());
    similar
        .map(|path| format!("did you mean `--release {path}`?"))
        .collect()
}

fn advice(word: &str) -> Option<&'static str> {
    let word = word.split('=').next().unwrap_or_default();
    let mut rows = FOREIGN.iter();
    let row = rows.find(|(words, _)| words.contains(&word));
    row.map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn foreign_words_are_not_those_of_this_program() {
        let mut command = Arguments::command();
        command.build();
        let mut known: BTreeSet<String> = BTreeSet::new();
        for flag in command.get_arguments() {
            known.extend(flag.get_long().map(|name| format!("--{name}")));
            known.extend(flag.get_short().map(|name| format!("-{name}")));
        }
        known.extend(
            command
                .get_subcommands()
                .map(|one| one.get_name().to_owned()),
        );
        for (words, _) in FOREIGN {
            for word in words {
                assert!(known.insert((*word).to_owned()), "{word}");
            }
        }
    }
}
