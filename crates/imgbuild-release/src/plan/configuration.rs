//! The image configuration that a plan writes.

use std::collections::{BTreeMap, BTreeSet};

use imgbuild_oci::image::{Configuration, Healthcheck};
use imgbuild_oci::path::ImagePath;

use super::PlanOptions;
use crate::certificates::BUNDLE_PATH;
use crate::command::{decide, default_path, resolve};
use crate::contents::Contents;
use crate::error::Result;
use crate::release::{Kind, Release};
use crate::skeleton::User;

/// The fields of the configuration that the user gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigurationOptions {
    /// Environment variables, in order; a later one of a name wins.
    pub env: Vec<(String, String)>,
    /// What `LANG` says, unless `env` says it.
    pub locale: Option<String>,
    /// `PORT/PROTOCOL`.
    pub exposed_ports: BTreeSet<String>,
    /// The directory that the command starts in.
    pub working_dir: Option<ImagePath>,
    /// Directories that become volumes.
    pub volumes: BTreeSet<ImagePath>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The signal that stops a container.
    pub stop_signal: Option<String>,
    /// The health check; its command as an entrypoint's.
    pub healthcheck: Option<Healthcheck>,
}

/// What of the image's contents the environment depends on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Environment {
    /// The image has a CA bundle.
    pub(crate) has_bundle: bool,
    /// The bundle is not only Mozilla's, and Node.js is in the image.
    pub(crate) tells_node: bool,
}

pub(crate) fn configuration(
    release: &Release,
    contents: &Contents<'_>,
    options: &PlanOptions,
    user: User,
    environment: Environment,
) -> Result<Configuration> {
    let given = &options.configuration;
    let command = decide(release, contents, &options.command, &given.env)?;
    let working_dir = match (&given.working_dir, release.kind()) {
        (Some(path), _) => Some(path.clone()),
        (None, Kind::Mix | Kind::Tree) => Some(release.prefix().clone()),
        (None, Kind::Cargo) => None,
    };
    Ok(Configuration {
        cmd: command.cmd,
        entrypoint: command.entrypoint,
        env: env(release, contents, given, environment, &command.environment)?,
        exposed_ports: given.exposed_ports.clone(),
        healthcheck: given
            .healthcheck
            .as_ref()
            .map(|check| healthcheck(release, contents, check))
            .transpose()?,
        labels: given.labels.clone(),
        stop_signal: given.stop_signal.clone(),
        user: Some(format!("{}:{}", user.uid, user.gid)),
        volumes: given.volumes.iter().map(ImagePath::to_string).collect(),
        working_dir: working_dir.map(|path| path.to_string()),
    })
}

fn env(
    release: &Release,
    contents: &Contents<'_>,
    given: &ConfigurationOptions,
    environment: Environment,
    of_command: &[(String, String)],
) -> Result<Vec<String>> {
    let mut variables = vec![("PATH".to_owned(), default_path(release, contents)?)];
    if let Some(mix) = release.mix() {
        let writable = match mix.is_relx {
            true => "RELX_OUT_FILE_PATH",
            false => "RELEASE_TMP",
        };
        let locale = given.locale.as_deref().unwrap_or("C.UTF-8");
        variables.push(("LANG".to_owned(), locale.to_owned()));
        variables.push((writable.to_owned(), "/tmp".to_owned()));
    } else if let Some(locale) = &given.locale {
        variables.push(("LANG".to_owned(), locale.clone()));
    }
    if environment.has_bundle {
        variables.push(("SSL_CERT_FILE".to_owned(), BUNDLE_PATH.to_owned()));
    }
    if environment.tells_node {
        variables.push(("NODE_EXTRA_CA_CERTS".to_owned(), BUNDLE_PATH.to_owned()));
    }
    for (name, value) in of_command.iter().chain(&given.env) {
        match variables.iter_mut().find(|(known, _)| known == name) {
            Some(variable) => variable.1.clone_from(value),
            None => variables.push((name.clone(), value.clone())),
        }
    }
    let texts = variables
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"));
    Ok(texts.collect())
}

/// Resolves the program of a `CMD` check.
fn healthcheck(
    release: &Release,
    contents: &Contents<'_>,
    check: &Healthcheck,
) -> Result<Healthcheck> {
    let mut check = check.clone();
    if let [kind, command @ ..] = check.test.as_slice()
        && kind == "CMD"
    {
        let command = resolve(release.prefix(), contents, command)?;
        check.test = [kind.clone()].into_iter().chain(command).collect();
    }
    Ok(check)
}
