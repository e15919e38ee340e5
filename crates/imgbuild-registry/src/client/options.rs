//! How a registry is reached.

use crate::retry::RetryPolicy;
use crate::secret::{Credential, CredentialSource, Secrets};
use crate::transport::{ProxyOptions, Timeouts};

/// The size of chunks, where a blob cannot be sent in one request.
const DEFAULT_CHUNK_BYTES: u64 = 32 << 20;

/// How a registry is reached.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Who asks; without it, everybody.
    pub credential: Option<Credential>,
    /// Where the credential comes from.
    pub source: CredentialSource,
    /// Takes all secrets that become known, so that none is shown.
    pub secrets: Secrets,
    /// Whether http will do on hosts other than this one.
    pub plain_http: bool,
    /// Certificates in PEM that are trusted beside Mozilla's roots.
    pub certificates: Option<Vec<u8>>,
    /// The proxy for https, and that for http.
    pub https_proxy: Option<ProxyOptions>,
    /// See `https_proxy`.
    pub http_proxy: Option<ProxyOptions>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How often they are tried.
    pub retry: RetryPolicy,
    /// What the registry is told of the program.
    pub user_agent: String,
    /// The size of the first chunk, where a blob cannot be sent in one
    /// request; later ones are made smaller if need be, and larger if the
    /// registry asks for it.
    pub chunk_bytes: u64,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            credential: None,
            source: CredentialSource::Unknown,
            secrets: Secrets::default(),
            plain_http: false,
            certificates: None,
            https_proxy: None,
            http_proxy: None,
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            user_agent: "imgbuild".to_owned(),
            chunk_bytes: DEFAULT_CHUNK_BYTES,
        }
    }
}
