//! A client of one registry: connects, authenticates, retries, and follows
//! redirects without sending credentials to other servers.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use imgbuild_oci::document::MAX_DOCUMENT_BYTES;
use rustls_pki_types::CertificateDer;
use ureq::http::{Method, Uri};

use crate::authenticator::{Authenticator, Scope, TokenContext};
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

mod call;
mod options;

pub use crate::retry::RetryPolicy;
pub use crate::transport::{ProxyOptions, Timeouts, Traffic};
pub(crate) use call::{Call, CallBody, UploadStrategy};
pub use options::ClientOptions;

/// The maximum number of redirects of one request.
const MAX_REDIRECTS: usize = 8;

/// The maximum number of attempts to connect: a wrong name is more likely than
/// a temporary failure.
const PING_ATTEMPTS: u32 = 3;

/// A connected client of a registry.
pub struct Client {
    registry: String,
    base: Uri,
    transport: Transport,
    authenticator: Authenticator,
    monitor: Arc<dyn ClientMonitor>,
    policy: RetryPolicy,
    plain_http: bool,
    chunk_bytes: u64,
    /// The strategy that the next upload starts with.
    upload_strategy: Mutex<UploadStrategy>,
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
            .and_then(|client| client.ping(true));
        match http {
            // Servers with TLS answer 400 to http.
            Err(http) if http.response().map(ErrorResponse::status) == Some(400) => Err(error),
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
        let is_secure = scheme == "https";
        if let (true, Some(needs)) = (is_secure, tls::missing_instructions()) {
            let registry = registry.to_owned();
            return Err(Error::Processor { registry, needs });
        }
        let proxy = if is_secure {
            &options.https_proxy
        } else {
            &options.http_proxy
        };
        let proxy = proxy
            .as_ref()
            .filter(|proxy| !host::is_loopback(registry) && !proxy.is_exception(registry));
        let tls = tls::config(certificates);
        let transport = Transport::new(tls, proxy, options.timeouts, &options.user_agent);
        let transport = transport.map_err(|_| Error::Proxy {
            registry: registry.to_owned(),
            variable: proxy.map_or_else(String::new, |proxy| proxy.variable.clone()),
        })?;
        transport.close_on_interrupt(monitor);

        let base = url::parse(&format!("{scheme}://{}/v2/", host::address(registry)));
        let base = base.ok_or_else(|| Error::Network {
            endpoint: Endpoint {
                registry: registry.into(),
                repository: None,
            },
            step: Step::Ping,
            reason: Box::new(NetworkError::new(NetworkKind::Name, "invalid host name")),
        })?;
        Ok(Self {
            registry: registry.to_owned(),
            base,
            transport,
            authenticator: Authenticator::new(
                options.credential.clone(),
                options.origin.clone(),
                options.secrets.clone(),
            ),
            monitor: Arc::clone(monitor),
            policy: options.retry,
            plain_http: options.plain_http,
            chunk_bytes: options.chunk_bytes.max(1),
            upload_strategy: Mutex::default(),
        })
    }

    /// Checks that the server is a registry, and stores its challenge.
    fn ping(self, retries: bool) -> Result<Self> {
        let response = self.call(&Call {
            step: Step::Ping,
            repository: None,
            scope: Scope::default(),
            method: Method::GET,
            url: self.base.clone(),
            headers: Vec::new(),
            body: None,
            accepts: &[200, 401, 403, 404],
            retries,
            response_bytes: MAX_DOCUMENT_BYTES,
        })?;
        let problem = match response.status {
            // A server that the registry redirects to does not get the password.
            401 if !self.is_own(&response) => return Ok(self),
            401 => match (
                Challenge::best(&response.headers),
                response.header("www-authenticate"),
            ) {
                (Some(challenge), _) => {
                    self.authenticator.set_challenge(challenge);
                    return Ok(self);
                }
                (None, Some(scheme)) => ProtocolError::Login(bounded(scheme)),
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
        Err(self.problem(&Step::Ping, None, problem))
    }

    /// Returns the name of the registry.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns what was sent so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.transport.traffic()
    }

    pub(crate) fn monitor(&self) -> &dyn ClientMonitor {
        &*self.monitor
    }

    pub(crate) fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// Returns the strategy that worked for earlier blobs of this registry.
    pub(crate) fn upload_strategy(&self) -> UploadStrategy {
        *self.upload_strategy.lock().expect("no holder panics")
    }

    pub(crate) fn set_upload_strategy(&self, strategy: UploadStrategy) {
        *self.upload_strategy.lock().expect("no holder panics") = strategy;
    }

    pub(crate) fn attempts(&self) -> Attempts {
        Attempts::new(self.policy)
    }

    /// Returns the attempts of something that failed this many times.
    pub(crate) fn attempts_after(&self, failures: u32) -> Attempts {
        Attempts::after(self.policy, failures)
    }

    /// Returns the URL of a path in a repository.
    pub(crate) fn url(&self, repository: &str, path: &str) -> Uri {
        let path = url::sanitize(&format!("{repository}/{path}"));
        let url = format!("{}{path}", self.base);
        url.parse().expect("characters invalid in URLs are encoded")
    }

    pub(crate) fn endpoint(&self, repository: Option<&str>) -> Endpoint {
        Endpoint {
            registry: self.registry.as_str().into(),
            repository: repository.map(Into::into),
        }
    }

    pub(crate) fn problem(
        &self,
        step: &Step,
        repository: Option<&str>,
        problem: ProtocolError,
    ) -> Error {
        Error::Protocol {
            endpoint: self.endpoint(repository),
            step: step.clone(),
            problem: Box::new(problem),
        }
    }

    /// Resolves the `Location` of a response; a missing or invalid one is the
    /// error `invalid`. Refuses a redirect from https to http, and to http on
    /// another machine unless the options allow it.
    pub(crate) fn follow(
        &self,
        call: &Call<'_>,
        response: &Response,
        invalid: ProtocolError,
    ) -> Result<Uri> {
        let problem = |problem| self.problem(&call.step, call.repository, problem);
        let location = response.header("location");
        let next = location.and_then(|location| url::resolve(&response.url, location));
        let next = next.ok_or_else(|| problem(invalid))?;
        let origin = WebOrigin::of(&next);
        if response.origin().may_redirect_to(&origin, self.plain_http) {
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
        let mut policy = self.policy;
        if call.step == Step::Ping {
            policy.attempts = policy.attempts.min(PING_ATTEMPTS);
        }
        let mut attempts = Attempts::new(policy);
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
                let context = self.token_context(call);
                self.authenticator.header(&call.scope, &context)?
            };
            let response = self.exchange(call, header.as_ref())?;
            if call.accepts.contains(&response.status) {
                return Ok(response);
            }

            let has_token = header.is_some() && self.authenticator.uses_tokens();
            if self.is_own(&response) && response.status == 401 && !is_renewed {
                is_renewed = true;
                self.authenticator.forget(header.as_ref());
                let challenge = Challenge::best(&response.headers);
                let has_challenge = challenge.is_some();
                if let Some(challenge) = challenge {
                    self.authenticator.set_challenge(challenge);
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

    fn token_context(&self, call: &Call<'_>) -> TokenContext<'_> {
        TokenContext {
            transport: &self.transport,
            monitor: self.monitor(),
            endpoint: self.endpoint(call.repository),
            registry: WebOrigin::of(&self.base),
            plain_http: self.plain_http,
        }
    }

    fn refusal(&self, call: &Call<'_>, response: Response, has_token: bool) -> Error {
        let is_own = self.is_own(&response);
        let (status, server) = (response.status, response.origin());
        let wait = response.retry_after();
        let secrets = self.authenticator.secrets();
        let mut refused = ErrorResponse::read(status, wait, response.into_reader(), secrets);
        if is_own {
            refused.identity = self.authenticator.identity(has_token);
        } else {
            refused.server = Some(format!("`{server}`"));
        }
        Error::Refused {
            endpoint: self.endpoint(call.repository),
            step: call.step.clone(),
            response: Box::new(refused),
        }
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
            url = self.follow(call, &response, ProtocolError::RedirectUrl)?;
        }
        let problem = ProtocolError::Redirects(MAX_REDIRECTS);
        Err(self.problem(&call.step, call.repository, problem))
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
            RequestError::Network(reason) => Error::Network {
                endpoint: self.endpoint(call.repository),
                step: call.step.clone(),
                reason: Box::new(if server == WebOrigin::of(&self.base) {
                    reason
                } else {
                    reason.at(&server.to_string())
                }),
            },
            RequestError::Content(_) if self.monitor.is_interrupted() => Error::Interrupted,
            RequestError::Content(source) => Error::Content {
                endpoint: self.endpoint(call.repository),
                source,
            },
        })
    }
}

/// Returns whether http may work after https failed with this error.
fn may_use_http(error: &Error) -> bool {
    match error {
        Error::Network { reason, .. } => !matches!(
            reason.kind,
            NetworkKind::Certificate
                | NetworkKind::Authority { .. }
                | NetworkKind::Name
                | NetworkKind::Processor
                | NetworkKind::Proxy
                | NetworkKind::Socks
        ),
        Error::Processor { .. } => true,
        _ => false,
    }
}

/// Returns whether a response is a web page, for example of a login portal or
/// of a web server at a wrong port.
fn is_page(response: Response) -> bool {
    let content_type = response.header("content-type").unwrap_or_default();
    let may_be = content_type.starts_with("text/html")
        && response.header("docker-distribution-api-version").is_none();
    let mut start = Vec::new();
    if may_be {
        drop(response.into_reader().take(512).read_to_end(&mut start));
    }
    start.trim_ascii_start().starts_with(b"<")
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
