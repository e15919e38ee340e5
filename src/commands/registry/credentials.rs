//! Who the user is to a registry: the command line, the environment, and the
//! files and helpers of Docker and Podman.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use fs_err as fs;
use imgbuild_oci::reference::Reference;
use imgbuild_registry::credentials::{AuthFile, Found, parse_helper_answer};
use imgbuild_registry::secret::{Credential, Secret};

use super::environment;
use crate::args::RegistryFlags;
use crate::failure::{Failure, Result};
use crate::ui::Ui;

const USER: &str = "IMGBUILD_REGISTRY_USER";
const PASSWORD: &str = "IMGBUILD_REGISTRY_PASSWORD";

/// A whole file of credentials in a variable, as GitLab's runner has it.
const AUTH_CONFIG: &str = "DOCKER_AUTH_CONFIG";

/// The longest password that is read.
const MAX_PASSWORD_BYTES: u64 = 64 << 10;

/// Returns the credential of the command line, or of our own variables.
pub(super) fn given(flags: &RegistryFlags) -> Result<Option<Credential>> {
    let user = flags
        .username
        .clone()
        .or_else(|| environment::text(&[USER]));
    let password = match flags.password_stdin {
        true => Some(read_password()?),
        false => environment::text(&[PASSWORD]).map(Secret::new),
    };
    match (user, password) {
        (Some(user), Some(password)) => Ok(Some(Credential::Basic { user, password })),
        (None, None) => Ok(None),
        (Some(user), None) => {
            let failure = Failure::command_line(format!("there is no password for `{user}`"));
            Err(failure.hint(format!(
                "give it with `--password-stdin`, or in `{PASSWORD}`"
            )))
        }
        (None, Some(_)) => {
            let failure = Failure::command_line("there is a password for the registry and no user");
            Err(failure.hint(format!("name the user with `--username`, or in `{USER}`")))
        }
    }
}

/// Whether the command line or our own variables say anything.
pub(super) fn are_given(flags: &RegistryFlags) -> bool {
    let is_set = environment::text(&[USER, PASSWORD]).is_some();
    flags.username.is_some() || flags.password_stdin || is_set
}

fn read_password() -> Result<Secret> {
    let mut text = String::new();
    let read = io::stdin()
        .take(MAX_PASSWORD_BYTES)
        .read_to_string(&mut text);
    read.map_err(Failure::build)?;
    let password = text.trim_end_matches(['\n', '\r']);
    match password.is_empty() {
        true => Err(Failure::command_line(
            "`--password-stdin` found no password on standard input",
        )),
        false => Ok(Secret::new(password)),
    }
}

/// Finds what Docker or Podman would send to the registry of a reference.
pub(super) fn find(of: &Reference, ui: &Ui) -> Result<Option<Credential>> {
    if let Some(text) = environment::text(&[AUTH_CONFIG])
        && let Some(found) = look_into(text.as_bytes(), &format!("${AUTH_CONFIG}"), of, ui)
    {
        return resolve(found);
    }
    for path in environment::auth_files() {
        let Some(bytes) = read(&path, ui) else {
            continue;
        };
        if let Some(found) = look_into(&bytes, &path.display().to_string(), of, ui)
            && let Some(credential) = resolve(found)?
        {
            ui.detail(&format!(
                "credentials for `{}` from `{}`",
                of.registry(),
                path.display()
            ));
            return Ok(Some(credential));
        }
    }
    Ok(None)
}

/// Reads a file of credentials. One that cannot be read is no reason to fail:
/// a public image needs none.
fn read(path: &Path, ui: &Ui) -> Option<Vec<u8>> {
    match fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let failure = Failure::build(error);
            ui.warning(&format!("cannot use `{}`: {failure}", path.display()));
            None
        }
    }
}

fn look_into(bytes: &[u8], name: &str, of: &Reference, ui: &Ui) -> Option<Found> {
    match AuthFile::parse(bytes) {
        Ok(file) => file.find(of.registry(), of.repository()),
        Err(error) => {
            ui.warning(&format!("cannot use the credentials in `{name}`: {error}"));
            None
        }
    }
}

fn resolve(found: Found) -> Result<Option<Credential>> {
    match found {
        Found::Credential(credential) => Ok(Some(credential)),
        Found::Helper { name, key } => ask_helper(&name, &key),
    }
}

/// Runs `docker-credential-NAME get` ([its protocol]). What it prints is never
/// shown.
///
/// [its protocol]: https://github.com/docker/docker-credential-helpers#development
fn ask_helper(name: &str, key: &str) -> Result<Option<Credential>> {
    let program = format!("docker-credential-{name}");
    let is_name = name
        .chars()
        .all(|character| character.is_ascii_alphanumeric() || "-_.".contains(character));
    if !is_name {
        return Err(Failure::build(format!(
            "`{program}` is no name of a credential helper"
        )));
    }
    let hint = "log in again with `docker login`, or give `--username` and `--password-stdin`";
    let failed = |reason: &str| {
        let message = format!("the credential helper `{program}` {reason}");
        Failure::build(message).hint(hint)
    };
    let child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => failed("is not installed"),
        _ => failed("cannot be started"),
    })?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read says so by what it answers.
        drop(input.write_all(key.as_bytes()));
    }
    let output = child.wait_with_output().map_err(Failure::build)?;
    if output.status.success() {
        let credential = parse_helper_answer(&output.stdout);
        return credential
            .map(Some)
            .map_err(|error| failed(&format!("is of no use: {error}")));
    }
    // The words that all helpers say when there is nothing.
    let said = String::from_utf8_lossy(&output.stdout);
    match said.contains("credentials not found") {
        true => Ok(None),
        false => Err(failed(&format!("failed for `{key}` ({})", output.status))),
    }
}
