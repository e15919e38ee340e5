//! Files of credentials of Docker and Podman.
//!
//! The caller reads the files and runs the programs that they name.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::secret::{Credential, Secret, decode_base64};

/// Docker's key for the credentials of Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The user in the output of a helper that marks an identity token.
const TOKEN_USER: &str = "<token>";

/// A `config.json` of Docker, or an `auth.json` of Podman.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthFile {
    auths: BTreeMap<String, RawAuthEntry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "lowercase", default)]
struct RawAuthEntry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// The entry of a file for a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthEntry {
    /// A credential.
    Credential(Credential),
    /// A helper program that has the credential.
    Helper {
        /// The name after `docker-credential-`.
        name: String,
        /// The key to ask the helper for.
        key: String,
    },
    /// An entry that is not a credential.
    Malformed {
        /// The key of the entry.
        key: String,
    },
}

/// An error of the output of a helper, which is not shown: it may contain a
/// secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its output is not a JSON object with `Username` and `Secret`")]
pub struct HelperOutputError;

/// An error of a file, whose content is not shown: it may contain a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed at line {line}, column {column}")]
pub struct AuthFileError {
    line: usize,
    column: usize,
}

impl AuthFile {
    /// Parses a file.
    ///
    /// # Errors
    ///
    /// If it is malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, AuthFileError> {
        serde_json::from_slice(bytes).map_err(|error| AuthFileError {
            line: error.line(),
            column: error.column(),
        })
    }

    /// Finds the entry for a repository of a registry.
    ///
    /// The key with the longest path wins, as for Podman: `ghcr.io/me/app`, then
    /// `ghcr.io/me`, then `ghcr.io`. A helper of the registry wins over the
    /// entries of the file, and these win over the helper of all registries,
    /// beside which all entries are empty.
    #[must_use]
    pub fn find(&self, registry: &str, repository: &str) -> Option<AuthEntry> {
        let keys = keys(registry, repository);
        let server = match registry {
            "docker.io" => HUB_KEY,
            other => other,
        };
        let helper = keys.iter().find_map(|key| {
            let name = self.cred_helpers.get(key)?;
            // Helpers have credentials of whole registries only.
            let is_path = key.contains('/') && key != HUB_KEY;
            Some((name, if is_path { server } else { key }))
        });
        let ask = |name: &str, key: &str| AuthEntry::Helper {
            name: name.to_owned(),
            key: key.to_owned(),
        };
        if let Some((name, key)) = helper {
            return Some(ask(name, key));
        }
        let own = keys.iter().find_map(|key| self.own(key));
        own.or_else(|| Some(ask(self.creds_store.as_ref()?, server)))
    }

    /// Returns the credential in the entries of a key, which older programs wrote
    /// in several forms. Empty entries are skipped.
    fn own(&self, key: &str) -> Option<AuthEntry> {
        let wanted = plain_key(key);
        let entries = self
            .auths
            .iter()
            .filter(|(name, _)| plain_key(name) == wanted);
        let mut malformed = None;
        for (name, entry) in entries {
            match entry.credential() {
                Some(credential) => return Some(AuthEntry::Credential(credential)),
                None if entry.auth.as_ref().filter(has_text).is_some() => {
                    malformed = Some(name.clone());
                }
                None => {}
            }
        }
        malformed.map(|key| AuthEntry::Malformed { key })
    }
}

/// Returns the possible keys of a repository, the longest first.
fn keys(registry: &str, repository: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut path = repository;
    while !path.is_empty() {
        keys.push(format!("{registry}/{path}"));
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    keys.push(registry.to_owned());
    if registry == "docker.io" {
        let aliases = [HUB_KEY, "index.docker.io", "registry-1.docker.io"];
        keys.extend(aliases.map(str::to_owned));
    }
    keys
}

/// Removes what older programs added to the name of a registry.
fn plain_key(key: &str) -> &str {
    let key = key
        .strip_prefix("https://")
        .or(key.strip_prefix("http://"))
        .unwrap_or(key);
    let key = key.trim_end_matches('/');
    // Elsewhere, it is a part of a repository.
    match key.split_once('/') {
        Some((registry, "v1" | "v2")) => registry,
        _ => key,
    }
}

impl RawAuthEntry {
    fn credential(&self) -> Option<Credential> {
        if let Some(token) = self.identitytoken.as_ref().filter(has_text) {
            return Some(Credential::Identity(token.clone()));
        }
        if let Some(token) = self.registrytoken.as_ref().filter(has_text) {
            return Some(Credential::Token(token.clone()));
        }
        let pair = self
            .auth
            .as_ref()
            .filter(has_text)
            .and_then(user_and_password);
        // `auth` wins, as for Docker.
        pair.or_else(|| {
            let user = self.username.clone().filter(|user| !user.is_empty())?;
            let password = self.password.clone()?;
            Some(Credential::Basic { user, password })
        })
    }
}

fn has_text(secret: &&Secret) -> bool {
    !secret.reveal().is_empty()
}

/// Decodes the base64 of `USER:PASSWORD`.
fn user_and_password(auth: &Secret) -> Option<Credential> {
    let pair = String::from_utf8(decode_base64(auth.reveal())?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some(Credential::Basic {
        user: user.to_owned(),
        password: Secret::new(password.trim_end_matches('\0')),
    })
}

/// Parses the output of `docker-credential-NAME get`.
///
/// # Errors
///
/// If it is malformed.
pub fn parse_helper_output(bytes: &[u8]) -> Result<Credential, HelperOutputError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct HelperOutput {
        #[serde(default)]
        username: String,
        secret: Secret,
    }
    let output: HelperOutput = serde_json::from_slice(bytes).map_err(|_| HelperOutputError)?;
    if output.username == TOKEN_USER {
        return Ok(Credential::Identity(output.secret));
    }
    Ok(Credential::Basic {
        user: output.username,
        password: output.secret,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(user: &str, password: &str) -> AuthEntry {
        AuthEntry::Credential(Credential::Basic {
            user: user.to_owned(),
            password: Secret::new(password),
        })
    }

    fn find(file: &str, registry: &str, repository: &str) -> Option<AuthEntry> {
        AuthFile::parse(file.as_bytes())
            .unwrap()
            .find(registry, repository)
    }

    #[test]
    fn a_user_and_password_are_found() {
        let file = r#"{"auths":{"ghcr.io":{"auth":"bWU6c2VjOnJldA=="},"https://r.example/v1/":{"username":"a","password":"b"}}}"#;
        assert_eq!(
            find(file, "ghcr.io", "me/app"),
            Some(basic("me", "sec:ret"))
        );
        assert_eq!(find(file, "r.example", "x"), Some(basic("a", "b")));
        assert_eq!(find(file, "other", "x"), None);
    }

    #[test]
    fn the_longest_path_wins() {
        let file =
            r#"{"auths":{"r":{"auth":"YTph"},"r/me":{"auth":"Yjpi"},"r/me/app":{"auth":"Yzpj"}}}"#;
        for (repository, user) in [
            ("me/app", "c"),
            ("me/other", "b"),
            ("you", "a"),
            ("me/app/x", "c"),
            ("me2", "a"),
        ] {
            assert_eq!(
                find(file, "r", repository),
                Some(basic(user, user)),
                "{repository}"
            );
        }
    }

    #[test]
    fn a_malformed_entry_is_found() {
        // Not base64, and no user in it.
        for auth in ["!!", "bWU="] {
            let file = format!(r#"{{"auths":{{"r":{{"auth":"{auth}"}}}},"credsStore":"x"}}"#);
            let key = "r".to_owned();
            assert_eq!(find(&file, "r", "a"), Some(AuthEntry::Malformed { key }));
        }
    }

    #[test]
    fn empty_entries_are_skipped() {
        let entry = r#"{"auth":"YTph"}"#;
        for (file, registry) in [
            (format!(r#"{{"r":{entry},"https://r":{{}}}}"#), "r"),
            (format!(r#"{{"r":{{}},"https://r/v1/":{entry}}}"#), "r"),
            (format!(r#"{{"r/x":{{}},"r":{entry}}}"#), "r"),
            (
                format!(r#"{{"docker.io":{{}},"{HUB_KEY}":{entry}}}"#),
                "docker.io",
            ),
            (
                r#"{"r":{"username":"","password":"","auth":"YTph"}}"#.to_owned(),
                "r",
            ),
            (
                r#"{"r":{"username":"b","password":"b","auth":"YTph"}}"#.to_owned(),
                "r",
            ),
        ] {
            let file = format!(r#"{{"auths":{file}}}"#);
            assert_eq!(find(&file, registry, "x"), Some(basic("a", "a")), "{file}");
        }
    }

    #[test]
    fn a_version_is_removed_after_the_registry_only() {
        let file = r#"{"auths":{"r/team/v1":{"auth":"YTph"},"r/team":{"auth":"Yjpi"}}}"#;
        assert_eq!(find(file, "r", "team/v1"), Some(basic("a", "a")));
        assert_eq!(find(file, "r", "team/other"), Some(basic("b", "b")));
    }

    #[test]
    fn a_helper_is_asked_for_the_registry_as_the_file_names_it() {
        for (key, registry, asked) in [
            ("docker.io", "docker.io", "docker.io"),
            (HUB_KEY, "docker.io", HUB_KEY),
            ("r/team", "r", "r"),
            ("docker.io/team", "docker.io", HUB_KEY),
        ] {
            let file = format!(r#"{{"credHelpers":{{"{key}":"pass"}}}}"#);
            let found = AuthEntry::Helper {
                name: "pass".to_owned(),
                key: asked.to_owned(),
            };
            assert_eq!(find(&file, registry, "team/app"), Some(found), "{key}");
        }
    }

    #[test]
    fn docker_hub_has_many_names() {
        for key in [
            "https://index.docker.io/v1/",
            "docker.io",
            "index.docker.io",
            "registry-1.docker.io",
        ] {
            let file = format!(r#"{{"auths":{{"{key}":{{"auth":"YTph"}}}}}}"#);
            assert_eq!(
                find(&file, "docker.io", "library/app"),
                Some(basic("a", "a")),
                "{key}"
            );
        }
    }

    #[test]
    fn helpers_are_named_and_tokens_are_told_apart() {
        let helper = |name: &str, key: &str| {
            let (name, key) = (name.to_owned(), key.to_owned());
            Some(AuthEntry::Helper { name, key })
        };
        let file = r#"{"auths":{"r":{},"s":{"auth":"YTph"},"t":{"identitytoken":"x"},"u":{"registrytoken":"y","auth":""}},
            "credsStore":"desktop","credHelpers":{"gcr.io":"gcloud"}}"#;
        assert_eq!(find(file, "gcr.io", "a"), helper("gcloud", "gcr.io"));
        assert_eq!(find(file, "r", "a"), helper("desktop", "r"));
        assert_eq!(
            find(file, "docker.io", "library/a"),
            helper("desktop", HUB_KEY)
        );
        assert_eq!(find(file, "s", "a"), Some(basic("a", "a")));
        let token = Credential::Identity(Secret::new("x"));
        assert_eq!(find(file, "t", "a"), Some(AuthEntry::Credential(token)));
        let token = Credential::Token(Secret::new("y"));
        assert_eq!(find(file, "u", "a"), Some(AuthEntry::Credential(token)));
    }

    #[test]
    fn the_output_of_helpers_is_parsed_and_never_shown() {
        let answer = parse_helper_output(br#"{"ServerURL":"r","Username":"<token>","Secret":"s"}"#);
        assert_eq!(answer, Ok(Credential::Identity(Secret::new("s"))));
        let error = parse_helper_output(b"hunter2 {").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn a_malformed_file_is_not_shown() {
        let error = AuthFile::parse(br#"{"auths": {"r": {"auth": hunter2}}}"#).unwrap_err();
        assert_eq!(error.to_string(), "malformed at line 1, column 26");
        assert!(AuthFile::parse(b"{}").unwrap().find("r", "a").is_none());
    }
}
