//! The image configuration that a plan writes.

use std::collections::{BTreeMap, BTreeSet};

use imgbuild_oci::image::{Configuration, Healthcheck};
use imgbuild_oci::path::ImagePath;

use super::Context;
use crate::base::Base;
use crate::certificates::BUNDLE_PATH;
use crate::command::default_path;
use crate::contents::{Contents, End};
use crate::error::Result;
use crate::release::Release;
use crate::release::command::{Command, Inherited, resolve};

/// The wishes of the user for the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigurationOptions {
    /// Environment variables, in order; a later one of a name wins.
    pub env: Vec<(String, String)>,
    /// The value of `LANG`, unless `env` sets it.
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
    /// The parts of the base that are not inherited.
    pub cleared: Cleared,
}

/// The parts of a base image and of the defaults that an image does not get.
/// The values of the user are set after that.
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
    /// The user of containers.
    User,
    /// The volumes.
    Volumes,
    /// The directory that the command starts in.
    WorkingDir,
}

/// Puts the configuration together: that of the base image, then what the
/// release needs, then what the user gives. `user` is the text of its user.
pub(super) fn configuration(context: &Context<'_>, user: Option<String>) -> Result<Configuration> {
    let release = &context.ingredients.release;
    let given = &context.options.configuration;
    let command = &context.ingredients.closure.command;
    let base = context.base().map(|base| base.configuration.clone());
    let mut config = base.unwrap_or_default();
    config.working_dir = working_dir(context, &config);
    given.cleared.apply(&mut config);

    config.cmd.clone_from(&command.cmd);
    config.entrypoint.clone_from(&command.entrypoint);
    config.env = env(context)?;
    config.exposed_ports.extend(given.exposed_ports.clone());
    config.labels.extend(given.labels.clone());
    config.user = user;
    let volumes = given.volumes.iter().map(ImagePath::to_string);
    config.volumes.extend(volumes);
    if let Some(path) = &given.working_dir {
        config.working_dir = Some(path.to_string());
    }
    if let Some(check) = &given.healthcheck {
        config.healthcheck = Some(healthcheck(release, &context.everything, check)?);
    }
    let words = [&config.entrypoint, &config.cmd].map(|words| words.clone().unwrap_or_default());
    let signal = release.behavior.stop_signal(&words.concat());
    let signal = signal.filter(|_| !given.cleared.fields.contains(&Field::StopSignal));
    let signal = given.stop_signal.clone().or(signal.map(str::to_owned));
    config.stop_signal = signal.or(config.stop_signal);
    Ok(config)
}

impl Cleared {
    /// Removes labels and fields; the user and the variables are decided elsewhere.
    fn apply(&self, config: &mut Configuration) {
        config.labels.retain(|key, _| !self.labels.contains(key));
        for field in &self.fields {
            match field {
                Field::ExposedPorts => config.exposed_ports.clear(),
                Field::Healthcheck => config.healthcheck = None,
                Field::StopSignal => config.stop_signal = None,
                Field::User => {}
                Field::Volumes => config.volumes.clear(),
                Field::WorkingDir => config.working_dir = None,
            }
        }
    }
}

/// Returns the working directory unless the user gives one: the release's own
/// directory, else that of the base image. A program of the base image keeps
/// its own.
fn working_dir(context: &Context<'_>, base: &Configuration) -> Option<String> {
    let release = &context.ingredients.release;
    let command = &context.ingredients.closure.command;
    let is_base = context.base().is_some()
        && (command.inherited == Inherited::Everything
            || runs_base(release, &context.everything, command));
    let mut words = [&command.entrypoint, &command.cmd].into_iter().flatten();
    let program = words.find_map(|words| words.first());
    // A relative path of the base starts where it does there.
    let is_relative = command.inherited != Inherited::Nothing
        && program.is_some_and(|path| path.contains('/') && !path.starts_with('/'));
    let is_of_base = is_base && (base.working_dir.is_some() || is_relative);
    if release.kind.has_own_directory && !is_of_base {
        Some(release.prefix.to_string())
    } else {
        base.working_dir.clone()
    }
}

/// Returns whether containers run a program of the base image without a file
/// of the release as an argument: it keeps the base's working directory.
/// `python3 app.py`, for example, needs the directory of the release.
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
    let prefix = &release.prefix;
    let path = ImagePath::parse(program).ok();
    let is_release = path.is_some_and(|path| is_own(&path) || path.starts_with(prefix));
    let names_own = |word: &String| {
        let path = prefix.join(word).ok();
        !word.is_empty() && !word.starts_with('/') && path.is_some_and(|path| is_own(&path))
    };
    !is_release && !arguments.iter().any(names_own)
}

fn env(context: &Context<'_>) -> Result<Vec<String>> {
    let given = &context.options.configuration;
    let ingredients = context.ingredients;
    let release = &context.ingredients.release;
    let command = &ingredients.closure.command;
    let mut variables = Variables::of(context.base());
    variables.set("PATH", default_path(release, &context.everything)?);
    let locale = given.locale.iter();
    let locale = locale.map(|locale| ("LANG".to_owned(), locale.clone()));
    for (name, value) in release.behavior.environment().into_iter().chain(locale) {
        variables.set(&name, value);
    }
    if ingredients.certificates.is_some() {
        if context.base().and_then(Base::certificate_file).is_none() {
            variables.set("SSL_CERT_FILE", BUNDLE_PATH.to_owned());
        }
        let has_node = context.has_program(b"node") || context.has_program(b"nodejs");
        if ingredients.has_own_certificates && has_node {
            variables.set("NODE_EXTRA_CA_CERTS", BUNDLE_PATH.to_owned());
        }
    }
    for (name, value) in &command.environment {
        variables.set(name, value.clone());
    }
    for name in &given.cleared.env {
        variables.remove(name);
    }
    for (name, value) in &given.env {
        variables.set(name, value.clone());
    }
    let given: BTreeSet<&String> = given.env.iter().map(|(name, _)| name).collect();
    let is_given = |name: &String| given.contains(name);
    for (name, value) in command.overrides.iter().filter(|(name, _)| is_given(name)) {
        variables.set(name, value.clone());
    }
    let texts = variables.list.into_iter();
    Ok(texts
        .filter_map(|(name, value)| Some(format!("{name}={}", value?)))
        .collect())
}

/// Variables in order; one that is set again keeps its position.
#[derive(Default)]
struct Variables {
    /// `None` for those that were removed.
    list: Vec<(String, Option<String>)>,
    positions: BTreeMap<String, usize>,
}

impl Variables {
    fn of(base: Option<&Base>) -> Self {
        let env = base.map(|base| base.configuration.env.as_slice());
        let mut variables = Self::default();
        // No program can read a variable without a name, and new versions of runc refuse it.
        // Docker leaves one without a value out, too.
        let named = env.unwrap_or_default().iter();
        let named = named.filter_map(|text| text.split_once('='));
        for (name, value) in named.filter(|(name, _)| !name.is_empty()) {
            variables.set(name, value.to_owned());
        }
        variables
    }

    fn set(&mut self, name: &str, value: String) {
        if let Some(position) = self.positions.get(name) {
            self.list[*position].1 = Some(value);
        } else {
            self.positions.insert(name.to_owned(), self.list.len());
            self.list.push((name.to_owned(), Some(value)));
        }
    }

    fn remove(&mut self, name: &str) {
        if let Some(position) = self.positions.remove(name) {
            self.list[position].1 = None;
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
        let command = resolve(&release.prefix, contents, command)?;
        check.test = [kind.clone()].into_iter().chain(command).collect();
    }
    Ok(check)
}
