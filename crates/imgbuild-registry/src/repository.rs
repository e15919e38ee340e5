//! One repository of a registry: its blobs and manifests.

mod blob;
mod manifest;
mod upload;

use std::sync::Arc;

use ureq::http::{Method, Uri};

use imgbuild_oci::digest::Digest;
use imgbuild_oci::document::MAX_DOCUMENT_BYTES;

use crate::authenticator::Scope;
use crate::client::{Call, Client};
use crate::error::{Error, ProtocolError, Step};

pub use blob::RemoteBlob;
pub(crate) use upload::OutgoingBlob;

/// A repository, for reading or also for writing.
#[derive(Debug, Clone)]
pub struct Repository {
    client: Arc<Client>,
    name: String,
    writes: bool,
}

impl Repository {
    /// A repository to read from.
    #[must_use]
    pub fn to_pull(client: Arc<Client>, name: &str) -> Self {
        Self {
            client,
            name: name.to_owned(),
            writes: false,
        }
    }

    /// A repository to write to.
    #[must_use]
    pub fn to_push(client: Arc<Client>, name: &str) -> Self {
        Self {
            client,
            name: name.to_owned(),
            writes: true,
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

    fn scope(&self) -> Scope {
        match self.writes {
            true => Scope::push(&self.name),
            false => Scope::pull(&self.name),
        }
    }

    /// A call with nothing but what every one has.
    fn call<'a>(&'a self, step: Step, method: Method, url: Uri, accepts: &'a [u16]) -> Call<'a> {
        Call {
            step,
            repository: Some(&self.name),
            scope: self.scope(),
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

    fn problem(&self, step: &Step, problem: ProtocolError) -> Error {
        self.client.problem(step, Some(&self.name), problem)
    }
}
