//! TCP connections. Those of [`ureq`] notice neither an interruption, nor a
//! server that trickles, nor a response that arrives before the request was
//! sent.

use std::fmt;
use std::io::{self, Read, Write};
use std::mem;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use ureq::Timeout;
use ureq::http::Uri;
use ureq::unversioned::transport::time::Instant;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

use super::MIN_BYTES_PER_SECOND;
use super::early::refusal;
use super::interruption::{POLL_INTERVAL, WaitMonitor, timed_out};

/// Opens TCP connections, until an interruption.
#[derive(Debug)]
pub(crate) struct TcpConnector(pub(crate) WaitMonitor);

impl TcpConnector {
    /// Tries one address after the other. Each has half of the remaining time,
    /// and the last has all of it.
    fn reach(&self, details: &ConnectionDetails<'_>) -> Result<TcpStream, ureq::Error> {
        let mut left = *details.timeout.after;
        let mut failure = None;
        for (index, address) in details.addrs.iter().copied().enumerate() {
            let is_last = index + 1 == details.addrs.len();
            let mut time = if is_last { left } else { left / 2 };
            left -= time;
            let most = time.max(Duration::from_millis(1));
            let connect = move || TcpStream::connect_timeout(&address, most);
            let connected = self.0.wait_for(details.uri, &mut time, connect);
            left += time;
            match connected.and_then(|connected| connected) {
                Ok(stream) => return Ok(stream),
                Err(error) if is_of_address(&error) => failure = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        let failure = failure.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into());
        let limit = details.config.timeouts().connect;
        Err(timed_out(failure, Timeout::Connect, limit).into())
    }
}

/// Returns whether another address of the same host may work.
fn is_of_address(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable
    )
}

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, TcpTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if chained.is_some() {
            return Ok(chained.map(Either::A));
        }
        let stream = self.reach(details)?;
        stream.set_nodelay(true)?;
        let sizes = &details.config;
        Ok(Some(Either::B(TcpTransport {
            stream,
            buffers: LazyBuffers::new(sizes.input_buffer_size(), sizes.output_buffer_size()),
            waits: self.0.clone(),
            server: details.uri.clone(),
            clock: Arc::clone(&details.current_time),
            idle: Duration::ZERO,
            read_timeout: None,
            write_timeout: None,
            is_sending: false,
            has_early: false,
        })))
    }
}

/// A TCP connection.
pub(crate) struct TcpTransport {
    stream: TcpStream,
    buffers: LazyBuffers,
    waits: WaitMonitor,
    server: Uri,
    clock: Arc<dyn Fn() -> Instant + Send + Sync>,
    /// The time that was waited for the server, less that for which it sent or
    /// took bytes at the minimum rate.
    idle: Duration,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    /// Set if something was sent since the last wait for a response.
    is_sending: bool,
    /// Set if input arrived before a wait for it.
    has_early: bool,
}

impl fmt::Debug for TcpTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TcpTransport")
            .finish_non_exhaustive()
    }
}

impl TcpTransport {
    /// Reads available input without blocking.
    fn read_available(&mut self) -> io::Result<()> {
        let room = self.buffers.input_append_buf();
        if room.is_empty() {
            return Ok(());
        }
        self.stream.set_nonblocking(true)?;
        let read = (&self.stream).read(room);
        self.stream.set_nonblocking(false)?;
        match read {
            // A server that closes the connection will not respond.
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.buffers.input_appended(count);
                self.has_early = true;
                Ok(())
            }
            Err(error) if is_pending(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn elapsed(&self, since: Instant) -> Duration {
        match (since, (self.clock)()) {
            (Instant::Exact(since), Instant::Exact(now)) => now.saturating_duration_since(since),
            _ => Duration::ZERO,
        }
    }

    /// Returns the time for the next wait of a call that began at `start`.
    ///
    /// # Errors
    ///
    /// If there is no time left.
    fn patience(
        &self,
        timeout: NextTimeout,
        idle: Duration,
        start: Instant,
    ) -> io::Result<Duration> {
        let left = idle.saturating_sub(self.idle);
        let left = left.min(timeout.after.saturating_sub(self.elapsed(start)));
        if left.is_zero() {
            let limit = match timeout.reason {
                Timeout::Connect => *timeout.after,
                _ => idle,
            };
            let error = io::ErrorKind::TimedOut.into();
            return Err(timed_out(error, timeout.reason, Some(limit)));
        }
        Ok(left.min(POLL_INTERVAL))
    }

    /// Notes a wait since `start`, which ended with so many bytes.
    fn waited(&mut self, start: Instant, bytes: usize) -> io::Result<()> {
        let time = self.elapsed(start);
        self.waits.waited(&self.server, &mut self.idle, time)?;
        let worth = Duration::from_millis(bytes as u64 * 1000 / MIN_BYTES_PER_SECOND);
        self.idle = self.idle.saturating_sub(worth);
        Ok(())
    }

    /// Writes a part of the output; returns 0 after a timeout.
    fn write(&mut self, from: usize, to: usize, time: Duration) -> io::Result<usize> {
        if self.write_timeout != Some(time) {
            self.stream.set_write_timeout(Some(time))?;
            self.write_timeout = Some(time);
        }
        let output = &self.buffers.output()[from..to];
        match (&self.stream).write(output) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) if is_pending(&error) => Ok(0),
            written => written,
        }
    }
}

/// Returns whether an error means that nothing could be read or written yet.
fn is_pending(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if mem::replace(&mut self.is_sending, true) {
            self.read_available()?;
        } else {
            self.idle = Duration::ZERO;
        }
        let begun = (self.clock)();
        let idle = *timeout.per_write.unwrap_or(timeout.after);
        let mut sent = 0;
        while sent < amount {
            let time = self.patience(timeout, idle, begun)?;
            let start = (self.clock)();
            let count = self.write(sent, amount, time)?;
            self.waited(start, count)?;
            sent += count;
            if count > 0 {
                continue;
            }
            self.read_available()?;
            // The server responded, and reads no more.
            if refusal(self.buffers.input()).is_some() {
                return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into());
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        if mem::take(&mut self.is_sending) {
            self.idle = Duration::ZERO;
        }
        if mem::take(&mut self.has_early) && !self.buffers.input().is_empty() {
            return Ok(true);
        }
        let begun = (self.clock)();
        let idle = *timeout.per_read.unwrap_or(timeout.after);
        loop {
            let time = self.patience(timeout, idle, begun)?;
            if self.read_timeout != Some(time) {
                self.stream.set_read_timeout(Some(time))?;
                self.read_timeout = Some(time);
            }
            let start = (self.clock)();
            match (&self.stream).read(self.buffers.input_append_buf()) {
                Ok(count) => {
                    self.waited(start, count)?;
                    self.buffers.input_appended(count);
                    return Ok(count > 0);
                }
                Err(error) if is_pending(&error) => self.waited(start, 0)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // Unexpected input makes a connection as unusable as its end.
        let before = self.buffers.input().len();
        self.read_available().is_ok() && self.buffers.input().len() == before
    }
}
