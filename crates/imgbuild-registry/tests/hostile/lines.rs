//! Lines that are cut, and registries that forget what came over them.

use imgbuild_testing::registry::{Answer, Behavior, Fault, Request};

use crate::support::{Bench, image, text_of};

fn is_upload(request: &Request) -> bool {
    request.target.contains("/uploads/")
}

/// As `docker-registry` is: what was cut is thrown away with all of its upload.
fn forget_uploads(bench: &Bench) {
    bench.registry.when(|request| {
        let asks = request.method == "GET" && is_upload(request);
        let unknown =
            r#"{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"blob upload invalid"}]}"#;
        asks.then(|| Fault::Answer(Answer::new(404).saying(unknown)))
    });
}

/// Cuts every request whose body is longer.
fn cut_above(bench: &Bench, most: u64) {
    bench.registry.when(move |request| {
        let size = request.header("content-length");
        let size: u64 = size.and_then(|text| text.parse().ok()).unwrap_or_default();
        (size > most && is_upload(request)).then_some(Fault::CutBody(most))
    });
}

fn bodies(bench: &Bench) -> Vec<usize> {
    let requests = bench.registry.requests();
    let uploads = requests.iter().filter(|one| is_upload(one));
    let sizes = uploads.map(|one| one.body.len());
    sizes.filter(|size| *size > 0).collect()
}

#[test]
fn a_blob_goes_in_chunks_after_a_cut_that_all_was_lost_with() {
    let bench = Bench::new(Behavior::default());
    forget_uploads(&bench);
    cut_above(&bench, 100_000);
    let image = image(7, &[350_000]);
    bench.push(&image).unwrap();
    bench.assert_has(&image);
    let sizes = bodies(&bench);
    assert_eq!(sizes[0], 100_000, "{sizes:?}");
    let sum: usize = sizes.iter().sum();
    // What was cut is all that was sent twice; the config comes last.
    assert!(sum < 100_000 + 350_000 + 100, "{sizes:?}");
}

#[test]
fn chunks_become_smaller_until_the_line_bears_them() {
    let bench = Bench::new(Behavior::default());
    forget_uploads(&bench);
    cut_above(&bench, 20_000);
    let image = image(7, &[200_000, 100_000]);
    bench.push(&image).unwrap();
    bench.assert_has(&image);
}

#[test]
fn a_line_that_is_always_cut_is_told_as_that() {
    let bench = Bench::new(Behavior::default());
    forget_uploads(&bench);
    cut_above(&bench, 100);
    let text = text_of(&bench.push(&image(7, &[200_000])).unwrap_err());
    assert!(
        text.ends_with("the connection was closed unexpectedly"),
        "{text}"
    );
    assert_eq!(bench.tagged(), None);
    let count = bodies(&bench).len();
    assert!(count <= 8, "{count} tries");
}

#[test]
fn a_chunk_that_is_cut_is_sent_on_by_a_registry_that_keeps_it() {
    let bench = Bench::new(Behavior {
        chunks_only: true,
        ..Behavior::default()
    });
    bench
        .registry
        .fail(3, "PATCH", "/uploads/", Fault::CutBody(10_000));
    let image = image(7, &[200_000]);
    bench.push(&image).unwrap();
    bench.assert_has(&image);
    // Once in one request, which is refused, and once in chunks.
    let sum: usize = bodies(&bench).iter().sum();
    assert!(sum < 2 * 200_000 + 100, "{sum}");
}
