//! Uploading blobs: mounted if another repository has them, otherwise in one
//! request, in chunks where the registry or the connection requires it, and
//! resumed after a broken connection.

mod strategy;

use std::cell::Cell;

use imgbuild_oci::blob::BlobContent;
use imgbuild_oci::digest::Digest;
use ureq::http::{Method, Uri};

use super::Repository;
use crate::client::{Call, CallBody, UploadStrategy};
use crate::error::{Error, ProtocolError, Result, Step};
use crate::error_response::bounded;
use crate::monitor::{BlobOutcome, Event, check};
use crate::retry::Attempts;
use crate::transport::Response;
use crate::url;

/// The maximum number of requests of one upload: a registry may take less than
/// it is sent, but not forever.
const MAX_REQUESTS: u32 = 100_000;

/// The maximum number of upload sessions for one blob.
const MAX_SESSIONS: u32 = 20;

/// A blob to upload.
#[derive(Clone, Copy)]
pub(crate) struct OutgoingBlob<'a> {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) content: &'a dyn BlobContent,
}

/// An upload session of the registry.
struct UploadSession {
    location: Uri,
    /// The number of bytes that the registry has.
    offset: u64,
    /// The minimum size of a chunk (`OCI-Chunk-Min-Length`), 0 if unknown.
    min_chunk: u64,
}

/// The state of an upload after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UploadProgress {
    Done,
    /// The session has more bytes than before, or fewer.
    Moved,
    /// The session has as many bytes as before.
    Unchanged,
    /// The session is of no more use; a new one is needed.
    Restart,
}

/// The upload of one blob, over all its sessions.
struct Upload<'a> {
    repository: &'a Repository,
    blob: OutgoingBlob<'a>,
    session: UploadSession,
    strategy: UploadStrategy,
    attempts: Attempts,
    /// The number of bytes that the last request sent.
    sent: Cell<u64>,
    /// The largest offset of any session: sending bytes again is no progress.
    reached: u64,
    /// The number of failures because the content was damaged at its source.
    damaged: u32,
    /// The number of server errors with this strategy.
    server_errors: u32,
    /// Set if the registry clearly refused the blob in one request.
    refused_whole: bool,
    /// Set if the registry takes no blob in one request, whatever its size.
    needs_chunks: bool,
    /// Set if a connection broke and everything that it carried was lost.
    is_unreliable: bool,
}

impl Repository {
    /// Uploads a blob that the repository does not have, or mounts it from one
    /// of the repositories in `mounts`.
    pub(crate) fn upload<'m>(
        &self,
        blob: OutgoingBlob<'_>,
        mounts: &'m [String],
    ) -> Result<BlobOutcome<'m>> {
        let mut session = None;
        for from in mounts {
            session = match self.mount(blob, from) {
                Ok(None) => return Ok(BlobOutcome::Mounted { from }),
                // Instead of mounting, the registry opened a session.
                Ok(opened) => opened,
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                // A mount only saves an upload, so its failure does not matter:
                // a cause that concerns more than mounts fails the upload too.
                Err(_) => None,
            };
        }
        let session = match session {
            Some(session) => session,
            None => self.start_upload(blob)?,
        };

        let strategy = self.client.upload_strategy();
        let upload = Upload {
            repository: self,
            blob,
            session,
            strategy,
            attempts: self.client.attempts(),
            sent: Cell::new(0),
            reached: 0,
            damaged: 0,
            server_errors: 0,
            refused_whole: false,
            needs_chunks: strategy != UploadStrategy::Whole,
            is_unreliable: false,
        };
        upload.run()?;
        Ok(BlobOutcome::Uploaded)
    }

    /// Tries to mount a blob, a second time after a network error: a reused
    /// connection may have been closed in the meantime.
    fn mount(&self, blob: OutgoingBlob<'_>, from: &str) -> Result<Option<UploadSession>> {
        match self.post_upload(blob, Some(from)) {
            Err(Error::Network { .. }) => self.post_upload(blob, Some(from)),
            posted => posted,
        }
    }

    fn start_upload(&self, blob: OutgoingBlob<'_>) -> Result<UploadSession> {
        let session = self.post_upload(blob, None)?;
        session
            .ok_or_else(|| self.problem(&Step::StartUpload(blob.digest), ProtocolError::NoLocation))
    }

    /// Opens an upload session; returns `None` if the blob was mounted instead.
    fn post_upload(
        &self,
        blob: OutgoingBlob<'_>,
        mount: Option<&str>,
    ) -> Result<Option<UploadSession>> {
        let step = Step::StartUpload(blob.digest);
        let mut path = "blobs/uploads/".to_owned();
        if let Some(from) = mount {
            let (digest, from) = (blob.digest.to_string(), url::encode(from));
            path.push_str(&format!("?mount={}&from={from}", url::encode(&digest)));
        }
        let url = self.client.url(&self.name, &path);
        let mut call = self.call(step.clone(), Method::POST, url, &[201, 202]);
        call.headers = vec![("content-length", "0".to_owned())];
        if let Some(from) = mount {
            call.scope = call.scope.and_pull(from);
            call.retries = false;
        }

        let response = self.client.call(&call)?;
        if response.status == 201 && mount.is_some() {
            self.check_digest(&step, blob.digest, &response)?;
            return Ok(None);
        }
        Ok(Some(UploadSession {
            location: self
                .client
                .follow(&call, &response, ProtocolError::NoLocation)?,
            offset: 0,
            min_chunk: response.number("oci-chunk-min-length").unwrap_or_default(),
        }))
    }

    /// Checks that the registry reports the digest of what was sent, if it
    /// reports one.
    fn check_digest(&self, step: &Step, expected: Digest, response: &Response) -> Result<()> {
        let Some(found) = response.header("docker-content-digest") else {
            return Ok(());
        };
        let found = bounded(found);
        // Another algorithm is another name for the same bytes.
        if found == expected.to_string() || !found.starts_with("sha256:") {
            return Ok(());
        }
        Err(self.problem(step, ProtocolError::OtherDigest { expected, found }))
    }
}

impl Upload<'_> {
    fn run(mut self) -> Result<()> {
        let mut sessions = 1;
        for _ in 0..MAX_REQUESTS {
            check(self.repository.client.monitor())?;
            self.sent.set(0);
            // A part of a blob is only ever continued by a chunk.
            let requested = if self.is_whole() || self.session.offset == self.blob.size {
                self.put(self.is_whole())
            } else {
                self.patch()
            };
            let progress = match requested {
                Ok(progress) => progress,
                Err(error) => self.recover(error)?,
            };

            let offset = self.session.offset;
            if offset > self.reached {
                self.reached = offset;
                self.attempts.progress();
            }
            let is_part = 0 < offset && offset < self.blob.size;
            let has_no_chunks = self.strategy == UploadStrategy::WholeOnly;
            match progress {
                UploadProgress::Done => {
                    self.remember_strategy();
                    return Ok(());
                }
                UploadProgress::Moved | UploadProgress::Unchanged
                    if !(is_part && has_no_chunks) => {}
                _ if sessions == MAX_SESSIONS => break,
                _ => {
                    sessions += 1;
                    self.session = self.repository.start_upload(self.blob)?;
                }
            }
        }
        let problem = ProtocolError::Offset {
            sent: self.blob.size,
            found: self.session.offset,
        };
        Err(self.problem(problem))
    }

    /// Returns whether the next request has the whole blob.
    fn is_whole(&self) -> bool {
        let allows_whole = matches!(
            self.strategy,
            UploadStrategy::Whole | UploadStrategy::WholeOnly
        );
        allows_whole && self.session.offset == 0
    }

    fn problem(&self, problem: ProtocolError) -> Error {
        let step = Step::Upload(self.blob.digest);
        self.repository.problem(&step, problem)
    }

    /// Completes the upload, with the whole blob or after its last chunk.
    fn put(&self, is_whole: bool) -> Result<UploadProgress> {
        let (repository, digest) = (self.repository, self.blob.digest);
        let url = url::with_parameter(&self.session.location, "digest", &digest.to_string());
        let url = url.ok_or_else(|| self.problem(ProtocolError::NoLocation))?;
        let step = if is_whole {
            Step::Upload(digest)
        } else {
            Step::FinishUpload(digest)
        };
        let mut call = repository.call(step.clone(), Method::PUT, url, &[200, 201, 204]);
        call.retries = false;
        let on_sent = |bytes| self.count_sent(bytes);
        if is_whole {
            call.headers = vec![("content-type", "application/octet-stream".to_owned())];
            call.body = Some(CallBody {
                content: self.blob.content,
                offset: 0,
                size: self.blob.size,
                on_sent: &on_sent,
            });
        } else {
            call.headers = vec![("content-length", "0".to_owned())];
        }
        let response = repository.client.call(&call)?;
        repository.check_digest(&step, digest, &response)?;
        Ok(UploadProgress::Done)
    }

    /// Sends the next chunk.
    fn patch(&mut self) -> Result<UploadProgress> {
        let start = self.session.offset;
        let rest = self.blob.size - start;
        let count = match self.strategy {
            UploadStrategy::Chunks(bytes) => bytes.min(rest),
            _ => rest,
        };
        let end = start + count;
        let on_sent = |bytes| self.count_sent(bytes);
        let mut call = self.repository.call(
            Step::Upload(self.blob.digest),
            Method::PATCH,
            self.session.location.clone(),
            &[200, 201, 202, 204],
        );
        call.headers = vec![("content-type", "application/octet-stream".to_owned())];
        if self.strategy != UploadStrategy::Stream || count < self.blob.size {
            let range = format!("{start}-{}", end.saturating_sub(1));
            call.headers.push(("content-range", range));
        }
        if self.is_unreliable {
            // The limit may be on the bytes that one connection carries.
            call.headers.push(("connection", "close".to_owned()));
        }
        call.body = Some(CallBody {
            content: self.blob.content,
            offset: start,
            size: count,
            on_sent: &on_sent,
        });
        call.retries = false;
        let response = self.repository.client.call(&call)?;
        self.session.location = self.next_location(&call, &response)?;

        // Without a range, the registry has what was sent. Some registries
        // report the number of bytes instead of the last position: a position
        // after the end is the end. For a single byte `0-0` is ambiguous.
        let is_end = |found: u64| found == end + 1 || (found, end) == (0, 1);
        let found = offset_of(&response).filter(|found| !is_end(*found));
        let found = found.unwrap_or(end);
        if found > end || found <= start {
            return Err(self.problem(ProtocolError::Offset { sent: end, found }));
        }
        self.session.offset = found;
        Ok(UploadProgress::Moved)
    }

    /// Finds out how much of the blob the registry has.
    fn find_offset(&mut self) -> Result<UploadProgress> {
        let repository = self.repository;
        // A PUT may have succeeded, and only its response was lost.
        match repository.find_blob(&self.blob.digest, self.blob.size, false) {
            Ok(true) => return Ok(UploadProgress::Done),
            Ok(false) => {}
            // A new session shows whether the failure persists.
            Err(error) if error.is_transient() => return Ok(UploadProgress::Restart),
            Err(error) => return Err(error),
        }

        let mut call = repository.call(
            Step::Upload(self.blob.digest),
            Method::GET,
            self.session.location.clone(),
            &[200, 202, 204],
        );
        call.retries = false;
        let response = match repository.client.call(&call) {
            Ok(response) => response,
            Err(error @ (Error::Interrupted | Error::Content { .. })) => return Err(error),
            Err(_) => return Ok(UploadProgress::Restart),
        };
        let found = offset_of(&response).unwrap_or_default();
        if found > self.blob.size {
            return Ok(UploadProgress::Restart);
        }
        self.session.location = self.next_location(&call, &response)?;
        let is_unchanged = found == self.session.offset;
        self.session.offset = found;
        Ok(if is_unchanged {
            UploadProgress::Unchanged
        } else {
            UploadProgress::Moved
        })
    }

    /// Returns the URL of the next request of the session.
    fn next_location(&self, call: &Call<'_>, response: &Response) -> Result<Uri> {
        let client = &self.repository.client;
        if response.header("location").is_none() {
            return Ok(self.session.location.clone());
        }
        client.follow(call, response, ProtocolError::NoLocation)
    }

    fn count_sent(&self, bytes: u64) {
        self.sent.set(self.sent.get() + bytes);
        let digest = self.blob.digest;
        let monitor = self.repository.client.monitor();
        monitor.report(Event::Sent { digest, bytes });
    }
}

/// Returns the number of bytes that a registry has, from `Range: 0-LAST`.
fn offset_of(response: &Response) -> Option<u64> {
    let range = response.header("range")?.trim();
    let range = range.strip_prefix("bytes").unwrap_or(range);
    let (first, last) = range.trim_start_matches(['=', ' ']).split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    // An upload with no bytes and one with a single byte are both `0-0`.
    // Sending that byte again is refused, or harmless.
    (first.trim() == "0").then_some(match last {
        0 => 0,
        last => last.saturating_add(1),
    })
}
