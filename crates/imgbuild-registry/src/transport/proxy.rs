//! Proxies for http and https.

use std::net::IpAddr;

use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

use crate::host;
use crate::network_error::{NetworkError, NetworkKind};
use crate::secret::{Credential, Secret};

/// A proxy, and its exceptions.
#[derive(Debug, Clone)]
pub struct ProxyOptions {
    /// The URL of the proxy, which may contain a password.
    pub url: Secret,
    /// The hosts, domains and networks to connect to directly, in the form of
    /// `NO_PROXY`.
    pub exceptions: Vec<String>,
    /// The variable that has the URL, for messages.
    pub variable: String,
}

impl ProxyOptions {
    /// Returns the user and password of the proxy.
    pub(crate) fn credential(&self) -> Option<Credential> {
        let proxy = Proxy::new(self.url.reveal()).ok()?;
        Some(Credential::Basic {
            user: proxy.username()?.to_owned(),
            password: Secret::new(proxy.password()?),
        })
    }

    /// Returns whether an exception matches this host, with its port if it has
    /// one. Handles networks such as `10.0.0.0/8`, addresses, and names with a
    /// port; ureq handles names alone.
    pub(crate) fn is_exception(&self, address: &str) -> bool {
        let (host, port) = host::parts(address);
        let ip = host::ip_address(host);
        let is_for = |exception: &String| {
            let by_port = exception.rsplit_once(':').is_some_and(|(name, wanted)| {
                let is_below = name.starts_with('.') && host.ends_with(name);
                port == Some(wanted) && (name == host || is_below)
            });
            by_port || ip.is_some_and(|ip| is_within(ip, exception))
        };
        self.exceptions.iter().any(is_for)
    }
}

/// Returns whether an address is equal to another one, or in a network.
fn is_within(ip: IpAddr, network: &str) -> bool {
    let Some((network, bits)) = network.split_once('/') else {
        return host::ip_address(network) == Some(ip);
    };
    let Ok(bits) = bits.parse::<u32>() else {
        return false;
    };
    let differs = match (ip, host::ip_address(network)) {
        (IpAddr::V4(ip), Some(IpAddr::V4(network))) if bits <= 32 => {
            u128::from(ip.to_bits() ^ network.to_bits()) << 96
        }
        (IpAddr::V6(ip), Some(IpAddr::V6(network))) if bits <= 128 => {
            ip.to_bits() ^ network.to_bits()
        }
        _ => return false,
    };
    differs.leading_zeros() >= bits
}

/// Returns whether the port of a URL is a number, or absent.
fn has_valid_port(url: &str) -> bool {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let port = host.rsplit_once(':').map(|(_, port)| port);
    let port = port.filter(|port| !port.contains(']'));
    port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// A proxy in use.
pub(super) struct UsedProxy {
    pub(super) proxy: Proxy,
    variable: String,
}

impl UsedProxy {
    pub(super) fn new(options: &ProxyOptions) -> Result<Self, ureq::Error> {
        let url = options.url.reveal();
        let plain = Proxy::new(url)?;
        if !has_valid_port(url) {
            return Err(ureq::Error::InvalidProxyUrl);
        }
        let mut builder = Proxy::builder(plain.protocol())
            .host(plain.host())
            .port(plain.port());
        if let Some(user) = plain.username() {
            builder = builder.username(user);
        }
        if let Some(password) = plain.password() {
            builder = builder.password(password);
        }
        for exception in &options.exceptions {
            builder = builder.no_proxy(exception);
        }
        Ok(Self {
            proxy: builder.build()?,
            variable: options.variable.clone(),
        })
    }

    /// Returns whether the connection to the proxy uses TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.proxy.protocol() == ProxyProtocol::Https
    }

    /// Refuses a proxy that ureq would ignore silently.
    pub(super) fn check(&self, url: &Uri) -> Result<(), NetworkError> {
        let is_supported = matches!(
            self.proxy.protocol(),
            ProxyProtocol::Http | ProxyProtocol::Https
        );
        if is_supported || self.proxy.is_no_proxy(url) {
            return Ok(());
        }
        let error = NetworkError::new(NetworkKind::Socks, "SOCKS proxies are not supported");
        Err(self.name(error))
    }

    /// Adds host and port of the proxy to its failures. The other parts of the
    /// URL may be a password.
    pub(super) fn name(&self, error: NetworkError) -> NetworkError {
        let text = match error.kind {
            NetworkKind::Proxy | NetworkKind::Socks => format!(
                "the proxy `{}:{}` of `{}`: {error}",
                self.proxy.host(),
                self.proxy.port(),
                self.variable
            ),
            _ => return error,
        };
        NetworkError::new(error.kind, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> ProxyOptions {
        ProxyOptions {
            url: Secret::new(url),
            exceptions: vec!["ghcr.io".to_owned()],
            variable: "https_proxy".to_owned(),
        }
    }

    #[test]
    fn a_proxy_keeps_its_exceptions_and_is_not_shown() {
        let options = options("http://me:hunter2@proxy:3128");
        assert!(!format!("{options:?}").contains("hunter2"));
        let used = UsedProxy::new(&options).unwrap();
        let proxy = &used.proxy;
        assert!(proxy.is_no_proxy(&"https://ghcr.io/v2/".parse().unwrap()));
        assert!(!proxy.is_no_proxy(&"https://docker.io/v2/".parse().unwrap()));
        assert_eq!((proxy.host(), proxy.port()), ("proxy", 3128));
        let error = used.name(NetworkError::new(NetworkKind::Proxy, "it did not respond"));
        assert_eq!(
            error.to_string(),
            "the proxy `proxy:3128` of `https_proxy`: it did not respond"
        );
    }

    #[test]
    fn an_invalid_url_is_refused() {
        for url in ["::", "http://me:hunter2@proxy:31xx", "http://proxy:99999"] {
            assert!(UsedProxy::new(&options(url)).is_err(), "{url}");
        }
        for url in ["http://proxy", "http://[::1]", "http://[::1]:3128/"] {
            assert!(UsedProxy::new(&options(url)).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_proxy_for_socks_is_refused_where_it_would_be_used() {
        let used = UsedProxy::new(&options("socks5://me:hunter2@proxy:1080")).unwrap();
        let error = used.check(&"https://docker.io/v2/".parse().unwrap());
        assert_eq!(
            error.unwrap_err().to_string(),
            "the proxy `proxy:1080` of `https_proxy`: SOCKS proxies are not supported"
        );
        used.check(&"https://ghcr.io/v2/".parse().unwrap()).unwrap();
    }

    #[test]
    fn exceptions_are_networks_addresses_and_ports() {
        for (exception, address, expected) in [
            ("10.0.0.0/8", "10.1.2.3:5000", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.2", false),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("10.1.2.3", "10.1.2.3:5000", true),
            ("fd00::/8", "[fd00::1]:5000", true),
            ("fd00::/8", "[fe00::1]:5000", false),
            ("fd00::1", "[fd00::1]", true),
            ("r.example:5000", "r.example:5000", true),
            ("r.example:5000", "r.example:5001", false),
            ("r.example:5000", "r.example", false),
            (".example:5000", "r.example:5000", true),
            ("10.0.0.0/8", "r.example", false),
        ] {
            let options = ProxyOptions {
                url: Secret::new("http://proxy"),
                exceptions: vec![exception.to_owned()],
                variable: String::new(),
            };
            assert_eq!(
                options.is_exception(address),
                expected,
                "{exception} {address}"
            );
        }
    }
}
