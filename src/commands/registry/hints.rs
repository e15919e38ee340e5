//! Hints for errors of registries.

use imgbuild_registry::error::{Error, ErrorResponse, NetworkKind, ProtocolError, Step};
use imgbuild_registry::secret::{CredentialOrigin, Identity};

use super::environment::other_variables;

const ANOTHER_MACHINE: &str = "write the image with `--output oci:DIR`, and push it from another machine with `imgbuild copy`";

const TIMEOUT: &str = "run it again, or wait longer with `--timeout`, for example `--timeout 5m`: each of two attempts has half of this time";

const LOGIN_PORTAL: &str =
    "check the name of the registry, and whether this network requires a login";

/// Returns hints for an error.
pub(crate) fn hints(error: &Error) -> Vec<String> {
    let hint = match error {
        Error::Refused {
            response,
            step,
            endpoint,
        } => {
            let hint = refusal(response, step, &endpoint.registry);
            return hint.into_iter().collect();
        }
        Error::Network {
            reason,
            step: Step::Token(_),
            ..
        } => token_server(reason.kind),
        Error::Network {
            reason,
            step: Step::Ping,
            ..
        } if reason.server.is_some() => Some(LOGIN_PORTAL),
        Error::Network { reason, step, .. } => match reason.kind {
            NetworkKind::Timeout => Some(TIMEOUT),
            NetworkKind::Cut => Some(retry(step)),
            kind => network(kind),
        },
        Error::Protocol { problem, .. } => protocol(problem),
        _ => None,
    };
    hint.map(str::to_owned).into_iter().collect()
}

fn is_write(step: &Step) -> bool {
    matches!(
        step,
        Step::StartUpload(_) | Step::Upload(_) | Step::FinishUpload(_) | Step::WriteManifest(_)
    )
}

#[rustfmt::skip]
fn refusal(response: &ErrorResponse, step: &Step, registry: &str) -> Option<String> {
    if is_immutable_tag(response, step) {
        return Some("this tag is immutable: use a new one".to_owned());
    }
    let identity = &response.identity;
    let has_credential = identity.has_credential;
    let hint = match response.status {
        401 => return Some(unauthorized(identity, is_write(step), registry)),
        403 if has_credential => return Some(no_permission(identity, is_write(step))),
        403 => return Some(anonymous(identity, registry)),
        404 if is_write(step) => "the repository does not exist, or is not visible to you: some registries require that it is created first",
        404 => "check registry, repository and tag: an image that you may not see is not found either",
        413 => "a proxy in front of the registry limits the size of requests: raise its limit to at least 1 MiB (`client_max_body_size` of nginx)",
        429 if has_credential => "the registry limits the number of requests: wait, and run it again",
        429 => "the registry limits the number of requests: wait, or log in for a higher limit",
        507 => "the registry is full: delete images there, or have its quota raised",
        500..=599 => "the registry failed: try again later",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Returns whether a tag was refused because it exists and is immutable, by the
/// codes and messages of several registries.
fn is_immutable_tag(response: &ErrorResponse, step: &Step) -> bool {
    let Step::WriteManifest(tag) = step else {
        return false;
    };
    let text = response.text.to_ascii_lowercase();
    let words = [
        "immutab",
        "already exists",
        "overwrit",
        "not allow updating",
    ];
    !tag.contains(':')
        && matches!(response.status, 400 | 403 | 405 | 409 | 412)
        && (response.has_code("TAG_INVALID")
            || response.has_code("TAG_IMMUTABLE")
            || words.iter().any(|word| text.contains(word)))
}

fn unauthorized(identity: &Identity, writes: bool, registry: &str) -> String {
    if identity.is_authenticated {
        return no_permission(identity, writes);
    }
    if !identity.has_credential {
        return anonymous(identity, registry);
    }
    let from = origin(identity, " from ", "");
    format!(
        "the registry rejects this user and password{from}: log in again with `docker login {registry}`, or give a different user and password with `--username` and `--password-stdin`"
    )
}

fn anonymous(identity: &Identity, registry: &str) -> String {
    match &identity.origin {
        CredentialOrigin::OtherRegistry(primary) => format!(
            "the user and password of this command are sent to `{primary}` only: also run `docker login {registry}`"
        ),
        CredentialOrigin::NoRegistry => format!(
            "without a push, `IMGBUILD_REGISTRY_USER` and `IMGBUILD_REGISTRY_PASSWORD` are sent only to the registry in `IMGBUILD_REGISTRY`: set it to `{registry}` if they are for it"
        ),
        _ => format!(
            "log in with `docker login {registry}`, or use `--username` and `--password-stdin`, or set `IMGBUILD_REGISTRY` to `{registry}` and `IMGBUILD_REGISTRY_USER` and `IMGBUILD_REGISTRY_PASSWORD`{}",
            other_variables()
        ),
    }
}

/// Formats the origin of a credential, if it is known.
fn origin(identity: &Identity, before: &str, after: &str) -> String {
    match &identity.origin {
        CredentialOrigin::Named(from) => format!("{before}{from}{after}"),
        _ => String::new(),
    }
}

fn no_permission(identity: &Identity, writes: bool) -> String {
    let user = match &identity.user {
        Some(user) => format!("`{user}`"),
        None => "this user".to_owned(),
    };
    let from = origin(identity, " (from ", ")");
    let (verb, permission) = if writes {
        ("push", "permission to write packages")
    } else {
        ("pull", "permission to read")
    };
    format!(
        "{user}{from} may not {verb} there: check that the token has {permission}, and check the name"
    )
}

/// Returns the hint for a connection that broke.
fn retry(step: &Step) -> &'static str {
    match step {
        step if is_write(step) => "run it again: blobs that were uploaded are not sent again",
        Step::Token(_) | Step::Ping => "check that the server runs, and run it again",
        _ => "run it again; if the error persists, check the connection",
    }
}

#[rustfmt::skip]
fn token_server(kind: NetworkKind) -> Option<&'static str> {
    match kind {
        NetworkKind::Timeout => Some(TIMEOUT),
        NetworkKind::Name | NetworkKind::Refused => Some("the registry names this token server in its `WWW-Authenticate` header: check that it runs and is reachable from here"),
        other => network(other),
    }
}

#[rustfmt::skip]
fn network(kind: NetworkKind) -> Option<&'static str> {
    Some(match kind {
        NetworkKind::Name => "check the name of the registry, and the network of this machine",
        NetworkKind::Refused => "check that the registry runs, and check its port",
        NetworkKind::Authority { has_added: false } => "for a registry with its own authority or a self-signed certificate, use `--ca-file FILE`",
        NetworkKind::Authority { has_added: true } => "the file of `--ca-file` must contain the certificate of the authority that signed the registry's, or the registry's own",
        NetworkKind::Certificate => "the registry needs a valid certificate for this host; check the clock of this machine",
        NetworkKind::NoTls => "for a registry without TLS on another machine, use `--plain-http`",
        NetworkKind::Tls => "the registry must support TLS 1.2 or 1.3",
        NetworkKind::NotHttp => "check the port of the registry",
        NetworkKind::Processor => ANOTHER_MACHINE,
        NetworkKind::Proxy => "check that the proxy runs and accepts this machine; `no_proxy` lists hosts to connect to directly",
        NetworkKind::UnusableProxy => "set an http proxy, for example `https_proxy=http://HOST:PORT`; `no_proxy` lists hosts to connect to directly",
        _ => return None,
    })
}

#[rustfmt::skip]
fn protocol(problem: &ProtocolError) -> Option<&'static str> {
    match problem {
        ProtocolError::NoRegistry(_) => Some("check the name of the registry"),
        ProtocolError::Downgrade(_) => Some("the proxy in front of the registry does not set `X-Forwarded-Proto: https`"),
        ProtocolError::Contended(_) => Some("run it again when fewer jobs write this tag, or let each job write its own tag"),
        ProtocolError::Page(_) => Some(LOGIN_PORTAL),
        ProtocolError::MediaType(name) if name.starts_with("text/html") => Some(LOGIN_PORTAL),
        ProtocolError::MediaType(_) => Some("check registry, repository and tag"),
        ProtocolError::Digest { .. } => Some("the registry, or a proxy in front of it, damages its responses: run it again, or push the image again"),
        ProtocolError::Part(_) => Some("copy one of those that are there with `--platform`"),
        ProtocolError::Platform { .. } => Some("use one of these with `--platform`, or leave it out for all"),
        _ => None,
    }
}
