//! Adding to the index of a tag, alone and with others.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use imgbuild_oci::digest::Digest;
use imgbuild_oci::document::Document;
use imgbuild_oci::image::{Image, Platforms};
use imgbuild_oci::image::{PlatformEntry, PlatformIndex};
use imgbuild_registry::client::Client;
use imgbuild_registry::error::{Error, ProtocolError, Result};
use imgbuild_registry::monitor::{ClientMonitor, Event};
use imgbuild_registry::pull;
use imgbuild_registry::push::{PushOptions, push};
use imgbuild_registry::repository::Repository;
use imgbuild_registry::update::{Updated, platform_tag, update_index};
use imgbuild_testing::FakeRegistry;
use imgbuild_testing::registry::{Answer, Behavior, Fault};

use crate::support::{Bench, REPOSITORY, image, text_of};

/// The tag of all tests.
const TAG: &str = "1";

/// An image and what an index of it says.
struct Own {
    image: Image,
    index: PlatformIndex,
}

fn own(seed: u32, platform: &str) -> Own {
    let image = image(seed, &[500]);
    let mut index = PlatformIndex::default();
    let listed = PlatformEntry::new(image.root(), &platform.parse().unwrap());
    index.add(listed).unwrap();
    Own { image, index }
}

const WITHOUT_TAGS: PushOptions<'_> = PushOptions {
    tags: &[],
    parallel: 1,
    mount_from: &[],
    sent: None,
};

fn update(repository: &Repository, own: &Own) -> Result<Updated> {
    push(repository, &own.image, WITHOUT_TAGS)?;
    update_index(repository, TAG, &own.index, &own.image)
}

impl Bench {
    fn update(&self, own: &Own) -> Result<Updated> {
        update(&Repository::to_push(self.client()?, REPOSITORY), own)
    }

    /// The index that the tag names.
    fn index(&self) -> PlatformIndex {
        let repository = self.repository().unwrap();
        let image = pull::image(&repository, TAG, &Platforms::All).unwrap();
        PlatformIndex::of_image(&image).unwrap()
    }

    /// Asserts that the index ends with both if `other`, which has announced
    /// itself and read the index before `own` was in it, writes it late.
    #[track_caller]
    fn assert_survives(&self, own: &Own, other: &Own) {
        let repository = patient_repository(self);
        let updated = thread::scope(|scope| {
            let run = scope.spawn(|| update(&repository, own));
            let is_written = (0..20_000).any(|_| {
                thread::sleep(Duration::from_millis(1));
                self.tagged().is_some()
            });
            assert!(is_written);
            // A while later the other run takes our image away.
            thread::sleep(Duration::from_millis(300));
            self.put(TAG, &other.index.to_document());
            self.put(&place("linux/arm64"), other.image.root());
            run.join().unwrap()
        });
        let platforms = updated.unwrap().platforms;
        assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
        assert!(self.index().contains(&own.index) && self.index().contains(&other.index));
    }

    /// Puts a document under a tag, as another run would.
    fn put(&self, tag: &str, document: &Document) {
        put(&self.registry, tag, document);
    }
}

fn put(registry: &FakeRegistry, tag: &str, document: &Document) {
    registry.change(|contents| {
        for name in [tag.to_owned(), document.digest.to_string()] {
            let value = (document.media_type.clone(), document.bytes.clone());
            contents
                .manifests
                .insert((REPOSITORY.to_owned(), name), value);
        }
    });
}

/// What another run says while it is at it.
fn announcement(of: &Own) -> Document {
    let mut index = of.index.clone();
    let name = "dev.imgbuild.index.update".to_owned();
    index.annotations.insert(name, "other".to_owned());
    index.to_document()
}

fn place(platform: &str) -> String {
    platform_tag(TAG, &platform.parse().unwrap()).unwrap()
}

#[test]
fn images_are_added_replaced_and_left_alone() {
    let bench = Bench::new(Behavior::default());
    let (amd, arm) = (own(1, "linux/amd64"), own(10, "linux/arm64"));
    let updated = bench.update(&amd).unwrap();
    assert_eq!(updated.platforms, ["linux/amd64"]);
    let updated = bench.update(&arm).unwrap();
    assert_eq!(updated.platforms, ["linux/amd64", "linux/arm64"]);
    assert!(!updated.is_unchanged);
    let mut both = amd.index.clone();
    both.merge(arm.index.clone()).unwrap();
    assert_eq!(bench.tagged(), Some(both.to_document().bytes));
    assert_eq!(updated.digest, both.to_document().digest);

    drop(bench.registry.requests());
    assert!(bench.update(&arm).unwrap().is_unchanged);
    let requests = bench.registry.requests();
    assert!(requests.iter().all(|one| one.method != "PUT"));

    let newer = own(20, "linux/arm64");
    bench.update(&newer).unwrap();
    let mut expected = amd.index.clone();
    expected.merge(newer.index.clone()).unwrap();
    assert_eq!(bench.tagged(), Some(expected.to_document().bytes));
    // Each image alone, under a tag of its own.
    let contents = bench.registry.contents();
    for (platform, own) in [("linux/amd64", &amd), ("linux/arm64", &newer)] {
        let key = (REPOSITORY.to_owned(), place(platform));
        assert_eq!(contents.manifests[&key].1, own.image.root().bytes);
    }
}

#[test]
fn several_images_are_announced_and_put_each_under_its_platform() {
    let bench = Bench::new(Behavior::default());
    let (amd, arm) = (own(1, "linux/amd64"), own(10, "linux/arm64"));
    let other = own(20, "linux/s390x");
    bench.update(&other).unwrap();
    let mut index = amd.index.clone();
    index.merge(arm.index.clone()).unwrap();
    let parts = [&amd, &arm].map(|own| own.image.clone());
    let image = index.to_image(&parts).unwrap();
    drop(bench.registry.requests());
    let both = Own { image, index };
    let updated = bench.update(&both).unwrap();
    let expected = ["linux/amd64", "linux/arm64", "linux/s390x"];
    assert_eq!(updated.platforms, expected);
    let contents = bench.registry.contents();
    for (platform, own) in [("linux/amd64", &amd), ("linux/arm64", &arm)] {
        let key = (REPOSITORY.to_owned(), place(platform));
        assert_eq!(contents.manifests[&key].1, own.image.root().bytes);
    }
    // Both announced before the index is written.
    let requests = bench.registry.requests();
    let written = |tag: &str| {
        let end = format!("/manifests/{tag}");
        let mut all = requests.iter();
        all.position(|one| one.method == "PUT" && one.target.ends_with(&end))
            .unwrap()
    };
    let index = written(TAG);
    assert!(written(&place("linux/amd64")) < index);
    assert!(written(&place("linux/arm64")) < index);
}

#[test]
fn an_image_without_an_index_becomes_part_of_one() {
    let bench = Bench::new(Behavior::default());
    // An image that a config says the platform of.
    let config = br#"{"os":"linux","architecture":"arm64"}"#.to_vec();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[]}}"#,
        Digest::of(&config),
        config.len()
    );
    let old = crate::support::image_of(manifest, &[], &[config]);
    bench.push_as(&old, &[TAG]).unwrap();
    let amd = own(1, "linux/amd64");
    let updated = bench.update(&amd).unwrap();
    assert_eq!(updated.platforms, ["linux/amd64", "linux/arm64"]);
    assert!(bench.index().contains(&amd.index));

    // Also if it is the very image of the run.
    let bench = Bench::new(Behavior::default());
    bench.push_as(&old, &[TAG]).unwrap();
    let mut index = PlatformIndex::default();
    let arm = "linux/arm64".parse().unwrap();
    index.add(PlatformEntry::new(old.root(), &arm)).unwrap();
    let expected = index.to_document();
    let updated = bench.update(&Own { image: old, index }).unwrap();
    assert!(!updated.is_unchanged);
    assert_eq!(bench.tagged(), Some(expected.bytes));
}

#[test]
fn what_is_no_image_is_not_touched() {
    let bench = Bench::new(Behavior::default());
    let old = image(5, &[10]);
    bench.push_as(&old, &[TAG]).unwrap();
    let error = bench.update(&own(1, "linux/amd64")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("there is no image in it"), "{text}");
    assert_eq!(bench.tagged(), Some(old.root().bytes.clone()));
}

#[test]
fn a_run_waits_for_another_one_and_finds_out_that_it_was_overwritten() {
    let bench = Bench::new(Behavior::default());
    let (amd, arm) = (own(1, "linux/amd64"), own(10, "linux/arm64"));
    // The other run has announced itself and read the index, which is not there.
    let other = patient_repository(&bench);
    push(&other, &arm.image, WITHOUT_TAGS).unwrap();
    bench.put(&place("linux/arm64"), &announcement(&arm));
    bench.assert_survives(&amd, &arm);
}

#[test]
fn a_run_that_finds_its_image_there_waits_for_others_all_the_same() {
    let bench = Bench::new(Behavior::default());
    let (amd, arm) = (own(1, "linux/amd64"), own(10, "linux/arm64"));
    // The other run has read the index before an earlier run, which was killed
    // then, has put our image there.
    let other = patient_repository(&bench);
    push(&other, &arm.image, WITHOUT_TAGS).unwrap();
    push(&other, &amd.image, WITHOUT_TAGS).unwrap();
    bench.put(&place("linux/arm64"), &announcement(&arm));
    bench.put(TAG, &amd.index.to_document());
    bench.assert_survives(&amd, &arm);
}

#[test]
fn what_a_killed_run_has_left_is_put_right_by_the_next() {
    let bench = Bench::new(Behavior::default());
    let amd = own(1, "linux/amd64");
    bench.update(&amd).unwrap();
    // The index was written, and the announcement left.
    bench.put(&place("linux/amd64"), &announcement(&amd));
    assert!(bench.update(&amd).unwrap().is_unchanged);
    let contents = bench.registry.contents();
    let key = (REPOSITORY.to_owned(), place("linux/amd64"));
    assert_eq!(contents.manifests[&key].1, amd.image.root().bytes);
}

#[test]
fn an_index_that_is_not_found_for_a_moment_is_not_lost() {
    let bench = Bench::new(Behavior::default());
    bench.update(&own(1, "linux/amd64")).unwrap();
    let answer = Answer::new(404).saying("default backend - 404");
    bench
        .registry
        .fail(2, "GET", "/manifests/1", Fault::Answer(answer));
    let updated = bench.update(&own(10, "linux/arm64")).unwrap();
    assert_eq!(updated.platforms, ["linux/amd64", "linux/arm64"]);
}

#[test]
fn a_write_that_others_did_not_wait_for_is_told() {
    let bench = Bench::new(Behavior::default());
    let monitor = Arc::clone(&bench.monitor);
    bench.registry.when(move |request| {
        if request.method == "PUT" && request.target.ends_with("/manifests/1") {
            monitor.wait(Duration::from_secs(31));
        }
        None
    });
    let error = bench.update(&own(1, "linux/amd64")).unwrap_err();
    let text = text_of(&error);
    assert!(
        text.contains("the index update took 31 s, but other writers wait only 30 s"),
        "{text}"
    );
}

#[test]
fn an_announcement_that_nobody_takes_back_is_waited_for_half_a_minute() {
    let bench = Bench::new(Behavior::default());
    let (amd, arm) = (own(1, "linux/amd64"), own(10, "linux/arm64"));
    bench.put(&place("linux/arm64"), &announcement(&arm));
    bench.update(&amd).unwrap();
    let waits = bench.monitor.waits.lock().unwrap();
    let whole: Duration = waits.iter().sum();
    // And once for the index, which might have been overlooked.
    assert_eq!(whole, Duration::from_millis(30_200));
    // Said once, not every time that it looks.
    let lines = bench.monitor.lines.lock().unwrap();
    let said: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with("Waiting"))
        .collect();
    assert_eq!(said, [r#"Waiting { tag: "1-linux-arm64", timeout: 30s }"#]);
}

#[test]
fn a_tag_that_never_keeps_what_is_written_is_given_up() {
    let bench = Bench::new(Behavior::default());
    bench.registry.when(|request| {
        let is_read = request.method == "GET" && request.target.ends_with("/manifests/1");
        is_read.then(|| Fault::Answer(Answer::new(404)))
    });
    let error = bench.update(&own(1, "linux/amd64")).unwrap_err();
    let Error::Protocol { problem, .. } = &error else {
        panic!("{error}");
    };
    assert!(matches!(**problem, ProtocolError::Contended(_)), "{error}");
    // Whoever comes next has nobody to wait for.
    let contents = bench.registry.contents();
    let key = (REPOSITORY.to_owned(), place("linux/amd64"));
    assert_eq!(
        contents.manifests[&key].0,
        "application/vnd.oci.image.manifest.v1+json"
    );
}

#[test]
fn a_registry_that_knows_conditions_is_asked_with_them() {
    let bench = Bench::new(Behavior::default());
    let is_write = |method: &str, target: &str| method == "PUT" && target.ends_with("/manifests/1");
    let mut refusals = 0;
    bench.registry.when(move |request| {
        if is_write(&request.method, &request.target) && refusals == 0 {
            refusals += 1;
            return Some(Fault::Answer(Answer::new(412)));
        }
        let is_read = request.method == "GET" && request.target.ends_with("/manifests/1");
        is_read.then(|| Fault::Header("etag", Some("\"mark\"".to_owned())))
    });
    bench.update(&own(1, "linux/amd64")).unwrap();
    bench.update(&own(10, "linux/arm64")).unwrap();
    let requests = bench.registry.requests();
    let writes = requests
        .iter()
        .filter(|one| is_write(&one.method, &one.target));
    let conditions: Vec<_> = writes
        .map(|one| (one.header("if-none-match"), one.header("if-match")))
        .collect();
    assert_eq!(
        conditions,
        [
            (Some("*"), None),
            // Refused although there was nothing: it means something else by it.
            (None, None),
            (None, Some("\"mark\"")),
        ]
    );
}

#[test]
fn a_cut_write_is_tried_again_with_what_is_there_then() {
    let bench = Bench::new(Behavior::default());
    bench.update(&own(1, "linux/amd64")).unwrap();
    for fault in [Fault::Cut, Fault::CutAnswer] {
        bench.registry.fail(1, "PUT", "/manifests/1", fault);
    }
    bench
        .registry
        .fail(1, "PUT", "/manifests/1", Fault::Answer(Answer::new(503)));
    let updated = bench.update(&own(10, "linux/arm64")).unwrap();
    assert_eq!(updated.platforms, ["linux/amd64", "linux/arm64"]);
}

/// The real time, and a clock that is slow to read: whatever lies between a
/// read and a write takes a while.
struct SlowMonitor(Instant, AtomicBool);

impl SlowMonitor {
    #[expect(clippy::disallowed_methods, reason = "these runs meet in real time")]
    fn new() -> Self {
        Self(Instant::now(), AtomicBool::default())
    }
}

impl ClientMonitor for SlowMonitor {
    fn now(&self) -> Duration {
        thread::sleep(Duration::from_millis(self.random() % 15));
        self.0.elapsed()
    }

    fn wait(&self, time: Duration) {
        thread::sleep(time.min(Duration::from_millis(20)));
    }

    fn random(&self) -> u64 {
        RandomState::new().hash_one(0)
    }

    fn is_interrupted(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }

    fn report(&self, _: Event<'_>) {}
}

/// A repository for runs that meet others.
fn patient_repository(bench: &Bench) -> Repository {
    let monitor: Arc<dyn ClientMonitor> = Arc::new(SlowMonitor::new());
    let client = Client::connect(&bench.registry.name(), &bench.options, &monitor);
    Repository::to_push(Arc::new(client.unwrap()), REPOSITORY)
}

#[test]
fn many_runs_at_once_all_end_in_the_index() {
    let bench = Bench::new(Behavior::default());
    let platforms = ["linux/386", "linux/amd64", "linux/arm/v7", "linux/arm64"];
    for round in 0..8 {
        let all: Vec<Own> = (1..)
            .zip(platforms)
            .map(|(seed, platform)| own(seed * 10 + round * 100, platform))
            .collect();
        thread::scope(|scope| {
            for own in &all {
                scope.spawn(|| update(&patient_repository(&bench), own).unwrap());
            }
        });
        let mut expected = PlatformIndex::default();
        for own in all {
            expected.merge(own.index).unwrap();
        }
        let found = bench.tagged();
        assert_eq!(found, Some(expected.to_document().bytes), "round {round}");
    }
}
