//! Registries for the commands: clients with their credentials, and layers to
//! reuse.

mod credentials;
mod environment;
mod helper;
mod hints;
mod monitor;
mod push;

use std::fmt::Display;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imgbuild_oci::cache::CacheSource;
use imgbuild_oci::input;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;
use imgbuild_registry::client::{Client, ClientOptions, Timeouts, Traffic, Trust};
use imgbuild_registry::error::Error;
use imgbuild_registry::monitor::ClientMonitor;
use imgbuild_registry::pull;
use imgbuild_registry::repository::Repository;
use imgbuild_registry::secret::{Credential, CredentialOrigin};

use crate::args::{ImageSource, RegistryFlags, TRANSPORT, must_exist};
use crate::failure::{Failure, Result};
use crate::interrupt;
use crate::ui::Ui;

pub(crate) use hints::hints;
pub(crate) use push::{Push, Sending, check_update};

/// The largest `--ca-file`.
const MAX_CA_BYTES: u64 = 16 << 20;

/// The registry of names without one.
const DOCKER_HUB: &str = "docker.io";

/// The number of blobs that are sent or received at a time.
pub(crate) const PARALLEL_BLOBS: usize = 4;

const MIN_TIMEOUT: Duration = Duration::from_millis(100);

const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// The registries of a command. Clones share the clients.
#[derive(Clone)]
pub(crate) struct Registries {
    /// The options of all clients.
    options: ClientOptions,
    /// The credential of the command line or the environment, and the only
    /// registry that it is sent to.
    explicit: Option<(String, credentials::FoundCredential)>,
    /// The origin of no credential, if nothing else explains it.
    unknown: CredentialOrigin,
    monitor: Arc<dyn ClientMonitor>,
    ui: Ui,
    clients: Arc<Mutex<Vec<ConnectedClient>>>,
    helper_cache: Arc<Mutex<helper::HelperCache>>,
}

/// A client with its credential.
struct ConnectedClient {
    credential: Option<Credential>,
    client: Arc<Client>,
}

/// The access to a repository: to read, or also to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
}

impl Registries {
    /// Prepares for registries without a connection. `primary` is the registry of
    /// the credential on the command line.
    pub(crate) fn new(flags: &RegistryFlags, primary: Option<&str>, ui: &Ui) -> Result<Self> {
        let [https_proxy, http_proxy] = environment::proxies();
        let options = ClientOptions {
            secrets: ui.secrets.clone(),
            plain_http: flags.plain_http,
            https_proxy,
            http_proxy,
            timeouts: timeouts(flags)?,
            user_agent: concat!("imgbuild/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..match &flags.ca_file {
                Some(path) => ClientOptions::with_trust(trust(path, ui)?),
                None => ClientOptions::default(),
            }
        };
        let explicit = match primary {
            Some(_) => credentials::explicit(flags, ui)?,
            None => None,
        };
        Ok(Self {
            options,
            explicit: primary.map(str::to_owned).zip(explicit),
            unknown: if primary.is_none() && credentials::has_explicit(flags) {
                CredentialOrigin::NoRegistry
            } else {
                CredentialOrigin::Unknown
            },
            monitor: Arc::new(ui.clone()),
            ui: ui.clone(),
            clients: Arc::default(),
            helper_cache: Arc::default(),
        })
    }

    /// Returns the monitor of all clients.
    pub(crate) fn monitor(&self) -> Arc<dyn ClientMonitor> {
        Arc::clone(&self.monitor)
    }

    /// Connects to the registry of a reference, and returns the repository.
    pub(crate) fn repository(&mut self, of: &Reference, access: Access) -> Result<Repository> {
        let client = self.client(of)?;
        Ok(match access {
            Access::Pull => Repository::to_pull(client, of.repository()),
            Access::Push => Repository::to_push(client, of.repository()),
        })
    }

    fn client(&mut self, of: &Reference) -> Result<Arc<Client>> {
        let registry = of.registry();
        let found = match &self.explicit {
            Some((primary, explicit)) if primary == registry => Some(explicit.clone()),
            _ => {
                // Warnings about files are printed once for each registry.
                let clients = self.clients.lock().expect("no holder of the lock panics");
                let is_connected = clients.iter().any(|one| one.client.registry() == registry);
                drop(clients);
                let helpers = helper::Helpers {
                    cache: &self.helper_cache,
                    ui: &self.ui.quiet_if(is_connected),
                    monitor: &*self.monitor,
                };
                credentials::find(of, &helpers)?
            }
        };
        let (credential, origin) = match (found, &self.explicit) {
            (Some((credential, origin)), _) => (Some(credential), self.instead(origin, registry)),
            (None, Some((primary, _))) => (None, CredentialOrigin::OtherRegistry(primary.clone())),
            (None, None) => (None, self.unknown.clone()),
        };

        let mut clients = self.clients.lock().expect("no holder of the lock panics");
        let is_equal = |one: &&ConnectedClient| {
            one.client.registry() == registry && one.credential == credential
        };
        if let Some(connected) = clients.iter().find(is_equal) {
            return Ok(Arc::clone(&connected.client));
        }
        let options = ClientOptions {
            credential: credential.clone(),
            origin,
            ..self.options.clone()
        };
        let client = Client::connect(registry, &options, &self.monitor);
        let client = Arc::new(client.map_err(|error| failed_at(of, error))?);
        clients.push(ConnectedClient {
            credential,
            client: Arc::clone(&client),
        });
        Ok(client)
    }

    /// Adds to the origin of a credential why that of the command is not used.
    fn instead(&self, origin: CredentialOrigin, registry: &str) -> CredentialOrigin {
        let only = match (&self.explicit, &self.unknown) {
            (Some((primary, _)), _) if primary != registry => format!("`{primary}`"),
            (None, CredentialOrigin::NoRegistry) => {
                "a push target, or to the registry in `IMGBUILD_REGISTRY`, which is not set"
                    .to_owned()
            }
            _ => return origin,
        };
        match origin {
            CredentialOrigin::Named(from) => CredentialOrigin::Named(format!(
                "{from}, since the user and password of this command are sent only to {only}"
            )),
            origin => origin,
        }
    }

    /// Finds layers to reuse: those of the targets, then those of the images of
    /// `--cache-from`, whose failures are warnings.
    pub(crate) fn layers(
        &mut self,
        targets: &[Reference],
        given: &[ImageSource],
        platform: &Platform,
        by_descriptor: bool,
    ) -> Result<Vec<CacheSource>> {
        let mut sources = self.layers_of_targets(targets, platform, by_descriptor)?;
        for reference in given.iter().filter_map(ImageSource::reference) {
            match self.layers_of_cache(reference, platform, by_descriptor) {
                Ok(source) => sources.extend(source),
                Err(failure) => {
                    let what = format!("cannot use `--cache-from {TRANSPORT}{reference}`");
                    self.ui.warning_of(&what, &failure);
                }
            }
        }
        Ok(sources)
    }

    /// Finds the layers of the targets, which are then neither compressed nor sent.
    /// Uses the first tag of each repository that exists.
    ///
    /// An unreachable registry or a missing login is an error here, before anything
    /// is built.
    fn layers_of_targets(
        &mut self,
        targets: &[Reference],
        platform: &Platform,
        by_descriptor: bool,
    ) -> Result<Vec<CacheSource>> {
        let mut sources = Vec::new();
        for group in by_repository(targets) {
            let repository = self.repository(&group[0], Access::Push)?;
            for reference in &group {
                let tag = reference.tag().unwrap_or_default();
                let read = || pull::layers(&repository, tag, platform);
                match repository.client().if_readable(read).map(Option::flatten) {
                    Ok(Some(layers)) => {
                        let name = reference.to_string();
                        sources.push(CacheSource::of_layers(name, layers, by_descriptor));
                        break;
                    }
                    Ok(None) => {}
                    // A malformed image will be replaced.
                    Err(error)
                        if error.is_not_found() || matches!(error, Error::Protocol { .. }) =>
                    {
                        self.ui.warning(&error.to_string());
                    }
                    Err(error) => return Err(failed_at(reference, error)),
                }
            }
            let checked = repository.check_upload();
            checked.map_err(|error| failed_at(&group[0], error))?;
        }
        Ok(sources)
    }

    /// Finds the layers of one image. A missing image is not a warning, since each
    /// repository, and each platform of an index, starts without one.
    fn layers_of_cache(
        &mut self,
        reference: &Reference,
        platform: &Platform,
        by_descriptor: bool,
    ) -> Result<Option<CacheSource>> {
        let repository = self.repository(reference, Access::Pull)?;
        let digest = reference.digest().map(ToString::to_string);
        let wanted = digest.as_deref().or(reference.tag()).unwrap_or_default();
        if let Some(layers) = pull::layers(&repository, wanted, platform)? {
            let name = reference.to_string();
            return Ok(Some(CacheSource::of_layers(name, layers, by_descriptor)));
        }
        let lacks = match repository.manifest_digest(wanted)? {
            Some(_) => format!("has no image for {platform} yet"),
            None => "does not exist yet".to_owned(),
        };
        self.ui.status(&format!(
            "no layers from `--cache-from {TRANSPORT}{reference}`: it {lacks}"
        ));
        Ok(None)
    }

    /// Returns the requests and bytes of all clients.
    pub(crate) fn traffic(&self) -> Traffic {
        let clients = self.clients.lock().expect("no holder of the lock panics");
        let all = clients.iter().map(|one| one.client.traffic());
        all.fold(Traffic::default(), |sum, one| Traffic {
            requests: sum.requests + one.requests,
            sent: sum.sent + one.sent,
        })
    }

    /// Checks a tag of each repository, so that a missing login is an error before
    /// one of them is changed.
    pub(crate) fn reach(&mut self, references: &[Reference]) -> Result<()> {
        for group in by_repository(references) {
            let repository = self.repository(&group[0], Access::Push)?;
            let tag = group[0].tag().unwrap_or_default();
            let find = || repository.manifest_digest(tag);
            let found = repository.client().if_readable(find);
            let reached = found.and_then(|_| repository.check_upload());
            reached.map_err(|error| failed_at(&group[0], error))?;
        }
        Ok(())
    }
}

pub(crate) fn timeouts(flags: &RegistryFlags) -> Result<Timeouts> {
    match flags.timeout {
        None => Ok(Timeouts::default()),
        Some(time) if (MIN_TIMEOUT..=MAX_TIMEOUT).contains(&time) => Ok(Timeouts::within(*time)),
        Some(time) => {
            let reason = "it must be at least 100ms and at most 1day";
            Err(Failure::of_flag("--timeout", &time.to_string(), reason))
        }
    }
}

/// Reads `--ca-file`.
fn trust(path: &Path, ui: &Ui) -> Result<Trust> {
    must_exist(&format!("--ca-file {}", path.display()), path)?;
    let unusable = |reason: &dyn Display| {
        let path = path.display();
        let failure = Failure::build(format!("cannot use `--ca-file {path}`: {reason}"));
        failure.hint("it takes a PEM file with the certificate of the registry's authority")
    };
    let pem = ui.while_waiting(|monitor| input::read_input(path, MAX_CA_BYTES, monitor));
    let pem = pem.map_err(|error| Failure::of_reader(error, |error| unusable(&error)))?;
    Trust::with_certificates(&pem).map_err(|error| unusable(&error))
}

/// Returns the failure at the registry of a reference, with a hint on Docker Hub,
/// which names without a registry refer to.
pub(crate) fn failed_at(reference: &Reference, error: Error) -> Failure {
    let is_of_hub = reference.registry() == DOCKER_HUB && !matches!(error, Error::Interrupted);
    let failure = Failure::from(error);
    if !is_of_hub {
        return failure;
    }
    failure.hint(format!(
        "`{}` means `{reference}`: names without a registry refer to Docker Hub; for another registry write, for example, `ghcr.io/me/app`",
        reference.familiar()
    ))
}

/// Returns the registries of a command, which signals interrupt from now on. A
/// credential of the command line is for the `targets`, else for the
/// `sources`: access to read is granted more freely. One of the environment is
/// not for `sources`: it may be set for the push of another command.
pub(crate) fn connect(
    flags: &RegistryFlags,
    targets: &[Reference],
    sources: Vec<&Reference>,
    ui: &Ui,
) -> Result<Registries> {
    let readers = if !targets.is_empty() {
        targets.iter().collect()
    } else if flags.username.is_some() || flags.password_stdin {
        sources
    } else {
        Vec::new()
    };
    let primary = primary(flags, readers)?;
    // Until the first wait or here, a signal ends the program at once.
    interrupt::watch(&ui.interrupted)?;
    Registries::new(flags, primary.as_deref(), ui)
}

/// Groups references by their repository, in the order of the first of each.
fn by_repository(references: &[Reference]) -> Vec<Vec<Reference>> {
    let mut groups: Vec<Vec<Reference>> = Vec::new();
    for reference in references {
        let is_same = |group: &&mut Vec<Reference>| {
            group[0].registry() == reference.registry()
                && group[0].repository() == reference.repository()
        };
        match groups.iter_mut().find(is_same) {
            Some(group) if group.contains(reference) => {}
            Some(group) => group.push(reference.clone()),
            None => groups.push(vec![reference.clone()]),
        }
    }
    groups
}

/// Returns the only registry that a credential of the command line is sent to: the
/// one in the environment, or that of the references.
///
/// # Errors
///
/// If there is such a credential, and the references have several registries.
fn primary<'a>(
    flags: &RegistryFlags,
    references: impl IntoIterator<Item = &'a Reference>,
) -> Result<Option<String>> {
    if let Some(registry) = credentials::explicit_registry()? {
        return Ok(Some(registry));
    }
    let mut registries: Vec<&str> = references.into_iter().map(Reference::registry).collect();
    registries.sort_unstable();
    registries.dedup();
    match registries[..] {
        [] => Ok(None),
        [one] => Ok(Some(one.to_owned())),
        _ if credentials::has_explicit(flags) => {
            let names = registries.join("`, `");
            let failure = Failure::command_line(format!(
                "the user and password are for one registry, but there are several: `{names}`"
            ));
            Err(failure.hint(
                "set `IMGBUILD_REGISTRY` to its name, and log in to the other ones with `docker login`",
            ))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(texts: &[&str]) -> Vec<Reference> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn tags_of_one_repository_are_pushed_together() {
        let all = references(&["r.io/a:1", "r.io/b:1", "r.io/a:2", "r.io/a:1"]);
        let groups = by_repository(&all);
        assert_eq!(
            groups,
            [
                references(&["r.io/a:1", "r.io/a:2"]),
                references(&["r.io/b:1"])
            ]
        );
    }

    #[test]
    fn a_given_credential_is_for_one_registry() {
        let flags = RegistryFlags {
            username: Some("me".to_owned()),
            ..RegistryFlags::default()
        };
        let one = references(&["r.io/a", "r.io/b"]);
        assert_eq!(primary(&flags, &one).unwrap().as_deref(), Some("r.io"));
        assert!(primary(&flags, &references(&["r.io/a", "s.io/a"])).is_err());
    }
}
