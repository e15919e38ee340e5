//! Answers that come before the body of a request was read.

use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use imgbuild_oci::image::Image;
use imgbuild_testing::registry::{Answer, Behavior, Ending, Fault};

use crate::support::{Bench, image, text_of};

const ENDINGS: [Ending; 3] = [Ending::Linger, Ending::Reset, Ending::Stall];

/// More than the system takes from us and keeps for who does not read.
const SIZE: usize = 16 << 20;

static IMAGE: LazyLock<Image> = LazyLock::new(|| image(7, &[SIZE]));

/// With time for the other side to read and hash so much.
fn patient_bench() -> Bench {
    let mut bench = Bench::new(Behavior::default());
    bench.options.chunk_bytes = 4 << 20;
    bench.options.timeouts.idle = Duration::from_secs(20);
    bench
}

fn bench(times: usize, answer: &Answer, ending: Ending) -> Bench {
    let bench = patient_bench();
    let fault = Fault::Early(answer.clone(), ending);
    bench.registry.fail(times, "PUT", "/uploads/", fault);
    bench
}

#[test]
fn a_refusal_is_told_and_ends_the_sending() {
    let denied = r#"{"errors":[{"code":"DENIED","message":"the disk is full"}]}"#;
    let denied = Answer::new(403).saying(denied);
    for ending in ENDINGS {
        let bench = bench(usize::MAX, &denied, ending);
        let text = text_of(&bench.push(&IMAGE).unwrap_err());
        assert!(
            text.ends_with("403 Forbidden: DENIED: the disk is full"),
            "{ending:?}: {text}"
        );
        let sent = bench.monitor.sent.load(Ordering::Relaxed);
        assert!(sent < SIZE as u64, "{ending:?}: {sent}");
        assert!(bench.monitor.waits.lock().unwrap().is_empty(), "{ending:?}");
    }
}

#[test]
fn a_registry_that_limits_is_asked_again_when_it_says_and_gets_the_same() {
    let limit = Answer::new(429).with("retry-after", "7");
    for ending in ENDINGS {
        let bench = bench(2, &limit, ending);
        bench.push(&IMAGE).unwrap();
        bench.assert_has(&IMAGE);
        let waits = bench.monitor.waits.lock().unwrap().clone();
        assert_eq!(waits.len(), 2, "{ending:?}: {waits:?}");
        let is_obeyed = |wait: &Duration| *wait >= Duration::from_secs(7);
        assert!(waits.iter().all(is_obeyed), "{ending:?}: {waits:?}");
        let requests = bench.registry.requests();
        assert!(requests.iter().all(|one| one.method != "PATCH"));
    }
}

#[test]
fn what_is_too_much_goes_in_chunks_of_the_usual_size() {
    for ending in ENDINGS {
        let bench = bench(1, &Answer::new(413), ending);
        bench.push(&IMAGE).unwrap();
        bench.assert_has(&IMAGE);
        let requests = bench.registry.requests();
        let chunks = requests.iter().filter(|one| one.method == "PATCH");
        assert!(chunks.map(|one| one.body.len()).eq([4 << 20; 4]));
        assert!(bench.monitor.waits.lock().unwrap().is_empty(), "{ending:?}");
    }
}

#[test]
fn success_is_not_believed_before_all_was_sent() {
    for ending in [Ending::Linger, Ending::Reset] {
        let bench = bench(1, &Answer::new(201), ending);
        bench.push(&IMAGE).unwrap();
        bench.assert_has(&IMAGE);
        let lines = bench.lines();
        let is_cut = |line: &String| line.ends_with("the connection was closed unexpectedly");
        assert!(lines.iter().any(is_cut), "{ending:?}: {lines:?}");
    }
}

#[test]
fn a_redirect_is_followed_without_sending_all_twice() {
    for ending in ENDINGS {
        let bench = patient_bench();
        let mut is_moved = false;
        bench.registry.when(move |request| {
            let is_first =
                request.method == "PUT" && !is_moved && request.target.contains("/uploads/");
            is_moved |= is_first;
            let moved = Answer::new(307).with("location", request.target.as_str());
            is_first.then_some(Fault::Early(moved, ending))
        });
        bench.push(&IMAGE).unwrap();
        bench.assert_has(&IMAGE);
        let sent = bench.monitor.sent.load(Ordering::Relaxed);
        assert!(sent < 2 * SIZE as u64, "{ending:?}: {sent}");
    }
}

#[test]
fn a_server_that_asks_to_go_on_gets_the_rest() {
    let bench = patient_bench();
    bench
        .registry
        .fail(9, "PUT", "/uploads/", Fault::Interim(100));
    bench.push(&IMAGE).unwrap();
    bench.assert_has(&IMAGE);
    assert!(bench.monitor.waits.lock().unwrap().is_empty());
}

#[test]
fn who_ends_the_connection_without_an_answer_has_cut_it() {
    let bench = patient_bench();
    bench
        .registry
        .fail(usize::MAX, "PUT", "/uploads/", Fault::CutBody(100_000));
    bench
        .registry
        .fail(usize::MAX, "PATCH", "/uploads/", Fault::Cut);
    let text = text_of(&bench.push(&IMAGE).unwrap_err());
    assert!(
        text.ends_with("the connection was closed unexpectedly"),
        "{text}"
    );
}
