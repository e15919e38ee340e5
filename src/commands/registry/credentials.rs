//! Credentials: from the command line, the environment, and the files and helpers
//! of Docker and Podman.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;

use imgbuild_oci::bounded;
use imgbuild_oci::input;
use imgbuild_oci::reference::Reference;
use imgbuild_registry::credentials::{AuthEntry, AuthFile};
use imgbuild_registry::secret::{Credential, CredentialOrigin, Secret};

use super::environment::{self, PASSWORD, USER};
use super::helper::Helpers;
use crate::args::RegistryFlags;
use crate::failure::{Failure, FailureKind, Result};
use crate::ui::Ui;

/// The only registry that both are sent to.
const REGISTRY: &str = "IMGBUILD_REGISTRY";

/// The variable with the content of a file of credentials, of GitLab's runner.
const AUTH_CONFIG: &str = "DOCKER_AUTH_CONFIG";

/// Podman's variable for a file of credentials.
const AUTH_FILE: &str = "REGISTRY_AUTH_FILE";

/// The maximum size of a password, in bytes.
const MAX_PASSWORD_BYTES: u64 = 64 << 10;

/// The largest file of credentials.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// A credential and its origin.
pub(super) type FoundCredential = (Credential, CredentialOrigin);

/// Returns the credential of the command line or of our own variables.
pub(super) fn explicit(flags: &RegistryFlags, ui: &Ui) -> Result<Option<FoundCredential>> {
    let user = flags
        .username
        .clone()
        .or_else(|| environment::text(&[USER]));
    if user.as_ref().is_some_and(|user| user.contains(':')) {
        let failure = Failure::command_line("the user of a registry cannot contain a colon");
        return Err(failure.hint(format!(
            "if a password follows it, give that with `--password-stdin`, or in `{PASSWORD}`"
        )));
    }
    let password = if flags.password_stdin {
        Some(read_password(ui)?)
    } else {
        environment::secret(PASSWORD)
    };
    match (user, password) {
        (Some(user), Some(password)) => {
            let from = if flags.password_stdin {
                "--password-stdin"
            } else {
                PASSWORD
            };
            let origin = CredentialOrigin::Named(format!("`{from}`"));
            let credential = Credential::Basic { user, password };
            Ok(Some((credential, origin)))
        }
        (None, None) => Ok(None),
        (Some(user), None) => {
            let failure = Failure::command_line(format!("there is no password for `{user}`"));
            Err(failure.hint(format!(
                "set it with `--password-stdin`, or in `{PASSWORD}`"
            )))
        }
        (None, Some(_)) => {
            let failure =
                Failure::command_line("there is a password for the registry, but no user");
            Err(failure.hint(format!("set the user with `--username`, or in `{USER}`")))
        }
    }
}

/// Returns whether the command line or our own variables have a user or a
/// password.
pub(super) fn has_explicit(flags: &RegistryFlags) -> bool {
    let is_set = environment::text(&[USER, PASSWORD]).is_some();
    flags.username.is_some() || flags.password_stdin || is_set
}

/// Returns the registry in the environment that user and password are for.
///
/// # Errors
///
/// If it is not a valid name.
pub(super) fn explicit_registry() -> Result<Option<String>> {
    let Some(name) = environment::text(&[REGISTRY]) else {
        return Ok(None);
    };
    // The parser takes a name without a dot for a part of the repository.
    let reference = format!("{name}/x").parse::<Reference>().ok();
    let is_alone = |reference: &Reference| reference.repository() == "x";
    if let Some(reference) = reference.filter(is_alone) {
        return Ok(Some(reference.registry().to_owned()));
    }
    let host = name.rsplit_once('@').map(|(_, host)| host);
    let name = host.map_or(name.clone(), |host| format!("USER:PASSWORD@{host}"));
    let failure =
        Failure::command_line(format!("`{REGISTRY}` is `{name}`, which is not a registry"));
    Err(failure.hint(format!(
        "set it to the name alone, for example `ghcr.io` or `registry.example:5000`; `{USER}` and `{PASSWORD}` have user and password"
    )))
}

fn read_password(ui: &Ui) -> Result<Secret> {
    if io::stdin().is_terminal() {
        let failure = Failure::command_line(
            "`--password-stdin` does not read from a terminal, which would show the password",
        );
        return Err(failure.hint(
            "use a pipe, for example `pass show registry | imgbuild …`, or log in with `docker login`",
        ));
    }
    let what = Path::new("/dev/stdin");
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let stdin = fs_err::File::from_parts(stdin.map_err(Failure::build)?.into(), what);
    let read = ui.while_waiting(|monitor| {
        let password = "the password on standard input";
        input::read_stream(stdin, password, MAX_PASSWORD_BYTES, monitor)
    });
    let text = read.and_then(|bytes| bounded::to_text(what, bytes));
    let text = text.map_err(|error| Failure::of_reader(error, Failure::build))?;
    let password = text.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        return Err(Failure::command_line(
            "`--password-stdin` found no password on standard input",
        ));
    }
    Ok(Secret::new(password))
}

/// Finds the credential that Docker or Podman would use for the registry of a
/// reference: the first file that has one wins.
pub(super) fn find(of: &Reference, helpers: &Helpers<'_>) -> Result<Option<FoundCredential>> {
    let ui = helpers.ui;
    let variable = environment::text(&[AUTH_CONFIG]).map(String::into_bytes);
    let variable = variable.map(|bytes| (format!("${AUTH_CONFIG}"), bytes));
    let named = environment::path(AUTH_FILE);
    if let Some(path) = named.as_ref().filter(|path| !path.exists()) {
        let path = path.display();
        ui.warning(&format!(
            "`{AUTH_FILE}` names `{path}` for credentials, which does not exist"
        ));
    }
    let files = named.into_iter().chain(environment::auth_files());
    let files = files.filter_map(|path| {
        let read = read(&path, ui).transpose()?;
        Some(read.map(|bytes| (path.display().to_string(), bytes)))
    });
    for named in variable.map(Ok).into_iter().chain(files) {
        let (name, bytes) = named?;
        let file = match AuthFile::parse(&bytes) {
            Ok(file) => file,
            Err(error) => {
                ui.warning(&format!("cannot use the credentials in `{name}`: {error}"));
                continue;
            }
        };
        for entry in file.find(of.registry(), of.repository()) {
            if let Some(known) = credential_of(entry, &name, helpers)? {
                ui.detail(&format!(
                    "credentials for `{}` from `{name}`",
                    of.registry()
                ));
                return Ok(Some(known));
            }
        }
    }
    Ok(None)
}

/// Reads a file of credentials. A file that cannot be read is only a warning:
/// public images need no credential.
fn read(path: &Path, ui: &Ui) -> Result<Option<Vec<u8>>> {
    match ui.while_waiting(|monitor| input::read_input(path, MAX_FILE_BYTES, monitor)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let failure = Failure::of_reader(error, Failure::build);
            if failure.kind == FailureKind::Interrupted {
                return Err(failure);
            }
            ui.warning_of(&format!("cannot use `{}`", path.display()), &failure);
            Ok(None)
        }
    }
}

/// Returns the credential of an entry of the file `from`. A helper that fails is
/// only a warning, as for Docker: another entry may have the credential, and some
/// registries need none.
fn credential_of(
    found: AuthEntry,
    from: &str,
    helpers: &Helpers<'_>,
) -> Result<Option<FoundCredential>> {
    let (credential, from) = match found {
        AuthEntry::Credential(credential) => (Some(credential), format!("`{from}`")),
        AuthEntry::Helper { name, key } => {
            let credential = match helpers.get(&name, &key) {
                Err(failure) if failure.kind != FailureKind::Interrupted => {
                    let what = format!("cannot use the helper in `{from}` for `{key}`");
                    helpers.ui.warning_of(&what, &failure);
                    None
                }
                answer => answer?,
            };
            let from = format!("`docker-credential-{name}`, which `{from}` names");
            (credential, from)
        }
        AuthEntry::Malformed { key } => {
            helpers.ui.warning(&format!(
                "cannot use the credentials in `{from}`: the `auth` of `{key}` is not the base64 of a user, a colon and a password"
            ));
            return Ok(None);
        }
    };
    Ok(credential.map(|credential| (credential, CredentialOrigin::Named(from))))
}
