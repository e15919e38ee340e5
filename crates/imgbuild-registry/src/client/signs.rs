//! What an answer, or a failure, is a sign of.

use std::io::Read;

use crate::challenge;
use crate::error::{Error, NetworkKind};
use crate::transport::Response;

/// Whether an answer is a page for people, as of a network that wants a login,
/// or of some server at the wrong port.
pub(super) fn is_page(response: Response) -> bool {
    let content_type = response.header("content-type").unwrap_or_default();
    let may_be = content_type.starts_with("text/html")
        && response.header("docker-distribution-api-version").is_none();
    let mut start = Vec::new();
    if may_be {
        // What cannot be read is no page.
        drop(response.into_reader().take(512).read_to_end(&mut start));
    }
    start.trim_ascii_start().starts_with(b"<")
}

/// Whether http is worth a try: the certificate was not the problem.
pub(super) fn may_speak_plainly(error: &Error) -> bool {
    match error {
        Error::Network { reason, .. } => !matches!(
            reason.kind,
            NetworkKind::Certificate
                | NetworkKind::Authority { .. }
                | NetworkKind::Name
                | NetworkKind::Processor
                | NetworkKind::Proxy
                | NetworkKind::Socks
        ),
        Error::Processor { .. } => true,
        _ => false,
    }
}

pub(super) fn status_of(error: &Error) -> Option<u16> {
    match error {
        Error::Refused { answer, .. } => Some(answer.status()),
        _ => None,
    }
}

pub(super) fn challenge_of(response: &Response) -> Option<challenge::Challenge> {
    let values = response.headers.get_all("www-authenticate").iter();
    challenge::best(values.filter_map(|value| value.to_str().ok()))
}
