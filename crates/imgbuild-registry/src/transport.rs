//! One request over the network, and its answer.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustls::{CertificateError, ClientConfig};
use ureq::http::{HeaderMap, Method, Request as HttpRequest, Uri};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, Proxy, ProxyProtocol, SendBody, Timeout};

use crate::answer;
use crate::connector::{ProxyConnector, TlsConnector};
use crate::error::{NetworkError, NetworkKind};
use crate::monitor::Monitor;
use crate::secret::Secret;
use crate::tls::{self, Distrust};
use crate::url::Origin;

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

/// A proxy, and for what it is not used.
#[derive(Clone)]
pub struct ProxyOptions {
    /// Its address, which may hold a password.
    pub address: Secret,
    /// Hosts and domains that are reached without it, as `NO_PROXY` lists them.
    pub exceptions: Vec<String>,
}

impl fmt::Debug for ProxyOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProxyOptions")
            .finish_non_exhaustive()
    }
}

/// Connections to servers, kept and used again.
#[derive(Debug)]
pub(crate) struct Transport {
    agent: Agent,
    has_secure_proxy: bool,
    timeouts: Timeouts,
    requests: AtomicU64,
    sent: AtomicU64,
    /// Held as long as there is anything to end.
    life: Arc<()>,
}

/// How long a signal may wait to be noticed by who waits for a server.
const SLICE: Duration = Duration::from_millis(100);

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
        let proxy = proxy.map(make_proxy).transpose()?;
        let has_secure_proxy = proxy
            .as_ref()
            .is_some_and(|proxy| proxy.protocol() == ProxyProtocol::Https);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are followed by the client, which knows what may be
            // sent where.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .user_agent(user_agent)
            .max_response_header_size(MAX_HEADER_BYTES)
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .timeout_per_read(Some(timeouts.idle))
            .timeout_per_write(Some(timeouts.idle))
            .build();
        let connector =
            ().chain(ProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(TlsConnector::new(tls));
        Ok(Self {
            agent: Agent::with_parts(config, connector, DefaultResolver::default()),
            has_secure_proxy,
            timeouts,
            requests: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            life: Arc::new(()),
        })
    }

    /// Cuts all connections when the run should stop: a server that does not
    /// answer would otherwise be waited for.
    pub(crate) fn end_with(&self, monitor: &Arc<dyn Monitor>) {
        let (agent, monitor) = (self.agent.clone(), Arc::clone(monitor));
        let life = Arc::downgrade(&self.life);
        thread::spawn(move || {
            while life.strong_count() > 0 {
                if monitor.is_interrupted() {
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
        let is_secure = self.has_secure_proxy || Origin::of(url).is_secure();
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
        self.agent.run(request).map_err(failure)
    }
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

fn make_proxy(options: &ProxyOptions) -> Result<Proxy, ureq::Error> {
    let address = options.address.reveal();
    let plain = Proxy::new(address)?;
    let mut builder = Proxy::builder(plain.protocol())
        .host(plain.host())
        .port(plain.port());
    if let Some(user) = plain.username() {
        builder = builder.username(user);
    }
    if let Some(password) = plain.password() {
        builder = builder.password(password);
    }
    for exception in &options.exceptions {
        builder = builder.no_proxy(exception);
    }
    builder.build()
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

impl From<NetworkError> for Failure {
    fn from(error: NetworkError) -> Self {
        Self::Network(error)
    }
}

fn failure(error: impl Into<ureq::Error>) -> Failure {
    Failure::Network(network_error(error.into()))
}

/// Says what became of a connection, in a few words.
pub(crate) fn network_error(error: ureq::Error) -> NetworkError {
    use NetworkKind as Kind;
    match error {
        ureq::Error::Io(error) => io_error(&error),
        ureq::Error::HostNotFound => NetworkError::new(Kind::Name, "there is no host of that name"),
        ureq::Error::Timeout(timeout) => NetworkError::new(Kind::Timeout, timeout_text(timeout)),
        ureq::Error::ConnectProxyFailed(_) => {
            NetworkError::new(Kind::Proxy, "the proxy did not connect")
        }
        ureq::Error::Rustls(error) => tls_error(&error),
        ureq::Error::Tls(text) => NetworkError::new(Kind::Tls, text),
        ureq::Error::TlsRequired => NetworkError::new(Kind::Tls, "there is no TLS"),
        ureq::Error::ConnectionFailed => {
            NetworkError::new(Kind::Refused, "no connection could be made")
        }
        ureq::Error::BodyStalled => NetworkError::new(Kind::Cut, "the connection was cut"),
        other => {
            let text = answer::bounded(&other.to_string());
            NetworkError::new(Kind::NotHttp, format!("the answer is not HTTP: {text}"))
        }
    }
}

/// Says what became of a connection while a body was read.
pub(crate) fn read_error(error: io::Error) -> NetworkError {
    network_error(ureq::Error::from(error))
}

fn io_error(error: &io::Error) -> NetworkError {
    use NetworkKind as Kind;
    if let Some(error) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        return tls_error(error);
    }
    let (kind, text) = match error.kind() {
        io::ErrorKind::ConnectionRefused => (Kind::Refused, "nobody listens there".to_owned()),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            (Kind::Timeout, "it took too long".to_owned())
        }
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected => (Kind::Cut, "the connection was cut".to_owned()),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            (Kind::Refused, "there is no way to that host".to_owned())
        }
        // What ureq knows only as a text, such as a name that is not found.
        _ => {
            let text = answer::bounded(&error.to_string());
            let kind = match text.contains("failed to lookup address") {
                true => Kind::Name,
                false => Kind::Cut,
            };
            (kind, text)
        }
    };
    NetworkError::new(kind, text)
}

fn tls_error(error: &rustls::Error) -> NetworkError {
    use NetworkKind as Kind;
    let distrust = match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.downcast_ref::<Distrust>()
        }
        _ => None,
    };
    if let Some(Distrust(error)) = distrust {
        return error.clone();
    }
    match error {
        rustls::Error::InvalidCertificate(_) => NetworkError::new(
            Kind::Certificate,
            "its certificate is not what it should be",
        ),
        rustls::Error::NoCertificatesPresented => {
            NetworkError::new(Kind::Certificate, "it shows no certificate")
        }
        // What answers in another protocol, mostly http.
        rustls::Error::InvalidMessage(_) => {
            NetworkError::new(Kind::NoTls, "what answers there does not speak TLS")
        }
        rustls::Error::AlertReceived(alert) => {
            let alert = spaced(&format!("{alert:?}"));
            NetworkError::new(Kind::Tls, format!("it refuses TLS: {alert}"))
        }
        rustls::Error::PeerIncompatible(_) => NetworkError::new(
            Kind::Tls,
            "it speaks no version of TLS, or no cipher, that is safe",
        ),
        other => {
            let text = answer::bounded(&other.to_string());
            NetworkError::new(Kind::Tls, format!("no TLS could be agreed on: {text}"))
        }
    }
}

/// Takes the words of a name apart: `HandshakeFailure`.
fn spaced(name: &str) -> String {
    let mut text = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.push(character.to_ascii_lowercase());
    }
    text
}

fn timeout_text(timeout: Timeout) -> String {
    let what = match timeout {
        Timeout::Resolve => "finding the host",
        Timeout::Connect => "connecting",
        Timeout::SendRequest | Timeout::SendBody => "sending",
        Timeout::RecvResponse => "waiting for the answer",
        Timeout::RecvBody => "receiving",
        _ => "it",
    };
    format!("{what} took too long")
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

    #[test]
    fn failures_of_tls_are_told_in_words() {
        let refused = rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure);
        let not_tls = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        for (error, kind, text) in [
            (
                refused,
                NetworkKind::Tls,
                "it refuses TLS: handshake failure",
            ),
            (
                not_tls,
                NetworkKind::NoTls,
                "what answers there does not speak TLS",
            ),
            (
                rustls::Error::NoCertificatesPresented,
                NetworkKind::Certificate,
                "it shows no certificate",
            ),
        ] {
            let found = tls_error(&error);
            assert_eq!((found.kind, found.to_string().as_str()), (kind, text));
        }
    }

    #[test]
    fn a_proxy_keeps_its_exceptions_and_is_not_shown() {
        let options = ProxyOptions {
            address: Secret::new("http://me:hunter2@proxy:3128"),
            exceptions: vec!["ghcr.io".to_owned()],
        };
        assert!(!format!("{options:?}").contains("hunter2"));
        let proxy = make_proxy(&options).unwrap();
        assert!(proxy.is_no_proxy(&"https://ghcr.io/v2/".parse().unwrap()));
        assert!(!proxy.is_no_proxy(&"https://docker.io/v2/".parse().unwrap()));
        assert_eq!((proxy.host(), proxy.port()), ("proxy", 3128));
        assert!(
            make_proxy(&ProxyOptions {
                address: Secret::new("::"),
                exceptions: Vec::new()
            })
            .is_err()
        );
    }
}
