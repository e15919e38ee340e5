//! Violations of the distribution protocol.

use std::borrow::Cow;

use imgbuild_oci::digest::Digest;
use imgbuild_oci::selection::IndexPart;

/// A violation of the protocol, or something that the registry lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A server that is not a registry.
    #[error("the server is not an OCI registry (HTTP status {0})")]
    NoRegistry(u16),
    /// A web page instead of a registry, from this server after a redirect.
    #[error("{}the server returned a web page (a login portal?), not a registry response", redirect(.0.as_deref()))]
    Page(Option<String>),
    /// A redirect, upload or token server without TLS.
    #[error("the registry leads to `{0}` without https, which is not secure")]
    Downgrade(String),
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
    #[error("sent {0}, but the registry reports `{1}`")]
    OtherDigest(Digest, String),
    /// A document that is not a manifest, with its media type, or an empty text
    /// if it has none.
    #[error("not an image manifest or index, but {}", describe_type(.0))]
    MediaType(String),
    /// A response without the document.
    #[error("the response is empty")]
    Empty,
    /// A manifest that cannot be parsed.
    #[error("malformed manifest: {0}")]
    Malformed(String),
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
    /// An index of which only some images are in the registry.
    #[error("{0}")]
    Part(IndexPart),
    /// A tag that other writers keep replacing.
    #[error("other writers replaced this tag {0} times")]
    Contended(u32),
    /// Another violation.
    #[error("{0}")]
    Other(Cow<'static, str>),
}

/// Formats the media type of a document.
fn describe_type(media_type: &str) -> String {
    if media_type.is_empty() {
        "a document without a media type".to_owned()
    } else {
        format!("`{media_type}`")
    }
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
