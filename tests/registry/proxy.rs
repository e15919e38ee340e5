//! A proxy between the program and the registry.

use std::io::{BufRead, BufReader, Write, copy};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use imgbuild_testing::FakeRegistry;
use imgbuild_testing::registry::Behavior;

use super::push;
use crate::runs::with_small_release;

/// Connects whatever it is asked for to one address, and remembers the heads
/// of the requests.
fn start(address: String) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (address, seen) = (address.clone(), Arc::clone(&seen));
            thread::spawn(move || connect(&stream, &address, &seen));
        }
    });
    (port, heads)
}

fn connect(mut client: &TcpStream, address: &str, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut head = String::new();
    let mut reader = BufReader::new(client);
    while reader.read_line(&mut head).ok()? > 2 {}
    seen.lock().unwrap().push(head);
    let server = TcpStream::connect(address).ok()?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").ok()?;
    let (mut from_server, mut to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
    let back = thread::spawn(move || {
        drop(copy(&mut from_server, &mut to_client));
        drop(to_client.shutdown(Shutdown::Both));
    });
    drop(copy(&mut reader, &mut &server));
    drop(server.shutdown(Shutdown::Both));
    back.join().ok()
}

#[test]
fn a_registry_is_reached_through_a_proxy_with_a_password() {
    let mut sandbox = with_small_release();
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let (port, heads) = start(registry.name());
    let proxy = format!("http://me:proxy-word@127.0.0.1:{port}");
    sandbox.set("https_proxy", &proxy);
    sandbox.set("http_proxy", &proxy);
    let reference = "registry.test/me/app:1";
    let outcome = push(&sandbox, &[reference], &["--plain-http", "-v"]).success();
    assert!(
        !outcome.report().contains("proxy-word"),
        "{}",
        outcome.report()
    );
    assert!(registry.contents().manifests.len() > 1);
    let heads = heads.lock().unwrap().clone();
    assert!(
        heads
            .iter()
            .any(|head| head.starts_with("CONNECT registry.test:80 ")),
        "{heads:?}"
    );
    let basic = super::server::base64(b"me:proxy-word");
    assert!(heads.iter().all(|head| head.contains(&basic)), "{heads:?}");
    for request in registry.requests() {
        assert!(!format!("{request:?}").contains(&basic), "{request:?}");
    }
    sandbox.set("no_proxy", "test");
    let outcome = push(&sandbox, &[reference], &["--plain-http"]).exited(1);
    let text = outcome.stderr_text();
    assert!(text.contains("cannot connect to `registry.test`"), "{text}");
}
