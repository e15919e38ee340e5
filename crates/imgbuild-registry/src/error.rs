//! Why something did not work at a registry, in one line.

use std::fmt;
use std::io;

use imgbuild_oci::digest::{Digest, ParseDigestError};

pub use crate::answer::Answer;

/// What can fail between a program and a registry.
///
/// A message says the registry, the repository, what was to be done there, and
/// what came back. What is sent by others is escaped and cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry, or a server that it leads to, said no.
    #[error("cannot {}: {answer}", request(.step, .place))]
    Refused {
        /// The registry and repository.
        place: Place,
        /// What was to be done.
        step: Step,
        /// Status and reason.
        answer: Box<Answer>,
    },

    /// No whole answer came.
    #[error("cannot {}: {reason}", task(.step, .place))]
    Network {
        /// The registry and repository.
        place: Place,
        /// What was to be done.
        step: Step,
        /// Why, in a few words, so that one line says all.
        reason: Box<NetworkError>,
    },

    /// The registry does what no registry may.
    #[error("cannot {}: {problem}", task(.step, .place))]
    Protocol {
        /// The registry and repository.
        place: Place,
        /// What was to be done.
        step: Step,
        /// The rule that it breaks.
        problem: Box<Problem>,
    },

    /// What was to be sent could not be read.
    #[error("cannot read what is to be sent to `{place}`")]
    Content {
        /// The registry and repository.
        place: Place,
        /// Why.
        source: io::Error,
    },

    /// What was received could not be written.
    #[error("cannot keep what was received from `{place}`")]
    Sink {
        /// The registry and repository.
        place: Place,
        /// Why.
        source: io::Error,
    },

    /// What is to be trusted instead of the embedded roots is no certificate.
    #[error("cannot use the certificates for `{registry}`: {reason}")]
    Certificates {
        /// The registry.
        registry: String,
        /// What is wrong with them.
        reason: String,
    },

    /// The processor lacks what the TLS implementation needs.
    #[error(
        "cannot reach `{registry}` by https: this processor lacks the instructions for it ({needs})"
    )]
    Processor {
        /// The registry.
        registry: String,
        /// What is needed.
        needs: &'static str,
    },

    /// The address of the proxy cannot be used. It may hold a password, so it
    /// is not shown.
    #[error("cannot use the proxy for `{registry}`: what `{variable}` has is no address of one")]
    Proxy {
        /// The registry.
        registry: String,
        /// What gives the address.
        variable: String,
    },

    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// The result of everything in this crate that can fail as [`Error`] says.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Returns what the server answered, if it did.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Refused { answer, .. } => Some(answer),
            _ => None,
        }
    }

    /// Whether another try may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { answer, .. } => answer.is_transient(),
            Self::Network { reason, .. } => reason.is_transient(),
            Self::Protocol { problem, .. } => problem.is_transient(),
            _ => false,
        }
    }

    /// Whether the registry, and nobody on the way to it, said that there is no
    /// such thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        let answer = self.answer();
        answer.is_some_and(|answer| answer.status() == 404 && answer.is_of_registry())
    }
}

/// A registry, or a repository of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(crate) registry: Box<str>,
    pub(crate) repository: Option<Box<str>>,
}

impl Place {
    /// Returns the name of the registry.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.repository {
            Some(repository) => write!(formatter, "{}/{repository}", self.registry),
            None => formatter.write_str(&self.registry),
        }
    }
}

/// What was to be done; reads on after `cannot`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Step {
    /// The first request.
    #[error("find a registry")]
    Ping,
    /// A request to the token server of this name.
    #[error("get a token from the token server `{0}`")]
    Token(String),
    /// Looking for a blob.
    #[error("look for the blob {0}")]
    FindBlob(Digest),
    /// Reading a blob.
    #[error("read the blob {0}")]
    ReadBlob(Digest),
    /// Starting an upload.
    #[error("start to upload the blob {0}")]
    StartUpload(Digest),
    /// Sending bytes.
    #[error("upload the blob {0}")]
    Upload(Digest),
    /// Ending an upload.
    #[error("finish uploading the blob {0}")]
    FinishUpload(Digest),
    /// Looking for a manifest or an index.
    #[error("look for the manifest `{0}`")]
    FindManifest(String),
    /// Reading a manifest or an index.
    #[error("read the manifest `{0}`")]
    ReadManifest(String),
    /// Writing a manifest or an index.
    #[error("write the manifest `{0}`")]
    WriteManifest(String),
}

/// What was to be done where.
fn task(step: &Step, place: &Place) -> String {
    match step {
        Step::Token(server) => {
            format!("get a token for `{place}` from its token server `{server}`")
        }
        step => format!("{step} at `{place}`"),
    }
}

/// The same of what was answered: who does not serve us is found all the same.
fn request(step: &Step, place: &Place) -> String {
    match step {
        Step::Ping => format!("begin with `{place}`"),
        step => task(step, place),
    }
}

/// How a connection failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{text}", elsewhere(.server.as_deref()))]
pub struct NetworkError {
    /// What kind of failure it is.
    pub kind: NetworkKind,
    text: String,
    server: Option<String>,
}

fn elsewhere(server: Option<&str>) -> String {
    server.map_or_else(String::new, |server| format!("it leads to `{server}`: "))
}

/// Kinds of failures of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkKind {
    /// There is no host of that name.
    Name,
    /// Nobody listens there.
    Refused,
    /// It took too long.
    Timeout,
    /// The certificate of the server is no good one.
    Certificate,
    /// The certificate of the server is of an authority that is not trusted.
    Authority {
        /// Whether certificates were given that are trusted.
        has_given: bool,
    },
    /// No secure connection could be made.
    Tls,
    /// What answers does not speak TLS.
    NoTls,
    /// TLS is needed, and the processor lacks the instructions for it.
    Processor,
    /// The proxy did not connect.
    Proxy,
    /// The proxy is of a kind that is not supported.
    Socks,
    /// The connection ended too early.
    Cut,
    /// The answer is not HTTP.
    NotHttp,
}

impl NetworkError {
    pub(crate) fn new(kind: NetworkKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            server: None,
        }
    }

    /// Says where it failed, if that was not the registry.
    pub(crate) fn at(mut self, server: &str) -> Self {
        self.server = Some(server.to_owned());
        self
    }

    /// Returns the server where it failed, if that was not the registry but
    /// one that the registry leads to.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    fn is_transient(&self) -> bool {
        !matches!(
            self.kind,
            NetworkKind::Certificate
                | NetworkKind::Authority { .. }
                | NetworkKind::Tls
                | NetworkKind::NoTls
                | NetworkKind::NotHttp
                | NetworkKind::Processor
                | NetworkKind::Socks
        )
    }
}

/// What a registry did that no registry may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Something else than a registry answers.
    #[error("what answers there is no registry (status {0})")]
    NoRegistry(u16),
    /// A login that nobody knows here.
    #[error("it wants a login of a kind that is not supported: {0}")]
    Login(String),
    /// A page for people instead of a registry.
    #[error("{}what answers there is a page for people, and no registry", elsewhere(.0.as_deref()))]
    Page(Option<String>),
    /// Too many redirects.
    #[error("it redirects more than {0} times")]
    Redirects(usize),
    /// A redirect without a usable address.
    #[error("it redirects to an address that is none")]
    RedirectAddress,
    /// A redirect, upload or token server without TLS.
    #[error("it leads to `{0}` without https, which is not secure")]
    Downgrade(String),
    /// An upload without a usable address.
    #[error("it says no usable address for the upload")]
    NoLocation,
    /// A document that is too large.
    #[error("its answer is longer than {0} bytes")]
    TooLong(u64),
    /// A blob of another size.
    #[error("expected {expected} bytes, received {found}")]
    Size {
        /// The size that the manifest says.
        expected: u64,
        /// How many bytes came, or are announced.
        found: u64,
    },
    /// Bytes with another digest.
    #[error("expected {expected}, received bytes with the digest {found}")]
    Digest {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// A registry that says another digest for what was sent.
    #[error("sent {expected}, and the registry says that it has `{found}`")]
    OtherDigest {
        /// The digest of what was sent.
        expected: Digest,
        /// What the registry says.
        found: String,
    },
    /// A document that is no manifest.
    #[error("what it sends is no image manifest or index, but `{0}`")]
    MediaType(String),
    /// A manifest that cannot be read.
    #[error("its manifest is malformed: {0}")]
    Malformed(String),
    /// A descriptor with a digest that is not supported.
    #[error("its manifest is malformed: {0}")]
    BadDigest(ParseDigestError),
    /// A token server whose address cannot be used.
    #[error("its address is none")]
    TokenAddress,
    /// An answer of a token server without a token.
    #[error("it sends no token")]
    NoToken,
    /// A registry that counts other bytes than were sent.
    #[error("it says that it has {found} bytes of an upload of which {sent} were sent")]
    Offset {
        /// How many bytes were sent.
        sent: u64,
        /// How many it says to have.
        found: u64,
    },
    /// No image for the platform.
    #[error("the index has no image for {wanted} (it has: {found})")]
    Platform {
        /// The platform that was asked for.
        wanted: String,
        /// Those that there are.
        found: String,
    },
    /// A tag that does not come to rest.
    #[error("others write this tag again and again: {0} times what was written was gone")]
    Contended(u32),
    /// An index that was written when others may have stopped waiting for it.
    #[error(
        "it was written {0} s after it was read: others wait for {1} s, and what one of them has added since may be gone"
    )]
    Late(u64, u64),
    /// A manifest that refers to itself, or to too much.
    #[error("its index leads to too many manifests, or to itself")]
    TooMany,
}

impl Problem {
    /// Whether the same request may be answered otherwise: bytes that were
    /// damaged on their way.
    fn is_transient(&self) -> bool {
        match self {
            Self::Digest { .. } => true,
            // What is too long will hardly become shorter.
            Self::Size { expected, found } => found < expected,
            _ => false,
        }
    }
}
