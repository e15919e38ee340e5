//! URLs: resolving a `Location`, and comparing servers.

use std::fmt;

use ureq::http::Uri;

use crate::host;

/// Scheme, host and port: only the same origin gets an `Authorization` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebOrigin {
    pub(crate) scheme: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl WebOrigin {
    pub(crate) fn of(uri: &Uri) -> Self {
        let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
        let default_port = default_port(&scheme);
        Self {
            host: uri.host().unwrap_or_default().to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(default_port),
            scheme,
        }
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.scheme == "https"
    }

    /// Returns whether a redirect to another origin is allowed: not from https to
    /// http, and to http on another machine only with `plain_http`.
    pub(crate) fn may_redirect_to(&self, to: &Self, plain_http: bool) -> bool {
        let may_be_plain = plain_http || host::is_loopback(&to.host);
        to.is_secure() || !self.is_secure() && may_be_plain
    }
}

/// Formats host and port, without the default port.
impl fmt::Display for WebOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default_port = default_port(&self.scheme);
        formatter.write_str(&self.host)?;
        if self.port == default_port {
            return Ok(());
        }
        write!(formatter, ":{}", self.port)
    }
}

fn default_port(scheme: &str) -> u16 {
    match scheme {
        "http" => 80,
        _ => 443,
    }
}

/// Parses an absolute URL with http or https.
pub(crate) fn parse(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    // A user and password before an `@` would be sent, too.
    let has_user = uri
        .authority()
        .is_some_and(|one| one.as_str().contains('@'));
    (is_web && !has_user && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

/// Resolves a `Location` against the URL of its response ([RFC 3986], section
/// 5.2). Characters that are invalid in URLs are encoded, as browsers do; a user
/// and password are removed.
///
/// [RFC 3986]: https://www.rfc-editor.org/rfc/rfc3986
pub(crate) fn resolve(base: &Uri, location: &[u8]) -> Option<Uri> {
    let location = &*encode_invalid(location);
    if location.contains("://") && !location.starts_with(['/', '?']) {
        return normalized(location);
    }
    let scheme = base.scheme_str()?;
    if location.starts_with("//") {
        return normalized(&format!("{scheme}:{location}"));
    }
    let authority = base.authority()?;
    let path = base.path();
    let joined = match location.chars().next()? {
        '/' => location.to_owned(),
        '?' => format!("{path}{location}"),
        _ => {
            let directory = &path[..=path.rfind('/')?];
            format!("{directory}{location}")
        }
    };
    normalized(&format!("{scheme}://{authority}{joined}"))
}

/// Parses a URL, and removes its user and the segments `.` and `..` of its path.
fn normalized(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let host = uri.authority()?.as_str().rsplit('@').next()?;
    let mut path: Vec<&str> = Vec::new();
    let mut segments = uri.path().split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            ".." => drop(path.pop()),
            "." => {}
            other => path.push(other),
        }
        if matches!(segment, "." | "..") && segments.peek().is_none() {
            path.push("");
        }
    }
    let query = uri.query().map(|query| format!("?{query}"));
    let (path, query) = (path.join("/"), query.unwrap_or_default());
    parse(&format!("{}://{host}/{path}{query}", uri.scheme_str()?))
}

/// Percent-encodes bytes that are invalid in URLs.
pub(crate) fn encode_invalid(url: &[u8]) -> String {
    percent_encode(url, |byte| {
        byte.is_ascii_graphic() && !b"\"<>".contains(&byte)
    })
}

/// Adds a parameter to the query of a URL.
pub(crate) fn with_parameter(uri: &Uri, name: &str, value: &str) -> Option<Uri> {
    let separator = match uri.query() {
        None => "?",
        Some("") => "",
        Some(_) => "&",
    };
    let value = encode(value);
    parse(&format!("{uri}{separator}{name}={value}"))
}

/// Adds a parameter to the query of a URL in place of all of this name.
pub(crate) fn set_parameter(uri: &Uri, name: &str, value: &str) -> Option<Uri> {
    let is_other = |one: &&str| one.split('=').next() != Some(name);
    let query = uri.query().unwrap_or_default().split('&');
    let query: Vec<&str> = query.filter(is_other).collect();
    let text = uri.to_string();
    let path = text.split('?').next()?;
    with_parameter(&parse(&format!("{path}?{}", query.join("&")))?, name, value)
}

/// Percent-encodes all but unreserved characters ([RFC 3986], section 2.3).
///
/// [RFC 3986]: https://www.rfc-editor.org/rfc/rfc3986
pub(crate) fn encode(text: &str) -> String {
    percent_encode(text.as_bytes(), is_unreserved)
}

/// Percent-encodes characters that are invalid in URLs; keeps encoded ones.
pub(crate) fn sanitize(text: &str) -> String {
    let is_kept = |byte| is_unreserved(byte) || b":/?&=%+@,".contains(&byte);
    percent_encode(text.as_bytes(), is_kept)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Percent-encodes all bytes but those kept, which must be ASCII.
fn percent_encode(text: &[u8], is_kept: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for &byte in text {
        if is_kept(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved() {
        let base: Uri = "https://r.example:5000/v2/a/blobs/uploads/"
            .parse()
            .unwrap();
        for (location, expected) in [
            ("https://s/x?y=1", Some("https://s/x?y=1")),
            ("/v2/x?s=a", Some("https://r.example:5000/v2/x?s=a")),
            (
                "x?s=a",
                Some("https://r.example:5000/v2/a/blobs/uploads/x?s=a"),
            ),
            (
                "?s=a",
                Some("https://r.example:5000/v2/a/blobs/uploads/?s=a"),
            ),
            ("//s/x", Some("https://s/x")),
            (
                "/x?next=https://s/",
                Some("https://r.example:5000/x?next=https://s/"),
            ),
            ("ftp://s/x", None),
            ("https://user:word@s:8/x?y=@", Some("https://s:8/x?y=@")),
            ("./x", Some("https://r.example:5000/v2/a/blobs/uploads/x")),
            (
                "../.?s=./a",
                Some("https://r.example:5000/v2/a/blobs/?s=./a"),
            ),
            ("/../a//../b/..", Some("https://r.example:5000/a/")),
            ("https://", None),
            ("", None),
            ("/a b", Some("https://r.example:5000/a%20b")),
            (
                "/x?a=\"é<|>{}^\\%zz[]",
                Some("https://r.example:5000/x?a=%22%C3%A9%3C|%3E{}^\\%zz[]"),
            ),
        ] {
            let found = resolve(&base, location.as_bytes()).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn a_parameter_is_set_in_the_query() {
        let digest = "sha256:ab";
        for (uri, expected) in [
            ("https://r/x", "https://r/x?digest=sha256%3Aab"),
            ("https://r/x?s=%2F", "https://r/x?s=%2F&digest=sha256%3Aab"),
            ("https://r/x?", "https://r/x?digest=sha256%3Aab"),
            (
                "https://r/x?digest=old&&s=+&digest",
                "https://r/x?&s=+&digest=sha256%3Aab",
            ),
        ] {
            let uri: Uri = uri.parse().unwrap();
            let found = set_parameter(&uri, "digest", digest).unwrap();
            assert_eq!(found.to_string(), expected);
        }
    }

    #[test]
    fn an_origin_has_a_default_port() {
        let origin = |text: &str| WebOrigin::of(&text.parse().unwrap());
        assert_eq!(origin("https://A/x"), origin("https://a:443/y"));
        assert_ne!(origin("https://a/"), origin("http://a/"));
        assert_ne!(origin("https://a/"), origin("https://a:8443/"));
        assert_ne!(origin("https://a/"), origin("https://a.b/"));
    }
}
