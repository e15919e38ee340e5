//! The configuration of TLS: trusted authorities and cryptography.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::{ALL_VERSIONS, ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

mod validity;
mod verifier;

use verifier::Verifier;

/// The processor features that graviola needs, the only TLS implementation that
/// compiles no C.
#[cfg(target_arch = "x86_64")]
const NEEDS: &str = "AES, PCLMULQDQ, BMI1, BMI2, ADX and AVX2";
#[cfg(target_arch = "aarch64")]
const NEEDS: &str = "NEON, AES, PMULL and SHA2";
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const NEEDS: &str = "x86-64 or AArch64";

/// Returns the needed processor features if one is missing. The implementation
/// itself would panic.
pub(crate) fn missing_instructions() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let has_all = std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq")
        && std::arch::is_x86_feature_detected!("bmi1")
        && std::arch::is_x86_feature_detected!("bmi2")
        && std::arch::is_x86_feature_detected!("adx")
        && std::arch::is_x86_feature_detected!("avx")
        && std::arch::is_x86_feature_detected!("avx2");
    #[cfg(target_arch = "aarch64")]
    let has_all = std::arch::is_aarch64_feature_detected!("neon")
        && std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull")
        && std::arch::is_aarch64_feature_detected!("sha2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has_all = false;
    (!has_all).then_some(NEEDS)
}

/// The authorities that https trusts, and its cryptography; `None` if there is no
/// implementation. Clones share one configuration.
#[derive(Debug, Clone)]
pub struct Trust(pub(crate) Option<Arc<ClientConfig>>);

impl Default for Trust {
    /// Trusts the embedded roots of Mozilla.
    fn default() -> Self {
        Self(config(&[]))
    }
}

impl Trust {
    /// Trusts the embedded roots of Mozilla and the certificates in a PEM text.
    ///
    /// # Errors
    ///
    /// If the text has no certificate, or an invalid one.
    pub fn with_certificates(pem: &[u8]) -> Result<Self, CertificatesError> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let all = all.map_err(|error| CertificatesError(format!("invalid PEM: {error}")))?;
        if all.is_empty() {
            let reason = "no `CERTIFICATE` in the PEM text";
            return Err(CertificatesError(reason.to_owned()));
        }
        let mut store = RootCertStore::empty();
        for certificate in &all {
            store
                .add(certificate.clone())
                .map_err(|error| CertificatesError(format!("malformed certificate: {error}")))?;
        }
        Ok(Self(config(&all)))
    }
}

/// Certificates that cannot be trusted, with the reason.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CertificatesError(String);

/// Returns a configuration that trusts the embedded roots of Mozilla and the
/// added certificates; `None` if there is no implementation.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn config(added: &[CertificateDer<'static>]) -> Option<Arc<ClientConfig>> {
    if missing_instructions().is_some() {
        return None;
    }
    let provider = Arc::new(rustls_graviola::default_provider());
    let authorities =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots(added)), Arc::clone(&provider));
    let authorities = authorities.build().expect("there are roots");
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(ALL_VERSIONS)
        .expect("the provider knows the versions of TLS")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(authorities, added)))
        .with_no_client_auth();
    Some(Arc::new(config))
}

/// Returns the roots of Mozilla, which limits some of them to certain domains,
/// and the added certificates.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn roots(added: &[CertificateDer<'static>]) -> RootCertStore {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    roots.add_parsable_certificates(added.iter().cloned());
    roots
}

/// Returns `None`: there is no implementation.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn config(_: &[CertificateDer<'static>]) -> Option<Arc<ClientConfig>> {
    None
}

#[cfg(test)]
mod tests {
    use rustls::client::danger::ServerCertVerifier;
    use rustls_pki_types::{Der, UnixTime};

    use super::*;

    /// An authority, and a certificate for `registry.example.tr` that it signed.
    const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBkTCCATegAwIBAgIUH6PEiFp0qfiqVtXkFRtXhJ+WO40wCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKRml4dHVyZSBDQTAgFw0yNjEyMDEwMjM2MTNaGA8yMTI2MTEw
NzAyMzYxM1owFTETMBEGA1UEAwwKRml4dHVyZSBDQTBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABBXXpKJB3j6DROHdUdywh8rFzIwf7u6d8YZbaGPZCJW5zDBJeFH9
VIjabY3HZ5kvdXRgmcNzKKdxl5buXMSBfAejYzBhMB0GA1UdDgQWBBTkTJpQaKgg
RynWT015U0AG9mFaEzAfBgNVHSMEGDAWgBTkTJpQaKggRynWT015U0AG9mFaEzAP
BgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwICBDAKBggqhkjOPQQDAgNIADBF
AiEAwCYM78MCY3GdC4NJxBfKqTe+Kdueg3PNH27eDcbS5IsCIG50oEWZ/kgUg7sY
vhaW2MReEbcf+1tlVPkBZfkTaAX9
-----END CERTIFICATE-----
";
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBhzCCAS2gAwIBAgIUBD/TwKkCs6shhZwuzhygqLDSJCgwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKRml4dHVyZSBDQTAgFw0yNjEyMDEwMjM2MTNaGA8yMTI2MTEw
NzAyMzYxM1owDDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA
BIfinWhfdYpSdFX92AxiuBgFjkvTaP606cW0E27/dpvdbEL0/Ig+qytuz/HpWAOy
OlUg5Jngt4m/Ud37fC1L8cqjYjBgMB4GA1UdEQQXMBWCE3JlZ2lzdHJ5LmV4YW1w
bGUudHIwHQYDVR0OBBYEFOvi8nvTDtzaTUspLZ3vho1xgTs4MB8GA1UdIwQYMBaA
FORMmlBoqCBHKdZPTXlTQAb2YVoTMAoGCCqGSM49BAMCA0gAMEUCIQDP88DSjwmU
z1Ev5dFwgJKWNEGW3YDnpHDj1cCcrJN83AIgI77BEL8xDD1WdtKqLu3AeyvCh4Jm
e2HUAToYV3PqHgc=
-----END CERTIFICATE-----
";

    /// Verifies the certificate if its authority is limited to a domain.
    fn verify(domain: &[u8]) -> Result<(), String> {
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut store = RootCertStore::empty();
        store.add(der(AUTHORITY)).unwrap();
        // RFC 5280, section 4.2.1.10, without the outer tag.
        let size = u8::try_from(domain.len()).unwrap();
        let limits = [&[0xa0, size + 4, 0x30, size + 2, 0x82, size], domain].concat();
        store.roots[0].name_constraints = Some(Der::from(limits));
        let provider = Arc::new(rustls_graviola::default_provider());
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider);
        let verifier = Verifier::new(authorities.build().unwrap(), &[]);
        let name = "registry.example.tr".try_into().unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_900_000_000));
        let verified = verifier.verify_server_cert(&der(CERTIFICATE), &[], &name, &[], now);
        verified.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn an_authority_vouches_only_for_the_domains_that_it_is_limited_to() {
        verify(b".tr").unwrap();
        let error = verify(b".example").unwrap_err();
        assert!(
            error.contains(
                "the authority that signed the certificate may not do so for its host names"
            ),
            "{error}"
        );
    }

    #[test]
    fn the_limits_of_mozilla_are_kept() {
        let roots = roots(&[]).roots;
        let limits = roots
            .iter()
            .filter_map(|root| root.name_constraints.as_ref());
        let mut texts = limits.map(|der| String::from_utf8_lossy(der));
        assert!(texts.any(|text| text.ends_with(".tr")));
    }

    #[test]
    fn invalid_certificates_are_refused() {
        let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in ["", "hello", not_der] {
            assert!(Trust::with_certificates(pem.as_bytes()).is_err(), "{pem}");
        }
    }
}
