//! Requests to a registry.

use imgbuild_oci::blob::BlobContent;
use ureq::http::{Method, Uri};

use crate::authenticator::Scope;
use crate::error::Step;

/// The requests that a blob is sent in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum UploadStrategy {
    /// The `PUT` that ends the upload has the whole blob.
    #[default]
    Whole,
    /// One `PATCH` without a range has the whole blob, as Docker's client
    /// sends it.
    Stream,
    /// Each `PATCH` has this many bytes at most.
    Chunks(u64),
    /// As `Whole`, after chunks failed for good.
    WholeOnly,
}

/// A request to the registry.
pub(crate) struct Call<'a> {
    pub(crate) step: Step,
    pub(crate) repository: Option<&'a str>,
    pub(crate) scope: Scope,
    pub(crate) method: Method,
    pub(crate) url: Uri,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<CallBody<'a>>,
    /// The statuses that are not a refusal.
    pub(crate) accepts: &'a [u16],
    /// Set if the request is retried after a failure.
    pub(crate) retries: bool,
    /// The maximum size of the body of the response, from which its timeout
    /// follows.
    pub(crate) response_bytes: u64,
}

/// A body that can be sent again: a part of a content.
#[derive(Clone, Copy)]
pub(crate) struct CallBody<'a> {
    pub(crate) content: &'a dyn BlobContent,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    /// Called with the number of bytes that were sent.
    pub(crate) on_sent: &'a dyn Fn(u64),
}
