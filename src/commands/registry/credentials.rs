//! Who the user is to a registry: the command line, the environment, and the
//! files and helpers of Docker and Podman.

use std::io::{self, IsTerminal, Read};
use std::path::Path;

use fs_err as fs;
use imgbuild_oci::reference::Reference;
use imgbuild_registry::credentials::{AuthFile, Found};
use imgbuild_registry::secret::{Credential, CredentialOrigin, Secret};

use super::helper::Helpers;
use super::{Access, environment};
use crate::args::RegistryFlags;
use crate::failure::{Failure, FailureKind, Result};
use crate::ui::Ui;

const USER: &str = "IMGBUILD_REGISTRY_USER";
const PASSWORD: &str = "IMGBUILD_REGISTRY_PASSWORD";

/// The registry that both are for, whatever else is spoken to.
const REGISTRY: &str = "IMGBUILD_REGISTRY";

/// A whole file of credentials in a variable, as GitLab's runner has it.
const AUTH_CONFIG: &str = "DOCKER_AUTH_CONFIG";

/// The longest password that is read.
const MAX_PASSWORD_BYTES: u64 = 64 << 10;

/// A credential, and where it comes from.
pub(super) type Known = (Credential, CredentialOrigin);

/// Returns the credential of the command line, or of our own variables.
pub(super) fn given(flags: &RegistryFlags) -> Result<Option<Known>> {
    let user = flags
        .username
        .clone()
        .or_else(|| environment::text(&[USER]));
    let password = match flags.password_stdin {
        true => Some(read_password()?),
        false => environment::secret(PASSWORD),
    };
    match (user, password) {
        (Some(user), Some(password)) => {
            let from = match flags.password_stdin {
                true => "`--password-stdin`".to_owned(),
                false => format!("`{PASSWORD}`"),
            };
            let credential = Credential::Basic { user, password };
            Ok(Some((credential, CredentialOrigin::Named(from))))
        }
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

/// Returns the registry that the environment says they are for.
///
/// # Errors
///
/// When it is no name of one.
pub(super) fn registry() -> Result<Option<String>> {
    let Some(name) = environment::text(&[REGISTRY]) else {
        return Ok(None);
    };
    // A name without a dot would be that of a repository.
    let reference = format!("{name}/x").parse::<Reference>().ok();
    match reference.filter(|reference| reference.repository() == "x") {
        Some(reference) => Ok(Some(reference.registry().to_owned())),
        None => {
            let failure =
                Failure::command_line(format!("`{REGISTRY}` is `{name}`, which is no registry"));
            Err(failure.hint("it takes the name alone, as `ghcr.io` or `registry.example:5000`"))
        }
    }
}

fn read_password() -> Result<Secret> {
    if io::stdin().is_terminal() {
        let failure = Failure::command_line(
            "`--password-stdin` does not read from a terminal, which would show the password",
        );
        return Err(failure.hint(
            "send it through a pipe, as `pass show registry | imgbuild …`, or log in with `docker login`",
        ));
    }
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

/// Finds what Docker or Podman would send to the registry of a reference: the
/// first that knows it wins.
pub(super) fn find(of: &Reference, access: Access, helpers: &Helpers<'_>) -> Result<Option<Known>> {
    let ui = helpers.ui;
    let variable = environment::text(&[AUTH_CONFIG]).map(String::into_bytes);
    let variable = variable.map(|bytes| (format!("${AUTH_CONFIG}"), bytes));
    let named = environment::named_auth_file();
    if let Some(path) = named.as_ref().filter(|path| !path.exists()) {
        let (name, path) = (environment::AUTH_FILE, path.display());
        ui.warning(&format!(
            "`{name}` names `{path}` for credentials, which does not exist"
        ));
    }
    let files = named.into_iter().chain(environment::auth_files());
    let files = files.filter_map(|path| Some((path.display().to_string(), read(&path, ui)?)));
    for (name, bytes) in variable.into_iter().chain(files) {
        let Some(found) = look_into(&bytes, &name, of, ui) else {
            continue;
        };
        if let Some(known) = resolve(found, &name, access, helpers)? {
            ui.detail(&format!(
                "credentials for `{}` from `{name}`",
                of.registry()
            ));
            return Ok(Some(known));
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
            let what = format!("cannot use `{}`", path.display());
            ui.warning_of(&what, &Failure::build(error));
            None
        }
    }
}

fn look_into(bytes: &[u8], name: &str, of: &Reference, ui: &Ui) -> Option<Found> {
    match AuthFile::parse(bytes) {
        Ok(file) => match file.find(of.registry(), of.repository()) {
            Some(Found::Malformed { key }) => {
                ui.warning(&format!(
                    "cannot use the credentials in `{name}`: the `auth` of `{key}` is not the base64 of a user, a colon and a password"
                ));
                None
            }
            found => found,
        },
        Err(error) => {
            ui.warning(&format!("cannot use the credentials in `{name}`: {error}"));
            None
        }
    }
}

/// `from` is where it was found. A helper that fails is no reason not to read:
/// a public image needs none.
fn resolve(
    found: Found,
    from: &str,
    access: Access,
    helpers: &Helpers<'_>,
) -> Result<Option<Known>> {
    let (credential, from) = match found {
        Found::Credential(credential) => (Some(credential), format!("`{from}`")),
        Found::Helper { name, key } => {
            let credential = match helpers.ask(&name, &key) {
                Err(failure)
                    if access == Access::Pull && failure.kind != FailureKind::Interrupted =>
                {
                    let what = format!("asking for `{key}` without credentials");
                    helpers.ui.warning_of(&what, &failure);
                    None
                }
                answer => answer.map_err(|failure| {
                    failure.hint(format!("`{from}` names this helper for `{key}`"))
                })?,
            };
            let from = format!("`docker-credential-{name}`, which `{from}` names");
            (credential, from)
        }
        Found::Malformed { .. } => return Ok(None),
    };
    Ok(credential.map(|credential| (credential, CredentialOrigin::Named(from))))
}
