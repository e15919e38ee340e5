//! One request over the network, and its answer.

use std::cell::Cell;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustls::ClientConfig;
use ureq::http::{HeaderMap, Method, Request as HttpRequest, Uri};
use ureq::unversioned::transport::Connector;
use ureq::{Agent, SendBody};

use crate::answer;
use crate::connector::{
    EarlyConnector, ProxyConnector, SLICE, Stop, StoppingResolver, TcpConnector, TlsConnector,
    early,
};
use crate::error::{NetworkError, NetworkKind};
use crate::monitor::Monitor;
use crate::secret::Secret;
use crate::tls;
use crate::url::Origin;
use crate::words::network_error;

mod proxy;

pub use proxy::ProxyOptions;
use proxy::UsedProxy;

/// The longest head of an answer.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// The least that a connection must carry per second, over the whole of a
/// body: one that trickles ends sometime.
const MIN_BYTES_PER_SECOND: u64 = 4 << 10;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Finding and reaching a host, TLS included.
    pub connect: Duration,
    /// Without a byte sent or received.
    pub idle: Duration,
    /// For the answer to a blob or manifest that was sent: registries hash and
    /// move it.
    pub commit: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            commit: Duration::from_secs(600),
        }
    }
}

/// Connections to servers, kept and used again.
#[derive(Debug)]
pub(crate) struct Transport {
    agent: Agent,
    stop: Stop,
    proxy: Option<UsedProxy>,
    timeouts: Timeouts,
    requests: AtomicU64,
    sent: AtomicU64,
    /// Held as long as there is anything to end.
    life: Arc<()>,
}

/// What is sent.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Uri,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) authorization: Option<Secret>,
    pub(crate) body: RequestBody<'a>,
    /// Whether the answer may take as long as the registry's work on the body.
    pub(crate) is_commit: bool,
    /// The most bytes of the answer.
    pub(crate) answer_bytes: u64,
}

/// The bytes that go with a request.
pub(crate) enum RequestBody<'a> {
    None,
    Bytes(&'a [u8]),
    Reader(&'a mut dyn Read, u64),
}

/// What came back; the body is read from the connection.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) url: Uri,
    body: ureq::Body,
}

/// Why there is no answer.
pub(crate) enum Failure {
    Network(NetworkError),
    /// The body could not be read, so nothing whole was sent.
    Content(io::Error),
}

impl Transport {
    /// Prepares connections; none is made yet.
    ///
    /// # Errors
    ///
    /// When the address of the proxy is none.
    pub(crate) fn new(
        tls: Option<Arc<ClientConfig>>,
        proxy: Option<&ProxyOptions>,
        timeouts: Timeouts,
        user_agent: &str,
    ) -> Result<Self, ureq::Error> {
        let proxy = proxy.map(UsedProxy::new).transpose()?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are followed by the client, which knows what may be
            // sent where.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy.as_ref().map(UsedProxy::address))
            .user_agent(user_agent)
            .max_response_header_size(MAX_HEADER_BYTES)
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .timeout_per_read(Some(timeouts.idle))
            .timeout_per_write(Some(timeouts.idle))
            .build();
        let stop = Stop::default();
        let connector =
            ().chain(ProxyConnector::default())
                .chain(TcpConnector::new(stop.clone()))
                .chain(TlsConnector::new(tls))
                .chain(EarlyConnector::default());
        let resolver = StoppingResolver::new(stop.clone());
        Ok(Self {
            agent: Agent::with_parts(config, connector, resolver),
            stop,
            proxy,
            timeouts,
            requests: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            life: Arc::new(()),
        })
    }

    /// Cuts all connections when the run should stop, and makes no more: a
    /// server that does not answer would otherwise be waited for.
    pub(crate) fn end_with(&self, monitor: &Arc<dyn Monitor>) {
        let (agent, monitor) = (self.agent.clone(), Arc::clone(monitor));
        let stop = self.stop.clone();
        let life = Arc::downgrade(&self.life);
        thread::spawn(move || {
            while life.strong_count() > 0 {
                if monitor.is_interrupted() {
                    stop.stop();
                    agent.shutdown();
                    return;
                }
                thread::sleep(SLICE);
            }
        });
    }

    /// Returns how many requests were made, and how many bytes of bodies were
    /// sent.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (read(&self.requests), read(&self.sent))
    }

    /// Refuses what the TLS implementation would panic of: also a registry
    /// without TLS may lead to a server with it.
    fn check_processor(&self, url: &Uri) -> Result<(), Failure> {
        let has_secure_proxy = self.proxy.as_ref().is_some_and(UsedProxy::is_secure);
        let is_secure = has_secure_proxy || Origin::of(url).is_secure();
        let Some(needs) = tls::missing_instructions().filter(|_| is_secure) else {
            return Ok(());
        };
        let text =
            format!("https is needed, and this processor lacks the instructions for it ({needs})");
        let kind = NetworkKind::Processor;
        Err(Failure::Network(NetworkError::new(kind, text)))
    }

    /// Sends one request. Redirects and refusals are answers, too.
    pub(crate) fn send(&self, request: Request<'_>) -> Result<Response, Failure> {
        self.check_processor(&request.url)?;
        if let Some(proxy) = &self.proxy {
            proxy.check(&request.url).map_err(Failure::Network)?;
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut http = HttpRequest::builder()
            .method(request.method)
            .uri(&request.url);
        for (name, value) in &request.headers {
            http = http.header(*name, value);
        }
        if let Some(authorization) = &request.authorization {
            http = http.header("authorization", authorization.reveal());
        }
        let patience = Patience {
            read: match request.is_commit {
                true => self.timeouts.commit,
                false => self.timeouts.idle,
            },
            answer: body_time(self.timeouts.idle, request.answer_bytes),
        };
        match request.body {
            RequestBody::None => self.run(http.body(()).map_err(failure)?, patience, 0),
            RequestBody::Bytes(bytes) => {
                let size = bytes.len() as u64;
                let sent = self.run(http.body(bytes).map_err(failure)?, patience, size);
                self.sent.fetch_add(size, Ordering::Relaxed);
                sent
            }
            RequestBody::Reader(reader, size) => {
                let problem = Cell::new(None);
                let mut watched = Watched {
                    reader,
                    problem: &problem,
                    sent: &self.sent,
                    rest: size,
                };
                let http = http.header("content-length", size);
                let body = SendBody::from_reader(&mut watched);
                let sent = self.run(http.body(body).map_err(failure)?, patience, size);
                match problem.take() {
                    Some(error) => Err(Failure::Content(error)),
                    None => sent,
                }
            }
        }
        .map(|response| Response::new(response, request.url))
    }

    fn run(
        &self,
        request: HttpRequest<impl ureq::AsSendBody>,
        patience: Patience,
        size: u64,
    ) -> Result<ureq::http::Response<ureq::Body>, Failure> {
        let request = self
            .agent
            .configure_request(request)
            .timeout_per_read(Some(patience.read))
            .timeout_recv_body(Some(patience.answer))
            .timeout_send_body(Some(body_time(self.timeouts.idle, size)))
            .timeout_recv_response(Some(patience.read))
            .build();
        early::begin();
        let answered = self.agent.run(request).map_err(failure);
        // Success cannot be of a body of which a part was not sent.
        let answered = answered.and_then(|answer| match answer.status().as_u16() {
            ..300 if early::has_ended() => Err(failure(cut())),
            _ => Ok(answer),
        });
        answered.map_err(|failure| match (failure, &self.proxy) {
            (Failure::Network(error), Some(proxy)) => Failure::Network(proxy.name(error)),
            (failure, _) => failure,
        })
    }
}

fn failure(error: impl Into<ureq::Error>) -> Failure {
    Failure::Network(network_error(error.into()))
}

fn cut() -> ureq::Error {
    io::Error::from(io::ErrorKind::ConnectionAborted).into()
}

/// How long an answer may take.
#[derive(Clone, Copy)]
struct Patience {
    /// Until its head, and between two parts of it.
    read: Duration,
    /// All of its body.
    answer: Duration,
}

/// How long a body of this size may take.
fn body_time(idle: Duration, size: u64) -> Duration {
    idle * 2 + Duration::from_secs(size / MIN_BYTES_PER_SECOND)
}

/// A body that counts, never gives more than it should, and remembers why it
/// could not be read.
struct Watched<'a> {
    reader: &'a mut dyn Read,
    problem: &'a Cell<Option<io::Error>>,
    sent: &'a AtomicU64,
    rest: u64,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        if limit == 0 {
            return Ok(0);
        }
        if early::has_ended() {
            // Nobody sends it, and the answer is read only after the last.
            self.rest -= limit as u64;
            return Ok(limit);
        }
        let error = match self.reader.read(&mut buffer[..limit]) {
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
    fn new(response: ureq::http::Response<ureq::Body>, url: Uri) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            url,
            body,
        }
    }

    /// Returns a header that is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the number in a header.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.trim().parse().ok()
    }

    /// Returns how long to wait, if the server says so.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        answer::retry_after(self.header("retry-after")?, self.header("date"))
    }

    pub(crate) fn origin(&self) -> Origin {
        Origin::of(&self.url)
    }

    /// Returns the body, as it comes.
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
        assert_eq!(body_time(idle, 0).as_secs(), 120);
        assert_eq!(body_time(idle, 1 << 20).as_secs(), 120 + 256);
    }
}
