//! Files that are likely secrets, by their names; those that are named as
//! keys are looked into, and so are small texts of any name: every small file
//! may be a key.

use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{EntryKind, Member};
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::store::Store;

use super::content::recall;
use crate::contents::first_bytes;
use crate::finding::{Finding, Rule};

/// The bytes that are read of a file with a name like a key: a key comes first,
/// or after the certificates of a chain.
pub(super) const MAX_KEY_BYTES: u64 = 64 * 1024;

/// Ends of paths, and the secrets in these files.
const ENDS: [(&str, &str); 23] = [
    ("/.netrc", "passwords for servers"),
    ("/_netrc", "passwords for servers"),
    ("/.pypirc", "passwords for Python package indexes"),
    ("/.git-credentials", "passwords for Git servers"),
    ("/.pgpass", "passwords for PostgreSQL"),
    ("/.my.cnf", "passwords for MySQL"),
    ("/.htpasswd", "passwords of users"),
    ("/.vault-token", "a token for Vault"),
    ("/.erlang.cookie", "the secret of an Erlang cluster"),
    ("/.cargo/credentials", "tokens for Cargo registries"),
    ("/.cargo/credentials.toml", "tokens for Cargo registries"),
    ("/.aws/credentials", "keys of Amazon Web Services"),
    (
        "/.config/gcloud/application_default_credentials.json",
        "keys of Google Cloud",
    ),
    ("/.config/gcloud/credentials.db", "keys of Google Cloud"),
    (
        "/.config/gcloud/access_tokens.db",
        "tokens for Google Cloud",
    ),
    ("/.azure/accessTokens.json", "tokens for Azure"),
    ("/.azure/msal_token_cache.json", "tokens for Azure"),
    ("/.kube/config", "keys of Kubernetes clusters"),
    ("/.docker/config.json", "passwords for registries"),
    ("/.config/containers/auth.json", "passwords for registries"),
    ("/.config/gh/hosts.yml", "tokens for GitHub"),
    (
        "/config/master.key",
        "the key to the credentials of a Rails application",
    ),
    (
        "/terraform.tfstate",
        "the state of Terraform, with its secrets",
    ),
];

/// Ends of names that hold variables for an example.
const EXAMPLES: [&[u8]; 7] = [
    b".example",
    b".sample",
    b".template",
    b".dist",
    b".defaults",
    b".test",
    b".schema",
];

/// The smallest keys, of elliptic curves, are larger.
const MIN_KEY_BYTES: u64 = 100;

/// Extensions of files that are not text, or texts without keys: they are most
/// files of releases.
const OTHERS: [&[u8]; 30] = [
    b".a", b".app", b".beam", b".boot", b".bz2", b".class", b".css", b".gif", b".gz", b".html",
    b".ico", b".jar", b".jpeg", b".jpg", b".js", b".map", b".mjs", b".mo", b".png", b".pyc",
    b".so", b".svg", b".ttf", b".wasm", b".webp", b".whl", b".woff", b".woff2", b".xz", b".zip",
];

/// The secrets among the members, and the files to be searched for some.
#[derive(Debug, Default)]
pub(super) struct SecretFiles<'a> {
    findings: Vec<Finding>,
    keys: Vec<File<'a>>,
    /// Small files of any name.
    texts: Vec<File<'a>>,
}

impl<'a> SecretFiles<'a> {
    pub(super) fn visit(&mut self, member: &'a Member, name: &[u8]) {
        let path = &member.entry.path;
        let is_directory = member.entry.kind == EntryKind::Directory;
        if is_directory {
            if name == b".git" {
                let history = "the history of the source, with all that ever was in it";
                self.find(path, history);
            }
            return;
        }
        if let Some(what) = named(path, name) {
            return self.find(path, what);
        }
        let Some(content) = &member.content else {
            return;
        };
        if is_named_as_key(name) {
            self.keys.push((path, content));
        } else if let EntryKind::File { size } = member.entry.kind
            && (MIN_KEY_BYTES..=MAX_KEY_BYTES).contains(&size)
            && !is_other(name)
        {
            self.texts.push((path, content));
        }
    }

    fn find(&mut self, path: &ImagePath, what: &str) {
        let reason = match what {
            COOKIE => format!(
                "`{path}` is a secret that anyone with the image can read: it gives control of a node to anyone who reaches its ports; set `RELEASE_COOKIE` in the environment of the container instead"
            ),
            _ => format!("`{path}` is likely {what}: anyone with the image can read it"),
        };
        let finding = Finding::warning(Rule::SecretFile, Some(path), reason);
        self.findings.push(finding);
    }

    /// Searches the files with names like keys, and small texts.
    pub(super) fn finish(mut self, store: Option<&Store>) -> Vec<Finding> {
        let keys = search(&self.keys, "private key", store, secret_in);
        let texts = search(&self.texts, "secret in a text", store, secret_in_text);
        for (path, what) in keys.into_iter().chain(texts) {
            self.find(path, what);
        }
        self.findings
    }
}

/// A file with its content.
type File<'a> = (&'a ImagePath, &'a Content);

/// The number of files whose answers are remembered together: a rebuild reads
/// those again in whose group a file changed.
const GROUP: usize = 512;

/// The secrets that a content can hold, by their numbers in answers from 1 on.
const KINDS: [&str; 3] = [PRIVATE_KEY, TOKEN, SERVICE_ACCOUNT];
const PRIVATE_KEY: &str = "a private key";
const TOKEN: &str = "a token for a package registry";
const SERVICE_ACCOUNT: &str = "the key of a service account of Google Cloud";

/// Returns the files that hold one of [`KINDS`], each with its kind.
fn search<'a>(
    files: &[File<'a>],
    question: &'static str,
    store: Option<&Store>,
    answer: fn(&ImagePath, &Content) -> Option<&'static str>,
) -> Vec<(&'a ImagePath, &'static str)> {
    let number = |kind| KINDS.iter().position(|known| *known == kind);
    let mut found = Vec::new();
    for group in files.chunks(GROUP) {
        let contents: Vec<&Content> = group.iter().map(|(_, content)| *content).collect();
        let answers = recall(store, question, false, &contents, &|| {
            let kinds = group.iter().map(|(path, content)| answer(path, content));
            kinds
                .map(|kind| kind.and_then(number).map_or(0, |number| number as u8 + 1))
                .collect()
        });
        for ((path, _), answer) in group.iter().zip(answers) {
            let kind = usize::from(answer).checked_sub(1);
            if let Some(kind) = kind.and_then(|kind| KINDS.get(kind)) {
                found.push((*path, *kind));
            }
        }
    }
    found
}

/// The cookie of a release is not only likely a secret.
const COOKIE: &str = "the cookie of a release";

fn named(path: &ImagePath, name: &[u8]) -> Option<&'static str> {
    if name == b"COOKIE" && path.as_bytes().ends_with(b"/releases/COOKIE") {
        return Some(COOKIE);
    }
    if name == b".env" || name.starts_with(b".env.") {
        let is_example = EXAMPLES.iter().any(|end| name.ends_with(end));
        return (!is_example).then_some("the variables of a developer, with their secrets");
    }
    let bytes = path.as_bytes();
    if name.ends_with(b".key")
        && bytes
            .windows(20)
            .any(|part| part == b"/config/credentials/")
    {
        return Some("the key to the credentials of a Rails application");
    }
    if name.ends_with(b".p12") || name.ends_with(b".pfx") {
        return Some(PRIVATE_KEY);
    }
    // Few names start as those below do.
    if !name.first().is_some_and(|first| b"._achmt".contains(first)) {
        return None;
    }
    let mut known = ENDS.iter();
    let found = known.find(|(end, _)| bytes.ends_with(end.as_bytes()));
    found.map(|(_, what)| *what)
}

pub(super) fn is_named_as_key(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] = [b"id_rsa", b"id_dsa", b"id_ecdsa", b"id_ed25519", b".npmrc"];
    const ENDINGS: [&[u8]; 3] = [b".pem", b".key", b".ppk"];
    NAMES.contains(&name) || ENDINGS.iter().any(|end| name.ends_with(end))
}

fn secret_in(_: &ImagePath, content: &Content) -> Option<&'static str> {
    let bytes = first_bytes(content, MAX_KEY_BYTES);
    let has = |text| has(&bytes, text);
    if has(b"PRIVATE KEY-----") || bytes.starts_with(b"PuTTY-User-Key-File") {
        return Some(PRIVATE_KEY);
    }
    // The file is one of npm.
    (has(b"_authToken=") || has(b"_password=") || has(b"_auth=")).then_some(TOKEN)
}

fn is_other(name: &[u8]) -> bool {
    let end = name.iter().rposition(|byte| *byte == b'.');
    end.is_some_and(|end| OTHERS.binary_search(&&name[end..]).is_ok())
}

fn secret_in_text(path: &ImagePath, content: &Content) -> Option<&'static str> {
    let bytes = first_bytes(content, MAX_KEY_BYTES);
    if has_private_key(&bytes) {
        return Some(PRIVATE_KEY);
    }
    let is_json = path.file_name().ends_with(b".json");
    (is_json && is_service_account(&bytes)).then_some(SERVICE_ACCOUNT)
}

/// Looks for a private key as [RFC 7468] writes it, with its content: a
/// program that only knows the line has no key.
///
/// [RFC 7468]: https://www.rfc-editor.org/rfc/rfc7468
fn has_private_key(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    while let Some(line) = lines.next() {
        let is_start = line.starts_with(b"-----BEGIN ") && line.ends_with(b"PRIVATE KEY-----");
        if is_start && lines.next().is_some_and(is_of_key) {
            return true;
        }
    }
    false
}

/// Returns whether a line can follow the first one of a key: it is base64, or,
/// in old formats, names the encryption.
fn is_of_key(line: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    line.starts_with(b"Proc-Type:") || (line.len() >= 32 && line.iter().all(is_base64))
}

/// Returns whether a file is the key of a service account, as [Google Cloud]
/// issues it.
///
/// [Google Cloud]: https://cloud.google.com/iam/docs/keys-create-delete
fn is_service_account(bytes: &[u8]) -> bool {
    let texts: [&[u8]; 3] = [
        b"\"service_account\"",
        b"\"private_key\"",
        b"PRIVATE KEY-----",
    ];
    texts.iter().all(|text| has(bytes, text))
}

fn has(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> bool {
        let path = ImagePath::parse(path).unwrap();
        let member = Member::file(path, 0o644, text.as_bytes().to_vec());
        let mut secrets = SecretFiles::default();
        secrets.visit(&member, member.entry.path.file_name());
        !secrets.finish(None).is_empty()
    }

    #[test]
    fn files_that_are_secrets_by_name_are_named() {
        for (path, expected) in [
            ("/app/.env", true),
            ("/app/.env.production", true),
            ("/app/.env.example", false),
            ("/app/env", false),
            ("/root/.netrc", true),
            ("/root/.aws/credentials", true),
            ("/app/credentials", false),
            ("/root/.cargo/credentials.toml", true),
            ("/app/releases/COOKIE", true),
            ("/app/COOKIE", false),
            ("/app/cert.pfx", true),
            ("/root/.kube/config", true),
            ("/app/config", false),
            ("/app/terraform.tfstate", true),
            ("/app/config/master.key", true),
            ("/app/config/credentials/production.key", true),
            ("/app/lib/master.key", false),
        ] {
            assert_eq!(found(path, ""), expected, "{path}");
        }
    }

    #[test]
    fn the_names_start_as_is_looked_for() {
        for (end, _) in ENDS {
            let name = end.rsplit('/').next().unwrap().as_bytes();
            assert!(b"._achmt".contains(&name[0]), "{end}");
        }
    }

    #[test]
    fn files_that_are_named_as_keys_are_looked_into() {
        let key = "-----BEGIN EC PRIVATE KEY-----\n";
        for (path, text, expected) in [
            ("/app/tls.pem", key, true),
            ("/app/tls.key", key, true),
            (
                "/root/.ssh/id_ed25519",
                "-----BEGIN OPENSSH PRIVATE KEY-----",
                true,
            ),
            ("/app/chain.pem", "-----BEGIN CERTIFICATE-----\n", false),
            ("/app/notes.txt", key, false),
            ("/app/.npmrc", "//registry/:_authToken=x", true),
            ("/app/.npmrc", "save-exact=true", false),
        ] {
            assert_eq!(found(path, text), expected, "{path}: {text}");
        }
    }

    #[test]
    fn the_history_of_the_source_is_one_finding() {
        let git: Member =
            imgbuild_oci::entry::Entry::directory(ImagePath::parse("/app/.git").unwrap()).into();
        let mut secrets = SecretFiles::default();
        secrets.visit(&git, b".git");
        assert_eq!(secrets.finish(None).len(), 1);
    }

    const BODY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\nRk9SVFlUV08\n";

    fn found_in_text(name: &str, text: &str) -> Option<String> {
        let path = ImagePath::parse(format!("/app/{name}")).unwrap();
        let member = Member::file(path, 0o644, text.as_bytes().to_vec());
        let mut secrets = SecretFiles::default();
        secrets.visit(&member, name.as_bytes());
        secrets.finish(None).pop().map(|finding| finding.reason)
    }

    #[test]
    fn the_ends_are_sorted() {
        assert!(OTHERS.is_sorted());
    }

    #[test]
    fn a_private_key_is_found_under_any_name() {
        let key = |start: &str, body: &str| format!("{start}\n{body}-----END PRIVATE KEY-----\n");
        let plain = "-----BEGIN PRIVATE KEY-----";
        for (name, text, expected) in [
            ("notes", key(plain, BODY), true),
            (
                "settings.yml",
                format!("tls: |\n  {}", key(plain, &format!("  {BODY}"))),
                true,
            ),
            (
                "key.txt",
                key("-----BEGIN OPENSSH PRIVATE KEY-----", BODY),
                true,
            ),
            (
                "key.txt",
                key(
                    "-----BEGIN RSA PRIVATE KEY-----",
                    "Proc-Type: 4,ENCRYPTED\n",
                ),
                true,
            ),
            ("dos", key(plain, BODY).replace('\n', "\r\n"), true),
            (
                "certificate",
                key("-----BEGIN CERTIFICATE-----", BODY),
                false,
            ),
            ("ssh.py", key(&format!("START = \"{plain}"), BODY), false),
            ("manual", key(plain, "... the key, in Base64 ...\n"), false),
            ("page.html", key(plain, BODY), false),
        ] {
            let padded = format!("{}\n{text}", "# ".repeat(60));
            assert_eq!(
                found_in_text(name, &padded).is_some(),
                expected,
                "{name}: {text}"
            );
        }
    }

    #[test]
    fn a_service_account_is_found_in_json() {
        let account = format!(
            "{{\"type\": \"service_account\", \"project_id\": \"{}\", \"private_key\": \"-----BEGIN PRIVATE KEY-----\\nx\"}}",
            "p".repeat(60)
        );
        assert_eq!(
            found_in_text("account.json", &account).as_deref(),
            Some(
                "`/app/account.json` is likely the key of a service account of Google Cloud: anyone with the image can read it"
            )
        );
        assert_eq!(found_in_text("account.txt", &account), None);
        let other = account.replace("service_account", "authorized_user");
        assert_eq!(found_in_text("account.json", &other), None);
    }

    #[test]
    fn files_that_are_no_small_texts_are_not_read() {
        let key = format!("-----BEGIN PRIVATE KEY-----\n{BODY}");
        assert_eq!(found_in_text("short", &key), None);
        let large = format!("{key}{}", "\n".repeat(64 * 1024));
        assert_eq!(found_in_text("large", &large), None);
    }
}
