//! A client of a fake registry, a monitor whose waits take no time, and an
//! image to carry.

use std::error::Error as _;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imgbuild_oci::blob::BlobContent;
use imgbuild_oci::digest::Digest;
use imgbuild_oci::document::{Descriptor, Document};
use imgbuild_oci::image::{Image, Platforms};
use imgbuild_registry::client::{Client, ClientOptions, RetryPolicy, Timeouts};
use imgbuild_registry::error::{Error, Result};
use imgbuild_registry::monitor::{ClientMonitor, Event};
use imgbuild_registry::push::{PushOptions, Pushed, push};
use imgbuild_registry::repository::Repository;
use imgbuild_registry::secret::{Credential, Secret};
use imgbuild_testing::FakeRegistry;
use imgbuild_testing::registry::Behavior;

pub(crate) const REPOSITORY: &str = "me/app";
pub(crate) const USER: &str = "somebody";
pub(crate) const PASSWORD: &str = "hunter2:with:colons";
pub(crate) const IDENTITY: &str = "identity&token";

/// Waits by moving its clock.
#[derive(Debug, Default)]
pub(crate) struct TestMonitor {
    milliseconds: AtomicU64,
    pub(crate) is_interrupted: AtomicBool,
    pub(crate) waits: Mutex<Vec<Duration>>,
    pub(crate) lines: Mutex<Vec<String>>,
    pub(crate) sent: AtomicU64,
}

impl ClientMonitor for TestMonitor {
    fn now(&self) -> Duration {
        Duration::from_millis(self.milliseconds.load(Ordering::Relaxed))
    }

    fn wait(&self, time: Duration) {
        let milliseconds = u64::try_from(time.as_millis()).unwrap();
        self.milliseconds.fetch_add(milliseconds, Ordering::Relaxed);
        self.waits.lock().unwrap().push(time);
    }

    fn random(&self) -> u64 {
        1000
    }

    fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::Relaxed)
    }

    fn report(&self, event: Event<'_>) {
        let line = match event {
            Event::Sent { bytes, .. } => {
                self.sent.fetch_add(bytes, Ordering::Relaxed);
                return;
            }
            Event::Retry { error, .. } => text_of(error),
            other => format!("{other:?}"),
        };
        self.lines.lock().unwrap().push(line);
    }
}

/// An error with its causes, as a user sees it.
pub(crate) fn text_of(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// A registry and a client that speaks to it.
pub(crate) struct Bench {
    pub(crate) registry: FakeRegistry,
    pub(crate) monitor: Arc<TestMonitor>,
    pub(crate) options: ClientOptions,
    /// How many blobs are sent at a time.
    pub(crate) parallel: usize,
}

impl Bench {
    pub(crate) fn new(behavior: Behavior) -> Self {
        Self {
            registry: FakeRegistry::start(behavior).unwrap(),
            monitor: Arc::default(),
            options: ClientOptions {
                timeouts: Timeouts {
                    connect: Duration::from_secs(5),
                    idle: Duration::from_millis(600),
                },
                retry: RetryPolicy {
                    attempts: 4,
                    ..RetryPolicy::default()
                },
                chunk_bytes: 64 << 10,
                ..ClientOptions::default()
            },
            parallel: 3,
        }
    }

    /// Sends one blob after the other, so that the registry counts the same in
    /// every run.
    pub(crate) fn in_order(self) -> Self {
        Self {
            parallel: 1,
            ..self
        }
    }

    pub(crate) fn with_password(behavior: Behavior) -> Self {
        let mut bench = Self::new(behavior);
        bench.options.credential = Some(Credential::Basic {
            user: USER.to_owned(),
            password: Secret::new(PASSWORD),
        });
        bench
    }

    pub(crate) fn client(&self) -> Result<Arc<Client>> {
        let monitor: Arc<dyn ClientMonitor> = self.monitor.clone();
        Client::connect(&self.registry.name(), &self.options, &monitor).map(Arc::new)
    }

    pub(crate) fn push_as(&self, image: &Image, tags: &[&str]) -> Result<Pushed> {
        let repository = Repository::to_push(self.client()?, REPOSITORY);
        let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
        let options = PushOptions {
            tags: &tags,
            parallel: self.parallel,
            mount_from: &[],
            sent: None,
        };
        push(&repository, image, options)
    }

    pub(crate) fn push(&self, image: &Image) -> Result<Pushed> {
        self.push_as(image, &["1"])
    }

    pub(crate) fn repository(&self) -> Result<Repository> {
        Ok(Repository::to_pull(self.client()?, REPOSITORY))
    }

    /// What the tag `1` has now.
    pub(crate) fn tagged(&self) -> Option<Vec<u8>> {
        let contents = self.registry.contents();
        let key = (REPOSITORY.to_owned(), "1".to_owned());
        contents.manifests.get(&key).map(|(_, bytes)| bytes.clone())
    }

    /// Asserts that the registry has the whole image under the tag `1`.
    #[track_caller]
    pub(crate) fn assert_has(&self, image: &Image) {
        assert_eq!(self.tagged().as_ref(), Some(&image.root().bytes));
        let contents = self.registry.contents();
        for blob in image.blobs() {
            let key = (REPOSITORY.to_owned(), blob.digest.to_string());
            let bytes = contents.blobs.get(&key).expect("the blob was sent");
            assert_eq!(Digest::of(bytes), blob.digest);
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.monitor.lines.lock().unwrap().clone()
    }
}

/// Bytes that do not repeat.
pub(crate) fn noise(seed: u32, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..size).map(|_| next()).collect()
}

/// A manifest with a config and layers of these sizes.
pub(crate) fn image(seed: u32, sizes: &[usize]) -> Image {
    let config = format!(r#"{{"seed":{seed}}}"#).into_bytes();
    let layers: Vec<Vec<u8>> = sizes
        .iter()
        .enumerate()
        .map(|(index, size)| noise(seed + u32::try_from(index).unwrap(), *size))
        .collect();
    let descriptor = |media_type: &str, bytes: &[u8]| {
        format!(
            r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#,
            Digest::of(bytes),
            bytes.len()
        )
    };
    let listed: Vec<String> = layers.iter().map(|one| descriptor("layer", one)).collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
        descriptor("config", &config),
        listed.join(",")
    );
    let all: Vec<Vec<u8>> = layers.into_iter().chain([config]).collect();
    image_of(manifest, &[], &all)
}

/// An image of a document, those below it, and blobs.
pub(crate) fn image_of(root: String, below: &[&Image], blobs: &[Vec<u8>]) -> Image {
    let media_type = if below.is_empty() {
        "application/vnd.oci.image.manifest.v1+json"
    } else {
        "application/vnd.oci.image.index.v1+json"
    };
    let root = Document::new(media_type, root.into_bytes());
    let documents: Vec<&Document> = below.iter().flat_map(|one| one.documents()).collect();
    let read = &mut |descriptor: &Descriptor| {
        let found = documents.iter().find(|one| one.digest == descriptor.digest);
        Ok(found.ok_or(io::ErrorKind::NotFound)?.bytes.clone())
    };
    let open = |digest: Digest, _| {
        let own = blobs.iter().find(|bytes| Digest::of(bytes) == digest);
        let bytes = own.cloned().unwrap_or_else(|| {
            let mut blobs = below.iter().flat_map(|one| one.blobs());
            let blob = blobs.find(|one| one.digest == digest).unwrap();
            let mut bytes = Vec::new();
            let mut reader = blob.content().open(0).unwrap();
            reader.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let content: Arc<dyn BlobContent> = Arc::new(bytes);
        content
    };
    Image::read(root, &Platforms::All, read, &open).unwrap()
}

/// An index of two images.
pub(crate) fn index() -> Image {
    let children = [image(1, &[1000, 50_000]), image(2, &[1000, 3000])];
    let entry = |child: &Image, architecture: &str| {
        let root = child.root();
        format!(
            r#"{{"mediaType":"{}","digest":"{}","size":{},"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#,
            root.media_type,
            root.digest,
            root.bytes.len()
        )
    };
    let root = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{},{}]}}"#,
        entry(&children[0], "amd64"),
        entry(&children[1], "arm64")
    );
    image_of(root, &[&children[0], &children[1]], &[])
}
