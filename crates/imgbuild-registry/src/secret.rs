//! Secrets, and what they prove.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{NO_PAD, STANDARD};
use base64::{Engine, alphabet};

use crate::url;

/// A text that is never shown: not by `Debug`, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, to be sent to whom it is for.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// All secrets of a run. What others say is shown without them: a server may
/// repeat what it was sent. Copies know the same.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Mutex<BTreeSet<String>>>);

/// The shortest secret that is looked for; what is shorter turns up by chance.
const MIN_SECRET_BYTES: usize = 4;

/// What is shown in the place of a secret.
const CONCEALED: &str = "[secret]";

impl Secrets {
    /// Returns a text without the secrets.
    ///
    /// # Panics
    ///
    /// Never: nothing panics while it is locked.
    #[must_use]
    pub fn conceal<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let known = self.known();
        let mut found: Vec<&String> = known.iter().filter(|one| text.contains(*one)).collect();
        // One may be a part of another.
        found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut shown = Cow::Borrowed(text);
        for secret in found {
            shown = shown.replace(secret.as_str(), CONCEALED).into();
        }
        shown
    }

    /// Takes a secret, also as it is written in addresses and in JSON.
    pub(crate) fn add(&self, secret: &Secret) {
        let text = secret.reveal();
        let quoted = serde_json::Value::from(text).to_string();
        let quoted = &quoted[1..quoted.len() - 1];
        let forms = [text, &url::encode(text), quoted];
        let forms = forms
            .into_iter()
            .filter(|one| one.len() >= MIN_SECRET_BYTES);
        self.known().extend(forms.map(str::to_owned));
    }

    /// Takes what a credential holds, and what is sent of it.
    pub(crate) fn add_credential(&self, credential: &Credential) {
        match credential {
            Credential::Basic { user, password } => {
                self.add(password);
                let pair = format!("{user}:{}", password.reveal());
                self.add(&Secret(STANDARD.encode(pair)));
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

/// Who asks, and how that is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user with a password, or with an access token in its place.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token, which a token server exchanges for access tokens.
    Identity(Secret),
    /// An access token, sent as it is.
    Token(Secret),
}

impl Credential {
    /// The value of a `Basic` header ([RFC 7617]).
    ///
    /// [RFC 7617]: https://www.rfc-editor.org/rfc/rfc7617
    pub(crate) fn basic(user: &str, password: &Secret) -> Secret {
        let pair = format!("{user}:{}", password.reveal());
        Secret(format!("Basic {}", STANDARD.encode(pair)))
    }

    /// The value of a `Bearer` header ([RFC 6750]).
    ///
    /// [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750
    pub(crate) fn bearer(token: &Secret) -> Secret {
        Secret(format!("Bearer {}", token.reveal()))
    }
}

/// Where a credential comes from, for messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CredentialSource {
    /// Nobody says.
    #[default]
    Unknown,
    /// What is named here: a file, a variable, a flag.
    Named(String),
    /// There is none, and the one that was given is for this other registry.
    Elsewhere(String),
}

/// As whom a registry was asked, when it refuses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asker {
    /// The user, if there is a credential that names one.
    pub user: Option<String>,
    /// Whether there is a credential.
    pub has_credential: bool,
    /// Whether the token server has taken it: who asks is known, and lacks
    /// leave.
    pub is_known: bool,
    /// Where it comes from.
    pub source: CredentialSource,
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
    fn what_is_said_is_shown_without_secrets() {
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
