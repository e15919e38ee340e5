//! In which way blobs are sent: what a registry refuses, forgets or fails with
//! once does not end a push that goes in another way.

use imgbuild_registry::push::{PushOptions, push};
use imgbuild_registry::repository::Repository;
use imgbuild_testing::registry::{Answer, Behavior, Fault, Request};

use crate::support::{Bench, REPOSITORY, image, text_of};

/// No chunk above an eighth of ours, and nobody is told how far it is.
fn ghcr() -> Behavior {
    Behavior {
        max_chunk: Some(8 << 10),
        no_status: true,
        ..Behavior::default()
    }
}

/// Only the first chunk is kept, and what is small must be the last.
fn ecr() -> Behavior {
    Behavior {
        one_chunk: true,
        min_part: Some(10 << 10),
        ..Behavior::default()
    }
}

fn bench(behavior: Behavior) -> Bench {
    let mut bench = Bench::new(behavior);
    bench.options.retry.attempts = 6;
    bench
}

#[track_caller]
fn assert_pushed(bench: &Bench, what: &str) {
    let image = image(7, &[350_000]);
    let pushed = bench.push(&image);
    pushed.unwrap_or_else(|error| panic!("{what}: {}", text_of(&error)));
    bench.assert_has(&image);
}

fn wholes(requests: &[Request]) -> usize {
    let is_whole = |one: &&Request| one.method == "PUT" && one.target.contains("/uploads/");
    let wholes = requests.iter().filter(is_whole);
    wholes.filter(|one| one.body.len() > 1000).count()
}

#[test]
fn one_failure_does_not_end_a_push() {
    let with_status = Behavior {
        no_status: false,
        ..ghcr()
    };
    let no_parts = Behavior {
        min_part: Some(1 << 20),
        no_status: true,
        ..Behavior::default()
    };
    for behavior in [ghcr(), with_status, ecr(), no_parts] {
        for fault in [
            Fault::Cut,
            Fault::CutBody(100_000),
            Fault::CutBody(300_000),
            Fault::Answer(Answer::new(500)),
            Fault::Answer(Answer::new(503)),
            Fault::Answer(Answer::new(404)),
        ] {
            for times in 1..=3 {
                let bench = bench(behavior.clone());
                bench
                    .registry
                    .fail(times, "PUT", "/uploads/", fault.clone());
                assert_pushed(&bench, &format!("{times} times {fault:?} by {behavior:?}"));
            }
        }
    }
}

#[test]
fn a_failure_that_passes_does_not_change_the_way() {
    for behavior in [ghcr(), ecr(), Behavior::default()] {
        for status in [429, 500, 502, 503] {
            let bench = bench(behavior.clone());
            let fault = Fault::Answer(Answer::new(status));
            bench.registry.fail(1, "PUT", "/uploads/", fault);
            assert_pushed(&bench, "once");
            let requests = bench.registry.requests();
            assert!(requests.iter().all(|one| one.method != "PATCH"), "{status}");
        }
    }
}

#[test]
fn who_says_when_to_come_back_gets_the_same_again() {
    let bench = bench(Behavior::default());
    let limit = Answer::new(503).with("retry-after", "3");
    bench
        .registry
        .fail(4, "PUT", "/uploads/", Fault::Answer(limit));
    assert_pushed(&bench, "four times");
    let requests = bench.registry.requests();
    assert!(requests.iter().all(|one| one.method != "PATCH"));
}

#[test]
fn chunks_that_are_not_kept_are_left_soon_and_with_waits() {
    let bench = bench(Behavior {
        no_status: true,
        ..ecr()
    });
    bench
        .registry
        .fail(1, "PUT", "/uploads/", Fault::CutBody(300_000));
    assert_pushed(&bench, "one cut");
    let requests = bench.registry.requests();
    let is_start = |one: &&Request| one.method == "POST";
    // One is the config's.
    assert!(requests.iter().filter(is_start).count() <= 4);
    assert!(bench.monitor.waits.lock().unwrap().len() >= 2);
}

#[test]
fn chunks_that_are_too_large_are_halved_and_no_larger_one_follows() {
    let bench = bench(Behavior {
        chunks_only: true,
        ..ghcr()
    });
    assert_pushed(&bench, "chunks only");
    let requests = bench.registry.requests();
    let chunks = requests.iter().filter(|one| one.method == "PATCH");
    let sizes: Vec<usize> = chunks.map(|one| one.body.len()).collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
    assert_eq!(sizes[..4], [64 << 10, 32 << 10, 16 << 10, 8 << 10]);
    assert!(bench.monitor.waits.lock().unwrap().is_empty());
}

#[test]
fn what_passes_with_one_blob_is_not_done_to_the_next() {
    for fault in [
        Fault::CutBody(100_000),
        Fault::Answer(Answer::new(500)),
        Fault::Answer(Answer::new(413)),
    ] {
        let bench = bench(ghcr());
        bench.registry.fail(1, "PUT", "/uploads/", fault.clone());
        let image = image(7, &[350_000, 250_000, 150_000]);
        let repository = Repository::to_push(bench.client().unwrap(), REPOSITORY);
        let options = PushOptions {
            tags: &["1".to_owned()],
            parallel: 1,
            mount_from: &[],
            sent: None,
        };
        push(&repository, &image, options).unwrap();
        bench.assert_has(&image);
        let requests = bench.registry.requests();
        // The last two go whole, and the first did or was to.
        assert!(wholes(&requests) >= 3, "{fault:?}: {}", wholes(&requests));
    }
}

#[test]
fn a_code_for_everything_does_not_hide_the_status() {
    let invalid = r#"{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"invalid"}]}"#;
    for status in [400, 416] {
        let bench = bench(Behavior::default());
        let refusal = Answer::new(status).saying(invalid);
        bench
            .registry
            .fail(1, "PUT", "/uploads/", Fault::Answer(refusal.clone()));
        bench
            .registry
            .fail(usize::MAX, "PATCH", "/uploads/", Fault::Answer(refusal));
        assert_pushed(&bench, &format!("{status}"));
    }
}

#[test]
fn a_blob_of_one_byte_goes_in_a_chunk() {
    let bench = bench(Behavior {
        chunks_only: true,
        ..Behavior::default()
    });
    let image = image(7, &[1]);
    bench.push(&image).unwrap();
    bench.assert_has(&image);
}

#[test]
fn a_registry_that_takes_blobs_in_no_way_is_told() {
    for behavior in [
        Behavior {
            chunks_only: true,
            one_chunk: true,
            ..Behavior::default()
        },
        Behavior {
            max_body: Some(300_000),
            one_chunk: true,
            ..Behavior::default()
        },
        Behavior {
            chunks_only: true,
            max_chunk: Some(100),
            ..Behavior::default()
        },
    ] {
        let bench = bench(behavior.clone());
        let text = text_of(&bench.push(&image(7, &[350_000])).unwrap_err());
        assert!(text.starts_with("cannot upload the blob"), "{text}");
        let count = bench.registry.requests().len();
        assert!(count < 40, "{behavior:?}: {count} requests");
    }
}
