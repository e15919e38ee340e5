//! Proving to a registry who asks: passwords, and tokens that are kept until
//! they end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{Method, Uri};

use crate::answer::{Answer, bounded};
use crate::challenge::{Challenge, TokenServer};
use crate::error::{Error, NetworkError, Place, Problem, Result, Step};
use crate::monitor::Monitor;
use crate::secret::{Asker, Credential, CredentialSource, Secret, Secrets};
use crate::transport::{Failure, Request, RequestBody, Response, Transport};
use crate::url::{self, Origin};
use crate::words::read_error;

/// How long a token lasts that does not say it.
const DEFAULT_LIFETIME: u64 = 60;

/// The longest answer of a token server.
const MAX_TOKEN_BYTES: u64 = 256 << 10;

/// What token servers are told of the program.
const CLIENT_ID: &str = "imgbuild";

/// What a token shall allow.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scope(BTreeMap<String, BTreeSet<&'static str>>);

impl Scope {
    pub(crate) fn pull(repository: &str) -> Self {
        Self(BTreeMap::from([(
            repository.to_owned(),
            BTreeSet::from(["pull"]),
        )]))
    }

    pub(crate) fn push(repository: &str) -> Self {
        Self(BTreeMap::from([(
            repository.to_owned(),
            BTreeSet::from(["pull", "push"]),
        )]))
    }

    /// Adds leave to read another repository, which mounting from it needs.
    pub(crate) fn and_pull(mut self, repository: &str) -> Self {
        self.0
            .entry(repository.to_owned())
            .or_default()
            .insert("pull");
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

/// What one registry has asked for, and what there is to answer with.
pub(crate) struct Authenticator {
    credential: Option<Credential>,
    source: CredentialSource,
    secrets: Secrets,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    tokens: BTreeMap<BTreeSet<String>, Token>,
    /// Scopes that the registry has asked for beside ours.
    asked: BTreeSet<String>,
}

struct Token {
    text: Secret,
    ends: Duration,
}

/// What token requests need to know of the client.
pub(crate) struct Context<'a> {
    pub(crate) transport: &'a Transport,
    pub(crate) monitor: &'a dyn Monitor,
    pub(crate) place: Place,
    pub(crate) registry: Origin,
    /// Whether http may be spoken with other machines.
    pub(crate) plain_http: bool,
}

/// The way to a token server.
struct Errand<'a> {
    context: &'a Context<'a>,
    step: Step,
}

impl Errand<'_> {
    fn problem(&self, problem: Problem) -> Error {
        Error::Protocol {
            place: self.context.place.clone(),
            step: self.step.clone(),
            problem: Box::new(problem),
        }
    }

    fn failure(&self, reason: NetworkError) -> Error {
        Error::Network {
            place: self.context.place.clone(),
            step: self.step.clone(),
            reason: Box::new(reason),
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
        source: CredentialSource,
        secrets: Secrets,
    ) -> Self {
        if let Some(credential) = &credential {
            secrets.add_credential(credential);
        }
        Self {
            credential,
            source,
            secrets,
            state: Mutex::default(),
        }
    }

    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    pub(crate) fn has_credential(&self) -> bool {
        self.credential.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    /// Notes what the registry asks for.
    pub(crate) fn meet(&self, challenge: Challenge) {
        let mut state = self.state();
        if let Challenge::Bearer(server) = &challenge {
            state.asked.extend(server.scopes.iter().cloned());
        }
        state.challenge = Some(challenge);
    }

    /// Returns the header for a request, or none if the registry asks for
    /// none.
    pub(crate) fn header(&self, scope: &Scope, context: &Context<'_>) -> Result<Option<Secret>> {
        // Held while a token is fetched: the other threads want the same one.
        let mut state = self.state();
        let server = match &state.challenge {
            None => return Ok(None),
            Some(Challenge::Basic) => return Ok(self.basic()),
            Some(Challenge::Bearer(server)) => server.clone(),
        };
        if let Some(Credential::Token(token)) = &self.credential {
            return Ok(Some(Credential::bearer(token)));
        }
        let scopes = wanted(scope, &state.asked);
        let now = context.monitor.now();
        if let Some(token) = state.tokens.get(&scopes).filter(|token| token.ends > now) {
            return Ok(Some(Credential::bearer(&token.text)));
        }
        let token = self.fetch(&server, &scopes, context)?;
        let header = Credential::bearer(&token.text);
        state.tokens.insert(scopes, token);
        Ok(Some(header))
    }

    /// Returns as whom was asked, with a token of the token server or without.
    pub(crate) fn asker(&self, has_token: bool) -> Asker {
        let is_exchanged = matches!(
            self.credential,
            Some(Credential::Basic { .. } | Credential::Identity(_))
        );
        Asker {
            user: self.user().map(str::to_owned),
            has_credential: self.credential.is_some(),
            is_known: has_token && is_exchanged,
            source: self.source.clone(),
        }
    }

    /// Whether the registry wants tokens.
    pub(crate) fn uses_tokens(&self) -> bool {
        matches!(self.state().challenge, Some(Challenge::Bearer(_)))
    }

    /// Forgets a token that the registry did not take.
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

    fn fetch(
        &self,
        server: &TokenServer,
        scopes: &BTreeSet<String>,
        context: &Context<'_>,
    ) -> Result<Token> {
        let realm = url::parse(&server.realm);
        let name = match &realm {
            Some(realm) => Origin::of(realm).to_string(),
            None => bounded(&server.realm),
        };
        let errand = Errand {
            context,
            step: Step::Token(name),
        };
        let realm = realm.ok_or_else(|| errand.problem(Problem::TokenAddress))?;
        let origin = Origin::of(&realm);
        if !context.registry.may_lead_to(&origin, context.plain_http) {
            return Err(errand.problem(Problem::Downgrade(origin.host)));
        }
        // Not tried again here: whoever wants the token tries again.
        let response = self.ask(server, &realm, scopes, &errand)?;
        let token = self.read_token(response, &errand)?;
        self.secrets.add(&token.text);
        Ok(token)
    }

    fn ask(
        &self,
        server: &TokenServer,
        realm: &Uri,
        scopes: &BTreeSet<String>,
        errand: &Errand<'_>,
    ) -> Result<Response> {
        let context = errand.context;
        let response = match &self.credential {
            Some(Credential::Identity(token)) => {
                let form = refresh_form(server, scopes, token);
                context.transport.send(Request {
                    method: Method::POST,
                    url: realm.clone(),
                    headers: vec![(
                        "content-type",
                        "application/x-www-form-urlencoded".to_owned(),
                    )],
                    authorization: None,
                    body: RequestBody::Bytes(form.as_bytes()),
                    is_commit: false,
                    answer_bytes: MAX_TOKEN_BYTES,
                })
            }
            _ => context.transport.send(Request {
                method: Method::GET,
                url: token_url(server, realm, scopes, self.user())
                    .ok_or_else(|| errand.problem(Problem::TokenAddress))?,
                headers: Vec::new(),
                authorization: self.basic(),
                body: RequestBody::None,
                is_commit: false,
                answer_bytes: MAX_TOKEN_BYTES,
            }),
        };
        let place = context.place.clone();
        response.map_err(|failure| match failure {
            Failure::Network(reason) => errand.failure(reason),
            Failure::Content(source) => Error::Content { place, source },
        })
    }

    fn read_token(&self, response: Response, errand: &Errand<'_>) -> Result<Token> {
        #[derive(Deserialize)]
        struct Body {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<f64>,
        }
        if response.status != 200 {
            let (status, wait) = (response.status, response.retry_after());
            let answer = Answer::read(status, wait, response.into_reader(), &self.secrets);
            let answer = answer.by_another("it").to(self.asker(false));
            return Err(Error::Refused {
                place: errand.context.place.clone(),
                step: errand.step.clone(),
                answer: Box::new(answer),
            });
        }
        let mut bytes = Vec::new();
        let read = response
            .into_reader()
            .take(MAX_TOKEN_BYTES)
            .read_to_end(&mut bytes);
        read.map_err(|error| errand.failure(read_error(error)))?;
        let no_token = || errand.problem(Problem::NoToken);
        let body: Body = serde_json::from_slice(&bytes).map_err(|_| no_token())?;
        let mut texts = [body.token, body.access_token].into_iter().flatten();
        let text = texts.find(|text| is_token(text));
        let lifetime = body.expires_in.map_or(0, |seconds| seconds as u64);
        let lifetime = lifetime.clamp(DEFAULT_LIFETIME, 24 * 3600);
        Ok(Token {
            text: Secret::new(text.ok_or_else(no_token)?),
            // A little earlier: the request takes time, and clocks differ.
            ends: errand.context.monitor.now() + Duration::from_secs(lifetime - lifetime / 5),
        })
    }

    fn user(&self) -> Option<&str> {
        match &self.credential {
            Some(Credential::Basic { user, .. }) => Some(user),
            _ => None,
        }
    }
}

/// Our scopes, and those that the registry asked for and ours do not cover.
fn wanted(scope: &Scope, asked: &BTreeSet<String>) -> BTreeSet<String> {
    let mut scopes = scope.texts();
    let repository = |text: &str| text.rsplit_once(':').map(|(front, _)| front.to_owned());
    let ours: BTreeSet<_> = scopes.iter().filter_map(|text| repository(text)).collect();
    let others = asked.iter().filter(|text| {
        // Another repository's is of no use here.
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

/// The [OAuth 2 form] that exchanges an identity token.
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

/// What can stand in a header.
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
        let scopes: Vec<String> = wanted(&Scope::pull("a"), &asked).into_iter().collect();
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
