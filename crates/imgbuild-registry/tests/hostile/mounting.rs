//! Mounting blobs from a repository that has them, and what is done where that
//! fails.

use std::sync::atomic::Ordering;

use imgbuild_oci::image::Image;
use imgbuild_registry::error::{Error, Result};
use imgbuild_registry::push::{PushOptions, Pushed, push};
use imgbuild_registry::repository::Repository;
use imgbuild_testing::registry::{Answer, Auth, Behavior, Fault};

use crate::support::{Bench, IDENTITY, PASSWORD, REPOSITORY, USER, image, text_of};

const OTHER: &str = "other/app";

/// Pushes what the first repository has to the other one.
fn push_on(bench: &Bench, image: &Image) -> Result<Pushed> {
    let repository = Repository::to_push(bench.client().unwrap(), OTHER);
    let options = PushOptions {
        tags: &["1".to_owned()],
        parallel: 2,
        mount_from: &[REPOSITORY.to_owned()],
        sent: None,
    };
    push(&repository, image, options)
}

#[track_caller]
fn assert_other_has(bench: &Bench, image: &Image) {
    let contents = bench.registry.contents();
    let key = (OTHER.to_owned(), "1".to_owned());
    let tagged = contents.manifests.get(&key).map(|(_, bytes)| bytes);
    assert_eq!(tagged, Some(&image.root().bytes));
}

#[test]
fn blobs_are_mounted_from_a_repository_that_has_them() {
    for (no_mount, expected) in [(false, (0, 3)), (true, (3, 0))] {
        let bench = Bench::new(Behavior {
            no_mount,
            ..Behavior::default()
        });
        let image = image(5, &[3000, 4000]);
        bench.push(&image).unwrap();
        let pushed = push_on(&bench, &image).unwrap();
        assert_eq!((pushed.uploaded, pushed.mounted), expected);
    }
}

#[test]
fn what_cannot_be_mounted_is_sent_without_ado() {
    for fault in [
        Fault::Answer(Answer::new(403)),
        Fault::Answer(Answer::new(500)),
        Fault::Answer(Answer::new(503)),
        Fault::Header("location", None),
        Fault::Cut,
    ] {
        let bench = Bench::new(Behavior {
            no_mount: true,
            ..Behavior::default()
        });
        let image = image(5, &[3000, 4000]);
        bench.push(&image).unwrap();
        bench
            .registry
            .fail(usize::MAX, "POST", "mount=", fault.clone());
        let pushed = push_on(&bench, &image);
        let pushed = pushed.unwrap_or_else(|error| panic!("{fault:?}: {}", text_of(&error)));
        assert_eq!(pushed.uploaded, 3, "{fault:?}");
        assert_other_has(&bench, &image);
        assert!(bench.monitor.waits.lock().unwrap().is_empty(), "{fault:?}");
        let requests = bench.registry.requests();
        let mounts = requests.iter().filter(|one| one.target.contains("mount="));
        assert!(mounts.count() <= 6, "{fault:?}");
    }
}

#[test]
fn one_cut_does_not_cost_a_mount() {
    let bench = Bench::new(Behavior::default());
    let image = image(5, &[3000, 4000]);
    bench.push(&image).unwrap();
    bench.registry.fail(1, "POST", "mount=", Fault::Cut);
    let pushed = push_on(&bench, &image).unwrap();
    assert_eq!((pushed.uploaded, pushed.mounted), (0, 3));
}

#[test]
fn no_token_for_two_repositories_is_no_reason_to_fail() {
    let users = (USER.to_owned(), PASSWORD.to_owned(), IDENTITY.to_owned());
    let bench = Bench::with_password(Behavior {
        auth: Auth::Bearer { users, uses: 1000 },
        ..Behavior::default()
    });
    let image = image(5, &[3000, 4000]);
    bench.push(&image).unwrap();
    bench.registry.when(|request| {
        let is_for_two = request.path() == "/token" && request.parameters("scope").len() > 1;
        is_for_two.then(|| Fault::Answer(Answer::new(500)))
    });
    let pushed = push_on(&bench, &image).unwrap();
    assert_eq!((pushed.uploaded, pushed.mounted), (3, 0));
    assert_other_has(&bench, &image);
}

#[test]
fn what_was_mounted_in_words_only_is_sent() {
    let bench = Bench::new(Behavior {
        false_mount: true,
        ..Behavior::default()
    });
    let image = image(5, &[3000, 4000]);
    bench.push(&image).unwrap();
    push_on(&bench, &image).unwrap();
    assert_other_has(&bench, &image);
}

#[test]
fn a_mount_that_is_interrupted_ends_the_push() {
    let bench = Bench::new(Behavior::default());
    let image = image(5, &[3000]);
    bench.push(&image).unwrap();
    let monitor = bench.monitor.clone();
    bench.registry.when(move |request| {
        let is_mount = request.target.contains("mount=");
        monitor.is_interrupted.fetch_or(is_mount, Ordering::Relaxed);
        is_mount.then_some(Fault::Cut)
    });
    let error = push_on(&bench, &image).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{}", text_of(&error));
}
