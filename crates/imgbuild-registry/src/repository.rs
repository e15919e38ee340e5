//! One repository of a registry: its blobs and manifests.

mod blob;
mod manifest;
mod upload;

use std::sync::Arc;

use imgbuild_oci::digest::Digest;
use imgbuild_oci::document::MAX_DOCUMENT_BYTES;
use ureq::http::{Method, Uri};

use crate::authenticator::Scope;
use crate::client::{Call, Client};
use crate::error::{Error, NetworkError, ProtocolError, Step};

pub(crate) use blob::RemoteBlob;
pub(crate) use upload::OutgoingBlob;

/// A repository to pull from, or also to push to.
#[derive(Debug, Clone)]
pub struct Repository {
    client: Arc<Client>,
    name: String,
    can_push: bool,
}

impl Repository {
    /// Creates a repository to pull from.
    #[must_use]
    pub fn to_pull(client: Arc<Client>, name: &str) -> Self {
        Self {
            client,
            name: name.to_owned(),
            can_push: false,
        }
    }

    /// Creates a repository to push to.
    #[must_use]
    pub fn to_push(client: Arc<Client>, name: &str) -> Self {
        Self {
            can_push: true,
            ..Self::to_pull(client, name)
        }
    }

    /// Returns the client of the registry.
    #[must_use]
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Returns the name, without the registry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns a call without headers and body, with retries.
    fn call<'a>(&'a self, step: Step, method: Method, url: Uri, accepts: &'a [u16]) -> Call<'a> {
        let scope = if self.can_push {
            Scope::push(&self.name)
        } else {
            Scope::pull(&self.name)
        };
        Call {
            step,
            repository: Some(&self.name),
            scope,
            method,
            url,
            headers: Vec::new(),
            body: None,
            accepts,
            retries: true,
            response_bytes: MAX_DOCUMENT_BYTES,
        }
    }

    fn blob_url(&self, digest: &Digest) -> Uri {
        self.client.url(&self.name, &format!("blobs/{digest}"))
    }

    fn manifest_url(&self, reference: &str) -> Uri {
        self.client
            .url(&self.name, &format!("manifests/{reference}"))
    }

    pub(crate) fn problem(&self, step: &Step, problem: ProtocolError) -> Error {
        self.client.problem(step, Some(&self.name), problem)
    }

    fn network_error(&self, step: &Step, reason: impl Into<NetworkError>) -> Error {
        Error::Network {
            endpoint: self.client.endpoint(Some(&self.name)),
            step: step.clone(),
            reason: Box::new(reason.into()),
        }
    }
}

/// Returns whether a refusal may mean that the method is not supported: proxies
/// may know only some methods.
fn lacks_method(error: &Error) -> bool {
    let response = error.response();
    response.is_some_and(|response| matches!(response.status(), 400 | 405 | 501))
}
