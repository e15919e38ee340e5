//! Errors of parsing an image name, one for each rule.

/// A text that is not the name of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image name: {rule}{would_do}", would_do = would_do(.proposal.as_deref()))]
pub struct ParseReferenceError {
    pub(super) text: String,
    pub(super) rule: ReferenceRule,
    pub(super) proposal: Option<String>,
}

fn would_do(proposal: Option<&str>) -> String {
    proposal.map_or_else(String::new, |name| format!(" (`{name}` would do)"))
}

/// A rule that image names follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceRule {
    /// The name is missing.
    #[error("it is empty")]
    Empty,
    /// It starts like a URL.
    #[error("it must not start with a scheme")]
    Scheme,
    /// The registry is neither a host name nor an address.
    #[error("its registry must be a host name or an address, with a port if need be")]
    Registry,
    /// The port of the registry is not valid.
    #[error("ports are numbers from 1 to 65535")]
    Port,
    /// The repository has upper-case letters.
    #[error("repositories are lower case")]
    UpperCase,
    /// The repository has a character that none may have.
    #[error(
        "repositories consist of `a` to `z`, digits, and `.`, `_`, `__` or dashes between them, \
         in parts divided by `/`"
    )]
    Repository,
    /// The repository could be taken for an image ID.
    #[error("64 hexadecimal digits are an image ID, not a name")]
    ImageId,
    /// Registry and repository are too long.
    #[error("registry and repository together are at most 255 bytes long")]
    NameTooLong,
    /// Two colons, as in `a:b:c`.
    #[error("it has more than one tag")]
    TwoTags,
    /// Nothing follows the colon.
    #[error("its tag is empty")]
    TagEmpty,
    /// The tag has a plus, as semantic versions do.
    #[error("tags cannot hold a `+`")]
    TagPlus,
    /// The tag is too long.
    #[error("tags are at most 128 bytes long")]
    TagTooLong,
    /// The tag has a character that none may have.
    #[error("tags consist of letters, digits, `_`, `.` and `-`, and do not start with `.` or `-`")]
    Tag,
    /// The text after the `@` is not a digest.
    #[error("a digest is `sha256:` and 64 lower-case hexadecimal digits")]
    Digest,
}
