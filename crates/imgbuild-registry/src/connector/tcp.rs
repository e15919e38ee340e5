//! TCP connections. Those of [`ureq`] notice neither an interruption while they
//! connect, nor a response that arrives before the request was sent.

use std::fmt;
use std::io::{self, Read, Write};
use std::mem;
use std::net::TcpStream;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, ShutdownHandle,
    Transport,
};

use super::early::refusal;
use super::interruption::{Interruption, POLL_INTERVAL, timed_out};

/// Opens TCP connections, until an interruption.
#[derive(Debug)]
pub(crate) struct TcpConnector(pub(crate) Interruption);

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
            let connected = self.0.wait_for(&mut time, connect);
            left += time;
            match connected.and_then(|connected| connected) {
                Ok(stream) => return Ok(stream),
                Err(error) if is_of_address(&error) => failure = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        let failure = failure.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into());
        Err(timed_out(failure, details.timeout))
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
        let stream = Arc::new(stream);
        let handle = Arc::downgrade(&stream);
        (details.register_shutdown)(handle as Weak<dyn ShutdownHandle>)?;
        let sizes = &details.config;
        Ok(Some(Either::B(TcpTransport {
            stream,
            buffers: LazyBuffers::new(sizes.input_buffer_size(), sizes.output_buffer_size()),
            read_timeout: None,
            write_timeout: None,
            is_sending: false,
            has_early: false,
        })))
    }
}

/// A TCP connection.
pub(crate) struct TcpTransport {
    stream: Arc<TcpStream>,
    buffers: LazyBuffers,
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
        let read = (&*self.stream).read(room);
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

    /// Writes a part of the output; returns 0 after a timeout.
    fn write(&mut self, from: usize, to: usize, time: Duration) -> io::Result<usize> {
        if self.write_timeout != Some(time) {
            self.stream.set_write_timeout(Some(time))?;
            self.write_timeout = Some(time);
        }
        let output = &self.buffers.output()[from..to];
        match (&*self.stream).write(output) {
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
        let timeout = timeout.for_write();
        if mem::replace(&mut self.is_sending, true) {
            self.read_available()?;
        }
        let mut sent = 0;
        let mut left = *timeout.after;
        while sent < amount {
            let time = POLL_INTERVAL.min(left);
            if time.is_zero() {
                return Err(ureq::Error::Timeout(timeout.reason));
            }
            let count = self.write(sent, amount, time)?;
            sent += count;
            if count > 0 {
                left = *timeout.after;
                continue;
            }
            left -= time;
            self.read_available()?;
            // The server responded, and reads no more.
            if refusal(self.buffers.input()).is_some() {
                return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into());
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.is_sending = false;
        if mem::take(&mut self.has_early) && !self.buffers.input().is_empty() {
            return Ok(true);
        }
        let timeout = timeout.for_read();
        let time = timeout.not_zero().map(|time| *time);
        if self.read_timeout != time {
            self.stream.set_read_timeout(time)?;
            self.read_timeout = time;
        }
        loop {
            match (&*self.stream).read(self.buffers.input_append_buf()) {
                Ok(count) => {
                    self.buffers.input_appended(count);
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(timed_out(error, timeout)),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // Unexpected input makes a connection as unusable as its end.
        let before = self.buffers.input().len();
        self.read_available().is_ok() && self.buffers.input().len() == before
    }
}
