//! Failures of connections.

use std::io;
use std::time::Duration;

use humantime::format_duration;
use rustls::CertificateError;
use ureq::Timeout;
use ureq::http::StatusCode;

use crate::error_response::bounded;
use crate::protocol_error::redirect;

/// A failure of a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{text}", redirect(.server.as_deref()))]
pub struct NetworkError {
    /// The kind of failure.
    pub kind: NetworkKind,
    text: String,
    /// The server that failed, if the registry redirected to it.
    pub server: Option<String>,
}

/// A kind of failure of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkKind {
    /// The host was not found.
    Name,
    /// The connection was refused, or there is no route to the host.
    Refused,
    /// A timeout.
    Timeout,
    /// The certificate of the server is invalid.
    Certificate,
    /// The certificate of the server is not signed by a trusted authority.
    Authority {
        /// Set if the caller added certificates to trust.
        has_added: bool,
    },
    /// The TLS handshake failed.
    Tls,
    /// The server does not use TLS.
    NoTls,
    /// The processor lacks instructions that TLS needs.
    Processor,
    /// The proxy did not connect.
    Proxy,
    /// The URL of the proxy is invalid or that of a SOCKS proxy, which is not
    /// supported.
    UnusableProxy,
    /// The connection was closed too early.
    Cut,
    /// The response is not HTTP.
    NotHttp,
}

impl NetworkError {
    pub(crate) fn new(kind: NetworkKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            server: None,
        }
    }

    /// Returns the error of a server that said nothing for this time.
    pub(crate) fn timed_out(of: Timeout, limit: Option<Duration>) -> Self {
        let text = timeout_text(of);
        // What is left of a limit is a little less.
        let rounded = |limit: Duration| {
            let milliseconds = limit.as_millis().next_multiple_of(10);
            Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
        };
        let after = limit.map(|limit| format!(" after {}", format_duration(rounded(limit))));
        Self::new(
            NetworkKind::Timeout,
            format!("{text}{}", after.unwrap_or_default()),
        )
    }

    /// Adds the number of attempts to a timeout, whose message has the time of one.
    pub(crate) fn add_attempts(&mut self, count: u32) {
        if self.kind == NetworkKind::Timeout && count > 1 {
            self.text += &format!(" in each of {count} attempts");
        }
    }

    pub(crate) fn is_transient(&self) -> bool {
        !matches!(
            self.kind,
            NetworkKind::Certificate
                | NetworkKind::Authority { .. }
                | NetworkKind::Tls
                | NetworkKind::NoTls
                | NetworkKind::NotHttp
                | NetworkKind::Processor
                | NetworkKind::UnusableProxy
        )
    }
}

impl From<ureq::Error> for NetworkError {
    fn from(error: ureq::Error) -> Self {
        use NetworkKind as Kind;
        match error {
            ureq::Error::Io(error) => error.into(),
            ureq::Error::HostNotFound => Self::new(Kind::Name, "host not found"),
            ureq::Error::Timeout(timeout) => Self::timed_out(timeout, None),
            ureq::Error::ConnectProxyFailed(text) => Self::new(Kind::Proxy, proxy_text(&text)),
            ureq::Error::Rustls(error) => tls_error(&error),
            ureq::Error::Tls(text) => Self::new(Kind::Tls, text),
            ureq::Error::TlsRequired => Self::new(Kind::Tls, "TLS is not available"),
            ureq::Error::ConnectionFailed => Self::new(Kind::Refused, "connection failed"),
            ureq::Error::BodyStalled => Self::new(Kind::Cut, CUT),
            other => {
                let text = bounded(&other.to_string());
                Self::new(Kind::NotHttp, format!("the response is not HTTP: {text}"))
            }
        }
    }
}

impl From<io::Error> for NetworkError {
    fn from(error: io::Error) -> Self {
        use NetworkKind as Kind;
        let error = match error.downcast::<ureq::Error>() {
            Ok(error) => return error.into(),
            Err(error) => error,
        };
        let inner = error.get_ref();
        if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return tls_error(error);
        }
        if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<Self>()) {
            return error.clone();
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::new(Kind::Refused, "connection refused"),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                Self::new(Kind::Timeout, "timed out")
            }
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Self::new(Kind::Cut, CUT),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Self::new(Kind::Refused, "no route to host")
            }
            // The standard library has only a text for a failed lookup.
            _ => {
                let text = bounded(&error.to_string());
                match text.strip_prefix("failed to lookup address information: ") {
                    Some(why) => Self::new(Kind::Name, format!("cannot resolve the host ({why})")),
                    None => Self::new(Kind::Cut, text),
                }
            }
        }
    }
}

const CUT: &str = "the connection was closed unexpectedly";

fn tls_error(error: &rustls::Error) -> NetworkError {
    use NetworkKind as Kind;
    if let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error
        && let Some(reason) = other.0.downcast_ref::<NetworkError>()
    {
        return reason.clone();
    }
    let (kind, text) = match error {
        rustls::Error::InvalidCertificate(_) => (Kind::Certificate, "the certificate is invalid"),
        rustls::Error::NoCertificatesPresented => {
            (Kind::Certificate, "the server presented no certificate")
        }
        // Another protocol, mostly http.
        rustls::Error::InvalidMessage(_) => (Kind::NoTls, "the server does not use TLS"),
        rustls::Error::PeerIncompatible(_) => (
            Kind::Tls,
            "the server supports no secure TLS version or cipher suite",
        ),
        rustls::Error::AlertReceived(alert) => {
            let alert = spaced(&format!("{alert:?}"));
            return NetworkError::new(Kind::Tls, format!("the server refused TLS: {alert}"));
        }
        other => {
            let text = bounded(&other.to_string());
            return NetworkError::new(Kind::Tls, format!("TLS handshake failed: {text}"));
        }
    };
    NetworkError::new(kind, text)
}

/// Separates the words of a name, for example of `HandshakeFailure`.
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

/// Translates the text of ureq, for example `proxy server responded 407/407`.
fn proxy_text(text: &str) -> String {
    let status = text.strip_prefix("proxy server responded ");
    let status = status.and_then(|status| status.split('/').next());
    let status = status.and_then(|status| StatusCode::from_bytes(status.as_bytes()).ok());
    match status {
        Some(status) => format!("it answered {status}"),
        None => bounded(&text.replace("proxy server did not respond", "it did not respond")),
    }
}

fn timeout_text(timeout: Timeout) -> &'static str {
    match timeout {
        Timeout::Resolve => "resolving the host timed out",
        Timeout::Connect => "connecting timed out",
        Timeout::SendRequest | Timeout::SendBody => "sending timed out",
        Timeout::RecvResponse => "waiting for the response timed out",
        Timeout::RecvBody => "receiving timed out",
        _ => "timed out",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_a_proxy_are_readable() {
        for (text, expected) in [
            (
                "proxy server responded 407/407",
                "it answered 407 Proxy Authentication Required",
            ),
            ("proxy server did not respond", "it did not respond"),
            ("connection refused", "connection refused"),
        ] {
            assert_eq!(proxy_text(text), expected);
        }
    }

    #[test]
    fn failures_of_tls_are_readable() {
        let refused = rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure);
        let not_tls = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        for (error, kind, text) in [
            (
                refused,
                NetworkKind::Tls,
                "the server refused TLS: handshake failure",
            ),
            (not_tls, NetworkKind::NoTls, "the server does not use TLS"),
            (
                rustls::Error::NoCertificatesPresented,
                NetworkKind::Certificate,
                "the server presented no certificate",
            ),
        ] {
            let found = tls_error(&error);
            assert_eq!((found.kind, found.to_string().as_str()), (kind, text));
        }
    }
}
