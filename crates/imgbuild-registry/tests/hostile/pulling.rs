//! Pulling from registries that cut, damage and lie.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use imgbuild_oci::destination::{Destination, WriteOptions, write};
use imgbuild_oci::digest::Digest;
use imgbuild_oci::image::{Image, Platforms};
use imgbuild_oci::monitor::Monitor;
use imgbuild_registry::client::Client;
use imgbuild_registry::error::Result;
use imgbuild_registry::pull;
use imgbuild_testing::registry::{Answer, Auth, Behavior, Fault};

use crate::support::{Bench, PASSWORD, REPOSITORY, USER, image, index, text_of};

fn pulled(bench: &Bench) -> Result<Image> {
    pull::image(&bench.repository()?, "1", &Platforms::All)
}

/// Reads every blob, as a copy to a layout does.
fn read_all(bench: &Bench, image: &Image) -> Result<()> {
    let repository = bench.repository()?;
    for blob in image.blobs() {
        let mut bytes = Vec::new();
        repository.read_blob(&blob.digest, blob.size, &mut bytes)?;
        assert_eq!(Digest::of(&bytes), blob.digest);
    }
    Ok(())
}

fn bench_with(image: &Image) -> Bench {
    let bench = Bench::new(Behavior::default());
    bench.push(image).unwrap();
    bench
}

#[test]
fn what_was_pushed_is_pulled() {
    let index = index();
    let bench = bench_with(&index);
    let found = pulled(&bench).unwrap();
    assert_eq!(found.documents(), index.documents());
    read_all(&bench, &found).unwrap();
    let one = Platforms::One("linux/arm64".parse().unwrap());
    let found = pull::image(&bench.repository().unwrap(), "1", &one).unwrap();
    assert_eq!(found.root(), &index.documents()[1]);
    let none = pull::image(&bench.repository().unwrap(), "2", &one).unwrap_err();
    assert!(none.is_not_found(), "{none}");
}

#[test]
fn a_blob_that_is_cut_is_read_on() {
    for no_range in [false, true] {
        let image = image(3, &[300_000]);
        let bench = bench_with(&image);
        bench.registry.behave(Behavior {
            no_range,
            ..Behavior::default()
        });
        drop(bench.registry.requests());
        bench
            .registry
            .fail(3, "GET", "/blobs/", Fault::Truncate(100_000));
        read_all(&bench, &image).unwrap();
        let requests = bench.registry.requests();
        let ranges: Vec<&str> = requests
            .iter()
            .filter_map(|one| one.header("range"))
            .collect();
        assert!(
            !ranges.is_empty() && ranges[0] == "bytes=100000-",
            "{ranges:?}"
        );
    }
}

#[test]
fn a_blob_as_content_is_read_from_any_place_and_on() {
    let image = image(3, &[300_000]);
    let bench = bench_with(&image);
    let found = pulled(&bench).unwrap();
    bench
        .registry
        .fail(2, "GET", "/blobs/", Fault::Truncate(50_000));
    let blob = &found.blobs()[0];
    for offset in [0, 1, 299_999, 300_000] {
        let mut bytes = Vec::new();
        blob.content()
            .open(offset)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        let contents = bench.registry.contents();
        let whole = &contents.blobs[&(REPOSITORY.to_owned(), blob.digest.to_string())];
        assert_eq!(bytes, whole[usize::try_from(offset).unwrap()..]);
    }
    assert_eq!(blob.content().origin().unwrap().repository, REPOSITORY);
}

#[test]
fn a_damaged_blob_is_refused() {
    let image = image(3, &[3000]);
    let bench = bench_with(&image);
    bench.registry.fail(9, "GET", "/blobs/", Fault::Corrupt);
    let text = text_of(&read_all(&bench, &image).unwrap_err());
    assert!(
        text.contains("received bytes with the digest sha256:"),
        "{text}"
    );
}

/// Writes an image to a layout, as a copy does.
fn written(image: &Image, archive: bool) -> std::result::Result<(), String> {
    let directory = imgbuild_testing::Sandbox::new("none").unwrap();
    let path = directory.path("written");
    let destination = if archive {
        Destination::OciArchive(path, None)
    } else {
        Destination::Layout(path, None)
    };
    let interrupted = AtomicBool::new(false);
    let monitor = Monitor::new(&|_| {}, &interrupted);
    let written = write(
        image,
        &destination,
        WriteOptions {
            references: &[],
            threads: 2,
            sync: false,
            store: None,
        },
        &mut std::io::sink(),
        monitor,
    );
    written.map(drop).map_err(|error| format!("{error:?}"))
}

#[test]
fn a_damaged_blob_is_fetched_anew_where_it_can_be_written_anew() {
    let image = image(3, &[3000, 40]);
    for archive in [false, true] {
        let bench = bench_with(&image);
        bench.registry.fail(3, "GET", "/blobs/", Fault::Corrupt);
        written(&pulled(&bench).unwrap(), archive).unwrap();
        bench.registry.fail(99, "GET", "/blobs/", Fault::Corrupt);
        let error = written(&pulled(&bench).unwrap(), archive).unwrap_err();
        assert!(error.contains("Digest"), "{error}");
    }
}

#[test]
fn a_blob_that_is_damaged_on_its_way_to_another_registry_is_fetched_anew() {
    let image = image(3, &[30_000, 40]);
    let bench = bench_with(&image);
    let found = pulled(&bench).unwrap();
    bench.registry.fail(2, "GET", "/blobs/", Fault::Corrupt);
    let other = Bench::new(Behavior::default());
    let pushed = other.push(&found);
    pushed.unwrap_or_else(|error| panic!("{}", text_of(&error)));
    other.assert_has(&image);
}

#[test]
fn a_blob_of_another_size_is_refused() {
    let image = image(3, &[3000]);
    for size in ["2999", "3001", "99999999999"] {
        let bench = bench_with(&image);
        bench.registry.fail(
            99,
            "GET",
            "/blobs/",
            Fault::Header("content-length", Some(size.to_owned())),
        );
        let text = text_of(&read_all(&bench, &image).unwrap_err());
        assert!(
            text.contains(&format!("expected 3000 bytes, received {size}")),
            "{text}"
        );
    }
}

#[test]
fn a_body_without_an_end_is_left() {
    let image = image(3, &[3000]);
    let bench = bench_with(&image);
    bench.registry.fail(99, "GET", "/blobs/", Fault::Endless);
    let text = text_of(&read_all(&bench, &image).unwrap_err());
    assert!(text.contains("expected 3000 bytes, received "), "{text}");
    bench.registry.behave(Behavior::default());
    bench
        .registry
        .fail(99, "GET", "/manifests/", Fault::Endless);
    let text = text_of(&pulled(&bench).unwrap_err());
    assert!(
        text.contains("the response is larger than 4194304 bytes"),
        "{text}"
    );
    bench.registry.behave(Behavior::default());
    bench
        .registry
        .fail(99, "HEAD", "/manifests/", Fault::Answer(Answer::new(502)));
    assert!(bench.push(&image).is_err());
}

#[test]
fn a_manifest_that_is_damaged_is_read_again_and_then_refused() {
    let image = image(3, &[3000]);
    let bench = bench_with(&image);
    bench.registry.fail(2, "GET", "/manifests/", Fault::Corrupt);
    assert_eq!(pulled(&bench).unwrap().root(), image.root());
    bench
        .registry
        .fail(99, "GET", "/manifests/", Fault::Corrupt);
    let text = text_of(&pulled(&bench).unwrap_err());
    assert!(text.contains("received bytes with the digest"), "{text}");
}

#[test]
fn what_is_no_manifest_is_told() {
    let image = image(3, &[3000]);
    let page = Answer::new(200)
        .with("content-type", "text/html")
        .saying("<html>Sign in</html>");
    let list = Answer::new(200)
        .with("content-type", "application/json")
        .saying("{}");
    let untyped = Answer::new(200).saying("\u{feff}<html>Sign in</html>");
    let bare = Answer::new(200).saying("{}");
    let broken = Answer::new(200)
        .with("content-type", "application/vnd.oci.image.manifest.v1+json")
        .saying(r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":5}"#);
    for (answer, expected) in [
        (page, "the server returned a web page (a login portal?)"),
        (untyped, "the server returned a web page (a login portal?)"),
        (
            list,
            "not an image manifest or index, but `application/json`",
        ),
        (
            bare,
            "not an image manifest or index, but a document without a media type",
        ),
        (broken, "malformed manifest"),
    ] {
        let bench = bench_with(&image);
        bench
            .registry
            .fail(99, "GET", "/manifests/", Fault::Answer(answer));
        let text = text_of(&pulled(&bench).unwrap_err());
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_slow_registry_is_waited_for_and_a_silent_one_is_left() {
    let image = image(3, &[3000]);
    let bench = bench_with(&image);
    bench
        .registry
        .fail(1, "GET", "/blobs/", Fault::Slow(Duration::from_millis(50)));
    read_all(&bench, &image).unwrap();
    bench.registry.fail(
        99,
        "GET",
        "/blobs/",
        Fault::Slow(Duration::from_millis(1000)),
    );
    let text = text_of(&read_all(&bench, &image).unwrap_err());
    assert!(text.contains("timed out"), "{text}");
}

#[test]
fn a_registry_that_gives_a_byte_at_a_time_is_left() {
    let image = image(3, &[3000]);
    let bench = bench_with(&image);
    bench
        .registry
        .fail(usize::MAX, "GET", "/blobs/", Fault::Truncate(1));
    drop(bench.registry.requests());
    let text = text_of(&read_all(&bench, &image).unwrap_err());
    assert!(
        text.contains("the connection was closed unexpectedly"),
        "{text}"
    );
    assert!(bench.registry.requests().len() < 100);
}

#[test]
fn names_that_no_reference_has_do_no_harm() {
    let bench = Bench::new(Behavior::default());
    let repository = bench.repository().unwrap();
    for reference in ["", "a b", "../../x", "é\n", "a#b", "{}"] {
        assert_eq!(repository.manifest(reference).unwrap(), None);
    }
    let monitor: Arc<dyn imgbuild_registry::monitor::ClientMonitor> = bench.monitor.clone();
    for registry in ["", "localhost:99999", "a b", "[::1", "localhost:x"] {
        let connected = Client::connect(registry, &bench.options, &monitor);
        assert!(connected.is_err(), "{registry}");
    }
}

#[test]
fn answers_without_their_headers_will_do() {
    let image = image(3, &[3000]);
    for header in ["docker-content-digest", "content-type"] {
        let bench = bench_with(&image);
        bench
            .registry
            .fail(99, "GET", "/", Fault::Header(header, None));
        assert_eq!(pulled(&bench).unwrap().root(), image.root(), "{header}");
        read_all(&bench, &image).unwrap();
    }
}

#[test]
fn what_is_copied_between_repositories_keeps_its_digests() {
    let index = index();
    let bench = bench_with(&index);
    let found = pulled(&bench).unwrap();
    let other = Bench::new(Behavior::default());
    other.push(&found).unwrap();
    other.assert_has(&index);
    let client = Arc::clone(bench.repository().unwrap().client());
    assert!(client.traffic().requests > 0);
}

#[test]
fn what_others_do_not_find_is_not_missing_in_the_registry() {
    let users = (USER.to_owned(), PASSWORD.to_owned(), String::new());
    let auth = Auth::Bearer {
        users,
        uses: usize::MAX,
    };
    let bench = Bench::with_password(Behavior {
        auth,
        ..Behavior::default()
    });
    let nothing = Answer::new(404).saying("default backend - 404");
    bench
        .registry
        .fail(99, "GET", "/token", Fault::Answer(nothing));
    let repository = bench.repository().unwrap();
    for error in [
        repository.manifest("1").unwrap_err(),
        repository.manifest_digest("1").unwrap_err(),
    ] {
        let text = text_of(&error);
        assert!(
            text.contains("the token server answered 404 Not Found"),
            "{text}"
        );
    }
}
