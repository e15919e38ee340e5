//! Verification of the certificates of servers, with readable errors.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::validity::{rfc_3339, validity};
use crate::error_response::bounded;
use crate::network_error::{NetworkError, NetworkKind};

/// The maximum number of names of a certificate in a message.
const MAX_NAMES: usize = 10;

/// A verifier that trusts what authorities signed, and the very certificates
/// that the user added, as `curl` and Go do. A certificate made by
/// `openssl req -x509` signs itself.
#[derive(Debug)]
pub(super) struct Verifier {
    authorities: Arc<WebPkiServerVerifier>,
    added: Vec<CertificateDer<'static>>,
}

impl Verifier {
    pub(super) fn new(
        authorities: Arc<WebPkiServerVerifier>,
        added: &[CertificateDer<'static>],
    ) -> Self {
        Self {
            authorities,
            added: added.to_vec(),
        }
    }

    /// Checks an added certificate, except for its signature.
    fn check_added(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        time: UnixTime,
    ) -> Result<(), Error> {
        let valid = validity(certificate).ok_or(CertificateError::BadEncoding)?;
        let unix_time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        if time.as_secs() < valid.not_before {
            let not_before = unix_time(valid.not_before);
            return Err(CertificateError::NotValidYetContext { time, not_before }.into());
        }
        if time.as_secs() > valid.not_after {
            let not_after = unix_time(valid.not_after);
            return Err(CertificateError::ExpiredContext { time, not_after }.into());
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
    }

    fn network_error(
        &self,
        error: &CertificateError,
        certificate: &CertificateDer<'_>,
    ) -> NetworkError {
        match authority_text(error) {
            Some(text) => {
                let has_added = !self.added.is_empty();
                NetworkError::new(NetworkKind::Authority { has_added }, text)
            }
            None => NetworkError::new(NetworkKind::Certificate, reason(error, certificate)),
        }
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
        // All rules but the signature hold for an added certificate, too.
        let is_of_authority = matches!(
            &error,
            Error::InvalidCertificate(reason) if authority_text(reason).is_some()
        );
        if is_of_authority && self.added.iter().any(|one| one == end_entity) {
            match self.check_added(end_entity, server_name, now) {
                Ok(()) => return Ok(ServerCertVerified::assertion()),
                Err(other) => error = other,
            }
        }
        Err(match &error {
            Error::InvalidCertificate(reason) => {
                let error = self.network_error(reason, end_entity);
                CertificateError::Other(OtherError(Arc::new(error))).into()
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

/// Returns the text of an error if a certificate was refused because of its
/// authority.
fn authority_text(error: &CertificateError) -> Option<&'static str> {
    match error {
        CertificateError::UnknownIssuer => {
            Some("the certificate is signed by an unknown authority")
        }
        CertificateError::Other(other) if is(other, "CaUsedAsEndEntity") => {
            Some("the certificate is self-signed or an authority's own, and not trusted")
        }
        _ => None,
    }
}

/// Checks the name of an error of `rustls-webpki`, for which rustls has no type.
fn is(error: &OtherError, name: &str) -> bool {
    error.0.to_string() == name
}

fn reason(error: &CertificateError, certificate: &CertificateDer<'_>) -> String {
    use CertificateError as Reason;
    let date = |time: &UnixTime| rfc_3339(time.as_secs());
    match error {
        Reason::ExpiredContext { time, not_after } => {
            let is_own =
                validity(certificate).is_some_and(|valid| valid.not_after == not_after.as_secs());
            let which = if is_own { "the" } else { "an issuer's" };
            let (end, now) = (date(not_after), date(time));
            format!("{which} certificate expired at {end} (it is now {now})")
        }
        Reason::NotValidYetContext { time, not_before } => format!(
            "the certificate is not valid before {} (it is now {})",
            date(not_before),
            date(time)
        ),
        Reason::NotValidForNameContext {
            expected,
            presented,
        } => other_names(&expected.to_str(), presented),
        Reason::Expired => "the certificate is expired".to_owned(),
        Reason::NotValidYet => "the certificate is not valid yet".to_owned(),
        Reason::NotValidForName => "the certificate is for another host".to_owned(),
        Reason::BadEncoding => "the certificate is malformed".to_owned(),
        Reason::Revoked => "the certificate is revoked".to_owned(),
        Reason::BadSignature => "the signature of the certificate is invalid".to_owned(),
        Reason::InvalidPurpose | Reason::InvalidPurposeContext { .. } => {
            "the certificate is not for servers".to_owned()
        }
        Reason::UnhandledCriticalExtension => {
            "the certificate has an unsupported critical extension".to_owned()
        }
        Reason::Other(other) if is(other, "UnsupportedCertVersion") => {
            "the certificate is X.509 version 1, without host names; version 3 is needed".to_owned()
        }
        Reason::Other(other) if is(other, "NameConstraintViolation") => {
            "the authority that signed the certificate may not do so for its host names".to_owned()
        }
        Reason::UnsupportedSignatureAlgorithmContext { .. }
        | Reason::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the certificate has an unsupported signature algorithm".to_owned()
        }
        _ => "the certificate is not acceptable".to_owned(),
    }
}

/// Lists the names of a certificate for another host. rustls formats them for
/// example as `DnsName("a.example")` or `IpAddress(127.0.0.1)`.
fn other_names(expected: &str, presented: &[String]) -> String {
    let names = presented.iter().filter_map(|name| {
        let (kind, rest) = name.split_once('(')?;
        let name = rest.strip_suffix(')')?.trim_matches('"');
        let note = match kind {
            "DnsName" if name.parse::<IpAddr>().is_ok() => {
                " as a DNS name instead of an IP address"
            }
            "DnsName" | "IpAddress" => "",
            _ => return None,
        };
        Some(format!("`{}`{note}", bounded(name)))
    });
    let names: Vec<String> = names.take(MAX_NAMES).collect();
    if names.is_empty() {
        return format!("the certificate is not for `{expected}`: it has no host names");
    }
    let names = names.join(", ");
    format!("the certificate is not for `{expected}`, but for {names}")
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
            "the certificate is not for `b.example`, but for `a.example`, `127.0.0.1`"
        );
        assert_eq!(
            other_names("b.example", &presented[2..]),
            "the certificate is not for `b.example`: it has no host names"
        );
        let presented = ["DnsName(\"127.0.0.1\")".to_owned()];
        assert_eq!(
            other_names("127.0.0.1", &presented),
            "the certificate is not for `127.0.0.1`, but for `127.0.0.1` as a DNS name instead of an IP address"
        );
    }
}
