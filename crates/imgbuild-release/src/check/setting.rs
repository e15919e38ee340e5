//! The configuration: user, working directory, ports, volumes, variables.

use imgbuild_oci::entry::{EntryKind, MAX_ID};
use imgbuild_oci::image::{path_from_root, volume_fault};
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::xattr::{CAPABILITY, capabilities};
use serde_json::Value;

use super::command::is_below;
use super::identity::EXECUTE;
use super::secret::{is_random, secrets_in};
use super::subject::Subject;
use crate::contents::{End, real_place};
use crate::finding::{Finding, Rule, Severity};

/// The first port that any user may listen on
/// (`net.ipv4.ip_unprivileged_port_start`, [ip(7)]).
///
/// [ip(7)]: https://man7.org/linux/man-pages/man7/ip.7.html
const FIRST_FREE_PORT: u16 = 1024;

const CAP_NET_BIND_SERVICE: u64 = 1 << 10;

/// Words in the name of a variable whose value is a secret. The long ones may end
/// another word, for example `PGPASSWORD`.
const SECRET_WORDS: [&str; 11] = [
    "APIKEY",
    "COOKIE",
    "CREDENTIAL",
    "CREDENTIALS",
    "PASS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PWD",
    "SECRET",
    "TOKEN",
];

/// The words before `KEY` in the name of a secret key.
const SECRET_KEYS: [&str; 6] = [
    "ACCESS",
    "API",
    "ENCRYPTION",
    "PRIVATE",
    "SECRET",
    "SIGNING",
];

/// Words in the name of a key that is not a secret.
const OTHER_KEYS: [&str; 5] = ["GPG", "PGP", "PUBLIC", "PUBLISHABLE", "SITE"];

/// Checks the configuration; `programs` start with a container.
pub(super) fn check(subject: &Subject<'_>, programs: &[ImagePath]) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(user(subject));
    findings.extend(working_directory(subject));
    let volumes = subject.config.volumes.iter();
    findings.extend(volumes.filter_map(|text| volume(subject, text)));
    let ports = subject.config.exposed_ports.iter();
    let binds_any = programs.iter().any(|path| {
        let file = subject.contents.file(path);
        let value = file.and_then(|file| file.entry.xattrs.get(CAPABILITY));
        let bits = value.and_then(|value| capabilities(value));
        bits.is_some_and(|bits| bits & CAP_NET_BIND_SERVICE != 0)
    });
    findings.extend(ports.filter_map(|text| port(subject, text, binds_any)));
    let variables = subject.config.env.iter();
    findings.extend(variables.filter_map(|variable| secret(variable)));
    findings.extend(published_secrets(subject));
    findings
}

fn user(subject: &Subject<'_>) -> Option<Finding> {
    let is_closed = |path: &str| {
        let file = ImagePath::parse(path).ok();
        let file = file.and_then(|path| subject.contents.file(&path));
        file.is_some_and(|file| file.content.is_none())
    };
    // The target of a link to another place may not have been read.
    let is_unknown = is_closed("/etc/passwd") || is_closed("/etc/group");
    if subject.identity.is_some() || is_unknown {
        return None;
    }
    let user = subject.config.user.as_deref().unwrap_or_default();
    let mut parts = user.split(':');
    let is_large = parts.any(|part| part.parse().is_ok_and(|id: u64| id > MAX_ID.into()));
    let fault = if is_large {
        "user and group IDs are at most 2147483647"
    } else {
        "the passwd and group files of the image do not contain that name"
    };
    let reason = format!("containers run as `{user}`, and {fault}");
    Some(Finding::error(Rule::UserUnknown, None, reason))
}

/// Checks the working directory. A missing one is created by every engine and
/// owned by root.
fn working_directory(subject: &Subject<'_>) -> Option<Finding> {
    let text = subject.config.working_dir.as_deref()?;
    if text.is_empty() {
        return None;
    }
    if !text.starts_with('/') {
        let reason = format!("the working directory `{text}` is not an absolute path");
        return Some(Finding::error(Rule::WorkdirInvalid, None, reason));
    }
    let path = path_from_root(text)?;
    if real_place(&subject.contents, &path).is_err() {
        let reason = format!("the working directory `{path}` is below a file or a loop of links");
        return Some(Finding::error(Rule::WorkdirInvalid, Some(&path), reason));
    }
    let End::There(end) = subject.contents.resolve(&path) else {
        return None;
    };
    let member = subject.contents.get(&end)?;
    if member.entry.kind != EntryKind::Directory {
        let reason = format!("the working directory `{path}` is a file");
        return Some(Finding::error(Rule::WorkdirInvalid, Some(&path), reason));
    }
    let identity = subject.identity.as_ref()?;
    let (_, reason) = identity.refusal(&subject.contents, &end, member, EXECUTE)?;
    let reason = format!("containers start in `{path}`: {reason}");
    let rule = Rule::WorkdirForbidden;
    Some(Finding::warning(rule, Some(&path), reason))
}

/// Checks a volume. Docker resolves a relative path against the root; other
/// engines do not.
fn volume(subject: &Subject<'_>, text: &str) -> Option<Finding> {
    let path = path_from_root(text);
    let mut severity = Severity::Error;
    let fault = match (&path, path.as_ref().and_then(volume_fault)) {
        (None, _) => "not a valid path",
        (_, Some(fault)) => fault,
        (Some(path), _) if subject.contents.file(path).is_some() => {
            "a file, and only directories can be volumes"
        }
        _ if text.starts_with('/') => return None,
        _ => {
            severity = Severity::Warning;
            "not an absolute path, which engines treat differently"
        }
    };
    let path = path.filter(|path| !path.is_root());
    let reason = format!("the volume `{text}` is {fault}");
    let rule = Rule::VolumeInvalid;
    Some(Finding::new(rule, severity, path.as_ref(), reason))
}

fn port(subject: &Subject<'_>, text: &str, binds_any: bool) -> Option<Finding> {
    let Some(first) = first_port(text) else {
        let reason =
            format!("the exposed port `{text}` is not a valid port, so it is not published");
        return Some(Finding::warning(Rule::PortInvalid, None, reason));
    };
    let identity = subject.identity.as_ref()?;
    let is_privileged = first < FIRST_FREE_PORT && identity.uid != 0 && !binds_any;
    is_privileged.then(|| {
        let uid = identity.uid;
        let reason = format!("port {text} is privileged, and containers run as user {uid}: Docker before 20.10 and some other engines do not allow this user to listen on it");
        Finding::warning(Rule::PortPrivileged, None, reason)
    })
}

/// Reads `PORT[-PORT][/PROTOCOL]`; `None` when it is malformed.
fn first_port(text: &str) -> Option<u16> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return None;
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| is_number)
    };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first)
}

/// Names a variable that is a secret by its name or form. The finding does not
/// contain its value.
fn secret(variable: &str) -> Option<Finding> {
    let (name, value) = variable.split_once('=')?;
    let fault = if is_secret_name(name, value) && is_secret_value(value) {
        "is likely a secret by its name: anyone with the image can read its value".to_owned()
    } else if has_password(value) {
        "contains a URL with a password: anyone with the image can read it".to_owned()
    } else {
        let (what, _) = secrets_in(variable.as_bytes()).next()?;
        format!("contains {what}: anyone with the image can read it")
    };
    let reason = format!("the variable `{name}` {fault}");
    Some(Finding::warning(Rule::SecretVariable, None, reason))
}

fn is_secret_name(name: &str, value: &str) -> bool {
    const OTHERS: [&str; 13] = [
        "DIR", "EXPIRY", "FILE", "HEADER", "ID", "LENGTH", "MAX", "MIN", "NAME", "PATH", "TTL",
        "URI", "URL",
    ];
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> = name.split(['_', '-', '.']).collect();
    // The working directory of shells, and where a secret is to be found.
    let last = words.last().unwrap_or(&"");
    if OTHERS.contains(last) || matches!(name.as_str(), "PWD" | "OLDPWD") {
        return false;
    }
    let is_word = |word: &&str| {
        let mut secrets = SECRET_WORDS.iter();
        secrets.any(|secret| word == secret || secret.len() > 4 && word.ends_with(secret))
    };
    let is_key = |pair: &[&str]| SECRET_KEYS.contains(&pair[0]) && pair[1] == "KEY";
    let is_other_key = || words.iter().any(|word| OTHER_KEYS.contains(word));
    let is_random_key = *last == "KEY" && value.len() >= 16 && is_random(value.as_bytes());
    words.iter().any(is_word) || words.windows(2).any(is_key) || is_random_key && !is_other_key()
}

/// Returns whether a value can be a secret: switches and paths are not.
fn is_secret_value(value: &str) -> bool {
    const SWITCHES: [&str; 8] = ["", "0", "1", "true", "false", "yes", "no", "none"];
    !SWITCHES.contains(&value.to_ascii_lowercase().as_str()) && !value.starts_with('/')
}

/// Returns whether a value has the form `scheme://user:password@host`.
fn has_password(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else {
        return false;
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    let password = user.and_then(|user| user.split_once(':'));
    // `$NAME` is put in when a container runs.
    password.is_some_and(|(_, password)| !password.is_empty() && !password.starts_with('$'))
}

/// Finds secrets with a fixed form in texts that are not variables.
fn published_secrets(subject: &Subject<'_>) -> Vec<Finding> {
    let config = subject.config;
    let fields = [
        ("label", Some(&config.labels)),
        ("annotation", subject.annotations),
    ];
    let mut texts: Vec<(String, &str)> = Vec::new();
    for (field, texts_of_field) in fields {
        let pairs = texts_of_field.into_iter().flatten();
        texts.extend(pairs.map(|(key, text)| (format!("{field} `{key}`"), text.as_str())));
    }
    let words = [&config.entrypoint, &config.cmd]
        .into_iter()
        .flatten()
        .flatten();
    texts.extend(words.map(|word| ("command".to_owned(), word.as_str())));
    let health = config.healthcheck.iter().flat_map(|check| &check.test);
    texts.extend(health.map(|word| ("health check".to_owned(), word.as_str())));
    let steps = subject
        .history
        .iter()
        .flat_map(|step| [&step["created_by"], &step["comment"]]);
    let steps = steps.filter_map(Value::as_str);
    texts.extend(steps.map(|text| ("history".to_owned(), text)));
    let found = texts.into_iter().filter_map(|(place, text)| {
        let (what, _) = secrets_in(text.as_bytes()).next()?;
        let reason = format!("the {place} contains {what}: anyone with the image can read it");
        Some(Finding::warning(Rule::SecretConfiguration, None, reason))
    });
    found.collect()
}

/// Returns whether an engine mounts something at this path.
pub(super) fn is_of_engines(path: &ImagePath) -> bool {
    const PLACES: [&str; 7] = [
        "/dev",
        "/proc",
        "/sys",
        "/run",
        "/var/run",
        "/etc/resolv.conf",
        "/etc/mtab",
    ];
    PLACES.iter().any(|place| is_below(path, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_with_a_protocol() {
        for (text, expected) in [
            ("80/tcp", Some(80)),
            ("8080", Some(8080)),
            ("53/udp", Some(53)),
            ("80/TCP", Some(80)),
            ("7000-7010/tcp", Some(7000)),
            ("7010-7000/tcp", None),
            ("http/tcp", None),
            ("80/http", None),
            ("65536/tcp", None),
            ("", None),
        ] {
            assert_eq!(first_port(text), expected, "{text}");
        }
    }

    #[test]
    fn variables_that_are_secrets_are_named_without_their_value() {
        for (variable, expected) in [
            ("GITHUB_TOKEN=hunter2", true),
            ("SECRET_KEY_BASE=hunter2", true),
            ("DB_PASSWORD=hunter2", true),
            ("aws_secret_access_key=hunter2", true),
            ("STRIPE_API_KEY=hunter2", true),
            ("DATABASE_URL=postgres://u:hunter2@db/x", true),
            ("DATABASE_URL=postgres://u@db/x", false),
            ("DATABASE_URL=postgres://u:$PASSWORD@db/x", false),
            ("DB_PASSWORD_FILE=/run/secrets/db", false),
            ("DB_PASSWORD=", false),
            ("RELEASE_COOKIE=hunter2", true),
            ("PASSWORD_MIN_LENGTH=8", false),
            ("PGPASSWORD=hunter2", true),
            ("SMTP_PASS=hunter2", true),
            ("MASTER_KEY=hunter2Hunter2Hunter3", true),
            ("SORT_KEY=hunter2", false),
            ("SSH_PUBLIC_KEY=hunter2Hunter2Hunter3", false),
            ("AWS_ACCESS_KEY_ID=hunter2", false),
            ("REQUIRE_TOKEN=true", false),
            ("TOKENIZERS_PARALLELISM=hunter2", false),
            ("PWD=hunter2", false),
            ("GPG_KEY=hunter2", false),
            ("PATH=/bin", false),
        ] {
            let finding = secret(variable);
            assert_eq!(finding.is_some(), expected, "{variable}");
            let told = finding.map(|finding| finding.reason).unwrap_or_default();
            assert!(!told.contains("hunter2"), "{told}");
        }
        let token = format!("NOTE=da{}0a1b2c3d4e5f60718293a4b5c6d7e8f9", "pi");
        let told = secret(&token).map(|finding| finding.reason);
        assert_eq!(
            told.as_deref(),
            Some(
                "the variable `NOTE` contains a token for Databricks: anyone with the image can read it"
            )
        );
    }
}
