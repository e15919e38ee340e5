//! A client of one registry: finds it, proves who asks, tries again, follows
//! redirects without telling others the secret.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use rustls_pki_types::CertificateDer;
use ureq::http::{Method, Uri};

use imgbuild_oci::parcel::BlobContent;
use imgbuild_oci::source::MAX_DOCUMENT_BYTES;

use crate::answer::{Answer, bounded};
use crate::authenticator::{Authenticator, Context, Scope};
use crate::error::{Error, NetworkError, NetworkKind, Place, Problem, Result, Step};
use crate::host;
use crate::monitor::{Monitor, check};
use crate::retry::Attempts;
pub use crate::retry::RetryPolicy;
use crate::secret::Secret;
use crate::tls;
use crate::transport::{Failure, Request, RequestBody, Response, Transport};
pub use crate::transport::{ProxyOptions, Timeouts};
use crate::url::{self, Origin};

mod options;
mod signs;

pub use options::ClientOptions;
use signs::{challenge_of, is_page, may_speak_plainly, status_of};

/// How many redirects one request follows.
const MAX_REDIRECTS: usize = 8;

/// How often finding a registry is tried: a wrong name is more likely than a
/// bad moment.
const PING_ATTEMPTS: u32 = 3;

/// What was sent to a registry so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many requests were made, to token servers and redirects too.
    pub requests: u64,
    /// How many bytes their bodies had.
    pub sent: u64,
}

/// A registry that answers.
pub struct Client {
    registry: String,
    base: Uri,
    transport: Transport,
    authenticator: Authenticator,
    monitor: Arc<dyn Monitor>,
    policy: RetryPolicy,
    plain_http: bool,
    chunk_bytes: u64,
    /// The strategy that the next upload starts with.
    upload_strategy: Mutex<UploadStrategy>,
}

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

/// One thing that the registry shall do.
pub(crate) struct Call<'a> {
    pub(crate) step: Step,
    pub(crate) repository: Option<&'a str>,
    pub(crate) scope: Scope,
    pub(crate) method: Method,
    pub(crate) url: Uri,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: CallBody<'a>,
    /// The statuses that are no refusal.
    pub(crate) accepts: &'a [u16],
    /// Whether it is tried again when it fails.
    pub(crate) retries: bool,
    /// The most bytes of the answer, which say how long it may take.
    pub(crate) answer_bytes: u64,
}

/// What is sent along; it can be sent again.
#[derive(Clone, Copy)]
pub(crate) enum CallBody<'a> {
    None,
    Bytes(&'a [u8]),
    /// So many bytes of a content, from a place on; each that is sent is told.
    Content(&'a dyn BlobContent, u64, u64, &'a dyn Fn(u64)),
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Client")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Finds the registry, and learns what it asks for.
    ///
    /// On this machine http will do; elsewhere only if the options say so.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, is no registry, or the options are wrong.
    pub fn connect(
        registry: &str,
        options: &ClientOptions,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<Self> {
        let certificates = match &options.certificates {
            Some(pem) => tls::parse_certificates(pem).map_err(|reason| Error::Certificates {
                registry: registry.to_owned(),
                reason,
            })?,
            None => Vec::new(),
        };
        let may_be_plain = options.plain_http || host::is_loopback(registry);
        let secure = Self::reach(registry, "https", options, &certificates, monitor);
        let error = match secure {
            Err(error) if may_be_plain && may_speak_plainly(&error) => error,
            result => return result,
        };
        match Self::reach(registry, "http", options, &certificates, monitor) {
            Ok(client) => Ok(client),
            // So servers answer http where they speak TLS.
            Err(plain) if status_of(&plain) == Some(400) => Err(error),
            Err(plain) => Err(plain),
        }
    }

    fn reach(
        registry: &str,
        scheme: &str,
        options: &ClientOptions,
        certificates: &[CertificateDer<'static>],
        monitor: &Arc<dyn Monitor>,
    ) -> Result<Self> {
        let is_secure = scheme == "https";
        if let (true, Some(needs)) = (is_secure, tls::missing_instructions()) {
            let registry = registry.to_owned();
            return Err(Error::Processor { registry, needs });
        }
        let proxy = match is_secure {
            true => &options.https_proxy,
            false => &options.http_proxy,
        };
        let is_near = host::is_loopback(registry);
        let proxy = proxy
            .as_ref()
            .filter(|proxy| !is_near && !proxy.spares(registry));
        let tls = tls::config(certificates);
        let user_agent = &options.user_agent;
        let transport = Transport::new(tls, proxy, options.timeouts, user_agent);
        let bad_proxy = |_| Error::Proxy {
            registry: registry.to_owned(),
            variable: proxy.map_or_else(String::new, |proxy| proxy.variable.clone()),
        };
        let address = host::address(registry);
        let base = url::parse(&format!("{scheme}://{address}/v2/"));
        let base = base.ok_or_else(|| Error::Network {
            place: Place {
                registry: registry.into(),
                repository: None,
            },
            step: Step::Ping,
            reason: Box::new(NetworkError::new(
                NetworkKind::Name,
                "its name is no address",
            )),
        })?;
        let client = Self {
            registry: registry.to_owned(),
            base,
            transport: transport.map_err(bad_proxy)?,
            authenticator: Authenticator::new(
                options.credential.clone(),
                options.source.clone(),
                options.secrets.clone(),
            ),
            monitor: Arc::clone(monitor),
            policy: options.retry,
            plain_http: options.plain_http,
            chunk_bytes: options.chunk_bytes.max(1),
            upload_strategy: Mutex::default(),
        };
        client.transport.end_with(monitor);
        client.ping(is_secure && (options.plain_http || host::is_loopback(registry)))?;
        Ok(client)
    }

    /// Asks whether there is a registry; `once` if http may do as well.
    fn ping(&self, once: bool) -> Result<()> {
        let response = self.call(&Call {
            step: Step::Ping,
            repository: None,
            scope: Scope::default(),
            method: Method::GET,
            url: self.base.clone(),
            headers: Vec::new(),
            body: CallBody::None,
            accepts: &[200, 401, 403, 404],
            retries: !once,
            answer_bytes: MAX_DOCUMENT_BYTES,
        })?;
        match response.status {
            // Whom a registry leads to does not say who gets the password.
            401 if !self.is_own(&response) => {}
            401 => match challenge_of(&response) {
                Some(challenge) => self.authenticator.meet(challenge),
                None => {
                    let problem = match response.header("www-authenticate") {
                        Some(asked) => Problem::Login(bounded(asked)),
                        None => Problem::NoRegistry(401),
                    };
                    return Err(self.problem(&Step::Ping, None, problem));
                }
            },
            200 | 403 => {
                let server = response.origin();
                if is_page(response) {
                    let is_ours = server == Origin::of(&self.base);
                    let server = (!is_ours).then(|| server.to_string());
                    return Err(self.problem(&Step::Ping, None, Problem::Page(server)));
                }
            }
            status => return Err(self.problem(&Step::Ping, None, Problem::NoRegistry(status))),
        }
        Ok(())
    }

    /// Returns the name of the registry.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns what was sent so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let (requests, sent) = self.transport.traffic();
        Traffic { requests, sent }
    }

    /// Whether requests carry a credential.
    #[must_use]
    pub fn has_credential(&self) -> bool {
        self.authenticator.has_credential()
    }

    pub(crate) fn monitor(&self) -> &dyn Monitor {
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

    /// Of something that has failed so often.
    pub(crate) fn attempts_after(&self, failures: u32) -> Attempts {
        Attempts::after(self.policy, failures)
    }

    /// The address of something in a repository.
    pub(crate) fn url(&self, repository: &str, rest: &str) -> Uri {
        format!(
            "{}{}",
            self.base,
            url::sanitize(&format!("{repository}/{rest}"))
        )
        .parse()
        .expect("everything that an address may not hold is encoded")
    }

    pub(crate) fn place(&self, repository: Option<&str>) -> Place {
        Place {
            registry: self.registry.as_str().into(),
            repository: repository.map(Into::into),
        }
    }

    pub(crate) fn problem(&self, step: &Step, repository: Option<&str>, problem: Problem) -> Error {
        Error::Protocol {
            place: self.place(repository),
            step: step.clone(),
            problem: Box::new(problem),
        }
    }

    /// Resolves a `Location` of an answer. What leads from https to http is
    /// refused, and so is http on another machine unless that was allowed.
    pub(crate) fn follow(
        &self,
        call: &Call<'_>,
        from: &Uri,
        location: Option<&str>,
        none: Problem,
    ) -> Result<Uri> {
        let problem = |problem| self.problem(&call.step, call.repository, problem);
        let next = location.and_then(|location| url::resolve(from, location));
        let next = next.ok_or_else(|| problem(none))?;
        let to = Origin::of(&next);
        match Origin::of(from).may_lead_to(&to, self.plain_http) {
            true => Ok(next),
            false => Err(problem(Problem::Downgrade(to.host))),
        }
    }

    /// Makes a call until it is answered with one of the statuses it accepts.
    ///
    /// # Errors
    ///
    /// When it is refused, when there is no answer, or when interrupted.
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

    /// Makes a call once, or twice if the first token was not taken.
    fn authenticated(&self, call: &Call<'_>) -> Result<Response> {
        let mut is_renewed = false;
        loop {
            let header = match call.step {
                Step::Ping => None,
                _ => self
                    .authenticator
                    .header(&call.scope, &self.context(call))?,
            };
            let response = self.exchange(call, header.as_ref())?;
            if call.accepts.contains(&response.status) {
                return Ok(response);
            }
            let is_ours = self.is_own(&response);
            if is_ours && response.status == 401 && !is_renewed {
                is_renewed = true;
                let has_token = header.is_some() && self.authenticator.uses_tokens();
                self.authenticator.forget(header.as_ref());
                let challenge = challenge_of(&response);
                let is_new = challenge.is_some();
                if let Some(challenge) = challenge {
                    self.authenticator.meet(challenge);
                }
                // Some say only the first time what they ask for.
                if is_new || has_token {
                    continue;
                }
            }
            return Err(self.refusal(call, response, is_ours, header.is_some()));
        }
    }

    /// Whether it is the registry itself that has answered.
    pub(crate) fn is_own(&self, response: &Response) -> bool {
        response.origin() == Origin::of(&self.base)
    }

    fn context(&self, call: &Call<'_>) -> Context<'_> {
        Context {
            transport: &self.transport,
            monitor: self.monitor(),
            place: self.place(call.repository),
            registry: Origin::of(&self.base),
            plain_http: self.plain_http,
        }
    }

    fn refusal(
        &self,
        call: &Call<'_>,
        response: Response,
        is_ours: bool,
        has_header: bool,
    ) -> Error {
        let (status, server) = (response.status, response.origin());
        let wait = response.retry_after();
        let secrets = self.authenticator.secrets();
        let mut answer = Answer::read(status, wait, response.into_reader(), secrets);
        answer = match is_ours {
            true => {
                let has_token = has_header && self.authenticator.uses_tokens();
                answer.to(self.authenticator.asker(has_token))
            }
            false => answer.by_another(format!("`{server}`")),
        };
        Error::Refused {
            place: self.place(call.repository),
            step: call.step.clone(),
            answer: Box::new(answer),
        }
    }

    /// Sends a call, and follows where it is redirected to. The secret goes to
    /// the registry only.
    fn exchange(&self, call: &Call<'_>, header: Option<&Secret>) -> Result<Response> {
        let mut url = call.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            check(self.monitor())?;
            let is_ours = Origin::of(&url) == Origin::of(&self.base);
            let header = header.filter(|_| is_ours).cloned();
            let response = self.send(call, url.clone(), header)?;
            if !is_redirect(response.status, call) {
                return Ok(response);
            }
            url = self.follow(
                call,
                &url,
                response.header("location"),
                Problem::RedirectAddress,
            )?;
        }
        let problem = Problem::Redirects(MAX_REDIRECTS);
        Err(self.problem(&call.step, call.repository, problem))
    }

    fn send(&self, call: &Call<'_>, url: Uri, authorization: Option<Secret>) -> Result<Response> {
        let server = Origin::of(&url);
        let is_ours = server == Origin::of(&self.base);
        let request = |body| Request {
            method: call.method.clone(),
            url,
            headers: call.headers.clone(),
            authorization,
            body,
            is_commit: call.method == Method::PUT || call.method == Method::PATCH,
            answer_bytes: call.answer_bytes,
        };
        let sent = match call.body {
            CallBody::None => self.transport.send(request(RequestBody::None)),
            CallBody::Bytes(bytes) => self.transport.send(request(RequestBody::Bytes(bytes))),
            CallBody::Content(content, offset, size, tell) => match content.open(offset) {
                Ok(reader) => {
                    let mut reader = Telling {
                        reader,
                        tell,
                        monitor: self.monitor(),
                    };
                    self.transport
                        .send(request(RequestBody::Reader(&mut reader, size)))
                }
                Err(error) => Err(Failure::Content(error)),
            },
        };
        let place = || self.place(call.repository);
        sent.map_err(|failure| match failure {
            Failure::Network(reason) => Error::Network {
                place: place(),
                step: call.step.clone(),
                reason: Box::new(match is_ours {
                    true => reason,
                    false => reason.at(&server.to_string()),
                }),
            },
            Failure::Content(_) if self.monitor.is_interrupted() => Error::Interrupted,
            Failure::Content(source) => Error::Content {
                place: place(),
                source,
            },
        })
    }
}

/// Whether an answer leads elsewhere. What has a body is sent again only when
/// the status says so.
fn is_redirect(status: u16, call: &Call<'_>) -> bool {
    match status {
        307 | 308 => true,
        301..=303 => call.method == Method::GET || call.method == Method::HEAD,
        _ => false,
    }
}

/// Tells how many bytes go by, and ends when the run should stop.
struct Telling<'a> {
    reader: Box<dyn Read + Send + 'a>,
    tell: &'a dyn Fn(u64),
    monitor: &'a dyn Monitor,
}

impl Read for Telling<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.monitor.is_interrupted() {
            return Err(io::ErrorKind::Other.into());
        }
        let count = self.reader.read(buffer)?;
        (self.tell)(count as u64);
        Ok(count)
    }
}
