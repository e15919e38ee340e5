//! The part of HTTP/1.1 that the registry needs.

use std::io::{self, BufRead, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use super::{Ending, Silence};

/// A received request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method, for example `GET`.
    pub method: String,
    /// The path and query.
    pub target: String,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The part of the body that was read.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The names and values of the headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns a parameter of the query, decoded.
    #[must_use]
    pub fn parameters(&self, name: &str) -> Vec<String> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let fitting = pairs.filter(|(known, _)| *known == name);
        fitting.map(|(_, value)| decode(value)).collect()
    }

    /// Returns the target without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(super) fn body_size(&self) -> u64 {
        let size = self.header("content-length");
        size.and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

/// Decodes percent encoding, and `+` as a space.
pub(super) fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        rest = tail;
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads everything before the body. Returns `None` at the end of the
/// connection, or if it is not HTTP.
pub(super) fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let Some(line) = read_line(reader)? else {
        return Ok(None);
    };
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else {
        return Ok(None);
    };
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    while let Some(line) = read_line(reader)?.filter(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(':') {
            let header = (name.to_ascii_lowercase(), value.trim().to_owned());
            request.headers.push(header);
        }
    }
    Ok(Some(request))
}

fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    reader.take(64 << 10).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let line = String::from_utf8(line).ok();
    Ok(line.map(|line| line.trim_end().to_owned()))
}

pub(super) fn read_body(reader: &mut impl Read, size: u64) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    reader.take(size).read_to_end(&mut body)?;
    Ok(body)
}

impl Answer {
    /// Makes an answer without a body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn saying(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} Something\r\n", self.status);
        let has_length = self
            .headers
            .iter()
            .any(|(name, _)| name == "content-length");
        if !has_length && self.status >= 200 && self.status != 204 {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head
    }

    pub(super) fn write(&self, request: &Request, mut stream: &TcpStream) -> io::Result<bool> {
        let mut bytes = self.head().into_bytes();
        if request.method != "HEAD" {
            bytes.extend_from_slice(&self.body);
        }
        stream.write_all(&bytes)?;
        Ok(true)
    }

    pub(super) fn write_truncated(&self, count: usize, mut stream: &TcpStream) -> io::Result<bool> {
        stream.write_all(self.head().as_bytes())?;
        stream.write_all(&self.body[..count.min(self.body.len())])?;
        Ok(false)
    }

    pub(super) fn write_slowly(&self, wait: Duration, mut stream: &TcpStream) -> io::Result<bool> {
        stream.write_all(self.head().as_bytes())?;
        let parts = self.body.len().div_ceil(10).max(1);
        for part in self.body.chunks(parts) {
            thread::sleep(wait);
            stream.write_all(part)?;
        }
        Ok(true)
    }
}

/// Sends a body until the client closes the connection.
pub(super) fn write_endless(mut stream: &TcpStream) -> io::Result<bool> {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\
                content-type: application/vnd.oci.image.manifest.v1+json\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    let mut chunk = b"10000\r\n".to_vec();
    chunk.resize(chunk.len() + 0x10000, b' ');
    chunk.extend_from_slice(b"\r\n");
    loop {
        stream.write_all(&chunk)?;
    }
}

/// Keeps a connection open without an answer, until the client closes it.
pub(super) fn stay_mute(silence: Silence, mut stream: &TcpStream) -> io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(20);
    let (start, part): (&[u8], &[u8]) = match silence {
        Silence::Unread => {
            // Its last byte never comes.
            while stream.peek(&mut [0; 1])? > 0 {
                thread::sleep(PAUSE);
            }
            return Ok(());
        }
        Silence::Complete => return io::copy(&mut stream, &mut io::sink()).map(drop),
        Silence::Head => (b"HTTP/1.1 200 OK\r\nx: ", b"x"),
        Silence::Body => (b"HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n", b" "),
        Silence::Continue => (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    };
    stream.write_all(start)?;
    loop {
        stream.write_all(part)?;
        thread::sleep(PAUSE);
    }
}

/// The time that a connection stays open whose body is not read.
const LINGER: Duration = Duration::from_millis(300);

/// Ends a connection whose request was not read completely.
pub(super) fn end(mut stream: &TcpStream, ending: Ending) -> io::Result<()> {
    match ending {
        Ending::Linger => {
            stream.shutdown(Shutdown::Write)?;
            stream.set_read_timeout(Some(LINGER))?;
            io::copy(&mut stream, &mut io::sink())?;
        }
        // The system resets a connection with unread bytes.
        Ending::Reset => thread::sleep(LINGER / 10),
        Ending::Stall => thread::sleep(LINGER * 10),
    }
    Ok(())
}
