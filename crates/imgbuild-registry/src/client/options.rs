//! The options of a client.

use crate::retry::RetryPolicy;
use crate::secret::{Credential, CredentialOrigin, Secrets};
use crate::tls::Trust;
use crate::transport::{ProxyOptions, Timeouts};

/// The default chunk size, in bytes.
const DEFAULT_CHUNK_BYTES: u64 = 32 << 20;

/// The options of a [`Client`](super::Client).
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// The credential; anonymous without one.
    pub credential: Option<Credential>,
    /// The origin of the credential.
    pub origin: CredentialOrigin,
    /// The set that all secrets are added to, so that none is shown.
    pub secrets: Secrets,
    /// Set if http is allowed on other hosts than this one.
    pub plain_http: bool,
    /// The authorities that https trusts.
    pub trust: Trust,
    /// The proxy for https.
    pub https_proxy: Option<ProxyOptions>,
    /// The proxy for http.
    pub http_proxy: Option<ProxyOptions>,
    /// The timeouts of requests.
    pub timeouts: Timeouts,
    /// The policy for retries.
    pub retry: RetryPolicy,
    /// The `User-Agent` of requests.
    pub user_agent: String,
    /// The size of the first chunk of a blob that cannot be sent in one request,
    /// in bytes. Later chunks may be smaller, or larger if the registry asks for
    /// it.
    pub chunk_bytes: u64,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self::with_trust(Trust::default())
    }
}

impl ClientOptions {
    /// Returns the defaults with other authorities.
    #[must_use]
    pub fn with_trust(trust: Trust) -> Self {
        Self {
            credential: None,
            origin: CredentialOrigin::Unknown,
            secrets: Secrets::default(),
            plain_http: false,
            trust,
            https_proxy: None,
            http_proxy: None,
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            user_agent: "imgbuild".to_owned(),
            chunk_bytes: DEFAULT_CHUNK_BYTES,
        }
    }
}
