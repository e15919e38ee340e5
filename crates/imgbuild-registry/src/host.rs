//! Hosts of registries.

use std::net::IpAddr;

/// The name of Docker Hub in references.
const HUB: &str = "docker.io";

/// The host of Docker Hub.
const HUB_HOST: &str = "registry-1.docker.io";

/// Returns the host, and the port if there is one, of a registry.
pub(crate) fn address(registry: &str) -> &str {
    if registry == HUB { HUB_HOST } else { registry }
}

/// Returns whether a registry is on this machine, so that no other machine can
/// read the connection.
pub(crate) fn is_loopback(registry: &str) -> bool {
    let (host, _) = parts(registry);
    host == "localhost"
        || host.ends_with(".localhost")
        || ip_address(host).is_some_and(|address| address.is_loopback())
}

/// Splits host and port.
pub(crate) fn parts(registry: &str) -> (&str, Option<&str>) {
    match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
        _ => (registry, None),
    }
}

/// Parses a host that is an IP address.
pub(crate) fn ip_address(host: &str) -> Option<IpAddr> {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_a_name_or_an_address() {
        for registry in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.8.8.8",
            "[::1]:5000",
            "[::1]",
        ] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in [
            "localhost.example",
            "10.0.0.1:5000",
            "127.0.0.1.example",
            "[::2]:1",
            "ghcr.io",
        ] {
            assert!(!is_loopback(registry), "{registry}");
        }
    }

    #[test]
    fn docker_hub_has_another_host() {
        assert_eq!(address("docker.io"), "registry-1.docker.io");
        assert_eq!(address("ghcr.io"), "ghcr.io");
    }
}
