//! Answers that come before the body of a request was read, over TLS.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rustls::{ALL_VERSIONS, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use imgbuild_registry::client::{Client, Trust};
use imgbuild_registry::error::{Error, NetworkKind, Result};
use imgbuild_registry::monitor::ClientMonitor;
use imgbuild_registry::push::{PushOptions, Pushed, push};
use imgbuild_registry::repository::Repository;
use imgbuild_testing::registry::{Behavior, Ending};

use crate::support::{Bench, REPOSITORY, image, text_of};

/// A certificate for 127.0.0.1 that nobody trusts but these tests, as `openssl
/// ca -selfsign` makes it, and its key.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBWzCCAQCgAwIBAgIUK41cPxP2o60S/t4GlksWGg7t2pEwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHRml4dHVyZTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAw
MDAwMFowEjEQMA4GA1UEAwwHRml4dHVyZTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABN6b4UiyyFy5ccEv1uIpJeX4O+6L4iH2X2neXXyNWEhc/VgiXjqtwg1nxOPF
20F4Ziwm1M917j5Ethk7W/oS/OGjMjAwMA8GA1UdEQQIMAaHBH8AAAEwHQYDVR0O
BBYEFCV5E6x2VUGQcrXqLOmwFSMOiY4PMAoGCCqGSM49BAMCA0kAMEYCIQCco8zX
7hr7m4G/OCCzLOermoNfAhrtH1JBSUnvt7Q3AQIhALkBhorFHoQSrGNLhm8KoYkl
8hzNiPHuaGuhsd2BL5Og
-----END CERTIFICATE-----
";
const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgbTYMYlJzIEgQwU0j
hE9ZRXm5+unnfp2i9mRx5iyPmmahRANCAATem+FIsshcuXHBL9biKSXl+Dvui+Ih
9l9p3l18jVhIXP1YIl46rcINZ8TjxdtBeGYsJtTPde4+RLYZO1v6Evzh
-----END PRIVATE KEY-----
";

const SIZE: usize = 16 << 20;

type Stream = StreamOwned<ServerConnection, TcpStream>;

/// Starts a server that refuses every blob as soon as its head has come, and the first
/// request of a client.
fn start(ending: Ending) -> String {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let provider = Arc::new(rustls_graviola::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(ALL_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let stream = StreamOwned::new(connection, stream.unwrap());
            thread::spawn(move || drop(serve(stream, ending)));
        }
    });
    name
}

fn serve(mut stream: Stream, ending: Ending) -> io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let answer: &[u8] = match head[..3] {
            // With TLS, it is not the answer to http.
            _ if head.starts_with(b"GET /v2/ ") => b"HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n",
            [b'G', ..] => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            [b'H', ..] => b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n",
            [b'P', b'O', ..] => {
                b"HTTP/1.1 202 Yes\r\nlocation: /v2/up\r\ncontent-length: 0\r\n\r\n"
            }
            _ => b"HTTP/1.1 403 No\r\ncontent-length: 13\r\n\r\nnot on Monday",
        };
        stream.write_all(answer)?;
        stream.flush()?;
        if head.starts_with(b"PU") {
            return end(&stream.sock, ending);
        }
    }
}

fn end(mut stream: &TcpStream, ending: Ending) -> io::Result<()> {
    match ending {
        Ending::Linger => {
            stream.shutdown(Shutdown::Write)?;
            stream.set_read_timeout(Some(Duration::from_millis(300)))?;
            io::copy(&mut stream, &mut io::sink())?;
        }
        Ending::Reset => thread::sleep(Duration::from_millis(30)),
        Ending::Stall => thread::sleep(Duration::from_secs(3)),
    }
    Ok(())
}

fn push_to(name: &str, bench: &Bench) -> Result<Pushed> {
    let monitor: Arc<dyn ClientMonitor> = bench.monitor.clone();
    let client = Client::connect(name, &bench.options, &monitor)?;
    let repository = Repository::to_push(Arc::new(client), REPOSITORY);
    let options = PushOptions {
        tags: &["1".to_owned()],
        parallel: 1,
        mount_from: &[],
        sent: None,
    };
    push(&repository, &image(7, &[SIZE]), options)
}

#[test]
fn a_refusal_is_told_over_tls_too() {
    for ending in [Ending::Linger, Ending::Reset, Ending::Stall] {
        let mut bench = Bench::new(Behavior::default());
        bench.options.trust = Trust::with_certificates(CERTIFICATE.as_bytes()).unwrap();
        let error = push_to(&start(ending), &bench).unwrap_err();
        if let Error::Network { reason, .. } = &error
            && reason.kind == NetworkKind::Processor
        {
            return;
        }
        let text = text_of(&error);
        assert!(
            text.ends_with("403 Forbidden: not on Monday"),
            "{ending:?}: {text}"
        );
        let sent = bench.monitor.sent.load(Ordering::Relaxed);
        assert!(sent < SIZE as u64, "{ending:?}: {sent}");
        assert!(bench.monitor.waits.lock().unwrap().is_empty(), "{ending:?}");
    }
}
