//! Runs that should stop while they wait for somebody.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use imgbuild_registry::client::Client;
use imgbuild_registry::error::Error;
use imgbuild_registry::monitor::ClientMonitor;
use imgbuild_testing::registry::Behavior;

use crate::support::Bench;

/// Connects until the system takes no more for who never accepts: from then on
/// it says nothing.
fn fill(address: SocketAddr) -> Vec<TcpStream> {
    let mut all = Vec::new();
    let time = Duration::from_millis(200);
    while let Ok(stream) = TcpStream::connect_timeout(&address, time) {
        assert!(all.len() < 900, "there is no end to what the system takes");
        all.push(stream);
    }
    all
}

#[test]
fn a_run_stops_while_it_connects() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _streams = fill(address);
    let mut bench = Bench::new(Behavior::default());
    bench.options.timeouts.connect = Duration::from_secs(3600);
    let monitor: Arc<dyn ClientMonitor> = bench.monitor.clone();
    let options = bench.options.clone();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let connected = Client::connect(&address.to_string(), &options, &monitor);
        sender.send(connected.map(drop)).unwrap();
    });
    let early = receiver.recv_timeout(Duration::from_millis(500));
    assert!(early.is_err(), "{early:?}");
    bench.monitor.is_interrupted.store(true, Ordering::Relaxed);
    let ended = receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
}
