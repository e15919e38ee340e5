//! Image names: `registry/repository[:tag][@digest]`, as Docker reads them.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::digest::Digest;
use crate::path::escaped;

mod repair;

pub use repair::name_from;

/// The registry of a name without one.
const DEFAULT_REGISTRY: &str = "docker.io";

/// The namespace of Docker Hub for repositories that do not belong to a user.
const DEFAULT_NAMESPACE: &str = "library";

/// The tag of a name without one.
const DEFAULT_TAG: &str = "latest";

/// The longest tag (distribution's reference grammar, which Docker uses).
const MAX_TAG_BYTES: usize = 128;

/// The longest name, registry and repository together.
///
/// Newer engines count the repository alone; the older rule holds for both.
const MAX_NAME_BYTES: usize = 255;

/// The name of an image, complete: registry, repository, and a tag, a digest
/// or both.
///
/// Missing parts are filled in as Docker does: `app` is
/// `docker.io/library/app:latest`. It prints as that full name, the form that
/// containerd and archives want; [`Reference::familiar`] is the short form.
///
/// Follows the [grammar] of Docker's reference package. Narrower than that:
/// digests are SHA-256, and a first component with an upper-case letter is
/// not taken for a registry, since engines disagree on it.
///
/// [grammar]: https://github.com/distribution/reference/blob/v0.6.0/reference.go
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Returns the host, with its port if it has one: `docker.io`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the path in the registry: `library/app`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag: `latest` if the name has neither a tag nor a digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the same name with another tag and without a digest; `None`
    /// when the tag breaks Docker's grammar.
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Option<Self> {
        check_tag(tag).ok()?;
        Some(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// Returns the digest, if the name has one.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the form that Docker shows: without `docker.io` and `library`.
    #[must_use]
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix("docker.io/").unwrap_or(&full);
        let shortest = short.strip_prefix("library/").unwrap_or(short);
        [shortest, short]
            .into_iter()
            .find(|text| text.parse().as_ref() == Ok(self))
            .unwrap_or(&full)
            .to_owned()
    }

    /// Returns a warning if tools other than the engines refuse the tag.
    #[must_use]
    pub fn tag_warning(&self) -> Option<TagWarning> {
        let tag = self.tag.as_deref()?;
        (!is_oci_reference_name(tag)).then(|| TagWarning(tag.to_owned()))
    }

    fn check(self) -> Result<Self, ReferenceRule> {
        check_registry(&self.registry)?;
        check_repository(&self.repository)?;
        if self.registry.len() + 1 + self.repository.len() > MAX_NAME_BYTES {
            return Err(ReferenceRule::NameTooLong);
        }
        self.tag.as_deref().map_or(Ok(()), check_tag)?;
        Ok(self)
    }
}

/// Returns whether a text can be a tag, by Docker's grammar.
pub(crate) fn is_tag(text: &str) -> bool {
    check_tag(text).is_ok()
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(formatter, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let secret = userinfo(text);
        let shown = secret.map_or_else(
            || text.to_owned(),
            |secret| text.replacen(secret, "USER:PASSWORD", 1),
        );
        parse(text).map_err(|rule| ParseReferenceError {
            text: escaped(&shown.as_bytes()[..shown.floor_char_boundary(300)]),
            rule,
            // The right port cannot be guessed.
            proposal: match rule {
                ReferenceRule::Port | ReferenceRule::Password => None,
                _ => repair::proposal(text),
            },
        })
    }
}

/// Returns the user and password before the host of a name or URL, for example
/// `me:secret` of `docker://me:secret@ghcr.io/me/app`.
#[must_use]
pub fn userinfo(text: &str) -> Option<&str> {
    let (scheme, name) = text.split_once("://").unwrap_or(("", text));
    let (mut user, mut host) = name.rsplit_once('@')?;
    if host.starts_with("sha") && host.contains(':') && !host.contains(['.', '/']) {
        (user, host) = user.rsplit_once('@')?;
    }
    let is_host = host == "localhost" || host.contains(['.', ':']) && !user.contains('/');
    let is_host = is_host && user.contains(':') || host.contains('/');
    Some(user).filter(|user| !user.is_empty() && (is_host || scheme.starts_with("http")))
}

/// A tag that engines take and tools that follow the OCI grammar do not.
///
/// skopeo and umoci refuse to select such an image in a layout, since the tag
/// is outside the [grammar] of `org.opencontainers.image.ref.name`.
///
/// [grammar]: https://github.com/opencontainers/image-spec/blob/v1.1.0/annotations.md#pre-defined-annotation-keys
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the tag `{0}` is outside the grammar of OCI reference names: skopeo and umoci cannot select it"
)]
pub struct TagWarning(String);

/// A text that is not the name of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image name: {rule}{would_do}", would_do = would_do(.proposal.as_deref()))]
pub struct ParseReferenceError {
    text: String,
    rule: ReferenceRule,
    proposal: Option<String>,
}

fn would_do(proposal: Option<&str>) -> String {
    proposal.map_or_else(String::new, |name| format!(" (`{name}` would do)"))
}

/// A rule that image names follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceRule {
    /// The name is missing.
    #[error("it is empty")]
    Empty,
    /// It starts like a URL.
    #[error("it must not start with a scheme")]
    Scheme,
    /// It has a user or a password.
    #[error("user and password are not part of it")]
    Password,
    /// The registry is neither a host name nor an address.
    #[error("its registry must be a host name or an address, with a port if need be")]
    Registry,
    /// The port of the registry is not valid.
    #[error("ports are numbers from 1 to 65535")]
    Port,
    /// The repository has upper-case letters.
    #[error("repositories are lower case")]
    UpperCase,
    /// The repository has a character that none may have.
    #[error(
        "repositories consist of `a` to `z`, digits, and `.`, `_`, `__` or dashes between them, \
         in parts divided by `/`"
    )]
    Repository,
    /// The repository could be taken for an image ID.
    #[error("64 hexadecimal digits are an image ID, not a name")]
    ImageId,
    /// Registry and repository are too long.
    #[error("registry and repository together are at most 255 bytes long")]
    NameTooLong,
    /// Two colons, as in `a:b:c`.
    #[error("it has more than one tag")]
    TwoTags,
    /// Nothing follows the colon.
    #[error("its tag is empty")]
    TagEmpty,
    /// The tag has a plus, as semantic versions do.
    #[error("tags cannot hold a `+`")]
    TagPlus,
    /// The tag is too long.
    #[error("tags are at most 128 bytes long")]
    TagTooLong,
    /// The tag has a character that none may have.
    #[error("tags consist of letters, digits, `_`, `.` and `-`, and do not start with `.` or `-`")]
    Tag,
    /// The text after the `@` is not a digest.
    #[error("a digest is `sha256:` and 64 lower-case hexadecimal digits")]
    Digest,
}

fn parse(text: &str) -> Result<Reference, ReferenceRule> {
    if text.is_empty() {
        return Err(ReferenceRule::Empty);
    }
    if userinfo(text).is_some() {
        return Err(ReferenceRule::Password);
    }
    if text.contains("://") {
        return Err(ReferenceRule::Scheme);
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (
            name,
            Some(digest.parse().map_err(|_| ReferenceRule::Digest)?),
        ),
        None => (text, None),
    };
    let (path, tag) = split_tag(name);
    let tag = match (tag, digest) {
        (None, None) => Some(DEFAULT_TAG.to_owned()),
        (tag, _) => tag.map(str::to_owned),
    };
    let (registry, repository) = split_registry(path);
    if repository.contains(':') {
        // What follows is meant as a tag, and has a slash.
        return Err(ReferenceRule::Tag);
    }
    Reference {
        registry,
        repository,
        tag,
        digest,
    }
    .check()
}

/// Divides at the first colon after the last slash.
fn split_tag(name: &str) -> (&str, Option<&str>) {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[start..].find(':') {
        Some(colon) => (&name[..start + colon], Some(&name[start + colon + 1..])),
        None => (name, None),
    }
}

/// Divides registry and repository as Docker does: the first component is a
/// registry if it has a dot or a colon, or is `localhost`.
fn split_registry(path: &str) -> (String, String) {
    let (registry, repository) = match path.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (DEFAULT_REGISTRY, path),
    };
    let registry = match registry {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
        other => other,
    };
    let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
        format!("{DEFAULT_NAMESPACE}/{repository}")
    } else {
        repository.to_owned()
    };
    (registry.to_owned(), repository)
}

fn check_registry(registry: &str) -> Result<(), ReferenceRule> {
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or(ReferenceRule::Registry)?;
            let _: Ipv6Addr = address.parse().map_err(|_| ReferenceRule::Registry)?;
            match after.strip_prefix(':') {
                Some(port) => ("", Some(port)),
                None if after.is_empty() => ("", None),
                None => return Err(ReferenceRule::Registry),
            }
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, None),
        },
    };
    let is_host = registry.starts_with('[') || host.split('.').all(is_host_label);
    let is_number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    // Port 0 is not valid.
    let is_port = |port: &str| port.parse().is_ok_and(|port: u16| port > 0);
    match (is_host, port) {
        (true, None) => Ok(()),
        (true, Some(port)) if is_number(port) && is_port(port) => Ok(()),
        (true, Some(port)) if is_number(port) && !port.is_empty() => Err(ReferenceRule::Port),
        _ => Err(ReferenceRule::Registry),
    }
}

fn is_host_label(label: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !label.is_empty()
        && label.bytes().all(is_inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn check_repository(repository: &str) -> Result<(), ReferenceRule> {
    let own_name = repository.strip_prefix("library/").unwrap_or(repository);
    if own_name.is_empty() {
        return Err(ReferenceRule::Empty);
    }
    if is_image_id(own_name) {
        return Err(ReferenceRule::ImageId);
    }
    if own_name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ReferenceRule::UpperCase);
    }
    if repository.split('/').all(is_repository_component) {
        Ok(())
    } else {
        Err(ReferenceRule::Repository)
    }
}

fn is_image_id(name: &str) -> bool {
    let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.len() == 64 && name.bytes().all(is_lower_hex)
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Letters and digits, with `.`, `_`, `__` or any number of dashes between.
fn is_repository_component(component: &str) -> bool {
    alternates(component, is_alphanumeric, is_repository_separator)
}

fn is_repository_separator(separator: &[u8]) -> bool {
    matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
}

/// Returns true if a tag can be a name in a layout: letters and digits with single
/// separators between them, or two dashes.
fn is_oci_reference_name(tag: &str) -> bool {
    alternates(
        tag,
        |byte| byte.is_ascii_alphanumeric(),
        |separator| matches!(separator, b"-" | b"." | b"_" | b"--"),
    )
}

/// Returns true if runs of `word` bytes alternate with valid separators, beginning
/// and ending with a word.
fn alternates(text: &str, word: impl Fn(u8) -> bool, is_separator: impl Fn(&[u8]) -> bool) -> bool {
    let bytes = text.as_bytes();
    let ends_in_words = bytes.first().is_some_and(|byte| word(*byte))
        && bytes.last().is_some_and(|byte| word(*byte));
    ends_in_words
        && bytes
            .split(|byte| word(*byte))
            .filter(|separator| !separator.is_empty())
            .all(is_separator)
}

fn check_tag(tag: &str) -> Result<(), ReferenceRule> {
    if tag.is_empty() {
        return Err(ReferenceRule::TagEmpty);
    }
    if tag.contains(':') {
        return Err(ReferenceRule::TwoTags);
    }
    if tag.contains('+') {
        return Err(ReferenceRule::TagPlus);
    }
    if !tag.bytes().all(is_tag_byte) || tag.starts_with(['.', '-']) {
        return Err(ReferenceRule::Tag);
    }
    if tag.len() > MAX_TAG_BYTES {
        return Err(ReferenceRule::TagTooLong);
    }
    Ok(())
}

fn is_tag_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

#[cfg(test)]
mod tests;
