//! The response of a server that refused a request.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use imgbuild_oci::bounded::read_available;
use imgbuild_oci::path::escaped;
use serde::Deserialize;
use ureq::http::StatusCode;

use crate::secret::{Identity, Secrets};

/// The maximum size of a body that is read for its reason.
const MAX_BODY_BYTES: u64 = 16 << 10;

/// The maximum length of a reason that is shown.
const MAX_TEXT_BYTES: usize = 400;

/// A refusal: the status, and the reason in the words of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    /// The HTTP status.
    pub status: u16,
    /// The reason in the words of the server; it may be empty.
    pub text: String,
    /// The wait that the server asks for.
    pub retry_after: Option<Duration>,
    /// The identity that made the request.
    pub identity: Identity,
    pub(crate) codes: Vec<String>,
    /// Set if it asks for a login.
    pub(crate) has_challenge: bool,
    /// The server that responded, if it was not the registry.
    pub(crate) server: Option<String>,
}

/// The [error body] of a registry.
///
/// [error body]: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#error-codes
#[derive(Deserialize)]
struct RegistryErrors {
    errors: Vec<RegistryError>,
}

#[derive(Deserialize)]
struct RegistryError {
    #[serde(default)]
    code: serde_json::Value,
    #[serde(default)]
    message: serde_json::Value,
    #[serde(default)]
    detail: serde_json::Value,
}

/// The error body of token servers, those of OAuth 2 and of Docker.
#[derive(Deserialize)]
struct TokenError {
    #[serde(alias = "details", alias = "message", alias = "error")]
    error_description: String,
}

impl ErrorResponse {
    /// Reads the reason from a body, and removes secrets that it repeats.
    pub(crate) fn read(
        status: u16,
        retry_after: Option<Duration>,
        body: impl Read,
        secrets: &Secrets,
    ) -> Self {
        // An incomplete reason is better than none.
        let bytes = read_available(body, MAX_BODY_BYTES);
        let (codes, text) = reason(secrets.conceal(&String::from_utf8_lossy(&bytes)).as_bytes());
        Self {
            status,
            codes,
            has_challenge: false,
            text,
            retry_after,
            server: None,
            identity: Identity::default(),
        }
    }

    /// Returns whether `code` is one of the error codes of the registry.
    #[must_use]
    pub fn has_code(&self, code: &str) -> bool {
        self.codes.iter().any(|found| found == code)
    }

    /// Returns whether another attempt may succeed. Statuses above 504 are
    /// those of Cloudflare about the server behind it.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(
            self.status,
            408 | 425 | 429 | 500 | 502..=504 | 520..=524 | 530
        )
    }
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = self.server.as_deref().unwrap_or("the registry");
        write!(formatter, "{server} answered {}", self.status)?;
        let status = StatusCode::from_u16(self.status).ok();
        if let Some(reason) = status.and_then(|status| status.canonical_reason()) {
            write!(formatter, " {reason}")?;
        }
        if let (401 | 403, Some(user)) = (self.status, &self.identity.user) {
            write!(formatter, " to `{}`", escaped(user.as_bytes()))?;
        }
        if let Some(time) = self.retry_after {
            write!(formatter, ", retry after {} s", time.as_secs())?;
        }
        if self.text.is_empty() {
            return Ok(());
        }
        write!(formatter, ": {}", self.text)
    }
}

/// Returns the error codes, and the reason without control characters.
fn reason(bytes: &[u8]) -> (Vec<String>, String) {
    let text_of = |value: &serde_json::Value| match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) if text.is_empty() => None,
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    if let Ok(all) = serde_json::from_slice::<RegistryErrors>(bytes) {
        let codes = all.errors.iter().filter_map(|one| text_of(&one.code));
        let texts = all.errors.iter().map(|one| {
            let parts = [&one.code, &one.message, &one.detail];
            let parts: Vec<String> = parts.into_iter().filter_map(text_of).collect();
            parts.join(": ")
        });
        let text = texts.collect::<Vec<_>>().join("; ");
        return (codes.map(|code| bounded(&code)).collect(), bounded(&text));
    }
    if let Ok(details) = serde_json::from_slice::<TokenError>(bytes) {
        return (Vec::new(), bounded(&details.error_description));
    }
    let text = String::from_utf8_lossy(bytes);
    // Text in any encoding has few characters that cannot be shown.
    let is_odd =
        |one: &char| *one == char::REPLACEMENT_CHARACTER || *one < ' ' && !one.is_whitespace();
    let is_binary = text.chars().filter(is_odd).count() * 16 > text.len();
    // A web page has no reason that its status does not have.
    let text = if is_page(None, bytes) || is_binary {
        ""
    } else {
        text.trim()
    };
    (Vec::new(), bounded(text))
}

/// Returns whether a body is a web page, for example of a login portal or of a web
/// server at a wrong port; its media type may be missing.
pub(crate) fn is_page(content_type: Option<&str>, body: &[u8]) -> bool {
    let is_html = |one: &str| one.to_ascii_lowercase().starts_with("text/html");
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    content_type.is_none_or(is_html) && body.trim_ascii_start().starts_with(b"<")
}

/// Escapes control characters and shortens a text to one line.
pub(crate) fn bounded(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_TEXT_BYTES);
    let more = if end < text.len() { "…" } else { "" };
    let line = text[..end].split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{}{more}", escaped(line.as_bytes()))
}

/// Parses `Retry-After` ([RFC 9110], section 10.2.3): seconds, or a date, which
/// is compared with the `Date` of the same response.
///
/// [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110
pub(crate) fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let time = httpdate::parse_http_date(value).ok()?;
    let now = httpdate::parse_http_date(date?).ok()?;
    Some(time.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(status: u16, body: &str) -> String {
        ErrorResponse::read(status, None, body.as_bytes(), &Secrets::default()).to_string()
    }

    #[test]
    fn the_reason_of_the_registry_is_shown() {
        for (status, body, expected) in [
            (
                403,
                r#"{"errors":[{"code":"DENIED","message":"permission_denied: write_package"}]}"#,
                "the registry answered 403 Forbidden: DENIED: permission_denied: write_package",
            ),
            (
                404,
                r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no","detail":{"name":"a"}},{"code":"X"}]}"#,
                r#"the registry answered 404 Not Found: NAME_UNKNOWN: no: {"name":"a"}; X"#,
            ),
            (
                401,
                r#"{"details":"incorrect username or password"}"#,
                "the registry answered 401 Unauthorized: incorrect username or password",
            ),
            (
                502,
                "\u{feff} <html>Bad Gateway</html>",
                "the registry answered 502 Bad Gateway",
            ),
            (599, "", "the registry answered 599"),
            (
                999,
                "(\u{fffd}/\u{fffd}\u{4}\0i\0\0not on Monday",
                "the registry answered 999",
            ),
            (
                400,
                "a\u{fffd}ceptation refusée, désolé",
                "the registry answered 400 Bad Request: a\u{fffd}ceptation refusée, désolé",
            ),
        ] {
            assert_eq!(shown(status, body), expected);
        }
    }

    #[test]
    fn a_reason_is_one_bounded_line_without_control_characters() {
        let text = shown(400, &format!("a\r\nb\u{1b}[31m{}", "x".repeat(5000)));
        assert!(text.len() < 500 && text.ends_with('…'), "{text}");
        assert!(!text.contains(['\n', '\r', '\u{1b}']), "{text}");
        let endless = ErrorResponse::read(500, None, std::io::repeat(b'x'), &Secrets::default());
        assert!(endless.to_string().len() < 500);
    }

    #[test]
    fn statuses_of_proxies_about_the_server_behind_them_are_transient() {
        let is_transient = |status| {
            ErrorResponse::read(status, None, std::io::empty(), &Secrets::default()).is_transient()
        };
        for status in [408, 429, 500, 504, 520, 524, 530] {
            assert!(is_transient(status), "{status}");
        }
        for status in [400, 404, 501, 505, 507, 525, 526] {
            assert!(!is_transient(status), "{status}");
        }
    }

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after("7", None), Some(Duration::from_secs(7)));
        let later = retry_after("Sun, 06 Nov 1994 08:50:07 GMT", Some(date));
        assert_eq!(later, Some(Duration::from_secs(30)));
        assert_eq!(
            retry_after(date, Some("Sun, 06 Nov 1994 09:00:00 GMT")),
            Some(Duration::ZERO)
        );
        for text in [
            "-1",
            "soon",
            date,
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 0001 08:49:37 GMT",
        ] {
            assert_eq!(retry_after(text, None), None, "{text}");
        }
    }
}
