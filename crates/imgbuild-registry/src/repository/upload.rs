//! Uploading blobs: mounted if another repository has them, otherwise in one
//! request, in chunks where the registry or the connection requires it, and
//! resumed after a broken connection.

mod strategy;

use std::cell::Cell;
use std::sync::atomic::Ordering;

use imgbuild_oci::digest::Digest;
use imgbuild_oci::image::Blob;
use ureq::http::{Method, Uri};

use super::Repository;
use crate::client::{Call, CallBody, UploadStrategy};
use crate::error::{Error, ProtocolError, Result, Step};
use crate::monitor::{BlobOutcome, Event, check};
use crate::retry::Attempts;
use crate::transport::Response;
use crate::url;

/// The maximum number of requests of one upload: a registry may take less than
/// it is sent, but not forever.
const MAX_REQUESTS: u32 = 100_000;

/// The maximum number of upload sessions for one blob.
const MAX_SESSIONS: u32 = 20;

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
    blob: &'a Blob,
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
    pub(crate) fn upload<'m>(&self, blob: &Blob, mounts: &'m [String]) -> Result<BlobOutcome<'m>> {
        let mut session = None;
        for from in mounts {
            let mut posted = self.post_upload(blob.digest, Some(from));
            if matches!(&posted, Err(error @ Error::Network { .. }) if !error.is_timeout()) {
                // A reused connection may have been closed in the meantime.
                posted = self.post_upload(blob.digest, Some(from));
            }
            session = match posted {
                Ok(None) => return Ok(BlobOutcome::Mounted { from }),
                // Instead of mounting, the registry opened a session.
                Ok(opened) => opened,
                Err(error @ Error::Interrupted) => return Err(error),
                // Without a mount, it would say nothing either.
                Err(error) if error.is_timeout() => return Err(error),
                // A mount only saves an upload, so its failure does not matter:
                // a cause that concerns more than mounts fails the upload too.
                Err(_) => None,
            };
        }
        let session = match session {
            Some(session) => session,
            None => self.start_upload(blob.digest)?,
        };

        let strategy = *self
            .client
            .upload_strategy
            .lock()
            .expect("no holder panics");
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

    /// Checks once that uploads are accepted, if nothing that was read showed it.
    ///
    /// # Errors
    ///
    /// If the registry refuses to start an upload.
    pub fn check_upload(&self) -> Result<()> {
        let is_unreadable = self.client.is_unreadable.load(Ordering::Relaxed);
        let mut writable = self.client.writable.lock().expect("no holder panics");
        let is_known = writable.contains(&self.name);
        if !is_known && (is_unreadable || self.client.doubt.is_some()) {
            self.start_upload(Digest::of(b""))?;
            writable.insert(self.name.clone());
        }
        Ok(())
    }

    fn start_upload(&self, digest: Digest) -> Result<UploadSession> {
        let step = Step::StartUpload(digest);
        let no_location = || self.problem(&step, no_location());
        self.post_upload(digest, None)?.ok_or_else(no_location)
    }

    /// Opens an upload session; returns `None` if the blob was mounted instead.
    fn post_upload(&self, digest: Digest, mount: Option<&str>) -> Result<Option<UploadSession>> {
        let step = Step::StartUpload(digest);
        let mut path = "blobs/uploads/".to_owned();
        if let Some(from) = mount {
            let (digest, from) = (url::encode(&digest.to_string()), url::encode(from));
            path.push_str(&format!("?mount={digest}&from={from}"));
        }
        let url = self.client.url(&self.name, &path);
        let mut call = self.call(step.clone(), Method::POST, url, &[201, 202]);
        call.headers = vec![("content-length", "0".to_owned())];
        if let Some(from) = mount {
            call.scopes.insert(format!("repository:{from}:pull"));
            call.retries = false;
        }

        let response = self.client.call(&call)?;
        if response.status == 201 && mount.is_some() {
            self.check_digest(&step, digest, &response)?;
            return Ok(None);
        }
        let problem = |problem| self.problem(&step, problem);
        let location = self.client.follow(&response, no_location(), problem)?;
        Ok(Some(UploadSession {
            location,
            offset: 0,
            min_chunk: response.number("oci-chunk-min-length").unwrap_or_default(),
        }))
    }

    /// Checks that the registry reports the digest of what was sent, if it
    /// reports one.
    fn check_digest(&self, step: &Step, expected: Digest, response: &Response) -> Result<()> {
        match response.bounded_header("docker-content-digest") {
            // Another algorithm is another name for the same bytes.
            Some(found) if found != expected.to_string() && found.starts_with("sha256:") => {
                Err(self.problem(step, ProtocolError::OtherDigest(expected, found)))
            }
            _ => Ok(()),
        }
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
                self.attempts.progress(offset - self.reached);
                self.reached = offset;
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
                    self.session = self.repository.start_upload(self.blob.digest)?;
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

    /// Returns a request of the session. A failure is handled by `recover`.
    fn call<'a>(&self, method: Method, accepts: &'a [u16]) -> Call<'a> {
        let (step, url) = (Step::Upload(self.blob.digest), &self.session.location);
        let mut call = self.repository.call(step, method, url.clone(), accepts);
        call.retries = false;
        call
    }

    /// Makes a call with a part of the blob, and counts the bytes that are sent.
    fn send(&self, mut call: Call<'_>, offset: u64, size: u64) -> Result<Response> {
        let client = &self.repository.client;
        let digest = self.blob.digest;
        let on_sent = |bytes| {
            self.sent.set(self.sent.get() + bytes);
            client.monitor().report(Event::Sent { digest, bytes });
        };
        let content_type = "application/octet-stream".to_owned();
        call.headers.push(("content-type", content_type));
        let body = CallBody {
            content: self.blob.content(),
            offset,
            size,
            on_sent: &on_sent,
        };
        client.call(&Call {
            body: Some(body),
            ..call
        })
    }

    /// Completes the upload, with the whole blob or after its last chunk.
    fn put(&self, is_whole: bool) -> Result<UploadProgress> {
        let (repository, digest) = (self.repository, self.blob.digest);
        let mut call = self.call(Method::PUT, &[200, 201, 204]);
        let url = url::set_parameter(&call.url, "digest", &digest.to_string());
        call.url = url.ok_or_else(|| self.problem(no_location()))?;
        if !is_whole {
            call.step = Step::FinishUpload(digest);
            call.headers = vec![("content-length", "0".to_owned())];
        }
        let step = call.step.clone();
        let response = if is_whole {
            self.send(call, 0, self.blob.size)?
        } else {
            repository.client.call(&call)?
        };
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
        let mut call = self.call(Method::PATCH, &[200, 201, 202, 204]);
        if self.strategy != UploadStrategy::Stream || count < self.blob.size {
            let range = format!("{start}-{}", end.saturating_sub(1));
            call.headers.push(("content-range", range));
        }
        if self.is_unreliable {
            // The limit may be on the bytes that one connection carries.
            call.headers.push(("connection", "close".to_owned()));
        }
        let response = self.send(call, start, count)?;
        self.update_location(&response)?;

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
        let find = || repository.find_blob(&self.blob.digest, self.blob.size, false);
        match repository.client.if_readable(find) {
            Ok(Some(true)) => return Ok(UploadProgress::Done),
            Ok(_) => {}
            // A new session shows whether the failure persists.
            Err(error) if error.is_transient() => return self.restart_after(error),
            Err(error) => return Err(error),
        }

        let call = self.call(Method::GET, &[200, 202, 204]);
        let response = match repository.client.call(&call) {
            Ok(response) => response,
            Err(error @ (Error::Interrupted | Error::Content { .. })) => return Err(error),
            Err(error) => return self.restart_after(error),
        };
        let found = offset_of(&response).unwrap_or_default();
        if found > self.blob.size {
            return Ok(UploadProgress::Restart);
        }
        self.update_location(&response)?;
        if found == self.session.offset {
            return Ok(UploadProgress::Unchanged);
        }
        self.session.offset = found;
        Ok(UploadProgress::Moved)
    }

    /// Begins the session anew after a failure; one without an answer is counted.
    fn restart_after(&mut self, error: Error) -> Result<UploadProgress> {
        if error.is_timeout() {
            self.wait(error)?;
        }
        Ok(UploadProgress::Restart)
    }

    /// Takes the URL of the next request of the session from a response.
    fn update_location(&mut self, response: &Response) -> Result<()> {
        if response.headers.contains_key("location") {
            let problem = |problem| self.problem(problem);
            let client = &self.repository.client;
            self.session.location = client.follow(response, no_location(), problem)?;
        }
        Ok(())
    }
}

fn no_location() -> ProtocolError {
    ProtocolError::Other("the registry returned no valid upload URL".into())
}

/// Returns the number of bytes that a registry has, from `Range: 0-LAST`.
fn offset_of(response: &Response) -> Option<u64> {
    let range = response.header("range")?.trim();
    let range = range.strip_prefix("bytes").unwrap_or(range);
    let (first, last) = range.trim_start_matches(['=', ' ']).split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    // An upload with no bytes and one with a single byte are both `0-0`.
    // Sending that byte again is refused, or harmless.
    let count = if last == 0 { 0 } else { last.saturating_add(1) };
    (first.trim() == "0").then_some(count)
}
