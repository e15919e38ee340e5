//! Files of credentials of Docker and Podman.
//!
//! The caller reads the files and runs the programs that they name.

use std::collections::BTreeMap;

use imgbuild_oci::document::field_in_any_case;
use serde_json::Value;

use crate::secret::{Credential, Secret, decode_base64};

/// Docker's key for the credentials of Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The user in the output of a helper that marks an identity token.
const TOKEN_USER: &str = "<token>";

/// A `config.json` of Docker, or an `auth.json` of Podman, read as leniently as Go
/// reads it: names of fields have any case, and any value may be null.
#[derive(Debug, Default)]
pub struct AuthFile {
    auths: BTreeMap<String, AuthEntry>,
    creds_store: Option<String>,
    /// The names of helpers by registry; an empty one stands for no helper.
    cred_helpers: BTreeMap<String, String>,
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
        // Like Docker, takes an empty file, and reads no further than the object.
        let first = serde_json::Deserializer::from_slice(bytes)
            .into_iter()
            .next();
        let file: Value = first
            .transpose()
            .map_err(|error| AuthFileError {
                line: error.line(),
                column: error.column(),
            })?
            .unwrap_or_default();
        let members = |name| {
            let object = field_in_any_case(&file, name).and_then(Value::as_object);
            object.into_iter().flatten()
        };
        let helper = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Self {
            auths: members("auths")
                .filter_map(|(key, value)| Some((key.clone(), entry(key, value)?)))
                .collect(),
            creds_store: text(&file, "credsStore"),
            cred_helpers: members("credHelpers")
                .map(|(key, name)| (key.clone(), helper(name)))
                .collect(),
        })
    }

    /// Finds the entries for a repository of a registry, in the order in which they
    /// are tried.
    ///
    /// As for Docker, a helper is asked first, that of the registry or that of all
    /// registries. The key with the longest path wins, as for Podman:
    /// `ghcr.io/me/app`, then `ghcr.io/me`, then `ghcr.io`.
    #[must_use]
    pub fn find(&self, registry: &str, repository: &str) -> Vec<AuthEntry> {
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
        let helper = helper.or_else(|| Some((self.creds_store.as_ref()?, server)));
        let helper = helper.filter(|(name, _)| !name.is_empty());
        let helper = helper.map(|(name, key)| AuthEntry::Helper {
            name: name.clone(),
            key: key.to_owned(),
        });
        let own = keys.iter().find_map(|key| self.own(key));
        helper.into_iter().chain(own).collect()
    }

    /// Returns the entry of a key, which older programs wrote in several forms: one
    /// with a credential, if there is one.
    fn own(&self, key: &str) -> Option<AuthEntry> {
        let wanted = plain_key(key);
        let entries = self
            .auths
            .iter()
            .filter(|(name, _)| plain_key(name) == wanted);
        let is_malformed = |entry: &AuthEntry| matches!(entry, AuthEntry::Malformed { .. });
        entries
            .map(|(_, entry)| entry.clone())
            .min_by_key(is_malformed)
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

/// Reads the entry of a key, unless it is empty.
fn entry(key: &str, value: &Value) -> Option<AuthEntry> {
    let secret = |name| text(value, name).map(Secret::new);
    let auth = secret("auth");
    let basic = || {
        let user = text(value, "username")?;
        let password = secret("password")?;
        Some(Credential::Basic { user, password })
    };
    let identity = secret("identitytoken").map(Credential::Identity);
    let token = || secret("registrytoken").map(Credential::Token);
    // `auth` wins over user and password, as for Docker.
    let pair = || auth.as_ref().and_then(user_and_password).or_else(basic);
    match identity.or_else(token).or_else(pair) {
        Some(credential) => Some(AuthEntry::Credential(credential)),
        None => auth.map(|_| AuthEntry::Malformed {
            key: key.to_owned(),
        }),
    }
}

/// Returns a field that is a text and not empty.
fn text(object: &Value, name: &str) -> Option<String> {
    let text = field_in_any_case(object, name)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
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

/// Parses the output of `docker-credential-NAME get`. Returns `None` if it has
/// neither a user nor a secret.
///
/// # Errors
///
/// If it is malformed.
pub fn parse_helper_output(bytes: &[u8]) -> Result<Option<Credential>, HelperOutputError> {
    let output: Value = serde_json::from_slice(bytes).map_err(|_| HelperOutputError)?;
    let (user, secret) = (text(&output, "Username"), text(&output, "Secret"));
    match (user, secret.map(Secret::new)) {
        (None, None) if output.is_object() => Ok(None),
        (Some(user), Some(secret)) if user == TOKEN_USER => Ok(Some(Credential::Identity(secret))),
        (user, Some(password)) => Ok(Some(Credential::Basic {
            user: user.unwrap_or_default(),
            password,
        })),
        (_, None) => Err(HelperOutputError),
    }
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

    fn all(file: &str, registry: &str, repository: &str) -> Vec<AuthEntry> {
        AuthFile::parse(file.as_bytes())
            .unwrap()
            .find(registry, repository)
    }

    fn find(file: &str, registry: &str, repository: &str) -> Option<AuthEntry> {
        all(file, registry, repository).into_iter().next()
    }

    fn helper(name: &str, key: &str) -> AuthEntry {
        let (name, key) = (name.to_owned(), key.to_owned());
        AuthEntry::Helper { name, key }
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
            let file = format!(r#"{{"auths":{{"r":{{"auth":"{auth}"}}}}}}"#);
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
            let found = Some(helper("pass", asked));
            assert_eq!(find(&file, registry, "team/app"), found, "{key}");
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
    fn helpers_come_before_the_entries_of_the_file() {
        let file = r#"{"auths":{"r":{},"s":{"auth":"YTph"},"gcr.io":{"auth":"YTph"}},
            "credsStore":"desktop","credHelpers":{"gcr.io":"gcloud","s":""}}"#;
        let own = basic("a", "a");
        let gcloud = helper("gcloud", "gcr.io");
        assert_eq!(all(file, "gcr.io", "a"), [gcloud, own.clone()]);
        assert_eq!(all(file, "r", "a"), [helper("desktop", "r")]);
        assert_eq!(
            all(file, "docker.io", "library/a"),
            [helper("desktop", HUB_KEY)]
        );
        // An empty name stands for no helper.
        assert_eq!(all(file, "s", "a"), [own]);
    }

    #[test]
    fn tokens_are_told_apart() {
        let file = r#"{"auths":{"t":{"identitytoken":"x"},"u":{"registrytoken":"y","auth":""}}}"#;
        let token = Credential::Identity(Secret::new("x"));
        assert_eq!(find(file, "t", "a"), Some(AuthEntry::Credential(token)));
        let token = Credential::Token(Secret::new("y"));
        assert_eq!(find(file, "u", "a"), Some(AuthEntry::Credential(token)));
    }

    #[test]
    fn a_file_is_read_as_go_reads_it() {
        for file in [
            r#"{"auths":{"r":{"auth":"YTph"}},"credHelpers":null,"credsStore":null}"#,
            r#"{"auths":{"r":{"auth":"YTph","username":null},"s":null},"credHelpers":{"r":null}}"#,
            r#"{"AUTHS":{"r":{"Auth":"YTph"}},"CREDSSTORE":"","unknown":[{}]}"#,
            r#"{"auths":{"r":{"userName":"a","PASSWORD":"a"}},"credsstore":"x","CredHelpers":{"r":""}}"#,
            "{\"auths\":{\"r\":{\"auth\":\"YTph\"}}}\n}",
        ] {
            assert_eq!(all(file, "r", "a"), [basic("a", "a")], "{file}");
        }
        for file in [
            "",
            " \n",
            "null",
            "{}",
            r#"{"auths":null}"#,
            r#"{"auths":{"r":null}}"#,
        ] {
            assert_eq!(all(file, "r", "a"), [], "{file}");
        }
        let file = r#"{"CredsStore":"low"}"#;
        assert_eq!(all(file, "r", "a"), [helper("low", "r")]);
    }

    #[test]
    fn the_output_of_helpers_is_parsed_and_never_shown() {
        let token = Credential::Identity(Secret::new("s"));
        for (output, expected) in [
            (
                r#"{"ServerURL":"r","Username":"<token>","Secret":"s"}"#,
                Some(token),
            ),
            (
                r#"{"username":"me","secret":"s"}"#,
                Some(Credential::Basic {
                    user: "me".to_owned(),
                    password: Secret::new("s"),
                }),
            ),
            (r#"{"Username":"","Secret":""}"#, None),
            ("{}", None),
        ] {
            let found = parse_helper_output(output.as_bytes());
            assert_eq!(found, Ok(expected), "{output}");
        }
        for output in ["hunter2 {", r#"{"Username":"hunter2"}"#, "[]"] {
            let error = parse_helper_output(output.as_bytes()).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_malformed_file_is_not_shown() {
        let error = AuthFile::parse(br#"{"auths": {"r": {"auth": hunter2}}}"#).unwrap_err();
        assert_eq!(error.to_string(), "malformed at line 1, column 26");
        assert!(AuthFile::parse(b"{}").unwrap().find("r", "a").is_empty());
    }
}
