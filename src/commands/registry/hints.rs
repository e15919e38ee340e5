//! What to do when a registry says no.

use imgbuild_registry::error::{Answer, Error, NetworkKind, Problem, Step};
use imgbuild_registry::secret::{Asker, CredentialSource};

const ANOTHER_MACHINE: &str = "write the image with `--output oci:DIR`, and push it from another machine with `imgbuild copy`";

const LOGIN_PAGE: &str =
    "see that the name of the registry is right, and that this network wants no login of its own";

/// Returns what the user can do about a failure.
pub(crate) fn hints(error: &Error) -> Vec<String> {
    let hint = match error {
        Error::Refused {
            answer,
            step,
            place,
        } => {
            let registry = place.registry();
            return refusal(answer, step, registry).into_iter().collect();
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
        } if reason.server().is_some() => Some(LOGIN_PAGE),
        Error::Network { reason, step, .. } => match reason.kind {
            NetworkKind::Timeout | NetworkKind::Cut => Some(again(step)),
            kind => network(kind),
        },
        Error::Protocol { problem, .. } => protocol(problem),
        Error::Certificates { .. } => {
            Some("`--ca-file` takes a PEM file with the certificate of the registry's authority")
        }
        Error::Processor { .. } => Some(ANOTHER_MACHINE),
        Error::Proxy { .. } => Some("see `https_proxy`, `http_proxy` and `all_proxy`"),
        _ => None,
    };
    hint.map(str::to_owned).into_iter().collect()
}

fn refusal(answer: &Answer, step: &Step, registry: &str) -> Option<String> {
    let writes = matches!(
        step,
        Step::StartUpload(_) | Step::Upload(_) | Step::FinishUpload(_) | Step::WriteManifest(_)
    );
    if is_tag_that_stays(answer, step) {
        return Some("this tag does not move there: take a new one".to_owned());
    }
    let text = match answer.status() {
        401 => return Some(not_let_in(answer.asker(), writes, registry)),
        403 if answer.asker().has_credential => no_leave(answer.asker(), writes),
        403 => anonymous(answer.asker(), registry),
        404 if writes => {
            "there is no such repository, or no leave to see it: some registries want it to be made first".to_owned()
        }
        404 => "see that registry, repository and tag are right; what may not be seen is not found either".to_owned(),
        413 => {
            "a server before the registry takes no request of this size: its limit must be raised, to 1 MiB at least (`client_max_body_size` of nginx)".to_owned()
        }
        429 if answer.asker().has_credential => {
            "the registry limits how often it is asked: wait, and run it again".to_owned()
        }
        429 => "the registry limits how often it is asked: wait, or log in to be allowed more".to_owned(),
        507 => "the registry has no room for this: delete images there, or have its quota raised".to_owned(),
        500..=599 => "the registry has a problem of its own: try again later".to_owned(),
        _ => return None,
    };
    Some(text)
}

/// Whether a tag is refused since it has an image already, in the words of any
/// registry that has such tags.
fn is_tag_that_stays(answer: &Answer, step: &Step) -> bool {
    let Step::WriteManifest(tag) = step else {
        return false;
    };
    let text = answer.text().to_ascii_lowercase();
    let words = [
        "immutab",
        "already exists",
        "overwrit",
        "not allow updating",
    ];
    !tag.contains(':')
        && matches!(answer.status(), 400 | 403 | 405 | 409 | 412)
        && (answer.has_code("TAG_INVALID")
            || answer.has_code("TAG_IMMUTABLE")
            || words.iter().any(|word| text.contains(word)))
}

/// What to do about a 401: who asked may be nobody, somebody who is not
/// believed, or somebody without leave.
fn not_let_in(asker: &Asker, writes: bool, registry: &str) -> String {
    if asker.is_known {
        return no_leave(asker, writes);
    }
    if !asker.has_credential {
        return anonymous(asker, registry);
    }
    let from = match &asker.source {
        CredentialSource::Named(from) => format!(" from {from}"),
        _ => String::new(),
    };
    format!(
        "the registry does not take this user and password{from}: log in anew with `docker login {registry}`, or give others with `--username` and `--password-stdin`"
    )
}

/// What to do for who has given nothing.
fn anonymous(asker: &Asker, registry: &str) -> String {
    match &asker.source {
        CredentialSource::Elsewhere(primary) => format!(
            "the user and password that were given go to `{primary}` only: log in with `docker login {registry}` too"
        ),
        _ => format!(
            "log in with `docker login {registry}`, or give `--username` and `--password-stdin`, or set `IMGBUILD_REGISTRY_USER` and `IMGBUILD_REGISTRY_PASSWORD`"
        ),
    }
}

/// What to do for who is known and may not do this.
fn no_leave(asker: &Asker, writes: bool) -> String {
    let who = match &asker.user {
        Some(user) => format!("`{user}`"),
        None => "who asks".to_owned(),
    };
    let from = match &asker.source {
        CredentialSource::Named(from) => format!(" (from {from})"),
        _ => String::new(),
    };
    match writes {
        true => format!(
            "{who}{from} may not push there: see that the token has leave to write packages, and that the name is right"
        ),
        false => format!(
            "{who}{from} may not read there: see that the token has leave to read, and that the name is right"
        ),
    }
}

/// What to do about a connection that does not last.
fn again(step: &Step) -> &'static str {
    match step {
        Step::StartUpload(_) | Step::Upload(_) | Step::FinishUpload(_) | Step::WriteManifest(_) => {
            "run it again: what was sent is not sent again"
        }
        Step::Token(_) | Step::Ping => "see that the server runs, and run it again",
        _ => "run it again; if it stays so, see that the connection is good",
    }
}

/// What to do when the registry is there, and its token server is not.
fn token_server(kind: NetworkKind) -> Option<&'static str> {
    match kind {
        NetworkKind::Name | NetworkKind::Refused | NetworkKind::Timeout => Some(
            "the registry names this token server in its `WWW-Authenticate`: see that it runs and can be reached from here",
        ),
        other => network(other),
    }
}

fn network(kind: NetworkKind) -> Option<&'static str> {
    Some(match kind {
        NetworkKind::Name => {
            "see that the name of the registry is right, and that this machine has a network"
        }
        NetworkKind::Refused => "see that the registry runs and that its port is right",
        NetworkKind::Authority { has_given: false } => {
            "a registry with an authority of its own, or with a self-signed certificate, needs `--ca-file FILE`"
        }
        NetworkKind::Authority { has_given: true } => {
            "the file of `--ca-file` must hold the certificate of the authority that signed the registry's, or the registry's own"
        }
        NetworkKind::Certificate => {
            "the registry needs a certificate that names this host and is valid now; see that the clock of this machine is right"
        }
        NetworkKind::NoTls => {
            "a registry without TLS that is not on this machine needs `--plain-http`"
        }
        NetworkKind::Tls => "the registry must offer TLS 1.2 or 1.3",
        NetworkKind::NotHttp => "see that this is the port of a registry",
        NetworkKind::Processor => ANOTHER_MACHINE,
        NetworkKind::Proxy => {
            "see that the proxy runs and lets this machine through; `no_proxy` lists what is reached without it"
        }
        NetworkKind::Socks => {
            "name a proxy for http, as `https_proxy=http://HOST:PORT`; `no_proxy` lists what is reached without one"
        }
        _ => return None,
    })
}

fn protocol(problem: &Problem) -> Option<&'static str> {
    match problem {
        Problem::NoRegistry(_) => Some("see that the name of the registry is right"),
        Problem::Downgrade(_) => Some(
            "a proxy before the registry does not tell it that it is reached by https (`X-Forwarded-Proto`)",
        ),
        Problem::Contended(_) => {
            Some("run it again when fewer others write this tag, or let each job write its own")
        }
        Problem::Page(_) => Some(LOGIN_PAGE),
        Problem::MediaType(name) if name.starts_with("text/html") => Some(LOGIN_PAGE),
        Problem::MediaType(_) => Some("see that registry, repository and tag are right"),
        Problem::Digest { .. } => Some(
            "the registry, or something on the way from it, damages what it sends: run it again, or push the image anew",
        ),
        Problem::Platform { .. } => {
            Some("take one of these with `--platform`, or leave it out for all")
        }
        _ => None,
    }
}
