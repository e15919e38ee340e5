//! Fuzz targets: each takes any bytes, and panics if a promise is broken.
//!
//! `fuzz/` runs them under libFuzzer, the tests below over seeds and changes of
//! them.

use ureq::http::{HeaderMap, HeaderValue};

use crate::challenge::Challenge;
use crate::client::authenticator::parse_token;
use crate::credentials::{AuthFile, parse_helper_output};
use crate::error_response::{ErrorResponse, retry_after};
use crate::secret::{Secret, Secrets};
use crate::url::{self, WebOrigin};

/// A secret that responses must not repeat.
const SECRET: &str = "open-sesame";

/// Reads lines as `WWW-Authenticate` headers of one response, and the URL of
/// the token server.
pub fn challenges(data: &[u8]) {
    let mut headers = HeaderMap::new();
    let lines = data.split(|byte| *byte == b'\n').take(100);
    for value in lines.filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append("www-authenticate", value);
    }
    let Some(Challenge::Bearer(server)) = Challenge::best(&headers) else {
        return;
    };
    let Some(realm) = url::parse(&url::encode_invalid(server.realm.as_bytes())) else {
        return;
    };
    assert!(
        !realm
            .authority()
            .is_some_and(|one| one.as_str().contains('@'))
    );
    for text in server.service.iter().chain(&server.scopes) {
        if let Some(extended) = url::with_parameter(&realm, "scope", text) {
            assert_eq!(WebOrigin::of(&extended), WebOrigin::of(&realm));
        }
    }
}

/// Reads a response of a registry or token server, a file of credentials, or a
/// header. The first byte decides which.
pub fn registry_responses(data: &[u8]) {
    let [which, rest @ ..] = data else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    match which % 6 {
        0 => error_response(rest),
        1 => {
            if let Some((token, lifetime)) = parse_token(rest) {
                assert!(HeaderValue::from_str(&token).is_ok());
                assert!((60..=24 * 3600).contains(&lifetime));
            }
        }
        2 => {
            if let Ok(file) = AuthFile::parse(rest) {
                for registry in ["docker.io", "ghcr.io", "localhost:5000"] {
                    drop(file.find(registry, "me/app"));
                }
            }
        }
        3 => drop(parse_helper_output(rest)),
        4 => {
            let (value, date) = text.split_once('\n').unwrap_or((&text, ""));
            let _wait = retry_after(value, Some(date));
        }
        _ => location(&text),
    }
}

fn error_response(body: &[u8]) {
    let secrets = Secrets::default();
    secrets.add(&Secret::new(SECRET));
    let response = ErrorResponse::read(403, None, body, &secrets);
    let shown = response.to_string();
    assert!(shown.len() < 1000, "{}", shown.len());
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(!shown.contains(SECRET), "{shown}");
}

/// Resolves a `Location` against a URL.
fn location(text: &str) {
    let base = url::parse("https://registry.example:5000/v2/a/blobs/uploads/1?x=1");
    let base = base.expect("it is a URL");
    if let Some(found) = url::resolve(&base, text.as_bytes()) {
        assert!(matches!(found.scheme_str(), Some("http" | "https")));
        assert!(
            !found
                .authority()
                .is_some_and(|one| one.as_str().contains('@'))
        );
        if !text.contains("//") {
            assert_eq!(WebOrigin::of(&found), WebOrigin::of(&base), "{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use imgbuild_testing::fuzz::check;

    use super::*;

    fn seeds(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn any_headers_are_challenges_or_not() {
        check("challenges", challenges, 4000, || {
            seeds(&[
                "Basic realm=\"x\"",
                "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull,push aws\"",
                "Negotiate, Basic realm=\"a\\\"b\"\nBearer realm=https://r:5000/t?x=1, service=s",
                "Bearer realm=\"never ends",
            ])
        });
    }

    #[test]
    fn any_response_is_read_or_refused_without_a_secret() {
        check("registry_responses", registry_responses, 4000, || {
            seeds(&[
                "\0{\"errors\":[{\"code\":\"DENIED\",\"message\":\"open-sesame\",\"detail\":{\"a\":[1]}},{\"code\":\"X\"}]}",
                "\0{\"details\":\"incorrect\\u0020username or password\"}",
                "\0<html>Bad Gateway</html>",
                "\x01{\"token\":\"abc\",\"access_token\":\"def\",\"expires_in\":3e2}",
                "\x02{\"auths\":{\"ghcr.io\":{\"auth\":\"bWU6c2VjOnJldA==\"},\"https://index.docker.io/v1/\":{\"username\":\"a\",\"password\":\"b\",\"identitytoken\":\"t\"}},\"credsStore\":\"x\",\"credHelpers\":{\"localhost:5000\":\"y\"}}",
                "\x03{\"ServerURL\":\"r\",\"Username\":\"<token>\",\"Secret\":\"s\"}",
                "\x04120\n",
                "\x04Sun, 06 Nov 1994 08:50:07 GMT\nSun, 06 Nov 1994 08:49:37 GMT",
                "\x05/v2/a/blobs/uploads/2?_state=x",
                "\x05//cdn.example/x",
                "\x05https://cdn.example:443/x?y#z",
            ])
        });
    }
}
