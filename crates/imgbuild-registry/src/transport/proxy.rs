//! Proxies for http and https.

use std::net::IpAddr;

use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

use crate::host;
use crate::network_error::{NetworkError, NetworkKind};
use crate::secret::{Credential, Secret};
use crate::url::WebOrigin;

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

    /// Returns whether this machine or an exception has the host of a URL: an
    /// address, a network such as `10.0.0.0/8`, or a name with its subdomains;
    /// with a port, that one only.
    pub(crate) fn is_exception(&self, url: &Uri) -> bool {
        let WebOrigin { host, port, .. } = WebOrigin::of(url);
        let ip = host::ip_address(&host);
        let is_for = |exception: &String| {
            let (name, wanted) = host::parts(exception);
            let domain = name.trim_start_matches('*').trim_start_matches('.');
            let domain = domain.to_ascii_lowercase();
            let is_below =
                |front: &str| domain.is_empty() || front.is_empty() || front.ends_with('.');
            let is_name = host.strip_suffix(&*domain).is_some_and(is_below);
            let is_host = is_name || ip.is_some_and(|ip| is_within(ip, name));
            is_host && wanted.is_none_or(|wanted| wanted.parse() == Ok(port))
                || ip.is_some_and(|ip| is_within(ip, exception))
        };
        host::is_loopback(&host) || self.exceptions.iter().any(is_for)
    }

    /// Returns the proxy.
    ///
    /// # Errors
    ///
    /// If its URL is invalid, or of a SOCKS proxy, which ureq would ignore silently.
    pub(super) fn usable(&self) -> Result<Proxy, NetworkError> {
        let url = self.url.reveal();
        let proxy = Proxy::new(url).ok().filter(|_| has_valid_port(url));
        let kind = NetworkKind::UnusableProxy;
        let proxy = proxy.ok_or_else(|| {
            NetworkError::new(kind, format!("the URL in `{}` is invalid", self.variable))
        })?;
        if matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) {
            return Ok(proxy);
        }
        Err(self.name(NetworkError::new(kind, "SOCKS proxies are not supported")))
    }

    /// Adds host and port of the proxy to its failures. The other parts of the
    /// URL may be a password.
    pub(super) fn name(&self, error: NetworkError) -> NetworkError {
        let Ok(proxy) = Proxy::new(self.url.reveal()) else {
            return error;
        };
        let (host, port, variable) = (proxy.host(), proxy.port(), &self.variable);
        let text = format!("the proxy `{host}:{port}` of `{variable}`: {error}");
        NetworkError::new(error.kind, text)
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
        assert!(options.is_exception(&"https://ghcr.io/v2/".parse().unwrap()));
        assert!(!options.is_exception(&"https://docker.io/v2/".parse().unwrap()));
        let proxy = options.usable().unwrap();
        assert_eq!((proxy.host(), proxy.port()), ("proxy", 3128));
        let error = options.name(NetworkError::new(NetworkKind::Proxy, "it did not respond"));
        assert_eq!(
            error.to_string(),
            "the proxy `proxy:3128` of `https_proxy`: it did not respond"
        );
    }

    #[test]
    fn an_unusable_proxy_is_refused() {
        for url in ["::", "http://me:hunter2@proxy:31xx", "http://proxy:99999"] {
            let error = options(url).usable().unwrap_err();
            assert_eq!(error.to_string(), "the URL in `https_proxy` is invalid");
        }
        for url in ["http://proxy", "http://[::1]", "http://[::1]:3128/"] {
            assert!(options(url).usable().is_ok(), "{url}");
        }
        let error = options("socks5://me:hunter2@proxy:1080").usable();
        assert_eq!(
            error.unwrap_err().to_string(),
            "the proxy `proxy:1080` of `https_proxy`: SOCKS proxies are not supported"
        );
    }

    #[test]
    fn exceptions_are_names_networks_addresses_and_ports() {
        for (exception, address, expected) in [
            ("10.0.0.0/8", "10.1.2.3:5000", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.2", false),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("10.1.2.3", "10.1.2.3:5000", true),
            ("10.1.2.3:5000", "10.1.2.3:5000", true),
            ("10.1.2.3:5000", "10.1.2.3:5001", false),
            ("fd00::/8", "[fd00::1]:5000", true),
            ("fd00::/8", "[fe00::1]:5000", false),
            ("fd00::1", "[fd00::1]", true),
            ("[fd00::1]:5000", "[fd00::1]:5000", true),
            ("r.example:5000", "r.example:5000", true),
            ("r.example:5000", "r.example:5001", false),
            ("r.example:5000", "r.example", false),
            ("r.example:443", "r.example", true),
            ("R.Example", "r.example:5000", true),
            ("example", "r.example", true),
            ("xample", "r.example", false),
            (".example:5000", "r.example:5000", true),
            (".example", "example", true),
            ("*.example", "r.example", true),
            ("*", "r.example", true),
            ("10.0.0.0/8", "r.example", false),
            ("other", "127.0.0.1:5000", true),
        ] {
            let options = ProxyOptions {
                exceptions: vec![exception.to_owned()],
                ..options("http://proxy")
            };
            let url = format!("https://{address}/v2/").parse().unwrap();
            let found = options.is_exception(&url);
            assert_eq!(found, expected, "{exception} {address}");
        }
    }
}
