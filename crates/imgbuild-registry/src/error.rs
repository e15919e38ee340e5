//! The error of this crate: an operation at a registry, and why it failed.

use std::fmt;
use std::io;

use imgbuild_oci::digest::Digest;

pub use crate::error_response::ErrorResponse;
pub use crate::network_error::{NetworkError, NetworkKind};
pub use crate::protocol_error::ProtocolError;

/// An error of the registry client.
///
/// The message has the registry, the repository, the operation and the cause in
/// one line. Text of servers is escaped and shortened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry, or a server that it redirects to, refused.
    #[error("cannot {}: {response}", at(.step, .endpoint))]
    Refused {
        /// The registry and repository.
        endpoint: Endpoint,
        /// The operation.
        step: Step,
        /// The response.
        response: Box<ErrorResponse>,
    },

    /// No complete response arrived.
    #[error("cannot {}: {reason}", at(.step, .endpoint))]
    Network {
        /// The registry and repository.
        endpoint: Endpoint,
        /// The operation.
        step: Step,
        /// The cause.
        reason: Box<NetworkError>,
    },

    /// The registry violated the protocol, or does not have what is needed.
    #[error("cannot {}: {problem}", at(.step, .endpoint))]
    Protocol {
        /// The registry and repository.
        endpoint: Endpoint,
        /// The operation.
        step: Step,
        /// The rule that was violated.
        problem: Box<ProtocolError>,
    },

    /// The content of an upload could not be read.
    #[error("cannot read the content to upload to `{endpoint}`")]
    Content {
        /// The registry and repository.
        endpoint: Endpoint,
        /// The cause.
        source: io::Error,
    },

    /// A download could not be written.
    #[error("cannot save what was downloaded from `{endpoint}`")]
    Sink {
        /// The registry and repository.
        endpoint: Endpoint,
        /// The cause.
        source: io::Error,
    },

    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// A result with the error of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Returns the response of the server, if it refused.
    #[must_use]
    pub fn response(&self) -> Option<&ErrorResponse> {
        match self {
            Self::Refused { response, .. } => Some(response),
            _ => None,
        }
    }

    /// Returns whether another attempt may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { response, .. } => response.is_transient(),
            Self::Network { reason, .. } => reason.is_transient(),
            Self::Protocol { problem, .. } => problem.is_transient(),
            _ => false,
        }
    }

    /// Returns whether a server said nothing for the whole time of a request.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Network { reason, .. } if reason.kind == NetworkKind::Timeout)
    }

    /// Returns whether the registry refused to be read, but neither rejected the
    /// login nor lacks what was to be read.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        if let Self::Protocol { problem, .. } = self {
            use ProtocolError::{Empty, NoRegistry, Page};
            return matches!(**problem, Empty | NoRegistry(_) | Page(_));
        }
        self.response().is_some_and(|response| {
            let is_refused = match response.status {
                401 => response.identity.is_authenticated || !response.has_challenge,
                404 | 407 => false,
                400..=499 => !response.is_transient(),
                status => matches!(status, 500 | 501),
            };
            is_refused && response.server.is_none()
        })
    }

    /// Returns whether the registry itself, and not a server in front of it,
    /// reported that something does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.response()
            .is_some_and(|response| response.status == 404 && response.server.is_none())
    }
}

/// A registry, or a repository in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The name of the registry.
    pub registry: Box<str>,
    /// The name of the repository.
    pub repository: Option<Box<str>>,
}

impl Endpoint {
    pub(crate) fn refused(self, step: &Step, response: ErrorResponse) -> Error {
        Error::Refused {
            endpoint: self,
            step: step.clone(),
            response: Box::new(response),
        }
    }

    pub(crate) fn network_error(self, step: &Step, reason: impl Into<NetworkError>) -> Error {
        Error::Network {
            endpoint: self,
            step: step.clone(),
            reason: Box::new(reason.into()),
        }
    }

    pub(crate) fn problem(self, step: &Step, problem: ProtocolError) -> Error {
        Error::Protocol {
            endpoint: self,
            step: step.clone(),
            problem: Box::new(problem),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.repository {
            Some(repository) => write!(formatter, "{}/{repository}", self.registry),
            None => formatter.write_str(&self.registry),
        }
    }
}

/// An operation at a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The first request.
    Ping,
    /// A request to the token server of this name.
    Token(String),
    /// A check for a blob.
    FindBlob(Digest),
    /// A download of a blob.
    ReadBlob(Digest),
    /// The start of an upload.
    StartUpload(Digest),
    /// A request that uploads bytes.
    Upload(Digest),
    /// The end of an upload in chunks.
    FinishUpload(Digest),
    /// A check for a manifest or an index.
    FindManifest(String),
    /// A download of a manifest or an index.
    ReadManifest(String),
    /// An upload of a manifest or an index.
    WriteManifest(String),
}

/// Formats an operation at an endpoint as it follows `cannot`.
fn at(step: &Step, endpoint: &Endpoint) -> String {
    match step {
        Step::Ping => format!("connect to `{endpoint}`"),
        Step::Token(server) => {
            format!("get a token for `{endpoint}` from its token server `{server}`")
        }
        Step::FindBlob(digest) => format!("look for the blob {digest} at `{endpoint}`"),
        Step::ReadBlob(digest) => format!("read the blob {digest} at `{endpoint}`"),
        Step::StartUpload(digest) => format!("start to upload the blob {digest} at `{endpoint}`"),
        Step::Upload(digest) => format!("upload the blob {digest} at `{endpoint}`"),
        Step::FinishUpload(digest) => format!("finish uploading the blob {digest} at `{endpoint}`"),
        Step::FindManifest(name) => format!("look for the manifest `{name}` at `{endpoint}`"),
        Step::ReadManifest(name) => format!("read the manifest `{name}` at `{endpoint}`"),
        Step::WriteManifest(name) => format!("write the manifest `{name}` at `{endpoint}`"),
    }
}
