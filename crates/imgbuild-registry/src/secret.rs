//! Secrets and credentials.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{NO_PAD, STANDARD};
use base64::{Engine, alphabet};
use imgbuild_oci::reference::userinfo;

/// A text that is never shown: `Debug` hides it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Creates a secret from its text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, to be sent to the server that it is for.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// All secrets of a run, to remove them from text of servers, which may repeat
/// what they were sent. Clones share the secrets.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Mutex<BTreeSet<String>>>);

/// The length of the shortest secret that is removed; a shorter text may match
/// by chance.
const MIN_SECRET_BYTES: usize = 4;

/// The text that replaces a secret.
const CONCEALED: &str = "[secret]";

impl Secrets {
    /// Replaces the secrets in a text.
    #[must_use]
    pub fn conceal(&self, text: &str) -> String {
        let known = self.known();
        let (mut shown, mut rest) = (String::new(), text);
        while let Some(first) = rest.chars().next() {
            let lengths = known.iter().filter_map(|secret| length_of(secret, rest));
            // The longest: a secret may contain another one.
            let length = lengths.max();
            match length {
                Some(_) => shown.push_str(CONCEALED),
                None => shown.push(first),
            }
            rest = &rest[length.unwrap_or(first.len_utf8())..];
        }
        shown
    }

    /// Adds a secret, and its forms in base64, alone and among other bytes.
    pub(crate) fn add(&self, secret: &Secret) {
        let text = secret.reveal();
        if text.len() < MIN_SECRET_BYTES {
            return;
        }
        // The digits of base64 that other bytes do not change.
        let digits = |before: usize| {
            let bytes = [&vec![0; before], text.as_bytes()].concat();
            STANDARD.encode(&bytes)[(before * 8).div_ceil(6)..bytes.len() * 8 / 6].to_owned()
        };
        let alone = STANDARD.encode(text);
        let mut known = self.known();
        known.insert(text.to_owned());
        known.insert(alone.trim_end_matches('=').to_owned());
        known.insert(alone);
        known.extend((0..3).map(digits));
    }

    /// Adds the user and password of a URL or of a name of an image, and returns
    /// whether there are any.
    #[must_use]
    pub fn add_userinfo(&self, text: &str) -> bool {
        let user = userinfo(text).map(|user| self.add(&Secret(format!("{user}@"))));
        user.is_some()
    }

    /// Adds the secrets of a credential, and the form in which they are sent.
    pub(crate) fn add_credential(&self, credential: &Credential) {
        match credential {
            Credential::Basic { user, password } => {
                self.add(password);
                let pair = STANDARD.encode(format!("{user}:{}", password.reveal()));
                self.known().insert(pair);
            }
            Credential::Identity(token) | Credential::Token(token) => self.add(token),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().expect("no holder of the lock panics")
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secrets")
    }
}

/// Returns the length of a secret at the start of a text, in the longest of its
/// forms.
fn length_of(secret: &str, text: &str) -> Option<usize> {
    let mut lengths = BTreeSet::from([0]);
    for character in secret.chars() {
        let next = lengths.iter().flat_map(|length| {
            let forms = forms(character, &text[*length..]);
            forms.into_iter().map(move |form| length + form)
        });
        lengths = next.collect();
        if lengths.is_empty() {
            return None;
        }
    }
    lengths.pop_last()
}

/// Returns the lengths of the forms of a character at the start of a text: as it
/// is, or as URLs, forms, JSON, HTML and URL-safe base64 have it.
fn forms(character: char, text: &str) -> Vec<usize> {
    let is_escape = text.starts_with(['%', '\\', '&']);
    if !is_escape && !text.starts_with([character, '+', '-', '_']) {
        return Vec::new();
    }
    let code = u32::from(character);
    let units = character.encode_utf16(&mut [0; 2]).to_vec();
    let bytes = character.to_string().into_bytes();
    let short = match character {
        ' ' => "+",
        '+' => "-",
        '/' => "_",
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '"' => "&quot;",
        '\'' => "&apos;",
        _ => "\0",
    };
    let forms = [
        character.to_string(),
        short.to_owned(),
        bytes.iter().map(|byte| format!("%{byte:02x}")).collect(),
        units.iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        format!("\\{character}"),
        format!("&#{code};"),
        format!("&#{code:03};"),
        format!("&#x{code:x};"),
    ];
    let is_here = |form: &&String| {
        let start = text.get(..form.len()).unwrap_or_default();
        start == *form || is_escape && start.eq_ignore_ascii_case(form)
    };
    forms.iter().filter(is_here).map(String::len).collect()
}

/// A credential for a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user with a password or an access token.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// An identity token, which a token server exchanges for access tokens.
    Identity(Secret),
    /// An access token, sent as it is.
    Token(Secret),
}

impl Credential {
    /// Returns the value of a `Basic` header ([RFC 7617]).
    ///
    /// [RFC 7617]: https://www.rfc-editor.org/rfc/rfc7617
    pub(crate) fn basic(user: &str, password: &Secret) -> Secret {
        let pair = format!("{user}:{}", password.reveal());
        Secret(format!("Basic {}", STANDARD.encode(pair)))
    }

    /// Returns the value of a `Bearer` header ([RFC 6750]).
    ///
    /// [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750
    pub(crate) fn bearer(token: &Secret) -> Secret {
        Secret(format!("Bearer {}", token.reveal()))
    }
}

/// The origin of a credential, for messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CredentialOrigin {
    /// Unknown, or no credential.
    #[default]
    Unknown,
    /// A file, a variable or a flag of this name.
    Named(String),
    /// No credential: the one of the user is for this other registry.
    OtherRegistry(String),
    /// No credential: the one of the environment is for an unknown registry.
    NoRegistry,
}

/// The identity that a client used for a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user, if the credential has one.
    pub user: Option<String>,
    /// Set if there is a credential.
    pub has_credential: bool,
    /// Set if the token server accepted the credential, so that a refusal is
    /// about permissions.
    pub is_authenticated: bool,
    /// The origin of the credential.
    pub origin: CredentialOrigin,
}

/// Standard base64 without padding, as lenient as Docker's client.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    NO_PAD.with_decode_allow_trailing_bits(true),
);

/// Decodes standard base64; padding and line ends are optional.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut digits = text.trim().trim_end_matches('=').to_owned();
    digits.retain(|digit| !digit.is_ascii_whitespace());
    LENIENT_BASE64.decode(digits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_removed_from_text() {
        let secrets = Secrets::default();
        secrets.add_credential(&Credential::Basic {
            user: "alice".to_owned(),
            password: Secret::new("a \"word\""),
        });
        secrets.add(&Secret::new("abc"));
        let said =
            r#"alice: a "word", a \"word\", a%20%22word%22, Basic YWxpY2U6YSAid29yZCI=, abc"#;
        assert_eq!(
            secrets.conceal(said),
            "alice: [secret], [secret], [secret], Basic [secret], abc"
        );
        assert_eq!(format!("{secrets:?}"), "Secrets");
    }

    #[test]
    fn secrets_are_removed_in_all_forms_that_servers_write() {
        let secrets = Secrets::default();
        secrets.add(&Secret::new("pä&s <w>/'?>~"));
        for said in [
            "pä&s <w>/'?>~",
            "p%C3%A4%26s+%3Cw%3E%2F%27%3F%3E~",
            "p%c3%a4%26s%20%3cw%3e/%27%3f%3e%7E",
            "pä&amp;s &lt;w&gt;/&#39;?&gt;~",
            "p&#xE4;&#x26;s&#32;<w>/&apos;?>~",
            r"p\u00e4\u0026s \u003cw\u003e\/'?\u003E~",
            // In base64.
            "cMOkJnMgPHc+Lyc/Pn4=",
            "cMOkJnMgPHc-Lyc_Pn4",
            "cMOkJnMgPHc%2BLyc%2fPn4",
        ] {
            assert_eq!(secrets.conceal(said), "[secret]", "{said}");
        }
        let part = "pä&s <w>/'?>";
        assert_eq!(secrets.conceal(part), part);
    }

    #[test]
    fn a_secret_is_removed_from_base64_wherever_it_begins() {
        let secrets = Secrets::default();
        secrets.add(&Secret::new("hunter2"));
        for before in ["", "a", "ab", "abc", "me:"] {
            for after in ["", "x", "xy", "xyz"] {
                let encoded = STANDARD.encode(format!("{before}hunter2{after}"));
                let shown = secrets.conceal(&encoded);
                let (front, back) = shown.split_once("[secret]").unwrap();
                assert!(front.len() <= 5 && back.len() <= 7, "{encoded}: {shown}");
            }
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let credential = Credential::Basic {
            user: "me".to_owned(),
            password: Secret::new("hunter2"),
        };
        assert!(!format!("{credential:?}").contains("hunter2"));
    }

    #[test]
    fn base64_is_decoded_with_and_without_padding_and_line_ends() {
        for text in ["Zm9vYg==", "Zm9vYg", " Zm9v\nYg==\n", "Zm9vYh"] {
            assert_eq!(decode_base64(text).unwrap(), b"foob", "{text}");
        }
        assert_eq!(decode_base64("a:b"), None);
    }
}
