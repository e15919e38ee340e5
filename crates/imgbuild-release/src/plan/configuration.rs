//! The image configuration that a plan writes.

use std::collections::{BTreeMap, BTreeSet};

use imgbuild_oci::image::{Configuration, Healthcheck};
use imgbuild_oci::path::ImagePath;

use super::PlanOptions;
use crate::base::Base;
use crate::certificates::BUNDLE_PATH;
use crate::command::{Command, default_path, resolve};
use crate::contents::{Contents, End};
use crate::error::Result;
use crate::release::{Kind, Release};

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
    /// What the image does not get of its base.
    pub cleared: Cleared,
}

/// What is taken away: of a base image, and of what imgbuild sets by itself.
/// What the user gives comes after that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Environment variables.
    pub env: BTreeSet<String>,
    /// Labels.
    pub labels: BTreeSet<String>,
    /// Fields.
    pub fields: BTreeSet<Field>,
}

/// A field of the configuration that a base image may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The ports.
    ExposedPorts,
    /// The health check.
    Healthcheck,
    /// The signal that stops a container.
    StopSignal,
    /// Whom a container runs as.
    User,
    /// The volumes.
    Volumes,
    /// The directory that the command starts in.
    WorkingDir,
}

/// What of the image's contents the environment depends on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Environment<'a> {
    /// The base image.
    pub(crate) base: Option<&'a Base>,
    /// The image has a CA bundle.
    pub(crate) has_bundle: bool,
    /// The bundle is not only Mozilla's, and Node.js is in the image.
    pub(crate) tells_node: bool,
}

/// Puts the configuration together: what the base image has, then what the
/// release needs, then what the user gives.
pub(crate) fn configuration(
    release: &Release,
    contents: &Contents<'_>,
    options: &PlanOptions,
    (command, user): (Command, Option<String>),
    environment: Environment<'_>,
) -> Result<Configuration> {
    let given = &options.configuration;
    let nothing = Configuration::default();
    let base = environment.base.map_or(&nothing, Base::configuration);
    let keeps = |field| !given.cleared.fields.contains(&field);
    let is_all_base = command.is_inherited && options.command.cmd.is_none();
    let is_base =
        environment.base.is_some() && (is_all_base || runs_base(release, contents, &command));
    let working_dir = match (&given.working_dir, release.kind()) {
        (Some(path), _) => Some(path.to_string()),
        (None, _) if !keeps(Field::WorkingDir) => None,
        (None, Kind::Mix | Kind::Tree) if !is_base || base.working_dir.is_none() => {
            Some(release.prefix().to_string())
        }
        (None, Kind::Mix | Kind::Tree | Kind::Cargo) => base.working_dir.clone(),
    };
    let check = given.healthcheck.as_ref();
    let check = check.map(|check| healthcheck(release, contents, check));
    let inherited = |set: &BTreeSet<String>, field| match keeps(field) {
        true => set.clone(),
        false => BTreeSet::new(),
    };
    let mut labels = base.labels.clone();
    labels.retain(|key, _| !given.cleared.labels.contains(key));
    labels.extend(given.labels.clone());
    let mut exposed_ports = inherited(&base.exposed_ports, Field::ExposedPorts);
    exposed_ports.extend(given.exposed_ports.iter().cloned());
    let mut volumes = inherited(&base.volumes, Field::Volumes);
    volumes.extend(given.volumes.iter().map(ImagePath::to_string));
    let base_check = base.healthcheck.clone();
    let base_signal = base.stop_signal.clone();
    let of_command = OfCommand {
        wanted: command.environment,
        decided: command.decided,
    };
    Ok(Configuration {
        cmd: command.cmd,
        entrypoint: command.entrypoint,
        env: env(release, contents, given, (environment, &of_command))?,
        exposed_ports,
        healthcheck: check
            .transpose()?
            .or(base_check.filter(|_| keeps(Field::Healthcheck))),
        labels,
        stop_signal: given
            .stop_signal
            .clone()
            .or(base_signal.filter(|_| keeps(Field::StopSignal))),
        user,
        volumes,
        working_dir,
        others: base.others.clone(),
    })
}

/// Returns whether containers run a program of the base image that nothing
/// of the release is told to: with it goes the base's working directory. One
/// that is given the name of a file of the release, as `python3 app.py` is,
/// looks for that where the release lies.
fn runs_base(release: &Release, contents: &Contents<'_>, command: &Command) -> bool {
    let words = [command.entrypoint.as_deref(), command.cmd.as_deref()];
    let words = words.map(Option::unwrap_or_default).concat();
    let Some((program, arguments)) = words.split_first() else {
        return false;
    };
    let is_own = |path: &ImagePath| match contents.resolve(path) {
        End::There(end) => contents.own(&end).is_some(),
        End::Nothing(_) | End::Loop => false,
    };
    let prefix = release.prefix();
    let path = ImagePath::parse(program).ok();
    let is_release = path.is_some_and(|path| is_own(&path) || path.starts_with(prefix));
    let names_own = |word: &String| {
        let path = prefix.join(word).ok();
        !word.is_empty() && !word.starts_with('/') && path.is_some_and(|path| is_own(&path))
    };
    !is_release && !arguments.iter().any(names_own)
}

fn env(
    release: &Release,
    contents: &Contents<'_>,
    given: &ConfigurationOptions,
    (environment, of_command): (Environment<'_>, &OfCommand),
) -> Result<Vec<String>> {
    let mut variables = Variables::of(environment.base);
    variables.set("PATH", default_path(release, contents)?);
    if let Some(mix) = release.mix() {
        let writable = match mix.is_relx {
            true => "RELX_OUT_FILE_PATH",
            false => "RELEASE_TMP",
        };
        let locale = given.locale.as_deref().unwrap_or("C.UTF-8");
        variables.set("LANG", locale.to_owned());
        variables.set(writable, "/tmp".to_owned());
    } else if let Some(locale) = &given.locale {
        variables.set("LANG", locale.clone());
    }
    if environment.has_bundle {
        variables.set("SSL_CERT_FILE", BUNDLE_PATH.to_owned());
    }
    if environment.tells_node {
        variables.set("NODE_EXTRA_CA_CERTS", BUNDLE_PATH.to_owned());
    }
    for (name, value) in &of_command.wanted {
        variables.set(name, value.clone());
    }
    let mut variables = variables.0;
    variables.retain(|(name, _)| !given.cleared.env.contains(name));
    let mut variables = Variables(variables);
    for (name, value) in &given.env {
        variables.set(name, value.clone());
    }
    let is_given = |name: &String| given.env.iter().any(|(given, _)| given == name);
    for (name, value) in of_command.decided.iter().filter(|(name, _)| is_given(name)) {
        variables.set(name, value.clone());
    }
    let variables = variables.0;
    let texts = variables
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"));
    Ok(texts.collect())
}

/// What the command wants in the environment.
struct OfCommand {
    /// Unless the user says something else.
    wanted: Vec<(String, String)>,
    /// Whatever the user says.
    decided: Vec<(String, String)>,
}

/// Variables in their order; one that is set again stays where it is.
struct Variables(Vec<(String, String)>);

impl Variables {
    fn of(base: Option<&Base>) -> Self {
        let env = base.map(|base| base.configuration().env.as_slice());
        let split = |text: &String| match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (text.clone(), String::new()),
        };
        let mut variables = Self(Vec::new());
        for (name, value) in env.unwrap_or_default().iter().map(split) {
            variables.set(&name, value);
        }
        variables
    }

    fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some(variable) => variable.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
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
