//! Blobs that are sent before their image is complete.

use std::thread;
use std::time::Duration;

use imgbuild_oci::image::Image;
use imgbuild_registry::error::Result;
use imgbuild_registry::push::{PushOptions, Pushed, Sent, push, send_ahead};
use imgbuild_registry::repository::Repository;
use imgbuild_testing::registry::{Answer, Behavior, Fault};

use crate::support::{Bench, REPOSITORY, image, text_of};

const TAGS: [&str; 1] = ["1"];

fn to_push(bench: &Bench) -> Repository {
    Repository::to_push(bench.client().unwrap(), REPOSITORY)
}

/// Hands out all layers, and waits until `wanted` blobs are in the registry.
fn hand_out(
    bench: &Bench,
    repository: &Repository,
    image: &Image,
    wanted: usize,
) -> (std::result::Result<(), String>, Result<Sent>) {
    send_ahead(repository, 2, |ahead| {
        for blob in image.blobs().iter().filter(|blob| !blob.is_config) {
            ahead.add(blob.clone());
            // As two layers with the same bytes are.
            ahead.add(blob.clone());
        }
        for _ in 0..4000 {
            if bench.registry.contents().blobs.len() >= wanted {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err("nothing is sent while the image is made".to_owned())
    })
}

fn finish(repository: &Repository, image: &Image, sent: &Sent) -> Result<Pushed> {
    let tags = TAGS.map(str::to_owned);
    let options = PushOptions {
        tags: &tags,
        parallel: 3,
        mount_from: &[],
        sent: Some(sent),
    };
    push(repository, image, options)
}

#[test]
fn layers_are_sent_while_the_image_is_made_and_not_asked_for_again() {
    let bench = Bench::new(Behavior::default());
    let image = image(5, &[3000, 400_000, 5000]);
    let repository = to_push(&bench);
    let (made, sent) = hand_out(&bench, &repository, &image, 3);
    made.unwrap();
    assert_eq!(bench.tagged(), None);
    let pushed = finish(&repository, &image, &sent.unwrap()).unwrap();
    assert_eq!((pushed.uploaded, pushed.present), (4, 0));
    let sizes: u64 = image.blobs().iter().map(|blob| blob.size).sum();
    assert_eq!(pushed.uploaded_bytes, sizes);
    bench.assert_has(&image);
    let requests = bench.registry.requests();
    let asked = requests.iter().filter(|request| request.method == "HEAD");
    let asked = asked.filter(|request| request.target.contains("/blobs/"));
    // Each layer once, and the config.
    assert_eq!(asked.count(), 4);
}

#[test]
fn what_the_registry_has_is_counted_once() {
    let bench = Bench::new(Behavior::default());
    let image = image(5, &[3000, 4000]);
    bench.push(&image).unwrap();
    let repository = to_push(&bench);
    let (made, sent) = hand_out(&bench, &repository, &image, 0);
    made.unwrap();
    let pushed = finish(&repository, &image, &sent.unwrap()).unwrap();
    assert_eq!((pushed.uploaded, pushed.present), (0, 3));
    assert_eq!(pushed.unchanged, TAGS);
}

#[test]
fn what_a_registry_forgets_in_between_is_sent_again() {
    let bench = Bench::new(Behavior::default());
    let image = image(5, &[3000, 4000]);
    let repository = to_push(&bench);
    let (made, sent) = hand_out(&bench, &repository, &image, 2);
    made.unwrap();
    bench.registry.change(|contents| contents.blobs.clear());
    let pushed = finish(&repository, &image, &sent.unwrap()).unwrap();
    assert!(pushed.uploaded >= 3, "{pushed:?}");
    bench.assert_has(&image);
}

#[test]
fn a_refusal_ends_the_sending_and_not_the_work() {
    let bench = Bench::new(Behavior::default());
    let text = r#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#;
    let refusal = Fault::Answer(Answer::new(403).saying(text));
    bench
        .registry
        .fail(usize::MAX, "POST", "/uploads/", refusal);
    let image = image(5, &[3000, 4000, 5000]);
    let repository = to_push(&bench);
    let (made, sent) = hand_out(&bench, &repository, &image, 0);
    made.unwrap();
    let text = text_of(&sent.unwrap_err());
    assert!(text.contains("403") && text.contains("not yours"), "{text}");
    assert!(bench.registry.contents().blobs.is_empty());
}

#[test]
fn when_the_work_fails_nothing_more_is_begun() {
    let bench = Bench::new(Behavior::default());
    let image = image(5, &[3000; 40]);
    let repository = to_push(&bench);
    let (made, sent) = send_ahead(&repository, 1, |ahead| {
        for blob in image.blobs() {
            ahead.add(blob.clone());
        }
        Err::<(), _>("a file has changed")
    });
    assert_eq!(made, Err("a file has changed"));
    drop(sent.unwrap());
    assert!(bench.registry.contents().blobs.len() < image.blobs().len());
    assert_eq!(bench.tagged(), None);
}
