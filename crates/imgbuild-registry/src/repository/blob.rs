//! Downloading blobs, and checking whether they exist.

use std::io::{self, Read, Write};

use imgbuild_oci::blob::{BlobContent, BlobOrigin};
use imgbuild_oci::bounded::read_start;
use imgbuild_oci::digest::{Digest, DigestWriter};
use ureq::http::Method;

use super::{Repository, lacks_method};
use crate::error::{Error, ProtocolError, Result, Step};
use crate::monitor::{Event, check};
use crate::retry::Attempts;
use crate::transport::Response;

/// The size of the buffer of a download, in bytes.
const BUFFER_BYTES: usize = 128 << 10;

impl Repository {
    /// Returns whether the repository has a blob of this size.
    ///
    /// # Errors
    ///
    /// If the registry fails.
    pub fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool> {
        self.find_blob(digest, size, true)
    }

    pub(super) fn find_blob(&self, digest: &Digest, size: u64, retries: bool) -> Result<bool> {
        let url = self.blob_url(digest);
        let step = Step::FindBlob(*digest);
        let mut call = self.call(step.clone(), Method::HEAD, url, &[200, 404]);
        call.retries = retries;
        let response = match self.client.call(&call) {
            Ok(response) => response,
            Err(error) if lacks_method(&error) => {
                let found = self.blob_range(step, digest, 1, retries)?;
                return Ok(found.is_some_and(|(_, found)| found.is_none_or(|found| found == size)));
            }
            Err(error) => return Err(error),
        };
        // A blob of another size is sent again, and the registry decides.
        let is_equal = |found: u64| found == size || found == 0;
        Ok(response.status == 200 && response.number("content-length").is_none_or(is_equal))
    }

    /// Requests the first bytes of a blob. Returns the response with the size of
    /// the whole blob, or `None` if the blob does not exist.
    fn blob_range(
        &self,
        step: Step,
        digest: &Digest,
        count: u64,
        retries: bool,
    ) -> Result<Option<(Response, Option<u64>)>> {
        let url = self.blob_url(digest);
        let mut call = self.call(step, Method::GET, url, &[200, 206, 404]);
        call.retries = retries;
        call.headers = vec![("range", format!("bytes=0-{}", count.saturating_sub(1)))];
        let response = self.client.call(&call)?;
        let size = match response.status {
            404 => return Ok(None),
            206 => total_of_range(response.header("content-range")),
            _ => response.number("content-length"),
        };
        Ok(Some((response, size)))
    }

    /// Downloads a blob into `sink`, and checks size and digest.
    ///
    /// # Errors
    ///
    /// If the registry fails, size or digest differ, or `sink` fails.
    pub fn read_blob(&self, digest: &Digest, size: u64, sink: &mut dyn Write) -> Result<()> {
        let mut download = self.download(*digest, size, 0);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = download.read_with_retries(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            sink.write_all(&buffer[..count])
                .map_err(|source| Error::Sink {
                    endpoint: self.endpoint(),
                    source,
                })?;
        }
    }

    /// Downloads a blob into a writer that `sink` creates, and into another one if
    /// the blob was damaged on its way.
    ///
    /// # Errors
    ///
    /// As [`Repository::read_blob`], and if `sink` fails.
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
                Err(error) if is_damaged(&error) => attempts.wait(self.client.monitor(), error)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn download(&self, digest: Digest, size: u64, offset: u64) -> Download {
        Download {
            repository: self.clone(),
            digest,
            size,
            position: offset,
            hasher: (offset == 0).then(|| DigestWriter::new(io::sink())),
            body: None,
            is_damaged: false,
            attempts: self.client.attempts(),
        }
    }
}

/// Returns the size of a whole blob from `bytes 0-9/SIZE` ([RFC 9110], section
/// 14.4).
///
/// [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110
fn total_of_range(header: Option<&str>) -> Option<u64> {
    header?.rsplit_once('/')?.1.trim().parse().ok()
}

/// Returns the first position from `bytes FIRST-LAST/SIZE`.
fn start_of_range(header: Option<&str>) -> Option<u64> {
    let range = header?.trim().strip_prefix("bytes")?.trim_start();
    range.split_once('-')?.0.trim().parse().ok()
}

/// Returns whether the bytes of a blob have another digest.
fn is_damaged(error: &Error) -> bool {
    let Error::Protocol { problem, .. } = error else {
        return false;
    };
    matches!(**problem, ProtocolError::Digest { .. })
}

/// A reader of a blob, which resumes after a broken connection.
struct Download {
    repository: Repository,
    digest: Digest,
    size: u64,
    position: u64,
    /// The hasher of a blob that is read from its start.
    hasher: Option<DigestWriter<io::Sink>>,
    body: Option<Box<dyn Read + Send>>,
    is_damaged: bool,
    attempts: Attempts,
}

impl Download {
    fn read_with_retries(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let client = self.repository.client.clone();
        loop {
            check(client.monitor())?;
            match self.read_once(buffer) {
                Ok(count) => return Ok(count),
                // Damaged bytes were returned before, so a retry is too late.
                Err(error) if is_damaged(&error) => {
                    self.is_damaged = true;
                    return Err(error);
                }
                Err(error) => {
                    self.body = None;
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
        let count = read.map_err(|error| self.network_error(error))?;
        self.add(&buffer[..count])?;
        Ok(count)
    }

    /// Counts and hashes bytes, and checks size and digest at the end.
    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let count = bytes.len() as u64;
        let (expected, found) = (self.size, self.position + count);
        if found > expected || (count == 0 && found < expected) {
            return Err(self.problem(ProtocolError::Size { expected, found }));
        }
        self.position = found;
        if let Some(hasher) = &mut self.hasher {
            hasher.write_all(bytes).expect("a sink takes everything");
        }
        if count > 0 {
            self.attempts.progress(count);
            self.repository.client.monitor().report(Event::Received {
                digest: self.digest,
                bytes: count,
            });
        }

        let hasher = self.hasher.take_if(|_| found == expected);
        let Some((_, found, _)) = hasher.map(DigestWriter::finish) else {
            return Ok(());
        };
        if found == self.digest {
            return Ok(());
        }
        let expected = self.digest;
        Err(self.problem(ProtocolError::Digest { expected, found }))
    }

    fn open(&self) -> Result<Box<dyn Read + Send>> {
        let step = Step::ReadBlob(self.digest);
        let url = self.repository.blob_url(&self.digest);
        let mut call = self.repository.call(step, Method::GET, url, &[200, 206]);
        // The caller retries.
        call.retries = false;
        call.response_bytes = self.size;
        if self.position > 0 {
            call.headers = vec![("range", format!("bytes={}-", self.position))];
        }
        let response = self.repository.client.call(&call)?;
        let skipped = if response.status == 206 {
            let start = start_of_range(response.header("content-range"));
            start.map_or(0, |start| self.position.saturating_sub(start))
        } else {
            let expected = self.size;
            match response.number("content-length") {
                Some(found) if found != expected => {
                    return Err(self.problem(ProtocolError::Size { expected, found }));
                }
                _ => self.position,
            }
        };

        // Registries without ranges start again.
        let mut body = response.into_reader();
        let copied = io::copy(&mut (&mut body).take(skipped), &mut io::sink());
        let found = copied.map_err(|error| self.network_error(error))?;
        if found < skipped {
            let expected = skipped;
            return Err(self.problem(ProtocolError::Size { expected, found }));
        }
        Ok(body)
    }

    fn problem(&self, problem: ProtocolError) -> Error {
        let step = Step::ReadBlob(self.digest);
        self.repository.problem(&step, problem)
    }

    fn network_error(&self, error: io::Error) -> Error {
        let step = Step::ReadBlob(self.digest);
        self.repository.endpoint().network_error(&step, error)
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.is_damaged {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.read_with_retries(buffer).map_err(io::Error::other)
    }
}

/// A blob of a repository, downloaded when it is read.
#[derive(Debug, Clone)]
pub(crate) struct RemoteBlob {
    repository: Repository,
    digest: Digest,
    size: u64,
    origin: BlobOrigin,
}

impl RemoteBlob {
    /// Creates a blob without any request.
    pub(crate) fn new(repository: &Repository, digest: Digest, size: u64) -> Self {
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
        let download = self.repository.download(self.digest, self.size, offset);
        Ok(Box::new(download))
    }

    fn open_start(&self, size: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let count = size.min(self.size);
        let step = Step::ReadBlob(self.digest);
        let found = self
            .repository
            .blob_range(step.clone(), &self.digest, count, true);
        let Some((response, Some(whole))) = found.map_err(io::Error::other)? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if whole != self.size {
            return Err(io::ErrorKind::NotFound.into());
        }
        let read = read_start(response.into_reader(), count);
        let bytes = read.map_err(|error| {
            io::Error::other(self.repository.endpoint().network_error(&step, error))
        })?;
        Ok(Box::new(io::Cursor::new(bytes)))
    }

    fn origin(&self) -> Option<&BlobOrigin> {
        Some(&self.origin)
    }

    /// Retries a blob that was damaged on its way.
    fn try_again(&self, failures: u32, error: &io::Error) -> bool {
        let inner = error.get_ref();
        let error = inner.and_then(|inner| inner.downcast_ref::<Error>());
        let Some(error) = error.filter(|error| is_damaged(error)) else {
            return false;
        };
        let client = &self.repository.client;
        let mut attempts = Attempts::new(client.options.retry, failures.saturating_sub(1));
        attempts.pause(client.monitor(), error) && check(client.monitor()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed() {
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
