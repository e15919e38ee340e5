//! What to do when a registry says no.

use imgbuild_registry::error::{Error, NetworkKind, Problem, Step};

const ANOTHER_MACHINE: &str = "write the image with `--output oci:DIR`, and push it from another machine with `imgbuild copy`";

/// Returns what the user can do about a failure.
pub(crate) fn hints(error: &Error) -> Vec<String> {
    let hint = match error {
        Error::Refused {
            answer,
            step,
            place,
        } => {
            let registry = place.registry();
            return refusal(answer.status(), step, registry)
                .into_iter()
                .collect();
        }
        Error::Network {
            reason,
            step: Step::Token(_),
            ..
        } => token_server(reason.kind),
        Error::Network { reason, .. } => network(reason.kind),
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

fn refusal(status: u16, step: &Step, registry: &str) -> Option<String> {
    let writes = matches!(
        step,
        Step::StartUpload(_) | Step::Upload(_) | Step::FinishUpload(_) | Step::WriteManifest(_)
    );
    let text = match status {
        401 => format!(
            "log in with `docker login {registry}`, or give `--username` and `--password-stdin`, or set `IMGBUILD_REGISTRY_USER` and `IMGBUILD_REGISTRY_PASSWORD`"
        ),
        403 if writes => {
            "these credentials may not push there: see that the token has leave to write packages, and that the name is right".to_owned()
        }
        403 => "these credentials may not read there: see that the token has leave to read, and that the name is right".to_owned(),
        404 if writes => {
            "there is no such repository, or no leave to see it: some registries want it to be made first".to_owned()
        }
        404 => "see that registry, repository and tag are right; what may not be seen is not found either".to_owned(),
        413 => "a server before the registry takes no blob of this size: its limit must be raised, or `--max-layers` made larger".to_owned(),
        429 => "the registry limits how often it is asked: wait, or log in to be allowed more".to_owned(),
        500..=599 => "the registry has a problem of its own: try again later".to_owned(),
        _ => return None,
    };
    Some(text)
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
        NetworkKind::Proxy => "see `https_proxy` and `no_proxy`",
        NetworkKind::Timeout | NetworkKind::Cut => "run it again: what was sent is not sent again",
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
        Problem::Platform { .. } => {
            Some("take one of these with `--platform`, or leave it out for all")
        }
        _ => None,
    }
}
