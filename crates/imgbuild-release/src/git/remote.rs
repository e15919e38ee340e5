//! Public addresses of repositories.

/// Turns the address that a repository is cloned from into that of a web page,
/// without names, passwords, tokens and `.git`; `None` if it is not an
/// address on the network.
///
/// `ssh` and its short form `git@host:path` become `https`: hosts of
/// repositories show them there.
#[must_use]
pub fn web_address(url: &str) -> Option<String> {
    let url = url.trim();
    if url
        .chars()
        .any(|letter| letter.is_control() || letter.is_whitespace())
    {
        return None;
    }
    let (scheme, host, path) = match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let host = rest[..end].rsplit('@').next().unwrap_or_default();
            (scheme.to_ascii_lowercase(), host, &rest[end..])
        }
        None => {
            let (host, path) = short_form(url)?;
            ("ssh".to_owned(), host, path)
        }
    };
    let (scheme, host) = match scheme.as_str() {
        "http" => ("http", host),
        "https" => ("https", host),
        // The port is that of another protocol, and a name without a dot is
        // one of this machine's `~/.ssh/config`.
        "ssh" | "git" | "git+ssh" | "ssh+git" => ("https", without_port(host)),
        _ => return None,
    };
    let is_known_here_only = !url.to_ascii_lowercase().starts_with("http") && !host.contains('.');
    if !is_host(host) || is_known_here_only {
        return None;
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let path = path.trim_end_matches('/');
    // A password with a slash would end up here.
    if path.contains('@') {
        return None;
    }
    (!path.is_empty()).then(|| format!("{scheme}://{}/{path}", host.to_ascii_lowercase()))
}

/// Splits `[USER@]HOST:PATH`, which has no slash before the colon.
fn short_form(url: &str) -> Option<(&str, &str)> {
    let (host, path) = url.split_once(':')?;
    // `NAME::ADDRESS` names a program.
    if host.contains('/') || path.starts_with(':') {
        return None;
    }
    let host = host.rsplit('@').next().unwrap_or(host);
    Some((host, path))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// A name or an address, with or without a port.
fn is_host(host: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let name = without_port(host);
    let inner = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(is_letter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_what_is_private() {
        for (url, expected) in [
            ("https://github.com/o/r", Some("https://github.com/o/r")),
            (
                "https://github.com/o/r.git/",
                Some("https://github.com/o/r"),
            ),
            (
                "https://me:token@GitHub.com/o/r.git",
                Some("https://github.com/o/r"),
            ),
            (
                "https://a@b:c@host.example:8443/r",
                Some("https://host.example:8443/r"),
            ),
            (
                "http://localhost:3000/o/r",
                Some("http://localhost:3000/o/r"),
            ),
            (
                "https://host.example/r?token=x#y",
                Some("https://host.example/r"),
            ),
            ("git@github.com:o/r.git", Some("https://github.com/o/r")),
            ("github.com:/o/r.git", Some("https://github.com/o/r")),
            (
                "ssh://git@host.example:2222/o/r.git",
                Some("https://host.example/o/r"),
            ),
            ("git://host.example/r", Some("https://host.example/r")),
            ("work:o/r.git", None),
            ("ssh://alias/o/r.git", None),
            ("/srv/git/r.git", None),
            ("../r", None),
            ("./a:b", None),
            ("C:\\r", None),
            ("file:///srv/git/r.git", None),
            ("ext::sh -c x", None),
            ("codecommit::eu-west-1://r", None),
            ("https://host.example/", None),
            ("https:///r", None),
            ("https://ho st/r", None),
            ("https://me:pass/word@host.example/r", None),
            ("https://me:1/word@host.example/r", None),
            ("https://[::1]:8080/r", Some("https://[::1]:8080/r")),
            ("https://host.example/a\u{1b}[31m", None),
            ("", None),
        ] {
            assert_eq!(web_address(url).as_deref(), expected, "{url}");
        }
    }
}
