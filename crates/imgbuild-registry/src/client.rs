//! A client of one registry: connects, authenticates, retries, and follows
//! redirects without sending credentials to other servers.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use imgbuild_oci::blob::BlobContent;
use imgbuild_oci::bounded::read_available;
use imgbuild_oci::document::MAX_DOCUMENT_BYTES;
use rustls_pki_types::CertificateDer;
use ureq::http::{Method, Uri};

use crate::challenge::Challenge;
use crate::error::{
    Endpoint, Error, ErrorResponse, NetworkError, NetworkKind, ProtocolError, Result, Step,
};
use crate::error_response::bounded;
use crate::host;
use crate::monitor::{ClientMonitor, check};
use crate::retry::Attempts;
use crate::secret::Secret;
use crate::tls;
use crate::transport::{HttpRequest, RequestBody, RequestError, Response, Transport};
use crate::url::{self, WebOrigin};

pub(crate) mod authenticator;
mod options;

pub use crate::retry::RetryPolicy;
pub use crate::transport::{ProxyOptions, Timeouts, Traffic};
use authenticator::AuthState;
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
    /// Connects to a registry.
    ///
    /// Uses https, or http for a registry on this machine or if the options
    /// allow it.
    ///
    /// # Errors
    ///
    /// If the server does not respond or is not a registry, and if the options
    /// are invalid.
    pub fn connect(
        registry: &str,
        options: &ClientOptions,
        monitor: &Arc<dyn ClientMonitor>,
    ) -> Result<Self> {
        let certificates = match &options.certificates {
            Some(pem) => tls::parse_certificates(pem).map_err(|reason| Error::Certificates {
                registry: registry.to_owned(),
                reason,
            })?,
            None => Vec::new(),
        };
        let allows_http = options.plain_http || host::is_loopback(registry);
        let https = Self::new(registry, "https", options, &certificates, monitor)
            .and_then(|client| client.ping(!allows_http));
        let error = match https {
            Err(error) if allows_http && may_use_http(&error) => error,
            https => return https,
        };
        let http = Self::new(registry, "http", options, &certificates, monitor)
            .and_then(|client| client.ping(!error.is_timeout()));
        match http {
            // Servers with TLS answer 400 to http.
            Err(http)
                if http
                    .response()
                    .is_some_and(|response| response.status == 400) =>
            {
                Err(error)
            }
            http => http,
        }
    }

    fn new(
        registry: &str,
        scheme: &str,
        options: &ClientOptions,
        certificates: &[CertificateDer<'static>],
        monitor: &Arc<dyn ClientMonitor>,
    ) -> Result<Self> {
        let proxy = if scheme == "https" {
            &options.https_proxy
        } else {
            &options.http_proxy
        };
        let proxy = proxy
            .as_ref()
            .filter(|proxy| !host::is_loopback(registry) && !proxy.is_exception(registry));
        let tls = tls::config(certificates);
        let (timeouts, user_agent) = (options.timeouts, &options.user_agent);
        let transport = Transport::new(tls, proxy, timeouts, user_agent, monitor);
        let transport = transport.map_err(|_| Error::Proxy {
            registry: registry.to_owned(),
            variable: proxy.map_or_else(String::new, |proxy| proxy.variable.clone()),
        })?;

        let base = url::parse(&format!("{scheme}://{}/v2/", host::address(registry)));
        let base = base.ok_or_else(|| {
            let reason = NetworkError::new(NetworkKind::Name, "invalid host name");
            endpoint(registry).network_error(&Step::Ping, reason)
        })?;
        let of_proxy = proxy.and_then(ProxyOptions::credential);
        let credentials = options.credential.iter().chain(&of_proxy);
        credentials.for_each(|one| options.secrets.add_credential(one));
        Ok(Self {
            registry: registry.to_owned(),
            base,
            transport,
            options: options.clone(),
            auth: Mutex::default(),
            monitor: Arc::clone(monitor),
            upload_strategy: Mutex::default(),
        })
    }

    /// Checks that the server is a registry, and stores its challenge.
    fn ping(self, retries: bool) -> Result<Self> {
        let mut call = Call::new(
            endpoint(&self.registry),
            Step::Ping,
            Method::GET,
            self.base.clone(),
            &[200, 401, 403, 404],
        );
        call.retries = retries;
        let response = self.call(&call)?;
        let problem = match response.status {
            // A server that the registry redirects to does not get the password.
            401 if !self.is_own(&response) => return Ok(self),
            401 => match (
                Challenge::best(&response.headers),
                response.header("www-authenticate"),
            ) {
                (Some(challenge), _) => {
                    self.set_challenge(challenge);
                    return Ok(self);
                }
                (None, Some(scheme)) => {
                    let scheme = bounded(scheme);
                    let text = "the registry requires an unsupported authentication scheme";
                    ProtocolError::Other(format!("{text}: {scheme}").into())
                }
                (None, None) => ProtocolError::NoRegistry(401),
            },
            200 | 403 => {
                let is_own = self.is_own(&response);
                let server = response.origin();
                if !is_page(response) {
                    return Ok(self);
                }
                ProtocolError::Page((!is_own).then(|| server.to_string()))
            }
            status => ProtocolError::NoRegistry(status),
        };
        Err(call.problem(problem))
    }

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

    /// Resolves the `Location` of a response; a missing or invalid one is the
    /// error `invalid`. Refuses a redirect from https to http, and to http on
    /// another machine unless the options allow it.
    pub(crate) fn follow(
        &self,
        response: &Response,
        invalid: ProtocolError,
        problem: impl Fn(ProtocolError) -> Error,
    ) -> Result<Uri> {
        let location = response.header("location");
        let next = location.and_then(|location| url::resolve(&response.url, location));
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

    fn refusal(&self, call: &Call<'_>, response: Response, has_token: bool) -> Error {
        let server = response.origin();
        let is_own = self.is_own(&response);
        let mut refused = self.read_refusal(response);
        if is_own {
            refused.identity = self.identity(has_token);
        } else {
            refused.server = Some(format!("`{server}`"));
        }
        call.endpoint.clone().refused(&call.step, refused)
    }

    /// Sends a call and follows redirects. Only the registry itself gets the
    /// credential.
    fn exchange(&self, call: &Call<'_>, header: Option<&Secret>) -> Result<Response> {
        let mut url = call.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            check(self.monitor())?;
            let is_own = WebOrigin::of(&url) == WebOrigin::of(&self.base);
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
            }),
            Err(error) => Err(RequestError::Content(error)),
        };
        sent.map_err(|error| match error {
            RequestError::Network(mut reason) => {
                if server != WebOrigin::of(&self.base) {
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

/// Returns the endpoint of a registry without a repository.
fn endpoint(registry: &str) -> Endpoint {
    Endpoint {
        registry: registry.into(),
        repository: None,
    }
}

/// Returns whether http may work after https failed with this error.
fn may_use_http(error: &Error) -> bool {
    use NetworkKind::*;
    let Error::Network { reason, .. } = error else {
        return false;
    };
    !matches!(
        reason.kind,
        Certificate | Authority { .. } | Name | Proxy | Socks
    )
}

/// Returns whether a response is a web page, for example of a login portal or
/// of a web server at a wrong port.
fn is_page(response: Response) -> bool {
    let content_type = response.header("content-type").unwrap_or_default();
    let may_be = content_type.starts_with("text/html")
        && response.header("docker-distribution-api-version").is_none();
    let start = || read_available(response.into_reader(), 512);
    may_be && start().trim_ascii_start().starts_with(b"<")
}

/// Returns whether a response is a redirect to follow. A body is sent again only
/// if the status requires it.
fn is_redirect(status: u16, call: &Call<'_>) -> bool {
    match status {
        307 | 308 => true,
        301..=303 => call.method == Method::GET || call.method == Method::HEAD,
        _ => false,
    }
}
