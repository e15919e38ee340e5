//! What a server answered instead of what it should have.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use imgbuild_oci::path::escaped;
use serde::Deserialize;

use crate::secret::{Asker, Secrets};

/// How much of an answer is read for its reason.
const MAX_BODY_BYTES: u64 = 16 << 10;

/// How much of a reason is shown.
const MAX_TEXT_BYTES: usize = 400;

/// A refusal: the status, and the server's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    codes: Vec<String>,
    text: String,
    retry_after: Option<Duration>,
    /// Who answered, if it was not the registry.
    other: Option<String>,
    asker: Asker,
}

/// The [errors] of a registry.
///
/// [errors]: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#error-codes
#[derive(Deserialize)]
struct Errors {
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: serde_json::Value,
    #[serde(default)]
    message: serde_json::Value,
    #[serde(default)]
    detail: serde_json::Value,
}

/// What token servers say, of OAuth 2 and of Docker.
#[derive(Deserialize)]
struct Details {
    #[serde(alias = "details", alias = "message", alias = "error")]
    error_description: String,
}

impl Answer {
    /// Reads the reason out of a body, as far as it is one, and without secrets
    /// that it repeats.
    pub(crate) fn read(
        status: u16,
        retry_after: Option<Duration>,
        body: impl Read,
        secrets: &Secrets,
    ) -> Self {
        let mut bytes = Vec::new();
        // The reason is a courtesy: what could be read of it is shown.
        drop(body.take(MAX_BODY_BYTES).read_to_end(&mut bytes));
        let (codes, text) = reason(secrets.conceal(&String::from_utf8_lossy(&bytes)).as_bytes());
        Self {
            status,
            codes,
            text,
            retry_after,
            other: None,
            asker: Asker::default(),
        }
    }

    /// Says that it was not the registry that answered, but who.
    pub(crate) fn by_another(mut self, other: impl Into<String>) -> Self {
        self.other = Some(other.into());
        self
    }

    /// Whether it is the registry itself that has answered.
    pub(crate) fn is_of_registry(&self) -> bool {
        self.other.is_none()
    }

    /// Says as whom it was asked.
    pub(crate) fn to(mut self, asker: Asker) -> Self {
        self.asker = asker;
        self
    }

    /// Returns as whom it was asked.
    #[must_use]
    pub fn asker(&self) -> &Asker {
        &self.asker
    }

    /// Returns the reason in the server's own words, as far as it gives one.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns whether one of the registry's error codes is `code`.
    #[must_use]
    pub fn has_code(&self, code: &str) -> bool {
        self.codes.iter().any(|one| one == code)
    }

    /// Returns how long to wait, if the server said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether another try may be answered otherwise.
    pub(crate) fn is_transient(&self) -> bool {
        is_transient(self.status)
    }
}

/// Whether a status speaks of the moment and not of the request. Those above
/// 504 are Cloudflare's, of the server behind it.
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502..=504 | 520..=524 | 530)
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let speaker = self.other.as_deref().unwrap_or("the registry");
        write!(formatter, "{speaker} answered {}", self.status)?;
        let status = ureq::http::StatusCode::from_u16(self.status).ok();
        if let Some(reason) = status.and_then(|status| status.canonical_reason()) {
            write!(formatter, " {reason}")?;
        }
        if let (401 | 403, Some(user)) = (self.status, &self.asker.user) {
            write!(formatter, " to `{}`", escaped(user.as_bytes()))?;
        }
        if let Some(time) = self.retry_after {
            write!(formatter, ", to be asked again after {} s", time.as_secs())?;
        }
        match self.text.as_str() {
            "" => Ok(()),
            text => write!(formatter, ": {text}"),
        }
    }
}

/// Returns the codes, and a text without control characters.
fn reason(bytes: &[u8]) -> (Vec<String>, String) {
    let text_of = |value: &serde_json::Value| match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) if text.is_empty() => None,
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    if let Ok(all) = serde_json::from_slice::<Errors>(bytes) {
        let codes = all.errors.iter().filter_map(|one| text_of(&one.code));
        let texts = all.errors.iter().map(|one| {
            let parts = [&one.code, &one.message, &one.detail];
            let parts: Vec<String> = parts.into_iter().filter_map(text_of).collect();
            parts.join(": ")
        });
        let text = texts.collect::<Vec<_>>().join("; ");
        return (codes.map(|code| bounded(&code)).collect(), bounded(&text));
    }
    if let Ok(details) = serde_json::from_slice::<Details>(bytes) {
        return (Vec::new(), bounded(&details.error_description));
    }
    let text = String::from_utf8_lossy(bytes);
    // A page for people says nothing that its status does not say.
    match text.trim_start().starts_with('<') {
        true => (Vec::new(), String::new()),
        false => (Vec::new(), bounded(text.trim())),
    }
}

/// Escapes what would disturb a line, and cuts what is too long.
pub(crate) fn bounded(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_TEXT_BYTES);
    let more = match end < text.len() {
        true => "…",
        false => "",
    };
    let line = text[..end].split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{}{more}", escaped(line.as_bytes()))
}

/// Parses `Retry-After` ([RFC 9110], section 10.2.3): seconds, or a date,
/// which needs the `Date` of the same answer since no other clock is known.
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
        Answer::read(status, None, body.as_bytes(), &Secrets::default()).to_string()
    }

    #[test]
    fn the_registry_s_own_words_are_shown() {
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
                "<html>Bad Gateway</html>",
                "the registry answered 502 Bad Gateway",
            ),
            (599, "", "the registry answered 599"),
        ] {
            assert_eq!(shown(status, body), expected);
        }
    }

    #[test]
    fn a_reason_is_one_bounded_line_without_control_characters() {
        let text = shown(400, &format!("a\r\nb\u{1b}[31m{}", "x".repeat(5000)));
        assert!(text.len() < 500 && text.ends_with('…'), "{text}");
        assert!(!text.contains(['\n', '\r', '\u{1b}']), "{text}");
        let endless = Answer::read(500, None, std::io::repeat(b'x'), &Secrets::default());
        assert!(endless.to_string().len() < 500);
    }

    #[test]
    fn what_a_proxy_says_of_the_server_behind_it_may_pass() {
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
