//! Authentication to a registry: passwords, and tokens that are kept until they
//! expire.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{Method, Uri};

use crate::challenge::{Challenge, TokenServer};
use crate::error::{Endpoint, Error, ErrorResponse, NetworkError, ProtocolError, Result, Step};
use crate::error_response::bounded;
use crate::monitor::ClientMonitor;
use crate::secret::{Credential, CredentialOrigin, Identity, Secret, Secrets};
use crate::transport::{HttpRequest, RequestBody, RequestError, Response, Transport};
use crate::url::{self, WebOrigin};

/// The lifetime of a token without one, in seconds.
const DEFAULT_LIFETIME: u64 = 60;

/// The maximum size of a response of a token server.
const MAX_TOKEN_BYTES: u64 = 256 << 10;

/// The `client_id` of requests to token servers.
const CLIENT_ID: &str = "imgbuild";

/// The permissions of a token, by repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scope(BTreeMap<String, BTreeSet<&'static str>>);

impl Scope {
    pub(crate) fn pull(repository: &str) -> Self {
        Self::default().and_pull(repository)
    }

    pub(crate) fn push(repository: &str) -> Self {
        let actions = BTreeSet::from(["pull", "push"]);
        Self(BTreeMap::from([(repository.to_owned(), actions)]))
    }

    /// Adds the permission to read another repository, to mount from it.
    pub(crate) fn and_pull(mut self, repository: &str) -> Self {
        let actions = self.0.entry(repository.to_owned()).or_default();
        actions.insert("pull");
        self
    }

    fn texts(&self) -> BTreeSet<String> {
        let text = |(repository, actions): (&String, &BTreeSet<&str>)| {
            let actions: Vec<&str> = actions.iter().copied().collect();
            format!("repository:{repository}:{}", actions.join(","))
        };
        self.0.iter().map(text).collect()
    }
}

/// The challenge of a registry, and the credential and tokens for it.
pub(crate) struct Authenticator {
    credential: Option<Credential>,
    origin: CredentialOrigin,
    secrets: Secrets,
    state: Mutex<AuthState>,
}

#[derive(Default)]
struct AuthState {
    challenge: Option<Challenge>,
    tokens: BTreeMap<BTreeSet<String>, Token>,
    /// The scopes in challenges of the registry.
    required: BTreeSet<String>,
}

struct Token {
    text: Secret,
    ends: Duration,
}

/// The client's part of a request to a token server.
pub(crate) struct TokenContext<'a> {
    pub(crate) transport: &'a Transport,
    pub(crate) monitor: &'a dyn ClientMonitor,
    pub(crate) endpoint: Endpoint,
    pub(crate) registry: WebOrigin,
    /// Set if http is allowed on other machines.
    pub(crate) plain_http: bool,
}

impl TokenContext<'_> {
    fn problem(&self, step: &Step, problem: ProtocolError) -> Error {
        Error::Protocol {
            endpoint: self.endpoint.clone(),
            step: step.clone(),
            problem: Box::new(problem),
        }
    }

    fn network_error(&self, step: &Step, reason: impl Into<NetworkError>) -> Error {
        Error::Network {
            endpoint: self.endpoint.clone(),
            step: step.clone(),
            reason: Box::new(reason.into()),
        }
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authenticator")
            .finish_non_exhaustive()
    }
}

impl Authenticator {
    pub(crate) fn new(
        credential: Option<Credential>,
        origin: CredentialOrigin,
        secrets: Secrets,
    ) -> Self {
        if let Some(credential) = &credential {
            secrets.add_credential(credential);
        }
        Self {
            credential,
            origin,
            secrets,
            state: Mutex::default(),
        }
    }

    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    fn state(&self) -> MutexGuard<'_, AuthState> {
        self.state.lock().expect("no holder of the lock panics")
    }

    /// Stores a challenge of the registry.
    pub(crate) fn set_challenge(&self, challenge: Challenge) {
        let mut state = self.state();
        if let Challenge::Bearer(server) = &challenge {
            state.required.extend(server.scopes.iter().cloned());
        }
        state.challenge = Some(challenge);
    }

    /// Returns the `Authorization` of a request, if the registry requires one.
    pub(crate) fn header(
        &self,
        scope: &Scope,
        context: &TokenContext<'_>,
    ) -> Result<Option<Secret>> {
        // Locked while a token is fetched: other threads need the same one.
        let mut state = self.state();
        let server = match &state.challenge {
            None => return Ok(None),
            Some(Challenge::Basic) => return Ok(self.basic()),
            Some(Challenge::Bearer(server)) => server.clone(),
        };
        if let Some(Credential::Token(token)) = &self.credential {
            return Ok(Some(Credential::bearer(token)));
        }
        let scopes = requested(scope, &state.required);
        let now = context.monitor.now();
        if let Some(token) = state.tokens.get(&scopes).filter(|token| token.ends > now) {
            return Ok(Some(Credential::bearer(&token.text)));
        }
        let token = self.fetch(&server, &scopes, context)?;
        let header = Credential::bearer(&token.text);
        state.tokens.insert(scopes, token);
        Ok(Some(header))
    }

    /// Returns the identity of a request, with a token of the token server or
    /// without.
    pub(crate) fn identity(&self, has_token: bool) -> Identity {
        let is_exchanged = matches!(
            self.credential,
            Some(Credential::Basic { .. } | Credential::Identity(_))
        );
        Identity {
            user: self.user().map(str::to_owned),
            has_credential: self.credential.is_some(),
            is_authenticated: has_token && is_exchanged,
            origin: self.origin.clone(),
        }
    }

    /// Returns whether the registry requires tokens.
    pub(crate) fn uses_tokens(&self) -> bool {
        matches!(self.state().challenge, Some(Challenge::Bearer(_)))
    }

    /// Removes a token that the registry refused.
    pub(crate) fn forget(&self, header: Option<&Secret>) {
        let is_it = |token: &Token| Some(&Credential::bearer(&token.text)) == header;
        self.state().tokens.retain(|_, token| !is_it(token));
    }

    fn basic(&self) -> Option<Secret> {
        match &self.credential {
            Some(Credential::Basic { user, password }) => Some(Credential::basic(user, password)),
            Some(Credential::Token(token)) => Some(Credential::bearer(token)),
            Some(Credential::Identity(_)) | None => None,
        }
    }

    /// Requests a token. The caller retries the request that needs it.
    fn fetch(
        &self,
        server: &TokenServer,
        scopes: &BTreeSet<String>,
        context: &TokenContext<'_>,
    ) -> Result<Token> {
        let realm = url::parse(&server.realm);
        let name = match &realm {
            Some(realm) => WebOrigin::of(realm).to_string(),
            None => bounded(&server.realm),
        };
        let step = Step::Token(name);
        let invalid = || context.problem(&step, ProtocolError::TokenUrl);
        let realm = realm.ok_or_else(invalid)?;
        let origin = WebOrigin::of(&realm);
        if !context
            .registry
            .may_redirect_to(&origin, context.plain_http)
        {
            return Err(context.problem(&step, ProtocolError::Downgrade(origin.host)));
        }

        let form = match &self.credential {
            Some(Credential::Identity(token)) => Some(refresh_form(server, scopes, token)),
            _ => None,
        };
        let request = match &form {
            Some(form) => HttpRequest {
                method: Method::POST,
                url: realm,
                headers: vec![(
                    "content-type",
                    "application/x-www-form-urlencoded".to_owned(),
                )],
                authorization: None,
                body: Some(RequestBody {
                    reader: Box::new(form.as_bytes()),
                    size: form.len() as u64,
                    on_read: &|_| Ok(()),
                }),
                response_bytes: MAX_TOKEN_BYTES,
            },
            None => HttpRequest {
                method: Method::GET,
                url: token_url(server, &realm, scopes, self.user()).ok_or_else(invalid)?,
                headers: Vec::new(),
                authorization: self.basic(),
                body: None,
                response_bytes: MAX_TOKEN_BYTES,
            },
        };
        let response = context
            .transport
            .send(request)
            .map_err(|error| match error {
                RequestError::Network(reason) => context.network_error(&step, reason),
                RequestError::Content(source) => context.network_error(&step, source),
            })?;
        let token = self.read_token(response, &step, context)?;
        self.secrets.add(&token.text);
        Ok(token)
    }

    fn read_token(
        &self,
        response: Response,
        step: &Step,
        context: &TokenContext<'_>,
    ) -> Result<Token> {
        #[derive(Deserialize)]
        struct TokenBody {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<f64>,
        }
        if response.status != 200 {
            let (status, wait) = (response.status, response.retry_after());
            let body = response.into_reader();
            let mut refused = ErrorResponse::read(status, wait, body, &self.secrets);
            refused.server = Some("the token server".to_owned());
            refused.identity = self.identity(false);
            return Err(Error::Refused {
                endpoint: context.endpoint.clone(),
                step: step.clone(),
                response: Box::new(refused),
            });
        }

        let mut bytes = Vec::new();
        let mut body = response.into_reader().take(MAX_TOKEN_BYTES);
        body.read_to_end(&mut bytes)
            .map_err(|error| context.network_error(step, error))?;
        let no_token = || context.problem(step, ProtocolError::NoToken);
        let body: TokenBody = serde_json::from_slice(&bytes).map_err(|_| no_token())?;
        let mut texts = [body.token, body.access_token].into_iter().flatten();
        let text = texts.find(|text| is_token(text)).ok_or_else(no_token)?;
        let lifetime = body.expires_in.map_or(0, |seconds| seconds as u64);
        let lifetime = lifetime.clamp(DEFAULT_LIFETIME, 24 * 3600);
        Ok(Token {
            text: Secret::new(text),
            // Earlier than that: the request takes time, and clocks differ.
            ends: context.monitor.now() + Duration::from_secs(lifetime - lifetime / 5),
        })
    }

    fn user(&self) -> Option<&str> {
        match &self.credential {
            Some(Credential::Basic { user, .. }) => Some(user),
            _ => None,
        }
    }
}

/// Returns our scopes, and the required ones that these do not cover.
fn requested(scope: &Scope, required: &BTreeSet<String>) -> BTreeSet<String> {
    let mut scopes = scope.texts();
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

    #[test]
    fn a_mount_asks_for_both_repositories() {
        let scope = Scope::push("me/app").and_pull("me/base").and_pull("me/app");
        let texts: Vec<String> = scope.texts().into_iter().collect();
        assert_eq!(
            texts,
            ["repository:me/app:pull,push", "repository:me/base:pull"]
        );
    }

    #[test]
    fn scopes_of_other_kinds_are_asked_for_too() {
        let asked = BTreeSet::from(["aws".to_owned(), "repository:x:pull".to_owned()]);
        let scopes: Vec<String> = requested(&Scope::pull("a"), &asked).into_iter().collect();
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
        let scopes = Scope::pull("a/b").texts();
        let found = token_url(&server, &realm, &scopes, Some("me")).unwrap();
        assert_eq!(
            found.to_string(),
            "https://r/token?x=1&service=the%20service&scope=repository%3Aa%2Fb%3Apull&account=me"
        );
        let form = refresh_form(&server, &scopes, &Secret::new("t&t"));
        assert!(form.ends_with("&refresh_token=t%26t"), "{form}");
    }
}
