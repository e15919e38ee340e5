//! Reading blobs, and looking whether they are there.

use std::io::{self, Read, Write};

use imgbuild_oci::blob::{BlobContent, BlobOrigin};
use imgbuild_oci::digest::{Digest, DigestWriter};
use ureq::http::Method;

use super::Repository;
use crate::error::{Error, ProtocolError, Result, Step};
use crate::monitor::{Event, check};
use crate::retry::Attempts;
use crate::transport::Response;

/// The bytes that are received at a time.
const CHUNK_BYTES: usize = 128 << 10;

impl Repository {
    /// Returns whether a blob of this size is there.
    ///
    /// # Errors
    ///
    /// When the registry does not say.
    pub fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool> {
        self.find_blob(digest, size, true)
    }

    /// As [`Repository::has_blob`], asked only once.
    pub(super) fn has_blob_now(&self, digest: &Digest, size: u64) -> Result<bool> {
        self.find_blob(digest, size, false)
    }

    fn find_blob(&self, digest: &Digest, size: u64, retries: bool) -> Result<bool> {
        let step = Step::FindBlob(*digest);
        let url = self.blob_url(digest);
        let mut call = self.call(step, Method::HEAD, url, &[200, 404]);
        call.retries = retries;
        let response = match self.client.call(&call) {
            Ok(response) => response,
            // A server in between may know only some methods.
            Err(error) if has_no_head(&error) => {
                return self.find_blob_without_head(digest, size, retries);
            }
            Err(error) => return Err(error),
        };
        // One of another size is sent again, and the registry shall decide.
        let is_right = |found: u64| found == size || found == 0;
        Ok(response.status == 200 && response.number("content-length").is_none_or(is_right))
    }

    fn find_blob_without_head(&self, digest: &Digest, size: u64, retries: bool) -> Result<bool> {
        let step = Step::FindBlob(*digest);
        let url = self.blob_url(digest);
        let mut call = self.call(step, Method::GET, url, &[200, 206, 404]);
        call.retries = retries;
        call.headers = vec![("range", "bytes=0-0".to_owned())];
        let response = self.client.call(&call)?;
        let found = match response.status {
            404 => return Ok(false),
            206 => total_of_range(response.header("content-range")),
            _ => response.number("content-length"),
        };
        Ok(found.is_none_or(|found| found == size))
    }

    /// Reads the first bytes of a blob, unchecked, and its size; `None` if it
    /// is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn blob_prefix(&self, digest: &Digest, most: u64) -> Result<Option<(Vec<u8>, u64)>> {
        let step = Step::ReadBlob(*digest);
        let url = self.blob_url(digest);
        let mut call = self.call(step.clone(), Method::GET, url, &[200, 206, 404]);
        call.headers = vec![("range", format!("bytes=0-{}", most.saturating_sub(1)))];
        let response = self.client.call(&call)?;
        let size = match response.status {
            404 => return Ok(None),
            206 => total_of_range(response.header("content-range")),
            _ => response.number("content-length"),
        };
        let Some(size) = size else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = response
            .into_reader()
            .take(most.min(size))
            .read_to_end(&mut bytes);
        let reason = match read {
            Ok(_) => return Ok(Some((bytes, size))),
            Err(error) => Box::new(error.into()),
        };
        let endpoint = self.client.endpoint(Some(&self.name));
        Err(Error::Network {
            endpoint,
            step,
            reason,
        })
    }

    /// Reads a whole blob into `sink`, checked.
    ///
    /// # Errors
    ///
    /// When it cannot be read, has another size or digest, or `sink` fails.
    pub fn read_blob(&self, digest: &Digest, size: u64, sink: &mut dyn Write) -> Result<()> {
        let mut reader = self.blob_reader(*digest, size, 0);
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match reader.read_some(&mut buffer)? {
                0 => return Ok(()),
                count => sink
                    .write_all(&buffer[..count])
                    .map_err(|source| Error::Sink {
                        endpoint: self.client.endpoint(Some(&self.name)),
                        source,
                    })?,
            }
        }
    }

    /// Reads a whole blob into what `sink` makes, and into another one if it came
    /// damaged.
    ///
    /// # Errors
    ///
    /// As [`Repository::read_blob`], and when there is no sink.
    pub fn read_blob_whole<W: Write, E: From<Error>>(
        &self,
        digest: &Digest,
        size: u64,
        mut sink: impl FnMut() -> std::result::Result<W, E>,
    ) -> std::result::Result<W, E> {
        let mut attempts = self.client.attempts();
        loop {
            let mut whole = sink()?;
            match self.read_blob(digest, size, &mut whole) {
                Ok(()) => return Ok(whole),
                Err(error) if is_wrong(&error) => attempts.wait(self.client.monitor(), error)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) fn blob_reader(&self, digest: Digest, size: u64, offset: u64) -> BlobReader {
        BlobReader {
            repository: self.clone(),
            digest,
            size,
            position: offset,
            hasher: (offset == 0).then(|| DigestWriter::new(io::sink())),
            body: None,
            is_wrong: false,
            attempts: self.client.attempts(),
        }
    }
}

/// Whether an answer says that the method is unknown there.
fn has_no_head(error: &Error) -> bool {
    error
        .response()
        .is_some_and(|answer| matches!(answer.status(), 400 | 405 | 501))
}

/// Returns the size of the whole out of `bytes 0-9/SIZE` ([RFC 9110],
/// section 14.4).
///
/// [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110
fn total_of_range(header: Option<&str>) -> Option<u64> {
    header?.rsplit_once('/')?.1.trim().parse().ok()
}

/// Returns the first byte out of `bytes FIRST-LAST/SIZE`.
fn start_of_range(header: Option<&str>) -> Option<u64> {
    let range = header?.trim().strip_prefix("bytes")?.trim_start();
    range.split_once('-')?.0.trim().parse().ok()
}

/// Reads a blob; a connection that is cut is made again where it ended.
pub(super) struct BlobReader {
    repository: Repository,
    digest: Digest,
    size: u64,
    position: u64,
    /// Of a blob that is read from its start.
    hasher: Option<DigestWriter<io::Sink>>,
    body: Option<Box<dyn Read + Send>>,
    is_wrong: bool,
    attempts: Attempts,
}

fn is_wrong(error: &Error) -> bool {
    let Error::Protocol { problem, .. } = error else {
        return false;
    };
    matches!(**problem, ProtocolError::Digest { .. })
}

impl BlobReader {
    /// Reads as [`Read::read`], and says what went wrong.
    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let monitor = self.repository.client.monitor();
            check(monitor)?;
            match self.read_once(buffer) {
                Ok(count) => return Ok(count),
                // What was handed on is wrong: a second try could not take it
                // back.
                Err(error) if is_wrong(&error) => {
                    self.is_wrong = true;
                    return Err(error);
                }
                Err(error) => {
                    self.body = None;
                    let client = self.repository.client.clone();
                    self.attempts.wait(client.monitor(), error)?;
                }
            }
        }
    }

    fn read_once(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.position == self.size && self.body.is_none() && self.size > 0 {
            return Ok(0);
        }
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let opened = self.open()?;
                self.body.insert(opened)
            }
        };
        let read = loop {
            match body.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let count = read.map_err(|error| Error::Network {
            endpoint: self.repository.client.endpoint(Some(&self.repository.name)),
            step: Step::ReadBlob(self.digest),
            reason: Box::new(error.into()),
        })?;
        self.take(&buffer[..count])?;
        Ok(count)
    }

    /// Counts what came; at the end, compares.
    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let count = bytes.len() as u64;
        let (expected, found) = (self.size, self.position + count);
        let is_end = bytes.is_empty();
        if found > expected || (is_end && found < expected) {
            return Err(self.problem(ProtocolError::Size { expected, found }));
        }
        self.position = found;
        if let Some(hasher) = &mut self.hasher {
            hasher.write_all(bytes).expect("a sink takes everything");
        }
        if count > 0 {
            self.attempts.progress();
            let digest = self.digest;
            let event = Event::Received {
                digest,
                bytes: count,
            };
            self.repository.client.monitor().report(event);
        }
        match found == expected {
            true => self.finish(),
            false => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<()> {
        let Some(hasher) = self.hasher.take() else {
            return Ok(());
        };
        let (_, found, _) = hasher.finish();
        if found == self.digest {
            return Ok(());
        }
        let expected = self.digest;
        Err(self.problem(ProtocolError::Digest { expected, found }))
    }

    fn problem(&self, problem: ProtocolError) -> Error {
        self.repository
            .problem(&Step::ReadBlob(self.digest), problem)
    }

    fn open(&mut self) -> Result<Box<dyn Read + Send>> {
        let step = Step::ReadBlob(self.digest);
        let url = self.repository.blob_url(&self.digest);
        let mut call = self.repository.call(step, Method::GET, url, &[200, 206]);
        // The loop around this one counts.
        call.retries = false;
        call.response_bytes = self.size;
        if self.position > 0 {
            call.headers = vec![("range", format!("bytes={}-", self.position))];
        }
        let response = self.repository.client.call(&call)?;
        let (skipped, rest) = match response.status {
            206 => match start_of_range(response.header("content-range")) {
                Some(start) if start <= self.position => (self.position - start, None),
                _ => (0, None),
            },
            _ => (self.position, response.number("content-length")),
        };
        self.check_announced(rest)?;
        self.skip(response, skipped)
    }

    /// A wrong size that is announced needs no reading.
    fn check_announced(&self, whole: Option<u64>) -> Result<()> {
        let expected = self.size;
        match whole {
            Some(found) if found != expected => {
                Err(self.problem(ProtocolError::Size { expected, found }))
            }
            _ => Ok(()),
        }
    }

    /// Passes over what is there already, for a registry that starts anew.
    fn skip(&self, response: Response, skipped: u64) -> Result<Box<dyn Read + Send>> {
        let mut body = response.into_reader();
        let mut start = (&mut body).take(skipped);
        let copied = io::copy(&mut start, &mut io::sink());
        let (expected, found) = (skipped, copied.as_ref().copied().unwrap_or_default());
        match copied {
            Ok(count) if count == skipped => Ok(body),
            Ok(_) => Err(self.problem(ProtocolError::Size { expected, found })),
            Err(error) => Err(Error::Network {
                endpoint: self.repository.client.endpoint(Some(&self.repository.name)),
                step: Step::ReadBlob(self.digest),
                reason: Box::new(error.into()),
            }),
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.is_wrong {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.read_some(buffer).map_err(io::Error::other)
    }
}

/// A blob of a repository as the content of an image: read when it is needed.
#[derive(Debug, Clone)]
pub struct RemoteBlob {
    repository: Repository,
    digest: Digest,
    size: u64,
    origin: BlobOrigin,
}

impl RemoteBlob {
    /// Names a blob; nothing is read.
    #[must_use]
    pub fn new(repository: &Repository, digest: Digest, size: u64) -> Self {
        Self {
            repository: repository.clone(),
            digest,
            size,
            origin: BlobOrigin {
                registry: repository.client.registry().to_owned(),
                repository: repository.name.clone(),
            },
        }
    }
}

impl BlobContent for RemoteBlob {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.repository.blob_reader(
            self.digest,
            self.size,
            offset,
        )))
    }

    fn open_start(&self, size: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let found = self
            .repository
            .blob_prefix(&self.digest, size.min(self.size));
        match found.map_err(io::Error::other)? {
            Some((bytes, whole)) if whole == self.size => Ok(Box::new(io::Cursor::new(bytes))),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn origin(&self) -> Option<&BlobOrigin> {
        Some(&self.origin)
    }

    /// Bytes that were damaged on their way are worth another try.
    fn try_again(&self, failures: u32, error: &io::Error) -> bool {
        let inner = error.get_ref();
        let error = inner.and_then(|inner| inner.downcast_ref::<Error>());
        let Some(error) = error.filter(|error| is_wrong(error)) else {
            return false;
        };
        let client = &self.repository.client;
        let mut attempts = client.attempts_after(failures.saturating_sub(1));
        attempts.pause(client.monitor(), error) && check(client.monitor()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let header = Some("bytes 5-9/100");
        assert_eq!(
            (start_of_range(header), total_of_range(header)),
            (Some(5), Some(100))
        );
        for header in [None, Some(""), Some("bytes */*"), Some("items 1-2/3")] {
            assert_eq!(start_of_range(header), None, "{header:?}");
        }
        assert_eq!(total_of_range(Some("bytes 0-0/*")), None);
    }
}
