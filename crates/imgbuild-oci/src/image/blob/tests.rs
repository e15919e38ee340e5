use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use fs_err as fs;

use crate::blob::BlobContent;
use crate::destination::{Destination, WriteOptions, write};
use crate::digest::Digest;
use crate::document::Document;
use crate::error::Result;
use crate::image::{Blob, Image};
use crate::media_type;
use crate::monitor::Monitor;

/// Counts who is inside at once; whoever enters waits until `wanted` are.
#[derive(Debug)]
struct Room {
    wanted: usize,
    counts: Mutex<(usize, usize)>,
    changed: Condvar,
}

impl Room {
    fn new(wanted: usize) -> Arc<Self> {
        Arc::new(Self {
            wanted,
            counts: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn visit(&self) {
        let mut counts = self.counts.lock().unwrap();
        counts.0 += 1;
        counts.1 = counts.1.max(counts.0);
        self.changed.notify_all();
        let waits = |counts: &mut (usize, usize)| counts.1 < self.wanted;
        let patience = Duration::from_secs(30);
        let (mut counts, _) = self
            .changed
            .wait_timeout_while(counts, patience, waits)
            .unwrap();
        counts.0 -= 1;
    }

    fn most(&self) -> usize {
        self.counts.lock().unwrap().1
    }
}

/// What is read in a room with others.
#[derive(Debug)]
struct Shared(Arc<Room>, Vec<u8>);

impl BlobContent for Shared {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        self.0.visit();
        self.1.open(offset)
    }
}

/// What fails once another one is read.
#[derive(Debug)]
struct Failing(Arc<Room>);

impl BlobContent for Failing {
    fn open(&self, _: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        self.0.visit();
        Err(io::Error::other("it is gone"))
    }
}

/// What never ends.
#[derive(Debug)]
struct Endless(Arc<Room>);

impl BlobContent for Endless {
    fn open(&self, _: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        self.0.visit();
        Ok(Box::new(io::repeat(0)))
    }
}

fn blob(bytes: &[u8], content: Arc<dyn BlobContent>) -> Blob {
    let media_type = "application/vnd.oci.image.layer.v1.tar";
    Blob::new(media_type, Digest::of(bytes), bytes.len() as u64, content)
}

fn image(blobs: Vec<Blob>) -> Image {
    Image {
        documents: vec![Document::new(media_type::MANIFEST, b"{}".to_vec())],
        blobs,
        ..Image::empty()
    }
}

fn written(image: &Image, destination: &str, threads: usize) -> Result<()> {
    let options = WriteOptions {
        references: &[],
        threads,
        sync: false,
        store: None,
    };
    let destination: Destination = destination.parse().unwrap();
    let monitor = Monitor::silent();
    write(image, &destination, options, &mut io::sink(), monitor).map(drop)
}

/// Destinations in a directory whose parts can be written in any order.
fn destinations(directory: &Path) -> [String; 2] {
    ["oci:layout", "oci-archive:image.tar"].map(|one| {
        let (transport, name) = one.split_once(':').unwrap();
        format!("{transport}:{}", directory.join(name).display())
    })
}

#[test]
fn as_many_blobs_as_threads_are_read_at_once() {
    let directory = tempfile::tempdir().unwrap();
    for destination in destinations(directory.path()) {
        let room = Room::new(3);
        let one = |number: u8| {
            let bytes = vec![number; 1000];
            blob(&bytes, Arc::new(Shared(Arc::clone(&room), bytes.clone())))
        };
        let image = image((0..8).map(one).collect());
        written(&image, &destination, 3).unwrap();
        assert_eq!(room.most(), 3, "{destination}");
    }
    let blobs = directory.path().join("layout/blobs/sha256");
    assert_eq!(fs::read_dir(blobs).unwrap().count(), 9);
}

#[test]
fn the_first_failure_stops_the_others_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for destination in destinations(directory.path()) {
        let room = Room::new(2);
        let blobs = vec![
            blob(b"endless", Arc::new(Endless(Arc::clone(&room)))),
            blob(b"failing", Arc::new(Failing(Arc::clone(&room)))),
            blob(b"never", Arc::new(Failing(room))),
        ];
        let error = written(&image(blobs), &destination, 2).unwrap_err();
        let expected = format!("cannot read the blob {}", Digest::of(b"failing"));
        assert_eq!(error.to_string(), expected, "{destination}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
