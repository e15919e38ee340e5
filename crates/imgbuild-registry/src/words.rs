//! What became of a connection, in a few words.

use std::io;

use rustls::CertificateError;
use ureq::Timeout;
use ureq::http::StatusCode;

use crate::answer;
use crate::error::{NetworkError, NetworkKind};
use crate::tls::Distrust;

/// Says what became of a connection, in a few words.
pub(crate) fn network_error(error: ureq::Error) -> NetworkError {
    use NetworkKind as Kind;
    match error {
        ureq::Error::Io(error) => io_error(&error),
        ureq::Error::HostNotFound => NetworkError::new(Kind::Name, "there is no host of that name"),
        ureq::Error::Timeout(timeout) => NetworkError::new(Kind::Timeout, timeout_text(timeout)),
        ureq::Error::ConnectProxyFailed(text) => NetworkError::new(Kind::Proxy, proxy_text(&text)),
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

/// What ureq says of a proxy: `proxy server responded 407/407`.
fn proxy_text(text: &str) -> String {
    let status = text.strip_prefix("proxy server responded ");
    let status = status.and_then(|status| status.split('/').next());
    let status = status.and_then(|status| StatusCode::from_bytes(status.as_bytes()).ok());
    match status {
        Some(status) => format!("it answered {status}"),
        None => {
            answer::bounded(&text.replace("proxy server did not respond", "it does not answer"))
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
        // What the standard library knows only as a text.
        _ => {
            let text = answer::bounded(&error.to_string());
            match text.strip_prefix("failed to lookup address information: ") {
                Some(why) => (Kind::Name, format!("its name is not found ({why})")),
                None => (Kind::Cut, text),
            }
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
    fn failures_of_a_proxy_are_told_in_words() {
        for (text, expected) in [
            (
                "proxy server responded 407/407",
                "it answered 407 Proxy Authentication Required",
            ),
            ("proxy server did not respond", "it does not answer"),
            ("nobody listens there", "nobody listens there"),
        ] {
            assert_eq!(proxy_text(text), expected);
        }
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
}
