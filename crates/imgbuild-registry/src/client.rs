//! A client of one registry: connects, authenticates, retries, and follows
//! redirects without sending credentials to other servers.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use imgbuild_oci::blob::BlobContent;
use imgbuild_oci::document::MAX_DOCUMENT_BYTES;
use ureq::http::{Method, Uri};

use crate::challenge::Challenge;
use crate::error::{Endpoint, Error, ErrorResponse, ProtocolError, Result, Step};
use crate::monitor::{ClientMonitor, Event, check};
use crate::retry::Attempts;
use crate::secret::Secret;
use crate::transport::{HttpRequest, RequestBody, RequestError, Response, Transport};
use crate::url::{self, WebOrigin};

pub(crate) mod authenticator;
mod connect;
mod options;

pub use crate::retry::RetryPolicy;
pub use crate::tls::{CertificatesError, Trust};
pub use crate::transport::{ProxyOptions, Timeouts, Traffic};
use authenticator::AuthState;
use connect::endpoint;
pub use options::ClientOptions;

/// The maximum number of redirects of one request.
const MAX_REDIRECTS: usize = 8;

/// The maximum number of attempts to connect: a wrong name is more likely than
/// a temporary failure.
const PING_ATTEMPTS: u32 = 3;

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
    pub(crate) endpoint: Endpoint,
    pub(crate) step: Step,
    /// The scopes of the token.
    pub(crate) scopes: BTreeSet<String>,
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
    /// Other timeouts than those of the client.
    pub(crate) timeouts: Option<Timeouts>,
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

impl<'a> Call<'a> {
    /// Creates a call without scopes, headers and body, with retries.
    pub(crate) fn new(
        endpoint: Endpoint,
        step: Step,
        method: Method,
        url: Uri,
        accepts: &'a [u16],
    ) -> Self {
        Self {
            endpoint,
            step,
            scopes: BTreeSet::new(),
            method,
            url,
            headers: Vec::new(),
            body: None,
            accepts,
            retries: true,
            response_bytes: MAX_DOCUMENT_BYTES,
            timeouts: None,
        }
    }

    fn problem(&self, problem: ProtocolError) -> Error {
        self.endpoint.clone().problem(&self.step, problem)
    }
}

/// A connected client of a registry.
pub struct Client {
    registry: String,
    base: Uri,
    transport: Transport,
    pub(crate) options: ClientOptions,
    auth: Mutex<AuthState>,
    monitor: Arc<dyn ClientMonitor>,
    /// The strategy that worked for earlier blobs, with which the next upload
    /// starts.
    pub(crate) upload_strategy: Mutex<UploadStrategy>,
    /// The repositories that were found to accept uploads.
    pub(crate) writable: Mutex<BTreeSet<String>>,
    /// The reason why the server may not be a registry.
    pub(crate) doubt: Option<ProtocolError>,
    /// Set after a refusal to read was reported.
    pub(crate) is_unreadable: AtomicBool,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Returns the name of the registry.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns what was sent so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.transport.requests.load(Ordering::Relaxed),
            sent: self.transport.sent.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn monitor(&self) -> &dyn ClientMonitor {
        &*self.monitor
    }

    pub(crate) fn attempts(&self) -> Attempts {
        Attempts::new(self.options.retry, 0)
    }

    /// Returns the URL of a path in a repository.
    pub(crate) fn url(&self, repository: &str, path: &str) -> Uri {
        let path = url::sanitize(&format!("{repository}/{path}"));
        let url = format!("{}{path}", self.base);
        url.parse().expect("characters invalid in URLs are encoded")
    }

    /// Calls `read`, whose result only saves work. Returns `None` if the registry
    /// refuses to be read by this login, which is reported once; then nothing more
    /// is read.
    ///
    /// # Errors
    ///
    /// The other errors of `read`.
    pub fn if_readable<T>(&self, read: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        if self.is_unreadable.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match read() {
            Err(error) if error.is_unreadable() => {
                if !self.is_unreadable.swap(true, Ordering::Relaxed) {
                    self.monitor.report(Event::Unreadable { error: &error });
                }
                Ok(None)
            }
            found => found.map(Some),
        }
    }

    /// Resolves the `Location` of a response; a missing or invalid one is the
    /// error `invalid`. Refuses a redirect from https to http, and to http on
    /// another machine unless the options allow it.
    pub(crate) fn follow(
        &self,
        response: &Response,
        invalid: ProtocolError,
        problem: impl Fn(ProtocolError) -> Error,
    ) -> Result<Uri> {
        let location = response.headers.get("location");
        let next = location.and_then(|one| url::resolve(&response.url, one.as_bytes()));
        let next = next.ok_or_else(|| problem(invalid))?;
        let origin = WebOrigin::of(&next);
        if response
            .origin()
            .may_redirect_to(&origin, self.options.plain_http)
        {
            return Ok(next);
        }
        Err(problem(ProtocolError::Downgrade(origin.host)))
    }

    /// Makes a call, with retries if it allows them, until the status of the
    /// response is one that it accepts.
    ///
    /// # Errors
    ///
    /// If the server refuses or does not respond, and on an interruption.
    pub(crate) fn call(&self, call: &Call<'_>) -> Result<Response> {
        let mut policy = self.options.retry;
        if call.step == Step::Ping {
            policy.attempts = policy.attempts.min(PING_ATTEMPTS);
        }
        let mut attempts = Attempts::new(policy, 0);
        loop {
            check(self.monitor())?;
            match self.authenticated(call) {
                Ok(response) => return Ok(response),
                Err(error) if !call.retries => return Err(error),
                Err(error) => attempts.wait(self.monitor(), error)?,
            }
        }
    }

    /// Makes a call once, or twice if the registry refused a cached token.
    fn authenticated(&self, call: &Call<'_>) -> Result<Response> {
        let mut is_renewed = false;
        loop {
            let header = if call.step == Step::Ping {
                None
            } else {
                self.authorization(call)?
            };
            let response = self.exchange(call, header.as_ref())?;
            if call.accepts.contains(&response.status) {
                return Ok(response);
            }

            let has_token = header.is_some() && self.uses_tokens();
            if self.is_own(&response) && response.status == 401 && !is_renewed {
                is_renewed = true;
                self.forget(header.as_ref());
                let challenge = Challenge::best(&response.headers);
                let has_challenge = challenge.is_some();
                if let Some(challenge) = challenge {
                    self.set_challenge(challenge);
                }
                // Some registries send a challenge with the first response only.
                if has_challenge || has_token {
                    continue;
                }
            }
            return Err(self.refusal(call, response, has_token));
        }
    }

    /// Returns whether the registry itself responded.
    pub(crate) fn is_own(&self, response: &Response) -> bool {
        response.origin() == WebOrigin::of(&self.base)
    }

    fn read_refusal(&self, response: Response) -> ErrorResponse {
        let (status, wait) = (response.status, response.retry_after());
        let secrets = &self.options.secrets;
        ErrorResponse::read(status, wait, response.into_reader(), secrets)
    }

    /// Returns the doubt that the first answer raised, if this refusal confirms it.
    fn doubt_of(&self, call: &Call<'_>, refused: &ErrorResponse) -> Option<&ProtocolError> {
        let confirms = match call.step {
            Step::StartUpload(_) => true,
            // A registry may lack what is read.
            Step::ReadManifest(_) => refused.status != 404,
            _ => false,
        };
        let confirms = confirms && !refused.is_transient() && refused.codes.is_empty();
        self.doubt.as_ref().filter(|_| confirms)
    }

    fn refusal(&self, call: &Call<'_>, response: Response, has_token: bool) -> Error {
        let server = response.origin();
        let is_own = self.is_own(&response);
        let scheme = response.bounded_header("www-authenticate");
        let has_challenge = scheme.is_some();
        let is_unknown = response.status == 401 && Challenge::best(&response.headers).is_none();
        if let Some(scheme) = scheme.filter(|_| is_own && is_unknown) {
            let text = "the registry requires an unsupported authentication scheme";
            return call.problem(ProtocolError::Other(format!("{text}: {scheme}").into()));
        }
        let mut refused = self.read_refusal(response);
        refused.has_challenge = has_challenge;
        if let Some(doubt) = self.doubt_of(call, &refused) {
            return endpoint(&self.registry).problem(&Step::Ping, doubt.clone());
        }
        if is_own {
            refused.identity = self.identity(has_token);
        } else {
            refused.server = Some(format!("`{server}`"));
        }
        call.endpoint.clone().refused(&call.step, refused)
    }

    /// Sends a call and follows redirects. Only the registry itself, or its token
    /// server, gets the credential.
    fn exchange(&self, call: &Call<'_>, header: Option<&Secret>) -> Result<Response> {
        let mut url = call.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            check(self.monitor())?;
            let is_own = WebOrigin::of(&url) == self.expected(call);
            let header = header.filter(|_| is_own).cloned();
            let response = self.send(call, url, header)?;
            if !is_redirect(response.status, call) {
                return Ok(response);
            }
            let problem = |problem| call.problem(problem);
            let invalid = "the URL of the redirect is missing or invalid".into();
            url = self.follow(&response, ProtocolError::Other(invalid), problem)?;
        }
        let text = format!("more than {MAX_REDIRECTS} redirects");
        Err(call.problem(ProtocolError::Other(text.into())))
    }

    /// Returns the server that a call is for.
    fn expected(&self, call: &Call<'_>) -> WebOrigin {
        let is_token = matches!(call.step, Step::Token(_));
        WebOrigin::of(if is_token { &call.url } else { &self.base })
    }

    fn send(&self, call: &Call<'_>, url: Uri, authorization: Option<Secret>) -> Result<Response> {
        let server = WebOrigin::of(&url);
        let on_read = |count| {
            if self.monitor.is_interrupted() {
                return Err(io::ErrorKind::Other.into());
            }
            if let Some(body) = call.body {
                (body.on_sent)(count);
            }
            Ok(())
        };
        let body = call.body.map(|body| {
            Ok(RequestBody {
                reader: body.content.open(body.offset)?,
                size: body.size,
                on_read: &on_read,
            })
        });
        let sent = match body.transpose() {
            Ok(body) => self.transport.send(HttpRequest {
                method: call.method.clone(),
                url,
                headers: call.headers.clone(),
                authorization,
                body,
                response_bytes: call.response_bytes,
                timeouts: call.timeouts.unwrap_or(self.options.timeouts),
            }),
            Err(error) => Err(RequestError::Content(error)),
        };
        sent.map_err(|error| match error {
            RequestError::Network(mut reason) => {
                if server != self.expected(call) {
                    reason.server = Some(server.to_string());
                }
                call.endpoint.clone().network_error(&call.step, reason)
            }
            RequestError::Content(_) if self.monitor.is_interrupted() => Error::Interrupted,
            RequestError::Content(source) => Error::Content {
                endpoint: call.endpoint.clone(),
                source,
            },
        })
    }
}

/// Returns whether a response is a redirect to follow. A body is sent again only
/// if the status requires it.
fn is_redirect(status: u16, call: &Call<'_>) -> bool {
    let is_read = call.method == Method::GET || call.method == Method::HEAD;
    match status {
        // The form for a token contains a secret.
        307 | 308 => is_read || !matches!(call.step, Step::Token(_)),
        301..=303 => is_read,
        _ => false,
    }
}
