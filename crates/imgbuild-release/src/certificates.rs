//! CA bundles: parsed, checked, merged, and put where programs look for them.
//!
//! A bundle that is copied as it is loses certificates: each reader fails on
//! something different (a byte order mark, blanks at line ends, one damaged
//! block, a revocation list). So nothing is copied: each certificate is parsed
//! and written again as one clean block, or refused by name. `collect` parses
//! the blocks of a file and refuses damaged ones; `report` has the messages.
//!
//! The order of the result depends on the set of certificates alone, neither
//! on the order of the sources nor on that of a directory: they are sorted by
//! their DER bytes. Readers look certificates up by subject and key, so their
//! order has no meaning.

mod collect;
pub(crate) mod der;
pub(crate) mod java;
mod pem;
mod report;
#[cfg(test)]
mod tests;
mod time;
mod x509;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use imgbuild_oci::monitor::Monitor;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

pub use self::der::DerError;
pub use self::report::{CertificateError, CertificateNotice};
pub use self::time::Time;
pub use self::x509::Certificate;

use self::collect::Collector;
pub(crate) use self::collect::MAX_FILE_BYTES;

/// The path of the bundle in an image: that of Debian, and the first that Go,
/// rustls-native-certs and Erlang/OTP try.
pub const BUNDLE_PATH: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Symbolic links to the bundle, as path and target, for programs that were
/// built to look elsewhere.
///
/// The lists that runtimes search one after the other all begin with
/// [`BUNDLE_PATH`] or hold it: [Go], [openssl-probe], [Erlang/OTP]. What needs
/// a link is a library with one path built in, above all OpenSSL with its
/// `OPENSSLDIR/cert.pem`. Java reads none of these, but a store of its own (`java`).
///
/// Targets are absolute, so that they hold where a directory above is itself
/// a link. The one beside the bundle is relative: Go skips such links when it
/// reads the directory, and so does not parse the bundle twice.
///
/// [Go]: https://github.com/golang/go/blob/go1.25.0/src/crypto/x509/root_linux.go
/// [openssl-probe]: https://github.com/rustls/openssl-probe/blob/main/src/lib.rs
/// [Erlang/OTP]: https://github.com/erlang/otp/blob/OTP-28.0/lib/public_key/src/pubkey_os_cacerts.erl
pub const ALIASES: &[(&str, &str)] = &[
    // NixOS (nixos/modules/security/ca.nix) and curl's search for a default.
    ("/etc/ssl/certs/ca-bundle.crt", "ca-certificates.crt"),
    // OpenSSL and LibreSSL of Alpine and Arch: `OPENSSLDIR=/etc/ssl`.
    ("/etc/ssl/cert.pem", BUNDLE_PATH),
    // openSUSE.
    ("/etc/ssl/ca-bundle.pem", BUNDLE_PATH),
    // OpenSSL of Fedora and RHEL: `OPENSSLDIR=/etc/pki/tls`.
    ("/etc/pki/tls/cert.pem", BUNDLE_PATH),
    // curl and Git of Fedora and RHEL.
    ("/etc/pki/tls/certs/ca-bundle.crt", BUNDLE_PATH),
    // Where the two above lead since RHEL 7.
    (
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        BUNDLE_PATH,
    ),
    // OpenSSL of Debian and Ubuntu: `openssl version -d`.
    ("/usr/lib/ssl/cert.pem", BUNDLE_PATH),
    // OpenSSL built by its own defaults, and so by the crate openssl-src
    // (`vendored`), which every Rust program with its own OpenSSL uses.
    ("/usr/local/ssl/cert.pem", BUNDLE_PATH),
];

/// The bundles of systems, the preferred one first: the order of openssl-probe,
/// then the older path of NixOS. macOS and the BSDs have `/etc/ssl/cert.pem`
/// too.
pub const SYSTEM_BUNDLES: &[&str] = &[
    BUNDLE_PATH,
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-bundle.crt",
];

/// The crate that the embedded certificates come from, and its version. A
/// crate cannot ask for the version of another: a test compares this with
/// `Cargo.lock`.
pub const EMBEDDED_EDITION: &str = "webpki-root-certs 1.0.11";

/// A source of certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// Mozilla's roots for TLS servers, as they are part of the program: the
    /// same on every machine. The constraints that Mozilla's own programs put
    /// on some of them (by date of issue, for example) are not part of a
    /// certificate, and so are lost in any bundle.
    Embedded,
    /// This machine's bundle: the first of these paths that exists, usually
    /// of [`SYSTEM_BUNDLES`].
    System(Vec<PathBuf>),
    /// A PEM or DER file, or a directory of them.
    Path(PathBuf),
}

impl CertificateSource {
    /// Returns the file or directory of this machine that it is read from, if it
    /// exists.
    #[must_use]
    pub fn place(&self) -> Option<&Path> {
        let paths = match self {
            Self::Embedded => &[][..],
            Self::System(paths) => paths,
            Self::Path(path) => std::slice::from_ref(path),
        };
        paths
            .iter()
            .find(|path| path.exists())
            .map(PathBuf::as_path)
    }
}

/// A file with CA certificates of a base image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseBundle {
    /// The path in the image.
    pub path: PathBuf,
    /// The content, unless the file is too large or not known as a bundle.
    pub bytes: Option<Vec<u8>>,
}

impl BaseBundle {
    /// Parses it, and names what is left out. The times of certificates are not
    /// checked: the base has them already.
    #[must_use]
    pub fn parse(&self) -> (Certificates, Vec<CertificateNotice>) {
        let mut collector = Collector::default();
        if let Some(bytes) = &self.bytes {
            collector.add_bytes(&self.path, bytes);
        }
        (collector.certificates, collector.problems)
    }
}

/// A set of certificates, each one once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificates {
    /// In the order of the bundle: certificates compare by their DER.
    pub set: BTreeSet<Certificate>,
}

impl Certificates {
    /// Reads, checks and merges all sources. `validity_at` is the time, in
    /// Unix seconds, at which certificates should be valid; without it
    /// their times are not checked.
    ///
    /// # Errors
    ///
    /// Fails if something cannot be read, on an interruption, or with the problems of all sources.
    pub fn load(
        sources: &[CertificateSource],
        validity_at: Option<u64>,
        monitor: Monitor<'_>,
    ) -> Result<(Self, Vec<CertificateNotice>), CertificateError> {
        let mut collector = Collector::new(validity_at);
        for source in sources {
            match source {
                CertificateSource::Embedded => collector.add_embedded(),
                CertificateSource::System(candidates) => {
                    let path = source.place();
                    let path = path.ok_or_else(|| CertificateError::NoSystemBundle {
                        looked_for: candidates.clone(),
                    })?;
                    collector.add_path(path, monitor)?;
                }
                CertificateSource::Path(path) => collector.add_path(path, monitor)?,
            }
        }
        collector.finish()
    }

    /// Returns the bundle: one block of PEM per certificate, with lines of 64
    /// characters that end in LF, and nothing else.
    #[must_use]
    pub fn to_pem(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for certificate in &self.set {
            pem::write_certificate(&mut text, &certificate.der);
        }
        text
    }
}

/// Describes the embedded certificates: their number and their version.
#[must_use]
pub fn edition() -> String {
    let count = TLS_SERVER_ROOT_CERTS.len();
    format!("{count} root certificates of Mozilla ({EMBEDDED_EDITION})")
}
