//! Registries that say nothing, or next to nothing, at each step.

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use imgbuild_registry::client::{Client, RetryPolicy, Timeouts};
use imgbuild_registry::error::{Error, NetworkKind, Result};
use imgbuild_registry::monitor::{ClientMonitor, Event};
use imgbuild_registry::repository::Repository;
use imgbuild_testing::registry::{Auth, Behavior, Fault, Request, Silence};

use crate::support::{Bench, PASSWORD, REPOSITORY, USER, image, text_of};

/// A use of a registry that fails.
type Use = fn(&Bench) -> Result<()>;

const ALL: [Silence; 5] = [
    Silence::Unread,
    Silence::Complete,
    Silence::Head,
    Silence::Body,
    Silence::Continue,
];

fn bench(behavior: Behavior) -> Bench {
    let mut bench = Bench::with_password(behavior).in_order();
    bench.options.timeouts = Timeouts::within(Duration::from_millis(400));
    bench.options.retry = RetryPolicy::default();
    bench
}

/// Runs `use_it` at a registry that is mute for one kind of request; returns the
/// failure, and the number of such requests.
fn failure(
    mut bench: Bench,
    (method, part): (&'static str, &'static str),
    silence: Silence,
    use_it: Use,
) -> (Error, usize) {
    bench
        .registry
        .fail(usize::MAX, method, part, Fault::Mute(silence));
    bench.parallel = 1;
    let error = use_it(&bench).unwrap_err();
    let fits = |request: &Request| request.method == method && request.target.contains(part);
    let count = bench.registry.requests().into_iter().filter(fits).count();
    (error, count)
}

fn push(bench: &Bench) -> Result<()> {
    bench.push(&image(3, &[3000])).map(drop)
}

fn push_much(bench: &Bench) -> Result<()> {
    // More than the system takes from us and keeps for who does not read.
    bench.push(&image(3, &[16 << 20])).map(drop)
}

fn push_in_chunks(bench: &Bench) -> Result<()> {
    bench.registry.behave(Behavior {
        chunks_only: true,
        ..Behavior::default()
    });
    bench.registry.fail(
        usize::MAX,
        "PATCH",
        "/uploads/",
        Fault::Mute(Silence::Complete),
    );
    push(bench)
}

fn pull(bench: &Bench) -> Result<()> {
    let image = image(3, &[3000]);
    bench.registry.change(|contents| {
        for blob in image.blobs() {
            let mut bytes = Vec::new();
            let mut reader = blob.content().open(0).unwrap();
            reader.read_to_end(&mut bytes).unwrap();
            let key = (REPOSITORY.to_owned(), blob.digest.to_string());
            contents.blobs.insert(key, bytes);
        }
    });
    let repository = bench.repository()?;
    repository.manifest("1")?;
    let blob = image.blobs().iter().find(|blob| blob.size == 3000).unwrap();
    repository.read_blob(&blob.digest, blob.size, &mut Vec::new())
}

#[test]
fn each_step_at_a_mute_registry_is_tried_twice_at_most() {
    let token = || Auth::Bearer {
        users: (USER.to_owned(), PASSWORD.to_owned(), "x".to_owned()),
        uses: 9,
    };
    let steps: [(&str, &str, Use); 8] = [
        ("GET", "/token", pull),
        ("GET", "/manifests/", pull),
        ("GET", "/blobs/sha256", pull),
        ("HEAD", "/manifests/", push),
        ("HEAD", "/blobs/", push),
        ("POST", "/uploads/", push),
        ("PUT", "/uploads/", push),
        ("PUT", "/manifests/", push),
    ];
    thread::scope(|scope| {
        for (method, part, use_it) in steps {
            for silence in ALL {
                // An answer without a body, or with one that is not read.
                if silence == Silence::Body && method != "GET" {
                    continue;
                }
                let behavior = Behavior {
                    auth: if part == "/token" {
                        token()
                    } else {
                        Auth::Open
                    },
                    ..Behavior::default()
                };
                scope.spawn(move || {
                    let step = (method, part);
                    let (error, count) = failure(bench(behavior), step, silence, use_it);
                    let text = text_of(&error);
                    assert!(error.is_timeout(), "{step:?} {silence:?}: {text}");
                    assert!(count <= 2, "{step:?} {silence:?}: {count}");
                });
            }
        }
    });
}

#[test]
fn a_body_that_is_not_read_is_sent_twice_at_most() {
    let step = ("PUT", "/uploads/");
    let (error, count) = failure(bench(Behavior::default()), step, Silence::Unread, push_much);
    assert!(error.is_timeout(), "{}", text_of(&error));
    assert_eq!(count, 2);
}

#[test]
fn chunks_that_have_no_answer_are_tried_twice() {
    let bench = bench(Behavior::default());
    let error = push_in_chunks(&bench).unwrap_err();
    assert!(error.is_timeout(), "{}", text_of(&error));
    let requests = bench.registry.requests();
    let chunks = requests.iter().filter(|one| one.method == "PATCH");
    assert_eq!(chunks.count(), 2);
}

/// Waits take no time, and the clock is right.
struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "threads wait in real time")]
    fn start() -> Self {
        Self(Instant::now())
    }
}

impl ClientMonitor for Clock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wait(&self, _: Duration) {}

    fn random(&self) -> u64 {
        0
    }

    fn is_interrupted(&self) -> bool {
        false
    }

    fn report(&self, _: Event<'_>) {}
}

#[test]
fn threads_do_not_wait_in_turn_for_a_mute_token_server() {
    let users = (USER.to_owned(), PASSWORD.to_owned(), "x".to_owned());
    let mut bench = bench(Behavior {
        auth: Auth::Bearer { users, uses: 9 },
        ..Behavior::default()
    });
    bench.options.timeouts = Timeouts::within(Duration::from_millis(1500));
    let mute = Fault::Mute(Silence::Complete);
    bench.registry.fail(usize::MAX, "GET", "/token", mute);
    let monitor: Arc<dyn ClientMonitor> = Arc::new(Clock::start());
    let client = Client::connect(&bench.registry.name(), &bench.options, &monitor).unwrap();
    let repository = Repository::to_pull(Arc::new(client), REPOSITORY);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let error = repository.manifest("1").unwrap_err();
                assert!(error.is_timeout(), "{}", text_of(&error));
            });
        }
    });
    let requests = bench.registry.requests();
    let tokens = requests.iter().filter(|one| one.target.contains("/token"));
    // In turn, each thread would ask twice.
    assert!(tokens.count() < 16);
}

#[test]
fn a_mute_server_is_not_a_registry() {
    // It answers neither https nor http, which is tried for a registry here.
    let bench = bench(Behavior::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = listener.local_addr().unwrap().to_string();
    let monitor: Arc<dyn ClientMonitor> = bench.monitor.clone();
    let connected = Client::connect(&name, &bench.options, &monitor);
    let error = connected.map(drop).unwrap_err();
    let Error::Network { reason, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(reason.kind, NetworkKind::Timeout);
    let text = text_of(&error);
    assert_eq!(
        text,
        format!(
            "cannot connect to `{name}`: waiting for the response timed out after 200ms in each of 2 attempts"
        )
    );
}

#[test]
fn a_transfer_that_moves_is_waited_for() {
    let bench = bench(Behavior::default());
    // Nine waits, each shorter than that for an answer, and longer in all.
    let slow = Fault::Slow(Duration::from_millis(120));
    bench.registry.fail(1, "GET", "/blobs/", slow);
    let waited = pull(&bench);
    assert!(waited.is_ok(), "{waited:?}");
}
