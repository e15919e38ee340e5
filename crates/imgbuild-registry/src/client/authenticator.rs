//! Authentication to a registry: passwords, and tokens that are kept until they
//! expire.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::MutexGuard;
use std::time::Duration;

use imgbuild_oci::bounded::read_start;
use imgbuild_oci::document::field_in_any_case;
use serde_json::Value;
use ureq::http::{Method, Uri};

use super::{Call, CallBody, Client};
use crate::challenge::{Challenge, TokenServer};
use crate::error::{Error, NetworkError, NetworkKind, ProtocolError, Result, Step};
use crate::error_response::bounded;
use crate::secret::{Credential, Identity, Secret};
use crate::transport::Response;
use crate::url::{self, WebOrigin};

/// The lifetime of a token without one, in seconds.
const DEFAULT_LIFETIME: u64 = 60;

/// The maximum size of a response of a token server.
const MAX_TOKEN_BYTES: u64 = 256 << 10;

/// The `client_id` of requests to token servers.
const CLIENT_ID: &str = "imgbuild";

const INVALID_URL: &str = "the URL of the token server is invalid";

const NO_TOKEN: &str = "the token server returned no token";

/// The challenge of a registry, and the tokens for it.
#[derive(Default)]
pub(super) struct AuthState {
    challenge: Option<Challenge>,
    tokens: BTreeMap<BTreeSet<String>, Token>,
    /// The scopes in challenges of the registry.
    required: BTreeSet<String>,
    /// The last time that the token server did not answer, and the failure.
    silence: Option<(Duration, Step, NetworkError)>,
}

struct Token {
    text: Secret,
    ends: Duration,
}

impl Client {
    fn auth(&self) -> MutexGuard<'_, AuthState> {
        self.auth.lock().expect("no holder of the lock panics")
    }

    /// Stores a challenge of the registry.
    pub(super) fn set_challenge(&self, challenge: Challenge) {
        let mut auth = self.auth();
        if let Challenge::Bearer(server) = &challenge {
            auth.required.extend(server.scopes.iter().cloned());
        }
        auth.challenge = Some(challenge);
    }

    /// Returns the `Authorization` of a call, if the registry requires one.
    pub(super) fn authorization(&self, call: &Call<'_>) -> Result<Option<Secret>> {
        let start = self.monitor.now();
        // Locked while a token is fetched: other threads need the same one.
        let mut auth = self.auth();
        let server = match &auth.challenge {
            None => return Ok(None),
            Some(Challenge::Basic) => return Ok(self.basic()),
            Some(Challenge::Bearer(server)) => server.clone(),
        };
        if let Some(Credential::Token(token)) = &self.options.credential {
            return Ok(Some(Credential::bearer(token)));
        }
        let scopes = requested(&call.scopes, &auth.required);
        let now = self.monitor.now();
        if let Some(token) = auth.tokens.get(&scopes).filter(|token| token.ends > now) {
            return Ok(Some(Credential::bearer(&token.text)));
        }
        // Another thread has waited in vain meanwhile.
        if let Some((time, step, reason)) = &auth.silence
            && *time > start
        {
            return Err(call.endpoint.clone().network_error(step, reason.clone()));
        }
        let token = self.fetch_token(&server, &scopes, call);
        if let Err(Error::Network { step, reason, .. }) = &token
            && reason.kind == NetworkKind::Timeout
        {
            let reason = NetworkError::clone(reason);
            auth.silence = Some((self.monitor.now(), step.clone(), reason));
        }
        let token = token?;
        let header = Credential::bearer(&token.text);
        auth.tokens.insert(scopes, token);
        Ok(Some(header))
    }

    /// Returns the identity of a request, with a token of the token server or
    /// without.
    pub(super) fn identity(&self, has_token: bool) -> Identity {
        let credential = &self.options.credential;
        let is_exchanged = matches!(
            credential,
            Some(Credential::Basic { .. } | Credential::Identity(_))
        );
        Identity {
            user: self.user().map(str::to_owned),
            has_credential: credential.is_some(),
            is_authenticated: has_token && is_exchanged,
            origin: self.options.origin.clone(),
        }
    }

    /// Returns whether the registry requires tokens.
    pub(super) fn uses_tokens(&self) -> bool {
        matches!(self.auth().challenge, Some(Challenge::Bearer(_)))
    }

    /// Removes a token that the registry refused.
    pub(super) fn forget(&self, header: Option<&Secret>) {
        let is_it = |token: &Token| Some(&Credential::bearer(&token.text)) == header;
        self.auth().tokens.retain(|_, token| !is_it(token));
    }

    fn basic(&self) -> Option<Secret> {
        match &self.options.credential {
            Some(Credential::Basic { user, password }) => Some(Credential::basic(user, password)),
            Some(Credential::Token(token)) => Some(Credential::bearer(token)),
            Some(Credential::Identity(_)) | None => None,
        }
    }

    /// Requests a token. The caller retries the call that needs it.
    fn fetch_token(
        &self,
        server: &TokenServer,
        scopes: &BTreeSet<String>,
        call: &Call<'_>,
    ) -> Result<Token> {
        let realm = url::parse(&url::encode_invalid(server.realm.as_bytes()));
        let origin = realm.as_ref().map(WebOrigin::of);
        let name = match &origin {
            Some(origin) => origin.to_string(),
            // Neither user, password nor query, which may be secret.
            None => {
                let url = server.realm.split(['?', '#']).next().unwrap_or_default();
                bounded(url.rsplit('@').next().unwrap_or_default())
            }
        };
        let step = Step::Token(name);
        let problem = |problem| call.endpoint.clone().problem(&step, problem);
        let invalid = || problem(ProtocolError::Other(INVALID_URL.into()));
        let (realm, origin) = realm.zip(origin).ok_or_else(invalid)?;
        let registry = WebOrigin::of(&self.base);
        if !registry.may_redirect_to(&origin, self.options.plain_http) {
            return Err(problem(ProtocolError::Downgrade(origin.host)));
        }

        let form;
        let step = step.clone();
        let mut request = Call::new(call.endpoint.clone(), step, Method::GET, realm, &[200, 201]);
        request.response_bytes = MAX_TOKEN_BYTES;
        if let Some(Credential::Identity(token)) = &self.options.credential {
            form = refresh_form(server, scopes, token).into_bytes();
            let form_type = "application/x-www-form-urlencoded".to_owned();
            request.method = Method::POST;
            request.headers = vec![("content-type", form_type)];
            request.body = Some(CallBody {
                content: &form,
                offset: 0,
                size: form.len() as u64,
                on_sent: &|_| {},
            });
        } else {
            request.url =
                token_url(server, &request.url, scopes, self.user()).ok_or_else(invalid)?;
        }
        let response = self.exchange(&request, self.basic().as_ref())?;
        let token = self.read_token(response, &request.step, call)?;
        self.options.secrets.add(&token.text);
        Ok(token)
    }

    fn read_token(&self, response: Response, step: &Step, call: &Call<'_>) -> Result<Token> {
        let endpoint = || call.endpoint.clone();
        if !matches!(response.status, 200 | 201) {
            let mut refused = self.read_refusal(response);
            refused.server = Some("the token server".to_owned());
            refused.identity = self.identity(false);
            return Err(endpoint().refused(step, refused));
        }

        let bytes = read_start(response.into_reader(), MAX_TOKEN_BYTES)
            .map_err(|error| endpoint().network_error(step, error))?;
        let no_token = || endpoint().problem(step, ProtocolError::Other(NO_TOKEN.into()));
        let (text, lifetime) = parse_token(&bytes).ok_or_else(no_token)?;
        Ok(Token {
            text: Secret::new(text),
            // Earlier than that: the request takes time, and clocks differ.
            ends: self.monitor.now() + Duration::from_secs(lifetime - lifetime / 5),
        })
    }

    fn user(&self) -> Option<&str> {
        match &self.options.credential {
            Some(Credential::Basic { user, .. }) => Some(user),
            _ => None,
        }
    }
}

/// Returns the token in a response of a token server, and its lifetime in seconds.
pub(crate) fn parse_token(bytes: &[u8]) -> Option<(String, u64)> {
    let body: Value = serde_json::from_slice(bytes).ok()?;
    let texts = ["token", "access_token"];
    let mut texts = texts
        .into_iter()
        .filter_map(|name| field_in_any_case(&body, name)?.as_str());
    // A number, which some servers write as a string.
    let lifetime = field_in_any_case(&body, "expires_in");
    let text = lifetime.and_then(|text| text.as_str()?.parse().ok());
    let number = lifetime.and_then(Value::as_f64);
    let lifetime = number.or(text).unwrap_or_default() as u64;
    let lifetime = lifetime.clamp(DEFAULT_LIFETIME, 24 * 3600);
    Some((texts.find(|text| is_token(text))?.to_owned(), lifetime))
}

/// Returns our scopes, and the required ones that these do not cover.
fn requested(own: &BTreeSet<String>, required: &BTreeSet<String>) -> BTreeSet<String> {
    let mut scopes = own.clone();
    let repository = |text: &str| text.rsplit_once(':').map(|(front, _)| front.to_owned());
    let ours: BTreeSet<_> = scopes.iter().filter_map(|text| repository(text)).collect();
    let others = required.iter().filter(|text| {
        // Not those of another repository.
        let is_repository = text.starts_with("repository:");
        !is_repository && repository(text).is_none_or(|front| !ours.contains(&front))
    });
    scopes.extend(others.cloned());
    scopes
}

fn token_url(
    server: &TokenServer,
    realm: &Uri,
    scopes: &BTreeSet<String>,
    user: Option<&str>,
) -> Option<Uri> {
    let mut url = realm.clone();
    if let Some(service) = &server.service {
        url = url::with_parameter(&url, "service", service)?;
    }
    for scope in scopes {
        url = url::with_parameter(&url, "scope", scope)?;
    }
    match user {
        Some(user) => url::with_parameter(&url, "account", user),
        None => Some(url),
    }
}

/// Returns the [OAuth 2 form] that exchanges an identity token.
///
/// [OAuth 2 form]: https://distribution.github.io/distribution/spec/auth/oauth/
fn refresh_form(server: &TokenServer, scopes: &BTreeSet<String>, token: &Secret) -> String {
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT_ID),
        ("service", server.service.as_deref().unwrap_or_default()),
        ("scope", &scopes.join(" ")),
        ("refresh_token", token.reveal()),
    ];
    let pairs = fields.map(|(name, value)| format!("{name}={}", url::encode(value)));
    pairs.join("&")
}

/// Returns whether a text can be the value of a header.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pull(repository: &str) -> BTreeSet<String> {
        BTreeSet::from([format!("repository:{repository}:pull")])
    }

    #[test]
    fn the_lifetime_of_a_token_is_a_number_or_a_text() {
        for (lifetime, seconds) in [
            ("300", 300),
            (r#""300""#, 300),
            ("300.5", 300),
            ("null", 60),
            (r#""soon""#, 60),
            ("-1", 60),
        ] {
            let body = format!(r#"{{"token":"t","expires_in":{lifetime}}}"#);
            let expected = Some(("t".to_owned(), seconds));
            assert_eq!(parse_token(body.as_bytes()), expected, "{lifetime}");
        }
        let body = br#"{"Token":"t","Expires_In":300}"#;
        assert_eq!(parse_token(body), Some(("t".to_owned(), 300)));
    }

    #[test]
    fn scopes_of_other_kinds_are_asked_for_too() {
        let asked = BTreeSet::from(["aws".to_owned(), "repository:x:pull".to_owned()]);
        let scopes: Vec<String> = requested(&pull("a"), &asked).into_iter().collect();
        assert_eq!(scopes, ["aws", "repository:a:pull"]);
    }

    #[test]
    fn a_token_is_asked_for_by_the_parameters_of_the_challenge() {
        let server = TokenServer {
            realm: "https://r/token?x=1".to_owned(),
            service: Some("the service".to_owned()),
            scopes: Vec::new(),
        };
        let realm = url::parse(&server.realm).unwrap();
        let scopes = pull("a/b");
        let found = token_url(&server, &realm, &scopes, Some("me")).unwrap();
        assert_eq!(
            found.to_string(),
            "https://r/token?x=1&service=the%20service&scope=repository%3Aa%2Fb%3Apull&account=me"
        );
        let form = refresh_form(&server, &scopes, &Secret::new("t&t"));
        assert!(form.ends_with("&refresh_token=t%26t"), "{form}");
    }
}
