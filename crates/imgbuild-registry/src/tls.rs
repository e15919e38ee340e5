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

/// Parses the certificates of a PEM text, and checks that each can be trusted.
///
/// # Errors
///
/// If the text has no certificate, or an invalid one.
pub(crate) fn parse_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| format!("invalid PEM: {error}"))?;
    if all.is_empty() {
        return Err("no `CERTIFICATE` in the PEM text".to_owned());
    }
    let mut store = RootCertStore::empty();
    for certificate in &all {
        let added = store.add(certificate.clone());
        added.map_err(|error| format!("malformed certificate: {error}"))?;
    }
    Ok(all)
}

/// Returns a configuration that trusts the embedded roots of Mozilla and the
/// added certificates; `None` if there is no implementation.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) fn config(added: &[CertificateDer<'static>]) -> Option<Arc<ClientConfig>> {
    if missing_instructions().is_some() {
        return None;
    }
    let provider = Arc::new(rustls_graviola::default_provider());
    let mut roots = RootCertStore::empty();
    let embedded = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
    roots.add_parsable_certificates(embedded.chain(added.iter().cloned()));
    let authorities =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let authorities = authorities.build().expect("there are roots");
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(ALL_VERSIONS)
        .expect("the provider knows the versions of TLS")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(authorities, added)))
        .with_no_client_auth();
    Some(Arc::new(config))
}

/// Returns `None`: there is no implementation.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn config(_: &[CertificateDer<'static>]) -> Option<Arc<ClientConfig>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_certificates_are_refused() {
        let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in ["", "hello", not_der] {
            assert!(parse_certificates(pem.as_bytes()).is_err(), "{pem}");
        }
    }
}
