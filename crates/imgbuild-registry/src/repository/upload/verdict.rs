//! What a failure says of the way in which a blob was sent.

use crate::error::{Error, Problem};

/// What a failure says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody may send this blob.
    Denied,
    /// The bytes or the upload were lost: the same again from the start.
    Lost,
    /// This is not how the registry takes blobs.
    WrongWay,
    /// It was too much at once.
    TooMuch,
    /// The registry has another number of bytes than we think, or it was too
    /// much: GHCR says both with the same status.
    Range,
    /// It was taken, and the registry has no more than before.
    Stuck,
    /// The registry has failed, or does not know what was sent.
    Failed,
    /// What stands before the registry has given it up.
    GivenUp,
    /// The connection has ended.
    Cut,
    /// Nothing.
    Other,
}

/// Finds out what a failure says: by its status, and then by its code, for
/// some use one code for all that may be wrong with an upload.
pub(super) fn verdict(error: &Error) -> Verdict {
    let answer = match error {
        Error::Refused { answer, .. } => answer,
        Error::Network { .. } => return Verdict::Cut,
        Error::Protocol { problem, .. } => return of_problem(problem),
        _ => return Verdict::Other,
    };
    let has = |codes: &[&str]| codes.iter().any(|code| answer.has_code(code));
    if has(&["DENIED", "UNAUTHORIZED", "NAME_UNKNOWN", "NAME_INVALID"]) {
        return Verdict::Denied;
    }
    match answer.status() {
        413 => Verdict::TooMuch,
        416 => Verdict::Range,
        404 if has(&["BLOB_UPLOAD_INVALID"]) => Verdict::Lost,
        400..=499 if has(&["DIGEST_INVALID", "BLOB_UPLOAD_UNKNOWN"]) => Verdict::Lost,
        400 | 404 | 405 | 411 | 415 | 501 => Verdict::WrongWay,
        // Who says when to come back has not failed.
        _ if answer.retry_after().is_some() => Verdict::Other,
        500 => Verdict::Failed,
        502..=504 | 520..=524 => Verdict::GivenUp,
        _ => Verdict::Other,
    }
}

fn of_problem(problem: &Problem) -> Verdict {
    match problem {
        Problem::Offset { sent, found } if found < sent => Verdict::Stuck,
        _ => Verdict::Other,
    }
}
