//! Connections: https or http, and the check that the server is a registry.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imgbuild_oci::bounded::read_available;
use ureq::http::Method;

use super::{Call, Client, ClientOptions};
use crate::challenge::Challenge;
use crate::error::{Endpoint, Error, NetworkError, NetworkKind, ProtocolError, Result, Step};
use crate::error_response::is_page;
use crate::host;
use crate::monitor::ClientMonitor;
use crate::transport::{ProxyOptions, Response, Timeouts, Transport};
use crate::url::{self, WebOrigin};

/// The time for https on this machine, where the server may expect http and
/// answer nothing to TLS.
const PROBE_TIME: Duration = Duration::from_secs(2);

/// The statuses of the first response that a registry may have; with http, not the
/// first one, which servers for TLS send. Docker goes on whatever it is.
const FIRST_STATUSES: [u16; 13] = [
    400, 200, 204, 401, 403, 404, 405, 410, 500, 501, 502, 503, 504,
];

/// A registry to connect to.
struct Target<'a> {
    registry: &'a str,
    options: &'a ClientOptions,
    monitor: &'a Arc<dyn ClientMonitor>,
    /// The server does not use TLS, so 400 is not the answer of one for https.
    lacks_tls: bool,
}

impl Client {
    /// Connects to a registry.
    ///
    /// Uses https; for a registry on this machine, http if https fails; and with
    /// the option for http, https only if the server does not respond to http.
    ///
    /// # Errors
    ///
    /// If the server does not respond or is not a registry, and if the options
    /// are invalid.
    pub fn connect(
        registry: &str,
        options: &ClientOptions,
        monitor: &Arc<dyn ClientMonitor>,
    ) -> Result<Self> {
        let target = Target {
            registry,
            options,
            monitor,
            lacks_tls: false,
        };
        let timeouts = options.timeouts;
        if options.plain_http {
            let error = match target.open("http", timeouts, true) {
                Err(error) if may_use_https(&error) => error,
                http => return http,
            };
            return match target.open("https", timeouts, false) {
                Err(https) if is_of_tls(&error) => target.open_without_tls(https, timeouts),
                https => https.map_err(|_| error),
            };
        }
        if !host::is_loopback(registry) {
            return target.open("https", timeouts, true);
        }
        let probe = Timeouts {
            connect: timeouts.connect.min(PROBE_TIME),
            idle: timeouts.idle.min(PROBE_TIME),
        };
        let error = match target.open("https", probe, false) {
            Err(error) if may_use_http(&error) => error,
            https => return https,
        };
        match target.open("http", timeouts, true) {
            Err(http) if may_use_https(&http) && error.is_timeout() => {
                target.open("https", timeouts, true)
            }
            Err(http) if is_of_tls(&http) => target.open_without_tls(error, timeouts),
            http => http,
        }
    }

    fn new(target: &Target<'_>, scheme: &str) -> Result<Self> {
        let (registry, options) = (target.registry, target.options);
        let proxy = if scheme == "https" {
            options.https_proxy.clone()
        } else {
            options.http_proxy.clone()
        };
        let base = url::parse(&format!("{scheme}://{}/v2/", host::address(registry)));
        let base = base.ok_or_else(|| {
            let reason = NetworkError::new(NetworkKind::Name, "invalid host name");
            endpoint(registry).network_error(&Step::Ping, reason)
        })?;
        let of_proxy = proxy.as_ref().and_then(ProxyOptions::credential);
        let credentials = options.credential.iter().chain(&of_proxy);
        credentials.for_each(|one| options.secrets.add_credential(one));
        let transport = Transport::new(
            options.trust.clone(),
            proxy,
            &options.user_agent,
            target.monitor,
        );
        Ok(Self {
            registry: registry.to_owned(),
            base,
            transport,
            options: options.clone(),
            auth: Mutex::default(),
            monitor: Arc::clone(target.monitor),
            upload_strategy: Mutex::default(),
            writable: Mutex::default(),
            doubt: None,
            is_unreadable: AtomicBool::new(false),
        })
    }
}

impl Target<'_> {
    /// Uses http although the server answered it as one for TLS does, if https failed
    /// since there is no TLS; else returns that error.
    fn open_without_tls(&self, https: Error, timeouts: Timeouts) -> Result<Client> {
        if https.is_timeout() || !may_use_http(&https) {
            return Err(https);
        }
        let target = Target {
            lacks_tls: true,
            ..*self
        };
        target.open("http", timeouts, true)
    }

    /// Checks that the server is a registry, and stores its challenge. Follows the
    /// redirect of a server from http to https.
    fn open(&self, scheme: &str, timeouts: Timeouts, retries: bool) -> Result<Client> {
        let client = Client::new(self, scheme)?;
        let (own, url) = (endpoint(self.registry), client.base.clone());
        let statuses = if scheme == "https" || self.lacks_tls {
            &FIRST_STATUSES[..]
        } else {
            &FIRST_STATUSES[1..]
        };
        let mut call = Call::new(own, Step::Ping, Method::GET, url, statuses);
        call.retries = retries;
        call.timeouts = Some(timeouts);
        let response = client.call(&call)?;
        let (own, server) = (WebOrigin::of(&client.base), response.origin());
        if !own.is_secure() && server.is_secure() && server.host == own.host {
            return self.open("https", timeouts, retries);
        }
        Ok(client.checked(response))
    }
}

impl Client {
    /// Checks the first response of the server, and stores its challenge.
    ///
    /// A refusal without a challenge and a web page are only doubts: some registries
    /// serve nothing but repositories.
    fn checked(mut self, response: Response) -> Self {
        let (status, is_own) = (response.status, self.is_own(&response));
        self.doubt = match status {
            // A server that the registry redirects to does not get the password.
            401 if !is_own => None,
            401 => match Challenge::best(&response.headers) {
                Some(challenge) => {
                    self.set_challenge(challenge);
                    None
                }
                // A call that is refused shows an unknown scheme.
                None if response.headers.contains_key("www-authenticate") => None,
                None => Some(ProtocolError::NoRegistry(status)),
            },
            200 | 204 | 403 => {
                let server = (!is_own).then(|| response.origin().to_string());
                let is_registry = response
                    .headers
                    .contains_key("docker-distribution-api-version");
                let content_type = response.header("content-type").map(str::to_owned);
                let start = read_available(response.into_reader(), 512);
                let is_page = !is_registry && is_page(content_type.as_deref(), &start);
                is_page.then_some(ProtocolError::Page(server))
            }
            _ => Some(ProtocolError::NoRegistry(status)),
        };
        self
    }
}

/// Returns the endpoint of a registry without a repository.
pub(super) fn endpoint(registry: &str) -> Endpoint {
    Endpoint {
        registry: registry.into(),
        repository: None,
    }
}

/// Returns whether http may work after https failed with this error.
fn may_use_http(error: &Error) -> bool {
    use NetworkKind::*;
    let Error::Network { reason, .. } = error else {
        return false;
    };
    !matches!(
        reason.kind,
        Certificate | Authority { .. } | Name | Proxy | UnusableProxy
    )
}

/// Returns whether https may work after http failed with this error.
fn may_use_https(error: &Error) -> bool {
    use NetworkKind::*;
    match error {
        Error::Network { reason, .. } => matches!(reason.kind, Refused | Cut | NotHttp),
        _ => is_of_tls(error),
    }
}

/// Returns whether a server may have refused http since it expects TLS.
fn is_of_tls(error: &Error) -> bool {
    error
        .response()
        .is_some_and(|response| response.status == 400)
}
