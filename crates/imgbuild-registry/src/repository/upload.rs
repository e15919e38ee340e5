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
mod verdict;

use effort::{Effort, Way};
use verdict::{Verdict, verdict};

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
        let known = self.known_way();
        let mut effort = Effort::new(known, self.client.chunk_bytes(), self.client.attempts());
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
                        self.remember(known, &effort);
                        return Ok(());
                    }
                    Outcome::Continue => {}
                    Outcome::Restart if sessions < MAX_SESSIONS => break,
                    Outcome::Restart => return Err(self.lost(blob, &open)),
                }
            }
        }
    }

    /// The way that an earlier blob went which could not go whole.
    fn known_way(&self) -> Option<Way> {
        let size = self.client.chunks_that_work()?;
        Some(match size {
            u64::MAX => Way::Stream,
            size => Way::Chunks(size),
        })
    }

    /// Spares the next blobs what has failed with this one.
    fn remember(&self, known: Option<Way>, effort: &Effort) {
        match effort.lesson() {
            Some(Way::Chunks(size)) => self.client.remember_chunks(size),
            Some(Way::Stream) => self.client.remember_chunks(u64::MAX),
            // It was no lesson.
            None if known.is_some() && effort.way == Way::Whole => self.client.remember_chunks(0),
            Some(Way::Whole) | None => {}
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
        let tried = match effort.way {
            Way::Whole if session.offset == 0 => self.finish(blob, session, Some(&effort.sent)),
            _ if session.offset == blob.size => self.finish(blob, session, None),
            // A registry that has a part takes the rest by a chunk only.
            _ => self.chunk(blob, session, effort),
        };
        let error = match tried {
            Ok(outcome) => {
                effort.note(session.offset);
                return Ok(outcome);
            }
            Err(error) => error,
        };
        let outcome = self.recover(blob, session, effort, error)?;
        effort.note(session.offset);
        let is_part = 0 < session.offset && session.offset < blob.size;
        Ok(match outcome {
            Outcome::Continue if is_part && !effort.can_go_on() => Outcome::Restart,
            outcome => outcome,
        })
    }

    /// Finds out how to go on after a failure.
    fn recover(
        &self,
        blob: Outgoing<'_>,
        session: &mut Session,
        effort: &mut Effort,
        error: Error,
    ) -> Result<Outcome> {
        if let Error::Content { source, .. } = &error
            && blob.content.try_again(effort.damages + 1, source)
        {
            effort.damages += 1;
            return Ok(Outcome::Restart);
        }
        let is_whole = effort.way == Way::Whole && session.offset == 0;
        let monitor = self.client.monitor();
        let verdict = match verdict(&error) {
            // It has known the upload, which has a part.
            Verdict::WrongWay if error.is_not_found() && session.offset > 0 => Verdict::Lost,
            verdict => verdict,
        };
        match verdict {
            Verdict::Denied => Err(error),
            Verdict::Lost => {
                let is_complete = session.offset == blob.size;
                effort.attempts.wait_anyway(monitor, error)?;
                // What was put together is something else.
                if !is_whole && is_complete && effort.attempts.failures() > 1 {
                    effort.leave_chunks();
                }
                Ok(Outcome::Restart)
            }
            Verdict::WrongWay | Verdict::TooMuch | Verdict::Range if is_whole => {
                let status = error.answer().map_or(0, Answer::status);
                let is_left = effort.leave_whole(status, blob.size, session.min_chunk);
                if !is_left {
                    if !effort.can_be_whole() {
                        return Err(error);
                    }
                    effort.attempts.wait_anyway(monitor, error)?;
                }
                Ok(Outcome::Restart)
            }
            Verdict::WrongWay => self.leave_chunks(effort, error),
            Verdict::TooMuch | Verdict::Range => self.send_less(blob, session, effort, error),
            Verdict::Stuck => self.get_unstuck(blob, session, effort, error),
            Verdict::Failed | Verdict::GivenUp | Verdict::Cut | Verdict::Other => {
                effort.attempts.wait(monitor, error)?;
                self.go_on(blob, session, effort, verdict)
            }
        }
    }

    /// Goes back to all in one request, since chunks do not get it there.
    fn leave_chunks(&self, effort: &mut Effort, error: Error) -> Result<Outcome> {
        if !effort.leave_chunks() {
            return Err(error);
        }
        effort.attempts.wait_anyway(self.client.monitor(), error)?;
        Ok(Outcome::Restart)
    }

    /// Goes on after a chunk that was too much, or that began where the
    /// registry is not.
    fn send_less(
        &self,
        blob: Outgoing<'_>,
        session: &mut Session,
        effort: &mut Effort,
        error: Error,
    ) -> Result<Outcome> {
        let before = session.offset;
        let outcome = self.find_offset(blob, session)?;
        let is_range = verdict(&error) == Verdict::Range;
        match outcome {
            Outcome::Done => return Ok(outcome),
            Outcome::Continue if is_range && session.offset != before => {
                effort.attempts.wait_anyway(self.client.monitor(), error)?;
                return Ok(outcome);
            }
            Outcome::Continue | Outcome::Restart => {}
        }
        let count = effort.most().min(blob.size - before);
        match effort.refuse_chunk(count, session.min_chunk) {
            // One that has a byte says the same as one that has nothing.
            true if is_range && before == 0 => Ok(Outcome::Restart),
            true => Ok(outcome),
            false => self.leave_chunks(effort, error),
        }
    }

    /// Goes on after a chunk that was taken, and not kept.
    fn get_unstuck(
        &self,
        blob: Outgoing<'_>,
        session: &mut Session,
        effort: &mut Effort,
        error: Error,
    ) -> Result<Outcome> {
        let before = session.offset;
        match self.find_offset(blob, session)? {
            Outcome::Done => Ok(Outcome::Done),
            Outcome::Continue if session.offset != before => {
                effort.attempts.wait_anyway(self.client.monitor(), error)?;
                Ok(Outcome::Continue)
            }
            Outcome::Continue | Outcome::Restart if effort.can_be_whole() => {
                self.leave_chunks(effort, error)
            }
            Outcome::Continue | Outcome::Restart => {
                effort.attempts.wait_anyway(self.client.monitor(), error)?;
                Ok(Outcome::Restart)
            }
        }
    }

    /// Goes on after a failure that may pass, in another way if it does not.
    fn go_on(
        &self,
        blob: Outgoing<'_>,
        session: &mut Session,
        effort: &mut Effort,
        verdict: Verdict,
    ) -> Result<Outcome> {
        let before = session.offset;
        let outcome = self.find_offset(blob, session)?;
        let (is_lost, is_done) = match outcome {
            Outcome::Done => (false, true),
            Outcome::Continue => (false, session.offset > before),
            Outcome::Restart => (true, false),
        };
        if is_done || before == blob.size {
            return Ok(outcome);
        }
        let has_sent = effort.sent.get() > 0;
        match verdict {
            Verdict::Cut if is_lost => effort.send_less(session.min_chunk),
            Verdict::Failed if effort.note_error() => {}
            // Some cut the connection where others say what is too much.
            Verdict::Cut | Verdict::GivenUp | Verdict::Failed
                if has_sent && effort.attempts.failures() > 1 =>
            {
                effort.halve(blob.size - before, session.min_chunk);
            }
            _ => {}
        }
        Ok(outcome)
    }

    /// Sends the next chunk.
    fn chunk(&self, blob: Outgoing<'_>, session: &mut Session, effort: &Effort) -> Result<Outcome> {
        let step = Step::Upload(blob.digest);
        let count = effort.most().min(blob.size - session.offset);
        let end = session.offset + count;
        let tell = |bytes| self.tell(blob.digest, bytes, &effort.sent);
        let mut call = self.call(
            step.clone(),
            Method::PATCH,
            session.location.clone(),
            &[200, 201, 202, 204],
        );
        call.headers = vec![("content-type", "application/octet-stream".to_owned())];
        if effort.way != Way::Stream || count < blob.size {
            let range = format!("{}-{}", session.offset, end.saturating_sub(1));
            call.headers.push(("content-range", range));
        }
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
        // should name the last: nobody has a byte that was not sent. Of a single
        // byte nothing can be said.
        let is_end = |found: u64| found == end + 1 || (found, end) == (0, 1);
        match found.filter(|found| !is_end(*found)).unwrap_or(end) {
            found if found > end || found <= session.offset => {
                let problem = Problem::Offset { sent: end, found };
                Err(self.problem(&step, problem))
            }
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
