//! Responses that arrive before the request was sent.
//!
//! A server that refuses a blob may respond at once, read no more and close the
//! connection. A client that goes on sending gets a connection error and never
//! reads the reason. So sending ends with the first refusal that arrives, or when
//! the connection breaks, and then the response is read. The connection is not
//! used again.

use std::cell::Cell;
use std::io;

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

thread_local! {
    /// Set if sending ended early. One thread makes a request, but the reader of
    /// its body has no access to the connection.
    static HAS_ENDED: Cell<bool> = const { Cell::new(false) };
}

/// Resets the state at the start of a request.
pub(crate) fn begin() {
    HAS_ENDED.set(false);
}

/// Returns whether sending the body of this request ended early.
pub(crate) fn has_ended() -> bool {
    HAS_ENDED.get()
}

/// Opens connections that stop sending when the response arrives.
#[derive(Debug, Default)]
pub(crate) struct EarlyConnector;

impl<In: Transport> Connector<In> for EarlyConnector {
    type Out = EarlyTransport<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        Ok(chained.map(|inner| EarlyTransport {
            inner,
            has_ended: false,
            problem: None,
        }))
    }
}

/// A connection that stops sending when the response arrives.
#[derive(Debug)]
pub(crate) struct EarlyTransport<In: Transport> {
    inner: In,
    /// Set if sending ended early.
    has_ended: bool,
    /// The error that ended it, reported if there is no response.
    problem: Option<ureq::Error>,
}

impl<In: Transport> Transport for EarlyTransport<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if self.has_ended {
            return Ok(());
        }
        let sent = self.inner.transmit_output(amount, timeout);
        let is_refused = refusal(self.inner.buffers().input()).is_some();
        match sent {
            Ok(()) if !is_refused => return Ok(()),
            Err(error) if !is_refused && !is_broken(&error) => return Err(error),
            sent => self.problem = sent.err(),
        }
        self.has_ended = true;
        HAS_ENDED.set(true);
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let buffers = self.inner.buffers();
        let size = buffers.input().len();
        if buffers.input_append_buf().is_empty() {
            return Err(ureq::Error::LargeResponseHeader(size, size));
        }
        let waited = self.inner.await_input(timeout);
        match (waited, self.problem.take()) {
            (Ok(true), problem) => {
                self.problem = problem;
                Ok(true)
            }
            (_, Some(problem)) => Err(problem),
            (waited, None) => waited,
        }
    }

    fn is_open(&mut self) -> bool {
        !self.has_ended && self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// Returns whether an error means that the peer reads no more.
fn is_broken(error: &ureq::Error) -> bool {
    let ureq::Error::Io(error) = error else {
        return false;
    };
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof
    )
}

/// Returns the status of a response to a failed request, from its first bytes.
/// Skips responses of the kind of `100 Continue`.
pub(super) fn refusal(mut input: &[u8]) -> Option<u16> {
    loop {
        let rest = input.strip_prefix(b"HTTP/1.")?.get(1..)?;
        let digits = rest.strip_prefix(b" ")?.get(..3)?;
        let status: u16 = str::from_utf8(digits).ok()?.parse().ok()?;
        if !(100..200).contains(&status) {
            return (status >= 300).then_some(status);
        }
        let end = input.windows(4).position(|four| four == b"\r\n\r\n")?;
        input = &input[end + 4..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_known_by_its_first_bytes() {
        let early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Payload";
        for (input, expected) in [
            (&b"HTTP/1.1 403"[..], Some(403)),
            (b"HTTP/1.0 503 Busy\r\n", Some(503)),
            (b"HTTP/1.1 307 Temporary", Some(307)),
            (early, Some(413)),
            (&early[..30], None),
            (&early[..15], None),
            (b"HTTP/1.1 201 Created\r\n\r\n", None),
            (b"HTTP/1.1 40", None),
            (b"HTTP/1.1 abc", None),
            (b"\x17\x03\x03\x00\x10", None),
            (b"", None),
        ] {
            assert_eq!(refusal(input), expected, "{input:?}");
        }
    }
}
