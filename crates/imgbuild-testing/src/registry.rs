//! A registry in this process that misbehaves on request.
//!
//! It implements the [OCI distribution protocol] over plain HTTP on loopback,
//! keeps everything in memory, records every request, and applies its rules for
//! faults before each answer.
//!
//! [OCI distribution protocol]: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md

mod answers;
mod http;

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

pub use http::{Answer, Request};

/// The behavior of a registry, apart from its faults.
#[derive(Debug, Clone, Default)]
pub struct Behavior {
    /// The authentication that it requires.
    pub auth: Auth,
    /// The form of the `Location` of an upload.
    pub location: Location,
    /// `OCI-Chunk-Min-Length`, in bytes; smaller chunks are refused, except the last.
    pub min_chunk: Option<u64>,
    /// The largest body of one request, in bytes; larger ones get status 413.
    pub max_body: Option<u64>,
    /// The largest chunk, in bytes; larger ones get status 416, as GHCR does.
    pub max_chunk: Option<u64>,
    /// The smallest chunk that another may follow, in bytes. It is not announced;
    /// a chunk after a smaller one is refused, as ECR does.
    pub min_part: Option<u64>,
    /// Accepts chunks after the first without storing them, as ECR does.
    pub one_chunk: bool,
    /// Does not report the progress of an upload.
    pub no_status: bool,
    /// Refuses uploads in one request.
    pub chunks_only: bool,
    /// Supports only the requests of Docker: a body with `PUT` is a server error,
    /// `Range` counts bytes, and manifests have tags.
    pub minimal: bool,
    /// Answers `HEAD` with status 405.
    pub no_head: bool,
    /// Ignores mounts.
    pub no_mount: bool,
    /// Confirms mounts without making them.
    pub false_mount: bool,
    /// Omits `Docker-Content-Digest`.
    pub no_digest: bool,
    /// Ignores `Range` when blobs are read.
    pub no_range: bool,
    /// The server that requests for blobs are redirected to.
    pub redirect_blobs: Option<String>,
}

/// The authentication that a registry requires.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    /// None.
    #[default]
    Open,
    /// A user with a password.
    Basic(String, String),
    /// A token, issued for a user and password or for an identity token.
    Bearer {
        /// User, password and identity token.
        users: (String, String, String),
        /// The number of requests until a token expires.
        uses: usize,
    },
}

/// The form of the `Location` of an upload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Location {
    /// `/v2/…`
    #[default]
    Path,
    /// `http://host/v2/…`
    Absolute,
    /// `/v2/…?_state=…`, which the client must send back.
    Query,
    /// No `Location`.
    Missing,
}

/// A fault in place of the right answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The connection ends before the body is read.
    Cut,
    /// The connection ends after so many bytes of the body, which an upload keeps.
    CutBody(u64),
    /// The request is executed, and the connection ends without an answer.
    CutAnswer,
    /// The answer is cut after so many bytes of its body.
    Truncate(usize),
    /// The first byte of the answer's body is changed.
    Corrupt,
    /// Another answer; the request is not executed.
    Answer(Answer),
    /// The right answer with one header changed or omitted.
    Header(&'static str, Option<String>),
    /// A body without an end.
    Endless,
    /// A body in small parts with pauses between them.
    Slow(Duration),
    /// So many bytes of the body are kept, and the answer reports this number.
    ShortWrite(u64),
    /// Another answer before the body is read, then the end of the connection.
    Early(Answer, Ending),
    /// The right answer after one with this status, for example `100 Continue`.
    Interim(u16),
    /// Nothing, until the client closes the connection.
    Mute(Silence),
}

/// The sign of life of a server that gives no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// None; the body of the request is not even read.
    Unread,
    /// None.
    Complete,
    /// A byte of a head now and then, without an end.
    Head,
    /// A byte of a body now and then, after a right head.
    Body,
    /// `100 Continue`, again and again.
    Continue,
}

/// The end of a connection whose request was not read completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Reads and drops what arrives, for a while.
    Linger,
    /// Ends at once; the client gets a reset.
    Reset,
    /// Stays open for a while without being read.
    Stall,
}

type Rule = Box<dyn FnMut(&Request) -> Option<Fault> + Send>;

/// A registry that runs until it is dropped.
pub struct FakeRegistry {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    behavior: Mutex<Behavior>,
    rules: Mutex<Vec<Rule>>,
    requests: Mutex<Vec<Request>>,
    contents: Mutex<Contents>,
    is_over: AtomicBool,
}

/// The contents of a registry.
#[derive(Debug, Default, Clone)]
pub struct Contents {
    /// The blobs by repository and digest.
    pub blobs: BTreeMap<(String, String), Vec<u8>>,
    /// The media types and bytes of manifests, by repository and tag or digest.
    pub manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    uploads: BTreeMap<String, Vec<u8>>,
    /// The size of the last chunk of an upload.
    last_chunks: BTreeMap<String, u64>,
    next_upload: u64,
    token_uses: BTreeMap<String, usize>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of the lock panics")
}

impl std::fmt::Debug for FakeRegistry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FakeRegistry")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl FakeRegistry {
    /// Starts a registry on a free port of loopback.
    ///
    /// # Errors
    ///
    /// When there is no free port.
    pub fn start(behavior: Behavior) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            address,
            behavior: Mutex::new(behavior),
            rules: Mutex::default(),
            requests: Mutex::default(),
            contents: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if server.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let server = Arc::clone(&server);
                if let Ok(stream) = stream {
                    thread::spawn(move || drop(server.serve(&stream)));
                }
            }
        });
        Ok(Self { address, shared })
    }

    /// Returns `127.0.0.1:PORT`.
    #[must_use]
    pub fn name(&self) -> String {
        self.address.to_string()
    }

    /// Adds a rule that is called before every answer; the first fault wins.
    pub fn when(&self, rule: impl FnMut(&Request) -> Option<Fault> + Send + 'static) {
        locked(&self.shared.rules).push(Box::new(rule));
    }

    /// Applies `fault` to the first `times` requests that have this method and
    /// whose target contains `part`.
    pub fn fail(&self, times: usize, method: &'static str, part: &'static str, fault: Fault) {
        let mut left = times;
        self.when(move |request| {
            let fits = request.method == method && request.target.contains(part);
            if !fits || left == 0 {
                return None;
            }
            left -= 1;
            Some(fault.clone())
        });
    }

    /// Replaces the behavior and removes all rules.
    pub fn behave(&self, behavior: Behavior) {
        locked(&self.shared.rules).clear();
        *locked(&self.shared.behavior) = behavior;
    }

    /// Returns every request since the last call.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *locked(&self.shared.requests))
    }

    /// Returns a copy of the contents.
    #[must_use]
    pub fn contents(&self) -> Contents {
        locked(&self.shared.contents).clone()
    }

    /// Changes the contents.
    pub fn change(&self, change: impl FnOnce(&mut Contents)) {
        change(&mut locked(&self.shared.contents));
    }
}

impl Drop for FakeRegistry {
    #[expect(
        clippy::disallowed_methods,
        reason = "a server on loopback is woken so that it can end"
    )]
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    /// Answers requests until the connection ends.
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        while let Some(mut request) = http::read_head(&mut reader)? {
            let fault = self.fault(&request);
            if let Some(Fault::Early(answer, ending)) = &fault {
                locked(&self.requests).push(request.clone());
                answer.write(&request, stream)?;
                return http::end(stream, *ending);
            }
            if let Some(Fault::Interim(status)) = fault {
                Answer::new(status).write(&request, stream)?;
            }
            if let Some(Fault::Mute(Silence::Unread)) = fault {
                locked(&self.requests).push(request.clone());
                return http::stay_mute(Silence::Unread, stream);
            }
            let size = request.body_size();
            let kept = match fault {
                Some(Fault::Cut) => 0,
                Some(Fault::CutBody(most) | Fault::ShortWrite(most)) => most.min(size),
                _ => size,
            };
            request.body = http::read_body(&mut reader, kept)?;
            if matches!(fault, Some(Fault::ShortWrite(_))) {
                drop(http::read_body(&mut reader, size - kept)?);
            }
            locked(&self.requests).push(request.clone());
            if !self.answer(&request, fault, stream)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn fault(&self, request: &Request) -> Option<Fault> {
        let mut rules = locked(&self.rules);
        rules.iter_mut().find_map(|rule| rule(request))
    }

    /// Answers one request; returns `false` if the connection ends with it.
    fn answer(
        &self,
        request: &Request,
        fault: Option<Fault>,
        stream: &TcpStream,
    ) -> io::Result<bool> {
        let right = || self.right_answer(request);
        match fault {
            None | Some(Fault::ShortWrite(_) | Fault::Interim(_)) => right().write(request, stream),
            Some(Fault::Cut) => Ok(false),
            Some(Fault::CutBody(_)) => {
                self.keep_part(request);
                Ok(false)
            }
            Some(Fault::CutAnswer) => {
                drop(right());
                Ok(false)
            }
            Some(Fault::Answer(answer) | Fault::Early(answer, _)) => answer.write(request, stream),
            Some(Fault::Truncate(count)) => right().write_truncated(count, stream),
            Some(Fault::Corrupt) => {
                let mut answer = right();
                if let Some(byte) = answer.body.first_mut() {
                    *byte ^= 1;
                }
                answer.write(request, stream)
            }
            Some(Fault::Header(name, value)) => {
                let mut answer = right();
                answer.headers.retain(|(known, _)| known != name);
                if let Some(value) = value {
                    answer.headers.push((name.to_owned(), value));
                }
                answer.write(request, stream)
            }
            Some(Fault::Endless) => http::write_endless(stream),
            Some(Fault::Slow(wait)) => right().write_slowly(wait, stream),
            Some(Fault::Mute(silence)) => http::stay_mute(silence, stream).map(|()| false),
        }
    }
}
