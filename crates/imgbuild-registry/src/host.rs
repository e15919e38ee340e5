//! Where a registry is, by its name in a reference.

use std::net::IpAddr;

/// What Docker Hub is called, and where it answers.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// Returns the host, and port if there is one, that a registry answers at.
pub(crate) fn address(registry: &str) -> &str {
    match registry == HUB.0 {
        true => HUB.1,
        false => registry,
    }
}

/// Whether the registry is this machine, so that nobody else can listen.
pub(crate) fn is_loopback(registry: &str) -> bool {
    let host = without_port(registry);
    host == "localhost"
        || host.ends_with(".localhost")
        || ip_address(host).is_some_and(|address| address.is_loopback())
}

fn without_port(registry: &str) -> &str {
    parts(registry).0
}

/// Divides host and port.
pub(crate) fn parts(registry: &str) -> (&str, Option<&str>) {
    match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
        _ => (registry, None),
    }
}

/// Returns the address that a host is, without a name.
pub(crate) fn ip_address(host: &str) -> Option<IpAddr> {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_by_name_or_address() {
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
    fn docker_hub_answers_elsewhere() {
        assert_eq!(address("docker.io"), "registry-1.docker.io");
        assert_eq!(address("ghcr.io"), "ghcr.io");
    }
}
