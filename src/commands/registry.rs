//! Registries for the commands: clients with their credentials, references on
//! the command line, and images on their way.

mod credentials;
mod environment;
mod helper;
mod hints;
mod monitor;
mod push;

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use fs_err as fs;
use imgbuild_oci::cache::CacheSource;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;
use imgbuild_registry::client::{Client, ClientOptions, Traffic};
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
pub(crate) use push::{Push, check_update};

/// The registry of names without one.
const DOCKER_HUB: &str = "docker.io";

/// How many blobs are sent or received at a time.
pub(crate) const PARALLEL_BLOBS: usize = 4;

/// The registries that a command speaks to. Copies of it speak through the
/// same clients.
#[derive(Clone)]
pub(crate) struct Registries {
    flags: RegistryFlags,
    certificates: Option<Vec<u8>>,
    /// What the command line or the environment says, and the only registry
    /// that it is sent to.
    given: Option<(String, credentials::FoundCredential)>,
    monitor: Arc<dyn ClientMonitor>,
    ui: Ui,
    known: Arc<Mutex<Vec<Known>>>,
    helper_cache: Arc<Mutex<helper::HelperCache>>,
}

/// A client by its registry, and by whom that takes it for.
type Known = (String, Option<Credential>, Arc<Client>);

/// Whether a repository is read or also written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
}

impl Registries {
    /// Prepares for registries; none is spoken to yet. `primary` is the one
    /// that a credential of the command line is for.
    pub(crate) fn new(
        flags: &RegistryFlags,
        primary: Option<&str>,
        ui: &Ui,
        interrupted: &Arc<AtomicBool>,
    ) -> Result<Self> {
        if let Some(path) = &flags.ca_file {
            must_exist(&format!("--ca-file {}", path.display()), path)?;
        }
        let certificates = flags.ca_file.as_deref().map(read_certificates);
        let given = match primary {
            Some(_) => credentials::explicit(flags)?,
            None => None,
        };
        Ok(Self {
            flags: flags.clone(),
            certificates: certificates.transpose()?,
            given: primary.map(str::to_owned).zip(given),
            monitor: Arc::new(monitor::UiMonitor::new(ui.clone(), Arc::clone(interrupted))),
            ui: ui.clone(),
            known: Arc::default(),
            helper_cache: Arc::default(),
        })
    }

    /// Returns the monitor of all clients.
    pub(crate) fn monitor(&self) -> Arc<dyn ClientMonitor> {
        Arc::clone(&self.monitor)
    }

    /// Returns the repository of a reference, its registry reached.
    pub(crate) fn repository(&mut self, of: &Reference, access: Access) -> Result<Repository> {
        let client = self.client(of, access)?;
        Ok(match access {
            Access::Pull => Repository::to_pull(client, of.repository()),
            Access::Push => Repository::to_push(client, of.repository()),
        })
    }

    fn client(&mut self, of: &Reference, access: Access) -> Result<Arc<Client>> {
        let registry = of.registry();
        let known = match &self.given {
            Some((primary, known)) if primary == registry => Some(known.clone()),
            _ => {
                // What is wrong with the files is said once for a registry.
                let is_known = self.is_reached(registry);
                let helpers = helper::Helpers {
                    cache: &self.helper_cache,
                    ui: &self.ui.quiet_if(is_known),
                    monitor: &*self.monitor,
                };
                credentials::find(of, access, &helpers)?
            }
        };
        let (credential, origin) = match (known, &self.given) {
            (Some((credential, origin)), _) => (Some(credential), origin),
            (None, Some((primary, _))) => (None, CredentialOrigin::OtherRegistry(primary.clone())),
            (None, None) => (None, CredentialOrigin::Unknown),
        };
        let is_it = |(name, with, _): &&Known| name == registry && *with == credential;
        let mut known = self.known.lock().expect("no holder of the lock panics");
        if let Some((_, _, client)) = known.iter().find(is_it) {
            return Ok(Arc::clone(client));
        }
        let proxies = environment::proxies();
        let options = ClientOptions {
            credential: credential.clone(),
            origin,
            secrets: self.ui.secrets.clone(),
            plain_http: self.flags.plain_http,
            certificates: self.certificates.clone(),
            https_proxy: proxies.https,
            http_proxy: proxies.http,
            user_agent: concat!("imgbuild/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..ClientOptions::default()
        };
        let client = Client::connect(registry, &options, &self.monitor);
        let client = Arc::new(client.map_err(|error| self.failed_to_connect(of, error))?);
        let entry = (registry.to_owned(), credential, Arc::clone(&client));
        known.push(entry);
        Ok(client)
    }

    fn is_reached(&self, registry: &str) -> bool {
        let known = self.known.lock().expect("no holder of the lock panics");
        known.iter().any(|(name, _, _)| name == registry)
    }

    /// A file that is of no use is named.
    fn failed_to_connect(&self, to: &Reference, error: Error) -> Failure {
        match (&error, &self.flags.ca_file) {
            (Error::Certificates { reason, .. }, Some(path)) => unusable_certificates(path, reason),
            _ => failed_at(to, error),
        }
    }

    /// Finds layers that need not be made: those of the targets, then those of
    /// the images that `--cache-from` names.
    pub(crate) fn layers(
        &mut self,
        targets: &[Reference],
        given: &[ImageSource],
        platform: &Platform,
        by_descriptor: bool,
    ) -> Result<Vec<CacheSource>> {
        let mut sources = self.layers_of_targets(targets, platform, by_descriptor)?;
        let given = given.iter().filter_map(ImageSource::reference);
        sources.extend(self.layers_of_caches(given, platform, by_descriptor));
        Ok(sources)
    }

    /// Finds the layers that the targets have now, so that they need neither
    /// be compressed nor sent. Of each repository the first tag that is there
    /// is taken.
    ///
    /// A registry that cannot be reached, or that does not let us in, fails
    /// here: before anything is built.
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
                match pull::layers(&repository, tag, platform) {
                    Ok(Some(layers)) => {
                        let name = reference.to_string();
                        sources.push(CacheSource::of_layers(name, layers, by_descriptor));
                        break;
                    }
                    Ok(None) => {}
                    // What is there will be replaced, whatever is wrong with it.
                    Err(error @ Error::Protocol { .. }) => self.warn_of(&error),
                    Err(error) if error.is_not_found() => self.warn_of(&error),
                    Err(error) => return Err(failed_at(reference, error)),
                }
            }
        }
        Ok(sources)
    }

    /// Finds the layers of images that `--cache-from` names; one that cannot
    /// be had is a warning.
    fn layers_of_caches<'a>(
        &mut self,
        references: impl Iterator<Item = &'a Reference>,
        platform: &Platform,
        by_descriptor: bool,
    ) -> Vec<CacheSource> {
        let mut sources = Vec::new();
        for reference in references {
            match self.layers_of_cache(reference, platform, by_descriptor) {
                Ok(source) => sources.extend(source),
                Err(failure) => {
                    let what = format!("cannot use `--cache-from {TRANSPORT}{reference}`");
                    self.ui.warning_of(&what, &failure);
                }
            }
        }
        sources
    }

    /// Finds the layers of one image. That there is none is nothing to warn
    /// of: so begins every repository, and every platform of an index.
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
            None => "is not there yet".to_owned(),
        };
        let name = format!("{TRANSPORT}{reference}");
        let text = format!("no layers from `--cache-from {name}`: it {lacks}");
        self.ui.status(&text);
        Ok(None)
    }

    fn warn_of(&self, error: &Error) {
        self.ui.warning(&error.to_string());
    }

    /// Returns what was sent to all of them.
    pub(crate) fn traffic(&self) -> Traffic {
        let known = self.known.lock().expect("no holder of the lock panics");
        let all = known.iter().map(|(_, _, client)| client.traffic());
        all.fold(Traffic::default(), |sum, one| Traffic {
            requests: sum.requests + one.requests,
            sent: sum.sent + one.sent,
        })
    }

    /// Asks every repository for a tag before one of them is changed, so that
    /// one that does not let us in is found in time.
    pub(crate) fn reach(&mut self, references: &[Reference]) -> Result<()> {
        for group in by_repository(references) {
            let repository = self.repository(&group[0], Access::Push)?;
            let tag = group[0].tag().unwrap_or_default();
            let answer = repository.manifest_digest(tag);
            answer.map_err(|error| failed_at(&group[0], error))?;
        }
        Ok(())
    }
}

/// Reads what `--ca-file` names.
fn read_certificates(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| unusable_certificates(path, &error.kind()))
}

fn unusable_certificates(path: &Path, reason: &dyn std::fmt::Display) -> Failure {
    let path = path.display();
    let failure = Failure::build(format!("cannot use `--ca-file {path}`: {reason}"));
    failure.hint("it takes a PEM file with the certificate of the registry's authority")
}

/// A failure at the registry of a reference. Not everybody knows which one a
/// name without any means.
pub(crate) fn failed_at(reference: &Reference, error: Error) -> Failure {
    let is_of_hub = reference.registry() == DOCKER_HUB && !matches!(error, Error::Interrupted);
    let failure = Failure::from(error);
    if !is_of_hub {
        return failure;
    }
    failure.hint(format!(
        "`{}` means `{reference}`: a name without a registry is one of Docker Hub; another registry stands first, as in `ghcr.io/me/app`",
        reference.familiar()
    ))
}

/// Returns the registries of a command, and the flag that signals set from now
/// on. A credential of the command line is for the `targets`, else for the
/// `sources`: access to read is granted more freely.
pub(crate) fn connect(
    flags: &RegistryFlags,
    targets: &[Reference],
    sources: Vec<&Reference>,
    ui: &Ui,
) -> Result<(Arc<AtomicBool>, Registries)> {
    let interrupted = interrupt::watch()?;
    let readers = if targets.is_empty() {
        sources
    } else {
        targets.iter().collect()
    };
    let primary = primary(flags, readers)?;
    let registries = Registries::new(flags, primary.as_deref(), ui, &interrupted)?;
    Ok((interrupted, registries))
}

/// Groups references by their repository, in the order of the first of each.
fn by_repository(references: &[Reference]) -> Vec<Vec<Reference>> {
    let mut groups: Vec<Vec<Reference>> = Vec::new();
    let place = |one: &Reference| (one.registry().to_owned(), one.repository().to_owned());
    for reference in references {
        let mut known = groups.iter_mut();
        match known.find(|group| place(&group[0]) == place(reference)) {
            Some(group) if group.contains(reference) => {}
            Some(group) => group.push(reference.clone()),
            None => groups.push(vec![reference.clone()]),
        }
    }
    groups
}

/// Returns the one registry that a credential of the command line is for: what
/// the environment says, or else that of the references.
///
/// # Errors
///
/// When there is more than one, and such a credential.
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
                "a user and password are for one registry, and there are several: `{names}`"
            ));
            Err(failure.hint(
                "name it in `IMGBUILD_REGISTRY`, and log in to the others with `docker login`",
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
