//! Connectors for [`ureq`]: TLS with our own verifier, TCP connections that can
//! be interrupted and read early responses, and errors that name the proxy.

use std::fmt;
use std::io::{self, Read, Write};
use std::mem;
use std::sync::Arc;

use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout,
    Transport, TransportAdapter,
};

use crate::network_error::NetworkError;
use crate::tls::Trust;

pub(crate) mod early;
mod interruption;
mod tcp;

pub(crate) use early::EarlyConnector;
#[cfg(test)]
pub(crate) use interruption::tests::Caller;
pub(crate) use interruption::{InterruptibleResolver, WaitMonitor};
pub(crate) use tcp::TcpConnector;

/// The minimum rate of a transfer, so that a connection that trickles ends.
pub(crate) const MIN_BYTES_PER_SECOND: u64 = 1 << 10;

/// Connects to the proxy if there is one, and reports its failures.
#[derive(Debug, Default)]
pub(crate) struct ProxyConnector(ConnectProxyConnector);

impl<In: Transport> Connector<In> for ProxyConnector {
    type Out = Either<In, Box<dyn Transport>>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let connected = self.0.connect(details, chained);
        connected.map_err(|error| match error {
            error @ ureq::Error::ConnectProxyFailed(_) => error,
            error => ureq::Error::ConnectProxyFailed(NetworkError::from(error).to_string()),
        })
    }
}

/// Adds TLS to connections.
#[derive(Debug)]
pub(crate) struct TlsConnector(pub(crate) Trust);

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else {
            return Ok(None);
        };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let config = self.0.0.clone().ok_or(ureq::Error::TlsRequired)?;
        let host = details.uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| ureq::Error::Tls("invalid host name"))?;
        let mut connection = ClientConnection::new(config, name)?;
        let time = Arc::clone(&details.current_time);
        let boxed: Box<dyn Transport> = Box::new(transport);
        let mut adapter = TransportAdapter::new(boxed, time);
        adapter.set_timeout(details.timeout);
        let mut socket = Socket {
            adapter,
            is_broken: false,
        };
        connection.complete_io(&mut socket)?;
        let sizes = &details.config;
        Ok(Some(Either::B(TlsTransport {
            buffers: LazyBuffers::new(sizes.input_buffer_size(), sizes.output_buffer_size()),
            stream: StreamOwned::new(connection, socket),
            has_early: false,
        })))
    }
}

/// A TLS connection.
pub(crate) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, Socket>,
    /// Set if input arrived before a wait for it.
    has_early: bool,
}

/// The connection below TLS. After a failed write, it discards all output:
/// otherwise reading would first write it again, and fail.
struct Socket {
    adapter: TransportAdapter,
    is_broken: bool,
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.adapter.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.is_broken {
            return Ok(buffer.len());
        }
        let written = self.adapter.write(buffer);
        self.is_broken = written.is_err();
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.adapter.flush()
    }
}

impl TlsTransport {
    /// Reads available input without blocking.
    fn read_available(&mut self) -> io::Result<()> {
        let StreamOwned { conn, sock } = &mut self.stream;
        let socket = sock.adapter.get_mut().buffers();
        while !socket.input().is_empty() {
            let mut bytes = socket.input();
            let before = bytes.len();
            conn.read_tls(&mut bytes)?;
            let count = before - bytes.len();
            socket.input_consume(count);
            conn.process_new_packets().map_err(io::Error::other)?;
            if count == 0 {
                break;
            }
        }
        match conn.reader().read(self.buffers.input_append_buf()) {
            Ok(count) => {
                self.buffers.input_appended(count);
                self.has_early |= count > 0;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TlsTransport")
            .finish_non_exhaustive()
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().adapter.set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        let written = self.stream.write_all(output);
        // The input may have the reason of a failed write.
        let read = self.read_available();
        Ok(written.and(read)?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        if mem::take(&mut self.has_early) && !self.buffers.input().is_empty() {
            return Ok(true);
        }
        self.stream.get_mut().adapter.set_timeout(timeout);
        let input = self.buffers.input_append_buf();
        let count = self.stream.read(input)?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().adapter.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
