//! Registries for the commands: clients with their credentials, references on
//! the command line, and images on their way.

mod credentials;
mod environment;
mod hints;
mod monitor;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fs_err as fs;
use imgbuild_oci::destination::{Destination, ParseDestinationError};
use imgbuild_oci::parcel::Parcel;
use imgbuild_oci::reference::{ParseReferenceError, Reference};
use imgbuild_registry::client::{Client, ClientOptions, Traffic};
use imgbuild_registry::monitor::Monitor;
use imgbuild_registry::push::{PushOptions, Pushed, push};
use imgbuild_registry::repository::Repository;
use imgbuild_registry::secret::Credential;
use serde_json::json;

use crate::args::RegistryFlags;
use crate::failure::{Failure, Result};
use crate::ui::{Ui, bytes_text, count_text};

pub(crate) use hints::hints;

/// How many blobs are sent or received at a time.
const PARALLEL_BLOBS: usize = 4;

/// The transport of references, by its usual name.
const TRANSPORT: &str = "docker://";

/// What `--output` takes: a place on this machine, or a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    Here(Destination),
    Registry(Reference),
}

/// A text that names no output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ParseOutputError {
    Destination(ParseDestinationError),
    Reference(ParseReferenceError),
}

impl fmt::Display for ParseOutputError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Destination(error) => error.fmt(formatter),
            Self::Reference(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for ParseOutputError {}

impl FromStr for Output {
    type Err = ParseOutputError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        match text.strip_prefix(TRANSPORT) {
            Some(name) => name
                .parse()
                .map(Self::Registry)
                .map_err(ParseOutputError::Reference),
            None => text
                .parse()
                .map(Self::Here)
                .map_err(ParseOutputError::Destination),
        }
    }
}

/// Returns the reference that a text with the transport `docker://` names.
///
/// # Errors
///
/// When what follows the transport is no name.
pub(crate) fn reference(text: &str) -> Result<Option<Reference>> {
    let name = text.strip_prefix(TRANSPORT).map(str::parse).transpose();
    name.map_err(|error: ParseReferenceError| Failure::command_line(error.to_string()))
}

/// Returns a reference that something can be pushed to.
///
/// # Errors
///
/// When it has a digest, which what is pushed has of itself.
pub(crate) fn target(reference: &Reference) -> Result<Reference> {
    match reference.digest() {
        None => Ok(reference.clone()),
        Some(_) => {
            let failure = Failure::command_line(format!(
                "cannot push to `{TRANSPORT}{reference}`: an image cannot be told its digest"
            ));
            Err(failure.hint("leave out what follows `@`"))
        }
    }
}

/// The registries that a command speaks to.
pub(crate) struct Registries {
    flags: RegistryFlags,
    certificates: Option<Vec<u8>>,
    /// What the command line or the environment says, and the only registry
    /// that it is sent to.
    given: Option<(String, Credential)>,
    monitor: Arc<dyn Monitor>,
    ui: Ui,
    known: Vec<(String, Option<Credential>, Arc<Client>)>,
}

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
        let certificates = flags.ca_file.as_ref().map(fs::read).transpose();
        let given = credentials::given(flags)?;
        Ok(Self {
            flags: flags.clone(),
            certificates: certificates.map_err(Failure::build)?,
            given: primary.map(str::to_owned).zip(given),
            monitor: Arc::new(monitor::Watcher::new(ui.clone(), Arc::clone(interrupted))),
            ui: ui.clone(),
            known: Vec::new(),
        })
    }

    /// Returns the repository of a reference, its registry reached.
    pub(crate) fn repository(&mut self, of: &Reference, access: Access) -> Result<Repository> {
        let client = self.client(of)?;
        Ok(match access {
            Access::Pull => Repository::to_pull(client, of.repository()),
            Access::Push => Repository::to_push(client, of.repository()),
        })
    }

    fn client(&mut self, of: &Reference) -> Result<Arc<Client>> {
        let registry = of.registry();
        let credential = match &self.given {
            Some((primary, credential)) if primary == registry => Some(credential.clone()),
            _ => credentials::find(of, &self.ui)?,
        };
        let is_it = |(name, with, _): &&(String, Option<Credential>, Arc<Client>)| {
            name == registry && *with == credential
        };
        if let Some((_, _, client)) = self.known.iter().find(is_it) {
            return Ok(Arc::clone(client));
        }
        let proxies = environment::proxies();
        let options = ClientOptions {
            credential: credential.clone(),
            plain_http: self.flags.plain_http,
            certificates: self.certificates.clone(),
            https_proxy: proxies.https,
            http_proxy: proxies.http,
            user_agent: concat!("imgbuild/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..ClientOptions::default()
        };
        let client = Client::connect(registry, &options, &self.monitor);
        let client = Arc::new(client?);
        let entry = (registry.to_owned(), credential, Arc::clone(&client));
        self.known.push(entry);
        Ok(client)
    }

    /// Returns what was sent to all of them.
    pub(crate) fn traffic(&self) -> Traffic {
        let all = self.known.iter().map(|(_, _, client)| client.traffic());
        all.fold(Traffic::default(), |sum, one| Traffic {
            requests: sum.requests + one.requests,
            sent: sum.sent + one.sent,
        })
    }

    /// Sends a parcel to everything that `references` name, one repository
    /// after the other.
    pub(crate) fn push(&mut self, parcel: &Parcel, references: &[Reference]) -> Result<Vec<Push>> {
        let mut pushes = Vec::new();
        let mut sent_to: Vec<Reference> = Vec::new();
        for group in by_repository(references) {
            let first = &group[0];
            let repository = self.repository(first, Access::Push)?;
            let tags = group.iter().filter_map(Reference::tag).map(str::to_owned);
            let tags: Vec<String> = tags.collect();
            let is_near = |one: &&Reference| one.registry() == first.registry();
            let near = sent_to.iter().filter(is_near);
            let near: Vec<String> = near.map(|one| one.repository().to_owned()).collect();
            let options = PushOptions {
                tags: &tags,
                parallel: PARALLEL_BLOBS,
                mount_from: &near,
            };
            let pushed = push(&repository, parcel, options)?;
            sent_to.push(first.clone());
            pushes.push(Push {
                references: group,
                pushed,
            });
        }
        Ok(pushes)
    }
}

/// What was pushed to one repository.
#[derive(Debug)]
pub(crate) struct Push {
    references: Vec<Reference>,
    pushed: Pushed,
}

impl Push {
    /// Says what became of every name.
    pub(crate) fn report(&self, ui: &Ui) {
        let pushed = &self.pushed;
        for reference in &self.references {
            let tag = reference.tag().unwrap_or_default();
            match pushed.unchanged.iter().any(|one| one == tag) {
                true => ui.status(&format!("unchanged `{reference}`")),
                false => ui.status(&format!("pushed `{reference}`")),
            }
        }
        let sent = match pushed.uploaded {
            0 => "nothing sent".to_owned(),
            count => format!(
                "{} sent, {}",
                count_text(count, "blob"),
                bytes_text(pushed.uploaded_bytes)
            ),
        };
        ui.detail(&format!(
            "{sent}; {} mounted, {} there already",
            pushed.mounted, pushed.present
        ));
    }

    /// The same for programs, one object for each name.
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        let pushed = &self.pushed;
        let one = |reference: &Reference| {
            let tag = reference.tag().unwrap_or_default();
            json!({
                "reference": reference,
                "digest": pushed.digest,
                "unchanged": pushed.unchanged.iter().any(|one| one == tag),
                "uploaded": pushed.uploaded,
                "uploadedBytes": pushed.uploaded_bytes,
                "mounted": pushed.mounted,
                "present": pushed.present,
            })
        };
        self.references.iter().map(one).collect()
    }
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

/// Returns the one registry that a credential of the command line is for.
///
/// # Errors
///
/// When there is more than one, and such a credential.
pub(crate) fn primary<'a>(
    flags: &RegistryFlags,
    references: impl IntoIterator<Item = &'a Reference>,
) -> Result<Option<String>> {
    let mut registries: Vec<&str> = references.into_iter().map(Reference::registry).collect();
    registries.sort_unstable();
    registries.dedup();
    match registries[..] {
        [] => Ok(None),
        [one] => Ok(Some(one.to_owned())),
        _ if flags.username.is_some() => {
            let names = registries.join("`, `");
            let failure = Failure::command_line(format!(
                "`--username` is for one registry, and there are several: `{names}`"
            ));
            Err(failure.hint("log in to each with `docker login`, or run imgbuild for each"))
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
    fn outputs_are_places_or_references() {
        let output = "docker://ghcr.io/me/app:1".parse::<Output>().unwrap();
        assert_eq!(
            output,
            Output::Registry("ghcr.io/me/app:1".parse().unwrap())
        );
        assert!(matches!(
            "a.tar".parse::<Output>().unwrap(),
            Output::Here(_)
        ));
        assert!("docker://A".parse::<Output>().is_err());
        assert!("docker:a".parse::<Output>().is_err());
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
