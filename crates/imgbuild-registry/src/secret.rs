//! Secrets and credentials.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{NO_PAD, STANDARD};
use base64::{Engine, alphabet};

use crate::url;

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
    pub fn conceal<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let known = self.known();
        let mut found: Vec<&String> = known.iter().filter(|one| text.contains(*one)).collect();
        // The longest first: a secret may contain another one.
        found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut shown = Cow::Borrowed(text);
        for secret in found {
            shown = shown.replace(secret.as_str(), CONCEALED).into();
        }
        shown
    }

    /// Adds a secret, and its forms in URLs and in JSON.
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

    /// Adds the secrets of a credential, and the form in which they are sent.
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
