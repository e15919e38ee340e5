//! Environment variables for registries.

use std::collections::BTreeSet;
use std::env;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use fs_err as fs;
use imgbuild_registry::client::ProxyOptions;
use imgbuild_registry::secret::Secret;

pub(super) const USER: &str = "IMGBUILD_REGISTRY_USER";
pub(super) const PASSWORD: &str = "IMGBUILD_REGISTRY_PASSWORD";

/// Reads the proxies for https and http from the usual variables. `HTTP_PROXY` in
/// upper case is not read: CGI servers set it from a header of the request.
pub(super) fn proxies() -> [Option<ProxyOptions>; 2] {
    let exceptions = text(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
    let exceptions = exceptions.split(',').map(str::trim);
    let exceptions = exceptions.filter(|one| !one.is_empty());
    let exceptions: Vec<String> = exceptions.map(str::to_owned).collect();
    let proxy = |names: &[&str]| {
        let (variable, url) = named(names)?;
        Some(ProxyOptions {
            url: Secret::new(url),
            exceptions: exceptions.clone(),
            variable: variable.to_owned(),
        })
    };
    [
        proxy(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
        proxy(&["http_proxy", "all_proxy", "ALL_PROXY"]),
    ]
}

/// Returns the value of the first of these variables that is not empty.
pub(super) fn text(names: &[&str]) -> Option<String> {
    named(names).map(|(_, text)| text)
}

/// Returns a note on variables other than ours that seem to have a login.
pub(super) fn other_variables() -> String {
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let is_other = |name: &String| {
        let mut places = ["REGISTRY", "DOCKER", "IMGBUILD"].iter();
        let mut ends = ["_USER", "_USERNAME", "_PASSWORD", "_PASS", "_TOKEN"].iter();
        places.any(|part| name.contains(part))
            && ends.any(|end| name.ends_with(end))
            && name != USER
            && name != PASSWORD
    };
    let names: BTreeSet<String> = names
        .filter(is_other)
        .map(|name| format!("`{name}`"))
        .collect();
    match Vec::from_iter(names).join(", ") {
        names if names.is_empty() => names,
        names => format!(" ({names} is set, but not read)"),
    }
}

/// Returns the value of a variable with a secret: spaces may be a part of it,
/// line ends may not.
pub(super) fn secret(name: &str) -> Option<Secret> {
    let value = env::var(name).ok()?;
    let text = value.trim_end_matches(['\n', '\r']);
    (!text.trim().is_empty()).then(|| Secret::new(text))
}

/// Returns name and value of the first of these variables that is not empty.
fn named<'a>(names: &[&'a str]) -> Option<(&'a str, String)> {
    let values = names.iter().map(|name| (*name, env::var(name)));
    let texts = values.filter_map(|(name, text)| Some((name, text.ok()?.trim().to_owned())));
    let mut texts = texts.filter(|(_, text)| !text.is_empty());
    texts.next()
}

/// Returns the path in a variable that is not empty.
pub(super) fn path(name: &str) -> Option<PathBuf> {
    let value = env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// Returns the files of credentials of Docker and Podman, in the order in which
/// they are searched.
pub(super) fn auth_files() -> Vec<PathBuf> {
    let home = path("HOME");
    let docker = path("DOCKER_CONFIG").or_else(|| home.as_ref().map(|home| home.join(".docker")));
    let config = path("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
    let podman = |directory: PathBuf| directory.join("containers/auth.json");
    [
        docker.map(|directory| directory.join("config.json")),
        path("XDG_RUNTIME_DIR").map(podman).or_else(podman_of_user),
        config.map(podman),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Returns Podman's file of credentials without a session, for example for root
/// and in containers (containers-auth.json(5)).
fn podman_of_user() -> Option<PathBuf> {
    let user = fs::metadata("/proc/self").ok()?.uid();
    Some(PathBuf::from(format!("/run/containers/{user}/auth.json")))
}
