//! Locations of images on the command line: destinations and sources, on this
//! machine or in a registry.

use std::env;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::str::FromStr;

pub(crate) use imgbuild_oci::destination::REGISTRY_TRANSPORT as TRANSPORT;
use imgbuild_oci::destination::{Destination, ParseDestinationError};
use imgbuild_oci::reference::{ParseReferenceError, Reference, userinfo};
use imgbuild_oci::source::{ParseSourceNameError, Source, SourceName};

use crate::failure::{Failure, Result, transport_of};

/// The transports that can precede a path.
pub(crate) const LOCAL_TRANSPORTS: [&str; 3] = ["docker-archive:", "oci-archive:", "oci:"];

/// The forms of a destination.
const OUTPUTS: &str = "imgbuild writes `docker://REFERENCE`, `docker-archive:FILE[:NAME]`, `oci-archive:FILE[:TAG]`, `oci:DIR[:TAG]`, `FILE.tar`, `FILE.tar.gz`, a directory or `-`";

/// The forms of a source.
const SOURCES: &str = "imgbuild reads `docker://REFERENCE`, `oci:DIR[:TAG|@DIGEST]`, `oci-archive:FILE[:TAG|@DIGEST]`, `docker-archive:FILE[:NAME]` and paths of these";

/// The places of user and password, which are not the name of an image.
pub(crate) const LOGIN: &str = "log in with `docker login`, or give user and password with `--username` and `--password-stdin`, or with `IMGBUILD_REGISTRY_USER` and `IMGBUILD_REGISTRY_PASSWORD`";

/// Refuses user and password in the name of an image, without repeating them. In
/// a path, a slash comes before the first colon.
pub(crate) fn check_no_password(text: &str) -> std::result::Result<(), String> {
    let mut secret = userinfo(text).unwrap_or_default();
    for transport in LOCAL_TRANSPORTS {
        secret = secret.strip_prefix(transport).unwrap_or(secret);
    }
    let (user, is_pair) = secret
        .split_once(':')
        .map_or((secret, false), |(user, _)| (user, true));
    if secret.is_empty() || !text.contains("://") && (!is_pair || user.contains('/')) {
        return Ok(());
    }
    let shown = text.replacen(secret, "USER:PASSWORD", 1);
    Err(format!(
        "user and password are not part of the name of an image: `{shown}`"
    ))
}

/// A destination as the user typed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    text: String,
    destination: Destination,
}

impl Output {
    /// Returns the destination.
    ///
    /// # Errors
    ///
    /// If a directory has the name of an image in a registry, and does not exist:
    /// a build that is meant to be pushed must not succeed without a push. And if
    /// a name in a registry has a digest: a push creates a tag.
    pub(crate) fn destination(&self) -> Result<Destination> {
        match &self.destination {
            Destination::Layout(_, None) if names_registry(&self.text) => {
                self.check_exists()?;
            }
            Destination::Registry(reference) => check_pushable(reference)?,
            _ => {}
        }
        Ok(self.destination.clone())
    }

    fn check_exists(&self) -> Result<()> {
        let text = &self.text;
        let first = text.split('/').next().unwrap_or(text);
        if Path::new(first).exists() {
            return Ok(());
        }
        let failure = Failure::command_line(format!(
            "`{text}` looks like a name in a registry, and would become a directory here"
        ));
        Err(failure.hint(format!(
            "did you mean `{TRANSPORT}{text}`? A directory of this name is `./{text}`"
        )))
    }
}

fn check_pushable(reference: &Reference) -> Result<()> {
    if reference.digest().is_none() {
        return Ok(());
    }
    let tagged = reference.tag().and_then(|tag| reference.with_tag(tag));
    let name = tagged.map_or_else(
        || format!("{}/{}:TAG", reference.registry(), reference.repository()),
        |tagged| tagged.to_string(),
    );
    let failure = Failure::command_line(format!(
        "cannot push to `{TRANSPORT}{reference}`: a push creates a tag, not a digest"
    ));
    Err(failure.hint(format!(
        "name a tag only: `{TRANSPORT}{name}`; a copy keeps the digest"
    )))
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        check_no_password(text)?;
        let destination = text.parse().map_err(|error| match error {
            ParseDestinationError::Transport(_) => match meant(text) {
                Some(name) => format!("did you mean `{name}`? {OUTPUTS}"),
                None => format!("unknown transport; {OUTPUTS}"),
            },
            error => error.to_string(),
        })?;
        Ok(Self {
            text: text.to_owned(),
            destination,
        })
    }
}

/// A source on this machine or in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageSource {
    /// A place, and what it was called.
    Here(SourceName, String),
    Registry(Reference),
}

impl ImageSource {
    pub(crate) fn here(&self) -> Option<&SourceName> {
        match self {
            Self::Here(name, _) => Some(name),
            Self::Registry(_) => None,
        }
    }

    pub(crate) fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Here(..) => None,
            Self::Registry(reference) => Some(reference),
        }
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(_, text) => formatter.write_str(text),
            Self::Registry(reference) => write!(formatter, "{TRANSPORT}{reference}"),
        }
    }
}

impl FromStr for ImageSource {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        check_no_password(text)?;
        match text.strip_prefix(TRANSPORT) {
            Some(name) => {
                let reference = name.parse().map(Self::Registry);
                reference.map_err(|error: ParseReferenceError| error.to_string())
            }
            None => {
                let name = text.parse();
                let named = name.map(|name| Self::Here(name, text.to_owned()));
                named.map_err(|error| match meant(text) {
                    Some(name) => format!("{error}; did you mean `{name}`? {SOURCES}"),
                    None => format!("{error}; {SOURCES}"),
                })
            }
        }
    }
}

/// Returns the reference that a text with the transport `docker://` names.
///
/// # Errors
///
/// If the text after the transport is not a reference.
pub(crate) fn reference(text: &str) -> Result<Option<Reference>> {
    check_no_password(text).map_err(|error| Failure::command_line(error).hint(LOGIN))?;
    let name = text.strip_prefix(TRANSPORT).map(str::parse).transpose();
    name.map_err(|error: ParseReferenceError| Failure::command_line(error.to_string()))
}

/// Returns the place on this machine that a text names.
///
/// # Errors
///
/// If the text is not a source, or has the transport of another tool.
pub(crate) fn source_name(text: &str) -> Result<SourceName> {
    check_no_password(text).map_err(|error| Failure::command_line(error).hint(LOGIN))?;
    if text.starts_with(TRANSPORT) {
        let failure = Failure::command_line(format!(
            "`{text}` is in a registry, and this command reads images on this machine only"
        ));
        return Err(failure.hint(format!("fetch it first: `imgbuild copy {text} oci:DIR`")));
    }
    text.parse().map_err(|error: ParseSourceNameError| {
        let failure = Failure::command_line(error.to_string());
        let failure = match meant(text) {
            Some(name) => failure.hint(format!("did you mean `{name}`?")),
            None => failure,
        };
        failure.hint(SOURCES)
    })
}

/// Returns the hint for a missing source whose name could be one in a registry, or
/// a path with a tag or digest and without its transport.
pub(crate) fn missing_hint(text: &str) -> Option<String> {
    let (path, rest) = text.split_at(text.find(['@', ':']).unwrap_or_default());
    if Path::new(path).exists() && !is_local_transport(path) {
        let source = Source::open(Path::new(path), &env::temp_dir());
        let transport = match source {
            Ok(source) => transport_of(&source),
            Err(_) if Path::new(path).is_dir() => "oci",
            Err(_) if rest.starts_with(':') => "docker-archive",
            Err(_) => "oci-archive",
        };
        let image = if transport == "docker-archive" && rest.starts_with('@') {
            format!("{path}:NAME")
        } else {
            text.to_owned()
        };
        return Some(format!("an image in `{path}` is `{transport}:{image}`"));
    }
    let is_path = text.starts_with(['.', '/', '~']) || text.starts_with("oci");
    let is_reference = text.parse::<Reference>().is_ok();
    let is_file = text.ends_with(".tar") || text.ends_with("gz") || text.ends_with('/');
    let is_meant = names_registry(text) || is_reference && !is_path && !is_file;
    is_meant.then(|| format!("an image of a registry is `{TRANSPORT}{text}`"))
}

/// Returns the likely meaning of a text with a wrong transport.
fn meant(text: &str) -> Option<String> {
    let (scheme, name) = text.split_once(':')?;
    if !matches!(scheme, "docker" | "registry" | "http" | "https") {
        return None;
    }
    let name = name.trim_start_matches('/');
    let is_name = name.parse::<Reference>().is_ok();
    is_name.then(|| format!("{TRANSPORT}{name}"))
}

/// Returns true if a text looks like a name in a registry, not a path: it
/// begins with a host that has a port, or with a host that has dots and more
/// than one part after it.
fn names_registry(text: &str) -> bool {
    let Some((first, rest)) = text.split_once('/') else {
        return false;
    };
    let is_named = !rest.is_empty() && !rest.starts_with('/');
    let has_more = rest.contains(['/', ':', '@']);
    let (host, port) = match first.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (first, None),
    };
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_inner)
    };
    let is_host = host.starts_with('[') || host.split('.').all(is_label);
    let is_port =
        port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let is_full_host = || {
        let domain = host.rsplit_once('.').map(|(_, last)| last);
        let is_domain =
            |last: &str| last.len() > 1 && last.bytes().all(|byte| byte.is_ascii_alphabetic());
        host == "localhost"
            || domain.is_some_and(is_domain)
            || host.parse::<Ipv4Addr>().is_ok()
            || host.starts_with('[') && host.ends_with(']')
    };
    is_named
        && is_host
        && !is_local_transport(host)
        && (is_port || port.is_none() && is_full_host() && has_more)
}

fn is_local_transport(text: &str) -> bool {
    LOCAL_TRANSPORTS.contains(&&*format!("{text}:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_places_or_references() {
        let output = "docker://ghcr.io/me/app:1".parse::<Output>().unwrap();
        let reference = "ghcr.io/me/app:1".parse().unwrap();
        assert_eq!(
            output.destination().unwrap(),
            Destination::Registry(reference)
        );
        let output = "a.tar".parse::<Output>().unwrap();
        let archive = Destination::Archive("a.tar".into(), None);
        assert_eq!(output.destination().unwrap(), archive);
        assert!("docker://A".parse::<Output>().is_err());
        assert!("docker:a".parse::<Output>().is_err());
    }

    #[test]
    fn a_name_with_a_registry_is_no_directory() {
        for text in [
            "localhost:5000/me/app:1",
            "localhost:5000/app",
            "localhost/me/app",
            "ghcr.io/me/app",
            "ghcr.io/Me/App:1.2",
            "ghcr.io/app:1",
            "hub:5000/app",
            "192.0.2.2:5000/app",
            "192.0.2.2/me/app",
            "[::1]:5000/app",
        ] {
            let output = text.parse::<Output>().unwrap();
            let text = output.destination().unwrap_err().to_string();
            assert!(text.contains("did you mean `docker://"), "{text}");
        }
        for text in [
            "out",
            "out/app",
            "out.d/app",
            "out.d/me/app",
            "v1.2/me/app",
            "./ghcr.io/me/app",
            "/ghcr.io/me/app",
            "../ghcr.io/me/app",
            "ghcr.io/app",
            "ghcr.io/me/app.tar",
            "oci:ghcr.io/me/app",
            "oci:5000/me/app",
            "app:1",
            "localhost",
        ] {
            let output = text.parse::<Output>().unwrap();
            assert!(output.destination().is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_there_is_a_directory_whatever_its_name() {
        // The tests run where the manifest of this package lies.
        let output: Output = "src/x:1/y".parse().unwrap();
        assert!(output.destination().is_ok());
    }

    #[test]
    fn other_transports_are_told_the_one_that_is_meant() {
        for (text, expected) in [
            (
                "docker:localhost:5000/me/app:1",
                "`docker://localhost:5000/me/app:1`",
            ),
            ("docker:/ghcr.io/me/app", "`docker://ghcr.io/me/app`"),
            ("https://ghcr.io/me/app:1", "`docker://ghcr.io/me/app:1`"),
            (
                "docker-daemon:app",
                "unknown transport; imgbuild writes `docker://REFERENCE`",
            ),
        ] {
            let error = text.parse::<Output>().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let error = "docker:debian:12".parse::<ImageSource>().unwrap_err();
        assert!(
            error.contains("did you mean `docker://debian:12`?"),
            "{error}"
        );
        assert!(
            error.contains("imgbuild reads `docker://REFERENCE`"),
            "{error}"
        );
    }

    #[test]
    fn what_is_not_there_may_be_in_a_registry() {
        for text in ["debian", "debian:12", "me/app:1", "localhost:5000/me/app:1"] {
            let hint = missing_hint(text).unwrap();
            assert_eq!(hint, format!("an image of a registry is `docker://{text}`"));
        }
        for (text, expected) in [
            ("src:1", "an image in `src` is `oci:src:1`"),
            (
                "./src@sha256:0",
                "an image in `./src` is `oci:./src@sha256:0`",
            ),
            (
                "NOTICE:a:1",
                "an image in `NOTICE` is `docker-archive:NOTICE:a:1`",
            ),
            (
                "NOTICE@sha256:0",
                "an image in `NOTICE` is `oci-archive:NOTICE@sha256:0`",
            ),
        ] {
            assert_eq!(missing_hint(text).as_deref(), Some(expected));
        }
        for text in [
            "./debian",
            "/debian",
            "app.tar",
            "app.tar.gz",
            "out/",
            "oci:out",
            "Out",
        ] {
            assert_eq!(missing_hint(text), None, "{text}");
        }
    }
}
