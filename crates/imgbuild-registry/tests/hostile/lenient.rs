//! Registries that other clients get by with.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzEncoder;
use imgbuild_oci::bounded::read_start;
use imgbuild_oci::document::MAX_DOCUMENT_BYTES;
use imgbuild_oci::image::Image;
use imgbuild_registry::client::{Client, Timeouts};
use imgbuild_registry::monitor::ClientMonitor;
use imgbuild_registry::repository::Repository;
use imgbuild_testing::FakeRegistry;
use imgbuild_testing::registry::{Answer, Auth, Behavior, Fault};

use crate::support::{Bench, PASSWORD, REPOSITORY, USER, image, index, text_of};

/// A registry that this login may write to, but not read: nothing, or no blobs.
fn unreadable(part: &'static str, status: u16, behavior: Behavior) -> Bench {
    let bench = Bench::with_password(behavior);
    bench.registry.when(move |request| {
        let is_read = request.method == "GET" || request.method == "HEAD";
        let is_there = request.target.contains(part) && !request.target.contains("/uploads/");
        let is_known = request.header("authorization").is_some() || status != 401;
        let denied = r#"{"errors":[{"code":"DENIED","message":"no"}]}"#;
        let answer = Answer::new(status).saying(denied);
        (is_read && is_there && is_known).then_some(Fault::Answer(answer))
    });
    bench
}

fn unreadable_lines(bench: &Bench) -> usize {
    let lines = bench.lines();
    let is_it = |line: &&String| line.starts_with("Unreadable");
    lines.iter().filter(is_it).count()
}

fn assert_all_is_sent(bench: &Bench, image: &Image) {
    for round in 1..=2 {
        let pushed = bench.push(image).unwrap();
        assert_eq!(pushed.uploaded, image.blobs().len());
        bench.assert_has(image);
        assert_eq!(unreadable_lines(bench), round, "{:?}", bench.lines());
    }
}

#[test]
fn a_login_that_may_only_write_sends_everything() {
    let no_digest = || Behavior {
        no_digest: true,
        ..Behavior::default()
    };
    for image in [image(3, &[3000, 50_000]), index()] {
        assert_all_is_sent(&unreadable("/manifests/", 403, no_digest()), &image);
        assert_all_is_sent(&unreadable("/me/app/", 403, no_digest()), &image);
        let tokens = Behavior {
            auth: Auth::Bearer {
                users: (USER.to_owned(), PASSWORD.to_owned(), String::new()),
                uses: 9,
            },
            ..Behavior::default()
        };
        assert_all_is_sent(&unreadable("/manifests/", 401, tokens), &image);
    }
}

#[test]
fn a_registry_that_cannot_be_read_is_sent_everything() {
    for status in [400, 402, 405, 406, 409, 410, 422, 451, 500, 501] {
        let bench = unreadable("/me/app/", status, Behavior::default());
        let image = image(3, &[3000]);
        bench.push(&image).unwrap();
        bench.assert_has(&image);
        assert_eq!(unreadable_lines(&bench), 1, "{status}");
    }
    for status in [200, 401] {
        let bench = Bench::new(Behavior::default());
        let empty = Fault::Answer(Answer::new(status));
        bench.registry.when(move |request| {
            let is_read = request.method != "PUT" && request.target.contains("/manifests/");
            is_read.then(|| empty.clone())
        });
        let image = image(3, &[3000]);
        bench.push(&image).unwrap();
        bench.assert_has(&image);
        assert_eq!(unreadable_lines(&bench), 1, "{status}");
    }
    let unavailable = unreadable("/me/app/", 503, Behavior::default());
    let text = text_of(&unavailable.push(&image(3, &[3000])).unwrap_err());
    assert!(text.contains("503 Service Unavailable"), "{text}");
}

#[test]
fn the_url_of_a_token_server_may_have_invalid_characters() {
    let bench = Bench::with_password(Behavior {
        auth: Auth::Bearer {
            users: (USER.to_owned(), PASSWORD.to_owned(), String::new()),
            uses: 9,
        },
        ..Behavior::default()
    });
    let realm = format!("http://{}/token?for=my registry", bench.registry.name());
    let challenge = format!(r#"Bearer realm="{realm}",service="x""#);
    let header = Fault::Header("www-authenticate", Some(challenge));
    bench.registry.fail(99, "GET", "/v2/", header);
    assert!(bench.repository().unwrap().manifest("1").unwrap().is_none());
    let requests = bench.registry.requests();
    let mut tokens = requests.iter().filter(|one| one.path() == "/token");
    assert!(tokens.any(|one| one.parameters("for") == ["my registry"]));
}

#[test]
fn blobs_that_may_not_be_read_are_sent() {
    let bench = unreadable("/blobs/", 403, Behavior::default());
    bench.push(&image(3, &[3000])).unwrap();
    let next = image(3, &[3000, 50_000]);
    let pushed = bench.push(&next).unwrap();
    assert_eq!(pushed.uploaded, next.blobs().len());
    bench.assert_has(&next);
}

#[test]
fn a_wrong_password_is_not_a_login_that_may_only_write() {
    let bench = Bench::with_password(Behavior {
        auth: Auth::Basic(USER.to_owned(), "another".to_owned()),
        ..Behavior::default()
    });
    let text = text_of(&bench.push(&image(3, &[3000])).unwrap_err());
    assert!(text.contains("401 Unauthorized"), "{text}");
    assert_eq!(unreadable_lines(&bench), 0);
}

#[test]
fn a_missing_permission_shows_before_anything_is_sent() {
    let bench = unreadable("/manifests/", 403, Behavior::default());
    let denied = Fault::Answer(Answer::new(403));
    bench.registry.fail(1, "POST", "/uploads/", denied);
    let repository = Repository::to_push(bench.client().unwrap(), REPOSITORY);
    repository.check_upload().unwrap();
    assert!(bench.registry.requests().len() == 1, "nothing is in doubt");
    let read = || repository.manifest("1");
    assert!(repository.client().if_readable(read).unwrap().is_none());
    let text = text_of(&repository.check_upload().unwrap_err());
    assert!(text.contains("403 Forbidden"), "{text}");
    drop(bench.registry.requests());
    for _ in 0..2 {
        repository.check_upload().unwrap();
    }
    assert_eq!(bench.registry.requests().len(), 1, "one upload is enough");
}

#[test]
fn a_manifest_may_be_compressed_on_its_way() {
    let image = image(3, &[3000]);
    let root = image.root();
    let zeros = vec![0; 1 + usize::try_from(MAX_DOCUMENT_BYTES).unwrap()];
    for (bytes, is_right) in [(&root.bytes, true), (&zeros, false)] {
        let packed = GzEncoder::new(&**bytes, Compression::fast());
        let answer = Answer::new(200)
            .with("content-type", root.media_type.as_str())
            .with("content-encoding", "gzip")
            .saying(read_start(packed, MAX_DOCUMENT_BYTES).unwrap());
        let bench = Bench::new(Behavior::default());
        let packed = Fault::Answer(answer);
        bench.registry.fail(99, "GET", "/manifests/", packed);
        let read = bench.repository().unwrap().manifest("1");
        let digest = read.map(|manifest| manifest.unwrap().digest);
        assert_eq!(digest.ok(), is_right.then_some(root.digest));
    }
}

fn page(status: u16) -> Answer {
    Answer::new(status)
        .with("content-type", "text/html; charset=utf-8")
        .saying("<html><title>Nothing here</title></html>")
}

#[test]
fn a_registry_needs_no_first_page() {
    for answer in [
        Answer::new(401),
        Answer::new(403),
        Answer::new(404),
        Answer::new(405),
        Answer::new(500),
        Answer::new(503),
        Answer::new(204),
        Answer::new(401).with("www-authenticate", "Digest realm=x"),
        Answer::new(302).with("location", "/login"),
        page(200),
        page(403),
        page(404),
        page(400),
        Answer::new(400),
    ] {
        let status = answer.status;
        let bench = Bench::new(Behavior::default());
        let first = Fault::Answer(answer);
        bench.registry.when(move |request| match request.path() {
            "/v2/" => Some(first.clone()),
            "/login" => Some(Fault::Answer(page(200))),
            _ => None,
        });
        let image = image(3, &[3000]);
        bench.push(&image).unwrap();
        bench.assert_has(&image);
        let repository = bench.repository().unwrap();
        assert!(repository.manifest("1").unwrap().is_some(), "{status}");
        assert!(repository.manifest("2").unwrap().is_none(), "{status}");
    }
}

#[test]
fn a_registry_with_pages_in_place_of_manifests_is_sent_everything() {
    for answer in [
        page(400),
        page(403),
        Answer::new(400),
        Answer::new(302).with("location", "/login"),
    ] {
        let bench = Bench::new(Behavior::default());
        let manifest = Fault::Answer(answer);
        bench.registry.when(move |request| {
            let is_read = request.method != "PUT" && request.target.contains("/manifests/");
            match request.path() {
                "/v2/" | "/login" => Some(Fault::Answer(page(200))),
                _ => is_read.then(|| manifest.clone()),
            }
        });
        let image = image(3, &[3000]);
        bench.push(&image).unwrap();
        bench.assert_has(&image);
        assert_eq!(unreadable_lines(&bench), 1, "{:?}", bench.lines());
    }
}

#[test]
fn a_token_server_may_answer_that_it_created_the_token() {
    let bench = Bench::new(Behavior::default());
    let realm = format!("Bearer realm=\"http://{}/token\"", bench.registry.name());
    bench.registry.when(move |request| {
        if request.path() == "/token" {
            let created = Answer::new(201).saying(r#"{"token":"x"}"#);
            return Some(Fault::Answer(created));
        }
        let refusal = Answer::new(401).with("www-authenticate", &realm);
        let has_token = request.header("authorization") == Some("Bearer x");
        (!has_token).then_some(Fault::Answer(refusal))
    });
    let image = image(3, &[3000]);
    bench.push(&image).unwrap();
    bench.assert_has(&image);
}

#[test]
fn a_server_that_has_only_pages_is_not_a_registry() {
    for (answer, expected) in [
        (
            page(404),
            "the server is not an OCI registry (HTTP status 404)",
        ),
        (page(403), "the server returned a web page"),
        (
            Answer::new(401),
            "the server is not an OCI registry (HTTP status 401)",
        ),
    ] {
        let bench = Bench::new(Behavior::default());
        let name = bench.registry.name();
        bench
            .registry
            .when(move |_| Some(Fault::Answer(answer.clone())));
        let read = bench.repository().unwrap().manifest("1");
        let pushed = read.and_then(|_| bench.push(&image(3, &[3000])));
        let text = text_of(&pushed.unwrap_err());
        let start = format!("cannot connect to `{name}`: {expected}");
        assert!(text.starts_with(&start), "{text}");
    }
}

#[test]
fn hints_before_a_large_answer_are_skipped() {
    let image = image(3, &[1 << 20, 1 << 20, 1 << 20]);
    let bench = Bench::new(Behavior::default());
    bench.push(&image).unwrap();
    for status in [100, 103] {
        bench.registry.fail(99, "GET", "/", Fault::Interim(status));
        let repository = bench.repository().unwrap();
        for blob in image.blobs() {
            let read = repository.read_blob(&blob.digest, blob.size, &mut Vec::new());
            assert!(read.is_ok(), "{status}: {read:?}");
        }
        assert!(!bench.lines().iter().any(|line| line.contains("cannot")));
    }
}

#[test]
fn a_head_without_an_end_is_not_http() {
    let bench = Bench::new(Behavior::default());
    let long = Answer::new(200).with("x", "y".repeat(1 << 20));
    bench
        .registry
        .fail(99, "GET", "/manifests/", Fault::Answer(long));
    let error = bench.repository().unwrap().manifest("1").unwrap_err();
    let text = text_of(&error);
    assert!(text.contains("response header is too big"), "{text}");
}

#[test]
fn a_redirect_may_have_characters_that_urls_do_not_have() {
    let image = image(3, &[3000]);
    let bench = Bench::new(Behavior::default());
    bench.push(&image).unwrap();
    let elsewhere = FakeRegistry::start(Behavior::default()).unwrap();
    let copy = bench.registry.contents();
    elsewhere.change(|contents| *contents = copy);
    bench.registry.behave(Behavior {
        redirect_blobs: Some(format!(
            "http://{}/v2/me/app/blobs/DIGEST?name=\"a b\"<é>",
            elsewhere.name()
        )),
        ..Behavior::default()
    });
    let repository = bench.repository().unwrap();
    for blob in image.blobs() {
        repository
            .read_blob(&blob.digest, blob.size, &mut Vec::new())
            .unwrap();
    }
    let names: Vec<_> = elsewhere.requests();
    assert!(
        names
            .iter()
            .all(|one| one.parameters("name") == ["\"a b\"<é>"])
    );
}

/// Starts a server that answers requests with these words, each on its own
/// connection, and nothing where they are empty; returns its name and the first
/// byte that each connection sent.
fn scripted(answers: &'static [&'static str]) -> (String, Receiver<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = listener.local_addr().unwrap().to_string();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut open: Vec<TcpStream> = Vec::new();
        for (answer, stream) in answers.iter().zip(listener.incoming()) {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 4096];
            let _count = stream.read(&mut bytes).unwrap();
            sender.send(bytes[0]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            open.push(stream);
        }
        thread::park();
    });
    (name, receiver)
}

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

const NEEDS_TLS: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";

/// The first byte of a TLS handshake.
const TLS: u8 = 0x16;

fn connect(name: &str, plain_http: bool) -> imgbuild_registry::error::Result<Client> {
    let mut bench = Bench::new(Behavior::default());
    bench.options.plain_http = plain_http;
    // Nothing here waits that long.
    bench.options.timeouts = Timeouts::within(Duration::from_secs(4000));
    let monitor: Arc<dyn ClientMonitor> = bench.monitor.clone();
    Client::connect(name, &bench.options, &monitor)
}

#[test]
fn plain_http_is_http_from_the_start() {
    let (name, starts) = scripted(&[FINE]);
    connect(&name, true).unwrap();
    assert_eq!(starts.recv().unwrap(), b'G');
}

#[test]
fn plain_http_does_not_keep_from_a_registry_with_tls() {
    let (name, starts) = scripted(&[NEEDS_TLS, NEEDS_TLS, NEEDS_TLS]);
    // It has no TLS, so it may be a registry that answers so.
    connect(&name, true).unwrap();
    let starts: Vec<u8> = starts.iter().take(3).collect();
    assert_eq!(starts, [b'G', TLS, b'G']);
}

#[test]
fn a_server_here_that_is_mute_to_tls_is_soon_asked_by_http() {
    let (name, starts) = scripted(&["", FINE]);
    connect(&name, false).unwrap();
    assert_eq!(
        [starts.recv().unwrap(), starts.recv().unwrap()],
        [TLS, b'G']
    );
}

#[test]
fn a_server_here_that_is_slow_with_tls_gets_all_the_time() {
    for answers in [&["", NEEDS_TLS, NEEDS_TLS], &["", "?\r\n\r\n", NEEDS_TLS]] {
        let (name, starts) = scripted(answers);
        let text = text_of(&connect(&name, false).unwrap_err());
        assert!(text.contains("the server does not use TLS"), "{text}");
        let starts: Vec<u8> = starts.iter().take(3).collect();
        assert_eq!(starts, [TLS, b'G', TLS]);
    }
}
