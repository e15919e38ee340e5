//! SecretFiles that texts of any name hold.
//!
//! Every small file may be a key. All of them are read once, and the answers
//! are remembered.

use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{EntryKind, Member};
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::store::Store;

use super::{File, MAX_KEY_BYTES, PRIVATE_KEY, SERVICE_ACCOUNT, search};
use crate::contents::first_bytes;

/// The smallest keys, of elliptic curves, are larger.
const MIN_KEY_BYTES: u64 = 100;

/// Extensions of files that are not text, or texts without keys: they are most
/// files of releases.
const OTHERS: [&[u8]; 30] = [
    b".a", b".app", b".beam", b".boot", b".bz2", b".class", b".css", b".gif", b".gz", b".html",
    b".ico", b".jar", b".jpeg", b".jpg", b".js", b".map", b".mjs", b".mo", b".png", b".pyc",
    b".so", b".svg", b".ttf", b".wasm", b".webp", b".whl", b".woff", b".woff2", b".xz", b".zip",
];

/// Small files of any name.
#[derive(Debug, Default)]
pub(super) struct SmallTexts<'a> {
    texts: Vec<File<'a>>,
}

impl<'a> SmallTexts<'a> {
    pub(super) fn visit(&mut self, member: &'a Member, name: &[u8]) {
        let EntryKind::File { size } = member.entry.kind else {
            return;
        };
        let is_small = (MIN_KEY_BYTES..=MAX_KEY_BYTES).contains(&size);
        if let (true, Some(content)) = (is_small && !is_other(name), &member.content) {
            self.texts.push((&member.entry.path, content));
        }
    }

    /// Returns the texts with secrets, and what these are.
    pub(super) fn finish(&self, store: Option<&Store>) -> Vec<(&'a ImagePath, &'static str)> {
        search(&self.texts, "secret in a text", store, secret_in)
    }
}

fn is_other(name: &[u8]) -> bool {
    let end = name.iter().rposition(|byte| *byte == b'.');
    end.is_some_and(|end| OTHERS.binary_search(&&name[end..]).is_ok())
}

fn secret_in(path: &ImagePath, content: &Content) -> Option<&'static str> {
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
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    has(b"\"service_account\"") && has(b"\"private_key\"") && has(b"PRIVATE KEY-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\nRk9SVFlUV08\n";

    fn found(name: &str, text: &str) -> Option<&'static str> {
        let path = ImagePath::parse(format!("/app/{name}")).unwrap();
        let member = Member::file(path, 0o644, text.as_bytes().to_vec());
        let mut texts = SmallTexts::default();
        texts.visit(&member, name.as_bytes());
        texts.finish(None).first().map(|(_, what)| *what)
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
            assert_eq!(found(name, &padded).is_some(), expected, "{name}: {text}");
        }
    }

    #[test]
    fn a_service_account_is_found_in_json() {
        let account = format!(
            "{{\"type\": \"service_account\", \"project_id\": \"{}\", \"private_key\": \"-----BEGIN PRIVATE KEY-----\\nx\"}}",
            "p".repeat(60)
        );
        assert_eq!(
            found("account.json", &account),
            Some("the key of a service account of Google Cloud")
        );
        assert_eq!(found("account.txt", &account), None);
        let other = account.replace("service_account", "authorized_user");
        assert_eq!(found("account.json", &other), None);
    }

    #[test]
    fn files_that_are_no_small_texts_are_not_read() {
        let key = format!("-----BEGIN PRIVATE KEY-----\n{BODY}");
        assert_eq!(found("short", &key), None);
        let large = format!("{key}{}", "\n".repeat(64 * 1024));
        assert_eq!(found("large", &large), None);
    }
}
