//! One repository of a registry: its blobs and manifests.

mod blob;
mod manifest;
mod upload;

use std::collections::BTreeSet;
use std::sync::Arc;

use imgbuild_oci::digest::Digest;
use ureq::http::{Method, Uri};

use crate::client::{Call, Client};
use crate::error::{Endpoint, Error, ProtocolError, Step};

pub(crate) use blob::RemoteBlob;

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
    fn call<'a>(&self, step: Step, method: Method, url: Uri, accepts: &'a [u16]) -> Call<'a> {
        let actions = if self.can_push { "pull,push" } else { "pull" };
        let scope = format!("repository:{}:{actions}", self.name);
        let mut call = Call::new(self.endpoint(), step, method, url, accepts);
        call.scopes = BTreeSet::from([scope]);
        call
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint {
            registry: self.client.registry().into(),
            repository: Some(self.name.as_str().into()),
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
        self.endpoint().problem(step, problem)
    }
}

/// Returns whether a refusal may mean that the method is not supported: proxies
/// may know only some methods.
fn lacks_method(error: &Error) -> bool {
    let response = error.response();
    response.is_some_and(|response| matches!(response.status, 400 | 405 | 501))
}
