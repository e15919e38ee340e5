//! Sending blobs: mounted if another repository has them, else in one request,
//! in chunks where the registry or the connection asks for it, and on from
//! where a broken connection ended.

use std::cell::Cell;

use imgbuild_oci::digest::Digest;
use imgbuild_oci::parcel::BlobContent;
use ureq::http::{Method, Uri};

use super::Repository;
use crate::answer::{Answer, bounded};
use crate::client::CallBody;
use crate::error::{Error, Problem, Result, Step};
use crate::monitor::{Event, check};
use crate::transport::Response;
use crate::url;

mod effort;

use effort::{Effort, Way, smaller};

/// The most requests of one upload: a registry may take less than it is sent,
/// but not forever.
const MAX_REQUESTS: u32 = 100_000;

/// How often an upload starts anew, whatever the reasons.
const MAX_SESSIONS: u32 = 20;

/// A blob to be sent.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) content: &'a dyn BlobContent,
}

/// How a blob was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Mounted,
    Uploaded,
}

/// An upload that the registry knows.
struct Session {
    location: Uri,
    /// How many bytes it has.
    offset: u64,
    /// The least that a chunk may have (`OCI-Chunk-Min-Length`).
    min_chunk: u64,
}

/// What became of one try.
enum Outcome {
    Done,
    /// The session goes on from its offset.
    Continue,
    /// The session is of no use any more.
    Restart,
}

impl Repository {
    /// Gets a blob into the repository that is not there, mounted from
    /// `mounts` if one of these repositories has it.
    pub(crate) fn upload(
        &self,
        blob: Outgoing<'_>,
        mounts: &[&str],
    ) -> Result<(Taken, Option<String>)> {
        for from in mounts {
            match self.mount(blob, from) {
                Ok(None) => return Ok((Taken::Mounted, Some((*from).to_owned()))),
                // Refused: the session that was opened instead is taken.
                Ok(Some(session)) if mounts.last() == Some(from) => {
                    return self
                        .send(blob, Some(session))
                        .map(|()| (Taken::Uploaded, None));
                }
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                // A mount spares sending. Why there is none does not matter:
                // what is wrong with more than mounts shows in the upload.
                Ok(Some(_)) | Err(_) => {}
            }
        }
        self.send(blob, None).map(|()| (Taken::Uploaded, None))
    }

    /// As [`Repository::start`], once more where the connection has failed: a
    /// kept one may have ended in between.
    fn mount(&self, blob: Outgoing<'_>, from: &str) -> Result<Option<Session>> {
        match self.start(blob, Some(from)) {
            Err(Error::Network { .. }) => self.start(blob, Some(from)),
            started => started,
        }
    }

    /// Starts an upload; `None` if the blob was mounted instead.
    fn start(&self, blob: Outgoing<'_>, mount: Option<&str>) -> Result<Option<Session>> {
        let step = Step::StartUpload(blob.digest);
        let mut rest = "blobs/uploads/".to_owned();
        if let Some(from) = mount {
            let (digest, from) = (blob.digest.to_string(), url::encode(from));
            rest.push_str(&format!("?mount={}&from={from}", url::encode(&digest)));
        }
        let url = self.client.url(&self.name, &rest);
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
        let location = response.header("location");
        let location = self
            .client
            .follow(&call, &response.url, location, Problem::NoLocation)?;
        Ok(Some(Session {
            location,
            offset: 0,
            min_chunk: response.number("oci-chunk-min-length").unwrap_or_default(),
        }))
    }

    fn send(&self, blob: Outgoing<'_>, session: Option<Session>) -> Result<()> {
        let known = self.client.chunks_that_work();
        let way = known.map_or(Way::Whole, Way::Chunks);
        let mut effort = Effort::new(way, self.client.attempts());
        let mut session = session;
        let mut sessions = 0;
        loop {
            let mut open = match session.take() {
                Some(session) => session,
                None => self
                    .start(blob, None)?
                    .ok_or_else(|| self.no_location(blob))?,
            };
            sessions += 1;
            loop {
                check(self.client.monitor())?;
                match self.advance(blob, &mut open, &mut effort)? {
                    Outcome::Done => {
                        self.remember(&effort);
                        return Ok(());
                    }
                    Outcome::Continue => {}
                    Outcome::Restart if sessions < MAX_SESSIONS => break,
                    Outcome::Restart => return Err(self.lost(blob, &open)),
                }
            }
        }
    }

    /// Spares the next blobs what has failed with this one.
    fn remember(&self, effort: &Effort) {
        if let (Way::Chunks(size), true) = (effort.way, effort.is_never_whole) {
            self.client.remember_chunks(size);
        }
    }

    fn no_location(&self, blob: Outgoing<'_>) -> Error {
        self.problem(&Step::StartUpload(blob.digest), Problem::NoLocation)
    }

    fn lost(&self, blob: Outgoing<'_>, session: &Session) -> Error {
        let problem = Problem::Offset {
            sent: blob.size,
            found: session.offset,
        };
        self.problem(&Step::Upload(blob.digest), problem)
    }

    /// Makes one request of an upload, and finds out how to go on if it fails.
    fn advance(
        &self,
        blob: Outgoing<'_>,
        session: &mut Session,
        effort: &mut Effort,
    ) -> Result<Outcome> {
        effort.requests += 1;
        effort.sent.set(0);
        if effort.requests > MAX_REQUESTS {
            return Err(self.lost(blob, session));
        }
        let is_complete = session.offset == blob.size;
        let tried = match effort.way {
            Way::Chunks(_) if is_complete => self.finish(blob, session, None),
            Way::Whole if is_complete && blob.size > 0 => self.finish(blob, session, None),
            // A registry that has a part takes the rest by a chunk only.
            Way::Whole if session.offset == 0 => self.finish(blob, session, Some(&effort.sent)),
            Way::Whole => self.chunk(blob, session, u64::MAX, effort),
            Way::Chunks(size) => self.chunk(blob, session, size, effort),
        };
        let error = match tried {
            Ok(outcome) => {
                effort.note(session.offset);
                return Ok(outcome);
            }
            Err(error) => error,
        };
        self.recover(blob, session, effort, error)
    }

    /// Finds out how to go on after a failure.
    fn recover(
        &self,
        blob: Outgoing<'_>,
        session: &mut Session,
        effort: &mut Effort,
        error: Error,
    ) -> Result<Outcome> {
        if has_denied(&error) {
            return Err(error);
        }
        if let Error::Content { source, .. } = &error
            && blob.content.try_again(effort.damages + 1, source)
        {
            effort.damages += 1;
            return Ok(Outcome::Restart);
        }
        let Effort { way, attempts, .. } = effort;
        let is_whole = *way == Way::Whole && session.offset == 0;
        let is_cut = matches!(error, Error::Network { .. });
        let before = session.offset;
        let monitor = self.client.monitor();
        if is_damage(&error) {
            attempts.wait_anyway(monitor, error)?;
            return Ok(Outcome::Restart);
        }
        match error.answer().map(Answer::status) {
            // Too much at once, or not in this way.
            Some(status @ (400 | 404 | 405 | 411 | 413 | 415 | 501)) if is_whole => {
                effort.is_never_whole = status != 413;
                *way = Way::Chunks(self.client.chunk_bytes().max(session.min_chunk));
                return Ok(Outcome::Restart);
            }
            // Some say this of what they do not know: all of it in a chunk, as
            // Docker sends it, is known everywhere.
            Some(500) if is_whole => {
                effort.is_never_whole = true;
                *way = Way::Chunks(u64::MAX);
                attempts.wait(monitor, error)?;
                return self.find_offset(blob, session);
            }
            Some(413) => {
                *way = self.smaller(*way, session.min_chunk).ok_or(error)?;
                return self.find_offset(blob, session);
            }
            // The registry has another number of bytes than we think.
            Some(416) => {
                attempts.wait_anyway(monitor, error)?;
                return match self.find_offset(blob, session)? {
                    Outcome::Continue if session.offset == before => Ok(Outcome::Restart),
                    outcome => Ok(outcome),
                };
            }
            Some(404) => {
                attempts.wait_anyway(monitor, error)?;
                return Ok(Outcome::Restart);
            }
            _ => attempts.wait(monitor, error)?,
        }
        let outcome = self.find_offset(blob, session)?;
        match outcome {
            Outcome::Restart if is_cut => {
                let first = self.client.chunk_bytes();
                effort.send_less(first, session.min_chunk);
            }
            // Some cut the connection where others say what is too much.
            Outcome::Continue if session.offset <= before && effort.attempts.failures() > 1 => {
                let way = effort.way;
                effort.way = self.smaller(way, session.min_chunk).unwrap_or(way);
            }
            _ => {}
        }
        effort.note(session.offset);
        Ok(outcome)
    }

    /// Sends the next chunk.
    fn chunk(
        &self,
        blob: Outgoing<'_>,
        session: &mut Session,
        most: u64,
        effort: &Effort,
    ) -> Result<Outcome> {
        let step = Step::Upload(blob.digest);
        let count = most.min(blob.size - session.offset);
        let end = session.offset + count;
        let tell = |bytes| self.tell(blob.digest, bytes, &effort.sent);
        let mut call = self.call(
            step.clone(),
            Method::PATCH,
            session.location.clone(),
            &[200, 201, 202, 204],
        );
        let range = format!("{}-{}", session.offset, end.saturating_sub(1));
        call.headers = vec![
            ("content-type", "application/octet-stream".to_owned()),
            ("content-range", range),
        ];
        if effort.is_bad_line {
            // What is cut may be what one connection has carried in all.
            call.headers.push(("connection", "close".to_owned()));
        }
        call.body = CallBody::Content(blob.content, session.offset, count, &tell);
        call.retries = false;
        let response = self.client.call(&call)?;
        let found = offset_of(&response);
        if let Some(location) = response.header("location") {
            let location = Some(location);
            session.location =
                self.client
                    .follow(&call, &response.url, location, Problem::NoLocation)?;
        }
        // Without a range, it has what was sent. Some count the bytes where they
        // should name the last: nobody has a byte that was not sent.
        match found.filter(|found| *found != end + 1).unwrap_or(end) {
            found if found > end => {
                let problem = Problem::Offset { sent: end, found };
                Err(self.problem(&step, problem))
            }
            found if found <= session.offset && count > 0 => Ok(Outcome::Restart),
            found => {
                session.offset = found;
                Ok(Outcome::Continue)
            }
        }
    }

    /// Ends the upload; the whole blob goes with the request if its bytes are
    /// to be counted in `sent`.
    fn finish(
        &self,
        blob: Outgoing<'_>,
        session: &Session,
        sent: Option<&Cell<u64>>,
    ) -> Result<Outcome> {
        let step = match sent {
            Some(_) => Step::Upload(blob.digest),
            None => Step::FinishUpload(blob.digest),
        };
        let digest = blob.digest.to_string();
        let url = url::with_parameter(&session.location, "digest", &digest);
        let url = url.ok_or_else(|| self.no_location(blob))?;
        let nowhere = Cell::new(0);
        let tell = |bytes| self.tell(blob.digest, bytes, sent.unwrap_or(&nowhere));
        let mut call = self.call(step.clone(), Method::PUT, url, &[200, 201, 204]);
        call.retries = false;
        match sent {
            Some(_) => {
                call.headers = vec![("content-type", "application/octet-stream".to_owned())];
                call.body = CallBody::Content(blob.content, 0, blob.size, &tell);
            }
            None => call.headers = vec![("content-length", "0".to_owned())],
        }
        let response = self.client.call(&call)?;
        self.check_digest(&step, blob.digest, &response)?;
        Ok(Outcome::Done)
    }

    /// Asks how much of an upload has arrived.
    fn find_offset(&self, blob: Outgoing<'_>, session: &mut Session) -> Result<Outcome> {
        // A PUT may have arrived whole, and only its answer was lost.
        match self.has_blob_now(&blob.digest, blob.size) {
            Ok(true) => return Ok(Outcome::Done),
            Ok(false) => {}
            // Starting anew will tell whether it stays so.
            Err(error) if error.is_transient() => return Ok(Outcome::Restart),
            Err(error) => return Err(error),
        }
        let step = Step::Upload(blob.digest);
        let mut call = self.call(
            step,
            Method::GET,
            session.location.clone(),
            &[200, 202, 204],
        );
        call.retries = false;
        let response = match self.client.call(&call) {
            Ok(response) => response,
            Err(error @ (Error::Interrupted | Error::Content { .. })) => return Err(error),
            // What it does not say is started anew.
            Err(_) => return Ok(Outcome::Restart),
        };
        let found = offset_of(&response).unwrap_or_default();
        if found > blob.size {
            return Ok(Outcome::Restart);
        }
        if let Some(location) = response.header("location") {
            let location = Some(location);
            session.location =
                self.client
                    .follow(&call, &response.url, location, Problem::NoLocation)?;
        }
        session.offset = found;
        Ok(Outcome::Continue)
    }

    /// Compares what a registry says that it has taken; one that says nothing
    /// is asked.
    fn check_digest(&self, step: &Step, expected: Digest, response: &Response) -> Result<()> {
        let Some(found) = response.header("docker-content-digest") else {
            return Ok(());
        };
        let found = bounded(found);
        // Another algorithm is another name for the same bytes.
        match found == expected.to_string() || !found.starts_with("sha256:") {
            true => Ok(()),
            false => Err(self.problem(step, Problem::OtherDigest { expected, found })),
        }
    }

    fn smaller(&self, way: Way, min_chunk: u64) -> Option<Way> {
        smaller(way, self.client.chunk_bytes(), min_chunk)
    }

    fn tell(&self, digest: Digest, bytes: u64, sent: &Cell<u64>) {
        sent.set(sent.get() + bytes);
        self.client.monitor().report(Event::Sent { digest, bytes });
    }
}

/// Returns how many bytes a registry has: the end of `Range: 0-END`, which
/// counts the last byte.
fn offset_of(response: &Response) -> Option<u64> {
    let range = response.header("range")?.trim();
    let range = range.strip_prefix("bytes").unwrap_or(range);
    let (first, last) = range.trim_start_matches(['=', ' ']).split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    // An upload that has nothing says `0-0`, as one that has a byte does:
    // sending that byte again is refused, or harmless.
    (first.trim() == "0").then_some(match last {
        0 => 0,
        last => last.saturating_add(1),
    })
}

/// Whether the registry does not want the blob at all.
fn has_denied(error: &Error) -> bool {
    error.answer().is_some_and(|answer| {
        ["DENIED", "UNAUTHORIZED", "NAME_UNKNOWN", "NAME_INVALID"]
            .iter()
            .any(|code| answer.has_code(code))
    })
}

/// Whether the bytes were damaged on their way.
fn is_damage(error: &Error) -> bool {
    error.answer().is_some_and(|answer| {
        answer.has_code("DIGEST_INVALID")
            || answer.has_code("BLOB_UPLOAD_UNKNOWN")
            || answer.has_code("BLOB_UPLOAD_INVALID")
    })
}
