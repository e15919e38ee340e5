//! The next step of an upload after a failure: one table of
//! `failure × strategy → next`.
//!
//! No strategy is right for every registry, so an upload switches between
//! them, and only one that the registry clearly refused is not tried again.

use super::{Upload, UploadProgress};
use crate::client::UploadStrategy;
use crate::error::{Error, ProtocolError, Result};
use crate::monitor::check;

/// The number of times that the chunk size is halved at most.
const MAX_HALVINGS: u32 = 5;

/// The number of server errors after which another strategy is tried.
const MAX_SERVER_ERRORS: u32 = 2;

/// The class of a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UploadFailure {
    /// No other way of sending the blob changes this failure.
    Final,
    /// The registry lost the session, or the bytes were damaged.
    Lost,
    /// The registry does not support this kind of request.
    Unsupported,
    /// The same, by a status that may have another reason.
    MaybeUnsupported,
    /// The request was too large.
    TooLarge,
    /// The chunk starts at another offset than the registry's, or was too large.
    Range,
    /// The chunk was accepted, but the registry has no more bytes than before.
    Stuck,
    /// The registry failed.
    ServerError,
    /// A proxy in front of the registry gave up.
    Gateway,
    /// The connection broke.
    Cut,
    /// Another failure that may pass.
    Transient,
}

/// Classifies a failure by its error code and status: some registries use one
/// code for all failures of an upload.
fn classify(error: &Error) -> UploadFailure {
    use UploadFailure::*;
    let otherwise = if error.is_transient() {
        Transient
    } else {
        Final
    };
    let response = match error {
        Error::Refused { response, .. } => response,
        Error::Network { .. } if error.is_transient() => return Cut,
        Error::Protocol { problem, .. } => {
            return match **problem {
                ProtocolError::Offset { sent, found } if found < sent => Stuck,
                _ => otherwise,
            };
        }
        _ => return otherwise,
    };
    let has = |codes: &[&str]| codes.iter().any(|code| response.has_code(code));
    if has(&["DENIED", "UNAUTHORIZED", "NAME_UNKNOWN", "NAME_INVALID"]) {
        return Final;
    }
    match response.status {
        413 => TooLarge,
        416 => Range,
        404 if has(&["BLOB_UPLOAD_INVALID"]) => Lost,
        400..=499 if has(&["DIGEST_INVALID", "BLOB_UPLOAD_UNKNOWN"]) => Lost,
        405 | 411 | 415 | 501 => Unsupported,
        400 | 404 => MaybeUnsupported,
        _ if response.retry_after.is_some() => otherwise,
        500 => ServerError,
        502..=504 | 520..=524 => Gateway,
        _ => otherwise,
    }
}

impl Upload<'_> {
    /// Takes the next step after a failed request.
    pub(super) fn recover(&mut self, error: Error) -> Result<UploadProgress> {
        check(self.repository.client.monitor())?;
        if let Error::Content { source, .. } = &error
            && self.blob.content().try_again(self.damaged + 1, source)
        {
            self.damaged += 1;
            return Ok(UploadProgress::Restart);
        }

        use UploadFailure::*;
        let mut failure = classify(&error);
        if failure == MaybeUnsupported && error.is_not_found() && self.session.offset > 0 {
            // The registry knew the session before.
            failure = Lost;
        }
        match failure {
            // Not allowed, or no such repository.
            Final => Err(error),

            // Sessions expire, and `DIGEST_INVALID` means bytes that were damaged
            // on the way, or, the second time, chunks that were assembled wrongly.
            Lost => self.restart(error),

            // ECR accepts every chunk, but keeps only the first.
            Stuck => self.leave_chunks(error),

            // Mostly temporary; see `resume` for what to do if it is not.
            ServerError | Gateway | Cut | Transient => self.resume(error, failure),

            // GHCR takes no chunk above 4 MiB, and answers 416 both to a larger one
            // and to a wrong offset.
            TooLarge | Range if !self.is_whole() => self.send_less(error),
            // Some registries take a blob in one request only.
            _ if !self.is_whole() => self.use_whole(error),

            // Chunks failed as well. Only an unclear answer may be temporary.
            Unsupported | TooLarge if self.strategy == UploadStrategy::WholeOnly => Err(error),
            _ if self.strategy == UploadStrategy::WholeOnly => self.restart(error),

            // Some registries know only what Docker's client sends: a `PATCH`, then
            // an empty `PUT`. Proxies limit the size of a request: nginx and
            // Cloudflare answer 413, some registries 416.
            _ => {
                self.use_chunks(failure);
                Ok(UploadProgress::Restart)
            }
        }
    }

    /// Waits before the next attempt; fails after too many.
    pub(super) fn wait(&mut self, error: Error) -> Result<()> {
        self.attempts
            .wait_anyway(self.repository.client.monitor(), error)
    }

    /// Sends everything again, in one request if all chunks arrived, twice, and
    /// were refused.
    fn restart(&mut self, error: Error) -> Result<UploadProgress> {
        let is_at_end = self.session.offset == self.blob.size;
        self.wait(error)?;
        if is_at_end && self.attempts.failures > 1 && !self.refused_whole {
            self.strategy = UploadStrategy::WholeOnly;
        }
        Ok(UploadProgress::Restart)
    }

    /// Uses chunks instead of one request.
    fn use_chunks(&mut self, failure: UploadFailure) {
        use UploadFailure::{Range, TooLarge, Unsupported};
        self.refused_whole |= matches!(failure, Unsupported | TooLarge);
        let is_for_size = matches!(failure, TooLarge | Range);
        self.needs_chunks |= !is_for_size;
        if !is_for_size || !self.halve() {
            let bytes = self.repository.client.options.chunk_bytes;
            self.strategy = UploadStrategy::Chunks(bytes.max(self.min_bytes()));
        }
    }

    /// Uses one request instead of chunks.
    fn use_whole(&mut self, error: Error) -> Result<UploadProgress> {
        if self.refused_whole {
            return Err(error);
        }
        self.strategy = UploadStrategy::WholeOnly;
        self.wait(error)?;
        Ok(UploadProgress::Restart)
    }

    /// Goes on at the offset of the registry, or with smaller chunks if that is
    /// where the last one began.
    fn send_less(&mut self, error: Error) -> Result<UploadProgress> {
        match self.find_offset()? {
            UploadProgress::Done => Ok(UploadProgress::Done),
            UploadProgress::Moved => self.wait(error).map(|()| UploadProgress::Moved),
            _ if !self.halve() => self.use_whole(error),
            // The session may also have one byte.
            _ if self.session.offset == 0 => Ok(UploadProgress::Restart),
            progress => Ok(progress),
        }
    }

    /// Uses one request, unless the registry has more bytes by now.
    fn leave_chunks(&mut self, error: Error) -> Result<UploadProgress> {
        let progress = self.find_offset()?;
        if progress == UploadProgress::Done {
            return Ok(progress);
        }
        self.wait(error)?;
        if progress == UploadProgress::Moved {
            return Ok(progress);
        }
        if !self.refused_whole {
            self.strategy = UploadStrategy::WholeOnly;
        }
        Ok(UploadProgress::Restart)
    }

    /// Goes on after a failure that may be temporary, with another strategy if
    /// it is not.
    fn resume(&mut self, error: Error, failure: UploadFailure) -> Result<UploadProgress> {
        use UploadFailure::{Cut, ServerError, Transient};
        use UploadStrategy::{Stream, Whole};
        self.wait(error)?;
        let is_at_end = self.session.offset == self.blob.size;
        let progress = self.find_offset()?;
        if is_at_end || matches!(progress, UploadProgress::Done | UploadProgress::Moved) {
            return Ok(progress);
        }

        let may_be_size = self.sent.get() > 0 && self.attempts.failures > 1;
        match (failure, self.strategy) {
            // Nothing is wrong with a request that is answered 429.
            (Transient, _) => {}
            // Some registries answer 500 to a `PUT` with a body. One `PATCH`
            // without a range, as Docker sends it, works everywhere.
            (ServerError, Whole | Stream) => {
                self.server_errors += 1;
                if self.server_errors == MAX_SERVER_ERRORS {
                    self.server_errors = 0;
                    let is_whole = self.strategy == Whole;
                    self.strategy = if is_whole { Stream } else { Whole };
                }
            }
            // Debian's `docker-registry` discards the session with the connection,
            // so that even a retry that gets a little further achieves nothing.
            // Half of what was sent is less than what breaks every request of a
            // size, or of a duration.
            (Cut, _) if progress == UploadProgress::Restart => {
                let bytes = self.sent.get() / 2;
                if bytes >= self.min_bytes() && self.strategy != UploadStrategy::WholeOnly {
                    self.set_chunk_bytes(bytes);
                    self.is_unreliable = true;
                }
            }
            // Proxies limit the time of a request (Cloudflare: 520 to 524), or
            // cut the connection where others answer 413.
            _ if may_be_size => {
                self.halve();
            }
            _ => {}
        }
        Ok(progress)
    }

    /// Halves what is sent at a time; returns false if that is too little.
    fn halve(&mut self) -> bool {
        let rest = self.blob.size - self.session.offset;
        let bytes = match self.strategy {
            UploadStrategy::WholeOnly => return false,
            UploadStrategy::Chunks(bytes) => bytes.min(rest),
            UploadStrategy::Whole | UploadStrategy::Stream => rest,
        };
        let can_halve = bytes > self.min_bytes();
        if can_halve {
            self.set_chunk_bytes(bytes / 2);
        }
        can_halve
    }

    /// Uses chunks of at most this many bytes, rounded down to a power of two.
    fn set_chunk_bytes(&mut self, bytes: u64) {
        let max = match self.strategy {
            UploadStrategy::Chunks(bytes) => bytes,
            _ => self.repository.client.options.chunk_bytes,
        };
        let rounded = 1 << bytes.max(1).ilog2();
        self.strategy = UploadStrategy::Chunks(max.min(rounded).max(self.min_bytes()));
    }

    /// The size of the smallest chunk.
    fn min_bytes(&self) -> u64 {
        let smallest = self.repository.client.options.chunk_bytes >> MAX_HALVINGS;
        smallest.max(self.session.min_chunk).max(1)
    }

    /// Starts the next blobs with what worked for this one. A broken connection
    /// or a temporary failure concerns this blob only.
    pub(super) fn remember_strategy(&self) {
        let (is_lasting, strategy) = match self.strategy {
            UploadStrategy::Stream => (true, self.strategy),
            UploadStrategy::Chunks(_) => (self.needs_chunks && !self.is_unreliable, self.strategy),
            // It was not the registry that needs chunks.
            _ => (self.needs_chunks, UploadStrategy::Whole),
        };
        if is_lasting {
            let next = &self.repository.client.upload_strategy;
            *next.lock().expect("no holder panics") = strategy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorResponse;
    use crate::error::{Endpoint, Step};
    use crate::secret::Secrets;

    fn refused(status: u16, code: &str) -> Error {
        let body = format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#);
        let response = ErrorResponse::read(status, None, body.as_bytes(), &Secrets::default());
        Error::Refused {
            endpoint: Endpoint {
                registry: "r".into(),
                repository: None,
            },
            step: Step::Ping,
            response: Box::new(response),
        }
    }

    #[test]
    fn the_status_counts_where_a_code_is_used_for_everything() {
        for (status, code, expected) in [
            (403, "DENIED", UploadFailure::Final),
            (404, "NAME_UNKNOWN", UploadFailure::Final),
            (404, "BLOB_UPLOAD_INVALID", UploadFailure::Lost),
            (400, "BLOB_UPLOAD_INVALID", UploadFailure::MaybeUnsupported),
            (416, "BLOB_UPLOAD_INVALID", UploadFailure::Range),
            (400, "DIGEST_INVALID", UploadFailure::Lost),
            (405, "UNSUPPORTED", UploadFailure::Unsupported),
            (413, "", UploadFailure::TooLarge),
            (429, "TOOMANYREQUESTS", UploadFailure::Transient),
            (500, "UNKNOWN", UploadFailure::ServerError),
            (524, "", UploadFailure::Gateway),
            (507, "", UploadFailure::Final),
        ] {
            assert_eq!(
                classify(&refused(status, code)),
                expected,
                "{status} {code}"
            );
        }
    }
}
