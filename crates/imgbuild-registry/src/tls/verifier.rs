//! Whether a server is who it should be, and in words why not.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::validity::{rfc_3339, validity};
use crate::answer::bounded;
use crate::error::{NetworkError, NetworkKind};

/// How many names of a certificate are listed.
const MAX_NAMES: usize = 10;

/// Trusts what authorities have signed, and the very certificates that the
/// user gives, as `curl` and Go do: a registry's own self-signed certificate
/// is what `openssl req -x509` makes.
#[derive(Debug)]
pub(super) struct Verifier {
    authorities: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

/// Why a certificate is not trusted.
#[derive(Debug)]
pub(crate) struct Distrust(pub(crate) NetworkError);

impl fmt::Display for Distrust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for Distrust {}

impl Verifier {
    pub(super) fn new(
        authorities: Arc<WebPkiServerVerifier>,
        given: &[CertificateDer<'static>],
    ) -> Self {
        Self {
            authorities,
            given: given.to_vec(),
        }
    }

    /// Checks everything of a certificate that the user trusts but who has
    /// signed it.
    fn check_given(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let valid = validity(certificate).ok_or(CertificateError::BadEncoding)?;
        let time = now;
        if now.as_secs() < valid.not_before {
            let not_before =
                UnixTime::since_unix_epoch(std::time::Duration::from_secs(valid.not_before));
            return Err(CertificateError::NotValidYetContext { time, not_before }.into());
        }
        if now.as_secs() > valid.not_after {
            let not_after =
                UnixTime::since_unix_epoch(std::time::Duration::from_secs(valid.not_after));
            return Err(CertificateError::ExpiredContext { time, not_after }.into());
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
    }

    /// Puts an error into words that tell a stranger what is wrong.
    fn in_words(&self, error: &CertificateError, certificate: &CertificateDer<'_>) -> Distrust {
        let has_given = !self.given.is_empty();
        let authority = NetworkKind::Authority { has_given };
        let (kind, text) = match error {
            CertificateError::UnknownIssuer => (
                authority,
                "its certificate is signed by an authority that is not trusted".to_owned(),
            ),
            CertificateError::Other(other) if is(other, "CaUsedAsEndEntity") => (
                authority,
                "its certificate is one of an authority, such as a self-signed one, and not trusted"
                    .to_owned(),
            ),
            error => (NetworkKind::Certificate, reason(error, certificate)),
        };
        Distrust(NetworkError::new(kind, text))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let mut error = match verified {
            Ok(verified) => return Ok(verified),
            Err(error) => error,
        };
        // Only who has signed it is of no concern then: all other rules hold.
        if is_of_authority(&error) && self.given.iter().any(|one| one == end_entity) {
            match self.check_given(end_entity, server_name, now) {
                Ok(()) => return Ok(ServerCertVerified::assertion()),
                Err(other) => error = other,
            }
        }
        Err(match &error {
            Error::InvalidCertificate(reason) => {
                let distrust = self.in_words(reason, end_entity);
                CertificateError::Other(OtherError(Arc::new(distrust))).into()
            }
            _ => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Whether a certificate is refused for who has signed it.
fn is_of_authority(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        Error::InvalidCertificate(CertificateError::Other(other)) => is(other, "CaUsedAsEndEntity"),
        _ => false,
    }
}

/// What rustls knows only by the name that another crate gives it.
fn is(error: &OtherError, name: &str) -> bool {
    error.0.to_string() == name
}

fn reason(error: &CertificateError, certificate: &CertificateDer<'_>) -> String {
    use CertificateError as Reason;
    let date = |time: &UnixTime| rfc_3339(time.as_secs());
    match error {
        Reason::ExpiredContext { time, not_after } => {
            let is_its =
                validity(certificate).is_some_and(|valid| valid.not_after == not_after.as_secs());
            let whose = match is_its {
                true => "its certificate",
                false => "a certificate that signed its own",
            };
            format!(
                "{whose} expired at {}, and it is {} now",
                date(not_after),
                date(time)
            )
        }
        Reason::NotValidYetContext { time, not_before } => format!(
            "its certificate is valid from {} on, and it is {} now",
            date(not_before),
            date(time)
        ),
        Reason::Expired => "its certificate has expired".to_owned(),
        Reason::NotValidYet => "its certificate is not valid yet".to_owned(),
        Reason::NotValidForNameContext {
            expected,
            presented,
        } => other_names(&expected.to_str(), presented),
        Reason::NotValidForName => "its certificate is for another host".to_owned(),
        Reason::BadEncoding => "its certificate is malformed".to_owned(),
        Reason::Revoked => "its certificate is revoked".to_owned(),
        Reason::BadSignature => {
            "its certificate is not signed by the authority that it names".to_owned()
        }
        Reason::InvalidPurpose | Reason::InvalidPurposeContext { .. } => {
            "its certificate is not meant for servers".to_owned()
        }
        Reason::UnhandledCriticalExtension => {
            "its certificate has a critical extension that is not known here".to_owned()
        }
        Reason::Other(other) if is(other, "UnsupportedCertVersion") => {
            "its certificate is of X.509 version 1, which names no hosts: it must be of version 3"
                .to_owned()
        }
        Reason::UnsupportedSignatureAlgorithmContext { .. }
        | Reason::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its certificate is signed in a way that is not accepted here".to_owned()
        }
        _ => "its certificate is none that can be accepted".to_owned(),
    }
}

/// `presented` has names as `DnsName("a.example")` and `IpAddress(127.0.0.1)`.
fn other_names(expected: &str, presented: &[String]) -> String {
    let names = presented.iter().filter_map(|name| {
        let (kind, rest) = name.split_once('(')?;
        let is_host = matches!(kind, "DnsName" | "IpAddress");
        let name = rest.strip_suffix(')')?.trim_matches('"');
        is_host.then(|| format!("`{}`", bounded(name)))
    });
    let names: Vec<String> = names.take(MAX_NAMES).collect();
    match names.is_empty() {
        true => format!("its certificate is not for `{expected}`: it names no host"),
        false => format!(
            "its certificate is not for `{expected}`, but for {}",
            names.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_certificate_are_listed_without_those_of_their_kinds() {
        let presented = [
            "DnsName(\"a.example\")",
            "IpAddress(127.0.0.1)",
            "Unsupported(0x81)",
        ];
        let presented = presented.map(str::to_owned);
        assert_eq!(
            other_names("b.example", &presented),
            "its certificate is not for `b.example`, but for `a.example`, `127.0.0.1`"
        );
        assert_eq!(
            other_names("b.example", &presented[2..]),
            "its certificate is not for `b.example`: it names no host"
        );
    }
}
