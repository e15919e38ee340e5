//! Challenges in `WWW-Authenticate` headers.

use std::collections::BTreeMap;

use ureq::http::HeaderMap;

/// The maximum size of a header that is parsed.
const MAX_BYTES: usize = 8192;

/// An authentication scheme ([RFC 9110], section 11.6.1).
///
/// [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A user and a password.
    Basic,
    /// A token of a [token server].
    ///
    /// [token server]: https://distribution.github.io/distribution/spec/auth/token/
    Bearer(TokenServer),
}

/// A token server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TokenServer {
    pub(crate) realm: String,
    pub(crate) service: Option<String>,
    /// The scopes of a token that the registry requires.
    pub(crate) scopes: Vec<String>,
}

impl Challenge {
    /// Returns the best challenge of a response: `Bearer` before `Basic`, as
    /// Docker chooses.
    pub(crate) fn best(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all("www-authenticate").iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        let all: Vec<Self> = texts.flat_map(parse).collect();
        let bearer = all.iter().find(|one| matches!(one, Self::Bearer(_)));
        bearer.or(all.first()).cloned()
    }
}

/// Parses one header, which may have several challenges. Unsupported ones are
/// left out.
fn parse(value: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = value.get(..MAX_BYTES).unwrap_or(value);
    while let Some((scheme, parameters, after)) = next_challenge(rest) {
        rest = after;
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => found.push(Challenge::Basic),
            "bearer" => found.extend(token_server(parameters).map(Challenge::Bearer)),
            _ => {}
        }
    }
    found
}

fn token_server(mut parameters: BTreeMap<String, String>) -> Option<TokenServer> {
    let scopes = parameters.remove("scope").unwrap_or_default();
    Some(TokenServer {
        realm: parameters.remove("realm")?,
        service: parameters.remove("service"),
        scopes: scopes.split_ascii_whitespace().map(str::to_owned).collect(),
    })
}

/// Takes `SCHEME name=value, name="value", …` off the front.
fn next_challenge(text: &str) -> Option<(&str, BTreeMap<String, String>, &str)> {
    let text = skip_separators(text);
    let (scheme, mut rest) = word(text)?;
    let mut parameters = BTreeMap::new();
    loop {
        let after = skip_separators(rest);
        // A word without an equals sign starts the next challenge.
        let Some((name, value)) = word(after).and_then(|(name, tail)| {
            let value = tail.trim_start().strip_prefix('=')?;
            Some((name, value.trim_start()))
        }) else {
            // Other text is skipped, so that each call makes progress.
            return Some((scheme, parameters, after));
        };
        let (value, tail) = take_value(value);
        parameters.entry(name.to_ascii_lowercase()).or_insert(value);
        rest = tail;
    }
}

fn skip_separators(text: &str) -> &str {
    text.trim_start_matches(|character: char| character == ',' || character.is_whitespace())
}

/// Takes a token of RFC 9110 off the front.
fn word(text: &str) -> Option<(&str, &str)> {
    let is_token = |character: char| {
        character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
    };
    let end = text
        .find(|character: char| !is_token(character))
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Takes a token or a quoted string off the front.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[index + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    // A string without an end ends with the header.
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scopes: &[&str]) -> Challenge {
        Challenge::Bearer(TokenServer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scopes: scopes.iter().map(ToString::to_string).collect(),
        })
    }

    #[test]
    fn challenges_of_registries_are_read() {
        let hub = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            &[],
        );
        let scoped = bearer("https://r/t", Some("s, t"), &["repository:a/b:pull,push"]);
        for (header, expected) in [
            (r#"Basic realm="x""#, vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io""#,
                vec![hub.clone()],
            ),
            (
                r#"Bearer realm="https://r/t",service="s, t",scope="repository:a/b:pull,push""#,
                vec![scoped],
            ),
            (
                r#"Basic realm="x", Bearer realm="https://auth.docker.io/token", service=registry.docker.io"#,
                vec![Challenge::Basic, hub],
            ),
            (r#"Negotiate, Basic realm="a\"b""#, vec![Challenge::Basic]),
            ("Bearer service=x", vec![]),
            ("", vec![]),
            ("= , \" Basic", vec![]),
            (
                r#"Bearer realm="never ends"#,
                vec![bearer("never ends", None, &[])],
            ),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let mut headers = HeaderMap::new();
        for value in ["Basic realm=x", "Bearer realm=https://t"] {
            headers.append("www-authenticate", value.parse().unwrap());
        }
        let best = Challenge::best(&headers);
        assert_eq!(best, Some(bearer("https://t", None, &[])));
    }

    #[test]
    fn no_header_makes_the_parser_hang_or_panic() {
        let alphabet = [
            "a",
            "=",
            "\"",
            ",",
            " ",
            "\\",
            "é",
            "Basic",
            "Bearer realm=",
        ];
        for seed in 0..20_000_u32 {
            let mut state = seed;
            let mut text = String::new();
            for _ in 0..12 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push_str(alphabet[(state >> 16) as usize % alphabet.len()]);
            }
            drop(parse(&text));
        }
    }
}
