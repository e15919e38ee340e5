//! Violations of the distribution protocol.

use imgbuild_oci::digest::Digest;

/// A violation of the protocol, or something that the registry lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A server that is not a registry.
    #[error("the server is not an OCI registry (HTTP status {0})")]
    NoRegistry(u16),
    /// An authentication scheme that is not supported.
    #[error("the registry requires an unsupported authentication scheme: {0}")]
    Login(String),
    /// A web page instead of a registry, from this server after a redirect.
    #[error("{}the server returned a web page (a login portal?), not a registry response", redirect(.0.as_deref()))]
    Page(Option<String>),
    /// Too many redirects.
    #[error("more than {0} redirects")]
    Redirects(usize),
    /// A redirect without a valid URL.
    #[error("the URL of the redirect is missing or invalid")]
    RedirectUrl,
    /// A redirect, upload or token server without TLS.
    #[error("the registry leads to `{0}` without https, which is not secure")]
    Downgrade(String),
    /// An upload without a valid URL.
    #[error("the registry returned no valid upload URL")]
    NoLocation,
    /// A document that is too large.
    #[error("the response is larger than {0} bytes")]
    TooLong(u64),
    /// A blob of another size.
    #[error("expected {expected} bytes, received {found}")]
    Size {
        /// The size in the manifest.
        expected: u64,
        /// The number of bytes that were received or announced.
        found: u64,
    },
    /// Bytes with another digest.
    #[error("expected {expected}, received bytes with the digest {found}")]
    Digest {
        /// The requested digest.
        expected: Digest,
        /// The digest of the received bytes.
        found: Digest,
    },
    /// Another digest reported for what was sent.
    #[error("sent {expected}, but the registry reports `{found}`")]
    OtherDigest {
        /// The digest of what was sent.
        expected: Digest,
        /// The reported digest.
        found: String,
    },
    /// A document that is not a manifest.
    #[error("not an image manifest or index, but `{0}`")]
    MediaType(String),
    /// A manifest that cannot be parsed.
    #[error("malformed manifest: {0}")]
    Malformed(String),
    /// A token server with an invalid URL.
    #[error("the URL of the token server is invalid")]
    TokenUrl,
    /// A response of a token server without a token.
    #[error("the token server returned no token")]
    NoToken,
    /// Another number of bytes than were sent.
    #[error("the registry reports {found} bytes of an upload, but {sent} were sent")]
    Offset {
        /// The number of bytes that were sent.
        sent: u64,
        /// The reported number.
        found: u64,
    },
    /// An index without an image for the platform.
    #[error("the index has no image for {wanted} (it has: {found})")]
    Platform {
        /// The requested platform.
        wanted: String,
        /// The platforms of the index.
        found: String,
    },
    /// A tag that other writers keep replacing.
    #[error("other writers replaced this tag {0} times")]
    Contended(u32),
    /// An index that was written after other writers stopped waiting.
    #[error(
        "the index update took {taken} s, but other writers wait only {limit} s: a concurrent update may be lost"
    )]
    Late {
        /// The time from reading to writing the index, in seconds.
        taken: u64,
        /// The time that other writers wait, in seconds.
        limit: u64,
    },
    /// An index that refers to itself, or to too many manifests.
    #[error("the index refers to too many manifests, or to itself")]
    TooMany,
}

/// Formats the server that a redirect led to.
pub(crate) fn redirect(server: Option<&str>) -> String {
    server.map_or_else(String::new, |server| format!("redirected to `{server}`: "))
}

impl ProtocolError {
    /// Returns whether another attempt may succeed: bytes that were damaged on
    /// their way.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Digest { .. } => true,
            // A response that is too long stays so.
            Self::Size { expected, found } => found < expected,
            _ => false,
        }
    }
}
