//! Pushing to registries that cut, refuse, limit and lie.

use std::sync::atomic::Ordering;
use std::time::Duration;

use imgbuild_registry::error::Error;
use imgbuild_registry::push::{PushOptions, push};
use imgbuild_registry::repository::Repository;
use imgbuild_testing::registry::{Answer, Behavior, Fault, Location, Request};

use crate::support::{Bench, REPOSITORY, image, index, text_of};

#[test]
fn a_push_sends_everything_once_and_a_second_one_nothing() {
    let bench = Bench::new(Behavior::default());
    let image = image(1, &[1000, 200_000, 0]);
    let pushed = bench.push_as(&image, &["1", "latest"]).unwrap();
    assert_eq!((pushed.uploaded, pushed.present, pushed.mounted), (4, 0, 0));
    bench.assert_has(&image);
    let first: u64 = bench.monitor.sent.swap(0, Ordering::Relaxed);
    assert_eq!(
        first,
        image.blobs().iter().map(|blob| blob.size).sum::<u64>()
    );
    drop(bench.registry.requests());
    let pushed = bench.push_as(&image, &["1", "latest"]).unwrap();
    assert_eq!((pushed.uploaded, pushed.present), (0, 4));
    assert_eq!(pushed.unchanged, ["1", "latest"]);
    let methods: Vec<String> = bench
        .registry
        .requests()
        .into_iter()
        .map(|one| one.method)
        .collect();
    assert_eq!(methods, ["GET", "HEAD", "HEAD"]);
}

#[test]
fn one_changed_layer_is_one_upload_beside_the_config() {
    let bench = Bench::new(Behavior::default());
    bench.push(&image(1, &[1000, 2000])).unwrap();
    // The seeds of layers count up, so the second image shares one.
    let changed = image(2, &[2000, 70_000]);
    let pushed = bench.push(&changed).unwrap();
    assert_eq!((pushed.uploaded, pushed.present), (2, 1));
    bench.assert_has(&changed);
}

#[test]
fn an_index_goes_after_its_images_and_tags_come_last() {
    let bench = Bench::new(Behavior::default());
    let index = index();
    bench.push(&index).unwrap();
    bench.assert_has(&index);
    let requests = bench.registry.requests();
    let puts = requests
        .iter()
        .filter(|one| one.method == "PUT" && one.target.contains("/manifests/"));
    let targets: Vec<&str> = puts
        .map(|one| one.target.rsplit('/').next().unwrap())
        .collect();
    let mut expected: Vec<String> = index
        .documents()
        .iter()
        .map(|one| one.digest.to_string())
        .collect();
    expected.push("1".to_owned());
    assert_eq!(targets, expected);
    let last_blob = requests
        .iter()
        .rposition(|one| one.target.contains("/blobs/"));
    let first_manifest = requests
        .iter()
        .position(|one| one.method == "PUT" && one.target.contains("/manifests/"));
    assert!(last_blob < first_manifest);
}

#[test]
fn a_connection_that_is_cut_at_any_step_is_made_again() {
    for (method, part, fault) in [
        ("HEAD", "/manifests/", Fault::Cut),
        ("HEAD", "/blobs/sha256", Fault::Cut),
        ("HEAD", "/blobs/sha256", Fault::CutAnswer),
        ("POST", "/uploads/", Fault::Cut),
        ("POST", "/uploads/", Fault::CutAnswer),
        ("PUT", "/uploads/", Fault::Cut),
        ("PUT", "/uploads/", Fault::CutBody(0)),
        ("PUT", "/uploads/", Fault::CutBody(70_000)),
        ("PUT", "/uploads/", Fault::CutAnswer),
        ("PUT", "/manifests/", Fault::Cut),
        ("PUT", "/manifests/", Fault::CutAnswer),
    ] {
        let bench = Bench::new(Behavior::default());
        bench.registry.fail(2, method, part, fault.clone());
        let image = image(7, &[200_000]);
        let pushed = bench.push(&image);
        assert!(
            pushed.is_ok(),
            "{method} {part} {fault:?}: {}",
            text_of(&pushed.unwrap_err())
        );
        bench.assert_has(&image);
    }
}

#[test]
fn an_upload_goes_on_where_it_was_cut() {
    for location in [Location::Path, Location::Absolute, Location::Query] {
        let bench = Bench::new(Behavior {
            location,
            ..Behavior::default()
        });
        bench
            .registry
            .fail(1, "PUT", "/uploads/", Fault::CutBody(150_000));
        bench
            .registry
            .fail(1, "PATCH", "/uploads/", Fault::CutBody(30_000));
        let image = image(7, &[200_000]);
        bench.push(&image).unwrap();
        bench.assert_has(&image);
        let requests = bench.registry.requests();
        let ranges = requests
            .iter()
            .filter_map(|one| one.header("content-range"));
        let ranges: Vec<&str> = ranges.collect();
        assert_eq!(ranges, ["150000-199999", "180000-199999"], "{location:?}");
    }
}

#[test]
fn a_failure_that_stays_is_one_sentence_and_tags_nothing() {
    for (method, part) in [
        ("HEAD", "/blobs/sha256"),
        ("POST", "/uploads/"),
        ("PUT", "/uploads/"),
        ("PUT", "/manifests/1"),
    ] {
        for fault in [Fault::Cut, Fault::Answer(Answer::new(503))] {
            let bench = Bench::new(Behavior::default());
            bench.registry.fail(usize::MAX, method, part, fault.clone());
            let error = bench.push(&image(7, &[5000])).unwrap_err();
            let text = text_of(&error);
            let place = format!("`{}/me/app`", bench.registry.name());
            assert!(
                text.starts_with("cannot ") && text.contains(&place),
                "{text}"
            );
            let why = match fault {
                Fault::Cut => "the connection was closed unexpectedly",
                _ => "the registry answered 503 Service Unavailable",
            };
            assert!(text.ends_with(why), "{text}");
            assert_eq!(bench.tagged(), None, "{method} {part} {fault:?}");
        }
    }
}

#[test]
fn a_registry_that_limits_is_asked_again_when_it_says() {
    let bench = Bench::new(Behavior::default());
    let limit = Answer::new(429).with("retry-after", "7");
    bench
        .registry
        .fail(2, "POST", "/uploads/", Fault::Answer(limit));
    let image = image(3, &[5000]);
    bench.push(&image).unwrap();
    bench.assert_has(&image);
    let waits = bench.monitor.waits.lock().unwrap().clone();
    assert_eq!(waits.len(), 2);
    assert!(
        waits
            .iter()
            .all(|wait| *wait >= Duration::from_secs(7) && *wait < Duration::from_secs(9)),
        "{waits:?}"
    );
}

#[test]
fn a_registry_that_asks_for_too_long_a_wait_is_left() {
    let bench = Bench::new(Behavior::default());
    let limit = Answer::new(429)
        .with("retry-after", "3600")
        .saying(r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#);
    bench
        .registry
        .fail(9, "HEAD", "/manifests/1", Fault::Answer(limit));
    let text = text_of(&bench.push(&image(3, &[5000])).unwrap_err());
    assert!(
        text.contains("429 Too Many Requests, retry after 3600 s"),
        "{text}"
    );
    assert!(bench.monitor.waits.lock().unwrap().is_empty());
}

#[test]
fn refusals_are_told_in_the_registry_s_words_and_not_repeated() {
    let bench = Bench::new(Behavior::default());
    let denied = Answer::new(403)
        .saying(r#"{"errors":[{"code":"DENIED","message":"write_package\u001b[2J\nx"}]}"#);
    bench
        .registry
        .fail(9, "POST", "/uploads/", Fault::Answer(denied));
    let error = bench.push(&image(3, &[5000])).unwrap_err();
    let text = text_of(&error);
    assert!(
        text.contains("the registry answered 403 Forbidden: DENIED: write_package"),
        "{text}"
    );
    assert!(!text.contains(['\u{1b}', '\n']), "{text:?}");
    assert!(bench.monitor.waits.lock().unwrap().is_empty());
}

#[test]
fn uploads_are_chunked_where_one_request_is_too_much() {
    for behavior in [
        Behavior {
            max_body: Some(100_000),
            ..Behavior::default()
        },
        Behavior {
            max_body: Some(20_000),
            ..Behavior::default()
        },
        Behavior {
            chunks_only: true,
            ..Behavior::default()
        },
        Behavior {
            chunks_only: true,
            min_chunk: Some(100_000),
            ..Behavior::default()
        },
        Behavior {
            chunks_only: true,
            min_chunk: Some(1024),
            location: Location::Query,
            ..Behavior::default()
        },
    ] {
        let bench = Bench::new(behavior.clone());
        let image = image(5, &[350_000, 10]);
        let pushed = bench.push(&image);
        assert!(
            pushed.is_ok(),
            "{behavior:?}: {}",
            text_of(&pushed.unwrap_err())
        );
        bench.assert_has(&image);
        let requests = bench.registry.requests();
        let chunks = requests
            .iter()
            .filter(|one| one.method == "PATCH" && !one.body.is_empty());
        assert!(chunks.count() > 3, "{behavior:?}");
    }
}

#[test]
fn a_limit_below_every_chunk_is_told() {
    let bench = Bench::new(Behavior {
        max_body: Some(100),
        ..Behavior::default()
    });
    let text = text_of(&bench.push(&image(5, &[350_000])).unwrap_err());
    assert!(text.contains("413 Payload Too Large"), "{text}");
}

#[test]
fn chunks_are_sent_again_from_where_the_registry_is() {
    let bench = Bench::new(Behavior {
        chunks_only: true,
        ..Behavior::default()
    });
    bench
        .registry
        .fail(1, "PATCH", "/uploads/", Fault::ShortWrite(30_000));
    bench
        .registry
        .fail(1, "PATCH", "/uploads/", Fault::CutAnswer);
    let elsewhere = Answer::new(416);
    bench
        .registry
        .fail(1, "PATCH", "/uploads/", Fault::Answer(elsewhere));
    let image = image(5, &[350_000]);
    bench.push(&image).unwrap();
    bench.assert_has(&image);
}

#[test]
fn a_registry_that_always_says_416_is_left() {
    let bench = Bench::new(Behavior {
        chunks_only: true,
        ..Behavior::default()
    });
    bench.registry.fail(
        usize::MAX,
        "PATCH",
        "/uploads/",
        Fault::Answer(Answer::new(416)),
    );
    let text = text_of(&bench.push(&image(5, &[350_000])).unwrap_err());
    assert!(text.contains("416 Range Not Satisfiable"), "{text}");
    assert_eq!(bench.tagged(), None);
}

#[test]
fn a_registry_without_some_methods_or_headers_will_do() {
    for behavior in [
        Behavior {
            no_head: true,
            ..Behavior::default()
        },
        Behavior {
            no_mount: true,
            ..Behavior::default()
        },
        Behavior {
            no_digest: true,
            ..Behavior::default()
        },
        Behavior {
            no_range: true,
            no_head: true,
            ..Behavior::default()
        },
    ] {
        let bench = Bench::new(behavior.clone());
        let image = image(5, &[35_000, 10]);
        for expected in [3, 0] {
            let pushed = bench.push(&image);
            let pushed = pushed.unwrap_or_else(|error| panic!("{behavior:?}: {}", text_of(&error)));
            assert_eq!(pushed.uploaded, expected, "{behavior:?}");
        }
        bench.assert_has(&image);
    }
}

#[test]
fn a_registry_that_knows_only_what_docker_sends_will_do() {
    let bench = Bench::new(Behavior {
        minimal: true,
        no_mount: true,
        no_digest: true,
        no_range: true,
        ..Behavior::default()
    });
    let image = image(5, &[350_000, 10, 0, 70_000]);
    let repository = Repository::to_push(bench.client().unwrap(), REPOSITORY);
    let options = PushOptions {
        tags: &["1".to_owned()],
        parallel: 1,
        mount_from: &[],
        sent: None,
    };
    for expected in [5, 0] {
        let pushed = push(&repository, &image, options);
        let pushed = pushed.unwrap_or_else(|error| panic!("{}", text_of(&error)));
        assert_eq!(pushed.uploaded, expected);
    }
    bench.assert_has(&image);
    // The first blob shows that one request does not do, not by chance either,
    // and no other tries it.
    let requests = bench.registry.requests();
    let whole = |one: &&Request| one.method == "PUT" && one.target.contains("/blobs/");
    let bodies = requests.iter().filter(whole);
    assert_eq!(bodies.filter(|one| !one.body.is_empty()).count(), 2);
    assert_eq!(bench.monitor.waits.lock().unwrap().len(), 2);
    let chunks = requests.iter().filter(|one| one.method == "PATCH");
    // As Docker sends it.
    for chunk in chunks {
        assert_eq!(chunk.header("content-range"), None);
    }
}

#[test]
fn a_registry_that_claims_more_bytes_than_were_sent_is_left() {
    let bench = Bench::new(Behavior {
        chunks_only: true,
        ..Behavior::default()
    });
    let lie = Fault::Header("range", Some("0-99999999".to_owned()));
    bench.registry.fail(usize::MAX, "PATCH", "/uploads/", lie);
    let text = text_of(&bench.push(&image(5, &[350_000])).unwrap_err());
    assert!(text.contains("100000000"), "{text}");
    assert_eq!(bench.tagged(), None);
}

#[test]
fn a_manifest_that_is_refused_is_told_once_for_its_tag() {
    let bench = Bench::new(Behavior::default());
    let refusal = Answer::new(400)
        .saying(r#"{"errors":[{"code":"MANIFEST_INVALID","message":"no such thing here"}]}"#);
    bench
        .registry
        .fail(usize::MAX, "PUT", "/manifests/", Fault::Answer(refusal));
    let text = text_of(&bench.push(&image(5, &[3000])).unwrap_err());
    assert!(
        text.contains("400 Bad Request: MANIFEST_INVALID: no such thing here"),
        "{text}"
    );
    assert_eq!(bench.tagged(), None);
}

#[test]
fn a_registry_may_allow_manifests_under_tags_only() {
    for status in [400, 401, 403, 404, 405, 501] {
        let bench = Bench::new(Behavior::default());
        let refusal = Fault::Answer(Answer::new(status));
        bench
            .registry
            .fail(usize::MAX, "PUT", "/manifests/sha256", refusal);
        let image = image(5, &[3000]);
        bench.push(&image).unwrap();
        assert!(bench.tagged().is_some(), "{status}");
    }
}

#[test]
fn a_missing_location_is_told() {
    let bench = Bench::new(Behavior {
        location: Location::Missing,
        ..Behavior::default()
    });
    let text = text_of(&bench.push(&image(5, &[3000])).unwrap_err());
    assert!(
        text.contains("the registry returned no valid upload URL"),
        "{text}"
    );
}

#[test]
fn what_the_registry_says_to_have_is_compared() {
    let other = format!("sha256:{}", "0".repeat(64));
    for (method, part) in [("PUT", "/uploads/"), ("PUT", "/manifests/sha256")] {
        let bench = Bench::new(Behavior::default());
        let lie = Fault::Header("docker-content-digest", Some(other.clone()));
        bench.registry.fail(usize::MAX, method, part, lie);
        let text = text_of(&bench.push(&image(5, &[3000])).unwrap_err());
        assert!(text.contains("but the registry reports"), "{text}");
        assert_eq!(bench.tagged(), None);
    }
}

#[test]
fn bytes_that_were_damaged_on_their_way_are_sent_again() {
    let bench = Bench::new(Behavior::default());
    let damaged = Answer::new(400).saying(r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
    bench
        .registry
        .fail(1, "PUT", "/uploads/", Fault::Answer(damaged));
    let image = image(5, &[3000]);
    bench.push(&image).unwrap();
    bench.assert_has(&image);
}

#[test]
fn a_blob_that_the_registry_forgets_is_sent_again() {
    let bench = Bench::new(Behavior::default());
    // It says that everything is there, once for each blob.
    bench
        .registry
        .fail(3, "HEAD", "/blobs/", Fault::Answer(Answer::new(200)));
    let image = image(5, &[3000, 4000]);
    bench.push(&image).unwrap();
    bench.assert_has(&image);
}

#[test]
fn what_was_sent_before_an_interruption_is_not_sent_again() {
    let bench = Bench::new(Behavior::default());
    let image = image(5, &[3000, 4000, 5000]);
    let monitor = bench.monitor.clone();
    // The run is stopped when the config would be sent, after all layers.
    let mut uploads = 0;
    bench.registry.when(move |request| {
        uploads += usize::from(request.method == "PUT" && request.target.contains("/uploads/"));
        monitor
            .is_interrupted
            .store(uploads >= 3, Ordering::Relaxed);
        None
    });
    let error = bench.push(&image).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{}", text_of(&error));
    assert_eq!(bench.tagged(), None);
    bench.registry.behave(Behavior::default());
    bench.monitor.is_interrupted.store(false, Ordering::Relaxed);
    let pushed = bench.push(&image).unwrap();
    assert!(pushed.uploaded < 4 && pushed.present > 0, "{pushed:?}");
    bench.assert_has(&image);
}

#[test]
fn two_pushes_at_once_both_succeed() {
    let bench = Bench::new(Behavior::default());
    let image = image(5, &[3000, 400_000, 5000]);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| bench.push(&image))).collect();
        for run in runs {
            assert!(run.join().unwrap().is_ok());
        }
    });
    bench.assert_has(&image);
}

#[test]
fn a_registry_that_never_answers_is_left() {
    let bench = Bench::new(Behavior::default());
    let slow = Fault::Slow(Duration::from_secs(3));
    bench.registry.fail(9, "GET", "/v2/", slow);
    let text = match bench.client() {
        Ok(_) => bench
            .push(&image(5, &[10]))
            .map_or_else(|error| text_of(&error), |_| String::new()),
        Err(error) => text_of(&error),
    };
    // Its head came in time, and nothing else is wanted of it.
    assert_eq!(text, "");
    let bench = Bench::new(Behavior::default());
    bench.registry.when(|request| {
        if request.target.contains("/manifests/") {
            std::thread::sleep(Duration::from_millis(900));
        }
        None
    });
    let text = text_of(&bench.push(&image(5, &[10])).unwrap_err());
    assert!(
        text.ends_with("timed out after 600ms in each of 2 attempts"),
        "{text}"
    );
}

#[test]
fn images_that_an_index_has_lost_are_sent_again() {
    let bench = Bench::new(Behavior::default());
    let index = index();
    bench.push(&index).unwrap();
    // As whoever removes what has no tag does it.
    let lost = index.documents()[0].digest.to_string();
    bench.registry.change(|contents| {
        contents.manifests.retain(|(_, name), _| *name != lost);
        contents.blobs.clear();
    });
    let pushed = bench.push(&index).unwrap();
    assert_eq!(pushed.unchanged, ["1"]);
    bench.assert_has(&index);
    let contents = bench.registry.contents();
    for document in index.documents() {
        let key = (REPOSITORY.to_owned(), document.digest.to_string());
        assert!(contents.manifests.contains_key(&key));
    }
}
