//! One HTTP request and its response.

use std::cell::Cell;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use imgbuild_oci::document::MAX_DOCUMENT_BYTES;
use ureq::http::{HeaderMap, Method, Request, Uri};
use ureq::unversioned::transport::Connector;
use ureq::{Agent, AsSendBody, Proxy, ProxyProtocol, SendBody};

use crate::connector::{
    EarlyConnector, InterruptibleResolver, MIN_BYTES_PER_SECOND, ProxyConnector, TcpConnector,
    TlsConnector, WaitMonitor, early,
};
use crate::error_response;
use crate::monitor::ClientMonitor;
use crate::network_error::{NetworkError, NetworkKind};
use crate::secret::Secret;
use crate::tls::{self, Trust};
use crate::url::WebOrigin;

mod proxy;

pub use proxy::ProxyOptions;

/// The maximum size of the head of a response, which is also that of the buffer:
/// after a `103 Early Hints`, ureq takes all that is buffered for a head.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// The minimum rate of a document, as a multiple of that of other bodies.
const DOCUMENT_SPEEDUP: u64 = 64;

/// The rate at which registries hash and store a blob, after which they answer.
const COMMIT_BYTES_PER_SECOND: u64 = 8 << 20;

/// The timeouts of requests.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// The time to resolve a host, and that to connect to it, including TLS.
    pub connect: Duration,
    /// The time without a byte sent or received.
    pub idle: Duration,
}

impl Timeouts {
    /// Returns timeouts with which an operation fails after `time` at a server
    /// that says nothing: each of its attempts has a part of it.
    #[must_use]
    pub fn within(time: Duration) -> Self {
        Self {
            connect: time / 4,
            idle: time / 2,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::within(Duration::from_secs(80))
    }
}

/// A pool of connections to servers.
pub(crate) struct Transport {
    agent: Agent,
    proxy: Option<ProxyOptions>,
    pub(crate) requests: AtomicU64,
    pub(crate) sent: AtomicU64,
}

/// The requests and bytes that a client sent so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The number of requests, including those to token servers and redirects.
    pub requests: u64,
    /// The number of bytes of their bodies.
    pub sent: u64,
}

/// A request to one server.
pub(crate) struct HttpRequest<'a> {
    pub(crate) method: Method,
    pub(crate) url: Uri,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) authorization: Option<Secret>,
    pub(crate) body: Option<RequestBody<'a>>,
    /// The maximum size of the body of the response, in bytes.
    pub(crate) response_bytes: u64,
    pub(crate) timeouts: Timeouts,
}

/// The body of a request, and a function that is called with the size of each
/// part that was read; an error of it ends the request.
pub(crate) struct RequestBody<'a> {
    pub(crate) reader: Box<dyn Read + Send + 'a>,
    pub(crate) size: u64,
    pub(crate) on_read: &'a dyn Fn(u64) -> io::Result<()>,
}

/// A response; its body is read from the connection.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) url: Uri,
    body: ureq::Body,
}

/// A request without a response.
pub(crate) enum RequestError {
    Network(NetworkError),
    /// The body could not be read.
    Content(io::Error),
}

impl Transport {
    /// Prepares connections, and connects to nothing yet.
    pub(crate) fn new(
        trust: Trust,
        proxy: Option<ProxyOptions>,
        user_agent: &str,
        monitor: &Arc<dyn ClientMonitor>,
    ) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // The client follows redirects, with its rules for credentials.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Each request has its own, or none.
            .proxy(None)
            .user_agent(user_agent)
            .max_response_header_size(MAX_HEADER_BYTES)
            .input_buffer_size(MAX_HEADER_BYTES)
            .build();
        let waits = WaitMonitor(Arc::clone(monitor));
        let connector =
            ().chain(ProxyConnector::default())
                .chain(TcpConnector(waits.clone()))
                .chain(TlsConnector(trust))
                .chain(EarlyConnector);
        let resolver = InterruptibleResolver(waits);
        Self {
            agent: Agent::with_parts(config, connector, resolver),
            proxy,
            requests: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    /// Refuses https where the TLS implementation would panic. A registry
    /// without TLS may still redirect to a server with TLS.
    fn check_processor(url: &Uri, proxy: Option<&Proxy>) -> Result<(), NetworkError> {
        let has_secure_proxy = proxy.is_some_and(|one| one.protocol() == ProxyProtocol::Https);
        let is_secure = has_secure_proxy || WebOrigin::of(url).is_secure();
        match tls::missing_instructions() {
            Some(needs) if is_secure => Err(NetworkError::new(
                NetworkKind::Processor,
                format!("this processor lacks instructions for https ({needs})"),
            )),
            _ => Ok(()),
        }
    }

    /// Sends a request. Redirects and refusals are responses, too.
    pub(crate) fn send(&self, request: HttpRequest<'_>) -> Result<Response, RequestError> {
        let proxy = self.proxy.as_ref();
        let proxy = proxy.filter(|proxy| !proxy.is_exception(&request.url));
        let proxy = proxy.map(ProxyOptions::usable).transpose()?;
        Self::check_processor(&request.url, proxy.as_ref())?;
        self.requests.fetch_add(1, Ordering::Relaxed);

        let is_commit = request.method == Method::PUT || request.method == Method::PATCH;
        let mut http = Request::builder().method(request.method).uri(&request.url);
        for (name, value) in &request.headers {
            http = http.header(*name, value);
        }
        if let Some(authorization) = &request.authorization {
            http = http.header("authorization", authorization.reveal());
        }
        let size = request.body.as_ref().map_or(0, |body| body.size);
        let idle = request.timeouts.idle;
        // Whatever comes instead of a small document, it does not take long.
        let speedup = if request.response_bytes <= MAX_DOCUMENT_BYTES {
            DOCUMENT_SPEEDUP
        } else {
            1
        };
        let options = RequestOptions {
            proxy,
            timeouts: request.timeouts,
            read: if is_commit {
                idle + Duration::from_secs(size / COMMIT_BYTES_PER_SECOND)
            } else {
                idle
            },
            send: body_timeout(idle, size),
            receive: body_timeout(idle, request.response_bytes / speedup),
        };

        let problem = Cell::new(None);
        let response = match request.body {
            None => self.run(http.body(()), options),
            Some(body) => {
                let mut reader = BodyReader {
                    body,
                    rest: size,
                    sent: &self.sent,
                    problem: &problem,
                };
                let http = http.header("content-length", size);
                self.run(http.body(SendBody::from_reader(&mut reader)), options)
            }
        };
        if let Some(error) = problem.take() {
            return Err(RequestError::Content(error));
        }
        let (parts, body) = response?.into_parts();
        Ok(Response {
            status: parts.status.as_u16(),
            headers: parts.headers,
            url: request.url,
            body,
        })
    }

    fn run<B: AsSendBody>(
        &self,
        request: ureq::http::Result<Request<B>>,
        options: RequestOptions,
    ) -> Result<ureq::http::Response<ureq::Body>, RequestError> {
        let request = self
            .agent
            .configure_request(request.map_err(ureq::Error::from)?)
            .proxy(options.proxy)
            .timeout_resolve(Some(options.timeouts.connect))
            .timeout_connect(Some(options.timeouts.connect))
            .timeout_per_write(Some(options.timeouts.idle))
            .timeout_per_read(Some(options.read))
            .timeout_recv_response(Some(options.read))
            .timeout_recv_body(Some(options.receive))
            .timeout_send_body(Some(options.send))
            .build();
        early::begin();
        let response = self.agent.run(request);
        let response = response.map_err(|error| self.failed(error))?;
        // A server cannot accept a body that was not sent as a whole.
        if response.status().as_u16() < 300 && early::has_ended() {
            return Err(self.failed(io::Error::from(io::ErrorKind::ConnectionAborted)));
        }
        Ok(response)
    }

    fn failed(&self, error: impl Into<NetworkError>) -> RequestError {
        let error = error.into();
        RequestError::Network(match &self.proxy {
            Some(proxy) if error.kind == NetworkKind::Proxy => proxy.name(error),
            _ => error,
        })
    }
}

impl<E: Into<NetworkError>> From<E> for RequestError {
    fn from(error: E) -> Self {
        Self::Network(error.into())
    }
}

/// The proxy of one request, and its timeouts.
struct RequestOptions {
    proxy: Option<Proxy>,
    timeouts: Timeouts,
    /// The time until the head of the response, and between two parts of it.
    read: Duration,
    send: Duration,
    receive: Duration,
}

/// Returns the timeout for a body of this size.
fn body_timeout(idle: Duration, size: u64) -> Duration {
    idle * 2 + Duration::from_secs(size / MIN_BYTES_PER_SECOND)
}

/// Reads a body, never more than its size, and remembers why it failed.
struct BodyReader<'a> {
    body: RequestBody<'a>,
    /// The number of bytes that are left.
    rest: u64,
    /// The counter of all bytes that the transport sent.
    sent: &'a AtomicU64,
    problem: &'a Cell<Option<io::Error>>,
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        if limit == 0 {
            return Ok(0);
        }
        if early::has_ended() {
            // These bytes are not sent: the response is read after the last one.
            self.rest -= limit as u64;
            return Ok(limit);
        }
        let read = self.body.reader.read(&mut buffer[..limit]);
        let read = read.and_then(|count| (self.body.on_read)(count as u64).map(|()| count));
        let error = match read {
            Ok(0) => io::ErrorKind::UnexpectedEof.into(),
            Ok(count) => {
                self.rest -= count as u64;
                self.sent.fetch_add(count as u64, Ordering::Relaxed);
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => error,
        };
        self.problem.set(Some(error));
        Err(io::ErrorKind::Other.into())
    }
}

impl Response {
    /// Returns a header if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns a header if it is text, escaped and shortened for messages.
    pub(crate) fn bounded_header(&self, name: &str) -> Option<String> {
        self.header(name).map(error_response::bounded)
    }

    /// Returns a header if it is a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.trim().parse().ok()
    }

    /// Returns the wait that the server asks for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        error_response::retry_after(self.header("retry-after")?, self.header("date"))
    }

    pub(crate) fn origin(&self) -> WebOrigin {
        WebOrigin::of(&self.url)
    }

    /// Returns a reader of the body.
    pub(crate) fn into_reader(self) -> Box<dyn Read + Send> {
        Box::new(self.body.into_reader())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_gets_time_for_its_size() {
        let idle = Duration::from_secs(60);
        assert_eq!(body_timeout(idle, 0).as_secs(), 120);
        assert_eq!(body_timeout(idle, 1 << 20).as_secs(), 120 + 1024);
    }
}
